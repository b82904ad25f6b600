//! A shard's own figures. Recording is an index and an addition: no atomics, no hashing, no
//! allocation except when a histogram or a label is first used.

use core::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use crate::http::Method;
use crate::mcp::revision::Era;
use crate::metrics::snapshot::{CallRow, HttpRow, ServerRow, ShardSnapshot};
use crate::metrics::{Counter, Gauge, Latency, STATUS_CLASSES, status_class};

/// Tools of one server that get a label of their own; further ones share `other`. A server may
/// change its list for ever, a time-series database may not grow for ever.
const TOOLS_PER_SERVER_MAX: usize = 512;
/// Servers that get a label of their own.
const SERVERS_MAX: usize = 1024;
const OTHER: &str = "other";
const METHODS: usize = Method::ALL.len();

/// One shard's counters, gauges and histograms.
#[derive(Debug)]
pub struct Recorder {
    is_enabled: Cell<bool>,
    shard: u16,
    counters: [Cell<u64>; Counter::ALL.len()],
    gauges: [Cell<i64>; Gauge::ALL.len()],
    handlers: RefCell<Vec<HandlerFigures>>,
    mcp: RefCell<McpFigures>,
}

/// How an MCP call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A result.
    Ok,
    /// A result with `isError`.
    ToolError,
    /// A JSON-RPC error of the server.
    Error,
    /// The server is not reachable, or its connection ended before it answered.
    Unavailable,
    /// A time limit ran out.
    TimedOut,
    /// The server answered something that is not MCP.
    Invalid,
    /// Client and server speak different eras.
    Era,
    /// Too much was under way for the server already.
    Overloaded,
    /// The client went away or cancelled.
    Cancelled,
}

impl Outcome {
    /// All of them, by index.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::ToolError,
        Self::Error,
        Self::Unavailable,
        Self::TimedOut,
        Self::Invalid,
        Self::Era,
        Self::Overloaded,
        Self::Cancelled,
    ];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Error => "error",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Invalid => "invalid_answer",
            Self::Era => "era",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Index of a tool's figures in this recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolLabel(usize);

#[derive(Debug)]
struct HandlerFigures {
    label: Arc<str>,
    statuses: [[Cell<u64>; STATUS_CLASSES.len()]; METHODS],
    under_way: [Cell<i64>; METHODS],
    latency: [RefCell<Latency>; METHODS],
}

#[derive(Debug, Default)]
struct McpFigures {
    servers: Vec<ServerFigures>,
    tools: Vec<ToolFigures>,
}

#[derive(Debug)]
struct ServerFigures {
    name: Arc<str>,
    tools: usize,
    latency: Latency,
}

#[derive(Debug)]
struct ToolFigures {
    server: usize,
    name: Arc<str>,
    calls: [[u64; Outcome::ALL.len()]; 2],
}

impl Recorder {
    /// A recorder for one shard. `handlers` are the router's labels, by index. A disabled one
    /// keeps gauges and counters and skips what is kept for each request.
    #[must_use]
    pub fn new(shard: u16, handlers: &[Arc<str>], is_enabled: bool) -> Self {
        Self {
            is_enabled: Cell::new(is_enabled),
            shard,
            counters: core::array::from_fn(|_| Cell::new(0)),
            gauges: core::array::from_fn(|_| Cell::new(0)),
            handlers: RefCell::new(handlers.iter().map(HandlerFigures::new).collect()),
            mcp: RefCell::default(),
        }
    }

    /// Which shard's it is.
    #[must_use]
    pub const fn shard(&self) -> u16 {
        self.shard
    }

    /// Another configuration holds: further labels, whose first are those known already, and
    /// whether requests are counted.
    pub fn adopt(&self, handlers: &[Arc<str>], is_enabled: bool) {
        self.is_enabled.set(is_enabled);
        let mut figures = self.handlers.borrow_mut();
        let known = figures.len();
        figures.extend(handlers.iter().skip(known).map(HandlerFigures::new));
    }

    /// Adds one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `amount`.
    pub fn add(&self, counter: Counter, amount: u64) {
        if let Some(cell) = self.counters.get(counter as usize) {
            cell.set(cell.get().wrapping_add(amount));
        }
    }

    /// Moves a gauge up or down.
    pub fn shift(&self, gauge: Gauge, by: i64) {
        if let Some(cell) = self.gauges.get(gauge as usize) {
            cell.set(cell.get() + by);
        }
    }

    /// A gauge's level.
    #[must_use]
    pub fn level(&self, gauge: Gauge) -> i64 {
        self.gauges.get(gauge as usize).map_or(0, Cell::get)
    }

    /// A counter's value.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.counters.get(counter as usize).map_or(0, Cell::get)
    }

    /// A request has been given to a handler.
    pub fn request_started(&self, handler: u16, method: Method) {
        if self.is_enabled.get() {
            self.request_under_way(handler, method, 1);
        }
    }

    /// The last byte of its response is written, or the exchange has failed.
    pub fn request_finished(&self, handler: u16, method: Method, status: u16, elapsed: Duration) {
        if !self.is_enabled.get() {
            return;
        }
        self.request_under_way(handler, method, -1);
        let handlers = self.handlers.borrow();
        let Some(figures) = handlers.get(usize::from(handler)) else {
            return;
        };
        let row = figures.statuses.get(method.index());
        if let Some(cell) = row.and_then(|row| row.get(status_class(status))) {
            cell.set(cell.get() + 1);
        }
        if let Some(latency) = figures.latency.get(method.index()) {
            latency.borrow_mut().record(elapsed);
        }
    }

    /// The label of a tool's figures; `tool` is the server's own name for it. Looked up by
    /// name: ask when the catalogue is built, not per call, and only for tools that exist.
    #[must_use]
    pub fn tool_label(&self, server: &str, tool: &str) -> ToolLabel {
        ToolLabel(self.mcp.borrow_mut().tool(server, tool))
    }

    /// A tool call has ended. `elapsed` is the time until its server had answered; none where
    /// no server was waited for.
    pub fn mcp_call(&self, tool: ToolLabel, era: Era, outcome: Outcome, elapsed: Option<Duration>) {
        if !self.is_enabled.get() {
            return;
        }
        let McpFigures { servers, tools } = &mut *self.mcp.borrow_mut();
        let Some(tool) = tools.get_mut(tool.0) else {
            return;
        };
        let row = tool.calls.get_mut(era as usize);
        if let Some(count) = row.and_then(|row| row.get_mut(outcome as usize)) {
            *count += 1;
        }
        if let (Some(elapsed), Some(server)) = (elapsed, servers.get_mut(tool.server)) {
            server.latency.record(elapsed);
        }
    }

    /// A copy that may cross threads. Rows that were never used are left out.
    #[must_use]
    pub fn snapshot(&self) -> ShardSnapshot {
        let mcp = self.mcp.borrow();
        ShardSnapshot {
            shard: self.shard,
            counters: core::array::from_fn(|at| self.counters.get(at).map_or(0, Cell::get)),
            gauges: core::array::from_fn(|at| self.gauges.get(at).map_or(0, Cell::get)),
            http: {
                let handlers = self.handlers.borrow();
                handlers.iter().flat_map(HandlerFigures::rows).collect()
            },
            calls: mcp.call_rows(),
            servers: mcp.server_rows(),
            upstreams: Vec::new(),
        }
    }

    fn request_under_way(&self, handler: u16, method: Method, by: i64) {
        let handlers = self.handlers.borrow();
        let figures = handlers.get(usize::from(handler));
        if let Some(cell) = figures.and_then(|figures| figures.under_way.get(method.index())) {
            cell.set(cell.get() + by);
        }
    }
}

impl HandlerFigures {
    fn new(label: &Arc<str>) -> Self {
        Self {
            label: Arc::clone(label),
            statuses: core::array::from_fn(|_| core::array::from_fn(|_| Cell::new(0))),
            under_way: core::array::from_fn(|_| Cell::new(0)),
            latency: core::array::from_fn(|_| RefCell::default()),
        }
    }

    fn rows(&self) -> impl Iterator<Item = HttpRow> {
        let places = self.statuses.iter().zip(&self.under_way).zip(&self.latency);
        Method::ALL.into_iter().zip(places).filter_map(
            |(method, ((statuses, under_way), latency))| {
                let row = HttpRow {
                    handler: Arc::clone(&self.label),
                    method,
                    statuses: core::array::from_fn(|at| statuses.get(at).map_or(0, Cell::get)),
                    under_way: under_way.get(),
                    latency: latency.borrow().clone(),
                };
                row.is_used().then_some(row)
            },
        )
    }
}

impl McpFigures {
    fn server(&mut self, name: &str) -> usize {
        if let Some(at) = self.servers.iter().position(|known| *known.name == *name) {
            return at;
        }
        if self.servers.len() >= SERVERS_MAX && name != OTHER {
            return self.server(OTHER);
        }
        self.servers.push(ServerFigures {
            name: name.into(),
            tools: 0,
            latency: Latency::default(),
        });
        self.servers.len() - 1
    }

    fn tool(&mut self, server: &str, name: &str) -> usize {
        let server_at = self.server(server);
        let mut tools = self.tools.iter();
        if let Some(at) = tools.position(|t| t.server == server_at && *t.name == *name) {
            return at;
        }
        if let Some(figures) = self.servers.get_mut(server_at) {
            if figures.tools >= TOOLS_PER_SERVER_MAX && name != OTHER {
                return self.tool(server, OTHER);
            }
            figures.tools += 1;
        }
        self.tools.push(ToolFigures {
            server: server_at,
            name: name.into(),
            calls: Default::default(),
        });
        self.tools.len() - 1
    }

    fn call_rows(&self) -> Vec<CallRow> {
        let mut rows = Vec::new();
        for tool in &self.tools {
            let Some(server) = self.servers.get(tool.server) else {
                continue;
            };
            for (era, outcomes) in [Era::Legacy, Era::Modern].into_iter().zip(tool.calls) {
                for (outcome, count) in Outcome::ALL.into_iter().zip(outcomes) {
                    if count > 0 {
                        rows.push(CallRow {
                            server: Arc::clone(&server.name),
                            tool: Arc::clone(&tool.name),
                            era,
                            outcome,
                            count,
                        });
                    }
                }
            }
        }
        rows
    }

    fn server_rows(&self) -> Vec<ServerRow> {
        let rows = self.servers.iter().map(|server| ServerRow {
            server: Arc::clone(&server.name),
            latency: server.latency.clone(),
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> Recorder {
        Recorder::new(0, &["none".into(), "/health".into()], true)
    }

    #[test]
    fn a_request_is_under_way_until_it_is_counted() {
        let recorder = recorder();
        recorder.request_started(1, Method::Get);
        let rows = recorder.snapshot().http;
        assert_eq!((rows[0].under_way, rows[0].statuses[1]), (1, 0));
        recorder.request_finished(1, Method::Get, 204, Duration::from_micros(90));
        let rows = recorder.snapshot().http;
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].under_way, rows[0].statuses[1]), (0, 1));
        assert_eq!(rows[0].latency.count(), 1);
    }

    #[test]
    fn tool_labels_are_bounded() {
        let recorder = recorder();
        for index in 0..TOOLS_PER_SERVER_MAX + 50 {
            let label = recorder.tool_label("a", &format!("t{index}"));
            recorder.mcp_call(label, Era::Modern, Outcome::Ok, None);
        }
        let again = recorder.tool_label("a", "t0");
        recorder.mcp_call(again, Era::Legacy, Outcome::ToolError, None);
        let rows = recorder.snapshot().calls;
        let other: Vec<_> = rows.iter().filter(|row| &*row.tool == OTHER).collect();
        assert_eq!((other.len(), other[0].count), (1, 50));
        assert_eq!(rows.len(), TOOLS_PER_SERVER_MAX + 2);
        assert_eq!(
            recorder.tool_label("b", "t0"),
            recorder.tool_label("b", "t0")
        );
        assert_ne!(recorder.tool_label("b", "t0"), again);
    }

    #[test]
    fn a_disabled_recorder_skips_requests() {
        let recorder = Recorder::new(0, &["none".into()], false);
        recorder.request_started(0, Method::Get);
        recorder.request_finished(0, Method::Get, 200, Duration::ZERO);
        recorder.count(Counter::Panics);
        let snapshot = recorder.snapshot();
        assert!(snapshot.http.is_empty());
        assert_eq!(recorder.value(Counter::Panics), 1);
    }
}
