//! Names of many servers' tools (or prompts) in one list: unique, at most 64 characters, the
//! same on every shard and at every start.
//!
//! A name that only one server has stays as it is (unless told otherwise); a shared one becomes
//! `server_tool`. Back it goes by table, never by splitting: either half may hold the separator.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::vocabulary::Item;

use crate::base::hash::fnv1a;

/// Longest exposed name: what the strictest model APIs take.
pub const NAME_CHARS_MAX: usize = 64;

/// When names get their server's name in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All of them.
    Always,
    /// Those that more than one server has.
    Auto,
    /// None; of servers that share one the first keeps it and the others' are hidden.
    Never,
    /// None, and length does not matter: the list of one server, as it is.
    Untouched,
}

/// One server's items.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Index of the server.
    pub server: u16,
    /// Its configured name.
    pub name: &'a str,
    /// What it offers.
    pub items: &'a [Item],
}

/// How one item is known to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub server: u16,
    /// Its place in the server's offer.
    pub place: usize,
    /// What the server calls it.
    pub own: Arc<str>,
    /// What clients call it.
    pub exposed: Arc<str>,
}

/// The table, both ways.
#[derive(Clone, Debug, Default)]
pub struct Names {
    entries: Vec<Entry>,
    by_exposed: HashMap<Arc<str>, usize>,
    hidden: Vec<(u16, Arc<str>)>,
}

impl Names {
    /// Gives every item its name. Offers are in the order of the configuration.
    #[must_use]
    pub fn assign(policy: Policy, offers: &[Offer<'_>]) -> Self {
        let shared = shared_names(offers);
        let mut names = Self::default();
        let mut later = Vec::new();
        // Names that stay come first, so that no made-up name can take one.
        for offer in offers {
            let mut seen = HashSet::new();
            for (place, item) in offer.items.iter().enumerate() {
                let own: &str = &item.key;
                if !seen.insert(own) {
                    names.hidden.push((offer.server, own.into()));
                    continue;
                }
                let slot = names.entries.len();
                names.entries.push(Entry {
                    server: offer.server,
                    place,
                    own: own.into(),
                    exposed: own.into(),
                });
                let short = own.chars().count() <= NAME_CHARS_MAX;
                let stays = match policy {
                    Policy::Untouched => true,
                    Policy::Never => short,
                    Policy::Auto => short && !shared.contains(own),
                    Policy::Always => false,
                };
                if !stays {
                    later.push((slot, offer.name));
                } else if names.by_exposed.contains_key(own) {
                    later.push((slot, "")); // shared, and may not be renamed
                } else {
                    names.by_exposed.insert(own.into(), slot);
                }
            }
        }
        names.rename(policy, &later);
        names
    }

    /// What a client calls by that name.
    #[must_use]
    pub fn find(&self, exposed: &str) -> Option<&Entry> {
        self.find_slot(exposed).map(|(_, entry)| entry)
    }

    /// The same with its place in [`Self::slots`].
    #[must_use]
    pub fn find_slot(&self, exposed: &str) -> Option<(usize, &Entry)> {
        let slot = *self.by_exposed.get(exposed)?;
        Some((slot, self.entries.get(slot)?))
    }

    /// Every item, hidden ones too.
    #[must_use]
    pub fn slots(&self) -> &[Entry] {
        &self.entries
    }

    /// Every item that clients see, in the order of the offers.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| !entry.exposed.is_empty())
    }

    /// Items whose name is not their own, for the log: server, own name, exposed name.
    pub fn renamed(&self) -> impl Iterator<Item = (u16, &str, &str)> {
        self.entries()
            .filter(|entry| entry.own != entry.exposed)
            .map(|entry| (entry.server, &*entry.own, &*entry.exposed))
    }

    /// Items that clients cannot see, for the log: server and own name.
    pub fn hidden(&self) -> impl Iterator<Item = (u16, &str)> {
        self.hidden.iter().map(|(server, own)| (*server, &**own))
    }

    fn rename(&mut self, policy: Policy, later: &[(usize, &str)]) {
        for &(slot, server) in later {
            let Some(entry) = self.entries.get_mut(slot) else {
                continue;
            };
            let prefixed = match policy {
                Policy::Never | Policy::Untouched => entry.own.to_string(),
                Policy::Always | Policy::Auto => format!("{}_{}", plain(server), entry.own),
            };
            let may_change =
                policy != Policy::Untouched && !(policy == Policy::Never && server.is_empty());
            let free = |name: &String| !self.by_exposed.contains_key(name.as_str());
            let name = if may_change {
                let whole = format!("{server}\0{}", entry.own);
                core::iter::once(fit(&prefixed, &whole))
                    .chain((0..8).map(|round| suffixed(&prefixed, &format!("{whole}\0{round}"))))
                    .find(free)
            } else {
                None
            };
            if let Some(name) = name {
                entry.exposed = name.into();
                self.by_exposed.insert(Arc::clone(&entry.exposed), slot);
            } else {
                entry.exposed = "".into();
                self.hidden.push((entry.server, Arc::clone(&entry.own)));
            }
        }
    }
}

fn shared_names<'a>(offers: &[Offer<'a>]) -> HashSet<&'a str> {
    let mut owner = HashMap::new();
    let mut shared = HashSet::new();
    for offer in offers {
        for item in offer.items {
            let own: &str = &item.key;
            if *owner.entry(own).or_insert(offer.server) != offer.server {
                shared.insert(own);
            }
        }
    }
    shared
}

/// A server's name within what tool names may hold (2026-07-28 server/tools §Tool Names).
fn plain(server: &str) -> String {
    server
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn fit(name: &str, whole: &str) -> String {
    if name.chars().count() <= NAME_CHARS_MAX {
        return name.to_owned();
    }
    suffixed(name, whole)
}

/// The front of the name and eight digits that stand for all of it.
fn suffixed(name: &str, whole: &str) -> String {
    const DIGITS: usize = 8;
    let front: String = name.chars().take(NAME_CHARS_MAX - DIGITS - 1).collect();
    let hash = fnv1a(whole.as_bytes());
    format!("{front}_{:08x}", (hash >> 32) as u32 ^ hash as u32)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn items(names: &[&str]) -> Vec<Item> {
        names
            .iter()
            .map(|name| Item {
                key: (*name).into(),
                raw: Bytes::new(),
            })
            .collect()
    }

    /// Exposed names of two servers, `a` and `b c`.
    fn exposed(policy: Policy, first: &[&str], second: &[&str]) -> Vec<String> {
        let (first, second) = (items(first), items(second));
        let names = Names::assign(
            policy,
            &[
                Offer {
                    server: 0,
                    name: "a",
                    items: &first,
                },
                Offer {
                    server: 1,
                    name: "b c",
                    items: &second,
                },
            ],
        );
        names
            .entries()
            .map(|entry| entry.exposed.to_string())
            .collect()
    }

    #[test]
    fn only_shared_names_change() {
        assert_eq!(
            exposed(Policy::Auto, &["search", "x"], &["search", "y"]),
            ["a_search", "x", "b_c_search", "y"]
        );
        assert_eq!(exposed(Policy::Always, &["x"], &["y"]), ["a_x", "b_c_y"]);
        assert_eq!(exposed(Policy::Never, &["s", "x"], &["s"]), ["s", "x"]);
        assert_eq!(exposed(Policy::Auto, &["x", "x"], &[]), ["x"]);
    }

    #[test]
    fn a_made_up_name_never_takes_a_real_one() {
        let names = exposed(Policy::Auto, &["s", "b_c_s"], &["s"]);
        assert_eq!(names[0], "a_s");
        assert_eq!(names[1], "b_c_s");
        assert!(names[2].starts_with("b_c_s_") && names[2].len() == "b_c_s_".len() + 8);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, two) = ("x".repeat(70) + "1", "x".repeat(70) + "2");
        let names = exposed(Policy::Auto, &[&one, &two], &[]);
        assert_eq!(names[0].len(), NAME_CHARS_MAX);
        assert_ne!(names[0], names[1]);
        assert_eq!(exposed(Policy::Untouched, &[&one], &[]), [one.as_str()]);
        assert_eq!(
            exposed(Policy::Never, &[&one], &[])[0].len(),
            NAME_CHARS_MAX
        );
    }

    proptest! {
        #[test]
        fn every_name_finds_its_own_way_back(
            first in prop::collection::vec("[ab_]{1,4}", 0..12),
            second in prop::collection::vec("[ab_]{1,4}", 0..12),
            server in "[ab_]{1,3}",
            policy in prop_oneof![Just(Policy::Always), Just(Policy::Auto), Just(Policy::Never)],
        ) {
            let list = |names: &[String]| items(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let (first, second) = (list(&first), list(&second));
            let offers = [
                Offer { server: 0, name: "a", items: &first },
                Offer { server: 1, name: &server, items: &second },
            ];
            let names = Names::assign(policy, &offers);
            let mut seen = HashSet::new();
            for entry in names.entries() {
                prop_assert!(seen.insert(Arc::clone(&entry.exposed)), "{} twice", entry.exposed);
                prop_assert!(entry.exposed.chars().count() <= NAME_CHARS_MAX);
                prop_assert_eq!(names.find(&entry.exposed), Some(entry));
                let item = &offers[usize::from(entry.server)].items[entry.place];
                prop_assert_eq!(&*item.key, &*entry.own);
            }
        }
    }
}
