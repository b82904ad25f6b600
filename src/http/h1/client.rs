//! The client's side of one HTTP/1.1 connection.

use core::ops::Range;

use crate::http::h1::body::{BodyReader, BodyStep};
use crate::http::h1::head::{Parsed, parse_response};
use crate::http::h1::scan::{HeadScan, Role};
use crate::http::h1::write::{self, Declared};
use crate::http::h1::{BodyKind, Error, Limits};
use crate::http::{HeaderList, Method, ResponseHead, Version};

/// More interim responses than this before one final are a loop, or a way to hold us.
const INTERIM_MAX: u8 = 16;

/// Frames requests and parses responses, one exchange after the other.
///
/// ```text
/// Idle --request()--> Head --+-- Response(None) -----------------+--> Read --finish()--> Idle
///                     |  ^   +-- Response(...) --> Body -- End --+
///                     +--+ Interim
/// ```
#[derive(Debug)]
pub struct ClientConn {
    limits: Limits,
    scan: HeadScan,
    body: BodyReader,
    phase: Phase,
    method: Method,
    interim_count: u8,
    persists: bool,
    /// The request asked for another protocol.
    asks_switch: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was asked.
    Idle,
    Head,
    Body,
    /// The response has been read to its end.
    Read,
    /// Framing is lost; nothing more is read.
    Broken,
}

/// Method and target of a request to send.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method as it is spelled.
    pub method: &'a str,
    /// The request target: origin-form, but for CONNECT.
    pub target: &'a str,
}

/// What the front of the input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Discard `consumed` bytes, keep the rest, read more.
    NeedMore {
        /// How many bytes to discard.
        consumed: usize,
    },
    /// An interim (1xx) response; `head` has its fields. The final one is still to come.
    Interim {
        /// How many bytes to discard.
        consumed: usize,
        /// 100, 102, 103 …
        status: u16,
    },
    /// A 101: what follows is another protocol. The machine is done with the connection.
    Switched {
        /// How many bytes to discard.
        consumed: usize,
    },
    /// The final response's head; it is in the `head` that was passed.
    Response {
        /// How many bytes to discard.
        consumed: usize,
        /// How the body is framed. After `None` no `Body` or `End` comes.
        body: BodyKind,
    },
    /// `input[span]` is body.
    Body {
        /// Where the body bytes are; never empty.
        span: Range<usize>,
        /// How many bytes to discard once those are taken.
        consumed: usize,
    },
    /// The body is over; [`ClientConn::take_trailers`] has its trailers.
    End {
        /// How many bytes to discard.
        consumed: usize,
    },
}

impl ClientConn {
    /// A connection on which nothing was asked yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scan: HeadScan::default(),
            body: BodyReader::default(),
            phase: Phase::Idle,
            method: Method::Get,
            interim_count: 0,
            persists: true,
            asks_switch: false,
        }
    }

    /// Begins an exchange: writes the request head to `out`. `headers` must have Host; framing
    /// and hop-by-hop fields in it are left out. The content is the driver's to send, framed as
    /// `body` says ([`super::chunked`] encodes). `UntilClose` is not for requests and reads as
    /// `None`.
    ///
    /// The caller vouches that method and target hold no blanks or control bytes, as those of a
    /// parsed [`RequestHead`](crate::http::RequestHead) do not.
    pub fn request(
        &mut self,
        line: RequestLine<'_>,
        headers: &HeaderList,
        body: BodyKind,
        out: &mut Vec<u8>,
    ) {
        debug_assert_eq!(self.phase, Phase::Idle, "one exchange at a time");
        self.method = Method::of(line.method.as_bytes());
        self.phase = Phase::Head;
        self.scan = HeadScan::default();
        self.interim_count = 0;
        self.persists = true;
        self.asks_switch = false;
        let declared = match body {
            BodyKind::Length(length) => Declared::Length(length),
            BodyKind::Chunked => Declared::Chunked,
            // A method that anticipates content says that there is none (RFC 9110 §8.6).
            BodyKind::None | BodyKind::UntilClose => match self.method {
                Method::Post | Method::Put | Method::Patch => Declared::Length(0),
                _ => Declared::Nothing,
            },
        };
        write::request_head(line.method, line.target, headers, declared, out);
    }

    /// Begins an exchange that asks for a switch to `protocol` (RFC 9110 §7.8), like
    /// [`request`](Self::request) without content.
    pub fn request_switch(
        &mut self,
        line: RequestLine<'_>,
        headers: &HeaderList,
        protocol: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.request(line, headers, BodyKind::None, out);
        self.asks_switch = true;
        // Before the empty line. A value that came in a head holds no line break.
        out.truncate(out.len().saturating_sub(2));
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
        out.extend_from_slice(protocol);
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Reads what is at the front of `input`: the bytes not yet discarded, in order.
    ///
    /// # Errors
    /// When the server broke the protocol: close the connection.
    pub fn poll(&mut self, input: &[u8], head: &mut ResponseHead) -> Result<ClientEvent, Error> {
        let event = match self.phase {
            Phase::Idle if !input.is_empty() => Err(Error::Unsolicited),
            Phase::Idle | Phase::Read | Phase::Broken => Ok(ClientEvent::NeedMore { consumed: 0 }),
            Phase::Head => self.poll_head(input, head),
            Phase::Body => self.poll_body(input),
        };
        if event.is_err() {
            self.phase = Phase::Broken;
        }
        event
    }

    fn poll_head(&mut self, input: &[u8], head: &mut ResponseHead) -> Result<ClientEvent, Error> {
        if self.scan.is_fresh()
            && input.first() == Some(&b'H')
            && let Ok(Some(parsed)) = parse_response(input, 0, &self.limits, head)
            && let Ok(event) = self.open(&parsed, head)
        {
            return Ok(event);
        }
        // As on the server's side: only the scan says what is wrong.
        let Some((start, _)) = self.scan.run(input, Role::Client, &self.limits)? else {
            return Ok(ClientEvent::NeedMore { consumed: 0 });
        };
        let parsed = parse_response(input, start, &self.limits, head)?;
        let parsed = parsed.ok_or(Error::Field)?;
        self.open(&parsed, head)
    }

    fn open(&mut self, parsed: &Parsed<'_>, head: &ResponseHead) -> Result<ClientEvent, Error> {
        let consumed = parsed.end;
        let status = head.status;
        let body = parsed
            .framing
            .of_response(head.version, status, self.method)?;
        if status < 200 {
            if status == 101 && self.asks_switch {
                self.persists = false;
                self.phase = Phase::Broken;
                return Ok(ClientEvent::Switched { consumed });
            }
            if status == 101 || self.interim_count == INTERIM_MAX {
                return Err(Error::Interim);
            }
            self.interim_count += 1;
            self.scan = HeadScan::default();
            return Ok(ClientEvent::Interim { consumed, status });
        }
        let connection = parsed.framing.connection;
        self.persists = body != BodyKind::UntilClose
            && !connection.close
            && (head.version != Version::Http10 || connection.keep_alive);
        self.scan = HeadScan::default();
        self.body.start(body);
        self.phase = match body {
            BodyKind::None => Phase::Read,
            _ => Phase::Body,
        };
        Ok(ClientEvent::Response { consumed, body })
    }

    fn poll_body(&mut self, input: &[u8]) -> Result<ClientEvent, Error> {
        Ok(match self.body.step(input)? {
            BodyStep::NeedMore { consumed } => ClientEvent::NeedMore { consumed },
            BodyStep::Body { span } => ClientEvent::Body {
                consumed: span.end,
                span,
            },
            BodyStep::End { consumed } => {
                self.phase = Phase::Read;
                ClientEvent::End { consumed }
            }
        })
    }

    /// Bounds the body of this response; to be called between its head and its first byte.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] if its Content-Length is larger already; a body of unknown length
    /// is refused by [`poll`](Self::poll) when it grows beyond.
    pub fn limit_body(&mut self, bytes_max: u64) -> Result<(), Error> {
        let checked = self.body.limit(bytes_max);
        if checked.is_err() {
            self.phase = Phase::Broken;
        }
        checked
    }

    /// Trailers of the body that ended, if it had any.
    pub fn take_trailers(&mut self) -> Option<HeaderList> {
        self.body.take_trailers()
    }

    /// The server will send no more. `Ok` if that is how the response ends, as one without
    /// framing does; it counts as the body's `End`.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if the response, or its beginning, is still owed.
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        self.persists = false;
        match self.phase {
            Phase::Idle | Phase::Read => Ok(()),
            Phase::Head | Phase::Broken => Err(Error::Incomplete),
            Phase::Body => {
                self.body.end_of_input()?;
                self.phase = Phase::Read;
                Ok(())
            }
        }
    }

    /// Whether not one byte has answered the request. A reused connection that ends like this
    /// was closed before the request arrived, so that sending it again elsewhere is safe for
    /// idempotent methods (RFC 9112 §9.3.1).
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.phase == Phase::Head && self.scan.is_fresh() && self.interim_count == 0
    }

    /// Ends the exchange; says whether the connection may carry another. `request_sent`: the
    /// request's content was sent to its end. Any byte that is left unread spoils the
    /// connection, and the next [`poll`](Self::poll) says so.
    pub fn finish(&mut self, request_sent: bool) -> bool {
        let reusable = self.phase == Phase::Read && self.persists && request_sent;
        self.phase = if reusable { Phase::Idle } else { Phase::Broken };
        reusable
    }
}
