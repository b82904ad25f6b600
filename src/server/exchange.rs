//! The life of a request, from its head to its response. Every choice between the stages is made
//! here; how bytes come and go is the driver's (`h1`).

use core::pin::Pin;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::clock::Now;
use crate::config::AcceptId;
use crate::filter::{Client, Guard, ResponseFilter};
use crate::handler::Incoming;
use crate::handler::problem::Problem;
use crate::http::h1::{BodyKind, ServerConn};
use crate::http::{Body, Known, Method, RequestHead, Response};
use crate::metrics::Counter;
use crate::net::runtime::{fence, fenced};
use crate::net::sleep;
use crate::record::Exchange;
use crate::route::{Label, Match};
use crate::server::Server;
use crate::server::counting::{Passage, Passing};
use crate::server::entrance::Entrance;
use crate::server::error_page;
use crate::server::prepared::Prepared;

/// A head is complete: finds its route.
pub(super) fn find<'a>(server: &'a Server, head: &'a RequestHead) -> Option<Match<'a>> {
    server.router.find_for(head)
}

/// The largest body that a request may have, in bytes.
pub(super) fn body_limit(server: &Server, found: Option<Match<'_>>) -> u64 {
    found
        .and_then(|found| found.endpoint.settings.max_body_size)
        .unwrap_or(server.config.server.max_body_size)
}

/// Opens the record of a request; whoever does must finish it.
pub(super) fn open(
    server: &Server,
    head: &RequestHead,
    found: Option<Match<'_>>,
    (peer, now): (SocketAddr, Now),
) -> Exchange {
    let label = found.map_or(Label::NONE, |found| found.label);
    let client = client(server, head, peer);
    let mut exchange = server.record.open(head, label, client, now);
    exchange.rules = found.map_or(0, |found| found.endpoint.rules);
    exchange.is_logged = found.is_none_or(|found| !found.endpoint.settings.is_unlogged);
    exchange
}

/// Who asks.
fn client(server: &Server, head: &RequestHead, peer: SocketAddr) -> Client {
    let real_ips = server.real_ips.as_ref();
    let mut client = real_ips.map_or_else(
        || Client::direct(peer),
        |real_ips| real_ips.client(peer, &head.headers),
    );
    client.names_requests = match server.config.accept_id {
        AcceptId::Always => true,
        AcceptId::Trusted => real_ips.is_some_and(|ips| ips.trusts(peer.ip())),
        AcceptId::Never => false,
    };
    client
}

/// Lets the handler answer at once, if that takes neither a wait nor the content and the route
/// has nothing to ask first; the way of nearly all requests to pages at hand. `None`: it is
/// [`answer`]'s. A handler that panics has answered 500; `false` tells of it.
pub(super) fn answer_at_once(
    server: &Server,
    (found, exchange): (Option<Match<'_>>, &Exchange),
    head: &RequestHead,
    now: Now,
    response: &mut Response,
) -> Option<bool> {
    let found = found?;
    let endpoint = found.endpoint;
    let may_compress =
        !endpoint.settings.is_uncompressed && head.headers.contains(Known::AcceptEncoding);
    if may_compress
        || matches!(head.method, Method::Trace | Method::Connect)
        || !endpoint.settings.error_pages.is_empty()
    {
        return None;
    }
    if let Some(guard) = &endpoint.guard {
        match pass(server, guard, (head, exchange), now) {
            Passage::Open => exchange.passed.delay_ms.set(Some(0)),
            Passage::After(delay) => {
                exchange.passed.delay_ms.set(Some(millis(delay)));
                return None;
            }
            Passage::Refused(refusal) => {
                *response = *refusal;
                return Some(true);
            }
            Passage::Ask => return None,
        }
    }
    let request = Incoming {
        head,
        found,
        client: &exchange.client,
        id: &exchange.id,
        hints: &exchange.hints,
        tls: exchange.tls.as_deref(),
        body: Body::Empty,
        now,
    };
    match fenced(|| server.handlers.answer_at_once(&request, response)) {
        Ok(has_answered) => has_answered.then_some(true),
        Err(_) => {
            server.recorder.count(Counter::Panics);
            *response = Problem::Internal.response();
            Some(false)
        }
    }
}

/// Whether the listener's own rules answer the request: it goes no further.
pub(super) fn is_stopped(
    entrance: &Entrance,
    (head, exchange): (&RequestHead, &Exchange),
    response: &mut Response,
) -> bool {
    if !entrance.has_rules() {
        return false;
    }
    let answer = entrance.answer(head, exchange.tls.as_deref());
    let is_stopped = answer.is_some();
    if let Some(answer) = answer {
        *response = answer;
    }
    is_stopped
}

/// Lets the handler answer. A handler that panics has answered 500; `false` tells of it.
pub(super) async fn answer(
    server: &Server,
    (found, exchange): (Option<Match<'_>>, &Exchange),
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
    let endpoint = found.endpoint;
    let page = |response| error_page::page(server, (endpoint, exchange), head, now, response);
    if let Some(guard) = &endpoint.guard
        && let Some(waiting) = guarded(server, guard, (head, exchange), now)
        && let Some(refusal) = waiting.await
    {
        *response = *refusal;
        if let Some(page) = page(response) {
            page.await;
        }
        return true;
    }
    let request = Incoming {
        head,
        found,
        client: &exchange.client,
        id: &exchange.id,
        hints: &exchange.hints,
        tls: exchange.tls.as_deref(),
        body,
        now,
    };
    let handled = fence(server.handlers.handle(request, response)).await;
    if handled.is_err() {
        server.recorder.count(Counter::Panics);
        *response = Problem::Internal.response();
    }
    if let Some(page) = page(response) {
        page.await;
    }
    if !endpoint.settings.is_uncompressed
        && let Some(plan) = server.encoding.compressor().decide(head, response)
    {
        // Boxed, so that what is not compressed costs the future no room.
        Box::pin(server.encoding.encode(head, response, plan)).await;
    }
    handled.is_ok()
}

/// A wait at a guard. Gives a refusal, if it ends with one.
type Waiting<'a> = Pin<Box<dyn Future<Output = Option<Box<Response>>> + 'a>>;

/// What a request that a guard does not let through at once waits for; in a box, since nearly all
/// pass.
fn guarded<'a>(
    server: &'a Server,
    guard: &'a Guard,
    asked: (&'a RequestHead, &'a Exchange),
    now: Now,
) -> Option<Waiting<'a>> {
    let passage = passed_before(asked.1).unwrap_or_else(|| pass(server, guard, asked, now));
    match passage {
        Passage::Open => None,
        passage => Some(Box::pin(wait(server, guard, asked, (passage, now)))),
    }
}

/// The filters between route and handler, in this order: who, how often, how many at once.
pub(super) fn pass(
    server: &Server,
    guard: &Guard,
    (head, exchange): (&RequestHead, &Exchange),
    now: Now,
) -> Passage {
    if !guard.allows(exchange.client.address, head.method_token()) {
        server.recorder.count(Counter::AccessDenied);
        return Passage::Refused(Box::new(Problem::Forbidden.response()));
    }
    if !guard.is_counted() {
        return Passage::Open;
    }
    let passing = passing(guard, (head, exchange), now);
    server.counting.pass(passing, &exchange.kept)
}

/// What [`answer_at_once`] has found, and counted.
fn passed_before(exchange: &Exchange) -> Option<Passage> {
    Some(match exchange.passed.delay_ms.get()? {
        0 => Passage::Open,
        delay => Passage::After(Duration::from_millis(delay.into())),
    })
}

/// A delay as an exchange notes it.
fn millis(delay: Duration) -> u32 {
    u32::try_from(delay.as_millis()).unwrap_or(u32::MAX)
}

/// Waits as [`pass`] says. `Some` is a refusal.
pub(super) async fn wait(
    server: &Server,
    guard: &Guard,
    (head, exchange): (&RequestHead, &Exchange),
    (passage, now): (Passage, Now),
) -> Option<Box<Response>> {
    let mut passage = passage;
    if let Passage::Ask = &passage {
        let passing = passing(guard, (head, exchange), now);
        let counting = &server.counting;
        passage = counting.pass_asking(passing, &exchange.kept).await;
    }
    match passage {
        Passage::Refused(refusal) => Some(refusal),
        Passage::After(delay) => {
            sleep(delay).await;
            None
        }
        Passage::Open | Passage::Ask => None,
    }
}

fn passing<'a>(
    guard: &'a Guard,
    (head, exchange): (&'a RequestHead, &'a Exchange),
    now: Now,
) -> Passing<'a> {
    Passing {
        guard,
        head,
        client: &exchange.client,
        passed: &exchange.passed,
        now: now.mono,
    }
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
    filter(server, exchange, response).apply(response, head, &exchange.id, elapsed);
    // As many as HTTP/1.1 would write; what compression makes of them is the library's.
    exchange
        .head_bytes
        .set(response.headers.wire().len() as u64);
}

/// Does what the route does to a response's fields. Gives what adds the common ones.
fn filter<'a>(
    server: &'a Server,
    exchange: &Exchange,
    response: &mut Response,
) -> &'a ResponseFilter {
    if let Some(allowance) = exchange.passed.allowance.get() {
        server.counting.tell(allowance, response);
    }
    match server.route_filter(exchange.rules) {
        None => &server.filter,
        Some(own) => {
            own.edit(response);
            &own.common
        }
    }
}

/// Where the head of a response goes.
pub(super) struct Output<'a> {
    pub(super) codec: &'a mut ServerConn,
    pub(super) prepared: &'a mut Prepared,
    pub(super) bytes: &'a mut Vec<u8>,
}

/// Writes the head of the response for HTTP/1.1, with what every response carries. Says how its
/// content is to be sent.
pub(super) fn respond(
    server: &Server,
    (exchange, head): (&Exchange, &RequestHead),
    response: &mut Response,
    out: Output<'_>,
    now: Now,
) -> BodyKind {
    let filter = filter(server, exchange, response);
    let elapsed = now.mono.saturating_duration_since(exchange.started().mono);
    let is_logged = server.record.names_sent_fields();
    if is_logged {
        filter.apply(response, head, &exchange.id, elapsed);
    }
    let Output {
        codec,
        prepared,
        bytes,
    } = out;
    let response = &*response;
    let framed = codec.frame(response);
    let start = bytes.len();
    let length = framed.length_alone().filter(|_| !is_logged);
    if let Some(length) = length
        && prepared.is_for(exchange.rules, (response, length), now)
        && prepared.write((filter, head), &exchange.id, elapsed, bytes)
    {
        exchange.head_bytes.set((bytes.len() - start) as u64);
        return framed.sent.body;
    }
    let mut is_like_others = false;
    framed.write(response, bytes, |bytes| {
        let time = &server.time;
        if !response.headers.contains(Known::Date) {
            time.with_date(now, |line| bytes.extend_from_slice(line));
        }
        if !is_logged {
            // Straight behind the handler's fields: the same lines without a list of them.
            let headers = &response.headers;
            is_like_others = filter.write(headers, head, &exchange.id, elapsed, bytes);
        }
    });
    exchange.head_bytes.set((bytes.len() - start) as u64);
    if let Some(length) = length.filter(|_| is_like_others) {
        let written = bytes.get(start..).unwrap_or_default();
        prepared.keep(exchange.rules, (response, length), now, written);
    }
    framed.sent.body
}
