//! Signals as messages.

use std::io;

use crate::net::fd::AsyncFd;
use crate::net::sys::TerminationSignals;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT, SIGQUIT: end.
    End,
    /// SIGUSR1: open the log files anew.
    Reopen,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR2: start the program anew and hand over to it.
    Upgrade,
}

/// One signal after the other.
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

    /// The next signal. May be dropped: none is lost.
    pub async fn next(&mut self) -> io::Result<Signal> {
        let mut record = Vec::with_capacity(TerminationSignals::RECORD_BYTES);
        self.fd
            .when_readable(|fd| crate::net::sys::read(fd, &mut record))
            .await?;
        match TerminationSignals::number(&record) {
            Some(libc::SIGUSR1) => Ok(Signal::Reopen),
            Some(libc::SIGHUP) => Ok(Signal::Reload),
            Some(libc::SIGUSR2) => Ok(Signal::Upgrade),
            Some(_) => Ok(Signal::End),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
