//! Counting that hold over all shards, in one of them: asks the owner of a key where the key is
//! not its own, answers the others, and never waits for one that does not answer.
//!
//! The arithmetic is `filter/limit`; the messages travel by `net/batches`.

mod links;
mod pass;
mod refusal;
mod waiting;

pub use links::Links;
pub(super) use pass::{Passage, Passing};

use core::cell::RefCell;
use core::future::Future;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::base::clock;
use crate::base::owner::Hashing;
use crate::config::{Config, RateLimit};
use crate::filter::limit::{
    Allowance, Entered, Home, Item, Left, Place, Rate, RateLimits, Refund, SlotLimits, Verdict,
};
use crate::http::Response;
use crate::metrics::{Counter, Recorder};
use crate::net::batches::{Batch, Outbox};
use crate::server::counting::refusal::Told;
use crate::server::counting::waiting::Waiting;

/// How long an answer is waited for. It takes a tenth of a millisecond; a shard that is silent
/// for so long has crashed or is stuck. A sweep notices, so up to a sweep later.
const PATIENCE_MS: u64 = 1000;
/// What may wait to be sent to one shard; a question beyond it counts as not answered.
const OUTBOX_MAX: usize = 16 * 1024;

/// Memory for the addresses that `max_connections_per_ip` counts, on all shards together.
const PER_IP_BYTES: usize = 10 << 20;

/// What one shard counts, and asks others to count.
///
/// Each configuration has its own; they share what has been counted.
#[derive(Debug)]
pub struct Counting {
    config: Arc<Config>,
    places: LimitPlaces,
    /// By rate limit, what responses tell about it.
    told: Vec<Told>,
    state: Rc<State>,
}

/// What outlives a configuration.
#[derive(Debug)]
pub struct State {
    outbox: Outbox<Item>,
    hashing: Hashing,
    /// When times in messages begin.
    origin: Instant,
    rates: RefCell<RateLimits>,
    slots: RefCell<SlotLimits>,
    waiting: RefCell<Waiting>,
    recorder: Rc<Recorder>,
}

impl Deref for Counting {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

/// Where the limits of a configuration are counted: a limit keeps its place as long as a
/// configuration names it, so that what was counted holds on when the file changes. By the
/// limit's place in the configuration; the same on all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitPlaces {
    /// Rate limits.
    pub rates: Vec<u16>,
    /// Connection limits, and behind them that of each address (`max_connections_per_ip`).
    pub connections: Vec<u16>,
}

impl LimitPlaces {
    /// Those of a first configuration: in its order.
    #[must_use]
    pub fn first(config: &Config) -> Self {
        Self {
            rates: (0..config.rate_limits.len() as u16).collect(),
            connections: (0..=config.connection_limits.len() as u16).collect(),
        }
    }
}

/// A limit's rate in the bucket's units.
fn rate(limit: &RateLimit) -> Rate {
    Rate {
        // Rounded as nginx does.
        per_second: limit.requests * 1000 / limit.seconds,
        burst: limit.burst * 1000,
        undelayed: limit.undelayed.map_or(u64::MAX, |count| count * 1000),
    }
}

impl Counting {
    /// The limits of the shard whose links these are. `seed` differs between starts.
    #[must_use]
    pub fn new(links: Links, config: &Arc<Config>, recorder: &Rc<Recorder>, seed: u64) -> Self {
        let outbox = Outbox::new(links.ends);
        let state = State {
            rates: RefCell::new(RateLimits::new(outbox.own(), outbox.shards(), [])),
            slots: RefCell::new(SlotLimits::new([])),
            waiting: RefCell::new(Waiting::new(seed)),
            recorder: Rc::clone(recorder),
            outbox,
            hashing: links.hashing,
            origin: links.origin,
        };
        Self::with(Rc::new(state), config, LimitPlaces::first(config))
    }

    /// The same for a configuration that follows another: limits that it knows under the same
    /// name have counted already, and count on under what it says.
    #[must_use]
    pub fn following(&self, config: &Arc<Config>, places: LimitPlaces) -> Self {
        Self::with(Rc::clone(&self.state), config, places)
    }

    fn with(state: Rc<State>, config: &Arc<Config>, places: LimitPlaces) -> Self {
        let shards = usize::from(state.outbox.shards()).max(1);
        for (place, limit) in places.rates.iter().zip(&config.rate_limits) {
            let mut rates = state.rates.borrow_mut();
            rates.set(*place, rate(limit), limit.common.size);
        }
        let limits = config.connection_limits.iter();
        let limits = limits.map(|limit| (limit.max, limit.common.size));
        // Behind those that routes name.
        let per_ip = config.server.max_connections_per_ip;
        let limits = limits.chain(per_ip.map(|max| (max, PER_IP_BYTES)));
        for (place, (max, bytes)) in places.connections.iter().zip(limits) {
            state.slots.borrow_mut().set(*place, max, bytes / shards);
        }
        Self {
            told: config.rate_limits.iter().map(Told::new).collect(),
            config: Arc::clone(config),
            places,
            state,
        }
    }

    /// Answers other shards and sends what there is for them, for ever. Part of the shard's main
    /// future, so that a crash ends it: what is in the mailbox is its successor's.
    pub async fn serve(&self) {
        for shard in 0..self.outbox.shards() {
            self.post(shard, Item::Born);
        }
        self.work().await;
    }

    async fn work(&self) {
        // Every shard holds an address of this mailbox, this one too: it does not end.
        while let Some(batch) = self.outbox.next().await {
            self.take(batch);
        }
    }

    /// Gives up on questions that nobody answers, and gives back leases that have run out. Call
    /// it a few times a second.
    pub fn sweep(&self, now: Instant) {
        let now_ms = self.ms(now);
        self.waiting.borrow_mut().expire(now_ms);
        let shards = self.outbox.shards();
        loop {
            // Not in the loop's head, which would keep the borrow.
            let refund = self.rates.borrow_mut().expire(now_ms);
            let Some(refund) = refund else { break };
            self.post(Hashing::owner(refund.hash, shards), Item::Refund(refund));
        }
        let evicted = self.rates.borrow_mut().take_evicted();
        self.recorder.add(Counter::RateLimitEvicted, evicted);
        self.outbox.nudge();
    }

    /// Tells a client what is left for it.
    pub(super) fn tell(&self, allowance: Allowance, response: &mut Response) {
        let mut places = self.places.rates.iter();
        let at = places.position(|place| *place == allowance.limit);
        if let Some(told) = at.and_then(|at| self.told.get(at)) {
            told.write(allowance.left, &mut response.headers);
        }
    }

    /// Milliseconds since the program's start, as all shards count them.
    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_millis() as u64
    }

    fn take(&self, batch: Batch<Item>) {
        let now_ms = self.ms(clock::mono());
        for item in batch.items {
            self.take_item(batch.from, item, now_ms);
        }
    }

    fn take_item(&self, from: u16, item: Item, now_ms: u64) {
        match item {
            Item::Ask {
                ticket,
                limit,
                hash,
                key,
                wanted,
            } => {
                let mut rates = self.rates.borrow_mut();
                let verdict = rates.answer(limit, (hash, &key), (wanted, now_ms));
                drop(rates);
                self.post(from, Item::Answer { ticket, verdict });
            }
            Item::Refund(refund) => self.rates.borrow_mut().refund(&refund, now_ms),
            Item::Enter { ticket, place } => {
                let entered = self.enter_for(from, &place);
                self.post(
                    from,
                    match entered {
                        Entered::Yes => Item::Entered { ticket, place },
                        Entered::TooMany | Entered::NoMemory => Item::Answer {
                            ticket,
                            verdict: Verdict::Refuse { until_ms: 0 },
                        },
                    },
                );
            }
            Item::Entered { ticket, place } => {
                let verdict = Verdict::Admit {
                    delay_ms: 0,
                    lease: 0,
                    left: Left::default(),
                };
                if !self.waiting.borrow_mut().answer(ticket, verdict) {
                    self.post(from, Item::Leave(place));
                }
            }
            Item::Leave(place) => {
                let key = (place.hash, &place.key);
                self.slots.borrow_mut().leave(place.limit, key, from);
            }
            Item::Answer { ticket, verdict } => {
                self.waiting.borrow_mut().answer(ticket, verdict);
            }
            Item::Born => self.slots.borrow_mut().forget(from),
        }
    }

    /// Takes a place of a key of this shard.
    fn enter_for(&self, shard: u16, place: &Place) -> Entered {
        let key = (place.hash, &place.key);
        let entered = self.slots.borrow_mut().enter(place.limit, key, shard);
        if entered == Entered::NoMemory {
            self.recorder.count(Counter::ConnectionLimitFull);
        }
        entered
    }

    /// Puts something into the outbox. What may not be lost goes beyond its bound; there is one
    /// of that for each request under way.
    fn post(&self, shard: u16, item: Item) -> bool {
        if shard == self.outbox.own() {
            return false;
        }
        let is_question = matches!(item, Item::Ask { .. } | Item::Enter { .. });
        let is_dispensable = is_question || matches!(item, Item::Refund(_));
        let room = is_dispensable.then_some(OUTBOX_MAX);
        self.outbox.post(shard, item, room)
    }

    /// Asks another shard. `None` if it does not answer.
    async fn ask(
        &self,
        shard: u16,
        now: Instant,
        question: impl FnOnce(u64) -> Item,
    ) -> Option<Verdict> {
        let deadline_ms = self.ms(now) + PATIENCE_MS;
        let ticket = self.waiting.borrow_mut().open(deadline_ms)?;
        let asked = Asked {
            counting: self,
            ticket,
        };
        if !self.post(shard, question(ticket)) {
            return None;
        }
        asked.await
    }

    /// Gives back what a request was admitted for that another limit then refused.
    fn undo(&self, refund: Refund) {
        let shards = self.outbox.shards();
        self.post(Hashing::owner(refund.hash, shards), Item::Refund(refund));
    }
}

impl Home for Counting {
    fn leave(&self, place: Place) {
        let shards = self.outbox.shards();
        let owner = Hashing::owner(place.hash, shards);
        if owner == self.outbox.own() {
            let key = (place.hash, &place.key);
            self.slots.borrow_mut().leave(place.limit, key, owner);
        } else {
            self.post(owner, Item::Leave(place));
        }
    }
}

/// Waits for an answer.
struct Asked<'a> {
    counting: &'a Counting,
    ticket: u64,
}

impl Future for Asked<'_> {
    type Output = Option<Verdict>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.counting.waiting.borrow_mut().poll(self.ticket, cx)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.counting.waiting.borrow_mut().close(self.ticket);
    }
}

#[cfg(test)]
mod tests;
