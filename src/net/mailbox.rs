//! Messages between threads. Bounded; a full box is the sender's problem, never a wait that
//! two shards could do for each other.

use crate::net::across;

/// Where messages for a thread are put. Clones feed the same box.
#[derive(Debug)]
pub struct Address<M> {
    sender: across::Sender<M>,
}

/// A thread's own box. A clone takes from the same one: for whoever comes after a thread that
/// crashed.
#[derive(Debug)]
pub struct Inbox<M> {
    receiver: across::Receiver<M>,
}

/// Why a message was not taken. Holds the message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered<M> {
    /// The box is full.
    #[error("the mailbox is full")]
    Full(M),
    /// The owner is gone.
    #[error("the mailbox is closed")]
    Closed(M),
}

/// A box for at most `capacity` messages (at least one).
#[must_use]
pub fn mailbox<M>(capacity: usize) -> (Address<M>, Inbox<M>) {
    let (sender, receiver) = across::bounded(capacity.max(1));
    (Address { sender }, Inbox { receiver })
}

impl<M> Address<M> {
    /// Puts a message into the box, now or not at all.
    pub fn send(&self, message: M) -> Result<(), Undelivered<M>> {
        self.sender.try_send(message).map_err(|error| match error {
            across::TrySendError::Full(message) => Undelivered::Full(message),
            across::TrySendError::Closed(message) => Undelivered::Closed(message),
        })
    }

    /// Puts a message into the box, waiting for room. Not for shard-to-shard messages: two
    /// full boxes would wait for each other. `Err` gives it back if the owner is gone.
    pub async fn send_when_room(&self, message: M) -> Result<(), M> {
        self.sender.send(message).await.map_err(|error| error.0)
    }

    /// Whether the owner is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
        }
    }
}

impl<M> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self {
            receiver: self.receiver.clone(),
        }
    }
}

impl<M> Inbox<M> {
    /// The next message; `None` when every address is gone and the box is empty.
    pub async fn receive(&self) -> Option<M> {
        self.receiver.recv().await.ok()
    }

    /// The next message, blocking the thread; for threads without a runtime.
    #[must_use]
    pub fn receive_blocking(&self) -> Option<M> {
        self.receiver.recv_blocking().ok()
    }
}
