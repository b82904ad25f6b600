//! What a request holds until its exchange is over: its places under connection limits.

use core::cell::Cell;
use core::fmt;
use std::rc::Rc;

use smallvec::SmallVec;

use super::bucket::Left;
use super::key::Key;

/// Where places are given back.
pub trait Home {
    /// A place is free again.
    fn leave(&self, place: Place);
}

/// A place under a connection limit.
#[derive(Debug)]
pub struct Place {
    /// Which limit.
    pub limit: u16,
    /// The key's hash.
    pub hash: u64,
    /// The key.
    pub key: Key,
}

/// Keeps places, and gives them back when it is dropped. A pointer while it keeps none.
#[derive(Default)]
pub struct Keeper(Cell<Option<Box<Kept>>>);

struct Kept {
    home: Rc<dyn Home>,
    places: SmallVec<[Place; 1]>,
}

impl Keeper {
    /// One place more; all have one home.
    pub fn keep(&self, place: Place, home: impl FnOnce() -> Rc<dyn Home>) {
        let mut kept = self.0.take().unwrap_or_else(|| {
            Box::new(Kept {
                home: home(),
                places: SmallVec::new(),
            })
        });
        kept.places.push(place);
        self.0.set(Some(kept));
    }
}

/// What the limits of a request's route have said so far.
#[derive(Debug, Default)]
pub struct Passed {
    /// It may go on, after so many milliseconds.
    pub delay_ms: Cell<Option<u32>>,
    /// What its response tells about the limit that it is closest to.
    pub allowance: Cell<Option<Allowance>>,
    /// What its rate limits made of it (nginx: `$limit_req_status`).
    pub rate: Cell<Option<Decided>>,
    /// What its connection limits made of it (nginx: `$limit_conn_status`).
    pub place: Cell<Option<Decided>>,
}

/// What limits made of a request; of several the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "nginx's words")]
pub enum Decided {
    Passed,
    DelayedDryRun,
    RejectedDryRun,
    Delayed,
    Rejected,
}

impl Decided {
    /// nginx's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::DelayedDryRun => "DELAYED_DRY_RUN",
            Self::RejectedDryRun => "REJECTED_DRY_RUN",
            Self::Delayed => "DELAYED",
            Self::Rejected => "REJECTED",
        }
    }

    /// Notes it, if nothing graver is noted.
    pub fn note(self, noted: &Cell<Option<Self>>) {
        noted.set(noted.get().max(Some(self)));
    }
}

/// What is left under a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Which rate limit, by its place in the configuration.
    pub limit: u16,
    /// What is left of it.
    pub left: Left,
}

impl Passed {
    /// Notes what is left under a limit; the one with the least left is told.
    pub fn note(&self, limit: u16, left: Left) {
        let known = self.allowance.get();
        if known.is_none_or(|known| left.requests < known.left.requests) {
            self.allowance.set(Some(Allowance { limit, left }));
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for place in self.places.drain(..) {
            self.home.leave(place);
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}
