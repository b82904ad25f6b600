//! `[ui]`: the live page at /ui.

use super::access::{Access, RawNetwork, networks};
use crate::base::network::Network;
use crate::config::read::section;

section! {
    /// The live page at /ui.
    RawUi {
        /// Whether there is one.
        enabled: bool,
        /// Networks that may open it; everyone else is refused.
        allow: Vec<RawNetwork>,
        /// Networks that may not.
        deny: Vec<RawNetwork>,
        /// Networks to which the page offers to call tools. The calls go through the MCP
        /// endpoint, whose own rules hold in any case.
        calls: Vec<RawNetwork>,
    }
}

/// `[ui]`
#[derive(Clone, Debug)]
pub struct Ui {
    /// Whether there is a page.
    pub enabled: bool,
    /// Who may open it, where its route says nothing itself.
    pub access: Access,
    /// Who is offered to call tools.
    pub calls: Vec<Network>,
}

/// This machine.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

impl Default for Ui {
    fn default() -> Self {
        let loopback = LOOPBACK.iter().filter_map(|text| text.parse().ok());
        Self {
            enabled: true,
            access: Access::default(),
            calls: loopback.collect(),
        }
    }
}

pub(super) fn resolve(raw: Option<RawUi>) -> Ui {
    let defaults = Ui::default();
    let Some(raw) = raw else { return defaults };
    Ui {
        enabled: raw.enabled.unwrap_or(defaults.enabled),
        access: Access {
            allow: networks(raw.allow),
            deny: networks(raw.deny),
        },
        calls: match raw.calls {
            None => defaults.calls,
            list => networks(list),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{good, problems};
    use crate::config::{Builtin, Handler, Route};

    fn page(text: &str) -> Option<Route> {
        let routes = good(text, &[]).routes;
        routes
            .into_iter()
            .find(|route| route.handler == Handler::Builtin(Builtin::Ui))
    }

    #[test]
    fn the_page_can_be_closed_and_taken_away() {
        let ui = good("", &[]).ui;
        let calls: Vec<String> = ui.calls.iter().map(ToString::to_string).collect();
        assert_eq!(calls, ["127.0.0.0/8", "::1"]);
        assert!(ui.enabled && page("").is_some_and(|page| page.settings.access.is_empty()));
        assert!(page("[ui]\nenabled = false").is_none());
        let closed = page("[ui]\nallow = ['10.0.0.0/8']\ndeny = ['10.1.0.0/16']").unwrap();
        let access = closed.settings.access;
        assert_eq!((access.allow.len(), access.deny.len()), (1, 1));
        let own = "[ui]\nallow = ['10.0.0.0/8']\n\
             [[route]]\npath = '=/ui'\nbuiltin = 'ui'\nallow = ['all']";
        let own = page(own).unwrap().settings.access.allow;
        assert_eq!(own[0].to_string(), "all");
        assert!(good("[ui]\ncalls = []", &[]).ui.calls.is_empty());
        let said = problems("[ui]\ncalls = ['everyone']\ncall = []", &[]);
        assert!(said.contains("ui.calls"), "{said}");
        assert!(said.contains("did you mean"), "{said}");
    }
}
