//! The methods, each over the servers that may be used now.

use std::time::Instant;

use super::peer::Peer;
use super::{Balancer, Method, Tried};
use crate::base::hash::{fnv1a, mix};

impl Balancer {
    /// Chooses among the backups, or among the others.
    pub(super) fn choose(
        &mut self,
        backup: bool,
        key: u64,
        chance: u64,
        tried: &Tried,
        now: Instant,
    ) -> Option<usize> {
        let is_candidate = |(index, peer): (usize, &Peer)| {
            (peer.spec.backup == backup && !tried.contains(&index) && peer.is_available(now))
                .then_some(index)
        };
        let candidates = || self.peers.iter().enumerate().filter_map(is_candidate);
        match self.method {
            Method::RoundRobin => self.in_turn(&candidates().collect::<Tried>(), now),
            Method::LeastConn => {
                let least = candidates().map(|index| self.load(index, now)).min()?;
                let equals = candidates().filter(|&index| self.load(index, now) == least);
                self.in_turn(&equals.collect::<Tried>(), now)
            }
            Method::PowerOfTwo => self.less_busy(&candidates().collect::<Tried>(), chance, now),
            Method::Hash => candidates().max_by_key(|&index| self.affinity(index, key)),
        }
    }

    /// nginx's smooth weighted round robin: everyone gains its share, the highest standing wins
    /// and pays the shares of all.
    fn in_turn(&mut self, candidates: &Tried, now: Instant) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for &index in candidates {
            let peer = self.peers.get_mut(index)?;
            let share = peer.share(now);
            total += share;
            peer.standing += share;
            if best.is_none_or(|(_, standing)| peer.standing > standing) {
                best = Some((index, peer.standing));
            }
        }
        let (index, _) = best?;
        self.peers.get_mut(index)?.standing -= total;
        Some(index)
    }

    /// Requests under way for each part of its share; scaled, so that it compares as a number.
    fn load(&self, index: usize, now: Instant) -> u64 {
        const SCALE: u64 = 1 << 20;
        let Some(peer) = self.peers.get(index) else {
            return u64::MAX;
        };
        u64::from(peer.active) * SCALE / peer.share(now).unsigned_abs().max(1)
    }

    /// The less busy of two different ones taken by chance, each as likely as its share.
    fn less_busy(&self, candidates: &Tried, chance: u64, now: Instant) -> Option<usize> {
        let first = self.by_chance(candidates, chance & 0xffff_ffff, now)?;
        let others: Tried = candidates
            .iter()
            .copied()
            .filter(|&index| index != first)
            .collect();
        let Some(second) = self.by_chance(&others, chance >> 32, now) else {
            return Some(first);
        };
        Some(if self.load(second, now) < self.load(first, now) {
            second
        } else {
            first
        })
    }

    /// One taken by chance (32 bits), as likely as its share.
    fn by_chance(&self, candidates: &Tried, chance: u64, now: Instant) -> Option<usize> {
        let share = |index: usize| -> u64 {
            let peer = self.peers.get(index);
            peer.map_or(0, |peer| peer.share(now).unsigned_abs())
        };
        let total: u64 = candidates.iter().map(|&index| share(index)).sum();
        let mut point = ((u128::from(chance) * u128::from(total)) >> 32) as u64;
        for &index in candidates {
            let part = share(index);
            if point < part {
                return Some(index);
            }
            point -= part;
        }
        candidates.last().copied()
    }

    /// How much a server is drawn to a key (weighted rendezvous hashing): a hash of both, as an
    /// exponential variable with the weight as its rate, negated so that the greatest wins.
    fn affinity(&self, index: usize, key: u64) -> Affinity {
        let Some(peer) = self.peers.get(index) else {
            return Affinity(f64::NEG_INFINITY);
        };
        let hash = mix(key ^ fnv1a(peer.spec.name.as_bytes()));
        // In (0, 1): the 53 bits that a float holds, and half a step.
        let unit = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        Affinity(unit.ln() / f64::from(peer.spec.weight.max(1)))
    }
}

/// A float that is never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Affinity(f64);

impl Eq for Affinity {}

impl PartialOrd for Affinity {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Affinity {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
