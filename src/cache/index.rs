//! What one shard has in its share of a cache's folder: names of files by key, their sizes, and
//! which go when there are too many bytes. The files themselves are `handler/cache/disk`'s.

use core::cell::RefCell;
use std::rc::Rc;

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::Weighter;

use super::kept::{Kept, kept};
use super::vary::Selecting;
use crate::http::HeaderList;

/// What a file is expected to take, for the index's first size.
const FILE_BYTES_EXPECTED: u64 = 32 * 1024;
/// Files of one key that are told apart by Vary.
const VARIANTS_MAX: usize = 16;
/// A file takes whole blocks of the file system.
const BLOCK_BYTES: u64 = 4096;

/// The half of a digest: what tells keys and files apart.
pub type Name = [u8; 16];

/// The name of a key.
#[must_use]
pub fn name(key: &[u8]) -> Name {
    let sum = digest(&SHA256, key);
    sum.as_ref().first_chunk().copied().unwrap_or_default()
}

/// The name of the file of one response of a key: `selecting` tells it from the others.
#[must_use]
pub fn file_name(key: &[u8], selecting: &Selecting) -> Name {
    if selecting.is_empty() {
        return name(key);
    }
    let mut text = key.to_vec();
    for (field, value) in selecting.fields() {
        text.push(0xff);
        text.extend_from_slice(field);
        text.push(0xff);
        // No field's value has that byte as its first two.
        text.extend_from_slice(value.unwrap_or(b"\xff\xff"));
    }
    name(&text)
}

/// A file's place below its folder: two levels, so that no folder gets too large.
#[must_use]
pub fn path(name: &Name) -> String {
    let mut text = String::with_capacity(38);
    for (at, byte) in name.iter().enumerate() {
        if at == 1 || at == 2 {
            text.push('/');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Its name.
    pub name: Name,
    /// Which requests it answers.
    pub selecting: Selecting,
    /// Its length.
    pub bytes: u64,
    /// When it was last used, in seconds since the Unix epoch.
    pub used: u64,
}

/// The files of one key.
#[derive(Clone, Debug, Default)]
struct Files(Vec<File>);

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Name, Rc<Files>> for ByBytes {
    fn weight(&self, _: &Name, files: &Rc<Files>) -> u64 {
        let bytes = files.0.iter().map(|file| file.bytes);
        bytes
            .map(|bytes| bytes.next_multiple_of(BLOCK_BYTES))
            .sum::<u64>()
            .max(1)
    }
}

/// The files of one shard.
#[derive(Debug)]
pub struct Index {
    kept: RefCell<Kept<Name, Rc<Files>, ByBytes>>,
}

impl Index {
    /// An empty index for files of so many bytes together.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            kept: RefCell::new(kept(bytes_max, FILE_BYTES_EXPECTED, ByBytes)),
        }
    }

    /// The file of a key that fits a request, and notes its use.
    #[must_use]
    pub fn select(&self, key: &Name, request: &HeaderList, now: u64) -> Option<Name> {
        let mut kept = self.kept.borrow_mut();
        let files = kept.get(key)?;
        let at = files
            .0
            .iter()
            .position(|file| file.selecting.fits(request))?;
        let name = files.0.get(at)?.name;
        let mut files = kept.get_mut(key)?;
        if let Some(file) = Rc::make_mut(&mut files).0.get_mut(at) {
            file.used = now;
        }
        Some(name)
    }

    /// Notes a file that was written. Says which files have to go for it.
    pub fn insert(&self, key: Name, file: File) -> Vec<Name> {
        let mut kept = self.kept.borrow_mut();
        let mut files = kept
            .peek(&key)
            .map(|files| (**files).clone())
            .unwrap_or_default();
        let mut gone = Vec::new();
        files.0.retain(|old| old.selecting != file.selecting);
        files.0.insert(0, file);
        if files.0.len() > VARIANTS_MAX {
            gone.extend(files.0.drain(VARIANTS_MAX..).map(|file| file.name));
        }
        let mut evicted = Vec::new();
        let files = Rc::new(files);
        kept.insert_with_lifecycle(key, Rc::clone(&files), &mut evicted);
        // What was replaced is among them; its files are in the new list.
        let others = evicted.into_iter().filter(|(other, _)| *other != key);
        let mut evicted: Vec<Rc<Files>> = others.map(|(_, files)| files).collect();
        if !kept.contains_key(&key) {
            evicted.push(files);
        }
        gone.extend(names(&evicted));
        gone
    }

    /// Forgets a key. Says which files go.
    pub fn remove(&self, key: &Name) -> Vec<Name> {
        let removed = self.kept.borrow_mut().remove(key);
        removed
            .map(|(_, files)| names(&[files]))
            .unwrap_or_default()
    }

    /// Forgets one file.
    pub fn remove_file(&self, key: &Name, name: &Name) {
        let mut kept = self.kept.borrow_mut();
        let is_last = match kept.get_mut(key) {
            Some(mut files) => {
                let files = Rc::make_mut(&mut files);
                files.0.retain(|file| file.name != *name);
                files.0.is_empty()
            }
            None => false,
        };
        if is_last {
            kept.remove(key);
        }
    }

    /// Forgets what was not used since that second. Says which files go.
    pub fn forget_unused(&self, since: u64) -> Vec<Name> {
        let gone = RefCell::new(Vec::new());
        self.kept.borrow_mut().retain(|_, files| {
            let stays = files.0.iter().any(|file| file.used >= since);
            if !stays {
                gone.borrow_mut()
                    .extend(files.0.iter().map(|file| file.name));
            }
            stays
        });
        gone.into_inner()
    }

    /// Every file.
    #[must_use]
    pub fn names(&self) -> Vec<(Name, Name)> {
        let kept = self.kept.borrow();
        let files = kept.iter();
        files
            .flat_map(|(key, files)| files.0.iter().map(move |file| (*key, file.name)))
            .collect()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.kept.borrow().weight()
    }

    /// Keys that have files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.borrow().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn names(files: &[Rc<Files>]) -> Vec<Name> {
    let files = files.iter().flat_map(|files| files.0.iter());
    files.map(|file| file.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(key: &[u8], value: &str, bytes: u64, used: u64) -> File {
        let mut selecting = Selecting::default();
        if !value.is_empty() {
            selecting.push(b"a", Some(value.as_bytes()));
        }
        File {
            name: file_name(key, &selecting),
            selecting,
            bytes,
            used,
        }
    }

    fn request(value: &str) -> HeaderList {
        let mut list = HeaderList::new();
        list.push(b"A", value.as_bytes());
        list
    }

    #[test]
    fn paths_have_two_levels() {
        let mut name = [0xab; 16];
        name[1] = 0x01;
        assert_eq!(path(&name), "ab/01/abababababababababababababab");
        let other = file_name(b"k", &Selecting::default());
        assert_eq!(other, super::name(b"k"));
        assert_ne!(file(b"k", "1", 1, 1).name, file(b"k", "2", 1, 1).name);
    }

    #[test]
    fn files_are_selected_replaced_and_removed() {
        let index = Index::new(1 << 20);
        let key = name(b"k");
        let (one, two) = (file(b"k", "1", 10, 1), file(b"k", "2", 10, 1));
        assert!(index.insert(key, one.clone()).is_empty());
        assert!(index.insert(key, two.clone()).is_empty());
        assert!(index.insert(key, one.clone()).is_empty());
        assert_eq!(index.bytes(), 2 * BLOCK_BYTES);
        assert_eq!(index.select(&key, &request("2"), 5), Some(two.name));
        assert_eq!(index.select(&key, &request("3"), 5), None);
        index.remove_file(&key, &two.name);
        assert_eq!(index.select(&key, &request("2"), 5), None);
        assert_eq!(index.remove(&key), [one.name]);
        assert!(index.is_empty());
    }

    #[test]
    fn bytes_are_bounded_and_unused_files_go() {
        let index = Index::new(100 * BLOCK_BYTES);
        let mut gone = 0;
        for at in 0..1000_u32 {
            let key = at.to_be_bytes();
            gone += index
                .insert(name(&key), file(&key, "", 3000, u64::from(at)))
                .len();
            assert!(index.bytes() <= 100 * BLOCK_BYTES);
        }
        assert_eq!(gone + index.len(), 1000);
        let before = index.len();
        let unused = index.forget_unused(990);
        assert_eq!(unused.len() + index.len(), before);
        assert!(index.names().len() <= 10);
    }
}
