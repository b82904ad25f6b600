//! The resolved configuration: read-only, complete, what the program sees.
//!
//! `load` reads files and the environment, `raw` mirrors what they may say, `resolve` turns that
//! into [`Config`]. Values that may hold secrets never reach `Debug` output.
#![forbid(unsafe_code)]

mod defaults;
mod dotenv;
mod env;
mod expand;
mod gather;
mod kinds;
mod load;
mod loops;
mod mcp_json;
mod node;
mod problem;
mod raw;
mod read;
pub mod redact;
mod resolve;
mod schema;
mod server_entry;
mod synonyms;
#[cfg(test)]
mod tests;
pub mod units;

pub use defaults::PORT;
pub use env::Flags;
pub use expand::Env;
pub use load::{DEFAULT_FILE, Loaded, Options, load};
pub use problem::Problem;
pub use schema::json_schema;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::base::log::Level;

/// Everything the program was told, resolved. Handed to each shard whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[[listener]]`, at least one.
    pub listeners: Vec<Listener>,
    /// `[headers]`: added to every response, in order.
    pub headers: Vec<(String, String)>,
    /// `[[route]]`; the built-in ones are already in.
    pub routes: Vec<Route>,
    /// `[mcp]`
    pub mcp: Mcp,
    /// Whether metrics are kept and `/metrics` answers (ENABLE_METRICS).
    pub metrics: bool,
    /// ENV=development: indented JSON by default.
    pub development: bool,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Number of shards; `None` means one for each allowed core.
    pub shards: Option<usize>,
    /// Which driver to insist on; `None` probes.
    pub driver: Option<Driver>,
    /// Accept queue of each listener.
    pub backlog: u32,
    /// Connections per shard.
    pub max_connections: usize,
    /// Idle time between requests.
    pub keepalive_timeout: Duration,
    /// Requests per connection; 0 means no limit.
    pub keepalive_requests: u64,
    /// Time for a whole head to arrive.
    pub client_header_timeout: Duration,
    /// Time between two reads of a body.
    pub client_body_timeout: Duration,
    /// Time between two writes of a response.
    pub send_timeout: Duration,
    /// Time for requests in flight to finish at shutdown.
    pub graceful_timeout: Duration,
    /// Largest request body in bytes.
    pub max_body_size: u64,
    /// Largest head: count × size bytes in all, one field at most `size`.
    pub header_buffers: HeaderBuffers,
    /// Value of `X-Server`; empty switches it and `X-Process-Time` off.
    pub server_header: String,
}

/// `header_buffers`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderBuffers {
    /// How many.
    pub count: usize,
    /// Bytes each.
    pub size: usize,
}

/// How shards wait for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1).
    UringDefer,
    /// io_uring with COOP_TASKRUN (Linux 5.19).
    UringCoop,
    /// io_uring without flags (Linux 5.10).
    Uring,
    /// epoll.
    Epoll,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Lines below this level are not written.
    pub level: Level,
    /// Access log target.
    pub access: AccessLog,
    /// Access log format.
    pub format: LogFormat,
}

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// What an access log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// nginx's `main` of the seed.
    Main,
    /// nginx's and Apache's `combined`.
    Combined,
    /// One JSON object a line.
    Json,
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen.
    pub address: SocketAddr,
}

/// `[[route]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths.
    pub path: PathRule,
    /// Who answers.
    pub handler: Handler,
}

/// The `path` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// `"=/x"`: that path alone.
    Exact(String),
    /// `"/x/"`: every path that starts with it; the longest wins.
    Prefix(String),
}

/// Who answers a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `builtin = "…"`
    Builtin(Builtin),
    /// `mcp = true`: the gateway, at this path and below.
    Mcp,
}

/// The built-in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the page of that name")]
pub enum Builtin {
    /// `/`: what runs here and how to connect.
    Index,
    /// /health, /health/live, /health/ready
    Health,
    Version,
    /// /api/v1/config
    Config,
    /// /api/v1/servers
    Servers,
    /// /api/v1/tools
    Tools,
    Metrics,
    Docs,
    /// /openapi.json
    OpenApi,
    /// /api/v1/sse: live figures of each shard, one event a second.
    Events,
    /// Answers any request with a JSON description of it.
    Echo,
}

/// `[mcp]`
#[derive(Clone)]
pub struct Mcp {
    /// When tool and prompt names get the server's name in front.
    pub namespace: Namespace,
    /// Servers in the order of the files, `disabled` ones left out.
    pub servers: Vec<McpServer>,
    /// Servers that cannot be used, and why: shown in /api/v1/servers, never fatal.
    pub refused: Vec<(String, String)>,
    /// Whether the demo server is offered (it is when no server is configured).
    pub demo: bool,
    /// Allowed `Origin` values besides this machine's own; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Key for sealed ids, 32 bytes; `None` means a random one at start.
    pub secret: Option<[u8; 32]>,
    /// Interval of comment heartbeats on streams.
    pub heartbeat: Duration,
    /// Open streams per shard.
    pub max_streams: usize,
    /// Largest message from a server in bytes.
    pub max_message_size: usize,
}

/// When names get a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the three words of the configuration")]
pub enum Namespace {
    Always,
    Auto,
    Never,
}

/// One MCP server.
#[derive(Clone, Debug)]
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
    pub era: Option<crate::mcp::revision::Era>,
    /// Time limits.
    pub timeouts: McpTimeouts,
    /// Whether clients share the server's session or child.
    pub isolate: Isolate,
    /// Start the child at once instead of at the first use.
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
