//! Child processes with piped standard streams.
//!
//! A child leads its own process group, so that whatever it starts is signalled with it. It is
//! started by one thread that lives as long as the program, because the kernel's "die with your
//! parent" (PR_SET_PDEATHSIG) means the parent's *thread*; and because fork blocks. From then
//! on it belongs to the shard that asked for it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::net::across;
use crate::net::fd::AsyncFd;
use crate::net::{sys, timer};

/// Requests waiting for the thread; more are refused.
const REQUESTS_MAX: usize = 1024;
/// How long the thread waits for a killed child before it goes on and asks again later.
const REAP_PATIENCE: Duration = Duration::from_millis(200);

/// What to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Name or path; a name is looked up on PATH.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to the environment of this program.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
}

/// Why a child did not start. Says what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such program.
    #[error("command `{0}` was not found; install it, or give its full path")]
    NotFound(String),
    /// The file may not be executed.
    #[error("command `{0}` may not be executed: permission denied")]
    Denied(String),
    /// The working directory does not exist.
    #[error("working directory {} does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// Anything else: resources, a broken executable.
    #[error("command `{command}` could not be started: {error}")]
    Failed {
        /// The command.
        command: String,
        /// What the system said.
        error: io::Error,
    },
    /// Too many starts are waiting, or the program is ending.
    #[error("command `{0}` could not be started: too many starts are waiting")]
    Overloaded(String),
}

/// Starts children. Cheap to clone and to hand to other threads.
#[derive(Clone, Debug)]
pub struct Spawner {
    requests: across::Sender<Request>,
    owner: usize,
}

enum Request {
    Start {
        program: Box<Program>,
        owner: usize,
        reply: across::Sender<Result<Started, SpawnError>>,
    },
    /// The owner has reaped it.
    Gone(u32),
    /// The owner let go of it without waiting.
    Abandoned(u32),
    /// The owner is gone with all it had.
    OwnerLost(usize),
}

struct Started {
    pid: u32,
    pidfd: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Spawner {
    /// Starts the thread. `file_limit` is the soft limit of open files that children get.
    pub fn start(file_limit: Option<u64>) -> io::Result<Self> {
        let (requests, asked) = across::bounded(REQUESTS_MAX);
        thread::Builder::new()
            .name("spawner".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || Registry::new(file_limit).serve(&asked))?;
        Ok(Self { requests, owner: 0 })
    }

    /// The same spawner for the children of one shard.
    #[must_use]
    pub fn for_owner(&self, owner: usize) -> Self {
        Self {
            owner,
            ..self.clone()
        }
    }

    /// Starts a child. Its streams and its end are tied to this thread's runtime.
    pub async fn spawn(&self, program: Program) -> Result<Child, SpawnError> {
        let command = program.command.clone();
        let failed = |error| SpawnError::Failed {
            command: command.clone(),
            error,
        };
        let (reply, replied) = across::bounded(1);
        let request = Request::Start {
            program: Box::new(program),
            owner: self.owner,
            reply,
        };
        if self.requests.try_send(request).is_err() {
            return Err(SpawnError::Overloaded(command));
        }
        let Ok(started) = replied.recv().await else {
            return Err(SpawnError::Overloaded(command));
        };
        Child::register(started?, self.requests.clone()).map_err(failed)
    }

    /// Ends and reaps every child of an owner that can no longer do it.
    pub fn owner_lost(&self) {
        let _ = self.requests.send_blocking(Request::OwnerLost(self.owner));
    }
}

/// A running child. Dropping it kills its process group.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    pidfd: AsyncFd,
    /// Its standard input; dropping it closes the pipe.
    pub stdin: Option<PipeWriter>,
    /// Its standard output.
    pub stdout: Option<PipeReader>,
    /// Its standard error.
    pub stderr: Option<PipeReader>,
    status: Option<ExitStatus>,
    requests: across::Sender<Request>,
}

/// How long a child may take at each step of [`Child::stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// From the end of its input to SIGTERM.
    pub after_close: Duration,
    /// From SIGTERM to SIGKILL.
    pub after_term: Duration,
}

impl Child {
    fn register(started: Started, requests: across::Sender<Request>) -> io::Result<Self> {
        let pid = started.pid;
        let registered = || -> io::Result<Self> {
            Ok(Self {
                pid,
                pidfd: AsyncFd::nonblocking(started.pidfd)?,
                stdin: Some(PipeWriter(AsyncFd::nonblocking(started.stdin)?)),
                stdout: Some(PipeReader(AsyncFd::nonblocking(started.stdout)?)),
                stderr: Some(PipeReader(AsyncFd::nonblocking(started.stderr)?)),
                status: None,
                requests: requests.clone(),
            })
        };
        registered().inspect_err(|_| {
            let _ = requests.try_send(Request::Abandoned(pid));
        })
    }

    /// The process id, which is also the id of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Waits for its end, then kills what is left of its group and takes the exit status.
    /// May be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            self.pidfd.readable().await?;
            // The dead leader keeps the group's id taken until it is reaped below.
            sys::signal_group(self.pid, libc::SIGKILL);
            if let Some(status) = sys::reap(self.pid)? {
                self.status = Some(status);
                let _ = self.requests.try_send(Request::Gone(self.pid));
            }
        }
    }

    /// Ends it: closes its input, then SIGTERM, then SIGKILL, with the given pauses.
    /// A taken [`stdin`](Self::stdin) is the taker's to drop first.
    pub async fn stop(&mut self, grace: Grace) -> io::Result<ExitStatus> {
        self.stdin = None;
        if let Ok(status) = timer::within(grace.after_close, self.wait()).await {
            return status;
        }
        self.signal(libc::SIGTERM);
        if let Ok(status) = timer::within(grace.after_term, self.wait()).await {
            return status;
        }
        self.kill();
        self.wait().await
    }

    /// SIGKILL to the whole group. [`wait`](Self::wait) still has to be called.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn signal(&self, signal: libc::c_int) {
        // Once reaped, the number may belong to a stranger.
        if self.status.is_none() {
            sys::signal_group(self.pid, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
            let _ = self.requests.try_send(Request::Abandoned(self.pid));
        }
    }
}

/// The reading end of a pipe.
#[derive(Debug)]
pub struct PipeReader(AsyncFd);

impl PipeReader {
    /// Reads what has come, waiting for the first byte. Appends to `buffer`, at most its spare
    /// capacity, which must not be zero. `Ok(0)` is the end. May be dropped: no byte is lost.
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.0.when_readable(|fd| sys::read(fd, buffer)).await
    }

    /// Waits until there is something to read, or the end, without owning a buffer.
    pub async fn readable(&mut self) -> io::Result<()> {
        self.0.readable().await
    }
}

/// The writing end of a pipe. Dropping it closes the pipe.
#[derive(Debug)]
pub struct PipeWriter(AsyncFd);

impl PipeWriter {
    /// Writes everything.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let put = self.0.when_writable(|fd| sys::write(fd, rest)).await?;
            rest = rest.get(put..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The thread's own list of children, for those whose owner cannot end them.
struct Registry {
    file_limit: Option<u64>,
    /// Owner by process id.
    children: HashMap<u32, usize>,
    /// Killed and not yet reaped.
    dying: Vec<u32>,
}

impl Registry {
    fn new(file_limit: Option<u64>) -> Self {
        Self {
            file_limit,
            children: HashMap::new(),
            dying: Vec::new(),
        }
    }

    fn serve(mut self, asked: &across::Receiver<Request>) {
        while let Ok(request) = asked.recv_blocking() {
            match request {
                Request::Start {
                    program,
                    owner,
                    reply,
                } => self.start(&program, owner, &reply),
                Request::Gone(pid) => {
                    self.children.remove(&pid);
                }
                Request::Abandoned(pid) => self.end(pid),
                Request::OwnerLost(lost) => self.lost(lost),
            }
            self.dying.retain(|&pid| matches!(sys::reap(pid), Ok(None)));
        }
    }

    fn lost(&mut self, lost: usize) {
        let pids: Vec<u32> = self
            .children
            .iter()
            .filter_map(|(&pid, &owner)| (owner == lost).then_some(pid))
            .collect();
        pids.into_iter().for_each(|pid| self.end(pid));
    }

    fn start(
        &mut self,
        program: &Program,
        owner: usize,
        reply: &across::Sender<Result<Started, SpawnError>>,
    ) {
        let started = start(program, self.file_limit);
        let pid = started.as_ref().ok().map(|started| started.pid);
        if let Some(pid) = pid {
            self.children.insert(pid, owner);
        }
        if let (Err(_), Some(pid)) = (reply.try_send(started), pid) {
            // Whoever asked has given up.
            self.end(pid);
        }
    }

    fn end(&mut self, pid: u32) {
        if self.children.remove(&pid).is_none() {
            return;
        }
        sys::signal_group(pid, libc::SIGKILL);
        let step = REAP_PATIENCE / 20;
        for _ in 0..20 {
            if !matches!(sys::reap(pid), Ok(None)) {
                return;
            }
            thread::sleep(step);
        }
        self.dying.push(pid);
    }
}

fn start(program: &Program, file_limit: Option<u64>) -> Result<Started, SpawnError> {
    if let Some(cwd) = program.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
        return Err(SpawnError::NoDirectory(cwd.clone()));
    }
    let mut command = Command::new(&program.command);
    command
        .args(&program.args)
        .envs(&program.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(cwd) = &program.cwd {
        command.current_dir(cwd);
    }
    sys::tie_child(&mut command, std::process::id(), file_limit);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SpawnError::NotFound(program.command.clone()),
        io::ErrorKind::PermissionDenied => SpawnError::Denied(program.command.clone()),
        _ => SpawnError::Failed {
            command: program.command.clone(),
            error,
        },
    };
    let mut child = command.spawn().map_err(failed)?;
    let pid = child.id();
    let pidfd = sys::pidfd(pid).map_err(failed);
    match (
        pidfd,
        child.stdin.take(),
        child.stdout.take(),
        child.stderr.take(),
    ) {
        (Ok(pidfd), Some(stdin), Some(stdout), Some(stderr)) => Ok(Started {
            pid,
            pidfd,
            stdin: stdin.into(),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }),
        (pidfd, ..) => {
            sys::signal_group(pid, libc::SIGKILL);
            let _ = child.wait();
            Err(pidfd
                .err()
                .unwrap_or_else(|| failed(io::ErrorKind::BrokenPipe.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::after_the_end_of_a_runtime;

    #[test]
    fn a_child_for_a_runtime_that_has_ended_hangs_no_spawner_and_is_reaped() {
        let pending = || {
            let (requests, asked) = across::bounded(4);
            let start = move || async move {
                let program = Program {
                    command: "sleep".to_owned(),
                    args: vec!["600".to_owned()],
                    ..Program::default()
                };
                let _ = Spawner { requests, owner: 7 }.spawn(program).await;
            };
            (asked, Box::new(start) as Box<dyn FnOnce() -> _ + Send>)
        };
        after_the_end_of_a_runtime(pending, |asked| {
            assert!(!asked.is_empty(), "the start waits");
            asked.close();
            let mut registry = Registry::new(None);
            let Ok(Request::Start {
                program,
                owner,
                reply,
            }) = asked.recv_blocking()
            else {
                panic!("a start");
            };
            registry.start(&program, owner, &reply);
            // What the supervisor has done when a shard has crashed.
            let pid = registry.children.keys().copied().next();
            registry.lost(owner);
            assert!(registry.children.is_empty() && registry.dying.is_empty());
            if let Some(pid) = pid {
                assert!(sys::reap(pid).is_err(), "nothing is left to reap");
            }
        });
    }
}
