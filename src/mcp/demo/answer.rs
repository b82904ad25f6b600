//! Writes the members of a response, in the shape that the client's era wants.

use super::params::Params;
use super::{Demo, INVALID_PARAMS, Outcome, Request};
use crate::mcp::revision::Era;
use crate::mcp::vocabulary::LogLevel;

/// Appends a JSON string with its quotes.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    // Writing to memory cannot fail; a value of a broken length is impossible by construction.
    if sonic_rs::to_writer(&mut *out, text).is_err() {
        debug_assert!(false, "a string did not serialize");
        out.extend_from_slice(b"\"\"");
    }
}

/// Opens `"result":{` and writes what each modern result starts with: its type and who made
/// it (2026-07-28 basic/index §Responses). The caller appends members and closes the brace.
pub(super) fn begin(out: &mut Vec<u8>, era: Era, result_type: &str) {
    out.extend_from_slice(b"\"result\":{");
    if era == Era::Modern {
        out.extend_from_slice(b"\"resultType\":\"");
        out.extend_from_slice(result_type.as_bytes());
        out.extend_from_slice(b"\",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":");
        out.extend_from_slice(Demo::INFO.as_bytes());
        out.extend_from_slice(b"},");
    }
}

/// A whole result whose members are already JSON.
pub(super) fn result(out: &mut Vec<u8>, era: Era, members: &[u8]) -> Outcome {
    begin(out, era, "complete");
    out.extend_from_slice(members);
    out.push(b'}');
    Outcome::Result
}

/// A tool result of one text block.
pub(super) fn text(out: &mut Vec<u8>, era: Era, text: &str) -> Outcome {
    begin(out, era, "complete");
    out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
    string(out, text);
    out.extend_from_slice(b"}]}");
    Outcome::Result
}

/// A tool result that says what went wrong, for the model to read and correct.
pub(super) fn tool_error(out: &mut Vec<u8>, era: Era, text: &str) -> Outcome {
    begin(out, era, "complete");
    out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
    string(out, text);
    out.extend_from_slice(b"}],\"isError\":true}");
    Outcome::Result
}

/// A JSON-RPC error.
pub(super) fn error(out: &mut Vec<u8>, code: i32, message: &str) -> Outcome {
    error_with(out, code, message, b"")
}

/// A JSON-RPC error with `data`, which is already JSON.
pub(super) fn error_with(out: &mut Vec<u8>, code: i32, message: &str, data: &[u8]) -> Outcome {
    out.extend_from_slice(b"\"error\":{\"code\":");
    out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
    out.extend_from_slice(b",\"message\":");
    string(out, message);
    if !data.is_empty() {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
    }
    out.push(b'}');
    Outcome::Error(code)
}

/// `-32602` with a sentence.
pub(super) fn invalid(out: &mut Vec<u8>, message: &str) -> Outcome {
    error(out, INVALID_PARAMS, message)
}

/// An empty result: `ping`, and requests that the gateway has already acted on.
pub(super) fn empty(request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
    match request.era() {
        Era::Legacy => out.extend_from_slice(b"\"result\":{}"),
        Era::Modern => {
            begin(out, Era::Modern, "complete");
            out.pop(); // the comma after the members that every result has
            out.push(b'}');
        }
    }
    Outcome::Result
}

/// `logging/setLevel`: the gateway remembers the level, the demo only judges the word.
pub(super) fn set_level(request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
    if request.era() == Era::Modern {
        let message = "logging/setLevel is gone; say the level in _meta of each request";
        return error(out, super::METHOD_NOT_FOUND, message);
    }
    let level = Params::read(request.params).and_then(|params| params.level());
    match level.as_deref().and_then(LogLevel::parse) {
        Some(_) => empty(request, out),
        None => invalid(
            out,
            "level must be one of debug, info, notice, warning, error, \
             critical, alert, emergency",
        ),
    }
}

/// `notifications/message`, whole. `data` is a text.
pub(super) fn log(level: LogLevel, data: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + data.len());
    out.extend_from_slice(
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"",
    );
    out.extend_from_slice(level.as_str().as_bytes());
    out.extend_from_slice(b"\",\"logger\":\"ringway-demo\",\"data\":");
    string(&mut out, data);
    out.extend_from_slice(b"}}");
    out
}

/// `notifications/progress`, whole. The token is JSON, verbatim.
pub(super) fn progress(token: &[u8], done: u32, total: u32, message: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(144 + token.len() + message.len());
    out.extend_from_slice(
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":\
          {\"progressToken\":",
    );
    out.extend_from_slice(token);
    out.extend_from_slice(
        format!(",\"progress\":{done},\"total\":{total},\"message\":").as_bytes(),
    );
    string(&mut out, message);
    out.extend_from_slice(b"}}");
    out
}
