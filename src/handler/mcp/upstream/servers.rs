//! The servers of one shard: a link to each for the front, and the task that reads what other
//! shards have to say.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::early::Early;
use super::http::{HttpServer, SessionSlot};
use super::owner::Owner;
use super::relay::follow;
use super::route::Route;
use super::shard::Shard;
use super::wire::{Caller, Events, Note, SentCall, Watch};
use crate::base::channel::{Sender, bounded};
use crate::config::{Isolate, McpServer, McpTarget};
use crate::handler::mcp::link::{
    Call, Client, Event, Fault, Link, LogLevel, PlannedServer, Reply, ServerId, SessionKey,
};
use crate::mcp::revision::{Era, Revision};
use crate::net::timer::{Either, race, within};
use crate::net::{sleep, spawn};

/// Events of a call that may wait for its client; beyond it the server waits.
const EVENTS_MAX: usize = 16;
/// How long servers are told at the end that their sessions are over.
pub(super) const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// How often channels are looked over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// All configured servers as one shard sees them.
pub struct Servers {
    /// Those of the configuration, and older ones with calls under way.
    pub(super) links: RefCell<BTreeMap<ServerId, Rc<ServerLink>>>,
    pub(super) owners: RefCell<BTreeMap<ServerId, Rc<Owner>>>,
    pub(super) shard: Rc<Shard>,
    /// The servers of the configuration, in order.
    pub(super) order: RefCell<Vec<ServerId>>,
    pub(super) early: RefCell<Early>,
}

/// One server as one shard sees it.
pub(super) struct ServerLink {
    pub(super) id: ServerId,
    pub(super) config: Arc<McpServer>,
    pub(super) shard: Rc<Shard>,
    pub(super) http: Option<Rc<HttpServer>>,
    route: RefCell<Option<Arc<Route>>>,
    /// Calls that wait for the first word about the server.
    waiting: RefCell<Vec<Sender<()>>>,
    /// How many clients of this shard watch a resource.
    watches: RefCell<HashMap<Box<str>, usize>>,
    /// Why the server can never be reached, if so.
    pub(super) unusable: Option<String>,
}

/// The front's handle of a server.
pub(super) struct Handle(pub(super) Rc<ServerLink>);

impl Servers {
    /// Starts this shard's part: looks after the servers that are its own. Must run on the
    /// shard's thread, which then has to [`serve`](Self::serve).
    #[must_use]
    pub fn start(shard: Shard, planned: &[PlannedServer]) -> Rc<Self> {
        let servers = Rc::new(Self {
            links: RefCell::default(),
            owners: RefCell::default(),
            shard: Rc::new(shard),
            order: RefCell::default(),
            early: RefCell::default(),
        });
        servers.begin(planned);
        servers
    }

    /// Ends children and sessions; to be called when the shard drains, while
    /// [`serve`](Self::serve) goes on.
    pub async fn stop(&self) {
        // Each at its own pace, not one after the other.
        let (sender, mut ended) = bounded::<()>(1);
        let owners: Vec<_> = self.owners.borrow().values().cloned().collect();
        for owner in owners {
            let (owner, sender) = (owner, sender.clone());
            spawn(async move {
                owner.stop().await;
                drop(sender);
            });
        }
        let links: Vec<_> = self.links.borrow().values().cloned().collect();
        for link in links {
            if let Some(http) = link.http.clone() {
                let sender = sender.clone();
                spawn(async move {
                    // A server that cannot be told will forget its sessions by itself.
                    let _ = within(FAREWELL_MAX, http.end_all()).await;
                    drop(sender);
                });
            }
        }
        drop(sender);
        ended.recv().await;
    }

    /// Reads the notes of all shards, for ever. Not a task of its own: what is left of a
    /// crashed shard's tasks would take notes from its successor.
    pub async fn serve(self: &Rc<Self>) {
        let own = self.shard.wires.own;
        for shard in 0..self.shard.wires.shards() {
            if shard != own {
                self.shard.wires.tell(shard, Note::Hello);
            }
        }
        let mut tick = Box::pin(sleep(SWEEP_INTERVAL));
        loop {
            match race(self.shard.wires.inbox.recv(), &mut tick).await {
                Either::First(Ok(note)) => self.note(note),
                Either::First(Err(_)) => return,
                Either::Second(()) => {
                    let owners: Vec<_> = self.owners.borrow().values().cloned().collect();
                    owners.iter().for_each(|owner| owner.hub.sweep());
                    tick = Box::pin(sleep(SWEEP_INTERVAL));
                }
            }
        }
    }

    pub(super) fn note(self: &Rc<Self>, note: Note) {
        let Some(note) = self.early.borrow_mut().put_aside(note) else {
            return;
        };
        match note {
            Note::Left(id) => self.left(id),
            Note::Call(id, call) => self.owned(id, |owner| {
                owner.wake();
                owner.hub.call(*call);
            }),
            Note::Cancel(id, ticket) => self.owned(id, |owner| owner.hub.cancel(ticket)),
            Note::Answer {
                server,
                channel,
                message,
            } => self.owned(server, |owner| owner.hub.answer(channel, &message)),
            Note::Watch {
                server,
                shard,
                uri,
                watching,
            } => self.owned(server, |owner| owner.watch(shard, uri, watching)),
            note @ (Note::Session { .. } | Note::WatchFor(..) | Note::Ask { .. }) => {
                self.session_note(note);
            }
            Note::Notify(id, session, message) => {
                self.owned(id, |owner| owner.hub.notify(session, &message));
            }
            Note::LogLevel(id, session, level) => {
                self.owned(id, |owner| owner.hub.set_level(session, level));
            }
            Note::EndSession(id, session) => {
                self.owned(id, |owner| owner.hub.end_session(session));
            }
            Note::Route(route) => {
                if let Some(link) = self.link(route.state.id) {
                    link.learn(route);
                }
            }
            Note::Hello => {
                let owners: Vec<_> = self.owners.borrow().values().cloned().collect();
                for owner in owners {
                    spawn(async move { owner.announce().await });
                }
            }
            Note::ListChanged(id, method) => self.owned(id, |owner| owner.list_changed(method)),
            Note::Wake(id) => self.owned(id, |owner| owner.wake()),
            Note::Relist(id, reply) => self.owned(id, |owner| owner.relist(reply)),
            Note::Trouble(id) => self.owned(id, |owner| owner.check_soon()),
        }
    }

    /// A note about clients' own sessions at a server.
    fn session_note(&self, note: Note) {
        match note {
            Note::Session {
                server,
                key,
                caller,
                stale,
                reply,
            } => {
                if let Some(http) = self.link(server).and_then(|link| link.http.clone()) {
                    http.make_for(key, *caller, stale.as_deref(), reply);
                }
            }
            Note::WatchFor(id, watch) => {
                if let Some(http) = self.link(id).and_then(|link| link.http.clone()) {
                    http.watch_for(*watch);
                }
            }
            Note::Ask {
                server,
                key,
                asked,
                reply,
            } => {
                let http = self.link(server).and_then(|link| link.http.clone());
                let is_taken = http.is_some_and(|http| http.ask_here(key, &asked));
                let _ = reply.try_send(is_taken);
            }
            _ => {}
        }
    }

    fn link(&self, id: ServerId) -> Option<Rc<ServerLink>> {
        self.links.borrow().get(&id).cloned()
    }

    fn owned(&self, id: ServerId, act: impl FnOnce(&Rc<Owner>)) {
        let owner = self.owners.borrow().get(&id).cloned();
        if let Some(owner) = owner {
            act(&owner);
        }
    }
}

impl ServerLink {
    pub(super) fn new(id: ServerId, config: &Arc<McpServer>, shard: &Rc<Shard>) -> Self {
        let config = Arc::clone(config);
        let (mut http, mut unusable) = (None, None);
        if let McpTarget::Http { url, headers, .. } = &config.target {
            match HttpServer::new(id, Arc::clone(&config), url, headers, Rc::clone(shard)) {
                Ok(server) => http = Some(Rc::new(server)),
                Err(error) => unusable = Some(error.to_string()),
            }
        }
        Self {
            id,
            config,
            shard: Rc::clone(shard),
            http,
            route: RefCell::new(None),
            waiting: RefCell::default(),
            watches: RefCell::default(),
            unusable,
        }
    }

    fn learn(&self, route: Arc<Route>) {
        let is_news = route.is_probed() || route.down().is_some();
        self.route.replace(Some(route));
        if is_news {
            self.waiting.take();
        }
    }

    async fn call(self: Rc<Self>, call: Call, out: Sender<Event>) {
        let Some(http) = &self.http else {
            return Box::pin(self.call_owner(call, out)).await;
        };
        let known = self.known();
        let found = match known {
            Some(route) if route.is_probed() => Ok(Some(route)),
            _ => Box::pin(self.route(&out)).await,
        };
        let route = match found {
            Ok(Some(route)) => route,
            Ok(None) => return,
            Err(fault) => {
                let _ = out.try_send(Event::Failed(fault));
                return;
            }
        };
        let era = call.client.revision.era();
        if !route.speaks(era) {
            let newest = route.state.revisions.iter().max();
            let fault = Fault::Era {
                server: Arc::clone(&self.config.name),
                server_revision: newest.map_or("no known revision", |r| r.as_str()),
                client_revision: call.client.revision.as_str(),
            };
            let _ = out.try_send(Event::Failed(fault));
            return;
        }
        let is_channel = route.legacy.is_some_and(|legacy| legacy.is_channel);
        if era == Era::Legacy && is_channel {
            return Box::pin(self.call_owner(call, out)).await;
        }
        Rc::clone(http).call(call, route, out).await;
    }

    /// What is known of the server, if it is anything.
    fn known(&self) -> Option<Arc<Route>> {
        let route = self.route.borrow().clone()?;
        (route.is_probed() || route.down().is_some()).then_some(route)
    }

    /// What is known of the server, waiting for the first probe. `None` if the client went
    /// away meanwhile.
    async fn route(&self, out: &Sender<Event>) -> Result<Option<Arc<Route>>, Fault> {
        let limit = self.config.timeouts.connect;
        if self.known().is_none() {
            let (sender, mut told) = bounded(1);
            self.waiting.borrow_mut().push(sender);
            let waited = race(out.closed(), within(limit, told.recv())).await;
            if matches!(waited, Either::First(())) {
                return Ok(None);
            }
        }
        let unavailable = |reason: String| Fault::Unavailable {
            server: Arc::clone(&self.config.name),
            reason,
        };
        match self.known() {
            Some(route) if route.is_probed() => Ok(Some(route)),
            Some(route) => Err(unavailable(route.down().unwrap_or_default().to_owned())),
            None => Err(unavailable("it has not answered yet".to_owned())),
        }
    }

    /// Has a legacy client's own session at the server watch a resource. `false` if it has none.
    fn watch_apart(&self, client: &Client, uri: &str, watching: bool) -> bool {
        let Some((http, slot, revision)) = self.own_session(client) else {
            return false;
        };
        let SessionSlot::Client(key) = slot else {
            return false;
        };
        let watch = Box::new(Watch {
            key,
            caller: Caller::of(client),
            revision,
            uri: uri.into(),
            watching,
        });
        let note = Note::WatchFor(self.id, watch);
        self.shard.wires.tell(http.home(slot), note)
    }

    /// Where a legacy client's session at a Streamable HTTP server is kept, if the server hands
    /// out sessions, and the revision agreed on.
    fn own_session(&self, client: &Client) -> Option<(&Rc<HttpServer>, SessionSlot, Revision)> {
        let http = self.http.as_ref()?;
        let route = self.route.borrow().clone()?;
        let legacy = route.legacy.filter(|legacy| legacy.has_sessions)?;
        if client.revision.era() != Era::Legacy {
            return None;
        }
        let slot = http.slot(client.session, client.capabilities);
        Some((http, slot, legacy.revision))
    }

    /// Makes a call over a channel that the owner holds.
    async fn call_owner(&self, call: Call, out: Sender<Event>) {
        let (events, heard) = Events::queue();
        let ticket = self.shard.ticket();
        let sent = SentCall {
            ticket,
            caller: Caller::of(&call.client),
            message: call.message,
            parts: call.parts,
            events,
        };
        let note = Note::Call(self.id, Box::new(sent));
        if !self.shard.wires.tell_owner(self.id, note) {
            let fault = Fault::Overloaded {
                server: Arc::clone(&self.config.name),
                reason: "the shard that owns it does not keep up".to_owned(),
            };
            let _ = out.try_send(Event::Failed(fault));
            return;
        }
        follow(&self.shard, &self.config, (self.id, ticket), heard, out).await;
    }
}

impl Link for Handle {
    fn call(&self, call: Call) -> Reply {
        let (sender, receiver) = bounded(EVENTS_MAX);
        // In a box, because starting a task moves it several times.
        spawn(Box::pin(Rc::clone(&self.0).call(call, sender)));
        Reply::Stream(receiver)
    }

    fn watch(&self, client: &Rc<Client>, uri: &str, watching: bool) {
        let link = &self.0;
        if link.watch_apart(client, uri, watching) {
            return;
        }
        let mut watches = link.watches.borrow_mut();
        let count = watches.entry(uri.into()).or_insert(0);
        let was_watched = *count > 0;
        *count = if watching {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
        let is_watched = *count > 0;
        if !is_watched {
            watches.remove(uri);
        }
        if is_watched != was_watched {
            let note = Note::Watch {
                server: link.id,
                shard: link.shard.wires.own,
                uri: uri.into(),
                watching: is_watched,
            };
            link.shard.wires.tell_owner(link.id, note);
        }
    }

    fn wake(&self) {
        let link = &self.0;
        link.shard.wires.tell_owner(link.id, Note::Wake(link.id));
    }

    fn set_log_level(&self, client: &Rc<Client>, level: LogLevel) {
        let link = &self.0;
        let route = link.route.borrow().clone();
        let legacy = route.and_then(|route| route.legacy);
        if let (Some(http), Some(legacy)) = (&link.http, legacy)
            && !legacy.is_channel
        {
            http.change_level(client, legacy.revision, level);
            return;
        }
        let note = Note::LogLevel(link.id, client.session, level);
        link.shard.wires.tell_owner(link.id, note);
    }

    fn notify(&self, client: &Rc<Client>, message: Bytes) {
        let link = &self.0;
        if let Some((http, slot, revision)) = link.own_session(client) {
            return http.notify(slot, revision, message);
        }
        if let Some(session) = client.session
            && link.config.isolate == Isolate::Session
        {
            let note = Note::Notify(link.id, session, message);
            link.shard.wires.tell_owner(link.id, note);
        }
    }

    fn end_session(&self, session: SessionKey) {
        let link = &self.0;
        match &link.http {
            Some(http) => http.end_session(session),
            None => {
                let note = Note::EndSession(link.id, session);
                link.shard.wires.tell_owner(link.id, note);
            }
        }
    }
}
