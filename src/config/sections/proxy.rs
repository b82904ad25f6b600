//! What a `[[route]]` with `proxy` sets: to whom its requests go, and how.

use std::sync::Arc;
use std::time::Duration;

use super::cache::RouteCache;
use super::field_value::{self, FieldValue};
use super::route::RawRoute;
use super::route_path::{self, PathEdit};
use super::upstream::Upstream;
use crate::config::kinds::words;
use crate::config::problem::{At, Findings, Problem};
use crate::config::read::{Hidden, Map, Placed, section};
use crate::config::server_entry::check_header;

section! {
    /// Fields of the requests to the upstream.
    RawProxyHeaders {
        /// Fields that replace whatever has their name. Values may have variables: $remote_addr,
        /// $host, $scheme, $request_id, $ssl_client_s_dn …
        set: Map<Hidden>,
        /// Names of fields that are left out.
        remove: Vec<Placed<String>>,
    }
}

words! {
    /// `forwarded`
    ForwardedWord(Forwarded) {
        "append" => Forwarded::Append,
        "replace" => Forwarded::Replace,
        "off" => Forwarded::Off,
    }
}

/// What a route does with what clients say of proxies before this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// The peer's address goes behind it (nginx: `$proxy_add_x_forwarded_for`).
    #[default]
    Append,
    /// It is left out.
    Replace,
    /// It goes as it is, and nothing is added.
    Off,
}

/// `proxy = "NAME"` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRoute {
    /// Place in [`Config::upstreams`](crate::config::Config::upstreams).
    pub upstream: usize,
    /// Whether content that comes faster than the client takes it is read ahead.
    pub buffering: bool,
    /// Whether a request's content is waited for before a server is asked.
    pub request_buffering: bool,
    /// The upstream's time limits, where the route has others.
    pub connect_timeout: Option<Duration>,
    /// See above.
    pub send_timeout: Option<Duration>,
    /// See above.
    pub read_timeout: Option<Duration>,
    /// What becomes of the path.
    pub path: Arc<PathEdit>,
    /// The Host that is sent; `None` is the client's.
    pub host: Option<String>,
    /// What becomes of Forwarded and its kin.
    pub forwarded: Forwarded,
    /// Fields that replace whatever has their name; one whose value is empty leaves it out.
    pub set: Vec<(String, FieldValue)>,
    /// Fields that are left out.
    pub remove: Vec<String>,
    /// What is kept of the answers.
    pub cache: Option<RouteCache>,
}

/// Takes what belongs to `proxy` out of what a route says.
pub(super) fn resolve(
    raw: &mut RawRoute,
    at: &At,
    upstreams: &[Upstream],
    found: &mut Findings,
) -> Option<Arc<ProxyRoute>> {
    let name = raw.proxy.take()?;
    let upstream = upstreams
        .iter()
        .position(|known| *known.name == *name.value);
    if upstream.is_none() {
        let message = format!("there is no [upstream.{}]", name.value.escape_debug());
        found
            .errors
            .push(Problem::new(&name.at, "route.proxy", message));
    }
    let path = route_path::edit(raw, at, found);
    let fields = raw.proxy_headers.take().unwrap_or_default();
    let mut remove = Vec::new();
    for name in fields.remove.unwrap_or_default() {
        match check_header(&name.value, "") {
            Ok(()) => remove.push(name.value),
            Err(why) => {
                let problem = Problem::new(&name.at, "route.proxy_headers.remove", why);
                found.errors.push(problem);
            }
        }
    }
    Some(Arc::new(ProxyRoute {
        upstream: upstream?,
        path,
        buffering: raw.buffering.take().unwrap_or(true),
        request_buffering: raw.request_buffering.take().unwrap_or(true),
        connect_timeout: raw.connect_timeout.take().map(|time| time.0),
        send_timeout: raw.send_timeout.take().map(|time| time.0),
        read_timeout: raw.read_timeout.take().map(|time| time.0),
        host: raw.proxy_host.take().filter(|host| host != "client"),
        forwarded: raw.forwarded.take().map(|word| word.0).unwrap_or_default(),
        set: field_value::resolve(
            fields.set.unwrap_or_default(),
            "route.proxy_headers.set",
            found,
        ),
        remove,
        cache: None,
    }))
}

/// Refuses keys that only a route with `proxy` has.
pub(super) fn refuse_strays(raw: &RawRoute, at: &At, found: &mut Findings) {
    let strays = [
        ("buffering", raw.buffering.is_some()),
        ("request_buffering", raw.request_buffering.is_some()),
        ("connect_timeout", raw.connect_timeout.is_some()),
        ("send_timeout", raw.send_timeout.is_some()),
        ("read_timeout", raw.read_timeout.is_some()),
        ("proxy_host", raw.proxy_host.is_some()),
        ("forwarded", raw.forwarded.is_some()),
        ("strip_prefix", raw.strip_prefix.is_some()),
        ("replace_prefix", raw.replace_prefix.is_some()),
        ("rewrite", raw.rewrite.is_some()),
        ("proxy_headers", raw.proxy_headers.is_some()),
        ("cache", raw.cache.is_some()),
    ];
    for (key, is_there) in strays {
        if is_there {
            let problem = Problem::new(at, &format!("route.{key}"), "only for routes with `proxy`");
            found.errors.push(problem);
        }
    }
}
