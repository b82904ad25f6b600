//! Pages that say the same until the configuration changes, or that change rarely: kept, so that
//! they are written and encoded once and not for each request.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::Builtin;
use crate::http::{Shelf, Stored};

/// A page, and whether its JSON is indented.
pub(super) type Key = (Builtin, bool);

/// The kept pages of one shard: at most two of each kind.
#[derive(Debug)]
pub(super) struct Kept {
    shelf: Shelf,
    pages: RefCell<Vec<(Key, Rc<Stored>)>>,
}

impl Kept {
    /// Nothing yet; encodings will stand on that shelf.
    pub(super) const fn new(shelf: Shelf) -> Self {
        Self {
            shelf,
            pages: RefCell::new(Vec::new()),
        }
    }

    /// The page as it was kept last.
    pub(super) fn find(&self, key: Key) -> Option<Rc<Stored>> {
        let pages = self.pages.borrow();
        let mut found = pages.iter().filter(|(known, _)| *known == key);
        found.next().map(|(_, stored)| Rc::clone(stored))
    }

    /// Keeps a text; one that says what is kept already gains that one's encodings.
    pub(super) fn keep(&self, key: Key, text: Vec<u8>) -> Rc<Stored> {
        let mut pages = self.pages.borrow_mut();
        let place = pages.iter_mut().find(|(known, _)| *known == key);
        match place {
            Some((_, stored)) if **stored.identity() == *text => Rc::clone(stored),
            Some((_, stored)) => {
                *stored = self.shelf.store(text);
                Rc::clone(stored)
            }
            None => {
                let stored = self.shelf.store(text);
                pages.push((key, Rc::clone(&stored)));
                stored
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_the_same_representation() {
        let kept = Kept::new(Shelf::new(1 << 20));
        let key = (Builtin::Tools, false);
        assert!(kept.find(key).is_none());
        let first = kept.keep(key, b"[]".to_vec());
        assert!(Rc::ptr_eq(&first, &kept.keep(key, b"[]".to_vec())));
        assert!(!Rc::ptr_eq(
            &first,
            &kept.keep((Builtin::Tools, true), b"[]".to_vec())
        ));
        let second = kept.keep(key, b"[1]".to_vec());
        assert!(!Rc::ptr_eq(&first, &second));
        assert!(
            kept.find(key)
                .is_some_and(|found| Rc::ptr_eq(&found, &second))
        );
    }
}
