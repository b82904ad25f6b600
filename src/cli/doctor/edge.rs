//! Certificates, and whether a gateway answers on the configured addresses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::report::Report;
use crate::base::civil::Civil;
use crate::cli::client::{Manner, Trust, page};
use crate::config::{Config, Listener};
use crate::http::endpoint::Endpoint;
use crate::tls::certificate::Certificate;

/// A certificate that ends sooner is a problem: renewals are due a month before the end.
const SOON: Duration = Duration::from_secs(14 * 86_400);
const DAY: u64 = 86_400;

pub(super) fn examine(config: &Config, now: Duration, timeout: Duration, report: &mut Report) {
    for listener in &config.listeners {
        for files in listener.tls.iter().flat_map(|tls| &tls.certificates) {
            let shown = files.cert.display().to_string();
            match read(&files.cert, &files.key, now) {
                Ok(certificate) => dates(&shown, &certificate, now, report),
                Err(why) => report.problem(
                    "tls",
                    why,
                    "`ringway certs` makes a pair to try TLS with; a server does not start without",
                ),
            }
        }
        running(listener, timeout, report);
    }
}

fn read(
    cert: &std::path::Path,
    key: &std::path::Path,
    now: Duration,
) -> Result<Certificate, String> {
    let file = |path: &std::path::Path| {
        fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Certificate::read(&file(cert)?, &file(key)?, now).map_err(|error| {
        let path = if error.is_about_key() { key } else { cert };
        format!("{} {error}", path.display())
    })
}

fn dates(shown: &str, certificate: &Certificate, now: Duration, report: &mut Report) {
    let left = certificate.not_after.saturating_sub(now);
    let end = Civil::from_unix(certificate.not_after.as_secs());
    let what = format!(
        "{shown} for {} ends {end}, in {} days",
        certificate.names.join(", "),
        left.as_secs() / DAY
    );
    if left < SOON {
        report.problem(
            "tls",
            what,
            "renew it now; the new files are taken up without a restart",
        );
    } else {
        report.ok("tls", what);
    }
}

/// Whether a gateway runs already. That none does is how it should be before a start.
fn running(listener: &Listener, timeout: Duration, report: &mut Report) {
    let address = listener.address;
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address_asked = SocketAddr::new(ip, address.port());
    let url = format!("{}://{address_asked}/health", listener.scheme());
    let Ok(endpoint) = Endpoint::parse(&url) else {
        return;
    };
    let manner = Manner {
        host: listener.hosts.first().cloned(),
        proxy_line: listener.proxy_protocol.is_some(),
        // Who answers is not the question; its certificate was looked at above.
        trust: Trust::Anyone,
    };
    match page(&endpoint, timeout, manner) {
        Ok((200, _)) => report.ok("listen", format!("a gateway answers on {address}")),
        Ok((status, _)) => report.note(
            "listen",
            format!("{url} answers {status}"),
            Some(
                "if that is another program, a start will fail: choose another address".to_owned(),
            ),
        ),
        Err(_) => report.ok(
            "listen",
            format!("{address} is free, or not answering HTTP"),
        ),
    }
}
