//! What the gateway says of itself: the merged capabilities and instructions of its servers,
//! as `initialize` and `server/discover` answer them.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::link::ServerState;
use crate::base::version::VERSION;
use crate::mcp::era::supported;
use crate::mcp::jsonrpc;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::scan::{member, members, same_text};

/// Longest merged instructions. They end up in a model's prompt.
const INSTRUCTIONS_BYTES_MAX: usize = 16 * 1024;

/// The features that some server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
    pub(super) subscribe: bool,
    pub(super) completions: bool,
    pub(super) logging: bool,
}

/// The gateway towards clients.
#[derive(Debug)]
pub(super) struct About {
    /// The features that some server has. One that is not known yet counts as having them:
    /// legacy clients ask once, and empty lists do no harm.
    pub(super) features: Features,
    /// Whether every server that is known speaks with a handshake only. A modern client could
    /// list here but call nothing.
    pub(super) is_legacy_only: bool,
    capabilities: String,
    instructions: String,
}

/// `serverInfo`
pub(super) fn server_info() -> String {
    format!(r#"{{"name":"ringway","title":"Ringway MCP gateway","version":"{VERSION}"}}"#)
}

impl About {
    /// From what is known of the servers, in the order of the configuration; `None` for one
    /// that has not been reached yet.
    pub(super) fn of(states: &[Option<Arc<ServerState>>]) -> Self {
        let mut features = Features::default();
        for state in states {
            let known = state
                .as_ref()
                .filter(|state| !state.capabilities.is_empty());
            features.add(known.map_or(b"", |state| &state.capabilities));
        }
        let mut known = states
            .iter()
            .flatten()
            .filter(|state| !state.revisions.is_empty())
            .peekable();
        Self {
            features,
            is_legacy_only: known.peek().is_some() && !known.any(|state| state.speaks(Era::Modern)),
            capabilities: features.declare(),
            instructions: instructions(states),
        }
    }

    /// The result of `initialize`.
    pub(super) fn initialize(&self, id: &[u8], revision: Revision) -> Bytes {
        let result = format!(
            r#"{{"protocolVersion":"{}","capabilities":{},"serverInfo":{}{}}}"#,
            revision.as_str(),
            self.capabilities,
            server_info(),
            self.instructions
        );
        jsonrpc::result(id, result.as_bytes())
    }

    /// The result of `server/discover`. Not to be kept: servers come and go.
    pub(super) fn discover(&self, id: &[u8]) -> Bytes {
        let result = format!(
            concat!(
                r#"{{"resultType":"complete","supportedVersions":{},"capabilities":{}{},"#,
                r#""ttlMs":0,"cacheScope":"private","#,
                r#""_meta":{{"io.modelcontextprotocol/serverInfo":{}}}}}"#
            ),
            supported(),
            self.capabilities,
            self.instructions,
            server_info()
        );
        jsonrpc::result(id, result.as_bytes())
    }
}

impl Features {
    /// Adds a server's `capabilities`; empty for a server that is not known yet.
    fn add(&mut self, capabilities: &[u8]) {
        if capabilities.is_empty() {
            self.tools = true;
            self.prompts = true;
            self.resources = true;
            return;
        }
        let _ = members(capabilities, |key, value| {
            let value = value.of(capabilities);
            if same_text(key, "tools") {
                self.tools = true;
            } else if same_text(key, "prompts") {
                self.prompts = true;
            } else if same_text(key, "resources") {
                self.resources = true;
                self.subscribe |= can_subscribe(value);
            } else if same_text(key, "completions") {
                self.completions = true;
            } else if same_text(key, "logging") {
                self.logging = true;
            }
        });
    }

    /// The gateway's own `capabilities`. It always tells of changed lists: servers come and go.
    fn declare(self) -> String {
        let mut parts = Vec::new();
        if self.tools {
            parts.push(r#""tools":{"listChanged":true}"#);
        }
        if self.prompts {
            parts.push(r#""prompts":{"listChanged":true}"#);
        }
        if self.resources {
            parts.push(if self.subscribe {
                r#""resources":{"listChanged":true,"subscribe":true}"#
            } else {
                r#""resources":{"listChanged":true}"#
            });
        }
        if self.completions {
            parts.push(r#""completions":{}"#);
        }
        if self.logging {
            parts.push(r#""logging":{}"#);
        }
        format!("{{{}}}", parts.join(","))
    }
}

/// Whether a `resources` capability has `subscribe`.
pub(super) fn can_subscribe(resources: &[u8]) -> bool {
    member(resources, "subscribe").is_some_and(|value| value.of(resources) == b"true")
}

/// `,"instructions":"…"`, or nothing. Those of several servers each under the server's name.
fn instructions(states: &[Option<Arc<ServerState>>]) -> String {
    let mut text = String::new();
    let several = states.len() > 1;
    for state in states.iter().flatten() {
        let Some(own) = state.instructions.as_deref().filter(|own| !own.is_empty()) else {
            continue;
        };
        if text.len() + own.len() > INSTRUCTIONS_BYTES_MAX {
            continue;
        }
        if several {
            let gap = if text.is_empty() { "" } else { "\n\n" };
            let _ = writeln!(text, "{gap}{}:", state.name);
        }
        text.push_str(own);
    }
    if text.is_empty() {
        return text;
    }
    format!(r#","instructions":{}"#, jsonrpc::string(&text))
}
