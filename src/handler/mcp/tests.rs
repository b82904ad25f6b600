//! The gateway as clients see it, with servers that say what the test wants.

mod world;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::link::*;
use crate::base::channel::bounded;
use crate::config::Config;
use crate::http::Body;
use crate::mcp::revision::Revision;
use world::{Ask, Fleet, complete, outcome, state};

const HEARTBEAT: Duration = Duration::from_secs(16);

fn notification(method: &str, params: &str) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#).into()
}

fn call(name: &str) -> Ask {
    Ask::modern(
        "tools/call",
        name,
        &format!(r#""name":"{name}","arguments":{{"a":1}}"#),
    )
}

#[test]
fn a_call_goes_through_byte_for_byte_but_for_its_name() {
    let fleet = Fleet::usual();
    let result = r#"{ "content":[], "resultType":"complete","x":1e2}"#;
    fleet.puppet(1, 1).will_reply(complete(result));
    let params = r#""arguments": {"b" : [1.0,"\u00e4"]} ,"name":"new_t""#;
    let reading = fleet.ask(1, Ask::modern("tools/call", "new_t", params));
    assert_eq!(reading.status, 200);
    assert_eq!(
        reading.json(),
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)
    );
    let calls = fleet.puppet(1, 1).calls.borrow();
    let message = String::from_utf8(calls[0].message.to_vec()).unwrap();
    assert!(
        message.contains(r#"{"arguments": {"b" : [1.0,"\u00e4"]} ,"name":"t","_meta""#),
        "{message}"
    );
    assert_eq!(
        calls[0].parts.arguments.of(&calls[0].message),
        br#"{"b" : [1.0,"\u00e4"]}"#
    );
    assert_eq!(calls[0].name.as_deref(), Some("t"));
}

#[test]
fn one_server_alone_keeps_its_names() {
    let fleet = Fleet::usual();
    fleet.puppet(0, 1).will_reply(complete("{}"));
    assert_eq!(fleet.ask(0, call("t").at("/new")).status, 200);
    assert_eq!(fleet.ask(0, call("t").at("/none")).status, 404);
    let unknown = fleet.ask(0, call("new_t").at("/new"));
    assert!(unknown.json().contains("-32602") && unknown.json().contains("Unknown tool: new_t"));
}

#[test]
fn errors_have_the_status_of_their_era() {
    let fleet = Fleet::usual();
    for (ask, status, code) in [
        (Ask::modern("x/y", "", ""), 404, -32601),
        (Ask::modern("ping", "", ""), 404, -32601),
        (
            Ask::modern("tools/list", "", "").without("Mcp-Method"),
            400,
            -32020,
        ),
        (
            Ask::legacy("tools/list", "{}").with("MCP-Protocol-Version", "2026-07-28"),
            400,
            -32602,
        ),
        (Ask::legacy("x/y", "{}"), 200, -32601),
        (Ask::legacy("server/discover", "{}"), 200, -32601),
        (
            Ask::modern("resources/read", "no://x", r#""uri":"no://x""#),
            200,
            -32602,
        ),
        (
            Ask::legacy("resources/read", r#"{"uri":"no://x"}"#),
            200,
            -32002,
        ),
        (Ask::legacy("tools/list", r#"{"cursor":"x"}"#), 200, -32602),
        (Ask::new("POST", "{"), 400, -32700),
        (Ask::new("POST", "{}"), 400, -32600),
        (
            Ask::legacy("tools/list", "{}").with("MCP-Protocol-Version", "1"),
            400,
            -32602,
        ),
    ] {
        let reading = fleet.ask(0, ask);
        assert_eq!(reading.status, status, "{}", reading.json());
        assert!(
            reading.json().contains(&format!("\"code\":{code},")),
            "{}",
            reading.json()
        );
    }
    let missing = Outcome {
        error: Some(-32021),
        ..outcome("{}")
    };
    fleet.puppet(0, 1).will_reply(Reply::Complete(missing));
    assert_eq!(fleet.ask(0, call("new_t")).status, 400);
}

#[test]
fn eras_that_do_not_meet_are_told_so() {
    let fleet = Fleet::usual();
    let reading = fleet.ask(0, call("old_t"));
    assert_eq!(reading.status, 200);
    assert!(
        reading
            .json()
            .contains("server old speaks 2025-11-25, the client 2026-07-28")
    );
    assert!(
        reading
            .json()
            .contains(r#""data":{"server":"old","reason":"era"}"#)
    );
}

#[test]
fn lists_are_merged_for_both_eras() {
    let fleet = Fleet::usual();
    let modern = fleet.ask(0, Ask::modern("tools/list", "", ""));
    assert!(
        modern
            .json()
            .contains(r#"{"name":"old_t"},{"name":"new_t"},{"#)
    );
    assert!(modern.json().contains(r#""resultType":"complete""#));
    let legacy = fleet.ask(0, Ask::legacy("resources/list", "{}"));
    assert!(
        legacy
            .json()
            .contains(r#"{"uri":"old://r"},{"uri":"new://r"},"#)
    );
    assert!(!legacy.json().contains("resultType"));
    let discover = fleet.ask(0, Ask::modern("server/discover", "", ""));
    assert!(
        discover
            .json()
            .contains(r#""supportedVersions":["2026-07-28","2025-11-25","#)
    );
}

#[test]
fn discovery_sends_modern_clients_to_the_handshake_where_nothing_else_would_work() {
    let fleet = Fleet::usual();
    let discover = || Ask::modern("server/discover", "", "");
    let refused = fleet.ask(0, discover().at("/old"));
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .json()
            .contains(r#""code":-32022,"message":"Unsupported protocol version","#)
    );
    assert!(
        refused
            .json()
            .contains(r#""data":{"supported":["2025-11-25","2025-06-18","#)
    );
    assert_eq!(fleet.ask(0, discover().at("/new")).status, 200);
    assert_eq!(fleet.ask(0, discover()).status, 200);
}

#[test]
fn a_list_waits_for_servers_that_were_never_reached() {
    let fleet = Fleet::new(1, &[None], Config::default());
    let pending = fleet.begin(0, Ask::modern("tools/list", "", ""));
    assert!(pending.response().is_none());
    let ready = state(0, "s0", &[Revision::V2026_07_28]);
    fleet.announce(ServerEvent::Changed(Arc::new(ready)));
    assert!(
        pending
            .response()
            .unwrap()
            .json()
            .contains(r#"{"name":"t"}"#)
    );

    let fleet = Fleet::new(1, &[None], Config::default());
    let pending = fleet.begin(0, Ask::modern("tools/list", "", ""));
    fleet.world.advance(Duration::from_secs(6));
    assert!(
        !pending
            .response()
            .unwrap()
            .json()
            .contains(r#"{"name":"t"}"#)
    );
}

#[test]
fn what_an_unreachable_server_may_have_is_not_called_unknown() {
    let fleet = Fleet::new(1, &[None], Config::default());
    let mut down = state(0, "s0", &[]);
    down.status = Status::Down("connection refused".into());
    down.capabilities = Bytes::new();
    down.tools.clear();
    fleet.announce(ServerEvent::Changed(Arc::new(down)));
    let alone = fleet.ask(0, call("x").at("/s0"));
    let merged = fleet.ask(0, call("x"));
    for (reading, code) in [(alone, "-32603"), (merged, "-32602")] {
        assert!(
            reading
                .json()
                .contains("server s0 is unavailable: connection refused")
        );
        assert!(reading.json().contains(code));
    }
}

#[test]
fn a_session_is_good_on_every_shard_until_it_is_deleted() {
    let fleet = Fleet::usual();
    let session = fleet.session(0, "2025-06-18", "{}");
    assert!(session.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
    for shard in [0, 1] {
        let reading = fleet.ask(shard, Ask::legacy("ping", "{}").of(&session));
        assert_eq!(reading.json(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    }
    let initialized = Ask::new(
        "POST",
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    );
    assert_eq!(fleet.ask(1, initialized.of(&session)).status, 202);
    assert_eq!(
        fleet.ask(1, Ask::legacy("ping", "{}").of("g1.x.y")).status,
        404
    );
    assert_eq!(
        fleet.ask(1, Ask::new("DELETE", "").of(&session)).status,
        204
    );
    for shard in [0, 1] {
        assert_eq!(
            fleet
                .ask(shard, Ask::legacy("ping", "{}").of(&session))
                .status,
            404
        );
        assert_eq!(fleet.puppet(shard, 0).ended.get(), 1);
    }
    assert_eq!(fleet.ask(0, Ask::new("DELETE", "")).status, 405);
    assert_eq!(fleet.ask(0, Ask::new("GET", "")).status, 405);
}

#[test]
fn initialize_never_answers_a_modern_version() {
    let fleet = Fleet::usual();
    for (offered, answered) in [("2026-07-28", "2025-11-25"), ("2025-03-26", "2025-03-26")] {
        let params = format!(r#"{{"protocolVersion":"{offered}","capabilities":{{}}}}"#);
        let reading = fleet.ask(0, Ask::legacy("initialize", &params));
        assert!(
            reading
                .json()
                .contains(&format!(r#""protocolVersion":"{answered}""#))
        );
        assert!(reading.json().contains(r#""serverInfo":{"name":"ringway""#));
    }
}

#[test]
fn progress_makes_the_answer_a_stream_and_hanging_up_cancels() {
    let fleet = Fleet::usual();
    let (events, receiver) = bounded(4);
    fleet.puppet(0, 1).will_reply(Reply::Stream(receiver));
    let pending = fleet.begin(0, call("new_t"));
    assert!(pending.response().is_none());
    let progress = notification(
        "notifications/progress",
        r#"{"progressToken":1,"progress":1}"#,
    );
    events
        .try_send(Event::Notification(progress.clone()))
        .unwrap();
    fleet.world.settle();
    let mut reading = pending.response().unwrap();
    assert_eq!(reading.header("X-Accel-Buffering").as_deref(), Some("no"));
    assert_eq!(
        reading.events(&fleet.world),
        [core::str::from_utf8(&progress).unwrap()]
    );
    assert!(!events.is_closed());
    drop(reading);
    fleet.world.settle();
    assert!(events.is_closed(), "the call goes on without its client");
}

#[test]
fn an_answer_that_comes_first_is_json_and_a_slow_one_beats() {
    let fleet = Fleet::usual();
    for is_slow in [false, true] {
        let (events, receiver) = bounded(4);
        fleet.puppet(0, 1).will_reply(Reply::Stream(receiver));
        let pending = fleet.begin(0, call("new_t"));
        if is_slow {
            fleet.world.advance(HEARTBEAT);
        }
        events.try_send(Event::Response(outcome("{}"))).unwrap();
        fleet.world.settle();
        let mut reading = pending.response().unwrap();
        assert_eq!(reading.is_stream(), is_slow);
        if is_slow {
            let messages = reading.events(&fleet.world);
            assert_eq!(messages, [":", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#]);
            assert!(reading.is_over());
        }
    }
}

#[test]
fn a_failed_call_names_its_server() {
    let fleet = Fleet::usual();
    let (events, receiver) = bounded(4);
    let replies = &fleet.puppet(0, 1).replies;
    replies.borrow_mut().push_back(Reply::Stream(receiver));
    let pending = fleet.begin(0, call("new_t"));
    let fault = Fault::TimedOut {
        server: "new".into(),
        reason: "idle".into(),
    };
    events.try_send(Event::Failed(fault)).unwrap();
    fleet.world.settle();
    let reading = pending.response().unwrap();
    assert!(
        reading
            .json()
            .contains(r#"{"server":"new","reason":"timed_out"}"#)
    );
    let (events, receiver) = bounded::<Event>(4);
    replies.borrow_mut().push_back(Reply::Stream(receiver));
    let pending = fleet.begin(0, call("new_t"));
    drop(events);
    fleet.world.settle();
    assert!(pending.response().unwrap().json().contains("-32603"));
}

#[test]
fn an_elicitation_is_answered_through_another_shard() {
    let fleet = Fleet::usual();
    let session = fleet.session(1, "2025-11-25", r#"{"elicitation":{}}"#);
    let stranger = fleet.session(1, "2025-11-25", r#"{"elicitation":{}}"#);
    let (events, receiver) = bounded(4);
    fleet.puppet(0, 0).will_reply(Reply::Stream(receiver));
    let ask = Ask::legacy("tools/call", r#"{"name":"old_t"}"#).of(&session);
    let pending = fleet.begin(0, ask);
    let (sender, mut answers) = bounded(1);
    let message =
        r#"{"jsonrpc":"2.0","id":"srv-7","method":"elicitation/create","params":{"a":1}}"#;
    let answer = Answer {
        id: Bytes::from_static(b"\"srv-7\""),
        sender,
    };
    events
        .try_send(Event::Request {
            message: message.into(),
            answer,
        })
        .unwrap();
    fleet.world.settle();
    let mut reading = pending.response().unwrap();
    let asked = reading.events(&fleet.world).remove(0);
    let id = asked
        .split('"')
        .find(|part| part.starts_with("g1."))
        .unwrap();
    assert_eq!(asked, message.replace("srv-7", id));

    let reply = format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"action":"accept"}}}}"#);
    assert_eq!(
        fleet.ask(1, Ask::new("POST", &reply).of(&stranger)).status,
        400
    );
    assert!(answers.try_recv().is_none());
    assert_eq!(
        fleet.ask(1, Ask::new("POST", &reply).of(&session)).status,
        202
    );
    assert_eq!(answers.try_recv().unwrap(), reply.replace(id, "srv-7"));
    events.try_send(Event::Response(outcome("{}"))).unwrap();
    assert_eq!(reading.events(&fleet.world).len(), 1);
    assert!(reading.is_over());
    // Too late, and not the client's fault.
    assert_eq!(
        fleet.ask(0, Ask::new("POST", &reply).of(&session)).status,
        202
    );
}

#[test]
fn what_the_client_cannot_do_is_declined() {
    let fleet = Fleet::usual();
    let session = fleet.session(0, "2025-11-25", r#"{"roots":{}}"#);
    let (events, receiver) = bounded(4);
    fleet.puppet(0, 0).will_reply(Reply::Stream(receiver));
    let _pending = fleet.begin(
        0,
        Ask::legacy("tools/call", r#"{"name":"old_t"}"#).of(&session),
    );
    let (sender, _answers) = bounded(1);
    let message =
        Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage"}"#);
    let answer = Answer {
        id: Bytes::from_static(b"7"),
        sender: sender.clone(),
    };
    events.try_send(Event::Request { message, answer }).unwrap();
    fleet.world.settle();
    drop(sender);
    let mut answers = _answers;
    let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
    assert!(
        answers.poll_recv(&mut cx).is_ready(),
        "the request still waits"
    );
}

#[test]
fn cancellation_reaches_the_shard_that_runs_the_call() {
    let fleet = Fleet::usual();
    let session = fleet.session(0, "2025-11-25", "{}");
    let (events, receiver) = bounded(4);
    fleet.puppet(0, 0).will_reply(Reply::Stream(receiver));
    let ask = Ask::legacy("tools/call", r#"{"name":"old_t"}"#).of(&session);
    let pending = fleet.begin(0, ask);
    let cancel = |id: u8| {
        notification(
            "notifications/cancelled",
            &format!(r#"{{"requestId":{id}}}"#),
        )
    };
    for (id, is_cancelled) in [(2, false), (1, true)] {
        let text = String::from_utf8(cancel(id).to_vec()).unwrap();
        assert_eq!(
            fleet.ask(1, Ask::new("POST", &text).of(&session)).status,
            202
        );
        fleet.world.settle();
        assert_eq!(events.is_closed(), is_cancelled);
    }
    assert_eq!(pending.response().unwrap().events(&fleet.world), [":"]);
}

#[test]
fn a_legacy_client_that_goes_away_has_not_cancelled() {
    let fleet = Fleet::usual();
    let session = fleet.session(0, "2025-11-25", "{}");
    let (events, receiver) = bounded(1);
    fleet.puppet(0, 0).will_reply(Reply::Stream(receiver));
    let ask = Ask::legacy("tools/call", r#"{"name":"old_t"}"#).of(&session);
    let pending = fleet.begin(0, ask);
    pending.hang_up(&fleet.world);
    for _ in 0..3 {
        let note = notification("notifications/progress", "{}");
        assert!(events.try_send(Event::Notification(note)).is_ok());
        fleet.world.settle();
    }
    let text =
        String::from_utf8(notification("notifications/cancelled", r#"{"requestId":1}"#).to_vec());
    fleet.ask(1, Ask::new("POST", &text.unwrap()).of(&session));
    fleet.world.settle();
    assert!(events.is_closed(), "but it can still cancel");
}

#[test]
fn log_messages_pass_by_level() {
    let fleet = Fleet::usual();
    let session = fleet.session(0, "2025-11-25", "{}");
    let log = |level: &str| {
        notification(
            "notifications/message",
            &format!(r#"{{"level":"{level}","data":1}}"#),
        )
    };
    let run = |ask: Ask, server: usize| {
        let (events, receiver) = bounded(8);
        fleet.puppet(0, server).will_reply(Reply::Stream(receiver));
        let pending = fleet.begin(0, ask);
        for level in ["debug", "warning", "error"] {
            events.try_send(Event::Notification(log(level))).unwrap();
        }
        events.try_send(Event::Response(outcome("{}"))).unwrap();
        fleet.world.settle();
        pending.response().unwrap().events(&fleet.world).len() - 1
    };
    let legacy = || Ask::legacy("tools/call", r#"{"name":"old_t"}"#).of(&session);
    assert_eq!(run(legacy(), 0), 3);
    let level = |shard, level: &str| {
        let params = format!(r#"{{"level":"{level}"}}"#);
        fleet.ask(shard, Ask::legacy("logging/setLevel", &params).of(&session))
    };
    assert!(level(1, "loud").json().contains("-32602"));
    assert_eq!(
        level(1, "warning").json(),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
    assert_eq!(*fleet.puppet(1, 0).levels.borrow(), [LogLevel::Warning]);
    fleet.world.settle();
    assert_eq!(run(legacy(), 0), 2);

    let modern = |meta: &str| Ask::modern_meta("tools/call", "new_t", r#""name":"new_t""#, meta);
    assert_eq!(run(modern(""), 1), 0);
    assert_eq!(
        run(modern(r#","io.modelcontextprotocol/logLevel":"error""#), 1),
        1
    );
}

#[test]
fn what_a_server_logs_outside_calls_is_heard_by_level_and_session() {
    let fleet = Fleet::usual();
    let (ours, theirs) = (
        fleet.session(0, "2025-11-25", "{}"),
        fleet.session(0, "2025-11-25", "{}"),
    );
    let mut listening: Vec<_> = [&ours, &theirs]
        .map(|session| fleet.ask(1, Ask::new("GET", "").of(session)))
        .into();
    let heard = |fleet: &Fleet, listening: &mut Vec<world::Reading>| -> Vec<usize> {
        let streams = listening.iter_mut();
        streams
            .map(|stream| {
                let events = stream.events(&fleet.world);
                events.iter().filter(|event| *event != ":").count()
            })
            .collect()
    };
    heard(&fleet, &mut listening);
    let log = |session, level: &str| ServerEvent::Logged {
        server: ServerId(0),
        session,
        message: notification(
            "notifications/message",
            &format!(r#"{{"level":"{level}"}}"#),
        ),
    };
    fleet.announce(log(None, "error"));
    assert_eq!(heard(&fleet, &mut listening), [0, 0], "nobody has asked");
    let params = r#"{"level":"warning"}"#;
    fleet.ask(0, Ask::legacy("logging/setLevel", params).of(&ours));
    fleet.world.settle();
    fleet.announce(log(None, "error"));
    fleet.announce(log(None, "info"));
    assert_eq!(heard(&fleet, &mut listening), [1, 0]);
    let opened = crate::mcp::session::Session::open(
        &crate::mcp::seal::Sealer::new(&[9; 32]),
        theirs.as_bytes(),
        0,
    );
    let key = SessionKey(opened.unwrap().key);
    fleet.announce(log(Some(key), "debug"));
    assert_eq!(heard(&fleet, &mut listening), [0, 1]);
}

#[test]
fn the_operator_is_told_once_how_names_were_made_unique() {
    let fleet = Fleet::usual();
    let told = [
        "tool t of server old is offered as old_t",
        "tool t of server new is offered as new_t",
        "prompt p of server old is offered as old_p",
        "prompt p of server new is offered as new_p",
    ];
    assert_eq!(*fleet.reported.borrow(), told);
    let mut changed = state(1, "new", &[Revision::V2026_07_28]);
    changed.resources.clear();
    fleet.announce(ServerEvent::Changed(Arc::new(changed)));
    fleet.world.advance(Duration::from_millis(100));
    assert_eq!(*fleet.reported.borrow(), told);
}

#[test]
fn batches_are_answered_in_the_one_revision_that_has_them() {
    let fleet = Fleet::usual();
    let session = fleet.session(0, "2025-03-26", "{}");
    let newer = fleet.session(0, "2025-06-18", "{}");
    let ping = |id: u8| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let pong = |id: u8| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let both = format!("[{},{note},{}]", ping(1), ping(2));
    let reading = fleet.ask(1, Ask::new("POST", &both).of(&session));
    assert_eq!(reading.json(), format!("[{},{}]", pong(1), pong(2)));
    assert_eq!(
        fleet
            .ask(1, Ask::new("POST", &format!("[{note}]")).of(&session))
            .status,
        202
    );
    assert_eq!(fleet.ask(1, Ask::new("POST", &both).of(&newer)).status, 400);
    assert_eq!(
        fleet.ask(1, Ask::new("POST", "[]").of(&session)).status,
        400
    );

    let (events, receiver) = bounded(4);
    fleet.puppet(0, 0).will_reply(Reply::Stream(receiver));
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"old_t"}}"#;
    let mut reading = fleet.ask(
        0,
        Ask::new("POST", &format!("[{call},{},7]", ping(2))).of(&session),
    );
    let first = reading.events(&fleet.world);
    assert_eq!(first[0], pong(2));
    assert!(first[1].contains("-32600"));
    assert!(!reading.is_over());
    events.try_send(Event::Response(outcome("{}"))).unwrap();
    assert_eq!(reading.events(&fleet.world), [pong(1)]);
    assert!(reading.is_over());
}

fn listen(filter: &str) -> Ask {
    Ask::modern(
        "subscriptions/listen",
        "",
        &format!(r#""notifications":{filter}"#),
    )
}

#[test]
fn a_subscription_hears_what_it_asked_for_and_nothing_else() {
    let fleet = Fleet::usual();
    let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["new://r","no://r"]}"#;
    let mut reading = fleet.ask(0, listen(filter));
    let stamp = r#""_meta":{"io.modelcontextprotocol/subscriptionId":1}"#;
    assert_eq!(
        reading.events(&fleet.world),
        [format!(
            concat!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","#,
                r#""params":{{{},"notifications":{{"toolsListChanged":true,"#,
                r#""resourceSubscriptions":["new://r"]}}}}}}"#
            ),
            stamp
        )]
    );
    assert_eq!(
        *fleet.puppet(0, 1).watched.borrow(),
        [("new://r".to_owned(), true)]
    );

    let mut changed = state(1, "new", &[Revision::V2026_07_28]);
    changed.tools.clear();
    changed.prompts.clear();
    fleet.announce(ServerEvent::Changed(Arc::new(changed)));
    fleet.world.advance(Duration::from_millis(100));
    assert_eq!(
        reading.events(&fleet.world),
        [format!(
            concat!(
                r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","#,
                r#""params":{{{}}}}}"#
            ),
            stamp
        )]
    );

    drop(reading);
    fleet.world.advance(HEARTBEAT);
    assert_eq!(
        fleet.puppet(0, 1).watched.borrow().last().unwrap(),
        &("new://r".to_owned(), false)
    );
}

#[test]
fn updates_carry_the_id_of_their_subscription() {
    let fleet = Fleet::usual();
    let mut reading = fleet.ask(0, listen(r#"{"resourceSubscriptions":["new://r"]}"#));
    reading.events(&fleet.world);
    let stamp = r#""_meta":{"io.modelcontextprotocol/subscriptionId":1}"#;
    for (uri, params, expected) in [
        (
            "new://r",
            r#"{ "uri":"new://r"}"#,
            Some(format!(r#"{{{stamp}, "uri":"new://r"}}"#)),
        ),
        (
            "new://r",
            r#"{"_meta":{},"uri":"new://r"}"#,
            Some(format!(r#"{{{stamp},"uri":"new://r"}}"#)),
        ),
        (
            "new://r",
            r#"{"_meta":{"a":1,"io.modelcontextprotocol/subscriptionId":"up"},"uri":"new://r"}"#,
            Some(
                r#"{"_meta":{"a":1,"io.modelcontextprotocol/subscriptionId":1},"uri":"new://r"}"#
                    .to_owned(),
            ),
        ),
        ("new://other", r#"{"uri":"new://other"}"#, None),
    ] {
        let method = "notifications/resources/updated";
        fleet.announce(ServerEvent::ResourceUpdated {
            server: ServerId(1),
            session: None,
            uri: uri.into(),
            message: notification(method, params),
        });
        let expected: Vec<_> = expected
            .map(|params| String::from_utf8(notification(method, &params).to_vec()).unwrap())
            .into_iter()
            .collect();
        assert_eq!(reading.events(&fleet.world), expected);
    }
}

#[test]
fn a_draining_shard_completes_its_subscriptions() {
    let fleet = Fleet::usual();
    let mut reading = fleet.ask(0, listen(r#"{"promptsListChanged":true}"#));
    reading.events(&fleet.world);
    fleet.shards[0].close_streams();
    let last = reading.events(&fleet.world);
    assert_eq!(last.len(), 1);
    assert!(last[0].starts_with(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete""#));
    assert!(reading.is_over());
    let bad = fleet.ask(0, Ask::modern("subscriptions/listen", "", ""));
    assert!(bad.json().contains("-32602"));
}

#[test]
fn a_session_hears_on_its_newest_stream_alone() {
    let fleet = Fleet::usual();
    let session = fleet.session(1, "2025-11-25", "{}");
    let subscribe = |shard, method: &str, uri: &str| {
        let ask = Ask::legacy(method, &format!(r#"{{"uri":"{uri}"}}"#)).of(&session);
        let reading = fleet.ask(shard, ask);
        fleet.world.settle();
        reading.json().to_owned()
    };
    assert!(subscribe(0, "resources/subscribe", "old://r").ends_with(r#""result":{}}"#));
    assert!(subscribe(0, "resources/subscribe", "no://r").contains("-32002"));
    let mut first = fleet.ask(0, Ask::new("GET", "").of(&session));
    assert_eq!(first.events(&fleet.world), [":"]);
    let mut second = fleet.ask(1, Ask::new("GET", "").of(&session));
    assert_eq!(second.events(&fleet.world), [":"]);
    fleet.world.settle();
    assert!(first.is_over());
    // Watched where the session listens, and nowhere else.
    let (on, off) = (("old://r".to_owned(), true), ("old://r".to_owned(), false));
    assert_eq!(
        *fleet.puppet(0, 0).watched.borrow(),
        [on.clone(), off.clone()]
    );
    assert_eq!(*fleet.puppet(1, 0).watched.borrow(), vec![on.clone()]);

    let message = notification("notifications/resources/updated", r#"{"uri":"old://r"}"#);
    let event = ServerEvent::ResourceUpdated {
        server: ServerId(0),
        session: None,
        uri: "old://r".into(),
        message: message.clone(),
    };
    fleet.announce(event.clone());
    assert_eq!(
        second.events(&fleet.world),
        [core::str::from_utf8(&message).unwrap()]
    );
    assert!(subscribe(0, "resources/unsubscribe", "old://r").ends_with(r#""result":{}}"#));
    fleet.announce(event);
    assert!(second.events(&fleet.world).is_empty());
    assert_eq!(*fleet.puppet(1, 0).watched.borrow(), [on, off]);

    fleet.world.advance(HEARTBEAT);
    assert_eq!(second.events(&fleet.world), [":"]);
    fleet.ask(0, Ask::new("DELETE", "").of(&session));
    fleet.world.settle();
    assert!(second.is_over());
}

#[test]
fn pages_of_other_origins_and_hosts_are_kept_out() {
    let fleet = Fleet::usual();
    let ask = |host: &str, origin: Option<&str>| {
        let ask = Ask::modern("server/discover", "", "")
            .without("Host")
            .with("Host", host);
        let ask = match origin {
            Some(origin) => ask.with("Origin", origin),
            None => ask,
        };
        fleet.ask(0, ask)
    };
    for (host, origin, status) in [
        ("localhost:4444", None, 200),
        ("127.0.0.1:1", Some("http://localhost:6274"), 200),
        ("[::1]:4444", Some("https://[::1]"), 200),
        ("localhost", Some("http://evil.example.com"), 403),
        ("localhost", Some("http://localhost.evil.example.com"), 403),
        ("localhost", Some("null"), 403),
        ("evil.example.com", None, 403),
        ("127.0.0.1.evil.example.com", None, 403),
    ] {
        let reading = ask(host, origin);
        assert_eq!(reading.status, status, "{host} {origin:?}");
        if status == 200 {
            assert_eq!(
                reading.header("Access-Control-Allow-Origin").as_deref(),
                origin
            );
        }
    }
    let mut config = Config::default();
    config.mcp.allowed_origins = vec!["https://app.example.com".into()];
    let fleet = Fleet::new(1, &[], config);
    let preflight = Ask::new("OPTIONS", "")
        .with("Origin", "https://app.example.com")
        .with("Access-Control-Request-Headers", "mcp-session-id, x");
    let reading = fleet.ask(0, preflight.without("Host").with("Host", "app.example.com"));
    assert_eq!(reading.status, 204);
    assert!(
        reading
            .header("Access-Control-Allow-Headers")
            .unwrap()
            .contains("mcp-session-id")
    );
}

#[test]
fn forms_of_requests_and_answers() {
    let fleet = Fleet::usual();
    let ping = || Ask::legacy("ping", "{}");
    assert_eq!(
        fleet
            .ask(0, ping().without("Accept").with("Accept", "text/html"))
            .status,
        406
    );
    assert_eq!(fleet.ask(0, ping().without("Accept")).status, 200);
    let form = "application/x-www-form-urlencoded";
    assert_eq!(
        fleet
            .ask(0, ping().without("Content-Type").with("Content-Type", form))
            .status,
        415
    );
    let events = ping().without("Accept").with("Accept", "text/event-stream");
    assert!(fleet.ask(0, events).is_stream());
    assert_eq!(fleet.ask(0, Ask::new("PUT", "{}")).status, 405);

    // A client that takes JSON alone gets the answer alone.
    let (sender, receiver) = bounded(4);
    fleet.puppet(0, 1).will_reply(Reply::Stream(receiver));
    let json = call("new_t")
        .without("Accept")
        .with("Accept", "application/json");
    let pending = fleet.begin(0, json);
    sender
        .try_send(Event::Notification(notification(
            "notifications/progress",
            "{}",
        )))
        .unwrap();
    fleet.world.advance(HEARTBEAT);
    assert!(pending.response().is_none());
    sender.try_send(Event::Response(outcome("{}"))).unwrap();
    fleet.world.settle();
    assert!(pending.response().unwrap().json().contains("result"));
}

#[test]
fn streams_are_bounded_and_those_left_behind_make_room() {
    let mut config = Config::default();
    config.mcp.max_streams = 2;
    let fleet = Fleet::new(1, &[], config);
    let filter = r#"{"toolsListChanged":true}"#;
    let first = fleet.ask(0, listen(filter));
    let _second = fleet.ask(0, listen(filter));
    assert_eq!(fleet.ask(0, listen(filter)).status, 503);
    drop(first);
    assert_eq!(fleet.ask(0, listen(filter)).status, 200);
}

#[test]
fn the_demo_answers_at_once_and_its_lists_change_everywhere() {
    let fleet = Fleet::new(2, &[], Config::default());
    let echo = Ask::modern(
        "tools/call",
        "echo",
        r#""name":"echo","arguments":{"message":"hi"}"#,
    );
    let reading = fleet.ask(0, echo);
    assert!(reading.json().contains("hi"), "{}", reading.json());

    let mut listening = fleet.ask(0, listen(r#"{"toolsListChanged":true}"#));
    listening.events(&fleet.world);
    let name = "test_trigger_tool_change";
    let params = format!(r#""name":"{name}","arguments":{{}}"#);
    let before = fleet.ask(0, Ask::modern("tools/list", "", "")).json().len();
    fleet.begin(1, Ask::modern("tools/call", name, &params));
    fleet.world.advance(Duration::from_millis(200));
    assert_eq!(listening.events(&fleet.world).len(), 1);
    for shard in [0, 1] {
        assert_ne!(
            fleet
                .ask(shard, Ask::modern("tools/list", "", ""))
                .json()
                .len(),
            before
        );
    }
}

#[test]
fn a_body_in_pieces_is_put_together_within_its_limit() {
    let collect = |pieces: &[&'static str], max| {
        let (sender, receiver) = bounded(8);
        for piece in pieces {
            let frame = crate::http::Frame::Data(Bytes::from_static(piece.as_bytes()));
            sender.try_send(Ok(frame)).unwrap();
        }
        drop(sender);
        let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
        let mut collecting = Box::pin(super::endpoint::collect(Body::Stream(receiver), max));
        match collecting.as_mut().poll(&mut cx) {
            core::task::Poll::Ready(bytes) => bytes,
            core::task::Poll::Pending => panic!("waits for nothing"),
        }
    };
    assert_eq!(collect(&["{", "}"], 2).unwrap(), "{}");
    assert_eq!(
        collect(&["{", "}"], 1),
        Err(crate::http::BodyError::TooLarge)
    );
}
