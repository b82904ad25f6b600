//! Cuts a child's output into lines, each a message (stdio transport), within a bound.
//! A line beyond the bound is thrown away as it comes in, except its two ends: somewhere in
//! them stands the id of the call that must be told.

use bytes::{Bytes, BytesMut};

/// What is kept of each end of a line that is too long.
const KEPT_BYTES: usize = 512;

/// The buffer between the pipe and the messages.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// Bytes of `buffer` known to hold no line end.
    scanned: usize,
    line_bytes_max: usize,
    oversized: Option<Oversized>,
}

/// Both ends of a line that was longer than allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oversized {
    /// How long the line was, in bytes.
    pub(crate) length: u64,
    /// Its first bytes.
    pub(crate) start: Bytes,
    /// Its last bytes.
    pub(crate) end: Bytes,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line within the bound, without its end.
    Whole(Bytes),
    /// A longer one.
    TooLong(Oversized),
}

impl Lines {
    pub(crate) fn new(line_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            line_bytes_max,
            oversized: None,
        }
    }

    /// Takes bytes as they were read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line, or `None` until more bytes come. Empty lines are left out.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', fresh) else {
                self.scanned = self.buffer.len();
                self.shed();
                return None;
            };
            let mut line = self.buffer.split_to(self.scanned + at + 1);
            self.scanned = 0;
            line.truncate(line.len() - 1);
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            if let Some(oversized) = self.oversized.take() {
                return Some(Line::TooLong(oversized.finish(&line)));
            }
            if line.len() > self.line_bytes_max {
                return Some(Line::TooLong(Oversized::begin(&line).finish(&[])));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Line::Whole(line.freeze()));
            }
        }
    }

    /// Gives up the bytes of an unfinished line that is already too long.
    fn shed(&mut self) {
        match &mut self.oversized {
            Some(oversized) => oversized.extend(&self.buffer),
            None if self.buffer.len() > self.line_bytes_max => {
                self.oversized = Some(Oversized::begin(&self.buffer));
            }
            None => return,
        }
        // A new buffer, so that the memory of the long line goes back now.
        self.buffer = BytesMut::new();
        self.scanned = 0;
    }
}

impl Oversized {
    fn begin(line: &[u8]) -> Self {
        let start = line.get(..KEPT_BYTES).unwrap_or(line);
        Self {
            length: line.len() as u64,
            start: Bytes::copy_from_slice(start),
            end: Bytes::copy_from_slice(last(line)),
        }
    }

    fn extend(&mut self, more: &[u8]) {
        self.length += more.len() as u64;
        let mut end = self.end.to_vec();
        end.extend_from_slice(last(more));
        self.end = Bytes::copy_from_slice(last(&end));
    }

    fn finish(mut self, more: &[u8]) -> Self {
        self.extend(more);
        self
    }
}

fn last(bytes: &[u8]) -> &[u8] {
    let from = bytes.len().saturating_sub(KEPT_BYTES);
    bytes.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Line {
        Line::Whole(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn all(lines: &mut Lines) -> Vec<Line> {
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let input = b"{\"a\":1}\r\n\n  \n{\"b\":\"\xc3\xa4\"}\n{}\nrest";
        for cut in 0..input.len() {
            let mut lines = Lines::new(100);
            let (head, tail) = input.split_at(cut);
            lines.push(head);
            let mut got = all(&mut lines);
            lines.push(tail);
            got.extend(all(&mut lines));
            assert_eq!(
                got,
                [whole("{\"a\":1}"), whole("{\"b\":\"\u{e4}\"}"), whole("{}")],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_line_at_the_bound_passes_and_one_byte_more_does_not() {
        let mut lines = Lines::new(4);
        lines.push(b"abcd\nabcde\nok\n");
        let got = all(&mut lines);
        assert_eq!(got.first(), Some(&whole("abcd")));
        assert!(matches!(got.get(1), Some(Line::TooLong(long)) if long.length == 5));
        assert_eq!(got.get(2), Some(&whole("ok")));
    }

    #[test]
    fn a_long_line_keeps_its_ends_and_no_memory() {
        let mut lines = Lines::new(10_000);
        lines.push(b"{\"id\":7,");
        for _ in 0..100 {
            lines.push(&[b'x'; 5_000]);
            assert_eq!(lines.next(), None);
            assert!(lines.buffer.len() <= 15_008);
        }
        lines.push(b"\"end\":8}\nnext\n");
        let Some(Line::TooLong(long)) = lines.next() else {
            panic!("the line was too long");
        };
        assert_eq!(long.length, 8 + 500_000 + 8);
        assert!(long.start.starts_with(b"{\"id\":7,"));
        assert!(long.end.ends_with(b"\"end\":8}"));
        assert_eq!(lines.next(), Some(whole("next")));
    }
}
