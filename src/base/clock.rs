//! Time, read in one place. Pure layers are handed a [`Now`]; they never ask for it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, for durations and deadlines.
    pub mono: Instant,
    /// Since the Unix epoch, for dates people and caches read.
    pub unix: Duration,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        Self {
            mono: Instant::now(),
            unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO),
        }
    }
}

/// The monotonic clock in microseconds, as other programs of this machine read it, too.
#[must_use]
pub fn monotonic_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec as u64, now.tv_nsec as u64);
    seconds * 1_000_000 + nanos / 1000
}

/// Reads the monotonic clock alone, where no date is wanted.
#[must_use]
pub fn mono() -> Instant {
    Instant::now()
}
