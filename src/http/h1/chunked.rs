//! Chunked transfer coding (RFC 9112 §7.1): the decoder, and what an encoder writes.
//!
//! Bytes in, spans out: the caller owns the buffer and learns which part of it is body. Only
//! trailers are copied, because they are few and must be whole before they mean anything.
//!
//! Strict on purpose. Bare LF, signs, leading blanks and empty sizes are refused, because two
//! parsers that guess differently here are how a request is smuggled past a front end.

use core::ops::Range;

use crate::base::limits::{CHUNK_OVERHEAD_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, HEADER_FIELDS_MAX};
use crate::http::headers::is_value_byte;
use crate::http::{HeaderList, Known};

/// One byte of extensions is forgiven for this many bytes of body, so that a long upload whose
/// every chunk is signed in its extension passes, and a body made of extensions does not.
const BODY_BYTES_PER_OVERHEAD_BYTE: u64 = 8;

/// Decodes one message body. Call [`step`](Self::step) until it returns [`Step::End`].
///
/// ```text
///            hex         CRLF, n>0        n bytes         CRLF
/// SizeStart -----> Size -----------> Data ---------> DataCr -----> SizeStart
///                   | CRLF, n=0                CRLF
///                   `-----------> TrailerStart -----> End
/// ```
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// Extension and trailer bytes in this body so far, less what its size forgave.
    overhead_bytes: u32,
    /// Trailer lines with their CRLF.
    trailer_bytes: Vec<u8>,
}

/// What the front of the input turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// `input[body]` is body. Discard `body.end` bytes and call again.
    Body {
        /// Where the body bytes are; never empty.
        body: Range<usize>,
    },
    /// Everything given was framing. Discard it all and read more.
    NeedMore,
    /// The body is over. Bytes after `consumed` belong to the next message.
    End {
        /// How many bytes to discard.
        consumed: usize,
    },
}

/// Why the peer's body cannot be trusted. Always answered with 400 and a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkedError {
    /// No digits, too many digits, or a byte that is not a hex digit.
    #[error("malformed chunk size")]
    BadSize,
    /// CR without LF, LF without CR, or data past the announced size.
    #[error("malformed chunk line ending")]
    BadLineEnding,
    /// A control byte in an extension.
    #[error("malformed chunk extension")]
    BadExtension,
    /// A trailer field that would be refused in a head.
    #[error("malformed trailer field")]
    BadTrailer,
    /// Extensions and trailers together exceed [`CHUNK_OVERHEAD_BYTES_MAX`].
    #[error("chunk extensions or trailers too large")]
    OverheadTooLarge,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    SizeStart,
    /// Size so far, digits so far.
    Size(u64, u8),
    /// Blanks between the size and the `;` of an extension (RFC 9112 §7.1.1 has them as BWS).
    SizeBlank(u64),
    Extension(u64),
    SizeLf(u64),
    /// Body bytes still to come; never zero.
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl ChunkedDecoder {
    /// A decoder at the first byte of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the decoder ready for another body and keeps its memory.
    pub fn reset(&mut self) {
        self.state = State::SizeStart;
        self.overhead_bytes = 0;
        self.trailer_bytes.clear();
    }

    /// Reads framing until it meets body bytes, the end, or the end of `input`. After an error
    /// or [`Step::End`] the decoder is spent until [`reset`](Self::reset).
    ///
    /// # Errors
    /// When the framing is broken; see [`ChunkedError`].
    pub fn step(&mut self, input: &[u8]) -> Result<Step, ChunkedError> {
        debug_assert_ne!(self.state, State::End, "step() after End");
        for (at, &byte) in input.iter().enumerate() {
            if let State::Data(left) = self.state {
                return Ok(self.take_body(at, input.len() - at, left));
            }
            self.state = self.next(byte)?;
            if self.state == State::End {
                return Ok(Step::End { consumed: at + 1 });
            }
        }
        Ok(Step::NeedMore)
    }

    fn take_body(&mut self, start: usize, available: usize, left: u64) -> Step {
        debug_assert!(left > 0 && available > 0);
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        let forgiven = taken as u64 / BODY_BYTES_PER_OVERHEAD_BYTE;
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.overhead_bytes = self.overhead_bytes.saturating_sub(forgiven);
        self.state = match left - taken as u64 {
            0 => State::DataCr,
            left => State::Data(left),
        };
        Step::Body {
            body: start..start + taken,
        }
    }

    /// The transition table for framing bytes, one transition a line. `Data` never gets here.
    fn next(&mut self, byte: u8) -> Result<State, ChunkedError> {
        use State::*;
        Ok(match (self.state, byte) {
            (SizeStart, _) => Size(hex(byte)?, 1),
            (Size(size, _) | SizeBlank(size), b'\r') => SizeLf(size),
            (Size(size, _) | SizeBlank(size), b';') => self.spend(Extension(size))?,
            (Size(size, _) | SizeBlank(size), b' ' | b'\t') => self.spend(SizeBlank(size))?,
            (Size(_, CHUNK_SIZE_DIGITS_MAX), _) => return Err(ChunkedError::BadSize),
            (Size(size, digits), _) => Size(size << 4 | hex(byte)?, digits + 1),
            (SizeBlank(_), _) => return Err(ChunkedError::BadSize),
            (Extension(size), b'\r') => SizeLf(size),
            (SizeLf(0), b'\n') => TrailerStart,
            (SizeLf(size), b'\n') => Data(size),
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => SizeStart,
            (TrailerStart, b'\r') => EndLf,
            (Trailer, b'\r') => self.keep(byte, TrailerLf)?,
            (TrailerLf, b'\n') => self.keep(byte, TrailerStart)?,
            (EndLf, b'\n') => End,
            (Extension(_) | TrailerStart | Trailer, b'\n') => {
                return Err(ChunkedError::BadLineEnding);
            }
            (Extension(size), _) if is_value_byte(byte) => self.spend(Extension(size))?,
            (Extension(_), _) => return Err(ChunkedError::BadExtension),
            (TrailerStart | Trailer, _) => self.keep(byte, Trailer)?,
            _ => return Err(ChunkedError::BadLineEnding),
        })
    }

    fn keep(&mut self, byte: u8, next: State) -> Result<State, ChunkedError> {
        self.trailer_bytes.push(byte);
        self.spend(next)
    }

    fn spend(&mut self, next: State) -> Result<State, ChunkedError> {
        self.overhead_bytes += 1;
        if self.overhead_bytes > CHUNK_OVERHEAD_BYTES_MAX {
            return Err(ChunkedError::OverheadTooLarge);
        }
        Ok(next)
    }

    /// The trailer fields, once the body has ended. Those that may not come in a trailer
    /// section (framing, routing, credentials) are dropped (RFC 9110 §6.5.1).
    ///
    /// # Errors
    /// [`ChunkedError::BadTrailer`] if one is malformed.
    pub fn trailers(&self) -> Result<HeaderList, ChunkedError> {
        let mut trailers = HeaderList::new();
        if self.trailer_bytes.is_empty() {
            return Ok(trailers);
        }
        let mut section = self.trailer_bytes.clone();
        section.extend_from_slice(b"\r\n");
        let mut slots = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
        let Ok(httparse::Status::Complete((_, fields))) =
            httparse::parse_headers(&section, &mut slots)
        else {
            return Err(ChunkedError::BadTrailer);
        };
        for field in fields {
            let known = Known::of(field.name.as_bytes());
            if !known.is_forbidden_in_trailers() {
                trailers.push(field.name.as_bytes(), field.value);
            }
        }
        Ok(trailers)
    }
}

/// The most bytes [`encode_chunk_head`] writes.
pub const CHUNK_HEAD_BYTES_MAX: usize = 18;

/// What follows the data of each chunk.
pub const CHUNK_TAIL: &[u8] = b"\r\n";

/// The last chunk with no trailers: ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes a chunk's size line. The data and [`CHUNK_TAIL`] follow. `size` is not zero, as a
/// chunk of zero bytes would end the body: skip empty data instead.
pub fn encode_chunk_head(size: usize, out: &mut Vec<u8>) {
    debug_assert_ne!(size, 0, "a chunk of no bytes ends the body");
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit_count = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digit_count).rev() {
        let digit = size >> (place * 4) & 0xf;
        out.extend(DIGITS.get(digit));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes one whole chunk; nothing for empty data.
pub fn encode_chunk(data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        out.reserve(data.len() + CHUNK_HEAD_BYTES_MAX + CHUNK_TAIL.len());
        encode_chunk_head(data.len(), out);
        out.extend_from_slice(data);
        out.extend_from_slice(CHUNK_TAIL);
    }
}

/// Writes the last chunk and the trailers; ends the body. Fields that may not come in a
/// trailer section are left out.
pub fn encode_last_chunk(trailers: Option<&HeaderList>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (known, name, value) in trailers.iter().flat_map(|list| list.iter()) {
        if !known.is_forbidden_in_trailers() {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn hex(byte: u8) -> Result<u64, ChunkedError> {
    char::from(byte)
        .to_digit(16)
        .map(u64::from)
        .ok_or(ChunkedError::BadSize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"4;name=\"v\"\r\nWiki\r\nA\r\n in chunks\r\n0\r\nExpires: 0\r\n\r\nGET /";

    /// Feeds `pieces` in turn; returns the body, how many bytes it ended after, the trailers.
    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, HeaderList), ChunkedError> {
        let (mut decoder, mut body, mut total) = (ChunkedDecoder::new(), Vec::new(), 0);
        for piece in pieces {
            let mut rest = *piece;
            loop {
                match decoder.step(rest)? {
                    Step::NeedMore => break total += rest.len(),
                    Step::End { consumed } => {
                        return Ok((body, total + consumed, decoder.trailers()?));
                    }
                    Step::Body { body: span } => {
                        body.extend_from_slice(&rest[span.clone()]);
                        total += span.end;
                        rest = &rest[span.end..];
                    }
                }
            }
        }
        panic!("input ended inside the body")
    }

    #[test]
    fn result_does_not_depend_on_where_reads_split() {
        let whole = decode(&[BODY]).unwrap();
        assert_eq!(whole.0, b"Wiki in chunks");
        assert_eq!(whole.1, BODY.len() - "GET /".len());
        assert_eq!(whole.2.wire(), b"Expires: 0\r\n");
        for split in 0..BODY.len() {
            let (head, tail) = BODY.split_at(split);
            assert_eq!(decode(&[head, tail]).unwrap(), whole, "split at {split}");
        }
    }

    #[test]
    fn refuses_what_another_parser_might_accept() {
        use ChunkedError::*;
        for (input, error) in [
            (&b"\r\n"[..], BadSize),
            (b"+4\r\n", BadSize),
            (b" 4\r\n", BadSize),
            (b"0x4\r\n", BadSize),
            (b"4 4\r\n", BadSize),
            (b"4\nWiki", BadSize),
            (b"4 \nWiki", BadSize),
            (b"4;a\n", BadLineEnding),
            (b"4;a\0b\r\n", BadExtension),
            (b"4;a\rb", BadLineEnding),
            (b"4\r\nWikiX", BadLineEnding),
            (b"4\r\nWiki\n", BadLineEnding),
            (b"00000000000000000\r\n", BadSize),
            (b"0\r\nA: b\n\r\n", BadLineEnding),
            (b"0\r\nA: b\rX", BadLineEnding),
            (b"0\r\nA : b\r\n\r\n", BadTrailer),
            (b"0\r\n A: b\r\n\r\n", BadTrailer),
            (b"0\r\nA\r\n\r\n", BadTrailer),
        ] {
            assert_eq!(decode(&[input]), Err(error), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn blanks_before_an_extension_are_tolerated() {
        let (body, ..) = decode(&[b"4 \t;a=b\r\nWiki\r\n0 \r\n\r\n"]).unwrap();
        assert_eq!(body, b"Wiki");
    }

    #[test]
    fn overhead_is_bounded_over_the_whole_body() {
        let chunk = [b"1;".as_slice(), &[b'x'; 1000], b"\r\na\r\n"].concat();
        assert_eq!(
            decode(&[&chunk.repeat(9)]),
            Err(ChunkedError::OverheadTooLarge)
        );
        let trailers = [b"0\r\n".as_slice(), &b"A: b\r\n".repeat(2000), b"\r\n"].concat();
        assert_eq!(decode(&[&trailers]), Err(ChunkedError::OverheadTooLarge));
    }

    #[test]
    fn signed_chunks_of_a_long_upload_pass() {
        let signature = [b'f'; 85];
        let chunk = [
            b"1000;s=".as_slice(),
            &signature,
            b"\r\n",
            &[b'x'; 4096],
            b"\r\n",
        ]
        .concat();
        let whole = [chunk.repeat(500), LAST_CHUNK.to_vec()].concat();
        assert_eq!(decode(&[&whole]).unwrap().0.len(), 500 * 4096);
    }

    #[test]
    fn trailers_that_would_change_the_message_are_dropped() {
        let input = b"0\r\nContent-Length: 99\r\nHost: evil\r\nX-T: 1\r\nAuthorization: x\r\n\r\n";
        assert_eq!(decode(&[input]).unwrap().2.wire(), b"X-T: 1\r\n");
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let (mut out, mut data) = (Vec::new(), Vec::new());
        for size in [1, 9, 10, 15, 16, 255, 256, 4095, 4096, 70_000] {
            let chunk = vec![b'z'; size];
            encode_chunk(&chunk, &mut out);
            data.extend_from_slice(&chunk);
        }
        encode_chunk(b"", &mut out);
        let mut trailers = HeaderList::new();
        trailers.push(b"X-T", b"1");
        trailers.push(b"Host", b"never");
        encode_last_chunk(Some(&trailers), &mut out);
        let (body, consumed, got) = decode(&[&out]).unwrap();
        assert_eq!((body, consumed), (data, out.len()));
        assert_eq!(got.wire(), b"X-T: 1\r\n");
        let mut head = Vec::new();
        encode_chunk_head(usize::MAX, &mut head);
        assert_eq!(head.len(), CHUNK_HEAD_BYTES_MAX);
    }
}
