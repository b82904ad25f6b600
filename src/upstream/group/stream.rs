//! One HTTP/2 stream's content: the request's on its way out, the answer's on its way in.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};

use super::Outgoing;
use super::ticket::Ticket;
use super::trunk::Lease;
use crate::balance::Outcome;
use crate::http::h2::{read_trailers_into, write_trailers};
use crate::http::{BodyError, Frame, HeaderList, Source};
use crate::net::sleep;

/// A request's content on its way.
#[derive(Debug)]
pub(super) struct Upload {
    outgoing: Outgoing,
    stream: SendStream<Bytes>,
    piece: Bytes,
}

impl Upload {
    /// Begins to send content. What can be sent again stays in `outgoing`, too.
    pub(super) fn begin(outgoing: &mut Outgoing, stream: SendStream<Bytes>) -> Self {
        Self {
            outgoing: outgoing.hand_over(),
            stream,
            piece: Bytes::new(),
        }
    }

    /// Sends on. Ready when all is sent, or the server wants no more of it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        loop {
            if self.piece.is_empty() {
                match ready!(self.outgoing.poll_frame(cx)) {
                    Some(Ok(Frame::Data(bytes))) => self.piece = bytes,
                    Some(Ok(Frame::Trailers(trailers))) => {
                        let _ = self.stream.send_trailers(write_trailers(&trailers));
                        return Poll::Ready(Ok(()));
                    }
                    Some(Err(error)) => {
                        self.stream.send_reset(h2::Reason::CANCEL);
                        return Poll::Ready(Err(error));
                    }
                    None => {
                        // One that the server has reset needs no end.
                        let _ = self.stream.send_data(Bytes::new(), true);
                        return Poll::Ready(Ok(()));
                    }
                }
                continue;
            }
            self.stream.reserve_capacity(self.piece.len());
            let mut room = self.stream.capacity();
            if room == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(found)) => room = found,
                    _ => return Poll::Ready(Ok(())),
                }
            }
            let part = self.piece.split_to(room.min(self.piece.len()));
            if self.stream.send_data(part, false).is_err() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// An answer's content.
pub(super) struct Inflow {
    body: RecvStream,
    upload: Option<Upload>,
    piece: Bytes,
    read_timeout: Duration,
    length: Option<u64>,
    received: u64,
    patience: Option<Pin<Box<dyn Future<Output = ()>>>>,
    trailers: Option<HeaderList>,
    lease: Option<Lease>,
    pub(super) ticket: Option<Ticket>,
}

impl Inflow {
    pub(super) fn new(
        body: RecvStream,
        upload: Option<Upload>,
        (read_timeout, length): (Duration, Option<u64>),
        lease: Lease,
    ) -> Self {
        Self {
            body,
            upload,
            piece: Bytes::new(),
            read_timeout,
            length,
            received: 0,
            patience: None,
            trailers: None,
            lease: Some(lease),
            ticket: None,
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.settle(Outcome::Failed);
            ticket.broke_off(error);
        }
        self.lease = None;
        error
    }

    fn finish(&mut self) -> Result<bool, BodyError> {
        if self.length.is_some_and(|length| length != self.received) {
            return Err(self.fail(BodyError::Incomplete));
        }
        self.ticket = None;
        self.lease = None;
        Ok(false)
    }
}

impl Source for Inflow {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        if self.lease.is_none() {
            return Poll::Ready(Ok(false));
        }
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(sent) = upload.poll(cx)
        {
            self.upload = None;
            sent?;
        }
        let used = self.piece.remaining();
        if used > 0 {
            self.piece = Bytes::new();
            let _ = self.body.flow_control().release_capacity(used);
        }
        loop {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    self.patience = None;
                    self.received += bytes.len() as u64;
                    if !bytes.is_empty() {
                        self.piece = bytes;
                        return Poll::Ready(Ok(true));
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Err(self.fail(BodyError::Incomplete)));
                }
                Poll::Ready(None) => {
                    if let Poll::Ready(trailers) = self.body.poll_trailers(cx) {
                        if let Ok(Some(fields)) = trailers {
                            self.trailers = Some(read_trailers_into(&fields));
                        }
                        return Poll::Ready(self.finish());
                    }
                    return Poll::Ready(self.finish());
                }
                Poll::Pending => break,
            }
        }
        let limit = self.read_timeout;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(self.fail(BodyError::TimedOut)))
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// The stream's window is read ahead in any case.
    fn poll_ahead(&mut self, _cx: &mut Context<'_>) {}

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn take_trailers(&mut self) -> Option<HeaderList> {
        self.trailers.take()
    }
}

impl core::fmt::Debug for Inflow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inflow")
            .field("length", &self.length)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
