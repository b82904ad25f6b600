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

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConfig};

use crate::net::buffers::Buffers;
use crate::net::stream::Plain;
use crate::net::tls::session::Session;
use crate::tls::hello::{self, Greeting};

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
        let session = RefCell::new(Session::new(config, buffers)?);
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
                session.say_goodbye();
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

    /// The cipher suite by OpenSSL's name.
    #[must_use]
    pub fn cipher(&self) -> &'static str {
        let suite = self.session.rustls.negotiated_cipher_suite();
        match suite.map(|suite| suite.suite()) {
            Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
            Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
            Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => {
                "ECDHE-ECDSA-AES128-GCM-SHA256"
            }
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => {
                "ECDHE-RSA-AES128-GCM-SHA256"
            }
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => {
                "ECDHE-ECDSA-AES256-GCM-SHA384"
            }
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => {
                "ECDHE-RSA-AES256-GCM-SHA384"
            }
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => {
                "ECDHE-ECDSA-CHACHA20-POLY1305"
            }
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => {
                "ECDHE-RSA-CHACHA20-POLY1305"
            }
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

#[cfg(test)]
mod tests;
