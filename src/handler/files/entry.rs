//! A file as it is served: its bytes or its descriptor, its siblings, and the fields that go with
//! each, written once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use smallvec::SmallVec;

use super::expiry::Expiry;
use super::types::content_type;
use crate::base::open_file::OpenFile;
use crate::config;
use crate::filter::compress::negotiate;
use crate::http::date::write_date;
use crate::http::{Coding, HeaderList, Known, Stored};
use crate::net::files::Facts;

/// A file, and what it is sent as.
#[derive(Debug)]
pub(super) struct Entry {
    /// The file itself, then its siblings.
    pub(super) forms: SmallVec<[Form; 1]>,
    /// When it was last known to be unchanged.
    pub(super) checked: Cell<Instant>,
}

/// One representation of a file.
#[derive(Debug)]
pub(super) struct Form {
    /// `None` is the file itself.
    pub(super) coding: Option<Coding>,
    pub(super) facts: Facts,
    pub(super) content: Content,
    /// Everything a 200 says but what depends on the time.
    pub(super) fields: HeaderList,
    /// The part of it that a 304 repeats (RFC 9110 §15.4.5).
    pub(super) unchanged: HeaderList,
    pub(super) etag: Vec<u8>,
}

/// Where a representation's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// In memory, with encodings made of it; larger ones with their file.
    Stored(Rc<Stored>),
    /// On the disk.
    File(Rc<OpenFile>),
}

impl Content {
    /// Bytes it keeps in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Stored(stored) => stored.identity().len(),
            Self::File(_) => 0,
        }
    }
}

impl Entry {
    /// Bytes of content in memory.
    pub(super) fn bytes(&self) -> usize {
        self.forms.iter().map(|form| form.content.bytes()).sum()
    }

    /// Whether the files looked at are the ones this was made of.
    pub(super) fn is_made_of(&self, facts: impl Iterator<Item = (Option<Coding>, Facts)>) -> bool {
        let own = self.forms.iter().map(|form| (form.coding, form.facts));
        own.eq(facts)
    }

    /// The representation that the client wants most. The file itself is always acceptable:
    /// a client that forbids it gets it rather than nothing (RFC 9110 §12.5.3 allows both).
    pub(super) fn choose(&self, request: &HeaderList) -> Option<&Form> {
        let (own, siblings) = self.forms.split_first()?;
        if siblings.is_empty() || !request.contains(Known::AcceptEncoding) {
            return Some(own);
        }
        let offered: SmallVec<[Coding; 3]> =
            siblings.iter().filter_map(|form| form.coding).collect();
        let wanted = negotiate(request, &offered);
        let sibling = siblings
            .iter()
            .find(|form| wanted.is_some() && form.coding == wanted);
        Some(sibling.unwrap_or(own))
    }
}

/// A representation and the fields that go with it.
pub(super) fn form(
    (name, files, expiry): (&str, &config::Files, &Expiry),
    (coding, facts): (Option<Coding>, Facts),
    content: Content,
    has_siblings: bool,
) -> Form {
    let etag = format!("\"{:x}-{:x}\"", facts.modified, facts.len).into_bytes();
    let mut unchanged = HeaderList::new();
    unchanged.push_known(Known::Etag, &etag);
    if has_siblings {
        unchanged.push_known(Known::Vary, b"Accept-Encoding");
    }
    let mut modified = Vec::new();
    write_date(facts.modified, &mut modified);
    let mut fields = HeaderList::new();
    fields.push_known(Known::ContentType, content_type(name, files).as_bytes());
    if let Some(coding) = coding {
        fields.push_known(Known::ContentEncoding, coding.name().as_bytes());
    }
    fields.push_known(Known::LastModified, &modified);
    fields.push_known(Known::AcceptRanges, b"bytes");
    fields.append(&unchanged);
    // A browser updates what it has from a 304 by this one too.
    unchanged.push_known(Known::LastModified, &modified);
    for list in [&mut fields, &mut unchanged] {
        expiry.announce(list);
    }
    Form {
        coding,
        facts,
        content,
        fields,
        unchanged,
        etag,
    }
}
