//! The pages for people: one file each, no outside assets, light and dark.

use crate::http::{Body, Response};

const INDEX: &str = include_str!("index.html");
const DOCS: &str = include_str!("docs.html");

/// `/`: what runs here and how to connect.
pub(super) fn index(response: &mut Response) {
    page(INDEX, response);
}

/// `/docs`: the API, read from `/openapi.json`.
pub(super) fn docs(response: &mut Response) {
    page(DOCS, response);
}

fn page(text: &'static str, response: &mut Response) {
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
    response.body = Body::Static(text.as_bytes());
}
