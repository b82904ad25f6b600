//! What the codec's hot path costs: `cargo bench --bench head` prints nanoseconds, and with
//! `-- --instructions` also instructions, counted by callgrind where valgrind is installed.
//!
//! Each case runs as a warm connection does: heads, lists and buffers are reused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot run should stop"
)]

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use ringway::http::h1::{Event, Limits, Next, ServerConn};
use ringway::http::{Known, RequestHead, Response, sse};

const WRK: &[u8] = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:4444\r\n\r\n";
const CURL: &[u8] = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:4444\r\n\
    User-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n";
const MCP: &[u8] = b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:4444\r\n\
    content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
    mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n\
    user-agent: node\r\naccept-encoding: gzip, deflate\r\ncontent-length: 2\r\n\r\n{}";
const HEALTH: &[u8] = b"{\"status\":\"healthy\",\"uptime_seconds\":12,\"shards\":2}";
const EXTRA: &[u8] = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Server: MCP-Gateway\r\n\
    X-Process-Time: 0.000012\r\n";

/// Runs a case so many times.
type Case = fn(u64);

const CASES: [(&str, Case); 8] = [
    ("parse wrk's request head", |n| parse(WRK, n)),
    ("parse curl's request head", |n| parse(CURL, n)),
    ("parse an MCP client's request", |n| parse(MCP, n)),
    ("write /health's response head", write_head),
    ("make and write /health's response", make_and_write),
    ("whole exchange, wrk to /health", exchange),
    ("decode a chunked body of 4 KiB", chunked),
    ("decode one server-sent event", event),
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    // The child that callgrind counts: one case, so many times.
    if let [_, flag, case, count] = args.as_slice()
        && flag == "--run"
    {
        let (_, run) = CASES.get(case.parse::<usize>().unwrap()).expect("a case");
        return run(count.parse().unwrap());
    }
    let count_instructions = args.iter().any(|arg| arg == "--instructions");
    for (index, (name, run)) in CASES.iter().enumerate() {
        print!("{name:36} {:7.1} ns", nanoseconds(*run));
        if count_instructions {
            print!(" {:7.0} instructions", instructions(index));
        }
        println!();
    }
}

/// Best of several rounds: the one that was disturbed least.
fn nanoseconds(run: Case) -> f64 {
    const ROUNDS: usize = 15;
    const RUNS: u64 = 200_000;
    run(RUNS);
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run(RUNS);
            start.elapsed().as_nanos() as f64 / RUNS as f64
        })
        .fold(f64::INFINITY, f64::min)
}

/// Instructions of one run: the difference between many and few, so that start-up drops out.
fn instructions(case: usize) -> f64 {
    let count = |runs: u64| -> f64 {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().unwrap())
            .args(["--run", &case.to_string(), &runs.to_string()])
            .output()
            .expect("--instructions needs valgrind");
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        let total = report.rsplit("Collected :").next().unwrap_or_default();
        let total = total.split_whitespace().next().unwrap_or_default();
        total.parse().expect("callgrind reports a total")
    };
    (count(11_000) - count(1_000)) / 10_000.0
}

fn parse(input: &[u8], runs: u64) {
    let mut head = RequestHead::default();
    for _ in 0..runs {
        let mut conn = ServerConn::new(Limits::default());
        let event = conn.poll(black_box(input), &mut head);
        assert!(matches!(event, Ok(Event::Request { .. })));
        black_box(head.headers.get(Known::Host));
    }
}

fn health() -> Response {
    Response::json(200, HEALTH)
}

/// A connection that was asked for /health.
fn asked(head: &mut RequestHead) -> ServerConn {
    let mut conn = ServerConn::new(Limits::default());
    assert!(conn.poll(WRK, head).is_ok());
    conn
}

fn write_head(runs: u64) {
    let (mut out, response) = (Vec::new(), health());
    let mut conn = asked(&mut RequestHead::default());
    for _ in 0..runs {
        out.clear();
        let sent = conn.respond(black_box(&response), EXTRA, &mut out);
        black_box((sent, &out));
        conn.finish();
    }
}

fn make_and_write(runs: u64) {
    let mut out = Vec::new();
    let mut conn = asked(&mut RequestHead::default());
    for _ in 0..runs {
        out.clear();
        let response = black_box(health());
        conn.respond(&response, EXTRA, &mut out);
        black_box(&out);
        conn.finish();
    }
}

fn exchange(runs: u64) {
    let (mut head, mut out) = (RequestHead::default(), Vec::new());
    let mut conn = ServerConn::new(Limits::default());
    for _ in 0..runs {
        out.clear();
        assert!(conn.poll(black_box(WRK), &mut head).is_ok());
        let response = black_box(health());
        conn.respond(&response, EXTRA, &mut out);
        black_box(&out);
        assert_eq!(conn.finish(), Next::Request);
    }
}

fn chunked(runs: u64) {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = [&b"1000\r\n"[..], &[b'x'; 4096], b"\r\n0\r\n\r\n"].concat();
    let mut request = RequestHead::default();
    for _ in 0..runs {
        let mut conn = ServerConn::new(Limits::default());
        assert!(conn.poll(head, &mut request).is_ok());
        let mut rest = black_box(&body[..]);
        while let Ok(Event::Body { consumed, .. }) = conn.poll(rest, &mut request) {
            rest = rest.get(consumed..).unwrap();
        }
    }
}

fn event(runs: u64) {
    let piece = Bytes::from_static(
        b"event: message\nid: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n",
    );
    let mut decoder = sse::Decoder::new(1 << 20);
    for _ in 0..runs {
        decoder.feed(black_box(piece.clone()));
        assert!(black_box(decoder.next()).unwrap().is_some());
    }
}
