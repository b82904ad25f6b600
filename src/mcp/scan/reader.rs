//! Walks JSON text (RFC 8259) without building anything. Strict: what it accepts is JSON, so
//! that a value it skipped can be spliced into another message, or put on a line of its own.

use super::{ScanError, Span};

/// Objects and arrays that may be open at once. Servers' schemas and clients' arguments nest a
/// dozen deep; one bit of a `u128` each keeps the walk off the heap and off the stack.
pub const DEPTH_MAX: u32 = 128;

/// A place in JSON text.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string's content without its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The content as it stands in the text.
    pub span: Span,
    /// Whether it holds a backslash.
    pub escaped: bool,
}

impl<'a> Reader<'a> {
    /// A reader at the first byte. The text must be UTF-8 and shorter than 4 GiB.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next byte that is not white space, without taking it; 0 at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Where the reader is, in bytes.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Takes that byte or fails.
    #[inline]
    pub fn expect(&mut self, wanted: u8) -> Result<(), ScanError> {
        if self.peek() == wanted {
            self.at += 1;
            Ok(())
        } else {
            Err(self.broken())
        }
    }

    /// Nothing but white space may follow.
    pub fn finish(&mut self) -> Result<(), ScanError> {
        if self.peek() == 0 && self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.broken())
        }
    }

    /// The error for the byte at hand.
    pub fn broken(&self) -> ScanError {
        ScanError::Syntax { at: self.at }
    }

    /// Begins an object; `false` if it is empty and already over.
    #[inline]
    pub fn open_object(&mut self) -> Result<bool, ScanError> {
        self.expect(b'{')?;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// A member's key, and its colon.
    #[inline]
    pub fn key(&mut self) -> Result<Text, ScanError> {
        if self.peek() != b'"' {
            return Err(self.broken());
        }
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// After a member: whether another one follows.
    #[inline]
    pub fn next_member(&mut self) -> Result<bool, ScanError> {
        let more = match self.peek() {
            b',' => true,
            b'}' => false,
            _ => return Err(self.broken()),
        };
        self.at += 1;
        Ok(more)
    }

    /// Takes a whole value; its span has no surrounding white space.
    #[inline]
    pub fn value(&mut self) -> Result<Span, ScanError> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(Span::new(start, self.at))
    }

    /// Takes a string, the reader being at its quote.
    #[inline]
    pub fn string(&mut self) -> Result<Text, ScanError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let span = Span::new(start, self.at);
                    self.at += 1;
                    return Ok(Text { span, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.broken()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.broken());
                }
                self.at += 6;
            }
            _ => return Err(self.broken()),
        }
        Ok(())
    }

    /// Takes a whole value of any kind. Iterative: hostile nesting cannot use the stack.
    fn skip(&mut self) -> Result<(), ScanError> {
        let mut depth = 0;
        let mut is_object: u128 = 0; // bit 0 is the innermost container
        loop {
            match self.peek() {
                b'"' => {
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    if self.peek() != open + 2 {
                        depth += 1;
                        if depth > DEPTH_MAX {
                            return Err(ScanError::TooDeep);
                        }
                        is_object = is_object << 1 | u128::from(open == b'{');
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                }
                _ => self.scalar()?,
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                match (self.peek(), is_object & 1 == 1) {
                    (b',', true) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.at += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        depth -= 1;
                        is_object >>= 1;
                    }
                    _ => return Err(self.broken()),
                }
            }
        }
    }

    fn scalar(&mut self) -> Result<(), ScanError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let word: &[u8] = match rest.first() {
            Some(b't') => b"true",
            Some(b'f') => b"false",
            Some(b'n') => b"null",
            _ => return self.number(),
        };
        if !rest.starts_with(word) {
            return Err(self.broken());
        }
        self.at += word.len();
        Ok(())
    }

    /// RFC 8259 §6: no leading zeros, a digit on both sides of the point.
    fn number(&mut self) -> Result<(), ScanError> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.broken());
        }
        Ok(())
    }
}

/// Where the run of plain string bytes from `at` ends: at a quote, a backslash, a control
/// byte or the end. Eight bytes a step; the lowest set flag is exact, higher ones may be the
/// borrow of a lower one.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const LOW: u64 = u64::MAX / 255;
    const HIGH: u64 = LOW << 7;
    const fn zero_bytes(word: u64) -> u64 {
        word.wrapping_sub(LOW) & !word & HIGH
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quote = zero_bytes(word ^ (LOW * b'"' as u64));
        let backslash = zero_bytes(word ^ (LOW * b'\\' as u64));
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let found = quote | backslash | control;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    for &byte in tail {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}
