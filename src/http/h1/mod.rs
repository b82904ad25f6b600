//! HTTP/1.1 (RFC 9112) without I/O: a server's and a client's side of one connection.
//!
//! Bytes in, events and bytes out. The driver owns the buffers: it hands over the unread bytes,
//! is told which of them are body and how many to discard, and writes what it is given.

mod body;
pub mod chunked;
mod client;
mod error;
pub(in crate::http) mod framing;
mod head;
mod scan;
mod server;
#[cfg(test)]
mod tests;
mod usual;
pub(in crate::http) mod write;

pub use client::{ClientConn, ClientEvent, RequestLine};
pub use error::Error;
pub(in crate::http) use server::Opened;
pub use server::{Event, Framed, Next, Sent, ServerConn};
pub(in crate::http) use usual::LINE_END as USUAL_LINE_END;

use crate::base::limits::HEADER_FIELDS_MAX;

/// How large a message head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request or status line in bytes, its CRLF included: beyond it 414.
    pub line_bytes_max: usize,
    /// Longest field line in bytes, its CRLF included: beyond it 431.
    pub field_bytes_max: usize,
    /// Largest head in bytes: beyond it 431.
    pub head_bytes_max: usize,
    /// Most fields: beyond it 431. Never more than [`HEADER_FIELDS_MAX`].
    pub fields_max: usize,
}

impl Limits {
    /// The limits that `header_buffers = { count, size }` means: a line fits one buffer, the
    /// head fits all of them.
    #[must_use]
    pub const fn from_buffers(count: usize, size: usize) -> Self {
        Self {
            line_bytes_max: size,
            field_bytes_max: size,
            head_bytes_max: count.saturating_mul(size),
            fields_max: HEADER_FIELDS_MAX,
        }
    }
}

/// nginx's default of four buffers, at the size the seed's configuration gives them.
impl Default for Limits {
    fn default() -> Self {
        Self::from_buffers(4, 16 * 1024)
    }
}

/// How a message body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// No body, or one of zero bytes: nothing follows the head.
    None,
    /// Exactly so many bytes; never zero.
    Length(u64),
    /// Chunks up to the last one.
    Chunked,
    /// Everything until the connection closes. Responses only.
    UntilClose,
}
