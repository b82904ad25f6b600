//! Channels without a server behind them.

use super::*;
use crate::handler::mcp::link::{ClientCapabilities, SessionKey};
use crate::mcp::revision::{Era, Revision};
use crate::net::across;

const CALL: &str = r#"{"jsonrpc":"2.0","id":"c1","method":"tools/call","params":{"name":"x"}}"#;

struct Bench {
    duplex: Rc<Duplex>,
    ends: Ends,
    outside: Rc<RefCell<Vec<Signal>>>,
}

impl Bench {
    fn new(in_flight_max: usize) -> Self {
        let outside = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&outside);
        let (duplex, ends) = Duplex::new(
            9,
            "srv".into(),
            Logger::off(),
            in_flight_max,
            false,
            Box::new(move |event| kept.borrow_mut().push(event)),
        );
        Self {
            duplex,
            ends,
            outside,
        }
    }

    fn call(&self, ticket: u64, session: u128) -> across::Receiver<Heard> {
        let message = Bytes::from_static(CALL.as_bytes());
        let (events, heard) = Events::queue();
        self.duplex.begin(SentCall {
            ticket: Ticket(ticket),
            parts: Message::scan(&message).unwrap(),
            message,
            caller: Caller {
                era: Era::Legacy,
                revision: Revision::LEGACY_LATEST,
                capabilities: ClientCapabilities {
                    elicitation_form: true,
                    ..ClientCapabilities::default()
                },
                session: Some(SessionKey(session)),
                info: Bytes::new(),
                log_level: None,
            },
            events,
        });
        heard
    }

    fn sent(&mut self) -> String {
        let line = self.ends.outgoing.try_recv().unwrap_or_default();
        String::from_utf8(line.to_vec()).unwrap()
    }

    fn hear(&self, text: &str) {
        self.duplex.receive(Bytes::copy_from_slice(text.as_bytes()));
    }
}

fn failed(heard: &across::Receiver<Heard>) -> String {
    match heard.try_recv().unwrap() {
        Heard::Failed(fault) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_goes_out_as_one_line_and_its_answer_comes_back() {
    let mut bench = Bench::new(8);
    let heard = bench.call(1, 1);
    assert!(bench.sent().ends_with("\"params\":{\"name\":\"x\"}}\n"));
    bench.hear(r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#);
    let Heard::Response(outcome) = heard.try_recv().unwrap() else {
        panic!("an answer");
    };
    assert_eq!(
        outcome.message,
        r#"{"jsonrpc":"2.0","id":"c1","result":{}}"#
    );
    assert_eq!(
        one_line(b"{\n \"a\":\r\n1}".to_vec()),
        Bytes::from_static(b"{  \"a\":  1}\n")
    );
}

#[test]
fn the_end_of_the_channel_fails_every_call_with_the_reason() {
    let bench = Bench::new(8);
    let (one, two) = (bench.call(1, 1), bench.call(2, 2));
    bench.duplex.end("exited with status 3".to_owned());
    for heard in [one, two, bench.call(3, 3)] {
        let text = failed(&heard);
        assert!(text.contains("srv") && text.contains("status 3"), "{text}");
    }
}

#[test]
fn calls_beyond_the_bound_are_refused() {
    let bench = Bench::new(2);
    let _under_way = (bench.call(1, 1), bench.call(2, 2));
    assert!(failed(&bench.call(3, 3)).contains("max_in_flight"));
}

#[test]
fn a_client_that_goes_away_cancels_its_call() {
    let mut bench = Bench::new(8);
    let _heard = bench.call(1, 1);
    bench.sent();
    assert!(!bench.duplex.cancel(Ticket(2)));
    assert!(bench.duplex.cancel(Ticket(1)));
    let sent = bench.sent();
    assert!(sent.contains("notifications/cancelled") && sent.contains("\"requestId\":1,"));
    drop(bench.call(3, 1));
    bench.sent();
    bench.duplex.sweep();
    assert!(bench.sent().contains("\"requestId\":2,"));
    assert_eq!(bench.duplex.in_flight(), 0);
}

#[test]
fn a_request_of_the_server_goes_to_the_only_client() {
    let mut bench = Bench::new(8);
    let elicit = r#"{"jsonrpc":"2.0","id":70,"method":"elicitation/create","params":{}}"#;
    bench.hear(elicit);
    assert!(bench.sent().contains("no client is calling"));
    let _older = bench.call(1, 5);
    let newest = bench.call(2, 5);
    bench.sent();
    bench.sent();
    bench.hear(elicit);
    let Heard::Request { id, channel, .. } = newest.try_recv().unwrap() else {
        panic!("a request");
    };
    assert_eq!((&id[..], channel), (&b"70"[..], 9));
    bench.hear(&elicit.replace("elicitation/create", "sampling/createMessage"));
    assert!(bench.sent().contains("-32601"));
    let _other = bench.call(3, 6);
    bench.sent();
    bench.hear(elicit);
    assert!(bench.sent().contains(r#"isolate = \"session\""#));
    bench.hear(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    assert_eq!(
        bench.sent(),
        "{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"result\":{}}\n"
    );
}

#[test]
fn log_messages_reach_nobody_if_it_cannot_be_told_whose_they_are() {
    let bench = Bench::new(8);
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#;
    let one = bench.call(1, 1);
    bench.hear(log);
    assert!(matches!(one.try_recv(), Ok(Heard::Notification(_))));
    let two = bench.call(2, 2);
    bench.hear(log);
    assert!(one.try_recv().is_err() && two.try_recv().is_err());
    assert!(bench.outside.borrow().is_empty());
    bench.hear(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert_eq!(bench.outside.borrow().len(), 1);
}

#[test]
fn too_long_a_message_fails_the_call_it_was_for() {
    let bench = Bench::new(8);
    let (one, two) = (bench.call(1, 1), bench.call(2, 2));
    let long = |start: &str, end: &str| Oversized {
        length: 99,
        start: Bytes::copy_from_slice(start.as_bytes()),
        end: Bytes::copy_from_slice(end.as_bytes()),
    };
    bench
        .duplex
        .oversized(&long(r#"{"result":{"#, r#"}},"jsonrpc":"2.0","id":2}"#), 9);
    assert!(one.try_recv().is_err());
    assert!(failed(&two).contains("99 bytes"));
    bench.duplex.oversized(&long("xx", "yy"), 9);
    assert!(failed(&one).contains("max_message_size"));
}

#[test]
fn lines_that_are_no_messages_are_passed_over() {
    let bench = Bench::new(8);
    let heard = bench.call(1, 1);
    bench.hear("Server listening on port 80");
    assert!(heard.try_recv().is_err());
    assert!(bench.duplex.last_garbage().unwrap().contains("port 80"));
    bench.hear(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#);
    assert!(failed(&heard).contains("neither a request"));
}

#[test]
fn a_slow_client_loses_notifications_but_not_its_answer() {
    let bench = Bench::new(8);
    let heard = bench.call(1, 1);
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#;
    for _ in 0..1_000 {
        bench.hear(log);
    }
    bench.hear(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    let mut last = None;
    let mut count = 0;
    while let Ok(event) = heard.try_recv() {
        last = Some(event);
        count += 1;
    }
    assert!(count < 100);
    assert!(matches!(last, Some(Heard::Response(_))));
}
