//! Proactive negotiation by quality values (RFC 9110 §12.4.2, §12.5.1): whether a client takes
//! a media type, and how much it likes it.

use crate::http::{HeaderList, Known};

/// How much a client wants something: 0 (not at all) to 1000 (most).
pub type Quality = u16;

/// The quality that the request's Accept fields give to `kind/subtype`, by the most specific
/// range that matches. No Accept field at all accepts everything.
#[must_use]
pub fn media_quality(headers: &HeaderList, kind: &str, subtype: &str) -> Quality {
    if !headers.contains(Known::Accept) {
        return 1000;
    }
    let mut best = (0, 0);
    for (range, quality) in headers.all(Known::Accept).flat_map(weighted) {
        let specificity = specificity(range, kind, subtype);
        // The first of two equal ranges counts, so that `>` and not `>=` decides.
        if specificity > best.0 {
            best = (specificity, quality);
        }
    }
    best.1
}

/// Whether the client takes `kind/subtype`, be it under a wildcard.
#[must_use]
pub fn accepts(headers: &HeaderList, kind: &str, subtype: &str) -> bool {
    media_quality(headers, kind, subtype) > 0
}

/// Whether the client takes `application/json`.
#[must_use]
pub fn accepts_json(headers: &HeaderList) -> bool {
    accepts(headers, "application", "json")
}

/// Whether the client takes `text/event-stream`.
#[must_use]
pub fn accepts_event_stream(headers: &HeaderList) -> bool {
    accepts(headers, "text", "event-stream")
}

/// Whether an Accept field spells `kind/subtype` out, with a quality above zero. Wildcards do
/// not count: MCP wants its clients to name both types.
#[must_use]
pub fn names(headers: &HeaderList, kind: &str, subtype: &str) -> bool {
    headers
        .all(Known::Accept)
        .flat_map(weighted)
        .any(|(range, quality)| quality > 0 && specificity(range, kind, subtype) == 3)
}

/// Elements of a list with weights, and the weight of each: Accept, Accept-Encoding and their
/// like. Parameters other than `q` stay with the element. A malformed weight counts as zero,
/// because who writes one did not mean "gladly".
pub fn weighted(value: &[u8]) -> impl Iterator<Item = (&[u8], Quality)> {
    value.split(|&byte| byte == b',').filter_map(|element| {
        let element = element.trim_ascii();
        let mut end = element.len();
        let mut quality = 1000;
        let mut at = 0;
        for (index, part) in element.split(|&byte| byte == b';').enumerate() {
            let part_start = at;
            at += part.len() + 1;
            if let Some(weight) = weight(part).filter(|_| index > 0) {
                end = part_start.saturating_sub(1);
                quality = weight;
                break;
            }
        }
        let element = element.get(..end).unwrap_or_default().trim_ascii_end();
        (!element.is_empty()).then_some((element, quality))
    })
}

/// The value of a `q` parameter, or `None` if the parameter is another.
fn weight(parameter: &[u8]) -> Option<Quality> {
    let value = match parameter.trim_ascii() {
        [b'q' | b'Q', b'=', value @ ..] => value,
        _ => return None,
    };
    let (whole, digits) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', digits @ ..] => (whole, digits),
        _ => return Some(0),
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return Some(0);
    }
    let fraction = digits
        .iter()
        .chain([b'0'; 3].iter())
        .take(3)
        .fold(0, |sum, digit| sum * 10 + Quality::from(digit - b'0'));
    Some(match whole {
        b'0' => fraction,
        b'1' if fraction == 0 => 1000,
        _ => 0,
    })
}

/// 3 for the type itself, 2 for `kind/*`, 1 for `*/*`, 0 for no match. Parameters of the range
/// are left out of account: we offer each type in one form only.
fn specificity(range: &[u8], kind: &str, subtype: &str) -> u8 {
    let range = range.split(|&byte| byte == b';').next().unwrap_or(range);
    let mut halves = range.trim_ascii().splitn(2, |&byte| byte == b'/');
    let (Some(range_kind), Some(range_subtype)) = (halves.next(), halves.next()) else {
        return 0;
    };
    let same_kind = range_kind.eq_ignore_ascii_case(kind.as_bytes());
    if same_kind && range_subtype.eq_ignore_ascii_case(subtype.as_bytes()) {
        3
    } else if same_kind && range_subtype == b"*" {
        2
    } else {
        u8::from(range_kind == b"*" && range_subtype == b"*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderList {
        let mut headers = HeaderList::new();
        headers.push(b"Accept", value.as_bytes());
        headers
    }

    #[test]
    fn the_most_specific_range_decides() {
        for (value, quality) in [
            ("application/json", 1000),
            ("APPLICATION/JSON;q=0.5", 500),
            ("application/*;q=0.25", 250),
            ("*/*", 1000),
            ("*/*;q=0.1, application/json;q=0", 0),
            ("application/*;q=0, application/json", 1000),
            ("text/html", 0),
            ("text/html, application/json; charset=utf-8; q=0.9", 900),
            ("application/json;q=1.001", 0),
            ("application/json;q=x", 0),
            ("application/json;q=", 0),
            ("application/json ; Q=0.125 ; ext=1", 125),
            (",, application/json ,", 1000),
            ("application", 0),
            ("", 0),
        ] {
            let headers = accept(value);
            assert_eq!(
                media_quality(&headers, "application", "json"),
                quality,
                "{value}"
            );
        }
        assert!(accepts_json(&HeaderList::new()));
        assert!(accepts_event_stream(&accept(
            "application/json, text/event-stream"
        )));
        assert!(!accepts_event_stream(&accept("application/json")));
    }

    #[test]
    fn a_wildcard_names_nothing() {
        assert!(names(
            &accept("text/event-stream;q=0.1"),
            "text",
            "event-stream"
        ));
        assert!(!names(&accept("*/*, text/*"), "text", "event-stream"));
        assert!(!names(
            &accept("text/event-stream;q=0"),
            "text",
            "event-stream"
        ));
        assert!(!names(&HeaderList::new(), "text", "event-stream"));
    }

    #[test]
    fn weighted_lists() {
        let of = |text: &'static str| {
            weighted(text.as_bytes())
                .map(|(element, quality)| (core::str::from_utf8(element).unwrap(), quality))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("gzip;q=0.8, br ;q=1.0,identity; q=0 , *"),
            [("gzip", 800), ("br", 1000), ("identity", 0), ("*", 1000)]
        );
        assert_eq!(of("text/html;level=1;q=0.4"), [("text/html;level=1", 400)]);
        assert_eq!(of("q=0.5"), [("q=0.5", 1000)]);
    }
}
