//! `[log]`: what is logged, and where.

use std::path::PathBuf;

use super::Around;
use crate::base::log::Level;
use crate::config::kinds::words;
use crate::config::read::section;

section! {
    /// What is logged, and where.
    RawLog {
        /// Lines below this level are not written. Also LOG_LEVEL.
        level: LevelWord,
        /// Access log: a path, "-" for standard output, or "off".
        access: String,
        /// Format of the access log.
        format: FormatWord,
    }
}

words! {
    /// `level`; Gunicorn's and nginx's words are understood.
    LevelWord(Level) {
        "error" | "critical" | "crit" | "alert" | "emerg" | "fatal" => Level::Error,
        "warn" | "warning" => Level::Warn,
        "info" | "notice" => Level::Info,
        "debug" | "trace" => Level::Debug,
    }
}

words! {
    /// `format`
    FormatWord(LogFormat) {
        "main" => LogFormat::Main,
        "combined" => LogFormat::Combined,
        "json" => LogFormat::Json,
    }
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Lines below this level are not written.
    pub level: Level,
    /// Access log target.
    pub access: AccessLog,
    /// Access log format.
    pub format: LogFormat,
}

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// What an access log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// nginx's `main` of the seed.
    Main,
    /// nginx's and Apache's `combined`.
    Combined,
    /// One JSON object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            access: AccessLog::Stdout,
            format: LogFormat::Main,
        }
    }
}

pub(super) fn resolve(raw: RawLog, around: &Around<'_>) -> Log {
    let defaults = Log::default();
    Log {
        level: raw.level.map_or(defaults.level, |word| word.0),
        access: match raw.access.as_deref() {
            None => defaults.access,
            Some("off" | "none" | "") => AccessLog::Off,
            Some("-" | "stdout" | "/dev/stdout") => AccessLog::Stdout,
            Some(path) => AccessLog::File(around.path(path)),
        },
        format: raw.format.map_or(defaults.format, |word| word.0),
    }
}
