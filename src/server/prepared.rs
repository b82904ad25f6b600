//! A response's head that was just written, kept for the next one like it: pages at hand are
//! answered again and again with all but the same bytes.

use std::time::Duration;

use crate::base::clock::Now;
use crate::filter::{RequestId, ResponseFilter};
use crate::http::{RequestHead, Response};

/// Longer heads are not kept: 64 sets keep one each.
const HEAD_BYTES_MAX: usize = 1024;

/// The last head of its kind, and what it was made from.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Those of its route, which say what is added.
    rules: u16,
    status: u16,
    /// Content-Length.
    length: u64,
    /// Of its Date.
    second: u64,
    /// The handler's fields as lines.
    fields: Vec<u8>,
    /// The whole head; empty if there is none. The request's own fields come last.
    head: Vec<u8>,
}

impl Prepared {
    /// Whether the head is the one of such a response: of a route with those rules, with a
    /// content of that length.
    pub(super) fn is_for(
        &self,
        rules: u16,
        (response, length): (&Response, u64),
        now: Now,
    ) -> bool {
        !self.head.is_empty()
            && (self.rules, self.status, self.length) == (rules, response.status, length)
            && self.second == now.unix.as_secs()
            && self.fields == response.headers.wire()
    }

    /// Writes it, with the request's own values in it. `false`, and nothing is written, if they
    /// do not fit.
    pub(super) fn write(
        &self,
        (filter, request): (&ResponseFilter, &RequestHead),
        id: &RequestId,
        elapsed: Duration,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        out.extend_from_slice(&self.head);
        let end = out.len().saturating_sub(2);
        let lines = out.get_mut(..end).unwrap_or_default();
        let is_done = filter.rewrite(request, id, elapsed, lines);
        if !is_done {
            out.truncate(start);
        }
        is_done
    }

    /// Keeps a head that was written with the request's own fields last.
    pub(super) fn keep(
        &mut self,
        rules: u16,
        (response, length): (&Response, u64),
        now: Now,
        head: &[u8],
    ) {
        self.head.clear();
        if head.len() > HEAD_BYTES_MAX {
            return;
        }
        self.head.extend_from_slice(head);
        self.fields.clear();
        self.fields.extend_from_slice(response.headers.wire());
        (self.rules, self.status, self.length) = (rules, response.status, length);
        self.second = now.unix.as_secs();
    }
}
