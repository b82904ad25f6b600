//! `/api/v1/config`: the configuration in effect, in the words of the configuration file.
//! Header values, environment values, credentials in URLs and the key are never shown.

use std::time::Duration;

use super::configuration_proxy;
use super::json::{Json, object};
use super::limits::{accept_id, connection_limit, rate_limit, real_ip, route_settings};

use crate::base::network::Network;
use crate::config::redact::{self, HIDDEN};
use crate::config::{
    Builtin, Compression, Config, Driver, Escape, Expires, Files, Handler, Isolate, Listener, Log,
    LogFormat, LogTarget, Mcp, McpServer, McpTarget, McpTimeouts, Namespace, PathRule, Route,
    Server, Statsd, Symlinks, Ui,
};
use crate::mcp::revision::Era;
use crate::tls::settings::{Files as TlsFiles, Settings};

/// The configuration as it may be shown.
pub(super) fn view(config: &Config) -> Json {
    let listeners: Vec<Json> = config.listeners.iter().map(listener).collect();
    let headers: Vec<Json> = config
        .headers
        .iter()
        .map(|(name, value)| object! { "name": name.as_str(), "value": value.as_str() })
        .collect();
    let routes = config.routes.iter().map(|one| route(config, one));
    let routes: Vec<Json> = routes.collect();
    object! {
        "server": server(&config.server),
        "log": log(&config.log),
        "listeners": listeners,
        "headers": headers,
        "real_ip": config.real_ip.as_ref().map(real_ip),
        "request_id": object! { "accept": accept_id(config.accept_id) },
        "rate_limit": Json::Object(config.rate_limits.iter().map(rate_limit).collect()),
        "connection_limit": Json::Object(
            config.connection_limits.iter().map(connection_limit).collect(),
        ),
        "compression": compression(&config.compression),
        "upstreams": configuration_proxy::upstreams(config),
        "routes": routes,
        "mcp": mcp(&config.mcp),
        "metrics": config.metrics,
        "metrics_exclude": config.metrics_exclude.clone(),
        "statsd": config.statsd.as_ref().map(statsd),
        "ui": ui(&config.ui),
        "development": config.development,
    }
}

fn statsd(statsd: &Statsd) -> Json {
    object! {
        "host": statsd.host.as_str(),
        "port": statsd.port,
        "prefix": statsd.prefix.as_str(),
        "interval": time(statsd.interval),
        "packet_size": statsd.packet_bytes,
    }
}

fn ui(ui: &Ui) -> Json {
    let networks = |list: &[Network]| Json::list(list.iter().map(ToString::to_string));
    object! {
        "enabled": ui.enabled,
        "allow": networks(&ui.access.allow),
        "deny": networks(&ui.access.deny),
        "calls": networks(&ui.calls),
    }
}

fn listener(listener: &Listener) -> Json {
    let networks = listener.proxy_protocol.as_ref();
    let proxies = networks.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
    object! {
        "address": listener.address.to_string(),
        "hosts": listener.hosts.clone(),
        "redirect": listener.redirect.map(|_| "https"),
        "redirect_port": listener.redirect.map(u64::from),
        "proxy_protocol": proxies.is_some(),
        "proxy_protocol_from": proxies,
        "http2": listener.http2,
        "tls": listener.tls.as_ref().map(tls),
    }
}

fn tls(tls: &Settings) -> Json {
    let path = |path: &std::path::Path| path.display().to_string();
    let certificate = |files: &TlsFiles| {
        object! {
            "cert": path(&files.cert),
            "key": path(&files.key),
            "hosts": files.hosts.clone(),
            "stapling_file": files.stapling_file.as_deref().map(path),
        }
    };
    let certificates: Vec<Json> = tls.certificates.iter().map(certificate).collect();
    let protocols: Vec<&str> = tls.protocols.iter().map(|one| one.name()).collect();
    let verify = tls.verify.as_ref();
    object! {
        "certificates": certificates,
        "protocols": protocols,
        "verify": verify.map(|verify| path(&verify.authorities)),
        "verify_required": verify.map(|verify| verify.is_required),
        "session_timeout": time(tls.session_timeout),
        "handshake_timeout": tls.handshake_timeout.map(time),
        "stapling": tls.stapling,
    }
}

fn server(server: &Server) -> Json {
    object! {
        "shards": server.shards,
        "driver": server.driver.map(driver),
        "backlog": server.backlog,
        "max_connections": server.max_connections,
        "max_connections_per_ip": server.max_connections_per_ip.map_or(0, u64::from),
        "keepalive_timeout": time(server.keepalive_timeout),
        "keepalive_requests": server.keepalive_requests,
        "client_header_timeout": time(server.client_header_timeout),
        "client_body_timeout": time(server.client_body_timeout),
        "send_timeout": time(server.send_timeout),
        "graceful_timeout": time(server.graceful_timeout),
        "drain_delay": time(server.drain_delay),
        "max_body_size": server.max_body_size,
        "header_buffers": object! {
            "count": server.header_buffers.count,
            "size": server.header_buffers.size,
        },
        "reset_timedout_connection": server.reset_timedout_connection,
        "pidfile": server.pidfile.as_ref().map(|path| path.display().to_string()),
        "server_header": server.server_header.as_str(),
    }
}

fn log(log: &Log) -> Json {
    let target = |target: &LogTarget, dash: &LogTarget| match target {
        LogTarget::Off => "off".to_owned(),
        target if target == dash => "-".to_owned(),
        LogTarget::Stdout => "/dev/stdout".to_owned(),
        LogTarget::Stderr => "/dev/stderr".to_owned(),
        LogTarget::File(path) => path.display().to_string(),
    };
    let (format, escape) = match &log.format {
        LogFormat::Json => ("json", "json"),
        LogFormat::Template(template) => {
            let escape = match template.escape {
                Escape::Default => "default",
                Escape::Json => "json",
            };
            (&*template.text, escape)
        }
    };
    let statuses: Vec<String> = log
        .statuses
        .iter()
        .map(|range| format!("{}-{}", range.start(), range.end()))
        .collect();
    object! {
        "level": log.level.as_str(),
        "error": target(&log.error, &LogTarget::Stderr),
        "access": target(&log.access, &LogTarget::Stdout),
        "format": format,
        "escape": escape,
        "access_status": statuses,
        "buffer": log.buffer,
        "flush": time(log.flush),
    }
}

fn compression(compression: &Compression) -> Json {
    let encodings = compression.encodings.iter().map(|coding| coding.name());
    let levels = &compression.levels;
    object! {
        "encodings": Json::list(encodings),
        "min_length": compression.min_length,
        "types": compression.types.as_slice(),
        "event_streams": compression.event_streams,
        "keep": compression.keep,
        "recompress": compression.recompress,
        "brotli": object! {
            "quality": levels.brotli_quality,
            "lgwin": levels.brotli_lgwin,
        },
        "gzip": object! { "level": levels.gzip },
        "zstd": object! { "level": levels.zstd },
    }
}

fn route(config: &Config, route: &Route) -> Json {
    let path = match &route.path {
        PathRule::Exact(path) => format!("={path}"),
        PathRule::Prefix(path) => path.clone(),
    };
    let mut shown = match &route.handler {
        Handler::Builtin(page) => object! { "path": path, "builtin": builtin(*page) },
        Handler::Files(files) => site(&path, files),
        Handler::Redirect(redirect) => object! {
            "path": path,
            "redirect": redirect.to.as_str(),
            "status": u64::from(redirect.status),
        },
        Handler::Proxy(settings) => configuration_proxy::route(&path, settings, config),
        Handler::Mcp => object! { "path": path, "mcp": true },
        Handler::McpSse => object! { "path": path, "mcp": "2024-11-05" },
    };
    if let Json::Object(fields) = &mut shown {
        route_settings(config, &route.settings, fields);
    }
    shown
}

fn site(path: &str, files: &Files) -> Json {
    let root = files.root.display().to_string();
    let settings = object! {
        "index": files.index.as_slice(),
        "expires": expires(files.expires),
        "cache_control": files.cache_control.as_deref(),
        "precompressed": files.precompressed,
        "autoindex": files.autoindex,
        "hidden": files.hidden,
        "symlinks": match files.symlinks {
            Symlinks::Inside => "inside",
            Symlinks::Off => "off",
            Symlinks::Any => "any",
        },
        "default_type": files.default_type.as_str(),
        "charset": files.charset.as_deref().unwrap_or("off"),
        "fallback": files.fallback.as_deref(),
        "file_cache": object! {
            "entries": files.cache.entries,
            "size": files.cache.bytes,
            "max_file": files.cache.file_bytes_max,
            "valid": time(files.cache.valid),
        },
    };
    match files.is_whole_path {
        true => object! { "path": path, "root": root, "settings": settings },
        false => object! { "path": path, "files": root, "settings": settings },
    }
}

fn expires(expires: Expires) -> String {
    match expires {
        Expires::Off => "off".to_owned(),
        Expires::Epoch => "epoch".to_owned(),
        Expires::Max => "max".to_owned(),
        Expires::After(period) => time(period),
        Expires::Before(period) => format!("-{}", time(period)),
    }
}

fn mcp(mcp: &Mcp) -> Json {
    let servers: Vec<Json> = mcp.servers.iter().map(mcp_server).collect();
    let refused: Vec<Json> = mcp
        .refused
        .iter()
        .map(|(name, reason)| object! { "name": name.as_str(), "reason": reason.as_str() })
        .collect();
    let namespace = match mcp.namespace {
        Namespace::Always => "always",
        Namespace::Auto => "auto",
        Namespace::Never => "never",
    };
    object! {
        "namespace": namespace,
        "servers": servers,
        "refused": refused,
        "demo": mcp.demo,
        "allowed_origins": mcp.allowed_origins.as_slice(),
        "secret": mcp.secret.map(|_| HIDDEN),
        "heartbeat": time(mcp.heartbeat),
        "max_streams": mcp.max_streams,
        "max_message_size": mcp.max_message_size,
    }
}

fn mcp_server(server: &McpServer) -> Json {
    let era = server.era.map(|era| match era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    });
    let isolate = match server.isolate {
        Isolate::Auto => "auto",
        Isolate::Shared => "shared",
        Isolate::Session => "session",
    };
    object! {
        "name": &*server.name,
        "target": target(&server.target),
        "tools": object! {
            "allow": server.tools.allow.as_slice(),
            "deny": server.tools.deny.as_slice(),
        },
        "era": era,
        "timeouts": timeouts(&server.timeouts),
        "isolate": isolate,
        "eager": server.eager,
        "max_in_flight": server.max_in_flight,
    }
}

fn target(target: &McpTarget) -> Json {
    match target {
        McpTarget::Stdio {
            command,
            args,
            env,
            cwd,
        } => object! {
            "command": command.as_str(),
            "args": redact::args(args),
            "env": hidden(env.keys()),
            "cwd": cwd.as_ref().map(|path| path.display().to_string()),
        },
        McpTarget::Http { url, headers, sse } => object! {
            "url": redact::url(url),
            "headers": hidden(headers.iter().map(|(name, _)| name)),
            "sse": *sse,
        },
    }
}

/// An object with those names and no values.
fn hidden<'a>(names: impl Iterator<Item = &'a String>) -> Json {
    Json::Object(names.map(|name| (name.clone(), HIDDEN.into())).collect())
}

fn timeouts(timeouts: &McpTimeouts) -> Json {
    object! {
        "connect": time(timeouts.connect),
        "first_byte": time(timeouts.first_byte),
        "idle": time(timeouts.idle),
        "total": time(timeouts.total),
    }
}

/// A duration as the configuration file spells it.
fn time(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

const fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::UringDefer => "defer",
        Driver::UringCoop => "coop",
        Driver::Uring => "uring",
        Driver::Epoll => "epoll",
    }
}

/// The word of `builtin = "…"`.
pub(super) const fn builtin(page: Builtin) -> &'static str {
    match page {
        Builtin::Index => "index",
        Builtin::Health => "health",
        Builtin::Version => "version",
        Builtin::Config => "config",
        Builtin::Servers => "servers",
        Builtin::Tools => "tools",
        Builtin::Upstreams => "upstreams",
        Builtin::Metrics => "metrics",
        Builtin::Docs => "docs",
        Builtin::OpenApi => "openapi",
        Builtin::Events => "events",
        Builtin::Ui => "ui",
        Builtin::Echo => "echo",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, Options, load};

    /// What the configuration makes of a file with that content.
    fn read(text: &str) -> Config {
        let name = format!("ringway-view-{}-{}.toml", std::process::id(), text.len());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let options = Options {
            config: Some(path.clone()),
            ..Options::default()
        };
        let loaded = load(&options, &Env::default());
        std::fs::remove_file(path).unwrap();
        loaded.unwrap().config
    }

    #[test]
    fn words_are_those_of_the_configuration_file() {
        for page in [
            Builtin::Index,
            Builtin::Health,
            Builtin::Version,
            Builtin::Config,
            Builtin::Servers,
            Builtin::Tools,
            Builtin::Upstreams,
            Builtin::Metrics,
            Builtin::Docs,
            Builtin::OpenApi,
            Builtin::Events,
            Builtin::Ui,
            Builtin::Echo,
        ] {
            let word = builtin(page);
            let config = read(&format!(
                "[[route]]\npath = \"=/x\"\nbuiltin = \"{word}\"\n"
            ));
            let handlers = config.routes.iter().map(|route| &route.handler);
            assert!(
                handlers.clone().any(|h| *h == Handler::Builtin(page)),
                "{word}"
            );
        }
        for one in [
            Driver::UringDefer,
            Driver::UringCoop,
            Driver::Uring,
            Driver::Epoll,
        ] {
            let word = driver(one);
            let config = read(&format!("[server]\ndriver = \"{word}\"\n"));
            assert_eq!(config.server.driver, Some(one), "{word}");
        }
    }
}
