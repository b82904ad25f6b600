//! What a request has to pass between its route and its handler. Compiled once for each route;
//! a route that sets nothing has none.

use crate::config::RouteSettings;
use crate::filter::AccessRules;

/// The request half of one route's filters.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Which addresses may ask.
    pub access: Option<AccessRules>,
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
            rate_limits: settings.rate_limits.as_slice().into(),
            connection_limits: settings.connection_limits.as_slice().into(),
        };
        let is_needed = guard.access.is_some() || guard.is_counted();
        is_needed.then(|| Box::new(guard))
    }

    /// Whether any limit counts the route's requests.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        !self.rate_limits.is_empty() || !self.connection_limits.is_empty()
    }
}
