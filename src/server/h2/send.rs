//! Sends a response on a stream: as much as the client's window and the buffers take, the rest
//! as they take it.

use core::future::poll_fn;
use core::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};

use crate::base::channel::Receiver;
use crate::base::clock::Now;
use crate::http::h2::{Declared, declared, write_trailers};
use crate::http::{Body, BodyError, Frame, Method, Piece, Response, Source};
use crate::metrics::Counter;
use crate::net::reading::Reader;
use crate::server::Server;
use crate::server::h2::content::{Content, Patience};
use crate::server::h2::shared::Shared;

/// The client has reset the stream or gone.
#[derive(Clone, Copy, Debug)]
struct Gone;

/// Where a response goes.
pub(super) struct Outlet<'a> {
    pub(super) server: &'a Server,
    pub(super) shared: &'a Shared,
    pub(super) content: &'a mut Content,
}

/// Sends a response. Returns how many bytes of content were handed over.
pub(super) async fn send(
    mut outlet: Outlet<'_>,
    mut respond: SendResponse<Bytes>,
    (method, now): (Method, Now),
    response: &mut Response,
) -> u64 {
    let declared = declared(response, method);
    let server = outlet.server;
    let head = server.time.with_date(now, |line| {
        let line = line.strip_prefix(b"Date: ").unwrap_or(line);
        let mut fields = server.h2.fields.borrow_mut();
        fields.response(response, declared, line.trim_ascii_end())
    });
    let Ok(stream) = respond.send_response(head, !declared.has_content) else {
        return 0;
    };
    let mut sending = Sending {
        outlet: &mut outlet,
        stream,
        sent: 0,
    };
    let body = core::mem::take(&mut response.body);
    let _ = match (declared.has_content, body) {
        (false, _) | (true, Body::Empty | Body::Tunnel(_)) => Ok(()),
        (_, Body::Static(bytes)) => sending.put(Bytes::from_static(bytes), true).await,
        (_, Body::Full(bytes)) => sending.put(bytes, true).await,
        (_, Body::Stored(stored)) => sending.put(stored.identity().clone(), true).await,
        (_, Body::Pieces(pieces)) => Box::pin(sending.pieces(pieces)).await,
        (_, Body::Stream(frames)) => Box::pin(sending.relay(frames, declared)).await,
        (_, Body::Source(source)) => Box::pin(sending.pull(source, declared)).await,
    };
    sending.sent
}

struct Sending<'a, 'b> {
    outlet: &'a mut Outlet<'b>,
    stream: SendStream<Bytes>,
    sent: u64,
}

impl Sending<'_, '_> {
    /// Sends spans of files, read as the client takes them. A file that has become shorter than
    /// was promised ends the stream.
    async fn pieces(&mut self, pieces: Vec<Piece>) -> Result<(), Gone> {
        let server = self.outlet.server;
        let mut left: u64 = pieces.iter().map(Piece::len).sum();
        for piece in pieces {
            let span = match piece {
                Piece::Bytes(bytes) => {
                    left -= bytes.len() as u64;
                    self.put(bytes, left == 0).await?;
                    continue;
                }
                Piece::File(span) => span,
            };
            let Some(disk) = &server.disk else {
                self.stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            };
            let bounds = (span.offset, span.len);
            let mut reader = Reader::new(&span.file, bounds, disk, &server.buffers);
            while reader.left() > 0 {
                let Ok(Some(bytes)) = reader.next().await else {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Ok(());
                };
                left -= bytes.len() as u64;
                self.put(bytes.into(), left == 0).await?;
            }
        }
        Ok(())
    }

    /// Passes frames on as they come.
    async fn relay(
        &mut self,
        mut frames: Receiver<Result<Frame, BodyError>>,
        declared: Declared,
    ) -> Result<(), Gone> {
        loop {
            match self.next(&mut frames).await? {
                Some(Ok(Frame::Data(bytes))) => {
                    let left = declared.length.map(|length| length - self.sent);
                    let size = left.map_or(bytes.len(), |left| {
                        usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
                    });
                    let is_last = left == Some(size as u64);
                    if size > 0 {
                        self.put(bytes.slice(..size), is_last).await?;
                    }
                    if is_last {
                        return Ok(());
                    }
                }
                Some(Ok(Frame::Trailers(trailers))) => {
                    let fields = write_trailers(&trailers);
                    return self.stream.send_trailers(fields).map_err(|_| Gone);
                }
                // Cut short: the client must not take it for the whole.
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Ok(());
                }
                None if declared.length.is_some_and(|length| length > self.sent) => {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Ok(());
                }
                None => return self.hand_over(Bytes::new(), true),
            }
        }
    }

    /// The next frame, or the end of the client's interest.
    async fn next(
        &mut self,
        frames: &mut Receiver<Result<Frame, BodyError>>,
    ) -> Result<Option<Result<Frame, BodyError>>, Gone> {
        poll_fn(|cx| {
            if let Poll::Ready(frame) = frames.poll_recv(cx) {
                return Poll::Ready(Ok(frame));
            }
            self.outlet.content.poll(cx, self.outlet.server, None);
            self.stream.poll_reset(cx).map(|_| Err(Gone))
        })
        .await
    }

    /// Passes content on as it is pulled.
    async fn pull(&mut self, mut source: Box<dyn Source>, declared: Declared) -> Result<(), Gone> {
        loop {
            let polled = poll_fn(|cx| {
                if let Poll::Ready(polled) = source.poll_piece(cx) {
                    return Poll::Ready(Ok(polled));
                }
                self.outlet.content.poll(cx, self.outlet.server, None);
                self.stream.poll_reset(cx).map(|_| Err(Gone))
            });
            let left = declared.length.map(|length| length - self.sent);
            match polled.await? {
                Ok(true) => {
                    let piece = source.piece();
                    let size = left.map_or(piece.len(), |left| {
                        usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()))
                    });
                    let is_last = left == Some(size as u64);
                    let bytes = Bytes::copy_from_slice(piece.get(..size).unwrap_or_default());
                    self.put(bytes, is_last).await?;
                    if is_last {
                        return Ok(());
                    }
                }
                Ok(false) if left.is_none_or(|left| left == 0) => {
                    let Some(trailers) = source.take_trailers() else {
                        return self.hand_over(Bytes::new(), true);
                    };
                    let fields = write_trailers(&trailers);
                    return self.stream.send_trailers(fields).map_err(|_| Gone);
                }
                // Cut short: the client must not take it for the whole.
                Ok(false) | Err(_) => {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Ok(());
                }
            }
        }
    }

    /// Hands content over as there is room for it.
    async fn put(&mut self, mut bytes: Bytes, is_last: bool) -> Result<(), Gone> {
        let http2 = &self.outlet.server.config.server.http2;
        while !bytes.is_empty() {
            self.stream
                .reserve_capacity(bytes.len().min(http2.send_buffer));
            let mut room = self.stream.capacity();
            if room == 0 {
                room = self.room().await?;
            }
            let shared = self.outlet.shared;
            poll_fn(|cx| shared.poll_room(cx, http2.connection_send_buffer)).await;
            let part = bytes.split_to(room.min(bytes.len()));
            self.hand_over(part, is_last && bytes.is_empty())?;
        }
        Ok(())
    }

    fn hand_over(&mut self, bytes: Bytes, is_last: bool) -> Result<(), Gone> {
        self.outlet.shared.queue(bytes.len());
        self.sent += bytes.len() as u64;
        self.stream.send_data(bytes, is_last).map_err(|_| Gone)
    }

    /// Waits until the client's window and the stream's buffer have room.
    async fn room(&mut self) -> Result<usize, Gone> {
        let mut patience = Patience::default();
        poll_fn(|cx| self.poll_capacity(cx, &mut patience)).await
    }

    fn poll_capacity(
        &mut self,
        cx: &mut Context<'_>,
        patience: &mut Patience,
    ) -> Poll<Result<usize, Gone>> {
        let server = self.outlet.server;
        match self.stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(room))) => return Poll::Ready(Ok(room)),
            Poll::Ready(_) => return Poll::Ready(Err(Gone)),
            Poll::Pending => {}
        }
        // A client may read only once it has sent everything.
        self.outlet.content.poll(cx, server, None);
        let timeout = server.config.server.send_timeout;
        patience.poll(cx, timeout).map(|()| {
            server.recorder.count(Counter::TimeoutSend);
            self.stream.send_reset(Reason::CANCEL);
            Err(Gone)
        })
    }
}
