//! Looks after one server on its owner shard: starts or probes it, keeps its lists, brings it
//! back when it fails, for ever.
//!
//! ```text
//!   Idle (`eager = false`, until somebody needs it)
//!      v
//!   connect --ok--> lists --> Ready --serve--> channel ended or server silent
//!      ^  '--failed--> Down <----------------------'
//!      '---back-off-----'        (a lost session starts over at once, without Down)
//! ```

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::backoff::Backoff;
use super::catalogue::Lists;
use super::http::HttpServer;
use super::hub::Hub;
use super::meet::Met;
use super::mux::Outside;
use super::requests;
use super::route::{Modern, Route};
use super::shard::Shard;
use super::way::{Trouble, Way};
use crate::base::channel::{Receiver, Sender, bounded};
use crate::base::clock;
use crate::config::{McpServer, McpTarget};
use crate::handler::mcp::link::{ServerEvent, ServerId, ServerState, Status, Transport};
use crate::mcp::method::Method;
use crate::mcp::revision::{Era, Revision};
use crate::net::across;
use crate::net::timer::within;
use crate::net::{sleep, spawn};

/// How often an HTTP server without calls is asked whether it is still there.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Changes that come in a burst are fetched once.
const RELIST_DELAY: Duration = Duration::from_millis(50);
/// One server and what is known of it.
pub(crate) struct Owner {
    pub(crate) id: ServerId,
    pub(crate) shard: Rc<Shard>,
    pub(crate) config: Arc<McpServer>,
    pub(crate) hub: Rc<Hub>,
    pub(super) http: Option<Rc<HttpServer>>,
    route: RefCell<Arc<Route>>,
    lists: RefCell<Lists>,
    /// Which lists have changed.
    stale: Cell<Stale>,
    /// Shards that want updates, by resource.
    watched: RefCell<BTreeMap<Box<str>, BTreeSet<u16>>>,
    /// The resources the server has been asked about.
    subscribed: RefCell<BTreeSet<Box<str>>>,
    /// Who waits for other resources to be watched.
    watch_waker: Cell<Option<Waker>>,
    /// The request that listens, over a modern channel.
    listen_number: Cell<Option<u64>>,
    /// Something needs a look.
    bell: Sender<()>,
    needs_check: Cell<bool>,
    relists: RefCell<Vec<across::Sender<Arc<Route>>>>,
    /// What the last probe found; forgotten when it does not hold any more.
    pub(super) era: Cell<Option<Era>>,
    /// The older revision that a modern child speaks too; `None` until it was asked.
    pub(super) older: Cell<Option<Option<Revision>>>,
    restarts: Cell<u64>,
    /// Somebody has needed the server, or it is to run in any case.
    is_wanted: Cell<bool>,
    is_stopped: Cell<bool>,
    /// Shards that have no more calls of it, once it is not wanted any more.
    left: Cell<u16>,
}

/// Which lists have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stale {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
}

impl Stale {
    const ALL: Self = Self {
        tools: true,
        prompts: true,
        resources: true,
    };

    fn any(self) -> bool {
        self.tools || self.prompts || self.resources
    }
}

/// Why a server has to be met again.
enum Lost {
    /// Its session; the server itself seems well.
    Session,
    /// The server.
    Server(String),
}

impl Owner {
    /// An owner that has not begun, and the bell it listens to.
    pub(crate) fn new(
        id: ServerId,
        shard: Rc<Shard>,
        config: Arc<McpServer>,
        http: Option<Rc<HttpServer>>,
    ) -> (Rc<Self>, Receiver<()>) {
        let (bell, rung) = bounded(1);
        let transport = match &config.target {
            McpTarget::Stdio { .. } => Transport::Stdio,
            McpTarget::Http { sse: true, .. } => Transport::HttpSse,
            McpTarget::Http { .. } => Transport::StreamableHttp,
        };
        let route = unknown(id, &config, transport);
        let is_lazy = transport == Transport::Stdio && !config.eager;
        let owner = Rc::new(Self {
            id,
            hub: Rc::new(Hub::new(
                id,
                Rc::clone(&shard),
                Arc::clone(&config),
                http.clone(),
            )),
            shard,
            config,
            http,
            route: RefCell::new(Arc::new(route)),
            lists: RefCell::default(),
            stale: Cell::default(),
            watched: RefCell::default(),
            subscribed: RefCell::default(),
            watch_waker: Cell::default(),
            listen_number: Cell::new(None),
            bell,
            needs_check: Cell::new(false),
            relists: RefCell::default(),
            era: Cell::new(None),
            older: Cell::new(None),
            restarts: Cell::new(0),
            is_wanted: Cell::new(!is_lazy),
            is_stopped: Cell::new(false),
            left: Cell::new(0),
        });
        (owner, rung)
    }

    /// Looks after the server until the shard stops.
    pub(crate) async fn run(self: Rc<Self>, mut bell: Receiver<()>) {
        let seed = u64::from(self.id.0) ^ clock::Now::read().unix.as_nanos() as u64;
        let mut backoff = Backoff::new(seed);
        self.wanted(&mut bell).await;
        self.announce().await;
        while !self.is_stopped.get() {
            let began = clock::mono();
            self.hub.starting();
            let lost = match self.connect().await {
                Ok(met) => self.live(met, &mut bell).await,
                Err(reason) => {
                    self.era.set(None);
                    Lost::Server(reason)
                }
            };
            self.restarts.set(self.restarts.get() + 1);
            let lasted = clock::mono().duration_since(began);
            backoff.reset_after(lasted);
            let reason = match lost {
                Lost::Session if lasted > Duration::from_secs(1) => continue,
                Lost::Session => "it forgets its sessions at once".to_owned(),
                Lost::Server(reason) => reason,
            };
            if self.is_stopped.get() {
                return;
            }
            let wait = backoff.next();
            self.down(&reason, wait).await;
            sleep(wait).await;
        }
    }

    /// Waits until somebody needs the server, if it is to wait for that.
    async fn wanted(&self, bell: &mut Receiver<()>) {
        if self.is_wanted.get() {
            return;
        }
        self.set_status(Status::Idle);
        self.announce().await;
        while !self.is_wanted.get() && !self.is_stopped.get() {
            bell.recv().await;
        }
        self.set_status(Status::Starting);
    }

    /// One more shard has no more calls of it. Gives how many have.
    pub(crate) fn has_left(&self) -> u16 {
        self.left.set(self.left.get() + 1);
        self.left.get()
    }

    /// Somebody needs the server.
    pub(crate) fn wake(&self) {
        if !self.is_wanted.replace(true) {
            self.ring();
        }
    }

    /// The configuration makes it unreachable for good.
    pub(crate) async fn never(&self, reason: &str) {
        self.shard.log().error(
            "mcp",
            format_args!("server {} cannot be used: {reason}", self.config.name),
        );
        self.mark_down(reason).await;
    }

    /// What the other shards are to know.
    pub(crate) fn route(&self) -> Arc<Route> {
        Arc::clone(&self.route.borrow())
    }

    /// Tells every shard what is known.
    pub(crate) async fn announce(&self) {
        let route = self.route();
        self.shard.wires.announce(&route).await;
        let event = ServerEvent::Changed(Arc::clone(&route.state));
        self.shard.peers.announce(&event).await;
    }

    /// One of the lists has changed.
    pub(crate) fn list_changed(&self, method: Method) {
        let mut stale = self.stale.get();
        match method {
            Method::ToolsChanged => stale.tools = true,
            Method::PromptsChanged => stale.prompts = true,
            Method::ResourcesChanged => stale.resources = true,
            _ => return,
        }
        self.stale.set(stale);
        self.ring();
    }

    /// Everything may have changed: messages may have been missed.
    pub(crate) fn all_changed(&self) {
        self.stale.set(Stale::ALL);
        self.ring();
    }

    /// Somebody waits for fresh lists.
    pub(crate) fn relist(&self, reply: across::Sender<Arc<Route>>) {
        self.relists.borrow_mut().push(reply);
        self.all_changed();
    }

    /// A call failed: see whether the server is still there.
    pub(crate) fn check_soon(&self) {
        self.needs_check.set(true);
        self.ring();
    }

    /// A shard wants updates of a resource, or no longer.
    pub(crate) fn watch(&self, shard: u16, uri: Box<str>, watching: bool) {
        let mut watched = self.watched.borrow_mut();
        if watching {
            watched.entry(uri).or_default().insert(shard);
        } else if let Some(shards) = watched.get_mut(&uri) {
            shards.remove(&shard);
            if shards.is_empty() {
                watched.remove(&uri);
            }
        }
        drop(watched);
        self.ring();
        if let Some(waker) = self.watch_waker.take() {
            waker.wake();
        }
    }

    /// Resolves when other resources may be watched than before. For one waiter.
    pub(crate) async fn watch_changed(&self) {
        let mut is_first = true;
        poll_fn(|cx| {
            if core::mem::take(&mut is_first) {
                self.watch_waker.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// The resources that somebody watches.
    pub(crate) fn watched(&self) -> BTreeSet<Box<str>> {
        self.watched.borrow().keys().cloned().collect()
    }

    /// Stops the server's channels and sessions.
    pub(crate) async fn stop(&self) {
        self.is_stopped.set(true);
        self.hub.stop().await;
        self.ring();
    }

    /// What a server says outside any call.
    pub(crate) fn outside(&self, outside: Outside) {
        match outside {
            Outside::ListChanged(method) => self.list_changed(method),
            Outside::ResourceUpdated { uri, message } => {
                self.shard.tell_all(&ServerEvent::ResourceUpdated {
                    server: self.id,
                    session: None,
                    uri,
                    message,
                });
            }
            Outside::Log(message) => self.shard.tell_all(&ServerEvent::Logged {
                server: self.id,
                session: None,
                message,
            }),
            Outside::Other(_) => {}
        }
    }

    pub(super) fn ring(&self) {
        // A bell that is ringing already is enough.
        let _ = self.bell.try_send(());
    }

    /// Fetches the lists, tells everybody, and serves until something is lost.
    async fn live(self: &Rc<Self>, met: Met, bell: &mut Receiver<()>) -> Lost {
        self.stale.set(Stale::default());
        self.subscribed.borrow_mut().clear();
        self.listen_number.set(None);
        match self
            .fetch(&met.way, &met.introduction.capabilities, Stale::ALL)
            .await
        {
            Ok(()) => {}
            Err(Trouble::SessionLost) => return Lost::Session,
            Err(Trouble::Reason(reason)) => return Lost::Server(reason),
        }
        self.learn(&met);
        self.announce().await;
        self.shard.log().info(
            "mcp",
            format_args!(
                "server {} is ready: {} tools, {} prompts, {} resources",
                self.config.name,
                self.lists.borrow().tools.len(),
                self.lists.borrow().prompts.len(),
                self.lists.borrow().resources.len(),
            ),
        );
        let (keep, listening) = bounded::<()>(1);
        if !matches!(met.way, Way::Duplex { .. }) {
            spawn(Rc::clone(self).listen(met.way.clone(), listening));
        }
        let lost = self.serve(&met, bell).await;
        drop(keep);
        if let Way::Legacy {
            server, session, ..
        } = &met.way
        {
            server.end(session).await;
        }
        lost
    }

    async fn serve(self: &Rc<Self>, met: &Met, bell: &mut Receiver<()>) -> Lost {
        loop {
            let is_due = within(CHECK_INTERVAL, bell.recv()).await.is_err();
            if let Some(reason) = met.way.ended() {
                return Lost::Server(reason);
            }
            if self.is_stopped.get() {
                return Lost::Server("the gateway is stopping".to_owned());
            }
            let is_channel = matches!(met.way, Way::Duplex { .. });
            let mut outcome = Ok(());
            if self.needs_check.take() || (is_due && !is_channel) {
                outcome = met.way.check().await;
            }
            if outcome.is_ok() {
                self.sync_subscriptions(&met.way).await;
                outcome = self.freshen(met).await;
            }
            match outcome {
                Ok(()) => {}
                Err(Trouble::SessionLost) => return Lost::Session,
                Err(Trouble::Reason(reason)) => return Lost::Server(reason),
            }
        }
    }

    /// Fetches the lists that have changed.
    async fn freshen(&self, met: &Met) -> Result<(), Trouble> {
        if !self.stale.get().any() {
            return Ok(());
        }
        sleep(RELIST_DELAY).await;
        let stale = self.stale.take();
        self.fetch(&met.way, &met.introduction.capabilities, stale)
            .await?;
        if self.learn(met) {
            self.announce().await;
        }
        let route = self.route();
        for reply in self.relists.take() {
            let _ = reply.try_send(Arc::clone(&route));
        }
        Ok(())
    }

    async fn fetch(&self, way: &Way, capabilities: &Bytes, which: Stale) -> Result<(), Trouble> {
        let mut lists = self.lists.borrow().clone();
        let outcome = lists.fetch(self, way, capabilities, which).await;
        if outcome.is_ok() {
            self.lists.replace(lists);
        }
        outcome
    }

    /// Asks the server about the resources that are watched, and no others.
    async fn sync_subscriptions(&self, way: &Way) {
        if way.era() == Era::Modern {
            return self.sync_listen(way).await;
        }
        let watched = self.watched();
        let subscribed = self.subscribed.borrow().clone();
        let begun = watched.difference(&subscribed).map(|uri| (uri, true));
        let ended = subscribed.difference(&watched).map(|uri| (uri, false));
        for (uri, begins) in begun.chain(ended) {
            let method = if begins {
                "resources/subscribe"
            } else {
                "resources/unsubscribe"
            };
            // A refusal is the server's last word on this resource.
            let _ = way
                .ask(method, |id| requests::subscription(id, method, uri))
                .await;
        }
        self.subscribed.replace(watched);
    }

    /// Over a channel the modern way of watching is a request that is never answered.
    async fn sync_listen(&self, way: &Way) {
        let Way::Duplex { duplex, .. } = way else {
            return;
        };
        let watched = self.watched();
        if *self.subscribed.borrow() == watched && self.listen_number.get().is_some() {
            return;
        }
        let begun = duplex.begin_own(|id| requests::listen(id, watched.iter().map(|uri| &**uri)));
        if let Ok((number, _)) = begun
            && let Some(old) = self.listen_number.replace(Some(number))
        {
            duplex.give_up(old);
        }
        self.subscribed.replace(watched);
    }

    /// Makes a new route of what is known. `false` if nothing changed for anybody.
    fn learn(&self, met: &Met) -> bool {
        let lists = self.lists.borrow();
        let state = ServerState {
            transport: met.transport,
            status: Status::Ready,
            revisions: met.revisions.clone(),
            capabilities: met.introduction.capabilities.clone(),
            caching: lists.caching,
            info: met.introduction.info.clone(),
            instructions: met.introduction.instructions.clone(),
            tools: lists.tools.clone(),
            prompts: lists.prompts.clone(),
            resources: lists.resources.clone(),
            templates: lists.templates.clone(),
            restarts: self.restarts.get(),
            id: self.id,
            name: Arc::clone(&self.config.name),
        };
        let route = Route {
            modern: met.is_modern.then(|| Modern {
                mirrored: lists.mirrored.clone(),
            }),
            legacy: met.legacy,
            state: Arc::new(state),
        };
        let is_new = !route.is_same(&self.route.borrow());
        self.route.replace(Arc::new(route));
        is_new
    }

    /// The server is down: what was known of it is kept and marked. Told once for each reason.
    async fn down(&self, reason: &str, wait: Duration) {
        let name = &self.config.name;
        let is_known =
            matches!(&self.route.borrow().state.status, Status::Down(known) if known == reason);
        let line = format_args!(
            "server {name} is down: {reason}; trying again in {:.1} s, and on",
            wait.as_secs_f32()
        );
        if is_known {
            self.shard.log().debug("mcp", line);
        } else {
            self.shard.log().warn("mcp", line);
        }
        self.mark_down(reason).await;
    }

    async fn mark_down(&self, reason: &str) {
        self.hub.down(reason);
        self.set_status(Status::Down(reason.to_owned()));
        self.announce().await;
    }

    /// A new status of a server that is otherwise known as before.
    fn set_status(&self, status: Status) {
        let mut route = Route::clone(&self.route.borrow());
        let mut state = ServerState::clone(&route.state);
        state.status = status;
        state.restarts = self.restarts.get();
        route.state = Arc::new(state);
        self.route.replace(Arc::new(route));
    }
}

/// A server that nothing is known of yet.
fn unknown(id: ServerId, config: &McpServer, transport: Transport) -> Route {
    let state = ServerState::unknown(id, Arc::clone(&config.name), transport);
    Route {
        state: Arc::new(state),
        modern: None,
        legacy: None,
    }
}
