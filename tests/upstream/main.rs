//! The gateway's side towards servers against small scripted servers that misbehave on purpose,
//! on the loopback, without the gateway's front.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod fake;
mod http;
mod shards;
mod stdio;
mod world;
