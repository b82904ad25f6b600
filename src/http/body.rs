//! Message bodies as handlers see them, whatever the HTTP version.

use std::rc::Rc;

use bytes::Bytes;

use crate::base::channel::Receiver;
use crate::base::open_file::OpenFile;
use crate::http::{HeaderList, Source, Stored, Tunnel};

/// A request's or response's content.
#[derive(Debug, Default)]
pub enum Body {
    /// No content.
    #[default]
    Empty,
    /// Content compiled into the program.
    Static(&'static [u8]),
    /// Content at hand as a whole.
    Full(Bytes),
    /// Content that is kept and served many times, with its encodings. The compression filter
    /// puts one of them in its place; whoever writes it as it is sends the identity.
    Stored(Rc<Stored>),
    /// Content made of spans of open files, and bytes between them. Its length is promised: a
    /// driver that finds a file shorter breaks the connection or stream off.
    Pieces(Vec<Piece>),
    /// Content that is still being made. Dropping the receiver cancels whoever makes it.
    Stream(Receiver<Result<Frame, BodyError>>),
    /// Content that is fetched as it is asked for. Dropping it cancels whoever makes it.
    Source(Box<dyn Source>),
    /// What follows a 101: no content, but bytes both ways until the connection ends.
    Tunnel(Box<dyn Tunnel>),
}

/// A part of a body made of files.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes at hand.
    Bytes(Bytes),
    /// Bytes of a file.
    File(FileSpan),
}

/// A span of an open file.
#[derive(Clone, Debug)]
pub struct FileSpan {
    /// The file, open for reading.
    pub file: Rc<OpenFile>,
    /// Where the span begins.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Piece {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(span) => span.len,
        }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One piece of a streamed body.
#[derive(Debug)]
pub enum Frame {
    /// The next bytes.
    Data(Bytes),
    /// Trailer fields; nothing follows.
    Trailers(HeaderList),
}

/// Why a streamed body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The peer closed before the end it had announced.
    #[error("the peer closed before the end of the body")]
    Incomplete,
    /// The peer broke the framing.
    #[error("the peer sent a malformed body")]
    Malformed,
    /// The body is larger than the configured limit.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// Nothing came within the configured time.
    #[error("the body stalled")]
    TimedOut,
}

impl Body {
    /// Length in bytes where it is known before sending.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Empty | Self::Tunnel(_) => Some(0),
            Self::Static(bytes) => Some(bytes.len() as u64),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Stored(stored) => Some(stored.identity().len() as u64),
            Self::Pieces(pieces) => Some(pieces.iter().map(Piece::len).sum()),
            Self::Stream(_) => None,
            Self::Source(source) => source.length(),
        }
    }

    /// Whether the length is known to be zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Full(bytes.into())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(bytes)
    }
}

impl From<Rc<Stored>> for Body {
    fn from(stored: Rc<Stored>) -> Self {
        Self::Stored(stored)
    }
}
