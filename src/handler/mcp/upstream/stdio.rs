//! Moves the bytes of one child: its output into messages, its errors into the log, its end
//! into words. The child itself, its process group and its death are `net::process`'s.

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::duplex::{Duplex, Ends};
use super::lines::{Line, Lines};
use super::shard::Shard;
use crate::base::channel::Receiver;
use crate::config::{McpServer, McpTarget};
use crate::net::process::{Child, Grace, PipeReader, PipeWriter, Program};
use crate::net::timer::{Either, race, within};
use crate::net::{sleep, spawn};

/// Longest line of standard error that is kept; the rest of it is left out.
const ERROR_LINE_BYTES_MAX: usize = 4 * 1024;
/// How a child is ended: the protocol's way first (2025-11-25 lifecycle §stdio).
const GRACE: Grace = Grace {
    after_close: Duration::from_secs(2),
    after_term: Duration::from_secs(3),
};
/// How long a child that has closed its output may take to end by itself.
const END_WAIT: Duration = Duration::from_secs(2);
/// How long the pipes of a dead child are read on. A grandchild may hold them open.
const DRAIN_WAIT: Duration = Duration::from_millis(500);
/// How much is taken from the queue for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// The last words of a child: its last line on standard error.
type LastWords = Rc<RefCell<String>>;

/// Starts a server's child and the tasks that serve its pipes.
///
/// # Errors
/// Why it did not start, for people.
pub(super) async fn start(
    shard: &Rc<Shard>,
    server: &Arc<McpServer>,
    duplex: Rc<Duplex>,
    ends: Ends,
) -> Result<(), String> {
    let McpTarget::Stdio {
        command,
        args,
        env,
        cwd,
    } = &server.target
    else {
        return Err("it has no command".to_owned());
    };
    let program = Program {
        command: command.clone(),
        args: args.clone(),
        env: env.clone(),
        cwd: cwd.clone(),
    };
    let child = shard.spawner.spawn(program).await;
    let mut child = child.map_err(|error| error.to_string())?;
    let last_words = LastWords::default();
    let (stdout_open, stdout_ended) = crate::base::channel::bounded::<()>(1);
    let (stderr_open, stderr_ended) = crate::base::channel::bounded::<()>(1);
    if let Some(stdin) = child.stdin.take() {
        spawn(write_all(stdin, ends.outgoing));
    }
    if let Some(stdout) = child.stdout.take() {
        let (duplex, shard) = (Rc::clone(&duplex), Rc::clone(shard));
        spawn(async move {
            read_messages(stdout, &duplex, &shard).await;
            drop(stdout_open);
        });
    }
    if let Some(stderr) = child.stderr.take() {
        let (shard, name) = (Rc::clone(shard), Arc::clone(&server.name));
        let last_words = Rc::clone(&last_words);
        spawn(async move {
            read_errors(stderr, &shard, &name, &last_words).await;
            drop(stderr_open);
        });
    }
    let watched = Watched {
        child,
        duplex,
        last_words,
        stdout_ended,
        stderr_ended,
    };
    spawn(watched.watch(ends.running));
    Ok(())
}

/// A child and what tells of its end.
struct Watched {
    child: Child,
    duplex: Rc<Duplex>,
    last_words: LastWords,
    stdout_ended: Receiver<()>,
    stderr_ended: Receiver<()>,
}

impl Watched {
    /// Waits for the child's end, or for the wish to stop it, and reports.
    async fn watch(mut self, mut running: Receiver<()>) {
        let silent = async {
            self.stdout_ended.recv().await;
            sleep(END_WAIT).await;
        };
        let stopped = async {
            race(running.recv(), silent).await;
        };
        let status = match race(self.child.wait(), stopped).await {
            Either::First(status) => status,
            Either::Second(()) => self.child.stop(GRACE).await,
        };
        // What it said before it died still counts.
        let drained = async {
            self.stdout_ended.recv().await;
            self.stderr_ended.recv().await;
        };
        let _ = within(DRAIN_WAIT, drained).await;
        let mut reason = match status {
            Ok(status) => ended_how(status),
            Err(error) => format!("its process was lost: {error}"),
        };
        let last_words = self.last_words.borrow();
        if !last_words.is_empty() {
            reason.push_str("; its last words on stderr: ");
            reason.push_str(&last_words);
        }
        self.duplex.end(reason);
    }
}

/// How a process ended, for people.
fn ended_how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("its process exited with status {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                libc::SIGKILL => " (SIGKILL; the kernel's way when memory runs out)",
                libc::SIGTERM => " (SIGTERM)",
                libc::SIGSEGV => " (SIGSEGV)",
                libc::SIGABRT => " (SIGABRT)",
                _ => "",
            };
            format!("its process was killed by signal {signal}{name}")
        }
        (None, None) => "its process ended".to_owned(),
    }
}

async fn write_all(mut stdin: PipeWriter, mut outgoing: Receiver<bytes::Bytes>) {
    let mut joined = Vec::new();
    while let Some(first) = outgoing.recv().await {
        joined.clear();
        joined.extend_from_slice(&first);
        while joined.len() < WRITE_BYTES
            && let Some(next) = outgoing.try_recv()
        {
            joined.extend_from_slice(&next);
        }
        // A child that does not read any more is about to end; its end is what is reported.
        if stdin.write_all(&joined).await.is_err() {
            return;
        }
        if joined.capacity() > 4 * WRITE_BYTES {
            joined = Vec::new();
        }
    }
}

async fn read_messages(mut stdout: PipeReader, duplex: &Duplex, shard: &Shard) {
    let bytes_max = shard.message_bytes_max();
    let mut lines = Lines::new(bytes_max);
    // A silent child holds no buffer.
    while stdout.readable().await.is_ok() {
        let mut buffer = shard.parts().buffers.large();
        let got = stdout.read(&mut buffer).await;
        lines.push(&buffer);
        shard.parts().buffers.give_back(buffer);
        if matches!(got, Ok(0) | Err(_)) {
            return;
        }
        while let Some(line) = lines.next() {
            match line {
                Line::Whole(line) => duplex.receive(line),
                Line::TooLong(long) => duplex.oversized(&long, bytes_max),
            }
        }
    }
}

async fn read_errors(mut stderr: PipeReader, shard: &Shard, name: &str, last_words: &LastWords) {
    let mut lines = Lines::new(ERROR_LINE_BYTES_MAX);
    let mut buffer = Vec::with_capacity(ERROR_LINE_BYTES_MAX);
    loop {
        buffer.clear();
        let ended = matches!(stderr.read(&mut buffer).await, Ok(0) | Err(_));
        if ended {
            // A last line without its end.
            buffer.push(b'\n');
        }
        lines.push(&buffer);
        while let Some(line) = lines.next() {
            let line = match line {
                Line::Whole(line) => line,
                Line::TooLong(long) => long.start,
            };
            let line = String::from_utf8_lossy(&line);
            shard
                .log()
                .info("mcp", format_args!("server {name} says: {line}"));
            let mut last_words = last_words.borrow_mut();
            last_words.clear();
            last_words.extend(line.trim().chars().take(300));
        }
        if ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_told_in_words() {
        assert!(ended_how(ExitStatus::from_raw(3 << 8)).contains("status 3"));
        assert!(ended_how(ExitStatus::from_raw(9)).contains("signal 9 (SIGKILL"));
    }
}
