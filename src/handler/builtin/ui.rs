//! `/ui`: the live page. One document with its style and script inside, named in the policy by
//! their digests, so that nothing else runs in it. Its figures come from `/api/v1/sse`, tools
//! from `/api/v1/tools`, and calls go through the MCP endpoint as any client's do.

use super::Pages;
use super::html::{digest, send};
use crate::base::base64::{self, Alphabet};
use crate::config::{Builtin, Handler};
use crate::handler::Incoming;
use crate::handler::problem::Problem;
use crate::http::Response;

const PAGE: &str = include_str!("ui/page.html");
const STYLE: &str = include_str!("ui/page.css");
const SCRIPT: &str = include_str!("ui/page.js");

impl Pages {
    pub(super) fn live_page(&self, request: &Incoming<'_>, response: &mut Response) {
        let ui = &self.setup.config.ui;
        if !ui.enabled {
            *response = Problem::NotFound.response();
            return;
        }
        let address = request.client.address;
        let may_call = ui.calls.iter().any(|network| network.contains(address));
        // There are two of it: with calls, and without.
        let key = (Builtin::Ui, may_call);
        let stored = self.kept.find(key).unwrap_or_else(|| {
            let text = self.live_text(may_call);
            self.kept.keep(key, text.into_bytes())
        });
        let (head, policy) = (request.head, policy());
        send(head, stored, ("private, no-cache", &policy), response);
    }

    fn live_text(&self, may_call: bool) -> String {
        let builtin = |page| self.path_of(&Handler::Builtin(page));
        let mut text = PAGE.to_owned();
        for (name, value) in [
            ("{{events}}", builtin(Builtin::Events)),
            ("{{tools}}", builtin(Builtin::Tools)),
            ("{{version}}", builtin(Builtin::Version)),
            ("{{mcp}}", self.path_of(&Handler::Mcp)),
            ("{{calls}}", if may_call { "yes" } else { "no" }.to_owned()),
        ] {
            text = text.replace(name, &escaped(&value));
        }
        // Last, so that nothing is looked for in them.
        text.replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT)
    }

    /// Where a handler is; its path in the design where no route has it, which answers 404 then.
    fn path_of(&self, wanted: &Handler) -> String {
        let mut routes = self.routes.iter();
        let found = routes.find(|(_, handler)| handler == wanted);
        match (found, wanted) {
            (Some((path, _)), _) => path.clone(),
            (None, Handler::Builtin(Builtin::Events)) => "/api/v1/sse".to_owned(),
            (None, Handler::Builtin(Builtin::Tools)) => "/api/v1/tools".to_owned(),
            (None, Handler::Builtin(_)) => "/version".to_owned(),
            (None, _) => "/mcp".to_owned(),
        }
    }
}

/// Nothing from anywhere but this style, this script, and answers of this server.
fn policy() -> String {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source(STYLE),
        source(SCRIPT)
    )
}

/// A source expression that stands for that text alone (CSP Level 3 §2.3.1).
fn source(text: &str) -> String {
    let mut source = b"sha256-".to_vec();
    base64::encode(
        Alphabet::Standard,
        digest(text.as_bytes()).as_ref(),
        &mut source,
    );
    String::from_utf8(source).unwrap_or_default()
}

/// Text inside a quoted attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_ends_where_its_element_does() {
        for text in [SCRIPT, STYLE] {
            assert!(!text.contains("</s") && !text.contains("<!--") && !text.contains("{{"));
        }
        for name in ["{{style}}", "{{script}}", "{{events}}", "{{calls}}"] {
            assert_eq!(PAGE.matches(name).count(), 1, "{name}");
        }
        assert!(
            !PAGE.contains("style=") && !PAGE.contains("onclick") && !PAGE.contains("onload"),
            "refused by the policy"
        );
    }

    #[test]
    fn the_policy_names_the_texts_by_their_digests() {
        // printf 'x' | openssl dgst -sha256 -binary | base64
        assert_eq!(
            source("x"),
            "sha256-LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE="
        );
        assert_eq!(policy().matches("'sha256-").count(), 2);
        assert!(!policy().contains("unsafe"));
    }
}
