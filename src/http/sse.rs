//! Server-sent events (WHATWG HTML §9.2): what a stream is written with, and an incremental,
//! bounded decoder. Pieces of input may end anywhere, in the middle of a CRLF too.

use bytes::{Bytes, BytesMut};

/// Appends one event. `event` is its type (none means `message`), `id` what a client sends back
/// as Last-Event-ID. Data of several lines is sent as several `data` fields. A type or id that
/// holds a line break cannot be sent and is left out, nor can an id with NUL.
pub fn write_event(event: Option<&str>, id: Option<&str>, data: &[u8], out: &mut Vec<u8>) {
    out.reserve(32 + data.len());
    let id = id.filter(|id| !id.contains('\0'));
    for (field, value) in [(&b"event: "[..], event), (&b"id: "[..], id)] {
        if let Some(value) = value.filter(|value| !value.contains(['\r', '\n'])) {
            out.extend_from_slice(field);
            out.extend_from_slice(value.as_bytes());
            out.push(b'\n');
        }
    }
    lines(b"data: ", data, out);
    out.push(b'\n');
}

/// Appends a comment, which clients ignore: a heartbeat.
pub fn write_comment(text: &[u8], out: &mut Vec<u8>) {
    lines(b": ", text, out);
    out.push(b'\n');
}

/// Appends how many milliseconds a client should wait before it reconnects.
pub fn write_retry(milliseconds: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(itoa::Buffer::new().format(milliseconds).as_bytes());
    out.extend_from_slice(b"\n\n");
}

fn lines(field: &[u8], mut text: &[u8], out: &mut Vec<u8>) {
    loop {
        out.extend_from_slice(field);
        let end = memchr::memchr2(b'\r', b'\n', text);
        out.extend_from_slice(text.get(..end.unwrap_or(text.len())).unwrap_or_default());
        out.push(b'\n');
        let Some(end) = end else { return };
        let rest = text.get(end..).unwrap_or_default();
        let break_len = if rest.starts_with(b"\r\n") { 2 } else { 1 };
        text = rest.get(break_len..).unwrap_or_default();
    }
}

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; none means `message`.
    pub event: Option<String>,
    /// The id it carried itself; [`Decoder::last_event_id`] is what to reconnect with.
    pub id: Option<String>,
    /// Its data lines, joined by LF. A slice of the input where one line held it.
    pub data: Bytes,
}

/// The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One event is larger than the limit.
    #[error("an event of the stream exceeds {0} bytes")]
    EventTooLarge(usize),
}

/// Decodes a stream: [`feed`](Self::feed) a piece, then call [`next`](Self::next) until it has
/// no more to give. An event cut off by the end of the stream is never given (WHATWG HTML
/// §9.2.6).
#[derive(Debug)]
pub struct Decoder {
    event_bytes_max: usize,
    /// What was fed and not yet read.
    input: Bytes,
    /// Beginning of a line whose end is still to come.
    line: BytesMut,
    /// The last piece ended in CR, so that a leading LF belongs to it.
    skip_lf: bool,
    /// The first line, from which a byte order mark is taken, has been read.
    is_started: bool,
    event: Option<String>,
    id: Option<String>,
    data: Data,
    retry: Option<u64>,
    last_event_id: Option<String>,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    Absent,
    /// One line, uncopied.
    Line(Bytes),
    /// Several lines, joined by LF.
    Lines(BytesMut),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Line(line) => line.len(),
            Self::Lines(lines) => lines.len(),
        }
    }

    fn append(&mut self, line: Bytes) {
        *self = match core::mem::take(self) {
            Self::Absent => Self::Line(line),
            Self::Line(first) => {
                let mut lines = BytesMut::with_capacity(first.len() + 1 + line.len());
                lines.extend_from_slice(&first);
                lines.extend_from_slice(b"\n");
                lines.extend_from_slice(&line);
                Self::Lines(lines)
            }
            Self::Lines(mut lines) => {
                lines.extend_from_slice(b"\n");
                lines.extend_from_slice(&line);
                Self::Lines(lines)
            }
        };
    }
}

impl Decoder {
    /// A decoder at the start of a stream that refuses events of more than `event_bytes_max`
    /// bytes of fields.
    #[must_use]
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            input: Bytes::new(),
            line: BytesMut::new(),
            skip_lf: false,
            is_started: false,
            event: None,
            id: None,
            data: Data::Absent,
            retry: None,
            last_event_id: None,
        }
    }

    /// Hands over the next piece. Feed only when [`next`](Self::next) has given everything;
    /// pieces fed before are kept, but at the price of a copy.
    pub fn feed(&mut self, piece: Bytes) {
        if self.input.is_empty() {
            self.input = piece;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + piece.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&piece);
            self.input = joined.freeze();
        }
    }

    /// The next event, or `None` until more is fed.
    ///
    /// # Errors
    /// When an event exceeds the limit; the stream is then of no further use.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator ends at None; this one goes on after more input"
    )]
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        while let Some(line) = self.next_line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line)?;
            }
        }
        Ok(None)
    }

    /// The next whole line without its end, or `None` if it has not ended yet.
    fn next_line(&mut self) -> Result<Option<Bytes>, Error> {
        if self.skip_lf && !self.input.is_empty() {
            self.skip_lf = false;
            if self.input.first() == Some(&b'\n') {
                let _ = self.input.split_to(1);
            }
        }
        let Some(end) = memchr::memchr2(b'\r', b'\n', &self.input) else {
            let piece = core::mem::take(&mut self.input);
            self.check_size(self.line.len() + piece.len())?;
            self.line.extend_from_slice(&piece);
            return Ok(None);
        };
        let mut line = self.input.split_to(end);
        self.check_size(self.line.len() + line.len())?;
        self.skip_lf = self.input.split_to(1).first() == Some(&b'\r');
        if !self.line.is_empty() {
            self.line.extend_from_slice(&line);
            line = self.line.split().freeze();
        }
        if !self.is_started {
            self.is_started = true;
            if line.starts_with(b"\xef\xbb\xbf") {
                let _ = line.split_to(3);
            }
        }
        Ok(Some(line))
    }

    fn check_size(&self, line_len: usize) -> Result<(), Error> {
        let fields = self.event.as_ref().map_or(0, String::len)
            + self.id.as_ref().map_or(0, String::len)
            + self.data.len();
        if fields + line_len > self.event_bytes_max {
            return Err(Error::EventTooLarge(self.event_bytes_max));
        }
        Ok(())
    }

    fn field(&mut self, line: &Bytes) -> Result<(), Error> {
        let colon = memchr::memchr(b':', line);
        let name = line.get(..colon.unwrap_or(line.len())).unwrap_or_default();
        let mut value_start = colon.map_or(line.len(), |colon| colon + 1);
        if line.get(value_start) == Some(&b' ') {
            value_start += 1;
        }
        match name {
            b"data" => {
                self.check_size(line.len())?;
                self.data.append(line.slice(value_start..));
            }
            b"event" => self.event = Some(text(line, value_start)),
            b"id" if !line.contains(&0) => {
                let id = text(line, value_start);
                self.last_event_id = Some(id.clone());
                self.id = Some(id);
            }
            b"retry" => {
                let digits = line.get(value_start..).unwrap_or_default();
                if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
                    self.retry = text(line, value_start).parse().ok().or(self.retry);
                }
            }
            // Comments (an empty name) and fields of later specifications.
            _ => {}
        }
        Ok(())
    }

    /// Ends the block of fields. Without data it is no event, though its id has counted.
    fn dispatch(&mut self) -> Option<Event> {
        let event = self.event.take().filter(|event| !event.is_empty());
        let id = self.id.take();
        let data = match core::mem::take(&mut self.data) {
            Data::Absent => return None,
            Data::Line(line) => line,
            Data::Lines(lines) => lines.freeze(),
        };
        Some(Event { event, id, data })
    }

    /// How many milliseconds the server wants us to wait before we reconnect.
    #[must_use]
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// The last id seen, also one that came without data; empty if the server reset it.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }
}

fn text(line: &[u8], start: usize) -> String {
    String::from_utf8_lossy(line.get(start..).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> (Vec<Event>, Option<String>, Option<u64>) {
        let mut decoder = Decoder::new(1000);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.feed(Bytes::copy_from_slice(piece));
            while let Some(event) = decoder.next().unwrap() {
                events.push(event);
            }
        }
        let last = decoder.last_event_id().map(str::to_owned);
        (events, last, decoder.retry())
    }

    fn event(event: Option<&str>, id: Option<&str>, data: &str) -> Event {
        Event {
            event: event.map(str::to_owned),
            id: id.map(str::to_owned),
            data: Bytes::copy_from_slice(data.as_bytes()),
        }
    }

    const STREAM: &[u8] = "\u{feff}: hello\n\ndata: one\r\ndata:two\rdata\n\n\
        event: ping\nid: 7\nretry: 250\ndata:  x\n\nid: 8\n\nevent: lost\n\n\
        data:\n\nretry: x1\nid: a\0b\nfoo: bar\ndata: é\r\r\ndata: cut off"
        .as_bytes();

    #[test]
    fn the_specifications_cases() {
        let (events, last, retry) = decode(&[STREAM]);
        assert_eq!(
            events,
            [
                event(None, None, "one\ntwo\n"),
                event(Some("ping"), Some("7"), " x"),
                event(None, None, ""),
                event(None, None, "é"),
            ]
        );
        assert_eq!((last.as_deref(), retry), (Some("8"), Some(250)));
    }

    #[test]
    fn result_does_not_depend_on_where_reads_split() {
        let whole = decode(&[STREAM]);
        for first in 0..STREAM.len() {
            let (head, tail) = STREAM.split_at(first);
            assert_eq!(decode(&[head, tail]), whole, "split at {first}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(decode(&bytes), whole);
    }

    #[test]
    fn what_is_written_reads_as_itself() {
        let mut out = Vec::new();
        write_event(Some("a"), Some("1"), b"{}", &mut out);
        write_comment(b"beat\n\nbeat", &mut out);
        write_retry(3000, &mut out);
        write_event(None, None, b"x\r\ny\rz\n", &mut out);
        write_event(Some("bad\nname"), Some("bad\0id"), b"", &mut out);
        let (events, last, retry) = decode(&[&out]);
        assert_eq!(
            events,
            [
                event(Some("a"), Some("1"), "{}"),
                event(None, None, "x\ny\nz\n"),
                event(None, None, ""),
            ]
        );
        assert_eq!((last.as_deref(), retry), (Some("1"), Some(3000)));
    }

    #[test]
    fn one_line_of_data_is_not_copied() {
        let piece = Bytes::from_static(b"data: payload\n\n");
        let mut decoder = Decoder::new(100);
        decoder.feed(piece.clone());
        let event = decoder.next().unwrap().unwrap();
        assert_eq!(event.data.as_ptr(), piece.slice(6..).as_ptr());
    }

    #[test]
    fn an_event_is_bounded_however_it_is_cut() {
        for stream in [
            [b"data: ".as_slice(), &[b'x'; 1000]].concat(),
            b"data: xxxx\n".repeat(250),
            [b": ".as_slice(), &[b'x'; 1000]].concat(),
            [b"id: ".as_slice(), &[b'x'; 500], b"\nevent: ", &[b'x'; 500]].concat(),
        ] {
            for size in [1, 7, stream.len()] {
                let mut decoder = Decoder::new(1000);
                let refused = stream.chunks(size).any(|piece| {
                    decoder.feed(Bytes::copy_from_slice(piece));
                    decoder.next() == Err(Error::EventTooLarge(1000))
                });
                assert!(refused, "pieces of {size}");
            }
        }
    }
}
