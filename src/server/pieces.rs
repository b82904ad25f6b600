//! Sends bodies made of files: without a copy where the kernel has the bytes in memory, in pieces
//! read beside everything else where it has not.

use std::io;

use bytes::Bytes;

use crate::base::channel::{Receiver, bounded};
use crate::http::{BodyError, FileSpan, Frame, Piece, Stored};
use crate::metrics::Counter;
use crate::net::buffers::Buffers;
use crate::net::disk::Disk;
use crate::net::reading::Reader;
use crate::net::{give_way, spawn};
use crate::server::answer::send_parts;
use crate::server::connection::Close;
use crate::server::content::Wire;
use crate::server::deadlines::Limit;

/// Bytes handed to the kernel in one call, which bounds how long one client keeps the shard;
/// nginx's sendfile_max_chunk.
const SEND_BYTES_MAX: u64 = 2 << 20;
/// Up to so many bytes gather before a file, to leave together with its beginning.
const GATHER_BYTES_MAX: usize = 32 * 1024;

/// Whether kept content is better sent from its file: it has one, and nothing has to look at the
/// bytes on the way.
pub(super) fn sends_file(wire: &Wire<'_>, stored: &Stored) -> bool {
    stored.file().is_some() && wire.server.disk.is_some() && wire.reader.socket().tls().is_none()
}

/// Sends the pieces in order. Returns how many bytes of content were sent. A file that has become
/// shorter than its span ends the connection: the client must not take what follows for content.
pub(super) async fn send(wire: &mut Wire<'_>, pieces: Vec<Piece>) -> (u64, Result<(), Close>) {
    wire.place.disarm();
    let mut sent = 0;
    for piece in pieces {
        let result = match piece {
            Piece::Bytes(bytes) => gather(wire, &bytes, &mut sent).await,
            Piece::File(span) => file(wire, &span, &mut sent).await,
        };
        if let Err(close) = result {
            return (sent, Err(close));
        }
    }
    (sent, Ok(()))
}

/// The same as a stream, for whoever has to look at the bytes. Reads as it is asked.
pub(super) fn frames(
    pieces: Vec<Piece>,
    disk: Option<Disk>,
    buffers: &Buffers,
) -> Receiver<Result<Frame, BodyError>> {
    let (sender, receiver) = bounded(1);
    let buffers = buffers.clone();
    spawn(async move {
        for piece in pieces {
            let span = match piece {
                Piece::Bytes(bytes) => match sender.send(Ok(Frame::Data(bytes))).await {
                    Ok(()) => continue,
                    Err(_gone) => return,
                },
                Piece::File(span) => span,
            };
            let Some(disk) = &disk else {
                let _ = sender.send(Err(BodyError::Incomplete)).await;
                return;
            };
            let bounds = (span.offset, span.len);
            let mut reader = Reader::new(&span.file, bounds, disk, &buffers);
            loop {
                let frame = match reader.next().await {
                    Ok(Some(bytes)) => Ok(Frame::Data(bytes.into())),
                    Ok(None) => break,
                    Err(_) => Err(BodyError::Incomplete),
                };
                let is_last = frame.is_err();
                if sender.send(frame).await.is_err() || is_last {
                    return;
                }
            }
        }
    });
    receiver
}

async fn gather(wire: &mut Wire<'_>, bytes: &Bytes, sent: &mut u64) -> Result<(), Close> {
    if wire.output.len() + bytes.len() > GATHER_BYTES_MAX {
        let parts = [wire.output.as_slice(), bytes];
        let result = send_parts(wire.server, wire.place, wire.reader.socket(), &parts).await;
        wire.output.clear();
        result?;
    } else {
        wire.output.extend_from_slice(bytes);
    }
    *sent += bytes.len() as u64;
    Ok(())
}

async fn file(wire: &mut Wire<'_>, span: &FileSpan, sent: &mut u64) -> Result<(), Close> {
    let server = wire.server;
    let Some(disk) = &server.disk else {
        return Err(Close::Now);
    };
    let bounds = (span.offset, span.len);
    let mut reader = Reader::new(&span.file, bounds, disk, &server.buffers);
    let mut is_full = false;
    while reader.left() > 0 {
        if core::mem::take(&mut is_full) {
            wait_for_room(wire).await?;
        }
        let second = server.time.now().unix.as_secs();
        let cached = match wire.reader.socket().tls() {
            None => reader.cached_bytes(SEND_BYTES_MAX, second),
            Some(_) => 0,
        };
        let count = if cached > 0 {
            let count = send_cached(wire, &reader, cached).await?;
            reader.skip(count);
            // Asking again would be a call for nothing.
            is_full = count < cached;
            count
        } else {
            send_read(wire, &mut reader).await?
        };
        *sent += count;
        if reader.left() > 0 && !is_full {
            // A fast client takes it all without a wait.
            give_way().await;
        }
    }
    Ok(())
}

/// Sends what has gathered and then a part of a file, straight from the kernel's memory.
async fn send_cached(wire: &mut Wire<'_>, reader: &Reader, max: u64) -> Result<u64, Close> {
    let server = wire.server;
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let mut gathered = 0;
    loop {
        let socket = wire.reader.socket().plain();
        let rest = wire.output.get(gathered..).unwrap_or_default();
        let result = match rest {
            [] => socket.try_send_file(reader.file(), reader.offset(), max),
            rest => socket.try_write_more(rest),
        };
        match result {
            Ok(0) => return Err(Close::Now),
            Ok(count) => {
                server.recorder.add(Counter::SentBytes, count as u64);
                if rest.is_empty() {
                    wire.output.clear();
                    return Ok(count as u64);
                }
                gathered += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(wire).await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Close::Now),
        }
    }
}

/// Waits until the client has taken some of what was sent, at most its time limit.
async fn wait_for_room(wire: &Wire<'_>) -> Result<(), Close> {
    let server = wire.server;
    let timeout = server.config.server.send_timeout;
    wire.place
        .arm(Limit::Send, server.time.now().mono + timeout);
    let writable = wire.reader.socket().writable().await;
    wire.place.disarm();
    writable.map_err(|_| Close::Now)
}

/// Sends what has gathered and the next piece that was read.
async fn send_read(wire: &mut Wire<'_>, reader: &mut Reader) -> Result<u64, Close> {
    let server = wire.server;
    let Ok(Some(piece)) = reader.next().await else {
        return Err(Close::Now);
    };
    let parts = [wire.output.as_slice(), piece.as_slice()];
    let result = send_parts(server, wire.place, wire.reader.socket(), &parts).await;
    wire.output.clear();
    let count = piece.len() as u64;
    server.buffers.give_back(piece);
    result.map(|()| count)
}
