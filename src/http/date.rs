//! IMF-fixdate, the form of dates in fields (RFC 9110 §5.6.7). Whoever writes many in the same
//! second keeps the text.

use crate::base::civil::Civil;

/// Bytes of an IMF-fixdate.
pub const DATE_LEN: usize = 29;
/// Bytes of the longest date of RFC 850: `Wednesday, 09-Nov-94 08:49:37 GMT`.
const LONGEST_DATE_LEN: usize = 33;

/// Appends that many seconds since the Unix epoch as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn write_date(unix_seconds: u64, out: &mut Vec<u8>) {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let date = Civil::from_unix(unix_seconds);
    let day = DAYS
        .get(usize::from(date.weekday))
        .copied()
        .unwrap_or("Sun");
    out.reserve(DATE_LEN);
    out.extend_from_slice(day.as_bytes());
    out.extend_from_slice(b", ");
    two_digits(date.day, out);
    out.push(b' ');
    out.extend_from_slice(date.month_name().as_bytes());
    out.push(b' ');
    // The format has four digits for the year, which lasts a while.
    let year = date.year.min(9999);
    two_digits((year / 100) as u8, out);
    two_digits((year % 100) as u8, out);
    for (front, number) in [(b' ', date.hour), (b':', date.minute), (b':', date.second)] {
        out.push(front);
        two_digits(number, out);
    }
    out.extend_from_slice(b" GMT");
}

/// Reads a date field: IMF-fixdate, and the two obsolete forms that a recipient must accept (RFC
/// 9110 §5.6.7). Seconds since the Unix epoch; moments before it are 0.
#[must_use]
pub fn parse_date(value: &[u8]) -> Option<u64> {
    let mut text = [0; LONGEST_DATE_LEN];
    let text = text.get_mut(..value.len())?;
    text.copy_from_slice(value);
    usual_case(text);
    let moment = parse_any_day(text)?;
    let since = moment.duration_since(std::time::UNIX_EPOCH);
    Some(since.map_or(0, |since| since.as_secs()))
}

/// The day of the week says nothing that the rest does not, and is sometimes wrong; the parser
/// wants it right.
fn parse_any_day(text: &mut [u8]) -> Option<std::time::SystemTime> {
    const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    const SHORTEST_DATE_LEN: usize = 24;
    let parse = |text: &[u8]| httpdate::parse_http_date(core::str::from_utf8(text).ok()?).ok();
    if let Some(moment) = parse(text) {
        return Some(moment);
    }
    let has_day = |day: &[u8; 3]| text.starts_with(&day[..]);
    if text.len() < SHORTEST_DATE_LEN || !DAYS.iter().any(|day| has_day(day)) {
        return None;
    }
    DAYS.iter().find_map(|day| {
        text.get_mut(..3)?.copy_from_slice(&day[..]);
        parse(text)
    })
}

/// Names of days and months count in any case for a lenient reader; the parser wants the usual
/// one: `Mon`, `Nov`, `GMT`.
fn usual_case(text: &mut [u8]) {
    let zone_at = text.len().saturating_sub(3);
    let mut is_inside = false;
    for (at, byte) in text.iter_mut().enumerate() {
        if is_inside && at < zone_at {
            byte.make_ascii_lowercase();
        } else {
            byte.make_ascii_uppercase();
        }
        is_inside = byte.is_ascii_alphabetic();
    }
}

fn two_digits(number: u8, out: &mut Vec<u8>) {
    out.push(b'0' + number / 10);
    out.push(b'0' + number % 10);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_478_400, "Tue, 24 Nov 2026 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let mut out = Vec::new();
            write_date(seconds, &mut out);
            assert_eq!(core::str::from_utf8(&out).unwrap(), text);
            assert_eq!(out.len(), DATE_LEN);
            assert_eq!(parse_date(&out), Some(seconds));
        }
    }

    #[test]
    fn obsolete_forms_are_read() {
        for text in [
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "SUN, 06 nOV 1994 08:49:37 gMT",
            "sunday, 06-NOV-94 08:49:37 gmt",
            "SUN NOV  6 08:49:37 1994",
            "Thu Nov  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37 PST",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994",
            "06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov  1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
        ] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_date(b"\xff\xfe"), None);
    }
}
