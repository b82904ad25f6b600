//! What is counted. Each shard owns a [`Recorder`]; a [`ShardSnapshot`] of it crosses threads,
//! a [`Collector`] merges them, [`exposition`] prints the result. No I/O, no clock, no sharing.
//!
//! Every name and help text lives in this file.
#![forbid(unsafe_code)]

mod beat;
mod collector;
pub mod exposition;
mod latency;
mod recorder;
mod snapshot;
pub mod statsd;

pub use beat::{Beat, Stretch};
pub use collector::{
    Collector, HttpSum, Life, Merged, Process, RuntimeInfo, ServerLine, ShardLine,
};
pub use latency::Latency;
pub use recorder::{Outcome, Recorder, ToolLabel};
pub use snapshot::{CallRow, HttpRow, ServerRow, ShardSnapshot, UpstreamRow};

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the types of the exposition formats")]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric family. A counter's name is without its `_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// What it counts, for people; no line breaks.
    pub help: &'static str,
    /// What its samples are.
    pub kind: Kind,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    let kind = Kind::Counter;
    Family { name, help, kind }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    let kind = Kind::Gauge;
    Family { name, help, kind }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    let kind = Kind::Histogram;
    Family { name, help, kind }
}

/// Families whose samples have labels of their own. `handler` is a route's template.
pub mod families {
    use super::{Family, counter, gauge, histogram};

    pub const HTTP_REQUESTS: Family = counter(
        "http_requests",
        "Finished requests by method, handler and status class.",
    );
    pub const HTTP_DURATION: Family = histogram(
        "http_request_duration_seconds",
        "Time from a request's head to the last byte of its response.",
    );
    pub const HTTP_INPROGRESS: Family = gauge(
        "http_requests_inprogress",
        "Requests under way by method and handler.",
    );
    pub const MCP_INPROGRESS: Family = gauge(
        "mcp_requests_inprogress",
        "Requests under way by method and handler; the name that dashboards of the gateway use.",
    );
    pub const MCP_CALLS: Family = counter(
        "ringway_mcp_calls",
        "MCP tool calls by server, tool, era of the client and outcome.",
    );
    pub const UPSTREAM_DURATION: Family = histogram(
        "ringway_upstream_duration_seconds",
        "Time from an MCP tool call until its server has answered, by server.",
    );
    pub const SERVER_UP: Family = gauge(
        "ringway_mcp_server_up",
        "Whether the MCP server answers; one that was not asked yet counts as not.",
    );
    pub const SERVER_RESTARTS: Family = counter(
        "ringway_mcp_server_restarts",
        "Restarts of an MCP server's child process and reconnects to its endpoint.",
    );
    pub const UPSTREAM_REQUESTS: Family = counter(
        "ringway_upstream_requests",
        "Requests sent to a server of an upstream, retries among them.",
    );
    pub const UPSTREAM_FAILURES: Family = counter(
        "ringway_upstream_failures",
        "Requests to a server of an upstream that got no whole answer, by why.",
    );
    pub const UPSTREAM_RETRIES: Family = counter(
        "ringway_upstream_retries",
        "Requests sent to a server of an upstream after another server had failed.",
    );
    pub const UPSTREAM_CONNECTS: Family = counter(
        "ringway_upstream_connects",
        "Connections begun to a server of an upstream.",
    );
    pub const UPSTREAM_INPROGRESS: Family = gauge(
        "ringway_upstream_requests_inprogress",
        "Requests under way at a server of an upstream.",
    );
    pub const UPSTREAM_IDLE: Family = gauge(
        "ringway_upstream_idle_connections",
        "Idle connections to a server of an upstream.",
    );
    pub const UPSTREAM_AVAILABLE: Family = gauge(
        "ringway_upstream_server_available",
        "Shards that would ask a server of an upstream now.",
    );
    pub const SHARD_UP: Family = gauge(
        "ringway_shard_up",
        "Whether the shard answered this scrape; figures of one that did not are its last known.",
    );
    pub const SHARD_RESTARTS: Family = counter(
        "ringway_shard_restarts",
        "Times the supervisor started the shard again after a crash.",
    );
    pub const CONFIG_GENERATION: Family = gauge(
        "ringway_config_generation",
        "Which reading of the configuration every shard serves; 1 is the first.",
    );
    pub const CONFIG_RELOADS: Family = counter(
        "ringway_config_reloads",
        "Readings of the configuration while the program runs, by whether it was taken.",
    );
    pub const CONFIG_LAST_RELOAD: Family = gauge(
        "ringway_config_last_reload_timestamp_seconds",
        "When the configuration was last read while the program ran; 0 if it never was.",
    );
    pub const CONFIG_LAST_RELOAD_OK: Family = gauge(
        "ringway_config_last_reload_successful",
        "Whether the configuration that was read last is the one that is served.",
    );
    pub const BUILD_INFO: Family = gauge("ringway_build_info", "Version of the program.");
    pub const RUNTIME_INFO: Family = gauge(
        "ringway_runtime_info",
        "Driver and ring flags the shards run on.",
    );
    pub const PROCESS_CPU: Family = counter(
        "process_cpu_seconds",
        "User and system CPU time of the process in seconds.",
    );
    pub const PROCESS_RESIDENT: Family = gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process in bytes.",
    );
    pub const PROCESS_VIRTUAL: Family = gauge(
        "process_virtual_memory_bytes",
        "Virtual memory of the process in bytes.",
    );
    pub const PROCESS_OPEN_FDS: Family =
        gauge("process_open_fds", "Open file descriptors of the process.");
    pub const PROCESS_MAX_FDS: Family = gauge(
        "process_max_fds",
        "Most file descriptors the process may open.",
    );
    pub const PROCESS_START: Family = gauge(
        "process_start_time_seconds",
        "Start of the process in seconds since the Unix epoch.",
    );
    pub const PROCESS_THREADS: Family = gauge("process_threads", "Threads of the process.");
}

const TIMEOUTS: Family = counter(
    "ringway_timeouts",
    "Connections ended by a time limit, by which limit.",
);

const REFUSALS: Family = counter(
    "ringway_mcp_refused",
    "What the gateway refused, closed or forgot because a bound was reached, by which bound.",
);

const HTTP2_ENDED: Family = counter(
    "ringway_http2_connections_ended",
    "HTTP/2 connections ended because of what the client sent, by what it was too much of.",
);

const FILE_CACHE: Family = counter(
    "ringway_file_cache_lookups",
    "Requests for files, by what the shard's cache had: a file it was sure of, one that had not \
     changed, or none.",
);

const TLS_HANDSHAKES: Family = counter(
    "ringway_tls_handshakes",
    "TLS handshakes with clients by how they ended.",
);

const RATE_LIMIT: Family = counter(
    "ringway_rate_limit_decisions",
    "Decisions of rate limits; unanswered ones went by on_error.",
);

const CONNECTION_LIMIT: Family = counter(
    "ringway_connection_limit_decisions",
    "Refusals of connection limits; unanswered ones went by on_error.",
);

const CACHE: Family = counter(
    "ringway_cache_requests",
    "Requests of routes with a cache, by what the cache did.",
);

const CACHE_FILES: Family = counter(
    "ringway_cache_files",
    "Files of caches that were read, written, or not written for want of room or speed.",
);

const ENCODER_INPUT: Family = counter(
    "ringway_compression_input_bytes",
    "Bytes of content encoded while a client waited, by encoding.",
);

const ENCODER_OUTPUT: Family = counter(
    "ringway_compression_output_bytes",
    "Bytes that content encoded while a client waited came to, by encoding.",
);

/// Defines [`Counter`] from one list: the counter, its family, and the label that tells it from
/// the others of its family. Those of one family stand together.
macro_rules! counters {
    ($($name:ident => $family:expr $(, $key:literal = $value:literal)?;)*) => {
        /// Counters of one shard. They only grow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the help text says what each counts")]
        pub enum Counter {
            $($name,)*
        }

        impl Counter {
            /// All of them in the order of exposition.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            /// The family.
            #[must_use]
            pub const fn family(self) -> Family {
                match self {
                    $(Self::$name => $family,)*
                }
            }

            /// The label that tells it from the others of its family.
            #[must_use]
            pub const fn label(self) -> Option<(&'static str, &'static str)> {
                match self {
                    $(Self::$name => counters!(@label $($key = $value)?),)*
                }
            }
        }
    };
    (@label $key:literal = $value:literal) => { Some(($key, $value)) };
    (@label) => { None };
}

counters! {
    Accepts => counter(
        "ringway_accepts",
        "Connections accepted.",
    );
    AcceptErrors => counter(
        "ringway_accept_errors",
        "Failed accepts, e.g. for want of file descriptors.",
    );
    ConnectionsRefused => counter(
        "ringway_connections_refused",
        "Connections closed at once because max_connections was reached.",
    );
    ConnectionsRefusedPerIp => counter(
        "ringway_connections_refused_per_ip",
        "Connections closed at once because max_connections_per_ip was reached.",
    );
    Panics => counter(
        "ringway_panics",
        "Panics fenced off in a connection.",
    );
    MalformedRequests => counter(
        "ringway_malformed_requests",
        "Requests refused because their head or framing broke HTTP.",
    );
    BufferPoolMisses => counter(
        "ringway_buffer_pool_misses",
        "Buffers allocated because the shard's pool was empty.",
    );
    AccessLogDropped => counter(
        "ringway_access_log_dropped_lines",
        "Access log lines lost because the writer could not keep up.",
    );
    ReceivedBytes => counter(
        "ringway_received_bytes",
        "Bytes read from clients.",
    );
    SentBytes => counter(
        "ringway_sent_bytes",
        "Bytes written to clients.",
    );
    TimeoutHeader => TIMEOUTS, "limit" = "client_header";
    TimeoutBody => TIMEOUTS, "limit" = "client_body";
    TimeoutSend => TIMEOUTS, "limit" = "send";
    TimeoutKeepAlive => TIMEOUTS, "limit" = "keepalive";
    TimeoutHandshake => TIMEOUTS, "limit" = "tls_handshake";
    RefusedStreams => REFUSALS, "bound" = "streams";
    RefusedCalls => REFUSALS, "bound" = "calls";
    RefusedQuestions => REFUSALS, "bound" = "questions_to_clients";
    RefusedNotes => REFUSALS, "bound" = "session_notes";
    SlowStreams => REFUSALS, "bound" = "stream_queue";
    ForgottenRevocations => REFUSALS, "bound" = "revocations";
    AccessDenied => counter(
        "ringway_access_denied",
        "Requests refused because of the address they came from.",
    );
    RateLimitPassed => RATE_LIMIT, "decision" = "passed";
    RateLimitDelayed => RATE_LIMIT, "decision" = "delayed";
    RateLimitRefused => RATE_LIMIT, "decision" = "refused";
    RateLimitDelayedDry => RATE_LIMIT, "decision" = "delayed_dry_run";
    RateLimitRefusedDry => RATE_LIMIT, "decision" = "refused_dry_run";
    RateLimitUnanswered => RATE_LIMIT, "decision" = "unanswered";
    RateLimitEvicted => counter(
        "ringway_rate_limit_evicted_keys",
        "Keys forgotten for want of room before their requests had leaked out; raise size.",
    );
    ConnectionLimitRefused => CONNECTION_LIMIT, "decision" = "refused";
    ConnectionLimitRefusedDry => CONNECTION_LIMIT, "decision" = "refused_dry_run";
    ConnectionLimitUnanswered => CONNECTION_LIMIT, "decision" = "unanswered";
    ConnectionLimitFull => counter(
        "ringway_connection_limit_full",
        "Places that could not be counted for want of room; raise size.",
    );
    Http2Connections => counter(
        "ringway_http2_connections",
        "Connections that speak HTTP/2.",
    );
    Http2Streams => counter(
        "ringway_http2_streams",
        "Requests over HTTP/2 that were taken.",
    );
    Http2Resets => HTTP2_ENDED, "reason" = "resets";
    Http2ControlFrames => HTTP2_ENDED, "reason" = "control_frames";
    Http2WindowUpdates => HTTP2_ENDED, "reason" = "window_updates";
    Http2FaultyStreams => HTTP2_ENDED, "reason" = "faulty_streams";
    Http2SmallFrames => HTTP2_ENDED, "reason" = "small_frames";
    Http2Heads => HTTP2_ENDED, "reason" = "heads";
    Http2StreamsAfterGoaway => HTTP2_ENDED, "reason" = "streams_after_goaway";
    Http2ProtocolErrors => HTTP2_ENDED, "reason" = "protocol_error";
    TlsFull => TLS_HANDSHAKES, "result" = "full";
    TlsResumed => TLS_HANDSHAKES, "result" = "resumed";
    TlsFailed => TLS_HANDSHAKES, "result" = "failed";
    TlsPlainHttp => TLS_HANDSHAKES, "result" = "plain_http";
    ProxyLinesRefused => counter(
        "ringway_proxy_protocol_errors",
        "Connections closed because they did not begin with a PROXY protocol header.",
    );
    FileCacheHits => FILE_CACHE, "result" = "hit";
    FileCacheRevalidated => FILE_CACHE, "result" = "revalidated";
    FileCacheMisses => FILE_CACHE, "result" = "miss";
    FileCacheEvictions => counter(
        "ringway_file_cache_evictions",
        "Files that went from a shard's cache to make room.",
    );
    CacheHit => CACHE, "status" = "hit";
    CacheMiss => CACHE, "status" = "miss";
    CacheExpired => CACHE, "status" = "expired";
    CacheStale => CACHE, "status" = "stale";
    CacheUpdating => CACHE, "status" = "updating";
    CacheRevalidated => CACHE, "status" = "revalidated";
    CacheBypass => CACHE, "status" = "bypass";
    CacheEvictions => counter(
        "ringway_cache_evictions",
        "Keys that went from memory to make room, or because nobody asked for them.",
    );
    CachePurged => counter(
        "ringway_cache_purged",
        "Keys removed by PURGE.",
    );
    CacheLockWaits => counter(
        "ringway_cache_lock_waits",
        "Requests that waited for the answer to another.",
    );
    CacheLockTimeouts => counter(
        "ringway_cache_lock_timeouts",
        "Requests that waited in vain and asked for themselves.",
    );
    CacheLinksFull => counter(
        "ringway_cache_links_full",
        "Questions to another shard that found no room, or no answer in time.",
    );
    CacheFilesRead => CACHE_FILES, "action" = "read";
    CacheFilesWritten => CACHE_FILES, "action" = "written";
    CacheFilesSkipped => CACHE_FILES, "action" = "skipped";
    CacheDiskErrors => counter(
        "ringway_cache_disk_errors",
        "Files of caches that could not be read or written, damaged ones among them.",
    );
    BrotliInput => ENCODER_INPUT, "encoding" = "br";
    ZstdInput => ENCODER_INPUT, "encoding" = "zstd";
    GzipInput => ENCODER_INPUT, "encoding" = "gzip";
    BrotliOutput => ENCODER_OUTPUT, "encoding" = "br";
    ZstdOutput => ENCODER_OUTPUT, "encoding" = "zstd";
    GzipOutput => ENCODER_OUTPUT, "encoding" = "gzip";
    KeptEncodingHits => counter(
        "ringway_compression_kept_hits",
        "Responses answered from a kept encoding.",
    );
    KeptEncodingsDropped => counter(
        "ringway_compression_kept_dropped",
        "Kept encodings that had to make room, or found none.",
    );
    Recompressions => counter(
        "ringway_compression_recompressed",
        "Kept encodings made again at the highest level.",
    );
    EncodersBusy => counter(
        "ringway_compression_busy",
        "Responses sent as they are because too many encoders were at work.",
    );
    EncoderFailures => counter(
        "ringway_compression_failures",
        "Responses that an encoder could not finish.",
    );
}

/// Levels of one shard. They go up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the help text says what each counts")]
pub enum Gauge {
    Connections,
    OpenStreams,
    McpCallsUnderWay,
    FileCacheBytes,
    FileCacheEntries,
    KeptEncodingBytes,
    CacheEntries,
    CacheBytes,
    CacheFileBytes,
}

impl Gauge {
    /// All of them in the order of exposition.
    pub const ALL: [Self; 9] = [
        Self::Connections,
        Self::OpenStreams,
        Self::McpCallsUnderWay,
        Self::FileCacheBytes,
        Self::FileCacheEntries,
        Self::KeptEncodingBytes,
        Self::CacheEntries,
        Self::CacheBytes,
        Self::CacheFileBytes,
    ];

    /// The family.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Connections => gauge("ringway_connections", "Open client connections."),
            Self::OpenStreams => gauge("ringway_open_streams", "Open event streams to clients."),
            Self::McpCallsUnderWay => gauge(
                "ringway_mcp_calls_under_way",
                "Requests to MCP servers that wait for their response.",
            ),
            Self::FileCacheBytes => gauge(
                "ringway_file_cache_bytes",
                "Content of files that is kept in memory.",
            ),
            Self::KeptEncodingBytes => gauge(
                "ringway_compression_kept_bytes",
                "Bytes of encodings of pages, files and cached responses that are kept.",
            ),
            Self::CacheEntries => gauge(
                "ringway_cache_entries",
                "Keys whose responses are kept in memory, copies of other shards' included.",
            ),
            Self::CacheBytes => gauge("ringway_cache_bytes", "Memory that kept responses take."),
            Self::CacheFileBytes => {
                gauge("ringway_cache_file_bytes", "Bytes of the files of caches.")
            }
            Self::FileCacheEntries => gauge(
                "ringway_file_cache_entries",
                "Files that are remembered, by their content or an open descriptor.",
            ),
        }
    }
}

/// Status classes of `http_requests_total`, as the seed groups them.
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Place of a status code in [`STATUS_CLASSES`]; codes out of range count as server errors.
#[must_use]
pub const fn status_class(status: u16) -> usize {
    match status {
        100..=199 => 0,
        200..=299 => 1,
        300..=399 => 2,
        400..=499 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_their_indices() {
        for (at, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, at);
        }
        for (at, gauge) in Gauge::ALL.into_iter().enumerate() {
            assert_eq!(gauge as usize, at);
        }
    }
}
