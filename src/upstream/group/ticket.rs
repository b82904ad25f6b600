//! A request to a server while it is under way.

use std::rc::Rc;

use super::Group;
use crate::balance::Outcome;
use crate::base::clock;
use crate::http::BodyError;

/// Counts as a request under way until it is dropped, and then tells the balancer how it went.
#[derive(Debug)]
pub struct Ticket {
    group: Rc<Group>,
    index: usize,
    outcome: Outcome,
}

impl Ticket {
    pub(super) const fn new(group: Rc<Group>, index: usize) -> Self {
        Self {
            group,
            index,
            outcome: Outcome::Unused,
        }
    }

    /// Which server.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Says how it went.
    pub const fn settle(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// An answer broke off.
    pub(super) fn broke_off(&self, error: BodyError) {
        self.group.answer_broke_off(self.index, error);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.group.end(self.index, self.outcome, clock::mono());
    }
}
