//! `[mcp.servers.*]`: one MCP server. `server_entry` makes one of what was written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::kinds::{Count, Period, words};
use crate::config::read::{Hidden, Map, Placed, section};
use crate::config::redact;
use crate::config::units::DAY_MS;
use crate::mcp::revision::Era;

section! {
    /// One MCP server: `command` for a child process, or `url`. All names that MCP clients use
    /// for these fields are understood too.
    RawEntry {
        /// Program to start, looked up on PATH.
        command: Placed<String>,
        /// Its arguments.
        args: Vec<Hidden>,
        /// Variables added to the gateway's own environment.
        env: Map<Hidden>,
        /// File with further variables, one NAME=value a line.
        env_file: Placed<String>,
        /// Working directory.
        cwd: String,
        /// Endpoint of a server that runs elsewhere.
        url: Placed<String>,
        /// How to speak to it; by default found out.
        transport: Placed<String>,
        /// Headers sent with every request.
        headers: Map<Hidden>,
        /// Which tools are offered.
        tools: RawTools,
        /// How long a call may be silent; progress resets it.
        timeout: Period<1, DAY_MS>,
        /// Time to connect, or for the child to start and answer.
        connect_timeout: Period<1, DAY_MS>,
        /// Time to the first byte of an answer; by default `timeout`.
        first_byte_timeout: Period<1, DAY_MS>,
        /// Time between two messages of an answer; by default `timeout`.
        idle_timeout: Period<1, DAY_MS>,
        /// Time for a whole call; progress does not reset it.
        total_timeout: Period<1, { 7 * DAY_MS }>,
        /// Switches the server off.
        disabled: bool,
        /// Which era of the protocol it speaks; by default found out.
        era: EraWord,
        /// Whether clients share its session or child.
        isolate: IsolateWord,
        /// Starts the child with the gateway (default); false waits for the first client that
        /// needs it.
        eager: bool,
        /// Calls under way at once; more are refused.
        max_in_flight: Count<1, 100_000>,
    }
}

section! {
    /// Which tools are offered; `*` stands for any run of characters, deny wins.
    RawTools {
        /// Empty allows everything.
        allow: Vec<String>,
        /// Taken away after `allow`.
        deny: Vec<String>,
    }
}

words! {
    /// `era`
    EraWord(Option<Era>) {
        "auto" => None,
        "legacy" => Some(Era::Legacy),
        "modern" => Some(Era::Modern),
    }
}

words! {
    /// `isolate`
    IsolateWord(Isolate) {
        "auto" => Isolate::Auto,
        "shared" => Isolate::Shared,
        "session" => Isolate::Session,
    }
}

/// One MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServer {
    /// Its name, unique.
    pub name: Arc<str>,
    /// How it is reached.
    pub target: McpTarget,
    /// Command line or URL as the file says it, before `${VAR}` was filled in: safe to show.
    pub shown: String,
    /// Which tools are offered.
    pub tools: ToolFilter,
    /// Which era to use; `None` probes.
    pub era: Option<Era>,
    /// Time limits.
    pub timeouts: McpTimeouts,
    /// Whether clients share the server's session or child.
    pub isolate: Isolate,
    /// Start the child with the gateway instead of at the first need.
    pub eager: bool,
    /// Calls under way at once; more are refused.
    pub max_in_flight: usize,
}

/// How a server is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum McpTarget {
    /// A child process.
    Stdio {
        /// Program, looked up on PATH.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables added to the gateway's own environment.
        env: BTreeMap<String, String>,
        /// Working directory.
        cwd: Option<PathBuf>,
    },
    /// An HTTP endpoint.
    Http {
        /// `http://` or `https://` URL.
        url: String,
        /// Sent with every request.
        headers: Vec<(String, String)>,
        /// Insist on HTTP+SSE of 2024-11-05 (`type = "sse"`).
        sse: bool,
    },
}

/// Allow and deny lists of tool names; `*` matches any run of characters. Deny wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolFilter {
    /// Empty allows everything.
    pub allow: Vec<String>,
    /// Removed after `allow`.
    pub deny: Vec<String>,
}

/// Time limits of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McpTimeouts {
    /// To connect, or for the child to start and answer the first message.
    pub connect: Duration,
    /// To the first byte of an answer.
    pub first_byte: Duration,
    /// Between two messages of an answer; progress resets it.
    pub idle: Duration,
    /// For the whole call; progress does not reset it.
    pub total: Duration,
}

/// Whether clients share a server's session or child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolate {
    /// Shared, unless the server hands out a session id.
    Auto,
    /// Always shared.
    Shared,
    /// One for each client session.
    Session,
}

/// A child may have to download its package first (npx, uvx), so it gets longer than a connect.
const STDIO_START: Duration = Duration::from_secs(60);
const HTTP_CONNECT: Duration = Duration::from_secs(10);
/// Clients give up after 60 s or later by themselves; the gateway must not be the first to.
const CALL_SILENCE: Duration = Duration::from_secs(300);
const CALL_TOTAL: Duration = Duration::from_secs(3600);

impl McpServer {
    /// A server with default settings.
    #[must_use]
    pub fn new(name: &str, target: McpTarget) -> Self {
        Self {
            name: Arc::from(name),
            shown: redact::target(&target),
            timeouts: McpTimeouts::for_target(&target),
            target,
            tools: ToolFilter::default(),
            era: None,
            isolate: Isolate::Auto,
            eager: true,
            max_in_flight: 256,
        }
    }
}

impl McpTimeouts {
    /// The defaults, which differ in how long a start may take.
    #[must_use]
    pub const fn for_target(target: &McpTarget) -> Self {
        Self {
            connect: match target {
                McpTarget::Stdio { .. } => STDIO_START,
                McpTarget::Http { .. } => HTTP_CONNECT,
            },
            first_byte: CALL_SILENCE,
            idle: CALL_SILENCE,
            total: CALL_TOTAL,
        }
    }
}
