//! Connections to other servers: where they are, and the connections kept open to them.
#![forbid(unsafe_code)]

mod client;
mod endpoint;
mod exchange;

pub use client::{Client, Error, Limits, Parts, Request};
pub use endpoint::{Endpoint, Origin, UrlError};
pub use exchange::Exchange;
