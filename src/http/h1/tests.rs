//! The codec's answers to whole inputs, both roles: what is accepted, what is refused and how,
//! and that neither depends on where reads are cut.

use super::*;
use crate::http::{Body, HeaderList, RequestHead, Response};

mod wire {
    pub(super) use crate::http::h1::{
        BodyKind, ClientConn, ClientEvent, Error, Event, Limits, Next, RequestLine, ServerConn,
    };
    pub(super) use crate::http::{HeaderList, RequestHead, Response, ResponseHead, Version};
}

#[path = "../../../tests/support/h1_drive.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests outside the crate"
)]
mod drive;

use drive::{Message, Received, Served, receive, serve};

/// Small enough for every limit to be met by a short input.
const TIGHT: Limits = Limits {
    line_bytes_max: 48,
    field_bytes_max: 40,
    head_bytes_max: 120,
    fields_max: 4,
};

/// Serves `input` whole and cut at every place; all must agree.
fn serve_cut(input: &[u8], limits: Limits) -> Vec<Served> {
    let whole = serve(&[input], limits);
    for at in 0..input.len().min(2_000) {
        let (head, tail) = input.split_at(at);
        let cut = serve(&[head, tail], limits);
        assert_eq!(cut, whole, "cut at {at}: {}", input.escape_ascii());
    }
    if input.len() < 2_000 {
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(serve(&bytes, limits), whole, "{}", input.escape_ascii());
    }
    whole
}

fn receive_cut(input: &[u8], methods: &[&str]) -> Vec<Received> {
    let whole = receive(&[input], methods, Limits::default());
    for at in 0..input.len() {
        let (head, tail) = input.split_at(at);
        let cut = receive(&[head, tail], methods, Limits::default());
        assert_eq!(cut, whole, "cut at {at}: {}", input.escape_ascii());
    }
    whole
}

fn requests(input: &[u8]) -> Vec<Message> {
    serve_cut(input, Limits::default())
        .into_iter()
        .map(|served| match served {
            Served::Request(message) => message,
            other => panic!("{other:?} for {}", input.escape_ascii()),
        })
        .collect()
}

fn refusal(input: &[u8]) -> Error {
    match serve_cut(input, Limits::default()).pop() {
        Some(Served::Refused(error)) => error,
        other => panic!("{other:?} for {}", input.escape_ascii()),
    }
}

/// A request with this request line and these field lines, then what follows.
fn request(line: &str, fields: &str, rest: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a.test\r\n{fields}\r\n{rest}").into_bytes()
}

#[test]
fn requests_that_are_good() {
    for (input, body) in [
        (request("GET / HTTP/1.1", "", ""), ""),
        (
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
            "",
        ),
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), ""),
        (request("get / HTTP/1.1", "", ""), ""),
        (request("BREW /{a}|\"b\" HTTP/1.1", "", ""), ""),
        (request("OPTIONS * HTTP/1.1", "", ""), ""),
        (request("CONNECT a.test:443 HTTP/1.1", "", ""), ""),
        (request("GET / HTTP/1.1", "X-A: caf\u{e9}\r\n", ""), ""),
        (
            request("GET / HTTP/1.1", "X-Empty:\r\nY:\t \tz \t\r\n", ""),
            "",
        ),
        (
            request("POST / HTTP/1.1", "CONTENT-LENGTH: 5\r\n", "hello"),
            "hello",
        ),
        (request("POST / HTTP/1.1", "Content-Length: 0\r\n", ""), ""),
        (
            request("GET / HTTP/1.1", "Content-Length:5\r\n", "hello"),
            "hello",
        ),
        (
            request(
                "POST / HTTP/1.1",
                "Transfer-Encoding: ChUnKeD\r\n",
                "0003\r\nhel\r\n2;x=\"y\"\r\nlo\r\n00\r\n\r\n",
            ),
            "hello",
        ),
    ] {
        let got = requests(&input);
        let [message] = got.as_slice() else {
            panic!("{got:?}")
        };
        assert_eq!(message.body, body.as_bytes());
        assert_eq!(message.end, input.len());
    }
}

#[test]
fn heads_of_real_clients() {
    let heads = [
        // curl
        "GET /health HTTP/1.1\r\nHost: localhost:4444\r\nUser-Agent: curl/8.14.1\r\n\
         Accept: */*\r\n\r\n",
        // Node's fetch, as the TypeScript SDK uses it
        "GET /mcp HTTP/1.1\r\nhost: 127.0.0.1:4444\r\nconnection: keep-alive\r\n\
         mcp-protocol-version: 2025-11-25\r\naccept: text/event-stream\r\n\
         accept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\n\
         accept-encoding: gzip, deflate\r\n\r\n",
        // Python's httpx
        "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1:4444\r\nAccept: application/json, \
         text/event-stream\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
         Connection: keep-alive\r\nUser-Agent: python-httpx/0.28.1\r\n\
         mcp-session-id: 0123456789abcdef\r\n\r\n",
        // a browser
        "GET /docs?pretty HTTP/1.1\r\nHost: localhost:4444\r\nConnection: keep-alive\r\n\
         sec-ch-ua: \"Chromium\";v=\"141\", \"Not?A_Brand\";v=\"8\"\r\nsec-ch-ua-mobile: ?0\r\n\
         Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nCookie: a=b; c=\"d\"\r\n\
         If-None-Match: W/\"x\"\r\n\r\n",
        // ApacheBench, and a load balancer's probe
        "GET / HTTP/1.0\r\nHost: localhost\r\nUser-Agent: ApacheBench/2.3\r\n\
         Accept: */*\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\n\r\n",
    ];
    for head in heads {
        let got = requests(head.as_bytes());
        assert_eq!(got.len(), 1, "{head}");
        let lines = head.matches("\r\n").count() - 2;
        assert_eq!(got[0].headers.len(), lines, "{head}");
    }
}

#[test]
fn requests_that_are_refused() {
    for (input, error) in [
        (&b"GET / HTTP/1.1\r\nX: y\r\n\r\n"[..], Error::HostMissing),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Error::HostMalformed),
        (
            b"GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n",
            Error::HostMalformed,
        ),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Error::HostMalformed),
        (
            b"GET / HTTP/1.1\r\n X-Evil: 1\r\nHost: a\r\n\r\n",
            Error::Field,
        ),
        (b"GET / HTTP/1.1\nHost: a\n\n", Error::LineEnding),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Error::LineEnding),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Error::LineEnding),
        (
            b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Error::StartLine,
        ),
        (b"GET /\r\n", Error::StartLine),
        (b"GET /\n", Error::LineEnding),
        (b"\x16\x03\x01\x00\xc8\x01", Error::StartLine),
        (b"\x80\x81 foo bar\r\n", Error::StartLine),
        (b"{\"jsonrpc\":\"2.0\"}", Error::StartLine),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Error::Version),
    ] {
        assert_eq!(refusal(input), error, "{}", input.escape_ascii());
    }
    for (line, error) in [
        ("GET h.test:80 HTTP/1.1", Error::Target),
        ("GET * HTTP/1.1", Error::Target),
        ("GET http://u@h.test/ HTTP/1.1", Error::Target),
        ("CONNECT / HTTP/1.1", Error::Target),
        ("GET /#x HTTP/1.1", Error::Target),
        ("GET /../x HTTP/1.1", Error::Target),
        ("GET /%zz HTTP/1.1", Error::Target),
        ("G@T / HTTP/1.1", Error::StartLine),
        ("GET  / HTTP/1.1", Error::StartLine),
        ("GET /a b HTTP/1.1", Error::StartLine),
        ("GET /a\0b HTTP/1.1", Error::StartLine),
        ("GET /\u{e9} HTTP/1.1", Error::StartLine),
        ("GET /\tHTTP/1.1", Error::StartLine),
        ("GET / HTTP/1.1 ", Error::StartLine),
        ("GET / HTTP/1.1x", Error::StartLine),
        ("GET / http/1.1", Error::StartLine),
        ("GET / HTTP/11", Error::StartLine),
        ("GET / HTTP/2.0", Error::Version),
        ("GET / HTTP/1.2", Error::Version),
        ("GET / HTTP/0.9", Error::Version),
    ] {
        assert_eq!(refusal(&request(line, "", "")), error, "{line}");
    }
}

#[test]
fn fields_that_are_refused() {
    for (fields, error) in [
        ("Host: a.test\r\n", Error::HostRepeated),
        (" folded\r\n", Error::Field),
        ("\tfolded: x\r\n", Error::Field),
        ("X-A : 1\r\n", Error::Field),
        ("Content-Length : 5\r\n", Error::Field),
        ("X-A: a\0b\r\n", Error::Field),
        ("X-A: a\rb\r\n", Error::Field),
        ("X-A: a\x7fb\r\n", Error::Field),
        ("X\x01A: 1\r\n", Error::Field),
        ("X(A): 1\r\n", Error::Field),
        ("Foo\r\n", Error::Field),
        (": x\r\n", Error::Field),
        ("X-A: 1\nX-B: 2\r\n", Error::LineEnding),
        ("X-A:\nX-B: 2\r\n", Error::LineEnding),
        ("Content_Length: 9\r\n", Error::FieldImitation),
        ("transfer_encoding: chunked\r\n", Error::FieldImitation),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Error::ContentLengthRepeated,
        ),
        ("Content-Length: 5, 5\r\n", Error::ContentLength),
        ("Content-Length: -1\r\n", Error::ContentLength),
        ("Content-Length: \r\n", Error::ContentLength),
        (
            "Content-Length: 18446744073709551621\r\n",
            Error::ContentLength,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Error::FramingConflict,
        ),
        ("Transfer-Encoding: foo\r\n", Error::TransferCoding),
        ("Transfer-Encoding: \"chunked\"\r\n", Error::TransferCoding),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Error::TransferEncoding,
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Error::TransferCoding,
        ),
        ("Expect: the-moon\r\n", Error::Expectation),
    ] {
        let input = request("POST / HTTP/1.1", fields, "");
        assert_eq!(refusal(&input), error, "{}", fields.escape_debug());
    }
    let chunked10 = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refusal(chunked10), Error::TransferEncoding);
}

#[test]
fn bodies_that_are_refused() {
    use chunked::ChunkedError::{BadLineEnding, BadSize};
    for (body, error) in [
        ("xyz\r\nhello\r\n0\r\n\r\n", BadSize),
        ("-5\r\nhello\r\n0\r\n\r\n", BadSize),
        (" 5\r\nhello\r\n0\r\n\r\n", BadSize),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", BadSize),
        ("5\nhello\r\n0\r\n\r\n", BadSize),
        ("5\r\nhello0\r\n\r\n", BadLineEnding),
        ("3\r\nhello\r\n0\r\n\r\n", BadLineEnding),
        ("5\r\nhello\n0\r\n\r\n", BadLineEnding),
        ("5;a\nhello\r\n0\r\n\r\n", BadLineEnding),
    ] {
        let input = request("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n", body);
        assert_eq!(
            refusal(&input),
            Error::Chunked(error),
            "{}",
            body.escape_debug()
        );
    }
}

#[test]
fn a_message_cut_short_is_never_a_request() {
    for input in [
        request("POST / HTTP/1.1", "Content-Length: 10\r\n", "hello"),
        request(
            "POST / HTTP/1.1",
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n",
        ),
        request(
            "POST / HTTP/1.1",
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n",
        ),
        b"GET / HTTP/1.1\r\nHost: a.test\r\n".to_vec(),
        b"G".to_vec(),
    ] {
        assert_eq!(serve_cut(&input, Limits::default()), [Served::CutShort]);
    }
    assert_eq!(serve_cut(b"", Limits::default()), []);
}

#[test]
fn pipelined_requests_come_in_order_until_the_connection_closes() {
    let input = [
        request("POST /1 HTTP/1.1", "Content-Length: 5\r\n", "hello"),
        request("GET /2 HTTP/1.1", "", ""),
        b"\r\n".to_vec(),
        request(
            "POST /3 HTTP/1.1",
            "Transfer-Encoding: chunked\r\n",
            "1\r\nx\r\n0\r\nX-T: 1\r\n\r\n",
        ),
        request("GET /4 HTTP/1.1", "Connection: x, Close\r\n", ""),
        request("GET /smuggled HTTP/1.1", "", ""),
    ]
    .concat();
    let got = requests(&input);
    let targets: Vec<_> = got.iter().map(|message| message.target.as_str()).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4"]);
    assert_eq!(got[2].trailers, [(b"X-T".to_vec(), b"1".to_vec())]);
}

#[test]
fn http10_closes_unless_it_asks_not_to() {
    let twice = |fields: &str| {
        let one = format!("GET / HTTP/1.0\r\n{fields}\r\n");
        requests(one.repeat(2).as_bytes()).len()
    };
    assert_eq!(twice(""), 1);
    assert_eq!(twice("Connection: keep-alive\r\n"), 2);
    assert_eq!(twice("Connection: keep-alive, close\r\n"), 1);
}

#[test]
fn an_absolute_target_outweighs_host() {
    let got = requests(b"GET http://B.test:8080?q HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n\r\n");
    assert_eq!(got[0].path_and_query, "/?q");
    assert_eq!(
        got[0].headers,
        [
            (b"X".to_vec(), b"1".to_vec()),
            (b"Host".to_vec(), b"B.test:8080".to_vec())
        ]
    );
    let without = b"GET http://b.test/ HTTP/1.1\r\n\r\n";
    assert_eq!(refusal(without), Error::HostMissing);
}

#[test]
fn limits_have_their_status_however_the_head_arrives() {
    let tight = |input: &[u8]| match serve_cut(input, TIGHT).pop() {
        Some(Served::Refused(error)) => error,
        other => panic!("{other:?} for {}", input.escape_ascii()),
    };
    let line = |len: usize| format!("GET /{} HTTP/1.1", "a".repeat(len - 16));
    let fits = request(&line(48), "", "");
    assert!(matches!(serve_cut(&fits, TIGHT)[..], [Served::Request(_)]));
    assert_eq!(tight(&request(&line(49), "", "")), Error::LineTooLong);
    assert_eq!(tight(&[b'A'; 200]), Error::LineTooLong);
    let field = |len: usize| format!("X: {}\r\n", "a".repeat(len - 5));
    let fits = request("GET / HTTP/1.1", &field(40), "");
    assert!(matches!(serve_cut(&fits, TIGHT)[..], [Served::Request(_)]));
    let input = request("GET / HTTP/1.1", &field(41), "");
    assert_eq!(tight(&input), Error::FieldTooLong);
    let input = request("GET / HTTP/1.1", &field(39).repeat(3), "");
    assert_eq!(tight(&input), Error::HeadTooLarge);
    let fits = request("GET / HTTP/1.1", &"X: y\r\n".repeat(3), "");
    assert!(matches!(serve_cut(&fits, TIGHT)[..], [Served::Request(_)]));
    let input = request("GET / HTTP/1.1", &"X: y\r\n".repeat(4), "");
    assert_eq!(tight(&input), Error::TooManyFields);
    assert_eq!(Error::LineTooLong.status(), 414);
    for error in [
        Error::FieldTooLong,
        Error::HeadTooLarge,
        Error::TooManyFields,
    ] {
        assert_eq!(error.status(), 431);
    }
}

#[test]
fn a_long_target_fits_the_defaults() {
    let line = format!("GET /{} HTTP/1.1", "a".repeat(7_990));
    assert_eq!(requests(&request(&line, "", "")).len(), 1);
    let line = format!("GET /{} HTTP/1.1", "a".repeat(100_000));
    assert_eq!(refusal(&request(&line, "", "")), Error::LineTooLong);
}

/// A connection that has just been given this request, and its event.
fn opened(input: &[u8]) -> (ServerConn, Event) {
    let mut conn = ServerConn::new(Limits::default());
    let event = conn.poll(input, &mut RequestHead::default()).unwrap();
    (conn, event)
}

fn respond(conn: &mut ServerConn, response: &Response) -> (Sent, String) {
    let mut out = Vec::new();
    let sent = conn.respond(response, b"Date: now\r\n", &mut out);
    (sent, String::from_utf8(out).unwrap())
}

#[test]
fn responses_are_framed_by_status_method_and_version() {
    let stream = || Body::Stream(crate::base::channel::bounded(1).1);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let old = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let with_length = || Response::new(200).with("Content-Length", "7");
    for (request, response, framing, body) in [
        (
            get,
            Response::json(200, "{}"),
            "Content-Length: 2\r\n",
            BodyKind::Length(2),
        ),
        (
            get,
            Response::new(404),
            "Content-Length: 0\r\n",
            BodyKind::None,
        ),
        (get, Response::new(204), "", BodyKind::None),
        (get, Response::new(304), "", BodyKind::None),
        (get, with_length(), "Content-Length: 0\r\n", BodyKind::None),
        (
            get,
            Response::new(200).body(stream()),
            "Transfer-Encoding: chunked\r\n",
            BodyKind::Chunked,
        ),
        (
            get,
            with_length().body(stream()),
            "Content-Length: 7\r\n",
            BodyKind::Length(7),
        ),
        (
            head,
            Response::json(200, "{}"),
            "Content-Length: 2\r\n",
            BodyKind::None,
        ),
        (head, with_length(), "Content-Length: 7\r\n", BodyKind::None),
        (head, Response::new(200), "", BodyKind::None),
        (
            old,
            Response::new(200).body(stream()),
            "",
            BodyKind::UntilClose,
        ),
        (
            old,
            Response::json(200, "{}"),
            "Content-Length: 2\r\n",
            BodyKind::Length(2),
        ),
    ] {
        let (mut conn, _) = opened(request.as_bytes());
        let (sent, text) = respond(&mut conn, &response);
        assert_eq!(sent.body, body, "{text}");
        let framed: String = text
            .split_inclusive("\r\n")
            .filter(|line| line.starts_with("Content-L") || line.starts_with("Transfer"))
            .collect();
        assert_eq!(framed, framing, "{text}");
        assert!(text.ends_with("Date: now\r\n\r\n"), "{text}");
        let closes = body == BodyKind::UntilClose;
        assert_eq!(text.contains("Connection: close\r\n"), closes, "{text}");
        assert_eq!(conn.finish() == Next::Close, closes);
    }
}

#[test]
fn what_a_handler_says_about_framing_is_not_sent_twice() {
    let response = Response::json(200, "{}")
        .with("content-length", "99")
        .with("Transfer-Encoding", "chunked")
        .with("Connection", "X-Hop, close")
        .with("Keep-Alive", "timeout=5")
        .with("Upgrade", "h2c")
        .with("X-Own", "1");
    let (mut conn, _) = opened(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (sent, text) = respond(&mut conn, &response);
    assert!(!sent.persists, "the handler asked to close");
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Own: 1\r\n\
         Content-Length: 2\r\nConnection: close\r\nDate: now\r\n\r\n"
    );
}

#[test]
fn continue_is_written_once_to_whoever_waits() {
    let input = request(
        "POST / HTTP/1.1",
        "Expect: 100-Continue\r\nContent-Length: 5\r\n",
        "",
    );
    let (mut conn, event) = opened(&input);
    assert!(matches!(
        event,
        Event::Request {
            expect_continue: true,
            ..
        }
    ));
    let mut out = Vec::new();
    assert!(conn.write_continue(&mut out));
    assert!(!conn.write_continue(&mut out));
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    // Refused unread: nobody knows whether the body will come.
    let (mut conn, _) = opened(&input);
    assert!(!respond(&mut conn, &Response::new(404)).0.persists);
    assert!(!conn.write_continue(&mut Vec::new()));
    for never in [
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".to_vec(),
        request("GET / HTTP/1.1", "Expect: 100-continue\r\n", ""),
    ] {
        let (mut conn, event) = opened(&never);
        assert!(matches!(
            event,
            Event::Request {
                expect_continue: false,
                ..
            }
        ));
        assert!(!conn.write_continue(&mut Vec::new()));
    }
}

#[test]
fn an_unread_body_is_drained_if_small_and_closes_if_not() {
    let mut head = RequestHead::default();
    let (mut conn, _) = opened(&request("POST / HTTP/1.1", "Content-Length: 5\r\n", ""));
    assert!(respond(&mut conn, &Response::new(404)).0.persists);
    assert_eq!(conn.finish(), Next::Drain);
    let event = conn.poll(b"helloGET", &mut head);
    assert_eq!(
        event,
        Ok(Event::Body {
            span: 0..5,
            consumed: 5
        })
    );
    assert_eq!(conn.poll(b"GET", &mut head), Ok(Event::End { consumed: 0 }));
    assert_eq!(conn.finish(), Next::Request);
    assert!(conn.is_idle());

    let (mut conn, _) = opened(&request("POST / HTTP/1.1", "Content-Length: 70000\r\n", ""));
    assert!(!respond(&mut conn, &Response::new(404)).0.persists);
    assert_eq!(conn.finish(), Next::Close);

    let chunked = request("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n", "");
    let (mut conn, _) = opened(&chunked);
    assert!(respond(&mut conn, &Response::new(404)).0.persists);
    assert_eq!(conn.finish(), Next::Drain);
    let mut flood = b"fffff\r\n".to_vec();
    flood.resize(70_000, b'x');
    assert_eq!(conn.poll(&flood, &mut head), Err(Error::BodyTooLarge));
    assert_eq!(conn.finish(), Next::Close);
}

#[test]
fn a_body_limit_is_413_before_or_while_it_comes() {
    let (mut conn, _) = opened(&request("POST / HTTP/1.1", "Content-Length: 11\r\n", ""));
    assert_eq!(conn.limit_body(10), Err(Error::BodyTooLarge));
    assert_eq!(Error::BodyTooLarge.status(), 413);
    let (sent, text) = respond(&mut conn, &Response::problem(413, "too large"));
    assert!(!sent.persists && text.starts_with("HTTP/1.1 413 Content Too Large\r\n"));
    let chunked = request("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n", "");
    let (mut conn, _) = opened(&chunked);
    conn.limit_body(10).unwrap();
    let mut head = RequestHead::default();
    assert!(conn.poll(b"a\r\n0123456789", &mut head).is_ok());
    assert_eq!(
        conn.poll(b"\r\n1\r\nx", &mut head),
        Err(Error::BodyTooLarge)
    );
}

#[test]
fn the_last_exchange_says_so() {
    let (mut conn, _) = opened(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    conn.close_after_response();
    let (sent, text) = respond(&mut conn, &Response::new(200));
    assert!(!sent.persists && text.contains("\r\nConnection: close\r\n"));
    assert_eq!(conn.finish(), Next::Close);
}

#[test]
fn a_waiting_connection_is_small() {
    // Ten thousand idle ones should cost little even where a driver keeps the machine.
    assert!(
        size_of::<ServerConn>() <= 256,
        "{}",
        size_of::<ServerConn>()
    );
    assert!(
        size_of::<ClientConn>() <= 256,
        "{}",
        size_of::<ClientConn>()
    );
}

#[test]
fn a_connection_on_which_nothing_is_owed_is_idle() {
    let mut head = RequestHead::default();
    let mut conn = ServerConn::new(Limits::default());
    assert!(conn.is_idle() && conn.end_of_input().is_ok());
    let mut conn = ServerConn::new(Limits::default());
    conn.poll(b"GET", &mut head).unwrap();
    assert!(!conn.is_idle());
    assert_eq!(conn.end_of_input(), Err(Error::Incomplete));
}

#[test]
fn an_empty_line_after_a_body_leaves_the_connection_idle() {
    let mut head = RequestHead::default();
    let mut conn = ServerConn::new(Limits::default());
    let need_more = |consumed| Ok(Event::NeedMore { consumed });
    assert_eq!(conn.poll(b"\r\n", &mut head), need_more(2));
    assert!(conn.is_idle());
    assert_eq!(conn.poll(b"\r", &mut head), need_more(0));
    assert!(!conn.is_idle());
    assert_eq!(conn.poll(b"\r\n", &mut head), need_more(2));
    assert_eq!(conn.poll(b"\r\n", &mut head), Err(Error::StartLine));
}

#[test]
fn responses_that_are_good() {
    let message = |received: &[Received]| match received {
        [Received::Response(message)] => (message.status, message.body.clone()),
        other => panic!("{other:?}"),
    };
    for (input, method, status, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "GET",
            200,
            "hi",
        ),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET", 200, ""),
        ("HTTP/1.1 299 \r\n\r\nto the end", "GET", 299, "to the end"),
        ("HTTP/1.0 200 caf\u{e9}\r\n\r\nx", "GET", 200, "x"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "HEAD",
            200,
            "",
        ),
        (
            "HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n",
            "GET",
            304,
            "",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "GET",
            200,
            "hi",
        ),
    ] {
        let got = receive_cut(input.as_bytes(), &[method]);
        assert_eq!(message(&got), (status, body.as_bytes().to_vec()), "{input}");
    }
}

#[test]
fn responses_that_are_refused() {
    for (input, error) in [
        ("HTTP/2.0 200 OK\r\n\r\n", Error::Version),
        ("ICY 200 OK\r\n\r\n", Error::StartLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Error::StartLine),
        ("HTTP/1.1 20 OK\r\n\r\n", Error::Status),
        ("HTTP/1.1 600 OK\r\n\r\n", Error::Status),
        ("HTTP/1.1 200 OK\nA: b\n\n", Error::LineEnding),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Error::Field),
        ("HTTP/1.1 101 x\r\n\r\n", Error::Interim),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
            Error::ContentLengthRepeated,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            Error::FramingConflict,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            Error::TransferCoding,
        ),
    ] {
        let got = receive_cut(input.as_bytes(), &["GET"]);
        assert_eq!(got, [Received::Refused(error)], "{}", input.escape_debug());
    }
    let flood = "HTTP/1.1 103 x\r\n\r\n".repeat(20);
    let got = receive(&[flood.as_bytes()], &["GET"], Limits::default());
    assert_eq!(got.last(), Some(&Received::Refused(Error::Interim)));
    for cut_short in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
    ] {
        let got = receive_cut(cut_short.as_bytes(), &["GET"]);
        assert_eq!(got, [Received::CutShort], "{cut_short}");
    }
}

#[test]
fn a_connection_is_reused_only_when_its_end_is_certain() {
    let count = |first: &str, methods: &[&str]| {
        let input = format!("{first}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let got = receive_cut(input.as_bytes(), methods);
        got.iter()
            .filter(|received| matches!(received, Received::Response(_)))
            .count()
    };
    let get = &["GET", "GET"][..];
    assert_eq!(
        count("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", get),
        2
    );
    assert_eq!(
        count(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            get
        ),
        2
    );
    assert_eq!(
        count("HTTP/1.1 100 x\r\n\r\nHTTP/1.1 204 x\r\n\r\n", get),
        2
    );
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(count(close, get), 1);
    assert_eq!(
        count("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", get),
        1
    );
    assert_eq!(count("HTTP/1.1 200 OK\r\n\r\n", get), 1);
    // Bytes that nobody asked for spoil the connection before anything is read into them.
    let mut conn = ClientConn::new(Limits::default());
    let unsolicited = conn.poll(b"HTTP/1.1 200", &mut crate::http::ResponseHead::default());
    assert_eq!(unsolicited, Err(Error::Unsolicited));
    assert!(!conn.finish(true));
}

#[test]
fn requests_are_written_without_what_concerns_another_connection() {
    let mut headers = HeaderList::new();
    for (name, value) in [
        ("Host", "a.test"),
        ("Connection", "keep-alive"),
        ("Content-Length", "99"),
        ("Transfer-Encoding", "chunked"),
        ("X", "1"),
    ] {
        headers.push(name.as_bytes(), value.as_bytes());
    }
    let written = |method, body| {
        let mut out = Vec::new();
        let line = RequestLine {
            method,
            target: "/p?q",
        };
        ClientConn::new(Limits::default()).request(line, &headers, body, &mut out);
        String::from_utf8(out).unwrap()
    };
    let expected = |method, framing| {
        format!("{method} /p?q HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n{framing}\r\n")
    };
    assert_eq!(written("GET", BodyKind::None), expected("GET", ""));
    assert_eq!(
        written("POST", BodyKind::None),
        expected("POST", "Content-Length: 0\r\n")
    );
    assert_eq!(
        written("PUT", BodyKind::Length(3)),
        expected("PUT", "Content-Length: 3\r\n")
    );
    assert_eq!(
        written("POST", BodyKind::Chunked),
        expected("POST", "Transfer-Encoding: chunked\r\n")
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const FIELD_NAME: &str = "[a-z][a-z0-9-]{0,12}";
    const FIELD_VALUE: &str = "([!-~]([ -~]{0,20}[!-~])?)?";

    /// Pieces of requests and responses, good and bad, so that random inputs reach far.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"GET / HTTP/1.1\r\nHost: a.test\r\n".to_vec()),
            Just(b"POST http://b.test/x?y HTTP/1.1\r\nHost: a\r\n".to_vec()),
            Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
            Just(b"HTTP/1.0 404 \r\n".to_vec()),
            Just(b"HTTP/1.1 100 \r\n\r\n".to_vec()),
            Just(b"Content-Length: 5\r\n".to_vec()),
            Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
            Just(b"Connection: close\r\n".to_vec()),
            Just(b"Expect: 100-continue\r\n".to_vec()),
            Just(b"X:\t padded \t\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"hello".to_vec()),
            Just(b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
            Just(b"5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b" ".to_vec()),
            Just(b": ".to_vec()),
            proptest::collection::vec(any::<u8>(), 1..4),
            proptest::collection::vec(32..127u8, 20..60),
        ]
    }

    fn input() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(piece(), 1..12).prop_map(|pieces| pieces.concat())
    }

    fn cut<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut places: Vec<_> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        places.extend([0, input.len()]);
        places.sort_unstable();
        places
            .windows(2)
            .map(|pair| &input[pair[0]..pair[1]])
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2_000,
            // A failure prints its input; a case worth keeping becomes a test by name.
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn where_reads_are_cut_changes_nothing_a_server_sees(
            input in input(),
            cuts in proptest::collection::vec(0..400usize, 0..6),
            tight: bool,
        ) {
            let limits = if tight { TIGHT } else { Limits::default() };
            let whole = serve(&[&input], limits);
            prop_assert_eq!(serve(&cut(&input, &cuts), limits), whole);
        }

        #[test]
        fn where_reads_are_cut_changes_nothing_a_client_sees(
            input in input(),
            cuts in proptest::collection::vec(0..400usize, 0..6),
            tight: bool,
        ) {
            let limits = if tight { TIGHT } else { Limits::default() };
            let methods = &["GET", "HEAD", "GET"];
            let whole = receive(&[&input], methods, limits);
            prop_assert_eq!(receive(&cut(&input, &cuts), methods, limits), whole);
        }

        #[test]
        fn what_is_written_is_read_as_itself(
            fields in proptest::collection::vec((FIELD_NAME, FIELD_VALUE), 0..8),
            target in "/[!\"$&-\\-/-~]{0,30}",
        ) {
            let mut headers = HeaderList::new();
            headers.push(b"Host", b"a.test");
            for (name, value) in &fields {
                headers.push(format!("x-{name}").as_bytes(), value.as_bytes());
            }
            let mut out = Vec::new();
            let line = RequestLine { method: "GET", target: &target };
            ClientConn::new(Limits::default()).request(line, &headers, BodyKind::None, &mut out);
            let served = serve(&[&out], Limits::default());
            let [Served::Request(message)] = &served[..] else {
                return Err(TestCaseError::fail(format!("{served:?}")));
            };
            prop_assert_eq!(&message.target, &target);
            prop_assert_eq!(&message.headers, &drive::fields(&headers));
        }
    }
}
