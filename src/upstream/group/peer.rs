//! One server of a group as one shard knows it: where it is, its idle connections, and how a
//! request is sent to it.

use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::connection::{Connection, Seen};
use super::failure::{Cause, Failure};
use super::outgoing::{Outgoing, SendError};
use super::stream::Inflow;
use super::tally::Tally;
use super::transfer::Transfer;
use super::trunk::Trunks;
use super::{Parts, Request};
use crate::base::clock;
use crate::config::ProxyTimeouts;
use crate::http::h1::{BodyKind, RequestLine};
use crate::http::{Body, ResponseHead};
use crate::net::deadlines::Limit;
use crate::net::link::Link;
use crate::net::sleep;
use crate::net::timer::{self, within};
use crate::upstream::group::dial::Dial;
use crate::upstream::idle::Idle;

/// A connection that was idle for longer is looked at before it is used again.
const LOOK_AFTER: Duration = Duration::from_millis(50);
/// Content up to this size is written together with its head in one piece.
const JOINED_BODY_MAX: usize = 16 * 1024;
/// A connection that dies later than this after a request did not die of having been idle.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long a reset is waited for that follows the end of a connection.
const RESET_WAIT: Duration = Duration::from_millis(50);

/// How many connections are kept, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    pub(super) idle_max: usize,
    pub(super) requests_max: u64,
    pub(super) idle_time: Duration,
}

/// A server.
#[derive(Debug)]
pub(super) struct Peer {
    dial: Dial,
    keeping: Keeping,
    parts: Rc<Parts>,
    idle: Rc<Idle<Connection>>,
    tally: Tally,
    /// Whether it is spoken to in HTTP/2.
    speaks_h2: bool,
    trunks: Trunks,
}

/// A server's answer, its content perhaps still on its way.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) head: ResponseHead,
    pub(super) content: Content,
    /// Time to connect; zero on a connection that was kept.
    pub(super) connected: Duration,
}

/// The content of an answer.
#[derive(Debug)]
pub(super) enum Content {
    Whole(Body),
    Coming(Box<Transfer>),
    /// Of an HTTP/2 stream.
    Streaming(Box<Inflow>),
    /// The connection has switched protocols.
    Switched(Box<Connection>),
}

impl Peer {
    pub(super) fn new(dial: Dial, keeping: Keeping, speaks_h2: bool, parts: Rc<Parts>) -> Rc<Self> {
        Rc::new(Self {
            dial,
            keeping,
            parts,
            idle: Rc::default(),
            tally: Tally::default(),
            speaks_h2,
            trunks: Trunks::default(),
        })
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Its connections of HTTP/2.
    pub(super) fn trunks(&self) -> &Trunks {
        &self.trunks
    }

    /// How long a connection is kept idle.
    pub(super) fn idle_time(&self) -> Duration {
        self.keeping.idle_time
    }

    /// Whether it is reached over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.dial.is_secure()
    }

    /// Its figures.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Idle connections.
    pub(super) fn idle_count(&self) -> usize {
        self.idle.len()
    }

    /// Sends a request and waits for the head of the answer. Dropping the future closes the
    /// connection. A kept connection that turns out to be dead is replaced by a new one, as long
    /// as that cannot do anything twice.
    pub(super) async fn ask(
        self: &Rc<Self>,
        request: Request<'_>,
        outgoing: &mut Option<Box<Outgoing>>,
        timeouts: &ProxyTimeouts,
    ) -> Result<Got, Failure> {
        if self.speaks_h2 {
            // In a box: it must not make the futures of HTTP/1 larger.
            return Box::pin(self.ask_h2(request, outgoing, timeouts)).await;
        }
        while let Some(connection) = self.take_idle(request.is_repeatable) {
            match self.try_on(connection, request, outgoing, timeouts).await {
                Err(failure) if is_stale(&failure) && can_repeat(outgoing) => {
                    if failure.may_have_acted && !request.is_repeatable {
                        return Err(failure);
                    }
                    // They are most likely as dead as this one.
                    self.idle.clear();
                }
                ended => return ended,
            }
        }
        self.ask_anew(request, outgoing, timeouts).await
    }

    /// The same on a new connection.
    pub(super) async fn ask_anew(
        self: &Rc<Self>,
        request: Request<'_>,
        outgoing: &mut Option<Box<Outgoing>>,
        timeouts: &ProxyTimeouts,
    ) -> Result<Got, Failure> {
        if self.speaks_h2 {
            return Box::pin(self.ask_h2(request, outgoing, timeouts)).await;
        }
        // Rare, and large: it must not make every request's future as large.
        let began = clock::mono();
        let connection = Box::pin(self.connect(timeouts.connect)).await?;
        let connected = clock::mono().saturating_duration_since(began);
        let got = self.try_on(connection, request, outgoing, timeouts).await?;
        Ok(Got { connected, ..got })
    }

    /// An idle connection that is alive, the most recently used first. What cannot be sent twice
    /// is worth a look at the connection in any case.
    fn take_idle(&self, is_repeatable: bool) -> Option<Box<Connection>> {
        let mut now = None;
        loop {
            let (expires, mut connection) = self.idle.pop()?;
            let now = *now.get_or_insert_with(clock::mono);
            if expires <= now {
                continue;
            }
            if (connection.idled(now) < LOOK_AFTER && is_repeatable) || connection.is_alive() {
                return Some(connection);
            }
        }
    }

    async fn connect(&self, limit: Duration) -> Result<Box<Connection>, Failure> {
        let link = self.open_link(limit).await?;
        Ok(Box::new(Connection {
            place: self.parts.deadlines.enter(link.note()),
            link,
            machine: crate::http::h1::ClientConn::new(crate::http::h1::Limits::default()),
            input: Vec::new(),
            start: 0,
            requests: 0,
            since: clock::mono(),
        }))
    }

    /// Makes a connection, TLS included.
    pub(super) async fn open_link(&self, limit: Duration) -> Result<Link, Failure> {
        Tally::count(&self.tally.connects);
        let dialled = within(limit, pin!(self.dial.connect(&self.parts, limit))).await;
        match dialled {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => Err(error.early()),
            Err(timer::Elapsed) => Err(Cause::ConnectTimedOut(limit).early()),
        }
    }

    async fn try_on(
        self: &Rc<Self>,
        mut connection: Box<Connection>,
        request: Request<'_>,
        outgoing: &mut Option<Box<Outgoing>>,
        timeouts: &ProxyTimeouts,
    ) -> Result<Got, Failure> {
        connection.requests += 1;
        let is_kept = connection.requests > 1;
        let began = connection.since;
        let sent = send_head(&self.parts, &mut connection, request, outgoing, timeouts).await;
        let mut head = self.parts.head();
        let read = match sent {
            Ok(()) => {
                connection.input = self.parts.buffers.small();
                let how = (request, timeouts);
                self.read_head(&mut connection, outgoing, &mut head, how)
                    .await
            }
            Err(failure) => Err(failure),
        };
        let kind = match read {
            Ok(kind) => kind,
            Err(mut failure) => {
                if is_kept && is_stale(&failure) {
                    failure.may_have_acted = may_have_been_read(&connection, &failure, began).await;
                }
                connection.release(&self.parts.buffers);
                self.parts.recycle(head);
                return Err(failure);
            }
        };
        connection.place.disarm();
        let content = match kind {
            Some(kind) => self.content(connection, outgoing, kind, (request, timeouts)),
            None => Content::Switched(connection),
        };
        Ok(Got {
            head,
            content,
            connected: Duration::ZERO,
        })
    }

    /// Waits for the final head, and sends content meanwhile.
    async fn read_head(
        &self,
        connection: &mut Connection,
        outgoing: &mut Option<Box<Outgoing>>,
        head: &mut ResponseHead,
        (request, timeouts): (Request<'_>, &ProxyTimeouts),
    ) -> Result<Option<BodyKind>, Failure> {
        if outgoing.as_ref().is_some_and(|out| !out.is_done()) {
            let mut sending = Sending {
                connection,
                outgoing,
                timeouts,
                parts: &self.parts,
                request,
                armed: None,
            };
            return poll_fn(|cx| sending.poll(cx, head)).await;
        }
        connection.place.arm_for(Limit::Answer, timeouts.read);
        loop {
            // No answer can be there yet, so a read would only find that out.
            let waited = connection.link.readable().await;
            match waited.and_then(|()| connection.fill(&self.parts.buffers, false)) {
                Ok(0) => return Err(connection.ended(timeouts.read)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(broken(connection, error)),
            }
            loop {
                match connection.look(head)? {
                    Seen::Head(kind) => return Ok(Some(kind)),
                    Seen::Switched => return Ok(None),
                    Seen::Interim(status) => request.hear(status, head),
                    Seen::Nothing => break,
                }
            }
        }
    }

    /// What becomes of the connection once the head is there.
    fn content(
        self: &Rc<Self>,
        mut connection: Box<Connection>,
        outgoing: &mut Option<Box<Outgoing>>,
        kind: BodyKind,
        (request, timeouts): (Request<'_>, &ProxyTimeouts),
    ) -> Content {
        let is_sent = outgoing.as_ref().is_none_or(|out| out.is_done());
        if kind == BodyKind::None {
            self.put_back(connection, is_sent);
            return Content::Whole(Body::Empty);
        }
        let input = connection.input.get(connection.start..).unwrap_or_default();
        if let BodyKind::Length(length) = kind
            && is_sent
            && input.len() as u64 == length
        {
            let bytes = Bytes::copy_from_slice(input);
            let mut unused = ResponseHead::default();
            let _ = connection.machine.poll(input, &mut unused);
            let _ = connection.machine.poll(&[], &mut unused);
            connection.start = connection.input.len();
            self.put_back(connection, true);
            return Content::Whole(Body::Full(bytes));
        }
        let rest = if is_sent { None } else { outgoing.take() };
        let how = (timeouts.read, request.buffering);
        let transfer = Transfer::new(Rc::clone(self), connection, rest, kind, how);
        Content::Coming(Box::new(transfer))
    }

    /// Takes a connection back whose exchange is over.
    pub(super) fn put_back(self: &Rc<Self>, mut connection: Box<Connection>, is_sent: bool) {
        let is_clean = connection.machine.finish(is_sent)
            && connection.start >= connection.input.len()
            && connection.requests < self.keeping.requests_max;
        connection.place.disarm();
        connection.release(&self.parts.buffers);
        if !is_clean || self.keeping.idle_max == 0 {
            return;
        }
        if self.idle.len() >= self.keeping.idle_max {
            // As nginx.
            self.idle.drop_oldest();
        }
        let expires = connection.since + self.keeping.idle_time;
        self.idle.put(connection, expires);
    }
}

/// Sends the head, and small content with it.
async fn send_head(
    parts: &Parts,
    connection: &mut Connection,
    request: Request<'_>,
    outgoing: &mut Option<Box<Outgoing>>,
    timeouts: &ProxyTimeouts,
) -> Result<(), Failure> {
    let mut out = parts.buffers.small();
    let line = RequestLine {
        method: request.method,
        target: request.target,
    };
    let kind = outgoing.as_ref().map_or(BodyKind::None, |out| out.kind());
    let (machine, headers) = (&mut connection.machine, request.headers);
    match request.switch_to {
        Some(protocol) => machine.request_switch(line, headers, protocol, &mut out),
        None => machine.request(line, headers, kind, &mut out),
    }
    if let Some(outgoing) = outgoing {
        outgoing.begin(&mut out, JOINED_BODY_MAX);
    }
    let (sent, out) = connection.link.send(out).await;
    let result = match sent {
        Ok(count) if count == out.len() => Ok(()),
        Ok(count) => write_rest(connection, &out, count, timeouts).await,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            write_rest(connection, &out, 0, timeouts).await
        }
        // The server may have answered (503, 429) and closed before it was asked.
        Err(error) => Err(Cause::Send(error).early()),
    };
    parts.buffers.give_back(out);
    result
}

async fn write_rest(
    connection: &mut Connection,
    out: &[u8],
    sent: usize,
    timeouts: &ProxyTimeouts,
) -> Result<(), Failure> {
    let mut sent = sent;
    let mut is_flushed = false;
    connection.place.arm_for(Limit::Send, timeouts.send);
    while sent < out.len() || !is_flushed {
        let step = if sent < out.len() {
            connection.link.try_write(&[out], sent)
        } else {
            connection.link.try_flush().map(|()| 0)
        };
        match step {
            Ok(0) if sent == out.len() => is_flushed = true,
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let _ = connection.link.writable().await;
                if connection.place.fired().is_some() {
                    return Err(Cause::SendTimedOut(timeouts.send).late());
                }
            }
            Err(error) => return Err(Cause::Send(error).late()),
        }
    }
    connection.place.disarm();
    Ok(())
}

fn broken(connection: &Connection, error: io::Error) -> Failure {
    if connection.machine.is_unanswered() && connection.input.is_empty() {
        // Known by its kind: a reset before any answer.
        return Cause::Broken(error).late();
    }
    Cause::Broken(error).late()
}

/// Whether the connection may have died of having been idle.
fn is_stale(failure: &Failure) -> bool {
    matches!(
        failure.cause,
        Cause::Unanswered | Cause::Send(_) | Cause::Broken(_)
    )
}

fn can_repeat(outgoing: &Option<Box<Outgoing>>) -> bool {
    outgoing.as_ref().is_none_or(|out| out.is_repeatable())
}

/// After a kept connection died unanswered: whether the server may have read the request. What
/// its system never acknowledged it did not; and a system resets what is closed with unread
/// data, where a program that has read everything closes in order.
async fn may_have_been_read(connection: &Connection, failure: &Failure, since: Instant) -> bool {
    if !connection.machine.is_unanswered() || clock::mono().duration_since(since) > AT_ONCE {
        let sent_at_once = matches!(failure.cause, Cause::Send(_));
        return !sent_at_once;
    }
    let socket = connection.link.socket();
    let was_reset = matches!(
        &failure.cause,
        Cause::Broken(error) | Cause::Send(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
    );
    if was_reset || matches!(socket.unacknowledged(), Ok(1..)) {
        return false;
    }
    // Some servers end in order first and leave unread data behind: the reset follows.
    let reset = async {
        while socket.pending_error().is_none() {
            sleep(RESET_WAIT / 10).await;
        }
    };
    within(RESET_WAIT, reset).await.is_err()
}

/// The wait for an answer while the request's content is still on its way.
struct Sending<'a> {
    connection: &'a mut Connection,
    outgoing: &'a mut Option<Box<Outgoing>>,
    timeouts: &'a ProxyTimeouts,
    parts: &'a Parts,
    request: Request<'a>,
    /// Which limit runs.
    armed: Option<Limit>,
}

impl Sending<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<Option<BodyKind>, Failure>> {
        if let Err(failure) = self.push(cx) {
            return Poll::Ready(Err(failure));
        }
        loop {
            match self.connection.look(head)? {
                Seen::Head(kind) => return Poll::Ready(Ok(Some(kind))),
                Seen::Switched => return Poll::Ready(Ok(None)),
                Seen::Interim(status) => {
                    self.request.hear(status, head);
                    continue;
                }
                Seen::Nothing => {}
            }
            match self.connection.fill(&self.parts.buffers, false) {
                Ok(0) => return Poll::Ready(Err(self.connection.ended(self.limit()))),
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(broken(self.connection, error))),
            }
            if let Err(error) = core::task::ready!(self.connection.poll_readable(cx)) {
                return Poll::Ready(Err(broken(self.connection, error)));
            }
        }
    }

    fn limit(&self) -> Duration {
        match self.connection.place.fired() {
            Some(Limit::Send) => self.timeouts.send,
            _ => self.timeouts.read,
        }
    }

    /// Sends on. While the client is slow no limit of the server's runs.
    fn push(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let Some(outgoing) = self.outgoing.as_mut().filter(|out| !out.is_done()) else {
            return Ok(());
        };
        match outgoing.poll_send(cx, &mut self.connection.link) {
            Poll::Pending => {
                let wanted = outgoing.waits_for_server().then_some(Limit::Send);
                if wanted != self.armed {
                    self.armed = wanted;
                    match wanted {
                        Some(limit) => self.connection.place.arm_for(limit, self.timeouts.send),
                        None => self.connection.place.disarm(),
                    }
                }
                return Ok(());
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(SendError::Client(error))) => {
                return Err(Cause::Client(error).late());
            }
            // It takes no more, and may have answered already.
            Poll::Ready(Err(SendError::Server(_))) => {
                outgoing.give_up();
                self.connection.requests = u64::MAX;
            }
        }
        self.armed = Some(Limit::Answer);
        self.connection
            .place
            .arm_for(Limit::Answer, self.timeouts.read);
        Ok(())
    }
}
