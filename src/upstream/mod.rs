//! Connections to other servers: where they are, and the connections kept open to them.
#![forbid(unsafe_code)]

mod client;
mod exchange;
pub mod group;
mod idle;

pub use crate::http::endpoint::{Endpoint, Origin, UrlError};
pub use client::{Client, Error, Limits, Parts, Request};
pub use exchange::Exchange;
