//! The gateway of one shard: what it knows of its servers, what is open, and its mailbox.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Scope;
use super::adopt::{Links, Named, is_local};
use super::asks::Asks;
use super::events::Changes;
use super::former::Channels;
use super::link::{ServerEvent, ServerId, ServerState, SessionKey, Status};
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
    /// Those of the configuration in its order, then the built-in ones.
    pub links: Vec<Named>,
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
    pub(super) config: RefCell<Arc<Config>>,
    pub(super) sealer: Sealer,
    pub(super) peers: Peers,
    pub(super) tasks: Tasks,
    pub(super) recorder: Rc<Recorder>,
    pub(super) links: Links,
    /// Where each server is, for logs, by number.
    pub(super) addresses: RefCell<HashMap<u16, Arc<str>>>,
    /// By number; servers that are gone have none.
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
    pub(super) is_local: Cell<bool>,
}

/// Where a server is: host and port, or that it is a child or built in.
fn address(config: &Config, name: &str) -> Arc<str> {
    let mut servers = config.mcp.servers.iter();
    let server = servers.find(|server| *server.name == *name);
    match server.map(|server| &server.target) {
        Some(McpTarget::Http { url, .. }) => match Endpoint::parse(url) {
            Ok(Endpoint { origin, .. }) => format!("{}:{}", origin.host, origin.port).into(),
            Err(_) => name.into(),
        },
        Some(McpTarget::Stdio { .. }) => format!("stdio:{name}").into(),
        None => format!("builtin:{name}").into(),
    }
}

/// The same for all servers, by number.
pub(super) fn addresses(config: &Config, links: &[Named]) -> HashMap<u16, Arc<str>> {
    let links = links.iter();
    links
        .map(|(id, name, _)| (id.0, address(config, name)))
        .collect()
}

impl Gateway {
    /// A gateway that knows nothing of its servers yet.
    #[must_use]
    pub fn new(parts: Parts) -> Rc<Self> {
        let max_streams = parts.config.mcp.max_streams;
        Rc::new(Self {
            addresses: RefCell::new(addresses(&parts.config, &parts.links)),
            sealer: Sealer::new(&parts.secret),
            states: RefCell::default(),
            is_local: Cell::new(is_local(&parts.config)),
            views: RefCell::default(),
            streams: RefCell::new(Streams::new(max_streams)),
            asks: RefCell::new(Asks::new()),
            channels: RefCell::default(),
            sessions: RefCell::default(),
            calls: RefCell::default(),
            changes: Cell::default(),
            settling: RefCell::default(),
            config: RefCell::new(parts.config),
            peers: parts.peers,
            tasks: parts.tasks,
            recorder: parts.recorder,
            report: parts.report,
            reported: RefCell::default(),
            links: Links::new(parts.links),
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
        loop {
            let step = self.config.borrow().mcp.heartbeat / BEAT_STEPS;
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
        let scope = self.newest_scope(scope);
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

    /// Forgets all lists and names.
    pub(super) fn forget_all_views(&self) {
        self.views.borrow_mut().clear();
    }

    pub(super) fn state(&self, server: ServerId) -> Option<Arc<ServerState>> {
        let server = self.newest(server);
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
        self.members(scope).into_iter().all(|id| {
            let state = self.state(id);
            state.is_some_and(|state| !matches!(state.status, Status::Idle | Status::Starting))
        })
    }

    /// Has the servers of the scope start that wait for a need.
    fn wake(&self, scope: Scope) {
        for (id, _, link) in self.links_of(scope) {
            let state = self.state(id);
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
