//! The log files: opened before anything else, opened again on SIGUSR1 so that they can be
//! rotated, exchanged when the configuration names others, written out at the end.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::log::Logger;
use crate::base::log_file;
use crate::base::writer::{Lines, Writer};
use crate::config::{self, LogTarget};
use crate::record::open_access_log;
use crate::supervisor::tally::Tally;

/// How long the last log lines may take to be written.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// Writers of earlier configurations that are waited for at the end; older ones are done long
/// since.
const OLD_WRITERS_MAX: usize = 8;

/// Why a log cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFailure {
    /// Its file cannot be opened.
    #[error("cannot open the log {}: {error}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Its thread cannot be started.
    #[error("cannot start the log: {0}")]
    Thread(io::Error),
}

/// Both logs and their threads.
pub(super) struct Logs {
    /// What was written to the log of diagnostics, over all generations.
    pub(super) tally: Arc<Tally>,
    state: RefCell<State>,
}

struct State {
    config: config::Log,
    log: Logger,
    log_writer: Option<Writer>,
    access: Option<Lines>,
    access_writer: Option<Writer>,
    /// Lines of older generations may still come.
    old: Vec<Writer>,
}

/// Logs as another configuration wants them.
pub(super) struct Opened {
    config: config::Log,
    /// Diagnostics.
    pub(super) log: Logger,
    /// Where access log lines go, if anywhere.
    pub(super) access: Option<Lines>,
    /// Of those that are not as they were.
    log_writer: Option<Option<Writer>>,
    access_writer: Option<Option<Writer>>,
}

impl Logs {
    /// Opens what is configured.
    pub(super) fn open(config: &config::Log) -> Result<Self, LogFailure> {
        let tally = Arc::<Tally>::default();
        let (log, log_writer) = open_log(config, &tally)?;
        let (access, access_writer) = open_access(config)?;
        Ok(Self {
            tally,
            state: RefCell::new(State {
                config: config.clone(),
                log,
                log_writer,
                access,
                access_writer,
                old: Vec::new(),
            }),
        })
    }

    /// Diagnostics.
    pub(super) fn log(&self) -> Logger {
        self.state.borrow().log.clone()
    }

    /// Where access log lines go, if anywhere.
    pub(super) fn access(&self) -> Option<Lines> {
        self.state.borrow().access.clone()
    }

    /// Opens what another configuration writes to and this one does not.
    pub(super) fn open_changed(&self, config: &config::Log) -> Result<Opened, LogFailure> {
        let state = self.state.borrow();
        let (log, log_writer) = if config.error == state.config.error {
            (state.log.with_level(config.level), None)
        } else {
            let (log, writer) = open_log(config, &self.tally)?;
            (log, Some(writer))
        };
        let (access, access_writer) = if config.access == state.config.access {
            (state.access.clone(), None)
        } else {
            let (access, writer) = open_access(config)?;
            (access, Some(writer))
        };
        Ok(Opened {
            config: config.clone(),
            log,
            access,
            log_writer,
            access_writer,
        })
    }

    /// Writes there from now on.
    pub(super) fn take(&self, opened: Opened) {
        let mut state = self.state.borrow_mut();
        state.config = opened.config;
        state.log = opened.log;
        state.access = opened.access;
        let mut replaced = Vec::new();
        if let Some(writer) = opened.log_writer {
            replaced.extend(core::mem::replace(&mut state.log_writer, writer));
        }
        if let Some(writer) = opened.access_writer {
            replaced.extend(core::mem::replace(&mut state.access_writer, writer));
        }
        state.old.append(&mut replaced);
        let surplus = state.old.len().saturating_sub(OLD_WRITERS_MAX);
        state.old.drain(..surplus);
    }

    /// Opens the files anew under their names. One that cannot be opened stays as it is.
    pub(super) fn reopen(&self) {
        let state = self.state.borrow();
        let log = &state.log;
        for (what, target, writer) in [
            ("access", &state.config.access, &state.access_writer),
            ("error", &state.config.error, &state.log_writer),
        ] {
            let (LogTarget::File(path), Some(writer)) = (target, writer) else {
                continue;
            };
            let path_shown = path.display();
            let opened = log_file::open(path).map(|file| match what {
                "error" => writer.turn_to(self.tally.counting(file)),
                _ => writer.turn_to(file),
            });
            match opened {
                Ok(true) => log.info("log", format_args!("{what} log reopened: {path_shown}")),
                Ok(false) => log.error(
                    "log",
                    format_args!("{what} log not reopened: a write to {path_shown} hangs"),
                ),
                Err(error) => log.error(
                    "log",
                    format_args!("{what} log not reopened: {path_shown}: {error}"),
                ),
            }
        }
    }

    /// Waits until the last lines are written, but not for long.
    pub(super) fn finish(&self) {
        let state = self.state.borrow();
        let newest = state.access_writer.iter().chain(&state.log_writer);
        for writer in newest.chain(&state.old) {
            writer.finish(LOG_PATIENCE);
        }
    }
}

fn open_log(
    config: &config::Log,
    tally: &Arc<Tally>,
) -> Result<(Logger, Option<Writer>), LogFailure> {
    let level = config.level;
    let started = match &config.error {
        LogTarget::Off => return Ok((Logger::off(), None)),
        LogTarget::Stdout => Logger::start(level, tally.counting(io::stdout())),
        LogTarget::Stderr => Logger::start(level, tally.counting(io::stderr())),
        LogTarget::File(path) => {
            let file = log_file::open(path).map_err(|error| unopened(path, error))?;
            Logger::start(level, tally.counting(file))
        }
    };
    let (log, writer) = started.map_err(LogFailure::Thread)?;
    Ok((log, Some(writer)))
}

fn open_access(config: &config::Log) -> Result<(Option<Lines>, Option<Writer>), LogFailure> {
    let opened = open_access_log(config).map_err(|error| match &config.access {
        LogTarget::File(path) => unopened(path, error),
        _ => LogFailure::Thread(error),
    })?;
    let (writer, lines) = opened.unzip();
    Ok((lines, writer))
}

fn unopened(path: &Path, error: io::Error) -> LogFailure {
    LogFailure::File {
        path: path.to_owned(),
        error,
    }
}
