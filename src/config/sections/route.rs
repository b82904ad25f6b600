//! `[[route]]`: who answers which paths.

use super::access::RawNetwork;
use super::route_settings::{self, RouteSettings};
use crate::config::kinds::{Size, words};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Placed, section};
use crate::config::units::GIB;

section! {
    /// Who answers a path.
    RawRoute {
        /// "/x/" is every path below, "=/x" that path alone; the longest wins.
        path: Placed<String>,
        /// A built-in page.
        builtin: BuiltinWord,
        /// The MCP gateway, at this path and below.
        mcp: bool,
        /// Whether its requests have lines in the access log.
        access_log: bool,
        /// Largest request body; by default server.max_body_size.
        max_body_size: Size<0, { 64 * GIB }>,
        /// Networks that may ask; everyone else is refused. Of several networks around an
        /// address the most specific decides.
        allow: Vec<RawNetwork>,
        /// Networks that may not ask.
        deny: Vec<RawNetwork>,
    }
}

words! {
    /// `builtin`
    BuiltinWord(Builtin) {
        "health" => Builtin::Health,
        "version" => Builtin::Version,
        "config" => Builtin::Config,
        "servers" => Builtin::Servers,
        "tools" => Builtin::Tools,
        "metrics" => Builtin::Metrics,
        "docs" => Builtin::Docs,
        "openapi" => Builtin::OpenApi,
        "index" => Builtin::Index,
        "events" => Builtin::Events,
        "echo" => Builtin::Echo,
    }
}

/// `[[route]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths.
    pub path: PathRule,
    /// Who answers.
    pub handler: Handler,
    /// What holds for its requests.
    pub settings: RouteSettings,
}

impl Route {
    /// A route that sets nothing.
    #[must_use]
    pub fn new(path: PathRule, handler: Handler) -> Self {
        Self {
            path,
            handler,
            settings: RouteSettings::default(),
        }
    }
}

/// The `path` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// `"=/x"`: that path alone.
    Exact(String),
    /// `"/x/"`: every path that starts with it; the longest wins.
    Prefix(String),
}

/// Who answers a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `builtin = "…"`
    Builtin(Builtin),
    /// `mcp = true`: the gateway, at this path and below.
    Mcp,
}

/// The built-in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the page of that name")]
pub enum Builtin {
    /// `/`: what runs here and how to connect.
    Index,
    /// /health, /health/live, /health/ready
    Health,
    Version,
    /// /api/v1/config
    Config,
    /// /api/v1/servers
    Servers,
    /// /api/v1/tools
    Tools,
    Metrics,
    Docs,
    /// /openapi.json
    OpenApi,
    /// /api/v1/sse: live figures of each shard, one event a second.
    Events,
    /// Answers any request with a JSON description of it.
    Echo,
}

pub(super) fn resolve(raw: Vec<RawRoute>, with_builtin: bool, found: &mut Findings) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for mut route in raw {
        let settings = route_settings::resolve(&mut route);
        let Some(path) = route.path else {
            continue;
        };
        let handler = match (route.builtin, route.mcp) {
            (Some(page), None | Some(false)) => Handler::Builtin(page.0),
            (None, Some(true)) => Handler::Mcp,
            (Some(_), Some(true)) => {
                let problem = Problem::new(&path.at, "route", "two handlers for one path");
                found.errors.push(problem.hint("keep `builtin` or `mcp`"));
                continue;
            }
            (None, None | Some(false)) => {
                let problem = Problem::new(&path.at, "route", "nobody answers this path");
                let hint = "add `mcp = true` or `builtin = \"…\"`";
                found.errors.push(problem.hint(hint));
                continue;
            }
        };
        match path_rule(&path, found) {
            Some(path_rule) if routes.iter().any(|known| known.path == path_rule) => {
                let message = format!("{} stands twice", path.value);
                found
                    .errors
                    .push(Problem::new(&path.at, "route.path", message));
            }
            Some(path) => routes.push(Route {
                path,
                handler,
                settings,
            }),
            None => {}
        }
    }
    if with_builtin {
        let builtin = builtin_routes();
        let is_free = |route: &Route| {
            routes
                .iter()
                .all(|own| text(&own.path) != text(&route.path))
        };
        let mut builtin: Vec<Route> = builtin.into_iter().filter(is_free).collect();
        routes.append(&mut builtin);
    }
    routes
}

/// The path of a rule, whichever kind it is: a route replaces a built-in one with its path.
fn text(rule: &PathRule) -> &str {
    match rule {
        PathRule::Exact(path) | PathRule::Prefix(path) => path,
    }
}

fn path_rule(path: &Placed<String>, found: &mut Findings) -> Option<PathRule> {
    let (is_exact, text) = match path.value.strip_prefix('=') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, path.value.as_str()),
    };
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '?' | '#');
    if !text.starts_with('/') || !text.chars().all(is_plain) {
        let message = format!("\"{}\" is not a path", path.value.escape_debug());
        let problem = Problem::new(&path.at, "route.path", message);
        found
            .errors
            .push(problem.hint("write \"/x/\" (all below) or \"=/x\" (that one)"));
        return None;
    }
    Some(if is_exact {
        PathRule::Exact(text.to_owned())
    } else {
        PathRule::Prefix(text.to_owned())
    })
}

/// The routes that exist without being configured.
#[must_use]
pub(super) fn builtin_routes() -> Vec<Route> {
    let pages = [
        ("/", Builtin::Index),
        ("/health", Builtin::Health),
        ("/health/live", Builtin::Health),
        ("/health/ready", Builtin::Health),
        ("/version", Builtin::Version),
        ("/api/v1/config", Builtin::Config),
        ("/api/v1/servers", Builtin::Servers),
        ("/api/v1/tools", Builtin::Tools),
        ("/api/v1/sse", Builtin::Events),
        ("/metrics", Builtin::Metrics),
        ("/docs", Builtin::Docs),
        ("/openapi.json", Builtin::OpenApi),
    ];
    let mut routes: Vec<Route> = pages
        .into_iter()
        .map(|(path, page)| {
            let path = PathRule::Exact(path.to_owned());
            Route::new(path, Handler::Builtin(page))
        })
        .collect();
    let path = PathRule::Prefix("/mcp".to_owned());
    routes.push(Route::new(path, Handler::Mcp));
    routes
}
