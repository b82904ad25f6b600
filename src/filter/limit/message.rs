//! What shards tell each other about limits.

use super::bucket::Left;
use super::kept::Place;
use super::key::Key;
use super::rates::Refund;

/// What one shard has for another.
#[derive(Debug)]
pub enum Item {
    /// May a request of that key pass? To the key's owner.
    Ask {
        /// Comes back with the answer.
        ticket: u64,
        /// Which rate limit.
        limit: u16,
        /// The key's hash.
        hash: u64,
        /// The key.
        key: Key,
        /// Requests more that a lease may cover.
        wanted: u16,
    },
    /// Some of what was admitted was not used. To the key's owner.
    Refund(Refund),
    /// Is that place free? To the key's owner.
    Enter {
        /// Comes back with the answer.
        ticket: u64,
        /// The place.
        place: Place,
    },
    /// The answer to an `Enter`: it is. Has the place, so that one whose asker does not wait any
    /// more can be given back.
    Entered {
        /// The question's.
        ticket: u64,
        /// The place.
        place: Place,
    },
    /// A place is free again. To the key's owner.
    Leave(Place),
    /// The answer to an `Ask`, or a refusal of an `Enter`.
    Answer {
        /// The question's.
        ticket: u64,
        /// The answer.
        verdict: Verdict,
    },
    /// The sender has just started: places that its predecessor held are free.
    Born,
}

/// An owner's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request may pass.
    Admit {
        /// After so many milliseconds.
        delay_ms: u32,
        /// So many more may pass without asking, within the lease's time.
        lease: u16,
        /// What is then left.
        left: Left,
    },
    /// It may not.
    Refuse {
        /// Nor may any other before that, in milliseconds since the program's start. 0 if that
        /// is not known.
        until_ms: u64,
    },
}
