//! Which addresses a route answers (`allow`, `deny`).

use std::net::IpAddr;

use crate::base::network::{Network, NetworkTable};
use crate::config::Access;

/// The access rules of one route, compiled.
#[derive(Clone, Debug)]
pub struct AccessRules {
    /// Whether a network's addresses may ask.
    table: NetworkTable<bool>,
    /// The same for addresses in no network.
    others: bool,
}

impl AccessRules {
    /// Compiles what a route says; `None` if it says nothing.
    #[must_use]
    pub fn new(access: &Access) -> Option<Self> {
        if access.is_empty() {
            return None;
        }
        let with = |list: &[Network], value| -> Vec<(Network, bool)> {
            list.iter().map(|network| (*network, value)).collect()
        };
        // Of two rules for one network the later holds: who stands in both lists is refused.
        let rules = with(&access.allow, true)
            .into_iter()
            .chain(with(&access.deny, false));
        Some(Self {
            table: NetworkTable::new(rules),
            others: access.allow.is_empty(),
        })
    }

    /// Whether an address may ask.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.table.get(address).unwrap_or(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> AccessRules {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        AccessRules::new(&Access {
            allow: list(allow),
            deny: list(deny),
        })
        .unwrap()
    }

    fn allowed(rules: &AccessRules, address: &str) -> bool {
        rules.allows(address.parse().unwrap())
    }

    #[test]
    fn whoever_is_not_allowed_is_refused() {
        let seed = rules(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], &[]);
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(allowed(&seed, address), expected, "{address}");
        }
    }

    #[test]
    fn the_most_specific_network_decides_and_a_tie_refuses() {
        let all_but = rules(&["10.0.0.0/8"], &["all"]);
        assert!(allowed(&all_but, "10.0.0.1") && !allowed(&all_but, "11.0.0.1"));
        let hole = rules(&["10.0.0.0/8", "10.1.1.1"], &["10.1.0.0/16"]);
        assert!(allowed(&hole, "10.0.0.1") && allowed(&hole, "10.1.1.1"));
        assert!(!allowed(&hole, "10.1.1.2"));
        let only = rules(&[], &["10.0.0.0/8"]);
        assert!(!allowed(&only, "10.0.0.1") && allowed(&only, "::1"));
        let tie = rules(&["10.0.0.0/8"], &["10.0.0.0/8"]);
        assert!(!allowed(&tie, "10.0.0.1"));
    }
}
