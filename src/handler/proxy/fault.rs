//! What a client is told when no server gave an answer. The reason is the log's.

use crate::handler::problem::Problem;
use crate::http::BodyError;
use crate::upstream::group::{Cause, Failure};

/// Why there is no answer to a request.
#[derive(Debug)]
pub struct Fault {
    /// The last try.
    pub failure: Failure,
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self { failure }
    }
}

impl Fault {
    /// Whether a time limit ran out (504), as opposed to an error (502, 503).
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        self.failure.cause.is_timeout()
    }

    /// The status that goes with it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.problem().status()
    }

    /// What the client is told.
    #[must_use]
    pub const fn problem(&self) -> Problem {
        match &self.failure.cause {
            Cause::NoServer | Cause::Full => Problem::NoUpstream,
            Cause::Client(BodyError::TooLarge) => Problem::TooLarge,
            Cause::Client(BodyError::TimedOut) => Problem::BodyTimedOut,
            Cause::Client(_) => Problem::BadBody,
            cause if cause.is_timeout() => Problem::UpstreamTimedOut,
            Cause::Invalid(_) => Problem::UpstreamInvalid,
            Cause::Connect(_) => Problem::UpstreamUnreachable,
            _ => Problem::UpstreamFailed,
        }
    }
}
