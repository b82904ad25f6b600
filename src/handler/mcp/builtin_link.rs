//! Runs the built-in demo server inside the shard. The demo is a pure machine; this drives it:
//! timers, streams, and what its shards have to tell each other.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::link::{
    Answer, Caching, Call, Client, Event, Link, LogLevel, Outcome, Reply, ServerEvent, ServerId,
    ServerState, SessionKey, Status, Transport,
};
use super::peers::{PeerMessage, Peers};
use super::tasks::Tasks;
use crate::base::channel::{Sender, bounded};
use crate::base::clock::Now;
use crate::mcp::demo::{self, Demo, Generation, Handled, Input, List, Request, Script, Step};
use crate::mcp::jsonrpc;
use crate::mcp::revision::Era;
use crate::mcp::scan::{Kind, Message, decode, member};

/// Events of a call that may wait; beyond that the script does.
const QUEUE_EVENTS_MAX: usize = 8;
/// The shard whose link has the timers of watched resources.
const TIMEKEEPER: u16 = 0;
/// Its lists change only when someone calls the tools that change them, and then it tells.
const CACHING: Caching = Caching {
    ttl_ms: 60_000,
    public: true,
};

/// The demo server on one shard.
#[derive(Debug)]
pub struct DemoLink {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    demo: Demo,
    id: ServerId,
    peers: Peers,
    tasks: Tasks,
    generation: Cell<Generation>,
    /// How many clients of all shards watch a resource; kept by the timekeeper.
    watched: RefCell<HashMap<Box<str>, usize>>,
}

impl DemoLink {
    /// Its name among the servers.
    pub const NAME: &'static str = "demo";

    /// The demo as server `id`. `secret` is the same on all shards.
    #[must_use]
    pub fn new(id: ServerId, secret: &[u8; 32], peers: Peers, tasks: Tasks) -> Self {
        Self {
            inner: Rc::new(Inner {
                demo: Demo::new(secret),
                id,
                peers,
                tasks,
                generation: Cell::default(),
                watched: RefCell::default(),
            }),
        }
    }
}

impl Link for DemoLink {
    fn call(&self, call: Call) -> Reply {
        let params = call.parts.params.of(&call.message);
        let client = &call.client;
        let is_legacy = client.revision.era() == Era::Legacy;
        let session = client.session.map(|session| session.0.to_be_bytes());
        let request = Request {
            method: call.method.as_str(),
            params,
            revision: client.revision,
            capabilities: client.capabilities,
            log_level: client.log_level.or(is_legacy.then_some(LogLevel::Info)),
            progress_token: call.parts.progress_token.get(&call.message),
            principal: session.as_ref().map_or(&[], |key| &key[..]),
            now: Now::read(),
        };
        let id = call.parts.id.of(&call.message);
        let mut out = Vec::with_capacity(512);
        jsonrpc::begin(&mut out, id);
        out.push(b',');
        match self.inner.demo.handle(&request, &mut out) {
            Handled::Finished(outcome) => {
                out.push(b'}');
                Reply::Complete(finished(out, outcome))
            }
            Handled::Running(script) => {
                let (events, receiver) = bounded(QUEUE_EVENTS_MAX);
                let driver = Driver {
                    inner: Rc::clone(&self.inner),
                    id: call.message.slice(call.parts.id.range()),
                    events,
                    asked: 0,
                };
                self.inner.tasks.spawn(driver.run(script));
                Reply::Stream(receiver)
            }
        }
    }

    fn watch(&self, _client: &Rc<Client>, uri: &str, watching: bool) {
        let sign = if watching { '+' } else { '-' };
        let note = format!("{sign}{uri}").into();
        self.inner.tell(TIMEKEEPER, note);
    }

    /// The demo logs only within calls, and asks their client how much.
    fn set_log_level(&self, _client: &Rc<Client>, _level: LogLevel) {}

    /// It keeps nothing for sessions.
    fn end_session(&self, _session: SessionKey) {}

    fn state(&self) -> Option<Arc<ServerState>> {
        Some(self.inner.state())
    }

    fn hear(&self, note: &str) -> Option<Arc<ServerState>> {
        let list = match note {
            "tools" => List::Tools,
            "prompts" => List::Prompts,
            _ => {
                if let Some(uri) = note.strip_prefix('+') {
                    self.inner.watch(uri);
                } else if let Some(uri) = note.strip_prefix('-') {
                    self.inner.unwatch(uri);
                }
                return None;
            }
        };
        let generation = &self.inner.generation;
        generation.set(generation.get().after(list));
        Some(self.inner.state())
    }
}

impl Inner {
    fn state(&self) -> Arc<ServerState> {
        let lists = self.demo.lists(self.generation.get());
        Arc::new(ServerState {
            id: self.id,
            name: DemoLink::NAME.into(),
            transport: Transport::Builtin,
            status: Status::Ready,
            revisions: Demo::REVISIONS.to_vec(),
            capabilities: Bytes::from_static(Demo::CAPABILITIES.as_bytes()),
            caching: CACHING,
            info: Bytes::from_static(Demo::INFO.as_bytes()),
            instructions: Some(Demo::INSTRUCTIONS.into()),
            tools: lists.tools,
            prompts: lists.prompts,
            resources: lists.resources,
            templates: lists.templates,
            restarts: 0,
        })
    }

    /// A full mailbox loses the note: the demo's watchers and lists are for looking at.
    fn tell(&self, shard: u16, note: Box<str>) {
        let server = self.id;
        let _ = self
            .peers
            .tell(shard, PeerMessage::Sibling { server, note });
    }

    fn watch(self: &Rc<Self>, uri: &str) {
        let Some(interval) = self.demo.watch_interval(uri) else {
            return;
        };
        let mut watched = self.watched.borrow_mut();
        let count = watched.entry(uri.into()).or_default();
        *count += 1;
        if *count == 1 {
            let inner = Rc::clone(self);
            self.tasks.spawn(inner.keep_time(uri.into(), interval));
        }
    }

    fn unwatch(&self, uri: &str) {
        if let Some(count) = self.watched.borrow_mut().get_mut(uri) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether someone still watches; forgets the resource if not.
    fn is_watched(&self, uri: &str) -> bool {
        let mut watched = self.watched.borrow_mut();
        let is_watched = watched.get(uri).is_some_and(|&count| count > 0);
        if !is_watched {
            watched.remove(uri);
        }
        is_watched
    }

    /// Tells of a resource's changes for as long as someone watches it.
    async fn keep_time(self: Rc<Self>, uri: Box<str>, interval: Duration) {
        loop {
            self.tasks.sleep(interval).await;
            if !self.is_watched(&uri) {
                return;
            }
            let event = ServerEvent::ResourceUpdated {
                server: self.id,
                message: self.demo.updated(&uri).into(),
                uri: uri.clone(),
            };
            self.peers.announce(&event).await;
        }
    }
}

/// Runs one call that takes time.
struct Driver {
    inner: Rc<Inner>,
    /// The client's id, JSON.
    id: Bytes,
    events: Sender<Event>,
    asked: u32,
}

/// How a step went.
enum Went {
    On,
    Answered(Bytes),
    Refused(String),
    /// The client has gone or cancelled.
    Gone,
}

impl Driver {
    async fn run(mut self, mut script: Box<Script>) {
        let mut went = Went::On;
        loop {
            let mut out = Vec::new();
            let input = match &went {
                Went::On => Input::Done,
                Went::Answered(result) => Input::Answer(result),
                Went::Refused(why) => Input::Refused(why),
                Went::Gone => return,
            };
            let step = script.next(input, &mut out);
            went = match step {
                Step::Finish(outcome) => {
                    let mut message = Vec::with_capacity(out.len() + 64);
                    jsonrpc::begin(&mut message, &self.id);
                    message.push(b',');
                    message.append(&mut out);
                    message.push(b'}');
                    let answer = Event::Response(finished(message, outcome));
                    let _ = self.events.send(answer).await;
                    return;
                }
                Step::Notify => self.send(Event::Notification(out.into())).await,
                Step::Ask => self.ask(&out).await,
                Step::Sleep(time) => self.sleep(time).await,
                // Streams are not resumable here.
                Step::CloseStream => Went::On,
                Step::Changed(list) => {
                    let note = match list {
                        List::Tools => "tools",
                        List::Prompts => "prompts",
                    };
                    for shard in 0..self.inner.peers.len() as u16 {
                        self.inner.tell(shard, note.into());
                    }
                    Went::On
                }
            };
        }
    }

    async fn send(&self, event: Event) -> Went {
        match self.events.send(event).await {
            Ok(()) => Went::On,
            Err(_) => Went::Gone,
        }
    }

    /// Waits, but not for a client that has gone.
    async fn sleep(&self, time: Duration) -> Went {
        let mut sleep = self.inner.tasks.sleep(time);
        let mut gone = pin!(self.events.closed());
        poll_fn(|cx| {
            if gone.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Went::Gone);
            }
            sleep.as_mut().poll(cx).map(|()| Went::On)
        })
        .await
    }

    /// `rest` is `"method":…,"params":…`.
    async fn ask(&mut self, rest: &[u8]) -> Went {
        self.asked += 1;
        let id = Bytes::from(self.asked.to_string());
        let mut message = Vec::with_capacity(rest.len() + 40);
        jsonrpc::begin(&mut message, &id);
        message.push(b',');
        message.extend_from_slice(rest);
        message.push(b'}');
        let (sender, mut answers) = bounded(1);
        let event = Event::Request {
            message: message.into(),
            answer: Answer { id, sender },
        };
        if let Went::Gone = self.send(event).await {
            return Went::Gone;
        }
        match answers.recv().await {
            Some(message) => answered(&message),
            None if self.events.is_closed() => Went::Gone,
            None => Went::Refused("the client cannot answer".to_owned()),
        }
    }
}

/// What a client's response says.
fn answered(message: &Bytes) -> Went {
    match Message::scan(message) {
        Ok(parts) if parts.kind == Kind::Result => {
            Went::Answered(message.slice(parts.result.range()))
        }
        Ok(parts) => {
            let error = parts.error.of(message);
            let text = member(error, "message").map_or(&[][..], |span| span.of(error));
            let text = text
                .strip_prefix(b"\"")
                .and_then(|rest| rest.strip_suffix(b"\""));
            Went::Refused(decode(text.unwrap_or(b"no reason given")).into_owned())
        }
        Err(_) => Went::Refused("the client's answer cannot be read".to_owned()),
    }
}

fn finished(message: Vec<u8>, outcome: demo::Outcome) -> Outcome {
    Outcome {
        message: message.into(),
        error: match outcome {
            demo::Outcome::Result => None,
            demo::Outcome::Error(code) => Some(i64::from(code)),
        },
    }
}
