//! Diagnostics for the operator: one line each, `2026-11-24T08:00:00Z warn target message`.
//!
//! No global logger: `main` makes one, every thread gets a clone. Lines go through a bounded
//! queue to a writer thread; a line that finds it full is dropped and counted, and the count is
//! told with the next line that passes.

use core::cell::Cell;
use core::fmt;
use std::io::Write;
use std::sync::Arc;

use crate::base::civil::Civil;
use crate::base::clock::Now;
use crate::base::writer::{Lines, Writer};

/// Lines that may wait for the writer thread. At 200 bytes a line that is 800 KiB at most.
const LINES_QUEUED_MAX: usize = 4096;
/// Longest message in bytes; a child process may print anything.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the usual levels")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    /// The level as it stands in a line and in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Writes diagnostics of its level and above. One clone for each thread.
#[derive(Debug)]
pub struct Logger {
    level: Level,
    lines: Option<Lines>,
    /// Stands before each message, e.g. which shard speaks.
    prefix: Arc<str>,
    dropped: Cell<u64>,
}

impl Logger {
    /// Starts the writer thread. Finish the [`Writer`] before the program ends.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(
        level: Level,
        out: impl Write + Send + 'static,
    ) -> std::io::Result<(Self, Writer)> {
        let (writer, lines) = Writer::spawn("log", out, LINES_QUEUED_MAX)?;
        Ok((Self::new(level, Some(lines)), writer))
    }

    /// A logger that writes nothing, for tests and tools.
    #[must_use]
    pub fn off() -> Self {
        Self::new(Level::Error, None)
    }

    fn new(level: Level, lines: Option<Lines>) -> Self {
        Self {
            level,
            lines,
            prefix: Arc::from(""),
            dropped: Cell::new(0),
        }
    }

    /// A clone whose messages begin with `prefix` and a colon, e.g. `shard 0`.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        let mut clone = self.clone();
        clone.prefix = format!("{prefix}: ").into();
        clone
    }

    /// A clone that writes lines of another level and above.
    #[must_use]
    pub fn with_level(&self, level: Level) -> Self {
        Self {
            level,
            ..self.clone()
        }
    }

    /// Whether lines of this level are written; ask before costly preparations.
    #[must_use]
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.level && self.lines.is_some()
    }

    /// Something the operator must act on.
    pub fn error(&self, target: &str, message: fmt::Arguments<'_>) {
        self.log(Level::Error, target, message);
    }

    /// Something that works, but not as it should.
    pub fn warn(&self, target: &str, message: fmt::Arguments<'_>) {
        self.log(Level::Warn, target, message);
    }

    /// A change of state that happens a few times a day.
    pub fn info(&self, target: &str, message: fmt::Arguments<'_>) {
        self.log(Level::Info, target, message);
    }

    /// What a developer wants to see of a single request.
    pub fn debug(&self, target: &str, message: fmt::Arguments<'_>) {
        self.log(Level::Debug, target, message);
    }

    /// Writes one line if the level is enabled. Control characters in the message are escaped,
    /// so that what a peer sent cannot forge a line.
    pub fn log(&self, level: Level, target: &str, message: fmt::Arguments<'_>) {
        let Some(lines) = self.lines.as_ref().filter(|_| level <= self.level) else {
            return;
        };
        let mut line = Line::new(level, target);
        line.push(format_args!("{}{message}", self.prefix));
        let dropped = self.dropped.take();
        if dropped > 0 {
            line.push(format_args!(
                " ({dropped} lines before this one were dropped)"
            ));
        }
        if lines.try_write(line.finish()).is_err() {
            self.dropped.set(dropped + 1);
        }
    }
}

/// The clone counts its own drops.
impl Clone for Logger {
    fn clone(&self) -> Self {
        Self {
            level: self.level,
            lines: self.lines.clone(),
            prefix: Arc::clone(&self.prefix),
            dropped: Cell::new(0),
        }
    }
}

struct Line {
    text: String,
    message_bytes: usize,
}

impl Line {
    fn new(level: Level, target: &str) -> Self {
        let date = Civil::from_unix(Now::read().unix.as_secs());
        Self {
            text: format!("{date} {} {target} ", level.as_str()),
            message_bytes: 0,
        }
    }

    fn push(&mut self, message: fmt::Arguments<'_>) {
        // Writing into memory does not fail; too long a message is cut.
        fmt::write(self, message).unwrap_or(());
    }

    fn finish(mut self) -> Vec<u8> {
        self.text.push('\n');
        self.text.into_bytes()
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for character in part.chars() {
            if self.message_bytes > MESSAGE_BYTES_MAX {
                return Ok(());
            }
            self.message_bytes += character.len_utf8();
            if self.message_bytes > MESSAGE_BYTES_MAX {
                self.text.push('…');
            } else if character.is_control() && character != '\t' {
                self.text.extend(character.escape_default());
            } else {
                self.text.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(level: Level, capacity: usize) -> (Logger, impl Fn() -> String) {
        let (lines, drain) = Lines::captured(capacity);
        let read = move || String::from_utf8(drain()).unwrap();
        (Logger::new(level, Some(lines)), read)
    }

    #[test]
    fn a_line_is_date_level_target_message() {
        let (log, read) = captured(Level::Info, 8);
        log.with_prefix("shard 1")
            .warn("accept", format_args!("{} files", 3));
        log.debug("accept", format_args!("hidden"));
        let line = read();
        let (date, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "warn accept shard 1: 3 files\n");
        assert_eq!(date.len(), "2026-11-24T08:00:00Z".len());
    }

    #[test]
    fn a_message_cannot_forge_a_line() {
        let (log, read) = captured(Level::Info, 8);
        log.info("mcp", format_args!("evil\r\n2026 error x \u{1b}[31m ü"));
        let line = read();
        assert!(
            line.ends_with(" info mcp evil\\r\\n2026 error x \\u{1b}[31m ü\n"),
            "{line:?}"
        );
    }

    #[test]
    fn drops_are_told_by_the_next_line() {
        let (log, read) = captured(Level::Info, 1);
        for text in ["a", "b", "c"] {
            log.info("x", format_args!("{text}"));
        }
        assert!(read().ends_with(" a\n"));
        log.info("x", format_args!("d"));
        assert!(read().ends_with(" d (2 lines before this one were dropped)\n"));
    }

    #[test]
    fn long_messages_are_cut() {
        let (log, read) = captured(Level::Info, 1);
        log.info("x", format_args!("{}", "é".repeat(MESSAGE_BYTES_MAX)));
        assert!(read().len() < MESSAGE_BYTES_MAX + 64);
    }
}
