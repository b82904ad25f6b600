//! The life of a request, from its head to its response. Every choice between the stages is made
//! here; how bytes come and go is the driver's (`h1`).

use crate::base::clock::Now;
use crate::handler::Incoming;
use crate::handler::problem::Problem;
use crate::http::{Body, Method, RequestHead, Response};
use crate::metrics::Counter;
use crate::net::runtime::fence;
use crate::record::Exchange;
use crate::route::{Label, Match};
use crate::server::Server;

/// A head is complete: finds its route and opens its record.
pub(super) fn open<'a>(
    server: &'a Server,
    head: &'a RequestHead,
    now: Now,
) -> (Exchange, Option<Match<'a>>) {
    let found = server.router.find(head.route_path());
    let label = found.map_or(Label::NONE, |found| found.label);
    (server.record.open(head, label, now), found)
}

/// Lets the handler answer. A handler that panics has answered 500; `false` tells of it.
pub(super) async fn answer(
    server: &Server,
    found: Option<Match<'_>>,
    head: &RequestHead,
    (body, now): (Body, Now),
    response: &mut Response,
) -> bool {
    if matches!(head.method, Method::Trace | Method::Connect) {
        *response = Problem::MethodNotImplemented.response();
        return true;
    }
    let Some(found) = found else {
        server.handlers.not_found(head, response);
        return true;
    };
    let request = Incoming {
        head,
        found,
        body,
        now,
    };
    let handled = fence(server.handlers.handle(request, response)).await;
    if handled.is_err() {
        server.recorder.count(Counter::Panics);
        *response = Problem::Internal.response();
    }
    handled.is_ok()
}

/// Adds what every response carries.
pub(super) fn complete(
    server: &Server,
    exchange: &Exchange,
    head: &RequestHead,
    response: &mut Response,
    now: Now,
) {
    let elapsed = now.mono.saturating_duration_since(exchange.started().mono);
    server.filter.apply(response, head, &exchange.id, elapsed);
}
