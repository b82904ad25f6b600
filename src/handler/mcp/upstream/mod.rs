//! The servers of the gateway: children on stdio, Streamable HTTP of both eras, HTTP+SSE.

mod adopt;
mod backoff;
mod catalogue;
mod duplex;
mod early;
mod filter;
mod http;
mod hub;
mod json;
mod lines;
mod listen;
mod listing;
mod meet;
pub(crate) mod mirror;
mod mux;
mod outcome;
mod owner;
mod probe;
mod relay;
mod requests;
mod rewrite;
mod route;
mod servers;
mod shake;
mod shard;
mod sse;
mod stdio;
mod way;
mod wire;

pub use servers::Servers;
pub use shard::Shard;
pub use wire::Wires;
