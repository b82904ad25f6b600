//! One shard with servers and nothing in front of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringway::base::channel::Receiver;
use ringway::base::log::Logger;
use ringway::config::McpServer;
use ringway::handler::mcp::link::{
    Call, Client, ClientCapabilities, Event, Fault, Link, Outcome, PlannedServer, Reply,
    ServerEvent, ServerId, ServerState, SessionKey, Status,
};
use ringway::handler::mcp::peers::{PeerMessage, Peers};
use ringway::handler::mcp::upstream::{Servers, Shard, Wires};
use ringway::mcp::method::Method;
use ringway::mcp::revision::Revision;
use ringway::mcp::scan::Message;
use ringway::net::across;
use ringway::net::buffers::Buffers;
use ringway::net::process::Spawner;
use ringway::net::resolve::Resolver;
use ringway::net::runtime::Runtime;
use ringway::net::timer::within;
use ringway::net::tls::TlsConnector;
use ringway::upstream::Parts;

/// Largest message in these tests.
pub(crate) const MESSAGE_MAX: usize = 1 << 20;

pub(crate) struct World {
    pub(crate) servers: Rc<Servers>,
    links: Vec<Rc<dyn Link>>,
    mailbox: across::Receiver<PeerMessage>,
    states: RefCell<HashMap<u16, Arc<ServerState>>>,
    pub(crate) updates: RefCell<Vec<String>>,
    logs: RefCell<Vec<(Option<u128>, String)>>,
}

/// Runs a test with these servers; it may not take longer than 30 s.
pub(crate) fn world<F: Future<Output = ()>>(
    servers: Vec<McpServer>,
    test: impl FnOnce(Rc<World>) -> F,
) {
    let wires = Wires::connect(1).pop().unwrap();
    let (peers, mailbox) = Peers::connect(1).pop().unwrap();
    let spawner = Spawner::start(None).unwrap();
    shard((wires, peers, mailbox, spawner), servers, test);
}

/// What one of several shards is started with.
pub(crate) type Ends = (Wires, Peers, across::Receiver<PeerMessage>, Spawner);

/// As many shards as tests are given, each on its thread.
pub(crate) fn shards(tests: Vec<Box<dyn FnOnce(Ends) + Send>>) {
    let count = u16::try_from(tests.len()).unwrap();
    let spawner = Spawner::start(None).unwrap();
    let ends = Wires::connect(count).into_iter().zip(Peers::connect(count));
    let threads: Vec<_> = ends
        .zip(tests)
        .map(|((wires, (peers, mailbox)), test)| {
            let ends = (wires, peers, mailbox, spawner.clone());
            std::thread::spawn(move || test(ends))
        })
        .collect();
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// One shard.
pub(crate) fn shard<F: Future<Output = ()>>(
    (wires, peers, mailbox, spawner): Ends,
    servers: Vec<McpServer>,
    test: impl FnOnce(Rc<World>) -> F,
) {
    let mut runtime = Runtime::build(None).unwrap();
    runtime.block_on(async {
        let (log, _writer) = match std::env::var_os("UPSTREAM_LOG") {
            Some(_) => {
                let (log, writer) =
                    Logger::start(ringway::base::log::Level::Debug, std::io::stderr()).unwrap();
                (log, Some(writer))
            }
            None => (Logger::off(), None),
        };
        let parts = Parts {
            tls: TlsConnector::new().unwrap(),
            resolver: Resolver::start().unwrap(),
            buffers: Buffers::new(),
        };
        let max = std::env::var_os("UPSTREAM_BIG").map_or(MESSAGE_MAX, |_| 64 << 20);
        let shard = Shard::new(wires, peers, log, spawner, parts, max);
        let planned: Vec<PlannedServer> = (0..)
            .zip(servers)
            .map(|(id, config)| PlannedServer {
                id: ServerId(id),
                config: Arc::new(config),
            })
            .collect();
        let servers = Servers::start(shard, &planned);
        let world = Rc::new(World {
            links: servers
                .links()
                .into_iter()
                .map(|(_, _, link)| link)
                .collect(),
            servers,
            mailbox,
            states: RefCell::default(),
            updates: RefCell::default(),
            logs: RefCell::default(),
        });
        let served = Rc::clone(&world.servers);
        ringway::net::spawn(async move { served.serve().await });
        within(Duration::from_secs(30), test(Rc::clone(&world)))
            .await
            .expect("the test is stuck");
        world.servers.stop().await;
    });
}

impl World {
    /// Takes in what the servers have announced, waiting at most that long for it.
    async fn hear(&self, limit: Duration) {
        let message = within(limit, self.mailbox.recv()).await;
        match message {
            Ok(Ok(PeerMessage::Server(ServerEvent::Changed(state)))) => {
                self.states.borrow_mut().insert(state.id.0, state);
            }
            Ok(Ok(PeerMessage::Server(ServerEvent::Logged {
                session, message, ..
            }))) => {
                let text = String::from_utf8(message.to_vec()).unwrap();
                let session = session.map(|session| session.0);
                self.logs.borrow_mut().push((session, text));
            }
            Ok(Ok(PeerMessage::Server(ServerEvent::ResourceUpdated { uri, .. }))) => {
                self.updates.borrow_mut().push(uri.into());
            }
            _ => {}
        }
    }

    /// Waits until a server's state is as wanted.
    pub(crate) async fn until(
        &self,
        server: u16,
        wanted: impl Fn(&ServerState) -> bool,
    ) -> Arc<ServerState> {
        for _ in 0..300 {
            let state = self.states.borrow().get(&server).cloned();
            if let Some(state) = state.filter(|state| wanted(state)) {
                return state;
            }
            self.hear(Duration::from_millis(100)).await;
        }
        panic!("never as wanted: {:?}", self.states.borrow().get(&server));
    }

    pub(crate) async fn ready(&self, server: u16) -> Arc<ServerState> {
        self.until(server, |state| state.status == Status::Ready)
            .await
    }

    pub(crate) async fn down(&self, server: u16) -> String {
        let state = self
            .until(server, |state| matches!(state.status, Status::Down(_)))
            .await;
        match &state.status {
            Status::Down(reason) => reason.clone(),
            _ => unreachable!(),
        }
    }

    /// Waits for an update of a resource.
    pub(crate) async fn update(&self) -> String {
        for _ in 0..100 {
            if let Some(uri) = self.updates.borrow_mut().pop() {
                return uri;
            }
            self.hear(Duration::from_millis(100)).await;
        }
        panic!("no update");
    }

    /// Waits for a log message outside any call.
    pub(crate) async fn logged(&self) -> (Option<u128>, String) {
        for _ in 0..100 {
            if let Some(log) = self.logs.borrow_mut().pop() {
                return log;
            }
            self.hear(Duration::from_millis(100)).await;
        }
        panic!("no log message");
    }

    pub(crate) fn watch(&self, server: u16, uri: &str, watching: bool) {
        let client = legacy(1);
        self.links[usize::from(server)].watch(&client, uri, watching);
    }

    pub(crate) fn end_session(&self, server: u16, session: u128) {
        self.links[usize::from(server)].end_session(SessionKey(session));
    }

    /// Starts a call.
    pub(crate) fn call(&self, server: u16, client: &Rc<Client>, message: &str) -> Receiver<Event> {
        let message = Bytes::copy_from_slice(message.as_bytes());
        let parts = Message::scan(&message).unwrap();
        let name = if parts.name.is_some() {
            parts.name
        } else {
            parts.uri
        };
        let call = Call {
            method: parts.method.unwrap(),
            name: name
                .is_some()
                .then(|| Arc::from(&*Message::text(&message, name))),
            parts,
            message,
            client: Rc::clone(client),
        };
        match self.links[usize::from(server)].call(call) {
            Reply::Stream(receiver) => receiver,
            Reply::Complete(outcome) => {
                let (sender, receiver) = ringway::base::channel::bounded(1);
                sender.try_send(Event::Response(outcome)).unwrap();
                receiver
            }
            Reply::Failed(fault) => {
                let (sender, receiver) = ringway::base::channel::bounded(1);
                sender.try_send(Event::Failed(fault)).unwrap();
                receiver
            }
        }
    }

    /// Calls the tool and waits for the end.
    pub(crate) async fn tool(&self, server: u16, client: &Rc<Client>, id: &str, name: &str) -> End {
        end(self.call(server, client, &tool_call(id, name, "{}"))).await
    }
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) notifications: Vec<String>,
    pub(crate) outcome: Result<Outcome, Fault>,
}

impl End {
    pub(crate) fn text(self) -> String {
        let outcome = self.outcome.expect("an answer");
        String::from_utf8(outcome.message.to_vec()).unwrap()
    }

    pub(crate) fn fault(self) -> String {
        self.outcome.expect_err("a fault").to_string()
    }
}

/// Reads a call's events to its end; requests are declined.
pub(crate) async fn end(mut events: Receiver<Event>) -> End {
    let mut notifications = Vec::new();
    loop {
        match events.recv().await.expect("an end") {
            Event::Notification(message) => {
                notifications.push(String::from_utf8(message.to_vec()).unwrap());
            }
            Event::Request { .. } => {}
            Event::Response(outcome) => {
                return End {
                    notifications,
                    outcome: Ok(outcome),
                };
            }
            Event::Failed(fault) => {
                return End {
                    notifications,
                    outcome: Err(fault),
                };
            }
        }
    }
}

pub(crate) fn legacy(session: u128) -> Rc<Client> {
    Rc::new(Client {
        revision: Revision::V2025_11_25,
        capabilities: ClientCapabilities {
            elicitation_form: true,
            ..ClientCapabilities::default()
        },
        session: Some(SessionKey(session)),
        info: Bytes::from_static(br#"{"name":"test","version":"1"}"#),
        log_level: None,
    })
}

pub(crate) fn modern() -> Rc<Client> {
    Rc::new(Client {
        revision: Revision::LATEST,
        capabilities: ClientCapabilities::default(),
        session: None,
        info: Bytes::new(),
        log_level: None,
    })
}

pub(crate) fn tool_call(id: &str, name: &str, arguments: &str) -> String {
    let method = Method::ToolsCall.as_str();
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"name":"{name}",
        "arguments":{arguments},"_meta":{{"progressToken":{id}}}}}}}"#
    )
}
