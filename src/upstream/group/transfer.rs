//! An answer's content on its way to the client, with what is left of the request's content going
//! the other way meanwhile.

use core::ops::Range;
use core::task::{Context, Poll};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::connection::Connection;
use super::outgoing::Outgoing;
use super::peer::Peer;
use super::ticket::Ticket;
use crate::balance::Outcome;
use crate::http::h1::{BodyKind, ClientEvent};
use crate::http::{BodyError, HeaderList, ResponseHead, Source};
use crate::net::buffers::SMALL_BYTES;
use crate::net::deadlines::Limit;

/// Content that is pulled from a connection. Read to its end it gives the connection back;
/// dropped earlier it closes it.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) peer: Rc<Peer>,
    /// `None` once the content has been read to its end.
    pub(super) connection: Option<Box<Connection>>,
    /// What is left of the request's content.
    pub(super) outgoing: Option<Box<Outgoing>>,
    pub(super) kind: BodyKind,
    pub(super) read_timeout: Duration,
    /// Whether it may read ahead.
    pub(super) buffering: bool,
    /// Counts the request as under way.
    pub(super) ticket: Option<Ticket>,
    /// Where the piece is in the connection's input.
    span: Range<usize>,
    /// What the next call gives up first.
    lent: usize,
    wants_large: bool,
    is_timed: bool,
    trailers: Option<HeaderList>,
}

impl Transfer {
    pub(super) fn new(
        peer: Rc<Peer>,
        connection: Box<Connection>,
        outgoing: Option<Box<Outgoing>>,
        kind: BodyKind,
        (read_timeout, buffering): (Duration, bool),
    ) -> Self {
        let wants_large = match kind {
            BodyKind::Length(length) => length > SMALL_BYTES as u64,
            _ => false,
        };
        Self {
            peer,
            connection: Some(connection),
            outgoing,
            kind,
            read_timeout,
            buffering,
            ticket: None,
            span: 0..0,
            lent: 0,
            wants_large,
            is_timed: false,
            trailers: None,
        }
    }

    /// Sends on what the client still sends. A server that takes no more may still answer.
    fn push(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let (Some(outgoing), Some(connection)) = (&mut self.outgoing, &mut self.connection) else {
            return Ok(());
        };
        match outgoing.poll_send(cx, &mut connection.link) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.outgoing = None,
            Poll::Ready(Err(super::outgoing::SendError::Client(error))) => return Err(error),
            Poll::Ready(Err(super::outgoing::SendError::Server(_))) => {
                self.outgoing = None;
                connection.requests = u64::MAX;
            }
        }
        Ok(())
    }

    /// Looks at what is there. `None`: more has to come.
    fn look(&mut self) -> Result<Option<bool>, BodyError> {
        let Some(connection) = &mut self.connection else {
            return Ok(Some(false));
        };
        connection.start += core::mem::take(&mut self.lent);
        let start = connection.start;
        let input = connection.input.get(start..).unwrap_or_default();
        let mut unused = ResponseHead::default();
        match connection.machine.poll(input, &mut unused) {
            Ok(ClientEvent::Body { span, consumed }) => {
                self.lent = consumed;
                self.span = start + span.start..start + span.end;
                Ok(Some(true))
            }
            Ok(ClientEvent::End { consumed }) => {
                connection.start += consumed;
                self.trailers = connection.machine.take_trailers();
                self.finish();
                Ok(Some(false))
            }
            Ok(ClientEvent::NeedMore { consumed }) => {
                connection.start += consumed;
                Ok(None)
            }
            // The head has been read; nothing of the kind can follow.
            Ok(
                ClientEvent::Interim { .. }
                | ClientEvent::Response { .. }
                | ClientEvent::Switched { .. },
            )
            | Err(_) => Err(self.fail(BodyError::Malformed)),
        }
    }

    /// Reads more. `true`: there is more to look at, or the end is known.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let buffers = &self.peer.parts().buffers;
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Ok(()));
        };
        loop {
            match connection.fill(buffers, self.wants_large) {
                Ok(0) => return Poll::Ready(self.end_of_input()),
                Ok(count) => {
                    self.wants_large |= count >= SMALL_BYTES;
                    if core::mem::take(&mut self.is_timed) {
                        connection.place.disarm();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Err(self.fail(BodyError::Incomplete))),
            }
            if !self.is_timed {
                connection.place.arm_for(Limit::Answer, self.read_timeout);
                self.is_timed = true;
            }
            if core::task::ready!(connection.poll_readable(cx)).is_err() {
                return Poll::Ready(Err(self.fail(BodyError::Incomplete)));
            }
        }
    }

    fn end_of_input(&mut self) -> Result<(), BodyError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if connection.place.fired().is_some() {
            return Err(self.fail(BodyError::TimedOut));
        }
        match connection.machine.end_of_input() {
            Ok(()) => {
                self.finish();
                Ok(())
            }
            Err(_) => Err(self.fail(BodyError::Incomplete)),
        }
    }

    /// The content is whole.
    fn finish(&mut self) {
        if let Some(connection) = self.connection.take() {
            let is_sent = self.outgoing.as_ref().is_none_or(|out| out.is_done());
            self.peer.put_back(connection, is_sent);
        }
        self.outgoing = None;
        self.ticket = None;
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.settle(Outcome::Failed);
            ticket.broke_off(error);
        }
        self.discard();
        error
    }

    fn discard(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.release(&self.peer.parts().buffers);
        }
    }
}

impl Source for Transfer {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        if self.outgoing.is_some()
            && let Err(error) = self.push(cx)
        {
            self.discard();
            return Poll::Ready(Err(error));
        }
        loop {
            if let Some(has_piece) = self.look()? {
                return Poll::Ready(Ok(has_piece));
            }
            core::task::ready!(self.poll_more(cx))?;
        }
    }

    fn piece(&self) -> &[u8] {
        let input = self.connection.as_ref().map(|connection| &connection.input);
        input
            .and_then(|input| input.get(self.span.clone()))
            .unwrap_or_default()
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        // What goes wrong here shows again when the piece is done with.
        let Some(connection) = &mut self.connection else {
            return;
        };
        while self.buffering && matches!(connection.fill_behind(), Ok(1..)) {}
        if connection.input.len() - connection.start < super::connection::AHEAD_BYTES_MAX
            && self.buffering
        {
            let _ = connection.poll_readable(cx);
        }
    }

    fn length(&self) -> Option<u64> {
        match self.kind {
            BodyKind::Length(length) => Some(length),
            _ => None,
        }
    }

    fn take_trailers(&mut self) -> Option<HeaderList> {
        self.trailers.take()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // Whoever knows the length may stop at the last byte; then this gives it back.
        let _ = self.look();
        self.discard();
    }
}
