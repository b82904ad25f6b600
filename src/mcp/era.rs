//! Which era a request belongs to, and whether what it says about itself agrees: the headers
//! with the body, the version with what we support.
//!
//! One endpoint serves both eras; a client shows its era by how it opens (2026-07-28
//! basic/versioning §Backward Compatibility): per-request `_meta` or a modern version header is
//! modern, everything else is legacy.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::jsonrpc::{
    HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, UNSUPPORTED_VERSION, string,
};
use super::method::{Method, Named};
use super::revision::{Era, Revision};
use super::scan::{Message, members, same_text};
use super::vocabulary::{ClientCapabilities, LogLevel};
use crate::base::base64::{Alphabet, decode};

/// The header fields that say what a request is. A field that stands twice with different
/// values must be given as [`Field::Conflicting`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `MCP-Protocol-Version`
    pub version: Field<'a>,
    /// `Mcp-Method`
    pub method: Field<'a>,
    /// `Mcp-Name`
    pub name: Field<'a>,
}

/// A header field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// Not there.
    #[default]
    Absent,
    /// Its value without surrounding white space.
    Value(&'a [u8]),
    /// There more than once, with different values.
    Conflicting,
}

/// Why a request is refused before anyone looks at what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC code.
    pub code: i32,
    /// For people.
    pub message: String,
    /// `error.data` as JSON.
    pub data: Option<String>,
}

/// What a modern request says about its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modern {
    /// The version.
    pub revision: Revision,
    /// The method; one that modern clients may ask.
    pub method: Method,
    /// `clientCapabilities`
    pub capabilities: ClientCapabilities,
    /// `logLevel`
    pub log_level: Option<LogLevel>,
}

/// The era a request opens with.
#[must_use]
pub fn of(headers: &Headers<'_>, message: &Message) -> Era {
    if message.version.is_some() || message.client_capabilities.is_some() {
        return Era::Modern;
    }
    // `initialize` is how a legacy client opens, whatever header it adds.
    if message.method == Some(Method::Initialize) {
        return Era::Legacy;
    }
    match headers.version {
        Field::Value(text) if parse(text).is_none_or(|known| known.era() == Era::Modern) => {
            Era::Modern
        }
        _ => Era::Legacy,
    }
}

/// Checks a modern request (2026-07-28 streamable-http §Server Validation, basic §_meta).
pub fn modern(headers: &Headers<'_>, message: &Message, bytes: &[u8]) -> Result<Modern, Refusal> {
    let revision = version(headers, message, bytes)?;
    let method = method(headers, message, bytes)?;
    name(headers, message, bytes, method)?;
    let log_level = match message.log_level.get(bytes) {
        None => None,
        Some(text) => Some(log_level(text)?),
    };
    Ok(Modern {
        revision,
        method,
        capabilities: capabilities(message.client_capabilities.of(bytes)),
        log_level,
    })
}

/// The revision of a legacy request from its header. Requests of a session have the session's.
pub fn legacy(version: Field<'_>) -> Result<Revision, Refusal> {
    match version {
        Field::Absent => Ok(Revision::V2025_03_26),
        Field::Value(text) => parse(text)
            .filter(|known| known.era() == Era::Legacy)
            .ok_or_else(|| unsupported(&String::from_utf8_lossy(text))),
        Field::Conflicting => Err(mismatch("MCP-Protocol-Version stands more than once")),
    }
}

/// What to answer to an `initialize` that offers `version`: that, if we have it and it has a
/// handshake, else the latest that does (2025-11-25 lifecycle §Version Negotiation).
#[must_use]
pub fn negotiate(version: &str) -> Revision {
    Revision::parse(version)
        .filter(|known| known.era() == Era::Legacy)
        .unwrap_or(Revision::LEGACY_LATEST)
}

/// Reads a capabilities object of either era. An empty `elicitation` means form mode
/// (2025-11-25 client/elicitation §Capabilities).
#[must_use]
pub fn capabilities(object: &[u8]) -> ClientCapabilities {
    let mut found = ClientCapabilities::default();
    let _ = members(object, |key, value| {
        let value = value.of(object);
        let has = |name| super::scan::member(value, name).is_some();
        if same_text(key, "roots") {
            found.roots = true;
        } else if same_text(key, "sampling") {
            found.sampling = true;
            found.sampling_tools = has("tools");
        } else if same_text(key, "elicitation") {
            found.elicitation_url = has("url");
            found.elicitation_form = has("form") || !found.elicitation_url;
        }
    });
    found
}

/// `["2026-07-28",…]`: every revision the gateway answers, newest first.
#[must_use]
pub fn supported() -> String {
    list(&Revision::ALL)
}

/// -32022 for a client that could do nothing with this era here: it falls back to `initialize`
/// (2026-07-28 basic/versioning §Protocol Version Negotiation).
#[must_use]
pub fn legacy_only() -> Refusal {
    let [_, legacy @ ..] = Revision::ALL;
    unsupported_but(&list(&legacy), Revision::LATEST.as_str())
}

fn list(revisions: &[Revision]) -> String {
    let mut list = String::from("[");
    for (at, revision) in revisions.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(list, "{comma}\"{}\"", revision.as_str());
    }
    list.push(']');
    list
}

/// 404 and -32601 (2026-07-28 streamable-http §Protocol Version Header).
#[must_use]
pub fn unknown_method(name: &str) -> Refusal {
    Refusal {
        status: 404,
        code: METHOD_NOT_FOUND,
        message: format!("Method not found: {name}"),
        data: None,
    }
}

fn version(headers: &Headers<'_>, message: &Message, bytes: &[u8]) -> Result<Revision, Refusal> {
    let header = match headers.version {
        Field::Value(text) => text,
        Field::Absent => return Err(mismatch("MCP-Protocol-Version is missing")),
        Field::Conflicting => {
            return Err(mismatch("MCP-Protocol-Version stands more than once"));
        }
    };
    let body = message
        .version
        .get(bytes)
        .map(|_| Message::text(bytes, message.version));
    if let Some(body) = &body
        && body.as_bytes() != header
    {
        return Err(mismatch(&format!(
            "MCP-Protocol-Version is '{}', the body says '{body}'",
            String::from_utf8_lossy(header)
        )));
    }
    if body.is_none() {
        return Err(missing("protocolVersion"));
    }
    if !message.client_capabilities.is_some() {
        return Err(missing("clientCapabilities"));
    }
    parse(header)
        .filter(|known| known.era() == Era::Modern)
        .ok_or_else(|| unsupported(&String::from_utf8_lossy(header)))
}

fn method(headers: &Headers<'_>, message: &Message, bytes: &[u8]) -> Result<Method, Refusal> {
    let text = super::scan::decode(message.method_text.of(bytes));
    match headers.method {
        Field::Value(header) if header == text.as_bytes() => {}
        Field::Value(header) => {
            return Err(mismatch(&format!(
                "Mcp-Method is '{}', the body says '{text}'",
                String::from_utf8_lossy(header)
            )));
        }
        Field::Absent => return Err(mismatch("Mcp-Method is missing")),
        Field::Conflicting => return Err(mismatch("Mcp-Method stands more than once")),
    }
    message
        .method
        .filter(|method| method.is_request_in(Era::Modern))
        .ok_or_else(|| unknown_method(&text))
}

fn name(
    headers: &Headers<'_>,
    message: &Message,
    bytes: &[u8],
    method: Method,
) -> Result<(), Refusal> {
    let (span, member) = match method.named() {
        Some(Named::Name) => (message.name, "name"),
        Some(Named::Uri) => (message.uri, "uri"),
        None => return Ok(()),
    };
    if !span.is_some() {
        return Err(Refusal {
            status: 400,
            code: INVALID_PARAMS,
            message: format!("params.{member} is missing"),
            data: None,
        });
    }
    let header = match headers.name {
        Field::Value(header) => header,
        Field::Absent => return Err(mismatch("Mcp-Name is missing")),
        Field::Conflicting => return Err(mismatch("Mcp-Name stands more than once")),
    };
    let Some(header) = header_text(header) else {
        return Err(mismatch("Mcp-Name holds malformed base64"));
    };
    let body = Message::text(bytes, span);
    if *header != *body.as_bytes() {
        return Err(mismatch(&format!(
            "Mcp-Name is '{}', the body says '{body}'",
            String::from_utf8_lossy(&header)
        )));
    }
    Ok(())
}

/// A mirrored value as the client meant it: plain, or `=?base64?…?=`
/// (2026-07-28 streamable-http §Value Encoding). `None` if the base64 is malformed.
#[must_use]
pub fn header_text(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let encoded = value
        .strip_prefix(b"=?base64?")
        .and_then(|rest| rest.strip_suffix(b"?="));
    match encoded {
        None => Some(Cow::Borrowed(value)),
        Some(encoded) => decode(Alphabet::Standard, encoded).map(Cow::Owned),
    }
}

fn log_level(text: &[u8]) -> Result<LogLevel, Refusal> {
    text.strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .and_then(|word| LogLevel::parse(core::str::from_utf8(word).ok()?))
        .ok_or_else(|| Refusal {
            status: 400,
            code: INVALID_PARAMS,
            message: "io.modelcontextprotocol/logLevel is not a log level".to_owned(),
            data: None,
        })
}

fn parse(text: &[u8]) -> Option<Revision> {
    Revision::parse(core::str::from_utf8(text).ok()?)
}

fn mismatch(what: &str) -> Refusal {
    Refusal {
        status: 400,
        code: HEADER_MISMATCH,
        message: format!("Header mismatch: {what}"),
        data: None,
    }
}

fn missing(member: &str) -> Refusal {
    Refusal {
        status: 400,
        code: INVALID_PARAMS,
        message: format!("params._meta lacks io.modelcontextprotocol/{member}"),
        data: None,
    }
}

fn unsupported(requested: &str) -> Refusal {
    unsupported_but(&supported(), requested)
}

fn unsupported_but(supported: &str, requested: &str) -> Refusal {
    Refusal {
        status: 400,
        code: UNSUPPORTED_VERSION,
        message: "Unsupported protocol version".to_owned(),
        data: Some(format!(
            r#"{{"supported":{supported},"requested":{}}}"#,
            string(requested)
        )),
    }
}

#[cfg(test)]
mod tests;
