//! From a server's reply to the HTTP response: plain JSON if the answer comes first, an event
//! stream as soon as something else does or the client has waited for a heartbeat.

mod several;

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::asks::Place;
use super::dispatch::{Asked, Started};
use super::endpoint::{Accept, json};
use super::gateway::Gateway;
use super::link::{Answer, Client, Event, Fault, LogLevel, Outcome, Reply, SessionKey};
use super::questions::offers;
use super::slots::Key;
use super::sse;
use super::streams::{Open, Pieces, Poke, Ticket};
use crate::base::channel::{Receiver, bounded};
use crate::base::clock;
use crate::http::{AskedServer, Body, Response, UpstreamTimes};
use crate::mcp::jsonrpc::{
    self, HEADER_MISMATCH, INTERNAL_ERROR, METHOD_NOT_FOUND, MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
};
use crate::mcp::method::Method;
use crate::mcp::revision::Era;
use crate::mcp::scan::{Kind, Message};
use crate::mcp::splice;
use crate::metrics::{self, Counter, Gauge, ToolLabel};

/// Pieces of an answer that may wait for a slow client; beyond that the server waits.
const QUEUE_PIECES_MAX: usize = 16;
/// Requests to the client that one call may have open.
const ASKS_PER_CALL_MAX: usize = 16;

/// A call under way: what is kept for it while it runs goes when it is dropped.
struct Running {
    gateway: Rc<Gateway>,
    client: Rc<Client>,
    id: Bytes,
    label: Option<ToolLabel>,
    started: Instant,
    ticket: Rc<Ticket>,
    events: Option<Receiver<Event>>,
    /// Its place among the streams; none if too many are open.
    place: Option<Key>,
    /// Requests to the client that wait: our slot and the server's id.
    asks: Vec<(Key, Bytes)>,
    outcome: Option<metrics::Outcome>,
}

/// What happens next in a call.
enum Next {
    Event(Option<Event>),
    Poke(Poke),
    /// The client no longer reads.
    Gone,
}

impl Gateway {
    /// Answers a request that both eras have.
    pub(super) async fn answer(
        self: &Rc<Self>,
        asked: Asked,
        accept: Accept,
        response: &mut Response,
    ) {
        let id = asked.bytes.slice(asked.parts.id.range());
        let client = Rc::clone(&asked.client);
        let Started {
            reply,
            label,
            server,
        } = self.start(asked).await;
        let address = server.and_then(|server| self.addresses.borrow().get(&server.0).cloned());
        if let Some(address) = address {
            response.asked.push(AskedServer {
                address,
                status: None,
                times: None,
            });
        }
        match reply {
            Reply::Complete(outcome) => {
                self.count(label, &client, outcome_of(&outcome, label), None);
                whole(response, accept, client.revision.era(), outcome);
            }
            Reply::Failed(fault) => {
                self.count(label, &client, outcome_of_fault(&fault), None);
                let outcome = failed(&id, &fault);
                whole(response, accept, client.revision.era(), outcome);
            }
            Reply::Stream(events) => {
                let running = Running::begin(self, client, id, label, events);
                let started = running.started;
                let connect = running.respond(accept, response).await;
                let header = clock::mono().saturating_duration_since(started);
                let is_over = !matches!(response.body, Body::Stream(_));
                response.upstream = Some(UpstreamTimes {
                    connect,
                    header,
                    response: is_over.then_some(header),
                });
            }
        }
    }

    /// Answers with what is at hand.
    pub(super) fn finish(&self, started: Started, response: &mut Response, accept: Accept) {
        if let Reply::Complete(outcome) = started.reply {
            whole(response, accept, Era::Legacy, outcome);
        }
    }

    /// A call that cannot be cancelled any more.
    fn forget_call(&self, (session, id, ticket): (Option<SessionKey>, Bytes, Rc<Ticket>)) {
        let Some(session) = session else {
            return;
        };
        let key = (session, id);
        let mut calls = self.calls.borrow_mut();
        // A client that reuses an id while it is in use has replaced this call's entry.
        if calls
            .get(&key)
            .is_some_and(|known| Rc::ptr_eq(known, &ticket))
        {
            calls.remove(&key);
        }
    }

    fn count(
        &self,
        label: Option<ToolLabel>,
        client: &Client,
        outcome: metrics::Outcome,
        elapsed: Option<Duration>,
    ) {
        if let Some(label) = label {
            let era = client.revision.era();
            self.recorder.mcp_call(label, era, outcome, elapsed);
        }
    }
}

impl Running {
    fn begin(
        gateway: &Rc<Gateway>,
        client: Rc<Client>,
        id: Bytes,
        label: Option<ToolLabel>,
        events: Receiver<Event>,
    ) -> Self {
        let ticket = Rc::new(Ticket::default());
        let place = gateway.open(Open::Waiting(Rc::clone(&ticket))).ok();
        if let Some(session) = client.session {
            let key = (session, id.clone());
            gateway.calls.borrow_mut().insert(key, Rc::clone(&ticket));
        }
        gateway.recorder.shift(Gauge::McpCallsUnderWay, 1);
        Self {
            gateway: Rc::clone(gateway),
            client,
            id,
            label,
            started: clock::mono(),
            ticket,
            events: Some(events),
            place,
            asks: Vec::new(),
            outcome: None,
        }
    }

    /// Waits for the first thing to happen and answers accordingly. Returns how long connecting
    /// took, where that is known by then.
    async fn respond(mut self, accept: Accept, response: &mut Response) -> Option<Duration> {
        let era = self.client.revision.era();
        if !accept.events || self.place.is_none() {
            // No stream: what can only be sent on one is left out.
            return match self.outcome_alone().await {
                Some(outcome) => {
                    let connect = outcome.connect;
                    whole(response, accept, era, outcome);
                    connect
                }
                None => {
                    response.status = 202;
                    None
                }
            };
        }
        let first = match self.next(None).await {
            Next::Event(Some(Event::Response(outcome))) => {
                self.outcome = Some(outcome_of(&outcome, self.label));
                let connect = outcome.connect;
                whole(response, accept, era, outcome);
                return connect;
            }
            Next::Event(Some(Event::Failed(fault))) => {
                self.outcome = Some(outcome_of_fault(&fault));
                whole(response, accept, era, failed(&self.id, &fault));
                return None;
            }
            Next::Event(Some(event)) => Some(event),
            Next::Event(None) => {
                self.outcome = Some(metrics::Outcome::Unavailable);
                whole(response, accept, era, self.abandoned());
                return None;
            }
            Next::Poke(Poke::Cancelled) => {
                // A cancelled request gets no response; its stream just ends.
                self.outcome = Some(metrics::Outcome::Cancelled);
                sse::head(response);
                response.body = Body::Static(b":\n\n");
                return None;
            }
            Next::Poke(Poke::Beat) | Next::Gone => None,
        };
        let (pieces, receiver) = bounded(QUEUE_PIECES_MAX);
        if first.is_none() {
            let _ = super::streams::send(&pieces, sse::HEARTBEAT);
        }
        self.reopen(&pieces);
        sse::head(response);
        response.body = Body::Stream(receiver);
        let tasks = self.gateway.tasks.clone();
        tasks.spawn(self.pump(pieces, first));
        None
    }

    /// From now on the beat goes to the stream itself.
    fn reopen(&mut self, pieces: &Pieces) {
        if let Some(place) = self.place.take() {
            self.gateway.close(place);
        }
        self.place = self.gateway.open(Open::Call(pieces.clone())).ok();
    }

    /// Sends everything that happens, until the answer has been sent.
    async fn pump(mut self, pieces: Pieces, mut first: Option<Event>) {
        loop {
            let next = match first.take() {
                Some(event) => Next::Event(Some(event)),
                None => self.next(Some(&pieces)).await,
            };
            let message = match next {
                Next::Event(Some(Event::Notification(message))) => self.passes(message),
                Next::Event(Some(Event::Request { message, answer })) => self.ask(&message, answer),
                Next::Event(Some(Event::Response(outcome))) => {
                    self.outcome = Some(outcome_of(&outcome, self.label));
                    Some(outcome.message)
                }
                Next::Event(Some(Event::Failed(fault))) => {
                    self.outcome = Some(outcome_of_fault(&fault));
                    Some(failed(&self.id, &fault).message)
                }
                Next::Event(None) => {
                    self.outcome = Some(metrics::Outcome::Unavailable);
                    Some(self.abandoned().message)
                }
                Next::Poke(Poke::Cancelled) => {
                    self.outcome = Some(metrics::Outcome::Cancelled);
                    return;
                }
                Next::Poke(Poke::Beat) => None,
                Next::Gone => return,
            };
            if let Some(message) = message
                && pieces.send(Ok(sse::frame(&message))).await.is_err()
            {
                return;
            }
            if self.outcome.is_some() {
                return;
            }
        }
    }

    /// The answer alone, for a client that takes no stream.
    async fn outcome_alone(&mut self) -> Option<Outcome> {
        loop {
            let outcome = match self.next(None).await {
                Next::Event(Some(Event::Response(outcome))) => {
                    self.outcome = Some(outcome_of(&outcome, self.label));
                    outcome
                }
                Next::Event(Some(Event::Failed(fault))) => {
                    self.outcome = Some(outcome_of_fault(&fault));
                    failed(&self.id, &fault)
                }
                Next::Event(None) => {
                    self.outcome = Some(metrics::Outcome::Unavailable);
                    self.abandoned()
                }
                Next::Poke(Poke::Cancelled) => {
                    self.outcome = Some(metrics::Outcome::Cancelled);
                    return None;
                }
                _ => continue,
            };
            return Some(outcome);
        }
    }

    async fn next(&mut self, pieces: Option<&Pieces>) -> Next {
        let Some(events) = &mut self.events else {
            return Next::Event(None);
        };
        let ticket = &self.ticket;
        let gone = async {
            match pieces {
                Some(pieces) => pieces.closed().await,
                None => core::future::pending().await,
            }
        };
        let mut gone = pin!(gone);
        poll_fn(|cx| {
            if let Poll::Ready(poke) = ticket.poll(cx) {
                return Poll::Ready(Next::Poke(poke));
            }
            if let Poll::Ready(event) = events.poll_recv(cx) {
                return Poll::Ready(Next::Event(event));
            }
            gone.as_mut().poll(cx).map(|()| Next::Gone)
        })
        .await
    }

    /// The notification as the client gets it, if it is to have it.
    fn passes(&self, message: Bytes) -> Option<Bytes> {
        let parts = Message::scan(&message).ok()?;
        match (parts.method, self.client.revision.era()) {
            (Some(Method::LogMessage), era) => {
                let level = Message::text(&message, parts.level);
                let level = LogLevel::parse(&level);
                let is_wanted = match (self.least_level(), level) {
                    (Some(least), Some(level)) => level >= least,
                    (Some(_), None) => false,
                    (None, _) => era == Era::Legacy,
                };
                is_wanted.then_some(message)
            }
            (Some(Method::Cancelled), Era::Modern) => None,
            // A server takes back a request that the client knows under our id.
            (Some(Method::Cancelled), Era::Legacy) => {
                let own = parts.request_id.of(&message);
                let (key, _) = self.asks.iter().find(|(_, known)| known == own)?;
                let ticket = key.to_bits();
                let id = self.seal(ticket)?;
                self.gateway.asks.borrow_mut().remove(*key);
                Some(splice::replace(&message, &[(parts.request_id, &id)]).into())
            }
            _ => Some(message),
        }
    }

    /// The least severe log message the client wants by now.
    fn least_level(&self) -> Option<LogLevel> {
        let session = self.client.session;
        let noted = session.and_then(|session| self.gateway.sessions.borrow().log_level(session));
        noted.or(self.client.log_level)
    }

    /// A server's request as the client gets it. Dropping `answer` declines it.
    fn ask(&mut self, message: &Bytes, answer: Answer) -> Option<Bytes> {
        let session = self.client.session?;
        let parts = Message::scan(message)
            .ok()
            .filter(|parts| parts.kind == Kind::Request)?;
        if !offers(self.client.capabilities, parts.method) {
            return None;
        }
        let own = answer.id.clone();
        let kept = if self.asks.len() < ASKS_PER_CALL_MAX {
            self.gateway.asks.borrow_mut().insert(session, answer)
        } else {
            None
        };
        let Some(key) = kept else {
            self.gateway.recorder.count(Counter::RefusedQuestions);
            return None;
        };
        self.asks.push((key, own));
        let id = self.seal(key.to_bits())?;
        Some(splice::replace(message, &[(parts.id, &id)]).into())
    }

    fn seal(&self, ticket: u64) -> Option<Bytes> {
        let shard = self.gateway.peers.own();
        let session: SessionKey = self.client.session?;
        let place = Place { shard, ticket };
        place.seal(&self.gateway.sealer, session).ok()
    }

    fn abandoned(&self) -> Outcome {
        let why = "the server's connection ended before it answered";
        Outcome {
            message: jsonrpc::error(&self.id, INTERNAL_ERROR, why, None),
            error: Some(i64::from(INTERNAL_ERROR)),
            connect: None,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let gateway = &self.gateway;
        gateway.recorder.shift(Gauge::McpCallsUnderWay, -1);
        if let Some(place) = self.place {
            gateway.close(place);
        }
        let mut asks = gateway.asks.borrow_mut();
        let declined: Vec<_> = self.asks.iter().map(|(key, _)| asks.remove(*key)).collect();
        drop(asks);
        drop(declined);
        let outcome = self.outcome.unwrap_or(metrics::Outcome::Cancelled);
        let elapsed = matches!(
            outcome,
            metrics::Outcome::Ok | metrics::Outcome::ToolError | metrics::Outcome::Error
        )
        .then(|| clock::mono().saturating_duration_since(self.started));
        gateway.count(self.label, &self.client, outcome, elapsed);
        let call = (
            self.client.session,
            self.id.clone(),
            Rc::clone(&self.ticket),
        );
        // A legacy client that goes away has not cancelled (2025-11-25 transports §Sending
        // Messages 6): the call runs to its end, which the link's time limits bound.
        let is_unfinished = self.outcome.is_none() && self.client.revision.era() == Era::Legacy;
        match self.events.take() {
            Some(events) if is_unfinished => {
                let gateway = Rc::clone(&self.gateway);
                self.gateway.tasks.spawn(async move {
                    drain(events, &call.2).await;
                    gateway.forget_call(call);
                });
            }
            _ => self.gateway.forget_call(call),
        }
    }
}

/// Reads a call to its end, or until it is cancelled.
async fn drain(mut events: Receiver<Event>, ticket: &Ticket) {
    poll_fn(|cx| {
        loop {
            while let Poll::Ready(poke) = ticket.poll(cx) {
                if poke == Poke::Cancelled {
                    return Poll::Ready(());
                }
            }
            match events.poll_recv(cx) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// A whole answer as the response, in the form the client takes.
fn whole(response: &mut Response, accept: Accept, era: Era, outcome: Outcome) {
    let status = match (era, outcome.error) {
        (Era::Modern, Some(code)) => status_of(code),
        _ => 200,
    };
    if accept.json || status != 200 {
        return json(response, status, outcome.message);
    }
    sse::head(response);
    response.body = Body::Full(sse::event(&outcome.message));
}

/// The status that goes with an error (2026-07-28 streamable-http).
fn status_of(code: i64) -> u16 {
    match i32::try_from(code) {
        Ok(METHOD_NOT_FOUND) => 404,
        Ok(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => 400,
        _ => 200,
    }
}

/// How a call ended. Only a tool's result is searched for `isError`.
fn outcome_of(outcome: &Outcome, label: Option<ToolLabel>) -> metrics::Outcome {
    if outcome.error.is_some() {
        metrics::Outcome::Error
    } else if label.is_some() && is_tool_error(&outcome.message) {
        metrics::Outcome::ToolError
    } else {
        metrics::Outcome::Ok
    }
}

/// Whether a result says `"isError": true`. Found by its text, for the metrics alone: the quotes
/// of a string's content are escaped, so no text that a tool returns looks like it.
fn is_tool_error(message: &[u8]) -> bool {
    const NAME: &[u8] = b"\"isError\"";
    memchr::memmem::find_iter(message, NAME).any(|at| {
        let rest = message.get(at + NAME.len()..).unwrap_or_default();
        let value = rest.trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
    })
}

const fn outcome_of_fault(fault: &Fault) -> metrics::Outcome {
    match fault {
        Fault::Unavailable { .. } => metrics::Outcome::Unavailable,
        Fault::TimedOut { .. } => metrics::Outcome::TimedOut,
        Fault::Invalid { .. } => metrics::Outcome::Invalid,
        Fault::Era { .. } => metrics::Outcome::Era,
        Fault::Overloaded { .. } => metrics::Outcome::Overloaded,
    }
}

/// The answer to a call that reached no server or got nothing back.
fn failed(id: &[u8], fault: &Fault) -> Outcome {
    let (kind, server) = match fault {
        Fault::Unavailable { server, .. } => ("unavailable", server),
        Fault::TimedOut { server, .. } => ("timed_out", server),
        Fault::Invalid { server, .. } => ("invalid_answer", server),
        Fault::Era { server, .. } => ("era", server),
        Fault::Overloaded { server, .. } => ("overloaded", server),
    };
    let data = format!(
        r#"{{"server":{},"reason":"{kind}"}}"#,
        jsonrpc::string(server)
    );
    Outcome {
        message: jsonrpc::error(id, INTERNAL_ERROR, &fault.to_string(), Some(&data)),
        error: Some(i64::from(INTERNAL_ERROR)),
        connect: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_error_is_found_in_the_result_and_not_in_its_text() {
        for (message, expected) in [
            (&br#"{"result":{"content":[],"isError":true}}"#[..], true),
            (br#"{"result":{"isError" : true,"content":[]}}"#, true),
            (br#"{"result":{"content":[],"isError":false}}"#, false),
            (
                br#"{"result":{"content":[{"text":"\"isError\":true"}]}}"#,
                false,
            ),
            (br#"{"result":{"content":[]}}"#, false),
        ] {
            assert_eq!(is_tool_error(message), expected);
        }
    }
}
