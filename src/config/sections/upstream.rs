//! `[upstream.NAME]`: servers that a route can hand its requests to.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Around;
use super::upstream_parts::{balance, ejection, health, retry, server_address, tls};
use crate::balance::{Ejection, Method, Spec};
use crate::config::kinds::{Count, Period, words};
use crate::config::problem::{At, Findings, Problem};
use crate::config::read::{Map, Placed, section};
use crate::config::units::DAY_MS;

section! {
    /// Servers that do the same, and how they are asked.
    RawUpstream {
        /// Who gets a request: "round_robin", "least_conn", "p2c" (the less busy of two) or
        /// "hash:KEY" with client_ip, uri, path, host, header:NAME or cookie:NAME as key.
        balance: Placed<String>,
        /// The servers.
        servers: Vec<RawUpstreamServer>,
        /// Idle connections that each shard keeps open to each server; 0 keeps none.
        keepalive: Count<0, 100_000>,
        /// Requests on one connection; 0 is no limit.
        keepalive_requests: Count<0, 1_000_000_000>,
        /// How long a connection is kept idle.
        keepalive_timeout: Period<0, DAY_MS>,
        /// Time to connect, TLS included.
        connect_timeout: Period<1, DAY_MS>,
        /// Time between two steps of sending a request.
        send_timeout: Period<1, DAY_MS>,
        /// Time to the answer, and between two pieces of it.
        read_timeout: Period<1, DAY_MS>,
        /// What is spoken with the servers: "http1", or "h2" (without TLS by prior knowledge).
        protocol: ProtocolWord,
        /// Requests that wait while every server is at its max_conns, in each shard.
        queue: Count<0, 1_000_000>,
        /// How long they wait.
        queue_timeout: Period<1, DAY_MS>,
        /// TLS to the servers; also used where an address begins with https://.
        tls: RawUpstreamTls,
        /// Checks that a shard makes on its own account.
        health: RawHealth,
        /// When another server, or another connection, is tried.
        retry: RawRetry,
        /// When a server that keeps failing is left alone.
        ejection: RawEjection,
    }
}

section! {
    /// TLS to the servers.
    RawUpstreamTls {
        /// Whether the server's certificate is verified; true unless said otherwise.
        verify: bool,
        /// The name that is asked for (SNI) and that the certificate must be for; by default the
        /// address's host.
        server_name: String,
        /// PEM with the authorities to trust; by default the system's.
        ca: Placed<String>,
        /// PEM with a certificate to show to servers that ask for one.
        cert: Placed<String>,
        /// PEM with its key.
        key: Placed<String>,
    }
}

section! {
    /// Active checks.
    RawHealth {
        /// The path that is asked for.
        path: Placed<String>,
        /// The Host that is sent; by default the address.
        host: String,
        /// Time between two checks of a server.
        interval: Period<10, DAY_MS>,
        /// Time for one.
        timeout: Period<1, DAY_MS>,
        /// Checks in a row that have to pass before the server gets requests again.
        passes: Count<1, 1000>,
        /// Checks in a row that have to fail before it gets none.
        fails: Count<1, 1000>,
        /// Statuses that pass: "200", "200-399".
        status: Vec<Placed<String>>,
    }
}

section! {
    /// One server.
    RawUpstreamServer {
        /// "host:port", "http://host:port", "https://host:port" or "unix:/path".
        address: Placed<String>,
        /// Its share beside the others.
        weight: Count<1, 65_535>,
        /// Failures within fail_timeout after which it gets no requests for that time; 0 never
        /// takes it out. The only server of an upstream is never taken out.
        max_fails: Count<0, 1_000_000>,
        /// See max_fails.
        fail_timeout: Period<1, DAY_MS>,
        /// Asked only when no other can be.
        backup: bool,
        /// Not asked at all.
        down: bool,
        /// Requests under way in each shard; 0 is no limit.
        max_conns: Count<0, 1_000_000>,
        /// Time in which it gets its full share after it came back.
        slow_start: Period<0, DAY_MS>,
    }
}

section! {
    /// When a request is tried again. Without idempotent = "any" only what cannot be done twice
    /// by that: safe and idempotent methods, and what no server has read.
    RawRetry {
        /// What is tried again: "error", "timeout", "invalid_header" or a status from 500 on,
        /// also 403, 404 and 429; an empty list for nothing.
        on: Vec<Placed<String>>,
        /// Servers that are asked at most.
        tries: Count<1, 100>,
        /// No try begins later than this after the first.
        timeout: Period<1, DAY_MS>,
        /// Retries for each hundred requests; ten are always free.
        budget: Count<0, 100>,
        /// Which methods: "idempotent", or "any".
        methods: RetryMethodsWord,
    }
}

words! {
    /// `protocol`
    ProtocolWord(Protocol) {
        "http1" | "http/1.1" => Protocol::Http1,
        "h2" | "h2c" | "http2" => Protocol::Http2,
    }
}

/// What is spoken with the servers of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

words! {
    /// `methods`
    RetryMethodsWord(bool) {
        "idempotent" => false,
        "any" => true,
    }
}

section! {
    /// Outlier ejection: a server whose answers are errors, one after the other.
    RawEjection {
        /// Errors (5xx or none) in a row that eject; 0 is never.
        errors: Count<0, 1_000_000>,
        /// The first time out; each further one is longer by as much.
        time: Period<1, DAY_MS>,
        /// The longest time out.
        max_time: Period<1, DAY_MS>,
        /// Greatest part of the servers that may be out, in percent; one always may.
        max_percent: Count<0, 100>,
    }
}

/// `[upstream.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name, unique.
    pub name: Arc<str>,
    /// How a server is chosen.
    pub method: Method,
    /// What is hashed, where the method is by hash.
    pub key: HashKey,
    /// The servers, at least one.
    pub servers: Vec<UpstreamServer>,
    /// Idle connections to each server, in each shard.
    pub keepalive: usize,
    /// Requests on one connection; `u64::MAX` is no limit.
    pub keepalive_requests: u64,
    /// How long a connection is kept idle.
    pub keepalive_timeout: Duration,
    /// Time limits.
    pub timeouts: ProxyTimeouts,
    /// What is spoken.
    pub protocol: Protocol,
    /// Requests that wait for a server with room.
    pub queue: usize,
    /// How long they wait.
    pub queue_timeout: Duration,
    /// TLS, for those servers that have it.
    pub tls: Option<UpstreamTls>,
    /// Active checks.
    pub health: Option<HealthCheck>,
    /// When a request is tried again.
    pub retry: Retry,
    /// When a server that keeps failing is left alone.
    pub ejection: Ejection,
}

/// How long the steps of a request to an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyTimeouts {
    /// To connect.
    pub connect: Duration,
    /// Between two steps of sending.
    pub send: Duration,
    /// To the answer, and between two pieces of it.
    pub read: Duration,
}

/// TLS to the servers of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// What rustls goes by.
    pub config: Arc<rustls::ClientConfig>,
    /// The name to ask for; `None` is the address's host.
    pub server_name: Option<String>,
}

/// Files are read anew with each configuration, so only the very same is the same.
impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.server_name == other.server_name
    }
}

impl Eq for UpstreamTls {}

/// Active checks of the servers of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path that is asked for.
    pub path: String,
    /// The Host that is sent; `None` is the address.
    pub host: Option<String>,
    /// Between two checks.
    pub interval: Duration,
    /// For one.
    pub timeout: Duration,
    /// Checks in a row.
    pub passes: u32,
    /// The same.
    pub fails: u32,
    /// Statuses that pass.
    pub status: Vec<RangeInclusive<u16>>,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Where it is.
    pub address: ServerAddress,
    /// Whether it is reached over TLS.
    pub has_tls: bool,
    /// Its part in balancing; `name` is the address as configured.
    pub spec: Spec,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// A name or an address, and a port.
    Tcp {
        /// The host; an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// What decides which server a request always goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    #[default]
    ClientIp,
    /// Path and query.
    Uri,
    /// The path.
    Path,
    /// The Host.
    Host,
    /// A field's value.
    Header(String),
    /// A cookie's value.
    Cookie(String),
}

/// When a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// After a server could not be reached or broke off.
    pub on_error: bool,
    /// After a time limit.
    pub on_timeout: bool,
    /// After an answer that is not HTTP.
    pub on_invalid: bool,
    /// After these statuses.
    pub on_status: Vec<u16>,
    /// Servers asked at most.
    pub tries: u32,
    /// Since the first try.
    pub timeout: Duration,
    /// Retries for each hundred requests.
    pub budget: u32,
    /// Methods that are not idempotent, too.
    pub any_method: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            on_error: true,
            on_timeout: true,
            on_invalid: true,
            on_status: Vec::new(),
            tries: 3,
            timeout: Duration::from_secs(30),
            budget: 20,
            any_method: false,
        }
    }
}

/// nginx's defaults are 60 s for all three; a server that is there accepts far sooner.
const TIMEOUTS: ProxyTimeouts = ProxyTimeouts {
    connect: Duration::from_secs(5),
    send: Duration::from_secs(60),
    read: Duration::from_secs(60),
};

pub(super) fn resolve(
    raw: Map<RawUpstream>,
    around: &Around<'_>,
    found: &mut Findings,
) -> Vec<Upstream> {
    let mut upstreams = Vec::new();
    for (name, raw) in raw.0 {
        upstreams.extend(one(&name, raw, around, found));
    }
    upstreams
}

fn one(
    name: &Placed<String>,
    raw: RawUpstream,
    around: &Around<'_>,
    found: &mut Findings,
) -> Option<Upstream> {
    let unread = raw.unread.contains(&"servers");
    let wants_tls = raw.tls.is_some();
    let servers: Vec<UpstreamServer> = raw
        .servers
        .unwrap_or_default()
        .into_iter()
        .filter_map(|raw| server(raw, wants_tls, (around, &name.at), found))
        .collect();
    if servers.iter().all(|server| server.spec.down) && !unread && found.errors.is_empty() {
        let problem = Problem::new(&name.at, "upstream", "no server that could be asked");
        found
            .errors
            .push(problem.hint("servers = [{ address = \"127.0.0.1:8000\" }]"));
    }
    let balanced = match &raw.balance {
        Some(text) => balance(text, found),
        None => Some(Default::default()),
    };
    let health = raw.health.map(|raw| health(raw, found));
    let retry = retry(raw.retry.unwrap_or_default(), found);
    let (method, key) = balanced?;
    let protocol = raw.protocol.map_or(Protocol::default(), |word| word.0);
    let has_tls = servers.iter().any(|server| server.has_tls);
    let tls = match has_tls {
        true => Some(tls(
            raw.tls.unwrap_or_default(),
            protocol,
            (around, &name.at),
            found,
        )?),
        false => None,
    };
    Some(Upstream {
        protocol,
        queue: raw.queue.map_or(0, |count| count.0 as usize),
        queue_timeout: raw
            .queue_timeout
            .map_or(Duration::from_secs(5), |period| period.0),
        tls,
        health,
        name: Arc::from(name.value.as_str()),
        method,
        key,
        servers,
        keepalive: raw.keepalive.map_or(32, |count| count.0 as usize),
        keepalive_requests: match raw.keepalive_requests.map_or(1000, |count| count.0) {
            0 => u64::MAX,
            count => count,
        },
        keepalive_timeout: raw
            .keepalive_timeout
            .map_or(Duration::from_secs(60), |period| period.0),
        timeouts: ProxyTimeouts {
            connect: raw.connect_timeout.map_or(TIMEOUTS.connect, |time| time.0),
            send: raw.send_timeout.map_or(TIMEOUTS.send, |time| time.0),
            read: raw.read_timeout.map_or(TIMEOUTS.read, |time| time.0),
        },
        retry,
        ejection: ejection(raw.ejection.as_ref()),
    })
}

fn server(
    raw: RawUpstreamServer,
    wants_tls: bool,
    (around, at): (&Around<'_>, &At),
    found: &mut Findings,
) -> Option<UpstreamServer> {
    let Some(address) = raw.address else {
        if !raw.unread.contains(&"address") {
            let problem = Problem::new(at, "upstream.servers", "a server has no address");
            found.errors.push(problem);
        }
        return None;
    };
    let parsed = server_address(&address.value, around);
    if parsed.is_none() {
        let message = format!("\"{}\" is not an address", address.value.escape_debug());
        let problem = Problem::new(&address.at, "upstream.servers.address", message);
        found.errors.push(
            problem.hint("write \"host:port\", \"https://host:port\" or \"unix:/path/to.sock\""),
        );
    }
    let address_says = address.value.starts_with("https://");
    let says_plain = address.value.starts_with("http://");
    Some(UpstreamServer {
        address: parsed?,
        has_tls: address_says || (wants_tls && !says_plain),
        spec: Spec {
            weight: raw.weight.map_or(1, |count| count.0 as u32),
            max_fails: raw.max_fails.map_or(1, |count| count.0 as u32),
            fail_timeout: raw
                .fail_timeout
                .map_or(Duration::from_secs(10), |period| period.0),
            backup: raw.backup.unwrap_or(false),
            max_conns: raw.max_conns.map_or(0, |count| count.0 as u32),
            slow_start: raw.slow_start.map_or(Duration::ZERO, |period| period.0),
            down: raw.down.unwrap_or(false),
            name: address.value,
        },
    })
}
