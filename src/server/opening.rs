//! From an accepted socket to HTTP: the PROXY header of a load balancer, TLS.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::http::proxy_line::{self, Parsed};
use crate::metrics::Counter;
use crate::net::Plain;
use crate::net::tls::server::{HandshakeError, ServerTls};
use crate::record::SeenTls;
use crate::server::connection::{Close, Connection};
use crate::server::deadlines::Limit;
use crate::tls::seen::ClientCertificate;

/// What HTTP on a TLS port is answered, as nginx does.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 53\r\n\
    Connection: close\r\n\
    \r\n\
    The plain HTTP request was sent to an HTTPS listener\n";

impl Connection {
    /// Whether anything comes before HTTP.
    pub(super) fn has_opening(&self) -> bool {
        let counting = &self.server.counting;
        self.reader.socket().tls().is_some()
            || self.expects_proxy_line()
            || counting.counts_connections()
    }

    fn expects_proxy_line(&self) -> bool {
        self.entrance.expects_proxy_line(self.peer.ip())
    }

    /// Does what comes before HTTP.
    pub(super) async fn open(&mut self) -> Result<(), Close> {
        if self.expects_proxy_line() {
            self.read_proxy_line().await?;
        }
        self.take_place().await?;
        let server = &self.server;
        let (Some(tls), Some(rules)) = (self.reader.socket().tls(), &self.entrance.tls) else {
            return Ok(());
        };
        let until = server.time.now().mono + rules.handshake_timeout;
        self.place.arm_idle(Limit::Handshake, until);
        let shaken = tls.handshake().await;
        self.place.disarm();
        let recorder = &server.recorder;
        let Err(error) = shaken else {
            let facts = tls.facts();
            recorder.count(match facts.is_resumed() {
                true => Counter::TlsResumed,
                false => Counter::TlsFull,
            });
            self.tls = Some(Rc::new(SeenTls {
                protocol: facts.protocol(),
                cipher: facts.cipher(),
                server_name: facts.server_name().map(Box::from),
                is_resumed: facts.is_resumed(),
                client: facts
                    .client_certificate()
                    .and_then(ClientCertificate::read)
                    .map(Box::new),
            }));
            return Ok(());
        };
        self.refuse_handshake(tls, &error)
    }

    /// Holds the connection against `max_connections_per_ip`: before the handshake, whose work
    /// a flood would be after.
    async fn take_place(&self) -> Result<(), Close> {
        let server = &self.server;
        let counting = &server.counting;
        if !counting.counts_connections() {
            return Ok(());
        };
        let now = server.time.now().mono;
        match counting.admit(self.peer.ip(), (&self.kept, now)).await {
            true => Ok(()),
            false => Err(Close::Now),
        }
    }

    fn refuse_handshake(&self, tls: &ServerTls, error: &HandshakeError) -> Result<(), Close> {
        let recorder = &self.server.recorder;
        if matches!(error, HandshakeError::PlainHttp) {
            recorder.count(Counter::TlsPlainHttp);
            let _ = tls.plain().try_write(PLAIN_HTTP);
            return Err(Close::Linger);
        }
        recorder.count(Counter::TlsFailed);
        let (log, peer) = (&self.server.log, self.peer);
        log.debug("tls", format_args!("{peer}: handshake failed: {error}"));
        Err(match error {
            // The alert must not be overtaken by a reset.
            HandshakeError::Refused(_) => Close::Linger,
            _ => Close::Now,
        })
    }

    /// Takes the header off the connection, and the client's address out of it.
    async fn read_proxy_line(&mut self) -> Result<(), Close> {
        let server = &self.server;
        let timeout = server.config.server.client_header_timeout;
        let until = server.time.now().mono + timeout;
        self.place.arm_idle(Limit::Header, until);
        let read = read_header(self.reader.socket().plain()).await;
        self.place.disarm();
        match read {
            Ok(source) => {
                self.peer = source.unwrap_or(self.peer);
                Ok(())
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    server.recorder.count(Counter::ProxyLinesRefused);
                    let (log, peer) = (&server.log, self.peer);
                    log.debug("proxy_protocol", format_args!("{peer}: {error}"));
                }
                Err(Close::Now)
            }
        }
    }
}

/// Reads a header and not a byte more: what follows is TLS's or HTTP's.
async fn read_header(socket: &Plain) -> io::Result<Option<SocketAddr>> {
    let mut seen = Vec::with_capacity(proxy_line::BYTES_MAX);
    loop {
        socket.readable().await?;
        let taken = seen.len();
        match socket.try_peek(&mut seen) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let parsed = proxy_line::parse(&seen)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match parsed {
            Parsed::Whole { used, source } => {
                socket.take_peeked(used - taken)?;
                return Ok(source);
            }
            // Taken, or the wait for more would end at once.
            Parsed::Partial => socket.take_peeked(seen.len() - taken)?,
        }
    }
}
