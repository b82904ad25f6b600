//! A response that is kept.

use core::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::vary::Selecting;
use crate::http::conditional::Validators;
use crate::http::freshness::Freshness;
use crate::http::{HeaderList, Known, Shelf, Stored, date};

/// What an entry costs beside its bytes: the structs, their heap blocks, its place in the table.
const OVERHEAD: usize = 768;

/// A response without its content: what is known when its head has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its status.
    pub status: u16,
    /// Its fields as they are sent: none of the connection's, no Age, no Content-Length.
    pub headers: HeaderList,
    /// Which requests it fits.
    pub selecting: Selecting,
    /// How long it is fresh.
    pub freshness: Freshness,
}

/// A whole response. May cross threads.
#[derive(Debug)]
pub struct Parcel {
    /// All but its content.
    pub draft: Draft,
    /// Its content.
    pub body: Bytes,
}

/// A response as one shard keeps it.
#[derive(Debug)]
pub struct Entry {
    /// The response.
    pub parcel: Arc<Parcel>,
    /// Its content, with the encodings made of it.
    pub stored: Rc<Stored>,
    /// When it was last asked for, in seconds since the Unix epoch.
    used: Cell<u64>,
}

impl Draft {
    /// What a client can compare its copy with. A response without Last-Modified was last
    /// modified when it was made, as far as anyone knows (RFC 9111 §4.3.2).
    #[must_use]
    pub fn validators(&self) -> Validators<'_> {
        let modified = self.headers.get(Known::LastModified);
        let dated = || self.headers.get(Known::Date);
        Validators {
            etag: self.headers.get(Known::Etag),
            last_modified: modified.or_else(dated).and_then(date::parse_date),
        }
    }

    /// Whether the server can be asked if it still holds.
    #[must_use]
    pub fn has_validator(&self) -> bool {
        self.headers.contains(Known::Etag) || self.headers.contains(Known::LastModified)
    }
}

impl Parcel {
    /// Bytes that count against the memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        let draft = &self.draft;
        OVERHEAD + self.body.len() + draft.headers.wire().len() + draft.selecting.weight()
    }
}

impl Entry {
    /// Keeps a response. Where the one that it replaces has the same content, the encodings
    /// that were made of it stay.
    #[must_use]
    pub fn new(parcel: Arc<Parcel>, old: Option<&Self>, shelf: &Shelf, now: u64) -> Rc<Self> {
        let same = old.map(|old| &old.stored).filter(|stored| {
            let (kept, body) = (stored.identity(), &parcel.body);
            kept.as_ptr() == body.as_ptr() && kept.len() == body.len()
        });
        let stored = same.map_or_else(|| shelf.store(parcel.body.clone()), Rc::clone);
        Rc::new(Self {
            parcel,
            stored,
            used: Cell::new(now),
        })
    }

    /// All but its content.
    #[must_use]
    pub fn draft(&self) -> &Draft {
        &self.parcel.draft
    }

    /// Notes that it was asked for.
    pub fn touch(&self, now: u64) {
        self.used.set(now);
    }

    /// When it was last asked for.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.get()
    }
}
