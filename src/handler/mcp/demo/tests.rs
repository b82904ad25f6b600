//! The demo's link on a clock of its own: no runtime, no sockets.

use std::collections::BTreeSet;
use std::task::{Context, Waker};

use super::super::tasks::Task;
use super::*;
use crate::mcp::revision::Revision;
use crate::mcp::scan::Message;
use crate::mcp::vocabulary::ClientCapabilities;
use crate::net::across;

/// Shards without threads: their tasks are polled in turn, time moves when told.
struct Lab {
    tasks: Rc<RefCell<Vec<Task>>>,
    now: Rc<Cell<Duration>>,
    links: Vec<Rc<DemoLink>>,
    mailboxes: Vec<across::Receiver<PeerMessage>>,
}

impl Lab {
    fn new(shards: u16) -> Self {
        let queue: Rc<RefCell<Vec<Task>>> = Rc::default();
        let now: Rc<Cell<Duration>> = Rc::default();
        let tasks = tasks(&queue, &now);
        let mut lab = Self {
            tasks: queue,
            now,
            links: Vec::new(),
            mailboxes: Vec::new(),
        };
        let wires = Wire::connect(shards);
        for (wire, (peers, mailbox)) in wires.into_iter().zip(Peers::connect(shards)) {
            lab.mailboxes.push(mailbox);
            lab.links.push(DemoLink::start(Parts {
                demo: Demo::new(&[3; 32]),
                id: ServerId(7),
                name: "demo".into(),
                wire,
                peers,
                tasks: tasks.clone(),
            }));
        }
        lab
    }

    /// Polls every task until nothing more happens, then lets that time pass and does it again.
    fn pass(&self, time: Duration) {
        for step in 0..2 {
            if step == 1 {
                self.now.set(self.now.get() + time);
            }
            for _ in 0..50 {
                let mut cx = Context::from_waker(Waker::noop());
                let mut tasks = std::mem::take(&mut *self.tasks.borrow_mut());
                tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
                self.tasks.borrow_mut().append(&mut tasks);
            }
        }
    }

    fn events(&self, shard: usize) -> Vec<ServerEvent> {
        let mut events = Vec::new();
        while let Ok(message) = self.mailboxes[shard].try_recv() {
            match message {
                PeerMessage::Server(event) => events.push(event),
                other => panic!("{other:?}"),
            }
        }
        events
    }

    fn tools(&self, shard: usize) -> BTreeSet<String> {
        match self.events(shard).pop() {
            Some(ServerEvent::Changed(state)) => {
                assert_eq!(state.status, Status::Ready);
                state
                    .tools
                    .iter()
                    .map(|tool| tool.key.to_string())
                    .collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn running(&self, shard: usize) -> usize {
        self.links[shard].shared.running.get()
    }
}

fn tasks(queue: &Rc<RefCell<Vec<Task>>>, now: &Rc<Cell<Duration>>) -> Tasks {
    let (queue, now) = (Rc::clone(queue), Rc::clone(now));
    Tasks::new(
        move |task| queue.borrow_mut().push(task),
        move |time| {
            let now = Rc::clone(&now);
            let end = now.get() + time;
            Box::pin(poll_fn(move |_| {
                if now.get() >= end {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }))
        },
    )
}

fn client(revision: Revision) -> Rc<Client> {
    Rc::new(Client {
        revision,
        capabilities: ClientCapabilities {
            roots: true,
            sampling: true,
            elicitation_form: true,
            ..ClientCapabilities::default()
        },
        session: None,
        info: Bytes::new(),
        log_level: None,
    })
}

fn call(client: &Rc<Client>, tool: &str, rest: &str) -> Call {
    let params = format!(r#"{{"name":"{tool}"{rest}}}"#);
    let json = format!(r#"{{"jsonrpc":"2.0","id":"c1","method":"tools/call","params":{params}}}"#);
    let parts = Message::scan(json.as_bytes()).unwrap();
    Call {
        message: Bytes::from(json),
        parts,
        method: parts.method.unwrap(),
        name: Some(tool.into()),
        client: Rc::clone(client),
    }
}

fn stream(reply: Reply) -> Receiver<Event> {
    match reply {
        Reply::Stream(receiver) => receiver,
        other => panic!("{other:?}"),
    }
}

fn complete(reply: Reply) -> String {
    match reply {
        Reply::Complete(outcome) => String::from_utf8(outcome.message.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_plain_call_is_answered_at_once_with_the_clients_id() {
    let lab = Lab::new(1);
    let legacy = client(Revision::V2025_11_25);
    let reply = lab.links[0].call(call(&legacy, "echo", r#","arguments":{"message":"hi"}"#));
    assert_eq!(
        complete(reply),
        r#"{"jsonrpc":"2.0","id":"c1","result":{"content":[{"type":"text","text":"hi"}]}}"#
    );
    match lab.links[0].call(call(&legacy, "nope", "")) {
        Reply::Complete(outcome) => assert_eq!(outcome.error, Some(-32602)),
        other => panic!("{other:?}"),
    }
    // Asked for no messages, so there is nothing to stream.
    let modern = client(Revision::V2026_07_28);
    assert!(complete(lab.links[0].call(call(&modern, "log", ""))).contains("Sent nothing"));
}

#[test]
fn progress_comes_as_time_passes_and_then_the_answer() {
    let lab = Lab::new(1);
    let rest = r#","arguments":{"seconds":3,"steps":3},"_meta":{"progressToken":"p"}"#;
    let legacy = client(Revision::V2025_11_25);
    let mut events = stream(lab.links[0].call(call(&legacy, "slow", rest)));
    for step in 1..=3 {
        lab.pass(Duration::ZERO);
        assert!(events.try_recv().is_none(), "nothing before its time");
        lab.pass(SECOND);
        match events.try_recv() {
            Some(Event::Notification(message)) => {
                let text = String::from_utf8(message.to_vec()).unwrap();
                assert!(text.contains(&format!("\"progress\":{step},")), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    lab.pass(Duration::ZERO);
    assert!(matches!(events.try_recv(), Some(Event::Response(outcome)) if outcome.error.is_none()));
    assert!(events.try_recv().is_none());
    assert_eq!(lab.running(0), 0);
}

#[test]
fn a_client_that_goes_ends_its_call_at_once() {
    let lab = Lab::new(1);
    let legacy = client(Revision::V2025_11_25);
    let slow = stream(lab.links[0].call(call(&legacy, "slow", "")));
    let asking = stream(lab.links[0].call(call(&legacy, "ask_user", "")));
    lab.pass(Duration::ZERO);
    assert_eq!(lab.running(0), 2);
    drop((slow, asking));
    lab.pass(Duration::ZERO);
    assert_eq!(lab.running(0), 0);
}

#[test]
fn calls_under_way_are_bounded() {
    let lab = Lab::new(1);
    let legacy = client(Revision::V2025_11_25);
    lab.links[0].shared.running.set(RUNNING_MAX - 1);
    let last = stream(lab.links[0].call(call(&legacy, "slow", "")));
    assert!(matches!(
        lab.links[0].call(call(&legacy, "slow", "")),
        Reply::Failed(Fault::Overloaded { .. })
    ));
    drop(last);
    lab.pass(Duration::ZERO);
    assert_eq!(lab.running(0), RUNNING_MAX - 1);
}

/// Starts `ask_model` and returns where the answer goes and where events come from.
fn question(lab: &Lab) -> (Answer, Receiver<Event>) {
    let legacy = client(Revision::V2025_11_25);
    let rest = r#","arguments":{"question":"Why?"}"#;
    let mut events = stream(lab.links[0].call(call(&legacy, "ask_model", rest)));
    lab.pass(Duration::ZERO);
    match events.try_recv() {
        Some(Event::Request { message, answer }) => {
            let parts = Message::scan(&message).unwrap();
            assert_eq!(parts.id.of(&message), &*answer.id);
            assert_eq!(parts.method_text.of(&message), b"sampling/createMessage");
            (answer, events)
        }
        other => panic!("{other:?}"),
    }
}

fn said(lab: &Lab, mut events: Receiver<Event>) -> String {
    lab.pass(Duration::ZERO);
    match events.try_recv() {
        Some(Event::Response(outcome)) => String::from_utf8(outcome.message.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_answered_refused_declined_or_forgotten() {
    let lab = Lab::new(1);
    for (response, expected) in [
        (
            r#"{"result":{"content":{"type":"text","text":"because"}}}"#,
            "\"because\"",
        ),
        (
            r#"{"error":{"code":-1,"message":"not \"now\""}}"#,
            r#"it answered not \"now\""#,
        ),
        (r#"{"error":{}}"#, "it answered with an error"),
        ("{}", "its answer has no result"),
    ] {
        let (answer, events) = question(&lab);
        answer.sender.try_send(Bytes::from(response)).unwrap();
        let said = said(&lab, events);
        assert!(said.contains(expected), "{said}");
    }
    let (answer, events) = question(&lab);
    drop(answer);
    assert!(said(&lab, events).contains("it declined"));
    let (answer, events) = question(&lab);
    lab.pass(ANSWER_TIMEOUT);
    assert!(said(&lab, events).contains("it took too long"));
    drop(answer);
    assert_eq!(lab.running(0), 0);
}

#[test]
fn a_list_change_on_one_shard_reaches_all_and_a_second_one_takes_it_back() {
    let lab = Lab::new(3);
    let modern = client(Revision::V2026_07_28);
    let before = lab.tools(0);
    assert!(!before.contains("test_dynamic_tool"));
    for (shard, is_there) in [(1, true), (2, false), (0, true)] {
        let events = stream(lab.links[shard].call(call(&modern, "test_trigger_tool_change", "")));
        assert!(said(&lab, events).contains("has changed"));
        for shard in 0..3 {
            let tools = lab.tools(shard);
            assert_eq!(tools.contains("test_dynamic_tool"), is_there, "{shard}");
        }
    }
}

#[test]
fn the_clock_ticks_while_someone_watches() {
    let lab = Lab::new(1);
    let legacy = client(Revision::V2025_11_25);
    let watch = |watching| lab.links[0].watch(&legacy, "demo://clock", watching);
    lab.pass(Duration::ZERO);
    lab.events(0);
    watch(true);
    watch(true);
    for _ in 0..3 {
        lab.pass(2 * SECOND);
        match &lab.events(0)[..] {
            [
                ServerEvent::ResourceUpdated {
                    server,
                    uri,
                    message,
                    ..
                },
            ] => {
                assert_eq!((*server, &**uri), (ServerId(7), "demo://clock"));
                assert!(Message::scan(message).is_ok());
            }
            other => panic!("{other:?}"),
        }
    }
    watch(false);
    lab.pass(2 * SECOND);
    assert_eq!(lab.events(0).len(), 1, "one still watches");
    watch(false);
    watch(true);
    lab.pass(2 * SECOND);
    assert_eq!(
        lab.events(0).len(),
        1,
        "gone and back: still one tick at a time"
    );
    watch(false);
    lab.pass(2 * SECOND);
    lab.pass(2 * SECOND);
    assert!(lab.events(0).is_empty());
    assert!(lab.links[0].shared.watched.borrow().is_empty());
    lab.links[0].watch(&legacy, "demo://about", true);
    lab.links[0].watch(&legacy, "test://nope", true);
    let watched = lab.links[0].shared.watched.borrow();
    assert!(watched.is_empty(), "they never change");
}

#[test]
fn a_full_mailbox_is_told_later() {
    let lab = Lab::new(1);
    lab.events(0);
    let peers = &lab.links[0].shared.peers;
    while peers.tell(0, PeerMessage::Listening(SessionKey(0))).is_ok() {}
    let modern = client(Revision::V2026_07_28);
    let events = stream(lab.links[0].call(call(&modern, "test_trigger_tool_change", "")));
    assert!(said(&lab, events).contains("has changed"));
    while lab.mailboxes[0].try_recv().is_ok() {}
    lab.pass(RETRY_PAUSE);
    assert!(lab.tools(0).contains("test_dynamic_tool"));
}
