//! Parses in one pass a request head that is whole and written the usual way: origin-form with
//! nothing to normalise, `Name: value` lines, nothing near a limit. Nearly every head is.
//!
//! Takes only what [`head`](super::head) would take, and then with the same result; a property
//! test compares the two. Whatever is less usual is left to the parser that knows all the rules.

use crate::http::h1::Limits;
use crate::http::h1::framing::{Framing, imitates_framing};
use crate::http::h1::head::Parsed;
use crate::http::headers::is_token;
use crate::http::{HeaderList, Known, Method, RequestHead, Version};

/// What the line ends with behind its target.
pub(in crate::http) const LINE_END: &[u8; 11] = b" HTTP/1.1\r\n";

/// Parses the head at the front of the input. `None`: not whole, or not usual; `head` then holds
/// nothing of use.
pub(super) fn parse_request<'a>(
    input: &'a [u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Option<Parsed<'a>> {
    let (method, target_start) = method(input)?;
    let (path_len, target_len) = target(input.get(target_start..)?)?;
    let target_end = target_start + target_len;
    let fields_start = target_end + LINE_END.len();
    if input.get(target_end..)?.first_chunk() != Some(LINE_END)
        || fields_start > limits.line_bytes_max
    {
        return None;
    }
    let target = input.get(target_start..target_end)?;
    head.headers.clear();
    head.version = Version::Http11;
    head.set_plain_target(method, target, path_len);
    let mut framing = Framing::default();
    let block = fields(
        input.get(fields_start..)?,
        limits,
        &mut head.headers,
        &mut framing,
    )?;
    let end = fields_start + block.len() + 2;
    if end > limits.head_bytes_max {
        return None;
    }
    head.headers.add_wire_bytes(block);
    Some(Parsed { end, framing })
}

/// The method and where the target starts.
fn method(input: &[u8]) -> Option<(Method, usize)> {
    if input.first_chunk() == Some(b"GET ") {
        return Some((Method::Get, 4));
    }
    let word: &[u8; 5] = input.first_chunk()?;
    match word {
        b"POST " => Some((Method::Post, 5)),
        b"HEAD " => Some((Method::Head, 5)),
        _ => None,
    }
}

/// How long the path and the whole target are: a path without anything to normalise, then
/// perhaps a query.
fn target(input: &[u8]) -> Option<(usize, usize)> {
    let class_at = |at: usize| CLASSES.get(usize::from(*input.get(at)?)).copied();
    if input.first() != Some(&b'/') {
        return None;
    }
    // A slash or a dot behind a slash may be there to be resolved.
    let (mut path_len, mut forbidden) = (1, SLASH | DOT);
    loop {
        let class = class_at(path_len)?;
        if class & PATH == 0 {
            break;
        }
        if class & forbidden != 0 {
            return None;
        }
        forbidden = if class & SLASH != 0 { SLASH | DOT } else { 0 };
        path_len += 1;
    }
    let mut target_len = path_len;
    if input.get(path_len) == Some(&b'?') {
        target_len += 1;
        while class_at(target_len)? & QUERY != 0 {
            target_len += 1;
        }
    }
    Some((path_len, target_len))
}

/// Notes every field line and returns them all, without the empty line behind them.
#[inline]
fn fields<'a>(
    input: &'a [u8],
    limits: &Limits,
    list: &mut HeaderList,
    framing: &mut Framing<'a>,
) -> Option<&'a [u8]> {
    let mut start = 0;
    loop {
        let line = input.get(start..)?;
        if line.first_chunk() == Some(b"\r\n") {
            return input.get(..start);
        }
        // Known names are found among tokens only, so no control byte may pass for a `-`.
        let name_len = first_where(line, |word| {
            zero_bytes(word ^ each(b':')) | bytes_below(b' ' + 1, word)
        })?;
        let name = line.get(..name_len)?;
        let rest = line.get(name_len..)?;
        let known = Known::of(name);
        if rest.first_chunk() != Some(b": ")
            || known == Known::Other && (!is_token(name) || imitates_framing(name))
        {
            return None;
        }
        let rest = rest.get(2..)?;
        // A tab inside a value is allowed, and rare.
        let value_len = first_where(rest, |word| {
            bytes_below(b' ', word) | zero_bytes(word ^ each(0x7f))
        })?;
        let value = rest.get(..value_len)?;
        let line_len = name_len + value_len + 4;
        if rest.get(value_len..)?.first_chunk() != Some(b"\r\n")
            || matches!((value.first()?, value.last()?), (b' ', _) | (_, b' '))
            || line_len > limits.field_bytes_max
            || name_len > usize::from(u16::MAX)
            || list.len() >= limits.fields_max
        {
            return None;
        }
        framing.note(known, value).ok()?;
        list.add_wire_field(known, start, name_len, value_len);
        start += line_len;
    }
}

/// Where the first byte is that `marks` sets the top bit for, looking at eight at a time. Marks
/// above the first may be wrong. The last few bytes are looked at with zeros behind them, which
/// a mark then does not count.
#[inline]
fn first_where(bytes: &[u8], marks: impl Fn(u64) -> u64) -> Option<usize> {
    let (words, rest) = bytes.as_chunks();
    for (at, word) in words.iter().enumerate() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return Some(at * 8 + marked.trailing_zeros() as usize / 8);
        }
    }
    let mut last = [0; 8];
    last.get_mut(..rest.len())?.copy_from_slice(rest);
    let at = marks(u64::from_le_bytes(last)).trailing_zeros() as usize / 8;
    (at < rest.len()).then(|| words.len() * 8 + at)
}

/// The byte in each place of a word.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Top bits where a byte is zero.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(each(1)) & !word & each(0x80)
}

/// Top bits where a byte is below that one, which is at most 0x80.
const fn bytes_below(bound: u8, word: u64) -> u64 {
    word.wrapping_sub(each(bound)) & !word & each(0x80)
}

/// Stands in a path (RFC 3986 `pchar` without percent-encodings, and `/`).
const PATH: u8 = 1;
/// Stands in a query.
const QUERY: u8 = 2;
/// `/`.
const SLASH: u8 = 4;
/// `.`.
const DOT: u8 = 8;

static CLASSES: [u8; 256] = classes();

#[allow(
    clippy::indexing_slicing,
    reason = "runs in the compiler, where an index out of bounds is a build error"
)]
const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => PATH | QUERY,
            b'/' => PATH | QUERY | SLASH,
            b'.' => PATH | QUERY | DOT,
            b'-' | b'_' | b'~' | b':' | b'@' => PATH | QUERY,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' => PATH | QUERY,
            b'*' | b'+' | b',' | b';' | b'=' => PATH | QUERY,
            b'?' | b'%' => QUERY,
            _ => 0,
        };
        byte += 1;
    }
    classes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::h1::{Event, ServerConn, head};

    /// What the two parsers make of the same bytes, if the quick one takes them.
    fn agree(input: &[u8], limits: &Limits) -> bool {
        let (mut quick, mut careful) = (RequestHead::default(), RequestHead::default());
        let Some(parsed) = parse_request(input, limits, &mut quick) else {
            return false;
        };
        let other = head::parse_request(input, 0, limits, &mut careful);
        let other = other.unwrap().expect("whole");
        assert_eq!(parsed.end, other.end);
        assert_eq!(
            format!("{:?}", parsed.framing),
            format!("{:?}", other.framing)
        );
        assert_eq!(format!("{quick:?}"), format!("{careful:?}"));
        let fields = |head: &RequestHead| -> Vec<(Known, Vec<u8>, Vec<u8>)> {
            let fields = head.headers.iter();
            fields.map(|(k, n, v)| (k, n.into(), v.into())).collect()
        };
        assert_eq!(fields(&quick), fields(&careful));
        assert_eq!(quick.path(), careful.path());
        assert_eq!(quick.query(), careful.query());
        assert_eq!(quick.route_path(), careful.route_path());
        assert_eq!(quick.path_and_query(), careful.path_and_query());
        true
    }

    #[test]
    fn usual_heads_are_taken() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /health?pretty&x=%20/? HTTP/1.1\r\nHost: 127.0.0.1:80\r\nX-A: 1 2\r\n\r\nrest",
            "POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nAccept: a, b\r\n\r\n{}",
            "HEAD /a.b/c HTTP/1.1\r\nHost: a\r\nCookie: \u{e9}\r\n\r\n",
            "GET /? HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ] {
            assert!(agree(head.as_bytes(), &Limits::default()), "{head:?}");
        }
    }

    #[test]
    fn unusual_heads_are_left_alone() {
        for head in [
            "GET /a//b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /.. HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /%61 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?a#a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost:a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:  a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX\x7f: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent\rLength: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r",
            "GET /",
            "",
        ] {
            let mut parsed = RequestHead::default();
            let taken = parse_request(head.as_bytes(), &Limits::default(), &mut parsed);
            assert!(taken.is_none(), "{head:?}");
        }
    }

    /// The event of a head that comes after another on a connection, and the head it leaves.
    fn after(first: Option<&[u8]>, second: &[u8], change: bool) -> (String, String) {
        let limits = Limits::default();
        let mut head = RequestHead::default();
        if let Some(first) = first {
            let _ = ServerConn::new(limits).poll(first, &mut head);
            if change {
                head.headers.push(b"Content-Length", b"9");
            }
        }
        let mut conn = ServerConn::new(limits);
        let event = conn.poll(second, &mut head);
        let is_read = matches!(event, Ok(Event::Request { .. }));
        let shown = is_read.then(|| {
            let fields: Vec<_> = head.headers.iter().collect();
            let length = head.header(Known::ContentLength);
            format!(
                "{:?} {:?} {fields:?} {length:?}",
                head.method_token(),
                head.target()
            )
        });
        (format!("{event:?} {conn:?}"), shown.unwrap_or_default())
    }

    #[test]
    fn what_came_before_changes_nothing() {
        let heads: [&[u8]; 9] = [
            b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\nGET /a?b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789",
            b"GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET /a?b HTTP/1.1\r\nHost: a\r\n",
            b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /a?b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            b"GET /a?b HTTP/1.0\r\nHost: a\r\n\r\n",
            b"GET /a?b HTTP/1.1\r\nHost: \r\n\r\n",
        ];
        let unlike = |shown: (String, String)| {
            // Kept beside what it means for the connection.
            let (conn, head) = shown;
            (conn.split("last_host").next().unwrap().to_owned(), head)
        };
        for first in heads {
            for second in heads {
                let alone = unlike(after(None, second, false));
                for change in [false, true] {
                    let follows = unlike(after(Some(first), second, change));
                    assert_eq!(follows, alone, "{}", second.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn limits_are_kept() {
        let head = b"GET /abc HTTP/1.1\r\nHost: abc\r\nAccept: a\r\n\r\n";
        let exact = Limits {
            line_bytes_max: 19,
            field_bytes_max: 11,
            head_bytes_max: head.len(),
            fields_max: 2,
        };
        assert!(agree(head, &exact));
        for tight in [
            Limits {
                line_bytes_max: 18,
                ..exact
            },
            Limits {
                field_bytes_max: 10,
                ..exact
            },
            Limits {
                head_bytes_max: head.len() - 1,
                ..exact
            },
            Limits {
                fields_max: 1,
                ..exact
            },
        ] {
            let mut parsed = RequestHead::default();
            assert!(
                parse_request(head, &tight, &mut parsed).is_none(),
                "{tight:?}"
            );
        }
    }

    /// Pieces that together make heads on both sides of the border.
    fn piece() -> impl Strategy<Value = &'static [u8]> {
        prop::sample::select(vec![
            &b"GET "[..],
            b"POST ",
            b"PUT ",
            b"/",
            b"/a",
            b".",
            b"?",
            b"%41",
            b"#",
            b"x=1",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"Host: a\r\n",
            b"host: b:80\r\n",
            b"\r\n",
            b"\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"X-Y: ",
            b"Z:",
            b" ",
            b"\t",
            b"abcdefgh",
            b"\xff",
            b"\0",
            b"\x7f",
            b": ",
            b"Connection: close\r\n",
            b"Expect: 100-continue\r\n",
            b"Transfer_Encoding: a\r\n",
            b"Accept: */*\r\n",
        ])
    }

    proptest! {
        #[test]
        fn what_is_taken_is_read_as_the_careful_parser_reads_it(
            start in prop::sample::select(vec![
                &b""[..], b"GET / HTTP/1.1\r\n", b"GET /a HTTP/1.1\r\nHost: a\r\n",
                b"POST /x?y HTTP/1.1\r\nHost: a\r\nX-Long-Name: a value, and more\r\n",
            ]),
            pieces in prop::collection::vec(piece(), 0..12),
            end in prop::sample::select(vec![&b""[..], b"\r\n", b"\r\n\r\n"]),
        ) {
            let input = [start, &pieces.concat(), end].concat();
            agree(&input, &Limits::default());
        }

        #[test]
        fn one_changed_byte_is_noticed_by_both(at in 0..100_usize, byte: u8) {
            let mut input = b"GET /path/x?query=1 HTTP/1.1\r\nHost: host.test:80\r\nX-Other: some\
                value here\r\nuser-agent: a\r\n\r\n".to_vec();
            if let Some(place) = input.get_mut(at) {
                *place = byte;
            }
            agree(&input, &Limits::default());
        }
    }
}
