//! Signals that end the program, as messages.

use std::io;

use crate::net::fd::AsyncFd;
use crate::net::sys::TerminationSignals;

/// SIGTERM and SIGINT, one after the other.
#[derive(Debug)]
pub struct Signals {
    fd: AsyncFd,
}

impl Signals {
    /// Registers with this thread's runtime.
    pub fn listen(blocked: &TerminationSignals) -> io::Result<Self> {
        Ok(Self {
            fd: AsyncFd::nonblocking(blocked.descriptor()?)?,
        })
    }

    /// The next signal's number. May be dropped: none is lost.
    pub async fn next(&mut self) -> io::Result<i32> {
        let mut record = Vec::with_capacity(TerminationSignals::RECORD_BYTES);
        self.fd
            .when_readable(|fd| crate::net::sys::read(fd, &mut record))
            .await?;
        TerminationSignals::number(&record).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}
