//! Builds and runs the runtime of one thread, on that thread: the ladder of io_uring's flags,
//! then epoll. Says which driver runs and why better ones do not.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Poll, Waker};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use io_uring::IoUring;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::base::clock;
pub use crate::base::driver::Driver;
use crate::net::sys::Fence;

/// Submission entries of a ring: what one turn of the loop may submit before it has to enter
/// the kernel once more.
const SUBMISSIONS: u32 = 1024;
/// Completion entries. Every open connection may complete in the same turn; beyond this the
/// kernel queues aside, which is slower but loses nothing.
const COMPLETIONS: u32 = 8192;

/// Why a driver cannot run here. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{driver} is not available: {}", advice(.error))]
pub struct Refusal {
    /// Which driver.
    pub driver: Driver,
    /// The kernel's answer.
    pub error: io::Error,
}

/// A runtime. It cannot leave the thread that built it: SINGLE_ISSUER rings answer no other.
pub struct Runtime {
    inner: Inner,
    driver: Driver,
    refused: Vec<Refusal>,
}

enum Inner {
    Uring(monoio::Runtime<TimeDriver<IoUringDriver>>),
    Epoll(monoio::Runtime<TimeDriver<LegacyDriver>>),
}

impl Runtime {
    /// Builds the best runtime this kernel allows, or the forced one.
    ///
    /// # Errors
    /// The last refusal, if nothing on the ladder (or the forced driver) can run.
    pub fn build(forced: Option<Driver>) -> Result<Self, Refusal> {
        let mut refused = Vec::new();
        for driver in Driver::ALL {
            if forced.is_some_and(|forced| forced != driver) {
                continue;
            }
            match Inner::build(driver) {
                Ok(inner) => {
                    return Ok(Self {
                        inner,
                        driver,
                        refused,
                    });
                }
                Err(error) => refused.push(Refusal { driver, error }),
            }
        }
        Err(refused.pop().unwrap_or_else(|| Refusal {
            driver: Driver::Epoll,
            error: io::ErrorKind::Unsupported.into(),
        }))
    }

    /// Which driver runs.
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The better drivers that cannot run here.
    #[cfg(test)]
    pub(super) fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Why better drivers do not, for people; empty if the best one runs. What holds for every
    /// ring is told once.
    #[must_use]
    pub fn why_not_better(&self) -> String {
        let code = |refusal: &Refusal| refusal.error.raw_os_error();
        match self.refused.split_first() {
            Some((first, others))
                if !others.is_empty() && others.iter().all(|other| code(other) == code(first)) =>
            {
                let what = match self.driver {
                    Driver::Epoll => "io_uring is",
                    _ => "better flags of io_uring are",
                };
                format!("{what} not available: {}", advice(&first.error))
            }
            _ => {
                let reasons: Vec<String> = self.refused.iter().map(ToString::to_string).collect();
                reasons.join("; ")
            }
        }
    }

    /// Runs a future and every task spawned meanwhile, until the future ends.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match &mut self.inner {
            Inner::Uring(runtime) => runtime.block_on(future),
            Inner::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("driver", &self.driver)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn build(driver: Driver) -> io::Result<Self> {
        let mut ring = IoUring::builder();
        ring.setup_cqsize(COMPLETIONS);
        match driver {
            Driver::UringDefer => ring.setup_single_issuer().setup_defer_taskrun(),
            Driver::UringCoop => ring.setup_coop_taskrun(),
            Driver::Uring => &mut ring,
            Driver::Epoll => {
                return RuntimeBuilder::<LegacyDriver>::new()
                    .enable_timer()
                    .build()
                    .map(Self::Epoll);
            }
        };
        RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(SUBMISSIONS)
            .uring_builder(ring)
            .enable_timer()
            .build()
            .map(Self::Uring)
    }
}

/// Starts a task on this thread. It runs to its end even if nobody waits for it. A panic ends
/// the task and nothing else (the runtime itself would let it end the thread).
pub fn spawn<F>(future: F)
where
    F: Future<Output = ()> + 'static,
{
    // The panic hook has reported a panic; there is nobody to hand it to.
    drop(monoio::spawn(fence(future)));
}

/// The future panicked; it must not be polled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task panicked")]
pub struct Panicked;

/// Runs a future behind a fence that turns a panic into a value.
pub const fn fence<F: Future>(future: F) -> Fence<F> {
    Fence { future }
}

/// Runs a function behind the same fence.
pub fn fenced<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    // What the function shared sits behind RefCells, whose guards unwinding releases.
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Panicked)
}

/// Waits. Timers have a grain of 1 ms and never fire early.
pub async fn sleep(duration: Duration) {
    sleep_until(monoio::time::Instant::from_std(clock::mono()) + duration).await;
}

/// Waits until then. The runtime's own timer wakes whoever polled it first, for ever; a wait may
/// move to another task (a request that is not answered at once gets one), so a timer that is
/// polled by another begins anew.
pub(super) async fn sleep_until(due: monoio::time::Instant) {
    let mut is_due = false;
    while !is_due {
        let mut first: Option<Waker> = None;
        let mut timer = pin!(monoio::time::sleep_until(due));
        is_due = poll_fn(|cx| match &first {
            Some(waker) if !waker.will_wake(cx.waker()) => Poll::Ready(false),
            Some(_) => timer.as_mut().poll(cx).map(|()| true),
            None => {
                first = Some(cx.waker().clone());
                timer.as_mut().poll(cx).map(|()| true)
            }
        })
        .await;
    }
}

/// Whether this thread's runtime is the epoll one, which wants descriptors non-blocking.
pub(super) fn is_epoll() -> bool {
    monoio::utils::is_legacy()
}

/// What an operator can do about the kernel's refusal to set up a ring.
fn advice(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM) => {
            "a seccomp profile (Docker, containerd) or sysctl kernel.io_uring_disabled forbids \
             io_uring; run with tuning/seccomp-io-uring.json, set the sysctl to 0, or use \
             --driver epoll"
        }
        Some(libc::ENOMEM) => {
            "too little locked memory; raise `ulimit -l` (LimitMEMLOCK) to 8 MiB for each shard, \
             or use --driver epoll"
        }
        Some(libc::EINVAL) => "this kernel is too old for these flags",
        Some(libc::ENOSYS) => "this kernel has no io_uring; use --driver epoll",
        Some(libc::EMFILE | libc::ENFILE) => "too few descriptors; raise `ulimit -n`",
        _ => return error.to_string(),
    };
    format!("{hint} ({error})")
}
