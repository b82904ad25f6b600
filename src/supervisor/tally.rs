//! How many lines of the log were written, by level. The log's thread counts, the supervisor
//! reads; no shard touches it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::statsd::LogLines;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    errors: AtomicU64,
    warnings: AtomicU64,
}

impl Tally {
    /// A target whose lines are counted.
    pub(super) fn counting<W>(self: &Arc<Self>, out: W) -> Counted<W> {
        let tally = Arc::clone(self);
        Counted { out, tally }
    }

    /// What was counted.
    pub(super) fn lines(&self) -> LogLines {
        LogLines {
            errors: self.errors.load(Ordering::Relaxed),
            warnings: self.warnings.load(Ordering::Relaxed),
        }
    }

    /// Counts a line: `2026-11-24T08:00:00Z warn target message`.
    fn count(&self, line: &[u8]) {
        match line.split(|byte| *byte == b' ').nth(1) {
            Some(b"error") => self.errors.fetch_add(1, Ordering::Relaxed),
            Some(b"warn") => self.warnings.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}

/// Counts the lines that go through. The log's thread writes them one by one, whole.
pub(super) struct Counted<W> {
    out: W,
    tally: Arc<Tally>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.out.write(line)?;
        if written == line.len() {
            self.tally.count(line);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_level() {
        let tally = Arc::<Tally>::default();
        let mut out = tally.counting(Vec::new());
        for line in [
            "2026-11-24T08:00:00Z warn mcp x\n",
            "2026-11-24T08:00:00Z error tls warn\n",
            "2026-11-24T08:00:00Z info mcp error\n",
            "odd\n",
        ] {
            out.write_all(line.as_bytes()).unwrap();
        }
        let expected = LogLines {
            errors: 1,
            warnings: 1,
        };
        assert_eq!(tally.lines(), expected);
        assert_eq!(out.out.len(), 33 + 37 + 34 + 4);
    }
}
