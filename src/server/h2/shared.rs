//! What a connection's driver and its streams know of each other, and what the shard keeps for
//! streams between their requests.

use core::cell::{Cell, RefCell};
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

use crate::http::h2::Fields;
use crate::http::{RequestHead, Response};

/// Heads and responses kept for the next stream: about 2 KiB each.
const SETS_KEPT_MAX: usize = 256;

/// What streams of a shard need, kept between them.
#[derive(Debug, Default)]
pub(in crate::server) struct Kept {
    #[expect(clippy::vec_box, reason = "sets are lent as boxes")]
    sets: RefCell<Vec<Box<Set>>>,
    pub(super) fields: RefCell<Fields>,
}

/// A stream's working set.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) head: RequestHead,
    pub(super) response: Response,
}

impl Kept {
    pub(super) fn lend(&self) -> Box<Set> {
        self.sets.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn take_back(&self, mut set: Box<Set>) {
        set.head.clear();
        set.response.clear();
        let mut sets = self.sets.borrow_mut();
        if sets.len() < SETS_KEPT_MAX {
            sets.push(set);
        }
    }
}

/// One connection's count of its streams and of what they have handed over to be sent.
#[derive(Debug, Default)]
pub(super) struct Shared {
    streams: Cell<usize>,
    /// Bytes handed over since everything was last sent.
    queued: Cell<usize>,
    driver: RefCell<Option<Waker>>,
    /// Streams that wait until everything is sent.
    waiting: RefCell<Vec<Waker>>,
}

impl Shared {
    /// How many streams are being answered.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// The driver looks; it is woken when the last stream ends.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *driver = Some(cx.waker().clone());
        }
    }

    /// Resolves when the connection can take more, `max` bytes in all.
    pub(super) fn poll_room(&self, cx: &Context<'_>, max: usize) -> Poll<()> {
        if self.queued.get() < max {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// A stream has handed over so many bytes.
    pub(super) fn queue(&self, bytes: usize) {
        self.queued.set(self.queued.get() + bytes);
    }

    /// Everything is sent.
    pub(super) fn all_sent(&self) {
        self.queued.set(0);
        let waiting = self.waiting.take();
        for waker in waiting {
            waker.wake();
        }
    }
}

/// One stream in the count.
#[derive(Debug)]
pub(super) struct Counted(Rc<Shared>);

impl Counted {
    pub(super) fn new(shared: &Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        Self(Rc::clone(shared))
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        let driver = self.0.driver.borrow().clone();
        if let Some(driver) = driver.filter(|_| left == 0) {
            driver.wake();
        }
    }
}
