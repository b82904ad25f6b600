//! What a request holds until its exchange is over: its places under connection limits.

use core::cell::Cell;
use core::fmt;
use std::rc::Rc;

use smallvec::SmallVec;

use super::key::Key;

/// Where places are given back.
pub trait Home {
    /// A place is free again.
    fn leave(&self, place: Place);
}

/// A place under a connection limit.
#[derive(Debug)]
pub struct Place {
    /// Which limit.
    pub limit: u16,
    /// The key's hash.
    pub hash: u64,
    /// The key.
    pub key: Key,
}

/// Keeps places, and gives them back when it is dropped. A pointer while it keeps none.
#[derive(Default)]
pub struct Keeper(Cell<Option<Box<Kept>>>);

struct Kept {
    home: Rc<dyn Home>,
    places: SmallVec<[Place; 1]>,
}

impl Keeper {
    /// One place more; all have one home.
    pub fn keep(&self, place: Place, home: impl FnOnce() -> Rc<dyn Home>) {
        let mut kept = self.0.take().unwrap_or_else(|| {
            Box::new(Kept {
                home: home(),
                places: SmallVec::new(),
            })
        });
        kept.places.push(place);
        self.0.set(Some(kept));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for place in self.places.drain(..) {
            self.home.leave(place);
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}
