//! Which handler answers a request. Compiled once from the configuration; a look-up compares
//! bytes in sorted tables and allocates nothing. By the path alone, as long as no route asks for
//! more; methods that a page does not know are the page's to refuse.
//!
//! Paths come in normalised form (dot segments removed, unreserved characters decoded), so that
//! what is matched here is what the handler sees.
#![forbid(unsafe_code)]

mod conditions;
mod edit;
mod table;

use std::sync::Arc;

use crate::config::{Handler, PathRule, Route, RouteHeaders, RouteSettings};
use crate::filter::Guard;
use crate::http::{Known, RequestHead};
pub use edit::{edited, redirected};
use table::Table;

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
    all: Table,
    /// Routes that are for some hosts only: names first, then `*.` with the longest first.
    hosts: Vec<(Box<str>, Table)>,
    /// Whether a route asks for more than a path.
    is_selective: bool,
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

impl Router {
    /// Compiles the routes. Of two routes for one path and the same conditions the later wins,
    /// so that an operator's route replaces a built-in one.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        Self::with_labels(routes, &[Arc::from("none")])
    }

    /// The same for a configuration that follows another, whose labels keep their places: what
    /// is counted under them goes on. The first stands for no route.
    #[must_use]
    pub fn with_labels(routes: &[Route], labels: &[Arc<str>]) -> Self {
        let mut router = Self {
            all: Table::default(),
            hosts: Vec::new(),
            is_selective: routes.iter().any(|route| !route.conditions.is_empty()),
            labels: labels.to_vec(),
            rules: Vec::new(),
        };
        for route in routes {
            router.add(route);
        }
        router.all.finish();
        for (_, table) in &mut router.hosts {
            table.finish();
        }
        // A name goes before a pattern, and of two patterns the longer.
        let order = |host: &str| (host.starts_with("*."), core::cmp::Reverse(host.len()));
        router.hosts.sort_by_key(|(host, _)| order(host));
        router
    }

    /// The route of a request.
    #[inline]
    #[must_use]
    pub fn find_for<'a>(&'a self, head: &'a RequestHead) -> Option<Match<'a>> {
        let path = head.route_path_bytes();
        if !self.is_selective {
            return self.all.find(path, None);
        }
        let host = head.headers.get_str(Known::Host).unwrap_or("");
        let table = self.hosts.iter().find(|(known, _)| is_for(known, host));
        let own = table.and_then(|(_, table)| table.find(path, Some(head)));
        own.or_else(|| self.all.find(path, Some(head)))
    }

    /// The route of a normalised path, among those that ask for nothing else.
    #[must_use]
    pub fn find<'a>(&'a self, path: &'a [u8]) -> Option<Match<'a>> {
        self.all.find(path, None)
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
        let of_hosts = self.hosts.iter().flat_map(|(_, table)| table.endpoints());
        self.all.endpoints().chain(of_hosts)
    }

    fn add(&mut self, route: &Route) {
        let rules = self.add_rules(&route.settings.headers);
        let endpoint = self.endpoint(route, rules);
        let conditions = &route.conditions;
        if conditions.hosts.is_empty() {
            return self.all.add(&route.path, conditions, endpoint);
        }
        for host in &conditions.hosts {
            let known = self.hosts.iter().position(|(known, _)| **known == **host);
            let at = known.unwrap_or_else(|| {
                self.hosts.push((host.as_str().into(), Table::default()));
                self.hosts.len() - 1
            });
            if let Some((_, table)) = self.hosts.get_mut(at) {
                table.add(&route.path, conditions, endpoint.clone());
            }
        }
    }

    fn endpoint(&mut self, route: &Route, rules: u16) -> Endpoint {
        let (path, label, label_below) = match &route.path {
            PathRule::Exact(path) => {
                let label = self.label(path);
                (path, label, label)
            }
            PathRule::Prefix(path) => {
                let below = if matches!(route.handler, Handler::Mcp | Handler::McpSse) {
                    format!("{}/{{server}}", path.trim_end_matches('/'))
                } else {
                    format!("{path}*")
                };
                (path, self.label(path), self.label(&below))
            }
        };
        Endpoint {
            rules,
            handler: route.handler.clone(),
            base: Arc::from(path.as_str()),
            label,
            label_below,
            settings: route.settings.clone(),
            guard: Guard::compile(&route.settings),
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
}

/// Whether a Host is one that a route is for.
fn is_for(known: &str, host: &str) -> bool {
    // A port behind it, but not what stands in the brackets of an IPv6 address.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    match known.strip_prefix('*') {
        None => name.eq_ignore_ascii_case(known),
        Some(end) => {
            let start = name.len().checked_sub(end.len());
            start.is_some_and(|start| {
                start > 0
                    && name
                        .get(start..)
                        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Builtin, Config, HeaderCondition, HeaderTest, RouteConditions};

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

    fn conditional(path: &str, change: impl FnOnce(&mut RouteConditions)) -> Route {
        let mut route = prefix(path);
        change(&mut route.conditions);
        route
    }

    #[test]
    fn hosts_methods_and_fields_choose() {
        let mut posts = conditional("/a", |c| c.methods = vec!["POST".into()]);
        posts.handler = Handler::Builtin(Builtin::Health);
        let mut versioned = conditional("/a", |c| {
            c.headers = vec![HeaderCondition {
                name: "x-version".into(),
                test: HeaderTest::Equals("2".into()),
            }];
        });
        versioned.handler = Handler::Builtin(Builtin::Version);
        let mut own = conditional("/a", |c| c.hosts = vec!["a.test".into()]);
        own.handler = Handler::Builtin(Builtin::Docs);
        let mut below = conditional("/", |c| c.hosts = vec!["*.b.test".into()]);
        below.handler = Handler::Builtin(Builtin::Metrics);
        let only = conditional("/p", |c| c.methods = vec!["PUT".into()]);
        let router = Router::new(&[
            prefix("/"),
            posts,
            versioned,
            own,
            below,
            prefix("/a"),
            only,
        ]);
        let page = |method: &str, path: &str, fields: &[(&str, &str)]| {
            let mut head = RequestHead::default();
            head.set_target(method, path).unwrap();
            for (name, value) in fields {
                head.headers.push(name.as_bytes(), value.as_bytes());
            }
            match &router.find_for(&head).unwrap().endpoint.handler {
                Handler::Builtin(page) => *page,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(page("GET", "/a", &[("Host", "c.test")]), Builtin::Echo);
        assert_eq!(page("POST", "/a", &[("Host", "c.test")]), Builtin::Health);
        assert_eq!(page("GET", "/a", &[("X-Version", "2")]), Builtin::Version);
        assert_eq!(page("GET", "/a", &[("X-Version", "3")]), Builtin::Echo);
        assert_eq!(
            page("POST", "/a/x", &[("Host", "A.test:81")]),
            Builtin::Docs
        );
        assert_eq!(page("GET", "/x", &[("Host", "x.B.test")]), Builtin::Metrics);
        assert_eq!(page("GET", "/x", &[("Host", "b.test")]), Builtin::Echo);
        // Where a path's routes all ask for more, the next shorter path takes the rest.
        assert_eq!(page("GET", "/p", &[]), Builtin::Echo);
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
