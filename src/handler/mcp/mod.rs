//! The MCP gateway of one shard.
//!
//! `link` is the seam between its two halves: the front (clients' HTTP requests, sessions,
//! merged lists, streams) and `upstream` (servers: children, HTTP, the built-in demo).

pub mod link;
pub mod peers;
pub mod tasks;
