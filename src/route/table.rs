//! The routes of one host, or of all: paths in sorted tables, found by comparing bytes.

use super::conditions::meets;
use super::{Endpoint, Match};
use crate::config::{Handler, PathRule, RouteConditions};
use crate::http::RequestHead;

/// Routes by path.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: Vec<(Box<str>, Leaf)>,
    /// Places in `exact` plus one, by [`hash`] of the path; what collides stands further on.
    slots: Vec<u16>,
    prefixes: Vec<Prefix>,
}

/// What leads on from one path.
#[derive(Debug, Default)]
struct Leaf {
    /// Routes that ask for more than the path, in the order of the configuration.
    conditional: Vec<(RouteConditions, Endpoint)>,
    /// The one that takes everything else.
    plain: Option<Endpoint>,
}

#[derive(Debug)]
struct Prefix {
    path: Box<str>,
    /// The longest other prefix that this one starts with.
    parent: Option<usize>,
    leaf: Leaf,
}

impl Leaf {
    fn put(&mut self, conditions: &RouteConditions, endpoint: Endpoint) {
        if conditions.methods.is_empty() && conditions.headers.is_empty() {
            self.plain = Some(endpoint);
        } else {
            self.conditional.push((conditions.clone(), endpoint));
        }
    }

    /// The endpoint for a request; without one to look at, the one without conditions.
    #[inline]
    fn pick(&self, head: Option<&RequestHead>) -> Option<&Endpoint> {
        if self.conditional.is_empty() {
            return self.plain.as_ref();
        }
        let met = head.and_then(|head| {
            let mut all = self.conditional.iter();
            all.find(|(conditions, _)| meets(conditions, head))
        });
        met.map(|(_, endpoint)| endpoint).or(self.plain.as_ref())
    }

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let conditional = self.conditional.iter().map(|(_, endpoint)| endpoint);
        self.plain.iter().chain(conditional)
    }
}

/// The gateway and files own their path and whole segments below it: `/mcp` is not `/mcpx`, and
/// what follows the path is a name of its own. Other prefixes match as text, as nginx's
/// `location` does.
fn takes(endpoint: &Endpoint, prefix: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else {
        return false;
    };
    !matches!(
        endpoint.handler,
        Handler::Mcp | Handler::McpSse | Handler::Files(_)
    ) || rest.is_empty()
        || rest.starts_with('/')
        || prefix.ends_with('/')
}

impl Table {
    /// Adds a route. Of two for one path and the same conditions the later wins.
    pub(super) fn add(
        &mut self,
        path: &PathRule,
        conditions: &RouteConditions,
        endpoint: Endpoint,
    ) {
        let leaf = match path {
            PathRule::Exact(path) => {
                let known = self.exact.iter().position(|(known, _)| **known == **path);
                let at = known.unwrap_or_else(|| {
                    self.exact.push((path.as_str().into(), Leaf::default()));
                    self.exact.len() - 1
                });
                self.exact.get_mut(at).map(|(_, leaf)| leaf)
            }
            PathRule::Prefix(path) => {
                let known = self.prefixes.iter().position(|known| *known.path == **path);
                let at = known.unwrap_or_else(|| {
                    self.prefixes.push(Prefix {
                        path: path.as_str().into(),
                        parent: None,
                        leaf: Leaf::default(),
                    });
                    self.prefixes.len() - 1
                });
                self.prefixes.get_mut(at).map(|prefix| &mut prefix.leaf)
            }
        };
        if let Some(leaf) = leaf {
            leaf.put(conditions, endpoint);
        }
    }

    /// Makes it ready to be asked.
    pub(super) fn finish(&mut self) {
        self.fill_slots();
        self.prefixes.sort_by(|a, b| a.path.cmp(&b.path));
        self.link_parents();
    }

    /// The route of a normalised path.
    #[inline]
    pub(super) fn find<'a>(
        &'a self,
        path: &'a [u8],
        head: Option<&RequestHead>,
    ) -> Option<Match<'a>> {
        if let Some(endpoint) = self.find_exact(path).and_then(|leaf| leaf.pick(head)) {
            return Some(Match {
                endpoint,
                label: endpoint.label,
                below: "",
            });
        }
        self.find_prefix(core::str::from_utf8(path).ok()?, head)
    }

    fn find_exact(&self, path: &[u8]) -> Option<&Leaf> {
        let mut slot = hash(path);
        loop {
            // There are always empty slots, so this ends.
            let place = *self.slots.get(slot & (self.slots.len().wrapping_sub(1)))?;
            let (known, leaf) = self.exact.get(usize::from(place).checked_sub(1)?)?;
            if known.as_bytes() == path {
                return Some(leaf);
            }
            slot += 1;
        }
    }

    fn find_prefix<'a>(&'a self, path: &'a str, head: Option<&RequestHead>) -> Option<Match<'a>> {
        // Every prefix of `path` sorts at or before it, and whatever sorts between the longest
        // of them and `path` starts with that one: so it is on the chain of parents.
        let after = self
            .prefixes
            .partition_point(|prefix| *prefix.path <= *path);
        let mut candidate = after.checked_sub(1);
        while let Some(prefix) = candidate.and_then(|at| self.prefixes.get(at)) {
            if let Some(endpoint) = prefix.leaf.pick(head)
                && takes(endpoint, &prefix.path, path)
            {
                let below = path.get(prefix.path.len()..).unwrap_or("");
                return Some(Match {
                    endpoint,
                    label: if below.is_empty() {
                        endpoint.label
                    } else {
                        endpoint.label_below
                    },
                    below,
                });
            }
            candidate = prefix.parent;
        }
        None
    }

    /// Every route: its path, whether it takes paths below, and where it leads.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&str, bool, &Endpoint)> {
        let exact = self.exact.iter().flat_map(|(path, leaf)| {
            let endpoints = leaf.endpoints();
            endpoints.map(|endpoint| (&**path, false, endpoint))
        });
        let prefixes = self.prefixes.iter().flat_map(|prefix| {
            let endpoints = prefix.leaf.endpoints();
            endpoints.map(|endpoint| (&*prefix.path, true, endpoint))
        });
        exact.chain(prefixes)
    }

    /// One that does not fit its index, beyond 65,534 exact paths, is not found.
    fn fill_slots(&mut self) {
        let count = (self.exact.len() * 4).next_power_of_two();
        self.slots = vec![0; count];
        for (at, (path, _)) in self.exact.iter().enumerate() {
            let Ok(place) = u16::try_from(at + 1) else {
                return;
            };
            let mut slot = hash(path.as_bytes());
            while let Some(taken) = self.slots.get_mut(slot & (count - 1)) {
                if *taken == 0 {
                    *taken = place;
                    break;
                }
                slot += 1;
            }
        }
    }

    fn link_parents(&mut self) {
        let paths: Vec<Box<str>> = self.prefixes.iter().map(|p| p.path.clone()).collect();
        for (at, prefix) in self.prefixes.iter_mut().enumerate() {
            prefix.parent = paths
                .iter()
                .take(at)
                .rposition(|shorter| prefix.path.starts_with(&**shorter));
        }
    }
}

/// Spreads paths over slots: by their length and their last bytes, in which they differ most.
fn hash(path: &[u8]) -> usize {
    let last = match path.last_chunk() {
        Some(last) => u64::from_le_bytes(*last),
        None => path.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    // Fibonacci hashing: the high half of the product depends on every bit.
    let mixed = (last ^ path.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as usize
}
