//! HTTP servers of both eras that misbehave.

use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use ringway::config::Isolate;
use ringway::handler::mcp::link::{Event, Status, Transport};
use ringway::mcp::revision::{Era, Revision};
use ringway::net::sleep;

use crate::fake::{
    Fake, Keep, Seen, begin_events, chunk, end_events, error, json, legacy_basics, respond, result,
};
use crate::world::{end, legacy, modern, tool_call, world};

/// A modern server's parts that are the same in every test.
fn modern_basics(seen: &Seen, stream: &mut std::net::TcpStream) -> Option<Keep> {
    match seen.rpc().as_str() {
        "server/discover" => Some(json(
            stream,
            &result(
                &seen.id(),
                r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#,
            ),
        )),
        "tools/list" => Some(json(
            stream,
            &result(
                &seen.id(),
                r#"{"tools":[{"name":"echo"},{"name":"bad","inputSchema":{"properties":{"a":
                {"type":"number","x-mcp-header":"A"}}}},{"name":"sql","inputSchema":{"properties":
                {"region":{"type":"string","x-mcp-header":"Region"}}}}]}"#,
            ),
        )),
        "subscriptions/listen" | "initialize" => Some(respond(stream, 404, "", "")),
        _ => None,
    }
}

#[test]
fn a_modern_server_gets_its_headers_and_the_message_as_it_was() {
    let fake = Fake::http(|seen, stream| {
        modern_basics(seen, stream)
            .unwrap_or_else(|| json(stream, &result(&seen.id(), r#"{"n": 1.0}"#)))
    });
    world(vec![fake.server("web")], |world| async move {
        let state = world.ready(0).await;
        assert_eq!(state.revisions, [Revision::V2026_07_28]);
        let names: Vec<_> = state.tools.iter().map(|tool| &*tool.key).collect();
        assert_eq!(names, ["echo", "sql"], "the invalid annotation is left out");
        let sent = tool_call("\"a\\u0062\"", "sql", r#"{"region":"caf\u00e9",  "q":1}"#);
        let end = end(world.call(0, &modern(), &sent)).await;
        assert_eq!(
            end.text(),
            r#"{"jsonrpc":"2.0","id":"a\u0062","result":{"n": 1.0}}"#
        );
        let seen = fake.of("tools/call").pop().unwrap();
        assert_eq!(seen.body, sent);
        for (name, value) in [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "sql"),
            ("mcp-param-region", "=?base64?Y2Fmw6k=?="),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("x-key", "k"),
        ] {
            assert_eq!(seen.header(name), Some(value), "{name}");
        }
        assert_eq!(seen.header("mcp-session-id"), None);
        let fault = world.tool(0, &legacy(1), "1", "echo").await.fault();
        assert!(fault.contains("speaks 2026-07-28"), "{fault}");
    });
}

#[test]
fn a_modern_error_answer_passes_whatever_its_status() {
    let fake = Fake::http(|seen, stream| {
        modern_basics(seen, stream).unwrap_or_else(|| {
            let answer = error("null", -32021, "needs elicitation");
            respond(stream, 400, "Content-Type: application/json\r\n", &answer)
        })
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        let end = world.tool(0, &modern(), "5", "echo").await;
        assert_eq!(end.outcome.as_ref().unwrap().error, Some(-32021));
        assert!(end.text().contains(r#""id":5"#));
    });
}

#[test]
fn a_header_mismatch_has_the_tools_listed_again_and_is_retried_once() {
    static LISTS: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::http(|seen, stream| match seen.rpc().as_str() {
        "tools/list" => {
            let header = if LISTS.fetch_add(1, SeqCst) == 0 {
                "Old"
            } else {
                "New"
            };
            let tool = format!(
                r#"{{"tools":[{{"name":"t","inputSchema":{{"properties":{{"a":
                {{"type":"string","x-mcp-header":"{header}"}}}}}}}}]}}"#
            );
            json(stream, &result(&seen.id(), &tool))
        }
        "tools/call" if seen.header("mcp-param-new").is_none() => {
            let answer = error(&seen.id(), -32020, "Header mismatch");
            respond(stream, 400, "Content-Type: application/json\r\n", &answer)
        }
        "tools/call" => json(stream, &result(&seen.id(), "{}")),
        _ => modern_basics(seen, stream).unwrap(),
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        let call = tool_call("1", "t", r#"{"a":"x"}"#);
        let text = end(world.call(0, &modern(), &call)).await.text();
        assert!(text.contains("result"), "{text}");
        assert_eq!(fake.of("tools/call").len(), 2);
    });
}

#[test]
fn a_legacy_server_is_found_and_each_client_gets_a_session_of_its_own() {
    let fake = Fake::with_sessions();
    world(vec![fake.server("web")], |world| async move {
        let state = world.ready(0).await;
        assert_eq!(state.revisions, [Revision::V2025_06_18]);
        assert_eq!(state.tools[0].raw, r#"{"name":"echo", "inputSchema":{} }"#);
        let mut texts = Vec::new();
        for client in [1, 2, 1] {
            texts.push(world.tool(0, &legacy(client), "9", "echo").await.text());
        }
        assert_eq!(texts[0], r#"{"jsonrpc":"2.0","id":9,"result":{"s":"s1"}}"#);
        assert!(texts[1].contains("s2") && texts[0] == texts[2]);
        let seen = fake.of("tools/call").pop().unwrap();
        assert_eq!(seen.header("mcp-protocol-version"), Some("2025-06-18"));
        assert_eq!(seen.header("mcp-method"), None);
        let initialize = fake.of("initialize").pop().unwrap();
        assert!(initialize.body.contains(r#""elicitation":{"form":{}}"#));
        assert!(initialize.body.contains(r#""clientInfo":{"name":"test""#));
        world.end_session(0, 1);
        sleep(Duration::from_millis(100)).await;
        let seen = fake.seen.lock().unwrap().clone();
        let deleted = seen.iter().rfind(|seen| seen.method == "DELETE");
        assert_eq!(deleted.unwrap().header("mcp-session-id"), Some("s1"));
    });
}

#[test]
fn a_lost_session_is_made_anew_and_the_call_goes_through() {
    static SESSIONS: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::http(|seen, stream| {
        let session = match seen.rpc().as_str() {
            "initialize" => format!("s{}", SESSIONS.fetch_add(1, SeqCst)),
            _ => String::new(),
        };
        legacy_basics(seen, stream, &session).unwrap_or_else(|| {
            if seen.header("mcp-session-id") == Some("s1") {
                return respond(stream, 404, "", "session not found");
            }
            json(stream, &result(&seen.id(), "{}"))
        })
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        world.tool(0, &legacy(1), "1", "echo").await.text();
        assert_eq!(fake.of("tools/call").len(), 2);
        assert_eq!(fake.of("initialize").len(), 3);
    });
}

#[test]
fn without_session_ids_clients_share_and_their_ids_do_not_meet() {
    let fake = Fake::http(|seen, stream| {
        legacy_basics(seen, stream, "").unwrap_or_else(|| {
            let id = seen.id();
            let token = seen.body.split("progressToken\":").nth(1).unwrap();
            let token = token.split('}').next().unwrap();
            assert_eq!(token, id);
            begin_events(stream);
            chunk(
                stream,
                &format!(
                    "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\n\
                     data: \"params\":{{\"progressToken\":{token},\"progress\":1}}}}\n\n"
                ),
            );
            let answer = format!("event: message\ndata: {}\n\n", result(&id, "{}"));
            // An event cut into pieces, also within the framing of the stream.
            for piece in answer.as_bytes().chunks(7) {
                chunk(stream, std::str::from_utf8(piece).unwrap());
            }
            end_events(stream)
        })
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        let one = world.call(0, &legacy(1), &tool_call("\"x\"", "echo", "{}"));
        let two = world.call(0, &legacy(2), &tool_call("\"x\"", "echo", "{}"));
        for events in [one, two] {
            let end = end(events).await;
            assert_eq!(end.notifications.len(), 1);
            assert!(end.notifications[0].contains(r#""progressToken":"x""#));
            assert!(end.text().contains(r#""id":"x""#));
        }
        let ids: Vec<_> = fake.of("tools/call").iter().map(Seen::id).collect();
        assert_ne!(ids[0], ids[1]);
    });
}

#[test]
fn a_server_of_both_eras_serves_clients_of_both() {
    let fake = Fake::http(|seen, stream| match seen.rpc().as_str() {
        "server/discover" => json(
            stream,
            &result(
                &seen.id(),
                r#"{"supportedVersions":["2026-07-28","2025-06-18"],"capabilities":{"tools":{}}}"#,
            ),
        ),
        "tools/call" if seen.header("mcp-method").is_some() => {
            json(stream, &result(&seen.id(), r#"{"era":"modern"}"#))
        }
        "tools/call" => json(stream, &result(&seen.id(), r#"{"era":"legacy"}"#)),
        _ => legacy_basics(seen, stream, "s").unwrap_or_else(|| respond(stream, 404, "", "")),
    });
    world(vec![fake.server("web")], |world| async move {
        let state = world.ready(0).await;
        assert!(state.speaks(Era::Modern) && state.speaks(Era::Legacy));
        assert!(
            world
                .tool(0, &modern(), "1", "x")
                .await
                .text()
                .contains("modern")
        );
        assert!(
            world
                .tool(0, &legacy(1), "1", "x")
                .await
                .text()
                .contains("legacy")
        );
    });
}

#[test]
fn a_dual_era_server_that_knows_only_older_revisions_is_initialized() {
    let fake = Fake::http(|seen, stream| match seen.rpc().as_str() {
        "server/discover" => respond(
            stream,
            400,
            "Content-Type: application/json\r\n",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"no","data":
            {"supported":["2025-06-18"],"requested":"2026-07-28"}}}"#,
        ),
        _ => legacy_basics(seen, stream, "").unwrap_or_else(|| respond(stream, 404, "", "")),
    });
    world(vec![fake.server("web")], |world| async move {
        assert_eq!(world.ready(0).await.revisions, [Revision::V2025_06_18]);
    });
}

#[test]
fn what_is_not_mcp_becomes_a_reason() {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::http(|seen, stream| {
        if let Some(keep) = modern_basics(seen, stream) {
            return keep;
        }
        let html = "Content-Type: text/html\r\n";
        let typed = "Content-Type: application/json\r\n";
        match TURN.fetch_add(1, SeqCst) {
            0 => respond(stream, 200, html, "<h1>Welcome\nto nginx</h1>"),
            1 => respond(stream, 502, html, "<h1>Bad Gateway</h1>"),
            2 => respond(stream, 401, "", ""),
            3 => json(stream, "{\"jsonrpc\":\"2.0\",\"id\":1,\"resu"),
            4 => respond(stream, 307, "Location: http://evil.example/mcp\r\n", ""),
            5 => json(stream, &format!("{{\"x\":\"{}\"}}", "y".repeat(2 << 20))),
            6 => {
                let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n");
                Keep::Close
            }
            7 => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
                while stream
                    .write_all(b"X-Filler: endless endless endless\r\n")
                    .is_ok()
                {}
                Keep::Close
            }
            8 => respond(stream, 202, "", ""),
            9 => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                            Content-Length: 500\r\n\r\n{\"jsonrpc\"";
                let _ = stream.write_all(head.as_bytes());
                Keep::Close
            }
            10 => {
                begin_events(stream);
                chunk(stream, ": nothing\n\n");
                end_events(stream)
            }
            11 => respond(stream, 429, typed, ""),
            _ => Keep::Close,
        }
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        for words in [
            ["text/html", "Welcome to nginx"],
            ["502", "Bad Gateway"],
            ["401", "Authorization"],
            ["invalid answer", "JSON"],
            ["http://evil.example/mcp", "same origin"],
            ["larger than", "1048576"],
            ["not HTTP", "malformed"],
            ["not HTTP", "head"],
            ["accepted", "without answering"],
            ["unavailable", "closed within its answer"],
            ["event stream ended", "may have run"],
            ["busy", "429"],
            ["may have been carried out", "web"],
        ] {
            let fault = world.tool(0, &modern(), "1", "echo").await.fault();
            for word in words {
                assert!(fault.contains(word), "{fault} has no {word}");
            }
        }
    });
}

#[test]
fn a_dead_kept_connection_does_not_lose_a_request() {
    let fake = Fake::http(|seen, stream| {
        let keep =
            modern_basics(seen, stream).unwrap_or_else(|| json(stream, &result(&seen.id(), "{}")));
        // Closes after each answer without having said so.
        let _ = stream.shutdown(Shutdown::Both);
        let _ = keep;
        Keep::Close
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        for _ in 0..200 {
            world.tool(0, &modern(), "1", "echo").await.text();
        }
        assert_eq!(fake.of("tools/call").len(), 200);
    });
}

#[test]
fn connections_are_kept_and_used_again() {
    static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::http(|seen, stream| {
        if seen.rpc() == "server/discover" {
            CONNECTIONS.fetch_add(1, SeqCst);
        }
        modern_basics(seen, stream).unwrap_or_else(|| {
            let port = stream.peer_addr().unwrap().port();
            json(stream, &result(&seen.id(), &format!("{{\"port\":{port}}}")))
        })
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        let first = world.tool(0, &modern(), "1", "echo").await.text();
        for _ in 0..10 {
            assert_eq!(world.tool(0, &modern(), "1", "echo").await.text(), first);
        }
    });
}

#[test]
fn each_time_limit_ends_a_call_and_progress_resets_the_idle_one() {
    let fake = Fake::http(|seen, stream| {
        if let Some(keep) = modern_basics(seen, stream) {
            return keep;
        }
        let progress = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\
                        \"params\":{\"progressToken\":1,\"progress\":1}}\n\n";
        let pause = || std::thread::sleep(Duration::from_millis(250));
        match seen.header("mcp-name").unwrap() {
            "silent" => std::thread::sleep(Duration::from_secs(3)),
            "stall" => {
                begin_events(stream);
                chunk(stream, progress);
                for _ in 0..8 {
                    chunk(stream, ": still here\n\n");
                    pause();
                }
            }
            "endless" => {
                begin_events(stream);
                for _ in 0..20 {
                    chunk(stream, progress);
                    pause();
                }
            }
            _ => {
                begin_events(stream);
                for _ in 0..4 {
                    chunk(stream, progress);
                    pause();
                }
                chunk(stream, &format!("data: {}\n\n", result(&seen.id(), "{}")));
                return end_events(stream);
            }
        }
        Keep::Close
    });
    let mut server = fake.server("web");
    server.timeouts.first_byte = Duration::from_millis(400);
    server.timeouts.idle = Duration::from_millis(400);
    server.timeouts.total = Duration::from_millis(1500);
    world(vec![server], |world| async move {
        world.ready(0).await;
        let end = world.tool(0, &modern(), "1", "slow").await;
        assert_eq!(end.notifications.len(), 4);
        end.text();
        for (tool, word) in [
            ("silent", "no answer within 0.4 s"),
            ("stall", "no message within 0.4 s"),
            ("endless", "longer than 1.5 s"),
        ] {
            let fault = world.tool(0, &modern(), "1", tool).await.fault();
            assert!(
                fault.contains(word) && fault.contains("timed out"),
                "{fault}"
            );
        }
    });
}

#[test]
fn a_client_that_goes_away_closes_a_modern_stream_and_cancels_a_legacy_call() {
    let fake = Fake::http(|seen, stream| {
        legacy_basics(seen, stream, "").unwrap_or_else(|| {
            begin_events(stream);
            chunk(stream, ": wait\n\n");
            std::thread::sleep(Duration::from_millis(300));
            Keep::Close
        })
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        let events = world.call(0, &legacy(1), &tool_call("1", "echo", "{}"));
        sleep(Duration::from_millis(100)).await;
        drop(events);
        sleep(Duration::from_millis(100)).await;
        let id = fake.of("tools/call").pop().unwrap().id();
        let cancelled = fake.of("notifications/cancelled").pop().unwrap();
        assert!(cancelled.body.contains(&format!("\"requestId\":{id}")));
    });
}

#[test]
fn requests_of_the_server_come_over_the_calls_stream_and_are_answered_by_post() {
    let fake = Fake::http(|seen, stream| {
        if let Some(keep) = legacy_basics(seen, stream, "s") {
            return keep;
        }
        if seen.rpc() != "tools/call" {
            return respond(stream, 202, "", "");
        }
        begin_events(stream);
        for (id, method) in [(1, "ping"), (2, "elicitation/create"), (3, "roots/list")] {
            chunk(
                stream,
                &format!(
                    "data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\
                     \"params\":{{}}}}\n\n"
                ),
            );
        }
        std::thread::sleep(Duration::from_millis(300));
        chunk(stream, &format!("data: {}\n\n", result(&seen.id(), "{}")));
        end_events(stream)
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        let mut events = world.call(0, &legacy(1), &tool_call("1", "echo", "{}"));
        let Some(Event::Request { message, answer }) = events.recv().await else {
            panic!("a request");
        };
        assert!(message.starts_with(b"{\"jsonrpc\":\"2.0\",\"id\":2,"));
        let reply = r#"{"jsonrpc":"2.0","id":2,"result":{"action":"accept"}}"#;
        answer.sender.try_send(reply.into()).unwrap();
        end(events).await.text();
        let posts = fake
            .of("null")
            .into_iter()
            .filter(|seen| seen.method == "POST");
        let mut bodies: Vec<_> = posts.map(|seen| seen.body).collect();
        bodies.sort();
        assert_eq!(bodies.len(), 3);
        assert_eq!(bodies[0], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert_eq!(bodies[1], reply);
        assert!(bodies[2].contains("-32601") && bodies[2].contains("\"id\":3"));
    });
}

#[test]
fn a_polling_server_is_resumed_after_the_wait_it_asks_for() {
    let fake = Fake::http(|seen, stream| {
        if seen.method == "GET" && seen.header("last-event-id") == Some("e7") {
            begin_events(stream);
            let id = "\"c\"";
            chunk(stream, &format!("id: e8\ndata: {}\n\n", result(id, "{}")));
            return end_events(stream);
        }
        legacy_basics(seen, stream, "s").unwrap_or_else(|| {
            begin_events(stream);
            chunk(stream, "id: e7\ndata:\n\nretry: 300\n\n");
            end_events(stream)
        })
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        let began = std::time::Instant::now();
        let text = world.tool(0, &legacy(1), "\"c\"", "echo").await.text();
        assert!(text.contains("\"id\":\"c\""));
        assert!(began.elapsed() >= Duration::from_millis(300));
    });
}

#[test]
fn the_get_stream_tells_of_changes_and_updates() {
    static LISTS: AtomicUsize = AtomicUsize::new(0);
    static SUBSCRIBED: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::http(|seen, stream| {
        if seen.method == "GET" {
            begin_events(stream);
            let note = |name: &str, params: &str| {
                format!(
                    "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/{name}\"{params}}}\n\n"
                )
            };
            while LISTS.load(SeqCst) < 2 {
                std::thread::sleep(Duration::from_millis(10));
            }
            chunk(stream, &note("tools/list_changed", ""));
            while SUBSCRIBED.load(SeqCst) == 0 {
                std::thread::sleep(Duration::from_millis(10));
            }
            chunk(
                stream,
                &note("resources/updated", ",\"params\":{\"uri\":\"u:1\"}"),
            );
            std::thread::sleep(Duration::from_secs(20));
            return Keep::Close;
        }
        match seen.rpc().as_str() {
            "tools/list" => {
                let tools = match LISTS.fetch_add(1, SeqCst) {
                    0 | 1 => r#"{"tools":[{"name":"a"}]}"#,
                    _ => r#"{"tools":[{"name":"a"},{"name":"b"}]}"#,
                };
                json(stream, &result(&seen.id(), tools))
            }
            "resources/subscribe" => {
                assert!(seen.body.contains("u:1"));
                SUBSCRIBED.fetch_add(1, SeqCst);
                json(stream, &result(&seen.id(), "{}"))
            }
            _ => legacy_basics(seen, stream, "s").unwrap_or_else(|| respond(stream, 202, "", "")),
        }
    });
    world(vec![fake.server("web")], |world| async move {
        world.until(0, |state| state.tools.len() == 2).await;
        world.watch(0, "u:1", true);
        assert_eq!(world.update().await, "u:1");
    });
}

#[test]
fn the_modern_listen_stream_tells_of_changes_and_updates() {
    let fake = Fake::http(|seen, stream| match seen.rpc().as_str() {
        "subscriptions/listen" => {
            begin_events(stream);
            if seen.body.contains("u:1") {
                chunk(
                    stream,
                    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\
                     \"params\":{\"uri\":\"u:1\"}}\n\n",
                );
            }
            std::thread::sleep(Duration::from_secs(20));
            Keep::Close
        }
        _ => modern_basics(seen, stream).unwrap_or_else(|| respond(stream, 404, "", "")),
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        world.watch(0, "u:1", true);
        assert_eq!(world.update().await, "u:1");
    });
}

#[test]
fn the_transport_of_2024_is_found_when_both_others_fail() {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    type Line = (Mutex<Sender<String>>, Mutex<Receiver<String>>);
    static LINE: std::sync::OnceLock<Line> = std::sync::OnceLock::new();
    let (sender, receiver) = channel();
    LINE.set((Mutex::new(sender), Mutex::new(receiver)))
        .unwrap();
    let fake = Fake::http(|seen, stream| {
        let (sender, receiver) = LINE.get().unwrap();
        if seen.method == "GET" {
            begin_events(stream);
            chunk(stream, "event: endpoint\ndata: /messages?s=1\n\n");
            for answer in receiver.lock().unwrap().iter() {
                chunk(stream, &format!("event: message\ndata: {answer}\n\n"));
            }
            return Keep::Close;
        }
        if seen.target != "/messages?s=1" {
            return respond(stream, 405, "", "");
        }
        let answer = match seen.rpc().as_str() {
            "initialize" => Some(
                r#"{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{}}"#,
            ),
            "tools/list" => Some(r#"{"tools":[{"name":"old"}]}"#),
            "tools/call" => Some(r#"{"content":[]}"#),
            _ => None,
        };
        if let Some(answer) = answer {
            let _ = sender.lock().unwrap().send(result(&seen.id(), answer));
        }
        respond(stream, 202, "", "")
    });
    world(vec![fake.server("web")], |world| async move {
        let state = world.ready(0).await;
        assert_eq!(state.transport, Transport::HttpSse);
        assert_eq!(state.revisions, [Revision::V2024_11_05]);
        let text = world.tool(0, &legacy(1), "\"q\"", "old").await.text();
        assert!(text.contains("\"id\":\"q\""));
    });
}

#[test]
fn a_server_that_is_down_comes_back_by_itself() {
    static IS_UP: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::http(|seen, stream| {
        if IS_UP.load(SeqCst) == 0 {
            return respond(stream, 503, "", "starting up");
        }
        modern_basics(seen, stream).unwrap_or_else(|| json(stream, &result(&seen.id(), "{}")))
    });
    world(vec![fake.server("web")], |world| async move {
        let reason = world.down(0).await;
        assert!(
            reason.contains("503") && reason.contains("starting up"),
            "{reason}"
        );
        let fault = world.tool(0, &modern(), "1", "echo").await.fault();
        assert!(fault.contains("503"), "{fault}");
        IS_UP.store(1, SeqCst);
        world.ready(0).await;
        world.tool(0, &modern(), "1", "echo").await.text();
        // Down again: the list is kept and marked, the calls say why.
        IS_UP.store(0, SeqCst);
        let fault = world.tool(0, &modern(), "1", "echo").await.fault();
        assert!(fault.contains("503"), "{fault}");
        let state = world
            .until(0, |state| matches!(state.status, Status::Down(_)))
            .await;
        assert_eq!(state.tools.len(), 2);
    });
}

#[test]
fn calls_beyond_the_bound_are_refused_at_once() {
    let fake = Fake::http(|seen, stream| {
        modern_basics(seen, stream).unwrap_or_else(|| {
            std::thread::sleep(Duration::from_millis(300));
            json(stream, &result(&seen.id(), "{}"))
        })
    });
    let mut server = fake.server("web");
    server.max_in_flight = 2;
    server.isolate = Isolate::Shared;
    world(vec![server], |world| async move {
        world.ready(0).await;
        let call = tool_call("1", "echo", "{}");
        let under_way = [
            world.call(0, &modern(), &call),
            world.call(0, &modern(), &call),
        ];
        let fault = end(world.call(0, &modern(), &call)).await.fault();
        assert!(fault.contains("max_in_flight"), "{fault}");
        for events in under_way {
            end(events).await.text();
        }
        world.tool(0, &modern(), "1", "echo").await.text();
    });
}

#[test]
fn a_redirect_within_the_origin_is_followed_and_remembered() {
    let fake = Fake::http(|seen, stream| {
        if seen.target == "/mcp" {
            return respond(stream, 307, "Location: /mcp/\r\n", "");
        }
        modern_basics(seen, stream).unwrap_or_else(|| json(stream, &result(&seen.id(), "{}")))
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        world.tool(0, &modern(), "1", "echo").await.text();
        let seen = fake.seen.lock().unwrap().clone();
        assert_eq!(seen.iter().filter(|seen| seen.target == "/mcp").count(), 1);
    });
}

#[test]
fn a_clients_session_is_listened_to_for_log_messages() {
    static SESSIONS: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::http(|seen, stream| {
        if seen.method == "GET" && seen.header("mcp-session-id") == Some("s1") {
            begin_events(stream);
            chunk(
                stream,
                "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\
                 \"params\":{\"level\":\"info\",\"data\":\"aside\"}}\n\n",
            );
            std::thread::sleep(Duration::from_secs(20));
            return Keep::Close;
        }
        if seen.rpc() == "initialize" {
            let session = SESSIONS.fetch_add(1, SeqCst);
            return respond(
                stream,
                200,
                &format!("Content-Type: application/json\r\nMcp-Session-Id: s{session}\r\n"),
                &result(
                    &seen.id(),
                    r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"logging":{}}}"#,
                ),
            );
        }
        legacy_basics(seen, stream, "").unwrap_or_else(|| json(stream, &result(&seen.id(), "{}")))
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        world.tool(0, &legacy(7), "1", "echo").await.text();
        let (session, message) = world.logged().await;
        assert_eq!(session, Some(7));
        assert!(message.contains("aside"));
    });
}

#[test]
fn what_comes_on_a_clients_own_stream_reaches_that_client() {
    static SESSIONS: AtomicUsize = AtomicUsize::new(0);
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    static ANSWERED: AtomicUsize = AtomicUsize::new(0);
    let wait_for = |counter: &AtomicUsize| {
        while counter.load(SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let fake = Fake::http(move |seen, stream| {
        let session = seen.header("mcp-session-id").unwrap_or_default();
        if seen.method == "GET" && session == "s1" {
            begin_events(stream);
            wait_for(&CALLED);
            let ask = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}"#;
            chunk(stream, &format!("data: {ask}\n\n"));
            std::thread::sleep(Duration::from_secs(20));
            return Keep::Close;
        }
        if seen.method == "POST" && seen.id() == "\"q\"" {
            assert_eq!(session, "s1");
            ANSWERED.fetch_add(1, SeqCst);
            return respond(stream, 202, "", "");
        }
        if seen.rpc() == "resources/subscribe" {
            assert!(session == "s1" && seen.body.contains("u:9"));
            return json(stream, &result(&seen.id(), "{}"));
        }
        let session = match seen.rpc().as_str() {
            "initialize" => format!("s{}", SESSIONS.fetch_add(1, SeqCst)),
            _ => String::new(),
        };
        legacy_basics(seen, stream, &session).unwrap_or_else(|| {
            CALLED.fetch_add(1, SeqCst);
            wait_for(&ANSWERED);
            json(stream, &result(&seen.id(), "{}"))
        })
    });
    world(vec![fake.server("web")], |world| async move {
        world.ready(0).await;
        let mut events = world.call(0, &legacy(1), &tool_call("1", "echo", "{}"));
        let Some(Event::Request { answer, .. }) = events.recv().await else {
            panic!("a request");
        };
        let reply = r#"{"jsonrpc":"2.0","id":"q","result":{"action":"accept"}}"#;
        answer.sender.try_send(reply.into()).unwrap();
        end(events).await.text();
        world.watch(0, "u:9", true);
        for _ in 0..100 {
            sleep(Duration::from_millis(20)).await;
            if !fake.of("resources/subscribe").is_empty() {
                return;
            }
        }
        panic!("the client's session was not subscribed");
    });
}
