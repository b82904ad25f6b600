//! TLS towards servers: rustls driven over a plain socket. Towards clients: see [`server`].
//!
//! Driven here and not through monoio-rustls because that one keeps two 16 KiB buffers for the
//! life of a connection and loses its read buffer when a read is dropped. Here ciphertext is read
//! into a buffer that lives for one call, and plaintext waits in rustls.

pub mod server;
mod session;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::net::stream::Plain;
use crate::tls::client::system_roots;

/// Ciphertext read at once: one full TLS record with its overhead.
const CIPHERTEXT_BYTES: usize = 17 * 1024;

/// Plaintext taken by one call that does not wait.
const ENCRYPTED_MAX: usize = 64 * 1024;

/// Why a TLS connection cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The name of the server is neither a DNS name nor an address.
    #[error("`{0}` is not a valid server name")]
    ServerName(String),
    /// No root certificates at all, or a broken crypto set-up.
    #[error("TLS cannot be set up: {0}")]
    SetUp(String),
    /// The handshake failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// Makes TLS connections. Cheap to clone and to hand to other threads.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
}

impl TlsConnector {
    /// A connector that trusts the system's root certificates, or Mozilla's where the system
    /// has none. Reads files: make one at start and clone it.
    pub fn new() -> Result<Self, TlsError> {
        Self::with_roots(system_roots())
    }

    /// A connector that trusts nobody, for a program that makes no TLS connections: the
    /// system's certificates take a megabyte.
    pub fn trusting_nobody() -> Result<Self, TlsError> {
        Self::with_roots(RootCertStore::empty())
    }

    /// A connector that trusts these root certificates.
    pub fn with_roots(roots: RootCertStore) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::SetUp(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// A connector with settings of its own: roots, client certificate, protocols.
    #[must_use]
    pub const fn with_config(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }

    /// Shakes hands over a connected socket. `host` goes into SNI and is what the certificate
    /// must be for.
    pub async fn connect(&self, host: &str, plain: Plain) -> Result<TlsStream, TlsError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| TlsError::ServerName(host.to_owned()))?;
        let session = ClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|error| TlsError::SetUp(error.to_string()))?;
        let mut stream = TlsStream {
            plain: Rc::new(plain),
            session,
            ciphertext: Vec::new(),
            outgoing: Vec::new(),
        };
        stream.handshake().await.map_err(TlsError::Handshake)?;
        Ok(stream)
    }
}

/// A TLS connection, client side.
#[derive(Debug)]
pub struct TlsStream {
    plain: Rc<Plain>,
    session: ClientConnection,
    /// Read from the socket and not yet fed to rustls; seldom more than nothing.
    ciphertext: Vec<u8>,
    /// Encrypted by a call that does not wait, and not sent yet.
    outgoing: Vec<u8>,
}

impl TlsStream {
    /// The socket underneath.
    #[must_use]
    pub const fn plain(&self) -> &Rc<Plain> {
        &self.plain
    }

    /// The protocol that was agreed on (ALPN).
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// Reads what has come and never waits: `WouldBlock` if that is nothing.
    pub fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.take_plaintext(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if self.ciphertext.is_empty() {
                self.ciphertext.reserve_exact(CIPHERTEXT_BYTES);
                let read = self.plain.try_read(&mut self.ciphertext);
                if read.is_err() {
                    self.ciphertext = Vec::new();
                }
                read?;
            }
            let fed = self.feed();
            // Answers to the peer (key updates, alerts); what does not fit goes with the next.
            let _ = self.try_flush();
            fed?;
        }
    }

    /// Encrypts what it may of several parts without their first `skipped` bytes, and sends of
    /// that what fits. `WouldBlock`: what was encrypted before has not left yet.
    pub fn try_write(&mut self, parts: &[&[u8]], skipped: usize) -> io::Result<usize> {
        self.try_flush()?;
        let (mut skipped, mut taken) = (skipped, 0);
        for part in parts {
            let rest = part.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(part.len());
            let rest = rest.get(..ENCRYPTED_MAX - taken).unwrap_or(rest);
            let mut rest = rest;
            while !rest.is_empty() {
                let count = self.session.writer().write(rest)?;
                self.session.write_tls(&mut self.outgoing)?;
                taken += count;
                rest = rest.get(count..).unwrap_or_default();
            }
        }
        match self.try_flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends what was encrypted. `WouldBlock`: not all of it fits.
    pub fn try_flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.outgoing)?;
        }
        while !self.outgoing.is_empty() {
            let sent = self.plain.try_write(&self.outgoing)?;
            self.outgoing.drain(..sent);
        }
        Ok(())
    }

    /// See [`Stream::read`](crate::net::Stream::read).
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.take_plaintext(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.receive().await?;
        }
    }

    /// Waits until plaintext (or the end) is at hand.
    pub async fn readable(&mut self) -> io::Result<()> {
        loop {
            let state = self
                .session
                .process_new_packets()
                .map_err(io::Error::other)?;
            if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
                return Ok(());
            }
            if self.receive().await? == 0 {
                return Ok(());
            }
        }
    }

    /// See [`Stream::write_all`](crate::net::Stream::write_all).
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.session.writer().write(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends close_notify and FIN.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush().await?;
        self.plain.shutdown(Shutdown::Write)
    }

    async fn handshake(&mut self) -> io::Result<()> {
        while self.session.is_handshaking() {
            self.flush().await?;
            if self.session.is_handshaking() && self.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.flush().await
    }

    /// Moves plaintext that rustls holds into the spare capacity of `buffer`.
    fn take_plaintext(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let start = buffer.len();
        let spare = buffer.capacity() - start;
        buffer.resize(start + spare, 0);
        let result = match buffer.get_mut(start..) {
            Some(free) => self.session.reader().read(free),
            None => Ok(0),
        };
        buffer.truncate(start + *result.as_ref().unwrap_or(&0));
        result
    }

    /// Feeds rustls until it has plaintext or all ciphertext at hand is used; reads from the
    /// socket if none is at hand. `Ok(0)` is the peer's end.
    async fn receive(&mut self) -> io::Result<usize> {
        // Answers to the peer (key updates, alerts) leave before we wait for it.
        self.flush().await?;
        if self.ciphertext.is_empty() {
            // The buffer is made when there is something to put into it, and goes afterwards.
            self.plain.readable().await?;
            self.ciphertext.reserve_exact(CIPHERTEXT_BYTES);
            self.plain.read(&mut self.ciphertext).await?;
        }
        match self.feed() {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // The alert says why; the error is what matters here.
                let _ = self.flush().await;
                Err(error)
            }
            fed => fed,
        }
    }

    /// Feeds rustls with the ciphertext at hand until it has plaintext.
    fn feed(&mut self) -> io::Result<usize> {
        let ciphertext = std::mem::take(&mut self.ciphertext);
        let mut rest = ciphertext.as_slice();
        if rest.is_empty() {
            // Tells rustls of the end, so that it can tell truncation from close_notify.
            self.session.read_tls(&mut rest)?;
            return Ok(0);
        }
        // rustls holds a bounded amount of plaintext, so it is not fed beyond the first.
        while !rest.is_empty() {
            self.session.read_tls(&mut rest)?;
            match self.session.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => break,
                Ok(_) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        let used = ciphertext.len() - rest.len();
        self.ciphertext.extend_from_slice(rest);
        Ok(used)
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut ciphertext = std::mem::take(&mut self.outgoing);
        while self.session.wants_write() {
            self.session.write_tls(&mut ciphertext)?;
        }
        self.plain.write_all(&ciphertext).await
    }
}

#[cfg(test)]
mod tests;
