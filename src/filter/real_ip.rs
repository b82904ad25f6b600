//! The client's address where proxies stand in front (`[real_ip]`), found as nginx finds it
//! (ngx_http_realip_module, `ngx_http_get_forwarded_addr`): only the peer itself is believed, and
//! what it says is read from the end, because a client can put anything before it.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::base::network::NetworkTable;
use crate::config::RealIp;
use crate::filter::Client;
use crate::http::{HeaderList, Known};

/// `[real_ip]`, compiled.
#[derive(Debug)]
pub struct RealIps {
    trusted: NetworkTable<()>,
    header: String,
    recursive: bool,
}

impl RealIps {
    /// Compiles the section.
    #[must_use]
    pub fn new(config: &RealIp) -> Self {
        Self {
            trusted: NetworkTable::new(config.trusted.iter().map(|network| (*network, ()))),
            header: config.header.clone(),
            recursive: config.recursive,
        }
    }

    /// Whether a peer is believed.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.get(peer).is_some()
    }

    /// Who asks through that peer.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderList) -> Client {
        let mut client = Client::direct(peer);
        if !self.trusts(client.address) {
            return client;
        }
        let is_forwarded = Known::of(self.header.as_bytes()) == Known::Forwarded;
        let named = headers
            .iter()
            .filter(|(_, name, _)| name.eq_ignore_ascii_case(self.header.as_bytes()));
        let mut hops: SmallVec<[&[u8]; 8]> = SmallVec::new();
        for (_, _, value) in named {
            split(value, &mut hops);
        }
        for hop in hops.iter().rev() {
            let address = if is_forwarded {
                forwarded_for(hop)
            } else {
                address(hop)
            };
            // What cannot be read ends the chain: whoever is beyond it, nobody vouches for.
            let Some(address) = address else { break };
            client.address = address;
            if !self.recursive || !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// Splits a list at its commas, but not inside of quotes (RFC 9110 §5.6.1).
fn split<'a>(value: &'a [u8], hops: &mut SmallVec<[&'a [u8]; 8]>) {
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    let mut push = |from: usize, to: usize| {
        let hop = value.get(from..to).unwrap_or_default().trim_ascii();
        if !hop.is_empty() {
            hops.push(hop);
        }
    };
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                push(start, at);
                start = at + 1;
            }
            _ => {}
        }
    }
    push(start, value.len());
}

/// The `for` of one element of Forwarded (RFC 7239 §4).
fn forwarded_for(hop: &[u8]) -> Option<IpAddr> {
    let pairs = hop.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    for pair in pairs {
        let (name, value) = pair.split_at_checked(4)?;
        if name.eq_ignore_ascii_case(b"for=") {
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            return address(value.strip_suffix(b"\"").unwrap_or(value));
        }
    }
    None
}

/// An address, alone or with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(text).ok()?.trim();
    let address = match text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None => text
            .parse()
            .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
            .ok(),
    };
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1:9";

    fn real_ips(header: &str, recursive: bool) -> RealIps {
        RealIps::new(&RealIp {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            header: header.to_owned(),
            recursive,
        })
    }

    fn client(real_ips: &RealIps, peer: &str, fields: &[(&str, &str)]) -> String {
        let mut headers = HeaderList::new();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let client = real_ips.client(peer.parse().unwrap(), &headers);
        assert_eq!(client.peer, peer.parse().unwrap());
        client.address.to_string()
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        let ips = real_ips("X-Forwarded-For", true);
        let said = [("X-Forwarded-For", "192.0.2.7")];
        assert_eq!(client(&ips, PROXY, &said), "192.0.2.7");
        assert_eq!(client(&ips, "[::ffff:10.0.0.1]:9", &said), "192.0.2.7");
        assert_eq!(client(&ips, "[fd00::1]:9", &said), "192.0.2.7");
        assert_eq!(client(&ips, "198.51.100.9:9", &said), "198.51.100.9");
        assert_eq!(client(&ips, PROXY, &[]), "10.0.0.1");
        // Another field than the one that the proxy sets is the client's own.
        let other = [("X-Real-IP", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")];
        assert_eq!(client(&ips, PROXY, &other), "10.0.0.1");
    }

    #[test]
    fn what_a_client_puts_before_is_not_believed() {
        let ips = real_ips("X-Forwarded-For", true);
        for (value, expected) in [
            ("1.2.3.4, 192.0.2.7", "192.0.2.7"),
            ("10.9.9.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
            ("192.0.2.7, 10.0.0.3,10.0.0.2", "192.0.2.7"),
            ("10.0.0.5, 10.0.0.2", "10.0.0.5"),
            ("192.0.2.7, junk, 10.0.0.2", "10.0.0.2"),
            ("192.0.2.7, unknown", "10.0.0.1"),
            ("\"192.0.2.7, 10.0.0.2", "10.0.0.1"),
            (" , ,192.0.2.7:8080, ", "192.0.2.7"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("", "10.0.0.1"),
        ] {
            let got = client(&ips, PROXY, &[("x-forwarded-for", value)]);
            assert_eq!(got, expected, "{value}");
        }
        let twice = [
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Forwarded-For", "192.0.2.7"),
        ];
        assert_eq!(client(&ips, PROXY, &twice), "192.0.2.7");
        let last = real_ips("X-Forwarded-For", false);
        let value = [("X-Forwarded-For", "192.0.2.7, 10.0.0.2")];
        assert_eq!(client(&last, PROXY, &value), "10.0.0.2");
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_says() {
        let ips = real_ips("forwarded", true);
        for (value, expected) in [
            ("for=192.0.2.7", "192.0.2.7"),
            ("For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            (
                "for=1.2.3.4, proto=http;FOR=192.0.2.7;by=10.0.0.1",
                "192.0.2.7",
            ),
            ("for=192.0.2.7, for=10.0.0.2", "192.0.2.7"),
            ("for=\"x, for=1.2.3.4\"", "10.0.0.1"),
            ("for=192.0.2.7, for=_hidden", "10.0.0.1"),
            ("for=192.0.2.7, proto=https", "10.0.0.1"),
        ] {
            let got = client(&ips, PROXY, &[("Forwarded", value)]);
            assert_eq!(got, expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_clients_send_panics_or_outweighs_the_last_hop(text in ".{0,60}") {
            for header in ["Forwarded", "X-Forwarded-For"] {
                let ips = real_ips(header, true);
                let mut headers = HeaderList::new();
                headers.push(header.as_bytes(), text.as_bytes());
                let _ = ips.client(PROXY.parse().unwrap(), &headers);
            }
            let ips = real_ips("X-Forwarded-For", true);
            let mut headers = HeaderList::new();
            let plain: String = text.chars().filter(|c| !c.is_control() && *c != '"').collect();
            let value = format!("{plain}, 192.0.2.7");
            headers.push(b"X-Forwarded-For", value.as_bytes());
            let client = ips.client(PROXY.parse().unwrap(), &headers);
            prop_assert_eq!(client.address.to_string(), "192.0.2.7");
        }
    }
}
