//! What makes a response: the MCP gateway and the built-in pages.
#![forbid(unsafe_code)]

pub mod mcp;
