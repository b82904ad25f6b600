//! What a connection needs while it is busy, lent by the shard: codec, head, response, buffers.
//! Under load the few sets that are in use stay in the processor's cache.

use core::cell::RefCell;

use crate::http::h1::{Limits, ServerConn};
use crate::http::{RequestHead, Response};
use crate::net::buffers::{Buffers, LARGE_BYTES, SMALL_BYTES};
use crate::server::prepared::Prepared;

/// Sets kept for the next connection: about 20 KiB each with their buffers.
const KEPT_MAX: usize = 64;

/// A busy connection's working set.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) codec: ServerConn,
    pub(super) head: RequestHead,
    pub(super) response: Response,
    pub(super) prepared: Prepared,
    pub(super) input: Input,
    /// Bytes for the client that are not sent yet.
    pub(super) output: Vec<u8>,
}

/// The shard's sets.
#[derive(Debug, Default)]
pub(super) struct Lender {
    // Boxed so that lending moves a pointer, and a waiting connection's task holds no set.
    #[expect(clippy::vec_box, reason = "sets are lent as boxes")]
    kept: RefCell<Vec<Box<Lent>>>,
}

impl Lender {
    /// A set in which nothing has happened yet.
    pub(super) fn lend(&self, limits: Limits) -> Box<Lent> {
        let kept = self.kept.borrow_mut().pop();
        kept.unwrap_or_else(|| {
            Box::new(Lent {
                codec: ServerConn::new(limits),
                head: RequestHead::default(),
                response: Response::default(),
                prepared: Prepared::default(),
                input: Input::default(),
                output: Vec::new(),
            })
        })
    }

    /// Takes a set back. `is_spent`: the connection ends, and the codec knows it.
    pub(super) fn take_back(&self, mut lent: Box<Lent>, is_spent: bool, buffers: &Buffers) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_MAX {
            lent.input.clear();
            lent.output.clear();
            lent.give_back_buffers(buffers);
            return;
        }
        if is_spent {
            lent.codec = ServerConn::new(lent.codec.limits());
        }
        // The head stays: the next request is often the same.
        lent.response.clear();
        lent.input.clear();
        lent.input.end_request();
        lent.output.clear();
        kept.push(lent);
    }
}

impl Lent {
    /// Gives back the buffers that hold nothing, before a wait that may be long.
    pub(super) fn give_back_buffers(&mut self, buffers: &Buffers) {
        self.input.give_back(buffers);
        if self.output.is_empty() {
            buffers.give_back(core::mem::take(&mut self.output));
        }
    }
}

/// Bytes from the client: those before `start` are used up.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    /// The last read filled the buffer: a large body is coming.
    was_full: bool,
    /// Bytes used up since the last request was over.
    used: u64,
    /// Whether anything was read since then.
    has_read: bool,
}

impl Input {
    /// The bytes not used yet.
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.start >= self.bytes.len()
    }

    /// Uses bytes up.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.bytes.len().saturating_sub(self.start));
        self.used += count as u64;
        self.start += count;
        if self.is_empty() {
            self.clear();
        }
    }

    /// A request is over: gives the bytes used for it, and counts the next one's.
    pub(super) fn end_request(&mut self) -> u64 {
        self.has_read = false;
        core::mem::take(&mut self.used)
    }

    /// Whether the request that begins was read together with the one before.
    pub(super) const fn is_pipelined(&self) -> bool {
        !self.has_read
    }

    /// Drops everything and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Whether so much waits unread that reading on would only hoard.
    pub(super) fn is_full(&self) -> bool {
        self.unread().len() >= SMALL_BYTES
    }

    /// Runs a read into the buffer, made ready for it: room for at least a small buffer's
    /// worth, more when the last read had too little.
    pub(super) fn fill<T>(&mut self, buffers: &Buffers, read: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.make_room(buffers);
        self.has_read = true;
        let result = read(&mut self.bytes);
        self.was_full = self.bytes.len() == self.bytes.capacity();
        result
    }

    fn make_room(&mut self, buffers: &Buffers) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let wants_large = self.was_full && self.bytes.capacity() < LARGE_BYTES;
        if self.bytes.capacity() == 0 || wants_large {
            let mut roomier = if wants_large {
                buffers.large()
            } else {
                buffers.small()
            };
            roomier.extend_from_slice(&self.bytes);
            buffers.give_back(core::mem::replace(&mut self.bytes, roomier));
        } else if self.bytes.len() == self.bytes.capacity() {
            // A head above 64 KiB: the codec refuses it at its limit, so this ends.
            self.bytes.reserve(LARGE_BYTES);
        }
    }

    /// Gives the buffer back if it holds nothing.
    pub(super) fn give_back(&mut self, buffers: &Buffers) {
        if self.is_empty() {
            self.start = 0;
            buffers.give_back(core::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &mut Input, buffers: &Buffers, bytes: &[u8]) {
        input.fill(buffers, |buffer| {
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0);
            buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
    }

    #[test]
    fn unread_bytes_survive_growth_and_moves() {
        let buffers = Buffers::new();
        let mut input = Input::default();
        read(&mut input, &buffers, &[1; SMALL_BYTES]);
        input.consume(SMALL_BYTES - 2);
        read(&mut input, &buffers, &[2; LARGE_BYTES]);
        assert_eq!(input.unread().len(), LARGE_BYTES);
        assert_eq!(&input.unread()[..3], [1, 1, 2]);
        read(&mut input, &buffers, &[3; 10]);
        assert_eq!(input.unread().len(), LARGE_BYTES + 10);
        input.consume(usize::MAX);
        assert!(input.is_empty());
    }

    #[test]
    fn a_spent_codec_is_not_lent_again() {
        let (lender, buffers) = (Lender::default(), Buffers::new());
        let limits = Limits::default();
        let mut spent = lender.lend(limits);
        assert!(spent.codec.poll(b"bad\r\n\r\n", &mut spent.head).is_err());
        lender.take_back(spent, true, &buffers);
        let mut next = lender.lend(limits);
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(next.codec.poll(request, &mut next.head).is_ok());
    }
}
