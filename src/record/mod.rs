//! What is kept of a finished exchange: its metrics and its access log line. One call for each
//! exchange, after the last byte or the abort. Never fails an exchange, never waits.
#![forbid(unsafe_code)]

mod access_log;
mod escape;
mod format;
mod json;
mod process;

pub use access_log::{AccessLog, open_access_log};
pub use process::read_process;

pub use crate::tls::seen::SeenTls;

use core::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use crate::base::clock::Now;
use crate::base::ids::Ids;
use crate::filter::limit::{Keeper, Passed};
use crate::filter::{Client, RequestId};
use crate::http::{Hints, Method, RequestHead, Response};
use crate::metrics::{Counter, Recorder};
use crate::record::format::Line;
use crate::route::Label;

/// One shard's record.
#[derive(Debug)]
pub struct Record {
    recorder: Rc<Recorder>,
    access: Option<RefCell<AccessLog>>,
    names_sent_fields: bool,
    ids: RefCell<Ids>,
}

/// A request under way. [`Record::finish`] it, also after an abort or a panic.
#[derive(Debug)]
#[must_use = "finish it, or its request stays under way in the metrics"]
pub struct Exchange {
    /// Label of the route that took it.
    pub label: Label,
    /// Its id in answers and logs.
    pub id: RequestId,
    /// Who asked.
    pub client: Client,
    /// Whether it gets a line in the access log.
    pub is_logged: bool,
    /// Interim answers on their way to the client.
    pub hints: Hints,
    /// Its route's rules for response fields; 0 for none.
    pub rules: u16,
    /// The TLS it came through.
    pub tls: Option<Rc<SeenTls>>,
    /// What it holds until it is over.
    pub kept: Keeper,
    /// Bytes of its response's head.
    pub head_bytes: Cell<u64>,
    /// What its route's limits have said so far.
    pub passed: Passed,
    started: Now,
    method: Method,
}

impl Exchange {
    /// When its head was complete.
    #[must_use]
    pub const fn started(&self) -> Now {
        self.started
    }
}

/// What a request's connection adds to its line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// The connection's number in the process.
    pub connection: u64,
    /// Requests of the connection so far, this one too.
    pub requests: u64,
    /// Bytes of the request that were read: its head and its content.
    pub request_bytes: u64,
    /// It came before the one before it was answered.
    pub is_pipelined: bool,
    /// TLS, where it is spoken.
    pub tls: Option<&'a SeenTls>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Status of the response, or 499 if the client left before there was one.
    pub status: u16,
    /// Bytes of the response's body that were written.
    pub body_bytes: u64,
    /// Bytes around it: chunks' heads, the last chunk with its trailers.
    pub framing_bytes: u64,
    /// All of the response was given to the connection.
    pub is_complete: bool,
    /// When.
    pub at: Instant,
    /// What was answered, or would have been.
    pub response: &'a Response,
    /// What the connection adds to the line.
    pub seen: Seen<'a>,
}

impl Record {
    /// A record that counts in `recorder` and writes lines to `access`, if any. `seed` is for
    /// request ids; it must differ between shards and between starts.
    #[must_use]
    pub fn new(recorder: Rc<Recorder>, access: Option<AccessLog>, seed: u64) -> Self {
        Self {
            recorder,
            names_sent_fields: access.as_ref().is_some_and(AccessLog::names_sent_fields),
            access: access.map(RefCell::new),
            ids: RefCell::new(Ids::new(seed)),
        }
    }

    /// Whether it looks at the response's fields, which then have to be all in the response.
    #[must_use]
    pub const fn names_sent_fields(&self) -> bool {
        self.names_sent_fields
    }

    /// A request's head is complete.
    pub fn open(&self, head: &RequestHead, label: Label, client: Client, now: Now) -> Exchange {
        self.recorder.request_started(label.0, head.method);
        let accepts = client.names_requests;
        Exchange {
            label,
            id: RequestId::new(head, accepts, &mut self.ids.borrow_mut(), now.unix),
            client,
            is_logged: true,
            hints: Hints::default(),
            rules: 0,
            tls: None,
            kept: Keeper::default(),
            head_bytes: Cell::new(0),
            passed: Passed::default(),
            started: now,
            method: head.method,
        }
    }

    /// The exchange is over. `head` is the one it was opened with; `route` the text of its
    /// label.
    pub fn finish(&self, exchange: &Exchange, head: &RequestHead, route: &str, ended: Ended<'_>) {
        let elapsed = ended.at.saturating_duration_since(exchange.started.mono);
        self.recorder
            .request_finished(exchange.label.0, exchange.method, ended.status, elapsed);
        if let Some(access) = &self.access
            && exchange.is_logged
        {
            let line = Line {
                head,
                client: exchange.client,
                response: ended.response,
                seen: ended.seen,
                route,
                status: ended.status,
                body_bytes: ended.body_bytes,
                sent_bytes: exchange.head_bytes.get() + ended.body_bytes + ended.framing_bytes,
                is_complete: ended.is_complete,
                passed: &exchange.passed,
                elapsed,
                unix: exchange.started.unix + elapsed,
                id: &exchange.id,
            };
            let dropped = access.borrow_mut().write(&line, ended.at);
            self.count_dropped(dropped);
        }
    }

    /// Hands lines to the writer that have waited for long. Call it a few times a second.
    pub fn sweep(&self, now: Instant) {
        if let Some(access) = &self.access {
            let dropped = access.borrow_mut().sweep(now);
            self.count_dropped(dropped);
        }
    }

    /// Hands the buffered lines to the writer. Call it before the end.
    pub fn flush(&self) {
        if let Some(access) = &self.access {
            let dropped = access.borrow_mut().flush();
            self.count_dropped(dropped);
        }
    }

    /// The figures it counts in.
    #[must_use]
    pub const fn recorder(&self) -> &Rc<Recorder> {
        &self.recorder
    }

    fn count_dropped(&self, lines: u64) {
        if lines > 0 {
            self.recorder.add(Counter::AccessLogDropped, lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::writer::Lines;
    use crate::config::Config;

    #[test]
    fn one_call_counts_and_logs() {
        let recorder = Rc::new(Recorder::new(0, &["none".into(), "/x".into()], true));
        let (lines, written) = Lines::captured(4);
        let config = Config::default();
        let access = AccessLog::new(lines, &config.log);
        let record = Record::new(Rc::clone(&recorder), Some(access), 1);
        let mut head = RequestHead::default();
        head.set_line(b"GET", b"/x?a=1", 0..2, 3..6);
        let now = Now::read();
        let client = Client::direct(([127, 0, 0, 1], 9).into());
        let exchange = record.open(&head, Label(1), client, now);
        let ended = Ended {
            status: 200,
            body_bytes: 5,
            framing_bytes: 0,
            is_complete: true,
            at: now.mono + Duration::from_millis(3),
            response: &Response::new(200),
            seen: Seen::default(),
        };
        record.finish(&exchange, &head, "/x", ended);
        assert!(written().is_empty(), "lines are buffered");
        record.flush();
        let line = String::from_utf8(written()).unwrap();
        assert!(line.contains("\"GET /x?a=1 HTTP/1.1\" 200 5 "), "{line}");
        let rows = recorder.snapshot().http;
        assert_eq!((rows[0].statuses[1], rows[0].under_way), (1, 0));
    }
}
