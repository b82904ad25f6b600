//! What a shard must know of a server to call it by itself. Made by the owner, immutable.

use std::collections::HashMap;
use std::sync::Arc;

use super::mirror::MirroredParam;
use crate::handler::mcp::link::{Item, ServerState, Status};
use crate::mcp::revision::{Era, Revision};

/// How a server is called.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// What the front is told.
    pub(crate) state: Arc<ServerState>,
    /// The way for modern clients.
    pub(crate) modern: Option<Modern>,
    /// The way for legacy clients.
    pub(crate) legacy: Option<Legacy>,
}

/// The way for modern clients of an HTTP server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Modern {
    /// Parameters that are mirrored into headers, by tool. Only tools that have some.
    pub(crate) mirrored: HashMap<Box<str>, Vec<MirroredParam>>,
}

/// The way for legacy clients of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Legacy {
    /// What `initialize` agreed on.
    pub(crate) revision: Revision,
    /// Whether the server hands out session ids.
    pub(crate) has_sessions: bool,
    /// Whether all calls share a channel that the owner holds (HTTP+SSE).
    pub(crate) is_channel: bool,
}

impl Route {
    /// Whether it is known what the server speaks.
    pub(crate) fn is_probed(&self) -> bool {
        self.modern.is_some() || self.legacy.is_some()
    }

    /// Why the server is down, if it is.
    pub(crate) fn down(&self) -> Option<&str> {
        match &self.state.status {
            Status::Down(reason) => Some(reason),
            Status::Idle | Status::Starting | Status::Ready => None,
        }
    }

    /// Whether a front would see no difference, and calls neither.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (&*self.state, &*other.state);
        let same = |one: &[Item], two: &[Item]| {
            one.len() == two.len() && one.iter().zip(two).all(|(a, b)| a.raw == b.raw)
        };
        one.status == two.status
            && one.transport == two.transport
            && one.revisions == two.revisions
            && one.capabilities == two.capabilities
            && one.caching == two.caching
            && one.info == two.info
            && one.instructions == two.instructions
            && one.restarts == two.restarts
            && same(&one.tools, &two.tools)
            && same(&one.prompts, &two.prompts)
            && same(&one.resources, &two.resources)
            && same(&one.templates, &two.templates)
            && self.legacy == other.legacy
            && self.modern.is_some() == other.modern.is_some()
    }

    /// Whether clients of that era can call it.
    pub(crate) fn speaks(&self, era: Era) -> bool {
        match era {
            Era::Modern => self.modern.is_some(),
            Era::Legacy => self.legacy.is_some(),
        }
    }
}
