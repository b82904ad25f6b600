//! What a connection becomes after a switch of protocols (RFC 9110 §7.8): bytes both ways, which
//! nobody here understands.

use core::fmt::Debug;
use core::task::{Context, Poll};
use std::io;

/// The other end of a connection that has switched. Dropping it closes it.
pub trait Tunnel: Debug {
    /// Appends what comes from there to the spare capacity of `buffer`. `Ok(0)` is its end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>>;

    /// Sends what fits. Says how much that was.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Says that nothing more will be written.
    fn finish(&mut self);
}
