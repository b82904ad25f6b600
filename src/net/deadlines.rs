//! Time limits of all connections of a shard: one table, swept a few times a second.
//!
//! Arming a limit is a store. An overdue connection is not cancelled but has its socket shut
//! down from here (`shutdown(2)`), which ends whatever its task waits for; the task then asks
//! which limit it was. Limits fire late by at most one sweep.

use core::cell::{Cell, RefCell};
use core::task::{Context, Waker};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::net::sys::FdNote;

/// Pause between two sweeps: how late a limit may fire.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// What a connection waits for, and may wait for only so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The end of a TLS handshake.
    Handshake,
    /// The rest of a head.
    Header,
    /// More of a body.
    Body,
    /// Room to write.
    Send,
    /// The next request.
    KeepAlive,
    /// The client's end after ours.
    Linger,
    /// For a server's answer, or the next piece of it.
    Answer,
}

/// The table. The shard keeps it outside its runtime, so that the sockets of a shard that
/// panicked can be closed by it.
#[derive(Debug, Default)]
pub struct Deadlines {
    table: RefCell<Table>,
    /// When the last sweep was; none yet at the start.
    swept: Cell<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    note: FdNote,
    armed: Option<(Instant, Limit)>,
    fired: Option<Limit>,
    is_idle: bool,
    /// Whom to wake when the drain begins.
    watcher: Option<Waker>,
}

/// A connection's place in the table. Drop it before the connection's socket.
#[derive(Debug)]
pub struct Place {
    deadlines: Rc<Deadlines>,
    index: u32,
}

impl Deadlines {
    /// Gives a connection a place.
    #[must_use]
    pub fn enter(self: &Rc<Self>, note: FdNote) -> Place {
        let mut table = self.table.borrow_mut();
        let entry = Some(Entry {
            note,
            armed: None,
            fired: None,
            is_idle: false,
            watcher: None,
        });
        let index = table.free.pop().unwrap_or_else(|| {
            table.entries.push(None);
            table.entries.len() as u32 - 1
        });
        if let Some(slot) = table.entries.get_mut(index as usize) {
            *slot = entry;
        }
        Place {
            deadlines: Rc::clone(self),
            index,
        }
    }

    /// Ends the waits that are overdue.
    pub fn sweep(&self, now: Instant) {
        self.swept.set(Some(now));
        for entry in self.table.borrow_mut().entries.iter_mut().flatten() {
            if let Some((at, limit)) = entry.armed
                && at <= now
            {
                entry.armed = None;
                entry.fired = Some(limit);
                entry.note.shutdown(match limit {
                    Limit::Send | Limit::Handshake => Shutdown::Both,
                    _ => Shutdown::Read,
                });
            }
        }
    }

    /// Ends the waits of connections between two requests. One whose next request is already
    /// here still answers it. Wakes those that asked for it.
    pub fn end_idle(&self) {
        for entry in self.table.borrow_mut().entries.iter_mut().flatten() {
            if entry.is_idle {
                entry.note.shutdown(Shutdown::Read);
            }
        }
        self.wake_watchers();
    }

    /// Wakes those that asked for it.
    pub fn wake_watchers(&self) {
        let mut watchers = Vec::new();
        for entry in self.table.borrow_mut().entries.iter_mut().flatten() {
            watchers.extend(entry.watcher.take());
        }
        // A task that wakes may look at the table.
        for watcher in watchers {
            watcher.wake();
        }
    }

    /// Ends everything: what is read is over and what is written fails.
    pub fn end_all(&self) {
        for entry in self.table.borrow_mut().entries.iter_mut().flatten() {
            entry.note.shutdown(Shutdown::Both);
        }
    }

    /// Closes every descriptor, for those whose tasks a panic leaked with their runtime.
    /// A socket of which others hold a duplicate stays as it is for them.
    pub fn close_leaked(&self) {
        // A panic inside a sweep leaves the borrow released; nothing here can be borrowed.
        let Ok(mut table) = self.table.try_borrow_mut() else {
            return;
        };
        for entry in table.entries.drain(..).flatten() {
            entry.note.close_leaked();
        }
    }

    /// How many connections have a place.
    #[must_use]
    pub fn len(&self) -> usize {
        let table = self.table.borrow();
        table.entries.len() - table.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, index: u32, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut table = self.table.borrow_mut();
        let entry = table.entries.get_mut(index as usize)?.as_mut()?;
        Some(change(entry))
    }
}

impl Place {
    /// Limits the wait that follows.
    pub fn arm(&self, limit: Limit, at: Instant) {
        self.set(Some((at, limit)), false);
    }

    /// Limits the wait that follows without a look at the clock: counts from the next sweep.
    pub fn arm_for(&self, limit: Limit, timeout: Duration) {
        let swept = self.deadlines.swept.get().unwrap_or_else(clock::mono);
        self.arm(limit, swept + SWEEP_INTERVAL + timeout);
    }

    /// Limits a wait between two requests, or for the first: a drain ends it at once.
    pub fn arm_idle(&self, limit: Limit, at: Instant) {
        self.set(Some((at, limit)), true);
    }

    /// Nothing is limited until [`arm`](Self::arm) again.
    pub fn disarm(&self) {
        self.set(None, false);
    }

    /// Has a task woken when idle connections are ended, though this one is busy.
    pub fn watch(&self, cx: &Context<'_>) {
        self.deadlines.with(self.index, |entry| {
            if !entry
                .watcher
                .as_ref()
                .is_some_and(|known| known.will_wake(cx.waker()))
            {
                entry.watcher = Some(cx.waker().clone());
            }
        });
    }

    fn set(&self, armed: Option<(Instant, Limit)>, is_idle: bool) {
        self.deadlines.with(self.index, |entry| {
            entry.armed = armed;
            entry.is_idle = is_idle;
        });
    }

    /// Which limit ran out, if one did. The socket has been shut down then.
    #[must_use]
    pub fn fired(&self) -> Option<Limit> {
        self.deadlines.with(self.index, |entry| entry.fired)?
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.deadlines.table.borrow_mut();
        if let Some(slot) = table.entries.get_mut(self.index as usize) {
            *slot = None;
            table.free.push(self.index);
        }
    }
}
