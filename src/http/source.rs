//! Content that is pulled: whoever sends it asks for each piece, and the piece lies where it was
//! received. No task, no queue and no copy stand between.

use core::fmt::Debug;
use core::future::poll_fn;
use core::task::{Context, Poll};

use crate::http::{BodyError, HeaderList};

/// Where content comes from, piece by piece. Dropping it before the end cancels whoever makes it.
pub trait Source: Debug {
    /// Gives the last piece up and waits for the next. `true`: [`piece`](Self::piece) has it;
    /// `false`: that was the end.
    ///
    /// # Errors
    /// The content ends short of its end; nothing follows.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>>;

    /// The piece, until the next is asked for; not empty while there is one.
    fn piece(&self) -> &[u8];

    /// Reads ahead while the last piece cannot be sent on, as far as it may, so that whoever
    /// makes the content can be done with it. The piece stays.
    fn poll_ahead(&mut self, cx: &mut Context<'_>);

    /// Length in bytes of the whole, where it was told before.
    fn length(&self) -> Option<u64>;

    /// Trailer fields, after the end.
    fn take_trailers(&mut self) -> Option<HeaderList> {
        None
    }
}

impl dyn Source {
    /// [`poll_piece`](Source::poll_piece) to wait for.
    ///
    /// # Errors
    /// The same.
    pub fn next_piece(&mut self) -> impl Future<Output = Result<bool, BodyError>> {
        poll_fn(|cx| self.poll_piece(cx))
    }
}
