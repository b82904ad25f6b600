//! One shard's part of all rate limits: the buckets of the keys it owns, and what it remembers
//! about the others.

use std::collections::VecDeque;

use super::bucket::{Bucket, Left, Over, Rate};
use super::key::Key;
use super::message::Verdict;
use super::table::Table;
use crate::base::owner::Hashing;

/// How long a lease holds.
const LEASE_MS: u64 = 100;
/// Largest lease. A shard that uses it up asks again, at most once a millisecond.
const LEASE_MAX: u16 = 63;
/// All leases together are at most this part of what is left of the burst, so that a client
/// that uses them all at once after a pause stays within 2 % of its limit.
const LEASE_SHARE: u64 = 64;
/// Empty buckets are forgotten after so long without a request, as in nginx.
const FORGET_MS: u64 = 60_000;
/// Of a limit's memory, the part for what is remembered about others' keys.
const KNOWN_SHARE: usize = 4;

/// All rate limits, as one shard sees them.
#[derive(Debug)]
pub struct RateLimits {
    own: u16,
    shards: u16,
    limits: Vec<Limit>,
    /// Leases in the order in which they run out.
    leases: VecDeque<Leased>,
    evicted: u64,
}

#[derive(Debug)]
struct Limit {
    rate: Rate,
    owned: Table<Bucket>,
    known: Table<Known>,
}

/// What is known about another shard's key.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    refused_until_ms: u64,
    lease: u16,
    lease_until_ms: u64,
    /// What the owner said is left beside the lease.
    left: Left,
    /// What the last question wanted, and when it was.
    wanted: u16,
    asked_ms: u64,
}

#[derive(Debug)]
struct Leased {
    until_ms: u64,
    limit: u16,
    hash: u64,
    key: Key,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It passes, after so many milliseconds.
    Admit {
        /// 0 for at once.
        delay_ms: u64,
        /// What is left for the key.
        left: Left,
    },
    /// It does not.
    Refuse {
        /// Nor does any other before that.
        until_ms: u64,
    },
    /// The key's owner has to be asked.
    Ask {
        /// Which shard.
        owner: u16,
        /// Requests more that a lease may cover.
        wanted: u16,
    },
}

/// What of a lease was not used: goes to the key's owner.
#[derive(Debug, PartialEq, Eq)]
pub struct Refund {
    /// Which limit.
    pub limit: u16,
    /// The key's hash.
    pub hash: u64,
    /// The key.
    pub key: Key,
    /// How many requests.
    pub count: u16,
}

impl RateLimits {
    /// The part of shard `own` of so many. Each limit has its rate and the bytes that its keys
    /// may take on all shards together.
    #[must_use]
    pub fn new(own: u16, shards: u16, limits: impl IntoIterator<Item = (Rate, usize)>) -> Self {
        let mut all = Self {
            own,
            shards: shards.max(1),
            limits: Vec::new(),
            leases: VecDeque::new(),
            evicted: 0,
        };
        for (place, (rate, bytes_max)) in (0..).zip(limits) {
            all.set(place, rate, bytes_max);
        }
        all
    }

    /// From now on the limit of that place has that rate and size. What is counted stays.
    pub fn set(&mut self, place: u16, rate: Rate, bytes_max: usize) {
        let share = bytes_max / usize::from(self.shards);
        let known = if self.shards == 1 {
            0
        } else {
            share / KNOWN_SHARE
        };
        while self.limits.len() <= usize::from(place) {
            self.limits.push(Limit {
                rate,
                owned: Table::new(0),
                known: Table::new(0),
            });
        }
        if let Some(limit) = self.limits.get_mut(usize::from(place)) {
            limit.rate = rate;
            limit.owned.resize(share - known);
            limit.known.resize(known);
        }
    }

    /// Whether this shard owns a key.
    #[must_use]
    pub fn owns(&self, hash: u64) -> bool {
        Hashing::owner(hash, self.shards) == self.own
    }

    /// Decides about a request and counts it.
    pub fn decide(&mut self, limit: u16, (hash, key): (u64, &Key), now_ms: u64) -> Decision {
        let owner = Hashing::owner(hash, self.shards);
        if owner != self.own {
            return self.decide_by_memory(limit, (hash, key), (owner, now_ms));
        }
        let Some((bucket, rate)) = self.bucket(limit, (hash, key), now_ms) else {
            return Decision::Admit {
                delay_ms: 0,
                left: Left::default(),
            };
        };
        match bucket.take(&rate, now_ms) {
            Ok(delay_ms) => Decision::Admit {
                delay_ms,
                left: bucket.left(&rate),
            },
            Err(Over { until_ms }) => Decision::Refuse { until_ms },
        }
    }

    /// The same for a key of this shard, without counting: for a request under several limits,
    /// which counts under none of them if one refuses it.
    pub fn look(&mut self, limit: u16, key: (u64, &Key), now_ms: u64) -> Result<(), Over> {
        match self.bucket(limit, key, now_ms) {
            Some((bucket, rate)) => bucket.look(&rate, now_ms),
            None => Ok(()),
        }
    }

    /// Counts a request that a look has admitted. Gives the milliseconds it has to wait, and
    /// what is left.
    pub fn count(&mut self, limit: u16, key: (u64, &Key), now_ms: u64) -> (u64, Left) {
        self.bucket(limit, key, now_ms)
            .map_or((0, Left::default()), |(bucket, rate)| {
                let delay_ms = bucket.take_anyway(&rate, now_ms);
                (delay_ms, bucket.left(&rate))
            })
    }

    /// Answers another shard's question about a key of this one.
    pub fn answer(
        &mut self,
        limit: u16,
        key: (u64, &Key),
        (wanted, now_ms): (u16, u64),
    ) -> Verdict {
        let others = u64::from(self.shards.saturating_sub(1).max(1));
        let Some((bucket, rate)) = self.bucket(limit, key, now_ms) else {
            return Verdict::Refuse { until_ms: 0 };
        };
        match bucket.take(&rate, now_ms) {
            Ok(delay_ms) => {
                let most = bucket.room(&rate) / (LEASE_SHARE * others);
                let lease = match wanted.min(LEASE_MAX) {
                    0 => 0,
                    wanted => bucket.take_more(&rate, now_ms, u64::from(wanted).min(most)),
                };
                Verdict::Admit {
                    delay_ms: u32::try_from(delay_ms).unwrap_or(u32::MAX),
                    lease: lease as u16,
                    left: bucket.left(&rate),
                }
            }
            Err(Over { until_ms }) => Verdict::Refuse { until_ms },
        }
    }

    /// Remembers an owner's answer.
    pub fn learn(
        &mut self,
        limit: u16,
        (hash, key): (u64, &Key),
        (verdict, now_ms): (Verdict, u64),
    ) {
        let Some(known) = self.known(limit, (hash, key)) else {
            return;
        };
        match verdict {
            Verdict::Refuse { until_ms } => known.refused_until_ms = until_ms,
            Verdict::Admit { lease: 0, .. } => {}
            Verdict::Admit { lease, left, .. } => {
                let until_ms = now_ms + LEASE_MS;
                known.left = left;
                known.lease = known.lease.saturating_add(lease);
                known.lease_until_ms = until_ms;
                self.leases.push_back(Leased {
                    until_ms,
                    limit,
                    hash,
                    key: key.clone(),
                });
            }
        }
    }

    /// Takes back what another shard did not use.
    pub fn refund(&mut self, refund: &Refund, now_ms: u64) {
        let key = (refund.hash, &refund.key);
        if let Some((bucket, _)) = self.bucket(refund.limit, key, now_ms) {
            bucket.give_back(u64::from(refund.count));
        }
    }

    /// The next lease that has run out with something left in it.
    pub fn expire(&mut self, now_ms: u64) -> Option<Refund> {
        while self.leases.front()?.until_ms <= now_ms {
            let Leased {
                limit, hash, key, ..
            } = self.leases.pop_front()?;
            let limits = self.limits.get_mut(usize::from(limit));
            let known = limits.and_then(|limit| limit.known.get(hash, &key));
            // One that was lengthened stands in the queue again.
            if let Some(known) = known.filter(|known| known.lease_until_ms <= now_ms)
                && known.lease > 0
            {
                return Some(Refund {
                    limit,
                    hash,
                    count: core::mem::take(&mut known.lease),
                    key,
                });
            }
        }
        None
    }

    /// Buckets that had to be forgotten with something in them, since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        core::mem::take(&mut self.evicted)
    }

    /// Keys in all tables, and the bytes they take.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.limits.iter().fold((0, 0), |(keys, bytes), limit| {
            let (owned, known) = (&limit.owned, &limit.known);
            (
                keys + owned.len() + known.len(),
                bytes + owned.bytes() + known.bytes(),
            )
        })
    }

    fn decide_by_memory(
        &mut self,
        limit: u16,
        key: (u64, &Key),
        (owner, now_ms): (u16, u64),
    ) -> Decision {
        let Some(known) = self.known(limit, key) else {
            return Decision::Ask { owner, wanted: 0 };
        };
        if known.refused_until_ms > now_ms {
            return Decision::Refuse {
                until_ms: known.refused_until_ms,
            };
        }
        if known.lease > 0 && known.lease_until_ms > now_ms {
            known.lease -= 1;
            let requests = known.left.requests.saturating_add(known.lease.into());
            return Decision::Admit {
                delay_ms: 0,
                left: Left {
                    requests,
                    ..known.left
                },
            };
        }
        // A key that is asked for again and again wants more each time, one question of each
        // millisecond at most.
        let since_ms = now_ms.saturating_sub(known.asked_ms);
        let wanted = match since_ms {
            0 => 0,
            1..=LEASE_MS => (known.wanted * 2 + 1).min(LEASE_MAX),
            _ => 0,
        };
        if since_ms > 0 {
            known.wanted = wanted;
            known.asked_ms = now_ms;
        }
        Decision::Ask { owner, wanted }
    }

    fn known(&mut self, limit: u16, (hash, key): (u64, &Key)) -> Option<&mut Known> {
        let table = &mut self.limits.get_mut(usize::from(limit))?.known;
        let place = match table.touch(hash, key) {
            Some(place) => place,
            None => {
                while table.is_full_for(key) {
                    table.remove_oldest();
                }
                table.insert(hash, key.clone(), Known::default())
            }
        };
        table.at(place)
    }

    fn bucket(
        &mut self,
        limit: u16,
        (hash, key): (u64, &Key),
        now_ms: u64,
    ) -> Option<(&mut Bucket, Rate)> {
        let Limit { rate, owned, .. } = self.limits.get_mut(usize::from(limit))?;
        let place = match owned.touch(hash, key) {
            Some(place) => place,
            None => {
                self.evicted += make_room(owned, rate, key, now_ms);
                owned.insert(hash, key.clone(), Bucket::default())
            }
        };
        owned.at(place).map(|bucket| (bucket, *rate))
    }
}

/// Forgets up to two buckets that are long empty, and the oldest ones while there is no room.
/// How many of them were not empty.
fn make_room(table: &mut Table<Bucket>, rate: &Rate, key: &Key, now_ms: u64) -> u64 {
    for _ in 0..2 {
        let long_ago = now_ms.saturating_sub(FORGET_MS);
        let oldest = table.oldest();
        if oldest
            .is_some_and(|bucket| bucket.was_before(long_ago) && bucket.is_empty_at(rate, now_ms))
        {
            table.remove_oldest();
        }
    }
    let mut evicted = 0;
    while table.is_full_for(key) {
        let is_lost = |bucket: &Bucket| !bucket.is_empty_at(rate, now_ms);
        evicted += u64::from(table.oldest().is_some_and(is_lost));
        table.remove_oldest();
    }
    evicted
}

#[cfg(test)]
mod tests;
