//! Channels between threads, made so that the end of a runtime hangs nobody.
//!
//! A task that waits on a plain channel leaves its waker with the channel, and that may be the
//! last thing that keeps the task alive when its runtime ends. The next sender then wakes it,
//! finds no runtime, and drops it: on the wrong thread, and while it holds the channel's lock,
//! which the dropped task wants too. So the channel is given a waker that owns nothing; the
//! task's own stays with the task. What waits when its runtime ends is never dropped at all.

use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Waker};
use std::sync::{Arc, Weak};
use std::task::Wake;

pub use async_channel::{RecvError, SendError, TryRecvError, TrySendError};

/// The sending half. Clones feed the same queue.
pub struct Sender<T>(async_channel::Sender<T>);

/// The receiving half. Clones share the queue: each message goes to one of them.
pub struct Receiver<T>(async_channel::Receiver<T>);

/// A queue for at most `capacity` messages (at least one).
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = async_channel::bounded(capacity.max(1));
    (Sender(sender), Receiver(receiver))
}

impl<T> Sender<T> {
    /// Queues a message, now or not at all.
    ///
    /// # Errors
    /// The message, if the queue is full or nobody receives any more.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(message)
    }

    /// Queues a message, waiting for room. May be dropped: the message is then not sent.
    ///
    /// # Errors
    /// The message, if nobody receives any more.
    pub async fn send(&self, message: T) -> Result<(), SendError<T>> {
        let message = match self.0.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(message)) => return Err(SendError(message)),
            Err(TrySendError::Full(message)) => message,
        };
        waiting(self.0.send(message)).await
    }

    /// Queues a message, blocking the thread while there is no room.
    ///
    /// # Errors
    /// The message, if nobody receives any more.
    pub fn send_blocking(&self, message: T) -> Result<(), SendError<T>> {
        self.0.send_blocking(message)
    }

    /// Whether nobody receives any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// How many messages wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Receiver<T> {
    /// The next message. May be dropped: no message is lost.
    ///
    /// # Errors
    /// Every sender is gone and the queue is empty.
    pub async fn recv(&self) -> Result<T, RecvError> {
        match self.0.try_recv() {
            Ok(message) => Ok(message),
            Err(TryRecvError::Closed) => Err(RecvError),
            Err(TryRecvError::Empty) => waiting(self.0.recv()).await,
        }
    }

    /// The next message if one waits.
    ///
    /// # Errors
    /// There is none, now or for ever.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Closes the queue for every sender. What waits can still be received.
    pub fn close(&self) {
        self.0.close();
    }

    /// The next message, blocking the thread; for threads without a runtime.
    ///
    /// # Errors
    /// Every sender is gone and the queue is empty.
    pub fn recv_blocking(&self) -> Result<T, RecvError> {
        self.0.recv_blocking()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> core::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> core::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// Waits for another thread.
async fn waiting<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut known: Option<(Arc<Waker>, Waker)> = None;
    poll_fn(|cx| {
        let (_, distant) = match known.take() {
            Some(pair) if pair.0.will_wake(cx.waker()) => known.insert(pair),
            _ => {
                let own = Arc::new(cx.waker().clone());
                let distant = Arc::new(Distant(Arc::downgrade(&own)));
                known.insert((own, distant.into()))
            }
        };
        future.as_mut().poll(&mut Context::from_waker(distant))
    })
    .await
}

/// Wakes a task that has not ended, without keeping it.
struct Distant(Weak<Waker>);

impl Wake for Distant {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(own) = self.0.upgrade() {
            own.wake_by_ref();
        }
    }
}
