//! One connection to a server of a group: a link, the machine that frames its messages, and what
//! has come and is not used yet.

use core::task::{Context, Poll};
use std::io;
use std::time::Instant;

use super::failure::{Cause, Failure};
use crate::base::clock;
use crate::http::ResponseHead;
use crate::http::h1::{ClientConn, ClientEvent};
use crate::net::buffers::{Buffers, LARGE_BYTES, SMALL_BYTES};
use crate::net::deadlines::{Limit, Place};
use crate::net::link::Link;

/// What is read ahead of a slow client, in bytes.
pub(super) const AHEAD_BYTES_MAX: usize = 256 * 1024;

/// A connection and where it is in its exchange.
#[derive(Debug)]
pub(super) struct Connection {
    /// Before the link, so that it is dropped first.
    pub(super) place: Place,
    pub(super) link: Link,
    pub(super) machine: ClientConn,
    /// Received bytes; those before `start` are used up.
    pub(super) input: Vec<u8>,
    pub(super) start: usize,
    /// Requests sent, the one under way too.
    pub(super) requests: u64,
    /// Since when it is idle, or when it was made.
    pub(super) since: Instant,
}

/// What one look at the input found.
pub(super) enum Seen {
    /// The final head.
    Head(crate::http::h1::BodyKind),
    /// An interim one.
    Interim(u16),
    /// A 101.
    Switched,
    /// More has to come.
    Nothing,
}

impl Connection {
    /// Whether an idle connection is still open. One that has something to read is not: either
    /// it is closed, or the server spoke unasked.
    pub(super) fn is_alive(&mut self) -> bool {
        // TLS may have session tickets there, which are no bytes of the stream.
        let mut byte = Vec::with_capacity(1);
        let read = self.link.try_read(&mut byte);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads what is at the front of the input as an answer's head.
    pub(super) fn look(&mut self, head: &mut ResponseHead) -> Result<Seen, Failure> {
        let input = self.input.get(self.start..).unwrap_or_default();
        match self.machine.poll(input, head) {
            Ok(ClientEvent::Interim { consumed, status }) => {
                self.start += consumed;
                Ok(Seen::Interim(status))
            }
            Ok(ClientEvent::Response { consumed, body }) => {
                self.start += consumed;
                Ok(Seen::Head(body))
            }
            Ok(ClientEvent::NeedMore { consumed }) => {
                self.start += consumed;
                Ok(Seen::Nothing)
            }
            Ok(ClientEvent::Switched { consumed }) => {
                self.start += consumed;
                Ok(Seen::Switched)
            }
            // A machine that waits for a head reports neither.
            Ok(ClientEvent::Body { .. } | ClientEvent::End { .. }) => Ok(Seen::Nothing),
            Err(error) => Err(Cause::Invalid(error).late()),
        }
    }

    /// Reads once. `Ok(0)` is the end.
    pub(super) fn fill(&mut self, buffers: &Buffers, wants_large: bool) -> io::Result<usize> {
        self.make_room(buffers, wants_large);
        self.link.try_read(&mut self.input)
    }

    fn make_room(&mut self, buffers: &Buffers, wants_large: bool) {
        if self.start >= self.input.len() {
            self.input.clear();
            self.start = 0;
            if wants_large && self.input.capacity() != LARGE_BYTES {
                buffers.give_back(core::mem::replace(&mut self.input, buffers.large()));
            } else if self.input.capacity() == 0 {
                self.input = buffers.small();
            }
            return;
        }
        if self.input.capacity() - self.input.len() < SMALL_BYTES / 4 {
            self.input.drain(..self.start);
            self.start = 0;
            self.input.reserve(SMALL_BYTES);
        }
    }

    /// Reads on behind a piece that is still in use. Whether something came.
    pub(super) fn fill_behind(&mut self) -> io::Result<usize> {
        let unread = self.input.len() - self.start;
        if unread >= AHEAD_BYTES_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.input.capacity() - self.input.len() < LARGE_BYTES / 2 {
            self.input.reserve(LARGE_BYTES);
        }
        self.link.try_read(&mut self.input)
    }

    /// Why the input ended, where an answer's head was due.
    pub(super) fn ended(&mut self, limit: std::time::Duration) -> Failure {
        match self.place.fired() {
            Some(Limit::Send) => Cause::SendTimedOut(limit).late(),
            Some(_) => Cause::ReadTimedOut(limit).late(),
            None if self.machine.is_unanswered() => Cause::Unanswered.late(),
            None => match self.machine.end_of_input() {
                Err(error) => Cause::Invalid(error).late(),
                Ok(()) => Cause::Unanswered.late(),
            },
        }
    }

    /// Waits for something to read, in a way that may go on beside something else.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.poll_readable(cx)
    }

    /// How long it has been idle.
    pub(super) fn idled(&self, now: Instant) -> std::time::Duration {
        now.saturating_duration_since(self.since)
    }

    /// Gives its buffer back.
    pub(super) fn release(&mut self, buffers: &Buffers) {
        buffers.give_back(core::mem::take(&mut self.input));
        self.start = 0;
        self.link.settle();
        self.since = clock::mono();
    }
}
