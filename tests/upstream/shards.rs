//! Two shards: calls from the one that does not own a server, and a client that comes to both.

use std::sync::Arc;
use std::sync::Barrier;
use std::time::Duration;

use ringway::handler::mcp::link::Event;
use ringway::net::across;
use ringway::net::sleep;

use crate::fake::{Fake, python};
use crate::world::{Ends, end, legacy, shard, shards, tool_call};

/// Waits for the other thread without holding up this one's runtime.
async fn meet(barrier: &Arc<Barrier>) {
    let (sender, receiver) = across::bounded::<()>(1);
    let barrier = Arc::clone(barrier);
    std::thread::spawn(move || {
        barrier.wait();
        drop(sender);
    });
    let _ = receiver.recv().await;
}

#[test]
fn a_child_serves_the_shard_that_does_not_own_it() {
    let server = python(
        "py",
        r#"
if basics(m): pass
elif m.get("method") == "tools/call" and m["params"]["name"] == "ask":
    send({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}})
    asked = m["id"]
elif m.get("method") == "tools/call" and m["params"]["name"] == "hang": hanging = m["id"]
elif m.get("method") == "tools/call": say(m["id"], {"gone": globals().get("gone")})
elif m.get("id") == 1: say(asked, m["result"])
elif m.get("method") == "notifications/cancelled":
    gone = m["params"]["requestId"] == hanging
"#,
    );
    let both = Arc::new(Barrier::new(2));
    let (owner, other) = (Arc::clone(&both), both);
    let (first, second) = (server.clone(), server);
    shards(vec![
        Box::new(move |ends: Ends| {
            shard(ends, vec![first], |world| async move {
                world.ready(0).await;
                meet(&owner).await;
            });
        }),
        Box::new(move |ends: Ends| {
            shard(ends, vec![second], |world| async move {
                world.ready(0).await;
                let mut events = world.call(0, &legacy(1), &tool_call("\"a\"", "ask", "{}"));
                let Some(Event::Request { answer, .. }) = events.recv().await else {
                    panic!("a request");
                };
                let reply = r#"{"jsonrpc":"2.0","id":1,"result":{"ok":true}}"#;
                answer.sender.try_send(reply.into()).unwrap();
                assert!(end(events).await.text().contains("\"ok\": true"));
                let hanging = world.call(0, &legacy(1), &tool_call("2", "hang", "{}"));
                sleep(Duration::from_millis(50)).await;
                drop(hanging);
                sleep(Duration::from_millis(50)).await;
                let text = world.tool(0, &legacy(1), "3", "state").await.text();
                assert!(text.contains("\"gone\": true"), "{text}");
                meet(&other).await;
            });
        }),
    ]);
}

#[test]
fn a_client_has_one_session_at_a_server_whichever_shard_it_comes_to() {
    let fake = Fake::with_sessions();
    let both = Arc::new(Barrier::new(2));
    let (texts, heard) = std::sync::mpsc::channel();
    let tests = (0..2)
        .map(|_| {
            let (both, server, texts) = (Arc::clone(&both), fake.server("web"), texts.clone());
            Box::new(move |ends: Ends| {
                shard(ends, vec![server], |world| async move {
                    world.ready(0).await;
                    meet(&both).await;
                    for client in [4, 5] {
                        let text = world.tool(0, &legacy(client), "9", "echo").await.text();
                        texts.send((client, text)).unwrap();
                    }
                    meet(&both).await;
                });
            }) as Box<dyn FnOnce(Ends) + Send>
        })
        .collect();
    drop(texts);
    shards(tests);
    let texts: Vec<_> = heard.iter().collect();
    for client in [4, 5] {
        let mut of_client = texts.iter().filter(|(who, _)| *who == client);
        let (first, second) = (of_client.next().unwrap(), of_client.next().unwrap());
        assert_eq!(first.1, second.1, "client {client}");
    }
    assert_eq!(
        fake.of("initialize").len(),
        3,
        "one for the owner, one for each client"
    );
}
