//! From a server's response message to what the front gets.

use bytes::Bytes;

use super::json;
use crate::handler::mcp::link::Outcome;
use crate::mcp::scan::{Kind, Message};

/// A scanned response.
pub(crate) fn outcome(message: Bytes, parts: &Message) -> Outcome {
    let error = match parts.kind {
        Kind::Error => json::integer(&message, &["error", "code"]).or(Some(-32603)),
        _ => None,
    };
    Outcome {
        message,
        error,
        connect: None,
    }
}
