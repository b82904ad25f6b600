//! The end of a shard: no new connections, answers in flight finish, then nothing is left.

use core::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::base::channel::{Receiver, Sender, bounded};
use crate::base::clock;
use crate::net::sleep;
use crate::server::Deadlines;

/// Pause between two looks at what is still open.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Time for tasks to end after their sockets have been shut down.
const ENDING: Duration = Duration::from_millis(100);

/// Tells the tasks of a shard that it ends.
#[derive(Debug, Default)]
pub struct Drain {
    begun: Rc<Cell<bool>>,
    /// Dropping them wakes those who wait for the beginning.
    tellers: RefCell<Vec<Sender<()>>>,
}

impl Drain {
    /// A shard that does not end yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// The same, for those who only look.
    #[must_use]
    pub fn flag(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.begun)
    }

    /// For one task to wait on: its `recv` gives `None` when the drain begins.
    #[must_use]
    pub fn listen(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        if !self.has_begun() {
            self.tellers.borrow_mut().push(sender);
        }
        receiver
    }

    /// Begins: listeners close, connections without a request close, the others close after
    /// their response.
    pub fn begin(&self, deadlines: &Deadlines) {
        self.begun.set(true);
        let tellers = self.tellers.take();
        drop(tellers);
        deadlines.end_idle();
    }

    /// Waits until every connection is closed, at most `limit`; then closes those that are
    /// left. Whether all ended by themselves.
    pub async fn finish(&self, deadlines: &Deadlines, limit: Duration) -> bool {
        let until = clock::mono() + limit;
        while !deadlines.is_empty() {
            if clock::mono() >= until {
                deadlines.end_all();
                sleep(ENDING).await;
                return false;
            }
            sleep(LOOK_INTERVAL).await;
            // Some were accepted or became idle meanwhile.
            deadlines.end_idle();
        }
        true
    }
}
