//! One route's files on one shard: from a path to the entry that answers it, from memory or from
//! the disk.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::Shared;
use super::cache::Cache;
use super::entry::{Content, Entry, form};
use super::expiry::Expiry;
use super::path::{Place, place};
use crate::base::open_file::OpenFile;
use crate::config::{self, Symlinks};
use crate::handler::Incoming;
use crate::http::Coding;
use crate::metrics::{Counter, Gauge};
use crate::net::disk::Undone;
use crate::net::files::{Facts, Links, Opened, Patience, Refused, Root, facts};
use crate::net::reading::Reader;

/// Looks at a file that changes while it is read; then it is served from its descriptor.
const ATTEMPTS_MAX: usize = 3;

/// From this size on a file in memory stays open as well: a plain connection is sent it from
/// there, which costs two calls and saves the copy.
const SENT_BY_FILE_BYTES_MIN: u64 = 32 * 1024;

/// What lies at a path.
#[derive(Debug)]
pub(super) enum Found {
    /// A file.
    File(Rc<Entry>),
    /// A directory that was asked for without its slash.
    MissingSlash,
    /// A directory without an index, to be listed.
    Listing(Arc<Root>),
}

/// Why nothing is served.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file's.
    Refused(Refused),
    /// Too much waits for the disk.
    Busy,
}

impl<T: Into<Refused>> From<T> for Fault {
    fn from(refused: T) -> Self {
        Self::Refused(refused.into())
    }
}

impl From<Undone> for Fault {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Busy => Self::Busy,
            Undone::Lost => Self::Refused(Refused::Failed(io::Error::other(undone))),
        }
    }
}

/// A file and its siblings, opened and not yet read.
type OpenedForms = SmallVec<[(Option<Coding>, Opened); 1]>;

/// The files of one route.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) settings: Arc<config::Files>,
    pub(super) expiry: Expiry,
    links: Links,
    /// The root, and when it was opened: what its path names may change.
    root: RefCell<Option<(Arc<Root>, Instant)>>,
    cache: RefCell<Cache>,
}

impl Site {
    pub(super) fn new(settings: &Arc<config::Files>) -> Self {
        let cache = settings.cache;
        Self {
            settings: Arc::clone(settings),
            expiry: Expiry::new(settings),
            links: match settings.symlinks {
                Symlinks::Inside => Links::Inside,
                Symlinks::Off => Links::Off,
                Symlinks::Any => Links::Any,
            },
            root: RefCell::default(),
            cache: RefCell::new(Cache::new(cache.entries, cache.bytes)),
        }
    }

    /// What of a request's path is looked up.
    pub(super) fn path<'a>(&self, request: &Incoming<'a>) -> &'a str {
        match self.settings.is_whole_path {
            true => request.head.route_path(),
            false => request.found.below,
        }
    }

    /// The entry of a path if it was looked at lately. Allocates nothing.
    pub(super) fn fresh(&self, path: &str, now: Instant) -> Option<Rc<Entry>> {
        let cache = self.cache.borrow();
        let entry = cache.get(path)?;
        let age = now.saturating_duration_since(entry.checked.get());
        (age < self.settings.cache.valid).then(|| Rc::clone(entry))
    }

    /// Looks a path up on the disk.
    pub(super) async fn find(
        &self,
        shared: &Shared,
        path: &str,
        now: Instant,
    ) -> Result<Found, Fault> {
        let absent = || Fault::Refused(Refused::Absent);
        let place = if self.settings.is_single {
            let name = self
                .settings
                .root
                .file_name()
                .and_then(|name| name.to_str());
            Place {
                name: name.ok_or_else(absent)?,
                is_directory: false,
            }
        } else {
            place(path, self.settings.hidden).ok_or_else(absent)?
        };
        let root = self.root(shared, now).await?;
        if path.is_empty() && self.settings.lacks_slash {
            return Ok(Found::MissingSlash);
        }
        let found = self.look(shared, &root, (path, place), now).await;
        match (&found, &self.settings.fallback) {
            (Err(Fault::Refused(Refused::Absent)), Some(fallback)) => {
                self.forget(shared, path);
                if let Some(entry) = self.fresh(fallback, now) {
                    return Ok(Found::File(entry));
                }
                let place = Place {
                    name: fallback,
                    is_directory: false,
                };
                self.look(shared, &root, (fallback, place), now).await
            }
            (Err(_), _) => {
                self.forget(shared, path);
                found
            }
            _ => found,
        }
    }

    /// The root, opened anew once it is no longer sure to be what its path names.
    async fn root(&self, shared: &Shared, now: Instant) -> Result<Arc<Root>, Fault> {
        if let Some((root, since)) = &*self.root.borrow()
            && now.saturating_duration_since(*since) < self.settings.cache.valid
        {
            return Ok(Arc::clone(root));
        }
        let mut path = self.settings.root.clone();
        if self.settings.is_single {
            path.pop();
        }
        let links = self.links;
        let root = match Root::open(&path, links, Patience::Cached) {
            Err(Refused::NotCached) => {
                let open = move || Root::open(&path, links, Patience::Whole);
                shared.disk.run(open).await??
            }
            opened => opened?,
        };
        let root = Arc::new(root);
        *self.root.borrow_mut() = Some((Arc::clone(&root), now));
        Ok(root)
    }

    async fn look(
        &self,
        shared: &Shared,
        root: &Arc<Root>,
        (key, place): (&str, Place<'_>),
        now: Instant,
    ) -> Result<Found, Fault> {
        if !place.is_directory {
            let opened = open(shared, root, place.name).await?;
            if opened.facts.is_directory {
                return Ok(Found::MissingSlash);
            }
            let entry = self.entry(shared, root, (key, place.name), opened, now);
            return entry.await.map(Found::File);
        }
        for index in &self.settings.index {
            let name = match place.name {
                "" => index.clone(),
                folder => format!("{folder}/{index}"),
            };
            match open(shared, root, &name).await {
                Ok(opened) if !opened.facts.is_directory => {
                    let entry = self.entry(shared, root, (key, &name), opened, now);
                    return entry.await.map(Found::File);
                }
                Ok(_) | Err(Fault::Refused(Refused::Absent)) => {}
                Err(fault) => return Err(fault),
            }
        }
        let opened = open(shared, root, place.name).await?;
        match (opened.facts.is_directory, self.settings.autoindex) {
            (true, true) => Ok(Found::Listing(Arc::clone(root))),
            (true, false) => Err(Fault::Refused(Refused::Forbidden)),
            (false, _) => Err(Fault::Refused(Refused::Absent)),
        }
    }

    /// The entry of an opened file: the kept one if nothing has changed, or a new one.
    async fn entry(
        &self,
        shared: &Shared,
        root: &Arc<Root>,
        (key, name): (&str, &str),
        opened: Opened,
        now: Instant,
    ) -> Result<Rc<Entry>, Fault> {
        let mut opened = self.with_siblings(shared, root, name, opened).await?;
        let kept = self.cache.borrow().get(key).map(Rc::clone);
        let seen = opened
            .iter()
            .map(|(coding, opened)| (*coding, opened.facts));
        if let Some(kept) = kept.filter(|kept| kept.is_made_of(seen)) {
            kept.checked.set(now);
            shared.recorder.count(Counter::FileCacheRevalidated);
            return Ok(kept);
        }
        shared.recorder.count(Counter::FileCacheMisses);
        for _ in 1..ATTEMPTS_MAX {
            if let Some(entry) = self.read(shared, name, &mut opened, now).await? {
                self.keep(shared, key, &entry);
                return Ok(entry);
            }
            let again = open(shared, root, name).await?;
            opened = self.with_siblings(shared, root, name, again).await?;
        }
        // It changes all the time: whoever asks gets it as it comes, and the next looks again.
        let unread = opened.into_iter().map(|(coding, opened)| {
            let content = Content::File(Rc::new(OpenFile::new(opened.fd)));
            (coding, opened.facts, content)
        });
        Ok(self.made_of(name, unread, now))
    }

    async fn with_siblings(
        &self,
        shared: &Shared,
        root: &Arc<Root>,
        name: &str,
        opened: Opened,
    ) -> Result<OpenedForms, Fault> {
        let mut forms = OpenedForms::new();
        forms.push((None, opened));
        if !self.settings.precompressed {
            return Ok(forms);
        }
        for coding in Coding::ALL {
            let extension = match coding {
                Coding::Br => "br",
                Coding::Zstd => "zst",
                Coding::Gzip => "gz",
            };
            match open(shared, root, &format!("{name}.{extension}")).await {
                Ok(opened) if !opened.facts.is_directory => forms.push((Some(coding), opened)),
                Err(Fault::Busy) => return Err(Fault::Busy),
                // One that cannot be read is as good as none.
                Ok(_) | Err(Fault::Refused(_)) => {}
            }
        }
        Ok(forms)
    }

    /// An entry with the content of what is small; `None` if a file changed meanwhile.
    async fn read(
        &self,
        shared: &Shared,
        name: &str,
        opened: &mut OpenedForms,
        now: Instant,
    ) -> Result<Option<Rc<Entry>>, Fault> {
        let mut contents: SmallVec<[(Option<Coding>, Facts, Content); 1]> = SmallVec::new();
        for (coding, Opened { fd, facts }) in core::mem::take(opened) {
            let content = match self.content(shared, fd, facts).await? {
                Some(content) => content,
                None => return Ok(None),
            };
            contents.push((coding, facts, content));
        }
        Ok(Some(self.made_of(name, contents.into_iter(), now)))
    }

    async fn content(
        &self,
        shared: &Shared,
        fd: OwnedFd,
        seen: Facts,
    ) -> Result<Option<Content>, Fault> {
        let file = Rc::new(OpenFile::new(fd));
        let is_small = seen.len <= self.settings.cache.file_bytes_max;
        if !is_small || !self.cache.borrow().has_room_for(seen.len) {
            return Ok(Some(Content::File(file)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(seen.len).unwrap_or(0));
        let mut reader = Reader::new(&file, (0, seen.len), &shared.disk, &shared.buffers);
        loop {
            match reader.next().await {
                Ok(Some(piece)) => {
                    bytes.extend_from_slice(&piece);
                    shared.buffers.give_back(piece);
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(Fault::Refused(Refused::Failed(error))),
            }
        }
        if facts(file.fd())? != seen {
            return Ok(None);
        }
        let file = (seen.len >= SENT_BY_FILE_BYTES_MIN).then_some(file);
        let stored = shared.shelf.store_file(bytes, file);
        Ok(Some(Content::Stored(stored)))
    }

    fn made_of(
        &self,
        name: &str,
        forms: impl ExactSizeIterator<Item = (Option<Coding>, Facts, Content)>,
        now: Instant,
    ) -> Rc<Entry> {
        let has_siblings = self.settings.precompressed;
        let site = (name, &*self.settings, &self.expiry);
        let forms = forms
            .map(|(coding, facts, content)| form(site, (coding, facts), content, has_siblings));
        Rc::new(Entry {
            forms: forms.collect(),
            checked: Cell::new(now),
        })
    }

    fn keep(&self, shared: &Shared, key: &str, entry: &Rc<Entry>) {
        self.change(shared, |cache| {
            let evicted = cache.put(key, entry);
            shared.recorder.add(Counter::FileCacheEvictions, evicted);
        });
    }

    fn forget(&self, shared: &Shared, key: &str) {
        self.change(shared, |cache| cache.remove(key));
    }

    fn change(&self, shared: &Shared, change: impl FnOnce(&mut Cache)) {
        let mut cache = self.cache.borrow_mut();
        let levels = |cache: &Cache| (cache.bytes() as i64, cache.len() as i64);
        let before = levels(&cache);
        change(&mut cache);
        let after = levels(&cache);
        let recorder = &shared.recorder;
        recorder.shift(Gauge::FileCacheBytes, after.0 - before.0);
        recorder.shift(Gauge::FileCacheEntries, after.1 - before.1);
    }
}

/// Opens a name, on a disk thread if the kernel does not have it in memory.
async fn open(shared: &Shared, root: &Arc<Root>, name: &str) -> Result<Opened, Fault> {
    match root.find(name, Patience::Cached) {
        Err(Refused::NotCached) => {
            let (root, name) = (Arc::clone(root), name.to_owned());
            let found = shared.disk.run(move || root.find(&name, Patience::Whole));
            Ok(found.await??)
        }
        found => Ok(found?),
    }
}
