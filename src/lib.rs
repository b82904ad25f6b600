//! One binary in front of MCP servers: gateway and edge server, thread-per-core on io_uring.
//!
//! Modules are listed in layer order: a module may use those above its own line, never those
//! below. `tests/tidy.rs` enforces it; `docs/ARCHITECTURE.md` explains it.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests fail by panicking"
    )
)]

pub mod base;
pub mod http;
pub mod mcp;
pub mod metrics;

pub mod balance;
pub mod cache;
pub mod config;
pub mod filter;
pub mod route;
pub mod tls;

pub mod net;

pub mod upstream;

pub mod handler;
pub mod record;

pub mod server;

pub mod shard;

pub mod cli;
pub mod supervisor;
