//! What a request has to pass between its route and its handler. Compiled once for each route;
//! a route that sets nothing has none.

use std::net::IpAddr;

use crate::config::RouteSettings;
use crate::filter::AccessRules;

/// The request half of one route's filters.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Which addresses may ask.
    pub access: Option<AccessRules>,
    /// Which methods are free, and which addresses may use the others (nobody for `None`).
    pub methods: Option<(Box<[String]>, Option<AccessRules>)>,
    /// Rate limits, by their place in the configuration.
    pub rate_limits: Box<[u16]>,
    /// Connection limits, by their place in the configuration.
    pub connection_limits: Box<[u16]>,
}

impl Guard {
    /// Compiles what a route sets; `None` if nothing has to be passed.
    #[must_use]
    pub fn compile(settings: &RouteSettings) -> Option<Box<Self>> {
        let guard = Self {
            access: AccessRules::new(&settings.access),
            methods: settings.limit_except.as_ref().map(|except| {
                let others = AccessRules::new(&except.access);
                (except.methods.as_slice().into(), others)
            }),
            rate_limits: settings.rate_limits.as_slice().into(),
            connection_limits: settings.connection_limits.as_slice().into(),
        };
        let is_needed = guard.access.is_some() || guard.methods.is_some() || guard.is_counted();
        is_needed.then(|| Box::new(guard))
    }

    /// Whether a request from that address may use that method here.
    #[must_use]
    pub fn allows(&self, address: IpAddr, method: &str) -> bool {
        if let Some(access) = &self.access
            && !access.allows(address)
        {
            return false;
        }
        match &self.methods {
            None => true,
            Some((free, _)) if free.iter().any(|known| known == method) => true,
            Some((_, others)) => others.as_ref().is_some_and(|rules| rules.allows(address)),
        }
    }

    /// Whether any limit counts the route's requests.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        !self.rate_limits.is_empty() || !self.connection_limits.is_empty()
    }
}
