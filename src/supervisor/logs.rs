//! The log files: opened before anything else, opened again on SIGUSR1 so that they can be
//! rotated, written out at the end.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::base::log::Logger;
use crate::base::log_file;
use crate::base::writer::{Lines, Writer};
use crate::config::{self, LogTarget};
use crate::record::open_access_log;
use crate::supervisor::Failure;

/// How long the last log lines may take to be written.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Both logs and their threads.
pub(super) struct Logs {
    config: config::Log,
    /// Diagnostics.
    pub(super) log: Logger,
    log_writer: Option<Writer>,
    /// Where access log lines go, if anywhere.
    pub(super) access: Option<Lines>,
    access_writer: Option<Writer>,
}

impl Logs {
    /// Opens what is configured.
    pub(super) fn open(config: &config::Log) -> Result<Self, Failure> {
        let level = config.level;
        let (log, log_writer) = match &config.error {
            LogTarget::Off => (Logger::off(), None),
            LogTarget::Stdout => started(Logger::start(level, io::stdout()))?,
            LogTarget::Stderr => started(Logger::start(level, io::stderr()))?,
            LogTarget::File(path) => {
                let file = log_file::open(path).map_err(|error| unopened(path, error))?;
                started(Logger::start(level, file))?
            }
        };
        let opened = open_access_log(config).map_err(|error| match &config.access {
            LogTarget::File(path) => unopened(path, error),
            _ => Failure::system("open the access log")(error),
        })?;
        let (access_writer, access) = opened.unzip();
        Ok(Self {
            config: config.clone(),
            log,
            log_writer,
            access,
            access_writer,
        })
    }

    /// Opens the files anew under their names. One that cannot be opened stays as it is.
    pub(super) fn reopen(&self) {
        let log = &self.log;
        for (what, target, writer) in [
            ("access", &self.config.access, &self.access_writer),
            ("error", &self.config.error, &self.log_writer),
        ] {
            let (LogTarget::File(path), Some(writer)) = (target, writer) else {
                continue;
            };
            let path_shown = path.display();
            match log_file::open(path).map(|file| writer.turn_to(file)) {
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
        for writer in self.access_writer.iter().chain(&self.log_writer) {
            writer.finish(LOG_PATIENCE);
        }
    }
}

fn started(result: io::Result<(Logger, Writer)>) -> Result<(Logger, Option<Writer>), Failure> {
    let (log, writer) = result.map_err(Failure::system("start the log"))?;
    Ok((log, Some(writer)))
}

fn unopened(path: &Path, error: io::Error) -> Failure {
    Failure::Log {
        path: path.to_owned(),
        error,
    }
}
