//! The system calls that no safe crate wraps. The only file of the program with `unsafe`.
//!
//! Every function here is safe to call: what a call needs is in its argument types.
#![allow(
    unsafe_code,
    reason = "the one place for system calls without a safe wrapper"
)]

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus};

use socket2::SockRef;

use crate::net::runtime::Panicked;
use crate::net::timer::{Either, Elapsed};

/// A descriptor number noted by its owner, for shutting it down from outside the task that
/// waits on it. Made only by [`note`]; whoever holds one must drop it before the descriptor
/// is closed, or the number may by then name another file (no memory is at stake).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdNote(RawFd);

/// Borrows the descriptor of a registered stream.
pub(super) fn borrow(stream: &monoio::net::UnixStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and is borrowed for as long as the result lives.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// Notes a descriptor's number.
pub(super) fn note(stream: &monoio::net::UnixStream) -> FdNote {
    FdNote(stream.as_raw_fd())
}

impl FdNote {
    /// `shutdown(2)`: a wait or read on the socket ends as if the peer had closed. Errors mean
    /// that the socket is past caring.
    pub fn shutdown(self, how: std::net::Shutdown) {
        let how = match how {
            std::net::Shutdown::Read => libc::SHUT_RD,
            std::net::Shutdown::Write => libc::SHUT_WR,
            std::net::Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: shutdown takes no pointers; a stale number gives EBADF or ENOTSOCK.
        unsafe { libc::shutdown(self.0, how) };
    }

    /// Closes the descriptor for an owner that was leaked and can never do it itself: the
    /// tasks of a runtime that a panic unwound.
    pub fn close_leaked(self) {
        // SAFETY: the owner was leaked, so nobody else will use or close this number.
        drop(unsafe { OwnedFd::from_raw_fd(self.0) });
    }
}

/// Receives into the spare capacity of `buffer` without waiting; the length grows by what came.
pub(super) fn receive(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let received =
        SockRef::from(&fd).recv_with_flags(buffer.spare_capacity_mut(), libc::MSG_DONTWAIT)?;
    // SAFETY: the kernel initialised `received` bytes of the spare capacity.
    unsafe { buffer.set_len(buffer.len() + received) };
    Ok(received)
}

/// Looks at what has come without taking it.
pub(super) fn peek(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    let seen = SockRef::from(&fd).recv_with_flags(buffer.spare_capacity_mut(), flags)?;
    // SAFETY: the kernel initialised `seen` bytes of the spare capacity.
    unsafe { buffer.set_len(buffer.len() + seen) };
    Ok(seen)
}

/// Takes at most so many bytes of what has come and throws them away.
pub(super) fn discard(fd: BorrowedFd<'_>, bytes_max: usize) -> io::Result<usize> {
    let mut sink = [MaybeUninit::uninit(); 256];
    let sink = sink.split_at_mut(bytes_max.min(256)).0;
    SockRef::from(&fd).recv_with_flags(sink, libc::MSG_DONTWAIT)
}

/// `read(2)` into the spare capacity of `buffer`; the length grows by what came.
pub(super) fn read(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let spare: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
    // SAFETY: the pointer and length describe memory that `buffer` owns.
    let got = unsafe { libc::read(fd.as_raw_fd(), spare.as_mut_ptr().cast(), spare.len()) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel initialised `got` bytes of the spare capacity.
    unsafe { buffer.set_len(buffer.len() + got) };
    Ok(got)
}

/// `write(2)`.
pub(super) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length come from one slice.
    let put = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(put).map_err(|_| io::Error::last_os_error())
}

/// Reads up to `max` bytes at `offset` into the spare capacity of `buffer` if the kernel has them
/// in memory (RWF_NOWAIT); the length grows by what came. `WouldBlock` if it has not, and
/// `Unsupported` on filesystems that cannot tell.
pub(super) fn read_cached(
    fd: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    (offset, max): (u64, usize),
) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let part = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: spare.len().min(max),
    };
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the one part describes memory that `buffer` owns and that outlives the call.
    let got =
        unsafe { libc::preadv2(fd.as_raw_fd(), &raw const part, 1, offset, libc::RWF_NOWAIT) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel initialised `got` bytes of the spare capacity.
    unsafe { buffer.set_len(buffer.len() + got) };
    Ok(got)
}

/// How many pages of a span of a file the kernel has in memory (cachestat, Linux 6.5).
pub(super) fn cached_pages(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<u64> {
    /// The same number on every architecture.
    const CACHESTAT: libc::c_long = 451;
    let range = [offset, len];
    // Cached, dirty, being written, evicted, recently evicted.
    let mut counts = [0_u64; 5];
    // SAFETY: both pointers are to locals of the structures' sizes that outlive the call.
    let result = unsafe {
        libc::syscall(
            CACHESTAT,
            fd.as_raw_fd(),
            range.as_ptr(),
            counts.as_mut_ptr(),
            0_u32,
        )
    };
    check(result as libc::c_int)?;
    let [cached, ..] = counts;
    Ok(cached)
}

/// How many sent bytes the peer's TCP has not acknowledged; those were never handed to the
/// program behind it. Known also after the connection was reset.
pub(super) fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the pointer is to a local that outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Sets O_NONBLOCK on a descriptor of any kind.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    // SAFETY: fcntl with F_GETFL and F_SETFL takes no pointers.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let wanted = if nonblocking {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    if wanted != flags {
        // SAFETY: as above.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) })?;
    }
    Ok(())
}

/// A descriptor that becomes readable when the process ends (Linux 5.3).
pub(super) fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = pid as libc::pid_t;
    // SAFETY: pidfd_open takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0_u32) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: the kernel just handed out this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A counter that is readable once it has been written to (eventfd).
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes two integers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel just handed out this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the exit status of a child that has ended; `None` while it runs.
pub(super) fn reap(pid: u32) -> io::Result<Option<ExitStatus>> {
    let mut status: libc::c_int = 0;
    // SAFETY: the pointer is to a local that outlives the call.
    match check(unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, libc::WNOHANG) })? {
        0 => Ok(None),
        _ => Ok(Some(ExitStatus::from_raw(status))),
    }
}

/// Asks a process that this one has started to end.
pub fn terminate(pid: u32) {
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
}

/// Sends a signal to a whole process group. An empty group is not an error.
pub(super) fn signal_group(group: u32, signal: libc::c_int) {
    // SAFETY: kill takes two integers. The group is one that we created and not yet reaped.
    unsafe { libc::kill(-(group as libc::pid_t), signal) };
}

/// Makes the child leader of its own process group, so that a signal reaches its children
/// too, has the kernel end it when the thread that starts it ends, and gives it back the
/// descriptor limit and the signals the program was started with: a child that inherits our
/// blocked SIGTERM could be ended by SIGKILL only.
pub(super) fn tie_child(command: &mut Command, parent: u32, file_limit: Option<u64>) {
    command.process_group(0);
    let setup = move || {
        // SAFETY: these calls are async-signal-safe and given locals only.
        unsafe {
            let mut none = MaybeUninit::<libc::sigset_t>::uninit();
            check(libc::sigemptyset(none.as_mut_ptr()))?;
            check(libc::sigprocmask(
                libc::SIG_SETMASK,
                none.as_ptr(),
                std::ptr::null_mut(),
            ))?;
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            // The parent may have ended before the line above took effect.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        lower_file_limit(file_limit)
    };
    // SAFETY: the closure allocates nothing and calls only async-signal-safe functions.
    unsafe { command.pre_exec(setup) };
}

/// Takes a descriptor that this process was started with. Children do not get it.
///
/// # Errors
/// There is none of that number.
pub fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes an integer; a number that is no descriptor gives EBADF.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, as the call above shows, and it was opened by the process that started
    // this one: nothing in this one owns it. Each number is taken once, at the start.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Has a program get these descriptors under the same numbers, and the soft limit of open files
/// that this one was started with.
pub fn hand_down(command: &mut Command, descriptors: Vec<RawFd>, file_limit: Option<u64>) {
    let setup = move || {
        for descriptor in &descriptors {
            // SAFETY: F_SETFD takes an integer and is async-signal-safe.
            check(unsafe { libc::fcntl(*descriptor, libc::F_SETFD, 0) })?;
        }
        lower_file_limit(file_limit)
    };
    // SAFETY: the closure allocates nothing and calls only async-signal-safe functions.
    unsafe { command.pre_exec(setup) };
}

/// Sets the soft limit of open files, below the hard one. Async-signal-safe.
fn lower_file_limit(soft: Option<u64>) -> io::Result<()> {
    let Some(soft) = soft else { return Ok(()) };
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a local that outlives the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(())
}

/// From now on the calling thread runs only when no other thread wants the core; where the
/// kernel refuses that, at the lowest priority.
pub fn run_when_idle() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a valid structure that the call only reads; 0 names the calling
    // thread, so nothing else is touched.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    if set != 0 {
        // SAFETY: takes numbers only; 0 names the calling thread.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
    }
}

/// Lets threads keep what they free of memory, up to 8 MiB each: encoders are made for a body
/// and take a megabyte or two, whose pages the kernel would have to clear anew for each (200
/// page faults, a quarter of what compressing 114 KB with Brotli costs). Larger pieces than
/// 4 MiB go back at once, as by default. Call it before other threads are started.
#[cfg(target_env = "gnu")]
pub fn keep_freed_memory() {
    const KEPT_BYTES_MAX: libc::c_int = 8 << 20;
    const PIECE_BYTES_MAX: libc::c_int = 4 << 20;
    // SAFETY: sets two numbers of the allocator, which takes its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, PIECE_BYTES_MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
    }
}

/// Other C libraries have no such setting.
#[cfg(not(target_env = "gnu"))]
pub fn keep_freed_memory() {}

/// Raises the soft limit of open files to the hard one. Returns the old and new soft limits.
pub fn raise_file_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a local that outlives the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok((before, limit.rlim_cur))
}

/// Signals that the program acts on, taken as messages instead of interruptions. Make it before
/// any other thread starts: threads inherit the mask.
#[derive(Debug)]
pub struct TerminationSignals(libc::sigset_t);

impl TerminationSignals {
    const ALL: [libc::c_int; 6] = [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ];

    /// Blocks them for this thread and those it starts from now on.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set; the other calls get it initialised.
        unsafe {
            check(libc::sigemptyset(set.as_mut_ptr()))?;
            let mut set = set.assume_init();
            for signal in Self::ALL {
                check(libc::sigaddset(&raw mut set, signal))?;
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
                0 => Ok(Self(set)),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// Bytes of one record of the descriptor.
    pub(super) const RECORD_BYTES: usize = size_of::<libc::signalfd_siginfo>();

    /// A descriptor that gives a record for each of them (signalfd).
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the pointer is to a set that outlives the call.
        let fd = check(unsafe { libc::signalfd(-1, &raw const self.0, flags) })?;
        // SAFETY: the kernel just handed out this descriptor and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The signal's number in a record: its first four bytes.
    pub(super) fn number(record: &[u8]) -> Option<i32> {
        let bytes = record.first_chunk::<4>()?;
        i32::try_from(u32::from_ne_bytes(*bytes)).ok()
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

// Futures that poll others where they lie. As an `async fn` each would keep room for what it is
// given twice, as argument and as pinned local; in a connection's task that doubles at every
// level. They are here because pinning a field takes `unsafe`.

/// A fence around a future: turns a panic into a value. See [`fence`](super::runtime::fence).
#[derive(Debug)]
pub struct Fence<F> {
    pub(super) future: F,
}

impl<F: Future> Future for Fence<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the field is structurally pinned: it is never moved out, the type has no Drop
        // and is Unpin only if the field is.
        let future = unsafe { self.map_unchecked_mut(|fence| &mut fence.future) };
        // A panicked future is dropped without another poll, so nobody sees a broken invariant
        // of it; what it shared sits behind RefCells, whose guards unwinding released.
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

/// The first of two futures. See [`race`](super::timer::race).
#[derive(Debug)]
pub struct Race<A, B> {
    pub(super) first: A,
    pub(super) second: B,
}

impl<A: Future, B: Future> Future for Race<A, B> {
    type Output = Either<A::Output, B::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: both fields are structurally pinned: neither is moved out, the type has no
        // Drop and is Unpin only if both are.
        let (first, second) = unsafe {
            let race = self.get_unchecked_mut();
            (
                Pin::new_unchecked(&mut race.first),
                Pin::new_unchecked(&mut race.second),
            )
        };
        if let Poll::Ready(output) = first.poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        second.poll(cx).map(Either::Second)
    }
}

/// A future with a time limit. See [`within`](super::timer::within).
#[derive(Debug)]
pub struct Within<F, S> {
    pub(super) race: Race<F, S>,
}

impl<F: Future, S: Future<Output = ()>> Future for Within<F, S> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: as for `Fence`.
        let race = unsafe { self.map_unchecked_mut(|within| &mut within.race) };
        race.poll(cx).map(|ended| match ended {
            Either::First(output) => Ok(output),
            Either::Second(()) => Err(Elapsed),
        })
    }
}
