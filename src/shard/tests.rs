//! A shard on its own thread, driven over the wire: what a crash and a drain leave.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Ends, Generation, Launch, Message, Report, TlsGeneration, run};
use crate::base::clock::Now;
use crate::base::log::Logger;
use crate::config::{Builtin, Config, Handler, PathRule, Route};
use crate::handler::builtin::Scraper;
use crate::handler::mcp::demo;
use crate::handler::mcp::peers::Peers;
use crate::handler::mcp::upstream::Wires;
use crate::net::listener::BoundListener;
use crate::net::mailbox::{Address, Inbox, mailbox};
use crate::net::process::Spawner;
use crate::net::resolve::Resolver;
use crate::net::runtime::Driver;
use crate::net::tls::TlsConnector;
use crate::server::{LimitPlaces, Links};

const PATIENCE: Duration = Duration::from_secs(10);

struct Shard {
    address: SocketAddr,
    messages: Address<Message>,
    reports: Inbox<Report>,
    thread: Option<JoinHandle<()>>,
}

impl Shard {
    /// Starts a shard of its own program and lets it accept.
    fn start(config: Config, driver: Option<Driver>, listener: &BoundListener) -> Self {
        let (messages, inbox) = mailbox(16);
        let (reports_in, reports) = mailbox(16);
        let (peers, boxed) = Peers::connect(1).remove(0);
        let launch = Launch {
            index: 0,
            shards: 1,
            core: None,
            driver,
            generation: generation(config),
            listeners: vec![(1, listener.try_clone().unwrap())],
            inbox,
            reports: reports_in,
            started: Now::read(),
            scraper: Scraper::channel().0,
            ends: Ends {
                health: crate::upstream::group::Wire::connect(1).remove(0),
                peers,
                mailbox: boxed,
                wires: Wires::connect(1).remove(0),
                demo: demo::Wire::connect(1).remove(0),
                secret: [7; 32],
                spawner: Spawner::start(None).unwrap(),
                caches: crate::handler::cache::Links::connect(1).remove(0),
                resolver: Resolver::start().unwrap(),
            },
            links: Links::connect(1, Now::read().mono).remove(0),
            seed: 1,
        };
        let thread = std::thread::spawn(move || run(launch));
        let shard = Self {
            address: listener.address(),
            messages,
            reports,
            thread: Some(thread),
        };
        assert!(matches!(shard.report(), Report::Started { .. }));
        shard.tell(Message::Accept);
        shard
    }

    fn tell(&self, message: Message) {
        self.messages.send(message).unwrap();
    }

    fn report(&self) -> Report {
        self.reports.receive_blocking().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn end(mut self) {
        self.tell(drain(5000));
        assert!(matches!(self.report(), Report::Drained { .. }));
        self.tell(Message::Stop);
        let report = self.report();
        assert!(
            matches!(
                report,
                Report::Ended {
                    has_crashed: false,
                    ..
                }
            ),
            "{report:?}"
        );
        self.thread.take().unwrap().join().unwrap();
    }
}

fn generation(config: Config) -> Generation {
    Generation {
        number: 1,
        loaded: Duration::ZERO,
        config: Arc::new(config),
        listeners: [1].into(),
        tls: TlsGeneration::from([]),
        limits: LimitPlaces::default(),
        servers: [].into(),
        demo: None,
        access: None,
        log: Logger::off(),
        recompress: None,
        disk: None,
        connector: TlsConnector::trusting_nobody().unwrap(),
    }
}

/// Idle connections are left alone for 50 ms.
fn drain(limit_ms: u64) -> Message {
    Message::Drain {
        patience: Duration::from_millis(50),
        limit: Duration::from_millis(limit_ms),
    }
}

fn listener() -> BoundListener {
    BoundListener::bind("127.0.0.1:0".parse().unwrap(), 64).unwrap()
}

fn config() -> Config {
    let mut config = Config::default();
    config.routes.push(Route::new(
        PathRule::Prefix("/echo".into()),
        Handler::Builtin(Builtin::Echo),
    ));
    config
}

/// Reads one response with a Content-Length.
fn response(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "closed after {text:?}");
        bytes.extend_from_slice(&piece[..count]);
    }
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_crash_ends_its_own_connections_and_the_next_life_takes_over_the_listener() {
    for driver in Driver::ALL {
        let (first, second) = (listener(), listener());
        let crashing = Shard::start(config(), Some(driver), &first);
        let other = Shard::start(config(), Some(driver), &second);
        let (mut doomed, mut safe) = (crashing.connect(), other.connect());
        doomed.write_all(GET).unwrap();
        safe.write_all(GET).unwrap();
        assert!(response(&mut doomed).starts_with("HTTP/1.1 200"));
        assert!(response(&mut safe).starts_with("HTTP/1.1 200"));

        crashing.tell(Message::Crash);
        let report = crashing.report();
        assert!(
            matches!(
                report,
                Report::Ended {
                    has_crashed: true,
                    ..
                }
            ),
            "{report:?}"
        );
        assert!(is_closed(&mut doomed), "{driver}");

        // Nobody accepts now, but the kernel queues for the next life.
        let mut waiting = TcpStream::connect(first.address()).unwrap();
        waiting.set_read_timeout(Some(PATIENCE)).unwrap();
        waiting.write_all(GET).unwrap();
        let again = Shard::start(config(), Some(driver), &first);
        assert!(
            response(&mut waiting).starts_with("HTTP/1.1 200"),
            "{driver}"
        );
        safe.write_all(GET).unwrap();
        assert!(response(&mut safe).starts_with("HTTP/1.1 200"), "{driver}");
        drop((waiting, safe));
        again.end();
        other.end();
    }
}

#[test]
fn a_drain_finishes_what_is_under_way_and_closes_the_rest() {
    for driver in Driver::ALL {
        let bound = listener();
        let shard = Shard::start(config(), Some(driver), &bound);
        let (mut idle, mut busy) = (shard.connect(), shard.connect());
        idle.write_all(GET).unwrap();
        response(&mut idle);
        busy.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            .unwrap();
        std::thread::sleep(Duration::from_millis(50));
        shard.tell(drain(5000));
        assert!(is_closed(&mut idle), "{driver}");
        busy.write_all(b"cd").unwrap();
        let answer = response(&mut busy);
        assert!(
            answer.contains("abcd") && answer.contains("Connection: close"),
            "{answer}"
        );
        assert!(is_closed(&mut busy));
        drop(busy);
        assert!(matches!(shard.report(), Report::Drained { .. }));
        shard.tell(Message::Stop);
        assert!(matches!(
            shard.report(),
            Report::Ended {
                has_crashed: false,
                ..
            }
        ));
    }
}

#[test]
fn a_drain_that_takes_too_long_cuts_off() {
    let bound = listener();
    let shard = Shard::start(config(), None, &bound);
    let mut busy = shard.connect();
    busy.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    shard.tell(drain(50));
    assert!(matches!(shard.report(), Report::Drained { .. }));
    assert!(is_closed(&mut busy));
    shard.tell(Message::Stop);
    assert!(matches!(
        shard.report(),
        Report::Ended {
            has_crashed: false,
            ..
        }
    ));
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_the_pieces() {
    for driver in Driver::ALL {
        let bound = listener();
        let shard = Shard::start(config(), Some(driver), &bound);
        let mut wire = Vec::new();
        for index in 0..60 {
            wire.extend_from_slice(
                format!(
                    "POST /echo/{index} HTTP/1.1\r\nHost: a\r\n\
                     Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                     GET /echo/{index}/get HTTP/1.1\r\nHost: a\r\n\r\n"
                )
                .as_bytes(),
            );
        }
        wire.truncate(wire.len() - 2);
        wire.extend_from_slice(b"Connection: close\r\n\r\n");
        for piece in [7, 1000, usize::MAX] {
            let mut stream = shard.connect();
            let mut reader = stream.try_clone().unwrap();
            let answers = std::thread::spawn(move || {
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                text
            });
            for part in wire.chunks(piece.min(wire.len())) {
                // The hundredth request is the last by default; what follows may be refused.
                if stream.write_all(part).is_err() {
                    break;
                }
            }
            let _ = stream.shutdown(Shutdown::Write);
            let answers = answers.join().unwrap();
            assert_eq!(
                answers.matches("HTTP/1.1 200 OK").count(),
                100,
                "{driver} {piece}"
            );
            for index in 0..50 {
                let post = answers.find(&format!("POST /echo/{index} ")).unwrap();
                let get = answers.find(&format!("GET /echo/{index}/get ")).unwrap();
                assert!(post < get);
            }
        }
        shard.end();
    }
}

#[test]
fn continue_is_sent_when_the_body_is_wanted_and_not_before_a_refusal() {
    let bound = listener();
    let shard = Shard::start(config(), None, &bound);
    let head = "HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut wanted = shard.connect();
    wanted
        .write_all(format!("POST /echo {head}").as_bytes())
        .unwrap();
    assert_eq!(response(&mut wanted), "HTTP/1.1 100 Continue\r\n\r\n");
    wanted.write_all(b"abc").unwrap();
    assert!(response(&mut wanted).contains("\"abc\""));
    let mut refused = shard.connect();
    refused
        .write_all(format!("POST /nowhere {head}").as_bytes())
        .unwrap();
    let answer = response(&mut refused);
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("Connection: close"));
    drop((wanted, refused));
    shard.end();
}
