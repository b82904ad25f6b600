//! HTTP/1.1 on blocking sockets: one exchange after the other, the connection kept for the next.
//! Framing is `http::h1`'s; nothing here knows MCP.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::trust::{Trust, tls_config};
use crate::http::endpoint::{Endpoint, Origin};
use crate::http::h1::{self, BodyKind, ClientConn, ClientEvent, Limits, RequestLine};
use crate::http::{HeaderList, ResponseHead};

/// A connect that takes longer fails for whoever waits at a terminal.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 * 1024;
/// What a load balancer that checks its target's health begins with.
const PROXY_LINE: &[u8] = b"PROXY UNKNOWN\r\n";

/// What is peculiar about the way to a server.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Manner {
    /// The name to ask for, where it is not the URL's.
    pub(in crate::cli) host: Option<String>,
    /// Connections begin with a PROXY line.
    pub(in crate::cli) proxy_line: bool,
    /// Whose certificate is believed.
    pub(in crate::cli) trust: Trust,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum HttpError {
    #[error("the name {host} cannot be resolved: {error}")]
    Resolve { host: String, error: io::Error },
    #[error("nothing listens on {authority}")]
    Refused { authority: String },
    #[error("cannot connect to {authority}: {error}")]
    Connect { authority: String, error: io::Error },
    #[error("no secure connection to {authority}: {reason}")]
    Tls { authority: String, reason: String },
    #[error("nothing came for {0}")]
    TimedOut(String),
    #[error("the server closed the connection before its answer was complete")]
    Closed,
    #[error("the connection failed: {0}")]
    Io(io::Error),
    #[error("the server broke HTTP: {0}")]
    Protocol(#[from] h1::Error),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }
}

/// One connection and what was read from it too early.
struct Connection {
    stream: Stream,
    codec: ClientConn,
    input: Vec<u8>,
    consumed: usize,
}

/// Makes exchanges with one origin.
pub(super) struct Http {
    origin: Origin,
    timeout: Duration,
    manner: Manner,
    tls: Option<Arc<ClientConfig>>,
    idle: Option<Connection>,
}

/// A request to send.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: HeaderList,
    pub(super) body: &'a [u8],
}

/// A response whose body is still to be read.
pub(super) struct Response {
    pub(super) head: ResponseHead,
    connection: Connection,
    timeout: Duration,
    is_done: bool,
}

impl Http {
    pub(super) fn new(endpoint: &Endpoint, timeout: Duration, manner: Manner) -> Self {
        Self {
            origin: endpoint.origin.clone(),
            timeout,
            manner,
            tls: None,
            idle: None,
        }
    }

    /// Sends a request and waits for the head of its response.
    pub(super) fn send(&mut self, request: &Request<'_>) -> Result<Response, HttpError> {
        if let Some(connection) = self.idle.take() {
            match self.send_on(connection, request) {
                // The server closed it in the meantime: the request did not arrive.
                Err((_, true)) => {}
                Err((error, false)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
        let connection = self.connect()?;
        self.send_on(connection, request)
            .map_err(|(error, _)| error)
    }

    /// Keeps the connection of a response that was read to its end.
    pub(super) fn keep(&mut self, mut response: Response) {
        let is_clean = response.connection.unread().is_empty();
        if response.is_done && response.connection.codec.finish(true) && is_clean {
            self.idle = Some(response.connection);
        }
    }

    /// Forgets the connection that was kept: the next request gets one of its own. On a kept one
    /// a server's close may cross the request, and a call must not be sent twice.
    pub(super) fn forget(&mut self) {
        self.idle = None;
    }

    fn send_on(
        &self,
        mut connection: Connection,
        request: &Request<'_>,
    ) -> Result<Response, (HttpError, bool)> {
        let kind = match request.body.len() {
            0 => BodyKind::None,
            length => BodyKind::Length(length as u64),
        };
        let line = RequestLine {
            method: request.method,
            target: request.target,
        };
        let mut headers = HeaderList::new();
        let authority = self.origin.authority();
        let host = self.manner.host.as_ref().unwrap_or(&authority);
        headers.push(b"Host", host.as_bytes());
        headers.append(&request.headers);
        let mut out = Vec::with_capacity(1024 + request.body.len());
        connection.codec.request(line, &headers, kind, &mut out);
        out.extend_from_slice(request.body);
        if let Err(error) = connection.stream.write_all(&out) {
            // Without an answer waiting the request counts as not arrived.
            return Err((self.io_error(error), true));
        }
        let mut head = ResponseHead::default();
        loop {
            let event = connection.poll(&mut head);
            match event.map_err(|error| (error.into(), false))? {
                ClientEvent::Response { consumed, body } => {
                    connection.consumed += consumed;
                    return Ok(Response {
                        head,
                        connection,
                        timeout: self.timeout,
                        is_done: body == BodyKind::None,
                    });
                }
                ClientEvent::Interim { consumed, .. } => connection.consumed += consumed,
                _ => match connection.fill() {
                    Ok(0) => return Err((HttpError::Closed, connection.codec.is_unanswered())),
                    Ok(_) => {}
                    Err(error) => {
                        let is_unanswered = connection.codec.is_unanswered();
                        let is_reset = error.kind() == io::ErrorKind::ConnectionReset;
                        return Err((self.io_error(error), is_unanswered && is_reset));
                    }
                },
            }
        }
    }

    fn connect(&mut self) -> Result<Connection, HttpError> {
        let authority = self.origin.authority();
        let stream = self.connect_tcp(&authority)?;
        let set = |stream: &TcpStream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.set_write_timeout(Some(self.timeout))
        };
        set(&stream).map_err(HttpError::Io)?;
        if self.manner.proxy_line {
            (&stream).write_all(PROXY_LINE).map_err(HttpError::Io)?;
        }
        let stream = if self.origin.is_tls {
            self.connect_tls(stream, &authority)?
        } else {
            Stream::Plain(stream)
        };
        Ok(Connection {
            stream,
            codec: ClientConn::new(Limits::default()),
            input: Vec::new(),
            consumed: 0,
        })
    }

    fn connect_tcp(&self, authority: &str) -> Result<TcpStream, HttpError> {
        let name = (&*self.origin.host, self.origin.port);
        let resolve = |error| HttpError::Resolve {
            host: self.origin.host.to_string(),
            error,
        };
        let addresses: Vec<SocketAddr> = name.to_socket_addrs().map_err(resolve)?.collect();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in &addresses {
            match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        let authority = authority.to_owned();
        Err(match last.kind() {
            io::ErrorKind::ConnectionRefused => HttpError::Refused { authority },
            _ => HttpError::Connect {
                authority,
                error: last,
            },
        })
    }

    fn connect_tls(&mut self, stream: TcpStream, authority: &str) -> Result<Stream, HttpError> {
        let failed = |reason: String| HttpError::Tls {
            authority: authority.to_owned(),
            reason,
        };
        let config = match &self.tls {
            Some(config) => Arc::clone(config),
            None => Arc::clone(
                self.tls
                    .insert(tls_config(self.manner.trust).map_err(failed)?),
            ),
        };
        let host = self.manner.host.as_deref().unwrap_or(&self.origin.host);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| failed(error.to_string()))?;
        let session = ClientConnection::new(config, name);
        let session = session.map_err(|error| failed(error.to_string()))?;
        let mut stream = StreamOwned::new(session, stream);
        while stream.conn.is_handshaking() {
            let done = stream.conn.complete_io(&mut stream.sock);
            done.map_err(|error| failed(error.to_string()))?;
        }
        Ok(Stream::Tls(Box::new(stream)))
    }

    fn io_error(&self, error: io::Error) -> HttpError {
        io_error(error, self.timeout)
    }
}

impl Response {
    /// The next piece of the body; `None` at its end.
    pub(super) fn read(&mut self) -> Result<Option<Bytes>, HttpError> {
        let mut head = ResponseHead::default();
        while !self.is_done {
            let connection = &mut self.connection;
            match connection.poll(&mut head)? {
                ClientEvent::Body { span, consumed } => {
                    let piece = connection.unread().get(span).unwrap_or_default();
                    let piece = Bytes::copy_from_slice(piece);
                    connection.consumed += consumed;
                    return Ok(Some(piece));
                }
                ClientEvent::End { consumed } => {
                    connection.consumed += consumed;
                    self.is_done = true;
                }
                ClientEvent::NeedMore { consumed } => {
                    connection.consumed += consumed;
                    let filled = connection.fill();
                    if filled.map_err(|error| io_error(error, self.timeout))? == 0 {
                        let ended = self.connection.codec.end_of_input();
                        ended.map_err(|_| HttpError::Closed)?;
                        self.is_done = true;
                    }
                }
                ClientEvent::Interim { .. }
                | ClientEvent::Response { .. }
                | ClientEvent::Switched { .. } => {
                    return Err(HttpError::Closed);
                }
            }
        }
        Ok(None)
    }

    /// The whole body.
    pub(super) fn read_all(&mut self, bytes_max: usize) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        while let Some(piece) = self.read()? {
            if body.len() + piece.len() > bytes_max {
                return Err(HttpError::TooLarge(bytes_max));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// A header as text; empty if absent.
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.head.headers.get_by_name(name.as_bytes());
        value
            .and_then(|value| str::from_utf8(value).ok())
            .unwrap_or("")
    }

    /// Media type without its parameters, in lower case.
    pub(super) fn media_type(&self) -> String {
        let value = self.header("content-type");
        let essence = value.split(';').next().unwrap_or("");
        essence.trim().to_ascii_lowercase()
    }
}

impl Connection {
    fn poll(&mut self, head: &mut ResponseHead) -> Result<ClientEvent, h1::Error> {
        let unread = self.input.get(self.consumed..).unwrap_or_default();
        self.codec.poll(unread, head)
    }

    fn unread(&self) -> &[u8] {
        self.input.get(self.consumed..).unwrap_or_default()
    }

    /// Reads once; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        self.input.drain(..self.consumed.min(self.input.len()));
        self.consumed = 0;
        let start = self.input.len();
        self.input.resize(start + READ_BYTES, 0);
        let target = self.input.get_mut(start..).unwrap_or_default();
        let read = loop {
            match self.stream.read(target) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // TLS servers that close without saying so: the codec knows if that is early.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Ok(0),
                result => break result,
            }
        };
        self.input
            .truncate(start + read.as_ref().copied().unwrap_or(0));
        read
    }
}

fn io_error(error: io::Error, timeout: Duration) -> HttpError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            HttpError::TimedOut(crate::config::units::format_duration(timeout))
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => HttpError::Closed,
        _ => HttpError::Io(error),
    }
}
