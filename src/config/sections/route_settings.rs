//! What a `[[route]]` sets for its requests, besides who answers them.

use super::access::{Access, networks};
use super::route::RawRoute;

/// What a route sets for its requests. The default is a route that sets nothing. Whatever is
/// looked at for each request is compiled from here once, when the router is built.
#[derive(Clone, Debug, Default)]
pub struct RouteSettings {
    /// Its requests have no lines in the access log.
    pub is_unlogged: bool,
    /// Largest request body in bytes; `None` is `server.max_body_size`.
    pub max_body_size: Option<u64>,
    /// Which addresses may ask.
    pub access: Access,
}

/// Takes the settings out of what a route says.
pub(super) fn resolve(raw: &mut RawRoute) -> RouteSettings {
    RouteSettings {
        is_unlogged: raw.access_log.take() == Some(false),
        max_body_size: raw.max_body_size.take().map(|size| size.0),
        access: Access {
            allow: networks(raw.allow.take()),
            deny: networks(raw.deny.take()),
        },
    }
}
