//! What one route of one shard keeps of the files it has served: bounded in entries and in bytes
//! of content; when it is full, what was not asked for since it last looked goes first (CLOCK).

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::entry::Entry;

/// Files by the path they were asked for under.
#[derive(Debug)]
pub(super) struct Cache {
    slots: HashMap<Rc<str>, Slot>,
    /// The keys, the next to go first.
    order: VecDeque<Rc<str>>,
    entries_max: usize,
    bytes_max: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    entry: Rc<Entry>,
    was_used: Cell<bool>,
}

impl Cache {
    pub(super) fn new(entries_max: usize, bytes_max: u64) -> Self {
        Self {
            slots: HashMap::new(),
            order: VecDeque::new(),
            entries_max,
            bytes_max,
            bytes: 0,
        }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Rc<Entry>> {
        let slot = self.slots.get(path)?;
        slot.was_used.set(true);
        Some(&slot.entry)
    }

    /// Whether content of so many bytes could be kept: none may take more than an eighth.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        self.entries_max > 0 && bytes <= self.bytes_max / 8
    }

    /// Bytes of content kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Files remembered.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Keeps an entry in place of the one it had for that path. Returns how many others went.
    pub(super) fn put(&mut self, path: &str, entry: &Rc<Entry>) -> u64 {
        self.remove(path);
        let bytes = entry.bytes() as u64;
        if self.entries_max == 0 || bytes > self.bytes_max {
            return 0;
        }
        let mut evicted = 0;
        while self.slots.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            match self.slots.get(&oldest) {
                Some(slot) if slot.was_used.replace(false) => self.order.push_back(oldest),
                Some(_) => {
                    self.forget(&oldest);
                    evicted += 1;
                }
                None => {}
            }
        }
        let path: Rc<str> = Rc::from(path);
        self.order.push_back(Rc::clone(&path));
        self.bytes += bytes;
        let slot = Slot {
            entry: Rc::clone(entry),
            was_used: Cell::new(false),
        };
        self.slots.insert(path, slot);
        evicted
    }

    /// Forgets a path: its file has changed or is gone.
    pub(super) fn remove(&mut self, path: &str) {
        if self.forget(path) {
            self.order.retain(|kept| **kept != *path);
        }
    }

    fn forget(&mut self, path: &str) -> bool {
        let Some(slot) = self.slots.remove(path) else {
            return false;
        };
        self.bytes = self.bytes.saturating_sub(slot.entry.bytes() as u64);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::files::tests::entry_of;

    fn names(cache: &Cache) -> Vec<&str> {
        let mut names: Vec<&str> = cache.slots.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_asked_for_stays() {
        let mut cache = Cache::new(3, 1_000);
        for name in ["a", "b", "c"] {
            assert_eq!(cache.put(name, &entry_of(10)), 0);
        }
        assert!(cache.get("a").is_some());
        assert_eq!(cache.put("d", &entry_of(10)), 1);
        assert_eq!(names(&cache), ["a", "c", "d"]);
        assert_eq!(cache.bytes(), 30);
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let mut cache = Cache::new(100, 100);
        for name in ["a", "b", "c", "d"] {
            cache.put(name, &entry_of(30));
        }
        assert_eq!((names(&cache), cache.bytes()), (vec!["b", "c", "d"], 90));
        assert_eq!(cache.put("e", &entry_of(90)), 3);
        assert_eq!((names(&cache), cache.bytes()), (vec!["e"], 90));
        cache.put("f", &entry_of(101));
        assert_eq!(names(&cache), ["e"]);
        assert!(cache.has_room_for(12) && !cache.has_room_for(13));
    }

    #[test]
    fn a_path_has_one_entry() {
        let mut cache = Cache::new(10, 1_000);
        cache.put("a", &entry_of(10));
        cache.put("a", &entry_of(20));
        assert_eq!((cache.bytes(), cache.len(), cache.order.len()), (20, 1, 1));
        cache.remove("a");
        cache.remove("a");
        assert_eq!((cache.bytes(), cache.len(), cache.order.len()), (0, 0, 0));
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        let mut cache = Cache::new(0, 1_000);
        cache.put("a", &entry_of(0));
        assert!(cache.get("a").is_none() && !cache.has_room_for(0));
    }
}
