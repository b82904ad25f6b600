//! One stream: the life of its request (`exchange`), with the reading of its content beside the
//! handler.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;

use crate::base::clock::{self, Now};
use crate::http::h1::Error;
use crate::http::h2::{Opened, interim, read_request};
use crate::http::{Hints, Method, RequestHead, Response};
use crate::metrics::Counter;
use crate::record::{Ended, Seen, SeenTls};
use crate::route::Label;
use crate::server::Server;
use crate::server::answer::CLIENT_LEFT;
use crate::server::entrance::Entrance;
use crate::server::exchange;
use crate::server::h2::content::Content;
use crate::server::h2::send::{Outlet, send};
use crate::server::h2::shared::{Counted, Set, Shared};

/// A request that has come.
pub(super) struct Stream {
    pub(super) server: Rc<Server>,
    pub(super) peer: SocketAddr,
    /// What the access log tells of the connection's TLS.
    pub(super) tls: Option<Rc<SeenTls>>,
    /// The connection's number in the process.
    pub(super) number: u64,
    /// Requests of the connection so far, this one too.
    pub(super) requests: u64,
    pub(super) entrance: Rc<Entrance>,
    pub(super) counted: Counted,
    pub(super) request: ::http::Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) now: Now,
}

/// Whether the client still waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handled {
    Answered,
    Unwanted,
}

impl Stream {
    /// Answers the request.
    pub(super) async fn run(self) {
        let server = Rc::clone(&self.server);
        let mut set = server.h2.lend();
        self.open(&mut set).await;
        server.h2.take_back(set);
    }

    /// Reads the head, and what of the content has come.
    async fn open(self, set: &mut Set) {
        let (parts, source) = self.request.into_parts();
        let asked = Asked {
            server: &self.server,
            peer: self.peer,
            seen: Seen {
                connection: self.number,
                requests: self.requests,
                request_bytes: 0,
                is_pipelined: false,
                tls: self.tls.as_deref(),
            },
            tls: self.tls.as_ref(),
            entrance: &self.entrance,
            shared: self.counted.shared(),
            respond: self.respond,
            now: self.now,
        };
        let server = asked.server;
        let opened = read_request(&parts, &server.limits, &mut set.head);
        drop(parts);
        match opened {
            Ok(opened) if is_too_large(server, &set.head, opened) => {
                Box::pin(asked.refuse(set, &Error::BodyTooLarge)).await;
            }
            Ok(opened) => asked.exchange(set, source, opened).await,
            Err(error) => Box::pin(asked.refuse(set, &error)).await,
        }
    }
}

fn is_too_large(server: &Server, head: &RequestHead, opened: Opened) -> bool {
    opened
        .content_length
        .is_some_and(|length| length > exchange::body_limit(server, exchange::find(server, head)))
}

/// A request whose answer is due.
struct Asked<'a> {
    server: &'a Server,
    peer: SocketAddr,
    seen: Seen<'a>,
    tls: Option<&'a Rc<SeenTls>>,
    entrance: &'a Entrance,
    shared: &'a Shared,
    respond: SendResponse<Bytes>,
    now: Now,
}

impl Asked<'_> {
    async fn exchange(mut self, set: &mut Set, source: RecvStream, opened: Opened) {
        let Set { head, response } = set;
        let (server, mut seen) = (self.server, self.seen);
        let found = exchange::find(server, head);
        let mut exchange = exchange::open(server, head, found, (self.peer, self.now));
        exchange.tls = self.tls.cloned();
        let max = exchange::body_limit(server, found);
        let (mut content, body) = Content::open(source, opened, max).await;
        let handled = if exchange::is_stopped(self.entrance, (head, &exchange), response) {
            Handled::Answered
        } else {
            let asked = (found, &exchange);
            let handling = exchange::answer(server, asked, head, (body, self.now), response);
            let hints = &exchange.hints;
            handle(
                pin!(handling),
                &mut content,
                server,
                (&mut self.respond, hints),
            )
            .await
        };
        let now = Now {
            mono: clock::mono(),
            ..self.now
        };
        let (mut status, mut body_bytes, mut at) = (CLIENT_LEFT, 0, now.mono);
        if handled == Handled::Answered {
            exchange::complete(server, &exchange, head, response, now);
            status = response.status;
            body_bytes = self.send(&mut content, head.method, response, now).await;
            at = clock::mono();
        } else if content.is_broken {
            status = 400;
            server.recorder.count(Counter::MalformedRequests);
        }
        seen.request_bytes = head_bytes(head) + content.received();
        let label = server.label(exchange.label);
        let ended = Ended {
            status,
            body_bytes,
            framing_bytes: 0,
            is_complete: handled == Handled::Answered,
            at,
            response,
            seen,
        };
        server.record.finish(&exchange, head, label, ended);
    }

    /// Answers a request that cannot be read, or not taken.
    async fn refuse(self, set: &mut Set, error: &Error) {
        let Set { head, response } = set;
        let (server, seen, now) = (self.server, self.seen, self.now);
        server.recorder.count(Counter::MalformedRequests);
        let exchange = exchange::open(server, head, None, (self.peer, now));
        *response = Response::problem(error.status(), &error.to_string());
        exchange::complete(server, &exchange, head, response, now);
        let mut nothing = Content::none();
        let body_bytes = self.send(&mut nothing, head.method, response, now).await;
        let ended = Ended {
            status: response.status,
            body_bytes,
            framing_bytes: 0,
            is_complete: true,
            at: clock::mono(),
            response,
            seen,
        };
        let label = server.label(Label::NONE);
        server.record.finish(&exchange, head, label, ended);
    }

    async fn send(
        self,
        content: &mut Content,
        method: Method,
        response: &mut Response,
        now: Now,
    ) -> u64 {
        let outlet = Outlet {
            server: self.server,
            shared: self.shared,
            content,
        };
        send(outlet, self.respond, (method, now), response).await
    }
}

/// Bytes that a request's head would take in HTTP/1.1.
fn head_bytes(head: &RequestHead) -> u64 {
    let line = head.method_token().len() + head.target().len() + " HTTP/1.1\r\n".len() + 1;
    (line + head.headers.wire().len() + 2) as u64
}

/// Runs a handler, and beside it the reading of its request's content.
async fn handle(
    mut handling: Pin<&mut impl Future<Output = bool>>,
    content: &mut Content,
    server: &Server,
    (respond, hints): (&mut SendResponse<Bytes>, &Hints),
) -> Handled {
    poll_fn(|cx| {
        // A handler that panicked has answered too; the connection is not at fault.
        let polled = handling.as_mut().poll(cx);
        for hint in hints.take() {
            // What cannot be sent promises nothing; a stream that is gone shows below.
            let _ = respond.send_informational(interim(&hint));
        }
        if polled.is_ready() {
            return Poll::Ready(Handled::Answered);
        }
        content.poll(cx, server, Some(respond));
        respond.poll_reset(cx).map(|_| Handled::Unwanted)
    })
    .await
}
