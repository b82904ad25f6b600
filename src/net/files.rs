//! Files of a directory that a client may name: opened so that no name, link or race leads out
//! of it, and looked at through the descriptor alone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A directory whose files are served. Immutable; clones of the `Arc` around it go to the
/// threads that wait for the disk.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    links: Links,
}

/// Which symbolic links below the root are followed. Those on the way to it always are: the
/// operator named them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Relative ones that stay below the root.
    Inside,
    /// None.
    Off,
    /// All.
    Any,
}

/// How long opening may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Only what the kernel has in memory; what it has not is [`Refused::NotCached`].
    Cached,
    /// As long as the disk takes. Not on a shard's thread.
    Whole,
}

/// Something that was opened, and what it was at that moment.
#[derive(Debug)]
pub struct Opened {
    /// The descriptor.
    pub fd: OwnedFd,
    /// What it is.
    pub facts: Facts,
}

/// What a descriptor says of its file. Two equal ones mean an unchanged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// A directory, and no regular file.
    pub is_directory: bool,
    /// Length in bytes.
    pub len: u64,
    /// Last modification in seconds since the Unix epoch; 0 if before it.
    pub modified: u64,
    nanos: u64,
    changed: (i64, u64),
    place: (u64, u64),
}

#[cfg(test)]
impl Facts {
    /// A regular file of that length and time.
    pub(crate) fn of(len: u64, modified: u64) -> Self {
        Self {
            is_directory: false,
            len,
            modified,
            nanos: 0,
            changed: (0, 0),
            place: (0, 0),
        }
    }
}

/// Why a name was not opened.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is nothing of that name, or it lies outside, or behind a link that is not followed.
    #[error("there is no such file")]
    Absent,
    /// The program may not read it.
    #[error("permission denied")]
    Forbidden,
    /// A pipe, a socket or a device.
    #[error("neither a file nor a directory")]
    Special,
    /// The kernel would have to ask the disk.
    #[error("not in the kernel's caches")]
    NotCached,
    /// Descriptors, memory or the disk failed.
    #[error(transparent)]
    Failed(io::Error),
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        match error {
            // XDEV: RESOLVE_BENEATH; LOOP: links that are not followed, or go round.
            Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG
            // INVAL: a name with a NUL.
            | Errno::INVAL => Self::Absent,
            Errno::ACCESS | Errno::PERM => Self::Forbidden,
            // NXIO: a socket, or a device without a driver.
            Errno::NXIO | Errno::NODEV => Self::Special,
            error => Self::Failed(error.into()),
        }
    }
}

/// O_NONBLOCK, so that a pipe or a device is opened and looked at, not waited for.
const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const PATH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    /// Opens the directory itself, whatever links lead to it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn open(path: &Path, links: Links, patience: Patience) -> Result<Self, Refused> {
        let fd = match patience {
            Patience::Whole => fs::open(path, PATH, Mode::empty())?,
            Patience::Cached => {
                let resolve = ResolveFlags::CACHED;
                match fs::openat2(fs::CWD, path, PATH, Mode::empty(), resolve) {
                    Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                        return Err(Refused::NotCached);
                    }
                    opened => opened?,
                }
            }
        };
        Ok(Self { fd, links })
    }

    /// Opens what lies at a relative path: names with single slashes between them, none of them
    /// empty, `.` or `..`; the empty path is the root itself.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn find(&self, path: &str, patience: Patience) -> Result<Opened, Refused> {
        let path = if path.is_empty() { "." } else { path };
        let mut resolve = self.resolve();
        if patience == Patience::Cached {
            resolve |= ResolveFlags::CACHED;
        }
        loop {
            match fs::openat2(&self.fd, path, OPEN, Mode::empty(), resolve) {
                Ok(fd) => return look_at(fd),
                Err(Errno::INTR) => {}
                // AGAIN comes from RESOLVE_CACHED, or from a rename during the walk.
                Err(Errno::AGAIN | Errno::INVAL) if patience == Patience::Cached => {
                    return Err(Refused::NotCached);
                }
                Err(Errno::AGAIN) => {}
                // Linux before 5.6, or a seccomp profile that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) if patience == Patience::Cached => {
                    return Err(Refused::NotCached);
                }
                Err(Errno::NOSYS | Errno::PERM) => return self.walk(path),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The files and directories in a directory, at most `max` of them; `false` if there are
    /// more. Listed is what could be opened but for its permissions; names that are no text are
    /// left out. Waits for the disk.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn list(&self, path: &str, max: usize) -> Result<(Vec<Entry>, bool), Refused> {
        let directory = self.find(path, Patience::Whole)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&directory.fd)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            let below = match path {
                "" => name.to_owned(),
                path => format!("{path}/{name}"),
            };
            let Some(facts) = self.facts_of(&below) else {
                continue;
            };
            if entries.len() == max {
                return Ok((entries, false));
            }
            entries.push(Entry {
                name: name.to_owned(),
                is_directory: facts.is_directory,
                len: if facts.is_directory { 0 } else { facts.len },
                modified: facts.modified,
            });
        }
        Ok((entries, true))
    }

    fn facts_of(&self, path: &str) -> Option<Facts> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = match fs::openat2(&self.fd, path, flags, Mode::empty(), self.resolve()) {
            Err(Errno::NOSYS | Errno::PERM) => {
                return self.walk(path).ok().map(|opened| opened.facts);
            }
            found => found,
        };
        facts(&found.ok()?).ok()
    }

    fn resolve(&self) -> ResolveFlags {
        ResolveFlags::NO_MAGICLINKS
            | match self.links {
                Links::Inside => ResolveFlags::BENEATH,
                Links::Off => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
                Links::Any => ResolveFlags::empty(),
            }
    }

    /// Without openat2: one name after the other, and no link followed unless all may be.
    fn walk(&self, path: &str) -> Result<Opened, Refused> {
        if self.links == Links::Any {
            return look_at(fs::openat(&self.fd, path, OPEN, Mode::empty())?);
        }
        let mut names = path.split('/').peekable();
        let mut at: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            let flags = match names.peek() {
                Some(_) => PATH,
                None => OPEN,
            };
            if name == ".." {
                return Err(Refused::Absent);
            }
            let from = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let next = fs::openat(from, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            if names.peek().is_none() {
                return look_at(next);
            }
            at = Some(next);
        }
        Err(Refused::Absent)
    }
}

fn look_at(fd: OwnedFd) -> Result<Opened, Refused> {
    let facts = facts(&fd)?;
    if !facts.is_directory {
        // Reads of a regular file with O_NONBLOCK through the ring would fail, not wait.
        fs::fcntl_setfl(&fd, OFlags::empty())?;
    }
    Ok(Opened { fd, facts })
}

/// What a descriptor is.
///
/// # Errors
/// [`Refused::Special`] if it is neither a regular file nor a directory.
pub fn facts(fd: &OwnedFd) -> Result<Facts, Refused> {
    let stat = fs::fstat(fd)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Err(Refused::Special);
    }
    Ok(Facts {
        is_directory: kind == FileType::Directory,
        len: u64::try_from(stat.st_size).unwrap_or(0),
        modified: u64::try_from(stat.st_mtime).unwrap_or(0),
        nanos: stat.st_mtime_nsec,
        changed: (stat.st_ctime, stat.st_ctime_nsec),
        place: (stat.st_dev, stat.st_ino),
    })
}

/// An entry of a directory, for a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, if that is text.
    pub name: String,
    /// A directory, and no regular file.
    pub is_directory: bool,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Last modification in seconds since the Unix epoch.
    pub modified: u64,
}

#[cfg(test)]
mod tests;
