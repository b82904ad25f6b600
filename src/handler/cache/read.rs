//! A request that may be answered from the cache, from the first look to the response.

use std::rc::Rc;
use std::sync::Arc;

use super::flight::{Flight, News, Rider};
use super::order::{Order, control};
use super::{Caches, answer, tell, write_key};
use crate::base::clock::Now;
use crate::cache::entry::{Draft, Entry};
use crate::cache::judge::{self, Verdict};
use crate::cache::status::{Account, Outcome};
use crate::config::{ProxyRoute, RouteCache};
use crate::handler::Incoming;
use crate::handler::proxy::Fetched;
use crate::http::conditional::{self, Validators};
use crate::http::{Body, Hint, Known, Method, Response, date};
use crate::metrics::Counter;
use crate::net::spawn;
use crate::net::timer::within;

/// How often a request looks again after it has waited for what turned out not to fit it.
const LOOKS_MAX: usize = 4;

/// Settings of a route, and its rules for the cache.
type Route<'a> = (&'a Arc<ProxyRoute>, &'a RouteCache);

/// What a wait for another's answer has come to.
enum Waited {
    Answered,
    /// Look again.
    Again,
    /// Ask for this request alone.
    Alone,
}

impl Caches {
    /// Answers from what is kept, from what is under way, or by asking.
    pub(super) async fn read(
        self: &Rc<Self>,
        (settings, rules): Route<'_>,
        request: &Incoming<'_>,
        is_read: bool,
        response: &mut Response,
    ) {
        let Some(zone) = self.zone(rules) else {
            return;
        };
        let fields = &request.head.headers;
        let asked = control(rules, fields);
        for look in 0..LOOKS_MAX {
            let now = Now::read().unix.as_secs();
            if is_read && self.use_kept((settings, rules), request, now, response) {
                return;
            }
            if asked.only_if_cached {
                *response =
                    Response::problem(504, "nothing fresh is kept, and only that was wanted");
                tell(rules, &Account::of(Outcome::Miss), response);
                return;
            }
            let order = self.order((settings, rules), request, is_read);
            if !rules.lock || !is_read || zone.is_passing(order.hash, now) {
                break;
            }
            let rider = self.join(order);
            let is_collapsed = !rider.is_first();
            if is_collapsed && look == 0 {
                self.parts.recorder.count(Counter::CacheLockWaits);
            }
            match self.wait((rules, request, is_read), rider, response).await {
                Waited::Answered => return,
                Waited::Again => {}
                Waited::Alone => break,
            }
        }
        self.alone((settings, rules), request, is_read, response)
            .await;
    }

    /// Answers with what is kept if that may be used.
    fn use_kept(
        self: &Rc<Self>,
        (settings, rules): Route<'_>,
        request: &Incoming<'_>,
        now: u64,
        response: &mut Response,
    ) -> bool {
        let Some(zone) = self.zone(rules) else {
            return false;
        };
        let fields = &request.head.headers;
        let (found, is_flying) = {
            let mut key = self.scratch.borrow_mut();
            write_key(rules, request, &mut key);
            (zone.select(&key, fields), zone.is_flying(&key))
        };
        let Some(entry) = found else {
            return false;
        };
        let asked = control(rules, fields);
        let verdict = judge::judge(entry.draft(), rules, &asked, now, is_flying);
        let outcome = match verdict {
            Verdict::Use => Outcome::Hit,
            Verdict::UseAndRenew => {
                let order = self.order((settings, rules), request, true);
                if order.owner(self.office.outbox.shards()) != self.office.outbox.own() {
                    // The owner knows more.
                    return false;
                }
                self.renew(order, &entry);
                Outcome::Updating
            }
            Verdict::Ask => return false,
        };
        self.count(outcome);
        let account = answer::account(&entry, outcome, now);
        answer::entry((rules, request.head), &entry, &account, now, response);
        true
    }

    /// Asks the server beside what is answered, unless it is being asked already.
    pub(super) fn renew(self: &Rc<Self>, order: Order, entry: &Rc<Entry>) {
        let Some(zone) = order.rules().and_then(|rules| self.zone(rules)) else {
            return;
        };
        if zone.flight(&order).is_none() {
            let flight = Flight::new(order.fields.clone());
            zone.add_flight(&order.key, &flight);
            let held = Some(Rc::clone(entry));
            spawn(Rc::clone(self).feed(flight, Rc::new(order), (held, true)));
        }
    }

    /// Rides along with a flight for the same, or starts one.
    pub(super) fn join(self: &Rc<Self>, order: Order) -> Rider {
        let Some(zone) = order.rules().and_then(|rules| self.zone(rules)) else {
            // A route with a cache has its zone.
            return Flight::new(order.fields.clone()).board(true);
        };
        if let Some(flight) = zone.flight(&order) {
            return flight.board(false);
        }
        let flight = Flight::new(order.fields.clone());
        zone.add_flight(&order.key, &flight);
        let rider = flight.board(true);
        let owner = order.owner(self.office.outbox.shards());
        if owner == self.office.outbox.own() {
            let held = zone.own.select(&order.key, &order.fields);
            spawn(Rc::clone(self).feed(flight, Rc::new(order), (held, false)));
        } else {
            spawn(Rc::clone(self).mirror(flight, order, owner));
        }
        rider
    }

    /// Waits for what a flight brings, as long as the route has it for another's answer.
    async fn news(
        &self,
        rules: &RouteCache,
        request: &Incoming<'_>,
        rider: &mut Rider,
    ) -> Option<News> {
        if rider.is_first() {
            let hand_on = |hint: Hint| request.hints.put(hint.status, &hint.headers);
            return Some(rider.news_and_hints(hand_on).await);
        }
        let news = within(rules.lock_timeout, rider.news()).await;
        if news.is_err() {
            self.parts.recorder.count(Counter::CacheLockTimeouts);
        }
        news.ok()
    }

    /// Waits for what a flight brings, and answers with it.
    async fn wait(
        &self,
        (rules, request, is_read): (&RouteCache, &Incoming<'_>, bool),
        mut rider: Rider,
        response: &mut Response,
    ) -> Waited {
        let is_collapsed = !rider.is_first();
        let Some(news) = self.news(rules, request, &mut rider).await else {
            return Waited::Alone;
        };
        let head = request.head;
        let now = Now::read().unix.as_secs();
        match news {
            News::Streams(draft, length, outcome) => {
                if !draft.selecting.fits(&head.headers) {
                    return Waited::Again;
                }
                if answer::wants_whole(head) {
                    while let Ok(Some(_)) = rider.next().await {}
                    return Waited::Again;
                }
                self.count(outcome);
                let account = Account {
                    is_collapsed,
                    is_stored: true,
                    forward_status: Some(draft.status),
                    ..Account::of(outcome)
                };
                stream(
                    (rules, request),
                    (rider, &draft, length),
                    &account,
                    now,
                    response,
                );
                Waited::Answered
            }
            News::Kept(entry, outcome) => {
                if !entry.draft().selecting.fits(&head.headers) {
                    return Waited::Again;
                }
                self.count(outcome);
                let account = Account {
                    is_collapsed,
                    ..answer::account(&entry, outcome, now)
                };
                answer::entry((rules, head), &entry, &account, now, response);
                Waited::Answered
            }
            News::Own(fetched) => {
                self.own((rules, request, is_read), *fetched, response);
                Waited::Answered
            }
            News::Others => Waited::Alone,
            News::Failed(problem) => {
                *response = problem.response();
                self.count(Outcome::Miss);
                tell(rules, &Account::of(Outcome::Miss), response);
                Waited::Answered
            }
        }
    }

    /// Answers with what was fetched for this request alone.
    fn own(
        &self,
        (rules, request, is_read): (&RouteCache, &Incoming<'_>, bool),
        fetched: Fetched,
        response: &mut Response,
    ) {
        let status = fetched.head.status;
        self.parts.proxy.answer(fetched, response);
        let outcome = asked(is_read);
        self.count(outcome);
        let validators = Validators {
            etag: response.headers.get(Known::Etag),
            last_modified: response
                .headers
                .get(Known::LastModified)
                .and_then(date::parse_date),
        };
        let head = request.head;
        if status == 200
            && conditional::evaluate(head.method, &head.headers, &validators)
                == conditional::Verdict::NotModified
        {
            answer::not_modified(response);
        }
        if head.method == Method::Head {
            response.body = Body::Empty;
        }
        let account = Account {
            forward_status: Some(status),
            ..Account::of(outcome)
        };
        tell(rules, &account, response);
    }

    /// Asks the server for this request alone. Its answer is kept all the same if it may be.
    async fn alone(
        self: &Rc<Self>,
        (settings, rules): Route<'_>,
        request: &Incoming<'_>,
        is_read: bool,
        response: &mut Response,
    ) {
        let own_fields =
            Known::Range.bit() | Known::IfNoneMatch.bit() | Known::IfModifiedSince.bit();
        if request.head.headers.contains_any(own_fields) || request.head.method != Method::Get {
            let passed = Incoming {
                body: Body::Empty,
                ..*request
            };
            self.parts.proxy.serve(settings, passed, response).await;
            let outcome = asked(is_read);
            self.count(outcome);
            tell(rules, &Account::of(outcome), response);
            return;
        }
        let order = self.order((settings, rules), request, is_read);
        let held = self.zone(rules).and_then(|zone| {
            let kept = zone.own.select(&order.key, &order.fields);
            kept.filter(|_| is_read)
        });
        let flight = Flight::new(order.fields.clone());
        let rider = flight.board(true);
        spawn(Rc::clone(self).feed(flight, Rc::new(order), (held, false)));
        let _ = Box::pin(self.wait((rules, request, is_read), rider, response)).await;
    }
}

/// What the cache did with a request that was asked of the server.
const fn asked(is_read: bool) -> Outcome {
    if is_read {
        Outcome::Miss
    } else {
        Outcome::Bypass
    }
}

/// Answers with content that is still on its way.
fn stream(
    (rules, request): (&RouteCache, &Incoming<'_>),
    (rider, draft, length): (Rider, &Draft, Option<u64>),
    account: &Account,
    now: u64,
    response: &mut Response,
) {
    answer::fields(rules, draft, account, now, response);
    if answer::is_not_modified(request.head, draft) {
        return answer::not_modified(response);
    }
    if matches!(draft.status, 204 | 205) {
        return;
    }
    if let Some(length) = length {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(length);
        response
            .headers
            .push_known(Known::ContentLength, digits.as_bytes());
    }
    if request.head.method != Method::Head {
        response.body = Body::Source(rider.into_source(length));
    }
}
