//! The gateway of one shard: what it knows of its servers, what is open, and its mailbox.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Scope;
use super::asks::Asks;
use super::events::Changes;
use super::former::Channels;
use super::link::{Link, ServerEvent, ServerId, ServerState, SessionKey, Status};
use super::peers::{PeerMessage, Peers};
use super::sessions::Sessions;
use super::streams::{BEAT_STEPS, Open, Streams, Ticket};
use super::tasks::Tasks;
use super::view::View;
use crate::base::clock::Now;
use crate::config::{Config, McpTarget};
use crate::http::endpoint::Endpoint;
use crate::mcp::seal::Sealer;
use crate::metrics::{Counter, Gauge, Recorder};
use crate::net::across::Receiver;

/// How long a list waits for servers that have not been reached even once. Answering at once
/// would show a client that asks only once an empty gateway.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// What a gateway is made of.
pub struct Parts {
    /// The whole configuration.
    pub config: Arc<Config>,
    /// Key of everything sealed, the same on all shards.
    pub secret: [u8; 32],
    /// The mailboxes of all shards.
    pub peers: Peers,
    /// Name and link of each server by [`ServerId`]: those of the configuration in its order,
    /// then the built-in ones.
    pub links: Vec<(Arc<str>, Rc<dyn Link>)>,
    /// Tasks and timers of this shard.
    pub tasks: Tasks,
    /// This shard's figures.
    pub recorder: Rc<Recorder>,
    /// Takes lines for the operator.
    pub report: Rc<dyn Fn(&str)>,
}

/// The gateway of one shard. Serve its mailbox with [`Self::run`] and its beat with
/// [`Self::beat`] as long as the shard lives.
pub struct Gateway {
    pub(super) config: Arc<Config>,
    pub(super) sealer: Sealer,
    pub(super) peers: Peers,
    pub(super) tasks: Tasks,
    pub(super) recorder: Rc<Recorder>,
    pub(super) links: Vec<(Arc<str>, Rc<dyn Link>)>,
    /// Where each server is, for logs.
    pub(super) addresses: Vec<Arc<str>>,
    pub(super) states: RefCell<Vec<Option<Arc<ServerState>>>>,
    views: RefCell<HashMap<Scope, Rc<View>>>,
    pub(super) streams: RefCell<Streams>,
    pub(super) asks: RefCell<Asks>,
    /// Streams of the transport of 2024-11-05.
    pub(super) channels: RefCell<Channels>,
    pub(super) sessions: RefCell<Sessions>,
    /// Calls of legacy sessions by session and request id, so that they can be cancelled.
    pub(super) calls: RefCell<HashMap<(SessionKey, Bytes), Rc<Ticket>>>,
    pub(super) report: Rc<dyn Fn(&str)>,
    /// The choices of names that the operator has been told.
    pub(super) reported: RefCell<HashSet<String>>,
    /// List changes that have not been told yet.
    pub(super) changes: Cell<Changes>,
    settling: RefCell<Vec<Waker>>,
    /// Whether every listener is on this machine alone, so that a foreign `Host` means that a
    /// name of somebody else's leads here.
    pub(super) is_local: bool,
}

/// Where a server is: host and port, or that it is a child or built in.
fn address(config: &Config, at: usize, name: &str) -> Arc<str> {
    match config.mcp.servers.get(at).map(|server| &server.target) {
        Some(McpTarget::Http { url, .. }) => match Endpoint::parse(url) {
            Ok(Endpoint { origin, .. }) => format!("{}:{}", origin.host, origin.port).into(),
            Err(_) => name.into(),
        },
        Some(McpTarget::Stdio { .. }) => format!("stdio:{name}").into(),
        None => format!("builtin:{name}").into(),
    }
}

impl Gateway {
    /// A gateway that knows nothing of its servers yet.
    #[must_use]
    pub fn new(parts: Parts) -> Rc<Self> {
        let listeners = &parts.config.listeners;
        let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        let is_local = listeners
            .iter()
            .all(|listener| is_loopback(listener.address.ip()));
        let max_streams = parts.config.mcp.max_streams;
        let addresses = parts.links.iter().enumerate();
        let addresses = addresses.map(|(at, (name, _))| address(&parts.config, at, name));
        Rc::new(Self {
            addresses: addresses.collect(),
            sealer: Sealer::new(&parts.secret),
            states: RefCell::new(vec![None; parts.links.len()]),
            views: RefCell::default(),
            streams: RefCell::new(Streams::new(max_streams)),
            asks: RefCell::new(Asks::new()),
            channels: RefCell::default(),
            sessions: RefCell::default(),
            calls: RefCell::default(),
            changes: Cell::default(),
            settling: RefCell::default(),
            config: parts.config,
            peers: parts.peers,
            tasks: parts.tasks,
            recorder: parts.recorder,
            report: parts.report,
            reported: RefCell::default(),
            links: parts.links,
            is_local,
        })
    }

    /// Serves the shard's mailbox until every sender is gone.
    pub async fn run(self: Rc<Self>, mailbox: Receiver<PeerMessage>) {
        while let Ok(message) = mailbox.recv().await {
            self.receive(message);
        }
    }

    /// Keeps idle streams open, for as long as it is polled.
    pub async fn beat(self: Rc<Self>) {
        let step = self.config.mcp.heartbeat / BEAT_STEPS;
        loop {
            self.tasks.sleep(step.max(Duration::from_millis(10))).await;
            let gone = self.streams.borrow_mut().beat();
            for key in gone {
                self.close(key);
            }
            self.sweep_channels();
        }
    }

    /// A message of another shard, or of this shard's own links.
    fn receive(self: &Rc<Self>, message: PeerMessage) {
        match message {
            PeerMessage::Server(ServerEvent::Changed(state)) => self.server_changed(state),
            PeerMessage::Server(ServerEvent::ResourceUpdated {
                server,
                session,
                uri,
                message,
            }) => self.resource_updated(server, session, &uri, &message),
            PeerMessage::Server(ServerEvent::Logged {
                server,
                session,
                message,
            }) => self.server_logged(server, session, &message),
            PeerMessage::Answer {
                session,
                ticket,
                message,
            } => {
                self.asks.borrow_mut().settle(session, ticket, &message);
            }
            PeerMessage::Cancel { session, request } => {
                self.cancel_here(session, request);
            }
            PeerMessage::Revoke { session, expires } => self.revoke_here(session, expires),
            PeerMessage::LogLevel {
                session,
                level,
                expires,
            } => {
                let now = Now::read().unix.as_secs();
                // Full here is full everywhere; the shard that asked has told the client.
                let _ = self
                    .sessions
                    .borrow_mut()
                    .set_log_level(session, level, expires, now);
            }
            PeerMessage::Subscribe(change) => {
                let _ = self.subscribe_here(&change);
            }
            PeerMessage::Question(question) => self.question(question),
            PeerMessage::Posted(posted) => {
                let is_taken = self.posted(posted.session, posted.message);
                let _ = posted.taken.try_send(is_taken);
            }
            PeerMessage::Listening(session) => self.stop_listening(session),
        }
    }

    /// Tells another shard something that must not be lost.
    pub(super) fn tell(&self, shard: u16, message: PeerMessage) {
        if self.peers.tell(shard, message.clone()).is_err() {
            let peers = self.peers.clone();
            self.tasks
                .spawn(async move { peers.tell_surely(shard, message).await });
        }
    }

    /// Tells every other shard something that must not be lost.
    pub(super) fn spread(&self, message: &PeerMessage) {
        for shard in 0..self.peers.len() as u16 {
            if shard != self.peers.own() {
                self.tell(shard, message.clone());
            }
        }
    }

    /// Ends a call of that session, if it runs on this shard.
    pub(super) fn cancel_here(&self, session: SessionKey, request: Bytes) {
        let ticket = self.calls.borrow().get(&(session, request)).cloned();
        if let Some(ticket) = ticket {
            ticket.cancel();
        }
    }

    /// Takes a stream in, making room of those whose client has gone if need be.
    pub(super) fn open(&self, open: Open) -> Result<super::slots::Key, Open> {
        let first = self.streams.borrow_mut().insert(open);
        let open = match first {
            Ok(key) => {
                self.recorder.shift(Gauge::OpenStreams, 1);
                return Ok(key);
            }
            Err(open) => open,
        };
        let gone = self.streams.borrow().gone();
        for key in gone {
            self.close(key);
        }
        let retried = self.streams.borrow_mut().insert(open);
        let key = retried.inspect_err(|_| self.recorder.count(Counter::RefusedStreams))?;
        self.recorder.shift(Gauge::OpenStreams, 1);
        Ok(key)
    }

    /// Ends a stream and what was kept for it.
    pub(super) fn close(&self, key: super::slots::Key) {
        let Some(open) = self.streams.borrow_mut().remove(key) else {
            return;
        };
        self.recorder.shift(Gauge::OpenStreams, -1);
        match open {
            Open::Subscription { subscription, .. } => self.unwatch(&subscription),
            Open::Listening(listener) => {
                for (server, uri) in listener.watched.take() {
                    self.watch(server, &listener.client, &uri, false);
                }
            }
            Open::Waiting(_) | Open::Call(_) => {}
        }
    }

    /// The lists and names of that scope, made if they have changed.
    pub(super) fn view(&self, scope: Scope) -> Rc<View> {
        if let Some(view) = self.views.borrow().get(&scope) {
            return Rc::clone(view);
        }
        let view = Rc::new(View::make(self, scope));
        self.views.borrow_mut().insert(scope, Rc::clone(&view));
        view
    }

    /// Forgets lists and names that a server has a part in.
    pub(super) fn forget_views(&self, server: ServerId) {
        let mut views = self.views.borrow_mut();
        views.remove(&Scope::Merged);
        views.remove(&Scope::One(server));
    }

    /// Which servers a scope has, in order.
    pub(super) fn members(&self, scope: Scope) -> core::ops::Range<usize> {
        match scope {
            Scope::Merged => 0..self.links.len(),
            Scope::One(ServerId(id)) => usize::from(id)..usize::from(id) + 1,
        }
    }

    pub(super) fn state(&self, server: ServerId) -> Option<Arc<ServerState>> {
        self.states.borrow().get(usize::from(server.0))?.clone()
    }

    /// Waits until every server of the scope has been tried once, but not for ever. Those that
    /// wait for the first need have it now.
    pub(super) async fn settle(&self, scope: Scope) {
        if self.is_settled(scope) {
            return;
        }
        let mut limit = self.tasks.sleep(SETTLE_MAX);
        poll_fn(|cx| {
            if self.is_settled(scope) || limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            self.wake(scope);
            self.settling.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(super) fn is_settled(&self, scope: Scope) -> bool {
        let states = self.states.borrow();
        self.members(scope).all(|at| {
            let state = states.get(at).and_then(Option::as_ref);
            state.is_some_and(|state| !matches!(state.status, Status::Idle | Status::Starting))
        })
    }

    /// Has the servers of the scope start that wait for a need.
    fn wake(&self, scope: Scope) {
        let states = self.states.borrow();
        let members = self.members(scope);
        let links = self.links.get(members.clone()).unwrap_or_default();
        for (at, (_, link)) in members.zip(links) {
            let state = states.get(at).and_then(Option::as_ref);
            if state.is_some_and(|state| state.status == Status::Idle) {
                link.wake();
            }
        }
    }

    /// Wakes whoever waits for servers.
    pub(super) fn stir(&self) {
        let waiting = core::mem::take(&mut *self.settling.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }
}

impl core::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gateway")
            .field("shard", &self.peers.own())
            .field("servers", &self.links.len())
            .finish_non_exhaustive()
    }
}
