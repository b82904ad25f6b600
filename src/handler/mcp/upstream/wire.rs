//! What the shards tell each other about servers: calls go to the shard that owns a server's
//! channel, knowledge of a server goes from its owner to all.

use std::sync::Arc;

use bytes::Bytes;

use super::mux::ServerRequest;
use super::route::Route;
use crate::handler::mcp::link::{
    Client, ClientCapabilities, Fault, LogLevel, Outcome, ServerId, SessionKey,
};
use crate::mcp::method::Method;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::scan::Message;
use crate::net::across;
use crate::net::across::{Receiver, Sender};

/// Notes that may wait for a shard. Each is one call or less; a shard that lets this many pile
/// up is stuck, and its callers are told so.
const NOTES_MAX: usize = 4096;
/// Events of one call that may wait for its client. Beyond it notifications are dropped, so
/// that a slow client does not hold up the others on the same channel.
const EVENTS_MAX: usize = 64;
/// Places kept free for what must not be dropped: requests of the server, the answer.
const EVENTS_RESERVED: usize = 16;

/// Names one call across shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// Who calls, without the parts that stay on a shard.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) era: Era,
    pub(crate) revision: Revision,
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) session: Option<SessionKey>,
    pub(crate) info: Bytes,
    pub(crate) log_level: Option<LogLevel>,
}

/// A call on its way to another shard.
#[derive(Debug)]
pub(crate) struct SentCall {
    pub(crate) ticket: Ticket,
    pub(crate) message: Bytes,
    pub(crate) parts: Message,
    pub(crate) caller: Caller,
    pub(crate) events: Events,
}

impl Caller {
    pub(crate) fn of(client: &Client) -> Self {
        Self {
            era: client.revision.era(),
            revision: client.revision,
            capabilities: client.capabilities,
            session: client.session,
            info: client.info.clone(),
            log_level: client.log_level,
        }
    }

    /// Whether the client declared what a server asks of it.
    pub(crate) fn can(&self, method: Option<Method>) -> bool {
        let offered = match method {
            Some(Method::ElicitationCreate) => {
                self.capabilities.elicitation_form || self.capabilities.elicitation_url
            }
            Some(Method::SamplingCreate) => self.capabilities.sampling,
            Some(Method::RootsList) => self.capabilities.roots,
            _ => true,
        };
        offered && self.era == Era::Legacy
    }
}

/// A request of a server that came outside any call, and where its answer goes.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) session: Arc<str>,
    pub(crate) revision: Revision,
    pub(crate) request: ServerRequest,
}

/// A client watches a resource in its own session, or no longer.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) key: SessionKey,
    pub(crate) caller: Caller,
    pub(crate) revision: Revision,
    pub(crate) uri: Box<str>,
    pub(crate) watching: bool,
}

/// What a call's shard hears of it.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Ready for the client.
    Notification(Bytes),
    /// A request of the server; the answer goes back with the number of the channel.
    Request {
        id: Bytes,
        message: Bytes,
        channel: u64,
    },
    /// The answer.
    Response(Outcome),
    /// There will be no answer.
    Failed(Fault),
}

/// Where a call's events go. Never waits.
#[derive(Clone, Debug)]
pub(crate) struct Events(Sender<Heard>);

impl Events {
    /// A queue for one call.
    pub(crate) fn queue() -> (Self, Receiver<Heard>) {
        let (sender, receiver) = across::bounded(EVENTS_MAX + EVENTS_RESERVED);
        (Self(sender), receiver)
    }

    /// Whether anybody still listens.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Queues a notification, or drops it if the client does not keep up.
    pub(crate) fn notify(&self, message: Bytes) {
        if self.0.len() < EVENTS_MAX {
            let _ = self.0.try_send(Heard::Notification(message));
        }
    }

    /// Queues a request of the server; `false` if the client does not keep up.
    pub(crate) fn request(&self, request: Heard) -> bool {
        self.0.len() < EVENTS_MAX + EVENTS_RESERVED - 1 && self.0.try_send(request).is_ok()
    }

    /// Queues the end of the call; there is always room for it.
    pub(crate) fn end(self, last: Heard) {
        let _ = self.0.try_send(last);
    }
}

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Note {
    /// A call for a server of the receiving shard.
    Call(ServerId, Box<SentCall>),
    /// Its client has gone.
    Cancel(ServerId, Ticket),
    /// A client's answer to a request of the server that came over that channel.
    Answer {
        server: ServerId,
        channel: u64,
        message: Bytes,
    },
    /// A shard wants updates of a resource, or no longer.
    Watch {
        server: ServerId,
        shard: u16,
        uri: Box<str>,
        watching: bool,
    },
    /// A shard needs the session of a client whose home is the receiver.
    Session {
        server: ServerId,
        key: SessionKey,
        caller: Box<Caller>,
        /// One that the server no longer knows.
        stale: Option<Arc<str>>,
        reply: Sender<Result<Arc<str>, Fault>>,
    },
    /// A client watches a resource in its own session; to its home shard.
    WatchFor(ServerId, Box<Watch>),
    /// A server asks a client something outside its calls: whoever has a call of it under way
    /// takes it and says so.
    Ask {
        server: ServerId,
        key: SessionKey,
        asked: Box<Asked>,
        reply: Sender<bool>,
    },
    /// A client's notification for a channel of the receiving shard.
    Notify(ServerId, SessionKey, Bytes),
    /// A client wants log messages down to this level.
    LogLevel(ServerId, Option<SessionKey>, LogLevel),
    /// A client's session is over.
    EndSession(ServerId, SessionKey),
    /// What the owner knows of a server.
    Route(Arc<Route>),
    /// A shard has (re)started and knows nothing yet.
    Hello,
    /// One of the lists changed.
    ListChanged(ServerId, Method),
    /// Fetch the lists again and send what came of it.
    Relist(ServerId, Sender<Arc<Route>>),
    /// Somebody needs the server.
    Wake(ServerId),
    /// A shard has no more calls of a server that is not in the configuration any more.
    Left(ServerId),
    /// A call failed in a way that makes the owner look after the server.
    Trouble(ServerId),
}

/// The mailboxes of all shards, and the own one to read. A restarted shard gets a clone.
#[derive(Clone, Debug)]
pub struct Wires {
    pub(crate) own: u16,
    boxes: Vec<Sender<Note>>,
    pub(crate) inbox: Receiver<Note>,
}

impl Wires {
    /// One for each of `shards` shards.
    #[must_use]
    pub fn connect(shards: u16) -> Vec<Self> {
        let (boxes, inboxes): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| across::bounded(NOTES_MAX)).unzip();
        (0..shards)
            .zip(inboxes)
            .map(|(own, inbox)| Self {
                own,
                boxes: boxes.clone(),
                inbox,
            })
            .collect()
    }

    /// Which shard runs a server's actor.
    pub(crate) fn owner(&self, server: ServerId) -> u16 {
        server.0 % self.shards()
    }

    /// How many shards there are, at least one.
    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.boxes.len()).unwrap_or(u16::MAX).max(1)
    }

    /// Tells one shard, this one too. `false` if it takes no more.
    pub(crate) fn tell(&self, shard: u16, note: Note) -> bool {
        self.boxes
            .get(usize::from(shard))
            .is_some_and(|sender| sender.try_send(note).is_ok())
    }

    /// Tells the owner of a server.
    pub(crate) fn tell_owner(&self, server: ServerId, note: Note) -> bool {
        self.tell(self.owner(server), note)
    }

    /// Tells every shard what the owner knows, waiting for room.
    pub(crate) async fn announce(&self, route: &Arc<Route>) {
        for sender in &self.boxes {
            let _ = sender.send(Note::Route(Arc::clone(route))).await;
        }
    }
}
