//! TLS, server side: rustls's unbuffered interface over a plain socket.
//!
//! Unbuffered, because rustls then owns no buffer: an idle connection is rustls's state of 2.5 KiB
//! and nothing else (6.8 KiB with its buffered interface). Ciphertext is read into a large buffer
//! of the shard that goes back when it is used up; what is left of a record that has not come
//! whole is kept in as many bytes as it has.
//!
//! Writing: bytes are *staged*, that is encrypted and on their way, and reported as written only
//! when the last of them is with the kernel. So, as with OpenSSL, a write that would block is to
//! be repeated with the same bytes (and perhaps more behind them).

use std::cell::{Ref, RefCell};
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};

use crate::net::buffers::{Buffers, LARGE_BYTES, SMALL_BYTES};
use crate::net::stream::Plain;
use crate::tls::hello::{self, Greeting};

/// Plaintext encrypted at once: with its records' overhead it fits a large buffer.
const STAGED_BYTES_MAX: usize = 48 * 1024;
/// What rustls adds to a record of application data at most: header, nonce, tag, type.
const RECORD_OVERHEAD: usize = 5 + 8 + 16 + 1;
/// Plaintext in a record at most (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Room for an alert or a key update that leaves in front of data.
const EXTRA_BYTES: usize = 128;

/// The record type of application data.
const RECORD_APPLICATION_DATA: u8 = 23;

type Writer<'a> = WriteTraffic<'a, rustls::server::ServerConnectionData>;

/// Why there is no TLS with a client.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It sent an HTTP request without TLS.
    #[error("plain HTTP on a TLS port")]
    PlainHttp,
    /// It left, or was shut down by a time limit.
    #[error("the client left during the TLS handshake")]
    Closed,
    /// The socket failed.
    #[error(transparent)]
    Socket(io::Error),
    /// It cannot or must not be served; the client was told.
    #[error("{0}")]
    Refused(rustls::Error),
}

/// A client's TLS connection.
#[derive(Debug)]
pub struct ServerTls {
    plain: Plain,
    session: RefCell<Session>,
}

struct Session {
    rustls: UnbufferedServerConnection,
    buffers: Buffers,
    /// Ciphertext; what is before `used` is done with.
    incoming: Vec<u8>,
    used: usize,
    /// Plaintext for which the reader had no room, without its first `read` bytes.
    plaintext: Vec<u8>,
    read: usize,
    /// `incoming` may hold whole records that nobody had room for.
    has_more: bool,
    is_peer_done: bool,
    /// rustls has refused what the client sent.
    has_failed: bool,
    /// Ciphertext on its way; what is before `sent` is with the kernel.
    outgoing: Vec<u8>,
    sent: usize,
    /// How many bytes of plaintext are in `outgoing` and not reported as written yet.
    staged: usize,
    server_name: Option<Box<str>>,
}

impl ServerTls {
    /// TLS to be spoken on an accepted connection; [`handshake`](Self::handshake) comes first.
    ///
    /// # Errors
    /// A configuration that rustls refuses.
    pub fn new(
        plain: Plain,
        config: Arc<ServerConfig>,
        buffers: &Buffers,
    ) -> Result<Self, rustls::Error> {
        let session = RefCell::new(Session {
            rustls: UnbufferedServerConnection::new(config)?,
            buffers: buffers.clone(),
            incoming: Vec::new(),
            used: 0,
            plaintext: Vec::new(),
            read: 0,
            has_more: false,
            is_peer_done: false,
            has_failed: false,
            outgoing: Vec::new(),
            sent: 0,
            staged: 0,
            server_name: None,
        });
        Ok(Self { plain, session })
    }

    /// The socket underneath.
    #[must_use]
    pub fn plain(&self) -> &Plain {
        &self.plain
    }

    /// Shakes hands. May be dropped, with which the connection is to be closed.
    ///
    /// # Errors
    /// See [`HandshakeError`]. A client that is refused has been sent the alert.
    pub async fn handshake(&self) -> Result<(), HandshakeError> {
        self.greet().await?;
        loop {
            let pumped = self.session.borrow_mut().pump(&mut Vec::new());
            // Also where it failed: the alert tells the client why.
            self.drain().await.map_err(HandshakeError::Socket)?;
            pumped.map_err(HandshakeError::Refused)?;
            if !self.session.borrow().rustls.is_handshaking() {
                self.session.borrow_mut().settle();
                return Ok(());
            }
            self.await_ciphertext().await?;
        }
    }

    /// Reads until the ClientHello is whole, and takes the name out of it.
    async fn greet(&self) -> Result<(), HandshakeError> {
        loop {
            let greeting = hello::read(&self.session.borrow().incoming);
            match greeting {
                Greeting::Partial => {}
                Greeting::PlainHttp => return Err(HandshakeError::PlainHttp),
                Greeting::Tls(name) => {
                    self.session.borrow_mut().server_name = name;
                    return Ok(());
                }
            }
            self.await_ciphertext().await?;
        }
    }

    async fn await_ciphertext(&self) -> Result<(), HandshakeError> {
        loop {
            self.session.borrow_mut().settle();
            self.plain
                .readable()
                .await
                .map_err(HandshakeError::Socket)?;
            match self.receive() {
                Ok(0) => return Err(HandshakeError::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(HandshakeError::Socket(error)),
            }
        }
    }

    /// Sends what is on its way, waiting for room.
    async fn drain(&self) -> io::Result<()> {
        loop {
            match self.push() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.plain.writable().await?;
                }
                result => return result,
            }
        }
    }

    /// Waits until there may be something to read; see [`Transport`](super::super::Transport).
    pub async fn readable(&self) -> io::Result<()> {
        if self.session.borrow().is_readable() {
            return Ok(());
        }
        self.plain.readable().await
    }

    /// Appends plaintext to the spare capacity of `buffer` and never waits. `Ok(0)` is the end.
    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let before = buffer.len();
        let mut session = self.session.borrow_mut();
        let mut pumped = session.pump(buffer);
        let mut end = Ok(false);
        if pumped.is_ok() && buffer.len() == before && !session.is_peer_done {
            drop(session);
            end = match self.receive() {
                Ok(count) => Ok(count == 0),
                Err(error) => Err(error),
            };
            session = self.session.borrow_mut();
            if matches!(end, Ok(false)) {
                pumped = session.pump(buffer);
            }
        }
        session.settle();
        let is_over = session.is_peer_done || matches!(end, Ok(true));
        let owes = !session.outgoing.is_empty() && session.staged == 0;
        drop(session);
        if owes {
            // An alert or a key update. If there is no room now, it leaves with the next write.
            let _ = self.push();
        }
        match (buffer.len() - before, pumped, end) {
            (count @ 1.., ..) => Ok(count),
            (_, Err(error), _) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            (_, _, Err(error)) => Err(error),
            _ if is_over => Ok(0),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Reads ciphertext. `Ok(0)` is the end of the socket's input.
    fn receive(&self) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        session.make_room();
        let spare = session.incoming.capacity() - session.incoming.len();
        if spare == 0 {
            // Handshake messages that do not end; application data is used up record by record.
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.plain.try_read(&mut session.incoming)
    }

    /// Encrypts and sends what fits of several parts without their first `skipped` bytes. See
    /// the module about repeating it.
    pub fn try_write_parts(&self, parts: &[&[u8]], skipped: usize) -> io::Result<usize> {
        self.push()?;
        let mut session = self.session.borrow_mut();
        if session.staged == 0 {
            session.stage(parts, skipped)?;
            drop(session);
            self.push()?;
            session = self.session.borrow_mut();
        }
        Ok(core::mem::take(&mut session.staged))
    }

    /// Encrypts a buffer and sends it through the ring. What did not fit is staged.
    pub(in crate::net) async fn send(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let session = self.session.get_mut();
        let is_fresh = session.outgoing.is_empty() && session.staged == 0;
        if !is_fresh {
            return (self.try_write_parts(&[&buffer], 0), buffer);
        }
        if let Err(error) = session.stage(&[&buffer], 0) {
            return (Err(error), buffer);
        }
        let ciphertext = core::mem::take(&mut session.outgoing);
        let (sent, ciphertext) = self.plain.send(ciphertext).await;
        let session = self.session.get_mut();
        session.outgoing = ciphertext;
        let sent = sent.map(|sent| {
            session.advance(sent);
            if session.outgoing.is_empty() {
                core::mem::take(&mut session.staged)
            } else {
                0
            }
        });
        (sent, buffer)
    }

    /// Hands ciphertext to the kernel; `WouldBlock` while some is left.
    fn push(&self) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        while !session.outgoing.is_empty() {
            let rest = session.outgoing.get(session.sent..).unwrap_or_default();
            let sent = self.plain.try_write(rest)?;
            session.advance(sent);
        }
        Ok(())
    }

    /// `shutdown(2)`, after a close_notify if nothing more is to be written.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            let mut session = self.session.borrow_mut();
            let is_between_records = session.staged == 0 && !session.rustls.is_handshaking();
            if is_between_records {
                let _ = session.write(|traffic, out| {
                    extend(out, EXTRA_BYTES, |room| traffic.queue_close_notify(room))
                });
            }
            drop(session);
            if is_between_records {
                // A client that takes nothing now will do without.
                let _ = self.push();
            }
        }
        self.plain.shutdown(how)
    }

    /// What was agreed on.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            session: self.session.borrow(),
        }
    }
}

/// What a finished handshake agreed on.
#[derive(Debug)]
pub struct Facts<'a> {
    session: Ref<'a, Session>,
}

impl Facts<'_> {
    /// Whether ALPN chose HTTP/2.
    #[must_use]
    pub fn is_h2(&self) -> bool {
        self.session.rustls.alpn_protocol() == Some(b"h2")
    }

    /// The name that the client asked for (SNI), in lower case.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.session.server_name.as_deref()
    }

    /// `TLSv1.2` or `TLSv1.3`.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match self.session.rustls.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "",
        }
    }

    /// Whether an earlier session was resumed.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.session.rustls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The client's certificate, if it sent one. It has been verified.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&[u8]> {
        let chain = self.session.rustls.peer_certificates()?;
        chain.first().map(AsRef::as_ref)
    }
}

impl Session {
    /// Lets rustls work on the ciphertext until it needs more, or `buffer` has no more room.
    fn pump(&mut self, buffer: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let start = buffer.len();
        self.hand_over(buffer);
        while !self.has_failed && self.has_room(buffer, start) {
            let ciphertext = self.incoming.get_mut(self.used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } =
                self.rustls.process_tls_records(ciphertext);
            let mut is_blocked = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        let room = buffer.capacity() - buffer.len();
                        let (now, later) = split(record.payload, room);
                        buffer.extend_from_slice(now);
                        self.plaintext.extend_from_slice(later);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    // Cannot fail: room is made and a message is taken once.
                    let _ = extend(&mut self.outgoing, EXTRA_BYTES, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_peer_done = true,
                // Early data is not offered. Everything else waits for more.
                Ok(_) => is_blocked = true,
                Err(error) => {
                    self.used += discard;
                    self.fail();
                    return Err(error);
                }
            }
            self.used += discard;
            if is_blocked {
                self.has_more = false;
                return Ok(());
            }
        }
        self.has_more = !self.has_failed;
        Ok(())
    }

    /// Gives kept plaintext to the reader.
    fn hand_over(&mut self, buffer: &mut Vec<u8>) {
        let kept = self.plaintext.get(self.read..).unwrap_or_default();
        let (now, _) = split(kept, buffer.capacity() - buffer.len());
        buffer.extend_from_slice(now);
        self.read += now.len();
        if self.read >= self.plaintext.len() {
            self.plaintext = Vec::new();
            self.read = 0;
        }
    }

    /// Whether the next record may be opened: it fits whole, or the reader has nothing yet.
    fn has_room(&self, buffer: &Vec<u8>, start: usize) -> bool {
        if !self.plaintext.is_empty() {
            return false;
        }
        let next = self.incoming.get(self.used..).unwrap_or_default();
        match *next {
            [RECORD_APPLICATION_DATA, _, _, high, low, ..] if buffer.len() > start => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                buffer.capacity() - buffer.len() >= length
            }
            _ => true,
        }
    }

    /// After an error: takes the alert for the client. rustls is not called again.
    fn fail(&mut self) {
        self.has_failed = true;
        self.is_peer_done = true;
        let ciphertext = self.incoming.get_mut(self.used..).unwrap_or_default();
        let status = self.rustls.process_tls_records(ciphertext);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
            let _ = extend(&mut self.outgoing, EXTRA_BYTES, |room| data.encode(room));
        }
        self.incoming = Vec::new();
        self.used = 0;
    }

    /// Takes what rustls itself wants to send, then lets `write` add to it.
    fn write(
        &mut self,
        write: impl FnOnce(&mut Writer<'_>, &mut Vec<u8>) -> Result<(), EncryptError>,
    ) -> io::Result<()> {
        while !self.has_failed {
            // Records that nobody had room for stay closed. Where there are none, rustls may have
            // begun on a message that is not whole, and wants to see it again.
            let ciphertext = match self.has_more {
                true => &mut [][..],
                false => self.incoming.get_mut(self.used..).unwrap_or_default(),
            };
            let UnbufferedStatus { discard, state } = self.rustls.process_tls_records(ciphertext);
            self.used += discard;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return write(&mut traffic, &mut self.outgoing).map_err(io::Error::other);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    extend(&mut self.outgoing, EXTRA_BYTES, |room| data.encode(room))
                        .map_err(io::Error::other)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_peer_done = true,
                Ok(_) => break,
                Err(error) => {
                    self.fail();
                    return Err(io::Error::other(error));
                }
            }
        }
        Err(io::ErrorKind::NotConnected.into())
    }

    /// Encrypts as much of the parts as is sent at once.
    fn stage(&mut self, parts: &[&[u8]], skipped: usize) -> io::Result<()> {
        let mut skipped = skipped;
        for part in parts {
            let rest = part.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(part.len());
            let (now, later) = split(rest, STAGED_BYTES_MAX - self.staged);
            if !now.is_empty() {
                self.encrypt(now)?;
            }
            if !later.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn encrypt(&mut self, plaintext: &[u8]) -> io::Result<()> {
        let records = plaintext.len().div_ceil(RECORD_BYTES_MAX);
        let bytes = plaintext.len() + records * RECORD_OVERHEAD + EXTRA_BYTES;
        self.reserve(bytes);
        self.write(|traffic, out| extend(out, bytes, |room| traffic.encrypt(plaintext, room)))?;
        self.staged += plaintext.len();
        Ok(())
    }

    /// Makes `outgoing` a buffer of the shard with room for so much more.
    fn reserve(&mut self, bytes: usize) {
        let wanted = self.outgoing.len() + bytes;
        if self.outgoing.capacity() >= wanted {
            return;
        }
        let mut roomier = match wanted {
            ..=SMALL_BYTES => self.buffers.small(),
            _ => self.buffers.large(),
        };
        roomier.extend_from_slice(&self.outgoing);
        let outgrown = core::mem::replace(&mut self.outgoing, roomier);
        self.buffers.give_back(outgrown);
    }

    /// So much more of `outgoing` is with the kernel.
    fn advance(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent >= self.outgoing.len() {
            self.sent = 0;
            self.buffers.give_back(core::mem::take(&mut self.outgoing));
        }
    }

    fn is_readable(&self) -> bool {
        self.has_more || self.is_peer_done
    }

    /// Room for a whole record behind what is not used yet.
    fn make_room(&mut self) {
        if self.incoming.capacity() == LARGE_BYTES {
            self.incoming.drain(..self.used);
        } else {
            let mut roomy = self.buffers.large();
            roomy.extend_from_slice(self.incoming.get(self.used..).unwrap_or_default());
            self.incoming = roomy;
        }
        self.used = 0;
    }

    /// Before a wait: gives the ciphertext's buffer back and keeps what of a record has come in
    /// no more room than it takes.
    fn settle(&mut self) {
        if self.has_more || self.incoming.capacity() == 0 {
            return;
        }
        let kept = self.incoming.get(self.used..).unwrap_or_default().to_vec();
        self.used = 0;
        let spent = core::mem::replace(&mut self.incoming, kept);
        self.buffers.give_back(spent);
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("server_name", &self.server_name)
            .field("incoming", &self.incoming.len())
            .field("outgoing", &self.outgoing.len())
            .finish_non_exhaustive()
    }
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at(at.min(bytes.len()))
}

/// An error of rustls that may say how much room it wants.
trait Short {
    fn required(&self) -> Option<usize>;
}

impl Short for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(short) => Some(short.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Short for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(short) => Some(short.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Appends what `write` puts into room of so many bytes, or of as many as it says it needs.
fn extend<E: Short>(
    out: &mut Vec<u8>,
    bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), E> {
    let (start, mut room) = (out.len(), bytes);
    loop {
        out.resize(start + room, 0);
        let written = write(out.get_mut(start..).unwrap_or_default());
        out.truncate(start + *written.as_ref().unwrap_or(&0));
        match written {
            Ok(_) => return Ok(()),
            Err(error) => match error.required() {
                Some(required) if required > room => room = required,
                _ => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests;
