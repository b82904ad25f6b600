//! The end of a shard: no new connections, answers in flight finish, then nothing is left.

use core::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

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
    begun: Cell<bool>,
    /// It is near: nobody should send new work here.
    announced: Rc<Cell<bool>>,
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

    /// Whether load balancers are told to send nothing new.
    #[must_use]
    pub fn announced(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.announced)
    }

    /// Tells load balancers that ask; everything else goes on.
    pub fn announce(&self) {
        self.announced.set(true);
    }

    /// Begins: connections close after their next response. HTTP/2 clients are told now.
    pub fn begin(&self, deadlines: &Deadlines) {
        self.begun.set(true);
        deadlines.wake_watchers();
    }

    /// Waits until every connection is closed, at most `limit`; then closes those that are
    /// left. Whether all ended by themselves. Connections without a request close when
    /// `patience` is over: a request that is on its way when its connection closes is lost, and
    /// a busy client's next one is always on its way.
    pub async fn finish(
        &self,
        deadlines: &Deadlines,
        (patience, limit): (Duration, Duration),
    ) -> bool {
        let now = clock::mono();
        let (idle_until, until) = (now + patience.min(limit), now + limit);
        while !deadlines.is_empty() {
            let now = clock::mono();
            if now >= until {
                deadlines.end_all();
                sleep(ENDING).await;
                return false;
            }
            if now >= idle_until {
                // Again each time: some become idle meanwhile.
                deadlines.end_idle();
            }
            sleep(LOOK_INTERVAL).await;
        }
        true
    }
}
