//! The transport of revision 2024-11-05 for clients, HTTP+SSE: a GET stream that first says where
//! to post, then carries every message of the servers.
//!
//! The address to post to is given out before the client has said anything, so it cannot hold
//! what `initialize` agrees on, as the id of a session does. It names, sealed, the shard and the
//! stream; posts are handed to that shard, and what the client said is kept with its stream.

use core::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::Scope;
use super::endpoint::{HttpRequest, is_json, read_message, refuse};
use super::gateway::Gateway;
use super::legacy::Sender;
use super::link::{Client, SessionKey};
use super::listen::QUEUE_EVENTS_MAX;
use super::peers::{PeerMessage, Posted};
use super::slots::Key;
use super::sse;
use super::streams::{Listener, Open, Pieces, send};
use crate::base::channel::bounded;
use crate::base::clock::Now;
use crate::http::sse::write_event;
use crate::http::{Body, Method as HttpMethod, RequestHead, Response};
use crate::mcp::era;
use crate::mcp::jsonrpc::{self, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST};
use crate::mcp::method::Method;
use crate::mcp::scan::{Kind, Message};
use crate::mcp::seal::Purpose;
use crate::mcp::session::Session;
use crate::net::across;
use crate::net::timer::within;

/// Sets these addresses apart from session ids.
const CONTEXT: &[u8] = b"sse";
/// How long another shard may take to take a message.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);
/// How long a client's session is remembered as over: until what still runs for it has ended.
const REMEMBERED_SECONDS: u64 = 3600;

/// A client's stream.
pub(super) struct Channel {
    scope: Scope,
    pieces: Pieces,
    /// Its place among the open streams.
    place: Cell<Key>,
    /// Who the client is, once it has said so.
    client: RefCell<Option<Rc<Client>>>,
}

/// The streams of one shard.
pub(super) type Channels = HashMap<SessionKey, Rc<Channel>>;

impl Gateway {
    /// Answers a request to `/sse` or `/messages`.
    pub(super) async fn former(
        self: &Rc<Self>,
        scope: Scope,
        request: HttpRequest<'_>,
        response: &mut Response,
    ) {
        match request.head.method {
            HttpMethod::Get => self.open_channel(scope, request.head, response),
            HttpMethod::Post => self.post_to_channel(request, response).await,
            _ => {
                refuse(response, 405, "GET opens the stream, POST sends a message");
                response.headers.push(b"Allow", b"GET, POST, OPTIONS");
            }
        }
    }

    fn open_channel(&self, scope: Scope, head: &RequestHead, response: &mut Response) {
        if !super::endpoint::Accept::events(head) {
            return refuse(response, 406, "Accept must allow text/event-stream");
        }
        let Some((key, address)) = self.new_address() else {
            return refuse(response, 500, "the system gives no random numbers");
        };
        let (pieces, receiver) = bounded(QUEUE_EVENTS_MAX);
        let mut first = Vec::new();
        write_event(Some("endpoint"), None, address.as_bytes(), &mut first);
        let sent = send(&pieces, first.into());
        let place = match (sent, self.open(Open::Call(pieces.clone()))) {
            (Ok(()), Ok(place)) => place,
            _ => return refuse(response, 503, "Too many streams are open on this gateway"),
        };
        let channel = Channel {
            scope,
            pieces,
            place: Cell::new(place),
            client: RefCell::default(),
        };
        self.channels.borrow_mut().insert(key, Rc::new(channel));
        sse::head(response);
        response.body = Body::Stream(receiver);
    }

    fn new_address(&self) -> Option<(SessionKey, String)> {
        let mut key = [0; 16];
        aws_lc_rs::rand::fill(&mut key).ok()?;
        let mut state = self.peers.own().to_be_bytes().to_vec();
        state.extend_from_slice(&key);
        let sealed = self.sealer.seal(Purpose::Session, CONTEXT, &state).ok()?;
        let key = SessionKey(u128::from_be_bytes(key));
        Some((key, format!("/messages?session={sealed}")))
    }

    /// Which stream a request's address names, and on which shard that is.
    fn named_channel(&self, head: &RequestHead) -> Option<(u16, SessionKey)> {
        let mut parameters = head.query().trim_start_matches('?').split('&');
        let sealed = parameters.find_map(|parameter| parameter.strip_prefix("session="))?;
        let state = self
            .sealer
            .open(Purpose::Session, CONTEXT, sealed.as_bytes());
        let state = state.ok()?;
        let (shard, key) = state.split_first_chunk::<2>()?;
        let key = u128::from_be_bytes(key.try_into().ok()?);
        Some((u16::from_be_bytes(*shard), SessionKey(key)))
    }

    async fn post_to_channel(self: &Rc<Self>, request: HttpRequest<'_>, response: &mut Response) {
        if !is_json(request.head) {
            return refuse(response, 415, "Content-Type must be application/json");
        }
        let named = self.named_channel(request.head);
        let max = self.body_bytes_max(&request);
        let Some(message) = read_message(request.body, max, response).await else {
            return;
        };
        let is_taken = match named {
            None => false,
            Some((shard, session)) if shard == self.peers.own() => self.posted(session, message),
            Some((shard, session)) => self.hand_over(shard, session, message).await,
        };
        if is_taken {
            response.status = 202;
        } else {
            refuse(response, 404, "No such stream; open it again with GET /sse");
        }
    }

    async fn hand_over(&self, shard: u16, session: SessionKey, message: Bytes) -> bool {
        let (taken, is_taken) = across::bounded(1);
        let posted = Posted {
            session,
            message,
            taken,
        };
        self.peers.tell(shard, PeerMessage::Posted(posted)).is_ok()
            && within(HAND_OVER_MAX, is_taken.recv()).await == Ok(Ok(true))
    }

    /// Takes a client's message, if its stream is open here.
    pub(super) fn posted(self: &Rc<Self>, session: SessionKey, message: Bytes) -> bool {
        let channel = self.channels.borrow().get(&session).cloned();
        let Some(channel) = channel.filter(|channel| !channel.pieces.is_closed()) else {
            return false;
        };
        let gateway = Rc::clone(self);
        self.tasks.spawn(async move {
            if let Some(answer) = gateway.converse(session, &channel, message).await {
                let _ = channel.pieces.send(Ok(sse::frame(&answer))).await;
            }
        });
        true
    }

    /// Deals with one message. What is at hand as its answer is returned; what is not goes to
    /// the stream by itself.
    async fn converse(
        self: &Rc<Self>,
        session: SessionKey,
        channel: &Rc<Channel>,
        bytes: Bytes,
    ) -> Option<Bytes> {
        let parts = match Message::scan(&bytes) {
            Ok(parts) => parts,
            Err(refused) => {
                let error = refused.error;
                return Some(jsonrpc::error(b"", error.code(), &error.to_string(), None));
            }
        };
        let is_request = parts.kind == Kind::Request;
        if is_request && parts.method == Some(Method::Initialize) {
            return Some(self.introduce(session, channel, (&bytes, &parts)).await);
        }
        let known = channel.client.borrow().clone();
        let Some(client) = known else {
            let why = "the first request of a session is initialize";
            let id = parts.id.of(&bytes);
            return is_request.then(|| jsonrpc::error(id, INVALID_REQUEST, why, None));
        };
        let sender = self.channel_sender(session, &client);
        if !is_request {
            // The post has been answered: an error would reach nobody.
            let _ = self.note(&sender, &bytes, &parts);
            return None;
        }
        match self.local(channel.scope, &sender, &bytes, &parts) {
            Ok(started) => self.at_hand(started),
            Err(asked) => {
                let started = self.start((*asked).clone()).await;
                self.answer_on(&asked, started, &channel.pieces).await
            }
        }
    }

    /// `initialize`
    async fn introduce(
        &self,
        session: SessionKey,
        channel: &Channel,
        (bytes, parts): (&Bytes, &Message),
    ) -> Bytes {
        let id = parts.id.of(bytes);
        if channel.client.borrow().is_some() {
            let why = "this session has been initialized already";
            return jsonrpc::error(id, INVALID_REQUEST, why, None);
        }
        if !parts.offered_version.is_some() {
            let why = "params.protocolVersion is missing";
            return jsonrpc::error(id, INVALID_PARAMS, why, None);
        }
        let client = Rc::new(Client {
            revision: era::negotiate(&Message::text(bytes, parts.offered_version)),
            capabilities: era::capabilities(parts.offered_capabilities.of(bytes)),
            session: Some(session),
            info: bytes.slice(parts.offered_info.range()),
            log_level: None,
        });
        *channel.client.borrow_mut() = Some(Rc::clone(&client));
        // From now on it hears what belongs to no request.
        self.close(channel.place.get());
        let listener = Listener {
            session,
            client: Rc::clone(&client),
            scope: channel.scope,
            watched: RefCell::default(),
            pieces: channel.pieces.clone(),
        };
        match self.open(Open::Listening(listener)) {
            Ok(place) => channel.place.set(place),
            Err(_) => {
                self.channels.borrow_mut().remove(&session);
                let why = "too many streams are open on this gateway";
                return jsonrpc::error(id, INTERNAL_ERROR, why, None);
            }
        }
        self.settle(channel.scope).await;
        let view = self.view(channel.scope);
        view.about.initialize(id, client.revision)
    }

    fn channel_sender(&self, session: SessionKey, client: &Client) -> Sender {
        let now = Now::read();
        let seconds = now.unix.as_secs();
        let of_session = Session {
            key: session.0,
            revision: client.revision,
            capabilities: client.capabilities,
            issued: seconds,
            expires: seconds + REMEMBERED_SECONDS,
            home: self.peers.own(),
            client_info: Vec::new(),
        };
        let client = Client {
            log_level: self.sessions.borrow().log_level(session),
            ..client.clone()
        };
        Sender::new(client, of_session, now)
    }

    /// Forgets the streams whose clients have gone, and what was kept for them everywhere.
    pub(super) fn sweep_channels(&self) {
        let is_over = |session: SessionKey, channel: &Channel| {
            let is_known = channel.client.borrow().is_some();
            // A client that did not keep up has lost its place.
            let is_cut = is_known && self.streams.borrow().listener(session).is_none();
            channel.pieces.is_closed() || is_cut
        };
        let over: Vec<_> = {
            let channels = self.channels.borrow();
            let over = channels
                .iter()
                .filter(|(key, channel)| is_over(**key, channel));
            over.map(|(key, _)| *key).collect()
        };
        for session in over {
            self.channels.borrow_mut().remove(&session);
            let expires = Now::read().unix.as_secs() + REMEMBERED_SECONDS;
            self.revoke_here(session, expires);
            self.spread(&PeerMessage::Revoke { session, expires });
        }
    }

    /// Ends every stream; for a shard that drains. Calls under way still send their answers.
    pub(super) fn close_channels(&self) {
        let channels = core::mem::take(&mut *self.channels.borrow_mut());
        for channel in channels.values() {
            self.close(channel.place.get());
        }
    }
}
