//! The channels of one server on its owner shard: the shared one, one for the other era where
//! the server speaks both, and one for each client session where they are kept apart.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::duplex::{Duplex, Signal};
use super::http::HttpServer;
use super::mux::{Outside, ServerRequest};
use super::probe::Introduction;
use super::shake::{Want, shake};
use super::shard::Shard;
use super::wire::{Caller, Heard, Note, SentCall, Ticket};
use super::{requests, sse, stdio};
use crate::base::clock;
use crate::config::{Isolate, McpServer};
use crate::handler::mcp::link::{
    ClientCapabilities, Fault, LogLevel, ServerEvent, ServerId, SessionKey,
};
use crate::mcp::revision::{Era, Revision};
use crate::net::timer::within;
use crate::net::{sleep, spawn};

/// Channels of client sessions per server. Each may be a process.
const SESSIONS_MAX: usize = 64;
/// How long such a channel is kept without a call.
const SESSION_IDLE: Duration = Duration::from_secs(600);
/// How often it is looked whether a channel has ended.
const STOP_STEP: Duration = Duration::from_millis(5);
/// What is declared to a server that all clients share: everything the gateway can relay.
pub(crate) const EVERYTHING: ClientCapabilities = ClientCapabilities {
    roots: true,
    sampling: true,
    sampling_tools: true,
    elicitation_form: true,
    elicitation_url: true,
};

/// The channels of one server.
pub(crate) struct Hub {
    id: ServerId,
    shard: Rc<Shard>,
    config: Arc<McpServer>,
    /// Set for HTTP+SSE; a child otherwise.
    http: Option<Rc<HttpServer>>,
    shared: RefCell<Shared>,
    others: RefCell<HashMap<Key, Other>>,
    serial: Cell<u64>,
    level: Cell<Option<LogLevel>>,
    /// The older revision that a modern child speaks too.
    older: Cell<Option<Revision>>,
}

/// The channel that the catalogue comes from and most calls go to.
enum Shared {
    /// Being connected; the calls that wait for it.
    Starting(Vec<SentCall>),
    Running(Rc<Duplex>, Era, Vec<Revision>),
    /// Why it is not there.
    Down(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Era(Era),
    Session(SessionKey),
}

struct Other {
    state: OtherState,
    used: Instant,
}

enum OtherState {
    Starting(Vec<SentCall>),
    Running(Rc<Duplex>),
}

/// A channel after its handshake.
pub(crate) struct Connected {
    pub(crate) duplex: Rc<Duplex>,
    pub(crate) era: Era,
    pub(crate) revisions: Vec<Revision>,
    pub(crate) introduction: Introduction,
}

impl Hub {
    pub(crate) fn new(
        id: ServerId,
        shard: Rc<Shard>,
        config: Arc<McpServer>,
        http: Option<Rc<HttpServer>>,
    ) -> Self {
        Self {
            id,
            shard,
            config,
            http,
            shared: RefCell::new(Shared::Starting(Vec::new())),
            others: RefCell::default(),
            serial: Cell::new(0),
            level: Cell::new(None),
            older: Cell::new(None),
        }
    }

    /// Takes a call to the channel it belongs on, starting that if need be.
    pub(crate) fn call(self: &Rc<Self>, call: SentCall) {
        let mut shared = self.shared.borrow_mut();
        let (era, revisions) = match &mut *shared {
            Shared::Starting(waiting) => return self.queue(waiting, call),
            Shared::Down(reason) => {
                let fault = self.unavailable(reason.clone());
                return call.events.end(Heard::Failed(fault));
            }
            Shared::Running(duplex, era, revisions) => {
                let is_apart =
                    self.config.isolate == Isolate::Session && call.caller.session.is_some();
                if *era == call.caller.era && !is_apart {
                    let duplex = Rc::clone(duplex);
                    drop(shared);
                    return duplex.begin(call);
                }
                (*era, revisions.clone())
            }
        };
        drop(shared);
        let wanted = call.caller.era;
        if wanted != era && (wanted == Era::Modern || self.older.get().is_none()) {
            let fault = self.wrong_era(&revisions, &call.caller);
            return call.events.end(Heard::Failed(fault));
        }
        match call.caller.session {
            Some(session) if self.config.isolate == Isolate::Session => {
                self.call_other(Key::Session(session), call);
            }
            _ => self.call_other(Key::Era(wanted), call),
        }
    }

    fn call_other(self: &Rc<Self>, key: Key, call: SentCall) {
        let mut others = self.others.borrow_mut();
        if let Some(other) = others.get_mut(&key) {
            other.used = clock::mono();
            match &mut other.state {
                OtherState::Starting(waiting) => return self.queue(waiting, call),
                OtherState::Running(duplex) if duplex.ended().is_none() => {
                    let duplex = Rc::clone(duplex);
                    drop(others);
                    return duplex.begin(call);
                }
                OtherState::Running(_) => {}
            }
        }
        if others.len() >= SESSIONS_MAX && !make_room(&mut others) {
            let reason = format!("{SESSIONS_MAX} clients have a process of their own already");
            let fault = Fault::Overloaded {
                server: Arc::clone(&self.config.name),
                reason,
            };
            return call.events.end(Heard::Failed(fault));
        }
        let caller = call.caller.clone();
        let other = Other {
            state: OtherState::Starting(vec![call]),
            used: clock::mono(),
        };
        others.insert(key, other);
        drop(others);
        let hub = Rc::clone(self);
        spawn(async move { hub.start_other(key, caller).await });
    }

    async fn start_other(&self, key: Key, caller: Caller) {
        let (capabilities, info) = match key {
            Key::Era(_) => (EVERYTHING, Bytes::new()),
            Key::Session(_) => (caller.capabilities, caller.info),
        };
        let (shard, id) = (Rc::clone(&self.shard), self.id);
        let session = caller.session.filter(|_| matches!(key, Key::Session(_)));
        let signals = move |signal| match signal {
            Signal::Outside(Outside::Log(message)) => shard.tell_all(&ServerEvent::Logged {
                server: id,
                session,
                message,
            }),
            Signal::Request(request, channel) => {
                if let Some(session) = session {
                    spawn(ask_listener(
                        Rc::clone(&shard),
                        session,
                        request,
                        (id, channel),
                    ));
                }
            }
            Signal::Outside(_) | Signal::Ended => {}
        };
        let want = Want::Era(caller.era);
        let connected = self
            .connect(want, capabilities, &info, session, Box::new(signals))
            .await;
        if let (Ok(connected), Some(level)) = (&connected, caller.log_level) {
            set_level(&connected.duplex, level);
        }
        let waiting = {
            let mut others = self.others.borrow_mut();
            let state = match &connected {
                Ok(connected) => Some(OtherState::Running(Rc::clone(&connected.duplex))),
                Err(_) => None,
            };
            let old = match (others.get_mut(&key), state) {
                (Some(other), Some(state)) => Some(std::mem::replace(&mut other.state, state)),
                (Some(_), None) => others.remove(&key).map(|other| other.state),
                (None, _) => None,
            };
            match old {
                Some(OtherState::Starting(waiting)) => waiting,
                _ => Vec::new(),
            }
        };
        match connected {
            // Its client went away while it started.
            Ok(connected) if !self.others.borrow().contains_key(&key) => connected.duplex.stop(),
            Ok(connected) => waiting
                .into_iter()
                .for_each(|call| connected.duplex.begin(call)),
            Err(reason) => self.fail(waiting, &reason),
        }
    }

    /// Starts a channel and shakes hands on it. `session` is whose it is, if it is one client's.
    ///
    /// # Errors
    /// Why that failed, for people.
    pub(crate) async fn connect(
        &self,
        want: Want,
        capabilities: ClientCapabilities,
        info: &[u8],
        session: Option<SessionKey>,
        signals: Box<dyn Fn(Signal)>,
    ) -> Result<Connected, String> {
        self.serial.set(self.serial.get() + 1);
        let (duplex, ends) = Duplex::new(
            self.serial.get(),
            Arc::clone(&self.config.name),
            self.shard.log().clone(),
            self.config.max_in_flight,
            session.is_some(),
            signals,
        );
        let _permit = match self.http {
            None => Some(self.shard.start_permit().await),
            Some(_) => None,
        };
        let mut unfinished = Unfinished(Some(Rc::clone(&duplex)));
        let limit = self.config.timeouts.connect;
        let shaking = async {
            match &self.http {
                Some(http) => sse::start(http, Rc::clone(&duplex), ends).await?,
                None => stdio::start(&self.shard, &self.config, Rc::clone(&duplex), ends).await?,
            }
            shake(&duplex, want, capabilities, info, limit).await
        };
        let shaken = within(limit, shaking)
            .await
            .unwrap_or_else(|_| Err(format!("it did not start within {} s", limit.as_secs_f32())));
        match shaken {
            Ok((era, revisions, introduction)) => {
                unfinished.0 = None;
                Ok(Connected {
                    duplex,
                    era,
                    revisions,
                    introduction,
                })
            }
            Err(mut reason) => {
                if let Some(garbage) = duplex.last_garbage() {
                    reason.push_str("; it wrote something that is no message: ");
                    reason.push_str(&garbage);
                }
                Err(reason)
            }
        }
    }

    /// The shared channel is being connected: calls wait.
    pub(crate) fn starting(&self) {
        let mut shared = self.shared.borrow_mut();
        if !matches!(*shared, Shared::Starting(_)) {
            *shared = Shared::Starting(Vec::new());
        }
    }

    /// What a modern child speaks besides.
    pub(crate) fn speaks_older(&self, older: Option<Revision>) {
        self.older.set(older);
    }

    /// The shared channel can be used.
    pub(crate) fn running(self: &Rc<Self>, connected: &Connected) {
        let running = Shared::Running(
            Rc::clone(&connected.duplex),
            connected.era,
            connected.revisions.clone(),
        );
        let old = self.shared.replace(running);
        if let Some(level) = self.level.get().filter(|_| connected.era == Era::Legacy) {
            set_level(&connected.duplex, level);
        }
        if let Shared::Starting(waiting) = old {
            waiting.into_iter().for_each(|call| self.call(call));
        }
    }

    /// The shared channel is gone.
    pub(crate) fn down(&self, reason: &str) {
        let old = self.shared.replace(Shared::Down(reason.to_owned()));
        match old {
            Shared::Starting(waiting) => self.fail(waiting, reason),
            Shared::Running(duplex, ..) => duplex.stop(),
            Shared::Down(_) => {}
        }
    }

    /// A call's client has gone.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        if self.channels().iter().any(|duplex| duplex.cancel(ticket)) {
            return;
        }
        if let Shared::Starting(waiting) = &mut *self.shared.borrow_mut() {
            waiting.retain(|call| call.ticket != ticket);
        }
        for other in self.others.borrow_mut().values_mut() {
            if let OtherState::Starting(waiting) = &mut other.state {
                waiting.retain(|call| call.ticket != ticket);
            }
        }
    }

    /// A client's answer to a request that came over a channel.
    pub(crate) fn answer(&self, channel: u64, message: &[u8]) {
        if let Some(duplex) = self
            .channels()
            .iter()
            .find(|duplex| duplex.serial == channel)
        {
            duplex.send(message);
        }
    }

    /// Some client wants log messages down to this level.
    pub(crate) fn set_level(&self, session: Option<SessionKey>, level: LogLevel) {
        if let Some(session) = session.filter(|_| self.config.isolate == Isolate::Session) {
            if let Some(other) = self.others.borrow().get(&Key::Session(session))
                && let OtherState::Running(duplex) = &other.state
            {
                set_level(duplex, level);
            }
            return;
        }
        if self.level.get().is_some_and(|least| least <= level) {
            return;
        }
        self.level.set(Some(level));
        if let Shared::Running(duplex, Era::Legacy, _) = &*self.shared.borrow() {
            set_level(duplex, level);
        }
    }

    /// A client's notification, for its own channel if it has one. On a shared channel the
    /// server could not tell whose roots have changed.
    pub(crate) fn notify(&self, session: SessionKey, message: &[u8]) {
        if let Some(other) = self.others.borrow().get(&Key::Session(session))
            && let OtherState::Running(duplex) = &other.state
        {
            duplex.send(message);
        }
    }

    /// A client's session is over.
    pub(crate) fn end_session(&self, session: SessionKey) {
        let other = self.others.borrow_mut().remove(&Key::Session(session));
        if let Some(OtherState::Running(duplex)) = other.map(|other| other.state) {
            duplex.stop();
        }
    }

    /// Looks for callers that have gone and channels that nobody uses. Called every second.
    pub(crate) fn sweep(&self) {
        for duplex in self.channels() {
            duplex.sweep();
        }
        let now = clock::mono();
        self.others.borrow_mut().retain(|_, other| {
            let OtherState::Running(duplex) = &other.state else {
                return true;
            };
            let is_idle = duplex.in_flight() == 0 && now.duration_since(other.used) > SESSION_IDLE;
            if is_idle {
                duplex.stop();
            }
            !is_idle && duplex.ended().is_none()
        });
    }

    /// Stops every channel and waits for its end.
    pub(crate) async fn stop(&self) {
        let channels = self.channels();
        self.down("the gateway is stopping");
        for (_, other) in self.others.borrow_mut().drain() {
            match other.state {
                OtherState::Starting(waiting) => self.fail(waiting, "the gateway is stopping"),
                OtherState::Running(duplex) => duplex.stop(),
            }
        }
        // Children have their own time limits; they always end.
        while channels.iter().any(|duplex| duplex.ended().is_none()) {
            sleep(STOP_STEP).await;
        }
    }

    fn channels(&self) -> Vec<Rc<Duplex>> {
        let mut channels = Vec::new();
        if let Shared::Running(duplex, ..) = &*self.shared.borrow() {
            channels.push(Rc::clone(duplex));
        }
        for other in self.others.borrow().values() {
            if let OtherState::Running(duplex) = &other.state {
                channels.push(Rc::clone(duplex));
            }
        }
        channels
    }

    fn queue(&self, waiting: &mut Vec<SentCall>, call: SentCall) {
        if waiting.len() < self.config.max_in_flight {
            waiting.push(call);
            return;
        }
        let fault = Fault::Overloaded {
            server: Arc::clone(&self.config.name),
            reason: "it is still starting and too many calls wait for it".to_owned(),
        };
        call.events.end(Heard::Failed(fault));
    }

    fn fail(&self, waiting: Vec<SentCall>, reason: &str) {
        for call in waiting {
            let fault = self.unavailable(reason.to_owned());
            call.events.end(Heard::Failed(fault));
        }
    }

    fn unavailable(&self, reason: String) -> Fault {
        Fault::Unavailable {
            server: Arc::clone(&self.config.name),
            reason,
        }
    }

    fn wrong_era(&self, revisions: &[Revision], caller: &Caller) -> Fault {
        let newest = revisions
            .iter()
            .max()
            .map_or("nothing known", |r| r.as_str());
        Fault::Era {
            server: Arc::clone(&self.config.name),
            server_revision: newest,
            client_revision: caller.revision.as_str(),
        }
    }
}

/// Has the only client of a channel answer what the server asks while it is not calling.
async fn ask_listener(
    shard: Rc<Shard>,
    session: SessionKey,
    request: ServerRequest,
    (server, channel): (ServerId, u64),
) {
    let answer = shard.ask_listener(session, &request).await;
    let note = Note::Answer {
        server,
        channel,
        message: answer.unwrap_or_else(|refusal| refusal),
    };
    shard.wires.tell_owner(server, note);
}

/// Stops a channel whose handshake failed, or was not waited for.
struct Unfinished(Option<Rc<Duplex>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(duplex) = self.0.take() {
            duplex.stop();
        }
    }
}

/// Ends the channel that was idle longest. `false` if all are busy.
fn make_room(others: &mut HashMap<Key, Other>) -> bool {
    let idle = others
        .iter()
        .filter_map(|(key, other)| match &other.state {
            OtherState::Running(duplex) if duplex.in_flight() == 0 => Some((other.used, *key)),
            _ => None,
        })
        .min_by_key(|(used, _)| *used);
    let Some((_, key)) = idle else {
        return false;
    };
    if let Some(OtherState::Running(duplex)) = others.remove(&key).map(|other| other.state) {
        duplex.stop();
    }
    true
}

/// Asks for log messages down to a level; a server without logging refuses, which is as good.
fn set_level(duplex: &Rc<Duplex>, level: LogLevel) {
    let _ = duplex.begin_own(|id| requests::set_level(id, level.as_str()));
}
