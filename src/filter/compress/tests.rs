//! Which responses are encoded, and what their fields say then.

use std::task::{Context, Poll, Waker};

use super::*;
use crate::base::channel::bounded;
use crate::http::Claim;

fn compressor(change: impl FnOnce(&mut Compression)) -> Compressor {
    let mut config = Compression::default();
    change(&mut config);
    Compressor::new(&config, &Shelf::new(1 << 20), Desk::new(None))
}

fn request(method: &str, accept_encoding: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_target(method, "/").unwrap();
    head.headers
        .push(b"Accept-Encoding", accept_encoding.as_bytes());
    head
}

fn json(bytes: usize) -> Response {
    Response::json(200, vec![b' '; bytes])
}

fn field(response: &Response, known: Known) -> Option<&str> {
    response.headers.get_str(known)
}

/// The plan for that response to `GET` with `br, gzip`, after all else was left at its default.
fn plan(response: &mut Response) -> Option<Plan> {
    compressor(|_| ()).decide(&request("GET", "gzip, br"), response)
}

#[test]
fn short_content_is_left_alone_and_long_content_varies() {
    let mut short = json(1023);
    assert_eq!(plan(&mut short), None);
    assert_eq!(field(&short, Known::Vary), None);
    let mut long = json(1024);
    let expected = Plan {
        coding: Coding::Br,
        shape: Shape::Whole(1024),
        flushes: false,
    };
    assert_eq!(plan(&mut long), Some(expected));
    assert_eq!(field(&long, Known::Vary), Some("Accept-Encoding"));
    let mut plain = json(1024);
    let decided = compressor(|_| ()).decide(&request("GET", "identity"), &mut plain);
    assert_eq!(decided, None);
    assert_eq!(field(&plain, Known::Vary), Some("Accept-Encoding"));
    assert_eq!(field(&plain, Known::ContentEncoding), None);
}

#[test]
fn what_must_not_be_encoded_is_not() {
    type Change = fn(Response) -> Response;
    let excluded: [(&str, Change); 13] = [
        ("a part", |r| Response { status: 206, ..r }),
        ("no content", |r| Response { status: 204, ..r }),
        ("not modified", |r| Response { status: 304, ..r }),
        ("a range", |r| r.with("Content-Range", "bytes 0-1/2")),
        ("encoded already", |r| r.with("Content-Encoding", "gzip")),
        ("no-transform", |r| {
            r.with("Cache-Control", "max-age=1, No-Transform")
        }),
        ("a digest", |r| r.with("Content-Digest", "sha-256=:AA==:")),
        ("a digest of the representation", |r| {
            r.with("repr-digest", "x")
        }),
        ("MD5", |r| r.with("Content-MD5", "x")),
        ("an image", |mut r| {
            r.set("Content-Type", "image/png");
            r
        }),
        ("an event stream", |mut r| {
            r.set("Content-Type", "text/event-stream; charset=utf-8");
            r.body = Body::Stream(bounded(1).1);
            r
        }),
        ("no type", |mut r| {
            r.headers.remove(Known::ContentType);
            r
        }),
        ("a short stream", |mut r| {
            r.set("Content-Length", "1023");
            r.body = Body::Stream(bounded(1).1);
            r
        }),
    ];
    for (name, change) in excluded {
        let mut response = change(json(5000));
        assert_eq!(plan(&mut response), None, "{name}");
        assert_eq!(field(&response, Known::Vary), None, "{name}");
    }
    let mut identity = json(5000).with("Content-Encoding", "identity");
    assert!(plan(&mut identity).is_some());
    for status in [200, 404, 500] {
        let mut response = Response {
            status,
            ..json(5000)
        };
        assert!(plan(&mut response).is_some(), "{status}");
    }
}

#[test]
fn the_list_of_types_knows_wildcards_and_parameters() {
    let of = |types: &[&str], media: &str| {
        let compressor = compressor(|config| {
            config.types = types.iter().map(|&text| text.to_owned()).collect();
        });
        let mut response = json(5000);
        response.set("Content-Type", media);
        let decided = compressor.decide(&request("GET", "gzip"), &mut response);
        decided.is_some()
    };
    assert!(of(
        &["application/json"],
        "Application/JSON ; charset=utf-8"
    ));
    assert!(!of(&["application/json"], "application/jsonl"));
    assert!(of(&["text/*"], "text/x-anything"));
    assert!(!of(&["text/*"], "textual/x") && !of(&["text/*"], "application/text"));
    assert!(of(&["*"], "image/png"));
    assert!(!of(&[], "text/plain"));
}

#[test]
fn streams_are_encoded_as_they_come() {
    let stream = |media: &str| {
        let mut response = Response::new(200).with("Content-Type", media);
        response.body = Body::Stream(bounded(1).1);
        response
    };
    let shape = |response: &mut Response| plan(response).map(|plan| (plan.shape, plan.flushes));
    let mut unknown = stream("text/plain");
    assert_eq!(shape(&mut unknown), Some((Shape::Stream, false)));
    let mut known = stream("text/plain").with("Content-Length", "4096");
    assert_eq!(shape(&mut known), Some((Shape::Whole(4096), false)));
    let mut unbuffered = stream("text/plain").with("X-Accel-Buffering", "no");
    assert_eq!(shape(&mut unbuffered), Some((Shape::Stream, true)));
    let mut events = stream("text/event-stream");
    let with_events = compressor(|config| config.event_streams = true);
    let decided = with_events.decide(&request("GET", "gzip"), &mut events);
    let expected = Plan {
        coding: Coding::Gzip,
        shape: Shape::Events,
        flushes: true,
    };
    assert_eq!(decided, Some(expected));
}

#[test]
fn the_fields_of_an_encoded_response() {
    let mut response = json(5000)
        .with("ETag", "\"abc\"")
        .with("Accept-Ranges", "bytes")
        .with("Content-Length", "5000")
        .with("Content-Encoding", "identity")
        .with("Vary", "Origin")
        .with("X-Own", "1")
        .with("vary", "Cookie");
    let plan = plan(&mut response).unwrap();
    plan.finish(&mut response, b"encoded".to_vec());
    assert_eq!(field(&response, Known::Etag), Some("W/\"abc\""));
    assert_eq!(field(&response, Known::AcceptRanges), None);
    assert_eq!(field(&response, Known::ContentLength), None);
    assert_eq!(field(&response, Known::ContentEncoding), Some("br"));
    assert_eq!(
        field(&response, Known::Vary),
        Some("Origin, Cookie, Accept-Encoding")
    );
    assert_eq!(response.headers.all(Known::Vary).count(), 1);
    assert_eq!(response.headers.get_by_name(b"x-own"), Some(&b"1"[..]));
    assert!(matches!(&response.body, Body::Full(bytes) if bytes == "encoded"));
    let mut weak = json(5000).with("ETag", "W/\"abc\"").with("Vary", "*");
    super::tests::plan(&mut weak)
        .unwrap()
        .finish(&mut weak, vec![1]);
    assert_eq!(field(&weak, Known::Etag), Some("W/\"abc\""));
    assert_eq!(field(&weak, Known::Vary), Some("*"));
}

#[test]
fn head_is_decided_like_get() {
    let compressor = compressor(|_| ());
    let head = request("HEAD", "gzip");
    // A handler that leaves the content out may say how long it would have been.
    let mut empty = Response::json(200, "");
    empty.body = Body::Empty;
    let mut long = Response::new(200)
        .with("Content-Type", "text/plain")
        .with("Content-Length", "5000");
    let mut short = Response::new(200)
        .with("Content-Type", "text/plain")
        .with("Content-Length", "50");
    assert!(compressor.decide(&head, &mut json(5000)).is_some());
    assert!(compressor.decide(&head, &mut long).is_some());
    assert_eq!(compressor.decide(&head, &mut short), None);
    assert_eq!(compressor.decide(&request("GET", "gzip"), &mut empty), None);
}

#[test]
fn a_kept_encoding_is_sent_at_once() {
    let compressor = compressor(|_| ());
    let stored = compressor.shelf().store(vec![b' '; 5000]);
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Claim::Make(maker)) = stored.poll_claim(&mut cx, Coding::Gzip) else {
        panic!("nothing is kept yet")
    };
    maker.keep(b"kept"[..].into());
    let mut response = json(0);
    response.body = Body::Stored(std::rc::Rc::clone(&stored));
    assert_eq!(
        compressor.decide(&request("GET", "gzip"), &mut response),
        None
    );
    assert!(matches!(&response.body, Body::Full(bytes) if bytes == "kept"));
    assert_eq!(field(&response, Known::ContentEncoding), Some("gzip"));
    assert_eq!(field(&response, Known::Vary), Some("Accept-Encoding"));
    let mut response = json(0);
    response.body = Body::Stored(stored);
    let plan = compressor.decide(&request("GET", "br"), &mut response);
    assert_eq!(plan.map(|plan| plan.coding), Some(Coding::Br));
    assert!(matches!(response.body, Body::Stored(_)));
}

#[test]
fn nothing_is_offered_when_it_is_switched_off() {
    let off = compressor(|config| config.encodings.clear());
    let mut response = json(5000);
    assert_eq!(off.decide(&request("GET", "gzip"), &mut response), None);
    assert_eq!(field(&response, Known::Vary), None);
    let mut stream = json(0);
    stream.body = Body::Stream(bounded(1).1);
    assert_eq!(off.decide(&request("GET", "gzip"), &mut stream), None);
}
