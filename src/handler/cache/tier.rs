//! The files of a cache: what is kept goes there too, and comes back when memory has lost it or
//! the program was started again. A file is read and checked as a whole before a byte of it is
//! used, by the threads that wait for disks.
//!
//! A file is written beside its place and then moved there, so that whoever is killed in between
//! leaves a whole old file or none. What the disk does to it later the checksums find.

use core::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::Caches;
use super::links::{Item, What};
use super::order::Order;
use super::zone::Zone;
use crate::base::clock::Now;
use crate::base::owner::Hashing;
use crate::cache::entry::{Entry, Parcel};
use crate::cache::file::{self, Damaged};
use crate::cache::index::{self, File, Index, Name};
use crate::cache::vary::Selecting;
use crate::config::CacheDisk;
use crate::metrics::Counter;
use crate::net::disk::Undone;
use crate::net::{sleep, spawn};

/// Bytes that may wait to be written, in each shard; beyond them responses stay in memory alone.
const WRITING_BYTES_MAX: usize = 32 << 20;
/// Seconds without a try after the disk has refused something.
const PAUSE_SECONDS: u64 = 5;
/// Ends the names of files that are being written.
const PART: &str = ".part";
/// Those of a program that was killed are removed once they are so old.
const PART_AGE: Duration = Duration::from_secs(60);
/// A reload is with all shards after that time; those that are later find files one by one.
const ADOPTED_AFTER: Duration = Duration::from_secs(1);
/// Content up to here is read to find what a file is; enough for nearly every description.
const FRONT_BYTES: usize = 16 * 1024;

/// The files of one cache that one shard owns.
#[derive(Debug)]
pub(super) struct Tier {
    root: Arc<Path>,
    index: Index,
    /// Every file that was there at the start is known.
    is_loaded: Cell<bool>,
    /// Writes under way.
    writing: RefCell<Vec<Writing>>,
    next: Cell<u64>,
    /// Keys of files that are being removed, as they begin.
    removing: RefCell<Vec<Arc<[u8]>>>,
    /// No tries until then.
    paused: Cell<u64>,
    swept: Cell<u64>,
}

#[derive(Debug)]
struct Writing {
    number: u64,
    key: Arc<[u8]>,
    bytes: usize,
    /// Its file is to go as soon as it is there.
    is_void: bool,
}

/// Why a file is none.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damaged(#[from] Damaged),
    #[error("{0}")]
    Undone(#[from] Undone),
}

impl Tier {
    pub(super) fn new(disk: &CacheDisk, shards: u16) -> Self {
        Self {
            root: disk.path.as_path().into(),
            index: Index::new((disk.max_size / u64::from(shards.max(1))).max(1)),
            is_loaded: Cell::new(false),
            writing: RefCell::default(),
            next: Cell::new(0),
            removing: RefCell::default(),
            paused: Cell::new(0),
            swept: Cell::new(0),
        }
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.index.bytes()
    }

    fn place(&self, name: &Name) -> PathBuf {
        self.root.join(index::path(name))
    }

    fn void_writes(&self, goes: impl Fn(&[u8]) -> bool) {
        for writing in self.writing.borrow_mut().iter_mut() {
            writing.is_void |= goes(&writing.key);
        }
    }
}

impl Caches {
    /// The file that answers a question, as an entry in memory.
    pub(super) async fn load(&self, zone: &Zone, order: &Order) -> Option<Rc<Entry>> {
        let (tier, disk) = (zone.tier.as_ref()?, self.parts.disk.as_ref()?);
        let key = index::name(&order.key);
        let now = Now::read().unix.as_secs();
        let known = tier.index.select(&key, &order.fields, now);
        let name = match known {
            Some(name) => name,
            // It may not have been found yet.
            None if !tier.is_loaded.get() => key,
            None => return None,
        };
        let path = tier.place(&name);
        let read = disk.run(move || read(&path)).await;
        let read = read.map_err(Unread::Undone).and_then(|read| read);
        let is_removed = tier
            .removing
            .borrow()
            .iter()
            .any(|beginning| order.key.starts_with(beginning));
        match read {
            Ok((own, parcel))
                if *own == *order.key
                    && !is_removed
                    && parcel.draft.selecting.fits(&order.fields) =>
            {
                let entry = Entry::new(parcel, None, &self.parts.shelf, now);
                let evicted = zone.own.insert(&order.key, Rc::clone(&entry));
                let recorder = &self.parts.recorder;
                recorder.add(Counter::CacheEvictions, evicted.unwrap_or(0));
                recorder.count(Counter::CacheFilesRead);
                Some(entry)
            }
            Err(Unread::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                tier.index.remove_file(&key, &name);
                None
            }
            Ok(_) => None,
            Err(error) => {
                self.tell_disk(&error);
                if matches!(error, Unread::Damaged(_)) {
                    tier.index.remove_file(&key, &name);
                    self.unlink(tier, vec![name]);
                }
                None
            }
        }
    }

    /// Writes what is kept to its file, beside everything else.
    pub(super) fn write_file(self: &Rc<Self>, zone: &Zone, key: &Arc<[u8]>, parcel: &Arc<Parcel>) {
        let (Some(tier), Some(_)) = (&zone.tier, &self.parts.disk) else {
            return;
        };
        tier.void_writes(|other| other == &**key);
        let mut writing = tier.writing.borrow_mut();
        let waiting: usize = writing.iter().map(|one| one.bytes).sum();
        let bytes = parcel.weight();
        let now = Now::read().unix.as_secs();
        if waiting + bytes > WRITING_BYTES_MAX || now < tier.paused.get() {
            self.parts.recorder.count(Counter::CacheFilesSkipped);
            return;
        }
        let number = tier.next.get();
        tier.next.set(number + 1);
        writing.push(Writing {
            number,
            key: Arc::clone(key),
            bytes,
            is_void: false,
        });
        let (caches, zone) = (Rc::clone(self), usize::from(zone.index));
        let (key, parcel) = (Arc::clone(key), Arc::clone(parcel));
        spawn(async move { caches.write(zone, number, key, parcel).await });
    }

    async fn write(&self, zone: usize, number: u64, key: Arc<[u8]>, parcel: Arc<Parcel>) {
        let zone = self.zones.get(zone);
        let (Some(tier), Some(disk)) = (
            zone.and_then(|zone| zone.tier.as_ref()),
            self.parts.disk.as_ref(),
        ) else {
            return;
        };
        let name = index::file_name(&key, &parcel.draft.selecting);
        let path = tier.place(&name);
        let part = PathBuf::from(format!(
            "{}.{}-{}-{number}{PART}",
            path.display(),
            std::process::id(),
            self.office.outbox.own()
        ));
        let selecting = parcel.draft.selecting.clone();
        let written = {
            let (path, key) = (path.clone(), Arc::clone(&key));
            disk.run(move || write(&path, &part, &key, &parcel)).await
        };
        let is_void = {
            let mut writing = tier.writing.borrow_mut();
            let at = writing.iter().position(|one| one.number == number);
            at.is_some_and(|at| writing.swap_remove(at).is_void)
        };
        let now = Now::read().unix.as_secs();
        match written.map_err(Unread::Undone).and_then(|done| Ok(done?)) {
            Ok(_) if is_void => self.unlink(tier, vec![name]),
            Ok(bytes) => {
                let file = File {
                    name,
                    selecting,
                    bytes,
                    used: now,
                };
                let gone = tier.index.insert(index::name(&key), file);
                self.parts.recorder.count(Counter::CacheFilesWritten);
                self.unlink(tier, gone);
            }
            Err(error) => {
                tier.paused.set(now + PAUSE_SECONDS);
                self.tell_disk(&error);
            }
        }
    }

    fn tell_disk(&self, error: &Unread) {
        self.parts.recorder.count(Counter::CacheDiskErrors);
        self.parts.log.warn("cache", format_args!("{error}"));
    }

    /// Removes files, beside everything else.
    fn unlink(&self, tier: &Tier, names: Vec<Name>) {
        let Some(disk) = self.parts.disk.clone().filter(|_| !names.is_empty()) else {
            return;
        };
        let paths: Vec<PathBuf> = names.iter().map(|name| tier.place(name)).collect();
        spawn(async move {
            let removing = disk.run(move || {
                for path in paths {
                    let _ = fs::remove_file(path);
                }
            });
            let _ = removing.await;
        });
    }

    /// Removes files because what they are copies of has changed. Says how many keys had some.
    pub(super) fn forget_files(self: &Rc<Self>, zone: &Zone, what: &What) -> u64 {
        let Some(tier) = &zone.tier else {
            return 0;
        };
        tier.void_writes(|key| what.is(key));
        match what {
            What::Key(key) => {
                let name = index::name(key);
                let mut gone = tier.index.remove(&name);
                let count = gone.len();
                if !tier.is_loaded.get() {
                    gone.push(name);
                }
                self.unlink(tier, gone);
                u64::from(count > 0)
            }
            What::Beginning(beginning) => {
                tier.removing.borrow_mut().push(Arc::clone(beginning));
                let (caches, zone) = (Rc::clone(self), usize::from(zone.index));
                let beginning = Arc::clone(beginning);
                spawn(async move { caches.remove_beginning(zone, beginning).await });
                0
            }
        }
    }

    /// Looks through all files for those of keys that begin so. Until it is over they count as
    /// removed.
    async fn remove_beginning(&self, zone: usize, beginning: Arc<[u8]>) {
        let (Some(tier), Some(disk)) = (
            self.zones.get(zone).and_then(|zone| zone.tier.as_ref()),
            self.parts.disk.as_ref(),
        ) else {
            return;
        };
        for names in tier.index.names().chunks(64) {
            let paths: Vec<PathBuf> = names.iter().map(|(_, name)| tier.place(name)).collect();
            let wanted = Arc::clone(&beginning);
            let found = disk.run(move || {
                let begins = |path: &PathBuf| {
                    read_front(path).is_ok_and(|(key, _)| key.starts_with(&wanted))
                };
                paths.iter().map(begins).collect::<Vec<bool>>()
            });
            let found = found.await.unwrap_or_default();
            for ((key, name), _) in names.iter().zip(found).filter(|(_, begins)| *begins) {
                tier.index.remove_file(key, name);
                self.unlink(tier, vec![*name]);
            }
        }
        let mut removing = tier.removing.borrow_mut();
        if let Some(at) = removing.iter().position(|one| *one == beginning) {
            removing.swap_remove(at);
        }
    }

    /// Removes files that nobody asks for, now and then.
    pub(super) fn sweep_files(&self, zone: &Zone, now: u64) {
        let Some(tier) = &zone.tier else { return };
        if now < tier.swept.get() + 1 {
            return;
        }
        tier.swept.set(now);
        let gone = tier.index.forget_unused(zone.unused_since(now));
        self.unlink(tier, gone);
    }

    /// Finds the files that are there at the start. One shard does, for all.
    pub async fn find_files(self: &Rc<Self>) {
        let Some(disk) = self
            .parts
            .disk
            .clone()
            .filter(|_| self.office.outbox.own() == 0)
        else {
            return;
        };
        if self.generation > 1 {
            // Until the other shards have this generation as well.
            sleep(ADOPTED_AFTER).await;
        }
        for zone in &self.zones {
            let Some(tier) = &zone.tier else { continue };
            if zone.is_sought.replace(true) {
                continue;
            }
            let root = Arc::clone(&tier.root);
            let listed = disk.run(move || {
                fs::create_dir_all(&root)?;
                subfolders(&root)
            });
            let listed = listed.await.map_err(Unread::Undone);
            match listed.and_then(|listed| Ok(listed?)) {
                Ok(folders) => {
                    for folder in folders {
                        let found = disk.run(move || files_below(&folder)).await;
                        self.hand_out(zone, found.unwrap_or_default());
                    }
                }
                Err(error) => {
                    let root = tier.root.display();
                    let log = &self.parts.log;
                    log.warn("cache", format_args!("{root}: {error}"));
                    self.parts.recorder.count(Counter::CacheDiskErrors);
                }
            }
            for shard in 0..self.office.outbox.shards() {
                self.give_files(shard, &zone.name, Vec::new());
            }
        }
    }

    fn hand_out(self: &Rc<Self>, zone: &Zone, found: Vec<(Box<[u8]>, File)>) {
        let shards = self.office.outbox.shards();
        let mut by_owner: Vec<Vec<(Name, File)>> = (0..shards).map(|_| Vec::new()).collect();
        for (key, file) in found {
            let owner = Hashing::owner(self.office.hashing.hash(&key), shards);
            if let Some(files) = by_owner.get_mut(usize::from(owner)) {
                files.push((index::name(&key), file));
            }
        }
        for (shard, files) in (0..shards).zip(by_owner) {
            if !files.is_empty() {
                self.give_files(shard, &zone.name, files);
            }
        }
    }

    fn give_files(self: &Rc<Self>, shard: u16, zone: &Arc<str>, files: Vec<(Name, File)>) {
        if shard == self.office.outbox.own() {
            self.take_files(zone, files);
        } else {
            let zone = Arc::clone(zone);
            self.post(shard, Item::Files { zone, files });
        }
    }

    /// Notes files that were found at the start. None: that were all.
    pub(super) fn take_files(&self, zone: &str, files: Vec<(Name, File)>) {
        let zone = self.zone_named(zone);
        let Some(tier) = zone.and_then(|zone| zone.tier.as_ref()) else {
            return;
        };
        if files.is_empty() {
            tier.is_loaded.set(true);
        }
        for (key, file) in files {
            let gone = tier.index.insert(key, file);
            self.unlink(tier, gone);
        }
    }
}

fn read(path: &Path) -> Result<(Box<[u8]>, Arc<Parcel>), Unread> {
    let bytes = Bytes::from(fs::read(path)?);
    Ok(file::decode(&bytes)?)
}

/// Writes a file beside its place and moves it there. Says how long it is.
fn write(path: &Path, part: &Path, key: &[u8], parcel: &Parcel) -> io::Result<u64> {
    let (front, sum) = file::encode(key, parcel);
    let written = create(part).and_then(|mut file| {
        let mut parts = [
            IoSlice::new(&front),
            IoSlice::new(&parcel.body),
            IoSlice::new(&sum),
        ];
        write_all(&mut file, &mut parts)?;
        fs::rename(part, path)
    });
    if let Err(error) = written {
        let _ = fs::remove_file(part);
        return Err(error);
    }
    Ok((front.len() + parcel.body.len() + sum.len()) as u64)
}

fn create(part: &Path) -> io::Result<fs::File> {
    match fs::File::create(part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = part.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::File::create(part)
        }
        result => result,
    }
}

fn write_all(file: &mut fs::File, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut parts = parts;
    while !parts.is_empty() {
        match file.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut parts, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if parts.iter().all(|part| part.is_empty()) {
            return Ok(());
        }
    }
    Ok(())
}

/// What a file is, without its content.
fn read_front(path: &Path) -> Result<(Box<[u8]>, Selecting), Unread> {
    let file = fs::File::open(path)?;
    let mut front = Vec::with_capacity(FRONT_BYTES);
    (&file).take(FRONT_BYTES as u64).read_to_end(&mut front)?;
    let wanted = file::read_head(&front)?.front_bytes();
    if wanted > front.len() {
        let more = (wanted - front.len()) as u64;
        (&file).take(more).read_to_end(&mut front)?;
    }
    let (head, description) = file::read_front(&front)?;
    if file.metadata()?.len() != head.file_bytes() {
        return Err(Damaged::Length.into());
    }
    Ok((description.key, description.draft.selecting))
}

fn subfolders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().len() == 2 {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// The files in a folder's folders. What is none of ours, or was being written by a program that
/// was killed, is removed.
fn files_below(folder: &Path) -> Vec<(Box<[u8]>, File)> {
    let mut files = Vec::new();
    for folder in subfolders(folder).unwrap_or_default() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(about) = entry.metadata() else {
                continue;
            };
            let age = about.modified().ok().and_then(|time| time.elapsed().ok());
            if path.to_string_lossy().ends_with(PART) {
                if age.is_some_and(|age| age > PART_AGE) {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            let Ok((key, selecting)) = read_front(&path) else {
                let _ = fs::remove_file(&path);
                continue;
            };
            let name = index::file_name(&key, &selecting);
            if !path.ends_with(index::path(&name)) {
                continue;
            }
            let used = about.modified().ok();
            let used = used.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            files.push((
                key,
                File {
                    name,
                    selecting,
                    bytes: about.len(),
                    used: used.map_or(0, |used| used.as_secs()),
                },
            ));
        }
    }
    files
}
