//! What is counted of each server of a group.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::Group;
use super::failure::Cause;
use crate::base::clock;
use crate::metrics::UpstreamRow;

/// One server's figures in one shard.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: Cell<u64>,
    pub(super) retries: Cell<u64>,
    pub(super) connects: Cell<u64>,
    failures: RefCell<[u64; Cause::WORDS.len()]>,
}

impl Tally {
    pub(super) fn count(cell: &Cell<u64>) {
        cell.set(cell.get() + 1);
    }

    pub(super) fn fail(&self, cause: &Cause) {
        self.fail_as(cause.word());
    }

    pub(super) fn fail_as(&self, word: &str) {
        let place = Cause::WORDS.iter().position(|known| *known == word);
        let mut failures = self.failures.borrow_mut();
        if let Some(count) = place.and_then(|place| failures.get_mut(place)) {
            *count += 1;
        }
    }
}

impl Group {
    /// The figures of every server.
    #[must_use]
    pub fn rows(&self) -> Vec<UpstreamRow> {
        let now = clock::mono();
        let balancer = self.balancer.borrow();
        let row = |(index, peer): (usize, &std::rc::Rc<super::Peer>)| {
            let tally = peer.tally();
            UpstreamRow {
                upstream: Arc::clone(&self.name),
                server: Arc::from(self.server_name(index)),
                requests: tally.requests.get(),
                retries: tally.retries.get(),
                connects: tally.connects.get(),
                failures: Cause::WORDS
                    .into_iter()
                    .zip(*tally.failures.borrow())
                    .collect(),
                under_way: i64::from(balancer.active(index)),
                idle: i64::try_from(peer.idle_count()).unwrap_or(0),
                available: i64::from(balancer.is_available(index, now)),
            }
        };
        self.peers.iter().enumerate().map(row).collect()
    }
}
