//! What belongs to a client's session at a server but to none of its calls: the session's GET
//! stream with log messages, updates and requests, and the resources it subscribes to. Kept by
//! the client's home shard.

use core::pin::pin;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::session::{Opened, SessionId, SessionSlot};
use super::{HttpServer, Post};
use crate::base::channel::{self, Sender, bounded};
use crate::handler::mcp::link::{Answer, Event, SessionKey};
use crate::handler::mcp::upstream::listen::{Said, listen_legacy};
use crate::handler::mcp::upstream::requests;
use crate::handler::mcp::upstream::wire::{Asked, Caller, Note, Watch};
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use crate::net::across;
use crate::net::spawn;
use crate::net::timer::race;

/// Calls under way by client session: where a request of the server can go that came over none
/// of their streams.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_session: RefCell<HashMap<SessionKey, Vec<Flying>>>,
    last: Cell<u64>,
}

#[derive(Debug)]
struct Flying {
    number: u64,
    caller: Caller,
    out: Sender<Event>,
}

/// Takes a call out of the list when it is over.
pub(super) struct Listed {
    server: Rc<HttpServer>,
    session: SessionKey,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut flights = self.server.flights.by_session.borrow_mut();
        if let Some(flying) = flights.get_mut(&self.session) {
            flying.retain(|flying| flying.number != self.number);
            if flying.is_empty() {
                flights.remove(&self.session);
            }
        }
    }
}

/// The resources that clients watch in their own sessions, with how many streams of a client do.
#[derive(Debug, Default)]
pub(crate) struct Watches(RefCell<HashMap<SessionKey, BTreeMap<Box<str>, usize>>>);

impl Watches {
    /// Counts a watcher in or out. `true` if the server has to be told.
    fn count(&self, key: SessionKey, uri: &str, watching: bool) -> bool {
        let mut watches = self.0.borrow_mut();
        let of_client = watches.entry(key).or_default();
        let count = of_client.entry(uri.into()).or_insert(0);
        let before = *count;
        *count = if watching {
            before + 1
        } else {
            before.saturating_sub(1)
        };
        let has_changed = (before == 0) != (*count == 0);
        of_client.retain(|_, count| *count > 0);
        if of_client.is_empty() {
            watches.remove(&key);
        }
        has_changed
    }

    fn of(&self, key: SessionKey) -> Vec<Box<str>> {
        let watches = self.0.borrow();
        let uris = watches.get(&key).map(|uris| uris.keys().cloned());
        uris.into_iter().flatten().collect()
    }

    /// Forgets a client whose session is over.
    pub(super) fn forget(&self, key: SessionKey) {
        self.0.borrow_mut().remove(&key);
    }
}

impl HttpServer {
    /// Lists a call, if it is made in its client's own session.
    pub(super) fn list(
        self: &Rc<Self>,
        slot: Option<SessionSlot>,
        caller: &Caller,
        out: &Sender<Event>,
    ) -> Option<Listed> {
        let Some(SessionSlot::Client(session)) = slot else {
            return None;
        };
        let number = self.flights.last.get() + 1;
        self.flights.last.set(number);
        let flying = Flying {
            number,
            caller: caller.clone(),
            out: out.clone(),
        };
        let mut flights = self.flights.by_session.borrow_mut();
        flights.entry(session).or_default().push(flying);
        Some(Listed {
            server: Rc::clone(self),
            session,
            number,
        })
    }

    /// Listens to a client's session. The listening ends when the result is dropped.
    pub(super) fn listen_for(
        self: &Rc<Self>,
        slot: SessionSlot,
        opened: &Opened,
    ) -> Option<Sender<()>> {
        let SessionSlot::Client(key) = slot else {
            return None;
        };
        let session = opened.session.clone()?;
        let place = self.listeners.enter()?;
        let (sender, mut wanted) = channel::bounded(1);
        let (server, revision) = (Rc::clone(self), opened.revision);
        spawn(async move {
            let _place = place;
            let said = |said| match said {
                Said::Outside(outside) => server.outside(outside, Some(key)),
                Said::Request(request) => {
                    let asked = Asked {
                        session: Arc::clone(&session),
                        revision,
                        request,
                    };
                    spawn(Rc::clone(&server).ask_client(key, asked));
                }
                // The next call notices and makes a new session.
                Said::Gap | Said::Lost => {}
            };
            let listening = pin!(listen_legacy(&server, &session, revision, said));
            race(listening, wanted.recv()).await;
        });
        Some(sender)
    }

    /// Puts a request of the server to a client over one of its calls, on whichever shard one
    /// is under way; else over its GET stream.
    async fn ask_client(self: Rc<Self>, key: SessionKey, asked: Asked) {
        if self.ask_here(key, &asked) {
            return;
        }
        for shard in 0..self.shard.wires.shards() {
            if shard == self.shard.wires.own {
                continue;
            }
            let (reply, taken) = across::bounded(1);
            let note = Note::Ask {
                server: self.id,
                key,
                asked: Box::new(asked.clone()),
                reply,
            };
            if self.shard.wires.tell(shard, note) && taken.recv().await == Ok(true) {
                return;
            }
        }
        let answer = self.shard.ask_listener(key, &asked.request).await;
        let answer = answer.unwrap_or_else(|refusal| refusal);
        self.post_aside(&answer, &asked.session, asked.revision)
            .await;
    }

    /// Puts a request to a client over its newest call on this shard, if it has one.
    pub(crate) fn ask_here(self: &Rc<Self>, key: SessionKey, asked: &Asked) -> bool {
        let out = {
            let flights = self.flights.by_session.borrow();
            let newest = flights.get(&key).and_then(|flying| flying.last());
            let Some(newest) = newest.filter(|newest| newest.caller.can(asked.request.method))
            else {
                return false;
            };
            newest.out.clone()
        };
        let (sender, mut answered) = bounded(1);
        let id = asked.request.id.clone();
        let declined = requests::refusal(&id, -32603, "the client did not answer");
        let event = Event::Request {
            message: asked.request.message.clone(),
            answer: Answer { id, sender },
        };
        if out.try_send(event).is_err() {
            return false;
        }
        let body = async move { answered.recv().await.unwrap_or(declined) };
        spawn(self.aside(&asked.session, asked.revision, body));
        true
    }

    /// Posts a message, once it is there, within a session.
    pub(crate) fn aside(
        self: &Rc<Self>,
        session: &SessionId,
        revision: Revision,
        body: impl Future<Output = Bytes> + 'static,
    ) -> impl Future<Output = ()> + 'static {
        let (server, session) = (Rc::clone(self), Arc::clone(session));
        async move {
            let body = body.await;
            server.post_aside(&body, &session, revision).await;
        }
    }

    /// Posts a message that is no request within a session; failures are only logged.
    pub(crate) async fn post_aside(&self, body: &[u8], session: &str, revision: Revision) {
        let post = Post {
            body,
            revision: Some(revision),
            session: Some(session).filter(|session| !session.is_empty()),
            ..Post::default()
        };
        let outcome = match self.post(post, self.own_limits()).await {
            Ok(exchange) => self.answered(exchange).await.map(drop),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = outcome {
            let (name, reason) = (&self.config.name, problem.reason());
            self.shard.log().debug(
                "mcp",
                format_args!("server {name}: a notification failed: {reason}"),
            );
        }
    }

    /// Passes a client's notification on, if it has a session.
    pub(crate) fn notify(self: &Rc<Self>, slot: SessionSlot, revision: Revision, message: Bytes) {
        if let Some(session) = self.open_session(slot, None) {
            spawn(self.aside(&session, revision, ready(message)));
        }
    }

    /// A client watches a resource in its own session, or no longer; on its home shard.
    pub(crate) fn watch_for(self: &Rc<Self>, watch: Watch) {
        if !self.watches.count(watch.key, &watch.uri, watch.watching) {
            return;
        }
        let server = Rc::clone(self);
        spawn(async move {
            let slot = SessionSlot::Client(watch.key);
            let Ok(session) = server.session(slot, &watch.caller, None).await else {
                return;
            };
            let method = match watch.watching {
                true => Method::ResourcesSubscribe,
                false => Method::ResourcesUnsubscribe,
            };
            server
                .subscribe(&session, watch.revision, method, &watch.uri)
                .await;
        });
    }

    /// Subscribes a new session to what its client watches.
    pub(super) async fn watch_again(&self, slot: SessionSlot, session: &str, revision: Revision) {
        let SessionSlot::Client(key) = slot else {
            return;
        };
        for uri in self.watches.of(key) {
            self.subscribe(session, revision, Method::ResourcesSubscribe, &uri)
                .await;
        }
    }

    async fn subscribe(&self, session: &str, revision: Revision, method: Method, uri: &str) {
        let build = |id| requests::subscription(id, method.as_str(), uri);
        // A refusal is the server's last word on this resource.
        let _ = self.ask_legacy(session, revision, build).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_told_of_the_first_watcher_and_the_last() {
        let (watches, key) = (Watches::default(), SessionKey(1));
        assert!(watches.count(key, "u:1", true));
        assert!(!watches.count(key, "u:1", true));
        assert!(watches.count(key, "u:2", true));
        assert_eq!(watches.of(key).len(), 2);
        assert!(!watches.count(key, "u:1", false));
        assert!(watches.count(key, "u:1", false));
        assert!(!watches.count(key, "u:1", false));
        assert_eq!(watches.of(key), ["u:2".into()]);
        watches.forget(key);
        assert!(watches.of(key).is_empty());
    }
}
