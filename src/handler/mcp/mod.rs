//! The MCP gateway of one shard.
//!
//! `link` is the seam between its two halves: the front (clients' HTTP requests, sessions,
//! merged lists, streams) and `upstream` (servers: children, HTTP, the built-in demo).
//!
//! A request's way: `endpoint` (HTTP) → `modern` or `legacy` (the client's era) → `dispatch`
//! (whose request it is) → the server's link → `reply` (JSON or an event stream).

mod about;
mod adopt;
mod asks;
mod catalogue;
pub mod demo;
mod dispatch;
mod endpoint;
mod events;
mod former;
mod gateway;
mod legacy;
pub mod link;
mod listen;
mod modern;
pub mod peers;
mod questions;
mod reply;
mod sessions;
mod slots;
mod sse;
mod streams;
pub mod tasks;
#[cfg(test)]
mod tests;
pub mod upstream;
mod view;

pub use adopt::Named;
pub use demo::DemoLink;
pub use endpoint::HttpRequest;
pub use gateway::{Gateway, Parts};

use std::borrow::Cow;

use link::ServerId;

/// Which servers an endpoint offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope {
    /// `/mcp`: all of them, merged.
    Merged,
    /// `/mcp/{server}`: one, its names untouched.
    One(ServerId),
}

impl Scope {
    /// Whether that server is one of them.
    fn has(self, server: ServerId) -> bool {
        match self {
            Self::Merged => true,
            Self::One(only) => only == server,
        }
    }

    fn label(self) -> Cow<'static, str> {
        match self {
            Self::Merged => Cow::Borrowed(""),
            Self::One(ServerId(id)) => Cow::Owned(id.to_string()),
        }
    }
}
