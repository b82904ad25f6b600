//! `[upstream.NAME]`: servers that a route can hand its requests to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Around;
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
        /// When another server, or another connection, is tried.
        retry: RawRetry,
        /// When a server that keeps failing is left alone.
        ejection: RawEjection,
    }
}

section! {
    /// One server.
    RawUpstreamServer {
        /// "host:port", "http://host:port" or "unix:/path".
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

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Where it is.
    pub address: ServerAddress,
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
    let servers: Vec<UpstreamServer> = raw
        .servers
        .unwrap_or_default()
        .into_iter()
        .filter_map(|raw| server(raw, around, &name.at, found))
        .collect();
    if servers.iter().all(|server| server.spec.down) && !unread && found.errors.is_empty() {
        let problem = Problem::new(&name.at, "upstream", "no server that could be asked");
        found
            .errors
            .push(problem.hint("servers = [{ address = \"127.0.0.1:8000\" }]"));
    }
    let (method, key) = match &raw.balance {
        Some(balance) => self::balance(balance, found)?,
        None => Default::default(),
    };
    Some(Upstream {
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
        retry: retry(raw.retry.unwrap_or_default(), found),
        ejection: ejection(raw.ejection.as_ref()),
    })
}

fn server(
    raw: RawUpstreamServer,
    around: &Around<'_>,
    at: &At,
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
            problem.hint("write \"host:port\", \"http://host:port\" or \"unix:/path/to.sock\""),
        );
    }
    Some(UpstreamServer {
        address: parsed?,
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

fn server_address(text: &str, around: &Around<'_>) -> Option<ServerAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.trim_start_matches("//");
        return (!path.is_empty()).then(|| ServerAddress::Unix(around.path(path)));
    }
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        (host, port.strip_prefix(':'))
    } else {
        match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        }
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port: &u16| port > 0)?,
        None => 80,
    };
    (!host.is_empty() && host.chars().all(is_plain)).then(|| ServerAddress::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn balance(text: &Placed<String>, found: &mut Findings) -> Option<(Method, HashKey)> {
    let named = |prefix: &str| {
        let name = text.value.strip_prefix(prefix)?;
        (!name.is_empty()).then(|| name.to_owned())
    };
    Some(match text.value.as_str() {
        "round_robin" => (Method::RoundRobin, HashKey::default()),
        "least_conn" => (Method::LeastConn, HashKey::default()),
        "p2c" => (Method::PowerOfTwo, HashKey::default()),
        "hash:client_ip" | "ip_hash" => (Method::Hash, HashKey::ClientIp),
        "hash:uri" => (Method::Hash, HashKey::Uri),
        "hash:path" => (Method::Hash, HashKey::Path),
        "hash:host" => (Method::Hash, HashKey::Host),
        _ => {
            if let Some(name) = named("hash:header:") {
                return Some((Method::Hash, HashKey::Header(name)));
            }
            if let Some(name) = named("hash:cookie:") {
                return Some((Method::Hash, HashKey::Cookie(name)));
            }
            let message = format!("\"{}\" is no way to balance", text.value.escape_debug());
            let problem = Problem::new(&text.at, "upstream.balance", message);
            found.errors.push(problem.hint(
                "round_robin, least_conn, p2c, or hash: with client_ip, uri, path, host, \
                 header:NAME or cookie:NAME",
            ));
            return None;
        }
    })
}

fn retry(raw: RawRetry, found: &mut Findings) -> Retry {
    let mut retry = Retry::default();
    if let Some(on) = raw.on {
        (retry.on_error, retry.on_timeout, retry.on_invalid) = (false, false, false);
        for word in on {
            let status = word.value.strip_prefix("http_").unwrap_or(&word.value);
            match (word.value.as_str(), status.parse::<u16>()) {
                ("error", _) => retry.on_error = true,
                ("timeout", _) => retry.on_timeout = true,
                ("invalid_header", _) => retry.on_invalid = true,
                (_, Ok(status @ (403 | 404 | 429 | 500..=599))) => retry.on_status.push(status),
                _ => {
                    let message = format!("\"{}\" is no reason", word.value.escape_debug());
                    let problem = Problem::new(&word.at, "upstream.retry.on", message);
                    let hint = "error, timeout, invalid_header, 403, 404, 429 or 500 to 599";
                    found.errors.push(problem.hint(hint));
                }
            }
        }
    }
    Retry {
        tries: raw.tries.map_or(retry.tries, |count| count.0 as u32),
        timeout: raw.timeout.map_or(retry.timeout, |period| period.0),
        budget: raw.budget.map_or(retry.budget, |count| count.0 as u32),
        any_method: raw.methods.is_some_and(|word| word.0),
        ..retry
    }
}

fn ejection(raw: Option<&RawEjection>) -> Ejection {
    let count = |value: Option<u64>, default: u32| value.map_or(default, |count| count as u32);
    Ejection {
        consecutive_errors: count(raw.and_then(|raw| raw.errors).map(|count| count.0), 0),
        base: raw
            .and_then(|raw| raw.time)
            .map_or(Duration::from_secs(30), |time| time.0),
        max: raw
            .and_then(|raw| raw.max_time)
            .map_or(Duration::from_secs(300), |time| time.0),
        max_percent: count(raw.and_then(|raw| raw.max_percent).map(|count| count.0), 50),
    }
}
