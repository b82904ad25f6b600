//! Byte ranges (RFC 9110 §14): what a Range field asks of a representation whose length is known,
//! and the Content-Range that says what was sent. Whether the field counts at all, by method and
//! If-Range, is `conditional`'s to say.

use core::ops::Range;

/// Ranges answered in one response. Every part costs a head and a read; a client that wants more
/// pieces of one file gets the file (RFC 9110 §14.2 lets a server ignore such a field).
pub const RANGES_MAX: usize = 32;

/// What a Range field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything: the field is malformed, of another unit, or asks for more than it could save.
    Whole,
    /// One range; it is not empty and ends within the representation.
    One(Range<u64>),
    /// Several, in the order they were asked for, none touching another's bytes.
    Many(Vec<Range<u64>>),
    /// None of the ranges is in the representation: 416.
    Unsatisfiable,
}

/// Reads a Range field for a representation of `len` bytes.
///
/// A malformed field is ignored, as §14.2 has it. So is one that asks for bytes twice or for more
/// than [`RANGES_MAX`] pieces: such sets make small requests cause large responses.
#[must_use]
pub fn select(field: &[u8], len: u64) -> Selection {
    let Some(set) = strip_unit(field) else {
        return Selection::Whole;
    };
    let (mut ranges, mut specs) = (Vec::new(), 0);
    for spec in set.split(|&byte| byte == b',') {
        let spec = spec.trim_ascii();
        if spec.is_empty() {
            // Lists may have empty elements (§5.6.1.2).
            continue;
        }
        specs += 1;
        match resolve(spec, len) {
            _ if specs > RANGES_MAX => return Selection::Whole,
            Err(Malformed) => return Selection::Whole,
            Ok(Some(range)) => ranges.push(range),
            Ok(None) => {}
        }
    }
    match ranges.as_slice() {
        [] if specs == 0 => Selection::Whole,
        // A suffix of nothing is satisfied by nothing, which no 206 can say.
        [] => Selection::Unsatisfiable,
        [range] if range.is_empty() => Selection::Whole,
        [range] => Selection::One(range.clone()),
        _ if overlap(&ranges) => Selection::Whole,
        _ => Selection::Many(ranges),
    }
}

struct Malformed;

/// What follows `bytes=`. Units compare without case (§14.1).
fn strip_unit(field: &[u8]) -> Option<&[u8]> {
    let (unit, set) = field.split_at_checked(b"bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// One `first-last`, `first-` or `-suffix`; `None` if it lies outside.
fn resolve(spec: &[u8], len: u64) -> Result<Option<Range<u64>>, Malformed> {
    let dash = spec.iter().position(|&byte| byte == b'-');
    let (first, last) = spec.split_at(dash.ok_or(Malformed)?);
    let last = last.get(1..).unwrap_or_default();
    if first.is_empty() {
        let suffix = number(last).ok_or(Malformed)?;
        return Ok((suffix > 0).then(|| len.saturating_sub(suffix)..len));
    }
    let first = number(first).ok_or(Malformed)?;
    let end = if last.is_empty() {
        len
    } else {
        let last = number(last).filter(|&last| last >= first);
        last.ok_or(Malformed)?.saturating_add(1).min(len)
    };
    Ok((first < len).then_some(first..end))
}

/// `1*DIGIT`. A number beyond every file stays beyond every file.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum: u64, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

fn overlap(ranges: &[Range<u64>]) -> bool {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().collect();
    sorted.sort_by_key(|range| range.start);
    let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
    pairs.any(|(before, after)| after.start < before.end)
}

/// Appends `bytes first-last/len`, the Content-Range of a part. The range is not empty.
pub fn write_content_range(range: &Range<u64>, len: u64, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"bytes ");
    out.extend_from_slice(digits.format(range.start).as_bytes());
    out.push(b'-');
    out.extend_from_slice(digits.format(range.end.saturating_sub(1)).as_bytes());
    out.push(b'/');
    out.extend_from_slice(digits.format(len).as_bytes());
}

/// Appends `bytes */len`, the Content-Range of a 416.
pub fn write_unsatisfied(len: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"bytes */");
    out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_of_rfc_9110() {
        use Selection::{Many, One, Unsatisfiable, Whole};
        for (field, len, expected) in [
            ("bytes=0-499", 10_000, One(0..500)),
            ("bytes=500-999", 10_000, One(500..1_000)),
            ("bytes=-500", 10_000, One(9_500..10_000)),
            ("bytes=9500-", 10_000, One(9_500..10_000)),
            ("BYTES=0-0", 10, One(0..1)),
            ("bytes=0-0,-1", 10, Many(vec![0..1, 9..10])),
            ("bytes= 0-0 ,, 4-6 ", 10, Many(vec![0..1, 4..7])),
            ("bytes=5-3, 1-2", 10, Whole),
            ("bytes=7-99999999999999999999999", 10, One(7..10)),
            ("bytes=-99999999999999999999999", 10, One(0..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-12,20-", 10, Unsatisfiable),
            ("bytes=10-12,3-4", 10, One(3..5)),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Whole),
            ("bytes=", 10, Whole),
            ("bytes=,", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=1", 10, Whole),
            ("bytes=1-2-3", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes 0-1", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("byte", 10, Whole),
            ("", 10, Whole),
        ] {
            assert_eq!(select(field.as_bytes(), len), expected, "{field} of {len}");
        }
    }

    #[test]
    fn sets_that_multiply_bytes_or_parts_get_the_whole() {
        assert_eq!(select(b"bytes=0-5,5-9", 10), Selection::Whole);
        assert_eq!(select(b"bytes=0-,0-,0-", 10), Selection::Whole);
        let set = |count: usize| {
            let specs: Vec<String> = (0..count).map(|at| format!("{0}-{0}", at * 2)).collect();
            format!("bytes={}", specs.join(","))
        };
        let most = select(set(RANGES_MAX).as_bytes(), 10_000);
        assert!(matches!(most, Selection::Many(ranges) if ranges.len() == RANGES_MAX));
        let beyond = select(set(RANGES_MAX + 1).as_bytes(), 10_000);
        assert_eq!(beyond, Selection::Whole);
    }

    #[test]
    fn fields_say_what_was_sent() {
        let mut out = Vec::new();
        write_content_range(&(500..1_000), 10_000, &mut out);
        assert_eq!(out, b"bytes 500-999/10000");
        out.clear();
        write_unsatisfied(7, &mut out);
        assert_eq!(out, b"bytes */7");
    }

    proptest! {
        #[test]
        fn no_field_selects_bytes_twice_or_beyond_the_end(
            field in "bytes=[0-9, -]{0,40}|[ -~]{0,20}",
            len in 0_u64..200,
        ) {
            let ranges = match select(field.as_bytes(), len) {
                Selection::One(range) => vec![range],
                Selection::Many(ranges) => {
                    prop_assert!(ranges.len() > 1 && ranges.len() <= RANGES_MAX);
                    ranges
                }
                Selection::Whole | Selection::Unsatisfiable => vec![],
            };
            let mut seen = vec![false; len as usize];
            for range in ranges {
                prop_assert!(range.start < range.end && range.end <= len);
                for at in range {
                    prop_assert!(!core::mem::replace(&mut seen[at as usize], true));
                }
            }
        }

        #[test]
        fn a_well_formed_range_selects_what_a_slice_does(
            first in 0_u64..100, more in 0_u64..100, len in 1_u64..100,
        ) {
            let last = first + more;
            let field = format!("bytes={first}-{last}");
            let expected = if first < len {
                Selection::One(first..(last + 1).min(len))
            } else {
                Selection::Unsatisfiable
            };
            prop_assert_eq!(select(field.as_bytes(), len), expected);
        }
    }
}
