//! What a client's connection runs over: a socket, or TLS over one. An enum, so that a plain
//! connection pays one branch.
//!
//! Every future here may be dropped, except that a [`send`](Transport::send) that is dropped
//! half-way leaves only closing.

use std::io;
use std::net::{Shutdown, SocketAddr};

use crate::net::stream::Plain;
use crate::net::sys::FdNote;
use crate::net::tls::server::ServerTls;

/// A client's connection, below HTTP.
#[derive(Debug)]
pub enum Transport {
    /// Without TLS.
    Plain(Plain),
    /// With TLS.
    Tls(Box<ServerTls>),
}

impl Transport {
    /// Waits until there may be something to read, the end or an error; owns no buffer.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.readable().await,
            Self::Tls(tls) => tls.readable().await,
        }
    }

    /// Appends what has come to the spare capacity of `buffer` and never waits. `Ok(0)` is the
    /// end; `WouldBlock` is nothing yet, on TLS also after [`readable`](Self::readable).
    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.try_read(buffer),
            Self::Tls(tls) => tls.try_read(buffer),
        }
    }

    /// Waits until there is room to write, or an error.
    pub async fn writable(&self) -> io::Result<()> {
        self.plain().writable().await
    }

    /// Writes what fits and never waits. After `WouldBlock` the same bytes have to be written
    /// again, perhaps with more behind them: TLS may hold a part of them encrypted.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.try_write(bytes),
            Self::Tls(tls) => tls.try_write_parts(&[bytes], 0),
        }
    }

    /// Writes what fits of several parts without their first `skipped` bytes, like
    /// [`try_write`](Self::try_write).
    pub fn try_write_parts(&self, parts: &[&[u8]], skipped: usize) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.try_write_parts(parts, skipped),
            Self::Tls(tls) => tls.try_write_parts(parts, skipped),
        }
    }

    /// Sends through the ring what fits, together with what other connections send in this turn
    /// of the loop. The buffer comes back. What is not counted as sent is to be written again,
    /// as after [`try_write`](Self::try_write).
    pub async fn send(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match self {
            Self::Plain(plain) => plain.send(buffer).await,
            Self::Tls(tls) => tls.send(buffer).await,
        }
    }

    /// `shutdown(2)`; where writing ends, TLS says so first (close_notify).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.shutdown(how),
            Self::Tls(tls) => tls.shutdown(how),
        }
    }

    /// Makes closing throw away what has not been sent and reset the connection.
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.plain().reset_on_close()
    }

    /// A note of the descriptor, for a sweep to shut it down by.
    #[must_use]
    pub fn note(&self) -> FdNote {
        self.plain().note()
    }

    /// The peer's address; `None` for Unix sockets and connections that are gone.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.plain().peer_addr()
    }

    /// The own address; `None` for Unix sockets.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.plain().local_addr()
    }

    /// TLS, if it is spoken here.
    #[must_use]
    pub fn tls(&self) -> Option<&ServerTls> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls),
        }
    }

    /// The socket underneath.
    #[must_use]
    pub fn plain(&self) -> &Plain {
        match self {
            Self::Plain(plain) => plain,
            Self::Tls(tls) => tls.plain(),
        }
    }
}
