//! Which handler answers a path. Compiled once from the configuration; a look-up compares bytes
//! in sorted tables and allocates nothing. Knows no methods: those belong to the handlers.
//!
//! Paths come in normalised form (dot segments removed, unreserved characters decoded), so that
//! what is matched here is what the handler sees.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::config::{Handler, PathRule, Route, RouteHeaders, RouteSettings};
use crate::filter::Guard;

/// Index of a handler's label in metrics and access logs: the route's template, never the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub u16);

impl Label {
    /// Requests that no route took, and those whose head could not be read.
    pub const NONE: Self = Self(0);
}

/// Every route of one configuration.
#[derive(Debug)]
pub struct Router {
    exact: Vec<(Box<str>, Endpoint)>,
    /// Places in `exact` plus one, by [`hash`] of the path; what collides stands further on.
    slots: Vec<u16>,
    prefixes: Vec<Prefix>,
    labels: Vec<Arc<str>>,
    rules: Vec<RouteHeaders>,
}

/// Where a route leads.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Who answers.
    pub handler: Handler,
    /// The path as configured; what follows it in a request's path is the handler's to read.
    pub base: Arc<str>,
    /// Label of requests to the path itself.
    pub label: Label,
    /// Label of requests to paths below it.
    pub label_below: Label,
    /// What the route sets.
    pub settings: RouteSettings,
    /// What its requests have to pass first, if anything.
    pub guard: Option<Box<Guard>>,
    /// One more than the place of its rules among [`Router::rules`]; 0 for none.
    pub rules: u16,
}

/// A route that takes a request.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    /// Where it leads.
    pub endpoint: &'a Endpoint,
    /// Label of this request.
    pub label: Label,
    /// What follows the route's path: empty, or the rest of a prefix match.
    pub below: &'a str,
}

#[derive(Debug)]
struct Prefix {
    path: Box<str>,
    /// The longest other prefix that this one starts with.
    parent: Option<usize>,
    endpoint: Endpoint,
}

impl Prefix {
    /// The gateway and files own their path and whole segments below it: `/mcp` is not `/mcpx`,
    /// and what follows the path is a name of its own. Other prefixes match as text, as nginx's
    /// `location` does.
    fn takes(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(&*self.path) else {
            return false;
        };
        !matches!(
            self.endpoint.handler,
            Handler::Mcp | Handler::McpSse | Handler::Files(_)
        ) || rest.is_empty()
            || rest.starts_with('/')
            || self.path.ends_with('/')
    }
}

impl Router {
    /// Compiles the routes. Of two routes for one path the later wins, so that an operator's
    /// route replaces a built-in one.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        Self::with_labels(routes, &[Arc::from("none")])
    }

    /// The same for a configuration that follows another, whose labels keep their places: what
    /// is counted under them goes on. The first stands for no route.
    #[must_use]
    pub fn with_labels(routes: &[Route], labels: &[Arc<str>]) -> Self {
        let mut router = Self {
            exact: Vec::new(),
            slots: Vec::new(),
            prefixes: Vec::new(),
            labels: labels.to_vec(),
            rules: Vec::new(),
        };
        for route in routes {
            router.add(route);
        }
        router.fill_slots();
        router.prefixes.sort_by(|a, b| a.path.cmp(&b.path));
        router.link_parents();
        router
    }

    /// The route of a normalised path.
    #[must_use]
    pub fn find<'a>(&'a self, path: &'a [u8]) -> Option<Match<'a>> {
        if let Some(endpoint) = self.find_exact(path) {
            return Some(Match {
                endpoint,
                label: endpoint.label,
                below: "",
            });
        }
        self.find_prefix(core::str::from_utf8(path).ok()?)
    }

    fn find_exact(&self, path: &[u8]) -> Option<&Endpoint> {
        let mut slot = hash(path);
        loop {
            // There are always empty slots, so this ends.
            let place = *self.slots.get(slot & (self.slots.len().wrapping_sub(1)))?;
            let (known, endpoint) = self.exact.get(usize::from(place).checked_sub(1)?)?;
            if known.as_bytes() == path {
                return Some(endpoint);
            }
            slot += 1;
        }
    }

    fn find_prefix<'a>(&'a self, path: &'a str) -> Option<Match<'a>> {
        // Every prefix of `path` sorts at or before it, and whatever sorts between the longest
        // of them and `path` starts with that one: so it is on the chain of parents.
        let after = self
            .prefixes
            .partition_point(|prefix| *prefix.path <= *path);
        let mut candidate = after.checked_sub(1);
        while let Some(prefix) = candidate.and_then(|at| self.prefixes.get(at)) {
            if prefix.takes(path) {
                let below = path.get(prefix.path.len()..).unwrap_or("");
                let endpoint = &prefix.endpoint;
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

    /// The label texts, by [`Label`].
    #[must_use]
    pub fn labels(&self) -> &[Arc<str>] {
        &self.labels
    }

    /// What routes do to the fields of responses.
    #[must_use]
    pub fn rules(&self) -> &[RouteHeaders] {
        &self.rules
    }

    /// Every route: its path, whether it takes paths below, and where it leads.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, bool, &Endpoint)> {
        let exact = self
            .exact
            .iter()
            .map(|(path, endpoint)| (&**path, false, endpoint));
        let prefixes = self
            .prefixes
            .iter()
            .map(|prefix| (&*prefix.path, true, &prefix.endpoint));
        exact.chain(prefixes)
    }

    fn add(&mut self, route: &Route) {
        let rules = self.add_rules(&route.settings.headers);
        let endpoint = |path: &str, label, label_below| Endpoint {
            rules,
            handler: route.handler.clone(),
            base: Arc::from(path),
            label,
            label_below,
            settings: route.settings.clone(),
            guard: Guard::compile(&route.settings),
        };
        match &route.path {
            PathRule::Exact(path) => {
                let label = self.label(path);
                let endpoint = endpoint(path, label, label);
                self.exact.retain(|(known, _)| **known != **path);
                self.exact.push((path.as_str().into(), endpoint));
            }
            PathRule::Prefix(path) => {
                let below = if matches!(route.handler, Handler::Mcp | Handler::McpSse) {
                    format!("{}/{{server}}", path.trim_end_matches('/'))
                } else {
                    format!("{path}*")
                };
                let (label, label_below) = (self.label(path), self.label(&below));
                let endpoint = endpoint(path, label, label_below);
                self.prefixes.retain(|known| *known.path != **path);
                self.prefixes.push(Prefix {
                    path: path.as_str().into(),
                    parent: None,
                    endpoint,
                });
            }
        }
    }

    /// Notes a route's rules. Configurations are far below 65,535 routes.
    fn add_rules(&mut self, rules: &RouteHeaders) -> u16 {
        if rules.is_empty() {
            return 0;
        }
        self.rules.push(rules.clone());
        u16::try_from(self.rules.len()).unwrap_or(0)
    }

    /// The label of that text. Configurations are far below 65,535 routes; one beyond shares
    /// the label of unmatched requests.
    fn label(&mut self, text: &str) -> Label {
        let known = self.labels.iter().position(|known| **known == *text);
        let at = known.unwrap_or_else(|| {
            self.labels.push(Arc::from(text));
            self.labels.len() - 1
        });
        u16::try_from(at).map_or(Label::NONE, Label)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Builtin, Config};

    fn exact(path: &str) -> Route {
        Route::new(
            PathRule::Exact(path.into()),
            Handler::Builtin(Builtin::Echo),
        )
    }

    fn prefix(path: &str) -> Route {
        Route::new(
            PathRule::Prefix(path.into()),
            Handler::Builtin(Builtin::Echo),
        )
    }

    fn mcp(path: &str) -> Route {
        Route::new(PathRule::Prefix(path.into()), Handler::Mcp)
    }

    fn base(router: &Router, path: &str) -> Option<(String, String)> {
        let found = router.find(path.as_bytes())?;
        Some((found.endpoint.base.to_string(), found.below.to_owned()))
    }

    #[test]
    fn exact_beats_prefix_and_the_longest_prefix_wins() {
        let router = Router::new(&[
            prefix("/"),
            prefix("/api/"),
            prefix("/api/v1/"),
            exact("/api/v1/x"),
            mcp("/mcp"),
        ]);
        for (path, expected, below) in [
            ("/api/v1/x", "/api/v1/x", ""),
            ("/api/v1/x/", "/api/v1/", "x/"),
            ("/api/v1", "/api/", "v1"),
            ("/api", "/", "api"),
            ("/mcp", "/mcp", ""),
            ("/mcp/time", "/mcp", "/time"),
            ("/mcpx", "/", "mcpx"),
            ("/", "/", ""),
        ] {
            let found = base(&router, path);
            assert_eq!(found, Some((expected.into(), below.into())), "{path}");
        }
        assert!(router.find(b"*").is_none());
        assert!(Router::new(&[exact("/a")]).find(b"/b").is_none());
    }

    #[test]
    fn labels_are_templates() {
        let router = Router::new(&[mcp("/mcp"), prefix("/e/"), exact("/x")]);
        let label = |path: &str| {
            let label = router
                .find(path.as_bytes())
                .map_or(Label::NONE, |found| found.label);
            router.labels()[usize::from(label.0)].to_string()
        };
        assert_eq!(label("/mcp"), "/mcp");
        assert_eq!(label("/mcp/anything/at/all"), "/mcp/{server}");
        assert_eq!(label("/e/1"), "/e/*");
        assert_eq!(label("/x"), "/x");
        assert_eq!(label("/nowhere"), "none");
    }

    #[test]
    fn the_later_of_two_routes_for_one_path_wins() {
        let mut routes = Config::default().routes;
        routes.push(exact("/health"));
        let router = Router::new(&routes);
        let found = router.find(b"/health").unwrap();
        assert_eq!(found.endpoint.handler, Handler::Builtin(Builtin::Echo));
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan_of_all_routes(
            paths in prop::collection::vec("/[ab/]{0,6}", 1..12),
            asked in "/[ab/]{0,8}",
        ) {
            let router = Router::new(&paths.iter().map(|p| prefix(p)).collect::<Vec<_>>());
            let longest = paths
                .iter()
                .filter(|known| asked.starts_with(known.as_str()))
                .max_by_key(|known| known.len());
            prop_assert_eq!(
                router.find(asked.as_bytes()).map(|found| found.endpoint.base.to_string()),
                longest.cloned()
            );
        }
    }
}
