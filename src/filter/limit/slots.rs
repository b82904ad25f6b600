//! One shard's part of all connection limits: who holds how many places under the keys it owns.

use smallvec::SmallVec;

use super::key::Key;
use super::table::Table;

/// All connection limits, as the owner of some keys sees them.
#[derive(Debug)]
pub struct SlotLimits {
    limits: Vec<Limit>,
}

#[derive(Debug)]
struct Limit {
    max: u32,
    table: Table<Places>,
}

/// How many places each shard holds; shards that hold none are not there.
#[derive(Debug, Default)]
struct Places(SmallVec<[(u16, u32); 2]>);

/// What became of one who wanted a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It has one; [`SlotLimits::leave`] gives it back.
    Yes,
    /// All are taken.
    TooMany,
    /// There is no memory left for another key.
    NoMemory,
}

impl Places {
    fn total(&self) -> u32 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl SlotLimits {
    /// Each limit has its number of places and the bytes that its keys may take on this shard.
    #[must_use]
    pub fn new(limits: impl IntoIterator<Item = (u32, usize)>) -> Self {
        let mut all = Self { limits: Vec::new() };
        for (place, (max, bytes_max)) in (0..).zip(limits) {
            all.set(place, max, bytes_max);
        }
        all
    }

    /// From now on the limit of that place has so many places and so much memory. Who holds a
    /// place keeps it.
    pub fn set(&mut self, place: u16, max: u32, bytes_max: usize) {
        while self.limits.len() <= usize::from(place) {
            self.limits.push(Limit {
                max,
                table: Table::new(0),
            });
        }
        if let Some(limit) = self.limits.get_mut(usize::from(place)) {
            limit.max = max;
            limit.table.resize(bytes_max);
        }
    }

    /// Takes a place for a shard.
    pub fn enter(&mut self, limit: u16, (hash, key): (u64, &Key), shard: u16) -> Entered {
        let Some(Limit { max, table }) = self.limits.get_mut(usize::from(limit)) else {
            return Entered::NoMemory;
        };
        let place = match table.touch(hash, key) {
            Some(place) => place,
            // Nobody who is counted may be forgotten.
            None if table.is_full_for(key) => return Entered::NoMemory,
            None => table.insert(hash, key.clone(), Places::default()),
        };
        let Some(places) = table.at(place) else {
            return Entered::NoMemory;
        };
        if places.total() >= *max {
            return Entered::TooMany;
        }
        match places.0.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, count)) => *count += 1,
            None => places.0.push((shard, 1)),
        }
        Entered::Yes
    }

    /// Gives a shard's place back. One that is not known (its owner has started again) is
    /// passed over.
    pub fn leave(&mut self, limit: u16, (hash, key): (u64, &Key), shard: u16) {
        let Some(Limit { table, .. }) = self.limits.get_mut(usize::from(limit)) else {
            return;
        };
        let Some(places) = table.get(hash, key) else {
            return;
        };
        if let Some((_, count)) = places.0.iter_mut().find(|(known, _)| *known == shard) {
            *count -= 1;
        }
        places.0.retain(|(_, count)| *count > 0);
        if places.0.is_empty() {
            table.remove(hash, key);
        }
    }

    /// Gives back whatever a shard holds: it has crashed.
    pub fn forget(&mut self, shard: u16) {
        for Limit { table, .. } in &mut self.limits {
            table.retain(|places| {
                places.0.retain(|(known, _)| *known != shard);
                !places.0.is_empty()
            });
        }
    }

    /// Keys that hold places.
    #[must_use]
    pub fn len(&self) -> usize {
        self.limits.iter().map(|limit| limit.table.len()).sum()
    }

    /// Whether nobody holds a place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> (u64, Key) {
        (u64::from(number), Key::new(&[number]))
    }

    #[test]
    fn places_are_counted_over_all_shards() {
        let mut limits = SlotLimits::new([(3, 4096)]);
        let (hash, key) = key(1);
        let key = (hash, &key);
        for (shard, expected) in [(0, Entered::Yes), (1, Entered::Yes), (0, Entered::Yes)] {
            assert_eq!(limits.enter(0, key, shard), expected);
        }
        assert_eq!(limits.enter(0, key, 1), Entered::TooMany);
        limits.leave(0, key, 0);
        assert_eq!(limits.enter(0, key, 1), Entered::Yes);
        limits.forget(1);
        assert_eq!(limits.enter(0, key, 2), Entered::Yes);
        assert_eq!(limits.enter(0, key, 2), Entered::Yes);
        assert_eq!(limits.enter(0, key, 2), Entered::TooMany);
        for shard in [0, 2, 2] {
            limits.leave(0, key, shard);
        }
        assert!(limits.is_empty());
        limits.leave(0, key, 0);
    }

    #[test]
    fn nobody_is_forgotten_for_a_new_key() {
        let mut limits = SlotLimits::new([(1, 200)]);
        let entered: Vec<_> = (0..10)
            .map(|number| {
                let (hash, key) = key(number);
                limits.enter(0, (hash, &key), 0)
            })
            .collect();
        let held = entered.iter().filter(|one| **one == Entered::Yes).count();
        assert!((1..5).contains(&held), "{entered:?}");
        assert!(entered.contains(&Entered::NoMemory));
        let (hash, key) = key(0);
        assert_eq!(limits.enter(0, (hash, &key), 0), Entered::TooMany);
    }
}
