//! The parts of `[upstream.NAME]`: what comes of each key that is more than a number.

use std::time::Duration;

use super::Around;
use super::upstream::{
    HashKey, HealthCheck, Protocol, RawEjection, RawHealth, RawRetry, RawUpstreamTls, Retry,
    ServerAddress, UpstreamTls,
};
use crate::balance::{Ejection, Method};
use crate::config::problem::{At, Findings, Problem};
use crate::config::read::Placed;
use crate::tls::client::{ClientSettings, client_config};

pub(super) fn tls(
    raw: RawUpstreamTls,
    protocol: Protocol,
    (around, at): (&Around<'_>, &At),
    found: &mut Findings,
) -> Option<UpstreamTls> {
    let path = |text: Option<Placed<String>>| text.map(|text| around.path(&text.value));
    let certificate = match (path(raw.cert), path(raw.key)) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            let message = "`cert` and `key` belong together";
            let problem = Problem::new(at, "upstream.tls", message);
            found.errors.push(problem);
            None
        }
    };
    let settings = ClientSettings {
        trusts_anyone: raw.verify == Some(false),
        authorities: path(raw.ca),
        certificate,
    };
    let offered: &[u8] = match protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    };
    match client_config(&settings, &[offered]) {
        Ok(config) => Some(UpstreamTls {
            config,
            server_name: raw.server_name,
        }),
        Err(error) => {
            let problem = Problem::new(at, "upstream.tls", error.to_string());
            found.errors.push(problem);
            None
        }
    }
}

pub(super) fn health(raw: RawHealth, found: &mut Findings) -> HealthCheck {
    let mut status = Vec::new();
    for text in raw.status.unwrap_or_default() {
        let (from, to) = text
            .value
            .split_once('-')
            .unwrap_or((&text.value, &text.value));
        match (from.trim().parse(), to.trim().parse()) {
            (Ok(from @ 100..=599), Ok(to @ 100..=599)) if from <= to => status.push(from..=to),
            _ => {
                let message = format!("\"{}\" is no status", text.value.escape_debug());
                let problem = Problem::new(&text.at, "upstream.health.status", message);
                found.errors.push(problem.hint("\"200\" or \"200-399\""));
            }
        }
    }
    if status.is_empty() {
        status.push(200..=399);
    }
    let path = match raw.path {
        Some(path) if path.value.starts_with('/') && !path.value.contains([' ', '\r', '\n']) => {
            path.value
        }
        Some(path) => {
            let message = format!("\"{}\" is not a path", path.value.escape_debug());
            let problem = Problem::new(&path.at, "upstream.health.path", message);
            found.errors.push(problem);
            String::new()
        }
        None => "/".to_owned(),
    };
    HealthCheck {
        path,
        host: raw.host,
        interval: raw.interval.map_or(Duration::from_secs(5), |time| time.0),
        timeout: raw.timeout.map_or(Duration::from_secs(2), |time| time.0),
        passes: raw.passes.map_or(2, |count| count.0 as u32),
        fails: raw.fails.map_or(3, |count| count.0 as u32),
        status,
    }
}

pub(super) fn server_address(text: &str, around: &Around<'_>) -> Option<ServerAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.trim_start_matches("//");
        return (!path.is_empty()).then(|| ServerAddress::Unix(around.path(path)));
    }
    let (rest, default_port) = match text.strip_prefix("https://") {
        Some(rest) => (rest, 443),
        None => (text.strip_prefix("http://").unwrap_or(text), 80),
    };
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
        None => default_port,
    };
    (!host.is_empty() && host.chars().all(is_plain)).then(|| ServerAddress::Tcp {
        host: host.to_owned(),
        port,
    })
}

pub(super) fn balance(text: &Placed<String>, found: &mut Findings) -> Option<(Method, HashKey)> {
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

pub(super) fn retry(raw: RawRetry, found: &mut Findings) -> Retry {
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

pub(super) fn ejection(raw: Option<&RawEjection>) -> Ejection {
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
