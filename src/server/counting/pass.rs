//! Whether a request may pass its route's limits: at once where this shard can tell, else after
//! asking the owners of its keys.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{Counting, refusal};
use crate::base::owner::Hashing;
use crate::config::{ConnectionLimit, LimitKey, OnError, RateLimit, V6_PREFIX};
use crate::filter::limit::{
    Decided, Decision, Entered, Home, Item, Keeper, Key, Passed, Place, Refund, Verdict,
};
use crate::filter::{Client, Guard};
use crate::http::{RequestHead, Response};
use crate::metrics::Counter;

/// Counting on one route; seldom more than one of a kind.
type Few<T> = SmallVec<[T; 2]>;

/// What becomes of a request.
#[derive(Debug)]
pub(in crate::server) enum Passage {
    /// It goes on.
    Open,
    /// It goes on after that time.
    After(Duration),
    /// It does not.
    Refused(Box<Response>),
    /// Other shards have to be asked; nothing is counted yet.
    Ask,
}

/// A request at its route's limits.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Passing<'a> {
    pub(in crate::server) guard: &'a Guard,
    pub(in crate::server) head: &'a RequestHead,
    pub(in crate::server) client: &'a Client,
    /// Where it is noted what is left.
    pub(in crate::server) passed: &'a Passed,
    pub(in crate::server) now: Instant,
}

/// A rate limit that concerns a request, and the request's key under it.
#[derive(Debug)]
struct Counted<'a> {
    limit: &'a RateLimit,
    at: u16,
    hash: u64,
    key: Key,
}

impl Counted<'_> {
    fn key(&self) -> (u64, &Key) {
        (self.hash, &self.key)
    }

    fn refund(&self) -> Refund {
        Refund {
            limit: self.at,
            hash: self.hash,
            key: self.key.clone(),
            count: 1,
        }
    }
}

impl Counting {
    /// Decides without waiting where that is possible. Places that the request then holds are
    /// put into `kept`.
    pub(in crate::server) fn pass(self: &Rc<Self>, passing: Passing<'_>, kept: &Keeper) -> Passage {
        let places = self.places(passing);
        if !places.iter().all(|(_, place)| self.owns(place.hash)) {
            return Passage::Ask;
        }
        let passage = self.pass_rates(passing);
        if places.is_empty() || matches!(passage, Passage::Refused(_) | Passage::Ask) {
            return passage;
        }
        for (limit, place) in places {
            let entered = match self.enter_for(self.outbox.own(), &place) {
                Entered::Yes => Some(true),
                Entered::TooMany => Some(false),
                Entered::NoMemory => None,
            };
            if let Some(refused) = self.settle(limit, (place, passing.passed), entered, kept) {
                return Passage::Refused(refused);
            }
        }
        passage
    }

    /// Decides, asking other shards.
    pub(in crate::server) async fn pass_asking(
        self: &Rc<Self>,
        passing: Passing<'_>,
        kept: &Keeper,
    ) -> Passage {
        let passage = match self.pass_rates(passing) {
            Passage::Ask => self.ask_rates(passing).await,
            passage => passage,
        };
        if matches!(passage, Passage::Refused(_)) {
            return passage;
        }
        for (limit, place) in self.places(passing) {
            let entered = self.enter(&place, passing.now).await;
            if let Some(refused) = self.settle(limit, (place, passing.passed), entered, kept) {
                return Passage::Refused(refused);
            }
        }
        passage
    }

    /// Whether `max_connections_per_ip` holds.
    pub(in crate::server) fn counts_connections(&self) -> bool {
        self.config.server.max_connections_per_ip.is_some()
    }

    /// Takes a place for a connection. `false`: its client has too many. Where nobody can tell
    /// it is admitted: a shard that is silent must not keep everyone out.
    pub(in crate::server) async fn admit(
        self: &Rc<Self>,
        client: IpAddr,
        (kept, now): (&Keeper, Instant),
    ) -> bool {
        let at = self.config.connection_limits.len();
        let Some(limit) = self.places.connections.get(at) else {
            return true;
        };
        let key = Key::of_address(client, V6_PREFIX);
        let place = Place {
            limit: *limit,
            hash: self.hashing.hash(&key),
            key,
        };
        match self.enter(&place, now).await {
            Some(true) => kept.keep(place, || Rc::clone(self) as Rc<dyn Home>),
            Some(false) => {
                self.recorder.count(Counter::ConnectionsRefusedPerIp);
                return false;
            }
            None => self.recorder.count(Counter::ConnectionLimitUnanswered),
        }
        true
    }

    fn owns(&self, hash: u64) -> bool {
        Hashing::owner(hash, self.outbox.shards()) == self.outbox.own()
    }

    fn hashed(&self, source: &LimitKey, passing: Passing<'_>) -> Option<(u64, Key)> {
        let key = Key::of(source, passing.client, passing.head)?;
        Some((self.hashing.hash(&key), key))
    }

    fn counted<'a>(&'a self, passing: Passing<'_>, at: u16) -> Option<Counted<'a>> {
        let limit = self.config.rate_limits.get(usize::from(at))?;
        let at = *self.places.rates.get(usize::from(at))?;
        let (hash, key) = self.hashed(&limit.common.key, passing)?;
        Some(Counted {
            limit,
            at,
            hash,
            key,
        })
    }

    /// The rate limits, without asking.
    fn pass_rates(&self, passing: Passing<'_>) -> Passage {
        let now_ms = self.ms(passing.now);
        match &*passing.guard.rate_limits {
            [] => Passage::Open,
            [one] => {
                let Some(one) = self.counted(passing, *one) else {
                    return Passage::Open;
                };
                let decision = self.rates.borrow_mut().decide(one.at, one.key(), now_ms);
                self.conclude(&one, decision, (passing.passed, now_ms))
            }
            several => {
                let all: Few<Counted<'_>> = several
                    .iter()
                    .filter_map(|at| self.counted(passing, *at))
                    .collect();
                if all.iter().all(|one| self.owns(one.hash)) {
                    self.look_then_count(&all, (passing.passed, now_ms))
                } else {
                    Passage::Ask
                }
            }
        }
    }

    /// As nginx does it: a request counts under all limits or under none.
    fn look_then_count(&self, all: &[Counted<'_>], (passed, now_ms): (&Passed, u64)) -> Passage {
        let mut rates = self.rates.borrow_mut();
        let mut over: Few<u16> = Few::new();
        for one in all {
            if let Err(too_much) = rates.look(one.at, one.key(), now_ms) {
                let until_ms = too_much.until_ms;
                let refusal = Decision::Refuse { until_ms };
                match self.conclude(one, refusal, (passed, now_ms)) {
                    Passage::Refused(refused) => return Passage::Refused(refused),
                    // A dry run: the others count, this one is full.
                    _ => over.push(one.at),
                }
            }
        }
        let mut longest = Passage::Open;
        for one in all.iter().filter(|one| !over.contains(&one.at)) {
            let (delay_ms, left) = rates.count(one.at, one.key(), now_ms);
            let decision = Decision::Admit { delay_ms, left };
            let passage = self.conclude(one, decision, (passed, now_ms));
            longest = longer(longest, passage);
        }
        longest
    }

    /// The rate limits, asking.
    async fn ask_rates(&self, passing: Passing<'_>) -> Passage {
        let mut admitted: Few<Counted<'_>> = Few::new();
        let mut longest = Passage::Open;
        for at in &passing.guard.rate_limits {
            let Some(one) = self.counted(passing, *at) else {
                continue;
            };
            let now_ms = self.ms(passing.now);
            let decision = self.rates.borrow_mut().decide(one.at, one.key(), now_ms);
            let passage = match decision {
                Decision::Ask { owner, wanted } => {
                    self.ask_rate(&one, (owner, wanted), passing).await
                }
                decision => self.conclude(&one, decision, (passing.passed, now_ms)),
            };
            if matches!(passage, Passage::Refused(_)) {
                for one in &admitted {
                    self.give_back(one, now_ms);
                }
                return passage;
            }
            longest = longer(longest, passage);
            admitted.push(one);
        }
        longest
    }

    async fn ask_rate(
        &self,
        one: &Counted<'_>,
        (owner, wanted): (u16, u16),
        Passing { passed, now, .. }: Passing<'_>,
    ) -> Passage {
        let answer = self.ask(owner, now, |ticket| Item::Ask {
            ticket,
            limit: one.at,
            hash: one.hash,
            key: one.key.clone(),
            wanted,
        });
        let verdict = answer.await;
        let now_ms = self.ms(now);
        let Some(verdict) = verdict else {
            self.recorder.count(Counter::RateLimitUnanswered);
            return match one.limit.common.on_error {
                OnError::Allow => Passage::Open,
                OnError::Deny => Passage::Refused(Box::new(refusal::uncounted())),
            };
        };
        let mut rates = self.rates.borrow_mut();
        rates.learn(one.at, one.key(), (verdict, now_ms));
        drop(rates);
        let decision = match verdict {
            Verdict::Admit { delay_ms, left, .. } => Decision::Admit {
                delay_ms: delay_ms.into(),
                left,
            },
            Verdict::Refuse { until_ms } => Decision::Refuse { until_ms },
        };
        self.conclude(one, decision, (passed, now_ms))
    }

    fn give_back(&self, one: &Counted<'_>, now_ms: u64) {
        if self.owns(one.hash) {
            self.rates.borrow_mut().refund(&one.refund(), now_ms);
        } else {
            self.undo(one.refund());
        }
    }

    /// Counts a decision, and makes of it what the limit's settings say.
    fn conclude(
        &self,
        one: &Counted<'_>,
        decision: Decision,
        (passed, now_ms): (&Passed, u64),
    ) -> Passage {
        let is_dry = one.limit.common.dry_run;
        if let Decision::Admit { left, .. } = decision
            && one.limit.headers
            && !is_dry
        {
            passed.note(one.at, left);
        }
        let (counter, decided, passage) = match decision {
            Decision::Ask { .. } => return Passage::Ask,
            Decision::Admit { delay_ms: 0, .. } => {
                (Counter::RateLimitPassed, Decided::Passed, Passage::Open)
            }
            Decision::Admit { .. } if is_dry => (
                Counter::RateLimitDelayedDry,
                Decided::DelayedDryRun,
                Passage::Open,
            ),
            Decision::Admit { delay_ms, .. } => (
                Counter::RateLimitDelayed,
                Decided::Delayed,
                Passage::After(Duration::from_millis(delay_ms)),
            ),
            Decision::Refuse { .. } if is_dry => (
                Counter::RateLimitRefusedDry,
                Decided::RejectedDryRun,
                Passage::Open,
            ),
            Decision::Refuse { until_ms } => {
                let wait_ms = until_ms.saturating_sub(now_ms);
                let response = refusal::too_often(one.limit, wait_ms);
                let refused = Passage::Refused(Box::new(response));
                (Counter::RateLimitRefused, Decided::Rejected, refused)
            }
        };
        self.recorder.count(counter);
        decided.note(&passed.rate);
        passage
    }

    /// The places that a request needs.
    fn places(&self, passing: Passing<'_>) -> Few<(&ConnectionLimit, Place)> {
        let limits = passing.guard.connection_limits.iter();
        limits
            .filter_map(|at| {
                let limit = self.config.connection_limits.get(usize::from(*at))?;
                let at = *self.places.connections.get(usize::from(*at))?;
                let (hash, key) = self.hashed(&limit.common.key, passing)?;
                let place = Place {
                    limit: at,
                    hash,
                    key,
                };
                Some((limit, place))
            })
            .collect()
    }

    /// Takes a place, wherever its owner is. `None` if nobody can tell.
    async fn enter(&self, place: &Place, now: Instant) -> Option<bool> {
        let owner = Hashing::owner(place.hash, self.outbox.shards());
        if owner == self.outbox.own() {
            return match self.enter_for(owner, place) {
                Entered::Yes => Some(true),
                Entered::TooMany => Some(false),
                Entered::NoMemory => None,
            };
        }
        let place = Place {
            limit: place.limit,
            hash: place.hash,
            key: place.key.clone(),
        };
        let answer = self.ask(owner, now, |ticket| Item::Enter { ticket, place });
        answer
            .await
            .map(|verdict| matches!(verdict, Verdict::Admit { .. }))
    }

    /// Keeps a place that was taken. `Some`: the request is refused.
    fn settle(
        self: &Rc<Self>,
        limit: &ConnectionLimit,
        (place, passed): (Place, &Passed),
        entered: Option<bool>,
        kept: &Keeper,
    ) -> Option<Box<Response>> {
        let (counter, decided, refused) = match entered {
            Some(true) => {
                Decided::Passed.note(&passed.place);
                kept.keep(place, || Rc::clone(self) as Rc<dyn Home>);
                return None;
            }
            Some(false) if limit.common.dry_run => (
                Counter::ConnectionLimitRefusedDry,
                Decided::RejectedDryRun,
                None,
            ),
            Some(false) => (
                Counter::ConnectionLimitRefused,
                Decided::Rejected,
                Some(refusal::too_many(limit)),
            ),
            None if limit.common.on_error == OnError::Deny => (
                Counter::ConnectionLimitUnanswered,
                Decided::Rejected,
                Some(refusal::uncounted()),
            ),
            None => (Counter::ConnectionLimitUnanswered, Decided::Passed, None),
        };
        self.recorder.count(counter);
        decided.note(&passed.place);
        refused.map(Box::new)
    }
}

/// The longer of two waits.
fn longer(first: Passage, second: Passage) -> Passage {
    match (&first, &second) {
        (Passage::After(a), Passage::After(b)) if b > a => second,
        (Passage::After(_), _) => first,
        _ => second,
    }
}
