//! Which shard owns what all shards together have to be exact about.

use std::hash::{BuildHasher, RandomState};

/// Hashes keys, the same way on all shards of one run: made once for them. Clients cannot tell
/// which keys meet.
#[derive(Clone, Debug, Default)]
pub struct Hashing(RandomState);

impl Hashing {
    /// A key's hash.
    #[must_use]
    pub fn hash(&self, key: impl AsRef<[u8]>) -> u64 {
        self.0.hash_one(key.as_ref())
    }

    /// Which of the shards owns a key.
    #[must_use]
    pub fn owner(hash: u64, shards: u16) -> u16 {
        // The high half scaled: tables use the low bits.
        (((hash >> 32) * u64::from(shards.max(1))) >> 32) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_owns_its_share() {
        let hashing = Hashing::default();
        let mut counts = [0; 5];
        for number in 0..5000_u32 {
            let owner = Hashing::owner(hashing.hash(number.to_be_bytes()), 5);
            counts[usize::from(owner)] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
        assert_eq!(Hashing::owner(u64::MAX, 0), 0);
    }
}
