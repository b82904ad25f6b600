//! Waiting times between attempts to reach a server: doubling, capped, jittered, for ever.

use std::time::Duration;

use crate::base::hash;

/// The first wait; a child that crashed once is back before a person notices.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait: a server that comes back is found within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// A server that was well this long starts with the first wait again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The waits of one server.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// `seed` sets servers apart, so that they are not all tried in the same instant.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            random: seed,
        }
    }

    /// The wait before the next attempt: between half and the whole of the doubled step.
    pub(crate) fn next(&mut self) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let step = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        let half = step / 2;
        half + half.mul_f64(self.fraction())
    }

    /// The server answered; the next failure starts from the first wait again.
    fn reset(&mut self) {
        self.failures = 0;
    }

    /// The server was well for that long; a short while is no reason to start over.
    pub(crate) fn reset_after(&mut self, lasted: Duration) {
        if lasted >= HEALTHY_AFTER {
            self.reset();
        }
    }

    /// A number in `0.0..1.0`.
    fn fraction(&mut self) -> f64 {
        (hash::next(&mut self.random) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_never_end() {
        let mut backoff = Backoff::new(7);
        let mut step = FIRST;
        for _ in 0..100 {
            let wait = backoff.next();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} for {step:?}");
            step = (step * 2).min(LONGEST);
        }
        backoff.reset_after(Duration::from_secs(1));
        assert!(backoff.next() > FIRST);
        backoff.reset_after(HEALTHY_AFTER);
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn two_servers_do_not_wait_alike() {
        let (mut one, mut other) = (Backoff::new(1), Backoff::new(2));
        let same = (0..20).filter(|_| one.next() == other.next()).count();
        assert!(same < 3, "{same} of 20 waits were the same");
    }
}
