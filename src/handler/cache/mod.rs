//! The cache of one shard (see `cache` for what is decided where). A key has one owner among the
//! shards: it asks the server and keeps the answer. The others ask the owner and keep a copy.
//!
//! ```text
//!  request --> kept here and fresh? --------------------------------> answer
//!                  | no
//!                  v
//!              join or start a flight --> owner: file? --> server --> keep
//!                                         other: owner's shard ----> copy
//! ```

mod answer;
mod feed;
mod flight;
mod links;
mod order;
mod purge;
mod read;
mod remote;
mod tier;
mod zone;

pub use links::{Links, Office};

use core::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::log::Logger;
use crate::cache::judge::{self, Concern, Verdict};
use crate::cache::key::KeyTemplate;
use crate::cache::status::{Account, Outcome};
use crate::config::{self, Config, ProxyRoute, RouteCache};
use crate::handler::Incoming;
use crate::handler::cache::zone::Zone;
use crate::handler::proxy::Proxy;
use crate::http::cache_control::CacheControl;
use crate::http::{Body, HeaderList, Known, Response, Shelf};
use crate::metrics::{Counter, Recorder};
use crate::net::disk::Disk;

/// Fields of a request that only a closer look can weigh.
const WEIGHED: u128 = Known::CacheControl.bit()
    | Known::Pragma.bit()
    | Known::IfMatch.bit()
    | Known::IfUnmodifiedSince.bit()
    | Known::Upgrade.bit();

/// What the caches of a shard share with the rest of it.
#[derive(Debug)]
pub struct Parts {
    /// Asks the servers.
    pub proxy: Rc<Proxy>,
    /// Where encodings of what is kept stand.
    pub shelf: Shelf,
    /// Waits for disks.
    pub disk: Option<Disk>,
    /// Counts.
    pub recorder: Rc<Recorder>,
    /// Diagnostics.
    pub log: Logger,
}

/// Every cache of one shard.
#[derive(Debug)]
pub struct Caches {
    /// The number of the configuration.
    generation: u64,
    zones: Vec<Rc<Zone>>,
    parts: Parts,
    office: Rc<Office>,
    /// For keys.
    scratch: RefCell<Vec<u8>>,
}

impl Caches {
    /// The caches of a configuration. Those that it does not change keep what they have.
    #[must_use]
    pub fn new(
        (config, generation): (&Config, u64),
        office: &Rc<Office>,
        parts: Parts,
        known: Option<&Self>,
    ) -> Rc<Self> {
        let shards = office.outbox.shards();
        let zone = |(index, cache): (usize, &config::Cache)| {
            let old = known.and_then(|known| known.zones.get(index));
            match old.filter(|old| old.config == *cache) {
                Some(old) => Rc::clone(old),
                None => Rc::new(Zone::new((index, generation), cache, shards)),
            }
        };
        Rc::new(Self {
            generation,
            zones: config.caches.iter().enumerate().map(zone).collect(),
            scratch: RefCell::default(),
            parts,
            office: Rc::clone(office),
        })
    }

    /// Answers a request from what is kept and fresh, if that takes no wait; says whether it did.
    pub fn serve_at_once(
        &self,
        rules: &RouteCache,
        request: &Incoming<'_>,
        response: &mut Response,
    ) -> bool {
        let head = request.head;
        if head.headers.contains_any(WEIGHED) || judge::concern(rules, head, false) != Concern::Read
        {
            return false;
        }
        let Some(zone) = self.zone(rules) else {
            return false;
        };
        let now = request.now.unix.as_secs();
        let mut key = self.scratch.borrow_mut();
        write_key(rules, request, &mut key);
        let Some(entry) = zone.select(&key, &head.headers) else {
            return false;
        };
        let asked = CacheControl::default();
        if judge::judge(entry.draft(), rules, &asked, now, false) != Verdict::Use {
            return false;
        }
        self.count(Outcome::Hit);
        let account = answer::account(&entry, Outcome::Hit, now);
        answer::entry((rules, head), &entry, &account, now, response);
        true
    }

    /// Answers a request of a route with a cache.
    pub async fn serve(
        self: &Rc<Self>,
        (settings, rules): (&Arc<ProxyRoute>, &RouteCache),
        mut request: Incoming<'_>,
        response: &mut Response,
    ) {
        let has_content = !matches!(request.body, Body::Empty);
        match judge::concern(rules, request.head, has_content) {
            Concern::Purge => self.purge(rules, &request, response).await,
            Concern::Pass => self.pass(settings, rules, request, response).await,
            Concern::Change => {
                let body = core::mem::take(&mut request.body);
                let passed = Incoming { body, ..request };
                let proxy = &self.parts.proxy;
                proxy.serve(settings, passed, response).await;
                if judge::invalidates(response.status) {
                    self.invalidate_changed(rules, &request, &response.headers)
                        .await;
                }
            }
            concern @ (Concern::Read | Concern::Refresh) => {
                let is_read = concern == Concern::Read;
                self.read((settings, rules), &request, is_read, response)
                    .await;
            }
        }
    }

    /// Hands a request on as it is.
    async fn pass(
        &self,
        settings: &Arc<ProxyRoute>,
        rules: &RouteCache,
        request: Incoming<'_>,
        response: &mut Response,
    ) {
        self.parts.proxy.serve(settings, request, response).await;
        self.count(Outcome::Bypass);
        response.cache = Some(answer::tell(rules, Outcome::Bypass, &mut response.headers));
    }

    fn zone(&self, rules: &RouteCache) -> Option<&Zone> {
        self.zones.get(usize::from(rules.zone)).map(|zone| &**zone)
    }

    /// The same by its name, which all generations have in common.
    fn zone_named(&self, name: &str) -> Option<&Zone> {
        let mut zones = self.zones.iter();
        zones.find(|zone| *zone.name == *name).map(|zone| &**zone)
    }

    fn count(&self, outcome: Outcome) {
        self.parts.recorder.count(match outcome {
            Outcome::Hit => Counter::CacheHit,
            Outcome::Miss => Counter::CacheMiss,
            Outcome::Expired => Counter::CacheExpired,
            Outcome::Stale => Counter::CacheStale,
            Outcome::Updating => Counter::CacheUpdating,
            Outcome::Revalidated => Counter::CacheRevalidated,
            Outcome::Bypass => Counter::CacheBypass,
        });
    }

    /// Entries and bytes in memory and bytes in files.
    #[must_use]
    pub fn levels(&self) -> (u64, u64, u64) {
        let zones = self.zones.iter();
        zones.fold((0, 0, 0), |(entries, bytes, files), zone| {
            let (more_entries, more_bytes) = zone.levels();
            (
                entries + more_entries,
                bytes + more_bytes,
                files + zone.file_bytes(),
            )
        })
    }

    /// Forgets what nobody asks for. Call it a few times a second.
    pub fn sweep(self: &Rc<Self>, now: u64) {
        self.office.outbox.nudge();
        for zone in &self.zones {
            let gone = zone.sweep(now);
            self.parts.recorder.add(Counter::CacheEvictions, gone);
            self.sweep_files(zone, now);
        }
    }
}

/// Writes a request's key in place of what was there.
fn write_key(rules: &RouteCache, request: &Incoming<'_>, key: &mut Vec<u8>) {
    key.clear();
    template(rules).write(request.head, request.tls.is_some(), key);
}

/// What makes the keys of a route.
fn template(rules: &RouteCache) -> KeyTemplate<'_> {
    KeyTemplate {
        upstream: &rules.upstream,
        parts: &rules.key,
    }
}

/// Adds what the cache did to an answer that is not from it.
fn tell(rules: &RouteCache, account: &Account, response: &mut Response) {
    let headers: &mut HeaderList = &mut response.headers;
    if rules.status_headers {
        account.add_to(headers);
    }
    response.cache = Some(account.outcome.name());
}
