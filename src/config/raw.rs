//! What a configuration file may say, key by key. No defaults and no decisions here: those are
//! in `defaults` and `resolve`. The comments are the reference that `ringway config schema` prints.

use super::kinds::{Address, Count, Period, Size, words};
use super::read::{Hidden, Map, Placed, section};
use super::server_entry::Entries;
use super::{Builtin, Driver, Isolate, Level, LogFormat, Namespace};
use crate::mcp::revision::Era;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const GIB: u64 = 1 << 30;

section! {
    /// ringway.toml
    RawConfig {
        /// Threads, limits and timeouts.
        server: RawServer,
        /// What is logged, and where.
        log: RawLog,
        /// Metrics.
        metrics: RawMetrics,
        /// Addresses to listen on.
        listener: Vec<RawListener>,
        /// Headers added to every response.
        headers: Map<Hidden>,
        /// Who answers which paths, besides the built-in routes.
        route: Vec<RawRoute>,
        /// The MCP gateway and its servers.
        mcp: RawMcp,
    }
}

section! {
    /// Threads, limits and timeouts.
    RawServer {
        /// Number of shards (threads); "auto" is one for each allowed core. Also WORKERS.
        shards: Shards,
        /// How to wait for the kernel; "auto" takes the best that works.
        driver: DriverWord,
        /// Accept queue of each listener.
        backlog: Count<1, 65535>,
        /// Connections per shard; more are refused.
        max_connections: Count<1, 1_000_000>,
        /// How long an idle connection stays open.
        keepalive_timeout: Period<0, DAY_MS>,
        /// Requests per connection; 0 is no limit.
        keepalive_requests: Count<0, { u64::MAX }>,
        /// Time for a whole request head to arrive.
        client_header_timeout: Period<1, DAY_MS>,
        /// Time between two reads of a request body.
        client_body_timeout: Period<1, DAY_MS>,
        /// Time between two writes of a response.
        send_timeout: Period<1, DAY_MS>,
        /// Time for requests in flight to finish at shutdown.
        graceful_timeout: Period<0, DAY_MS>,
        /// Largest request body.
        max_body_size: Size<0, { 64 * GIB }>,
        /// Largest request head: count × size, one field at most size.
        header_buffers: RawHeaderBuffers,
        /// Value of X-Server; empty switches X-Server and X-Process-Time off.
        server_header: Placed<String>,
        /// Whether /health, /version, /api/v1/…, /metrics, /docs and /mcp exist without a
        /// route for them.
        default_routes: bool,
        /// Indented JSON by default. Also ENV=development.
        development: bool,
    }
}

section! {
    /// Room for a request head.
    RawHeaderBuffers {
        /// How many buffers.
        count: Count<1, 64>,
        /// Bytes in each.
        size: Size<256, { 1 << 20 }>,
    }
}

section! {
    /// What is logged, and where.
    RawLog {
        /// Lines below this level are not written. Also LOG_LEVEL.
        level: LevelWord,
        /// Access log: a path, "-" for standard output, or "off".
        access: String,
        /// Format of the access log.
        format: FormatWord,
    }
}

section! {
    /// Metrics.
    RawMetrics {
        /// Whether metrics are kept and /metrics answers. Also ENABLE_METRICS.
        enabled: bool,
    }
}

section! {
    /// An address to listen on.
    RawListener {
        /// Address and port, for example "127.0.0.1:4444".
        address: Placed<Address>,
    }
}

section! {
    /// Who answers a path.
    RawRoute {
        /// "/x/" is every path below, "=/x" that path alone; the longest wins.
        path: Placed<String>,
        /// A built-in page.
        builtin: BuiltinWord,
        /// The MCP gateway, at this path and below.
        mcp: bool,
    }
}

section! {
    /// The MCP gateway and its servers.
    RawMcp {
        /// The JSON file of MCP clients (mcpServers); relative to this file.
        servers_file: Placed<String>,
        /// When tool names get the server's name in front.
        namespace: NamespaceWord,
        /// Servers by name.
        servers: Entries,
        /// Whether the built-in demo server is offered; by default only if there is no other.
        demo: bool,
        /// Origin values that browsers may send, besides this machine's own; "*" allows all.
        allowed_origins: Placed<Vec<String>>,
        /// Key for session ids, the same on all replicas: 64 hexadecimal digits, or a random
        /// text of at least 32 characters.
        secret: Placed<Hidden>,
        /// Interval of the comments that keep event streams open.
        heartbeat: Period<1_000, HOUR_MS>,
        /// Open event streams per shard.
        max_streams: Count<1, 1_000_000>,
        /// Largest message from a server.
        max_message_size: Size<1024, { 4 * GIB }>,
    }
}

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
        /// Starts the child at once instead of at its first use.
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
    /// `driver`
    DriverWord(Option<Driver>) {
        "auto" => None,
        "defer" => Some(Driver::UringDefer),
        "coop" => Some(Driver::UringCoop),
        "uring" => Some(Driver::Uring),
        "epoll" => Some(Driver::Epoll),
    }
}

words! {
    /// `level`; Gunicorn's and nginx's words are understood.
    LevelWord(Level) {
        "error" | "critical" | "crit" | "alert" | "emerg" | "fatal" => Level::Error,
        "warn" | "warning" => Level::Warn,
        "info" | "notice" => Level::Info,
        "debug" | "trace" => Level::Debug,
    }
}

words! {
    /// `format`
    FormatWord(LogFormat) {
        "main" => LogFormat::Main,
        "combined" => LogFormat::Combined,
        "json" => LogFormat::Json,
    }
}

words! {
    /// `builtin`
    BuiltinWord(Builtin) {
        "health" => Builtin::Health,
        "version" => Builtin::Version,
        "config" => Builtin::Config,
        "servers" => Builtin::Servers,
        "tools" => Builtin::Tools,
        "metrics" => Builtin::Metrics,
        "docs" => Builtin::Docs,
        "openapi" => Builtin::OpenApi,
        "index" => Builtin::Index,
        "events" => Builtin::Events,
        "echo" => Builtin::Echo,
    }
}

words! {
    /// `namespace`
    NamespaceWord(Namespace) {
        "always" => Namespace::Always,
        "auto" => Namespace::Auto,
        "never" => Namespace::Never,
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

/// `shards`: a number or "auto".
#[derive(Clone, Copy, Debug)]
pub(super) struct Shards(pub(super) Option<usize>);

/// More threads than any machine has cores is a slip of the pen.
const SHARDS_MAX: u64 = 1024;

impl super::read::Read for Shards {
    fn read(
        node: &super::node::Node,
        key: &str,
        found: &mut super::problem::Findings,
    ) -> Option<Self> {
        if node.as_text().is_some_and(|text| text.filled == "auto") {
            return Some(Self(None));
        }
        let Count(count) = Count::<1, SHARDS_MAX>::read(node, key, found)?;
        Some(Self(usize::try_from(count).ok()))
    }
}

impl schemars::JsonSchema for Shards {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Shards".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [
                { "const": "auto" },
                { "type": "integer", "minimum": 1, "maximum": SHARDS_MAX },
            ],
        })
    }
}
