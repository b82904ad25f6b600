//! A request's content on its way to a server: what is at hand, then what the client still sends.

use core::task::{Context, Poll};
use std::io;

use bytes::Bytes;

use crate::base::channel::Receiver;
use crate::http::h1::BodyKind;
use crate::http::h1::chunked::{CHUNK_TAIL, encode_chunk_head, encode_last_chunk};
use crate::http::{Body, BodyError, Frame};
use crate::net::link::Link;

/// Content of a request.
#[derive(Debug)]
pub struct Outgoing {
    kind: BodyKind,
    /// What is at hand: sent first, and again if the request is sent again.
    ready: Vec<Bytes>,
    /// What follows.
    rest: Option<Receiver<Result<Frame, BodyError>>>,
    /// Something of `rest` was taken: it cannot be sent again.
    is_spent: bool,
    attempt: Attempt,
}

/// How far one attempt has got.
#[derive(Debug, Default)]
struct Attempt {
    /// Pieces of `ready` that were begun.
    begun: usize,
    /// A chunk's size line; with the last chunk, the end.
    head: Vec<u8>,
    data: Bytes,
    tail: &'static [u8],
    /// Bytes sent of head, data and tail.
    sent: usize,
    has_ended: bool,
    is_done: bool,
}

/// Why content cannot be sent on.
#[derive(Debug)]
pub enum SendError {
    /// The client's doing.
    Client(BodyError),
    /// The server takes no more.
    Server(io::Error),
}

impl Outgoing {
    /// The content of a client's request. `declared` is its Content-Length, which a stream
    /// keeps; one without goes out in chunks.
    #[must_use]
    pub fn new(body: Body, declared: Option<u64>) -> Self {
        let (kind, ready, rest) = match body {
            Body::Stream(frames) => {
                let kind = declared.map_or(BodyKind::Chunked, BodyKind::Length);
                (kind, Vec::new(), Some(frames))
            }
            Body::Full(bytes) if !bytes.is_empty() => {
                (BodyKind::Length(bytes.len() as u64), vec![bytes], None)
            }
            Body::Static(bytes) if !bytes.is_empty() => {
                let bytes = Bytes::from_static(bytes);
                (BodyKind::Length(bytes.len() as u64), vec![bytes], None)
            }
            // Requests are made of nothing else.
            _ => (BodyKind::None, Vec::new(), None),
        };
        Self {
            kind,
            ready,
            rest,
            is_spent: false,
            attempt: Attempt::default(),
        }
    }

    /// Waits for the content, as long as it is not more than so many bytes.
    ///
    /// # Errors
    /// The client's content breaks off.
    pub async fn gather(&mut self, bytes_max: usize) -> Result<(), BodyError> {
        let mut gathered = 0;
        while gathered < bytes_max
            && let Some(frames) = &mut self.rest
        {
            match frames.recv().await {
                Some(Ok(Frame::Data(bytes))) => {
                    gathered += bytes.len();
                    self.ready.push(bytes);
                }
                // Trailers would have to be kept for another try; they are dropped with the
                // promise to have them whole.
                Some(Ok(Frame::Trailers(_))) => {}
                Some(Err(error)) => return Err(error),
                None => self.rest = None,
            }
        }
        Ok(())
    }

    /// How it is framed.
    #[must_use]
    pub const fn kind(&self) -> BodyKind {
        self.kind
    }

    /// Whether all of it can be sent once more.
    #[must_use]
    pub const fn is_repeatable(&self) -> bool {
        !self.is_spent
    }

    /// Begins an attempt. Content that is at hand and small is put behind the head in `out`.
    pub fn begin(&mut self, out: &mut Vec<u8>, joined_max: usize) {
        let head = core::mem::take(&mut self.attempt.head);
        self.attempt = Attempt {
            head,
            ..Attempt::default()
        };
        self.attempt.head.clear();
        let is_plain = matches!(self.kind, BodyKind::Length(_));
        let at_hand: usize = self.ready.iter().map(Bytes::len).sum();
        if self.kind == BodyKind::None {
            self.attempt.is_done = true;
        } else if is_plain && self.rest.is_none() && at_hand <= joined_max {
            for piece in &self.ready {
                out.extend_from_slice(piece);
            }
            self.attempt.is_done = true;
        }
    }

    /// The content for one attempt that takes it frame by frame. What is at hand stays here,
    /// too; what is still to come goes along and cannot be sent again.
    pub(super) fn hand_over(&mut self) -> Self {
        let rest = self.rest.take();
        self.is_spent |= rest.is_some();
        Self {
            kind: self.kind,
            ready: self.ready.clone(),
            rest,
            is_spent: false,
            attempt: Attempt::default(),
        }
    }

    /// The next frame of an attempt that takes it frame by frame.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(piece) = self.ready.get(self.attempt.begun) {
            self.attempt.begun += 1;
            return Poll::Ready(Some(Ok(Frame::Data(piece.clone()))));
        }
        match &mut self.rest {
            Some(frames) => frames.poll_recv(cx),
            None => Poll::Ready(None),
        }
    }

    /// Whether this attempt has sent everything.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.attempt.is_done
    }

    /// Whether it is the server, and not the client, that holds this attempt up.
    #[must_use]
    pub fn waits_for_server(&self) -> bool {
        let attempt = &self.attempt;
        attempt.sent < attempt.head.len() + attempt.data.len() + attempt.tail.len()
    }

    /// Sends no more in this attempt.
    pub const fn give_up(&mut self) {
        self.attempt.is_done = true;
    }

    /// Sends as much as the server takes and the client has sent. Ready when all is sent.
    ///
    /// # Errors
    /// Whose doing it is that there is no more.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
    ) -> Poll<Result<(), SendError>> {
        while !self.attempt.is_done {
            let attempt = &mut self.attempt;
            let parts = [attempt.head.as_slice(), &attempt.data, attempt.tail];
            let total: usize = parts.iter().map(|part| part.len()).sum();
            if attempt.sent < total {
                match link.try_write(&parts, attempt.sent) {
                    Ok(count) => attempt.sent += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        core::task::ready!(link.poll_writable(cx)).map_err(SendError::Server)?;
                    }
                    Err(error) => return Poll::Ready(Err(SendError::Server(error))),
                }
                continue;
            }
            if attempt.has_ended {
                attempt.is_done = true;
            } else {
                core::task::ready!(self.poll_next(cx)).map_err(SendError::Client)?;
            }
        }
        match link.try_flush() {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                link.poll_writable(cx).map_err(SendError::Server)
            }
            Err(error) => Poll::Ready(Err(SendError::Server(error))),
        }
    }

    /// Takes the next piece in hand.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.attempt.head.clear();
        self.attempt.data = Bytes::new();
        self.attempt.tail = b"";
        self.attempt.sent = 0;
        if let Some(piece) = self.ready.get(self.attempt.begun) {
            self.attempt.begun += 1;
            let piece = piece.clone();
            self.put(piece);
            return Poll::Ready(Ok(()));
        }
        let next = match &mut self.rest {
            Some(frames) => core::task::ready!(frames.poll_recv(cx)),
            None => None,
        };
        match next {
            Some(Ok(Frame::Data(bytes))) => {
                self.is_spent = true;
                self.put(bytes);
            }
            Some(Ok(Frame::Trailers(trailers))) => {
                self.is_spent = true;
                if self.kind == BodyKind::Chunked {
                    encode_last_chunk(Some(&trailers), &mut self.attempt.head);
                }
                self.attempt.has_ended = true;
            }
            Some(Err(error)) => {
                self.is_spent = true;
                return Poll::Ready(Err(error));
            }
            None => {
                if self.kind == BodyKind::Chunked {
                    encode_last_chunk(None, &mut self.attempt.head);
                }
                self.attempt.has_ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, data: Bytes) {
        if self.kind == BodyKind::Chunked && !data.is_empty() {
            encode_chunk_head(data.len(), &mut self.attempt.head);
            self.attempt.tail = CHUNK_TAIL;
        }
        self.attempt.data = data;
    }
}
