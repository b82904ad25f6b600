//! Header fields in order, in one buffer (RFC 9110 §5). Names keep their spelling and compare
//! without case.
//!
//! The buffer always holds the fields as HTTP/1.1 sends them (`Name: value` CRLF, no padding),
//! so that writing a whole list is one copy, and a received list is forwarded re-serialised.

use core::fmt;
use core::ops::Range;

use smallvec::SmallVec;

use crate::http::Known;

/// Fields kept without a heap block; most responses stay below.
const INLINE_FIELDS: usize = 8;
/// First reservation of the byte buffer, so that a usual response head never grows twice.
const FIRST_BYTES: usize = 256;
/// Fields from this one on are found by a scan, because the index is one byte a name.
const INDEXED_MAX: usize = 254;

/// An ordered list of header fields.
#[derive(Clone)]
pub struct HeaderList {
    /// `Name: value\r\n` for each field, nothing else.
    bytes: Vec<u8>,
    fields: SmallVec<[Field; INLINE_FIELDS]>,
    /// Which known names are there: one bit for each.
    present: u128,
    /// For each name that is present its first field's place, at most [`INDEXED_MAX`], which
    /// then means "there or later". What stands for the others means nothing.
    first: [u8; Known::COUNT],
    /// Nothing was changed since the list was read from a message.
    is_as_read: bool,
}

const _: () = assert!(
    Known::COUNT <= u128::BITS as usize,
    "`present` has a bit for each name"
);

#[derive(Clone, Copy, Debug)]
struct Field {
    start: u32,
    value_len: u32,
    name_len: u16,
    known: Known,
}

impl Field {
    fn name(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.name_len)
    }
    fn value(self) -> Range<usize> {
        let start = self.start as usize + usize::from(self.name_len) + 2;
        start..start + self.value_len as usize
    }
    fn line(self) -> Range<usize> {
        self.start as usize..self.value().end + 2
    }
}

/// A name or value that cannot be sent: it would break the message or smuggle a field into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// The name is empty, over 65,535 bytes, or holds a byte that is not a token byte.
    #[error("field name is not a token (RFC 9110 §5.6.2)")]
    Name,
    /// The value holds a control byte, or blanks at an end.
    #[error("field value holds a control byte or is padded (RFC 9110 §5.5)")]
    Value,
}

impl HeaderList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a field. The caller vouches that the name is a token and that the value holds no
    /// CR, LF or NUL; [`try_push`](Self::try_push) tells of what does not hold. Here a field
    /// that would break the message in two is left out.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.write(Known::of(name), name, value);
    }

    /// Appends a known field under its usual spelling. Same promise as [`push`](Self::push);
    /// [`Known::Other`] has no spelling and adds nothing.
    pub fn push_known(&mut self, known: Known, value: &[u8]) {
        if known != Known::Other {
            self.write(known, known.name().as_bytes(), value);
        }
    }

    /// Appends a field after checking it.
    ///
    /// # Errors
    /// When name or value may not stand in a message.
    pub fn try_push(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        if !is_token(name) || name.len() > usize::from(u16::MAX) {
            return Err(InvalidField::Name);
        }
        if !is_field_value(value) {
            return Err(InvalidField::Value);
        }
        self.push(name, value);
        Ok(())
    }

    /// Replaces every field of that name by one, at the end of the list.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove_by_name(name);
        self.push(name, value);
    }

    fn write(&mut self, known: Known, name: &[u8], value: &[u8]) {
        if name.is_empty() || breaks_message(name) || breaks_message(value) {
            return;
        }
        let (Ok(name_len), Ok(value_len), Ok(start)) = (
            u16::try_from(name.len()),
            u32::try_from(value.len()),
            u32::try_from(self.bytes.len()),
        ) else {
            debug_assert!(false, "a field beyond every limit");
            return;
        };
        let line_len = name.len() + value.len() + 4;
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(FIRST_BYTES.max(line_len));
        } else {
            self.bytes.reserve(line_len);
        }
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        self.add(Field {
            start,
            value_len,
            name_len,
            known,
        });
    }

    /// Notes a field of the bytes that [`add_wire_bytes`](Self::add_wire_bytes) will bring:
    /// `start` counts from their first.
    pub(in crate::http) fn add_wire_field(
        &mut self,
        known: Known,
        start: usize,
        name_len: usize,
        value_len: usize,
    ) {
        self.add(Field {
            start: (self.bytes.len() + start) as u32,
            value_len: value_len as u32,
            name_len: name_len as u16,
            known,
        });
    }

    /// Appends fields that stand as this list keeps them, each noted before.
    pub(in crate::http) fn add_wire_bytes(&mut self, block: &[u8]) {
        self.bytes.extend_from_slice(block);
        debug_assert_eq!(
            self.fields.last().map_or(0, |field| field.line().end),
            self.bytes.len()
        );
        self.is_as_read = true;
    }

    /// Whether nothing was changed since the list was read from a message.
    pub(in crate::http) fn is_as_read(&self) -> bool {
        self.is_as_read
    }

    fn add(&mut self, field: Field) {
        self.is_as_read = false;
        let place = self.fields.len();
        if !self.contains(field.known)
            && let Some(first) = self.first.get_mut(field.known as usize)
        {
            *first = place.min(INDEXED_MAX) as u8;
            self.present |= field.known.bit();
        }
        self.fields.push(field);
    }

    /// Appends every field of another list; one copy, whatever their number.
    pub fn append(&mut self, other: &Self) {
        if self.is_empty() {
            self.bytes.extend_from_slice(&other.bytes);
            self.fields.extend_from_slice(&other.fields);
            (self.present, self.first) = (other.present, other.first);
            self.is_as_read = false;
            return;
        }
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&other.bytes);
        for field in &other.fields {
            self.add(Field {
                start: field.start + base,
                ..*field
            });
        }
    }

    /// Appends those fields of another list for which `keep(known, name)` holds.
    pub fn append_if(&mut self, other: &Self, mut keep: impl FnMut(Known, &[u8]) -> bool) {
        self.bytes.reserve(other.bytes.len());
        for field in &other.fields {
            let (Some(name), Some(line)) =
                (other.bytes.get(field.name()), other.bytes.get(field.line()))
            else {
                continue;
            };
            if keep(field.known, name) {
                let start = self.bytes.len() as u32;
                self.bytes.extend_from_slice(line);
                self.add(Field { start, ..*field });
            }
        }
    }

    /// Forgets every field and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.present = 0;
        self.is_as_read = false;
    }

    /// The first value of a known field.
    #[must_use]
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        let field = self.first_field(known)?;
        self.bytes.get(field.value())
    }

    /// The first value of a known field, if it is text; almost every field is ASCII.
    #[must_use]
    pub fn get_str(&self, known: Known) -> Option<&str> {
        core::str::from_utf8(self.get(known)?).ok()
    }

    fn first_field(&self, known: Known) -> Option<&Field> {
        if !self.contains(known) {
            return None;
        }
        let from = usize::from(*self.first.get(known as usize)?);
        if from < INDEXED_MAX {
            return self.fields.get(from);
        }
        self.fields
            .get(from..)?
            .iter()
            .find(|field| field.known == known)
    }

    /// Whether a field of that known name is there.
    #[must_use]
    pub fn contains(&self, known: Known) -> bool {
        self.present & known.bit() != 0
    }

    /// Whether a field of any of those known names is there: a union of [`Known::bit`]s.
    #[must_use]
    pub fn contains_any(&self, bits: u128) -> bool {
        self.present & bits != 0
    }

    /// The known names that are there: a union of [`Known::bit`]s.
    #[must_use]
    pub fn known_bits(&self) -> u128 {
        self.present
    }

    /// Every value of a known field.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let from = match self.first.get(known as usize) {
            Some(&at) if self.contains(known) => usize::from(at),
            _ => self.fields.len(),
        };
        self.fields
            .get(from..)
            .unwrap_or_default()
            .iter()
            .filter(move |field| field.known == known)
            .filter_map(|field| self.bytes.get(field.value()))
    }

    /// Whether a field that is a list of tokens separated by commas has that one in it, without
    /// regard to case (RFC 9110 §5.6.1).
    #[must_use]
    pub fn lists(&self, known: Known, token: &[u8]) -> bool {
        self.contains(known)
            && self
                .all(known)
                .flat_map(|value| value.split(|&byte| byte == b','))
                .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token))
    }

    /// The first value of a field by name, without regard to case.
    #[must_use]
    pub fn get_by_name(&self, name: &[u8]) -> Option<&[u8]> {
        match Known::of(name) {
            Known::Other => self
                .iter()
                .find(|(known, field, _)| {
                    *known == Known::Other && field.eq_ignore_ascii_case(name)
                })
                .map(|(_, _, value)| value),
            known => self.get(known),
        }
    }

    /// Every field in order: which known name, its spelling, its value.
    pub fn iter(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.fields.iter().filter_map(|field| {
            Some((
                field.known,
                self.bytes.get(field.name())?,
                self.bytes.get(field.value())?,
            ))
        })
    }

    /// Removes every field of that known name. [`Known::Other`] removes all unknown ones.
    pub fn remove(&mut self, known: Known) {
        if self.contains(known) {
            self.retain(|field, _, _| field != known);
        }
    }

    /// Removes every field of that name, without regard to case.
    pub fn remove_by_name(&mut self, name: &[u8]) {
        match Known::of(name) {
            Known::Other => {
                self.retain(|known, field, _| {
                    known != Known::Other || !field.eq_ignore_ascii_case(name)
                });
            }
            known => self.remove(known),
        }
    }

    /// Keeps the fields for which `keep(known, name, value)` holds, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(Known, &[u8], &[u8]) -> bool) {
        let fields = core::mem::take(&mut self.fields);
        let is_as_read = self.is_as_read;
        let (mut end, mut count) = (0, 0);
        self.present = 0;
        for field in &fields {
            let (Some(name), Some(value)) =
                (self.bytes.get(field.name()), self.bytes.get(field.value()))
            else {
                continue;
            };
            if keep(field.known, name, value) {
                let line = field.line();
                let start = end as u32;
                end += line.len();
                count += 1;
                // Lines only move to the front, over those that are left out.
                self.bytes.copy_within(line, start as usize);
                self.add(Field { start, ..*field });
            }
        }
        self.bytes.truncate(end);
        self.is_as_read = is_as_read && count == fields.len();
    }

    /// Every field as HTTP/1.1 sends it: `Name: value` CRLF each, without the empty line.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl Default for HeaderList {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            fields: SmallVec::new(),
            present: 0,
            first: [0; Known::COUNT],
            is_as_read: false,
        }
    }
}

impl PartialEq for HeaderList {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for HeaderList {}

/// Credentials are left out, because what is debugged ends up in logs.
impl fmt::Debug for HeaderList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (known, name, value) in self.iter() {
            let secret = matches!(
                known,
                Known::Authorization
                    | Known::ProxyAuthorization
                    | Known::Cookie
                    | Known::SetCookie
                    | Known::McpSessionId
            );
            let shown = if secret { &b"<redacted>"[..] } else { value };
            map.entry(
                &format_args!("{}", name.escape_ascii()),
                &format_args!("{}", shown.escape_ascii()),
            );
        }
        map.finish()
    }
}

/// Whether the bytes hold a line break or NUL. Eight bytes at a time: every field passes here.
#[inline]
fn breaks_message(bytes: &[u8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const TOP: u64 = u64::from_ne_bytes([0x80; 8]);
    // Nonzero where a byte of the word is zero.
    let zero_bytes = |word: u64| word.wrapping_sub(EACH) & !word & TOP;
    let breaks = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        let carriage_return = word ^ (EACH * u64::from(b'\r'));
        let line_feed = word ^ (EACH * u64::from(b'\n'));
        zero_bytes(word) | zero_bytes(carriage_return) | zero_bytes(line_feed) != 0
    };
    let (words, rest) = bytes.as_chunks();
    words.iter().any(breaks)
        || match bytes.last_chunk() {
            Some(last) => breaks(last),
            None => rest.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
        }
}

/// Whether the bytes are a token (RFC 9110 §5.6.2): what methods and field names are made of.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether the byte may stand in a token.
#[must_use]
pub(in crate::http) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.'
        | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether the bytes may stand as a field value (RFC 9110 §5.5): no control bytes but tab, no
/// blanks at either end.
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is_value_byte(byte))
        && !matches!(bytes.first(), Some(b' ' | b'\t'))
        && !matches!(bytes.last(), Some(b' ' | b'\t'))
}

/// Whether the byte may stand inside a field value.
#[must_use]
pub(in crate::http) const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_is_found_wherever_it_stands() {
        for length in 0..40 {
            let sound: Vec<u8> = (0..length)
                .map(|at| b"\x0b\x0e\xff\x80 a\t\x01"[at % 8])
                .collect();
            assert!(!breaks_message(&sound), "{sound:?}");
            for at in 0..length {
                for byte in *b"\r\n\0" {
                    let mut broken = sound.clone();
                    broken[at] = byte;
                    assert!(breaks_message(&broken), "{broken:?}");
                }
            }
        }
    }

    fn list(fields: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes());
        }
        list
    }

    #[test]
    fn fields_keep_order_and_spelling_and_compare_without_case() {
        let list = list(&[("hOsT", "a"), ("X-Y", "1"), ("x-y", "2"), ("HOST", "b")]);
        assert_eq!(list.get(Known::Host), Some(&b"a"[..]));
        assert_eq!(list.get_by_name(b"host"), Some(&b"a"[..]));
        assert_eq!(list.get_by_name(b"x-Y"), Some(&b"1"[..]));
        assert_eq!(list.get_by_name(b"x-z"), None);
        assert_eq!(list.get(Known::Accept), None);
        assert_eq!(list.all(Known::Host).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(list.all(Known::Accept).count(), 0);
        assert_eq!(list.wire(), b"hOsT: a\r\nX-Y: 1\r\nx-y: 2\r\nHOST: b\r\n");
        assert_eq!(list.len(), 4);
    }

    #[test]
    fn append_keeps_order_names_and_values() {
        let mut all = list(&[("Host", "a.test")]);
        all.append(&list(&[("X-A", "1"), ("content-type", "text/plain")]));
        all.push(b"Date", b"now");
        let seen: Vec<_> = all.iter().collect();
        assert_eq!(
            seen,
            [
                (Known::Host, &b"Host"[..], &b"a.test"[..]),
                (Known::Other, b"X-A", b"1"),
                (Known::ContentType, b"content-type", b"text/plain"),
                (Known::Date, b"Date", b"now"),
            ]
        );
        assert_eq!(all.get_by_name(b"x-a"), Some(&b"1"[..]));
        assert_eq!(all.get(Known::Date), Some(&b"now"[..]));
    }

    #[test]
    fn removal_and_setting_keep_the_index_right() {
        let mut list = list(&[
            ("A", "1"),
            ("Host", "a"),
            ("B", "2"),
            ("Host", "b"),
            ("a", "3"),
        ]);
        list.remove_by_name(b"A");
        assert_eq!(list.get(Known::Host), Some(&b"a"[..]));
        assert_eq!(list.wire(), b"Host: a\r\nB: 2\r\nHost: b\r\n");
        list.set(b"host", b"c");
        assert_eq!(list.all(Known::Host).collect::<Vec<_>>(), [b"c"]);
        assert_eq!(list.wire(), b"B: 2\r\nhost: c\r\n");
        list.remove(Known::Host);
        assert!(!list.contains(Known::Host));
        assert_eq!(list.get_by_name(b"b"), Some(&b"2"[..]));
        list.clear();
        assert!(list.is_empty() && list.wire().is_empty());
    }

    #[test]
    fn a_known_field_is_found_beyond_the_index() {
        let mut list = HeaderList::new();
        for _ in 0..300 {
            list.push(b"X", b"");
        }
        list.push(b"Host", b"far");
        list.push(b"Host", b"further");
        assert_eq!(list.get(Known::Host), Some(&b"far"[..]));
        assert_eq!(list.all(Known::Host).count(), 2);
        list.remove_by_name(b"x");
        assert_eq!(list.get(Known::Host), Some(&b"far"[..]));
    }

    #[test]
    fn what_would_break_a_message_is_refused() {
        let mut list = HeaderList::new();
        for name in [&b""[..], b"a b", b"a:", b"a\r\nb", b"\xc3\xa9", b"(x)"] {
            assert_eq!(list.try_push(name, b""), Err(InvalidField::Name));
        }
        for value in [&b"a\r\nb"[..], b"a\nb", b"a\0", b" a", b"a\t", b"\x7f"] {
            assert_eq!(list.try_push(b"a", value), Err(InvalidField::Value));
        }
        assert_eq!(list.try_push(b"a", b"caf\xc3\xa9 \t x"), Ok(()));
        assert_eq!(list.try_push(b"a", b""), Ok(()));
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn no_field_breaks_a_message_in_two() {
        let mut list = HeaderList::new();
        list.push(b"X", b"1\r\nSet-Cookie: a=b");
        list.push(b"X\nY", b"1");
        list.push(b"", b"1");
        list.set(b"X", b"\0");
        list.push_known(Known::Location, b"/\n");
        assert!(list.is_empty() && list.wire().is_empty());
    }

    #[test]
    fn credentials_stay_out_of_debug_output() {
        let shown = format!(
            "{:?}",
            list(&[("Authorization", "Bearer x7"), ("Accept", "*/*")])
        );
        assert!(!shown.contains("x7"), "{shown}");
        assert!(shown.contains("*/*"), "{shown}");
    }
}
