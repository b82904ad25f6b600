//! A connection's bytes as the `h2` crate wants them: tokio's traits over our waits and calls
//! that never wait. What the crate writes gathers here and leaves when the turn is over, so that
//! the answers of many streams go out in one call.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::clock::Now;
use crate::http::h2::{Flood, Guard};
use crate::metrics::Counter;
use crate::net::buffers::{LARGE_BYTES, SMALL_BYTES};
use crate::server::Server;
use crate::server::lent::Input;
use crate::server::reader::Reader;

/// What is written at most at once; more waits in the crate.
const GATHER_BYTES_MAX: usize = LARGE_BYTES;

/// A GOAWAY frame with the longest of the crate's reasons fits.
const LAST_WORDS_BYTES: usize = 64;

/// The crate's hold on a connection's bytes.
#[derive(Debug)]
pub(super) struct Io(pub(super) Rc<RefCell<Wire>>);

/// A connection's bytes, both ways.
pub(super) struct Wire {
    server: Rc<Server>,
    reader: Reader,
    input: Input,
    guard: Guard,
    flood: Option<Flood>,
    has_ended: bool,
    /// When the last bytes came.
    pub(super) now: Now,
    output: Vec<u8>,
    /// How much of the output has been sent.
    sent: usize,
    /// Bytes sent since the beginning.
    pub(super) sent_total: u64,
    writable: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
    /// The end of what the crate has sent: the GOAWAY in which it says why.
    last_words: Vec<u8>,
}

impl Wire {
    pub(super) fn new(server: &Rc<Server>, reader: Reader, input: Input) -> Self {
        Self {
            server: Rc::clone(server),
            reader,
            input,
            guard: Guard::new(server.config.server.http2.budgets),
            flood: None,
            has_ended: false,
            now: server.time.now(),
            output: Vec::new(),
            sent: 0,
            sent_total: 0,
            writable: None,
            last_words: Vec::new(),
        }
    }

    /// Which budget the client has spent. Nothing more is read then.
    pub(super) const fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// Whether the client has stopped sending.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The last bytes that were sent, once the crate has ended the connection.
    pub(super) fn last_words(&self) -> &[u8] {
        &self.last_words
    }

    /// Whether the client owes the rest of a frame or a field block.
    pub(super) const fn is_inside_frame(&self) -> bool {
        self.guard.is_inside()
    }

    /// Whether the client does not take what it is sent.
    pub(super) const fn is_blocked(&self) -> bool {
        self.writable.is_some()
    }

    /// Sends what has gathered.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(self.sent..)
            && !rest.is_empty()
        {
            if let Some(writable) = &mut self.writable {
                ready!(writable.as_mut().poll(cx))?;
                self.writable = None;
            }
            match self.reader.socket().try_write(rest) {
                Ok(count) => {
                    self.sent += count;
                    self.sent_total += count as u64;
                    self.guard.sent(count);
                    self.server.recorder.add(Counter::SentBytes, count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = Some(self.reader.writable());
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.sent = 0;
        let output = core::mem::take(&mut self.output);
        self.server.buffers.give_back(output);
        Poll::Ready(Ok(()))
    }

    fn poll_put(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.output.len() >= GATHER_BYTES_MAX {
            ready!(self.poll_send(cx))?;
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        self.make_room(total);
        let mut left = total.min(GATHER_BYTES_MAX - self.output.len());
        let put = left;
        for part in parts {
            let taken = part.get(..left.min(part.len())).unwrap_or_default();
            self.output.extend_from_slice(taken);
            left -= taken.len();
        }
        Poll::Ready(Ok(put))
    }

    fn make_room(&mut self, bytes: usize) {
        let wanted = self.output.len() + bytes;
        if wanted <= self.output.capacity() {
            return;
        }
        let buffers = &self.server.buffers;
        let mut roomier = match wanted <= SMALL_BYTES {
            true => buffers.small(),
            false => buffers.large(),
        };
        roomier.extend_from_slice(&self.output);
        buffers.give_back(core::mem::replace(&mut self.output, roomier));
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.flood.is_some() {
            return Poll::Pending;
        }
        if self.input.is_empty() {
            ready!(self.poll_fill(cx))?;
        }
        let unread = self.input.unread();
        let taken = unread.get(..buf.remaining()).unwrap_or(unread);
        if let Err(flood) = self.guard.receive(taken, self.now.mono) {
            self.flood = Some(flood);
            return Poll::Pending;
        }
        buf.put_slice(taken);
        let count = taken.len();
        self.input.consume(count);
        Poll::Ready(Ok(()))
    }

    /// Reads once. Before each read there is a wait, so that a client that never stops sending
    /// gets one read in each turn of the loop.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let server = &self.server;
        loop {
            if self.reader.poll_readable(cx)?.is_pending() {
                self.input.give_back(&server.buffers);
                return Poll::Pending;
            }
            let socket = self.reader.socket();
            let read = self
                .input
                .fill(&server.buffers, |buffer| socket.try_read(buffer));
            match read {
                Ok(count) => {
                    self.has_ended = count == 0;
                    self.now = server.time.now();
                    server.recorder.add(Counter::ReceivedBytes, count as u64);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl core::fmt::Debug for Wire {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Wire")
            .field("reader", &self.reader)
            .field("unread", &self.input.unread().len())
            .field("unsent", &(self.output.len() - self.sent))
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_take(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_put(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_put(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing: the driver sends when the turn is over.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends the last bytes; closing is the connection's.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        if wire.last_words.is_empty() {
            let from = wire.output.len().saturating_sub(LAST_WORDS_BYTES);
            wire.last_words = wire.output.get(from..).unwrap_or_default().to_vec();
        }
        wire.poll_send(cx)
    }
}
