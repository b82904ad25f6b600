//! A representation that is kept and served many times, with the encodings made of it so far,
//! and the shelf that bounds what one shard keeps of those.
//!
//! ```text
//!            claim()                keep()             improve()
//!  Absent ------------> Making ----------------> Kept -----------> Kept, best
//!    ^                    | claim dropped          |                   |
//!    |                    v                        | the shelf is full |
//!    `--------------------'<-----------------------'<------------------'
//! ```
//!
//! Whoever owns the representation (a page, a file, a cache entry) bounds the identity bytes;
//! the shelf bounds the rest. When it is full, encodings that were not used since it last looked
//! go first (CLOCK). Nothing here encodes: it is bytes that are handed in.

use core::task::{Context, Poll, Waker};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use bytes::Bytes;

use crate::base::open_file::OpenFile;
use crate::http::{Coding, FileSpan};

/// One representation: its bytes as they are, and encoded. Never changes but by gaining encodings.
#[derive(Debug)]
pub struct Stored {
    identity: Bytes,
    /// The file that the bytes were read from.
    file: Option<Rc<OpenFile>>,
    variants: RefCell<[Variant; Coding::ALL.len()]>,
    was_used: Cell<bool>,
    shelf: Shelf,
}

#[derive(Debug, Default)]
enum Variant {
    #[default]
    Absent,
    /// Someone makes it; these wait for it.
    Making(Vec<Waker>),
    Kept {
        bytes: Bytes,
        /// As small as it gets, or on the way to that: nobody need ask for it.
        is_best: bool,
    },
}

impl Variant {
    fn kept_bytes(&self) -> usize {
        match self {
            Self::Kept { bytes, .. } => bytes.len(),
            Self::Absent | Self::Making(_) => 0,
        }
    }
}

/// What [`Stored::claim`] found.
#[derive(Debug)]
pub enum Claim {
    /// The encoded bytes.
    Kept(Bytes),
    /// They are not there. The caller makes them and hands them in, or drops this.
    Make(Maker),
}

/// The right to make one encoding of one representation. Dropped, it lets others try.
#[derive(Debug)]
pub struct Maker {
    stored: Rc<Stored>,
    coding: Coding,
    is_done: bool,
}

impl Stored {
    /// The bytes without any encoding.
    #[must_use]
    pub const fn identity(&self) -> &Bytes {
        &self.identity
    }

    /// The same bytes as an open file, where they came from one: for a driver that can send it
    /// without a copy.
    #[must_use]
    pub fn file(&self) -> Option<FileSpan> {
        let file = Rc::clone(self.file.as_ref()?);
        let (offset, len) = (0, self.identity.len() as u64);
        Some(FileSpan { file, offset, len })
    }

    /// An encoding if it is kept.
    #[must_use]
    pub fn variant(&self, coding: Coding) -> Option<Bytes> {
        match self.variants.borrow().get(coding as usize) {
            Some(Variant::Kept { bytes, .. }) => {
                self.used();
                Some(bytes.clone())
            }
            _ => None,
        }
    }

    /// An encoding, or the task to make it. Pending while someone else makes it.
    pub fn poll_claim(self: &Rc<Self>, cx: &mut Context<'_>, coding: Coding) -> Poll<Claim> {
        let mut variants = self.variants.borrow_mut();
        let Some(variant) = variants.get_mut(coding as usize) else {
            return Poll::Pending;
        };
        match variant {
            Variant::Kept { bytes, .. } => {
                self.used();
                Poll::Ready(Claim::Kept(bytes.clone()))
            }
            Variant::Making(waiting) => {
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
            Variant::Absent => {
                *variant = Variant::Making(Vec::new());
                Poll::Ready(Claim::Make(Maker {
                    stored: Rc::clone(self),
                    coding,
                    is_done: false,
                }))
            }
        }
    }

    /// Notes that a smaller form of a kept encoding was asked for.
    pub fn asked(&self, coding: Coding) {
        let mut variants = self.variants.borrow_mut();
        if let Some(Variant::Kept { is_best, .. }) = variants.get_mut(coding as usize) {
            *is_best = true;
        }
    }

    /// Whether a smaller form of that encoding is still to be asked for.
    #[must_use]
    pub fn wants_better(&self, coding: Coding) -> bool {
        matches!(
            self.variants.borrow().get(coding as usize),
            Some(Variant::Kept { is_best: false, .. })
        )
    }

    /// Puts the best form in place of a kept encoding; the kept one stays if it is smaller. If
    /// none is kept any more, nobody has asked for it lately and nothing happens.
    pub fn improve(&self, coding: Coding, better: Bytes) {
        let mut variants = self.variants.borrow_mut();
        let Some(Variant::Kept { bytes, is_best }) = variants.get_mut(coding as usize) else {
            return;
        };
        *is_best = true;
        if better.len() < bytes.len() {
            self.shelf.give_back(bytes.len() - better.len());
            *bytes = better;
        }
    }

    fn replace(&self, coding: Coding, variant: Variant) -> Variant {
        let mut variants = self.variants.borrow_mut();
        let place = variants.get_mut(coding as usize);
        place.map_or(Variant::Absent, |place| core::mem::replace(place, variant))
    }

    fn used(&self) {
        self.was_used.set(true);
        let hits = &self.shelf.inner.hits;
        hits.set(hits.get() + 1);
    }

    /// Forgets every kept encoding.
    fn forget(&self) {
        for variant in self.variants.borrow_mut().iter_mut() {
            let bytes = variant.kept_bytes();
            if bytes > 0 {
                *variant = Variant::Absent;
                self.shelf.give_back(bytes);
            }
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Maker {
    /// Which encoding is wanted.
    #[must_use]
    pub const fn coding(&self) -> Coding {
        self.coding
    }

    /// What is to be encoded.
    #[must_use]
    pub fn identity(&self) -> &Bytes {
        self.stored.identity()
    }

    /// Hands the encoding in and lets those go on that wait for it. Says whether it is kept: a
    /// shelf may be too small for it.
    pub fn keep(mut self, bytes: Bytes) -> bool {
        let is_kept = self.stored.shelf.take(&self.stored, bytes.len());
        let variant = if is_kept {
            self.stored.was_used.set(true);
            let is_best = false;
            Variant::Kept { bytes, is_best }
        } else {
            Variant::Absent
        };
        self.finish(variant);
        is_kept
    }

    fn finish(&mut self, variant: Variant) {
        self.is_done = true;
        if let Variant::Making(waiting) = self.stored.replace(self.coding, variant) {
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        if !self.is_done {
            self.finish(Variant::Absent);
        }
    }
}

/// What one shard keeps of encodings. Clones are the same shelf.
#[derive(Clone, Debug)]
pub struct Shelf {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bytes_max: usize,
    bytes: Cell<usize>,
    hits: Cell<u64>,
    dropped: Cell<u64>,
    /// Representations with kept encodings, the next to go first. Some are gone already.
    entries: RefCell<VecDeque<Weak<Stored>>>,
}

impl Shelf {
    /// An empty shelf for at most so many bytes of encodings.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            inner: Rc::new(Inner {
                bytes_max,
                bytes: Cell::new(0),
                hits: Cell::new(0),
                dropped: Cell::new(0),
                entries: RefCell::default(),
            }),
        }
    }

    /// A representation whose encodings stand on this shelf.
    #[must_use]
    pub fn store(&self, identity: impl Into<Bytes>) -> Rc<Stored> {
        self.store_file(identity, None)
    }

    /// The same for the content of a file that stays open.
    #[must_use]
    pub fn store_file(&self, identity: impl Into<Bytes>, file: Option<Rc<OpenFile>>) -> Rc<Stored> {
        Rc::new(Stored {
            identity: identity.into(),
            file,
            variants: RefCell::default(),
            was_used: Cell::new(false),
            shelf: self.clone(),
        })
    }

    /// Bytes of the kept encodings.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.bytes.get()
    }

    /// How often a kept encoding was used.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.inner.hits.get()
    }

    /// How often encodings had to go because the shelf was full, or one found no place on it.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.get()
    }

    /// Makes room for one encoding. One that takes more than an eighth of the shelf is refused:
    /// it would drive out everything that is used more often.
    fn take(&self, stored: &Rc<Stored>, bytes: usize) -> bool {
        let Inner {
            bytes_max,
            bytes: used,
            dropped,
            entries,
            ..
        } = &*self.inner;
        if bytes > bytes_max / 8 || !self.make_room(bytes) {
            dropped.set(dropped.get() + 1);
            return false;
        }
        used.set(used.get() + bytes);
        let mut entries = entries.borrow_mut();
        let is_new = stored
            .variants
            .borrow()
            .iter()
            .all(|variant| variant.kept_bytes() == 0);
        if is_new {
            entries.push_back(Rc::downgrade(stored));
            // Owners drop theirs without a word; the list must not grow with them.
            if entries.len().is_power_of_two() {
                entries.retain(|entry| entry.strong_count() > 0);
            }
        }
        true
    }

    /// Whether there is room for so many bytes, after old encodings were forgotten.
    fn make_room(&self, bytes: usize) -> bool {
        let inner = &*self.inner;
        let mut entries = inner.entries.borrow_mut();
        // Twice around: once to take away the marks of use.
        for _ in 0..=entries.len() * 2 {
            if inner.bytes.get() + bytes <= inner.bytes_max {
                return true;
            }
            let Some(entry) = entries.pop_front() else {
                break;
            };
            let Some(stored) = entry.upgrade() else {
                continue;
            };
            if stored.was_used.replace(false) {
                entries.push_back(entry);
            } else {
                stored.forget();
                inner.dropped.set(inner.dropped.get() + 1);
            }
        }
        inner.bytes.get() + bytes <= inner.bytes_max
    }

    fn give_back(&self, bytes: usize) {
        let used = &self.inner.bytes;
        used.set(used.get().saturating_sub(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(stored: &Rc<Stored>, coding: Coding) -> Claim {
        let mut cx = Context::from_waker(Waker::noop());
        match stored.poll_claim(&mut cx, coding) {
            Poll::Ready(claim) => claim,
            Poll::Pending => panic!("someone makes it"),
        }
    }

    fn make(stored: &Rc<Stored>, coding: Coding, bytes: usize) -> bool {
        match claim(stored, coding) {
            Claim::Make(maker) => maker.keep(vec![b'x'; bytes].into()),
            Claim::Kept(_) => panic!("it is kept already"),
        }
    }

    #[test]
    fn one_makes_and_the_others_wait_for_it() {
        let shelf = Shelf::new(1000);
        let stored = shelf.store(&b"identity"[..]);
        let Claim::Make(maker) = claim(&stored, Coding::Br) else {
            panic!("nothing is kept yet")
        };
        assert_eq!(maker.identity(), &b"identity"[..]);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(stored.poll_claim(&mut cx, Coding::Br).is_pending());
        assert!(matches!(claim(&stored, Coding::Gzip), Claim::Make(_)));
        assert!(maker.keep(Bytes::from_static(b"small")));
        assert!(matches!(claim(&stored, Coding::Br), Claim::Kept(bytes) if bytes == "small"));
        assert_eq!((stored.variant(Coding::Gzip), shelf.bytes()), (None, 5));
    }

    #[test]
    fn a_maker_that_gives_up_lets_another_try() {
        let stored = Shelf::new(1000).store(&b"identity"[..]);
        let first = claim(&stored, Coding::Zstd);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(stored.poll_claim(&mut cx, Coding::Zstd).is_pending());
        drop(first);
        assert!(matches!(claim(&stored, Coding::Zstd), Claim::Make(_)));
    }

    #[test]
    fn only_a_smaller_form_replaces_what_is_kept() {
        let shelf = Shelf::new(1000);
        let stored = shelf.store(&b"identity"[..]);
        stored.improve(Coding::Br, Bytes::from_static(b"nobody asked"));
        assert_eq!(stored.variant(Coding::Br), None);
        make(&stored, Coding::Br, 50);
        make(&stored, Coding::Gzip, 50);
        assert!(stored.wants_better(Coding::Br));
        stored.improve(Coding::Br, vec![b'y'; 40].into());
        stored.improve(Coding::Gzip, vec![b'y'; 60].into());
        assert!(!stored.wants_better(Coding::Br) && !stored.wants_better(Coding::Gzip));
        let len = |coding| stored.variant(coding).map(|bytes| bytes.len());
        assert_eq!((len(Coding::Br), len(Coding::Gzip)), (Some(40), Some(50)));
        assert_eq!(shelf.bytes(), 90);
        drop(stored);
        assert_eq!(shelf.bytes(), 0);
    }

    #[test]
    fn a_full_shelf_forgets_what_is_not_used() {
        let shelf = Shelf::new(1000);
        let all: Vec<_> = (0..8).map(|_| shelf.store(&b"identity"[..])).collect();
        for stored in &all {
            assert!(make(stored, Coding::Br, 125));
            stored.was_used.set(false);
        }
        assert_eq!(shelf.bytes(), 1000);
        assert!(all[0].variant(Coding::Br).is_some());
        let late = shelf.store(&b"identity"[..]);
        assert!(make(&late, Coding::Br, 125));
        assert!(all[0].variant(Coding::Br).is_some(), "it was used");
        assert!(all[1].variant(Coding::Br).is_none(), "it was not");
        assert_eq!((shelf.bytes(), shelf.dropped()), (1000, 1));
        assert!(!make(&late, Coding::Gzip, 126), "too large for this shelf");
        assert_eq!((shelf.dropped(), shelf.bytes()), (2, 1000));
    }

    #[test]
    fn owners_that_go_leave_nothing_behind() {
        let shelf = Shelf::new(1000);
        for _ in 0..10_000 {
            make(&shelf.store(&b"identity"[..]), Coding::Br, 100);
        }
        assert_eq!(shelf.bytes(), 0);
        assert!(shelf.inner.entries.borrow().len() < 16);
    }
}
