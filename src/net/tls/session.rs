//! The state of a server's TLS connection: rustls, and the few bytes that are between it and the
//! socket or the reader. Never touches the socket.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};

use crate::net::buffers::{Buffers, LARGE_BYTES, SMALL_BYTES};

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

pub(super) struct Session {
    pub(super) rustls: UnbufferedServerConnection,
    pub(super) buffers: Buffers,
    /// Ciphertext; what is before `used` is done with.
    pub(super) incoming: Vec<u8>,
    pub(super) used: usize,
    /// Plaintext for which the reader had no room, without its first `read` bytes.
    pub(super) plaintext: Vec<u8>,
    pub(super) read: usize,
    /// `incoming` may hold whole records that nobody had room for.
    pub(super) has_more: bool,
    pub(super) is_peer_done: bool,
    /// rustls has refused what the client sent.
    pub(super) has_failed: bool,
    /// Ciphertext on its way; what is before `sent` is with the kernel.
    pub(super) outgoing: Vec<u8>,
    pub(super) sent: usize,
    /// How many bytes of plaintext are in `outgoing` and not reported as written yet.
    pub(super) staged: usize,
    pub(super) server_name: Option<Box<str>>,
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>, buffers: &Buffers) -> Result<Self, rustls::Error> {
        Ok(Self {
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
        })
    }

    /// Lets rustls work on the ciphertext until it needs more, or `buffer` has no more room.
    pub(super) fn pump(&mut self, buffer: &mut Vec<u8>) -> Result<(), rustls::Error> {
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

    /// After an error: takes what is left for the client, the alert last. rustls is not called
    /// again.
    fn fail(&mut self) {
        self.has_failed = true;
        self.is_peer_done = true;
        // What it had to say before comes first: its half of a handshake that it broke off.
        // Nothing more, or rustls would look at the refused bytes again, and panic.
        while self.rustls.wants_write() {
            let ciphertext = self.incoming.get_mut(self.used..).unwrap_or_default();
            match self.rustls.process_tls_records(ciphertext).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if extend(&mut self.outgoing, EXTRA_BYTES, |room| data.encode(room)).is_err() {
                        break;
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => break,
            }
        }
        self.incoming = Vec::new();
        self.used = 0;
    }

    /// Takes what rustls itself wants to send, then lets `write` add to it.
    pub(super) fn write(
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
    pub(super) fn stage(&mut self, parts: &[&[u8]], skipped: usize) -> io::Result<()> {
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
    pub(super) fn advance(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent >= self.outgoing.len() {
            self.sent = 0;
            self.buffers.give_back(core::mem::take(&mut self.outgoing));
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        self.has_more || self.is_peer_done
    }

    /// Room for a whole record behind what is not used yet.
    pub(super) fn make_room(&mut self) {
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
    pub(super) fn settle(&mut self) {
        if self.has_more || self.incoming.capacity() == 0 {
            return;
        }
        let kept = self.incoming.get(self.used..).unwrap_or_default().to_vec();
        self.used = 0;
        let spent = core::mem::replace(&mut self.incoming, kept);
        self.buffers.give_back(spent);
    }

    /// Adds a close_notify to what is on its way.
    pub(super) fn say_goodbye(&mut self) {
        let _ = self.write(|traffic, out| {
            extend(out, EXTRA_BYTES, |room| traffic.queue_close_notify(room))
        });
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
