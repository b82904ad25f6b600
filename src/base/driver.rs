//! Ways to wait for the kernel, as the configuration names them and the runtime has them.

/// How a thread waits for the kernel, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1).
    UringDefer,
    /// io_uring with COOP_TASKRUN (Linux 5.19).
    UringCoop,
    /// io_uring without flags (Linux 5.10).
    Uring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// The ladder, best first.
    pub const ALL: [Self; 4] = [Self::UringDefer, Self::UringCoop, Self::Uring, Self::Epoll];

    /// The driver for people: `io_uring` or `epoll`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UringDefer | Self::UringCoop | Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// The ring's flags for people; empty if there are none.
    #[must_use]
    pub const fn flags(self) -> &'static str {
        match self {
            Self::UringDefer => "SINGLE_ISSUER|DEFER_TASKRUN",
            Self::UringCoop => "COOP_TASKRUN",
            Self::Uring | Self::Epoll => "",
        }
    }
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.flags() {
            "" => f.write_str(self.name()),
            flags => write!(f, "{} ({flags})", self.name()),
        }
    }
}
