//! `ringway healthcheck`: asks a running gateway for /health, for containers without curl.

use std::process::ExitCode;
use std::time::Duration;

use super::Failure;
use super::args::HealthcheckArgs;
use super::client::page;
use super::connect::{Target, failure, with_path};
use super::terminal::Terminal;
use crate::config::{Env, PORT};
use crate::http::endpoint::Endpoint;

/// Container runtimes give a check some seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Exit code 0 if the page answers 200, else 1.
pub(super) fn run(
    args: &HealthcheckArgs,
    terminal: &Terminal,
    env: &Env,
) -> Result<ExitCode, Failure> {
    let url = args.url.clone().unwrap_or_else(|| {
        let port = env.get("PORT").and_then(|port| port.parse().ok());
        format!("http://127.0.0.1:{}", port.unwrap_or(PORT))
    });
    let target = Target {
        url: with_path(&url, "/health"),
        is_local: args.url.is_none(),
    };
    let endpoint = Endpoint::parse(&target.url)
        .map_err(|error| Failure::Usage(format!("{}: {error}", target.url)))?;
    let (status, body) = page(&endpoint, TIMEOUT).map_err(|error| failure(&error, &target))?;
    let body = String::from_utf8_lossy(&body);
    if status == 200 {
        terminal.print(body.trim_end());
        terminal.print("\n");
        Ok(ExitCode::SUCCESS)
    } else {
        let text = format!("{}: answered {status}: {}", target.url, body.trim_end());
        Err(Failure::Failed(text))
    }
}
