//! From an accepted socket to HTTP: TLS.

use std::rc::Rc;

use crate::metrics::Counter;
use crate::net::tls::server::HandshakeError;
use crate::record::SeenTls;
use crate::server::connection::{Close, Connection};
use crate::server::deadlines::Limit;

/// What HTTP on a TLS port is answered, as nginx does.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 52\r\n\
    Connection: close\r\n\
    \r\n\
    The plain HTTP request was sent to an HTTPS listener\n";

impl Connection {
    /// Does what comes before HTTP.
    pub(super) async fn open(&mut self) -> Result<(), Close> {
        let Some(tls) = self.reader.socket().tls() else {
            return Ok(());
        };
        let server = &self.server;
        let entrance = self.entrance.tls.as_ref();
        let timeout = entrance.map_or(server.config.server.client_header_timeout, |tls| {
            tls.handshake_timeout
        });
        let until = server.time.now().mono + timeout;
        self.place.arm_idle(Limit::Handshake, until);
        let shaken = tls.handshake().await;
        self.place.disarm();
        let recorder = &server.recorder;
        match shaken {
            Ok(()) => {
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
                }));
                Ok(())
            }
            Err(HandshakeError::PlainHttp) => {
                recorder.count(Counter::TlsPlainHttp);
                let _ = tls.plain().try_write(PLAIN_HTTP);
                Err(Close::Linger)
            }
            Err(error) => {
                recorder.count(Counter::TlsFailed);
                let peer = self.peer;
                server
                    .log
                    .debug("tls", format_args!("{peer}: handshake failed: {error}"));
                Err(match error {
                    HandshakeError::Refused(_) => Close::Linger,
                    _ => Close::Now,
                })
            }
        }
    }
}
