//! The pages for people: one file each, no outside assets, light and dark.

use core::fmt::Write as _;
use std::rc::Rc;

use aws_lc_rs::digest::{Digest, SHA256};

use super::Pages;
use crate::config::Builtin;
use crate::http::conditional::{Validators, Verdict, evaluate};
use crate::http::{Known, RequestHead, Response, Stored};

const INDEX: &str = include_str!("index.html");
const DOCS: &str = include_str!("docs.html");

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

impl Pages {
    /// `/`: what runs here and how to connect; or `/docs`: the API, read from `/openapi.json`.
    pub(super) fn html(&self, page: Builtin, head: &RequestHead, response: &mut Response) {
        let text = if page == Builtin::Docs { DOCS } else { INDEX };
        let key = (page, false);
        let found = self.kept.find(key);
        let stored = found.unwrap_or_else(|| self.kept.keep(key, text.into()));
        send(head, stored, ("no-cache", POLICY), response);
    }
}

/// Answers with a page, or with 304 where the client has it.
pub(super) fn send(
    head: &RequestHead,
    page: Rc<Stored>,
    (caching, policy): (&str, &str),
    response: &mut Response,
) {
    response.status = 200;
    for (name, value) in [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", caching),
        ("Content-Security-Policy", policy),
    ] {
        response.headers.push(name.as_bytes(), value.as_bytes());
    }
    let tag = entity_tag(page.identity());
    response.headers.push_known(Known::Etag, tag.as_bytes());
    let known = Validators {
        etag: Some(tag.as_bytes()),
        last_modified: None,
    };
    match evaluate(head.method, &head.headers, &known) {
        Verdict::Proceed => response.body = page.into(),
        Verdict::NotModified => response.status = 304,
        Verdict::Failed => *response = Response::problem(412, "the page has changed"),
    }
}

/// SHA-256.
pub(super) fn digest(text: &[u8]) -> Digest {
    aws_lc_rs::digest::digest(&SHA256, text)
}

/// A strong entity tag out of the page itself (RFC 9110 §8.8.3).
fn entity_tag(text: &[u8]) -> String {
    let mut tag = String::from("\"");
    for byte in digest(text).as_ref().iter().take(8) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}
