//! The shard's view of time: one clock read for each wake-up, the date kept as text.

use core::cell::{Cell, RefCell};
use std::time::Duration;

use crate::base::clock::{self, Now};
use crate::http::date::write_date;

/// How far the two clocks may run before they are read together again. The Unix clock may be
/// set meanwhile; dates are then off for that long.
const RESET_AFTER: Duration = Duration::from_secs(1);

/// A clock of one shard.
#[derive(Debug)]
pub struct Time {
    base: Cell<Now>,
    date: RefCell<DateField>,
}

#[derive(Debug)]
struct DateField {
    second: u64,
    line: Vec<u8>,
}

impl Time {
    /// A clock that has just been read.
    #[must_use]
    pub fn new() -> Self {
        Self {
            base: Cell::new(Now::read()),
            date: RefCell::new(DateField {
                second: u64::MAX,
                line: Vec::with_capacity(40),
            }),
        }
    }

    /// The present moment. Reads the monotonic clock, and the Unix one once a second.
    #[must_use]
    pub fn now(&self) -> Now {
        let base = self.base.get();
        let mono = clock::mono();
        let since = mono.saturating_duration_since(base.mono);
        if since < RESET_AFTER {
            return Now {
                mono,
                unix: base.unix + since,
            };
        }
        let now = Now::read();
        self.base.set(now);
        now
    }

    /// Appends the `Date` field line of that moment (RFC 9110 §6.6.1).
    pub fn with_date<T>(&self, now: Now, use_line: impl FnOnce(&[u8]) -> T) -> T {
        let second = now.unix.as_secs();
        let mut date = self.date.borrow_mut();
        if date.second != second {
            date.second = second;
            date.line.clear();
            date.line.extend_from_slice(b"Date: ");
            write_date(second, &mut date.line);
            date.line.extend_from_slice(b"\r\n");
        }
        use_line(&date.line)
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_follows_the_second() {
        let time = Time::new();
        let at = |seconds| Now {
            mono: clock::mono(),
            unix: Duration::from_secs(seconds),
        };
        let line = |seconds| time.with_date(at(seconds), <[u8]>::to_vec);
        assert_eq!(
            line(784_111_777),
            b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        );
        assert_eq!(
            line(784_111_778),
            b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
        );
    }

    #[test]
    fn the_clock_does_not_run_backwards() {
        let time = Time::new();
        let (first, second) = (time.now(), time.now());
        assert!(second.mono >= first.mono && second.unix >= first.unix);
    }
}
