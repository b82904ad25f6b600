//! What the peer broke, and which status says so. Every one of these ends the connection:
//! after a message whose end is in doubt nothing that follows can be trusted.

use crate::http::h1::chunked::ChunkedError;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request or status line is not one.
    #[error("malformed start line")]
    StartLine,
    /// A well-formed version other than HTTP/1.0 and HTTP/1.1.
    #[error("HTTP version not supported")]
    Version,
    /// The target's form does not fit the method, or its authority is malformed.
    #[error("malformed request target")]
    Target,
    /// A line ends in LF without CR (RFC 9112 §2.2 lets us refuse).
    #[error("a line does not end in CRLF")]
    LineEnding,
    /// A field line is folded, has a blank before its colon, or holds a forbidden byte.
    #[error("malformed header field")]
    Field,
    /// HTTP/1.1 without Host.
    #[error("Host is missing")]
    HostMissing,
    /// More than one Host field.
    #[error("Host is repeated")]
    HostRepeated,
    /// Host is not `host[:port]`.
    #[error("malformed Host")]
    HostMalformed,
    /// Content-Length is not one number of at most 64 bits.
    #[error("malformed Content-Length")]
    ContentLength,
    /// Content-Length comes more than once, even if equal.
    #[error("Content-Length is repeated")]
    ContentLengthRepeated,
    /// Both framings at once, the root of request smuggling (RFC 9112 §6.1).
    #[error("both Content-Length and Transfer-Encoding")]
    FramingConflict,
    /// Transfer-Encoding in HTTP/1.0, empty, or with chunked anywhere but once at the end.
    #[error("malformed Transfer-Encoding")]
    TransferEncoding,
    /// A transfer coding other than chunked.
    #[error("transfer coding not implemented; only chunked is")]
    TransferCoding,
    /// A name that reads as a framing field once `_` becomes `-`, as CGI does.
    #[error("a field name imitates a framing field")]
    FieldImitation,
    /// An expectation other than 100-continue.
    #[error("expectation not supported; only 100-continue is")]
    Expectation,
    /// The request line exceeds [`Limits::line_bytes_max`](super::Limits::line_bytes_max).
    #[error("request line too long")]
    LineTooLong,
    /// A field line exceeds [`Limits::field_bytes_max`](super::Limits::field_bytes_max).
    #[error("header field too long")]
    FieldTooLong,
    /// The head exceeds [`Limits::head_bytes_max`](super::Limits::head_bytes_max).
    #[error("message head too large")]
    HeadTooLarge,
    /// More fields than [`Limits::fields_max`](super::Limits::fields_max).
    #[error("too many header fields")]
    TooManyFields,
    /// The chunked coding is broken.
    #[error(transparent)]
    Chunked(#[from] ChunkedError),
    /// The body exceeds the limit set with `limit_body`.
    #[error("request body too large")]
    BodyTooLarge,
    /// A response with a status outside 100–599.
    #[error("malformed status code")]
    Status,
    /// 101 without having asked, or more interim responses than anyone sends.
    #[error("unexpected interim response")]
    Interim,
    /// Bytes came on a connection on which nothing was asked.
    #[error("bytes without a request")]
    Unsolicited,
    /// The peer closed inside a message.
    #[error("the peer closed inside a message")]
    Incomplete,
}

impl Error {
    /// Which status a server answers, before it closes.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::LineTooLong => 414,
            Self::Expectation => 417,
            Self::FieldTooLong | Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::TransferCoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}
