//! The command line: what the user typed becomes a run of the server or one of the small tools.
//!
//! Exit codes: 0 done; 1 failed (a tool said so, a check found something, nobody answered);
//! 2 wrong usage or configuration.
#![forbid(unsafe_code)]

mod args;
mod arguments;
mod call;
mod certs;
mod check;
mod client;
mod connect;
mod doctor;
mod healthcheck;
mod schema;
mod terminal;
mod tools;
mod upgrade;

use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Cli, Command, ConfigCommand, ServeArgs};
use self::terminal::Terminal;
use crate::config::{self, Env, Loaded, Options};

/// Why a command did not end well.
#[derive(Debug)]
enum Failure {
    /// It did not succeed: exit code 1. The text, if any, is for standard error.
    Failed(String),
    /// It was not understood: exit code 2.
    Usage(String),
}

/// Runs the program. `serve` is handed the configuration and where it came from, and runs the
/// server to its end.
pub fn main(serve: impl FnOnce(Loaded, Options) -> ExitCode) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" of clap that belong on standard output.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()) * 2);
        }
    };
    let terminal = Terminal::of_process();
    let env = Env::of_process();
    match run(cli, &terminal, &env, serve) {
        Ok(code) => code,
        Err(failure) => {
            let (text, code) = match failure {
                Failure::Failed(text) => (text, 1),
                Failure::Usage(text) => (text, 2),
            };
            if !text.is_empty() {
                terminal.complain(&text);
            }
            ExitCode::from(code)
        }
    }
}

fn run(
    cli: Cli,
    terminal: &Terminal,
    env: &Env,
    serve: impl FnOnce(Loaded, Options) -> ExitCode,
) -> Result<ExitCode, Failure> {
    match cli.command {
        None => start(&cli.serve, terminal, env, serve),
        Some(Command::Serve(args)) => start(&args, terminal, env, serve),
        Some(Command::Check(args)) => check::run(&args, terminal, env),
        Some(Command::Tools(args)) => tools::run(&args, terminal, env),
        Some(Command::Call(args)) => call::run(&args, terminal, env),
        Some(Command::Doctor(args)) => doctor::run(&args, terminal, env),
        Some(Command::Certs(args)) => certs::run(&args, terminal),
        Some(Command::Upgrade(args)) => upgrade::run(&args, terminal, env),
        Some(Command::Healthcheck(args)) => healthcheck::run(&args, terminal, env),
        Some(Command::Config(args)) => match args.command {
            ConfigCommand::Schema => {
                terminal.print(&config::json_schema());
                Ok(ExitCode::SUCCESS)
            }
        },
    }
}

fn start(
    args: &ServeArgs,
    terminal: &Terminal,
    env: &Env,
    serve: impl FnOnce(Loaded, Options) -> ExitCode,
) -> Result<ExitCode, Failure> {
    Ok(serve(configuration(args, terminal, env)?, args.options()))
}

/// Loads the configuration for a start: problems end it, warnings and refused servers are told.
fn configuration(args: &ServeArgs, terminal: &Terminal, env: &Env) -> Result<Loaded, Failure> {
    let loaded = config::load(&args.options(), env).map_err(|problems| {
        let mut text = String::new();
        for problem in &problems {
            text.push_str(&format!("{problem}\n"));
        }
        let count = problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        text.push_str(&format!("{count} {noun} in the configuration; not started"));
        Failure::Usage(text)
    })?;
    for warning in &loaded.warnings {
        terminal.warn(&warning.to_string());
    }
    for (name, reason) in &loaded.config.mcp.refused {
        terminal.warn(&format!("server {name} is left out: {reason}"));
    }
    Ok(loaded)
}
