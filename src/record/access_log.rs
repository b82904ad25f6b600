//! A shard's access log: lines gather in a buffer, full buffers go to the writer thread. What
//! the writer cannot take is dropped and counted; a shard never waits for a disk or a pipe.

use core::ops::RangeInclusive;
use std::io;
use std::time::{Duration, Instant};

use crate::base::log_file;
use crate::base::writer::{Lines, Writer};
use crate::config::{Log, LogFormat, LogTarget};
use crate::record::format::{DateCache, Line};

/// Bytes that may wait for the writer.
const QUEUED_BYTES_MAX: usize = 4 << 20;
/// Buffers that may wait for the writer, however small or large they are.
const BUFFERS_QUEUED: (usize, usize) = (8, 4096);

/// One shard's part of the access log.
#[derive(Debug)]
pub struct AccessLog {
    lines: Lines,
    format: LogFormat,
    /// Statuses that have lines; empty is all.
    statuses: Vec<RangeInclusive<u16>>,
    buffer: Vec<u8>,
    buffer_bytes: usize,
    age_max: Duration,
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
    let (least, most) = BUFFERS_QUEUED;
    let queued = (QUEUED_BYTES_MAX / log.buffer.max(1)).clamp(least, most);
    let opened = match &log.access {
        LogTarget::Off => return Ok(None),
        LogTarget::Stdout => Writer::spawn("access", io::stdout(), queued),
        LogTarget::Stderr => Writer::spawn("access", io::stderr(), queued),
        LogTarget::File(path) => Writer::spawn("access", log_file::open(path)?, queued),
    };
    opened.map(Some)
}

impl AccessLog {
    /// A log as configured.
    #[must_use]
    pub fn new(lines: Lines, log: &Log) -> Self {
        Self {
            lines,
            format: log.format.clone(),
            statuses: log.statuses.clone(),
            buffer: Vec::with_capacity(log.buffer),
            buffer_bytes: log.buffer,
            age_max: log.flush,
            buffered: 0,
            oldest: None,
            date: DateCache::default(),
        }
    }

    /// Whether lines name fields of the response.
    pub(super) fn names_sent_fields(&self) -> bool {
        self.format.names_sent_fields()
    }

    /// Adds a line; hands the buffer over when it is full or old. Returns how many lines were
    /// dropped.
    pub(super) fn write(&mut self, line: &Line<'_>, now: Instant) -> u64 {
        let statuses = &self.statuses;
        if !statuses.is_empty() && !statuses.iter().any(|range| range.contains(&line.status)) {
            return 0;
        }
        line.write(&self.format, &mut self.date, &mut self.buffer);
        self.buffered += 1;
        let oldest = *self.oldest.get_or_insert(now);
        let is_old = now.saturating_duration_since(oldest) >= self.age_max;
        if is_old || self.buffer.len() >= self.buffer_bytes {
            return self.flush();
        }
        0
    }

    /// Hands over what is buffered, if it is old. Returns how many lines were dropped.
    pub(super) fn sweep(&mut self, now: Instant) -> u64 {
        match self.oldest {
            Some(oldest) if now.saturating_duration_since(oldest) >= self.age_max => self.flush(),
            _ => 0,
        }
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
                self.buffer.reserve(self.buffer_bytes);
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
