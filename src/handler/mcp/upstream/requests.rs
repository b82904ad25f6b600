//! The messages that the gateway itself sends to servers.

use bytes::Bytes;

use crate::base::json::push_string;
use crate::mcp::revision::Revision;
use crate::mcp::vocabulary::ClientCapabilities;

/// How the gateway introduces itself.
const CLIENT_INFO: &str = concat!(
    r#"{"name":"ringway","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// A request with whole `params`.
fn request(id: u64, method: &str, params: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + method.len() + params.len());
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
    out.extend_from_slice(br#","method":""#);
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(br#"","params":"#);
    out.extend_from_slice(params);
    out.push(b'}');
    out
}

/// `_meta` of a modern request of our own; it can do nothing for the server.
fn modern_meta() -> String {
    let revision = Revision::LATEST.as_str();
    [
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":""#,
        revision,
        r#"","io.modelcontextprotocol/clientInfo":"#,
        CLIENT_INFO,
        r#","io.modelcontextprotocol/clientCapabilities":{}}"#,
    ]
    .concat()
}

/// `server/discover`
pub(crate) fn discover(id: u64) -> Vec<u8> {
    request(
        id,
        "server/discover",
        format!("{{{}}}", modern_meta()).as_bytes(),
    )
}

/// `initialize`; `info` is the client's `clientInfo`, or empty for the gateway's own.
pub(crate) fn initialize(id: u64, capabilities: ClientCapabilities, info: &[u8]) -> Vec<u8> {
    let mut params = format!(
        r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":"#,
        Revision::LEGACY_LATEST.as_str(),
        declared(capabilities)
    )
    .into_bytes();
    params.extend_from_slice(if info.is_empty() {
        CLIENT_INFO.as_bytes()
    } else {
        info
    });
    params.push(b'}');
    request(id, "initialize", &params)
}

/// `capabilities` of an `initialize` request (2025-11-25 schema, ClientCapabilities).
fn declared(capabilities: ClientCapabilities) -> String {
    let mut parts = Vec::new();
    if capabilities.roots {
        parts.push(r#""roots":{"listChanged":true}"#.to_owned());
    }
    if capabilities.sampling || capabilities.sampling_tools {
        let tools = if capabilities.sampling_tools {
            r#""tools":{}"#
        } else {
            ""
        };
        parts.push(format!(r#""sampling":{{{tools}}}"#));
    }
    match (capabilities.elicitation_form, capabilities.elicitation_url) {
        (false, false) => {}
        (true, false) => parts.push(r#""elicitation":{"form":{}}"#.to_owned()),
        (false, true) => parts.push(r#""elicitation":{"url":{}}"#.to_owned()),
        (true, true) => parts.push(r#""elicitation":{"form":{},"url":{}}"#.to_owned()),
    }
    format!("{{{}}}", parts.join(","))
}

/// `notifications/initialized`
pub(crate) const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// `ping`
pub(crate) fn ping(id: u64) -> Vec<u8> {
    request(id, "ping", b"{}")
}

/// One page of a list; `cursor` is a JSON string, verbatim.
pub(crate) fn list(id: u64, method: &str, cursor: Option<&[u8]>, modern: bool) -> Vec<u8> {
    let mut params = b"{".to_vec();
    if let Some(cursor) = cursor {
        params.extend_from_slice(br#""cursor":"#);
        params.extend_from_slice(cursor);
    }
    if modern {
        if cursor.is_some() {
            params.push(b',');
        }
        params.extend_from_slice(modern_meta().as_bytes());
    }
    params.push(b'}');
    request(id, method, &params)
}

/// `resources/subscribe` or `resources/unsubscribe`
pub(crate) fn subscription(id: u64, method: &str, uri: &str) -> Vec<u8> {
    let mut params = br#"{"uri":"#.to_vec();
    push_string(&mut params, uri);
    params.push(b'}');
    request(id, method, &params)
}

/// `logging/setLevel`
pub(crate) fn set_level(id: u64, level: &str) -> Vec<u8> {
    let params = format!(r#"{{"level":"{level}"}}"#);
    request(id, "logging/setLevel", params.as_bytes())
}

/// `subscriptions/listen` for every list and these resources.
pub(crate) fn listen<'a>(id: u64, uris: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut params = b"{".to_vec();
    params.extend_from_slice(modern_meta().as_bytes());
    params.extend_from_slice(
        br#","notifications":{"toolsListChanged":true,"promptsListChanged":true,"#,
    );
    params.extend_from_slice(br#""resourcesListChanged":true,"resourceSubscriptions":["#);
    for (index, uri) in uris.enumerate() {
        if index > 0 {
            params.push(b',');
        }
        push_string(&mut params, uri);
    }
    params.extend_from_slice(b"]}}");
    request(id, "subscriptions/listen", &params)
}

/// `notifications/cancelled`; `id` as JSON.
pub(crate) fn cancelled(id: &[u8], reason: &str) -> Vec<u8> {
    let mut out =
        br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#.to_vec();
    out.extend_from_slice(id);
    out.extend_from_slice(br#","reason":"#);
    push_string(&mut out, reason);
    out.extend_from_slice(b"}}");
    out
}

/// An empty result for a server's `ping`; `id` as JSON.
pub(crate) fn pong(id: &[u8]) -> Bytes {
    let mut out = br#"{"jsonrpc":"2.0","id":"#.to_vec();
    out.extend_from_slice(id);
    out.extend_from_slice(br#","result":{}}"#);
    out.into()
}

/// An error for a server's request; `id` as JSON.
pub(crate) fn refusal(id: &[u8], code: i64, reason: &str) -> Bytes {
    let mut out = br#"{"jsonrpc":"2.0","id":"#.to_vec();
    out.extend_from_slice(id);
    out.extend_from_slice(format!(r#","error":{{"code":{code},"message":"#).as_bytes());
    push_string(&mut out, reason);
    out.extend_from_slice(b"}}");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_back(message: Vec<u8>) -> sonic_rs::Value {
        sonic_rs::from_slice(&message).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&message));
        })
    }

    #[test]
    fn every_message_is_json() {
        let all = ClientCapabilities {
            roots: true,
            sampling: true,
            sampling_tools: true,
            elicitation_form: true,
            elicitation_url: true,
        };
        for message in [
            discover(1),
            initialize(2, ClientCapabilities::default(), b""),
            initialize(3, all, br#"{"name":"c","version":"1"}"#),
            ping(4),
            list(5, "tools/list", None, false),
            list(5, "tools/list", None, true),
            list(5, "tools/list", Some(br#""c\"""#), false),
            list(5, "tools/list", Some(br#""c\"""#), true),
            subscription(6, "resources/subscribe", "file:///\"a\""),
            set_level(8, "debug"),
            listen(7, ["a", "b\"c"].into_iter()),
            listen(7, std::iter::empty()),
            cancelled(b"\"x\"", "the client went away"),
            pong(b"9").to_vec(),
            refusal(b"\"9\"", -32601, "no \"such\" thing").to_vec(),
            INITIALIZED.to_vec(),
        ] {
            reads_back(message);
        }
    }

    #[test]
    fn capabilities_are_those_of_the_client() {
        let only_url = ClientCapabilities {
            elicitation_url: true,
            ..ClientCapabilities::default()
        };
        assert_eq!(declared(only_url), r#"{"elicitation":{"url":{}}}"#);
        assert_eq!(declared(ClientCapabilities::default()), "{}");
    }
}
