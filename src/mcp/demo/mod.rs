//! The built-in demo server: small tools, resources and prompts that show each feature of the
//! protocol with no other software, and the fixtures that the conformance runner asks for.
//!
//! It serves both eras and touches no socket, no clock and no random source: a request either
//! finishes at once ([`Demo::handle`] writes the answer into the caller's buffer) or becomes a
//! [`Script`], a small machine that says what to do next and is resumed when that is done.
//! Lists, `initialize`, `server/discover`, sessions and streams are the gateway's; the demo only
//! contributes its [`Lists`].

mod answer;
mod arguments;
mod catalog;
mod completion;
mod dialogue;
mod fixtures;
mod media;
mod params;
mod prompts;
mod questions;
mod resources;
mod schema;
mod script;
mod state;
#[cfg(test)]
mod tests;
mod tools;
mod topics;

use std::sync::Arc;
use std::time::Duration;

pub use catalog::Lists;
pub use script::{Input, Script, Step};

use crate::base::clock::Now;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::vocabulary::{ClientCapabilities, LogLevel};

/// JSON-RPC: the method does not exist.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// JSON-RPC: the parameters are wrong; also an unknown tool, prompt or (modern) resource.
pub const INVALID_PARAMS: i32 = -32602;
/// JSON-RPC: something went wrong that the client cannot help.
pub const INTERNAL_ERROR: i32 = -32603;
/// Legacy: no such resource (2025-11-25 server/resources §Error Handling).
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// Modern: the client did not declare a capability that the request needs
/// (2026-07-28 basic/index §Error Codes). HTTP answers it with 400.
pub const MISSING_CAPABILITY: i32 = -32021;

/// The demo server. Immutable and cheap to clone; each shard has its own.
#[derive(Clone, Debug)]
pub struct Demo {
    catalog: Arc<catalog::Catalog>,
    states: state::Sealer,
}

/// One request, as far as the demo needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The JSON-RPC method.
    pub method: &'a str,
    /// The `params` object, verbatim, from a message that [`crate::mcp::scan`] has been over;
    /// empty where the request has none.
    pub params: &'a [u8],
    /// What the client speaks; decides the shape of the answer.
    pub revision: Revision,
    /// What the client can be asked for.
    pub capabilities: ClientCapabilities,
    /// Least severe log message that the client wants; `None` sends none. Modern: from
    /// `_meta`. Legacy: what `logging/setLevel` said; pass `Some(Info)` before it did.
    pub log_level: Option<LogLevel>,
    /// `params._meta.progressToken` as JSON, verbatim; `None` sends no progress.
    pub progress_token: Option<&'a [u8]>,
    /// Whom the client acts for, empty where that is not known. A `requestState` that was
    /// given to one principal is refused from another.
    pub principal: &'a [u8],
    /// This moment.
    pub now: Now,
}

impl Request<'_> {
    const fn era(&self) -> Era {
        self.revision.era()
    }
}

/// What became of a request.
#[derive(Debug)]
#[must_use]
pub enum Handled {
    /// The answer is in the buffer.
    Finished(Outcome),
    /// Drive the script to its end; dropping it cancels the call.
    Running(Box<Script>),
}

/// Which member of the JSON-RPC response was appended to the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `"result":{…}`
    Result,
    /// `"error":{…}` with this code.
    Error(i32),
}

/// A list that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the list of that name")]
pub enum List {
    Tools,
    Prompts,
}

/// How often each list has changed since the process started; odd numbers have one entry more.
/// Kept by the owner of the demo's state and handed back to [`Demo::lists`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field counts the list of that name")]
pub struct Generation {
    pub tools: u32,
    pub prompts: u32,
}

impl Generation {
    /// The generation after a [`Step::Changed`].
    #[must_use]
    pub const fn after(self, changed: List) -> Self {
        match changed {
            List::Tools => Self {
                tools: self.tools.wrapping_add(1),
                ..self
            },
            List::Prompts => Self {
                prompts: self.prompts.wrapping_add(1),
                ..self
            },
        }
    }
}

impl Demo {
    /// The revisions it speaks.
    pub const REVISIONS: [Revision; 4] = [
        Revision::V2026_07_28,
        Revision::V2025_11_25,
        Revision::V2025_06_18,
        Revision::V2025_03_26,
    ];
    /// Its `serverInfo`.
    pub const INFO: &'static str = concat!(
        r#"{"name":"ringway-demo","title":"Ringway demo server","version":""#,
        env!("CARGO_PKG_VERSION"),
        r#""}"#
    );
    /// Its capabilities, the same in both eras except that modern clients have no use for
    /// `logging`, which each request asks for by itself.
    pub const CAPABILITIES: &'static str = concat!(
        r#"{"completions":{},"logging":{},"prompts":{"listChanged":true},"#,
        r#""resources":{"listChanged":true,"subscribe":true},"tools":{"listChanged":true}}"#
    );
    /// Its instructions.
    pub const INSTRUCTIONS: &'static str = "Small tools that show what the gateway can do: \
        start with echo, add and slow. Tools and prompts that start with test_ are fixtures \
        for the MCP conformance suite.";

    /// `secret` authenticates `requestState`; shards and replicas that share it accept each
    /// other's.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            catalog: Arc::new(catalog::Catalog::new()),
            states: state::Sealer::new(secret),
        }
    }

    /// What it offers, in the order in which it should be shown.
    #[must_use]
    pub fn lists(&self, generation: Generation) -> Lists {
        self.catalog.lists(generation)
    }

    /// How often a resource changes while someone watches it; `None` if it never does or does
    /// not exist. The caller owns the timer and sends [`Self::updated`] at each tick.
    #[must_use]
    pub fn watch_interval(&self, uri: &str) -> Option<Duration> {
        resources::watch_interval(uri)
    }

    /// The `notifications/resources/updated` of a resource, whole.
    #[must_use]
    pub fn updated(&self, uri: &str) -> Vec<u8> {
        resources::updated(uri)
    }

    /// Answers a request or starts a script. What is appended to `out` is the rest of the
    /// JSON-RPC response after its `id`: one member, `"result":…` or `"error":…`.
    pub fn handle(&self, request: &Request<'_>, out: &mut Vec<u8>) -> Handled {
        let finished = match request.method {
            "tools/call" => return tools::call(self, request, out),
            "prompts/get" => return prompts::get(self, request, out),
            "resources/read" => resources::read(request, out),
            "resources/subscribe" | "resources/unsubscribe" => resources::watch(request, out),
            "completion/complete" => completion::complete(&self.catalog, request, out),
            "logging/setLevel" => answer::set_level(request, out),
            "ping" if request.era() == Era::Legacy => answer::empty(request, out),
            method => answer::error(
                out,
                METHOD_NOT_FOUND,
                &format!("The demo server has no method {method}"),
            ),
        };
        Handled::Finished(finished)
    }
}
