//! `[route.headers]`: what a route does to the fields of its responses.

use super::headers;
use crate::config::problem::{Findings, Problem};
use crate::config::read::{Hidden, Map, Placed, section};
use crate::config::server_entry::check_header;

section! {
    /// Fields of a route's responses, errors too. They go before [headers].
    RawRouteHeaders {
        /// Fields that replace whatever has their name.
        set: Map<Hidden>,
        /// Fields beside those that have their name already.
        add: Map<Hidden>,
        /// Names of fields that are left out.
        remove: Vec<Placed<String>>,
    }
}

/// `[route.headers]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteHeaders {
    /// Replace whatever has their name.
    pub set: Vec<(String, String)>,
    /// Stand beside it.
    pub add: Vec<(String, String)>,
    /// Are left out.
    pub remove: Vec<String>,
}

impl RouteHeaders {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

pub(super) fn resolve(raw: Option<RawRouteHeaders>, found: &mut Findings) -> RouteHeaders {
    let raw = raw.unwrap_or_default();
    let mut remove = Vec::new();
    for name in raw.remove.unwrap_or_default() {
        match check_header(&name.value, "") {
            Ok(()) => remove.push(name.value),
            Err(why) => {
                let problem = Problem::new(&name.at, "route.headers.remove", why);
                found.errors.push(problem);
            }
        }
    }
    RouteHeaders {
        set: headers::resolve(raw.set.unwrap_or_default(), found),
        add: headers::resolve(raw.add.unwrap_or_default(), found),
        remove,
    }
}
