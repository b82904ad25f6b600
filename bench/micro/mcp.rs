//! What the gateway's own share of a request costs: `cargo bench --bench mcp` prints
//! nanoseconds, best of several rounds; `-- NAME` runs the cases with that in their name.
//! No sockets: requests go in, responses come out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot run should stop"
)]

use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use ringway::base::clock::Now;
use ringway::config::Config;
use ringway::handler::mcp::demo::{Parts as DemoParts, Wire};
use ringway::handler::mcp::link::ServerId;
use ringway::handler::mcp::peers::Peers;
use ringway::handler::mcp::tasks::Tasks;
use ringway::handler::mcp::{DemoLink, Gateway, HttpRequest, Parts};
use ringway::http::{Body, RequestHead, Response};
use ringway::mcp::demo::Demo;
use ringway::mcp::era::capabilities;
use ringway::mcp::revision::Revision;
use ringway::mcp::scan::Message;
use ringway::mcp::seal::Sealer;
use ringway::mcp::session::Session;
use ringway::metrics::Recorder;

const CALL: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","#,
    r#""arguments":{"message":"hello"},"_meta":{"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":{}}}}"#
);

fn main() {
    let large = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#,
        "0123456789abcdef".repeat(65_536)
    );
    let numbers = (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>();
    let numbers = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"structuredContent":[{}]}}}}"#,
        numbers.join(",")
    );
    report("scan a small tools/call", 300_000, || {
        black_box(Message::scan(black_box(CALL.as_bytes())).unwrap());
    });
    report("scan a result with 1 MiB of text", 200, || {
        black_box(Message::scan(black_box(large.as_bytes())).unwrap());
    });
    report("scan a result with 20,000 numbers", 500, || {
        black_box(Message::scan(black_box(numbers.as_bytes())).unwrap());
    });
    let sealer = Sealer::new(&[1; 32]);
    let caps = capabilities(br#"{"elicitation":{}}"#);
    let info = br#"{"name":"bench","version":"1.0.0"}"#;
    let session = Session::begin(Revision::V2025_11_25, caps, info, 0, 0).unwrap();
    let id = session.seal(&sealer).unwrap();
    report("open a sealed session id", 100_000, || {
        black_box(Session::open(&sealer, black_box(id.as_bytes()), 1).unwrap());
    });
    let gateway = gateway();
    let modern = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    exchange("tools/call echo, modern", &gateway, &modern, CALL);
    let initialize = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"#,
        r#""2025-11-25","capabilities":{},"clientInfo":{"name":"b","version":"1"}}}"#
    );
    exchange("initialize", &gateway, &[], initialize);
    let session = Session::begin(
        Revision::V2025_11_25,
        caps,
        info,
        0,
        Now::read().unix.as_secs(),
    );
    let session = session.unwrap().seal(&Sealer::new(&[9; 32])).unwrap();
    let legacy = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","#,
        r#""params":{"name":"echo","arguments":{"message":"hello"}}}"#
    );
    let fields = [
        ("mcp-session-id", &*session),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    exchange("tools/call echo, legacy", &gateway, &fields, legacy);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    exchange("tools/list, legacy", &gateway, &fields, list);
}

/// A gateway with the demo server alone.
fn gateway() -> Rc<Gateway> {
    let (peers, mailbox) = Peers::connect(1).remove(0);
    let tasks = Tasks::new(std::mem::forget, |_| Box::pin(std::future::pending()));
    let demo = DemoLink::start(DemoParts {
        demo: Demo::new(&[9; 32]),
        id: ServerId(0),
        name: "demo".into(),
        wire: Wire::connect(1).remove(0),
        peers: peers.clone(),
        tasks: tasks.clone(),
    });
    let gateway = Gateway::new(Parts {
        config: Arc::new(Config::default()),
        secret: [9; 32],
        peers,
        links: vec![(ServerId(0), "demo".into(), demo)],
        tasks,
        recorder: Rc::new(Recorder::new(0, &[], true)),
        report: Rc::new(|_| ()),
    });
    // One poll takes in what the demo said of itself.
    let mut serving = Box::pin(Rc::clone(&gateway).run(mailbox));
    let _ = serving
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    std::mem::forget(serving);
    gateway
}

fn exchange(name: &str, gateway: &Rc<Gateway>, fields: &[(&str, &str)], body: &'static str) {
    let mut head = RequestHead::default();
    head.set_line(b"POST", b"/mcp", 0..4, 4..4);
    for (field, value) in [
        ("host", "127.0.0.1:4444"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("user-agent", "bench"),
    ]
    .iter()
    .chain(fields)
    {
        head.headers.push(field.as_bytes(), value.as_bytes());
    }
    let body = Bytes::copy_from_slice(body.as_bytes());
    let mut response = Response::default();
    let now = Now::read();
    let mut run = || {
        response.clear();
        let request = HttpRequest {
            is_former: false,
            head: &head,
            below: "",
            body: Body::Full(body.clone()),
            body_bytes_max: None,
            now,
        };
        let mut handling = pin!(gateway.handle(request, &mut response));
        let poll = handling
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(poll, Poll::Ready(())), "{name} waits");
    };
    report(name, 50_000, &mut run);
    run();
    assert_eq!(response.status, 200, "{name}: {:?}", response.body);
}

/// Best of several rounds: the one that was disturbed least.
fn report(name: &str, runs: u32, mut run: impl FnMut()) {
    const ROUNDS: usize = 15;
    let mut wanted = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    if wanted.next().is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..runs {
                run();
            }
            start.elapsed().as_nanos() as f64 / f64::from(runs)
        })
        .fold(f64::INFINITY, f64::min);
    println!("{name:36} {best:12.1} ns");
}
