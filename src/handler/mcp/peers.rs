//! How the gateways of the shards talk to each other: each has a bounded mailbox, and every
//! shard holds the sending halves of all of them.

use bytes::Bytes;

use crate::net::across;
use crate::net::across::{Receiver, Sender, TrySendError};

use super::link::{LogLevel, ServerEvent, ServerId, SessionKey};

/// Messages that may wait in a shard's mailbox. They are small and handled in microseconds; a
/// shard that lets this many pile up is stuck, and telling it more would only hide that.
const MAILBOX_MAX: usize = 4096;

/// What one shard's gateway tells another's.
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// A server changed or said something; from its owner shard to all.
    Server(ServerEvent),
    /// A client's answer to a server's request that waits on the receiving shard.
    Answer {
        /// Whose request it was.
        session: SessionKey,
        /// Which one, as the receiver named it.
        ticket: u64,
        /// The client's JSON-RPC response, whole.
        message: Bytes,
    },
    /// A client cancelled one of its calls, wherever it runs.
    Cancel {
        /// Whose call.
        session: SessionKey,
        /// The id of the request, as JSON.
        request: Bytes,
    },
    /// A session is over; its id is not to be taken any more.
    Revoke {
        /// Which session.
        session: SessionKey,
        /// When its id would have expired, seconds since the Unix epoch.
        expires: u64,
    },
    /// `logging/setLevel`
    LogLevel {
        /// Of which session.
        session: SessionKey,
        /// Messages at or above this level.
        level: LogLevel,
        /// When the session ends, seconds since the Unix epoch.
        expires: u64,
    },
    /// `resources/subscribe` and `resources/unsubscribe`
    Subscribe(SubscriptionChange),
    /// A server asks a client something while no call of it is under way: the shard with the
    /// session's GET stream takes it.
    Question(Question),
    /// A client of the transport of 2024-11-05 posted to another shard than its stream's.
    Posted(Posted),
    /// A session opened its GET stream on the sending shard: older ones elsewhere are over, so
    /// that no message is sent twice (2025-11-25 transports §Multiple Connections).
    Listening(SessionKey),
}

/// A server's request to a legacy client outside its calls (2025-11-25 transports §Listening
/// for Messages from the Server).
#[derive(Clone, Debug)]
pub struct Question {
    /// Whose client.
    pub session: SessionKey,
    /// The whole JSON-RPC request.
    pub message: Bytes,
    /// Told whether it has gone out on this shard.
    pub taken: Sender<bool>,
    /// Takes the client's JSON-RPC response with the server's id; dropped if there is none.
    pub answer: Sender<Bytes>,
}

/// A client's message on its way to the shard of its stream.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Whose.
    pub session: SessionKey,
    /// The JSON-RPC message, whole.
    pub message: Bytes,
    /// Told whether the stream is open there.
    pub taken: Sender<bool>,
}

/// A legacy session subscribed to a resource, or no longer does.
#[derive(Clone, Debug)]
pub struct SubscriptionChange {
    /// Which session.
    pub session: SessionKey,
    /// Whose resource.
    pub server: ServerId,
    /// Which resource.
    pub uri: Box<str>,
    /// Subscribed or not any more.
    pub subscribed: bool,
    /// When the session ends, seconds since the Unix epoch.
    pub expires: u64,
}

/// The mailbox of another shard took no more, or the shard is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {0} does not take messages")]
pub struct Unreachable(pub u16);

/// The mailboxes of all shards, as one of them sees them.
#[derive(Clone, Debug)]
pub struct Peers {
    own: u16,
    mailboxes: Vec<Sender<PeerMessage>>,
}

impl Peers {
    /// Mailboxes for `shards` shards: for each its view of all, and its own to serve.
    #[must_use]
    pub fn connect(shards: u16) -> Vec<(Self, Receiver<PeerMessage>)> {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| across::bounded(MAILBOX_MAX)).unzip();
        (0..shards)
            .zip(receivers)
            .map(|(own, receiver)| {
                let peers = Self {
                    own,
                    mailboxes: senders.clone(),
                };
                (peers, receiver)
            })
            .collect()
    }

    /// Which shard this is.
    #[must_use]
    pub const fn own(&self) -> u16 {
        self.own
    }

    /// How many shards there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.mailboxes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.mailboxes.is_empty()
    }

    /// Tells one shard (this one too), or says why not.
    pub fn tell(&self, shard: u16, message: PeerMessage) -> Result<(), Unreachable> {
        let mailbox = self.mailboxes.get(usize::from(shard));
        let mailbox = mailbox.ok_or(Unreachable(shard))?;
        mailbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Closed(_) => Unreachable(shard),
        })
    }

    /// Tells one shard, waiting for room. One that is gone is passed over.
    pub async fn tell_surely(&self, shard: u16, message: PeerMessage) {
        if let Some(mailbox) = self.mailboxes.get(usize::from(shard)) {
            let _ = mailbox.send(message).await;
        }
    }

    /// Tells every shard, this one too, waiting for room: for what no shard may miss, the
    /// state of a server. Shards that are gone are passed over.
    pub async fn announce(&self, event: &ServerEvent) {
        for mailbox in &self.mailboxes {
            let _ = mailbox.send(PeerMessage::Server(event.clone())).await;
        }
    }
}
