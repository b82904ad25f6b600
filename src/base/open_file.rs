//! An open file, and what is remembered of where its bytes are. Never read here.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes that are known to be in the kernel's memory together.
pub const PART_BYTES: u64 = 1 << 20;
/// Files with more parts are not remembered: their list would be large.
const PARTS_MAX: u64 = 4096;

/// An open file, and when which part of it was last seen in the kernel's memory. To ask the
/// kernel costs as much as sending a fifth of the bytes, so the answer is kept for a second.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
    /// By part: the second it was seen in.
    seen: RefCell<Vec<u64>>,
}

impl OpenFile {
    /// A file that was opened for reading.
    #[must_use]
    pub const fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            seen: RefCell::new(Vec::new()),
        }
    }

    /// The descriptor.
    #[must_use]
    pub const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether the part that `offset` lies in was in memory in that second, by what was noted.
    #[must_use]
    pub fn was_seen(&self, offset: u64, second: u64) -> bool {
        let part = usize::try_from(offset / PART_BYTES).unwrap_or(usize::MAX);
        self.seen.borrow().get(part) == Some(&second)
    }

    /// Notes that the whole part that `offset` lies in is in memory in that second.
    pub fn note_seen(&self, offset: u64, second: u64) {
        let part = offset / PART_BYTES;
        if part >= PARTS_MAX {
            return;
        }
        let part = part as usize;
        let mut seen = self.seen.borrow_mut();
        if seen.len() <= part {
            seen.resize(part + 1, 0);
        }
        if let Some(at) = seen.get_mut(part) {
            *at = second;
        }
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_remembered_for_their_second() {
        let file = OpenFile::new(std::fs::File::open("/dev/null").unwrap().into());
        assert!(!file.was_seen(0, 7));
        file.note_seen(3 * PART_BYTES + 1, 7);
        assert!(file.was_seen(3 * PART_BYTES, 7) && file.was_seen(4 * PART_BYTES - 1, 7));
        assert!(!file.was_seen(4 * PART_BYTES, 7) && !file.was_seen(2 * PART_BYTES, 7));
        assert!(!file.was_seen(3 * PART_BYTES, 8));
        file.note_seen(u64::MAX, 7);
        assert!(!file.was_seen(u64::MAX, 7));
        assert_eq!(file.seen.borrow().len(), 4);
    }
}
