//! One pass over a JSON-RPC message that builds nothing: where its parts are, and what it is.
//!
//! The envelope, and of `params` the members that the gateway acts on, are found and checked;
//! everything else is only walked over, so that what is forwarded is known to be JSON and stays
//! as it was, byte for byte. A key that the gateway acts on may stand once: parsers disagree
//! about which of two counts, and that is how a request is smuggled past a check.

mod message;
mod reader;
#[cfg(test)]
mod tests;
mod text;

pub use message::{Kind, Message};
pub use reader::{DEPTH_MAX, Reader, Text};
pub use text::{decode, same_text};

use core::ops::Range;

/// Part of a message. Empty means absent: no JSON value is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Nothing.
    pub const NONE: Self = Self { start: 0, end: 0 };

    /// The bytes from `start` to before `end`.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Whether there is such a part.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.end > self.start
    }

    /// The part as a range.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes of the part; empty if absent.
    #[must_use]
    pub fn of(self, message: &[u8]) -> &[u8] {
        message.get(self.range()).unwrap_or_default()
    }

    /// The bytes of the part, if there is one.
    #[must_use]
    pub fn get(self, message: &[u8]) -> Option<&[u8]> {
        self.is_some().then(|| self.of(message))
    }

    /// The same part after `delta` bytes were added (or taken away) at `at`.
    #[must_use]
    pub const fn shifted(self, at: u32, delta: i64) -> Self {
        const fn moved(place: u32, delta: i64) -> u32 {
            (place as i64 + delta) as u32
        }
        Self {
            start: if self.start > at {
                moved(self.start, delta)
            } else {
                self.start
            },
            end: if self.end > at {
                moved(self.end, delta)
            } else {
                self.end
            },
        }
    }
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// JSON-RPC messages are UTF-8.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the message is not JSON: unexpected byte or end at offset {at}")]
    Syntax {
        /// Where, in bytes.
        at: usize,
    },
    /// Deeper than [`DEPTH_MAX`].
    #[error("the message nests deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Spans are 32 bits.
    #[error("the message is larger than 4 GiB")]
    TooLarge,
    /// More messages in a batch than allowed.
    #[error("the batch has no message or too many")]
    BatchSize,
    /// Valid JSON, but not an object.
    #[error("a message is a JSON object")]
    NotObject,
    /// The member stands twice.
    #[error("the member `{0}` stands twice")]
    Duplicate(&'static str),
    /// `jsonrpc` is absent or not "2.0".
    #[error("`jsonrpc` must be \"2.0\"")]
    NotJsonRpc,
    /// The id is neither a string nor an integer.
    #[error("`id` must be a string or an integer")]
    BadId,
    /// A member that the gateway acts on has the wrong type.
    #[error("`{0}` has the wrong type")]
    BadMember(&'static str),
    /// Neither a method nor a result nor an error, or several of them.
    #[error("the message is neither a request, nor a notification, nor a response")]
    NotMessage,
}

impl ScanError {
    /// The JSON-RPC code: parse error or invalid request.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::NotUtf8 | Self::Syntax { .. } | Self::TooDeep | Self::TooLarge => -32700,
            _ => -32600,
        }
    }
}

/// A message that cannot be acted on, and its id where that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub error: ScanError,
    /// The id as JSON; absent if it could not be read.
    pub id: Span,
}

/// Whether the text is an array: a batch (2025-03-26 basic/index §Batching).
#[must_use]
pub fn is_batch(bytes: &[u8]) -> bool {
    Reader::new(bytes).peek() == b'['
}

/// The messages of a batch, each to be given to [`Message::scan`]. At least one, at most `max`.
pub fn batch(bytes: &[u8], max: usize) -> Result<Vec<Span>, ScanError> {
    check_text(bytes)?;
    let mut reader = Reader::new(bytes);
    let mut spans = Vec::new();
    reader.expect(b'[')?;
    while reader.peek() != b']' || !spans.is_empty() {
        if spans.len() == max {
            return Err(ScanError::BatchSize);
        }
        spans.push(reader.value()?);
        match reader.peek() {
            b',' => reader.expect(b',')?,
            _ => break,
        }
    }
    reader.expect(b']')?;
    reader.finish()?;
    if spans.is_empty() {
        return Err(ScanError::BatchSize);
    }
    Ok(spans)
}

/// The value of an object's member, found by its decoded key. The first one counts.
#[must_use]
pub fn member(object: &[u8], key: &str) -> Option<Span> {
    let mut found = None;
    let _ = members(object, |name, value| {
        if found.is_none() && same_text(name, key) {
            found = Some(value);
        }
    });
    found
}

/// Hands every member of an object over: its key as it stands in the text, without quotes, and
/// its value.
pub fn members(object: &[u8], mut each: impl FnMut(&[u8], Span)) -> Result<(), ScanError> {
    let mut reader = Reader::new(object);
    if reader.peek() != b'{' {
        return Err(ScanError::NotObject);
    }
    let mut more = reader.open_object()?;
    while more {
        let key = reader.key()?;
        let value = reader.value()?;
        each(key.span.of(object), value);
        more = reader.next_member()?;
    }
    reader.finish()
}

/// Hands every element of an array over.
pub fn elements(array: &[u8], mut each: impl FnMut(Span)) -> Result<(), ScanError> {
    let mut reader = Reader::new(array);
    reader.expect(b'[')?;
    if reader.peek() == b']' {
        reader.expect(b']')?;
        return reader.finish();
    }
    loop {
        each(reader.value()?);
        if reader.peek() != b',' {
            break;
        }
        reader.expect(b',')?;
    }
    reader.expect(b']')?;
    reader.finish()
}

fn check_text(bytes: &[u8]) -> Result<(), ScanError> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(ScanError::TooLarge);
    }
    core::str::from_utf8(bytes).map_err(|_| ScanError::NotUtf8)?;
    Ok(())
}
