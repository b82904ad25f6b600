//! Small reads from JSON that stay slices of the message they were found in.

use bytes::Bytes;
use sonic_rs::{JsonValueTrait, PointerNode};

/// The value at a path of object keys, as it stands in the text.
pub(crate) fn raw(json: &Bytes, path: &[&str]) -> Option<Bytes> {
    let nodes = path.iter().map(|key| PointerNode::from(*key));
    let found = sonic_rs::get_from_slice(json, nodes.collect::<Vec<_>>()).ok()?;
    Some(json.slice_ref(found.as_raw_str().as_bytes()))
}

/// The string at a path, with its escapes resolved.
pub(crate) fn text(json: &Bytes, path: &[&str]) -> Option<String> {
    let nodes = path.iter().map(|key| PointerNode::from(*key));
    let found = sonic_rs::get_from_slice(json, nodes.collect::<Vec<_>>()).ok()?;
    found.as_str().map(str::to_owned)
}

/// The integer at a path.
pub(crate) fn integer(json: &Bytes, path: &[&str]) -> Option<i64> {
    let nodes = path.iter().map(|key| PointerNode::from(*key));
    let found = sonic_rs::get_from_slice(json, nodes.collect::<Vec<_>>()).ok()?;
    found.as_i64()
}

/// The elements of an array, as they stand in the text; `None` if one cannot be read.
pub(crate) fn elements(array: &Bytes) -> Option<Vec<Bytes>> {
    sonic_rs::to_array_iter(array.as_ref())
        .map(|element| {
            let element = element.ok()?;
            Some(array.slice_ref(element.as_raw_str().as_bytes()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_byte_for_byte() {
        let json = Bytes::from_static(br#"{ "a" : { "b" : [ 1 , {"c":1.50} ] }, "s":"x\n" }"#);
        assert_eq!(raw(&json, &["a", "b"]).unwrap(), r#"[ 1 , {"c":1.50} ]"#);
        let array = raw(&json, &["a", "b"]).unwrap();
        assert_eq!(elements(&array).unwrap(), ["1", r#"{"c":1.50}"#]);
        assert_eq!(text(&json, &["s"]).unwrap(), "x\n");
        assert_eq!(raw(&json, &["none"]), None);
        assert_eq!(raw(&Bytes::from_static(b"<html>"), &["a"]), None);
    }
}
