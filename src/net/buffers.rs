//! The buffers of one shard, lent and given back. Bounded: what is lent beyond the bound is
//! allocated and counted, what comes back beyond it is freed.

use std::cell::RefCell;
use std::rc::Rc;

/// Capacity of a small buffer: a head, a small body, a response.
pub const SMALL_BYTES: usize = 8 * 1024;
/// Capacity of a large buffer. 16 KiB reads of a large body cost 40 % more than 64 KiB ones.
pub const LARGE_BYTES: usize = 64 * 1024;
/// Free small buffers kept: 2 MiB, which covers the busy connections of a loaded shard.
const SMALL_KEPT_MAX: usize = 256;
/// Free large buffers kept: 2 MiB.
const LARGE_KEPT_MAX: usize = 32;

/// A shard's pool. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    free: Rc<RefCell<Free>>,
}

#[derive(Debug, Default)]
struct Free {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    misses: u64,
}

impl Buffers {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer of [`SMALL_BYTES`].
    #[must_use]
    pub fn small(&self) -> Vec<u8> {
        let mut free = self.free.borrow_mut();
        let lent = free.small.pop();
        free.misses += u64::from(lent.is_none());
        lent.unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES))
    }

    /// An empty buffer of [`LARGE_BYTES`].
    #[must_use]
    pub fn large(&self) -> Vec<u8> {
        let mut free = self.free.borrow_mut();
        let lent = free.large.pop();
        free.misses += u64::from(lent.is_none());
        lent.unwrap_or_else(|| Vec::with_capacity(LARGE_BYTES))
    }

    /// Takes a buffer back, whatever it holds. One that grew or shrank to another size is freed.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.borrow_mut();
        let (kept, max) = match buffer.capacity() {
            SMALL_BYTES => (&mut free.small, SMALL_KEPT_MAX),
            LARGE_BYTES => (&mut free.large, LARGE_KEPT_MAX),
            _ => return,
        };
        if kept.len() < max {
            kept.push(buffer);
        }
    }

    /// How often a buffer had to be allocated.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.free.borrow().misses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_lent_again_and_empty() {
        let buffers = Buffers::new();
        let mut buffer = buffers.small();
        buffer.extend_from_slice(b"left over");
        let address = buffer.as_ptr();
        buffers.give_back(buffer);
        let again = buffers.small();
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        assert_eq!(buffers.misses(), 1);
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_bound_and_no_odd_sizes() {
        let buffers = Buffers::new();
        let lent: Vec<_> = (0..LARGE_KEPT_MAX + 5).map(|_| buffers.large()).collect();
        lent.into_iter()
            .for_each(|buffer| buffers.give_back(buffer));
        buffers.give_back(Vec::with_capacity(100));
        assert_eq!(buffers.free.borrow().large.len(), LARGE_KEPT_MAX);
        assert!(buffers.free.borrow().small.is_empty());
    }
}
