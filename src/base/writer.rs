//! A thread that writes log bytes, so that a full disk or a pipe nobody reads never holds up a
//! shard. The queue is bounded: what does not fit is refused and the sender counts it.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// Hands bytes to a [`Writer`]. Each thread has its own clone.
#[derive(Clone, Debug)]
pub struct Lines {
    sender: SyncSender<Message>,
}

/// The thread itself; [`finish`](Self::finish) it before the program ends.
#[derive(Debug)]
pub struct Writer {
    sender: SyncSender<Message>,
    /// What is to be written to from now on.
    targets: SyncSender<Box<dyn Target>>,
    finished: Receiver<()>,
}

/// What a [`Writer`] writes to.
pub trait Target: Write + Send + 'static {}
impl<T: Write + Send + 'static> Target for T {}

#[derive(Debug)]
enum Message {
    Bytes(Vec<u8>),
    /// Look for another target.
    Turn,
    End,
}

/// Targets that may wait; a writer that hangs takes none.
const TARGETS_MAX: usize = 4;

impl Lines {
    /// Queues whole lines; gives them back when the queue is full or the thread has ended.
    ///
    /// # Errors
    /// The bytes, unwritten.
    pub fn try_write(&self, lines: Vec<u8>) -> Result<(), Vec<u8>> {
        self.sender
            .try_send(Message::Bytes(lines))
            .map_err(|error| match error {
                TrySendError::Full(Message::Bytes(lines))
                | TrySendError::Disconnected(Message::Bytes(lines)) => lines,
                TrySendError::Full(_) | TrySendError::Disconnected(_) => Vec::new(),
            })
    }

    /// A queue without a thread: the receiver sees what would be written.
    #[cfg(test)]
    pub(crate) fn captured(capacity: usize) -> (Self, impl Fn() -> Vec<u8>) {
        let (sender, receiver) = sync_channel(capacity);
        let drain = move || {
            let mut all = Vec::new();
            while let Ok(Message::Bytes(bytes)) = receiver.try_recv() {
                all.extend_from_slice(&bytes);
            }
            all
        };
        (Self { sender }, drain)
    }
}

impl Writer {
    /// Starts a thread that writes to `out` what arrives on a queue of `capacity` entries.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn spawn(name: &str, out: impl Target, capacity: usize) -> std::io::Result<(Self, Lines)> {
        let (sender, receiver) = sync_channel(capacity);
        let (targets, turned) = sync_channel(TARGETS_MAX);
        let (done, finished) = sync_channel(1);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                drain(receiver, &turned, Box::new(out));
                // Nobody waits when the program ends without `finish`.
                done.send(()).unwrap_or(());
            })?;
        let lines = Lines {
            sender: sender.clone(),
        };
        let writer = Self {
            sender,
            targets,
            finished,
        };
        Ok((writer, lines))
    }

    /// Writes to `out` from now on: what is queued goes there too. `false` if the thread hangs in
    /// a write for so long that it has not taken the last ones.
    #[must_use]
    pub fn turn_to(&self, out: impl Target) -> bool {
        if self.targets.try_send(Box::new(out)).is_err() {
            return false;
        }
        // A full queue wakes the thread as well.
        let _ = self.sender.try_send(Message::Turn);
        true
    }

    /// Waits until everything queued so far is written, but no longer than `limit`. Whether it
    /// was; a reader that never takes the bytes must not keep the program alive.
    pub fn finish(&self, limit: Duration) -> bool {
        // A full queue means that the thread hangs in a write: wait for room, within the limit.
        let step = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        let mut end = Message::End;
        loop {
            match self.sender.try_send(end) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return true,
                Err(TrySendError::Full(_)) if waited >= limit => return false,
                Err(TrySendError::Full(back)) => end = back,
            }
            thread::sleep(step);
            waited += step;
        }
        match self.finished.recv_timeout(limit.saturating_sub(waited)) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        }
    }
}

fn drain(receiver: Receiver<Message>, turned: &Receiver<Box<dyn Target>>, out: Box<dyn Target>) {
    let mut out = out;
    while let Ok(message) = receiver.recv() {
        for target in turned.try_iter() {
            out = target;
        }
        match message {
            Message::Bytes(bytes) => {
                // A full disk or a closed pipe loses log lines and nothing else.
                let written = out.write_all(&bytes).and_then(|()| out.flush());
                written.unwrap_or(());
            }
            Message::Turn => {}
            Message::End => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Gate {
        open: mpsc::Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.open.recv().map_err(std::io::Error::other)?;
            self.written.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>, Gate) {
        let (open, closed) = mpsc::channel();
        let (written, seen) = mpsc::channel();
        let gate = Gate {
            open: closed,
            written,
        };
        (open, seen, gate)
    }

    #[test]
    fn finish_waits_for_what_is_queued() {
        let (open, seen, gate) = gate();
        let (writer, lines) = Writer::spawn("test", gate, 4).unwrap();
        lines.try_write(b"a\n".to_vec()).unwrap();
        lines.try_write(b"b\n".to_vec()).unwrap();
        open.send(()).unwrap();
        open.send(()).unwrap();
        assert!(writer.finish(Duration::from_secs(5)));
        assert_eq!(seen.try_iter().flatten().collect::<Vec<_>>(), b"a\nb\n");
        assert_eq!(lines.try_write(b"late".to_vec()), Err(b"late".to_vec()));
    }

    #[test]
    fn a_new_target_takes_over() {
        let (open, seen, first) = gate();
        let (open_second, seen_second, second) = gate();
        let (writer, lines) = Writer::spawn("test", first, 4).unwrap();
        lines.try_write(b"a\n".to_vec()).unwrap();
        open.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), b"a\n");
        assert!(writer.turn_to(second));
        lines.try_write(b"b\n".to_vec()).unwrap();
        open_second.send(()).unwrap();
        assert!(writer.finish(Duration::from_secs(5)));
        assert_eq!(seen_second.try_iter().flatten().collect::<Vec<_>>(), b"b\n");
        assert!(seen.try_recv().is_err(), "the first target is closed");
    }

    #[test]
    fn a_reader_that_hangs_costs_lines_and_never_time() {
        let (open, _seen, gate) = gate();
        let (writer, lines) = Writer::spawn("test", gate, 2).unwrap();
        let refused = (0..8)
            .filter(|_| lines.try_write(b"x\n".to_vec()).is_err())
            .count();
        assert!(refused >= 5, "{refused} refused");
        assert!(!writer.finish(Duration::from_millis(30)));
        drop(open);
    }
}
