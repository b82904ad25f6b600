//! Interim answers (1xx, RFC 9110 §15.2; 103: RFC 8297) on their way from a handler to the client.

use core::cell::RefCell;

use crate::http::{HeaderList, reason};

/// Interim answers that may wait; more are dropped, as they promise nothing.
const HINTS_MAX: usize = 8;

/// Where a handler puts interim answers, and the connection finds them.
#[derive(Debug, Default)]
pub struct Hints {
    waiting: RefCell<Vec<Hint>>,
}

/// One interim answer.
#[derive(Debug)]
pub struct Hint {
    /// 102, 103 or another from 102 to 199.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderList,
}

impl Hints {
    /// Leaves an interim answer for the client. Fields that concern another connection, or frame
    /// a message, are left out.
    pub fn put(&self, status: u16, headers: &HeaderList) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= HINTS_MAX || !(102..200).contains(&status) {
            return;
        }
        let mut kept = HeaderList::new();
        kept.append_if(headers, |known, _| {
            !known.is_hop_by_hop() && known != crate::http::Known::ContentLength
        });
        waiting.push(Hint {
            status,
            headers: kept,
        });
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// What waits; in nearly every exchange nothing.
    #[inline]
    pub fn take(&self) -> Vec<Hint> {
        core::mem::take(&mut *self.waiting.borrow_mut())
    }
}

impl Hint {
    /// Writes it as HTTP/1.1 sends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.headers.wire());
        out.extend_from_slice(b"\r\n");
    }
}
