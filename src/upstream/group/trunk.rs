//! HTTP/2 to a server: by prior knowledge, or as agreed on in TLS. Requests of a shard share
//! connections; frames, HPACK and flow control are the `h2` crate's.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure::{Cause, Failure};
use super::peer::{Content, Got, Peer};
use super::stream::{Inflow, Upload};
use super::{Outgoing, Request};
use crate::base::clock;
use crate::config::ProxyTimeouts;
use crate::http::h1::BodyKind;
use crate::http::h2::{read_response, write_request};
use crate::http::{Body, Method};
use crate::net::buffers::Buffers;
use crate::net::link::Link;
use crate::net::spawn;
use crate::net::timer::{self, within};

/// Requests at once on one connection; more open another.
const STREAMS_MAX: usize = 100;
/// What a server may send of one answer before the client takes it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all answers of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// The largest head of an answer.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// The HTTP/2 connections of a shard to one server.
#[derive(Debug, Default)]
pub(super) struct Trunks(RefCell<Vec<Rc<Trunk>>>);

/// One connection.
#[derive(Debug)]
struct Trunk {
    send: SendRequest<Bytes>,
    streams: Cell<usize>,
    since: Cell<std::time::Instant>,
    is_gone: Rc<Cell<bool>>,
}

/// A stream's part in its connection, for as long as it lives.
#[derive(Debug)]
pub(super) struct Lease(Rc<Trunk>);

impl Lease {
    fn new(trunk: &Rc<Trunk>) -> Self {
        trunk.streams.set(trunk.streams.get() + 1);
        Self(Rc::clone(trunk))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.since.set(clock::mono());
    }
}

impl Peer {
    /// Sends a request as a stream. See [`ask`](Self::ask).
    pub(super) async fn ask_h2(
        self: &Rc<Self>,
        request: Request<'_>,
        outgoing: &mut Option<Box<Outgoing>>,
        timeouts: &ProxyTimeouts,
    ) -> Result<Got, Failure> {
        if let Some(trunk) = self.trunk() {
            let asked = self.ask_on(&trunk, request, outgoing, timeouts).await;
            match asked {
                // A connection that was closing as the request came.
                Err(failure)
                    if trunk.is_gone.get()
                        && (request.is_repeatable || !failure.may_have_acted)
                        && outgoing.as_ref().is_none_or(|out| out.is_repeatable()) => {}
                asked => return asked,
            }
        }
        let began = clock::mono();
        let trunk = Box::pin(self.connect_h2(timeouts.connect)).await?;
        let connected = clock::mono().saturating_duration_since(began);
        let got = self.ask_on(&trunk, request, outgoing, timeouts).await?;
        Ok(Got { connected, ..got })
    }

    /// A connection with room.
    fn trunk(&self) -> Option<Rc<Trunk>> {
        let now = clock::mono();
        let idle_time = self.idle_time();
        let mut trunks = self.trunks().0.borrow_mut();
        trunks.retain(|trunk| {
            let is_idle = trunk.streams.get() == 0
                && now.saturating_duration_since(trunk.since.get()) >= idle_time;
            !trunk.is_gone.get() && !is_idle
        });
        let mut open = trunks.iter();
        open.find(|trunk| trunk.streams.get() < STREAMS_MAX)
            .map(Rc::clone)
    }

    async fn connect_h2(&self, limit: Duration) -> Result<Rc<Trunk>, Failure> {
        let link = self.open_link(limit).await?;
        if !link.is_plain() && link.protocol() != Some(b"h2") {
            let why = "the server does not speak HTTP/2 over TLS";
            return Err(Cause::Connect(why.to_owned()).early());
        }
        let io = Io::new(link, self.parts().buffers.clone());
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES_MAX)
            .enable_push(false);
        let shaken = within(limit, core::pin::pin!(builder.handshake::<_, Bytes>(io))).await;
        let (send, connection) = match shaken {
            Ok(Ok(pair)) => pair,
            Ok(Err(error)) => return Err(Cause::Connect(error.to_string()).early()),
            Err(timer::Elapsed) => return Err(Cause::ConnectTimedOut(limit).early()),
        };
        let is_gone = Rc::new(Cell::new(false));
        let gone = Rc::clone(&is_gone);
        spawn(async move {
            // Why it ended, its streams are told.
            let _ = connection.await;
            gone.set(true);
        });
        let trunk = Rc::new(Trunk {
            send,
            streams: Cell::new(0),
            since: Cell::new(clock::mono()),
            is_gone,
        });
        self.trunks().0.borrow_mut().push(Rc::clone(&trunk));
        Ok(trunk)
    }

    async fn ask_on(
        self: &Rc<Self>,
        trunk: &Rc<Trunk>,
        request: Request<'_>,
        outgoing: &mut Option<Box<Outgoing>>,
        timeouts: &ProxyTimeouts,
    ) -> Result<Got, Failure> {
        let lease = Lease::new(trunk);
        let kind = outgoing.as_ref().map_or(BodyKind::None, |out| out.kind());
        let Some(head) = write_request(
            (request.method, request.target),
            request.headers,
            (kind, self.is_secure()),
        ) else {
            return Err(Cause::Connect("the request cannot be written as HTTP/2".into()).early());
        };
        let opened = within(timeouts.send, core::pin::pin!(trunk.send.clone().ready())).await;
        let mut send = match opened {
            Ok(Ok(send)) => send,
            Ok(Err(error)) => return Err(broken(&error).early()),
            Err(timer::Elapsed) => return Err(Cause::SendTimedOut(timeouts.send).early()),
        };
        let is_whole = kind == BodyKind::None;
        let sent = send.send_request(head, is_whole);
        let (response, stream) = sent.map_err(|error| broken(&error).early())?;
        let mut exchange = Exchange {
            response,
            upload: outgoing.as_mut().map(|out| Upload::begin(out, stream)),
            request,
        };
        let answered = within(timeouts.read, core::future::poll_fn(|cx| exchange.poll(cx))).await;
        let response = match answered {
            Ok(response) => response?,
            Err(timer::Elapsed) => return Err(Cause::ReadTimedOut(timeouts.read).late()),
        };
        let upload = exchange.upload.take();
        let (parts, body) = response.into_parts();
        let mut head = self.parts().head();
        if !read_response(&parts, &mut head) {
            return Err(Cause::Invalid(crate::http::h1::Error::Field).late());
        }
        let content =
            if body.is_end_stream() || Method::of(request.method.as_bytes()) == Method::Head {
                Content::Whole(Body::Empty)
            } else {
                let length = head.headers.get_str(crate::http::Known::ContentLength);
                let length = length.and_then(|length| length.parse().ok());
                let inflow = Inflow::new(body, upload, (timeouts.read, length), lease);
                Content::Streaming(Box::new(inflow))
            };
        Ok(Got {
            head,
            content,
            connected: Duration::ZERO,
        })
    }
}

fn broken(error: &h2::Error) -> Cause {
    Cause::Send(io::Error::other(error.to_string()))
}

/// A stream until its answer's head.
struct Exchange<'a> {
    response: h2::client::ResponseFuture,
    upload: Option<Upload>,
    request: Request<'a>,
}

impl Exchange<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<::http::Response<h2::RecvStream>, Failure>> {
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(sent) = upload.poll(cx)
        {
            self.upload = None;
            if let Err(error) = sent {
                return Poll::Ready(Err(Cause::Client(error).late()));
            }
        }
        while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            let mut head = crate::http::ResponseHead::default();
            if read_response(&interim.into_parts().0, &mut head) {
                self.request.hear(head.status, &head);
            }
        }
        let response = ready!(Pin::new(&mut self.response).poll(cx));
        Poll::Ready(response.map_err(|error| {
            // The server says itself that it has not looked at it (RFC 9113 §8.7).
            match error.reason() == Some(h2::Reason::REFUSED_STREAM) && error.is_remote() {
                true => Cause::Unanswered.early(),
                false => Cause::Broken(io::Error::other(error.to_string())).late(),
            }
        }))
    }
}

/// A link as the `h2` crate wants it.
#[derive(Debug)]
struct Io {
    link: Link,
    buffers: Buffers,
    input: Vec<u8>,
    start: usize,
}

impl Io {
    const fn new(link: Link, buffers: Buffers) -> Self {
        Self {
            link,
            buffers,
            input: Vec::new(),
            start: 0,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        while io.start >= io.input.len() {
            io.start = 0;
            io.input.clear();
            if io.input.capacity() == 0 {
                io.input = io.buffers.large();
            }
            match io.link.try_read(&mut io.input) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // An idle connection keeps no buffer.
                    io.buffers.give_back(core::mem::take(&mut io.input));
                    ready!(io.link.poll_readable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let unread = io.input.get(io.start..).unwrap_or_default();
        let taken = unread.get(..buf.remaining()).unwrap_or(unread);
        buf.put_slice(taken);
        io.start += taken.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        loop {
            match io.link.try_write(&[bytes], 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(io.link.poll_writable(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        loop {
            match io.link.try_flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(io.link.poll_writable(cx))?;
                }
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        ready!(Pin::new(&mut *io).poll_flush(cx))?;
        let _ = io.link.socket().shutdown(std::net::Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}
