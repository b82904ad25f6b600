//! Another binary without a pause: starts it with our listening sockets, waits until it accepts,
//! and then drains. If it does not start, nothing has happened.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use crate::net::across;
use crate::net::sys;
use crate::supervisor::handover;
use crate::supervisor::watch::Watch;

/// How long the new process may take until it accepts.
const START_MAX: Duration = Duration::from_secs(60);
/// How long idle connections are left alone: their clients' next requests get `Connection:
/// close` instead of a closed connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How the program was started, which is how it is started again.
#[derive(Clone, Debug)]
pub(super) struct Start {
    program: OsString,
    arguments: Vec<OsString>,
    /// The soft limit of open files before we raised it.
    file_limit: Option<u64>,
}

/// What became of an upgrade: the new process's number, or why there is none.
pub(super) type Outcome = Result<u32, String>;

/// An upgrade under way.
pub(super) struct Upgrade {
    pub(super) pid: u32,
}

impl Start {
    pub(super) fn of_process(file_limit: Option<u64>) -> Option<Self> {
        let mut arguments = std::env::args_os();
        // As it was typed: whoever replaces the file, or the link that leads to it, means that.
        Some(Self {
            program: arguments.next()?,
            arguments: arguments.collect(),
            file_limit,
        })
    }
}

impl Watch {
    /// Starts the new process.
    pub(super) fn begin_upgrade(&mut self) {
        let log = self.setting.logs.log();
        if self.upgrade.is_some() {
            return log.warn("upgrade", format_args!("one is under way already"));
        }
        if std::process::id() == 1 {
            let why = "not as process 1: the container would end with it; start another container";
            return log.error("upgrade", format_args!("{why}"));
        }
        if let Some(pidfile) = &mut self.setting.pidfile
            && let Err(error) = pidfile.move_aside()
        {
            return log.error("upgrade", format_args!("the pidfile: {error}"));
        }
        match self.start_successor() {
            Ok(pid) => {
                log.info("upgrade", format_args!("process {pid} is started"));
                self.upgrade = Some(Upgrade { pid });
            }
            // Nobody has taken over.
            Err(error) => {
                self.upgraded(Err(error.to_string()));
            }
        }
    }

    fn start_successor(&self) -> io::Result<u32> {
        let start = self.setting.start.as_ref();
        let start = start.ok_or_else(|| io::Error::other("the program has no name"))?;
        let mut sockets: Vec<(RawFd, SocketAddr)> = Vec::new();
        for shard in &self.shards {
            for (key, socket) in &shard.listeners {
                let plan = self.setting.plan.listeners.iter();
                let mut configured = plan.filter(|(known, _)| known == key).map(|one| one.1);
                let address = configured.next_back().unwrap_or_else(|| socket.address());
                sockets.push((socket.as_fd().as_raw_fd(), address));
            }
        }
        let (ours, theirs) = UnixStream::pair()?;
        let mut inherited: Vec<RawFd> = sockets.iter().map(|(number, _)| *number).collect();
        inherited.push(theirs.as_raw_fd());
        let handed = format!("{}:{}", theirs.as_raw_fd(), std::process::id());
        let mut command = Command::new(&start.program);
        command.args(&start.arguments);
        command.env(handover::VARIABLE, handed);
        // Those of systemd name this process.
        command.env_remove("LISTEN_PID").env_remove("LISTEN_FDS");
        sys::hand_down(&mut command, inherited, start.file_limit);
        let child = command.spawn()?;
        drop(theirs);
        let pid = child.id();
        let secret = self.setting.secret;
        let letter = handover::letter(&secret, &sockets);
        let outcomes = self.upgrades.0.clone();
        thread::Builder::new()
            .name("upgrade".to_owned())
            .spawn(move || {
                // A supervisor that has gone needs no answer.
                let _ = outcomes.try_send(wait(child, ours, &letter));
            })?;
        Ok(pid)
    }

    /// The new process accepts, or there is none. `true` if this one is to end.
    pub(super) fn upgraded(&mut self, outcome: Outcome) -> bool {
        self.upgrade = None;
        let log = self.setting.logs.log();
        match outcome {
            Ok(pid) => {
                log.info(
                    "upgrade",
                    format_args!("process {pid} accepts; this one drains"),
                );
                self.setting.notify.tell(&format!("MAINPID={pid}"));
                true
            }
            Err(reason) => {
                log.error(
                    "upgrade",
                    format_args!("the new process has failed: {reason}; this one goes on"),
                );
                if let Some(pidfile) = &mut self.setting.pidfile
                    && let Err(error) = pidfile.move_back()
                {
                    log.error("upgrade", format_args!("the pidfile: {error}"));
                }
                false
            }
        }
    }
}

/// Waits on a thread of its own until the new process accepts or has failed.
fn wait(mut child: Child, mut stream: UnixStream, letter: &str) -> Outcome {
    let told = stream.write_all(letter.as_bytes());
    let ready = told.and_then(|()| handover::await_ready(&stream, START_MAX));
    let reason = match ready {
        Ok(true) => return Ok(child.id()),
        Ok(false) => None,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Some(format!("not ready within {} s", START_MAX.as_secs()))
        }
        Err(error) => Some(error.to_string()),
    };
    let _ = child.kill();
    match (child.wait(), reason) {
        (_, Some(reason)) => Err(reason),
        (Ok(status), None) => Err(status.to_string()),
        (Err(error), None) => Err(error.to_string()),
    }
}

/// Where the thread puts what became of it.
pub(super) fn outcomes() -> (across::Sender<Outcome>, across::Receiver<Outcome>) {
    across::bounded(1)
}
