//! One shard's ends of what the shards tell each other about limits.

use std::time::Instant;

use crate::base::owner::Hashing;
use crate::filter::limit::Item;
use crate::net::batches::Ends;

/// What one shard needs to count together with the others. A shard that starts again gets a
/// clone.
#[derive(Clone, Debug)]
pub struct Links {
    pub(super) ends: Ends<Item>,
    /// The same for all, so that all know a key's owner.
    pub(super) hashing: Hashing,
    /// When times in messages begin.
    pub(super) origin: Instant,
}

impl Links {
    /// The ends of all shards.
    #[must_use]
    pub fn connect(shards: u16, origin: Instant) -> Vec<Self> {
        let hashing = Hashing::default();
        let links = Ends::connect(shards).into_iter().map(|ends| Self {
            ends,
            hashing: hashing.clone(),
            origin,
        });
        links.collect()
    }
}
