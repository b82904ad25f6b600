//! Cases of RFC 9111 by table.

use super::*;
use crate::http::date::write_date;

const NOW: u64 = 1_795_478_400;
/// A field's value: text, or a date so many seconds from now.
#[derive(Clone, Copy)]
enum Value {
    Text(&'static str),
    In(i64),
}
use Value::{In, Text};

fn response(status: u16, fields: &[(&str, Value)]) -> ResponseHead {
    let mut head = ResponseHead {
        status,
        ..ResponseHead::default()
    };
    for (name, value) in fields {
        match value {
            Text(text) => head.headers.push(name.as_bytes(), text.as_bytes()),
            In(seconds) => {
                let mut text = Vec::new();
                write_date(NOW.saturating_add_signed(*seconds), &mut text);
                head.headers.push(name.as_bytes(), &text);
            }
        }
    }
    head
}

fn freshness(status: u16, fields: &[(&str, Value)]) -> Freshness {
    let head = response(status, fields);
    let control = CacheControl::of_response(&head.headers);
    Freshness::new(&head, &control, (NOW, NOW), None)
}

/// Seconds of freshness left three seconds after the response came.
fn left(status: u16, fields: &[(&str, Value)]) -> u64 {
    freshness(status, fields).remaining(NOW + 3)
}

#[test]
fn the_responses_own_word_counts_in_its_order() {
    let cases: &[(&[(&str, Value)], u64)] = &[
        (&[("Cache-Control", Text("max-age=3600"))], 3597),
        (&[("Cache-Control", Text("max-age=3600, s-maxage=10"))], 7),
        (&[("Cache-Control", Text("max-age=1, s-maxage=10"))], 7),
        (
            &[
                ("Cache-Control", Text("max-age=3600")),
                ("Age", Text("3000")),
            ],
            597,
        ),
        (
            &[("Cache-Control", Text("max-age=3600")), ("Date", In(-3000))],
            597,
        ),
        (
            &[
                ("Cache-Control", Text("max-age=3600")),
                ("Expires", In(-7200)),
                ("Date", In(0)),
            ],
            3597,
        ),
        (&[("Expires", In(100)), ("Date", In(0))], 97),
        (&[("Expires", In(300)), ("Date", In(400))], 0),
        (&[("Expires", Text("0")), ("Date", In(0))], 0),
        (&[("Expires", In(10)), ("Date", Text("foo"))], 7),
        (
            &[("Date", In(-10)), ("Expires", In(10)), ("Age", Text("25"))],
            0,
        ),
        (
            &[("Date", In(10)), ("Expires", In(20)), ("Age", Text("15"))],
            0,
        ),
        (&[("Expires", In(100)), ("Expires", In(100))], 0),
        (&[], 0),
    ];
    for (index, (fields, expected)) in cases.iter().enumerate() {
        assert_eq!(left(200, fields), *expected, "case {index}");
    }
}

#[test]
fn age_is_its_first_number_or_nothing() {
    for (age, expected) in [
        ("abc", 0),
        ("-7200", 0),
        ("7200.0", 0),
        ("2147483649", 2_147_483_648),
        ("7200, 0", 7200),
        ("0, 7200", 0),
        ("7200;foo=bar", 0),
    ] {
        let fields = [("Age", Text(age)), ("Date", In(0))];
        assert_eq!(freshness(200, &fields).age(NOW), expected, "{age}");
    }
}

#[test]
fn the_time_on_the_way_counts_as_age() {
    let head = response(200, &[("Cache-Control", Text("max-age=60"))]);
    let control = CacheControl::of_response(&head.headers);
    let freshness = Freshness::new(&head, &control, (NOW, NOW + 5), None);
    assert_eq!(freshness.age(NOW + 6), 6);
}

#[test]
fn a_tenth_of_the_time_since_the_last_change() {
    let fields = [("Last-Modified", In(-10_000)), ("Date", In(0))];
    assert_eq!(left(200, &fields), 997);
    assert_eq!(left(404, &fields), 997);
    assert_eq!(left(201, &fields), 0);
    assert_eq!(left(503, &fields), 0);
    let public = [fields[0], fields[1], ("Cache-Control", Text("public"))];
    assert_eq!(left(599, &public), 997);
    let old = [("Last-Modified", In(-100_000_000)), ("Date", In(0))];
    assert_eq!(left(200, &old), 86_397);
}

#[test]
fn what_is_stored() {
    use NotStored as Not;
    let expires = ("Expires", In(100));
    for (status, cache_control, authorization, expected) in [
        (200, "max-age=60", false, Ok(())),
        (299, "max-age=60", false, Ok(())),
        (200, "", false, Ok(())),
        (201, "", false, Ok(())), // it has Expires
        (200, "no-store", false, Err(Not::NoStore)),
        (200, "private, max-age=60", false, Err(Not::Private)),
        (206, "max-age=60", false, Err(Not::Status)),
        (304, "max-age=60", false, Err(Not::Status)),
        (200, "max-age=60", true, Err(Not::Credentials)),
        (200, "max-age=60, public", true, Ok(())),
        (200, "max-age=60, must-revalidate", true, Ok(())),
        (200, "s-maxage=60", true, Ok(())),
        (200, "max-age=60, no-store, must-understand", false, Ok(())),
        (599, "max-age=60, must-understand", false, Err(Not::Status)),
        (599, "no-store, must-understand", false, Err(Not::NoStore)),
    ] {
        let circumstances = Circumstances {
            with_credentials: authorization,
            with_default: false,
        };
        let head = response(status, &[("Cache-Control", Text(cache_control)), expires]);
        let control = CacheControl::of_response(&head.headers);
        let stored = storable(&CacheControl::default(), &head, &control, circumstances);
        assert_eq!(stored, expected, "{status} {cache_control}");
    }
    let bare = response(201, &[]);
    let none = CacheControl::default();
    let stored = |asked: &CacheControl, with_default| {
        let circumstances = Circumstances {
            with_credentials: false,
            with_default,
        };
        storable(asked, &bare, &none, circumstances)
    };
    assert_eq!(
        stored(&CacheControl::default(), false),
        Err(Not::NoLifetime)
    );
    assert_eq!(stored(&CacheControl::default(), true), Ok(()));
    let no_store = CacheControl {
        no_store: true,
        ..CacheControl::default()
    };
    assert_eq!(stored(&no_store, true), Err(Not::NoStore));
    let numbers = freshness(
        200,
        &[("Cache-Control", Text("max-age=5, stale-if-error=7"))],
    );
    assert_eq!(Freshness::of_numbers(numbers.numbers()), numbers);
}
