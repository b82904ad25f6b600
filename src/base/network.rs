//! Networks in CIDR notation (RFC 4632, RFC 4291 §2.3) and tables of them. An IPv4 address and
//! the IPv6 address it is mapped to (`::ffff:a.b.c.d`) are one address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Bits before the IPv4 address in a mapped one.
const MAPPED_BITS: u8 = 96;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The first address; IPv4 as mapped.
    first: u128,
    /// How many bits are fixed, of 128.
    length: u8,
}

/// The text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    /// Neither an address nor an address with a length.
    #[error("is not an address or a network")]
    Form,
    /// The length does not fit the family.
    #[error("has a prefix length beyond the address's bits")]
    Length,
    /// Bits are set behind the prefix: one of the two numbers is wrong.
    #[error("has bits set behind its prefix length")]
    HostBits,
}

impl Network {
    /// Every address of both families.
    pub const ALL: Self = Self {
        first: 0,
        length: 0,
    };

    /// One address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self {
            first: bits(address),
            length: 128,
        }
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & mask(self.length) == self.first
    }

    fn last(&self) -> u128 {
        self.first | !mask(self.length)
    }
}

/// The address as 128 bits, IPv4 as mapped.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

const fn mask(length: u8) -> u128 {
    if length == 0 {
        0
    } else {
        u128::MAX << (128 - length as u32)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, an address alone, or `all`.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let text = text.trim();
        if text == "all" {
            return Ok(Self::ALL);
        }
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork::Form)?;
        let (most, before) = match address {
            IpAddr::V4(_) => (32, MAPPED_BITS),
            IpAddr::V6(_) => (128, 0),
        };
        let length = match length {
            None => most,
            // `parse` would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse::<u8>().map_err(|_| NotANetwork::Length)?
            }
            Some(_) => return Err(NotANetwork::Form),
        };
        if length > most {
            return Err(NotANetwork::Length);
        }
        // `0.0.0.0/0` and `::/0` are what each family calls "everyone", of that family.
        let length = length + before;
        let first = bits(address);
        if first & !mask(length) != 0 {
            return Err(NotANetwork::HostBits);
        }
        Ok(Self { first, length })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.first);
        match (self.length, address.to_ipv4_mapped()) {
            (0, _) => f.write_str("all"),
            (128, Some(address)) => write!(f, "{address}"),
            (128, None) => write!(f, "{address}"),
            (length, Some(address)) if length >= MAPPED_BITS => {
                write!(f, "{address}/{}", length - MAPPED_BITS)
            }
            (length, _) => write!(f, "{address}/{length}"),
        }
    }
}

/// Which value an address has: that of the most specific network around it. A look-up is a
/// binary search, so lists of thousands are fine.
#[derive(Clone, Debug)]
pub struct NetworkTable<T> {
    /// From each address on, up to the next, the value; sorted.
    steps: Vec<(u128, Option<T>)>,
}

impl<T: Copy + PartialEq> NetworkTable<T> {
    /// Compiles a list. Of two values for one network the later holds.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = (Network, T)>) -> Self {
        let mut sorted: Vec<(Network, T)> = networks.into_iter().collect();
        // Around before inside; the sort is stable, so the later of two equal ones comes later.
        sorted.sort_by_key(|(network, _)| (network.first, network.length));
        let mut table = Self {
            steps: vec![(0, None)],
        };
        let mut around: Vec<(Network, T)> = Vec::new();
        for (network, value) in sorted {
            while let Some((outer, _)) = around.last()
                && outer.last() < network.first
            {
                table.leave(&mut around);
            }
            table.step(network.first, Some(value));
            around.push((network, value));
        }
        while !around.is_empty() {
            table.leave(&mut around);
        }
        table
    }

    fn leave(&mut self, around: &mut Vec<(Network, T)>) {
        let Some((left, _)) = around.pop() else {
            return;
        };
        if let Some(next) = left.last().checked_add(1) {
            self.step(next, around.last().map(|(_, value)| *value));
        }
    }

    fn step(&mut self, from: u128, value: Option<T>) {
        match self.steps.last_mut() {
            Some(last) if last.0 == from => last.1 = value,
            Some(last) if last.1 == value => {}
            _ => self.steps.push((from, value)),
        }
    }

    /// The value at an address.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<T> {
        let address = bits(address);
        let after = self.steps.partition_point(|(from, _)| *from <= address);
        self.steps.get(after.checked_sub(1)?)?.1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn texts_are_read_and_written() {
        for text in [
            "10.0.0.0/8",
            "127.0.0.1",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::1",
            "all",
        ] {
            assert_eq!(network(text).to_string(), text);
        }
        for (text, error) in [
            ("10.0.0.1/8", NotANetwork::HostBits),
            ("10.0.0.0/33", NotANetwork::Length),
            ("10.0.0.0/+8", NotANetwork::Form),
            ("10.0.0.0/", NotANetwork::Length),
            ("::/129", NotANetwork::Length),
            ("10.0.0/8", NotANetwork::Form),
            ("host", NotANetwork::Form),
            ("", NotANetwork::Form),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4_addresses() {
        let ten = network("10.0.0.0/8");
        assert!(ten.contains(address("::ffff:10.1.2.3")));
        assert!(ten.contains(address("10.1.2.3")));
        assert!(!ten.contains(address("::10.1.2.3")));
        assert_eq!(network("::ffff:10.0.0.0/104"), ten);
        assert!(!network("0.0.0.0/0").contains(address("::1")));
        assert!(Network::ALL.contains(address("::1")));
    }

    #[test]
    fn the_most_specific_network_decides() {
        let table = NetworkTable::new([
            (network("10.0.0.0/8"), 'a'),
            (network("10.1.0.0/16"), 'b'),
            (network("10.1.2.3"), 'c'),
            (network("255.255.255.255"), 'd'),
        ]);
        for (text, value) in [
            ("10.0.0.0", Some('a')),
            ("10.0.255.255", Some('a')),
            ("10.1.0.0", Some('b')),
            ("10.1.2.2", Some('b')),
            ("10.1.2.3", Some('c')),
            ("10.1.2.4", Some('b')),
            ("10.2.0.0", Some('a')),
            ("11.0.0.0", None),
            ("9.255.255.255", None),
            ("255.255.255.255", Some('d')),
            ("::", None),
        ] {
            assert_eq!(table.get(address(text)), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_table_agrees_with_a_scan(
            list in prop::collection::vec((0_u32..16, 28_u8..=32, 0_u8..4), 0..12),
            asked in 0_u32..20,
        ) {
            let list: Vec<(Network, u8)> = list
                .into_iter()
                .map(|(host, length, value)| {
                    let length = length + MAPPED_BITS;
                    let first = bits(IpAddr::V4(host.into())) & mask(length);
                    (Network { first, length }, value)
                })
                .collect();
            let asked = IpAddr::V4(asked.into());
            let best = list
                .iter()
                .enumerate()
                .filter(|(_, (network, _))| network.contains(asked))
                .max_by_key(|(at, (network, _))| (network.length, *at))
                .map(|(_, (_, value))| *value);
            prop_assert_eq!(NetworkTable::new(list).get(asked), best);
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./]{0,24}") {
            let _ = text.parse::<Network>();
        }
    }
}
