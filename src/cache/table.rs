//! What one shard keeps in memory: by key, the responses that its requests' fields select from.
//! What stays is decided by weight.

use core::cell::RefCell;
use std::rc::Rc;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use super::entry::Entry;
use super::kept::{Kept, kept};
use crate::http::HeaderList;

/// Responses of one key that are told apart by Vary; beyond them the least recently used goes.
pub const VARIANTS_MAX: usize = 64;
/// What a key is expected to weigh, for the table's first size.
const WEIGHT_EXPECTED: u64 = 8 * 1024;
/// Keys whose uses are counted before they are kept.
const COUNTED_MAX: usize = 16 * 1024;

/// The responses of one key, the newest first.
#[derive(Debug, Default)]
pub struct Resource {
    variants: Vec<Rc<Entry>>,
}

impl Resource {
    /// The response that fits a request; the most recent of several.
    #[must_use]
    pub fn select(&self, request: &HeaderList) -> Option<&Rc<Entry>> {
        let fits = |entry: &&Rc<Entry>| entry.draft().selecting.fits(request);
        self.variants.iter().find(fits)
    }

    /// All of them.
    #[must_use]
    pub fn variants(&self) -> &[Rc<Entry>] {
        &self.variants
    }

    fn weight(&self) -> usize {
        let weights = self.variants.iter().map(|entry| entry.parcel.weight());
        weights.sum::<usize>()
    }
}

#[derive(Clone, Debug)]
struct ByWeight;

impl Weighter<Box<[u8]>, Rc<Resource>> for ByWeight {
    fn weight(&self, key: &Box<[u8]>, resource: &Rc<Resource>) -> u64 {
        (key.len() + resource.weight()).max(1) as u64
    }
}

/// The responses that one shard keeps of one cache.
#[derive(Debug)]
pub struct Table {
    kept: RefCell<Kept<Box<[u8]>, Rc<Resource>, ByWeight>>,
    bytes_max: u64,
    /// How often keys were asked for that are not kept yet.
    uses: RefCell<Cache<u64, u8>>,
}

impl Table {
    /// An empty table for so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            kept: RefCell::new(kept(bytes_max, WEIGHT_EXPECTED, ByWeight)),
            bytes_max,
            uses: RefCell::new(Cache::new(COUNTED_MAX)),
        }
    }

    /// The responses of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Rc<Resource>> {
        self.kept.borrow().get(key).map(Rc::clone)
    }

    /// The response of a key that fits a request.
    #[must_use]
    pub fn select(&self, key: &[u8], request: &HeaderList) -> Option<Rc<Entry>> {
        self.kept.borrow().get(key)?.select(request).map(Rc::clone)
    }

    /// Keeps a response, in place of the one with the same fields selecting it. Says how many
    /// keys had to go for it; `None` if it is too large itself.
    pub fn insert(&self, key: &[u8], entry: Rc<Entry>) -> Option<u64> {
        // One that takes more than an eighth drives too much out.
        if entry.parcel.weight() as u64 > self.bytes_max / 8 {
            self.remove(key);
            return None;
        }
        let mut variants = vec![entry];
        let mut kept = self.kept.borrow_mut();
        if let (Some(resource), Some(new)) = (kept.peek(key), variants.first()) {
            let new = Rc::clone(new);
            let is_other = |old: &&Rc<Entry>| old.draft().selecting != new.draft().selecting;
            variants.extend(resource.variants.iter().filter(is_other).map(Rc::clone));
            if variants.len() > VARIANTS_MAX
                && let Some(oldest) = (1..variants.len())
                    .min_by_key(|&at| variants.get(at).map_or(0, |entry| entry.used()))
            {
                variants.remove(oldest);
            }
        }
        let resource = Rc::new(Resource { variants });
        let mut evicted = Vec::new();
        kept.insert_with_lifecycle(key.into(), resource, &mut evicted);
        // What was replaced is among them.
        let others = evicted.iter().filter(|(other, _)| **other != *key);
        Some(others.count() as u64)
    }

    /// Forgets a key. Says whether it was there.
    pub fn remove(&self, key: &[u8]) -> bool {
        self.kept.borrow_mut().remove(key).is_some()
    }

    /// Forgets the keys for which `goes` holds. Says how many there were.
    pub fn remove_all(&self, goes: impl Fn(&[u8], &Resource) -> bool) -> u64 {
        let mut kept = self.kept.borrow_mut();
        let before = kept.len();
        kept.retain(|key, resource| !goes(key, resource));
        (before - kept.len()) as u64
    }

    /// Forgets what was not asked for since that second.
    pub fn forget_unused(&self, since: u64) -> u64 {
        self.remove_all(|_, resource| resource.variants.iter().all(|one| one.used() < since))
    }

    /// Counts one more request for a key that is not kept; says the how-manieth it is.
    pub fn count_use(&self, hash: u64) -> u8 {
        let mut uses = self.uses.borrow_mut();
        let count = uses.get(&hash).copied().unwrap_or(0).saturating_add(1);
        uses.insert(hash, count);
        count
    }

    /// Bytes of what is kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.kept.borrow().weight()
    }

    /// Keys that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.borrow().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::cache::entry::{Draft, Parcel};
    use crate::cache::vary::Selecting;
    use crate::http::Shelf;
    use crate::http::freshness::Freshness;

    fn entry(bytes: usize, vary: &[(&str, &str)], used: u64) -> Rc<Entry> {
        let mut selecting = Selecting::default();
        for (name, value) in vary {
            selecting.push(name.as_bytes(), Some(value.as_bytes()));
        }
        let draft = Draft {
            status: 200,
            headers: HeaderList::new(),
            selecting,
            freshness: Freshness::of_numbers([0; 6]),
        };
        let body = Bytes::from(vec![b'x'; bytes]);
        let parcel = Arc::new(Parcel { draft, body });
        Entry::new(parcel, None, &Shelf::new(0), used)
    }

    fn request(fields: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes());
        }
        list
    }

    #[test]
    fn a_scan_does_not_drive_out_what_is_asked_for_again() {
        let table = Table::new(1 << 20);
        let hot: Vec<Vec<u8>> = (0..50_u32).map(|at| format!("hot{at}").into()).collect();
        for key in &hot {
            table.insert(key, entry(4000, &[], 0));
        }
        for _ in 0..3 {
            for key in &hot {
                assert!(table.get(key).is_some());
            }
        }
        for at in 0..20_000_u32 {
            let key = format!("scan{at}");
            assert!(table.get(key.as_bytes()).is_none());
            table.insert(key.as_bytes(), entry(4000, &[], 0));
            if at % 10 == 0 {
                let hot = &hot[at as usize / 10 % hot.len()];
                let _ = table.get(hot);
            }
        }
        let left = hot.iter().filter(|key| table.get(key).is_some()).count();
        assert!(left >= 48, "{left} of 50");
        assert!(table.bytes() <= 1 << 20);
    }

    #[test]
    fn weights_are_bounded_and_giants_are_refused() {
        let table = Table::new(100_000);
        assert_eq!(table.insert(b"giant", entry(50_000, &[], 0)), None);
        let mut evicted = 0;
        for at in 0..100_u32 {
            evicted += table
                .insert(&at.to_be_bytes(), entry(5_000, &[], 0))
                .unwrap();
            assert!(table.bytes() <= 100_000);
        }
        assert!(
            evicted >= 80 && table.len() >= 10,
            "{evicted} {}",
            table.len()
        );
        // A giant takes the place of what it replaces.
        let kept = (0..100_u32).find(|at| table.get(&at.to_be_bytes()).is_some());
        let key = kept.unwrap().to_be_bytes();
        table.insert(&key, entry(50_000, &[], 0));
        assert!(table.get(&key).is_none());
    }

    #[test]
    fn variants_are_selected_replaced_and_bounded() {
        let table = Table::new(10 << 20);
        table.insert(b"k", entry(1, &[("a", "1")], 1));
        table.insert(b"k", entry(2, &[("a", "2")], 2));
        let length = |fields: &[(&str, &str)]| {
            let entry = table.select(b"k", &request(fields));
            entry.map(|entry| entry.parcel.body.len())
        };
        assert_eq!(length(&[("A", "1")]), Some(1));
        assert_eq!(length(&[("A", "2")]), Some(2));
        assert_eq!(length(&[]), None);
        table.insert(b"k", entry(3, &[("a", "1")], 3));
        assert_eq!(length(&[("A", "1")]), Some(3));
        for at in 0..2 * VARIANTS_MAX {
            let value = at.to_string();
            table.insert(b"k", entry(1, &[("b", &value)], 10 + at as u64));
        }
        assert_eq!(table.get(b"k").unwrap().variants().len(), VARIANTS_MAX);
        assert_eq!(length(&[("A", "2")]), None, "the least recently used went");
    }

    #[test]
    fn what_nobody_asks_for_goes() {
        let table = Table::new(1 << 20);
        table.insert(b"old", entry(1, &[], 100));
        table.insert(b"new", entry(1, &[], 200));
        assert_eq!(table.forget_unused(150), 1);
        assert!(table.get(b"old").is_none() && table.get(b"new").is_some());
        assert_eq!(table.remove_all(|key, _| key.starts_with(b"n")), 1);
        assert!(table.is_empty() && table.bytes() == 0);
    }

    #[test]
    fn uses_are_counted_by_key() {
        let table = Table::new(1 << 20);
        assert_eq!(
            (1..=3).map(|_| table.count_use(7)).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(table.count_use(8), 1);
    }
}
