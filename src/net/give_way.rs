//! Long work on the processor lets everything else of its thread go on.
//!
//! A task that wakes itself would not do: while the run queue is not empty the runtime submits to
//! the ring and asks for nothing, and under DEFER_TASKRUN the kernel then hands no completion
//! over. A timer that is due already does better, because only the loop's wait fires it; but that
//! wait asks for nothing either when another thread has woken a task meanwhile, which on a busy
//! shard may be true of every turn. Only a completion that the kernel has to hand over proves that
//! it was asked: so a poll of a descriptor that becomes ready while it lies in the ring.

use core::pin::{Pin, pin};
use std::future::ready;
use std::time::Duration;

use crate::base::clock;
use crate::net::fd::AsyncFd;
use crate::net::runtime::sleep_until;
use crate::net::sys;
use crate::net::timer::{Either, race};

/// The grain of the runtime's timers.
const TICK: Duration = Duration::from_millis(1);

/// Lets sockets, timers and messages from other threads have their turn. For long work, between
/// slices of it, as often as is convenient: while less than a millisecond has passed since the
/// loop last waited this returns at once, else it costs a few microseconds.
pub async fn give_way() {
    let now = monoio::time::Instant::from_std(clock::mono());
    // Timers are rounded up to the next tick; this one is due in the running tick, if the loop
    // has not waited in it yet.
    let due = now
        .checked_sub(TICK - Duration::from_nanos(1))
        .unwrap_or(now);
    let mut turn = pin!(sleep_until(due));
    if let Either::First(()) = race(turn.as_mut(), ready(())).await {
        return;
    }
    // Without a descriptor to spare the loop's turn has to do.
    match sys::eventfd().and_then(AsyncFd::nonblocking) {
        Ok(bell) => answered(&bell, turn).await,
        Err(_) => turn.await,
    }
}

/// Waits for `turn`, by when the kernel has the poll of `bell`; then for the poll.
async fn answered(bell: &AsyncFd, turn: Pin<&mut impl Future<Output = ()>>) {
    let mut rung = pin!(bell.readable());
    if let Either::Second(()) = race(rung.as_mut(), turn).await
        && sys::write(bell.as_fd(), &1_u64.to_ne_bytes()).is_ok()
    {
        // An error of the poll is as good an answer.
        let _ = rung.await;
    }
}
