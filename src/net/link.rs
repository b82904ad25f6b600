//! A connection to a server behind: plain or TLS. Calls that never wait, and waits that may be
//! kept beside something else or dropped: no byte is lost and no buffer stays with the kernel.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::rc::Rc;

use crate::net::stream::{Plain, Stream};
use crate::net::sys::FdNote;
use crate::net::tls::TlsStream;

/// A wait that owns what it waits for.
type Wait = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// A connected byte stream to a server.
pub struct Link {
    plain: Rc<Plain>,
    tls: Option<Box<TlsStream>>,
    reading: Option<Wait>,
    writing: Option<Wait>,
}

impl Link {
    /// Takes a connection over.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        let (plain, tls) = match stream {
            Stream::Tcp(plain) | Stream::Unix(plain) => (Rc::new(plain), None),
            Stream::Tls(tls) => (Rc::clone(tls.plain()), Some(tls)),
        };
        Self {
            plain,
            tls,
            reading: None,
            writing: None,
        }
    }

    /// Appends what has come to the spare capacity of `buffer`. `Ok(0)` is the end;
    /// `WouldBlock` is nothing yet, on TLS also after [`readable`](Self::readable).
    pub fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.tls {
            None => self.plain.try_read(buffer),
            Some(tls) => tls.try_read(buffer),
        }
    }

    /// Writes what fits of several parts without their first `skipped` bytes. What TLS has taken
    /// may still lie here: see [`try_flush`](Self::try_flush).
    pub fn try_write(&mut self, parts: &[&[u8]], skipped: usize) -> io::Result<usize> {
        match &mut self.tls {
            None => self.plain.try_write_parts(parts, skipped),
            Some(tls) => tls.try_write(parts, skipped),
        }
    }

    /// Sends what lies here. `WouldBlock`: not all of it fits.
    pub fn try_flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.try_flush())
    }

    /// Sends what fits through the ring, together with what other connections send in this turn
    /// of the loop. The buffer comes back.
    pub async fn send(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match (&mut self.tls, Rc::get_mut(&mut self.plain)) {
            (None, Some(plain)) => plain.send(buffer).await,
            _ => (self.try_write(&[&buffer], 0), buffer),
        }
    }

    /// Waits until there may be something to read, the end or an error.
    pub async fn readable(&self) -> io::Result<()> {
        self.plain.readable().await
    }

    /// Waits until there is room to write, or an error.
    pub async fn writable(&self) -> io::Result<()> {
        self.plain.writable().await
    }

    /// Poll form of [`readable`](Self::readable), for beside something else.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let plain = &self.plain;
        poll_wait(&mut self.reading, cx, || {
            let plain = Rc::clone(plain);
            Box::pin(async move { plain.readable().await })
        })
    }

    /// Poll form of [`writable`](Self::writable).
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let plain = &self.plain;
        poll_wait(&mut self.writing, cx, || {
            let plain = Rc::clone(plain);
            Box::pin(async move { plain.writable().await })
        })
    }

    /// Forgets waits that nobody is interested in any more.
    pub fn settle(&mut self) {
        self.reading = None;
        self.writing = None;
    }

    /// The socket underneath.
    #[must_use]
    pub fn socket(&self) -> &Plain {
        &self.plain
    }

    /// Whether the bytes go as they are.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// The protocol that TLS agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.protocol()
    }

    /// A note of the descriptor, for a sweep to shut it down by.
    #[must_use]
    pub fn note(&self) -> FdNote {
        self.plain.note()
    }
}

fn poll_wait(
    slot: &mut Option<Wait>,
    cx: &mut Context<'_>,
    begin: impl FnOnce() -> Wait,
) -> Poll<io::Result<()>> {
    let polled = slot.get_or_insert_with(begin).as_mut().poll(cx);
    if polled.is_ready() {
        *slot = None;
    }
    polled
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Link")
            .field("plain", &self.plain)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
