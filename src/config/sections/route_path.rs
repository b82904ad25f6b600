//! What a `[[route]]` asks of a request besides its path, and what it makes of the path.

use std::sync::Arc;

use regex::Regex;

use super::route::RawRoute;
use crate::config::kinds::Count;
use crate::config::problem::{At, Findings, Problem};
use crate::config::read::{Map, Placed, section};
use crate::http::is_token;

section! {
    /// One rule that makes another path; the first whose pattern matches is the one.
    RawRewrite {
        /// A regular expression that is looked for in the path.
        pattern: Placed<String>,
        /// The new path, perhaps with a query: $1 or $name is what a group matched. Where a
        /// letter follows, $${1} is read as ${1}.
        to: Placed<String>,
    }
}

section! {
    /// An answer that sends the client elsewhere.
    RawRedirect {
        /// Where: {host}, {path}, {query}, {uri} (path and query), {scheme} and {below} (what
        /// follows the route's path) are filled in.
        to: Placed<String>,
        /// 301, 302, 303, 307 or 308.
        status: Count<301, 308>,
    }
}

/// What a request has to be for a route to take it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteConditions {
    /// The hosts, in lower case and without port; `*.x` stands for all names below x. None is
    /// any host.
    pub hosts: Vec<String>,
    /// The methods as they are spelled; none is any.
    pub methods: Vec<String>,
    /// What its fields have to be; all of it.
    pub headers: Vec<HeaderCondition>,
}

/// One field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCondition {
    /// Its name.
    pub name: String,
    /// What is asked of its value.
    pub test: HeaderTest,
}

/// What is asked of a field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// `"*"`: that it is there.
    Present,
    /// `""`: that it is not there.
    Absent,
    /// That it is this.
    Equals(String),
    /// `"~…"`: that a pattern is found in it.
    Matches(Pattern),
}

/// A regular expression; compares by its text.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// What becomes of a path on its way to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathEdit {
    /// Replaces the route's own path.
    pub prefix: Option<String>,
    /// The first that matches makes another path.
    pub rewrites: Vec<Rewrite>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// What is looked for.
    pub pattern: Pattern,
    /// What the path becomes.
    pub to: String,
}

/// `redirect`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Where; `{…}` is filled in.
    pub to: String,
    /// The status.
    pub status: u16,
}

impl PathEdit {
    /// Whether the path stays.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.prefix.is_none() && self.rewrites.is_empty()
    }
}

impl RouteConditions {
    /// Whether any request meets them.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.methods.is_empty() && self.headers.is_empty()
    }
}

pub(super) fn conditions(raw: &mut RawRoute, at: &At, found: &mut Findings) -> RouteConditions {
    let mut hosts = Vec::new();
    for host in raw.hosts.take().unwrap_or_default() {
        let name = host.value.to_ascii_lowercase();
        let bare = name.strip_prefix("*.").unwrap_or(&name);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if bare.is_empty() || !bare.chars().all(is_name) {
            problem(&host, "route.hosts", "is no host", found);
        } else {
            hosts.push(name);
        }
    }
    let mut methods = Vec::new();
    for method in raw.methods.take().unwrap_or_default() {
        if is_token(method.value.as_bytes()) {
            methods.push(method.value);
        } else {
            problem(&method, "route.methods", "is no method", found);
        }
    }
    RouteConditions {
        hosts,
        methods,
        headers: headers(raw.match_headers.take().unwrap_or_default(), at, found),
    }
}

fn headers(raw: Map<String>, at: &At, found: &mut Findings) -> Vec<HeaderCondition> {
    let mut conditions = Vec::new();
    for (name, value) in raw.0 {
        if !is_token(name.value.as_bytes()) {
            problem(&name, "route.match_headers", "is no field name", found);
            continue;
        }
        let test = match value.as_str() {
            "" => HeaderTest::Absent,
            "*" => HeaderTest::Present,
            text => match text.strip_prefix('~') {
                None => HeaderTest::Equals(value),
                Some(pattern) => {
                    let Some(pattern) = compile(pattern, at, "route.match_headers", found) else {
                        continue;
                    };
                    HeaderTest::Matches(pattern)
                }
            },
        };
        let name = name.value;
        conditions.push(HeaderCondition { name, test });
    }
    conditions
}

/// `strip_prefix`, `replace_prefix` and `rewrite`.
pub(super) fn edit(raw: &mut RawRoute, at: &At, found: &mut Findings) -> Arc<PathEdit> {
    let strips = raw.strip_prefix.take().unwrap_or(false);
    let replaced = raw.replace_prefix.take();
    if strips && replaced.is_some() {
        let message = "strip_prefix and replace_prefix exclude each other";
        let problem = Problem::new(at, "route.strip_prefix", message);
        found.errors.push(problem);
    }
    let prefix = match replaced {
        Some(prefix) if prefix.value.starts_with('/') => Some(prefix.value),
        Some(prefix) => {
            problem(
                &prefix,
                "route.replace_prefix",
                "does not begin with /",
                found,
            );
            None
        }
        None => strips.then(|| "/".to_owned()),
    };
    let mut rewrites = Vec::new();
    for rule in raw.rewrite.take().unwrap_or_default() {
        let (Some(pattern), Some(to)) = (rule.pattern, rule.to) else {
            let message = "a rewrite needs `pattern` and `to`";
            let problem = Problem::new(at, "route.rewrite", message);
            found.errors.push(problem);
            continue;
        };
        if !to.value.starts_with(['/', '$'])
            || to.value.contains(|c: char| c.is_control() || c == ' ')
        {
            problem(&to, "route.rewrite.to", "is no path", found);
            continue;
        }
        if let Some(compiled) = compile(&pattern.value, &pattern.at, "route.rewrite.pattern", found)
        {
            let (pattern, to) = (compiled, to.value);
            rewrites.push(Rewrite { pattern, to });
        }
    }
    Arc::new(PathEdit { prefix, rewrites })
}

/// `redirect`
pub(super) fn redirect(raw: RawRedirect, at: &At, found: &mut Findings) -> Option<Arc<Redirect>> {
    let Some(to) = raw.to else {
        let problem = Problem::new(at, "route.redirect", "a redirect needs `to`");
        found.errors.push(problem);
        return None;
    };
    let status = raw.status.map_or(302, |status| status.0 as u16);
    if matches!(status, 304..=306) {
        let message = format!("{status} does not redirect");
        let problem = Problem::new(at, "route.redirect.status", message);
        found.errors.push(problem);
        return None;
    }
    let mut rest = to.value.as_str();
    while let Some((_, behind)) = rest.split_once('{') {
        let name = behind.split('}').next().unwrap_or("");
        if !REDIRECT_NAMES.contains(&name) {
            problem(&to, "route.redirect.to", "names something unknown", found);
            return None;
        }
        rest = behind;
    }
    if to.value.is_empty() || to.value.contains(|c: char| c.is_control() || c == ' ') {
        problem(&to, "route.redirect.to", "is no address", found);
        return None;
    }
    let to = to.value;
    Some(Arc::new(Redirect { to, status }))
}

/// What a redirect may fill in.
const REDIRECT_NAMES: [&str; 6] = ["host", "path", "query", "uri", "scheme", "below"];

fn compile(text: &str, at: &At, key: &str, found: &mut Findings) -> Option<Pattern> {
    match Regex::new(text) {
        Ok(regex) => Some(Pattern(regex)),
        Err(error) => {
            let message = format!("not a regular expression: {error}").replace('\n', " ");
            found.errors.push(Problem::new(at, key, message));
            None
        }
    }
}

fn problem(value: &Placed<String>, key: &str, what: &str, found: &mut Findings) {
    let message = format!("\"{}\" {what}", value.value.escape_debug());
    found.errors.push(Problem::new(&value.at, key, message));
}
