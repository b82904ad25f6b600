//! `[[listener]]`: addresses to listen on, and what comes before HTTP there.

use std::net::{IpAddr, SocketAddr};

use super::Around;
use super::access::RawNetwork;
use super::tls::{self, RawTls};
use crate::base::network::Network;
use crate::config::kinds::{Address, words};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, section};
use crate::tls::settings::Settings;

section! {
    /// An address to listen on.
    RawListener {
        /// Address and port, for example "127.0.0.1:4444".
        address: Placed<Address>,
        /// Names that requests here may be for; empty takes all. "*.example.com" is any name
        /// below. Others are answered 421.
        hosts: Placed<Vec<String>>,
        /// "https": every request is sent to the same address with https (301), if its name is
        /// among `hosts`.
        redirect: RedirectWord,
        /// Port of the https address; by default 443.
        redirect_port: crate::config::kinds::Count<1, 65535>,
        /// Whether connections begin with a PROXY line of a load balancer (version 1 or 2).
        proxy_protocol: Placed<bool>,
        /// Load balancers that may send one; empty trusts everyone.
        proxy_protocol_from: Placed<Vec<RawNetwork>>,
        /// Whether HTTP/2 is spoken here: negotiated with TLS, else by prior knowledge.
        http2: bool,
        /// TLS.
        tls: Placed<RawTls>,
    }
}

words! {
    /// `redirect`
    RedirectWord(()) {
        "https" => (),
    }
}

/// `[[listener]]`
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where to listen.
    pub address: SocketAddr,
    /// Names that requests may be for, in lower case; empty takes all.
    pub hosts: Vec<String>,
    /// Port that requests are redirected to, with https.
    pub redirect: Option<u16>,
    /// Who may send a PROXY line; `None` expects none, an empty list trusts everyone.
    pub proxy_protocol: Option<Vec<Network>>,
    /// Whether HTTP/2 is spoken; `None` leaves it to `server.http2.prior_knowledge`, which with
    /// TLS says nothing.
    pub http2: Option<bool>,
    /// TLS.
    pub tls: Option<Settings>,
}

impl Listener {
    /// `https` where TLS is spoken.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Plain HTTP at an address.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            hosts: Vec::new(),
            redirect: None,
            proxy_protocol: None,
            http2: None,
            tls: None,
        }
    }
}

pub(super) fn resolve(
    raw: &[RawListener],
    around: &Around<'_>,
    found: &mut Findings,
) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    // Where a redirect may lead that names nobody.
    let secure = raw.iter().filter(|one| one.tls.is_some());
    let secure: Vec<String> = secure
        .flat_map(|one| hosts(one.hosts.as_ref(), &mut Findings::default()))
        .collect();
    for listener in raw {
        let resolved = one(listener, &secure, around, found);
        // A missing address with a wrong one next to it was told already.
        let (Some(Placed { at, .. }), Some(resolved)) = (&listener.address, resolved) else {
            continue;
        };
        let mut known = listeners.iter();
        match known.find_map(|known| clash(known.address, resolved.address)) {
            Some((message, hint)) => {
                let problem = Problem::new(at, "listener.address", message);
                found.errors.push(match hint {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
            }
            None => listeners.push(resolved),
        }
    }
    listeners
}

fn one(
    raw: &RawListener,
    secure: &[String],
    around: &Around<'_>,
    found: &mut Findings,
) -> Option<Listener> {
    let tls = {
        let http2 = raw.http2.unwrap_or(true);
        let tls = raw.tls.as_ref();
        tls.map(|raw| tls::resolve(raw, http2, around, found))
    };
    let Address(address) = raw.address.as_ref()?.value;
    let mut hosts = hosts(raw.hosts.as_ref(), found);
    let redirect = raw.redirect.as_ref().map(|_| {
        let port = raw.redirect_port.map_or(443, |port| port.0);
        u16::try_from(port).unwrap_or(443)
    });
    if redirect.is_some() && tls.is_some() {
        let at = raw.tls.as_ref().map(|tls| &tls.at)?;
        let message = "a listener with TLS cannot redirect to https";
        found
            .errors
            .push(Problem::new(at, "listener.redirect", message));
    }
    if redirect.is_some() && hosts.is_empty() {
        hosts = secure.to_vec();
    }
    if let (Some(_), true, Some(address)) = (redirect, hosts.is_empty(), &raw.address) {
        let message = "a redirect needs the names that it may lead to";
        let problem = Problem::new(&address.at, "listener.redirect", message);
        found
            .errors
            .push(problem.hint("add `hosts = [\"example.com\"]` here or to the listener with TLS"));
    }
    let from = raw.proxy_protocol_from.as_ref();
    let proxy_protocol = raw.proxy_protocol.as_ref().is_some_and(|on| on.value);
    if let (Some(from), false) = (from, proxy_protocol) {
        let message = "says nothing without `proxy_protocol = true`";
        let key = "listener.proxy_protocol_from";
        found.errors.push(Problem::new(&from.at, key, message));
    }
    Some(Listener {
        address,
        hosts,
        redirect,
        proxy_protocol: proxy_protocol.then(|| {
            let networks = from.map(|from| from.value.as_slice()).unwrap_or_default();
            networks.iter().map(RawNetwork::network).collect()
        }),
        http2: raw.http2,
        tls: tls.flatten(),
    })
}

fn hosts(raw: Option<&Placed<Vec<String>>>, found: &mut Findings) -> Vec<String> {
    let mut hosts = Vec::new();
    let Some(raw) = raw else {
        return hosts;
    };
    for host in &raw.value {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = name.strip_prefix("*.").unwrap_or(&name);
        let is_address = bare.parse::<IpAddr>().is_ok();
        let is_name = !bare.is_empty()
            && bare
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if is_name || is_address {
            hosts.push(name);
        } else {
            let message = format!("\"{}\" is not a host name", host.escape_debug());
            let problem = Problem::new(&raw.at, "listener.hosts", message);
            found.errors.push(problem.hint(
                "for example \"example.com\", \"*.example.com\" or \"192.0.2.1\", without a port",
            ));
        }
    }
    hosts
}

/// Why two addresses cannot both be listened on: what is wrong, and what to do.
fn clash(known: SocketAddr, new: SocketAddr) -> Option<(String, Option<&'static str>)> {
    // Port 0 is a new port each time.
    if known.port() != new.port() || new.port() == 0 {
        return None;
    }
    let (one, other) = (known.ip().to_canonical(), new.ip().to_canonical());
    if one == other {
        return Some((format!("{new} stands twice"), None));
    }
    // The kernel gives IPv4 connections to [::] as well (bindv6only is off by default).
    let takes = |all: IpAddr, one: IpAddr| match all {
        IpAddr::V4(all) => all.is_unspecified() && one.is_ipv4(),
        IpAddr::V6(all) => all.is_unspecified(),
    };
    let hint = if one.is_ipv6() == other.is_ipv6() {
        "it takes connections to all addresses of its kind: keep one of the two"
    } else {
        "[::] takes IPv4 connections too: keep one of the two"
    };
    if takes(one, other) {
        return Some((format!("{known} takes connections to {new}"), Some(hint)));
    }
    if takes(other, one) {
        return Some((format!("{new} takes connections to {known}"), Some(hint)));
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{good, problems};

    fn text(addresses: &[&str]) -> String {
        let one = |address: &&str| format!("[[listener]]\naddress = \"{address}\"\n");
        addresses.iter().map(one).collect()
    }

    #[test]
    fn addresses_that_clash_are_told_before_anything_binds() {
        for (addresses, said) in [
            (
                ["127.0.0.1:80", "127.0.0.1:80"],
                "127.0.0.1:80 stands twice",
            ),
            (
                ["127.0.0.1:80", "[::ffff:127.0.0.1]:80"],
                "[::ffff:127.0.0.1]:80 stands twice",
            ),
            (
                ["0.0.0.0:80", "127.0.0.1:80"],
                "0.0.0.0:80 takes connections to 127.0.0.1:80",
            ),
            (
                ["127.0.0.1:80", "0.0.0.0:80"],
                "0.0.0.0:80 takes connections to 127.0.0.1:80",
            ),
            (
                ["[::1]:80", "[::]:80"],
                "[::]:80 takes connections to [::1]:80",
            ),
            (
                ["0.0.0.0:80", "[::]:80"],
                "[::]:80 takes connections to 0.0.0.0:80",
            ),
            (
                ["[::]:80", "10.0.0.1:80"],
                "[::]:80 takes connections to 10.0.0.1:80",
            ),
        ] {
            let told = problems(&text(&addresses), &[]);
            let expected = format!("ringway.toml:4:11: listener.address: {said}");
            assert!(told.starts_with(&expected), "{told}");
            assert_eq!(
                told.contains("keep one of the two"),
                !said.contains("twice"),
                "{told}"
            );
        }
        // Every clash is told, not only the first.
        let told = problems(&text(&["0.0.0.0:80", "10.0.0.1:80", "10.0.0.2:80"]), &[]);
        assert_eq!(told.matches("0.0.0.0:80 takes").count(), 2, "{told}");
    }

    #[test]
    fn addresses_beside_one_another() {
        for addresses in [
            ["127.0.0.1:80", "127.0.0.2:80"],
            ["0.0.0.0:80", "0.0.0.0:81"],
            ["0.0.0.0:80", "[::1]:80"],
            ["[::1]:80", "127.0.0.1:80"],
            ["127.0.0.1:0", "127.0.0.1:0"],
        ] {
            assert_eq!(good(&text(&addresses), &[]).listeners.len(), 2);
        }
    }
}
