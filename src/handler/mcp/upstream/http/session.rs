//! Sessions with a legacy HTTP server. Where the server hands out session ids, each client
//! session gets one of its own, made when it is first needed by the client's home shard and
//! remembered by the others; `isolate = "shared"` makes one per shard and set of client
//! capabilities instead.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::answer::session_id;
use super::{Answered, HttpServer, Post, Problem};
use crate::base::channel;
use crate::config::Isolate;
use crate::handler::mcp::link::{Client, ClientCapabilities, Fault, LogLevel, SessionKey};
use crate::handler::mcp::upstream::probe::{self, Introduction};
use crate::handler::mcp::upstream::requests;
use crate::handler::mcp::upstream::wire::{Caller, Note};
use crate::mcp::revision::Revision;
use crate::net::across;
use crate::net::across::Sender;
use crate::net::spawn;

/// Sessions kept per shard and server; the least recently used are ended beyond it.
const SESSIONS_MAX: usize = 4096;

/// Whose session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SessionSlot {
    /// Of all clients with these capabilities on this shard.
    Shared(ClientCapabilities),
    /// Of one client session.
    Client(SessionKey),
}

/// Sessions by slot.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    slots: RefCell<HashMap<SessionSlot, Entry>>,
    /// Counts uses, to tell which was used last.
    uses: std::cell::Cell<u64>,
}

/// The id of a session; empty if the server gave none.
pub(crate) type SessionId = Arc<str>;
/// Tells whoever waits for a session.
pub(crate) type SessionReply = Sender<Result<SessionId, Fault>>;

#[derive(Debug)]
enum Entry {
    /// Being made; who waits for it.
    Opening(Vec<SessionReply>),
    /// In use.
    Open {
        id: SessionId,
        /// When it was used last.
        used: u64,
        /// Dropped to stop listening to it.
        _listening: Option<channel::Sender<()>>,
    },
}

/// A session that has just been initialized.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: Option<SessionId>,
    pub(crate) revision: Revision,
    pub(crate) introduction: Introduction,
}

impl Sessions {
    /// The session of a slot if it is open.
    fn open(&self, slot: SessionSlot) -> Option<SessionId> {
        let mut slots = self.slots.borrow_mut();
        let Some(Entry::Open { id, used, .. }) = slots.get_mut(&slot) else {
            return None;
        };
        self.uses.set(self.uses.get() + 1);
        *used = self.uses.get();
        Some(Arc::clone(id))
    }

    /// Forgets a session that the server no longer knows.
    fn forget(&self, slot: SessionSlot, stale: &str) {
        let mut slots = self.slots.borrow_mut();
        if matches!(slots.get(&slot), Some(Entry::Open { id, .. }) if **id == *stale) {
            slots.remove(&slot);
        }
    }

    /// Queues for a session that is being made. `true` if the caller has to make it.
    fn wait(&self, slot: SessionSlot, reply: SessionReply) -> bool {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(&slot) {
            Some(Entry::Opening(waiting)) => {
                waiting.push(reply);
                false
            }
            _ => {
                slots.insert(slot, Entry::Opening(vec![reply]));
                true
            }
        }
    }

    /// Settles a slot and tells who waits. Returns a session that had to make room.
    fn settle(
        &self,
        slot: SessionSlot,
        made: Result<SessionId, Fault>,
        listening: Option<channel::Sender<()>>,
    ) -> Option<SessionId> {
        let mut slots = self.slots.borrow_mut();
        let entry = slots.remove(&slot);
        if let Ok(id) = &made {
            self.uses.set(self.uses.get() + 1);
            let open = Entry::Open {
                id: Arc::clone(id),
                used: self.uses.get(),
                _listening: listening,
            };
            slots.insert(slot, open);
        }
        if let Some(Entry::Opening(waiting)) = entry {
            for reply in waiting {
                let _ = reply.try_send(made.clone());
            }
        }
        if slots.len() <= SESSIONS_MAX {
            return None;
        }
        let oldest = slots
            .iter()
            .filter_map(|(slot, entry)| match entry {
                Entry::Open { used, .. } => Some((*used, *slot)),
                Entry::Opening(_) => None,
            })
            .min_by_key(|(used, _)| *used)
            .map(|(_, slot)| slot)?;
        match slots.remove(&oldest) {
            Some(Entry::Open { id, .. }) => Some(id),
            _ => None,
        }
    }

    /// Takes a session out of its slot.
    fn take(&self, slot: SessionSlot) -> Option<SessionId> {
        let mut slots = self.slots.borrow_mut();
        if !matches!(slots.get(&slot), Some(Entry::Open { .. })) {
            return None;
        }
        match slots.remove(&slot) {
            Some(Entry::Open { id, .. }) => Some(id),
            _ => None,
        }
    }

    /// Takes every open session, with whose it is.
    fn take_all(&self) -> Vec<(SessionSlot, SessionId)> {
        self.slots
            .borrow_mut()
            .drain()
            .filter_map(|(slot, entry)| match entry {
                Entry::Open { id, .. } => Some((slot, id)),
                Entry::Opening(_) => None,
            })
            .collect()
    }
}

impl HttpServer {
    /// The session for a call if it is open and not the stale one.
    pub(crate) fn open_session(&self, slot: SessionSlot, stale: Option<&str>) -> Option<SessionId> {
        let open = self.sessions.open(slot)?;
        (stale != Some(&*open)).then_some(open)
    }

    /// The session for a call. `stale` is one that the server has just said not to know.
    pub(crate) async fn session(
        self: &Rc<Self>,
        slot: SessionSlot,
        caller: &Caller,
        stale: Option<&str>,
    ) -> Result<SessionId, Fault> {
        if let Some(stale) = stale {
            self.sessions.forget(slot, stale);
        }
        if let Some(open) = self.sessions.open(slot) {
            return Ok(open);
        }
        let (reply, made) = across::bounded(1);
        let home = self.home(slot);
        if home == self.shard.wires.own {
            self.make(slot, caller.clone(), None, reply);
        } else if self.sessions.wait(slot, reply) {
            let (reply, made) = across::bounded(1);
            let SessionSlot::Client(key) = slot else {
                return Err(self.gone());
            };
            let note = Note::Session {
                server: self.id,
                key,
                caller: Box::new(caller.clone()),
                stale: stale.map(Arc::from),
                reply,
            };
            if !self.shard.wires.tell(home, note) {
                self.sessions.settle(slot, Err(self.gone()), None);
            } else {
                let server = Rc::clone(self);
                spawn(async move {
                    let made = made.recv().await.unwrap_or_else(|_| Err(server.gone()));
                    // A session that makes room here is still its home's to end.
                    server.sessions.settle(slot, made, None);
                });
            }
        }
        made.recv().await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Another shard needs a client's session.
    pub(crate) fn make_for(
        self: &Rc<Self>,
        key: SessionKey,
        caller: Caller,
        stale: Option<&str>,
        reply: SessionReply,
    ) {
        self.make(SessionSlot::Client(key), caller, stale, reply);
    }

    /// Makes a session on its home shard, or hands out the one that is there.
    fn make(
        self: &Rc<Self>,
        slot: SessionSlot,
        caller: Caller,
        stale: Option<&str>,
        reply: SessionReply,
    ) {
        if let Some(stale) = stale {
            self.sessions.forget(slot, stale);
        }
        if let Some(open) = self.sessions.open(slot) {
            let _ = reply.try_send(Ok(open));
            return;
        }
        if !self.sessions.wait(slot, reply) {
            return;
        }
        let server = Rc::clone(self);
        spawn(async move {
            let made = server.open(caller.capabilities, &caller.info).await;
            let mut listening = None;
            let made = match made {
                Ok(opened) => {
                    let session = opened.session.clone().unwrap_or_default();
                    if let Some(level) = caller.log_level {
                        server.set_level(&session, opened.revision, level).await;
                    }
                    listening = server.listen_for(slot, &opened);
                    server.watch_again(slot, &session, opened.revision).await;
                    Ok(session)
                }
                Err(problem) => Err(server.fault(problem)),
            };
            if let Some(evicted) = server.sessions.settle(slot, made, listening) {
                server.end(&evicted).await;
            }
        });
    }

    /// Initializes a session (2025-11-25 lifecycle §Initialization).
    pub(crate) async fn open(
        &self,
        capabilities: ClientCapabilities,
        info: &[u8],
    ) -> Result<Opened, Problem> {
        let number = self.next_number();
        let body = requests::initialize(number, capabilities, info);
        let post = Post {
            body: &body,
            ..Post::default()
        };
        let exchange = self.post(post, self.own_limits()).await?;
        let session = session_id(&exchange);
        let message = self.response(exchange, number).await?;
        let (revision, introduction) = probe::handshake(&message).map_err(Problem::Invalid)?;
        let opened = Opened {
            session,
            revision,
            introduction,
        };
        let post = Post {
            body: requests::INITIALIZED,
            revision: Some(revision),
            session: opened.session.as_deref(),
            ..Post::default()
        };
        let exchange = self.post(post, self.own_limits()).await?;
        self.answered(exchange).await?;
        Ok(opened)
    }

    /// Asks something on the gateway's own account within a legacy session.
    pub(crate) async fn ask_legacy(
        &self,
        session: &str,
        revision: Revision,
        build: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Bytes, Problem> {
        let number = self.next_number();
        let body = build(number);
        let post = Post {
            body: &body,
            revision: Some(revision),
            session: Some(session).filter(|session| !session.is_empty()),
            ..Post::default()
        };
        let exchange = self.post(post, self.own_limits()).await?;
        self.response(exchange, number).await
    }

    /// Asks something on the gateway's own account of a modern server.
    pub(crate) async fn ask_modern(
        &self,
        method: &str,
        build: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Bytes, Problem> {
        let number = self.next_number();
        let body = build(number);
        let post = Post {
            body: &body,
            revision: Some(Revision::LATEST),
            method: Some(method),
            ..Post::default()
        };
        let exchange = self.post(post, self.own_limits()).await?;
        self.response(exchange, number).await
    }

    /// Reads the answer to a request of the gateway's own; what else a stream holds is passed
    /// over. An error in the content of an unsuccessful response is an answer.
    async fn response(
        &self,
        exchange: crate::upstream::Exchange,
        number: u64,
    ) -> Result<Bytes, Problem> {
        match self.answered(exchange).await {
            Ok(Answered::Message(message)) => Ok(message),
            Ok(Answered::Accepted) => Err(Problem::Invalid(
                "it accepted a request without answering it".to_owned(),
            )),
            Ok(Answered::Stream(mut stream)) => {
                while let Some(message) = stream.next().await? {
                    let id = super::call::response_id(&message);
                    if id == Some(number) {
                        stream.release();
                        return Ok(message);
                    }
                }
                Err(Problem::Invalid(
                    "the event stream ended without the answer".to_owned(),
                ))
            }
            Err(problem) => Err(problem),
        }
    }

    async fn set_level(&self, session: &str, revision: Revision, level: LogLevel) {
        let build = |id| requests::set_level(id, level.as_str());
        // A server without logging answers with an error, which is as good.
        let _ = self.ask_legacy(session, revision, build).await;
    }

    /// A client said which log messages it wants: tells its session, if it has one. (One that
    /// is made later learns it when it is made.)
    pub(crate) fn change_level(
        self: &Rc<Self>,
        client: &Client,
        revision: Revision,
        level: LogLevel,
    ) {
        let slot = self.slot(client.session, client.capabilities);
        if let Some(session) = self.sessions.open(slot) {
            let server = Rc::clone(self);
            spawn(async move { server.set_level(&session, revision, level).await });
        }
    }

    /// A client's session is over: its home ends the server's.
    pub(crate) fn end_session(self: &Rc<Self>, key: SessionKey) {
        let slot = SessionSlot::Client(key);
        self.watches.forget(key);
        let Some(session) = self.sessions.take(slot) else {
            return;
        };
        if self.home(slot) == self.shard.wires.own {
            let server = Rc::clone(self);
            spawn(async move { server.end(&session).await });
        }
    }

    /// Ends every session that this shard keeps. Those it only remembers are their home's.
    pub(crate) async fn end_all(&self) {
        for (slot, session) in self.sessions.take_all() {
            if self.home(slot) == self.shard.wires.own {
                self.end(&session).await;
            }
        }
    }

    pub(crate) async fn end(&self, session: &str) {
        if !session.is_empty() {
            self.delete(session, Revision::LEGACY_LATEST, self.own_limits())
                .await;
        }
    }

    /// Whose session a client uses.
    pub(crate) fn slot(
        &self,
        session: Option<SessionKey>,
        capabilities: ClientCapabilities,
    ) -> SessionSlot {
        match (self.config.isolate, session) {
            (Isolate::Auto | Isolate::Session, Some(key)) => SessionSlot::Client(key),
            _ => SessionSlot::Shared(capabilities),
        }
    }

    /// Which shard makes and ends the sessions of a slot.
    pub(crate) fn home(&self, slot: SessionSlot) -> u16 {
        match slot {
            SessionSlot::Shared(_) => self.shard.wires.own,
            SessionSlot::Client(key) => {
                let shards = u128::from(self.shard.wires.shards());
                u16::try_from(key.0 % shards).unwrap_or(0)
            }
        }
    }

    fn gone(&self) -> Fault {
        Fault::Unavailable {
            server: Arc::clone(&self.config.name),
            reason: "the shard that keeps the session did not answer".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u128) -> SessionSlot {
        SessionSlot::Client(SessionKey(number))
    }

    #[test]
    fn a_session_is_made_once_and_all_who_wait_get_it() {
        let sessions = Sessions::default();
        let (first, got_first) = across::bounded(1);
        let (second, got_second) = across::bounded(1);
        assert!(sessions.wait(slot(1), first));
        assert!(!sessions.wait(slot(1), second));
        assert_eq!(sessions.settle(slot(1), Ok("s".into()), None), None);
        for got in [got_first, got_second] {
            assert_eq!(got.try_recv().unwrap().unwrap(), "s".into());
        }
        assert_eq!(sessions.open(slot(1)), Some("s".into()));
        sessions.forget(slot(1), "another");
        assert!(sessions.open(slot(1)).is_some());
        sessions.forget(slot(1), "s");
        assert!(sessions.open(slot(1)).is_none());
    }

    #[test]
    fn a_failed_start_is_tried_again_by_the_next_call() {
        let sessions = Sessions::default();
        let fault = Fault::Overloaded {
            server: "x".into(),
            reason: String::new(),
        };
        let (reply, got) = across::bounded(1);
        assert!(sessions.wait(slot(1), reply));
        sessions.settle(slot(1), Err(fault.clone()), None);
        assert_eq!(got.try_recv().unwrap(), Err(fault));
        let (reply, _got) = across::bounded(1);
        assert!(sessions.wait(slot(1), reply));
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let sessions = Sessions::default();
        for number in 0..SESSIONS_MAX as u128 {
            let id = number.to_string();
            let made = Ok(id.as_str().into());
            assert_eq!(sessions.settle(slot(number), made, None), None);
        }
        sessions.open(slot(0));
        let evicted = sessions.settle(slot(u128::MAX), Ok("new".into()), None);
        assert_eq!(evicted, Some("1".into()));
        assert!(sessions.open(slot(0)).is_some());
    }
}
