//! Conditional requests (RFC 9110 §13): whether a client's own copy will do, and whether what it
//! thinks to be there still is. For representations that carry validators: files, stored
//! responses.

use crate::http::date::parse_date;
use crate::http::{HeaderList, Known, Method};

/// What a client can compare its own copy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The entity tag as sent, with its quotes and, if weak, its `W/`.
    pub etag: Option<&'a [u8]>,
    /// Last-Modified in seconds since the Unix epoch.
    pub last_modified: Option<u64>,
}

/// What becomes of a conditional request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were no condition.
    Proceed,
    /// 304: the client's copy will do.
    NotModified,
    /// 412: it is not what the client thinks it is.
    Failed,
}

/// Evaluates a request's preconditions in the order of RFC 9110 §13.2.2, Range aside.
#[must_use]
pub fn evaluate(method: Method, request: &HeaderList, known: &Validators<'_>) -> Verdict {
    if request.contains(Known::IfMatch) {
        if !any_matches(request, Known::IfMatch, known.etag, strong_match) {
            return Verdict::Failed;
        }
    } else if let Some(date) = date(request, Known::IfUnmodifiedSince)
        && known.last_modified.is_some_and(|modified| modified > date)
    {
        return Verdict::Failed;
    }
    let is_read = matches!(method, Method::Get | Method::Head);
    if request.contains(Known::IfNoneMatch) {
        return match any_matches(request, Known::IfNoneMatch, known.etag, weak_match) {
            false => Verdict::Proceed,
            true if is_read => Verdict::NotModified,
            true => Verdict::Failed,
        };
    }
    if is_read
        && let Some(date) = date(request, Known::IfModifiedSince)
        && known.last_modified.is_some_and(|modified| modified <= date)
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether a request's Range counts (RFC 9110 §13.1.5, §14.2): only with GET, in one field, and
/// if an If-Range names the very representation. `now` is in seconds since the Unix epoch; a
/// date is no strong validator within the second in which the file may change again.
#[must_use]
pub fn range_of<'a>(
    method: Method,
    request: &'a HeaderList,
    known: &Validators<'_>,
    now: u64,
) -> Option<&'a [u8]> {
    if method != Method::Get || !request.contains(Known::Range) {
        return None;
    }
    let mut fields = request.all(Known::Range);
    let (range, second) = (fields.next()?, fields.next());
    let holds = match request.get(Known::IfRange) {
        None => true,
        Some(tag) if tag.starts_with(b"\"") || tag.starts_with(b"W/") => {
            known.etag.is_some_and(|etag| strong_match(tag, etag))
        }
        Some(text) => parse_date(text)
            .is_some_and(|date| known.last_modified == Some(date) && now.saturating_sub(date) >= 1),
    };
    (holds && second.is_none()).then_some(range)
}

fn date(request: &HeaderList, field: Known) -> Option<u64> {
    if !request.contains(field) {
        return None;
    }
    parse_date(request.get(field)?)
}

/// Whether `*` or one of the listed tags matches. `*` matches any representation there is.
fn any_matches(
    request: &HeaderList,
    field: Known,
    etag: Option<&[u8]>,
    is_match: fn(&[u8], &[u8]) -> bool,
) -> bool {
    request.all(field).any(|value| {
        value.trim_ascii() == b"*"
            || etag.is_some_and(|etag| Tags(value).any(|tag| is_match(tag, etag)))
    })
}

/// RFC 9110 §8.8.3.2: both strong and the same.
fn strong_match(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(b"\"") && one == other
}

/// The same but for the `W/`.
fn weak_match(one: &[u8], other: &[u8]) -> bool {
    opaque(one) == opaque(other)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The entity tags of a list. A comma may stand inside the quotes; what is no tag ends the list.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let is_between = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
        let start = self.0.iter().position(|byte| !is_between(byte))?;
        let rest = self.0.get(start..)?;
        let opening = if rest.starts_with(b"W/") { 2 } else { 0 };
        if rest.get(opening) != Some(&b'"') {
            return None;
        }
        let text = rest.get(opening + 1..)?;
        let closing = text.iter().position(|&byte| byte == b'"')?;
        let (tag, after) = rest.split_at_checked(opening + closing + 2)?;
        self.0 = after;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const SECONDS: u64 = 784_111_777;

    fn headers(fields: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes());
        }
        list
    }

    fn known(etag: &str) -> Validators<'_> {
        Validators {
            etag: Some(etag.as_bytes()),
            last_modified: Some(SECONDS),
        }
    }

    fn verdict(fields: &[(&str, &str)], etag: &str) -> Verdict {
        evaluate(Method::Get, &headers(fields), &known(etag))
    }

    #[test]
    fn each_condition_alone() {
        use Verdict::{Failed, NotModified, Proceed};
        for (name, value, expected) in [
            ("If-None-Match", "\"a\"", NotModified),
            ("If-None-Match", "W/\"a\"", NotModified),
            ("If-None-Match", "\"x\", \"a\"", NotModified),
            ("If-None-Match", "\"x,\" , \"a\"", NotModified),
            ("If-None-Match", "*", NotModified),
            ("If-None-Match", "\"x\"", Proceed),
            ("If-None-Match", "a", Proceed),
            ("If-None-Match", "\"a", Proceed),
            ("If-None-Match", "", Proceed),
            ("If-Match", "\"a\"", Proceed),
            ("If-Match", "*", Proceed),
            ("If-Match", "W/\"a\"", Failed),
            ("If-Match", "\"x\"", Failed),
            ("If-Match", "", Failed),
            ("If-Modified-Since", DATE, NotModified),
            ("If-Modified-Since", LATER, NotModified),
            ("If-Modified-Since", EARLIER, Proceed),
            ("If-Modified-Since", "yesterday", Proceed),
            ("If-Unmodified-Since", DATE, Proceed),
            ("If-Unmodified-Since", LATER, Proceed),
            ("If-Unmodified-Since", EARLIER, Failed),
            ("If-Unmodified-Since", "yesterday", Proceed),
        ] {
            assert_eq!(
                verdict(&[(name, value)], "\"a\""),
                expected,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn tags_outweigh_dates() {
        for (fields, expected) in [
            (
                [("If-None-Match", "\"x\""), ("If-Modified-Since", DATE)],
                Verdict::Proceed,
            ),
            (
                [("If-None-Match", "\"a\""), ("If-Modified-Since", EARLIER)],
                Verdict::NotModified,
            ),
            (
                [("If-Match", "\"a\""), ("If-Unmodified-Since", EARLIER)],
                Verdict::Proceed,
            ),
            (
                [("If-Match", "\"x\""), ("If-None-Match", "\"a\"")],
                Verdict::Failed,
            ),
            (
                [("If-Match", "\"a\""), ("If-None-Match", "\"a\"")],
                Verdict::NotModified,
            ),
        ] {
            assert_eq!(verdict(&fields, "\"a\""), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_write_that_must_find_nothing_fails_when_there_is_something() {
        let fields = headers(&[("If-None-Match", "*")]);
        let verdict = evaluate(Method::Put, &fields, &known("\"a\""));
        assert_eq!(verdict, Verdict::Failed);
    }

    #[test]
    fn a_weak_tag_of_ours_matches_weakly_alone() {
        assert_eq!(
            verdict(&[("If-None-Match", "\"a\"")], "W/\"a\""),
            Verdict::NotModified
        );
        assert_eq!(
            verdict(&[("If-Match", "W/\"a\"")], "W/\"a\""),
            Verdict::Failed
        );
    }

    #[test]
    fn a_range_counts_only_for_the_very_representation() {
        let range = ("Range", "bytes=0-1");
        for (fields, etag, now, counts) in [
            (vec![range], "\"a\"", SECONDS, true),
            (vec![range, ("If-Range", "\"a\"")], "\"a\"", SECONDS, true),
            (vec![range, ("If-Range", "\"x\"")], "\"a\"", SECONDS, false),
            (
                vec![range, ("If-Range", "W/\"a\"")],
                "W/\"a\"",
                SECONDS,
                false,
            ),
            (vec![range, ("If-Range", DATE)], "\"a\"", SECONDS + 1, true),
            (vec![range, ("If-Range", DATE)], "\"a\"", SECONDS, false),
            (
                vec![range, ("If-Range", LATER)],
                "\"a\"",
                SECONDS + 9,
                false,
            ),
            (vec![range, ("If-Range", "a")], "\"a\"", SECONDS + 9, false),
            (vec![range, range], "\"a\"", SECONDS, false),
            (vec![("If-Range", "\"a\"")], "\"a\"", SECONDS, false),
        ] {
            let list = headers(&fields);
            let got = range_of(Method::Get, &list, &known(etag), now);
            assert_eq!(got.is_some(), counts, "{fields:?}");
            assert_eq!(range_of(Method::Head, &list, &known(etag), now), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_list_and_every_tag_of_it_is_quoted(value in "[W/\" ,ab*]{0,24}") {
            for tag in Tags(value.as_bytes()) {
                let quoted = tag.strip_prefix(b"W/").unwrap_or(tag);
                prop_assert!(quoted.len() >= 2);
                prop_assert!(quoted.starts_with(b"\"") && quoted.ends_with(b"\""));
            }
        }

        #[test]
        fn a_listed_tag_is_found_wherever_it_stands(
            before in proptest::collection::vec("[b-z,]{0,4}", 0..5),
            after in proptest::collection::vec("[b-z,]{0,4}", 0..5),
        ) {
            let quote = |tag: &String| format!("\"{tag}\"");
            let mut tags: Vec<String> = before.iter().map(quote).collect();
            tags.push("\"a\"".into());
            tags.extend(after.iter().map(quote));
            let value = tags.join(", ");
            prop_assert_eq!(verdict(&[("If-None-Match", &value)], "\"a\""), Verdict::NotModified);
        }
    }
}
