//! Time limits on waiting.

use core::future::Future;
use core::task::Poll;
use std::time::Duration;

pub use crate::net::runtime::sleep;

/// The limit ran out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Waits for a future at most that long, then drops it. Every future of `net` may be dropped
/// (see `fd.rs`), so nothing is lost; a half-done write leaves only closing.
pub async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = core::pin::pin!(future);
    let mut timer = core::pin::pin!(sleep(limit));
    core::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        timer.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// What [`race`] ended with.
#[derive(Debug)]
pub enum Either<A, B> {
    /// The first future was done.
    First(A),
    /// The second future was done.
    Second(B),
}

/// Waits for the first of two futures and drops the other. The first wins a tie.
pub async fn race<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let mut first = core::pin::pin!(first);
    let mut second = core::pin::pin!(second);
    core::future::poll_fn(|cx| {
        if let Poll::Ready(output) = first.as_mut().poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        second.as_mut().poll(cx).map(Either::Second)
    })
    .await
}
