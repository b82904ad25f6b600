//! The pages for people: one file each, no outside assets, light and dark.

use super::Pages;
use crate::config::Builtin;
use crate::http::Response;

const INDEX: &str = include_str!("index.html");
const DOCS: &str = include_str!("docs.html");

impl Pages {
    /// `/`: what runs here and how to connect; or `/docs`: the API, read from `/openapi.json`.
    pub(super) fn html(&self, page: Builtin, response: &mut Response) {
        let text = if page == Builtin::Docs { DOCS } else { INDEX };
        let key = (page, false);
        let found = self.kept.find(key);
        let stored = found.unwrap_or_else(|| self.kept.keep(key, text.into()));
        fields(response);
        response.body = stored.into();
    }
}

fn fields(response: &mut Response) {
    response.status = 200;
    for (name, value) in [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-cache"),
        (
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
        ),
    ] {
        response.headers.push(name.as_bytes(), value.as_bytes());
    }
}
