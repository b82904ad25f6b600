//! A copy of one shard's figures that may cross threads.

use std::sync::Arc;

use crate::http::Method;
use crate::mcp::revision::Era;
use crate::metrics::{Counter, Gauge, Latency, Outcome, STATUS_CLASSES};

/// One shard's figures at one moment.
#[derive(Clone, Debug)]
pub struct ShardSnapshot {
    /// Which shard.
    pub shard: u16,
    /// By [`Counter`].
    pub counters: [u64; Counter::ALL.len()],
    /// By [`Gauge`].
    pub gauges: [i64; Gauge::ALL.len()],
    /// Requests by handler and method.
    pub http: Vec<HttpRow>,
    /// Tool calls.
    pub calls: Vec<CallRow>,
    /// MCP servers.
    pub servers: Vec<ServerRow>,
    /// Servers of `[upstream.NAME]`.
    pub upstreams: Vec<UpstreamRow>,
}

/// Requests of one method to one handler.
#[derive(Clone, Debug)]
pub struct HttpRow {
    /// The route's template.
    pub handler: Arc<str>,
    /// The method.
    pub method: Method,
    /// Finished requests by status class.
    pub statuses: [u64; STATUS_CLASSES.len()],
    /// Requests under way.
    pub under_way: i64,
    /// How long they took.
    pub latency: Latency,
}

impl HttpRow {
    /// Whether there was ever such a request.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.under_way != 0 || self.statuses.iter().any(|&count| count > 0)
    }
}

/// Calls of one tool with one outcome.
#[derive(Clone, Debug)]
pub struct CallRow {
    /// The server's configured name.
    pub server: Arc<str>,
    /// The server's name of the tool.
    pub tool: Arc<str>,
    /// What the client spoke.
    pub era: Era,
    /// How they ended.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
}

/// One MCP server.
#[derive(Clone, Debug)]
pub struct ServerRow {
    /// The server's configured name.
    pub server: Arc<str>,
    /// How long its answers to tool calls took.
    pub latency: Latency,
}

/// One server of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamRow {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The server's address as configured.
    pub server: Arc<str>,
    /// Requests sent to it, retries among them.
    pub requests: u64,
    /// Requests sent to it after another server had failed.
    pub retries: u64,
    /// Connections begun.
    pub connects: u64,
    /// Requests without a whole answer, by why.
    pub failures: Vec<(&'static str, u64)>,
    /// Requests under way.
    pub under_way: i64,
    /// Idle connections.
    pub idle: i64,
    /// In how many shards it would be asked now.
    pub available: i64,
}
