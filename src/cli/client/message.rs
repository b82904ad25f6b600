//! Pieces of JSON-RPC messages as text. Arguments of a call go through byte for byte, so messages
//! are put together, not built as trees.

use crate::handler::mcp::upstream::mirror;

/// What this client can do for a server.
pub(super) const CAPABILITIES: &str = "{\"elicitation\":{\"form\":{},\"url\":{}}}";

pub(super) fn client_info() -> String {
    format!(
        "{{\"name\":\"ringway-cli\",\"version\":\"{}\"}}",
        crate::base::version::VERSION
    )
}

/// A JSON string.
pub(in crate::cli) fn quoted(text: &str) -> String {
    sonic_rs::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

pub(super) fn push_member(members: &mut String, member: &str) {
    if !members.is_empty() {
        members.push(',');
    }
    members.push_str(member);
}

/// A header value, in Base64 with its marks where plain ASCII would not survive.
pub(super) fn header_value(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    mirror::encode(text.as_bytes(), &mut out);
    out
}
