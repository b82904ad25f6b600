//! The built-in demo server as the gateway sees it: runs its scripts on the shard, ticks for
//! what is watched, and keeps its changing lists the same on every shard.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::link::{
    Answer, Caching, Call, Client, Event, Fault, Link, LogLevel, Outcome, Reply, ServerEvent,
    ServerId, ServerState, SessionKey, Status, Transport,
};
use super::peers::{PeerMessage, Peers};
use super::tasks::Tasks;
use crate::base::channel::{Receiver, Sender, bounded};
use crate::base::clock::Now;
use crate::mcp::demo::{self, Demo, Generation, Handled, Input, List, Request, Script, Step};
use crate::mcp::revision::Era;
use crate::mcp::scan;
use crate::net::across;

/// Calls that may be under way on one shard. Each is small and most of them sleep.
const RUNNING_MAX: usize = 4096;
/// Messages of one call that wait for its client to take them.
const EVENTS_MAX: usize = 4;
/// How long a client may think about a question; people answer these.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// List changes that wait for a shard to count them.
const CHANGES_MAX: usize = 64;
/// Pause before a full mailbox of this shard is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Lists change only when somebody calls one of two fixtures.
const CACHING: Caching = Caching {
    ttl_ms: 60_000,
    public: true,
};
/// The id of every question; the front puts its own in place.
const QUESTION_ID: &[u8] = b"1";

/// One shard's end of what the demo links tell each other. A shard that starts again gets a
/// clone.
#[derive(Clone, Debug)]
pub struct Wire {
    all: Vec<across::Sender<List>>,
    own: across::Receiver<List>,
}

impl Wire {
    /// Wires between the links of `shards` shards.
    #[must_use]
    pub fn connect(shards: u16) -> Vec<Self> {
        let (all, own): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| across::bounded(CHANGES_MAX)).unzip();
        let wire = |own| Self {
            all: all.clone(),
            own,
        };
        own.into_iter().map(wire).collect()
    }
}

/// What a link is made of.
pub struct Parts {
    /// The server itself.
    pub demo: Demo,
    /// Its place among the servers.
    pub id: ServerId,
    /// Its name among the servers.
    pub name: Arc<str>,
    /// This shard's end of the wires.
    pub wire: Wire,
    /// The mailboxes of the shards; the link talks to its own only.
    pub peers: Peers,
    /// Tasks and timers of this shard.
    pub tasks: Tasks,
}

/// The demo server on one shard.
pub struct DemoLink {
    shared: Rc<Shared>,
}

struct Shared {
    demo: Demo,
    id: ServerId,
    name: Arc<str>,
    changes: Vec<across::Sender<List>>,
    peers: Peers,
    tasks: Tasks,
    generation: Cell<Generation>,
    /// Clients that watch each resource; an entry has a ticking task.
    watched: RefCell<HashMap<Box<str>, usize>>,
    running: Cell<usize>,
}

impl fmt::Debug for DemoLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DemoLink")
    }
}

impl DemoLink {
    /// Starts the server on this shard: its state is in the shard's mailbox when this returns,
    /// or a little later if the mailbox is full.
    #[must_use]
    pub fn start(parts: Parts) -> Rc<Self> {
        let shared = Rc::new(Shared {
            demo: parts.demo,
            id: parts.id,
            name: parts.name,
            changes: parts.wire.all,
            peers: parts.peers,
            tasks: parts.tasks,
            generation: Cell::default(),
            watched: RefCell::default(),
            running: Cell::new(0),
        });
        let is_told = shared.tell(shared.state());
        let counting = Rc::clone(&shared).count_changes(parts.wire.own, is_told);
        shared.tasks.spawn(counting);
        Rc::new(Self { shared })
    }
}

impl Link for DemoLink {
    fn call(&self, call: Call) -> Reply {
        self.shared.call(&call)
    }

    fn watch(&self, _: &Rc<Client>, uri: &str, watching: bool) {
        self.shared.watch(uri, watching);
    }

    /// Each call carries its client's level.
    fn set_log_level(&self, _: &Rc<Client>, _: LogLevel) {}

    /// Nothing is kept for a session.
    fn end_session(&self, _: SessionKey) {}
}

impl Shared {
    fn call(self: &Rc<Self>, call: &Call) -> Reply {
        let message = &*call.message;
        let (id, params) = (call.parts.id.of(message), call.parts.params.of(message));
        let mut out = head(id, params.len());
        let head_bytes = out.len();
        let request = Request {
            method: call.method.as_str(),
            params,
            revision: call.client.revision,
            capabilities: call.client.capabilities,
            log_level: log_level(&call.client),
            progress_token: call.parts.progress_token.get(message),
            principal: b"",
            now: Now::read(),
        };
        let mut script = match self.demo.handle(&request, &mut out) {
            Handled::Finished(outcome) => return Reply::Complete(finished(out, outcome)),
            Handled::Running(script) => script,
        };
        // A script that says nothing before its end needs no stream.
        let first = script.next(Input::Done, &mut out);
        if let Step::Finish(outcome) = first {
            return Reply::Complete(finished(out, outcome));
        }
        let Some(running) = Running::start(self) else {
            return Reply::Failed(Fault::Overloaded {
                server: Arc::clone(&self.name),
                reason: format!("{RUNNING_MAX} calls are under way"),
            });
        };
        let (sender, receiver) = bounded(EVENTS_MAX);
        let body = out.split_off(head_bytes);
        let drive = Drive {
            running,
            script,
            head: out,
            sender,
        };
        self.tasks.spawn(drive.run(first, body));
        Reply::Stream(receiver)
    }

    fn watch(self: &Rc<Self>, uri: &str, watching: bool) {
        let Some(interval) = self.demo.watch_interval(uri) else {
            return;
        };
        let mut watched = self.watched.borrow_mut();
        match (watched.get_mut(uri), watching) {
            (Some(clients), true) => *clients += 1,
            (Some(clients), false) => *clients = clients.saturating_sub(1),
            (None, true) => {
                watched.insert(uri.into(), 1);
                let ticking = Rc::clone(self).tick(uri.into(), interval);
                self.tasks.spawn(ticking);
            }
            (None, false) => {}
        }
    }

    /// Says that a resource has changed, again and again while someone watches it.
    async fn tick(self: Rc<Self>, uri: Box<str>, interval: Duration) {
        loop {
            self.tasks.sleep(interval).await;
            let is_watched = self
                .watched
                .borrow()
                .get(&uri)
                .is_some_and(|&count| count > 0);
            if !is_watched {
                self.watched.borrow_mut().remove(&uri);
                return;
            }
            let event = ServerEvent::ResourceUpdated {
                server: self.id,
                session: None,
                uri: uri.clone(),
                message: self.demo.updated(&uri).into(),
            };
            // A mailbox that is full misses a tick; the next one says the same.
            self.tell(event);
        }
    }

    /// Counts the list changes of all shards, so that every shard has the same lists, and tells
    /// this one.
    async fn count_changes(self: Rc<Self>, changes: across::Receiver<List>, mut is_told: bool) {
        loop {
            while !is_told {
                self.tasks.sleep(RETRY_PAUSE).await;
                is_told = self.tell(self.state());
            }
            let Ok(list) = changes.recv().await else {
                return;
            };
            self.generation.set(self.generation.get().after(list));
            is_told = self.tell(self.state());
        }
    }

    fn tell(&self, event: ServerEvent) -> bool {
        let own = self.peers.own();
        self.peers.tell(own, PeerMessage::Server(event)).is_ok()
    }

    fn state(&self) -> ServerEvent {
        let lists = self.demo.lists(self.generation.get());
        ServerEvent::Changed(Arc::new(ServerState {
            id: self.id,
            name: Arc::clone(&self.name),
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
        }))
    }
}

/// One call under way, counted.
struct Running {
    shared: Rc<Shared>,
}

impl Running {
    fn start(shared: &Rc<Shared>) -> Option<Self> {
        let running = shared.running.get();
        (running < RUNNING_MAX).then(|| {
            shared.running.set(running + 1);
            Self {
                shared: Rc::clone(shared),
            }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.set(self.shared.running.get() - 1);
    }
}

/// The client is gone, and with it the reason to go on.
struct Gone;

/// Runs one script to its end.
struct Drive {
    running: Running,
    script: Box<Script>,
    /// The response up to its id.
    head: Vec<u8>,
    sender: Sender<Event>,
}

impl Drive {
    async fn run(mut self, first: Step, body: Vec<u8>) {
        // Nobody is left to be told.
        let Err(Gone) = self.steps(first, body).await else {
            return;
        };
    }

    async fn steps(&mut self, mut step: Step, mut body: Vec<u8>) -> Result<(), Gone> {
        loop {
            let mut answer = Ok(None);
            match step {
                Step::Notify => self.send(Event::Notification(Bytes::from(body))).await?,
                Step::Sleep(pause) => {
                    let sleep = self.running.shared.tasks.sleep(pause);
                    self.unless_gone(sleep).await?;
                }
                Step::Ask => answer = self.ask(&body).await?.map(Some),
                // No stream of ours can be resumed, so there is nothing to come back to.
                Step::CloseStream => {}
                Step::Changed(list) => {
                    for change in &self.running.shared.changes {
                        // A shard that has ended counts no more.
                        let _ = self.unless_gone(change.send(list)).await?;
                    }
                }
                Step::Finish(outcome) => {
                    self.head.append(&mut body);
                    let response = finished(std::mem::take(&mut self.head), outcome);
                    return self.send(Event::Response(response)).await;
                }
            }
            body = Vec::new();
            let input = match &answer {
                Ok(None) => Input::Done,
                Ok(Some(result)) => Input::Answer(result),
                Err(reason) => Input::Refused(reason),
            };
            step = self.script.next(input, &mut body);
        }
    }

    async fn send(&self, event: Event) -> Result<(), Gone> {
        self.sender.send(event).await.map_err(|_| Gone)
    }

    /// Asks the client; its result, or why there is none.
    async fn ask(&self, question: &[u8]) -> Result<Result<Vec<u8>, String>, Gone> {
        let (sender, answers) = bounded(1);
        let mut message = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
        message.extend_from_slice(QUESTION_ID);
        message.push(b',');
        message.extend_from_slice(question);
        message.push(b'}');
        let answer = Answer {
            id: Bytes::from_static(QUESTION_ID),
            sender,
        };
        let message = Bytes::from(message);
        self.send(Event::Request { message, answer }).await?;
        let timeout = self.running.shared.tasks.sleep(ANSWER_TIMEOUT);
        self.unless_gone(answered(answers, timeout)).await
    }

    /// Waits for something unless the client goes first.
    async fn unless_gone<T>(&self, work: impl Future<Output = T>) -> Result<T, Gone> {
        let mut work = pin!(work);
        let mut gone = pin!(self.sender.closed());
        poll_fn(|cx| {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            gone.as_mut().poll(cx).map(|()| Err(Gone))
        })
        .await
    }
}

/// The client's result, or why there is none.
async fn answered(
    mut answers: Receiver<Bytes>,
    timeout: impl Future<Output = ()>,
) -> Result<Vec<u8>, String> {
    let mut timeout = pin!(timeout);
    let response = poll_fn(|cx| match answers.poll_recv(cx) {
        Poll::Ready(response) => Poll::Ready(response.ok_or("it declined")),
        Poll::Pending => timeout.as_mut().poll(cx).map(|()| Err("it took too long")),
    })
    .await?;
    let member = |key| scan::member(&response, key).map(|span| span.of(&response));
    match (member("result"), member("error")) {
        (Some(result), _) => Ok(result.to_vec()),
        (None, Some(error)) => Err(match scan::member(error, "message") {
            Some(message) => format!("it answered {}", text(message.of(error))),
            None => "it answered with an error".into(),
        }),
        (None, None) => Err("its answer has no result".into()),
    }
}

fn text(json: &[u8]) -> String {
    let content = json
        .strip_prefix(b"\"")
        .and_then(|json| json.strip_suffix(b"\""));
    scan::decode(content.unwrap_or(json)).into_owned()
}

/// A response up to the comma after its id, in a buffer that small answers fit.
fn head(id: &[u8], params_bytes: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(384 + params_bytes);
    head.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    head.extend_from_slice(id);
    head.push(b',');
    head
}

fn finished(mut out: Vec<u8>, outcome: demo::Outcome) -> Outcome {
    out.push(b'}');
    Outcome {
        message: Bytes::from(out),
        error: match outcome {
            demo::Outcome::Result => None,
            demo::Outcome::Error(code) => Some(i64::from(code)),
        },
        connect: None,
    }
}

/// A legacy client that has not said what it wants gets what a person would.
fn log_level(client: &Client) -> Option<LogLevel> {
    match client.revision.era() {
        Era::Legacy => client.log_level.or(Some(LogLevel::Info)),
        Era::Modern => client.log_level,
    }
}

#[cfg(test)]
mod tests;
