//! The server's side of one HTTP/1.1 connection.

use core::ops::Range;

use crate::http::h1::body::{BodyReader, BodyStep};
use crate::http::h1::head::{Parsed, parse_request};
use crate::http::h1::scan::{HeadScan, Role};
use crate::http::h1::{BodyKind, Error, Limits, usual, write};
use crate::http::headers::is_token_byte;
use crate::http::{HeaderList, Method, RequestHead, Response, Version};

/// An unread request body of up to so many bytes is read and thrown away to keep the
/// connection; beyond it a new connection is cheaper than the rest of the body.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// Parses requests and frames responses, one exchange after the other.
///
/// ```text
///          Request(None)
///        +------------------------------------------+
/// Head --+                                          +--> Read --finish()--> Head | closed
///        +-- Request(Length|Chunked) --> Body --End-+
/// ```
///
/// `respond` may come at any time after `Request`, or instead of it after an error. Pipelined
/// requests wait in the driver's buffer until `finish` says that the next may be read.
#[derive(Debug)]
pub struct ServerConn {
    limits: Limits,
    scan: HeadScan,
    body: BodyReader,
    phase: Phase,
    request: Request,
    is_answered: bool,
    must_close: bool,
    /// The last Host that was well formed; empty at first.
    last_host: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Body,
    /// The request has been read to its end.
    Read,
    /// Framing is lost; nothing more is read.
    Broken,
}

/// What the codec has to remember of the request it answers.
#[derive(Clone, Copy, Debug, Default)]
struct Request {
    method: Method,
    version: Version,
    /// The client waits for 100 before it sends its body.
    expects_continue: bool,
    /// The client asked for another protocol.
    wants_upgrade: bool,
}

/// What a head means for the connection: a function of its bytes and the limits.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Opened {
    limits: Limits,
    body: BodyKind,
    request: Request,
    closes: bool,
}

/// What the front of the input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Discard `consumed` bytes, keep the rest, read more.
    NeedMore {
        /// How many bytes to discard.
        consumed: usize,
    },
    /// A request head; it is in the `head` that was passed.
    Request {
        /// How many bytes to discard.
        consumed: usize,
        /// How the body is framed. After `None` no `Body` or `End` comes.
        body: BodyKind,
        /// The client waits for [`ServerConn::write_continue`] before it sends its body.
        expect_continue: bool,
    },
    /// `input[span]` is body.
    Body {
        /// Where the body bytes are; never empty.
        span: Range<usize>,
        /// How many bytes to discard once those are taken.
        consumed: usize,
    },
    /// The body is over; [`ServerConn::take_trailers`] has its trailers.
    End {
        /// How many bytes to discard.
        consumed: usize,
    },
}

/// How the response that was begun goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How the driver must send the content: not at all, as it is, or in chunks.
    /// `Length` binds: fewer bytes must end in closing the connection, more must not be sent.
    pub body: BodyKind,
    /// Whether the response said that the connection stays open.
    pub persists: bool,
}

/// A response whose framing is decided.
#[derive(Clone, Copy, Debug)]
pub struct Framed {
    declared: write::Declared,
    /// Whole field line.
    connection: Option<&'static [u8]>,
    /// How the response goes on.
    pub sent: Sent,
}

impl Framed {
    /// The Content-Length, if nothing else is said of framing and connection.
    #[must_use]
    pub fn length_alone(&self) -> Option<u64> {
        match (self.declared, self.connection) {
            (write::Declared::Length(length), None) => Some(length),
            _ => None,
        }
    }

    /// Writes the head, with whole lines of `extra` behind all others.
    #[inline]
    pub fn write(&self, response: &Response, out: &mut Vec<u8>, extra: impl FnOnce(&mut Vec<u8>)) {
        write::response_head(response, self.declared, self.connection, out);
        extra(out);
        out.extend_from_slice(b"\r\n");
    }
}

/// What to do with the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Poll for the next request.
    Request,
    /// The request's body was not read to its end: poll and discard until `End`, then ask again.
    Drain,
    /// Close: stop sending first, read on for a moment, so that the response is not reset.
    Close,
}

impl ServerConn {
    /// A connection on which nothing has come yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scan: HeadScan::default(),
            body: BodyReader::default(),
            phase: Phase::Head,
            request: Request::default(),
            is_answered: false,
            must_close: false,
            last_host: Vec::new(),
        }
    }

    /// Reads what is at the front of `input`: the bytes not yet discarded, in order.
    ///
    /// # Errors
    /// When the client broke the protocol. The connection is then of no further use but to
    /// [`respond`](Self::respond) with [`Error::status`], if nothing has been answered yet.
    pub fn poll(&mut self, input: &[u8], head: &mut RequestHead) -> Result<Event, Error> {
        let event = match self.phase {
            Phase::Head => self.poll_head(input, head),
            Phase::Body => self.poll_body(input),
            Phase::Read | Phase::Broken => Ok(Event::NeedMore { consumed: 0 }),
        };
        if event.is_err() {
            self.phase = Phase::Broken;
            self.must_close = true;
        }
        event
    }

    fn poll_head(&mut self, input: &[u8], head: &mut RequestHead) -> Result<Event, Error> {
        if self.scan.is_fresh() {
            if let Some((end, opened)) = head.recall(input)
                && opened.limits == self.limits
            {
                return Ok(self.begin(opened, end));
            }
            if let Some(parsed) = usual::parse_request(input, &self.limits, head)
                && let Ok(opened) = self.open(&parsed, head)
            {
                head.keep(opened);
                return Ok(self.begin(opened, parsed.end));
            }
        }
        if self.scan.is_fresh()
            && input.first().is_some_and(|&byte| is_token_byte(byte))
            && let Ok(Some(parsed)) = parse_request(input, 0, &self.limits, head)
            && let Ok(opened) = self.open(&parsed, head)
        {
            return Ok(self.begin(opened, parsed.end));
        }
        // Not whole, or not good: only the scan, which does not depend on where reads were cut,
        // says which.
        let Some((start, _)) = self.scan.run(input, Role::Server, &self.limits)? else {
            // An empty line after a body, as some clients send, leaves the connection idle.
            let consumed = self.scan.take_empty_lines();
            return Ok(Event::NeedMore { consumed });
        };
        let parsed = parse_request(input, start, &self.limits, head)?;
        let parsed = parsed.ok_or(Error::Field)?;
        let opened = self.open(&parsed, head)?;
        Ok(self.begin(opened, parsed.end))
    }

    /// What the head means for the connection.
    #[inline]
    fn open(&mut self, parsed: &Parsed<'_>, head: &RequestHead) -> Result<Opened, Error> {
        let version = head.version;
        let body = parsed.framing.of_request(version, &mut self.last_host)?;
        let connection = parsed.framing.connection;
        let is_http10 = version == Version::Http10;
        let request = Request {
            method: head.method,
            version,
            // RFC 9110 §10.1.1: a 1.0 client never waits, nor does one without a body.
            expects_continue: parsed.framing.expects_continue
                && !is_http10
                && body != BodyKind::None,
            wants_upgrade: connection.upgrade && !is_http10,
        };
        Ok(Opened {
            limits: self.limits,
            body,
            request,
            closes: connection.close || (is_http10 && !connection.keep_alive),
        })
    }

    /// Begins the exchange that a head of `consumed` bytes asks for.
    #[inline]
    fn begin(&mut self, opened: Opened, consumed: usize) -> Event {
        let body = opened.body;
        self.request = opened.request;
        self.must_close |= opened.closes;
        self.scan = HeadScan::default();
        self.body.start(body);
        self.phase = match body {
            BodyKind::None => Phase::Read,
            _ => Phase::Body,
        };
        Event::Request {
            consumed,
            body,
            expect_continue: self.request.expects_continue,
        }
    }

    fn poll_body(&mut self, input: &[u8]) -> Result<Event, Error> {
        if !input.is_empty() {
            // The client did not wait after all.
            self.request.expects_continue = false;
        }
        Ok(match self.body.step(input)? {
            BodyStep::NeedMore { consumed } => Event::NeedMore { consumed },
            BodyStep::Body { span } => Event::Body {
                consumed: span.end,
                span,
            },
            BodyStep::End { consumed } => {
                self.phase = Phase::Read;
                Event::End { consumed }
            }
        })
    }

    /// Bounds the body of this request; to be called between its head and its first byte.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] if its Content-Length is larger already; a chunked body is
    /// refused by [`poll`](Self::poll) when it grows beyond.
    pub fn limit_body(&mut self, bytes_max: u64) -> Result<(), Error> {
        let checked = self.body.limit(bytes_max);
        if checked.is_err() {
            self.phase = Phase::Broken;
            self.must_close = true;
        }
        checked
    }

    /// Trailers of the body that ended, if it had any.
    pub fn take_trailers(&mut self) -> Option<HeaderList> {
        self.body.take_trailers()
    }

    /// Writes `100 Continue` if the client waits for it; says whether it did. To be called when
    /// someone wants the body, before it is read.
    pub fn write_continue(&mut self, out: &mut Vec<u8>) -> bool {
        let expects = self.request.expects_continue && !self.is_answered;
        if expects {
            self.request.expects_continue = false;
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        expects
    }

    /// Writes status line, fields and framing of the final response; its content is the
    /// driver's to send, as the answer says. `extra` are whole field lines with their CRLF, put
    /// after the response's own: Date, Server and the like.
    ///
    /// A Connection field of the response may say `close`. Its Content-Length counts only where
    /// the content is a stream, or where there is none to measure (HEAD, 304).
    pub fn respond(&mut self, response: &Response, extra: &[u8], out: &mut Vec<u8>) -> Sent {
        self.respond_with(response, out, |out| out.extend_from_slice(extra))
    }

    /// The same with a writer of the extra lines.
    #[inline]
    pub fn respond_with(
        &mut self,
        response: &Response,
        out: &mut Vec<u8>,
        extra: impl FnOnce(&mut Vec<u8>),
    ) -> Sent {
        let framed = self.frame(response);
        framed.write(response, out, extra);
        framed.sent
    }

    /// Begins the final response: decides its framing. [`Framed::write`] writes its head.
    #[inline]
    pub fn frame(&mut self, response: &Response) -> Framed {
        debug_assert!(!self.is_answered, "one final response for each request");
        let body = write::response_body(response, self.request.method, self.request.version);
        // A client that waits for 100 may or may not send its body now (RFC 9110 §10.1.1): only
        // closing is unambiguous.
        self.must_close |= body.sent == BodyKind::UntilClose
            || self.request.expects_continue
            || self.body.left().is_some_and(|left| left > DRAIN_BYTES_MAX)
            || write::asks_close(&response.headers)
            || self.switches(response.status);
        self.is_answered = true;
        let connection = match (self.must_close, self.request.version) {
            _ if self.switches(response.status) => None,
            (true, _) => Some(&b"Connection: close\r\n"[..]),
            (false, Version::Http10) => Some(&b"Connection: keep-alive\r\n"[..]),
            (false, _) => None,
        };
        Framed {
            declared: body.declared,
            connection,
            sent: Sent {
                body: body.sent,
                persists: !self.must_close,
            },
        }
    }

    /// Whether what follows this response is no longer HTTP/1.1, as far as the client knows.
    fn switches(&self, status: u16) -> bool {
        status == 101 || self.request.method == Method::Connect && (200..300).contains(&status)
    }

    /// Ends the exchange once the response is sent whole. Where it was not, just close.
    pub fn finish(&mut self) -> Next {
        if self.must_close || !self.is_answered {
            self.phase = Phase::Broken;
            return Next::Close;
        }
        match self.phase {
            Phase::Broken => Next::Close,
            Phase::Body => {
                // Bounds what a chunked body may still cost; one of known length is small.
                if self.body.limit(DRAIN_BYTES_MAX).is_err() {
                    self.phase = Phase::Broken;
                    self.must_close = true;
                    return Next::Close;
                }
                Next::Drain
            }
            Phase::Head | Phase::Read => {
                self.phase = Phase::Head;
                self.is_answered = false;
                self.request = Request::default();
                Next::Request
            }
        }
    }

    /// Makes this exchange the connection's last: shutdown, `keepalive_requests` reached. To be
    /// called before [`respond`](Self::respond), so that the response says so.
    pub fn close_after_response(&mut self) {
        self.must_close = true;
    }

    /// Whether a final response has been begun in this exchange; after that an error can only
    /// close the connection.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Whether no exchange is open and nothing of a head has come: the client may close, or be
    /// closed, without anything being lost.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Head && self.scan.is_fresh()
    }

    /// The version of the open exchange's request.
    #[must_use]
    pub fn version(&self) -> Version {
        self.request.version
    }

    /// What it was made with.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the open exchange's request, its body included, has been read to its end.
    #[must_use]
    pub fn is_request_read(&self) -> bool {
        self.phase == Phase::Read
    }

    /// Whether the client asked for another protocol (RFC 9110 §7.8); ignoring it is fine.
    #[must_use]
    pub fn wants_upgrade(&self) -> bool {
        self.request.wants_upgrade
    }

    /// The client will send no more, and all it sent has been polled: whether it stopped between
    /// two requests, or inside one. A whole request is still answered, and then is the last.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if it stopped inside a head or a body; nobody hears the answer to
    /// half a request, so close.
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        let ended = match self.phase {
            Phase::Head if self.scan.is_fresh() => Ok(()),
            Phase::Head => Err(Error::Incomplete),
            Phase::Body => self.body.end_of_input(),
            Phase::Read | Phase::Broken => Ok(()),
        };
        self.must_close = true;
        ended
    }
}
