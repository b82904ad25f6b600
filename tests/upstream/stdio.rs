//! Children that crash, babble and stall.

use std::time::Duration;

use ringway::base::channel::Receiver;
use ringway::config::Isolate;
use ringway::handler::mcp::link::{Event, Transport};
use ringway::mcp::revision::{Era, Revision};
use ringway::net::sleep;

use crate::fake::python;
use crate::world::{end, legacy, modern, tool_call, world};

const ECHO: &str = r#"
if basics(m): pass
elif m.get("method") == "tools/call":
    say(m["id"], {"echo": m["params"]["arguments"], "pid": os.getpid()})
"#;

#[test]
fn a_legacy_child_is_found_listed_and_called() {
    world(vec![python("py", ECHO)], |world| async move {
        let state = world.ready(0).await;
        assert_eq!(state.revisions, [Revision::V2025_06_18]);
        assert_eq!(state.transport, Transport::Stdio);
        assert_eq!(state.tools[0].raw, r#"{"name": "echo", "inputSchema": {}}"#);
        let call = tool_call("\"x\\u0041\"", "echo", "{\"a\":\n 1}");
        let text = end(world.call(0, &legacy(1), &call)).await.text();
        assert!(
            text.contains(r#""id": "x\u0041""#) && text.contains(r#"{"a": 1}"#),
            "{text}"
        );
        let fault = world.tool(0, &modern(), "1", "echo").await.fault();
        assert!(
            fault.contains("2025-06-18") && fault.contains("py"),
            "{fault}"
        );
    });
}

#[test]
fn a_call_that_comes_while_the_child_starts_waits_for_it() {
    let slow = r#"
if m.get("method") == "initialize": time.sleep(0.5)
"#;
    let server = python("py", &(slow.to_owned() + ECHO.trim_start()));
    world(vec![server], |world| async move {
        let text = world.tool(0, &legacy(1), "7", "echo").await.text();
        assert!(
            text.contains("\"id\": 7") || text.contains("\"id\":7"),
            "{text}"
        );
    });
}

#[test]
fn a_modern_child_is_told_by_its_answer() {
    let server = python(
        "py",
        r#"
if m.get("method") == "server/discover":
    assert m["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    say(m["id"], {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
        "resultType": "complete"})
elif m.get("method") == "tools/list":
    say(m["id"], {"tools": [{"name": "echo"}], "ttlMs": 1000, "cacheScope": "public"})
elif m.get("method") == "tools/call":
    say(m["id"], {"meta": m["params"]["_meta"]})
"#,
    );
    world(vec![server], |world| async move {
        let state = world.ready(0).await;
        assert!(state.speaks(Era::Modern) && !state.speaks(Era::Legacy));
        assert!(state.caching.public && state.caching.ttl_ms == 1000);
        let text = world.tool(0, &modern(), "\"m\"", "echo").await.text();
        assert!(text.contains("progressToken"), "{text}");
        let fault = world.tool(0, &legacy(1), "1", "echo").await.fault();
        assert!(fault.contains("speaks 2026-07-28"), "{fault}");
    });
}

#[test]
fn a_server_that_dies_of_the_probe_is_started_again_the_old_way() {
    let server = python(
        "py",
        &format!(
            "{}\n{}",
            r#"
if m.get("method") == "server/discover": sys.exit(9)"#,
            ECHO.trim_start()
        ),
    );
    world(vec![server], |world| async move {
        assert_eq!(world.ready(0).await.revisions, [Revision::V2025_06_18]);
    });
}

#[test]
fn a_crash_fails_the_calls_in_flight_with_its_last_words_and_the_child_comes_back() {
    let server = python(
        "py",
        &format!(
            "{}\n{}",
            r#"
if m.get("method") == "tools/call" and m["params"]["name"] == "crash":
    sys.stderr.write("first\nout of cheese\n"); sys.stderr.flush(); os._exit(3)
if m.get("method") == "tools/call" and m["params"]["name"] == "hang": continue"#,
            ECHO.trim_start()
        ),
    );
    world(vec![server], |world| async move {
        world.ready(0).await;
        let hanging = world.call(0, &legacy(1), &tool_call("1", "hang", "{}"));
        let crashed = world.tool(0, &legacy(2), "1", "crash").await.fault();
        for fault in [crashed, end(hanging).await.fault()] {
            assert!(
                fault.contains("server py") && fault.contains("status 3"),
                "{fault}"
            );
            assert!(fault.contains("out of cheese"), "{fault}");
        }
        let reason = world.down(0).await;
        assert!(reason.contains("status 3"), "{reason}");
        let state = world.ready(0).await;
        assert_eq!(state.restarts, 1);
        world.tool(0, &legacy(1), "2", "echo").await.text();
    });
}

#[test]
fn a_line_beyond_the_bound_fails_its_call_and_no_other() {
    let server = python(
        "py",
        &format!(
            "{}\n{}",
            r#"
if m.get("method") == "tools/call" and m["params"]["name"] == "big":
    say(m["id"], {"x": "y" * 3000000}); continue
if m.get("method") == "tools/call" and m["params"]["name"] == "noise":
    print("Server listening on port 80"); print(); sys.stdout.flush()"#,
            ECHO.trim_start()
        ),
    );
    world(vec![server], |world| async move {
        world.ready(0).await;
        let fault = world.tool(0, &legacy(1), "1", "big").await.fault();
        assert!(fault.contains("max_message_size"), "{fault}");
        world.tool(0, &legacy(1), "2", "noise").await.text();
        assert_eq!(world.ready(0).await.restarts, 0);
    });
}

#[test]
fn progress_cancellation_and_requests_find_their_call() {
    let server = python(
        "py",
        r#"
if basics(m): pass
elif m.get("method") == "tools/call" and m["params"]["name"] == "slow":
    send({"jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": m["params"]["_meta"]["progressToken"], "progress": 1}})
    send({"jsonrpc": "2.0", "id": "e1", "method": "elicitation/create", "params": {}})
    waiting = m["id"]
elif m.get("method") == "tools/call":
    say(m["id"], {"cancelled": globals().get("cancelled"), "waiting": globals().get("waiting")})
elif m.get("id") == "e1": say(waiting, {"got": m.get("result"), "err": m.get("error")})
elif m.get("method") == "notifications/cancelled": cancelled = m["params"]["requestId"]
"#,
    );
    world(vec![server], |world| async move {
        world.ready(0).await;
        let mut events = world.call(0, &legacy(1), &tool_call("\"t\"", "slow", "{}"));
        assert!(next(&mut events).await.contains(r#""progressToken": "t""#));
        let Some(Event::Request { answer, .. }) = events.recv().await else {
            panic!("a request");
        };
        assert_eq!(answer.id, "\"e1\"");
        let reply = r#"{"jsonrpc":"2.0","id":"e1","result":{"action":"accept"}}"#;
        answer.sender.try_send(reply.into()).unwrap();
        assert!(end(events).await.text().contains("accept"));

        let mut events = world.call(0, &legacy(1), &tool_call("\"u\"", "slow", "{}"));
        next(&mut events).await;
        drop(events);
        sleep(Duration::from_millis(100)).await;
        let text = world.tool(0, &legacy(1), "3", "state").await.text();
        let word = |name: &str| {
            let rest = text.split(&format!("\"{name}\": ")).nth(1).unwrap();
            rest.split([',', '}']).next().unwrap().to_owned()
        };
        assert_eq!(word("cancelled"), word("waiting"), "{text}");
    });
}

async fn next(events: &mut Receiver<Event>) -> String {
    match events.recv().await {
        Some(Event::Notification(message)) => String::from_utf8(message.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn isolated_clients_get_a_process_each() {
    let mut server = python("py", ECHO);
    server.isolate = Isolate::Session;
    world(vec![server], |world| async move {
        world.ready(0).await;
        let mut pids = Vec::new();
        for session in [1, 2, 1] {
            let text = world.tool(0, &legacy(session), "1", "echo").await.text();
            pids.push(text.split("\"pid\": ").nth(1).unwrap().to_owned());
        }
        assert_eq!(pids[0], pids[2]);
        assert_ne!(pids[0], pids[1]);
        world.end_session(0, 1);
        sleep(Duration::from_millis(50)).await;
        let text = world.tool(0, &legacy(1), "1", "echo").await.text();
        assert!(!text.contains(&pids[0]));
    });
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let mut server = python("py", ECHO);
    if let ringway::config::McpTarget::Stdio { command, .. } = &mut server.target {
        *command = "no-such-program-anywhere".to_owned();
    }
    world(vec![server, python("other", ECHO)], |world| async move {
        let reason = world.down(0).await;
        assert!(reason.contains("no-such-program-anywhere"), "{reason}");
        let fault = world.tool(0, &legacy(1), "1", "echo").await.fault();
        assert!(fault.contains("no-such-program"), "{fault}");
        world.ready(1).await;
        world.tool(1, &legacy(1), "1", "echo").await.text();
    });
}

#[test]
fn a_child_that_never_answers_is_given_up_in_time() {
    let mut server = python("py", "continue");
    server.timeouts.connect = Duration::from_millis(700);
    world(vec![server], |world| async move {
        let reason = world.down(0).await;
        assert!(reason.contains("0.7 s"), "{reason}");
    });
}

#[test]
fn lists_are_fetched_again_when_the_server_says_so() {
    let server = python(
        "py",
        r#"
if m.get("method") == "tools/list":
    n = globals().get("n", 0) + 1
    say(m["id"], {"tools": [{"name": "t%d" % i} for i in range(n)]})
elif basics(m): pass
elif m.get("method") == "tools/call":
    send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    say(m["id"], {})
"#,
    );
    world(vec![server], |world| async move {
        assert_eq!(world.ready(0).await.tools.len(), 1);
        world.tool(0, &legacy(1), "1", "grow").await.text();
        world.until(0, |state| state.tools.len() == 2).await;
    });
}

#[test]
fn a_child_of_both_eras_serves_clients_of_both_with_a_process_each() {
    let server = python(
        "py",
        r#"
if m.get("method") == "server/discover":
    say(m["id"], {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
elif m.get("method") == "initialize":
    basics(m); mode = "legacy"
elif m.get("method") == "tools/call":
    say(m["id"], {"mode": globals().get("mode", "modern")})
elif basics(m): pass
"#,
    );
    world(vec![server], |world| async move {
        let state = world.ready(0).await;
        assert!(state.speaks(Era::Modern) && state.speaks(Era::Legacy));
        let text = world.tool(0, &legacy(1), "1", "echo").await.text();
        assert!(text.contains("\"mode\": \"legacy\""), "{text}");
        let text = world.tool(0, &modern(), "1", "echo").await.text();
        assert!(text.contains("\"mode\": \"modern\""), "{text}");
    });
}

#[test]
fn many_children_start_a_few_at_a_time_and_all_of_them() {
    let servers = (0..24).map(|n| python(&format!("py{n}"), ECHO)).collect();
    world(servers, |world| async move {
        for server in 0..24 {
            world.ready(server).await;
        }
        world.tool(23, &legacy(1), "1", "echo").await.text();
    });
}
