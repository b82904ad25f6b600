//! A bounded table of keys, the least recently used at one end.

use hashbrown::HashTable;

use super::key::Key;

/// No entry.
const NONE: u32 = u32::MAX;
/// What an entry costs beside itself: its place in the index, with its load factor.
const INDEX_BYTES: usize = 8;

/// Values by key, in the order of their use, within a number of bytes.
#[derive(Debug)]
pub(super) struct Table<V> {
    index: HashTable<u32>,
    entries: Vec<Entry<V>>,
    free: u32,
    newest: u32,
    oldest: u32,
    heap_bytes: usize,
    bytes_max: usize,
}

/// Where a key is, until the next insertion or removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

#[derive(Debug)]
struct Entry<V> {
    hash: u64,
    key: Key,
    value: V,
    newer: u32,
    older: u32,
}

impl<V> Table<V> {
    /// An empty table for so many bytes; at least one entry always fits.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            heap_bytes: 0,
            bytes_max,
        }
    }

    /// From now on so many bytes are enough. Entries beyond go when others come.
    pub(super) const fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes that the entries in use take.
    pub(super) fn bytes(&self) -> usize {
        self.len() * (size_of::<Entry<V>>() + INDEX_BYTES) + self.heap_bytes
    }

    /// Whether one more of that key would be too many.
    pub(super) fn is_full_for(&self, key: &Key) -> bool {
        let more = size_of::<Entry<V>>() + INDEX_BYTES + key.heap_bytes();
        self.len() > 0 && self.bytes() + more > self.bytes_max
    }

    /// A key's place, which becomes the most recently used.
    pub(super) fn touch(&mut self, hash: u64, key: &Key) -> Option<Place> {
        let entries = &self.entries;
        let is_it = |&at: &u32| entries.get(at as usize).is_some_and(|one| one.key == *key);
        let at = *self.index.find(hash, is_it)?;
        if self.newest != at {
            self.unlink(at);
            self.link_newest(at);
        }
        Some(Place(at))
    }

    /// The value at a place that was just found.
    pub(super) fn at(&mut self, place: Place) -> Option<&mut V> {
        let entry = self.entries.get_mut(place.0 as usize);
        entry.map(|entry| &mut entry.value)
    }

    /// A key's value, which becomes the most recently used.
    pub(super) fn get(&mut self, hash: u64, key: &Key) -> Option<&mut V> {
        let place = self.touch(hash, key)?;
        self.at(place)
    }

    /// Puts in a key that is not there. Whoever calls makes room first.
    pub(super) fn insert(&mut self, hash: u64, key: Key, value: V) -> Place {
        self.heap_bytes += key.heap_bytes();
        let entry = Entry {
            hash,
            key,
            value,
            newer: NONE,
            older: NONE,
        };
        let at = match self.entries.get_mut(self.free as usize) {
            Some(slot) => {
                let at = self.free;
                self.free = slot.older;
                *slot = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        let hash_of = |&at: &u32| entries.get(at as usize).map_or(0, |one| one.hash);
        self.index.insert_unique(hash, at, hash_of);
        self.link_newest(at);
        Place(at)
    }

    /// The least recently used.
    pub(super) fn oldest(&self) -> Option<&V> {
        self.entries.get(self.oldest as usize).map(|one| &one.value)
    }

    /// Takes the least recently used out.
    pub(super) fn remove_oldest(&mut self) {
        self.remove_at(self.oldest);
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, hash: u64, key: &Key) {
        let entries = &self.entries;
        let is_it = |&at: &u32| entries.get(at as usize).is_some_and(|one| one.key == *key);
        if let Some(&at) = self.index.find(hash, is_it) {
            self.remove_at(at);
        }
    }

    /// Keeps what `keep` says.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut V) -> bool) {
        let mut at = self.oldest;
        while let Some(entry) = self.entries.get_mut(at as usize) {
            let next = entry.newer;
            if !keep(&mut entry.value) {
                self.remove_at(at);
            }
            at = next;
        }
    }

    fn remove_at(&mut self, at: u32) {
        let Some(hash) = self.entries.get(at as usize).map(|entry| entry.hash) else {
            return;
        };
        if let Ok(found) = self.index.find_entry(hash, |&other| other == at) {
            found.remove();
        }
        self.unlink(at);
        let free = self.free;
        if let Some(entry) = self.entries.get_mut(at as usize) {
            self.heap_bytes -= entry.key.heap_bytes();
            // Gives the heap back; the slot's links become the list of free ones.
            entry.key = Key::new(b"");
            entry.older = free;
            self.free = at;
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some((newer, older)) = self.entries.get(at as usize).map(|e| (e.newer, e.older)) else {
            return;
        };
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let before = self.newest;
        if let Some(entry) = self.entries.get_mut(at as usize) {
            entry.newer = NONE;
            entry.older = before;
        }
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> (u64, Key) {
        // Few hashes, so that keys meet.
        (u64::from(number % 3), Key::new(&[number]))
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((0_u8..4, 0_u8..10), 0..300)) {
            let mut table = Table::new(usize::MAX);
            // The oldest first.
            let mut list: Vec<(u8, u32)> = Vec::new();
            for (step, (what, number)) in steps.into_iter().enumerate() {
                let (hash, key) = key(number);
                let at = list.iter().position(|(known, _)| *known == number);
                match what {
                    0 | 1 => {
                        let ours = table.get(hash, &key).copied();
                        prop_assert_eq!(ours, at.map(|at| list[at].1));
                        if let Some(at) = at {
                            let entry = list.remove(at);
                            list.push(entry);
                        } else {
                            table.insert(hash, key, step as u32);
                            list.push((number, step as u32));
                        }
                    }
                    2 => {
                        table.remove(hash, &key);
                        if let Some(at) = at {
                            list.remove(at);
                        }
                    }
                    _ => {
                        table.remove_oldest();
                        if !list.is_empty() {
                            list.remove(0);
                        }
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                prop_assert_eq!(table.oldest().copied(), list.first().map(|(_, value)| *value));
            }
            table.retain(|value| *value % 2 == 0);
            list.retain(|(_, value)| value % 2 == 0);
            prop_assert_eq!(table.len(), list.len());
            prop_assert_eq!(table.oldest().copied(), list.first().map(|(_, value)| *value));
        }
    }

    #[test]
    fn slots_are_used_again_and_bytes_are_counted() {
        let mut table = Table::new(4096);
        for number in 0..10_000_u32 {
            let key = Key::new(&[7; 40].map(|byte: u8| byte ^ number as u8));
            if table.get(u64::from(number), &key).is_none() {
                while table.is_full_for(&key) {
                    table.remove_oldest();
                }
                table.insert(u64::from(number), key, number);
            }
            assert!(table.bytes() <= 4096);
        }
        assert!(table.entries.len() < 60, "{}", table.entries.len());
        while table.len() > 0 {
            table.remove_oldest();
        }
        assert_eq!(table.bytes(), 0);
    }
}
