//! Removing what is kept: by PURGE, and because a request has changed what it is a copy of
//! (RFC 9111 §4.4). It is over when no shard has it any more.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::links::{Item, What};
use super::zone::Zone;
use super::{Caches, template, write_key};
use crate::base::network::Network;
use crate::base::owner::Hashing;
use crate::config::RouteCache;
use crate::handler::Incoming;
use crate::handler::problem::Problem;
use crate::http::{HeaderList, Known, RequestHead, Response};
use crate::metrics::Counter;
use crate::net::timer::within;

/// How long other shards are waited for. It takes a tenth of a millisecond; one that is silent
/// for so long has crashed or is stuck.
const PATIENCE: Duration = Duration::from_secs(1);

/// Removals that are not known to be over everywhere.
#[derive(Debug, Default)]
pub(super) struct Acks {
    next: u64,
    open: HashMap<u64, Ack>,
}

#[derive(Debug, Default)]
struct Ack {
    left: usize,
    removed: u64,
    waker: Option<Waker>,
}

impl Acks {
    fn open(&mut self, left: usize) -> u64 {
        self.next += 1;
        let ack = Ack {
            left,
            ..Ack::default()
        };
        self.open.insert(self.next, ack);
        self.next
    }

    /// One shard more is done.
    pub(super) fn done(&mut self, ticket: u64, removed: u64) {
        if let Some(ack) = self.open.get_mut(&ticket) {
            ack.left = ack.left.saturating_sub(1);
            ack.removed += removed;
            if let (0, Some(waker)) = (ack.left, ack.waker.take()) {
                waker.wake();
            }
        }
    }
}

impl Caches {
    /// Answers PURGE.
    pub(super) async fn purge(
        self: &Rc<Self>,
        rules: &RouteCache,
        request: &Incoming<'_>,
        response: &mut Response,
    ) {
        if !may_purge(rules, request) {
            *response = Problem::Forbidden.response();
            return;
        }
        let mut key = Vec::new();
        let what = if request.head.target().ends_with('*') {
            if !template(rules).write_beginning(request.head, request.tls.is_some(), &mut key) {
                let why = "a path with * needs a cache key that ends in the URI";
                *response = Response::problem(400, why);
                return;
            }
            What::Beginning(key.into())
        } else {
            write_key(rules, request, &mut key);
            What::Key(key.into())
        };
        let removed = self.invalidate(rules, what).await;
        self.parts.recorder.add(Counter::CachePurged, removed);
        *response = Response::json(200, format!("{{\"removed\":{removed}}}"));
        response
            .headers
            .push_known(Known::CacheControl, b"no-store");
    }

    /// Removes what a request has changed: its own URI, and those that its answer names, where
    /// they are the same host's.
    pub(super) async fn invalidate_changed(
        self: &Rc<Self>,
        rules: &RouteCache,
        request: &Incoming<'_>,
        answer: &HeaderList,
    ) {
        let mut key = Vec::new();
        write_key(rules, request, &mut key);
        self.invalidate(rules, What::Key(key.as_slice().into()))
            .await;
        for field in [Known::Location, Known::ContentLocation] {
            let Some(named) = answer.get_str(field) else {
                continue;
            };
            let Some(target) = same_host(request, named) else {
                continue;
            };
            let mut head = RequestHead::default();
            if head.set_target("GET", &target).is_none() {
                continue;
            }
            head.headers.append(&request.head.headers);
            key.clear();
            template(rules).write(&head, request.tls.is_some(), &mut key);
            self.invalidate(rules, What::Key(key.as_slice().into()))
                .await;
        }
    }

    /// Removes something on all shards. Says how many responses there were.
    async fn invalidate(self: &Rc<Self>, rules: &RouteCache, what: What) -> u64 {
        let Some(zone) = self.zone(rules) else {
            return 0;
        };
        let name = Arc::clone(&zone.name);
        let shards = self.office.outbox.shards();
        let owners = match &what {
            What::Key(key) => {
                let owner = Hashing::owner(self.office.hashing.hash(key), shards);
                owner..owner + 1
            }
            What::Beginning(_) => 0..shards,
        };
        let answers = owners.len() * usize::from(shards);
        let ticket = self.office.acks.borrow_mut().open(answers);
        for owner in owners {
            if owner == self.office.outbox.own() {
                self.forget_own(&name, &what, (owner, ticket));
            } else {
                let item = Item::Invalidate {
                    zone: Arc::clone(&name),
                    what: what.clone(),
                    ticket,
                };
                self.post(owner, item);
            }
        }
        let all = poll_fn(|cx| {
            let mut acks = self.office.acks.borrow_mut();
            match acks.open.get_mut(&ticket) {
                Some(ack) if ack.left > 0 => {
                    ack.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        });
        if within(PATIENCE, all).await.is_err() {
            self.parts.recorder.count(Counter::CacheLinksFull);
        }
        let ack = self.office.acks.borrow_mut().open.remove(&ticket);
        ack.map_or(0, |ack| ack.removed)
    }

    /// Removes what this shard owns, and has the others forget their copies.
    pub(super) fn forget_own(self: &Rc<Self>, zone: &str, what: &What, asker: (u16, u64)) {
        let mut removed = 0;
        if let Some(zone) = self.zone_named(zone) {
            zone.void_flights(|key| what.is(key));
            removed = match what {
                What::Key(key) => u64::from(zone.own.remove(key)),
                What::Beginning(_) => zone.own.remove_all(|key, _| what.is(key)),
            };
            removed = removed.max(self.forget_files(zone, what));
            self.forget_copies(zone, what, Some(asker));
        }
        self.done(asker, removed);
    }

    /// Has the other shards forget their copies of what this one owns.
    pub(super) fn forget_copies(&self, zone: &Zone, what: &What, asker: Option<(u16, u64)>) {
        let epoch = zone.epoch.get() + 1;
        zone.epoch.set(epoch);
        for shard in
            (0..self.office.outbox.shards()).filter(|shard| *shard != self.office.outbox.own())
        {
            let item = Item::Forget {
                zone: Arc::clone(&zone.name),
                what: what.clone(),
                epoch,
                asker,
            };
            self.post(shard, item);
        }
    }

    /// Forgets copies of what another shard owns.
    pub(super) fn forget_copies_of(
        &self,
        owner: u16,
        (zone, what): (&str, &What),
        epoch: u64,
        asker: Option<(u16, u64)>,
    ) {
        if let Some(zone) = self.zone_named(zone) {
            if asker.is_some() {
                zone.void_flights(|key| what.is(key));
            }
            match what {
                What::Key(key) => {
                    zone.copies.remove(key);
                }
                What::Beginning(_) => {
                    zone.copies.remove_all(|key, _| what.is(key));
                }
            }
            if let Some(heard) = zone.heard.borrow_mut().get_mut(usize::from(owner)) {
                *heard = epoch;
            }
        }
        if let Some(asker) = asker {
            self.done(asker, 0);
        }
    }

    fn done(&self, (asker, ticket): (u16, u64), removed: u64) {
        if asker == self.office.outbox.own() {
            self.office.acks.borrow_mut().done(ticket, removed);
        } else {
            self.post(asker, Item::Done { ticket, removed });
        }
    }
}

/// Whether who asks may remove responses.
fn may_purge(rules: &RouteCache, request: &Incoming<'_>) -> bool {
    let address = request.client.address;
    let is_listed = |network: &Network| network.contains(address);
    if rules.purge.iter().any(is_listed) {
        return true;
    }
    let shown = request.head.header(Known::Authorization);
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer "));
    match (&rules.purge_token, shown) {
        (Some(token), Some(shown)) => {
            verify_slices_are_equal(token.0.as_bytes(), shown.trim_ascii()).is_ok()
        }
        _ => false,
    }
}

/// Path and query of a URI reference, if it is of the request's own host.
fn same_host(request: &Incoming<'_>, named: &str) -> Option<String> {
    let path = match named.split_once("://") {
        Some((_, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = request.head.header(Known::Host)?;
            if !authority.as_bytes().eq_ignore_ascii_case(host) {
                return None;
            }
            path
        }
        None if named.starts_with("//") => return None,
        None => named,
    };
    let path = path.split('#').next().unwrap_or("");
    if path.starts_with('/') {
        return Some(path.to_owned());
    }
    if path.is_empty() {
        return Some("/".to_owned());
    }
    // Relative to the request's own (RFC 3986 §5.3).
    let own = request.head.path();
    let folder = own
        .rfind('/')
        .map_or("/", |at| own.get(..=at).unwrap_or("/"));
    Some(format!("{folder}{path}"))
}
