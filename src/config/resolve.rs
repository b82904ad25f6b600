//! From what was written to what holds: defaults filled in, values checked against each other.

use std::path::PathBuf;

use super::defaults::builtin_routes;
use super::kinds::Address;
use super::problem::{Findings, Problem};
use super::raw::{RawConfig, RawLog, RawMcp, RawRoute, RawServer};
use super::read::{Hidden, Map, Placed};
use super::server_entry::check_header;
use super::{
    AccessLog, Config, Handler, HeaderBuffers, Listener, Log, Mcp, PathRule, Route, Server,
};

/// A text of fewer characters is no key.
const SECRET_CHARACTERS_MIN: usize = 32;

/// Everything but the MCP servers.
pub(super) fn resolve(raw: RawConfig, found: &mut Findings) -> Config {
    let defaults = Config::default();
    let raw_server = raw.server.unwrap_or_default();
    let default_routes = raw_server.default_routes.unwrap_or(true);
    let development = raw_server.development.unwrap_or(false);
    Config {
        listeners: match raw.listener {
            Some(list) => listeners(&list, found),
            None => defaults.listeners,
        },
        headers: headers(raw.headers.unwrap_or_default(), found),
        routes: routes(raw.route.unwrap_or_default(), default_routes, found),
        log: log(raw.log.unwrap_or_default()),
        mcp: mcp(raw.mcp.unwrap_or_default(), found),
        metrics: raw
            .metrics
            .and_then(|metrics| metrics.enabled)
            .unwrap_or(true),
        server: server(raw_server, found),
        development,
    }
}

fn server(raw: RawServer, found: &mut Findings) -> Server {
    let defaults = Server::default();
    let buffers = raw.header_buffers.unwrap_or_default();
    let to_usize = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
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
    Server {
        shards: raw.shards.and_then(|shards| shards.0),
        driver: raw.driver.and_then(|driver| driver.0),
        backlog: raw.backlog.map_or(defaults.backlog, |count| {
            u32::try_from(count.0).unwrap_or(u32::MAX)
        }),
        max_connections: raw
            .max_connections
            .map_or(defaults.max_connections, |count| to_usize(count.0)),
        keepalive_timeout: or_default!(keepalive_timeout),
        keepalive_requests: or_default!(keepalive_requests),
        client_header_timeout: or_default!(client_header_timeout),
        client_body_timeout: or_default!(client_body_timeout),
        send_timeout: or_default!(send_timeout),
        graceful_timeout: or_default!(graceful_timeout),
        max_body_size: or_default!(max_body_size),
        header_buffers: HeaderBuffers {
            count: buffers
                .count
                .map_or(defaults.header_buffers.count, |count| to_usize(count.0)),
            size: buffers
                .size
                .map_or(defaults.header_buffers.size, |size| to_usize(size.0)),
        },
        server_header: raw
            .server_header
            .map_or(defaults.server_header, |header| header.value),
    }
}

fn log(raw: RawLog) -> Log {
    let defaults = Log::default();
    Log {
        level: raw.level.map_or(defaults.level, |word| word.0),
        access: match raw.access.as_deref() {
            None => defaults.access,
            Some("off" | "none" | "") => AccessLog::Off,
            Some("-" | "stdout" | "/dev/stdout") => AccessLog::Stdout,
            Some(path) => AccessLog::File(PathBuf::from(path)),
        },
        format: raw.format.map_or(defaults.format, |word| word.0),
    }
}

fn listeners(raw: &[super::raw::RawListener], found: &mut Findings) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for listener in raw {
        // A missing address with a wrong one next to it was told already.
        let Some(Placed { at, value }) = &listener.address else {
            continue;
        };
        let Address(address) = *value;
        let listener = Listener { address };
        // Port 0 is a new port each time.
        if address.port() != 0 && listeners.contains(&listener) {
            let message = format!("{address} stands twice");
            found
                .errors
                .push(Problem::new(at, "listener.address", message));
        } else {
            listeners.push(listener);
        }
    }
    listeners
}

fn headers(raw: Map<Hidden>, found: &mut Findings) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in raw.0 {
        match check_header(&name.value, &value.0) {
            Ok(()) => headers.push((name.value, value.0)),
            Err(why) => {
                let key = super::node::join("headers", &name.value);
                found.errors.push(Problem::new(&name.at, &key, why));
            }
        }
    }
    headers
}

fn routes(raw: Vec<RawRoute>, with_builtin: bool, found: &mut Findings) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for route in raw {
        let Some(path) = route.path else {
            continue;
        };
        let handler = match (route.builtin, route.mcp) {
            (Some(page), None | Some(false)) => Handler::Builtin(page.0),
            (None, Some(true)) => Handler::Mcp,
            (Some(_), Some(true)) => {
                let problem = Problem::new(&path.at, "route", "two handlers for one path");
                found.errors.push(problem.hint("keep `builtin` or `mcp`"));
                continue;
            }
            (None, None | Some(false)) => {
                let problem = Problem::new(&path.at, "route", "nobody answers this path");
                let hint = "add `mcp = true` or `builtin = \"…\"`";
                found.errors.push(problem.hint(hint));
                continue;
            }
        };
        match path_rule(&path, found) {
            Some(path_rule) if routes.iter().any(|known| known.path == path_rule) => {
                let message = format!("{} stands twice", path.value);
                found
                    .errors
                    .push(Problem::new(&path.at, "route.path", message));
            }
            Some(path) => routes.push(Route { path, handler }),
            None => {}
        }
    }
    if with_builtin {
        let builtin = builtin_routes();
        let is_free = |route: &Route| {
            routes
                .iter()
                .all(|own| text(&own.path) != text(&route.path))
        };
        let mut builtin: Vec<Route> = builtin.into_iter().filter(is_free).collect();
        routes.append(&mut builtin);
    }
    routes
}

/// The path of a rule, whichever kind it is: a route replaces a built-in one with its path.
fn text(rule: &PathRule) -> &str {
    match rule {
        PathRule::Exact(path) | PathRule::Prefix(path) => path,
    }
}

fn path_rule(path: &Placed<String>, found: &mut Findings) -> Option<PathRule> {
    let (is_exact, text) = match path.value.strip_prefix('=') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, path.value.as_str()),
    };
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '?' | '#');
    if !text.starts_with('/') || !text.chars().all(is_plain) {
        let message = format!("\"{}\" is not a path", path.value.escape_debug());
        let problem = Problem::new(&path.at, "route.path", message);
        found
            .errors
            .push(problem.hint("write \"/x/\" (all below) or \"=/x\" (that one)"));
        return None;
    }
    Some(if is_exact {
        PathRule::Exact(text.to_owned())
    } else {
        PathRule::Prefix(text.to_owned())
    })
}

fn mcp(raw: RawMcp, found: &mut Findings) -> Mcp {
    let defaults = Mcp::default();
    let to_usize = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    Mcp {
        namespace: raw.namespace.map_or(defaults.namespace, |word| word.0),
        servers: Vec::new(),
        refused: Vec::new(),
        demo: raw.demo.unwrap_or(false),
        allowed_origins: raw
            .allowed_origins
            .map(|origins| allowed_origins(&origins, found))
            .unwrap_or_default(),
        secret: raw.secret.and_then(|secret| key(&secret, found)),
        heartbeat: raw.heartbeat.map_or(defaults.heartbeat, |period| period.0),
        max_streams: raw
            .max_streams
            .map_or(defaults.max_streams, |count| to_usize(count.0)),
        max_message_size: raw
            .max_message_size
            .map_or(defaults.max_message_size, |size| to_usize(size.0)),
    }
}

/// Origins as browsers send them (RFC 6454 §6.2): scheme, host, port, nothing else.
fn allowed_origins(origins: &Placed<Vec<String>>, found: &mut Findings) -> Vec<String> {
    let mut allowed = Vec::new();
    for origin in &origins.value {
        let text = origin.trim_end_matches('/').to_ascii_lowercase();
        let is_origin = text.split_once("://").is_some_and(|(scheme, rest)| {
            !scheme.is_empty() && !rest.is_empty() && !rest.contains(['/', ' ', '?', '#'])
        });
        if text == "*" || text == "null" || is_origin {
            allowed.push(text);
        } else {
            let message = format!("\"{}\" is not an origin", origin.escape_debug());
            let problem = Problem::new(&origins.at, "mcp.allowed_origins", message);
            found
                .errors
                .push(problem.hint("for example \"https://app.example.com\", or \"*\""));
        }
    }
    allowed
}

/// 32 bytes from 64 hexadecimal digits, or the SHA-256 of a long text.
fn key(secret: &Placed<Hidden>, found: &mut Findings) -> Option<[u8; 32]> {
    let text = secret.value.0.trim();
    if let Some(key) = hexadecimal(text) {
        return Some(key);
    }
    if text.chars().count() < SECRET_CHARACTERS_MIN {
        let problem = Problem::new(&secret.at, "mcp.secret", "too short to be a secret");
        found
            .errors
            .push(problem.hint("make one with `openssl rand -hex 32`"));
        return None;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().ok()
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        let digits = text.get(index * 2..index * 2 + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(key)
}
