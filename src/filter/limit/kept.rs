//! What a request holds until its exchange is over: its places under connection limits.

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

/// Places that are given back when this is dropped.
pub struct Kept {
    home: Rc<dyn Home>,
    places: SmallVec<[Place; 1]>,
}

impl Kept {
    /// None yet.
    #[must_use]
    pub fn new(home: Rc<dyn Home>) -> Self {
        let places = SmallVec::new();
        Self { home, places }
    }

    /// One more.
    pub fn push(&mut self, place: Place) {
        self.places.push(place);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for place in self.places.drain(..) {
            self.home.leave(place);
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.places).finish()
    }
}
