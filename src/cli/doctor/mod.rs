//! `ringway doctor`: looks at everything a start would meet (kernel, limits, certificates, MCP
//! servers) and says what to do. Changes nothing; children that it starts, it ends.
//!
//! Exit code 0 if all is well, 1 if there are problems, 2 if the configuration cannot be read.

mod edge;
mod report;
mod servers;
mod stdio;
mod system;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use self::report::Report;
use super::Failure;
use super::args::DoctorArgs;
use super::terminal::Terminal;
use crate::base::clock::Now;
use crate::config::units::{DURATION_HINT, parse_duration};
use crate::config::{self, Env};

pub(super) fn run(args: &DoctorArgs, terminal: &Terminal, env: &Env) -> Result<ExitCode, Failure> {
    let timeout = parse_duration(&args.timeout)
        .filter(|timeout| !timeout.is_zero())
        .ok_or_else(|| Failure::Usage(format!("--timeout {}: {DURATION_HINT}", args.timeout)))?;
    let loaded = config::load(&args.serve.options(), env).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let lines = lines.join("\n");
        Failure::Usage(format!("{lines}\nthe configuration cannot be read"))
    })?;
    let config = &loaded.config;
    let mut report = Report::default();
    for warning in &loaded.warnings {
        report.note("configuration", warning.to_string(), None);
    }
    system::examine(config, &mut report);
    edge::examine(config, Now::read().unix, timeout, &mut report);
    servers::examine(config, env, (timeout, args.no_start), &mut report);
    if args.json {
        terminal.print(&report.json());
    } else {
        terminal.print(&report.text(terminal));
    }
    Ok(if report.problems() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
