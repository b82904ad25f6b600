//! A shard's access log: lines gather in a buffer, full buffers go to the writer thread. What
//! the writer cannot take is dropped and counted; a shard never waits for a disk or a pipe.

use std::fs::OpenOptions;
use std::io;
use std::time::{Duration, Instant};

use crate::base::writer::{Lines, Writer};
use crate::config::{self, Log, LogFormat};
use crate::record::format::{DateCache, Line};

/// A buffer of this size is handed over, as the seed's `buffer=16k`.
const BUFFER_BYTES: usize = 16 * 1024;
/// Lines older than this are handed over with the next one.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Buffers that may wait for the writer: 4 MiB in all.
const BUFFERS_QUEUED_MAX: usize = 256;

/// One shard's part of the access log.
#[derive(Debug)]
pub struct AccessLog {
    lines: Lines,
    format: LogFormat,
    buffer: Vec<u8>,
    buffered: u64,
    oldest: Option<Instant>,
    date: DateCache,
}

/// Opens the configured access log and starts its writer; `None` if it is off. Clones of the
/// [`Lines`] go to the shards; finish the [`Writer`] after they have ended.
///
/// # Errors
/// The file cannot be opened for appending, or the thread cannot be started.
pub fn open_access_log(log: &Log) -> io::Result<Option<(Writer, Lines)>> {
    let opened = match &log.access {
        config::AccessLog::Off => return Ok(None),
        config::AccessLog::Stdout => Writer::spawn("access", io::stdout(), BUFFERS_QUEUED_MAX),
        config::AccessLog::File(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            Writer::spawn("access", file, BUFFERS_QUEUED_MAX)
        }
    };
    opened.map(Some)
}

impl AccessLog {
    /// A log that writes lines of that format.
    #[must_use]
    pub fn new(lines: Lines, format: LogFormat) -> Self {
        Self {
            lines,
            format,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            buffered: 0,
            oldest: None,
            date: DateCache::default(),
        }
    }

    /// Adds a line; hands the buffer over when it is full or old. Returns how many lines were
    /// dropped.
    pub(super) fn write(&mut self, line: &Line<'_>, now: Instant) -> u64 {
        line.write(self.format, &mut self.date, &mut self.buffer);
        self.buffered += 1;
        let oldest = *self.oldest.get_or_insert(now);
        let is_old = now.saturating_duration_since(oldest) >= AGE_MAX;
        if is_old || self.buffer.len() >= BUFFER_BYTES {
            return self.flush();
        }
        0
    }

    /// Hands over what is buffered. Returns how many lines were dropped.
    pub(super) fn flush(&mut self) -> u64 {
        self.oldest = None;
        let count = core::mem::take(&mut self.buffered);
        if self.buffer.is_empty() {
            return 0;
        }
        match self.lines.try_write(core::mem::take(&mut self.buffer)) {
            Ok(()) => {
                self.buffer.reserve(BUFFER_BYTES);
                0
            }
            Err(mut refused) => {
                refused.clear();
                self.buffer = refused;
                count
            }
        }
    }
}
