//! What a shard knows about one server: whether it may be used, and how much.

use std::time::{Duration, Instant};

use super::{Ejection, Spec};

/// Weights are counted in parts, so that a server that starts slowly can have less than 1.
pub(super) const WEIGHT_PARTS: i64 = 100;

/// How a request to a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer that speaks for the server.
    Answered,
    /// With an answer that speaks against it (5xx).
    ServerError,
    /// Without a whole answer: refused, reset, timed out, garbage.
    Failed,
    /// It was given up for reasons of our own or the client's.
    Unused,
}

/// One server of a group.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) spec: Spec,
    /// Requests under way.
    pub(super) active: u32,
    /// Standing in the turns (nginx: current_weight).
    pub(super) standing: i64,
    /// By the active checks.
    pub(super) is_healthy: bool,
    pub(super) errors_in_row: u32,
    /// Failures since `failing_since`.
    fails: u32,
    failing_since: Option<Instant>,
    /// No requests before this moment, but for one that tries.
    out_until: Option<Instant>,
    /// A trial request is under way since then.
    tried_at: Option<Instant>,
    ejected_until: Option<Instant>,
    ejections: u32,
    /// Since when it counts as come back, for the slow start.
    back_since: Option<Instant>,
}

impl Peer {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec,
            active: 0,
            standing: 0,
            is_healthy: true,
            errors_in_row: 0,
            fails: 0,
            failing_since: None,
            out_until: None,
            tried_at: None,
            ejected_until: None,
            ejections: 0,
            back_since: None,
        }
    }

    /// Whether it may get a request. After `fail_timeout` one request tries it, and the others
    /// wait for how that ends.
    pub(super) fn is_available(&self, now: Instant) -> bool {
        self.has_room() && self.is_well(now)
    }

    fn has_room(&self) -> bool {
        self.spec.max_conns == 0 || self.active < self.spec.max_conns
    }

    /// Whether nothing but its `max_conns` keeps requests from it.
    pub(super) fn lacks_only_room(&self, now: Instant) -> bool {
        !self.has_room() && self.is_well(now)
    }

    fn is_well(&self, now: Instant) -> bool {
        let is_out = match (self.out_until, self.tried_at) {
            (None, _) => false,
            (Some(until), None) => now < until,
            (Some(_), Some(tried)) => now < tried + self.spec.fail_timeout,
        };
        let is_ejected = self.ejected_until.is_some_and(|until| now < until);
        self.is_healthy && !self.spec.down && !is_out && !is_ejected
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.active += 1;
        if self.out_until.is_some() {
            self.tried_at = Some(now);
        }
        if let Some(until) = self.ejected_until
            && now >= until
        {
            self.ejected_until = None;
            self.back_since = Some(now);
        }
    }

    pub(super) fn succeed(&mut self, now: Instant) {
        self.errors_in_row = 0;
        self.ejections = self.ejections.saturating_sub(1);
        if self.out_until.is_some() {
            self.come_back(now);
        }
    }

    /// It may be used again.
    pub(super) fn come_back(&mut self, now: Instant) {
        self.fails = 0;
        self.failing_since = None;
        self.out_until = None;
        self.tried_at = None;
        self.errors_in_row = 0;
        self.back_since = Some(now);
    }

    /// Counts a failure. Says whether this takes the server out.
    pub(super) fn fail(&mut self, now: Instant) -> bool {
        let window = self.spec.fail_timeout;
        let is_in_window = self.failing_since.is_some_and(|since| now - since < window);
        if is_in_window || self.out_until.is_some() {
            self.fails = self.fails.saturating_add(1);
        } else {
            self.fails = 1;
            self.failing_since = Some(now);
        }
        if self.spec.max_fails == 0 || self.fails < self.spec.max_fails {
            return false;
        }
        let was_out = self.out_until.is_some();
        self.out_until = Some(now + window);
        self.tried_at = None;
        !was_out
    }

    /// Takes it out for a time that grows with each ejection. Says whether it was in.
    pub(super) fn eject(&mut self, ejection: &Ejection, now: Instant) -> bool {
        if self.ejected_until.is_some_and(|until| now < until) {
            return false;
        }
        self.ejections = self.ejections.saturating_add(1);
        let time_out = ejection.base.saturating_mul(self.ejections);
        self.ejected_until = Some(now + time_out.min(ejection.max));
        self.errors_in_row = 0;
        true
    }

    /// Its share now, in parts of a weight of 1; at least one part.
    pub(super) fn share(&self, now: Instant) -> i64 {
        let full = i64::from(self.spec.weight.max(1)) * WEIGHT_PARTS;
        let (Some(since), slow) = (self.back_since, self.spec.slow_start) else {
            return full;
        };
        let elapsed = now.saturating_duration_since(since);
        if slow == Duration::ZERO || elapsed >= slow {
            return full;
        }
        let part = elapsed.as_millis() as i64 * full / (slow.as_millis() as i64).max(1);
        part.clamp(1, full)
    }
}
