//! A byte stream: TCP, Unix or TLS over TCP.
//!
//! Every future here may be dropped: no byte is lost and no buffer stays with the kernel (see
//! `fd.rs`). A write that is dropped half-way has sent a part that the caller cannot know, so
//! then only closing is left.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use socket2::{SockRef, Socket};

use crate::net::fd::AsyncFd;
use crate::net::sys::{self, FdNote};
use crate::net::tls::TlsStream;

/// Send without raising SIGPIPE and without waiting.
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
/// Parts of one vectored write handed to the kernel at once (its own limit is 1,024).
const VECTORED_PARTS_MAX: usize = 16;

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(Plain),
    /// A Unix socket.
    Unix(Plain),
    /// TLS, client side, over TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Registers a connected TCP socket with this thread's runtime.
    pub fn tcp(socket: Socket) -> io::Result<Self> {
        Ok(Self::Tcp(Plain::new(socket.into())?))
    }

    /// Registers a connected Unix socket with this thread's runtime.
    pub fn unix(socket: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Ok(Self::Unix(Plain::new(socket.into())?))
    }

    /// Reads what has come, waiting for the first byte. Appends to `buffer`, at most its spare
    /// capacity, which must not be zero. `Ok(0)` is the peer's end.
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(plain) | Self::Unix(plain) => plain.read(buffer).await,
            Self::Tls(tls) => tls.read(buffer).await,
        }
    }

    /// Waits until there is something to read (or the end) without owning a buffer.
    pub async fn readable(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(plain) | Self::Unix(plain) => plain.readable().await,
            Self::Tls(tls) => tls.readable().await,
        }
    }

    /// Writes everything.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(plain) | Self::Unix(plain) => plain.write_all(bytes).await,
            Self::Tls(tls) => tls.write_all(bytes).await,
        }
    }

    /// Writes every part, in order, in as few calls as it can.
    pub async fn write_all_vectored(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        match self {
            Self::Tcp(plain) | Self::Unix(plain) => plain.write_all_vectored(parts).await,
            Self::Tls(tls) => {
                for part in parts {
                    tls.write_all(part).await?;
                }
                Ok(())
            }
        }
    }

    /// Says that nothing more will be written: FIN, after close_notify on TLS.
    pub async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(plain) | Self::Unix(plain) => plain.shutdown(Shutdown::Write),
            Self::Tls(tls) => tls.finish().await,
        }
    }

    /// The error that waits on the socket: how a reset that follows the peer's end is noticed.
    #[must_use]
    pub fn pending_error(&self) -> Option<io::Error> {
        self.plain().pending_error()
    }

    fn plain(&self) -> &Plain {
        match self {
            Self::Tcp(plain) | Self::Unix(plain) => plain,
            Self::Tls(tls) => tls.plain(),
        }
    }

    /// How many sent bytes the peer's TCP has not acknowledged. Those have not reached the
    /// program behind it, so what they would complete was not acted on. Told also after the
    /// connection was reset.
    pub fn unacknowledged(&self) -> io::Result<usize> {
        self.plain().unacknowledged()
    }

    /// The peer's address; `None` for Unix sockets.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        let plain = match self {
            Self::Tcp(plain) => plain,
            Self::Tls(tls) => tls.plain(),
            Self::Unix(_) => return None,
        };
        plain.with_socket(|socket| socket.peer_addr().ok()?.as_socket())
    }
}

/// A socket without TLS. The server's connections use it directly.
#[derive(Debug)]
pub struct Plain {
    fd: AsyncFd,
    /// O_NONBLOCK was set for [`try_send_file`](Self::try_send_file).
    is_nonblocking: Cell<bool>,
}

impl Plain {
    /// Registers a connected stream socket.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self::registered(AsyncFd::socket(socket)?))
    }

    /// Takes over a registered connected socket.
    pub(super) fn registered(fd: AsyncFd) -> Self {
        Self {
            fd,
            is_nonblocking: Cell::new(false),
        }
    }

    /// See [`Stream::read`].
    pub async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.fd.when_readable(|fd| sys::receive(fd, buffer)).await
    }

    /// Reads what has come and never waits: `WouldBlock` if that is nothing.
    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        sys::receive(self.fd.as_fd(), buffer)
    }

    /// Appends what has come without taking it, and never waits.
    pub fn try_peek(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        sys::peek(self.fd.as_fd(), buffer)
    }

    /// Takes so many bytes that were seen by [`try_peek`](Self::try_peek).
    pub fn take_peeked(&self, bytes: usize) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            match sys::discard(self.fd.as_fd(), left)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => left -= taken,
            }
        }
        Ok(())
    }

    /// Waits until there is something to read, the end or an error.
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> {
        self.fd.readable()
    }

    /// Waits until there is room to write, or an error.
    pub async fn writable(&self) -> io::Result<()> {
        self.fd.writable().await
    }

    /// Writes what fits and never waits: `WouldBlock` if that is nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.with_socket(|socket| socket.send_with_flags(bytes, SEND_FLAGS))
    }

    /// Sends what fits through the ring, together with what other connections send in this turn
    /// of the loop; waits if that is nothing. The buffer comes back. Dropping it half-way leaves
    /// only closing.
    pub fn send(&mut self, buffer: Vec<u8>) -> impl Future<Output = (io::Result<usize>, Vec<u8>)> {
        self.fd.send(buffer)
    }

    /// Writes what fits of several parts without their first `skipped` bytes, and never waits.
    pub fn try_write_parts(&self, parts: &[&[u8]], skipped: usize) -> io::Result<usize> {
        send_parts(self.fd.as_fd(), parts, skipped)
    }

    /// [`try_write`](Self::try_write) of bytes that more follow at once: they leave together.
    pub fn try_write_more(&self, bytes: &[u8]) -> io::Result<usize> {
        self.with_socket(|socket| socket.send_with_flags(bytes, SEND_FLAGS | libc::MSG_MORE))
    }

    /// Sends what fits of a file's bytes from `offset` on, at most `max`, without copying them
    /// (sendfile), and never waits for the socket; for the disk it does, see
    /// [`Reader::cached_bytes`](crate::net::reading::Reader::cached_bytes). `Ok(0)` is its end.
    pub fn try_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        max: usize,
    ) -> io::Result<usize> {
        if !self.is_nonblocking.get() {
            // The one call here that has no flag for it. What goes through the ring then may
            // say that it would wait; all senders know that from plain calls.
            sys::set_nonblocking(self.fd.as_fd(), true)?;
            self.is_nonblocking.set(true);
        }
        let mut offset = offset;
        let sent = rustix::fs::sendfile(self.fd.as_fd(), file, Some(&mut offset), max)?;
        Ok(sent)
    }

    /// See [`Stream::write_all`].
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let sent = self
                .fd
                .when_writable(|fd| SockRef::from(&fd).send_with_flags(rest, SEND_FLAGS))
                .await?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// See [`Stream::write_all_vectored`].
    pub async fn write_all_vectored(&self, parts: &[&[u8]]) -> io::Result<()> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut sent = 0;
        while sent < total {
            sent += self
                .fd
                .when_writable(|fd| send_parts(fd, parts, sent))
                .await?;
        }
        Ok(())
    }

    /// See [`Stream::pending_error`].
    #[must_use]
    pub fn pending_error(&self) -> Option<io::Error> {
        self.with_socket(|socket| socket.take_error().ok().flatten())
    }

    /// See [`Stream::unacknowledged`].
    pub fn unacknowledged(&self) -> io::Result<usize> {
        sys::unacknowledged(self.fd.as_fd())
    }

    /// `shutdown(2)`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.with_socket(|socket| socket.shutdown(how))
    }

    /// Makes closing throw away what has not been sent and reset the connection.
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.with_socket(|socket| socket.set_linger(Some(std::time::Duration::ZERO)))
    }

    /// A note of the descriptor, for a sweep to shut it down by.
    #[must_use]
    pub fn note(&self) -> FdNote {
        self.fd.note()
    }

    /// The peer's address; `None` for Unix sockets and connections that are gone.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.with_socket(|socket| socket.peer_addr().ok()?.as_socket())
    }

    /// The own address; `None` for Unix sockets.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.with_socket(|socket| socket.local_addr().ok()?.as_socket())
    }

    fn with_socket<T>(&self, read: impl FnOnce(&Socket) -> T) -> T {
        let fd = self.fd.as_fd();
        read(&SockRef::from(&fd))
    }
}

fn send_parts(fd: BorrowedFd<'_>, parts: &[&[u8]], skipped: usize) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); VECTORED_PARTS_MAX];
    let filled = fill_slices(&mut slices, parts, skipped);
    SockRef::from(&fd).send_vectored_with_flags(filled, SEND_FLAGS)
}

/// Points `slices` at `parts` without their first `skipped` bytes.
fn fill_slices<'a, 'b>(
    slices: &'b mut [IoSlice<'a>],
    parts: &[&'a [u8]],
    skipped: usize,
) -> &'b [IoSlice<'a>] {
    let (mut skipped, mut count) = (skipped, 0);
    for part in parts {
        let rest = part.get(skipped..).unwrap_or_default();
        skipped = skipped.saturating_sub(part.len());
        if rest.is_empty() {
            continue;
        }
        let Some(slot) = slices.get_mut(count) else {
            break;
        };
        *slot = IoSlice::new(rest);
        count += 1;
    }
    slices.get(..count).unwrap_or_default()
}
