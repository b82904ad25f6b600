//! One shard's ends of what the shards tell each other about limits.

use std::time::Instant;

use crate::filter::limit::{Batch, Hashing};
use crate::net::mailbox::{Address, Inbox, mailbox};

/// Batches that may wait in a shard's mailbox. A shard sends at most one to each other shard in
/// a turn of its loop, so one that lets this many wait is stuck.
const BATCHES_MAX: usize = 256;

/// What one shard needs to count together with the others. A shard that starts again gets a
/// clone.
#[derive(Clone, Debug)]
pub struct Links {
    /// Which shard this is.
    pub(super) own: u16,
    /// Where messages for each shard go; its own is there too and not used.
    pub(super) addresses: Vec<Address<Batch>>,
    /// Where its own arrive.
    pub(super) inbox: Inbox<Batch>,
    /// The same for all, so that all know a key's owner.
    pub(super) hashing: Hashing,
    /// When times in messages begin.
    pub(super) origin: Instant,
}

impl Links {
    /// The ends of all shards.
    #[must_use]
    pub fn connect(shards: u16, origin: Instant) -> Vec<Self> {
        let shards_listed = 0..shards;
        let hashing = Hashing::default();
        let (addresses, inboxes): (Vec<_>, Vec<_>) =
            shards_listed.clone().map(|_| mailbox(BATCHES_MAX)).unzip();
        let links = shards_listed.zip(inboxes).map(|(own, inbox)| Self {
            own,
            addresses: addresses.clone(),
            inbox,
            hashing: hashing.clone(),
            origin,
        });
        links.collect()
    }
}
