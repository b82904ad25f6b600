//! A request's content on its way to the handler, and the watch for a client that leaves: what
//! goes on beside a handler.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::time::Duration;

use bytes::Bytes;

use crate::base::channel::{Sender, bounded};
use crate::http::h1::{BodyKind, Error, Event, ServerConn};
use crate::http::{Body, BodyError, Frame};
use crate::metrics::Counter;
use crate::net::sleep;
use crate::server::Server;
use crate::server::answer;
use crate::server::connection::Close;
use crate::server::deadlines::{Limit, Place};
use crate::server::lent::Input;
use crate::server::prepared::Prepared;
use crate::server::reader::Reader;

/// Frames that may wait for a handler. Each is at most one read, so 256 KiB.
const FRAMES_QUEUED_MAX: usize = 4;
/// A client that has stopped sending may have left, or may have ended only its half and wait
/// for the answer; an answer that takes longer is not waited for by anyone.
const HALF_CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// The client has gone; nobody is left to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The parts of a connection that reading needs.
pub(super) struct Wire<'a> {
    pub(super) server: &'a Server,
    pub(super) place: &'a Place,
    pub(super) reader: &'a mut Reader,
    pub(super) codec: &'a mut ServerConn,
    pub(super) prepared: &'a mut Prepared,
    pub(super) input: &'a mut Input,
    pub(super) output: &'a mut Vec<u8>,
}

impl Wire<'_> {
    /// Sends the output and gives its buffer back.
    pub(super) async fn flush(&mut self) -> Result<(), Close> {
        answer::flush(self.server, self.place, self.reader, self.output).await?;
        self.server.buffers.give_back(core::mem::take(self.output));
        Ok(())
    }
}

/// What is still to be read of the request beside its handler.
pub(super) struct Content {
    sender: Option<Sender<Result<Frame, BodyError>>>,
    waits_for_continue: bool,
    /// The time limit for the next bytes runs.
    is_timed: bool,
    /// The client has ended its half. How much longer an answer may take.
    ended: Option<Pin<Box<dyn Future<Output = ()>>>>,
    has_ended: bool,
}

impl Content {
    /// None, or none that anyone wants.
    pub(super) const fn none() -> Self {
        Self {
            sender: None,
            waits_for_continue: false,
            is_timed: false,
            ended: None,
            has_ended: false,
        }
    }

    /// Takes the content out of the input if it is all there, or opens a stream.
    pub(super) fn open(
        wire: &mut Wire<'_>,
        kind: BodyKind,
        expects_continue: bool,
    ) -> (Self, Body) {
        let mut content = Self::none();
        let body = match kind {
            BodyKind::None => Body::Empty,
            BodyKind::Length(length) if wire.input.unread().len() as u64 >= length => {
                match content.take_whole(wire) {
                    Some(bytes) => Body::Full(bytes),
                    None => Body::Empty,
                }
            }
            _ => {
                let (sender, receiver) = bounded(FRAMES_QUEUED_MAX);
                content.sender = Some(sender);
                content.waits_for_continue = expects_continue && wire.input.is_empty();
                Body::Stream(receiver)
            }
        };
        (content, body)
    }

    /// The one span of a body of known length that has come whole.
    fn take_whole(&self, wire: &mut Wire<'_>) -> Option<Bytes> {
        let mut head = crate::http::RequestHead::default();
        let event = wire.codec.poll(wire.input.unread(), &mut head);
        let Ok(Event::Body { span, consumed }) = event else {
            return None;
        };
        let bytes = Bytes::copy_from_slice(wire.input.unread().get(span)?);
        wire.input.consume(consumed);
        let _ = wire.codec.poll(wire.input.unread(), &mut head);
        Some(bytes)
    }

    /// Reads on. Ready only when the client has gone; what the handler hears of is no reason.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire<'_>,
        is_streaming: bool,
    ) -> Poll<Gone> {
        loop {
            if self.has_ended {
                return self.poll_ended(cx, is_streaming);
            }
            if self.sender.is_some() {
                match self.poll_feed(cx, wire) {
                    Poll::Ready(Ok(true)) => continue,
                    Poll::Ready(Ok(false)) => {}
                    Poll::Ready(Err(gone)) => return Poll::Ready(gone),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.sender.is_none() {
                wire.place.disarm();
                // More pipelined requests are read when this one is answered. An unread body
                // stays where it is until it is known what becomes of the connection.
                if wire.input.is_full() || !wire.codec.is_request_read() {
                    return Poll::Pending;
                }
            }
            wire.input.give_back(&wire.server.buffers);
            let readable = core::task::ready!(wire.reader.poll_readable(cx));
            if readable.is_err() || self.receive(wire).is_err() {
                return Poll::Ready(Gone);
            }
        }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>, is_streaming: bool) -> Poll<Gone> {
        if is_streaming {
            // Whoever follows a stream keeps the connection open for it.
            return Poll::Ready(Gone);
        }
        let patience = self
            .ended
            .get_or_insert_with(|| Box::pin(sleep(HALF_CLOSE_PATIENCE)));
        patience.as_mut().poll(cx).map(|()| Gone)
    }

    /// Passes one event of the input on. `Ok(true)`: there may be more; `Ok(false)`: the input
    /// is used up.
    fn poll_feed(&mut self, cx: &mut Context<'_>, wire: &mut Wire<'_>) -> Poll<Result<bool, Gone>> {
        let Some(sender) = &self.sender else {
            return Poll::Ready(Ok(false));
        };
        match sender.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.sender = None;
                return Poll::Ready(Ok(false));
            }
            Poll::Pending => {
                // The handler is slow, not the client.
                wire.place.disarm();
                self.is_timed = false;
                return Poll::Pending;
            }
        }
        let mut head = crate::http::RequestHead::default();
        match wire.codec.poll(wire.input.unread(), &mut head) {
            Ok(Event::Body { span, consumed }) => {
                let bytes = wire.input.unread().get(span).unwrap_or_default();
                let _ = sender.try_send(Ok(Frame::Data(Bytes::copy_from_slice(bytes))));
                wire.input.consume(consumed);
                Poll::Ready(Ok(true))
            }
            Ok(Event::End { consumed }) => {
                wire.input.consume(consumed);
                if let Some(trailers) = wire.codec.take_trailers() {
                    let _ = sender.try_send(Ok(Frame::Trailers(trailers)));
                }
                self.sender = None;
                Poll::Ready(Ok(false))
            }
            Ok(Event::NeedMore { consumed }) => {
                wire.input.consume(consumed);
                self.poll_continue(cx, wire)
            }
            Ok(Event::Request { .. }) => Poll::Ready(Err(Gone)),
            Err(error) => {
                wire.server.recorder.count(Counter::MalformedRequests);
                self.fail(match error {
                    Error::BodyTooLarge => BodyError::TooLarge,
                    _ => BodyError::Malformed,
                });
                Poll::Ready(Ok(false))
            }
        }
    }

    /// Before more is read: tells a client that waits for it that its body is wanted, once it is.
    fn poll_continue(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire<'_>,
    ) -> Poll<Result<bool, Gone>> {
        if self.waits_for_continue
            && let Some(sender) = &self.sender
        {
            if core::task::ready!(sender.poll_awaited(cx)).is_err() {
                self.sender = None;
                return Poll::Ready(Ok(false));
            }
            self.waits_for_continue = false;
            let mut interim = Vec::new();
            if wire.codec.write_continue(&mut interim) {
                // Everything before it has been sent, so the socket has room for a line.
                match wire.reader.socket().try_write(&interim) {
                    Ok(sent) if sent == interim.len() => {}
                    _ => return Poll::Ready(Err(Gone)),
                }
            }
        }
        if !self.is_timed {
            let timeout = wire.server.config.server.client_body_timeout;
            wire.place
                .arm(Limit::Body, wire.server.time.now().mono + timeout);
            self.is_timed = true;
        }
        Poll::Ready(Ok(false))
    }

    fn receive(&mut self, wire: &mut Wire<'_>) -> io::Result<()> {
        let Wire {
            server,
            reader,
            input,
            ..
        } = wire;
        let read = input.fill(&server.buffers, |buffer| reader.socket().try_read(buffer));
        match read {
            Ok(0) => {
                self.has_ended = true;
                let error = match wire.place.fired() {
                    Some(_) => BodyError::TimedOut,
                    None => BodyError::Incomplete,
                };
                if self.sender.is_some() {
                    self.fail(error);
                    // The rest will not come; without it this exchange is the last.
                    let _ = wire.codec.end_of_input();
                }
                Ok(())
            }
            Ok(count) => {
                self.is_timed = false;
                server.recorder.add(Counter::ReceivedBytes, count as u64);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets the handler know why there is no more.
    fn fail(&mut self, error: BodyError) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.try_send(Err(error));
        }
    }
}
