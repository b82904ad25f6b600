//! Requests to one origin over kept-open connections. One client per shard and origin.
//!
//! A request goes out on an idle connection that was just seen alive, or on a new one. If a
//! reused connection turns out to be dead before one byte of the answer, the request is sent
//! once more on a new connection, but only where that cannot do anything twice: the request is
//! marked repeatable (lists, reads, probes), or the server did not read it. That is known when a
//! part of it could not be sent or was not acknowledged by the server's TCP, and when the server
//! reset the connection at once: a system resets what is closed with unread data, where one that
//! has read everything ends in order. Otherwise the caller is told that the request may have been
//! carried out.

use core::pin::pin;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Origin;
use super::exchange::Exchange;
use super::idle::Idle;
use crate::base::clock;
use crate::http::h1::{self, BodyKind, ClientConn, RequestLine};
use crate::http::{HeaderList, Known, ResponseHead};
use crate::net::buffers::Buffers;
use crate::net::connect::connect_any;
use crate::net::resolve::Resolver;
use crate::net::timer::within;
use crate::net::tls::TlsConnector;
use crate::net::{Stream, timer};

/// Idle connections kept.
const IDLE_MAX: usize = 64;
/// How long an idle connection is kept if the server does not say how long it keeps it. Node
/// and uvicorn close theirs after 5 s without a word.
const IDLE_AGE: Duration = Duration::from_secs(4);
/// The most that a server's `Keep-Alive: timeout=` is believed.
const IDLE_AGE_MAX: Duration = Duration::from_secs(60);
/// A connection that was idle for longer is looked at before it is used again.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// Heads kept to be filled again.
const HEADS_MAX: usize = 16;
/// A body up to this size is written together with its head in one piece.
const JOINED_BODY_MAX: usize = 16 * 1024;

/// What connections are made of and from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// For `https`.
    pub tls: TlsConnector,
    /// For names.
    pub resolver: Resolver,
    /// The shard's buffers.
    pub buffers: Buffers,
}

/// One request. Host, framing and the client's own fields are added.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Fields beyond the client's own; values without CR, LF or NUL.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The content; empty for none.
    pub body: &'a [u8],
    /// Whether doing it twice is harmless.
    pub repeatable: bool,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To look the name up and connect, TLS included.
    pub connect: Duration,
    /// From the request to the head of the response.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
}

/// Why there is no (whole) response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection: name, address or TLS.
    #[error("{0}")]
    Connect(String),
    /// A limit ran out.
    #[error("no {what} within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The connection closed before the response began.
    #[error("the connection closed before an answer; the request may have been carried out")]
    Unanswered,
    /// The connection broke within the response.
    #[error("the connection broke: {0}")]
    Broken(std::io::Error),
    /// The connection closed within the response.
    #[error("the connection closed within its answer")]
    Incomplete,
    /// The response is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    Http(h1::Error),
    /// The content is larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// The connections of one shard to one origin.
#[derive(Debug)]
pub struct Client {
    origin: Origin,
    /// Host and the fields sent with every request.
    own: HeaderList,
    parts: Parts,
    idle: Rc<Idle<Connection>>,
    /// Heads of responses that are done with, to be filled again.
    heads: RefCell<Vec<ResponseHead>>,
}

/// A connection and where it is in its exchange.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) machine: ClientConn,
    pub(super) head: ResponseHead,
    /// Received bytes; those before `start` are used up.
    pub(super) input: Vec<u8>,
    pub(super) start: usize,
    idle_age_max: Duration,
}

impl Client {
    /// A client without connections. `headers` are sent with every request; of names that HTTP
    /// itself governs only `Host` counts.
    #[must_use]
    pub fn new(origin: Origin, headers: &[(String, String)], parts: Parts) -> Rc<Self> {
        let mut own = HeaderList::new();
        let host = headers
            .iter()
            .find(|(name, _)| Known::of(name.as_bytes()) == Known::Host);
        let authority = host.map_or_else(|| origin.authority(), |(_, value)| value.clone());
        own.push_known(Known::Host, authority.as_bytes());
        for (name, value) in headers {
            if Known::of(name.as_bytes()) != Known::Host {
                // The configuration has checked them; one that cannot be sent is left out.
                let _ = own.try_push(name.as_bytes(), value.as_bytes());
            }
        }
        if !own.contains(Known::UserAgent) {
            let agent = concat!("ringway/", env!("CARGO_PKG_VERSION"));
            own.push_known(Known::UserAgent, agent.as_bytes());
        }
        Rc::new(Self {
            origin,
            own,
            parts,
            idle: Rc::default(),
            heads: RefCell::default(),
        })
    }

    /// Sends a request and waits for the head of the response. Dropping the future, or the
    /// exchange before its end, closes the connection.
    ///
    /// # Errors
    /// Why there is no response; see [`Error`].
    pub async fn send(
        self: &Rc<Self>,
        request: Request<'_>,
        limits: Limits,
    ) -> Result<Exchange, Error> {
        if let Some(connection) = self.take_idle().await {
            match self.try_on(connection, request, limits).await {
                Ok(exchange) => return Ok(exchange),
                Err(Attempt::Dead { was_read }) if !was_read || request.repeatable => {
                    // Its siblings are most likely as dead.
                    self.idle.clear();
                }
                Err(attempt) => return Err(attempt.into()),
            }
        }
        // Rare, and large: it must not make every request's future as large.
        let began = clock::mono();
        let connection = Box::pin(self.connect(limits.connect)).await?;
        let connected = clock::mono().saturating_duration_since(began);
        let exchange = self.try_on(connection, request, limits).await?;
        Ok(exchange.took(connected))
    }

    /// An idle connection that is alive, the most recently used first.
    async fn take_idle(&self) -> Option<Box<Connection>> {
        loop {
            let (expires, mut connection) = self.idle.pop()?;
            let left = expires.saturating_duration_since(clock::mono());
            if left.is_zero() {
                continue;
            }
            // A look costs a system call, and one that has just closed would slip through anyway.
            let idled = connection.idle_age_max.saturating_sub(left);
            if idled < LOOK_AFTER || is_alive(&mut connection.stream).await {
                return Some(connection);
            }
        }
    }

    async fn connect(&self, limit: Duration) -> Result<Box<Connection>, Error> {
        let started = clock::mono();
        let left = |started: Instant| limit.saturating_sub(clock::mono() - started);
        let timed_out = Error::TimedOut {
            what: "connection",
            limit,
        };
        let origin = &self.origin;
        let resolving = self.parts.resolver.resolve(&origin.host, origin.port);
        let addresses = match within(limit, resolving).await {
            Ok(found) => found.map_err(|error| Error::Connect(error.to_string()))?,
            Err(timer::Elapsed) => return Err(timed_out),
        };
        let plain = match connect_any(&addresses, left(started)).await {
            Ok(plain) => plain,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return Err(timed_out),
            Err(error) => {
                let to = origin.authority();
                return Err(Error::Connect(format!("cannot connect to {to}: {error}")));
            }
        };
        let stream = if origin.is_tls {
            let shaking = self.parts.tls.connect(&origin.host, plain);
            match within(left(started), shaking).await {
                Ok(Ok(tls)) => Stream::Tls(Box::new(tls)),
                Ok(Err(error)) => return Err(Error::Connect(error.to_string())),
                Err(timer::Elapsed) => return Err(timed_out),
            }
        } else {
            Stream::Tcp(plain)
        };
        Ok(Box::new(Connection {
            stream,
            machine: ClientConn::new(h1::Limits::default()),
            head: ResponseHead::default(),
            input: Vec::new(),
            start: 0,
            idle_age_max: IDLE_AGE,
        }))
    }

    async fn try_on(
        self: &Rc<Self>,
        mut connection: Box<Connection>,
        request: Request<'_>,
        limits: Limits,
    ) -> Result<Exchange, Attempt> {
        let mut out = self.parts.buffers.small();
        self.write_head(&mut connection.machine, request, &mut out);
        let written = {
            let writing = pin!(async {
                if request.body.len() <= JOINED_BODY_MAX {
                    out.extend_from_slice(request.body);
                    connection.stream.write_all(&out).await
                } else {
                    let parts = [out.as_slice(), request.body];
                    connection.stream.write_all_vectored(&parts).await
                }
            });
            within(limits.idle, writing).await
        };
        self.parts.buffers.give_back(out);
        match written {
            Ok(Ok(())) => {}
            // The server may have answered (413, 401) before it had read everything.
            Ok(Err(_)) if connection.stream_has_input().await => {}
            Ok(Err(_)) => return Err(Attempt::Dead { was_read: false }),
            Err(timer::Elapsed) => {
                return Err(Attempt::Failed(Error::TimedOut {
                    what: "room to send the request",
                    limit: limits.idle,
                }));
            }
        }
        connection.input = self.parts.buffers.small();
        connection.start = 0;
        connection.head = self.heads.borrow_mut().pop().unwrap_or_default();
        let mut exchange = Exchange::new(Rc::clone(self), connection, limits.idle);
        let reading = within(limits.first_byte, pin!(exchange.read_head())).await;
        match reading {
            Ok(Ok(())) => Ok(exchange),
            Ok(Err(Error::Unanswered)) => Err(Attempt::Dead {
                was_read: exchange.may_have_been_read().await,
            }),
            Ok(Err(error)) => Err(Attempt::Failed(error)),
            Err(timer::Elapsed) => Err(Attempt::Failed(Error::TimedOut {
                what: "answer",
                limit: limits.first_byte,
            })),
        }
    }

    fn write_head(&self, machine: &mut ClientConn, request: Request<'_>, out: &mut Vec<u8>) {
        let mut headers = self.own.clone();
        for &(name, value) in request.headers {
            headers.push(name.as_bytes(), value);
        }
        let line = RequestLine {
            method: request.method,
            target: request.target,
        };
        let body = match request.body.len() as u64 {
            0 => BodyKind::None,
            length => BodyKind::Length(length),
        };
        machine.request(line, &headers, body, out);
    }

    /// Takes a connection back whose exchange is over.
    pub(super) fn put_back(self: &Rc<Self>, mut connection: Box<Connection>, head: &ResponseHead) {
        if !connection.machine.finish(true) || connection.start < connection.input.len() {
            return self.discard(connection);
        }
        if let Some(age) = announced_age(head) {
            connection.idle_age_max = age;
        }
        let expires = clock::mono() + connection.idle_age_max;
        self.parts
            .buffers
            .give_back(std::mem::take(&mut connection.input));
        connection.start = 0;
        if self.idle.len() < IDLE_MAX {
            self.idle.put(connection, expires);
        }
    }

    /// Keeps the memory of a head for another response.
    pub(super) fn recycle(&self, head: ResponseHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < HEADS_MAX {
            heads.push(head);
        }
    }

    /// Closes a connection and keeps its buffer.
    pub(super) fn discard(&self, mut connection: Box<Connection>) {
        self.parts
            .buffers
            .give_back(std::mem::take(&mut connection.input));
    }
}

impl Connection {
    /// Whether something can be read at once.
    async fn stream_has_input(&mut self) -> bool {
        matches!(poll_once(self.stream.readable()).await, Some(Ok(())))
    }
}

impl From<h1::Error> for Error {
    fn from(error: h1::Error) -> Self {
        match error {
            h1::Error::Incomplete => Self::Incomplete,
            error => Self::Http(error),
        }
    }
}

/// How an attempt on one connection went wrong.
enum Attempt {
    /// The connection died before it answered. `was_read`: the server may have read the request.
    Dead {
        was_read: bool,
    },
    Failed(Error),
}

impl From<Attempt> for Error {
    fn from(attempt: Attempt) -> Self {
        match attempt {
            Attempt::Dead { .. } => Self::Unanswered,
            Attempt::Failed(error) => error,
        }
    }
}

/// Whether an idle connection is still open. One that has something to read is not: either it
/// is closed, or the server spoke unasked.
async fn is_alive(stream: &mut Stream) -> bool {
    match stream {
        Stream::Tcp(plain) | Stream::Unix(plain) => {
            let mut byte = Vec::with_capacity(1);
            plain
                .try_read(&mut byte)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        }
        // Session tickets may wait there, so the TLS layer has to look.
        Stream::Tls(_) => poll_once(stream.readable()).await.is_none(),
    }
}

async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// What `Keep-Alive: timeout=` says, less a second for the way.
fn announced_age(head: &ResponseHead) -> Option<Duration> {
    let value = head.headers.get_str(Known::KeepAlive)?;
    let seconds = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?
        .parse()
        .ok()?;
    let age = Duration::from_secs(seconds).saturating_sub(Duration::from_secs(1));
    Some(age.min(IDLE_AGE_MAX))
}
