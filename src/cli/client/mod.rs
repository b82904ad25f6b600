//! A small MCP client on blocking sockets: `ringway tools` and `ringway call`.
//!
//! It asks in the modern way (2026-07-28) first and falls back to `initialize`, then to HTTP+SSE
//! of 2024-11-05, as the specification says (basic/transports/streamable-http §Backward
//! Compatibility).

mod attendant;
mod elicit;
mod error;
mod handshake;
mod http;
mod message;
mod session;
#[cfg(test)]
mod tests;
mod trust;
mod wire;

use std::time::Duration;

use crate::http::endpoint::Endpoint;

pub(super) use attendant::{Attendant, plain};
pub(super) use error::ClientError;
pub(super) use http::Manner;
pub(super) use message::quoted;
pub(super) use session::{Ask, EraChoice, Reply, Session, Settings};
pub(super) use trust::Trust;

/// Status and content of a page.
pub(super) fn page(
    endpoint: &Endpoint,
    timeout: Duration,
    manner: Manner,
) -> Result<(u16, Vec<u8>), ClientError> {
    let mut wire = wire::Wire {
        http: http::Http::new(endpoint, timeout, manner),
        endpoint: endpoint.clone(),
        headers: Vec::new(),
    };
    wire.page()
}
