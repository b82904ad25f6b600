//! What a request has to pass between its route and its handler. Compiled once for each route;
//! a route that sets nothing has none.

use crate::config::RouteSettings;
use crate::filter::AccessRules;

/// The request half of one route's filters.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Which addresses may ask.
    pub access: Option<AccessRules>,
}

impl Guard {
    /// Compiles what a route sets; `None` if nothing has to be passed.
    #[must_use]
    pub fn compile(settings: &RouteSettings) -> Option<Box<Self>> {
        let access = AccessRules::new(&settings.access);
        access.is_some().then(|| Box::new(Self { access }))
    }
}
