//! Time limits on waiting.

use core::future::Future;
use std::time::Duration;

pub use crate::net::runtime::sleep;
use crate::net::sys::{Race, Within};

/// The limit ran out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Waits for a future at most that long, then drops it. Every future of `net` may be dropped
/// (see `fd.rs`), so nothing is lost; a half-done write leaves only closing.
pub fn within<F: Future>(
    limit: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    Within {
        race: race(future, sleep(limit)),
    }
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
pub const fn race<A: Future, B: Future>(first: A, second: B) -> Race<A, B> {
    Race { first, second }
}
