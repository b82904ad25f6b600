//! Requests of legacy clients (2024-11-05 … 2025-11-25): a handshake, a sealed session, a GET
//! stream, batches in the one revision that has them.

use core::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use super::Scope;
use super::asks::Place;
use super::dispatch::{Asked, Started, no_resource};
use super::endpoint::{Accept, headers, json, refuse};
use super::gateway::Gateway;
use super::link::{Client, LogLevel, ServerId, SessionKey};
use super::listen::QUEUE_EVENTS_MAX;
use super::peers::{PeerMessage, SubscriptionChange};
use super::sessions::Full;
use super::sse;
use super::streams::{Listener, Open, send};
use super::view::can_subscribe;
use crate::base::channel::bounded;
use crate::base::clock::Now;
use crate::http::{Body, Known, RequestHead, Response};
use crate::mcp::era;
use crate::mcp::jsonrpc::{
    self, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND,
};
use crate::mcp::method::Method;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::scan::{Kind, Message, batch};
use crate::mcp::session::Session;
use crate::metrics::Counter;

/// Messages in one batch.
const BATCH_MAX: usize = 64;

/// Who sends a legacy message.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    client: Rc<Client>,
    session: Option<Rc<Session>>,
    now: Now,
}

impl Sender {
    pub(super) fn new(client: Client, session: Session, now: Now) -> Self {
        Self {
            client: Rc::new(client),
            session: Some(Rc::new(session)),
            now,
        }
    }

    fn key(&self) -> Option<SessionKey> {
        self.client.session
    }
}

impl Gateway {
    pub(super) async fn legacy(
        self: &Rc<Self>,
        scope: Scope,
        (head, accept, now): (&RequestHead, Accept, Now),
        (bytes, parts): (Bytes, Message),
        response: &mut Response,
    ) {
        if parts.kind == Kind::Request && parts.method == Some(Method::Initialize) {
            return self
                .initialize(scope, (&bytes, &parts), now, response)
                .await;
        }
        let sender = match self.sender(head, now) {
            Ok(sender) => sender,
            Err((status, why)) => return refuse(response, status, &why),
        };
        match parts.kind {
            Kind::Request => match self.local(scope, &sender, &bytes, &parts) {
                Ok(started) => self.finish(started, response, accept),
                Err(asked) => self.answer(*asked, accept, response).await,
            },
            _ => match self.note(&sender, &bytes, &parts) {
                Ok(()) => response.status = 202,
                Err(why) => refuse(response, 400, why),
            },
        }
    }

    /// A JSON array: 2025-03-26 basic/index §Batching, removed by 2025-06-18.
    pub(super) async fn batch(
        self: &Rc<Self>,
        scope: Scope,
        (head, accept, now): (&RequestHead, Accept, Now),
        bytes: Bytes,
        response: &mut Response,
    ) {
        let sender = match self.sender(head, now) {
            Ok(sender) => sender,
            Err((status, why)) => return refuse(response, status, &why),
        };
        if sender.client.revision != Revision::V2025_03_26 {
            return refuse(response, 400, "Only revision 2025-03-26 has batches");
        }
        let spans = match batch(&bytes, BATCH_MAX) {
            Ok(spans) => spans,
            Err(error) => {
                let error = jsonrpc::error(b"", error.code(), &error.to_string(), None);
                return json(response, 400, error);
            }
        };
        let mut begun = Vec::new();
        for span in spans {
            let one = bytes.slice(span.range());
            begun.extend(self.begin(scope, &sender, one).await);
        }
        if begun.is_empty() {
            response.status = 202;
        } else {
            self.answer_batch(begun, accept, response).await;
        }
    }

    /// One message of a batch: what it begins, if it is to be answered.
    async fn begin(
        self: &Rc<Self>,
        scope: Scope,
        sender: &Sender,
        bytes: Bytes,
    ) -> Option<(Asked, Started)> {
        let asked = |parts, method| Asked {
            bytes: bytes.clone(),
            parts,
            method,
            client: Rc::clone(&sender.client),
            scope,
        };
        let parts = match Message::scan(&bytes) {
            Ok(parts) => parts,
            Err(refused) => {
                let asked = asked(Message::default(), Method::Ping);
                let started = asked.refuse(refused.error.code(), &refused.error.to_string(), None);
                return Some((asked, started));
            }
        };
        if parts.kind != Kind::Request {
            let _ = self.note(sender, &bytes, &parts);
            return None;
        }
        if parts.method == Some(Method::Initialize) {
            let asked = asked(parts, Method::Initialize);
            let why = "initialize must not be part of a batch";
            let started = asked.refuse(INVALID_REQUEST, why, None);
            return Some((asked, started));
        }
        match self.local(scope, sender, &bytes, &parts) {
            Ok(started) => Some((asked(parts, Method::Ping), started)),
            Err(request) => {
                let started = self.start((*request).clone()).await;
                Some((*request, started))
            }
        }
    }

    async fn initialize(
        &self,
        scope: Scope,
        (bytes, parts): (&Bytes, &Message),
        now: Now,
        response: &mut Response,
    ) {
        let id = parts.id.of(bytes);
        if !parts.offered_version.is_some() {
            let why = "params.protocolVersion is missing";
            return json(response, 200, jsonrpc::error(id, INVALID_PARAMS, why, None));
        }
        let revision = era::negotiate(&Message::text(bytes, parts.offered_version));
        let capabilities = era::capabilities(parts.offered_capabilities.of(bytes));
        let info = parts.offered_info.of(bytes);
        let home = self.peers.own();
        let sealed = Session::begin(revision, capabilities, info, home, now.unix.as_secs())
            .and_then(|session| session.seal(&self.sealer));
        let Ok(session_id) = sealed else {
            let why = "the system gives no random numbers";
            return json(response, 500, jsonrpc::error(id, INTERNAL_ERROR, why, None));
        };
        // The client asks for capabilities once and for all: let servers say theirs.
        self.settle(scope).await;
        let view = self.view(scope);
        json(response, 200, view.about.initialize(id, revision));
        response
            .headers
            .push(b"Mcp-Session-Id", session_id.as_bytes());
    }

    /// Who speaks, or with which status they are refused.
    fn sender(&self, head: &RequestHead, now: Now) -> Result<Sender, (u16, String)> {
        let header = headers(head).version;
        let said = era::legacy(header).map_err(|refusal| (refusal.status, refusal.message));
        let session = match self.session(head, now) {
            None => None,
            Some(Ok(session)) => Some(session),
            Some(Err(why)) => return Err((404, why)),
        };
        // A request of a session speaks the session's revision, whatever known one it names.
        let said = said?;
        let client = match &session {
            None => Client {
                revision: said,
                capabilities: Default::default(),
                session: None,
                info: Bytes::new(),
                log_level: None,
            },
            Some(session) => self.client(session),
        };
        Ok(Sender {
            client: Rc::new(client),
            session: session.map(Rc::new),
            now,
        })
    }

    /// Who a session's client is.
    fn client(&self, session: &Session) -> Client {
        let key = SessionKey(session.key);
        Client {
            revision: session.revision,
            capabilities: session.capabilities,
            session: Some(key),
            info: session.client_info.clone().into(),
            log_level: self.sessions.borrow().log_level(key),
        }
    }

    fn session(&self, head: &RequestHead, now: Now) -> Option<Result<Session, String>> {
        let id = head.header(Known::McpSessionId)?;
        let opened = Session::open(&self.sealer, id, now.unix.as_secs());
        Some(match opened {
            Ok(session) if self.sessions.borrow().is_revoked(SessionKey(session.key)) => {
                Err("the session has ended; initialize again".to_owned())
            }
            Ok(session) => Ok(session),
            Err(error) => Err(format!("{error}; initialize again")),
        })
    }

    /// Notifications and answers.
    pub(super) fn note(
        &self,
        sender: &Sender,
        bytes: &Bytes,
        parts: &Message,
    ) -> Result<(), &'static str> {
        match (parts.kind, parts.method, sender.key()) {
            (Kind::Notification, Some(Method::Cancelled), Some(session)) => {
                let request = bytes.slice(parts.request_id.range());
                self.cancel_here(session, request.clone());
                self.spread(&PeerMessage::Cancel { session, request });
                Ok(())
            }
            (Kind::Notification, Some(Method::RootsChanged), Some(_)) => {
                for (_, _, link) in self.links_of(Scope::Merged) {
                    link.notify(&sender.client, bytes.clone());
                }
                Ok(())
            }
            (Kind::Notification, ..) => Ok(()),
            (_, _, None) => Err("An answer needs the Mcp-Session-Id of its session"),
            (_, _, Some(session)) => {
                let id = parts.id.of(bytes);
                let place = Place::open(&self.sealer, session, id)
                    .ok_or("This answers no request of this gateway")?;
                if place.shard == self.peers.own() {
                    // One that waits no more has been cancelled or has timed out: not the
                    // client's fault.
                    let mut asks = self.asks.borrow_mut();
                    asks.settle(session, place.ticket, bytes);
                } else {
                    let answer = PeerMessage::Answer {
                        session,
                        ticket: place.ticket,
                        message: bytes.clone(),
                    };
                    self.tell(place.shard, answer);
                }
                Ok(())
            }
        }
    }

    /// Answers what concerns the session alone; gives back what servers must answer.
    pub(super) fn local(
        &self,
        scope: Scope,
        sender: &Sender,
        bytes: &Bytes,
        parts: &Message,
    ) -> Result<Started, Box<Asked>> {
        let known = parts
            .method
            .filter(|method| method.is_request_in(Era::Legacy));
        let asked = Asked {
            bytes: bytes.clone(),
            parts: *parts,
            method: known.unwrap_or(Method::Ping),
            client: Rc::clone(&sender.client),
            scope,
        };
        let Some(method) = known else {
            let name = crate::mcp::scan::decode(parts.method_text.of(bytes));
            let why = format!("Method not found: {name}");
            return Ok(asked.refuse(METHOD_NOT_FOUND, &why, None));
        };
        match method {
            Method::Ping => Ok(asked.result(b"{}")),
            Method::SetLevel => Ok(self.set_level(sender, &asked)),
            Method::ResourcesSubscribe => Ok(self.subscribe(sender, &asked, true)),
            Method::ResourcesUnsubscribe => Ok(self.subscribe(sender, &asked, false)),
            _ => Err(Box::new(asked)),
        }
    }

    fn set_level(&self, sender: &Sender, asked: &Asked) -> Started {
        let Some(session) = &sender.session else {
            return asked.refuse(INVALID_REQUEST, NEEDS_SESSION, None);
        };
        if !self.view(asked.scope).about.features.logging {
            return asked.refuse(METHOD_NOT_FOUND, "No server of this gateway logs", None);
        }
        let level = Message::text(&asked.bytes, asked.parts.level);
        let Some(level) = LogLevel::parse(&level) else {
            return asked.refuse(INVALID_PARAMS, "params.level is not a log level", None);
        };
        let key = SessionKey(session.key);
        let noted = self.sessions.borrow_mut().set_log_level(
            key,
            level,
            session.expires,
            sender.now.unix.as_secs(),
        );
        if let Err(full) = noted {
            self.recorder.count(Counter::RefusedNotes);
            return asked.refuse(INTERNAL_ERROR, &full.to_string(), None);
        }
        self.spread(&PeerMessage::LogLevel {
            session: key,
            level,
            expires: session.expires,
        });
        for (_, _, link) in self.links_of(asked.scope) {
            link.set_log_level(&sender.client, level);
        }
        asked.result(b"{}")
    }

    fn subscribe(&self, sender: &Sender, asked: &Asked, subscribed: bool) -> Started {
        let Some(session) = &sender.session else {
            return asked.refuse(INVALID_REQUEST, NEEDS_SESSION, None);
        };
        if !asked.parts.uri.is_some() {
            return asked.refuse(INVALID_PARAMS, "params.uri is missing", None);
        }
        let uri = Message::text(&asked.bytes, asked.parts.uri);
        let Some(server) = self.view(asked.scope).catalog.reader(&uri) else {
            return no_resource(asked, &uri);
        };
        let state = self.state(ServerId(server));
        if !state.is_some_and(|state| can_subscribe(&state)) {
            let why = "The server of this resource does not tell of its changes";
            return asked.refuse(METHOD_NOT_FOUND, why, None);
        }
        let change = SubscriptionChange {
            session: SessionKey(session.key),
            server: ServerId(server),
            uri: uri.into(),
            subscribed,
            expires: session.expires,
        };
        match self.subscribe_here(&change) {
            Ok(()) => {
                self.spread(&PeerMessage::Subscribe(change));
                asked.result(b"{}")
            }
            Err(full) => {
                self.recorder.count(Counter::RefusedNotes);
                asked.refuse(INTERNAL_ERROR, &full.to_string(), None)
            }
        }
    }

    /// Notes a session's subscription, and watches for it if the session listens here.
    pub(super) fn subscribe_here(&self, change: &SubscriptionChange) -> Result<(), Full> {
        let now = Now::read().unix.as_secs();
        let (session, server) = (change.session, change.server);
        let mut sessions = self.sessions.borrow_mut();
        let changed = if change.subscribed {
            sessions.subscribe(session, server, &change.uri, change.expires, now)?
        } else {
            sessions.unsubscribe(session, server, &change.uri)
        };
        drop(sessions);
        if changed && let Some((_, listener)) = self.streams.borrow().listener(session) {
            let mut watched = listener.watched.borrow_mut();
            if change.subscribed {
                watched.push((server, change.uri.clone()));
            } else {
                watched.retain(|known| *known != (server, change.uri.clone()));
            }
            self.watch(server, &listener.client, &change.uri, change.subscribed);
        }
        Ok(())
    }

    /// The stream on which a session hears what belongs to no request.
    pub(super) fn get(&self, scope: Scope, head: &RequestHead, now: Now, response: &mut Response) {
        let session = match self.session(head, now) {
            Some(Ok(session)) => session,
            Some(Err(why)) => return refuse(response, 404, &why),
            None => return no_method(response),
        };
        if !Accept::events(head) {
            return refuse(response, 406, "Accept must allow text/event-stream");
        }
        let key = SessionKey(session.key);
        // One stream a session: a second one means that the client lost the first.
        self.stop_listening(key);
        self.spread(&PeerMessage::Listening(key));
        let (pieces, receiver) = bounded(QUEUE_EVENTS_MAX);
        let first = send(&pieces, sse::HEARTBEAT);
        let client = Rc::new(self.client(&session));
        let watched = self.sessions.borrow().subscriptions(key);
        let listener = Listener {
            session: key,
            client: Rc::clone(&client),
            scope,
            watched: RefCell::new(watched.clone()),
            pieces,
        };
        if first.is_err() || self.open(Open::Listening(listener)).is_err() {
            return refuse(response, 503, "Too many streams are open on this gateway");
        }
        for (server, uri) in watched {
            self.watch(server, &client, &uri, true);
        }
        sse::head(response);
        response.body = Body::Stream(receiver);
    }

    /// Ends a session.
    pub(super) fn delete(&self, head: &RequestHead, now: Now, response: &mut Response) {
        let session = match self.session(head, now) {
            Some(Ok(session)) => session,
            Some(Err(why)) => return refuse(response, 404, &why),
            None => return no_method(response),
        };
        let (key, expires) = (SessionKey(session.key), session.expires);
        self.revoke_here(key, expires);
        self.spread(&PeerMessage::Revoke {
            session: key,
            expires,
        });
        response.status = 204;
    }

    pub(super) fn revoke_here(&self, session: SessionKey, expires: u64) {
        let now = Now::read().unix.as_secs();
        self.stop_listening(session);
        let declined = self.asks.borrow_mut().forget(session);
        drop(declined);
        if !self.sessions.borrow_mut().revoke(session, expires, now) {
            self.recorder.count(Counter::ForgottenRevocations);
        }
        for (_, _, link) in self.links_of(Scope::Merged) {
            link.end_session(session);
        }
    }
}

const NEEDS_SESSION: &str = "This method needs the Mcp-Session-Id of a session";

/// 405: GET and DELETE belong to sessions.
fn no_method(response: &mut Response) {
    refuse(
        response,
        405,
        "GET and DELETE need an Mcp-Session-Id; send messages with POST",
    );
    response.headers.push(b"Allow", b"POST, OPTIONS");
}
