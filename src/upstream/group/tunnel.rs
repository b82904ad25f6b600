//! A server's connection that has switched protocols.

use core::task::{Context, Poll};
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use super::connection::Connection;
use super::ticket::Ticket;
use crate::http;
use crate::net::deadlines::Limit;

/// The server's end of a tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) connection: Box<Connection>,
    /// Nothing going either way for that long ends it.
    pub(super) idle: Duration,
    /// Counts the request as under way.
    #[allow(dead_code, reason = "its drop is what it is for")]
    pub(super) ticket: Ticket,
}

impl http::Tunnel for Tunnel {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let connection = &mut self.connection;
        let first = connection.input.get(connection.start..);
        if let Some(first) = first.filter(|first| !first.is_empty()) {
            // What came with the answer's head.
            let count = first.len();
            buffer.extend_from_slice(first);
            connection.start += count;
            return Poll::Ready(Ok(count));
        }
        loop {
            match connection.link.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
            connection.place.arm_for(Limit::Answer, self.idle);
            if connection.link.try_flush().is_err() {
                // What TLS has taken leaves when there is room; an error shows in the read.
                let _ = connection.link.poll_writable(cx);
            }
            core::task::ready!(connection.link.poll_readable(cx))?;
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let connection = &mut self.connection;
        loop {
            match connection.link.try_write(&[bytes], 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    connection.place.arm_for(Limit::Answer, self.idle);
                    return Poll::Ready(written);
                }
            }
            core::task::ready!(connection.link.poll_writable(cx))?;
        }
    }

    fn finish(&mut self) {
        let _ = self.connection.link.socket().shutdown(Shutdown::Write);
    }
}
