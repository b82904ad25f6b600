//! What a listener asks of its connections and requests before any route is looked for.

use core::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use crate::base::network::Network;
use crate::config::{self, Listener};
use crate::http::{Known, RequestHead, Response};
use crate::server::ListenerKey;
use crate::tls::seen::SeenTls;

/// One listener's rules, shared by its connections.
#[derive(Debug)]
pub(super) struct Entrance {
    /// Names the listener over all configurations.
    pub(super) key: ListenerKey,
    /// TLS, if the listener speaks it.
    pub(super) tls: Option<EntranceTls>,
    /// Names that requests may be for; empty takes all.
    hosts: Vec<String>,
    /// Port that requests are redirected to, with https.
    redirect: Option<u16>,
    /// Who sends a PROXY header; `None` expects none, an empty list trusts everyone.
    proxies: Option<Vec<Network>>,
    /// Whether a connection without TLS may begin as HTTP/2 does.
    pub(super) takes_preface: bool,
    /// Whether client certificates are asked for.
    verifies: bool,
}

/// The TLS of a listener.
#[derive(Debug)]
pub(super) struct EntranceTls {
    /// Certificates, versions, ticket keys: the newest generation. Connections keep theirs.
    config: RefCell<Arc<ServerConfig>>,
    /// Time for the whole handshake.
    pub(super) handshake_timeout: Duration,
}

impl Entrance {
    /// The rules of a listener, with the first generation of its TLS.
    pub(super) fn new(
        (key, listener): (ListenerKey, &Listener),
        tls: Option<Arc<ServerConfig>>,
        server: &config::Server,
    ) -> Self {
        let is_plain = tls.is_none();
        let timeout = listener.tls.as_ref().and_then(|tls| tls.handshake_timeout);
        Self {
            key,
            tls: tls.map(|config| EntranceTls {
                config: RefCell::new(config),
                handshake_timeout: timeout.unwrap_or(server.client_header_timeout),
            }),
            hosts: listener.hosts.clone(),
            redirect: listener.redirect,
            proxies: listener.proxy_protocol.clone(),
            verifies: listener
                .tls
                .as_ref()
                .is_some_and(|tls| tls.verify.is_some()),
            takes_preface: is_plain && listener.http2.unwrap_or(server.http2.prior_knowledge),
        }
    }

    /// Whether a connection from that address begins with a PROXY header.
    pub(super) fn expects_proxy_line(&self, peer: IpAddr) -> bool {
        let Some(trusted) = &self.proxies else {
            return false;
        };
        let peer = peer.to_canonical();
        trusted.is_empty() || trusted.iter().any(|network| network.contains(peer))
    }

    /// Whether requests are looked at here.
    pub(super) fn has_rules(&self) -> bool {
        self.redirect.is_some() || !self.hosts.is_empty() || self.verifies
    }

    /// The answer to a request that goes no further: the redirect, or 421 where the listener
    /// does not serve its host (RFC 9110 §15.5.20), or the client showed its certificate to
    /// another one.
    pub(super) fn answer(&self, head: &RequestHead, tls: Option<&SeenTls>) -> Option<Response> {
        let host = head.headers.get_str(Known::Host);
        let name = host.map(name).unwrap_or_default();
        let is_served = self.hosts.is_empty() || self.serves(&name);
        match self.redirect {
            Some(port) => {
                // nginx's $server_name: whoever asks for another name is led to ours.
                let own = || self.hosts.iter().find(|host| !host.starts_with('*'));
                match (is_served, own()) {
                    (true, _) => Some(redirect(&name, port, head)),
                    (false, Some(own)) => Some(redirect(own, port, head)),
                    (false, None) => Some(misdirected(NOT_SERVED)),
                }
            }
            None if !is_served => Some(misdirected(NOT_SERVED)),
            None if self.is_elsewhere(&name, tls) => Some(misdirected(NOT_NEGOTIATED)),
            None => None,
        }
    }

    /// Whether the client asks for another name than it shook hands with, where that was with
    /// certificates of both sides (nginx answers 421, too, where the names are of different
    /// servers). Without a name in the handshake there is nothing to compare.
    fn is_elsewhere(&self, name: &str, tls: Option<&SeenTls>) -> bool {
        let negotiated = tls.filter(|_| self.verifies);
        let negotiated = negotiated.and_then(|tls| tls.server_name.as_deref());
        negotiated
            .is_some_and(|negotiated| negotiated.strip_suffix('.').unwrap_or(negotiated) != name)
    }

    fn serves(&self, name: &str) -> bool {
        let is_below = |pattern: &str| {
            pattern
                .strip_prefix('*')
                .is_some_and(|end| name.len() > end.len() && name.ends_with(end))
        };
        let is_it = |host: &String| host == name || is_below(host);
        !name.is_empty() && self.hosts.iter().any(is_it)
    }
}

impl EntranceTls {
    /// The generation that new connections get.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.borrow())
    }

    /// Gives new connections another generation.
    pub(super) fn replace(&self, config: Arc<ServerConfig>) {
        self.config.replace(config);
    }
}

/// A Host field without its port, in lower case, an IPv6 address without brackets.
fn name(host: &str) -> String {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase()
}

fn redirect(name: &str, port: u16, head: &RequestHead) -> Response {
    let host = match name.contains(':') {
        true => format!("[{name}]"),
        false => name.to_owned(),
    };
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    // `OPTIONS *` asks about the server as a whole.
    let target = Some(head.path_and_query()).filter(|target| target.starts_with('/'));
    let location = format!("https://{host}{port}{}", target.unwrap_or("/"));
    let mut response = Response {
        status: 301,
        ..Response::default()
    };
    response.headers.push(b"Location", location.as_bytes());
    response
}

const NOT_SERVED: &str = "this listener does not serve the host of the request";
const NOT_NEGOTIATED: &str = "the host is not the one that the client certificate was shown to";

fn misdirected(why: &str) -> Response {
    Response::problem(421, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(hosts: &[&str], redirect: Option<u16>) -> Entrance {
        Entrance {
            key: 1,
            tls: None,
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            redirect,
            proxies: None,
            takes_preface: true,
            verifies: false,
        }
    }

    fn head(host: Option<&str>, target: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_target("GET", target).unwrap();
        if let Some(host) = host {
            head.headers.push_known(Known::Host, host.as_bytes());
        }
        head
    }

    fn location(entrance: &Entrance, host: Option<&str>, target: &str) -> Option<String> {
        let answer = entrance.answer(&head(host, target), None)?;
        let location = answer.headers.get_by_name(b"Location")?;
        Some(String::from_utf8(location.to_vec()).unwrap())
    }

    #[test]
    fn redirects_lead_to_configured_names_alone() {
        let hosts = ["example.com", "*.example.com", "2001:db8::1"];
        let plain = entrance(&hosts, Some(443));
        for (host, target, expected) in [
            (Some("example.com"), "/a?b=c", "https://example.com/a?b=c"),
            (Some("Example.COM.:80"), "/", "https://example.com/"),
            (Some("a.example.com"), "/", "https://a.example.com/"),
            (Some("[2001:db8::1]:80"), "/", "https://[2001:db8::1]/"),
            (Some("evil.example"), "/", "https://example.com/"),
            (
                Some("example.com.evil.example"),
                "/",
                "https://example.com/",
            ),
            (
                Some("example.com@evil.example"),
                "/",
                "https://example.com/",
            ),
            (Some(".example.com"), "/", "https://example.com/"),
            (Some(""), "/", "https://example.com/"),
            (
                None,
                "//evil.example/",
                "https://example.com//evil.example/",
            ),
        ] {
            let found = location(&plain, host, target);
            assert_eq!(found.as_deref(), Some(expected), "{host:?} {target}");
        }
        let other = entrance(&["example.com"], Some(8443));
        let found = location(&other, Some("example.com:8080"), "/x");
        assert_eq!(found.as_deref(), Some("https://example.com:8443/x"));
        let wild = entrance(&["*.example.com"], Some(443));
        let refused = wild.answer(&head(Some("x"), "/"), None).unwrap();
        assert_eq!(refused.status, 421);
    }

    #[test]
    fn hosts_that_are_not_served_are_misdirected() {
        let entrance = entrance(&["example.com"], None);
        let served = head(Some("example.com:1"), "/");
        assert!(entrance.answer(&served, None).is_none());
        for host in [Some("other.example"), Some(""), None] {
            let answer = entrance.answer(&head(host, "/"), None).unwrap();
            assert_eq!(answer.status, 421, "{host:?}");
        }
        assert!(!super::tests::entrance(&[], None).has_rules());
    }

    #[test]
    fn a_certificate_shown_to_one_host_is_not_for_another() {
        let mut entrance = entrance(&[], None);
        entrance.verifies = true;
        assert!(entrance.has_rules());
        let asked = |host, name: Option<&str>| {
            let tls = SeenTls {
                server_name: name.map(Box::from),
                ..SeenTls::default()
            };
            let answer = entrance.answer(&head(Some(host), "/"), Some(&tls));
            answer.map_or(200, |answer| answer.status)
        };
        assert_eq!(asked("a.example:443", Some("a.example")), 200);
        assert_eq!(asked("A.Example.", Some("a.example.")), 200);
        assert_eq!(asked("b.example", Some("a.example")), 421);
        assert_eq!(asked("192.0.2.1", None), 200);
    }

    #[test]
    fn proxies_are_trusted_by_network() {
        let mut entrance = entrance(&[], None);
        let peer: IpAddr = "10.1.2.3".parse().unwrap();
        assert!(!entrance.expects_proxy_line(peer));
        entrance.proxies = Some(Vec::new());
        assert!(entrance.expects_proxy_line(peer));
        entrance.proxies = Some(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(entrance.expects_proxy_line("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!entrance.expects_proxy_line("192.0.2.1".parse().unwrap()));
    }
}
