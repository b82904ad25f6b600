//! Mutational fuzzing on stable Rust: well-formed inputs are bent a few bytes at a time and fed
//! to the parsers whole and cut. They must not panic, must answer the same however the input is
//! cut, and what they accept must survive being forwarded.
//!
//! `FUZZ_SEED` replays a run, `FUZZ_ITERS` sets how many inputs each target gets. A failure
//! prints the seed and the input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod wire {
    pub(crate) use ringway::http::h1::{
        BodyKind, ClientConn, ClientEvent, Error, Event, Limits, Next, RequestLine, ServerConn,
    };
    pub(crate) use ringway::http::{HeaderList, RequestHead, Response, ResponseHead, Version};
}

#[path = "support/h1_drive.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its half")]
mod drive;

#[path = "support/mutate.rs"]
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use drive::{Message, Received, Served, receive, serve};
use mutate::{CHUNKED, REQUESTS, RESPONSES, Random, cut, mutate, number, seed};
use ringway::http::h1::{BodyKind, ClientConn, Limits, RequestLine, chunked};
use ringway::http::uri::normalize_path;
use ringway::http::{HeaderList, Known, sse};

const ITERS_DEFAULT: u64 = 20_000;

const TIGHT: Limits = Limits {
    line_bytes_max: 60,
    field_bytes_max: 50,
    head_bytes_max: 200,
    fields_max: 6,
};

const EVENTS: &[&[u8]] = &[
    b"\xef\xbb\xbf: hi\n\nevent: a\nid: 7\ndata: one\r\ndata:two\rdata\n\n",
    b"retry: 10\n\nid\n\ndata: \xc3\xa9\r\r\ndata:\n\n: beat\n\n",
    b"data: {\"jsonrpc\":\"2.0\"}\n\nid: x\0y\nfoo: bar\ndata\n\n",
];

/// Runs `check` on so many mutations of `seeds`; says what was tried when one fails.
fn fuzz(target: &str, seeds: &[&[u8]], check: impl Fn(&[u8], &mut Random)) {
    let seed = seed();
    for iteration in 0..number("FUZZ_ITERS").unwrap_or(ITERS_DEFAULT) {
        let mut random = Random(seed.wrapping_add(iteration));
        let mut input = random.pick(seeds).to_vec();
        mutate(&mut input, seeds, &mut random);
        let checked = catch_unwind(AssertUnwindSafe(|| check(&input, &mut random)));
        assert!(
            checked.is_ok(),
            "{target}: replay with FUZZ_SEED={} FUZZ_ITERS=1; input: {}",
            seed.wrapping_add(iteration),
            input.escape_ascii()
        );
    }
}

fn limits(random: &mut Random) -> Limits {
    match random.below(2) {
        0 => TIGHT,
        _ => Limits::default(),
    }
}

#[test]
fn request_heads() {
    fuzz("request heads", REQUESTS, |input, random| {
        let limits = limits(random);
        let whole = serve(&[input], limits);
        assert_eq!(serve(&cut(input, random), limits), whole);
        for served in &whole {
            if let Served::Request(message) = served {
                forward(message);
            }
        }
    });
}

#[test]
fn chunked_bodies() {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    fuzz("chunked bodies", CHUNKED, |input, random| {
        let input = [HEAD, input].concat();
        let whole = serve(&[&input], Limits::default());
        assert_eq!(serve(&cut(&input, random), Limits::default()), whole);
        if let Some(Served::Request(message)) = whole.first() {
            forward(message);
        }
    });
}

/// What was accepted, sent on in our own words, must be the same request to the next reader:
/// this is what makes smuggling impossible.
fn forward(message: &Message) {
    let mut headers = HeaderList::new();
    for (name, value) in &message.headers {
        headers.push(name, value);
    }
    if !headers.contains(Known::Host) {
        headers.push(b"Host", b"added.test");
    }
    if message.method == "CONNECT" {
        return;
    }
    let body = match message.body.len() {
        0 => BodyKind::None,
        len if len % 2 == 0 => BodyKind::Length(len as u64),
        _ => BodyKind::Chunked,
    };
    let line = RequestLine {
        method: &message.method,
        target: &message.path_and_query,
    };
    let mut out = Vec::new();
    ClientConn::new(Limits::default()).request(line, &headers, body, &mut out);
    match body {
        BodyKind::Chunked => {
            let (first, second) = message.body.split_at(message.body.len() / 2);
            chunked::encode_chunk(first, &mut out);
            chunked::encode_chunk(second, &mut out);
            chunked::encode_last_chunk(None, &mut out);
        }
        _ => out.extend_from_slice(&message.body),
    }
    let served = serve(&[&out], Limits::default());
    let [Served::Request(forwarded)] = served.as_slice() else {
        panic!("{served:?} of {}", out.escape_ascii())
    };
    assert_eq!(forwarded.method, message.method);
    assert_eq!(forwarded.target, message.path_and_query);
    assert_eq!(forwarded.body, message.body);
    assert_eq!(forwarded.end, out.len());
    let ours = [
        Known::Connection,
        Known::ContentLength,
        Known::Expect,
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::TransferEncoding,
        Known::Upgrade,
    ];
    let theirs = |list: &[(Vec<u8>, Vec<u8>)]| -> Vec<(Vec<u8>, Vec<u8>)> {
        let is_theirs = |name: &[u8]| !ours.contains(&Known::of(name));
        list.iter()
            .filter(|(name, _)| is_theirs(name))
            .cloned()
            .collect()
    };
    assert_eq!(theirs(&forwarded.headers), theirs(&drive::fields(&headers)));
}

#[test]
fn response_heads() {
    fuzz("response heads", RESPONSES, |input, random| {
        let limits = limits(random);
        let methods: &[&str] = match random.below(3) {
            0 => &["HEAD", "GET"],
            1 => &["CONNECT", "GET"],
            _ => &["GET", "GET", "POST"],
        };
        let whole = receive(&[input], methods, limits);
        assert_eq!(receive(&cut(input, random), methods, limits), whole);
        let finals = whole
            .iter()
            .filter(|received| matches!(received, Received::Response(_)));
        assert!(finals.count() <= methods.len());
    });
}

#[test]
fn event_streams() {
    const EVENT_BYTES_MAX: usize = 48;
    let decode = |pieces: &[&[u8]], bytes_max: usize| {
        let mut decoder = sse::Decoder::new(bytes_max);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.feed(Bytes::copy_from_slice(piece));
            loop {
                match decoder.next() {
                    Ok(Some(event)) => {
                        assert!(event.data.len() <= bytes_max);
                        events.push(event);
                    }
                    Ok(None) => break,
                    Err(error) => return (events, Some(error), None, None),
                }
            }
        }
        let last = decoder.last_event_id().map(str::to_owned);
        (events, None, last, decoder.retry())
    };
    fuzz("event streams", EVENTS, |input, random| {
        let bytes_max = [EVENT_BYTES_MAX, 10_000][random.below(2)];
        let whole = decode(&[input], bytes_max);
        assert_eq!(decode(&cut(input, random), bytes_max), whole);
        // What we write of it reads as it was.
        let mut out = Vec::new();
        for event in &whole.0 {
            sse::write_event(
                event.event.as_deref(),
                event.id.as_deref(),
                &event.data,
                &mut out,
            );
        }
        assert_eq!(decode(&[&out], 10_000).0, whole.0);
    });
}

#[test]
fn paths() {
    const PATHS: &[&[u8]] = &[
        b"/a/b/../c",
        b"/%2e%2e/x",
        b"//a//.//",
        b"/caf%C3%A9/%2f",
        b"/",
    ];
    fuzz("paths", PATHS, |input, _| {
        let Ok(path) = core::str::from_utf8(input) else {
            return;
        };
        let Ok(normal) = normalize_path(path) else {
            return;
        };
        if path.starts_with('/') {
            assert!(normal.starts_with('/'), "{normal:?}");
            assert!(!normal.contains('\0') || path.contains('\0'));
            let mut segments = normal.split('/').skip(1);
            assert!(
                segments.all(|segment| segment != ".." && segment != "."),
                "{normal:?}"
            );
        }
    });
}
