//! Sends responses: small ones gather in the output, large ones go out beside it, streams as
//! they come.

use core::future::poll_fn;
use core::task::Poll;
use std::io;

use bytes::Bytes;

use crate::base::channel::Receiver;
use crate::base::clock::Now;
use crate::http::h1::BodyKind;
use crate::http::h1::chunked::{CHUNK_TAIL, encode_chunk, encode_chunk_head, encode_last_chunk};
use crate::http::{Body, BodyError, Frame, Piece, Response};
use crate::metrics::Counter;
use crate::net::Transport;
use crate::record::{Ended, Seen};
use crate::server::Server;
use crate::server::connection::Close;
use crate::server::content::{Content, Wire};
use crate::server::deadlines::{Limit, Place};
use crate::server::reader::Reader;
use crate::server::{pieces, pulled, tunnel};

/// Content up to so many bytes is copied behind its head; beyond it a second part of the write
/// costs less than the copy.
const COPY_BYTES_MAX: usize = 16 * 1024;
/// Responses of pipelined requests, and frames of a stream, gather up to so many bytes.
const GATHER_BYTES_MAX: usize = 32 * 1024;
/// nginx's code for a client that left before its answer.
pub(super) const CLIENT_LEFT: u16 = 499;

/// How the sending of a response ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    pub(super) status: u16,
    /// Bytes of content sent, or gathered to be sent.
    pub(super) body_bytes: u64,
    /// Bytes around the content.
    pub(super) framing_bytes: u64,
    pub(super) result: Result<(), Close>,
}

impl Sending {
    /// What is kept of it.
    pub(super) const fn ended<'a>(
        &self,
        response: &'a Response,
        seen: Seen<'a>,
        now: Now,
    ) -> Ended<'a> {
        Ended {
            status: self.status,
            body_bytes: self.body_bytes,
            framing_bytes: self.framing_bytes,
            is_complete: self.result.is_ok(),
            at: now.mono,
            response,
            seen,
        }
    }

    /// There is nobody to send to.
    pub(super) const fn unwanted() -> Self {
        Self {
            status: CLIENT_LEFT,
            body_bytes: 0,
            framing_bytes: 0,
            result: Err(Close::Now),
        }
    }
}

/// Puts small content behind its head, to be sent with it. `None`: it is [`send`]'s.
pub(super) fn gather(
    output: &mut Vec<u8>,
    (response, kind): (&Response, BodyKind),
) -> Option<Sending> {
    let bytes = match (kind, &response.body) {
        (_, Body::Tunnel(_)) => return None,
        (BodyKind::None, _) | (_, Body::Empty) => &[],
        (_, Body::Static(bytes)) => *bytes,
        (_, Body::Full(bytes)) => bytes,
        (_, Body::Stored(_) | Body::Pieces(_) | Body::Stream(_) | Body::Source(_)) => return None,
    };
    if output.len() + bytes.len() > GATHER_BYTES_MAX || bytes.len() > COPY_BYTES_MAX {
        return None;
    }
    output.extend_from_slice(bytes);
    Some(Sending {
        status: response.status,
        body_bytes: bytes.len() as u64,
        framing_bytes: 0,
        result: Ok(()),
    })
}

/// Sends the content behind a head that has been written, in that way. `now` is moved on if
/// that took time.
pub(super) async fn send(
    wire: &mut Wire<'_>,
    content: &mut Content,
    (response, kind): (&mut Response, BodyKind),
    now: &mut Now,
) -> Sending {
    let mut framing_bytes = 0;
    let (body_bytes, result) = match (kind, core::mem::take(&mut response.body)) {
        (_, Body::Tunnel(tunnel)) => {
            let carried = Box::pin(tunnel::carry(wire, tunnel)).await;
            *now = wire.server.time.now();
            carried
        }
        (BodyKind::None, _) | (_, Body::Empty) => (0, Ok(())),
        (_, Body::Static(bytes)) => (bytes.len() as u64, whole(wire, bytes, now).await),
        (_, Body::Full(bytes)) => (bytes.len() as u64, whole(wire, &bytes, now).await),
        (_, Body::Stored(stored)) if pieces::sends_file(wire, &stored) => {
            let span = stored.file().map(Piece::File);
            let sent = Box::pin(pieces::send(wire, span.into_iter().collect())).await;
            *now = wire.server.time.now();
            sent
        }
        (_, Body::Stored(stored)) => {
            let bytes = stored.identity();
            (bytes.len() as u64, whole(wire, bytes, now).await)
        }
        (_, Body::Pieces(pieces)) => {
            let sent = Box::pin(pieces::send(wire, pieces)).await;
            *now = wire.server.time.now();
            sent
        }
        (kind, Body::Source(source)) => {
            let sent = Box::pin(pulled::send(wire, content, source, kind)).await;
            *now = wire.server.time.now();
            sent
        }
        (kind, Body::Stream(frames)) => {
            // Boxed, like all that is not a small response: see `connection`.
            let streamed = Box::pin(stream(wire, content, frames, kind)).await;
            *now = wire.server.time.now();
            let (body_bytes, framing, result) = streamed;
            framing_bytes = framing;
            (body_bytes, result)
        }
    };
    Sending {
        status: response.status,
        body_bytes,
        framing_bytes,
        result,
    }
}

async fn whole(wire: &mut Wire<'_>, bytes: &[u8], now: &mut Now) -> Result<(), Close> {
    if bytes.len() <= COPY_BYTES_MAX {
        wire.output.extend_from_slice(bytes);
        if wire.output.len() <= GATHER_BYTES_MAX {
            return Ok(());
        }
        return wire.flush().await;
    }
    let socket = wire.reader.socket();
    let parts = [wire.output.as_slice(), bytes];
    let result = Box::pin(send_parts(wire.server, wire.place, socket, &parts)).await;
    wire.output.clear();
    *now = wire.server.time.now();
    result
}

/// Sends frames as they come. Frames that wait together leave together.
async fn stream(
    wire: &mut Wire<'_>,
    content: &mut Content,
    mut frames: Receiver<Result<Frame, BodyError>>,
    kind: BodyKind,
) -> (u64, u64, Result<(), Close>) {
    wire.place.disarm();
    let (mut body_bytes, mut framing_bytes) = (0, 0);
    loop {
        let frame = match next_frame(wire, content, &mut frames).await {
            Ok(frame) => frame,
            Err(close) => return (body_bytes, framing_bytes, Err(close)),
        };
        let trailers = match frame {
            Some(Ok(Frame::Data(bytes))) => {
                let bytes = within_length(kind, body_bytes, bytes);
                body_bytes += bytes.len() as u64;
                if kind == BodyKind::Chunked {
                    framing_bytes += chunk_overhead(bytes.len());
                }
                if let Err(close) = put_data(wire, kind, &bytes).await {
                    return (body_bytes, framing_bytes, Err(close));
                }
                continue;
            }
            Some(Ok(Frame::Trailers(trailers))) => Some(trailers),
            // Without its last chunk, or short of its length, the client knows it is broken.
            Some(Err(_)) => {
                let result = wire.flush().await.and(Err(Close::Now));
                return (body_bytes, framing_bytes, result);
            }
            None => None,
        };
        let result = match kind {
            BodyKind::Chunked => {
                let before = wire.output.len();
                encode_last_chunk(trailers.as_ref(), wire.output);
                framing_bytes += (wire.output.len() - before) as u64;
                Ok(())
            }
            BodyKind::Length(length) if body_bytes < length => Err(Close::Now),
            _ => Ok(()),
        };
        return (body_bytes, framing_bytes, wire.flush().await.and(result));
    }
}

/// Bytes around a chunk: its length in hexadecimal digits and two line ends.
const fn chunk_overhead(length: usize) -> u64 {
    match length {
        0 => 0,
        _ => (length.ilog2() / 4 + 1 + 4) as u64,
    }
}

/// The next frame; sends what has gathered before it waits. An error is a client that left.
async fn next_frame(
    wire: &mut Wire<'_>,
    content: &mut Content,
    frames: &mut Receiver<Result<Frame, BodyError>>,
) -> Result<Option<Result<Frame, BodyError>>, Close> {
    let ready = poll_fn(|cx| Poll::Ready(frames.poll_recv(cx))).await;
    if let Poll::Ready(frame) = ready {
        return Ok(frame);
    }
    wire.flush().await?;
    poll_fn(|cx| {
        if let Poll::Ready(frame) = frames.poll_recv(cx) {
            return Poll::Ready(Ok(frame));
        }
        content.poll(cx, wire, true).map(|_gone| Err(Close::Now))
    })
    .await
}

async fn put_data(wire: &mut Wire<'_>, kind: BodyKind, bytes: &[u8]) -> Result<(), Close> {
    if wire.output.capacity() == 0 {
        *wire.output = wire.server.buffers.small();
    }
    let is_chunked = kind == BodyKind::Chunked;
    if bytes.len() <= COPY_BYTES_MAX {
        if is_chunked {
            encode_chunk(bytes, wire.output);
        } else {
            wire.output.extend_from_slice(bytes);
        }
        if wire.output.len() <= GATHER_BYTES_MAX {
            return Ok(());
        }
        return wire.flush().await;
    }
    let tail = if is_chunked { CHUNK_TAIL } else { b"" };
    if is_chunked {
        encode_chunk_head(bytes.len(), wire.output);
    }
    let socket = wire.reader.socket();
    let parts = [wire.output.as_slice(), bytes, tail];
    let result = send_parts(wire.server, wire.place, socket, &parts).await;
    wire.output.clear();
    result
}

/// What of a frame fits the length that the head has promised.
fn within_length(kind: BodyKind, sent: u64, bytes: Bytes) -> Bytes {
    match kind {
        BodyKind::Length(length) => {
            let left = usize::try_from(length - sent).unwrap_or(usize::MAX);
            bytes.slice(..left.min(bytes.len()))
        }
        _ => bytes,
    }
}

/// Sends the output and empties it.
pub(super) async fn flush(
    server: &Server,
    place: &Place,
    reader: &mut Reader,
    output: &mut Vec<u8>,
) -> Result<(), Close> {
    if output.is_empty() {
        return Ok(());
    }
    // Nearly always the socket takes it all.
    let sent = match reader.socket_mut() {
        Some(socket) => {
            place.arm_for(Limit::Send, server.config.server.send_timeout);
            let (sent, buffer) = socket.send(core::mem::take(output)).await;
            place.disarm();
            *output = buffer;
            sent
        }
        // A wait goes on beside a handler: a stream. Its events come one by one.
        None => reader.socket().try_write(output),
    };
    let sent = match sent {
        Ok(sent) => sent,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return Err(Close::Now),
    };
    server.recorder.add(Counter::SentBytes, sent as u64);
    if sent < output.len() {
        let rest = output.get(sent..).unwrap_or_default();
        Box::pin(send_parts(server, place, reader.socket(), &[rest])).await?;
    }
    output.clear();
    Ok(())
}

/// Sends parts to a client that may not take them at once. The time limit is for each step.
pub(super) async fn send_parts(
    server: &Server,
    place: &Place,
    socket: &Transport,
    parts: &[&[u8]],
) -> Result<(), Close> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let timeout = server.config.server.send_timeout;
    let mut sent = 0;
    while sent < total {
        match socket.try_write_parts(parts, sent) {
            Ok(count) => {
                sent += count;
                server.recorder.add(Counter::SentBytes, count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                place.arm(Limit::Send, server.time.now().mono + timeout);
                let writable = socket.writable().await;
                place.disarm();
                if writable.is_err() {
                    return Err(Close::Now);
                }
            }
            Err(_) => return Err(Close::Now),
        }
    }
    Ok(())
}
