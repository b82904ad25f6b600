//! Request headers that mirror parts of the body, as a modern client must send them
//! (2026-07-28 basic/transports/streamable-http §Request Metadata, §Custom Headers).

use crate::base::base64::{self, Alphabet};
use bytes::Bytes;
use sonic_rs::{JsonContainerTrait, JsonValueTrait, PointerNode, Value};

/// The annotation inside a tool's `inputSchema`.
const ANNOTATION: &str = "x-mcp-header";
/// Nesting of a tool definition that is read; one from the network must not recurse us (or the
/// JSON reader) off the stack.
const DEPTH_MAX: usize = 128;

/// One parameter of a tool that is mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MirroredParam {
    /// `Mcp-Param-…`
    pub(crate) header: Box<str>,
    /// Keys from the root of `arguments` to the value.
    path: Vec<Box<str>>,
}

impl MirroredParam {
    /// The header's value for these arguments, encoded; `None` if there is none to send.
    pub(crate) fn value(&self, arguments: &[u8]) -> Option<Vec<u8>> {
        let (text, _) = self.text(arguments)?;
        let mut out = Vec::new();
        encode(text.as_bytes(), &mut out);
        Some(out)
    }

    /// Whether a header's value, decoded, is what these arguments say; `None` stands for a
    /// header that is not there. Numbers are compared as such (§Server Validation).
    pub(crate) fn agrees(&self, arguments: &[u8], header: Option<&[u8]>) -> bool {
        match (self.text(arguments), header) {
            (None, None) => true,
            (Some((text, is_number)), Some(header)) => {
                let number = |text: &[u8]| core::str::from_utf8(text).ok()?.parse::<f64>().ok();
                header == text.as_bytes()
                    || (is_number
                        && number(header).is_some_and(|it| Some(it) == number(text.as_bytes())))
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// The argument as text, and whether it is a number; `None` if it is not there or `null`.
    fn text(&self, arguments: &[u8]) -> Option<(String, bool)> {
        let nodes: Vec<_> = self
            .path
            .iter()
            .map(|key| PointerNode::from(&**key))
            .collect();
        let found = sonic_rs::get_from_slice(arguments, nodes).ok()?;
        if let Some(text) = found.as_str() {
            return Some((text.to_owned(), false));
        }
        if let Some(flag) = found.as_bool() {
            return Some((flag.to_string(), false));
        }
        let number = found.as_i64().or_else(|| {
            let number = found.as_f64().filter(|number| number.fract() == 0.0)?;
            Some(number as i64)
        })?;
        Some((number.to_string(), true))
    }
}

/// Writes a header value, in Base64 with its marks where plain ASCII would not survive.
pub(crate) fn encode(value: &[u8], out: &mut Vec<u8>) {
    if is_plain(value) {
        out.extend_from_slice(value);
    } else {
        out.extend_from_slice(b"=?base64?");
        base64::encode(Alphabet::Standard, value, out);
        out.extend_from_slice(b"?=");
    }
}

fn is_plain(value: &[u8]) -> bool {
    let inner = value
        .iter()
        .all(|&byte| matches!(byte, 0x20..=0x7e | b'\t'));
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let marked = value.starts_with(b"=?base64?") && value.ends_with(b"?=");
    inner && !blank(value.first()) && !blank(value.last()) && !marked
}

/// The mirrored parameters of a tool definition.
///
/// # Errors
/// Why the annotations are invalid, for people; such a tool must not be offered.
pub(crate) fn mirrored(tool: &Bytes) -> Result<Vec<MirroredParam>, String> {
    if memchr::memmem::find(tool, ANNOTATION.as_bytes()).is_none() {
        return Ok(Vec::new());
    }
    if nesting(tool) > DEPTH_MAX {
        return Err("its definition is nested too deeply".to_owned());
    }
    let tool = sonic_rs::from_slice::<Value>(tool).map_err(|_| "it is not JSON".to_owned())?;
    let Some(schema) = tool.get("inputSchema") else {
        return Ok(Vec::new());
    };
    let mut found = Found::default();
    found.object(schema, true)?;
    Ok(found.params)
}

#[derive(Default)]
struct Found {
    params: Vec<MirroredParam>,
    path: Vec<Box<str>>,
}

impl Found {
    /// Walks a schema. `reachable` is whether only `properties` keys led here.
    fn object(&mut self, schema: &Value, reachable: bool) -> Result<(), String> {
        if let Some(array) = schema.as_array() {
            return array.iter().try_for_each(|item| self.object(item, false));
        }
        let Some(object) = schema.as_object() else {
            return Ok(());
        };
        for (key, value) in object {
            match key {
                ANNOTATION => self.annotation(schema, value, reachable)?,
                "properties" => self.properties(value, reachable)?,
                // Data, not schema: an example may hold any key.
                "default" | "examples" | "example" | "const" | "enum" => {}
                _ => self.object(value, false)?,
            }
        }
        Ok(())
    }

    fn properties(&mut self, schema: &Value, reachable: bool) -> Result<(), String> {
        let Some(properties) = schema.as_object() else {
            return Ok(());
        };
        for (name, property) in properties {
            self.path.push(name.into());
            self.object(property, reachable)?;
            self.path.pop();
        }
        Ok(())
    }

    fn annotation(&mut self, schema: &Value, name: &Value, reachable: bool) -> Result<(), String> {
        let at = self.path.join(".");
        let wrong = |what: &str| Err(format!("{ANNOTATION} of parameter \"{at}\" {what}"));
        let Some(name) = name.as_str() else {
            return wrong("is not a string");
        };
        if name.is_empty() || !name.bytes().all(is_token) {
            return wrong("is not a header name");
        }
        if !reachable || self.path.is_empty() {
            return wrong("stands where no argument can be told from the schema alone");
        }
        let type_name = schema.get("type");
        if !matches!(type_name.as_str(), Some("string" | "integer" | "boolean")) {
            return wrong("stands on a type other than string, integer and boolean");
        }
        let header = format!("Mcp-Param-{name}");
        if self
            .params
            .iter()
            .any(|param| param.header.eq_ignore_ascii_case(&header))
        {
            return wrong("is used twice");
        }
        self.params.push(MirroredParam {
            header: header.into(),
            path: self.path.clone(),
        });
        Ok(())
    }
}

/// How deeply objects and arrays are nested in a JSON text.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string) = (0usize, 0, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// `tchar` (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &str) -> String {
        let mut out = Vec::new();
        encode(value.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_encoded_as_the_specification_shows() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("a\tb c", "a\tb c"),
            ("", ""),
        ] {
            assert_eq!(encoded(value), header, "{value:?}");
        }
    }

    fn tool(schema: &str) -> Result<Vec<MirroredParam>, String> {
        mirrored(&Bytes::from(format!(
            r#"{{"name":"t","inputSchema":{schema}}}"#
        )))
    }

    #[test]
    fn annotated_parameters_are_found_and_read() {
        let params = tool(
            r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "n":{"type":"integer","x-mcp-header":"N"},
            "deep":{"type":"object","properties":{"on":{"type":"boolean","x-mcp-header":"On"}}},
            "query":{"type":"string"}}}"#,
        )
        .unwrap();
        let arguments = br#"{"region":"caf\u00e9","n":42.0,"deep":{"on":true},"query":"x"}"#;
        let values: Vec<_> = params
            .iter()
            .map(|param| (&*param.header, param.value(arguments).unwrap()))
            .collect();
        assert_eq!(
            values,
            [
                ("Mcp-Param-Region", b"=?base64?Y2Fmw6k=?=".to_vec()),
                ("Mcp-Param-N", b"42".to_vec()),
                ("Mcp-Param-On", b"true".to_vec()),
            ]
        );
        let none = br#"{"region":null,"deep":{}}"#;
        assert!(params.iter().all(|param| param.value(none).is_none()));
    }

    #[test]
    fn invalid_annotations_are_refused_with_a_reason() {
        for schema in [
            r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"a\r\nb"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":1}}}"#,
            r#"{"properties":{"a":{"type":"number","x-mcp-header":"a"}}}"#,
            r#"{"properties":{"a":{"type":"object","x-mcp-header":"a"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},
                "b":{"type":"string","x-mcp-header":"a"}}}"#,
            r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"a"}}}}"#,
            r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"a"}}}]}"#,
            r#"{"$defs":{"d":{"properties":{"a":{"type":"string","x-mcp-header":"a"}}}}}"#,
            r#"{"type":"string","x-mcp-header":"root"}"#,
        ] {
            assert!(tool(schema).is_err(), "{schema}");
        }
        let property_of_that_name = r#"{"properties":{"x-mcp-header":{"type":"string"}}}"#;
        assert_eq!(tool(property_of_that_name), Ok(vec![]));
    }

    #[test]
    fn deep_schemas_do_not_recurse_off_the_stack() {
        let deep = "{\"not\":".repeat(5_000) + "{\"x-mcp-header\":1}" + &"}".repeat(5_000);
        assert!(tool(&deep).is_err());
    }

    #[test]
    fn headers_agree_with_the_arguments_or_not() {
        let params = tool(
            r#"{"type":"object","properties":{"s":{"type":"string","x-mcp-header":"S"},
                "n":{"type":"integer","x-mcp-header":"N"}}}"#,
        )
        .unwrap();
        let agrees = |name: &str, arguments: &str, header: Option<&str>| {
            let param = params.iter().find(|param| &*param.header == name).unwrap();
            param.agrees(arguments.as_bytes(), header.map(str::as_bytes))
        };
        for (name, arguments, header, expected) in [
            ("Mcp-Param-S", r#"{"s":"a\u0062"}"#, Some("ab"), true),
            ("Mcp-Param-S", r#"{"s":"ab"}"#, Some("AB"), false),
            ("Mcp-Param-S", r#"{"s":"ab"}"#, None, false),
            ("Mcp-Param-S", r#"{"s":null}"#, None, true),
            ("Mcp-Param-S", "{}", None, true),
            ("Mcp-Param-S", "{}", Some("ab"), false),
            ("Mcp-Param-S", r#"{"s":"42"}"#, Some("42.0"), false),
            ("Mcp-Param-N", r#"{"n":42}"#, Some("42.0"), true),
            ("Mcp-Param-N", r#"{"n":42.0}"#, Some("42"), true),
            ("Mcp-Param-N", r#"{"n":42}"#, Some("43"), false),
            ("Mcp-Param-N", r#"{"n":42}"#, Some("x"), false),
        ] {
            assert_eq!(
                agrees(name, arguments, header),
                expected,
                "{arguments} {header:?}"
            );
        }
    }
}
