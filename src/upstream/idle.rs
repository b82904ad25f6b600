//! Connections that are kept open to one server and have nothing to do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use crate::base::clock;
use crate::net::{sleep, spawn};

/// The idle connections of one shard to one server.
#[derive(Debug)]
pub(super) struct Idle<C> {
    /// With when each expires; the most recently used last. In boxes: a connection goes through
    /// several futures, which must not grow by its size.
    kept: RefCell<Vec<(Instant, Box<C>)>>,
    /// Whether a task looks for expired ones.
    is_swept: Cell<bool>,
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self {
            kept: RefCell::default(),
            is_swept: Cell::new(false),
        }
    }
}

impl<C: 'static> Idle<C> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.kept.borrow().len()
    }

    /// The most recently used one, perhaps expired by now, and when it does.
    pub(super) fn pop(&self) -> Option<(Instant, Box<C>)> {
        self.kept.borrow_mut().pop()
    }

    /// Keeps one until it is asked for or expires.
    pub(super) fn put(self: &Rc<Self>, connection: Box<C>, expires: Instant) {
        self.kept.borrow_mut().push((expires, connection));
        if !self.is_swept.replace(true) {
            spawn(Rc::clone(self).sweep());
        }
    }

    /// Closes the one that was not used for the longest time.
    pub(super) fn drop_oldest(&self) {
        let mut kept = self.kept.borrow_mut();
        if !kept.is_empty() {
            kept.remove(0);
        }
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        drop(self.kept.take());
    }

    /// Closes connections as they expire, until there are none.
    async fn sweep(self: Rc<Self>) {
        loop {
            let now = clock::mono();
            let next = {
                let mut kept = self.kept.borrow_mut();
                kept.retain(|(expires, _)| *expires > now);
                kept.iter().map(|(expires, _)| *expires).min()
            };
            self.is_swept.set(next.is_some());
            match next {
                Some(next) => sleep(next.saturating_duration_since(now)).await,
                None => return,
            }
        }
    }
}
