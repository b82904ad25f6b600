//! Asks the server for a flight and hands its answer on, to those who ride along and to what is
//! kept.

use core::future::poll_fn;
use core::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::Caches;
use super::flight::{Arrival, Flight};
use super::links::{Item, What};
use super::order::Order;
use super::zone::Zone;
use crate::base::clock::Now;
use crate::cache::entry::{Entry, Parcel};
use crate::cache::judge::{self, Failure, Verdict};
use crate::cache::status::Outcome;
use crate::cache::store::{self, Asked, NotKept};
use crate::config::RouteCache;
use crate::handler::proxy::Fetched;
use crate::http::{Body, BodyError, Known, Response};
use crate::metrics::Counter;
use crate::net::timer::{Either, race};

/// Takes a flight out of the list when it is over, however it ends.
struct Landing<'a> {
    zone: &'a Zone,
    order: &'a Order,
    flight: &'a Rc<Flight>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.zone.remove_flight(&self.order.key, self.flight);
        self.flight.close();
    }
}

/// What the server says of what is held.
struct Question<'a> {
    rules: &'a RouteCache,
    zone: &'a Zone,
    order: &'a Order,
    flight: &'a Rc<Flight>,
    held: Option<Rc<Entry>>,
    asked_at: u64,
}

impl Caches {
    /// Gets a flight its answer. `held` is what is kept and may no longer be used as it is; in
    /// the background it is asked for though nobody waits.
    pub(super) async fn feed(
        self: Rc<Self>,
        flight: Rc<Flight>,
        order: Rc<Order>,
        (held, is_background): (Option<Rc<Entry>>, bool),
    ) {
        let Some(rules) = order.rules() else {
            return flight.close();
        };
        let Some(zone) = self.zone(rules) else {
            return flight.close();
        };
        let landing = Landing {
            zone,
            order: &order,
            flight: &flight,
        };
        let mut question = Question {
            rules,
            zone,
            order: &order,
            flight: &flight,
            held,
            asked_at: 0,
        };
        if self.finds_file(&mut question).await {
            return;
        }
        self.ask(&mut question, is_background).await;
        drop(landing);
    }

    /// Looks for a file; says whether it answers.
    async fn finds_file(&self, question: &mut Question<'_>) -> bool {
        let Question {
            rules,
            zone,
            order,
            flight,
            ..
        } = question;
        if question.held.is_some() || !order.is_read {
            return false;
        }
        let Some(entry) = self.load(zone, order).await else {
            return false;
        };
        let now = Now::read().unix.as_secs();
        let verdict = judge::judge(entry.draft(), rules, &order.control, now, false);
        let outcome = match verdict {
            Verdict::Use => Outcome::Hit,
            Verdict::UseAndRenew => Outcome::Updating,
            Verdict::Ask => {
                question.held = Some(entry);
                return false;
            }
        };
        flight.arrive(Arrival::Kept {
            entry: Rc::clone(&entry),
            outcome,
        });
        question.held = Some(entry);
        verdict == Verdict::Use
    }

    async fn ask(self: &Rc<Self>, question: &mut Question<'_>, is_background: bool) {
        let order = question.order;
        let mut ask = order.ask();
        if let Some(held) = &question.held {
            let headers = &held.draft().headers;
            for (field, condition) in [
                (Known::Etag, Known::IfNoneMatch),
                (Known::LastModified, Known::IfModifiedSince),
            ] {
                if let Some(value) = headers.get(field) {
                    ask.headers.push_known(condition, value);
                }
            }
        }
        question.asked_at = Now::read().unix.as_secs();
        let is_answered = question.flight.has_arrived();
        let flight = question.flight;
        let result = {
            let mut fetching = pin!(self.parts.proxy.fetch(&mut ask, &flight.hints));
            let fetching = poll_fn(|cx| {
                let polled = fetching.as_mut().poll(cx);
                flight.tell_hints();
                polled
            });
            if is_background || is_answered {
                fetching.await
            } else {
                match race(fetching, pin!(flight.deserted())).await {
                    Either::First(result) => result,
                    Either::Second(()) => return,
                }
            }
        };
        match result {
            Ok(fetched) => self.fetched(question, fetched).await,
            Err(fault) => {
                let failure = match fault.is_timeout() {
                    true => Failure::Timeout,
                    false => Failure::Error,
                };
                self.parts
                    .proxy
                    .refuse(&ask, &fault, &mut Response::default());
                if !self.hides(question, failure) {
                    question.flight.arrive(Arrival::Failed(fault.problem()));
                }
            }
        }
    }

    /// Answers with what is held in place of a failure, if that may be.
    fn hides(&self, question: &Question<'_>, failure: Failure) -> bool {
        let Some(held) = &question.held else {
            return false;
        };
        let now = Now::read().unix.as_secs();
        if !judge::serves_failure(held.draft(), question.rules, failure, now) {
            return false;
        }
        question.flight.arrive(Arrival::Kept {
            entry: Rc::clone(held),
            outcome: Outcome::Stale,
        });
        true
    }

    async fn fetched(self: &Rc<Self>, question: &Question<'_>, fetched: Fetched) {
        let Question {
            rules,
            zone,
            order,
            flight,
            held,
            asked_at,
        } = question;
        let now = Now::read().unix.as_secs();
        let asked = Asked {
            headers: &order.fields,
            control: &order.control,
            tells_credentials: super::template(rules).tells_credentials(),
            times: (*asked_at, now),
        };
        if let (304, Some(held)) = (fetched.head.status, held) {
            return self.renewed(question, held, &asked, &fetched);
        }
        if self.hides(question, Failure::Status(fetched.head.status)) {
            return;
        }
        let length = length(&fetched.body);
        let draft = match order.keeps && self.is_used_enough(question) {
            true => store::draft(rules, &asked, fetched.head.clone()),
            false => Err(NotKept::Operator),
        };
        let is_small = length.is_none_or(|length| length <= zone.object_bytes_max as u64);
        let draft = match draft {
            Ok(draft) if is_small => Arc::new(draft),
            result => {
                if !matches!(result, Err(NotKept::Operator)) {
                    zone.mark_passing(order.hash, now);
                }
                zone.remove_flight(&order.key, flight);
                return flight.arrive(Arrival::Alone(Some(Box::new(fetched))));
            }
        };
        let outcome = match (held.is_some(), order.is_read) {
            (_, false) => Outcome::Bypass,
            (true, true) => Outcome::Expired,
            (false, true) => Outcome::Miss,
        };
        flight.arrive(Arrival::Streams {
            draft: Arc::clone(&draft),
            length,
            outcome,
        });
        let ended = self.stream(question, fetched.body).await;
        if let (Ok(Some(body)), false) = (&ended, flight.is_void()) {
            let parcel = Arc::new(Parcel {
                draft: (*draft).clone(),
                body: body.clone(),
            });
            flight.keep(&parcel);
            self.store(zone, order, parcel, held.as_deref());
        }
        flight.end(ended.map(|_| ()));
    }

    fn is_used_enough(&self, question: &Question<'_>) -> bool {
        let Question {
            rules, zone, order, ..
        } = question;
        rules.min_uses <= 1
            || question.held.is_some()
            // Its owner counts, when it is handed over.
            || order.owner(self.office.outbox.shards()) != self.office.outbox.own()
            || zone.own.count_use(order.hash) >= rules.min_uses
    }

    /// The server says that what is held still is right.
    fn renewed(
        self: &Rc<Self>,
        question: &Question<'_>,
        held: &Rc<Entry>,
        asked: &Asked<'_>,
        fetched: &Fetched,
    ) {
        let Question {
            rules,
            zone,
            order,
            flight,
            ..
        } = question;
        let (draft, result) = store::renew(rules, asked, held.draft(), &fetched.head);
        let parcel = Arc::new(Parcel {
            draft,
            body: held.parcel.body.clone(),
        });
        let entry = match result {
            Ok(()) if order.keeps && !flight.is_void() => {
                self.store(zone, order, Arc::clone(&parcel), Some(held))
            }
            _ => {
                zone.own.remove(&order.key);
                None
            }
        };
        let now = asked.times.1;
        let shelf = &self.parts.shelf;
        let entry = entry.unwrap_or_else(|| Entry::new(parcel, Some(held), shelf, now));
        flight.arrive(Arrival::Kept {
            entry,
            outcome: Outcome::Revalidated,
        });
    }

    /// Hands the content on. `None`: it is too large to be kept, or nobody wants it any more.
    async fn stream(
        &self,
        question: &Question<'_>,
        body: Body,
    ) -> Result<Option<Bytes>, BodyError> {
        let flight = question.flight;
        let mut source = match body {
            Body::Source(source) => source,
            Body::Full(bytes) => {
                flight.push(bytes).await;
                return Ok(Some(flight.content()));
            }
            _ => return Ok(Some(Bytes::new())),
        };
        let zone = question.zone;
        let mut flying = Flying { zone, bytes: 0 };
        let mut is_kept = true;
        while source.next_piece().await? {
            let piece = Bytes::copy_from_slice(source.piece());
            if is_kept && !flying.take(piece.len()) {
                is_kept = false;
                zone.mark_passing(question.order.hash, Now::read().unix.as_secs());
                zone.remove_flight(&question.order.key, flight);
                flight.pass_on();
            }
            if !flight.push(piece).await {
                return Ok(None);
            }
        }
        Ok(is_kept.then(|| flight.content()))
    }

    /// Keeps a whole response where it belongs. Gives it as this shard keeps it, if it does.
    pub(super) fn store(
        self: &Rc<Self>,
        zone: &Zone,
        order: &Order,
        parcel: Arc<Parcel>,
        old: Option<&Entry>,
    ) -> Option<Rc<Entry>> {
        zone.unmark_passing(order.hash);
        let owner = order.owner(self.office.outbox.shards());
        if owner != self.office.outbox.own() {
            let deposit = Item::Deposit {
                zone: Arc::clone(&zone.name),
                key: Arc::clone(&order.key),
                hash: order.hash,
                min_uses: order.rules().map_or(1, |rules| rules.min_uses),
                parcel,
            };
            self.post(owner, deposit);
            return None;
        }
        self.keep(zone, (&order.key, order.hash), parcel, old)
    }

    /// Keeps a response that this shard owns.
    pub(super) fn keep(
        self: &Rc<Self>,
        zone: &Zone,
        (key, hash): (&Arc<[u8]>, u64),
        parcel: Arc<Parcel>,
        old: Option<&Entry>,
    ) -> Option<Rc<Entry>> {
        zone.unmark_passing(hash);
        let now = Now::read().unix.as_secs();
        let before = zone.own.get(key);
        let was_fresh = before.is_some_and(|resource| {
            let mut variants = resource.variants().iter();
            variants.any(|entry| entry.draft().freshness.is_fresh(now))
        });
        if was_fresh {
            // Others may have copies that are still fresh.
            self.forget_copies(zone, &What::Key(Arc::clone(key)), None);
        }
        let entry = Entry::new(Arc::clone(&parcel), old, &self.parts.shelf, now);
        let evicted = zone.own.insert(key, Rc::clone(&entry));
        let recorder = &self.parts.recorder;
        recorder.add(Counter::CacheEvictions, evicted.unwrap_or(0));
        self.write_file(zone, key, &parcel);
        Some(entry)
    }
}

/// Bytes of one flight that count against the most that may be under way.
struct Flying<'a> {
    zone: &'a Zone,
    bytes: usize,
}

impl Flying<'_> {
    fn take(&mut self, bytes: usize) -> bool {
        let flying = self.zone.flying.get() + bytes;
        if self.bytes + bytes > self.zone.object_bytes_max || flying > self.zone.flying_max {
            return false;
        }
        self.zone.flying.set(flying);
        self.bytes += bytes;
        true
    }
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        let flying = &self.zone.flying;
        flying.set(flying.get().saturating_sub(self.bytes));
    }
}

/// Length of content, if it is known.
pub(super) fn length(body: &Body) -> Option<u64> {
    match body {
        Body::Source(source) => source.length(),
        body => body.len(),
    }
}
