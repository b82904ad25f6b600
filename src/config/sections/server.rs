//! `[server]`: threads, limits and timeouts.

use std::path::PathBuf;
use std::time::Duration;

use super::Around;
use super::http2::{self, Http2, RawHttp2};
use crate::base::driver::Driver;
use crate::config::kinds::{Count, Period, Size, words};
use crate::config::node::Node;
use crate::config::problem::{At, Findings, Problem};
use crate::config::read::{Placed, Read, section};
use crate::config::server_entry::check_header;
use crate::config::units::{DAY_MS, GIB, format_size, to_usize};

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
        /// Connections of one client address on all shards together (IPv6: of a /64); 0 is no
        /// limit.
        max_connections_per_ip: Count<0, 1_000_000>,
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
        /// Time between the word that the end is near (/health/ready answers 503) and the end of
        /// accepting, so that load balancers turn away first.
        drain_delay: Period<0, DAY_MS>,
        /// Reads the configuration again when one of its files changes; the default in
        /// development. SIGHUP always does.
        reload: bool,
        /// Largest request body.
        max_body_size: Size<0, { 64 * GIB }>,
        /// Largest request head: count × size, one field at most size.
        header_buffers: Placed<RawHeaderBuffers>,
        /// Limits of HTTP/2 connections.
        http2: Placed<RawHttp2>,
        /// Closes a connection whose client does not take its response in time with a reset, so
        /// that the kernel keeps nothing of it.
        reset_timedout_connection: bool,
        /// File for the number of the process; locked while it runs, removed at its end.
        pidfile: Placed<String>,
        /// Value of X-Server; empty switches X-Server and X-Process-Time off.
        server_header: Placed<String>,
        /// Server: no field ("off"), "ringway" ("name"), or that with the version ("version").
        server_tokens: TokensWord,
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

words! {
    /// `server_tokens`
    TokensWord(&'static str) {
        "off" => "",
        "name" => "ringway",
        "version" => concat!("ringway/", env!("CARGO_PKG_VERSION")),
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

/// `shards`: a number or "auto".
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Shards(Option<usize>);

/// A head may take so much of every connection; the seed's takes 64 KiB.
const HEAD_BYTES_MAX: usize = 4 << 20;

/// More threads than any machine has cores is a slip of the pen.
const SHARDS_MAX: u64 = 1024;

impl Read for Shards {
    fn read(node: &Node, key: &str, found: &mut Findings) -> Option<Self> {
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
    /// Connections of one client address on all shards together; `None` is no limit.
    pub max_connections_per_ip: Option<u32>,
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
    /// Time between not being ready and not accepting, at shutdown.
    pub drain_delay: Duration,
    /// Largest request body in bytes.
    pub max_body_size: u64,
    /// Largest head: count × size bytes in all, one field at most `size`.
    pub header_buffers: HeaderBuffers,
    /// `[server.http2]`
    pub http2: Http2,
    /// Reset a connection whose client does not take its response in time.
    pub reset_timedout_connection: bool,
    /// File for the number of the process.
    pub pidfile: Option<PathBuf>,
    /// Value of `X-Server`; empty switches it and `X-Process-Time` off.
    pub server_header: String,
    /// Value of `Server`; empty switches it off.
    pub server_tokens: &'static str,
}

/// `header_buffers`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderBuffers {
    /// How many.
    pub count: usize,
    /// Bytes each.
    pub size: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            shards: None,
            driver: None,
            backlog: 2048,
            max_connections: 4096,
            max_connections_per_ip: None,
            keepalive_timeout: Duration::from_secs(65),
            keepalive_requests: 100,
            client_header_timeout: Duration::from_secs(10),
            client_body_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(10),
            graceful_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            max_body_size: 10 << 20,
            header_buffers: HeaderBuffers {
                count: 4,
                size: 16 << 10,
            },
            http2: Http2::default(),
            reset_timedout_connection: true,
            pidfile: None,
            server_header: "MCP-Gateway".to_owned(),
            server_tokens: "",
        }
    }
}

pub(super) fn resolve(raw: RawServer, around: &Around<'_>, found: &mut Findings) -> Server {
    let defaults = Server::default();
    let (buffers, buffers_at) = split(raw.header_buffers);
    let (http2, http2_at) = split(raw.http2);
    if let Some(header) = &raw.server_header
        && check_header("X-Server", &header.value).is_err()
    {
        let problem = Problem::new(&header.at, "server.server_header", "not a header value");
        found.errors.push(problem);
    }
    macro_rules! or_default {
        ($field:ident) => {
            raw.$field.map_or(defaults.$field, |value| value.0)
        };
    }
    let server = Server {
        shards: raw.shards.and_then(|shards| shards.0),
        driver: raw.driver.and_then(|driver| driver.0),
        backlog: raw.backlog.map_or(defaults.backlog, |count| {
            u32::try_from(count.0).unwrap_or(u32::MAX)
        }),
        max_connections_per_ip: raw
            .max_connections_per_ip
            .and_then(|count| u32::try_from(count.0).ok())
            .filter(|count| *count > 0),
        max_connections: raw
            .max_connections
            .map_or(defaults.max_connections, |count| to_usize(count.0)),
        keepalive_timeout: or_default!(keepalive_timeout),
        keepalive_requests: or_default!(keepalive_requests),
        client_header_timeout: or_default!(client_header_timeout),
        client_body_timeout: or_default!(client_body_timeout),
        send_timeout: or_default!(send_timeout),
        graceful_timeout: or_default!(graceful_timeout),
        drain_delay: or_default!(drain_delay),
        max_body_size: or_default!(max_body_size),
        header_buffers: HeaderBuffers {
            count: buffers
                .count
                .map_or(defaults.header_buffers.count, |count| to_usize(count.0)),
            size: buffers
                .size
                .map_or(defaults.header_buffers.size, |size| to_usize(size.0)),
        },
        http2: http2::resolve(&http2, raw.keepalive_requests.map(|count| count.0)),
        reset_timedout_connection: raw
            .reset_timedout_connection
            .unwrap_or(defaults.reset_timedout_connection),
        pidfile: raw.pidfile.and_then(|path| {
            let place = (&path.at, "server.pidfile");
            around.file_to_write(&path.value, place, found)
        }),
        server_header: raw
            .server_header
            .map_or(defaults.server_header, |header| header.value),
        server_tokens: or_default!(server_tokens),
    };
    check_limits(&server, (buffers_at.as_ref(), http2_at.as_ref()), found);
    server
}

/// A section and where it stands; if it is not there, its defaults.
fn split<T: Default>(placed: Option<Placed<T>>) -> (T, Option<At>) {
    match placed {
        Some(Placed { at, value }) => (value, Some(at)),
        None => (T::default(), None),
    }
}

/// Limits that contradict one another. The defaults do not, so that whatever does was written.
fn check_limits(
    server: &Server,
    (buffers, http2): (Option<&At>, Option<&At>),
    found: &mut Findings,
) {
    let mut refuse = |at: Option<&At>, key: &str, message: String, hint: &str| {
        if let Some(at) = at {
            let problem = Problem::new(at, key, message).hint(hint);
            found.errors.push(problem);
        }
    };
    let HeaderBuffers { count, size } = server.header_buffers;
    let head_bytes = count.saturating_mul(size);
    if head_bytes > HEAD_BYTES_MAX {
        let shown = format_size(head_bytes as u64);
        let message = format!(
            "{count} times {} is {shown} for one head",
            format_size(size as u64)
        );
        let hint = format!(
            "count × size may be {} at most",
            format_size(HEAD_BYTES_MAX as u64)
        );
        refuse(buffers, "server.header_buffers", message, &hint);
    }
    let limits = &server.http2;
    if limits.connection_window < limits.stream_window {
        let message = format!(
            "connection_window ({}) is less than stream_window ({})",
            format_size(limits.connection_window.into()),
            format_size(limits.stream_window.into())
        );
        let hint = "one stream must be able to use its whole window";
        refuse(http2, "server.http2", message, hint);
    }
    if limits.connection_send_buffer < limits.send_buffer {
        let message = format!(
            "connection_send_buffer ({}) is less than send_buffer ({})",
            format_size(limits.connection_send_buffer as u64),
            format_size(limits.send_buffer as u64)
        );
        let hint = "one response must be able to use its whole buffer";
        refuse(http2, "server.http2", message, hint);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{good, problems};

    #[test]
    fn limits_that_contradict_one_another() {
        for (text, said) in [
            (
                "header_buffers = { count = 64, size = '1m' }",
                "ringway.toml:2:18: server.header_buffers: 64 times 1m is 64m for one head\n    \
                 count × size may be 4m at most",
            ),
            (
                "http2 = { stream_window = '2m' }",
                "ringway.toml:2:9: server.http2: connection_window (1m) is less than \
                 stream_window (2m)",
            ),
            (
                "http2 = { send_buffer = '64k', connection_send_buffer = '32k' }",
                "connection_send_buffer (32k) is less than send_buffer (64k)",
            ),
        ] {
            let told = problems(&format!("[server]\n{text}\n"), &[]);
            assert!(told.contains(said), "{told}");
        }
        let at = "environment variable RINGWAY_SERVER_HTTP2_STREAM_WINDOW";
        let told = problems("", &[("RINGWAY_SERVER_HTTP2_STREAM_WINDOW", "2m")]);
        assert!(told.starts_with(at), "{told}");
        let server = good("[server.header_buffers]\ncount = 4\nsize = '1m'", &[]).server;
        assert_eq!(server.header_buffers.size, 1 << 20);
    }
}
