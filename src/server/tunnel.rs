//! A connection that has switched protocols: bytes go both ways until both ends have ended, or
//! nothing has gone either way for as long as the other end allows.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::net::Shutdown;

use crate::http::Tunnel;
use crate::metrics::Counter;
use crate::net::buffers::Buffers;
use crate::server::connection::Close;
use crate::server::content::Wire;

/// A wait for the client's room that may be kept.
type Wait = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// Carries bytes both ways behind the head that lies in the output. Returns how many bytes the
/// client was sent; the connection is over in any case.
pub(super) async fn carry(
    wire: &mut Wire<'_>,
    tunnel: Box<dyn Tunnel>,
) -> (u64, Result<(), Close>) {
    wire.place.disarm();
    if let Err(close) = wire.flush().await {
        return (0, Err(close));
    }
    let buffers = wire.server.buffers.clone();
    let mut both = Both {
        tunnel,
        up: Flow::new(wire.input.unread(), &buffers),
        down: Flow::new(&[], &buffers),
        writable: None,
        sent: 0,
    };
    wire.input.clear();
    poll_fn(|cx| both.poll(cx, wire)).await;
    let Both { up, down, sent, .. } = both;
    buffers.give_back(up.bytes);
    buffers.give_back(down.bytes);
    (sent, Err(Close::Linger))
}

/// One direction: what was read and is not written yet.
struct Flow {
    bytes: Vec<u8>,
    written: usize,
    has_ended: bool,
    is_over: bool,
}

impl Flow {
    fn new(first: &[u8], buffers: &Buffers) -> Self {
        let mut bytes = buffers.small();
        bytes.extend_from_slice(first);
        Self {
            bytes,
            written: 0,
            has_ended: false,
            is_over: false,
        }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// What was read is written: there is room to read.
    fn is_empty(&mut self) -> bool {
        if self.written < self.bytes.len() {
            return false;
        }
        self.bytes.clear();
        self.written = 0;
        true
    }
}

struct Both {
    tunnel: Box<dyn Tunnel>,
    up: Flow,
    down: Flow,
    writable: Option<Wait>,
    sent: u64,
}

impl Both {
    fn poll(&mut self, cx: &mut Context<'_>, wire: &mut Wire<'_>) -> Poll<()> {
        let up = self.poll_up(cx, wire);
        let down = self.poll_down(cx, wire);
        match (up, down) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    /// From the client to the other end.
    fn poll_up(&mut self, cx: &mut Context<'_>, wire: &mut Wire<'_>) -> Poll<io::Result<()>> {
        while !self.up.is_over {
            if !self.up.is_empty() {
                let count = core::task::ready!(self.tunnel.poll_write(cx, self.up.rest()))?;
                self.up.written += count;
            } else if self.up.has_ended {
                self.tunnel.finish();
                self.up.is_over = true;
            } else {
                match wire.reader.socket().try_read(&mut self.up.bytes) {
                    Ok(0) => self.up.has_ended = true,
                    Ok(count) => {
                        let recorder = &wire.server.recorder;
                        recorder.add(Counter::ReceivedBytes, count as u64);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        core::task::ready!(wire.reader.poll_readable(cx))?;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// From the other end to the client.
    fn poll_down(&mut self, cx: &mut Context<'_>, wire: &mut Wire<'_>) -> Poll<io::Result<()>> {
        while !self.down.is_over {
            if !self.down.is_empty() {
                match wire.reader.socket().try_write(self.down.rest()) {
                    Ok(count) => {
                        self.down.written += count;
                        self.sent += count as u64;
                        wire.server.recorder.add(Counter::SentBytes, count as u64);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let reader = &wire.reader;
                        let wait = self.writable.get_or_insert_with(|| reader.writable());
                        let writable = core::task::ready!(wait.as_mut().poll(cx));
                        self.writable = None;
                        writable?;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            } else if self.down.has_ended {
                // A client may still send; one that has nothing more to say ends as well.
                let _ = wire.reader.socket().shutdown(Shutdown::Write);
                self.down.is_over = true;
            } else {
                let bytes = &mut self.down.bytes;
                let read = core::task::ready!(self.tunnel.poll_read(cx, bytes))?;
                self.down.has_ended = read == 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}
