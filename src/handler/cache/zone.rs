//! One `[cache.NAME]` on one shard: what it keeps, what is under way, what is not worth waiting
//! for.

use core::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use quick_cache::unsync::Cache;

use super::flight::Flight;
use super::order::Order;
use super::tier::Tier;
use crate::cache::entry::Entry;
use crate::cache::table::Table;
use crate::config;
use crate::http::HeaderList;

/// Keys that are remembered as not kept.
const PASSES_MAX: usize = 8 * 1024;
/// Seconds for which requests for them do not wait for each other.
const PASS_SECONDS: u64 = 10;

/// What is under way, by key.
type Flights = HashMap<Arc<[u8]>, Vec<Rc<Flight>>>;

/// One cache of one shard.
#[derive(Debug)]
pub(super) struct Zone {
    /// What it is made of.
    pub(super) config: config::Cache,
    pub(super) name: Arc<str>,
    /// Its place among the caches.
    pub(super) index: u16,
    /// What this shard owns.
    pub(super) own: Table,
    /// Copies of what others own.
    pub(super) copies: Table,
    /// Larger content is not kept.
    pub(super) object_bytes_max: usize,
    /// Bytes of content under way.
    pub(super) flying: Cell<usize>,
    /// The most of those.
    pub(super) flying_max: usize,
    flights: RefCell<Flights>,
    passes: RefCell<Cache<u64, u64>>,
    /// How often something that others may have copies of was forgotten.
    pub(super) epoch: Cell<u64>,
    /// The same, by shard, as far as it has been heard.
    pub(super) heard: RefCell<Vec<u64>>,
    /// Somebody looks for its files, or has.
    pub(super) is_sought: Cell<bool>,
    /// Files.
    pub(super) tier: Option<Tier>,
    inactive: u64,
    swept: Cell<u64>,
}

impl Zone {
    pub(super) fn new(
        (index, generation): (usize, u64),
        cache: &config::Cache,
        shards: u16,
    ) -> Self {
        let share = (cache.memory / usize::from(shards.max(1))) as u64;
        // What is copied has its bytes in common with what its owner keeps, until that goes.
        let copied = if shards > 1 { share / 4 } else { 0 };
        Self {
            config: cache.clone(),
            name: Arc::from(&*cache.name),
            index: index as u16,
            is_sought: Cell::new(false),
            own: Table::new(share - copied),
            copies: Table::new(copied),
            object_bytes_max: cache.max_object_size,
            flying: Cell::new(0),
            flying_max: usize::try_from(share).unwrap_or(usize::MAX),
            flights: RefCell::default(),
            passes: RefCell::new(Cache::new(PASSES_MAX)),
            // A predecessor of its name may have told others of some.
            epoch: Cell::new(generation << 32),
            heard: RefCell::new(vec![0; usize::from(shards)]),
            tier: cache.disk.as_ref().map(|disk| Tier::new(disk, shards)),
            inactive: cache.inactive.as_secs().max(1),
            swept: Cell::new(0),
        }
    }

    /// What is kept here and fits a request.
    pub(super) fn select(&self, key: &[u8], fields: &HeaderList) -> Option<Rc<Entry>> {
        let own = self.own.select(key, fields);
        own.or_else(|| self.copies.select(key, fields))
    }

    /// A flight that a request may ride along with.
    pub(super) fn flight(&self, order: &Order) -> Option<Rc<Flight>> {
        let flights = self.flights.borrow();
        let flights = flights.get(&*order.key)?;
        let resource = self.own.get(&order.key);
        let resource = resource.or_else(|| self.copies.get(&order.key));
        let is_alike = |flight: &&Rc<Flight>| {
            resource.as_ref().is_none_or(|resource| {
                let mut variants = resource.variants().iter();
                variants.all(|one| {
                    one.draft()
                        .selecting
                        .is_same_for(&flight.fields, &order.fields)
                })
            })
        };
        flights.iter().find(is_alike).map(Rc::clone)
    }

    /// Whether the server is being asked for a key.
    pub(super) fn is_flying(&self, key: &[u8]) -> bool {
        self.flights.borrow().contains_key(key)
    }

    pub(super) fn add_flight(&self, key: &Arc<[u8]>, flight: &Rc<Flight>) {
        let mut flights = self.flights.borrow_mut();
        flights
            .entry(Arc::clone(key))
            .or_default()
            .push(Rc::clone(flight));
    }

    /// Nobody may join it any more.
    pub(super) fn remove_flight(&self, key: &[u8], flight: &Rc<Flight>) {
        let mut flights = self.flights.borrow_mut();
        if let Some(list) = flights.get_mut(key) {
            list.retain(|one| !Rc::ptr_eq(one, flight));
            if list.is_empty() {
                flights.remove(key);
            }
        }
    }

    /// What comes of flights for these keys is not kept, and nobody joins them any more.
    pub(super) fn void_flights(&self, goes: impl Fn(&[u8]) -> bool) {
        self.flights.borrow_mut().retain(|key, flights| {
            let goes = goes(key);
            if goes {
                flights.iter().for_each(|flight| flight.void());
            }
            !goes
        });
    }

    /// Whether answers to a key's requests were not kept lately.
    pub(super) fn is_passing(&self, hash: u64, now: u64) -> bool {
        self.passes
            .borrow()
            .get(&hash)
            .is_some_and(|until| *until > now)
    }

    pub(super) fn mark_passing(&self, hash: u64, now: u64) {
        self.passes.borrow_mut().insert(hash, now + PASS_SECONDS);
    }

    pub(super) fn unmark_passing(&self, hash: u64) {
        self.passes.borrow_mut().remove(&hash);
    }

    /// Entries and their bytes.
    pub(super) fn levels(&self) -> (u64, u64) {
        let entries = self.own.len() + self.copies.len();
        (entries as u64, self.own.bytes() + self.copies.bytes())
    }

    /// Bytes of files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.tier.as_ref().map_or(0, Tier::bytes)
    }

    /// Forgets what nobody asks for, now and then. Says how much.
    pub(super) fn sweep(&self, now: u64) -> u64 {
        let pause = (self.inactive / 8).clamp(1, 60);
        if now < self.swept.get() + pause {
            return 0;
        }
        self.swept.set(now);
        let since = now.saturating_sub(self.inactive);
        self.own.forget_unused(since) + self.copies.forget_unused(since)
    }

    /// What was not used since then goes.
    pub(super) fn unused_since(&self, now: u64) -> u64 {
        now.saturating_sub(self.inactive)
    }
}
