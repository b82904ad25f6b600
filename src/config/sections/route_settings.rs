//! What a `[[route]]` sets for its requests, besides who answers them.

use super::access::{self, Access, LimitExcept, networks};
use super::limit::{self, ConnectionLimit, RateLimit};
use super::route::RawRoute;
use super::route_headers::{self, RouteHeaders};
use super::upstream::Upstream;
use crate::config::problem::Findings;

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
