//! Drives HTTP/1.1 on a connection: waits, reads, hands requests to their life (`exchange`) and
//! sends what comes of it (`answer`).
//!
//! ```text
//!  wait without a buffer --> borrow a set --> read, parse --> exchange ... --> give it back
//!        ^                                         ^              |                 |
//!        |                                         `- pipelined --'                 |
//!        `--------------------------------------------------------------------------'
//! ```
//!
//! Responses of pipelined requests gather and leave in one write.

use core::fmt::Display;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use std::io;
use std::net::Shutdown;

use crate::base::clock::{self, Now};
use crate::http::h1::{BodyKind, Event, Next};
use crate::http::h2::{Begins, begins_with_preface};
use crate::http::{Body, Hints, RequestHead, Response, Version};
use crate::metrics::Counter;
use crate::record::{Ended, Exchange, Seen};
use crate::route::{Label, Match};
use crate::server::answer::{self, Sending};
use crate::server::connection::{Close, Connection};
use crate::server::content::{Content, Gone, Wire};
use crate::server::deadlines::Limit;
use crate::server::entrance::Entrance;
use crate::server::exchange;
use crate::server::h2;
use crate::server::lent::Lent;

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    Bytes,
    Nothing,
    End,
}

/// What became of a request's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handled {
    Answered,
    Panicked,
    /// The client has gone.
    Unwanted,
}

impl Connection {
    /// Serves requests until the connection is to be closed.
    pub(super) async fn serve(&mut self) -> Close {
        let timeouts = &self.server.config.server;
        let (first, later) = (timeouts.client_header_timeout, timeouts.keepalive_timeout);
        let mut now = self.server.time.now();
        let mut requests = None;
        loop {
            // Armed once between two requests: a part of a TLS record wakes us, too, and must not
            // prolong the wait.
            if requests != Some(self.requests) {
                requests = Some(self.requests);
                let (limit, at) = match self.requests {
                    0 => (Limit::Header, now.mono + first),
                    _ => (Limit::KeepAlive, now.mono + later),
                };
                self.place.arm_idle(limit, at);
            }
            if self.reader.readable().await.is_err() {
                return Close::Now;
            }
            self.catch_up();
            let mut lent = self.server.lender.lend(self.server.limits);
            let worked = self.work(&mut lent, &mut now).await;
            let buffers = &self.server.buffers;
            let is_spent = worked.is_err();
            if worked == Err(Close::Http2) {
                let input = core::mem::take(&mut lent.input);
                self.server.lender.take_back(lent, is_spent, buffers);
                return Box::pin(h2::serve(self, input)).await;
            }
            self.server.lender.take_back(lent, is_spent, buffers);
            if let Err(close) = worked {
                return close;
            }
        }
    }

    /// Serves what has come until nothing of a request is left. `now` is the last time read.
    async fn work(&mut self, lent: &mut Lent, now: &mut Now) -> Result<(), Close> {
        let mut received = self.receive(lent)?;
        *now = self.server.time.now();
        let mut head_limit = None;
        let mut refusal = None;
        loop {
            match lent.codec.poll(lent.input.unread(), &mut lent.head) {
                Ok(Event::Request {
                    consumed,
                    body,
                    expect_continue,
                }) => {
                    lent.input.consume(consumed);
                    head_limit = None;
                    self.exchange(lent, (body, expect_continue), now).await?;
                    if lent.input.is_empty() && lent.codec.is_idle() {
                        return self.flush(&mut lent.output).await;
                    }
                    *now = self.server.time.now();
                    continue;
                }
                Ok(Event::NeedMore { consumed }) => lent.input.consume(consumed),
                Ok(Event::Body { .. } | Event::End { .. }) => return Err(Close::Now),
                Err(error) => refusal = Some(error),
            }
            // Nothing that is HTTP/1.1 begins like HTTP/2, so its requests never get here whole.
            let begins = self.begins(lent);
            if begins == Begins::Whole {
                return Err(Close::Http2);
            }
            if let Some(error) = refusal
                && begins == Begins::No
            {
                lent.head.clear();
                // Boxed, like all that is rare: the task of an idle connection stays small.
                return Box::pin(self.refuse(lent, error.status(), &error, *now)).await;
            }
            self.flush(&mut lent.output).await?;
            if received == Received::End {
                return Box::pin(self.end_of_input(lent, *now)).await;
            }
            if lent.input.is_empty() && lent.codec.is_idle() {
                return Ok(());
            }
            let timeout = self.server.config.server.client_header_timeout;
            let limit = *head_limit.get_or_insert(now.mono + timeout);
            self.place.arm(Limit::Header, limit);
            if self.reader.readable().await.is_err() {
                return Err(Close::Now);
            }
            received = self.receive(lent)?;
            *now = self.server.time.now();
        }
    }

    /// Whether the connection begins as HTTP/2 does.
    fn begins(&self, lent: &Lent) -> Begins {
        if self.requests > 0 || !self.entrance.takes_preface {
            return Begins::No;
        }
        begins_with_preface(lent.input.unread())
    }

    fn receive(&mut self, lent: &mut Lent) -> Result<Received, Close> {
        let socket = self.reader.socket();
        let buffers = &self.server.buffers;
        match lent.input.fill(buffers, |buffer| socket.try_read(buffer)) {
            Ok(0) => Ok(Received::End),
            Ok(count) => {
                let recorder = &self.server.recorder;
                recorder.add(Counter::ReceivedBytes, count as u64);
                Ok(Received::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(_) => Err(Close::Now),
        }
    }

    /// The client sends no more, or its time for a head is over.
    async fn end_of_input(&mut self, lent: &mut Lent, now: Now) -> Result<(), Close> {
        let is_partial = lent.codec.end_of_input().is_err();
        if is_partial && self.has_fired(Limit::Header) {
            lent.head.clear();
            let reason = "the request's head did not arrive in time";
            return self.refuse(lent, 408, &reason, now).await;
        }
        if !is_partial && let Some(tls) = self.reader.socket().tls() {
            // Nothing is cut off here, and TLS can say so.
            let _ = tls.shutdown(Shutdown::Write);
        }
        Err(Close::Now)
    }

    /// One request, from its head to the last byte of its response. `now` is moved on.
    async fn exchange(
        &mut self,
        lent: &mut Lent,
        (kind, expects_continue): (BodyKind, bool),
        now: &mut Now,
    ) -> Result<(), Close> {
        self.requests += 1;
        let server = &*self.server;
        if server.config.server.keepalive_requests == self.requests {
            lent.codec.close_after_response();
        }
        let Lent {
            codec,
            head,
            response,
            prepared,
            input,
            output,
        } = &mut *lent;
        let is_pipelined = input.is_pipelined();
        let found = exchange::find(server, head);
        if kind != BodyKind::None
            && let Err(error) = codec.limit_body(exchange::body_limit(server, found))
        {
            return Box::pin(self.refuse(lent, error.status(), &error, *now)).await;
        }
        let mut exchange = exchange::open(server, head, found, (self.peer, *now));
        exchange.tls.clone_from(&self.tls);
        let mut wire = Wire {
            server,
            place: &self.place,
            reader: &mut self.reader,
            codec,
            prepared,
            input,
            output,
        };
        let asked = (found, &exchange, &*head);
        let begun = begin(&mut wire, &self.entrance, asked, (kind, response), now);
        let sending = match begun {
            Some(Begun::Whole(sending)) => sending,
            Some(Begun::Head(kind)) => {
                let mut content = Content::none();
                answer::send(&mut wire, &mut content, (response, kind), now).await
            }
            None => {
                let opened = Content::open(&mut wire, kind, expects_continue);
                // Boxed, like all that is not an answer at hand: an idle connection keeps room
                // for the largest of what it may do.
                Box::pin(answer_in_time(&mut wire, asked, opened, response, now)).await
            }
        };
        let seen = Seen {
            request_bytes: wire.input.end_request(),
            is_pipelined,
            ..self.seen()
        };
        let ended = sending.ended(response, seen, *now);
        let label = server.label(exchange.label);
        server.record.finish(&exchange, head, label, ended);
        response.clear();
        sending.result?;
        match lent.codec.finish() {
            Next::Request => Ok(()),
            next => self.settle(lent, next).await,
        }
    }

    /// After the response: what becomes of the connection.
    async fn settle(&mut self, lent: &mut Lent, next: Next) -> Result<(), Close> {
        self.flush(&mut lent.output).await?;
        match next {
            Next::Request => Ok(()),
            Next::Close => Err(Close::Linger),
            Next::Drain => Box::pin(self.discard(lent)).await,
        }
    }

    /// Reads what is left of a request that was answered without it.
    async fn discard(&mut self, lent: &mut Lent) -> Result<(), Close> {
        loop {
            match lent.codec.poll(lent.input.unread(), &mut lent.head) {
                Ok(Event::Body { consumed, .. }) => {
                    lent.input.consume(consumed);
                    continue;
                }
                Ok(Event::End { consumed }) => {
                    lent.input.consume(consumed);
                    // The next request's are counted from here.
                    lent.input.end_request();
                    return match lent.codec.finish() {
                        Next::Request => Ok(()),
                        Next::Drain | Next::Close => Err(Close::Linger),
                    };
                }
                Ok(Event::NeedMore { consumed }) => lent.input.consume(consumed),
                Ok(Event::Request { .. }) | Err(_) => return Err(Close::Linger),
            }
            let timeout = self.server.config.server.client_body_timeout;
            let limit = self.server.time.now().mono + timeout;
            self.place.arm(Limit::Body, limit);
            if self.reader.readable().await.is_err() {
                return Err(Close::Now);
            }
            if self.receive(lent)? == Received::End {
                return Err(Close::Linger);
            }
        }
    }

    /// Answers a request that cannot be read; the last answer of the connection.
    async fn refuse(
        &mut self,
        lent: &mut Lent,
        status: u16,
        reason: &dyn Display,
        now: Now,
    ) -> Result<(), Close> {
        if lent.codec.is_answered() {
            return Err(Close::Now);
        }
        let server = &self.server;
        if status != 408 {
            server.recorder.count(Counter::MalformedRequests);
        }
        lent.codec.close_after_response();
        let exchange = exchange::open(server, &lent.head, None, (self.peer, now));
        let mut response = Response::problem(status, &reason.to_string());
        let asked = (&exchange, &lent.head);
        let out = exchange::Output {
            codec: &mut lent.codec,
            prepared: &mut lent.prepared,
            bytes: &mut lent.output,
        };
        exchange::respond(server, asked, &mut response, out, now);
        let Lent { output, .. } = lent;
        if let Body::Full(text) = &response.body {
            output.extend_from_slice(text);
        }
        let ended = Ended {
            status,
            body_bytes: response.body.len().unwrap_or(0),
            framing_bytes: 0,
            is_complete: true,
            at: now.mono,
            response: &response,
            seen: self.seen(),
        };
        let label = server.label(Label::NONE);
        server.record.finish(&exchange, &lent.head, label, ended);
        self.flush(&mut lent.output).await?;
        Err(Close::Linger)
    }

    /// What this connection adds to a line of the access log.
    fn seen(&self) -> Seen<'_> {
        Seen {
            connection: self.number,
            requests: self.requests,
            request_bytes: 0,
            is_pipelined: false,
            tls: self.tls.as_deref(),
        }
    }

    async fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), Close> {
        let Self {
            server,
            place,
            reader,
            ..
        } = self;
        answer::flush(server, place, reader, output).await
    }
}

impl Handled {
    const fn whether(is_well: bool) -> Self {
        if is_well {
            Self::Answered
        } else {
            Self::Panicked
        }
    }
}

/// How far an answer that was at hand has got.
enum Begun {
    /// It has gathered to be sent.
    Whole(Sending),
    /// Its head has; its content is to be sent in that way.
    Head(BodyKind),
}

/// A request: where it leads, its record, its head.
type Asked<'a> = (Option<Match<'a>>, &'a Exchange, &'a RequestHead);

/// Answers what can be answered without a wait: by the listener's own rules, or at once.
#[inline]
fn begin(
    wire: &mut Wire<'_>,
    entrance: &Entrance,
    asked: Asked<'_>,
    (kind, response): (BodyKind, &mut Response),
    now: &mut Now,
) -> Option<Begun> {
    let (_, exchange, head) = asked;
    match kind {
        _ if exchange::is_stopped(entrance, (head, exchange), response) => {
            let kind = wire.respond((exchange, head), response, Handled::Answered, *now);
            Some(Begun::Head(kind))
        }
        BodyKind::None => wire.answer_at_once(asked, response, now),
        _ => None,
    }
}

/// Lets a handler answer that may take its time, and sends its answer.
async fn answer_in_time(
    wire: &mut Wire<'_>,
    (found, exchange, head): Asked<'_>,
    (mut content, body): (Content, Body),
    response: &mut Response,
    now: &mut Now,
) -> Sending {
    let handled = {
        let asked = (found, exchange);
        let handling = exchange::answer(wire.server, asked, head, (body, *now), response);
        handle(pin!(handling), &mut content, wire, &exchange.hints).await
    };
    now.mono = clock::mono();
    if handled == Handled::Unwanted {
        return Sending::unwanted();
    }
    let kind = wire.respond((exchange, head), response, handled, *now);
    answer::send(wire, &mut content, (response, kind), now).await
}

impl Wire<'_> {
    /// Answers a request without content whose answer is at hand. `None`: it is not.
    fn answer_at_once(
        &mut self,
        (found, exchange, head): Asked<'_>,
        response: &mut Response,
        now: &mut Now,
    ) -> Option<Begun> {
        let asked = (found, exchange);
        let is_well = exchange::answer_at_once(self.server, asked, head, *now, response)?;
        now.mono = clock::mono();
        let handled = Handled::whether(is_well);
        let kind = self.respond((exchange, head), response, handled, *now);
        let gathered = answer::gather(self.output, (response, kind));
        Some(gathered.map_or(Begun::Head(kind), Begun::Whole))
    }

    /// Sends interim answers. Everything before them has been sent, so the socket has room for a
    /// few lines; a client of HTTP/1.0 would not understand them.
    fn pass_on(&self, hints: &Hints) -> Result<(), Close> {
        for hint in hints.take() {
            if self.codec.version() == Version::Http10 {
                continue;
            }
            let mut lines = Vec::new();
            hint.write(&mut lines);
            match self.reader.socket().try_write(&lines) {
                Ok(sent) if sent == lines.len() => {}
                _ => return Err(Close::Now),
            }
        }
        Ok(())
    }

    /// Begins the response; says how its content is to be sent.
    fn respond(
        &mut self,
        asked: (&Exchange, &RequestHead),
        response: &mut Response,
        handled: Handled,
        now: Now,
    ) -> BodyKind {
        if handled == Handled::Panicked || self.server.drain.has_begun() {
            self.codec.close_after_response();
        }
        if self.output.capacity() == 0 {
            *self.output = self.server.buffers.small();
        }
        let out = exchange::Output {
            codec: self.codec,
            prepared: self.prepared,
            bytes: self.output,
        };
        exchange::respond(self.server, asked, response, out, now)
    }
}

/// Runs a handler, and beside it the reading of its request's content.
async fn handle(
    mut handling: Pin<&mut impl Future<Output = bool>>,
    content: &mut Content,
    wire: &mut Wire<'_>,
    hints: &Hints,
) -> Handled {
    let first = poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await;
    if let Poll::Ready(is_well) = first {
        return Handled::whether(is_well);
    }
    // Up to here no time has passed and the limit of the wait before may stay armed.
    wire.place.disarm();
    // Earlier answers do not wait for this one.
    if Box::pin(wire.flush()).await.is_err() {
        return Handled::Unwanted;
    }
    poll_fn(|cx| {
        let polled = handling.as_mut().poll(cx);
        if wire.pass_on(hints).is_err() {
            return Poll::Ready(Handled::Unwanted);
        }
        if let Poll::Ready(is_well) = polled {
            return Poll::Ready(Handled::whether(is_well));
        }
        content.poll(cx, wire, false).map(|Gone| Handled::Unwanted)
    })
    .await
}
