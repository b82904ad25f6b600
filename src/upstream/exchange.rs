//! One request's response: its head, then its content as it comes. Read to the end it gives the
//! connection back; dropped earlier it closes it.

use core::pin::pin;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{Client, Connection, Error};
use crate::base::clock;
use crate::http::h1::{BodyKind, ClientEvent};
use crate::http::{HeaderList, Known, ResponseHead};
use crate::net::timer::{self, within};

/// What a read asks for at least.
const READ_BYTES: usize = 8 * 1024;
/// What a read asks for while a large body comes in.
const READ_BYTES_LARGE: usize = 64 * 1024;
/// A connection that dies later than this after a request did not die of having been idle.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long a reset is waited for that follows the end of a connection.
const RESET_WAIT: Duration = Duration::from_millis(50);
/// Memory set aside ahead because of an announced length; beyond it a body earns its memory.
const AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// A response whose head has come.
#[derive(Debug)]
pub struct Exchange {
    client: Rc<Client>,
    /// `None` once the content has been read to its end.
    connection: Option<Box<Connection>>,
    head: ResponseHead,
    body: BodyKind,
    idle: Duration,
    /// What the next call gives up first: the caller has had those bytes.
    lent: usize,
    read_bytes: usize,
    began: Instant,
    was_reset: bool,
    connect_time: Duration,
}

impl Exchange {
    pub(super) fn new(client: Rc<Client>, connection: Box<Connection>, idle: Duration) -> Self {
        Self {
            client,
            connection: Some(connection),
            head: ResponseHead::default(),
            body: BodyKind::None,
            idle,
            lent: 0,
            read_bytes: READ_BYTES,
            began: clock::mono(),
            was_reset: false,
            connect_time: Duration::ZERO,
        }
    }

    /// How long the connection took to be made; zero for one that was kept.
    #[must_use]
    pub const fn connect_time(&self) -> Duration {
        self.connect_time
    }

    /// Notes that the connection was made for this request.
    pub(super) const fn took(mut self, connect_time: Duration) -> Self {
        self.connect_time = connect_time;
        self
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The fields of the head.
    #[must_use]
    pub fn headers(&self) -> &HeaderList {
        &self.head.headers
    }

    /// The media type without its parameters, as it is spelled.
    #[must_use]
    pub fn media_type(&self) -> &str {
        let value = self.head.headers.get_str(Known::ContentType).unwrap_or("");
        value.split(';').next().unwrap_or("").trim()
    }

    /// After a connection died unanswered: whether the server may have read the request.
    pub(super) async fn may_have_been_read(&self) -> bool {
        let Some(connection) = &self.connection else {
            return true;
        };
        if clock::mono().duration_since(self.began) > AT_ONCE {
            return true;
        }
        if self.was_reset || matches!(connection.stream.unacknowledged(), Ok(1..)) {
            return false;
        }
        // Some servers end in order first and leave unread data behind: the reset follows.
        let reset = async {
            while connection.stream.pending_error().is_none() {
                timer::sleep(RESET_WAIT / 10).await;
            }
        };
        within(RESET_WAIT, reset).await.is_err()
    }

    pub(super) async fn read_head(&mut self) -> Result<(), Error> {
        // No answer can be there yet, so a read would only find that out.
        let mut must_wait = true;
        loop {
            let Some(connection) = &mut self.connection else {
                return Ok(());
            };
            let input = connection.input.get(connection.start..).unwrap_or_default();
            match connection.machine.poll(input, &mut connection.head)? {
                ClientEvent::Interim { consumed, .. } => connection.start += consumed,
                ClientEvent::Response { consumed, body } => {
                    connection.start += consumed;
                    self.head = core::mem::take(&mut connection.head);
                    self.body = body;
                    return Ok(());
                }
                ClientEvent::NeedMore { consumed } => {
                    connection.start += consumed;
                    if core::mem::take(&mut must_wait) {
                        // An error shows again in the read.
                        let _ = connection.stream.readable().await;
                    }
                    match connection.fill(READ_BYTES).await {
                        Ok(0) if connection.machine.is_unanswered() => {
                            return Err(Error::Unanswered);
                        }
                        Err(error) if connection.machine.is_unanswered() => {
                            self.was_reset = error.kind() == ErrorKind::ConnectionReset;
                            return Err(Error::Unanswered);
                        }
                        Ok(0) => connection.machine.end_of_input()?,
                        Ok(_) => {}
                        Err(error) => return Err(Error::Broken(error)),
                    }
                }
                // A machine that waits for a head reports neither.
                ClientEvent::Body { .. }
                | ClientEvent::End { .. }
                | ClientEvent::Switched { .. } => return Ok(()),
            }
        }
    }

    /// The next piece of the content; `None` after the last. The wait is bounded by the idle
    /// limit.
    ///
    /// # Errors
    /// The connection broke, the framing is wrong, or the limit ran out.
    pub async fn piece(&mut self) -> Result<Option<&[u8]>, Error> {
        let idle = self.idle;
        let range = match within(idle, pin!(self.next_span())).await {
            Ok(found) => found?,
            Err(timer::Elapsed) => {
                return Err(Error::TimedOut {
                    what: "more of the answer",
                    limit: idle,
                });
            }
        };
        let Some(range) = range else {
            return Ok(None);
        };
        let connection = self.connection.as_ref();
        Ok(connection.and_then(|connection| connection.input.get(range)))
    }

    /// The whole content.
    ///
    /// # Errors
    /// As [`piece`](Self::piece), and [`Error::TooLarge`].
    pub async fn whole(mut self, bytes_max: usize) -> Result<Bytes, Error> {
        let announced = match self.body {
            BodyKind::None => return Ok(Bytes::new()),
            BodyKind::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            BodyKind::Chunked | BodyKind::UntilClose => 0,
        };
        if announced > bytes_max {
            return Err(Error::TooLarge(bytes_max));
        }
        if announced > READ_BYTES {
            self.read_bytes = READ_BYTES_LARGE;
        }
        let mut whole = Vec::with_capacity(announced.min(AHEAD_BYTES_MAX));
        while let Some(piece) = self.piece().await? {
            if piece.len() > bytes_max - whole.len() {
                return Err(Error::TooLarge(bytes_max));
            }
            whole.extend_from_slice(piece);
            if whole.len() > READ_BYTES {
                self.read_bytes = READ_BYTES_LARGE;
            }
        }
        Ok(whole.into())
    }

    /// Reads the rest of the content, to no use but its connection's; at most so many bytes.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub async fn skip(&mut self, bytes_max: usize) -> Result<(), Error> {
        let mut left = bytes_max;
        while let Some(piece) = self.piece().await? {
            let Some(rest) = left.checked_sub(piece.len()) else {
                return Err(Error::TooLarge(bytes_max));
            };
            left = rest;
        }
        Ok(())
    }

    /// Where the next piece is in the connection's input.
    async fn next_span(&mut self) -> Result<Option<core::ops::Range<usize>>, Error> {
        if self.body == BodyKind::None {
            return Ok(None);
        }
        loop {
            let lent = core::mem::take(&mut self.lent);
            let Some(connection) = &mut self.connection else {
                return Ok(None);
            };
            connection.start += lent;
            let start = connection.start;
            let input = connection.input.get(start..).unwrap_or_default();
            match connection.machine.poll(input, &mut connection.head)? {
                ClientEvent::Body { span, consumed } => {
                    self.lent = consumed;
                    return Ok(Some(start + span.start..start + span.end));
                }
                ClientEvent::End { consumed } => {
                    connection.start += consumed;
                    self.finish();
                    return Ok(None);
                }
                ClientEvent::NeedMore { consumed } => {
                    connection.start += consumed;
                    match connection.fill(self.read_bytes).await {
                        Ok(0) => {
                            connection.machine.end_of_input()?;
                            self.finish();
                            return Ok(None);
                        }
                        Ok(read) => {
                            if read >= READ_BYTES {
                                self.read_bytes = READ_BYTES_LARGE;
                            }
                        }
                        Err(error) => return Err(Error::Broken(error)),
                    }
                }
                // The head has been read; nothing of the kind can follow.
                ClientEvent::Interim { .. }
                | ClientEvent::Response { .. }
                | ClientEvent::Switched { .. } => return Ok(None),
            }
        }
    }

    fn finish(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.client.put_back(connection, &self.head);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.body == BodyKind::None && self.head.status != 0 {
            self.finish();
        } else if let Some(connection) = self.connection.take() {
            self.client.discard(connection);
        }
        self.client.recycle(core::mem::take(&mut self.head));
    }
}

impl Connection {
    /// Reads once, with room for `wanted` bytes.
    async fn fill(&mut self, wanted: usize) -> std::io::Result<usize> {
        if self.start == self.input.len() {
            self.input.clear();
            self.start = 0;
        } else if self.start > 0 && self.input.capacity() - self.input.len() < wanted {
            self.input.drain(..self.start);
            self.start = 0;
        }
        if self.input.capacity() - self.input.len() < wanted.min(READ_BYTES / 4)
            || self.input.capacity() < wanted
        {
            self.input.reserve(wanted);
        }
        self.stream.read(&mut self.input).await
    }
}
