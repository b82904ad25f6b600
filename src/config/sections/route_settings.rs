//! What a `[[route]]` sets for its requests, besides who answers them.

use core::ops::RangeInclusive;

use super::access::{self, Access, LimitExcept, networks};
use super::cache::Cache;
use super::limit::{self, ConnectionLimit, RateLimit};
use super::log::status_range;
use super::route::RawRoute;
use super::route_headers::{self, RouteHeaders};
use super::upstream::Upstream;
use crate::config::problem::{Findings, Problem};

/// What a route sets for its requests. The default is a route that sets nothing. Whatever is
/// looked at for each request is compiled from here once, when the router is built.
#[derive(Clone, Debug, Default)]
pub struct RouteSettings {
    /// Its requests have no lines in the access log.
    pub is_unlogged: bool,
    /// Its responses are never compressed.
    pub is_uncompressed: bool,
    /// Largest request body in bytes; `None` is `server.max_body_size`.
    pub max_body_size: Option<u64>,
    /// Which addresses may ask.
    pub access: Access,
    /// Who may use methods other than some.
    pub limit_except: Option<LimitExcept>,
    /// Paths of pages instead of errors, by their statuses; the first that fits.
    pub error_pages: Vec<(RangeInclusive<u16>, String)>,
    /// Places in [`Config::rate_limits`](crate::config::Config::rate_limits).
    pub rate_limits: Vec<u16>,
    /// Places in [`Config::connection_limits`](crate::config::Config::connection_limits).
    pub connection_limits: Vec<u16>,
    /// What is done to the fields of its responses.
    pub headers: RouteHeaders,
}

/// What routes refer to by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) upstreams: &'a [Upstream],
    pub(super) rate_limits: &'a [RateLimit],
    pub(super) connection_limits: &'a [ConnectionLimit],
    pub(super) caches: &'a [Cache],
}

/// Takes the settings out of what a route says.
pub(super) fn resolve(
    raw: &mut RawRoute,
    named: &Named<'_>,
    found: &mut Findings,
) -> RouteSettings {
    let rates = named.rate_limits.iter().map(|limit| &*limit.common.name);
    let connections = named
        .connection_limits
        .iter()
        .map(|limit| &*limit.common.name);
    RouteSettings {
        is_unlogged: raw.access_log.take() == Some(false),
        is_uncompressed: raw.compression.take() == Some(false),
        max_body_size: raw.max_body_size.take().map(|size| size.0),
        access: Access {
            allow: networks(raw.allow.take()),
            deny: networks(raw.deny.take()),
        },
        limit_except: access::resolve_except(raw.limit_except.take(), found),
        error_pages: error_pages(raw, found),
        rate_limits: limit::find(raw.rate_limit.take(), "rate_limit", rates, found),
        connection_limits: limit::find(
            raw.connection_limit.take(),
            "connection_limit",
            connections,
            found,
        ),
        headers: route_headers::resolve(raw.headers.take(), found),
    }
}

/// Reads `error_pages`.
fn error_pages(raw: &mut RawRoute, found: &mut Findings) -> Vec<(RangeInclusive<u16>, String)> {
    let mut pages = Vec::new();
    let is_mcp = raw.mcp == Some(true);
    for (status, path) in raw.error_pages.take().unwrap_or_default().0 {
        let range = status_range(&status.value).filter(|range| *range.start() >= 400);
        let is_path = path.value.starts_with('/')
            && !path
                .value
                .contains(|c: char| c.is_whitespace() || matches!(c, '?' | '#'));
        let (at, message, hint) = match (range, is_path) {
            _ if is_mcp => (
                &status.at,
                "MCP's clients need the errors of their protocol",
                "leave it out",
            ),
            (Some(range), true) => {
                pages.push((range, path.value));
                continue;
            }
            (None, _) => (
                &status.at,
                "not an error's status",
                "write 404, \"5xx\" or \"500-504\"",
            ),
            (_, false) => (&path.at, "not a path", "write \"/404.html\""),
        };
        let problem = Problem::new(at, "route.error_pages", message);
        found.errors.push(problem.hint(hint));
    }
    pages
}
