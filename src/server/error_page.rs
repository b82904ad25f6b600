//! Pages instead of errors (`error_pages`; nginx: `error_page`).

use core::pin::Pin;

use crate::base::clock::Now;
use crate::config::Handler;
use crate::handler::Incoming;
use crate::http::{Body, Known, RequestHead, Response};
use crate::net::runtime::fence;
use crate::record::Exchange;
use crate::route::Endpoint;
use crate::server::Server;

/// What of the client's request matters for the page.
const ASKED: [Known; 4] = [
    Known::Host,
    Known::Accept,
    Known::AcceptEncoding,
    Known::AcceptLanguage,
];
/// Of the page's fields, what does not hold for an error.
const NOT_FOR_ERRORS: [Known; 5] = [
    Known::Etag,
    Known::LastModified,
    Known::AcceptRanges,
    Known::Expires,
    Known::CacheControl,
];
/// Of the error's fields, what says more than its text.
const OF_THE_ERROR: [&str; 7] = [
    "Retry-After",
    "WWW-Authenticate",
    "Allow",
    "Cache-Control",
    "Content-Range",
    "RateLimit-Policy",
    "RateLimit",
];

/// Puts a page into the place of an error, if the route has any.
pub(super) fn page<'a>(
    server: &'a Server,
    asked: (&'a Endpoint, &'a Exchange),
    head: &'a RequestHead,
    now: Now,
    response: &'a mut Response,
) -> Option<Pin<Box<dyn Future<Output = ()> + 'a>>> {
    if asked.0.settings.error_pages.is_empty() {
        return None;
    }
    Some(Box::pin(replace(server, asked, head, now, response)))
}

/// Puts the route's page into the place of an error, under the error's status. What a server
/// behind has answered stays, and so does an error whose page cannot be had.
async fn replace(
    server: &Server,
    (endpoint, exchange): (&Endpoint, &Exchange),
    head: &RequestHead,
    now: Now,
    response: &mut Response,
) {
    let status = response.status;
    let mut pages = endpoint.settings.error_pages.iter();
    let Some((_, path)) = pages.find(|(statuses, _)| statuses.contains(&status)) else {
        return;
    };
    let mut asked = RequestHead::default();
    if response.upstream.is_some() || asked.set_target("GET", path).is_none() {
        return;
    }
    asked.version = head.version;
    for known in ASKED {
        for value in head.headers.all(known) {
            asked.headers.push_known(known, value);
        }
    }
    let Some(found) = server.router.find(asked.route_path_bytes()) else {
        return;
    };
    if !matches!(
        found.endpoint.handler,
        Handler::Files(_) | Handler::Builtin(_)
    ) {
        return;
    }
    let request = Incoming {
        head: &asked,
        found,
        client: &exchange.client,
        id: &exchange.id,
        hints: &exchange.hints,
        tls: exchange.tls.as_deref(),
        body: Body::Empty,
        now,
    };
    let mut page = Response::default();
    let handled = fence(server.handlers.handle(request, &mut page)).await;
    if handled.is_err() || page.status != 200 {
        return;
    }
    page.status = status;
    for known in NOT_FOR_ERRORS {
        page.headers.remove_by_name(known.name().as_bytes());
    }
    for name in OF_THE_ERROR {
        if let Some(value) = response.headers.get_by_name(name.as_bytes()) {
            page.headers.push(name.as_bytes(), value);
        }
    }
    *response = page;
}
