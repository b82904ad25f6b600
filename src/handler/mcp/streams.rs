//! What is open towards clients on this shard: event streams, and calls that wait for their
//! first event. One task beats for all of them; a stream costs no timer of its own.

use core::cell::{Cell, RefCell};
use core::task::{Context, Poll, Waker};
use std::collections::HashMap;
use std::rc::Rc;

use super::link::{Client, ServerId, SessionKey};
use super::listen::Subscription;
use super::slots::{Key, Slots};
use super::sse;
use crate::base::channel::{Sender, TrySendError};
use crate::http::{BodyError, Frame};

/// The beat goes round in this many steps, so that ten thousand streams do not beat at once.
pub(super) const BEAT_STEPS: u32 = 16;

/// Where the pieces of a streamed body go.
pub(super) type Pieces = Sender<Result<Frame, BodyError>>;

/// A call under way, as others can reach it.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    beat: Cell<bool>,
    cancelled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Why a call was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poke {
    /// The client cancelled it.
    Cancelled,
    /// It has waited for a whole heartbeat.
    Beat,
}

/// What is open.
#[derive(Debug)]
pub(super) enum Open {
    /// A call that has sent nothing yet.
    Waiting(Rc<Ticket>),
    /// The stream of a call.
    Call(Pieces),
    /// The GET stream of a legacy session.
    Listening(Listener),
    /// `subscriptions/listen`
    Subscription {
        subscription: Rc<Subscription>,
        pieces: Pieces,
    },
}

/// A legacy session's GET stream.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) session: SessionKey,
    pub(super) client: Rc<Client>,
    pub(super) scope: super::Scope,
    /// The session's subscriptions, watched for as long as the stream is open.
    pub(super) watched: RefCell<Vec<(ServerId, Box<str>)>>,
    pub(super) pieces: Pieces,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Streams {
    open: Slots<(u32, Open)>,
    listening: HashMap<SessionKey, Key>,
    step: u32,
}

impl Ticket {
    pub(super) fn cancel(&self) {
        self.cancelled.set(true);
        self.wake();
    }

    /// Resolves when someone pokes the call; call it again after each.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Poke> {
        if self.cancelled.get() {
            return Poll::Ready(Poke::Cancelled);
        }
        if self.beat.take() {
            return Poll::Ready(Poke::Beat);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Open {
    fn pieces(&self) -> Option<&Pieces> {
        match self {
            Self::Waiting(_) => None,
            Self::Listening(listener) => Some(&listener.pieces),
            Self::Call(pieces) | Self::Subscription { pieces, .. } => Some(pieces),
        }
    }

    fn is_gone(&self) -> bool {
        self.pieces().is_some_and(Sender::is_closed)
    }
}

impl Streams {
    pub(super) fn new(max: usize) -> Self {
        Self {
            open: Slots::new(max),
            listening: HashMap::new(),
            step: 0,
        }
    }

    /// From now on so much may be open. What is open stays.
    pub(super) const fn set_max(&mut self, max: usize) {
        self.open.set_max(max);
    }

    /// Takes something in; gives it back if too much is open. Beats after a whole interval.
    pub(super) fn insert(&mut self, open: Open) -> Result<Key, Open> {
        let step = self.step % BEAT_STEPS;
        let session = match &open {
            Open::Listening(listener) => Some(listener.session),
            _ => None,
        };
        let key = self.open.insert((step, open)).map_err(|(_, open)| open)?;
        if let Some(session) = session {
            self.listening.insert(session, key);
        }
        Ok(key)
    }

    /// The GET stream of a session.
    pub(super) fn listener(&self, session: SessionKey) -> Option<(Key, &Listener)> {
        let key = *self.listening.get(&session)?;
        match self.open.get(key) {
            Some((_, Open::Listening(listener))) => Some((key, listener)),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Open> {
        let (_, open) = self.open.remove(key)?;
        if let Open::Listening(listener) = &open
            && self.listening.get(&listener.session) == Some(&key)
        {
            self.listening.remove(&listener.session);
        }
        Some(open)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Open)> {
        self.open.iter().map(|(key, (_, open))| (key, open))
    }

    /// One step of the beat: pokes and beats whose turn it is. Returns those whose client has
    /// gone, for the caller to remove.
    pub(super) fn beat(&mut self) -> Vec<Key> {
        self.step = self.step.wrapping_add(1);
        let turn = self.step % BEAT_STEPS;
        let mut gone = Vec::new();
        for (key, (step, open)) in self.open.iter() {
            if open.is_gone() {
                gone.push(key);
            } else if *step == turn {
                match open {
                    Open::Waiting(ticket) => {
                        ticket.beat.set(true);
                        ticket.wake();
                    }
                    // A full queue has enough to send.
                    open => drop(open.pieces().map(|pieces| send(pieces, sse::HEARTBEAT))),
                }
            }
        }
        gone
    }

    /// Those whose client has gone.
    pub(super) fn gone(&self) -> Vec<Key> {
        self.iter()
            .filter(|(_, open)| open.is_gone())
            .map(|(key, _)| key)
            .collect()
    }
}

/// Queues bytes if there is room. `Err` if the client is gone or too slow.
pub(super) fn send(pieces: &Pieces, bytes: bytes::Bytes) -> Result<(), Slow> {
    match pieces.try_send(Ok(Frame::Data(bytes))) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(_)) => Err(Slow::Full),
        Err(TrySendError::Closed(_)) => Err(Slow::Gone),
    }
}

/// Why a stream takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slow {
    /// Its queue is full.
    Full,
    /// Its client has gone.
    Gone,
}
