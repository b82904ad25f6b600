//! `[[listener]]`: addresses to listen on.

use std::net::{IpAddr, SocketAddr};

use crate::config::kinds::Address;
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, section};

section! {
    /// An address to listen on.
    RawListener {
        /// Address and port, for example "127.0.0.1:4444".
        address: Placed<Address>,
    }
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen.
    pub address: SocketAddr,
}

pub(super) fn resolve(raw: &[RawListener], found: &mut Findings) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for listener in raw {
        // A missing address with a wrong one next to it was told already.
        let Some(Placed { at, value }) = &listener.address else {
            continue;
        };
        let Address(address) = *value;
        let listener = Listener { address };
        let clash = listeners
            .iter()
            .find_map(|known| clash(known.address, address));
        match clash {
            Some((message, hint)) => {
                let problem = Problem::new(at, "listener.address", message);
                found.errors.push(match hint {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
            }
            None => listeners.push(listener),
        }
    }
    listeners
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
