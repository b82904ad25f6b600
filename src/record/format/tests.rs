//! Lines as an operator's tools read them, and what an attacker would like them to read.

use std::net::Ipv4Addr;

use sonic_rs::{JsonValueTrait, Value};

use super::*;
use crate::base::ids::Ids;

const END: Duration = Duration::from_millis(1_795_507_200_042);

fn head(fields: &[(&str, &[u8])]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_line(b"POST", b"/mcp?x=%22", 0..4, 5..10);
    for (name, value) in fields {
        head.headers.push(name.as_bytes(), value);
    }
    head
}

fn line(head: &RequestHead, format: LogFormat, upstream: Option<UpstreamTimes>) -> String {
    let id = RequestId::new(head, &mut Ids::new(1), END);
    let line = Line {
        head,
        client: Ipv4Addr::new(192, 0, 2, 7).into(),
        handler: "/mcp",
        status: 200,
        body_bytes: 153,
        elapsed: Duration::from_micros(12_900),
        unix: END,
        id: &id,
        upstream,
    };
    let mut out = Vec::new();
    line.write(format, &mut DateCache::default(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn main_is_the_seeds_format() {
    let fields: [(&str, &[u8]); 2] = [("User-Agent", b"curl/8"), ("X-Forwarded-For", b"10.1.1.1")];
    assert_eq!(
        line(&head(&fields), LogFormat::Main, None),
        "192.0.2.7 - - [24/Nov/2026:08:00:00 +0000] \"POST /mcp?x=%22 HTTP/1.1\" 200 153 \"-\" \
         \"curl/8\" \"10.1.1.1\" rt=0.012 uct=\"-\" uht=\"-\" urt=\"-\"\n"
    );
    let times = UpstreamTimes {
        header: Duration::from_millis(2),
        response: None,
    };
    let with_upstream = line(&head(&[]), LogFormat::Main, Some(times));
    let tail = " \"-\" rt=0.012 uct=\"-\" uht=\"0.002\" urt=\"0.012\"\n";
    assert!(with_upstream.ends_with(tail), "{with_upstream}");
}

#[test]
fn combined_stops_after_the_user_agent() {
    let fields: [(&str, &[u8]); 1] = [("Referer", b"http://a.test/")];
    assert_eq!(
        line(&head(&fields), LogFormat::Combined, None),
        "192.0.2.7 - - [24/Nov/2026:08:00:00 +0000] \"POST /mcp?x=%22 HTTP/1.1\" 200 153 \
         \"http://a.test/\" \"-\"\n"
    );
}

#[test]
fn no_client_can_forge_a_line() {
    let evil = b"x\" 200 0 \"\\10.0.0.1 - - \x1b[31m\x7f\xff";
    for format in [LogFormat::Main, LogFormat::Combined, LogFormat::Json] {
        let line = line(&head(&[("User-Agent", evil)]), format, None);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end().contains(char::is_control), "{line:?}");
        if format != LogFormat::Json {
            assert!(line.contains(r"x\x22 200 0 \x22\x5C10"), "{line}");
        }
    }
}

#[test]
fn json_is_read_back_as_it_was_sent() {
    let fields: [(&str, &[u8]); 3] = [
        ("User-Agent", b"a\"b\\c\x01\xffd"),
        ("Referer", "ü€😀".as_bytes()),
        ("X-Request-Id", b"trace-1"),
    ];
    let text = line(&head(&fields), LogFormat::Json, None);
    let read: Value = sonic_rs::from_str(&text).unwrap();
    let field = |name: &str| read.get(name).and_then(|v| v.as_str()).unwrap().to_owned();
    assert_eq!(field("time"), "2026-11-24T08:00:00.042Z");
    assert_eq!(field("request"), "POST /mcp?x=%22 HTTP/1.1");
    assert_eq!(field("http_user_agent"), "a\"b\\c\u{1}\u{fffd}d");
    assert_eq!(field("http_referer"), "ü€😀");
    assert_eq!(field("request_id"), "trace-1");
    assert_eq!(field("handler"), "/mcp");
    let number = |name: &str| read.get(name).and_then(|v| v.as_f64()).unwrap();
    assert_eq!(number("status"), 200.0);
    assert_eq!(number("request_time"), 0.012);
    assert!(read.get("upstream_header_time").is_none());
}

#[test]
fn a_request_that_could_not_be_read_is_a_dash() {
    let text = line(&RequestHead::default(), LogFormat::Combined, None);
    assert!(text.contains("] \"-\" 200 153 "), "{text}");
}

#[test]
fn the_date_follows_the_second() {
    let mut date = DateCache::default();
    assert_eq!(date.at(0), "01/Jan/1970:00:00:00 +0000");
    assert_eq!(date.at(86_399), "01/Jan/1970:23:59:59 +0000");
    assert_eq!(date.at(86_400), "02/Jan/1970:00:00:00 +0000");
}

#[test]
fn line_breaks_are_escaped_even_if_a_parser_let_them_through() {
    for (escaped, expected) in [
        (push_text as fn(&mut Vec<u8>, &[u8]), r"a\x0D\x0Ab\x00"),
        (push_json, r"a\u000d\u000ab\u0000"),
    ] {
        let mut out = Vec::new();
        escaped(&mut out, b"a\r\nb\0");
        assert_eq!(out, expected.as_bytes());
    }
}
