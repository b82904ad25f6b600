//! JSON-RPC 2.0 responses, written around parts that are already JSON.

use bytes::Bytes;

pub use crate::base::json::push_string;

/// Not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// JSON, but no request.
pub const INVALID_REQUEST: i32 = -32600;
/// No such method, or not in this era.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// Wrong or missing parameters; also unknown tools, prompts and (2026-07-28) resources.
pub const INVALID_PARAMS: i32 = -32602;
/// The gateway or a server failed.
pub const INTERNAL_ERROR: i32 = -32603;
/// No such resource, until 2025-11-25.
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// A header is missing or does not agree with the body (2026-07-28).
pub const HEADER_MISMATCH: i32 = -32020;
/// The request needs a capability that the client did not declare (2026-07-28).
pub const MISSING_CAPABILITY: i32 = -32021;
/// The protocol version is not supported (2026-07-28).
pub const UNSUPPORTED_VERSION: i32 = -32022;

const ID: &[u8] = br#"{"jsonrpc":"2.0","id":"#;

/// `{"jsonrpc":"2.0","id":…` as the beginning of a response; `id` is JSON.
pub fn begin(out: &mut Vec<u8>, id: &[u8]) {
    out.extend_from_slice(ID);
    out.extend_from_slice(if id.is_empty() { b"null" } else { id });
}

/// A result response from a whole `result` value.
#[must_use]
pub fn result(id: &[u8], result: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(ID.len() + id.len() + result.len() + 16);
    begin(&mut out, id);
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(result);
    out.push(b'}');
    out.into()
}

/// An error response. `id` is JSON, or empty if it could not be read; `data` is JSON.
#[must_use]
pub fn error(id: &[u8], code: i32, message: &str, data: Option<&str>) -> Bytes {
    let mut out = Vec::with_capacity(96 + id.len() + message.len());
    if id.is_empty() {
        // MCP leaves the member out where the id could not be read.
        out.extend_from_slice(br#"{"jsonrpc":"2.0""#);
    } else {
        begin(&mut out, id);
    }
    out.extend_from_slice(br#","error":{"code":"#);
    out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
    out.extend_from_slice(br#","message":"#);
    push_string(&mut out, message);
    if let Some(data) = data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
    }
    out.extend_from_slice(b"}}");
    out.into()
}

/// A JSON string with its quotes.
#[must_use]
pub fn string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::scan::{Message, decode, member};

    #[test]
    fn errors_read_back() {
        let text = "a \"b\" \\ \n\u{1}\u{e9}";
        let bytes = error(b"7", INVALID_PARAMS, text, Some(r#"{"uri":"x"}"#));
        let message = Message::scan(&bytes).unwrap();
        assert_eq!(message.id.of(&bytes), b"7");
        let object = message.error.of(&bytes);
        assert_eq!(member(object, "code").unwrap().of(object), b"-32602");
        let quoted = member(object, "message").unwrap().of(object);
        assert_eq!(decode(&quoted[1..quoted.len() - 1]), text);
        assert_eq!(
            member(object, "data").unwrap().of(object),
            br#"{"uri":"x"}"#
        );
    }

    #[test]
    fn an_unread_id_is_left_out() {
        let bytes = error(b"", PARSE_ERROR, "x", None);
        assert_eq!(
            bytes,
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}}"#
        );
        assert_eq!(
            result(b"\"a\"", b"{}"),
            r#"{"jsonrpc":"2.0","id":"a","result":{}}"#
        );
    }
}
