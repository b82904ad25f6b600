//! Reads `params` of the requests that the demo answers, one field at a time and no deeper
//! than asked.

use std::borrow::Cow;

use sonic_rs::{JsonValueTrait, Value};

use crate::mcp::scan::{self, Span};

/// The fields of `params` that some request of ours has, as JSON. Unknown ones are skipped,
/// `null` counts as absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Params<'a> {
    name: Option<&'a [u8]>,
    pub(super) arguments: Option<&'a [u8]>,
    uri: Option<&'a [u8]>,
    level: Option<&'a [u8]>,
    pub(super) reference: Option<&'a [u8]>,
    pub(super) argument: Option<&'a [u8]>,
    input_responses: Option<&'a [u8]>,
    request_state: Option<&'a [u8]>,
}

impl<'a> Params<'a> {
    /// `None` if it is not an object or nests too deep. After this, every field may be parsed
    /// into a tree: the scan has bounded its depth, which sonic-rs would not.
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        let mut params = Self::default();
        let mut take = |key: &[u8], value: Span| {
            let field = match key {
                b"name" => &mut params.name,
                b"arguments" => &mut params.arguments,
                b"uri" => &mut params.uri,
                b"level" => &mut params.level,
                b"ref" => &mut params.reference,
                b"argument" => &mut params.argument,
                b"inputResponses" => &mut params.input_responses,
                b"requestState" => &mut params.request_state,
                _ => return,
            };
            *field = value.get(json).filter(|value| *value != b"null");
        };
        scan::members(json, &mut take).ok()?;
        Some(params)
    }

    pub(super) fn name(&self) -> Option<Cow<'a, str>> {
        self.name.and_then(text)
    }

    pub(super) fn uri(&self) -> Option<Cow<'a, str>> {
        self.uri.and_then(text)
    }

    pub(super) fn level(&self) -> Option<Cow<'a, str>> {
        self.level.and_then(text)
    }

    /// `requestState`; `Err` if it is not a string.
    pub(super) fn request_state(&self) -> Result<Option<Cow<'a, str>>, ()> {
        match self.request_state {
            None => Ok(None),
            Some(state) => text(state).map(Some).ok_or(()),
        }
    }

    /// `inputResponses`; `Err` if it is there and not an object.
    pub(super) fn input_responses(&self) -> Result<Option<Value>, ()> {
        match self.input_responses {
            None => Ok(None),
            Some(responses) => match value(responses) {
                Some(object) if object.is_object() => Ok(Some(object)),
                _ => Err(()),
            },
        }
    }
}

/// The text of a JSON string, without a copy where nothing is escaped.
pub(super) fn text(json: &[u8]) -> Option<Cow<'_, str>> {
    let content = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(scan::decode(content))
}

/// The whole value as a tree.
pub(super) fn value(json: &[u8]) -> Option<Value> {
    sonic_rs::from_slice(json).ok()
}

/// An object of any origin as a tree; `None` if it is none or nests too deep.
pub(super) fn object(json: &[u8]) -> Option<Value> {
    scan::members(json, |_, _| ()).ok()?;
    value(json)
}

/// The text without the white space between tokens.
pub(super) fn compact(json: &[u8]) -> Vec<u8> {
    let (mut is_string, mut is_escaped) = (false, false);
    let is_kept = |byte: &u8| {
        let is_kept = is_string || !byte.is_ascii_whitespace();
        if is_string && *byte == b'\\' {
            is_escaped = !is_escaped;
        } else {
            if *byte == b'"' && !is_escaped {
                is_string = !is_string;
            }
            is_escaped = false;
        }
        is_kept
    };
    json.iter().copied().filter(is_kept).collect()
}

/// The members of an object that has these keys and no other, as JSON.
pub(super) fn exactly<'a, const N: usize>(
    object: &'a [u8],
    keys: [&str; N],
) -> Option<[&'a [u8]; N]> {
    let mut found: [Option<&[u8]>; N] = [None; N];
    let mut is_exact = true;
    let mut take = |key: &[u8], value: Span| {
        let slot = keys.iter().position(|wanted| wanted.as_bytes() == key);
        match slot.and_then(|index| found.get_mut(index)) {
            Some(slot @ None) => *slot = value.get(object),
            Some(Some(_)) | None => is_exact = false,
        }
    };
    scan::members(object, &mut take).ok()?;
    let found = found.map(Option::unwrap_or_default);
    (is_exact && found.iter().all(|value| !value.is_empty())).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_from_between_tokens_only() {
        let json = br#" { "a b" : "\" c \\" , "d" : [ 1 , " " ] } "#;
        assert_eq!(compact(json), br#"{"a b":"\" c \\","d":[1," "]}"#);
    }

    #[test]
    fn exactly_these_members_once_each() {
        let found = exactly(br#"{"b":2,"a":[1]}"#, ["a", "b"]);
        assert_eq!(found, Some([&b"[1]"[..], b"2"]));
        for other in [
            "{}",
            r#"{"a":1}"#,
            r#"{"a":1,"b":2,"c":3}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            "[]",
        ] {
            assert_eq!(exactly(other.as_bytes(), ["a", "b"]), None, "{other}");
        }
    }
}
