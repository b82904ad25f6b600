//! How a shard asks the supervisor for the figures of all shards.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Beat, Merged};
use crate::net;
use crate::net::across::{self, TryRecvError};

/// Questions that may wait for the supervisor. Beyond, scrapers are told to come back.
const SCRAPES_QUEUED_MAX: usize = 256;
/// The supervisor gives stuck shards less; this is the fence for the supervisor itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a waiting scrape looks for its answer.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The same for the next beat, which may be a second away.
const LOOK_FOR_BEAT_EVERY: Duration = Duration::from_millis(20);

/// Asks the supervisor for merged figures. Each shard has a clone.
#[derive(Clone, Debug)]
pub struct Scraper {
    asks: across::Sender<Scrape>,
}

/// One question for the supervisor.
#[derive(Debug)]
pub struct Scrape {
    /// What is asked for, and where the answer goes.
    pub wanted: Wanted,
}

/// What a question is about.
#[derive(Debug)]
pub enum Wanted {
    /// The figures as they are now.
    Figures(across::Sender<Box<Merged>>),
    /// The next beat: everybody who asks in one second gets the same.
    Beat(across::Sender<Arc<Beat>>),
}

impl Scraper {
    /// A scraper and the end where its questions arrive.
    #[must_use]
    pub fn channel() -> (Self, across::Receiver<Scrape>) {
        let (asks, questions) = across::bounded(SCRAPES_QUEUED_MAX);
        (Self { asks }, questions)
    }

    /// Merged figures; `None` if the supervisor has too much to do or is gone.
    pub async fn scrape(&self) -> Option<Box<Merged>> {
        self.ask(Wanted::Figures, LOOK_EVERY).await
    }

    /// The next beat; `None` as above.
    pub async fn beat(&self) -> Option<Arc<Beat>> {
        self.ask(Wanted::Beat, LOOK_FOR_BEAT_EVERY).await
    }

    /// The answer is looked for and not waited for: a waker of this shard left in a channel
    /// would, if the shard crashed meanwhile, drop the dead shard's task on the supervisor's
    /// thread inside the channel's lock, and hang it.
    async fn ask<T>(
        &self,
        wanted: impl FnOnce(across::Sender<T>) -> Wanted,
        look_every: Duration,
    ) -> Option<T> {
        let (reply, answer) = across::bounded(1);
        let wanted = wanted(reply);
        self.asks.try_send(Scrape { wanted }).ok()?;
        let looks = ANSWER_TIMEOUT.as_millis() / look_every.as_millis();
        for _ in 0..looks {
            match answer.try_recv() {
                Ok(figures) => return Some(figures),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => net::sleep(look_every).await,
            }
        }
        None
    }
}
