//! `ringway upgrade`: has a running gateway start the program anew and hand over to it, and waits
//! until that has happened.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::Failure;
use super::args::UpgradeArgs;
use super::terminal::Terminal;
use crate::base::clock;
use crate::config::{self, Env, Options};

/// The gateway itself gives up after a minute.
const LIMIT: Duration = Duration::from_secs(75);
/// A gateway moves its pidfile aside at once.
const BEGIN_MAX: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Exit code 0 when the new process serves, 1 if the old one goes on.
pub(super) fn run(args: &UpgradeArgs, terminal: &Terminal, env: &Env) -> Result<ExitCode, Failure> {
    let pidfile = pidfile(args, env)?;
    let number = match (args.pid, &pidfile) {
        (Some(number), _) => number,
        (None, Some(path)) => read(path).ok_or_else(|| {
            let path = path.display();
            Failure::Failed(format!(
                "{path} holds no number of a process; is it running?"
            ))
        })?,
        (None, None) => {
            let text = "which process? Say --pid or --pidfile, or set server.pidfile";
            return Err(Failure::Usage(text.to_owned()));
        }
    };
    let old = Pid::from_raw(number)
        .ok_or_else(|| Failure::Usage(format!("{number} is no number of a process")))?;
    kill_process(old, Signal::USR2)
        .map_err(|error| Failure::Failed(format!("cannot signal process {number}: {error}")))?;
    match wait(old, pidfile.as_deref()) {
        Some(new) => {
            terminal.print(&format!("{new}\n"));
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let text = format!("process {number} goes on; its log says why there is no new one");
            Err(Failure::Failed(text))
        }
    }
}

fn pidfile(args: &UpgradeArgs, env: &Env) -> Result<Option<PathBuf>, Failure> {
    if args.pidfile.is_some() || args.pid.is_some() {
        return Ok(args.pidfile.clone());
    }
    let options = Options {
        config: args.config.clone(),
        ..Options::default()
    };
    let loaded = config::load(&options, env).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::Usage(lines.join("\n"))
    })?;
    Ok(loaded.config.server.pidfile)
}

/// What became of it, for people; `None` if the old process goes on.
fn wait(old: Pid, pidfile: Option<&Path>) -> Option<String> {
    let began = clock::mono();
    let mut has_begun = false;
    while clock::mono() < began + LIMIT {
        thread::sleep(LOOK_INTERVAL);
        if let Some(path) = pidfile {
            let aside = PathBuf::from(format!("{}.oldbin", path.display()));
            let own = old.as_raw_nonzero().get();
            match (read(path), read(&aside)) {
                // Only when the new process accepts does the old one end, and its file with it.
                (Some(new), None) if new != own => return Some(format!("process {new} serves")),
                (Some(number), None) if number == own && has_begun => return None,
                (_, Some(_)) => has_begun = true,
                // A failure may be over between two looks.
                _ if clock::mono() > began + BEGIN_MAX => has_begun = true,
                _ => {}
            }
        }
        if test_kill_process(old).is_err() {
            return Some("the old process has ended".to_owned());
        }
    }
    None
}

fn read(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
