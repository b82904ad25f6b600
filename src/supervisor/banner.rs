//! What is told when the program has started.

use core::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::version;
use crate::config::{Config, Handler, PathRule};
use crate::metrics::RuntimeInfo;

/// A few lines: what runs, where it answers, how to go on.
pub(super) fn banner(
    config: &Config,
    addresses: &[SocketAddr],
    runtime: &RuntimeInfo,
    cores: &[Option<usize>],
) -> String {
    let mut text = format!(
        "{} {} ({})\n",
        version::NAME,
        version::VERSION,
        version::GIT
    );
    let flags = match runtime.flags.as_str() {
        "" => String::new(),
        flags => format!(" ({flags})"),
    };
    let mut line = |label: &str, value: &str| {
        // Writing into memory does not fail.
        let _ = writeln!(text, "  {label:<9}{value}");
    };
    let driver = &runtime.driver;
    line(
        "runtime",
        &format!("{driver}{flags}, Linux {}", runtime.kernel),
    );
    if !runtime.reason.is_empty() {
        line("", &format!("because {}", runtime.reason));
    }
    line("shards", &shards(cores));
    for (address, listener) in addresses.iter().zip(&config.listeners) {
        let url = url(listener.scheme(), *address);
        for route in &config.routes {
            let (PathRule::Exact(path) | PathRule::Prefix(path)) = &route.path;
            if route.handler == Handler::Mcp {
                line("MCP", &format!("{url}{path}"));
            }
        }
        line(
            "pages",
            &format!("{url}/docs  /health  /metrics  /api/v1/tools"),
        );
    }
    line("servers", &servers(config));
    text.push_str(
        "Add servers with --mcp FILE (the mcp.json of any client) or [mcp.servers.NAME] in \
         ringway.toml.\nCtrl-C ends it when running requests are done.\n",
    );
    text
}

fn shards(cores: &[Option<usize>]) -> String {
    let pinned: Vec<String> = cores.iter().flatten().map(ToString::to_string).collect();
    let count = cores.len();
    match (count, pinned.as_slice()) {
        (_, []) => format!("{count}, not pinned to cores"),
        (1, [core]) => format!("1 on core {core}"),
        (_, cores) => format!("{count} on cores {}", cores.join(", ")),
    }
}

fn servers(config: &Config) -> String {
    let mut names: Vec<&str> = config.mcp.servers.iter().map(|s| &*s.name).collect();
    if config.mcp.demo {
        names.push("demo (built in)");
    }
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

/// Where a browser on this machine finds it.
fn url(scheme: &str, address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{scheme}://{}", SocketAddr::new(host, address.port()))
}
