//! Waiting until a request is due. The runtime's own timers have a grain of a millisecond and add
//! another; a timerfd wakes within some ten microseconds.

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monoio::net::TcpStream;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer of one connection.
pub(crate) struct Pacer {
    timer: OwnedFd,
    /// The same timer, as something that the runtime can poll.
    ready: TcpStream,
}

impl Pacer {
    /// A timer that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let ready = TcpStream::from_std(StdStream::from(timer.try_clone()?))?;
        Ok(Self { timer, ready })
    }

    /// Returns at that time, or at once if it has passed.
    pub(crate) async fn until(&self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once(left))?;
            self.ready.readable(false).await?;
            let mut count = [0; 8];
            // Told again if the timer had not run out after all; the loop looks at the clock.
            let _ = rustix::io::read(&self.timer, &mut count);
        }
    }
}

fn once(after: Duration) -> Itimerspec {
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let value = Timespec {
        tv_sec: seconds,
        tv_nsec: after.subsec_nanos().into(),
    };
    Itimerspec {
        it_interval: zero,
        it_value: value,
    }
}
