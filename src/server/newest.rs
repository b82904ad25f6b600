//! The configuration's generations on one shard. A server is one generation: compiled once,
//! never changed. Connections move on to the newest between two requests; a request, a stream
//! and what they hold stay with theirs to their end.

use std::cell::RefCell;
use std::rc::Rc;

use crate::server::Server;

/// The newest generation, for all who look for it. The circle of references that this makes is
/// broken by [`clear`](Self::clear).
#[derive(Debug, Default)]
pub struct Newest(RefCell<Option<Rc<Server>>>);

impl Newest {
    /// None yet.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// The newest generation; `None` before the first and after the last.
    #[must_use]
    pub fn get(&self) -> Option<Rc<Server>> {
        self.0.borrow().clone()
    }

    /// Another generation: requests that come now are its.
    pub fn set(&self, server: Rc<Server>) {
        if let Some(old) = self.0.replace(Some(server)) {
            old.is_old.set(true);
        }
    }

    /// The shard ends. Connections that are left keep what they have.
    pub fn clear(&self) {
        self.0.take();
    }
}

impl Server {
    /// The newest generation, if this is not it. One branch for each request that it is not
    /// needed for.
    pub(super) fn newer(&self) -> Option<Rc<Self>> {
        match self.is_old.get() {
            true => self.newest.get(),
            false => None,
        }
    }
}
