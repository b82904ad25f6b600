//! `ringway healthcheck`: asks a running gateway for /health, for containers without curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use super::Failure;
use super::args::HealthcheckArgs;
use super::client::{Manner, Trust, page};
use super::connect::{Target, failure, with_path};
use super::terminal::Terminal;
use crate::config::{self, Env, Listener, Options, PORT};
use crate::http::endpoint::Endpoint;

/// Container runtimes give a check some seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Exit code 0 if the page answers 200, else 1.
pub(super) fn run(
    args: &HealthcheckArgs,
    terminal: &Terminal,
    env: &Env,
) -> Result<ExitCode, Failure> {
    let (url, mut manner) = match &args.url {
        Some(url) => (url.clone(), Manner::default()),
        None => local(args, env),
    };
    let target = Target {
        url: with_path(&url, "/health"),
        is_local: args.url.is_none(),
    };
    let endpoint = Endpoint::parse(&target.url)
        .map_err(|error| Failure::Usage(format!("{}: {error}", target.url)))?;
    if is_loopback(&endpoint.origin.host) {
        manner.trust = Trust::Anyone;
    }
    let (status, body) =
        page(&endpoint, TIMEOUT, manner).map_err(|error| failure(&error, &target))?;
    let body = String::from_utf8_lossy(&body);
    if status == 200 {
        terminal.print(body.trim_end());
        terminal.print("\n");
        Ok(ExitCode::SUCCESS)
    } else {
        let text = format!("{}: answered {status}: {}", target.url, body.trim_end());
        Err(Failure::Failed(text))
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The gateway of this machine, by the configuration that it has read itself. Where that cannot
/// be read just now, by the variables alone: a file that is being written makes nobody ill.
fn local(args: &HealthcheckArgs, env: &Env) -> (String, Manner) {
    let options = Options {
        config: args.config.clone(),
        ..Options::default()
    };
    let loaded = config::load(&options, env).ok();
    let listeners = loaded.map(|loaded| loaded.config.listeners);
    match listeners.as_deref().and_then(easiest) {
        Some(listener) => way_to(listener),
        None => {
            let port = env.get("PORT").and_then(|port| port.parse().ok());
            let port = port.unwrap_or(PORT);
            let scheme = if env.is_on("SSL") { "https" } else { "http" };
            (format!("{scheme}://127.0.0.1:{port}"), Manner::default())
        }
    }
}

/// The listener that wants the least of its clients: the first of those. A redirect is no answer.
fn easiest(listeners: &[Listener]) -> Option<&Listener> {
    let wants = |listener: &&Listener| {
        let certificate = listener.tls.as_ref().and_then(|tls| tls.verify.as_ref());
        let is_required = certificate.is_some_and(|verify| verify.is_required);
        u8::from(is_required) * 2 + u8::from(listener.proxy_protocol.is_some())
    };
    let answers =
        |listener: &&Listener| listener.redirect.is_none() && listener.address.port() != 0;
    listeners.iter().filter(answers).min_by_key(wants)
}

fn way_to(listener: &Listener) -> (String, Manner) {
    let ip = match listener.address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::from((ip, listener.address.port()));
    let own_name = listener.hosts.iter().find(|host| !host.starts_with('*'));
    let below = listener.hosts.first();
    let manner = Manner {
        host: own_name
            .cloned()
            .or_else(|| below.map(|host| host.replacen('*', "healthcheck", 1))),
        proxy_line: expects_proxy_line(listener, ip),
        trust: Trust::System,
    };
    (format!("{}://{address}", listener.scheme()), manner)
}

fn expects_proxy_line(listener: &Listener, ip: IpAddr) -> bool {
    let networks = listener.proxy_protocol.as_ref();
    networks.is_some_and(|all| all.is_empty() || all.iter().any(|one| one.contains(ip)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str) -> Listener {
        Listener::plain(address.parse().unwrap())
    }

    #[test]
    fn the_easiest_listener_is_asked() {
        let mut redirect = listener("0.0.0.0:80");
        redirect.redirect = Some(443);
        let mut proxied = listener("[::]:81");
        proxied.proxy_protocol = Some(Vec::new());
        let plain = listener("0.0.0.0:82");
        let all = [redirect.clone(), proxied.clone(), plain];
        let port = |all: &[Listener]| easiest(all).map(|one| one.address.port());
        assert_eq!(port(&all), Some(82));
        assert_eq!(port(&all[..2]), Some(81));
        assert_eq!(port(&all[..1]), None);
        assert_eq!(port(&[listener("127.0.0.1:0")]), None);
        let (url, manner) = way_to(&proxied);
        assert_eq!((url.as_str(), manner.proxy_line), ("http://[::1]:81", true));
        proxied.proxy_protocol = Some(vec!["192.0.2.0/24".parse().unwrap()]);
        proxied.hosts = vec!["*.example.com".to_owned()];
        let (_, manner) = way_to(&proxied);
        assert!(!manner.proxy_line);
        assert_eq!(manner.host.as_deref(), Some("healthcheck.example.com"));
    }

    #[test]
    fn only_loopback_needs_no_certificate() {
        for (host, expected) in [
            ("localhost", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("0.0.0.0", false),
            ("localhost.example", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
