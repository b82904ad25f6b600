//! A world without sockets for the gateway: tasks, a clock that moves when told, shards that
//! talk through their mailboxes, and servers that say what the test wants.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use bytes::Bytes;

use crate::base::channel::Receiver;
use crate::base::clock::Now;
use crate::config::Config;
use crate::handler::mcp::demo::{self, DemoLink, Wire};
use crate::handler::mcp::link::*;
use crate::handler::mcp::peers::{PeerMessage, Peers};
use crate::handler::mcp::tasks::{Task, Tasks};
use crate::handler::mcp::{Gateway, HttpRequest, Named, Parts};
use crate::http::{Body, BodyError, Frame, RequestHead, Response};
use crate::mcp::demo::Demo;
use crate::mcp::revision::Revision;
use crate::metrics::Recorder;

/// Tasks and time.
#[derive(Clone, Default)]
pub(super) struct World {
    tasks: Rc<RefCell<VecDeque<Task>>>,
    now: Rc<Cell<Duration>>,
    flag: Arc<Flag>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    pub(super) fn tasks(&self) -> Tasks {
        let (spawning, sleeping) = (self.clone(), self.clone());
        Tasks::new(
            move |task| {
                spawning.tasks.borrow_mut().push_back(task);
                spawning.flag.0.store(true, Ordering::Relaxed);
            },
            move |time| {
                let (now, until) = (Rc::clone(&sleeping.now), sleeping.now.get() + time);
                // Time moves only between rounds in which every task is polled.
                Box::pin(poll_fn(move |_| {
                    if now.get() >= until {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })) as Task
            },
        )
    }

    /// Polls every task until none has anything left to do.
    pub(super) fn settle(&self) {
        let waker = Waker::from(Arc::clone(&self.flag));
        let mut cx = Context::from_waker(&waker);
        loop {
            self.flag.0.store(false, Ordering::Relaxed);
            let count = self.tasks.borrow().len();
            for _ in 0..count {
                let Some(mut task) = self.tasks.borrow_mut().pop_front() else {
                    break;
                };
                if task.as_mut().poll(&mut cx).is_pending() {
                    self.tasks.borrow_mut().push_back(task);
                }
            }
            if !self.flag.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Lets time pass.
    pub(super) fn advance(&self, time: Duration) {
        let until = self.now.get() + time;
        while self.now.get() < until {
            let step = Duration::from_millis(5).min(until - self.now.get());
            self.now.set(self.now.get() + step);
            self.settle();
        }
    }
}

/// A server that does what it is told.
#[derive(Default)]
pub(super) struct Puppet {
    pub(super) calls: RefCell<Vec<Call>>,
    pub(super) replies: RefCell<VecDeque<Reply>>,
    pub(super) watched: RefCell<Vec<(String, bool)>>,
    pub(super) levels: RefCell<Vec<LogLevel>>,
    pub(super) ended: Cell<usize>,
}

impl Puppet {
    /// Answers the next call that has no answer yet with this.
    pub(super) fn will_reply(&self, reply: Reply) {
        self.replies.borrow_mut().push_back(reply);
    }
}

impl Link for Puppet {
    fn call(&self, call: Call) -> Reply {
        self.calls.borrow_mut().push(call);
        let reply = self.replies.borrow_mut().pop_front();
        reply.expect("a call that the test did not expect")
    }
    fn watch(&self, _: &Rc<Client>, uri: &str, watching: bool) {
        self.watched.borrow_mut().push((uri.to_owned(), watching));
    }
    fn set_log_level(&self, _: &Rc<Client>, level: LogLevel) {
        self.levels.borrow_mut().push(level);
    }
    fn end_session(&self, _: SessionKey) {
        self.ended.set(self.ended.get() + 1);
    }
}

/// What a server called `name` with one tool, prompt and resource would say of itself.
pub(super) fn state(id: u16, name: &str, revisions: &[Revision]) -> ServerState {
    let item = |key: &str, member: &str| Item {
        key: key.into(),
        raw: format!(r#"{{"{member}":"{key}"}}"#).into(),
    };
    ServerState {
        id: ServerId(id),
        name: name.into(),
        transport: Transport::Stdio,
        status: Status::Ready,
        revisions: revisions.to_vec(),
        capabilities: Bytes::from_static(
            concat!(
                r#"{"tools":{},"prompts":{},"resources":{"subscribe":true},"#,
                r#""logging":{},"completions":{}}"#
            )
            .as_bytes(),
        ),
        caching: Caching::default(),
        info: Bytes::new(),
        instructions: None,
        tools: vec![item("t", "name")],
        prompts: vec![item("p", "name")],
        resources: vec![item(&format!("{name}://r"), "uri")],
        templates: Vec::new(),
        restarts: 0,
    }
}

/// Some shards with the same servers.
pub(super) struct Fleet {
    pub(super) world: World,
    pub(super) shards: Vec<Rc<Gateway>>,
    /// Servers by shard and id.
    pub(super) puppets: Vec<Vec<Rc<Puppet>>>,
    pub(super) peers: Peers,
    /// Lines for the operator.
    pub(super) reported: Rc<RefCell<Vec<String>>>,
}

impl Fleet {
    /// `states` are the servers, known or not yet. The demo comes last.
    pub(super) fn new(shards: u16, states: &[Option<ServerState>], config: Config) -> Self {
        let world = World::default();
        let config = Arc::new(config);
        let (mut gateways, mut puppets) = (Vec::new(), Vec::new());
        let reported = Rc::new(RefCell::new(Vec::new()));
        let connected = Peers::connect(shards);
        let outside = connected[0].0.clone();
        for ((peers, mailbox), wire) in connected.into_iter().zip(Wire::connect(shards)) {
            let mut links: Vec<Named> = Vec::new();
            let mut own = Vec::new();
            for (at, state) in states.iter().enumerate() {
                let puppet = Rc::new(Puppet::default());
                let name = state
                    .as_ref()
                    .map_or_else(|| format!("s{at}").into(), |s| Arc::clone(&s.name));
                links.push((
                    ServerId(at as u16),
                    name,
                    Rc::clone(&puppet) as Rc<dyn Link>,
                ));
                own.push(puppet);
            }
            let id = ServerId(states.len() as u16);
            let demo = DemoLink::start(demo::Parts {
                demo: Demo::new(&[9; 32]),
                id,
                name: "demo".into(),
                wire,
                peers: peers.clone(),
                tasks: world.tasks(),
            });
            links.push((id, "demo".into(), demo));
            let lines = Rc::clone(&reported);
            let gateway = Gateway::new(Parts {
                config: Arc::clone(&config),
                secret: [9; 32],
                peers,
                links,
                tasks: world.tasks(),
                recorder: Rc::new(Recorder::new(0, &[], true)),
                report: Rc::new(move |line| lines.borrow_mut().push(line.to_owned())),
            });
            world.tasks().spawn(Rc::clone(&gateway).run(mailbox));
            world.tasks().spawn(Rc::clone(&gateway).beat());
            gateways.push(gateway);
            puppets.push(own);
        }
        let fleet = Self {
            world,
            shards: gateways,
            puppets,
            peers: outside,
            reported,
        };
        for state in states.iter().flatten() {
            fleet.announce(ServerEvent::Changed(Arc::new(state.clone())));
        }
        fleet.world.advance(Duration::from_millis(100));
        fleet
    }

    /// Two shards, a legacy server `old`, a modern server `new` and the demo, which has both.
    pub(super) fn usual() -> Self {
        let states = [
            Some(state(0, "old", &[Revision::V2025_11_25])),
            Some(state(1, "new", &[Revision::V2026_07_28])),
        ];
        Self::new(2, &states, Config::default())
    }

    pub(super) fn puppet(&self, shard: usize, server: usize) -> &Puppet {
        &self.puppets[shard][server]
    }

    /// Announces to every shard.
    pub(super) fn announce(&self, event: ServerEvent) {
        for shard in 0..self.shards.len() as u16 {
            self.peers
                .tell(shard, PeerMessage::Server(event.clone()))
                .unwrap();
        }
        self.world.settle();
    }

    /// Sends a request and lets everything happen that can happen without time passing.
    pub(super) fn begin(&self, shard: usize, ask: Ask) -> Pending {
        let gateway = Rc::clone(&self.shards[shard]);
        let slot = Rc::new(RefCell::new(None));
        let done = Rc::clone(&slot);
        let dropped = Rc::new(Cell::new(false));
        let is_dropped = Rc::clone(&dropped);
        let handling = async move {
            let mut response = Response::default();
            let request = HttpRequest {
                body_bytes_max: None,
                is_former: false,
                head: &ask.head,
                below: &ask.below,
                body: Body::Full(ask.body.into()),
                now: Now::read(),
            };
            gateway.handle(request, &mut response).await;
            *done.borrow_mut() = Some(response);
        };
        let mut handling = Some(Box::pin(handling) as Pin<Box<dyn Future<Output = ()>>>);
        self.world.tasks().spawn(poll_fn(move |cx| {
            if is_dropped.get() {
                handling = None; // the connection is gone
            }
            match &mut handling {
                Some(handling) => handling.as_mut().poll(cx),
                None => Poll::Ready(()),
            }
        }));
        self.world.settle();
        Pending { slot, dropped }
    }

    /// Sends a request that is answered at once.
    pub(super) fn ask(&self, shard: usize, ask: Ask) -> Reading {
        self.begin(shard, ask).response().expect("no answer yet")
    }

    /// Initializes a session on that shard; gives its id.
    pub(super) fn session(&self, shard: usize, version: &str, capabilities: &str) -> String {
        let params = format!(
            concat!(
                r#"{{"protocolVersion":"{}","capabilities":{},"#,
                r#""clientInfo":{{"name":"c","version":"1"}}}}"#
            ),
            version, capabilities
        );
        let reading = self.ask(shard, Ask::legacy("initialize", &params));
        assert_eq!(reading.status, 200);
        reading.header("Mcp-Session-Id").expect("no session")
    }
}

/// A response that may not be there yet.
pub(super) struct Pending {
    slot: Rc<RefCell<Option<Response>>>,
    dropped: Rc<Cell<bool>>,
}

impl Pending {
    pub(super) fn response(&self) -> Option<Reading> {
        self.slot.borrow_mut().take().map(Reading::new)
    }

    /// The client closes its connection before there is an answer.
    pub(super) fn hang_up(&self, world: &World) {
        self.dropped.set(true);
        world.settle();
    }
}

/// A response being read.
pub(super) struct Reading {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    whole: String,
    stream: Option<Receiver<Result<Frame, BodyError>>>,
}

impl Reading {
    fn new(response: Response) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = response.headers.iter();
        let headers = headers
            .map(|(_, name, value)| (text(name), text(value)))
            .collect();
        let (whole, stream) = match response.body {
            Body::Empty => (String::new(), None),
            Body::Static(bytes) => (text(bytes), None),
            Body::Full(bytes) => (text(&bytes), None),
            Body::Stored(stored) => (text(stored.identity()), None),
            Body::Pieces(_) | Body::Source(_) | Body::Tunnel(_) => panic!("no gateway sends that"),
            Body::Stream(stream) => (String::new(), Some(stream)),
        };
        Self {
            status: response.status,
            headers,
            whole,
            stream,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let mut fields = self.headers.iter();
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    pub(super) fn is_stream(&self) -> bool {
        self.header("Content-Type").as_deref() == Some("text/event-stream")
    }

    /// A JSON body.
    pub(super) fn json(&self) -> &str {
        assert_eq!(
            self.header("Content-Type").as_deref(),
            Some("application/json")
        );
        &self.whole
    }

    /// Messages of the stream that have come since the last call; heartbeats as `:`.
    pub(super) fn events(&mut self, world: &World) -> Vec<String> {
        assert!(self.is_stream(), "not a stream: {}", self.whole);
        let mut text = std::mem::take(&mut self.whole);
        loop {
            world.settle();
            let Some(piece) = self.stream.as_mut().and_then(Receiver::try_recv) else {
                break;
            };
            if let Frame::Data(bytes) = piece.unwrap() {
                text.push_str(core::str::from_utf8(&bytes).unwrap());
            }
        }
        let events = text.split_terminator("\n\n");
        events
            .map(|event| match event.strip_prefix("event: message\ndata: ") {
                Some(data) => data.to_owned(),
                None => event.to_owned(),
            })
            .collect()
    }

    /// Whether the stream has ended, everything having been read.
    pub(super) fn is_over(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        match &mut self.stream {
            None => true,
            Some(stream) => matches!(stream.poll_recv(&mut cx), Poll::Ready(None)),
        }
    }
}

/// A request to be sent.
pub(super) struct Ask {
    head: RequestHead,
    below: String,
    body: String,
}

impl Ask {
    pub(super) fn new(method: &str, body: &str) -> Self {
        let mut head = RequestHead::default();
        head.set_line(method.as_bytes(), b"/mcp", 0..4, 4..4);
        let ask = Self {
            head,
            below: String::new(),
            body: body.to_owned(),
        };
        ask.with("Host", "localhost:4444")
            .with("Accept", "application/json, text/event-stream")
            .with("Content-Type", "application/json")
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.head.headers.push(name.as_bytes(), value.as_bytes());
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.head
            .headers
            .remove(crate::http::Known::of(name.as_bytes()));
        self
    }

    pub(super) fn at(mut self, below: &str) -> Self {
        self.below = below.to_owned();
        self
    }

    pub(super) fn of(self, session: &str) -> Self {
        self.with("Mcp-Session-Id", session)
    }

    /// A legacy request with id 1.
    pub(super) fn legacy(method: &str, params: &str) -> Self {
        Self::new(
            "POST",
            &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#),
        )
    }

    /// A modern request with id 1; `params` are members, `name` what Mcp-Name says.
    pub(super) fn modern(method: &str, name: &str, params: &str) -> Self {
        Self::modern_meta(method, name, params, "")
    }

    /// The same with more members in `_meta`.
    pub(super) fn modern_meta(method: &str, name: &str, params: &str, meta: &str) -> Self {
        let comma = if params.is_empty() { "" } else { "," };
        let body = format!(
            concat!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{}","params":{{{}{}"_meta":{{"#,
                r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
                r#""io.modelcontextprotocol/clientCapabilities":{{}}{}}}}}}}"#
            ),
            method, params, comma, meta
        );
        let ask = Self::new("POST", &body)
            .with("MCP-Protocol-Version", "2026-07-28")
            .with("Mcp-Method", method);
        if name.is_empty() {
            ask
        } else {
            ask.with("Mcp-Name", name)
        }
    }
}

/// A result response to request 1.
pub(super) fn complete(result: &str) -> Reply {
    Reply::Complete(outcome(result))
}

pub(super) fn outcome(result: &str) -> Outcome {
    Outcome {
        message: format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into(),
        error: None,
        connect: None,
    }
}
