//! What the parts' tests are made of. The whole is tested from outside (tests/test_files.py).

use core::cell::Cell;
use std::rc::Rc;

use smallvec::smallvec;

use super::entry::{Content, Entry, form};
use super::expiry::Expiry;
use crate::base::clock;
use crate::config::{self, Expires, FileCache, Symlinks};
use crate::http::{Coding, HeaderList, Known, Shelf};
use crate::net::files::Facts;

/// Settings without any key.
pub(super) fn settings() -> config::Files {
    config::Files {
        id: 0,
        root: "/".into(),
        is_single: false,
        is_whole_path: false,
        lacks_slash: false,
        index: vec!["index.html".into()],
        expires: Expires::Off,
        cache_control: None,
        precompressed: false,
        autoindex: false,
        hidden: false,
        symlinks: Symlinks::Inside,
        default_type: "application/octet-stream".into(),
        charset: Some("utf-8".into()),
        types: Vec::new(),
        fallback: None,
        cache: FileCache::default(),
    }
}

/// A file of so many bytes with those siblings.
fn entry(bytes: usize, siblings: &[Coding]) -> Entry {
    let files = settings();
    let expiry = Expiry::new(&files);
    let form = |coding| {
        let facts = Facts::of(bytes as u64, 784_111_777);
        let content = Content::Stored(Shelf::new(0).store(vec![b'x'; bytes]));
        let site = ("a.txt", &files, &expiry);
        form(site, (coding, facts), content, !siblings.is_empty())
    };
    let mut forms = smallvec![form(None)];
    forms.extend(siblings.iter().map(|&coding| form(Some(coding))));
    Entry {
        forms,
        checked: Cell::new(clock::mono()),
    }
}

pub(super) fn entry_of(bytes: usize) -> Rc<Entry> {
    Rc::new(entry(bytes, &[]))
}

#[test]
fn the_sibling_that_is_wanted_most_is_sent() {
    use Coding::{Br, Gzip, Zstd};
    for (accept, expected) in [
        (None, None),
        (Some(""), None),
        (Some("gzip"), Some(Gzip)),
        (Some("gzip, br"), Some(Br)),
        (Some("gzip, br, zstd"), Some(Br)),
        (Some("gzip;q=0.9, zstd;q=0.8"), Some(Gzip)),
        (Some("br;q=0, *"), Some(Zstd)),
        (Some("*"), Some(Br)),
        (Some("*;q=0"), None),
        (Some("gzip;q=0.5, identity"), None),
        (Some("gzip;q=0.5, identity;q=0.1"), Some(Gzip)),
        (Some("identity;q=0"), None),
        (Some("deflate"), None),
        (Some("GZIP"), Some(Gzip)),
    ] {
        let entry = entry(10, &[Br, Zstd, Gzip]);
        let mut request = HeaderList::new();
        if let Some(accept) = accept {
            request.push_known(Known::AcceptEncoding, accept.as_bytes());
        }
        let chosen = entry.choose(&request).unwrap();
        assert_eq!(chosen.coding, expected, "{accept:?}");
        let coding = chosen.fields.get_str(Known::ContentEncoding);
        assert_eq!(coding, expected.map(Coding::name));
        let vary = chosen.unchanged.get_str(Known::Vary);
        assert_eq!(vary, Some("Accept-Encoding"));
    }
}

#[test]
fn validators_are_those_of_nginx() {
    let entry = entry(0x400, &[]);
    let fields = &entry.forms[0].fields;
    assert_eq!(fields.get_str(Known::Etag), Some("\"2ebc98a1-400\""));
    let modified = fields.get_str(Known::LastModified);
    assert_eq!(modified, Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(fields.get(Known::Vary), None);
}
