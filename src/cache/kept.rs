//! A store bounded by weight, by `quick_cache` (S3-FIFO with a clock: a key that is asked for
//! once does not drive out one that is asked for again), which tells what had to go.

use std::hash::{Hash, RandomState};

use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

/// Such a store.
pub(super) type Kept<K, V, W> = Cache<K, V, W, RandomState, Evicted>;

/// Notes what goes. What is replaced is among it.
#[derive(Clone, Debug, Default)]
pub(super) struct Evicted;

impl<K, V> Lifecycle<K, V> for Evicted {
    type RequestState = Vec<(K, V)>;

    fn on_evict(&self, state: &mut Self::RequestState, key: K, value: V) {
        state.push((key, value));
    }
}

/// An empty store for so much weight. `expected` is what a key will weigh, for its first size.
pub(super) fn kept<K, V, W>(weight_max: u64, expected: u64, weighter: W) -> Kept<K, V, W>
where
    K: Eq + Hash,
    W: Weighter<K, V> + Clone,
{
    let items = usize::try_from(weight_max / expected.max(1)).unwrap_or(usize::MAX);
    let options = OptionsBuilder::new()
        .estimated_items_capacity(items.clamp(64, 1 << 20))
        .weight_capacity(weight_max)
        .build();
    match options {
        Ok(options) => Cache::with_options(options, weighter, RandomState::new(), Evicted),
        // Both capacities are set.
        Err(_) => Cache::with(64, weight_max, weighter, RandomState::new(), Evicted),
    }
}
