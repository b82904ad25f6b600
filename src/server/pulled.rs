//! Sends content that is pulled: each piece from where it was received, with what frames it, in
//! one call. While the client has no room the source reads ahead.

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use std::io;

use bytes::Bytes;

use crate::base::channel::{Receiver, bounded};
use crate::http::h1::BodyKind;
use crate::http::h1::chunked::{CHUNK_TAIL, encode_chunk_head, encode_last_chunk};
use crate::http::{BodyError, Frame, Source};
use crate::metrics::Counter;
use crate::net::spawn;
use crate::server::connection::Close;
use crate::server::content::{Content, Wire};
use crate::server::deadlines::Limit;

/// Sends the content behind a head that lies in the output. Returns how many bytes of it went.
pub(super) async fn send(
    wire: &mut Wire<'_>,
    content: &mut Content,
    mut source: Box<dyn Source>,
    kind: BodyKind,
) -> (u64, Result<(), Close>) {
    wire.place.disarm();
    let mut sent = 0;
    loop {
        let has_piece = match next(wire, content, &mut *source).await {
            Ok(Ok(has_piece)) => has_piece,
            // Without its last chunk, or short of its length, the client knows it is broken.
            Ok(Err(_)) => return (sent, wire.flush().await.and(Err(Close::Now))),
            Err(close) => return (sent, Err(close)),
        };
        if !has_piece {
            break;
        }
        match put(wire, kind, sent, &mut *source).await {
            Ok(count) => sent += count,
            Err(close) => return (sent, Err(close)),
        }
    }
    let result = match kind {
        BodyKind::Chunked => {
            encode_last_chunk(source.take_trailers().as_ref(), wire.output);
            Ok(())
        }
        BodyKind::Length(length) if sent < length => Err(Close::Now),
        _ => Ok(()),
    };
    (sent, wire.flush().await.and(result))
}

/// Waits for the next piece, and for a client that leaves. The head does not wait for it.
async fn next(
    wire: &mut Wire<'_>,
    content: &mut Content,
    source: &mut dyn Source,
) -> Result<Result<bool, BodyError>, Close> {
    let ready = poll_fn(|cx| Poll::Ready(source.poll_piece(cx))).await;
    if let Poll::Ready(polled) = ready {
        return Ok(polled);
    }
    wire.flush().await?;
    poll_fn(|cx| {
        if let Poll::Ready(polled) = source.poll_piece(cx) {
            return Poll::Ready(Ok(polled));
        }
        content.poll(cx, wire, true).map(|_gone| Err(Close::Now))
    })
    .await
}

/// Sends the piece behind what lies in the output. Returns how much of it belongs to the content.
async fn put(
    wire: &mut Wire<'_>,
    kind: BodyKind,
    before: u64,
    source: &mut dyn Source,
) -> Result<u64, Close> {
    if wire.output.capacity() == 0 {
        *wire.output = wire.server.buffers.small();
    }
    let mut size = source.piece().len();
    let tail = match kind {
        BodyKind::Chunked => {
            encode_chunk_head(size, wire.output);
            CHUNK_TAIL
        }
        BodyKind::Length(length) => {
            let left = usize::try_from(length - before).unwrap_or(usize::MAX);
            size = size.min(left);
            b""
        }
        _ => b"",
    };
    let total = wire.output.len() + size + tail.len();
    let mut sent = 0;
    while sent < total {
        let piece = source.piece().get(..size).unwrap_or_default();
        let parts = [wire.output.as_slice(), piece, tail];
        match wire.reader.socket().try_write_parts(&parts, sent) {
            Ok(count) => {
                sent += count;
                wire.server.recorder.add(Counter::SentBytes, count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_for_room(wire, source).await?;
            }
            Err(_) => return Err(Close::Now),
        }
    }
    wire.output.clear();
    Ok(size as u64)
}

async fn wait_for_room(wire: &Wire<'_>, source: &mut dyn Source) -> Result<(), Close> {
    let timeout = wire.server.config.server.send_timeout;
    wire.place
        .arm(Limit::Send, wire.server.time.now().mono + timeout);
    let mut writable = pin!(wire.reader.socket().writable());
    let result = poll_fn(|cx| {
        source.poll_ahead(cx);
        writable.as_mut().poll(cx)
    })
    .await;
    wire.place.disarm();
    result.map_err(|_| Close::Now)
}

/// The same as frames, for whoever has to look at the bytes.
pub(super) fn frames(mut source: Box<dyn Source>) -> Receiver<Result<Frame, BodyError>> {
    let (sender, receiver) = bounded(1);
    spawn(async move {
        loop {
            let next = poll_fn(|cx| {
                if sender.poll_closed(cx).is_ready() {
                    return Poll::Ready(None);
                }
                source.poll_piece(cx).map(Some)
            });
            let frame = match next.await {
                Some(Ok(true)) => Ok(Frame::Data(Bytes::copy_from_slice(source.piece()))),
                Some(Ok(false)) => match source.take_trailers() {
                    Some(trailers) => Ok(Frame::Trailers(trailers)),
                    None => return,
                },
                Some(Err(error)) => Err(error),
                None => return,
            };
            let is_last = !matches!(frame, Ok(Frame::Data(_)));
            if sender.send(frame).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}
