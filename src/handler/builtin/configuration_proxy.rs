//! Upstreams and the routes to them, as `/api/v1/config` shows them.

use std::time::Duration;

use super::json::{Json, object};
use crate::balance::Method;
use crate::config::{
    Config, Forwarded, HashKey, HealthCheck, Protocol, ProxyRoute, Upstream, UpstreamServer,
};

/// `[upstream.NAME]`, all of them.
pub(super) fn upstreams(config: &Config) -> Vec<Json> {
    config.upstreams.iter().map(upstream).collect()
}

fn upstream(upstream: &Upstream) -> Json {
    let servers: Vec<Json> = upstream.servers.iter().map(server).collect();
    let requests = upstream.keepalive_requests;
    object! {
        "name": &*upstream.name,
        "balance": balance(upstream),
        "protocol": match upstream.protocol {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "h2",
        },
        "servers": servers,
        "queue": upstream.queue as u64,
        "queue_timeout": time(upstream.queue_timeout),
        "health": upstream.health.as_ref().map(health),
        "keepalive": upstream.keepalive as u64,
        "keepalive_requests": if requests == u64::MAX { 0 } else { requests },
        "keepalive_timeout": time(upstream.keepalive_timeout),
        "connect_timeout": time(upstream.timeouts.connect),
        "send_timeout": time(upstream.timeouts.send),
        "read_timeout": time(upstream.timeouts.read),
        "retry": retry(upstream),
    }
}

fn retry(upstream: &Upstream) -> Json {
    let retry = &upstream.retry;
    let mut on = Vec::new();
    for (word, is_on) in [
        ("error", retry.on_error),
        ("timeout", retry.on_timeout),
        ("invalid_header", retry.on_invalid),
    ] {
        if is_on {
            on.push(word.to_owned());
        }
    }
    on.extend(retry.on_status.iter().map(u16::to_string));
    object! {
        "on": on,
        "tries": u64::from(retry.tries),
        "timeout": time(retry.timeout),
        "budget": u64::from(retry.budget),
        "methods": if retry.any_method { "any" } else { "idempotent" },
    }
}

fn health(check: &HealthCheck) -> Json {
    object! {
        "path": check.path.as_str(),
        "interval": time(check.interval),
        "timeout": time(check.timeout),
        "passes": u64::from(check.passes),
        "fails": u64::from(check.fails),
    }
}

fn server(server: &UpstreamServer) -> Json {
    let spec = &server.spec;
    object! {
        "address": spec.name.as_str(),
        "weight": u64::from(spec.weight),
        "max_fails": u64::from(spec.max_fails),
        "fail_timeout": time(spec.fail_timeout),
        "backup": spec.backup,
        "down": spec.down,
        "max_conns": u64::from(spec.max_conns),
        "slow_start": time(spec.slow_start),
    }
}

fn balance(upstream: &Upstream) -> String {
    match (upstream.method, &upstream.key) {
        (Method::RoundRobin, _) => "round_robin".to_owned(),
        (Method::LeastConn, _) => "least_conn".to_owned(),
        (Method::PowerOfTwo, _) => "p2c".to_owned(),
        (Method::Hash, HashKey::ClientIp) => "hash:client_ip".to_owned(),
        (Method::Hash, HashKey::Uri) => "hash:uri".to_owned(),
        (Method::Hash, HashKey::Path) => "hash:path".to_owned(),
        (Method::Hash, HashKey::Host) => "hash:host".to_owned(),
        (Method::Hash, HashKey::Header(name)) => format!("hash:header:{name}"),
        (Method::Hash, HashKey::Cookie(name)) => format!("hash:cookie:{name}"),
    }
}

/// A route with `proxy`. Values of fields may be secrets.
pub(super) fn route(path: &str, settings: &ProxyRoute, config: &Config) -> Json {
    let upstream = config.upstreams.get(settings.upstream);
    let set: Vec<String> = settings.set.iter().map(|(name, _)| name.clone()).collect();
    object! {
        "path": path,
        "proxy": upstream.map(|upstream| upstream.name.to_string()),
        "replace_prefix": settings.path.prefix.clone(),
        "rewrites": settings.path.rewrites.len() as u64,
        "buffering": settings.buffering,
        "request_buffering": settings.request_buffering,
        "connect_timeout": settings.connect_timeout.map(time),
        "send_timeout": settings.send_timeout.map(time),
        "read_timeout": settings.read_timeout.map(time),
        "proxy_host": settings.host.clone(),
        "forwarded": match settings.forwarded {
            Forwarded::Append => "append",
            Forwarded::Replace => "replace",
            Forwarded::Off => "off",
        },
        "sets": set,
        "removes": settings.remove.clone(),
    }
}

fn time(time: Duration) -> String {
    crate::config::units::format_duration(time)
}
