//! Bounds retries to a part of the requests, so that a group that fails is not asked several
//! times as often for that.

use std::cell::Cell;

/// Retries that may be saved up: enough for everything that is under way at one server when it
/// dies.
const SAVED_MAX: u32 = 1000;
/// What one retry costs, in parts.
const COST: u32 = 100;

/// The retries left to one group.
#[derive(Debug)]
pub(super) struct Budget {
    /// Parts earned with each request.
    percent: u32,
    parts: Cell<u32>,
}

impl Budget {
    /// `percent` is how many retries a hundred requests earn; 0 allows none.
    pub(super) const fn new(percent: u32) -> Self {
        let parts = if percent == 0 { 0 } else { SAVED_MAX * COST };
        Self {
            percent,
            parts: Cell::new(parts),
        }
    }

    /// A request has come.
    pub(super) fn earn(&self) {
        let parts = self.parts.get().saturating_add(self.percent);
        self.parts.set(parts.min(SAVED_MAX * COST));
    }

    /// Whether a retry may be made; it is then paid for.
    pub(super) fn spend(&self) -> bool {
        let left = self.parts.get().checked_sub(COST);
        if let Some(left) = left {
            self.parts.set(left);
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_part_of_the_requests() {
        let budget = Budget::new(20);
        let saved = (0..).take_while(|_| budget.spend()).count();
        assert_eq!(saved, SAVED_MAX as usize);
        for _ in 0..10 {
            budget.earn();
        }
        assert_eq!((0..).take_while(|_| budget.spend()).count(), 2);
        assert!(!Budget::new(0).spend());
    }
}
