//! `[[route]]`: who answers which paths.

use std::sync::Arc;

use super::Around;
use super::access::{RawLimitExcept, RawNetwork};
use super::cache::{self, RawRouteCache};
use super::files::{self, Files, RawFileCache, SymlinksWord};
use super::limit::Names;
use super::proxy::{self, ForwardedWord, ProxyRoute, RawProxyHeaders};
use super::route_headers::RawRouteHeaders;
use super::route_path::{self, RawRedirect, RawRewrite, Redirect, RouteConditions};
use super::route_settings::{self, Named, RouteSettings};
use super::ui::Ui;
use crate::config::kinds::{Period, Size, words};
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Map, Placed, section};
use crate::config::units::{DAY_MS, GIB};

section! {
    /// Who answers a path.
    RawRoute {
        /// "/x/" is every path below, "=/x" that path alone; the longest wins.
        path: Placed<String>,
        /// Hosts that the route is for, without port; "*.example.com" is every name below. By
        /// default all. Routes of a host go before those of all hosts.
        hosts: Vec<Placed<String>>,
        /// Methods that the route is for; by default all.
        methods: Vec<Placed<String>>,
        /// Fields that a request must have: a value, "*" for any, "" for none, "~..." for a
        /// regular expression.
        match_headers: Map<String>,
        /// An answer that sends the client elsewhere.
        redirect: RawRedirect,
        /// Take the route's path off before the request goes to the upstream.
        strip_prefix: bool,
        /// Put this in place of the route's path.
        replace_prefix: Placed<String>,
        /// Make another path by regular expressions; the first that matches counts.
        rewrite: Vec<RawRewrite>,
        /// A built-in page.
        builtin: BuiltinWord,
        /// The MCP gateway, at this path and below.
        mcp: bool,
        /// The [upstream.NAME] that its requests go to.
        proxy: Placed<String>,
        /// Which responses are kept, and how long.
        cache: RawRouteCache,
        /// Whether content that comes faster than the client takes it is read ahead.
        buffering: bool,
        /// Whether a request's content is waited for, up to 128 KiB, before a server is asked.
        request_buffering: bool,
        /// The upstream's connect_timeout, where this route has another.
        connect_timeout: Period<1, DAY_MS>,
        /// The upstream's send_timeout, where this route has another.
        send_timeout: Period<1, DAY_MS>,
        /// The upstream's read_timeout, where this route has another.
        read_timeout: Period<1, DAY_MS>,
        /// The Host that the upstream gets: "client" is the client's.
        proxy_host: String,
        /// What becomes of X-Forwarded-For and Forwarded: "append" to what the client says,
        /// "replace" it, or "off".
        forwarded: ForwardedWord,
        /// What is done to the fields of requests to the upstream.
        proxy_headers: RawProxyHeaders,
        /// Whether its requests have lines in the access log.
        access_log: bool,
        /// Whether responses may be compressed; by default they may.
        compression: bool,
        /// Largest request body; by default server.max_body_size.
        max_body_size: Size<0, { 64 * GIB }>,
        /// Networks that may ask; everyone else is refused. Of several networks around an
        /// address the most specific decides.
        allow: Vec<RawNetwork>,
        /// Networks that may not ask.
        deny: Vec<RawNetwork>,
        /// Pages instead of errors, by status: { 404 = "/404.html", 5xx = "/50x.html" }. Each
        /// is a path that a route with files or a built-in page answers.
        error_pages: Map<Placed<String>>,
        /// Who may use methods other than some.
        limit_except: RawLimitExcept,
        /// A directory: what follows the route's path is looked up in it. With "=/x", a file too.
        files: Placed<String>,
        /// A directory in which the whole path is looked up.
        root: Placed<String>,
        /// Files that answer for a directory, the first that is there.
        index: Placed<Vec<String>>,
        /// When copies grow stale: "1y", "12h", "-1h", "epoch", "max" or "off".
        expires: Placed<String>,
        /// Cache-Control of the files, beside the max-age that `expires` makes.
        cache_control: Placed<String>,
        /// Send the siblings x.br, x.zst and x.gz of a file x to clients that take them.
        precompressed: bool,
        /// List directories that have no index.
        autoindex: bool,
        /// Serve names that begin with a dot; .well-known always is.
        hidden: bool,
        /// Symbolic links that are followed: those that stay "inside", "off" or "any".
        symlinks: SymlinksWord,
        /// Media type of files whose extension is not known.
        default_type: Placed<String>,
        /// charset of text types, or "off".
        charset: Placed<String>,
        /// Media types by extension, before the built-in ones.
        types: Map<String>,
        /// The file to send where there is none: "/index.html" for an app of one page.
        fallback: Placed<String>,
        /// What each shard keeps of the files it has served.
        file_cache: RawFileCache,
        /// Which [rate_limit.NAME] hold here: a name or a list of names.
        rate_limit: Names,
        /// Which [connection_limit.NAME] hold here: a name or a list of names.
        connection_limit: Names,
        /// What is done to the fields of responses.
        headers: RawRouteHeaders,
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
        "upstreams" => Builtin::Upstreams,
        "metrics" => Builtin::Metrics,
        "docs" => Builtin::Docs,
        "openapi" => Builtin::OpenApi,
        "index" => Builtin::Index,
        "events" => Builtin::Events,
        "ui" => Builtin::Ui,
        "echo" => Builtin::Echo,
    }
}

/// `[[route]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths.
    pub path: PathRule,
    /// Which requests for them.
    pub conditions: RouteConditions,
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
            conditions: RouteConditions::default(),
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
    /// The gateway's transport of 2024-11-05 (HTTP+SSE), at `/sse` and `/messages`.
    McpSse,
    /// `redirect`: an answer that sends the client elsewhere.
    Redirect(Arc<Redirect>),
    /// `proxy = "NAME"`: a server behind.
    Proxy(Arc<ProxyRoute>),
    /// `files` or `root`: files below a directory.
    Files(Arc<Files>),
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
    /// /api/v1/upstreams: servers behind the proxy, and how they do.
    Upstreams,
    Metrics,
    Docs,
    /// /openapi.json
    OpenApi,
    /// /api/v1/sse: live figures of each shard, one event a second.
    Events,
    /// /ui: the live page.
    Ui,
    /// Answers any request with a JSON description of it.
    Echo,
}

pub(super) fn resolve(
    raw: Vec<RawRoute>,
    (named, around): (&Named<'_>, &Around<'_>),
    with_builtin: bool,
    found: &mut Findings,
) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let mut sites = 0;
    for mut route in raw {
        let settings = route_settings::resolve(&mut route, named, found);
        let Some(path) = route.path.take() else {
            continue;
        };
        let conditions = route_path::conditions(&mut route, &path.at, found);
        let rule = path_rule(&path, found);
        let Some(choice) = choice(&route, &path, found) else {
            continue;
        };
        let Some(rule) = rule else {
            continue;
        };
        let is_known = |known: &Route| known.path == rule && known.conditions == conditions;
        if routes.iter().any(is_known) {
            let message = format!("{} stands twice", path.value);
            let problem = Problem::new(&path.at, "route.path", message);
            found.errors.push(problem);
            continue;
        }
        let place = (&rule, &path, sites);
        let Some(handler) = handler(&mut route, (choice, place), (named, around), found) else {
            continue;
        };
        match &handler {
            Handler::Files(_) => sites += 1,
            _ => files::refuse_strays(&route, &path.at, found),
        }
        proxy::refuse_strays(&route, &path.at, found);
        routes.push(Route {
            path: rule,
            conditions,
            handler,
            settings,
        });
    }
    if with_builtin {
        add_builtin(&mut routes);
    }
    routes
}

fn handler(
    route: &mut RawRoute,
    (choice, (rule, path, sites)): (Choice, (&PathRule, &Placed<String>, usize)),
    (named, around): (&Named<'_>, &Around<'_>),
    found: &mut Findings,
) -> Option<Handler> {
    let at = &path.at;
    Some(match choice {
        Choice::Builtin(page) => Handler::Builtin(page),
        Choice::Mcp => Handler::Mcp,
        Choice::Redirect => {
            let raw = route.redirect.take().unwrap_or_default();
            Handler::Redirect(route_path::redirect(raw, at, found)?)
        }
        Choice::Proxy => {
            let raw = route.cache.take();
            let mut settings = proxy::resolve(route, at, named.upstreams, found)?;
            if let (Some(raw), Some(upstream)) = (raw, named.upstreams.get(settings.upstream)) {
                let about = (path, &*upstream.name);
                let cache = cache::resolve_route(raw, about, named.caches, found);
                Arc::make_mut(&mut settings).cache = cache;
            }
            Handler::Proxy(settings)
        }
        Choice::Files => Handler::Files(files::resolve(route, rule, sites, around, found)?),
    })
}

/// Adds the built-in routes whose paths are free.
fn add_builtin(routes: &mut Vec<Route>) {
    let is_free = |route: &Route| {
        routes
            .iter()
            .filter(|own| own.conditions.is_empty())
            .all(|own| text(&own.path) != text(&route.path))
    };
    let mut builtin: Vec<Route> = builtin_routes().into_iter().filter(is_free).collect();
    routes.append(&mut builtin);
}

/// The one key that says who answers.
enum Choice {
    Builtin(Builtin),
    Mcp,
    Files,
    Proxy,
    Redirect,
}

/// What to do about a route that has none of them.
const ADD_ONE: &str = "add `mcp = true`, `builtin = \"…\"`, \
     `files = \"…\"` or `proxy = \"…\"`";
/// The keys of a route that say so.
const CHOICES: [&str; 6] = ["builtin", "mcp", "files", "root", "proxy", "redirect"];

fn choice(route: &RawRoute, path: &Placed<String>, found: &mut Findings) -> Option<Choice> {
    let mut choices = Vec::new();
    if let Some(page) = &route.builtin {
        choices.push(("builtin", Choice::Builtin(page.0)));
    }
    if route.mcp == Some(true) {
        choices.push(("mcp", Choice::Mcp));
    }
    if route.files.is_some() {
        choices.push(("files", Choice::Files));
    }
    if route.root.is_some() {
        choices.push(("root", Choice::Files));
    }
    if route.proxy.is_some() {
        choices.push(("proxy", Choice::Proxy));
    }
    if route.redirect.is_some() {
        choices.push(("redirect", Choice::Redirect));
    }
    let names: Vec<String> = choices
        .iter()
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let (message, hint) = match choices.len() {
        1 => return choices.pop().map(|(_, choice)| choice),
        // One that could not be read was told already.
        0 if CHOICES.iter().any(|key| route.unread.contains(key)) => return None,
        0 => ("nobody answers this path", ADD_ONE.to_owned()),
        _ => (
            "two handlers for one path",
            format!("keep one of {}", names.join(", ")),
        ),
    };
    let problem = Problem::new(&path.at, "route", message);
    found.errors.push(problem.hint(hint));
    None
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

/// Gives the live page's routes the rules of `[ui]` where they have none, or takes them away.
pub(super) fn set_ui(routes: &mut Vec<Route>, ui: &Ui) {
    let is_page = |route: &Route| route.handler == Handler::Builtin(Builtin::Ui);
    routes.retain(|route| ui.enabled || !is_page(route));
    for route in routes.iter_mut().filter(|route| is_page(route)) {
        if route.settings.access.is_empty() {
            route.settings.access = ui.access.clone();
        }
    }
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
        ("/api/v1/upstreams", Builtin::Upstreams),
        ("/api/v1/sse", Builtin::Events),
        ("/metrics", Builtin::Metrics),
        ("/ui", Builtin::Ui),
        ("/ui/", Builtin::Ui),
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
    let path = PathRule::Prefix("/sse".to_owned());
    routes.push(Route::new(path, Handler::McpSse));
    let path = PathRule::Exact("/messages".to_owned());
    routes.push(Route::new(path, Handler::McpSse));
    routes
}
