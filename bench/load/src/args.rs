//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Load generator for servers that you own: HTTP/1.1, TLS, event streams, MCP.
///
/// Without --rate each connection sends its next request when the last one is answered (closed
/// loop). With --rate requests have a time at which they are due, whatever the server does, and
/// their latency counts from then (open loop, no coordinated omission).
#[derive(Debug, Parser)]
#[command(name = "ringway-bench", version)]
pub(crate) struct Cli {
    /// What to send.
    #[command(subcommand)]
    pub(crate) what: What,
}

/// What to send.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Requests and their answers
    Http {
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        request: RequestArgs,
        /// Requests that differ in a query argument, sent in turn: 1 repeats the same bytes
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        vary: u32,
    },
    /// Event streams: how many events arrive, and the time between two of a connection
    Sse {
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        request: RequestArgs,
    },
    /// Calls of a tool of an MCP server (tools/call)
    Mcp {
        #[command(flatten)]
        load: Load,
        /// Era of the protocol: modern needs no session, legacy opens one for each connection
        #[arg(long, value_enum, default_value_t = Era::Modern)]
        era: Era,
        /// The tool
        #[arg(long, default_value = "echo")]
        tool: String,
        /// Its arguments, as JSON
        #[arg(long, default_value = r#"{"message":"hello"}"#)]
        arguments: String,
    },
}

/// What a single request is made of.
#[derive(Args, Clone, Debug)]
pub(crate) struct RequestArgs {
    /// Method
    #[arg(short = 'X', long, default_value = "GET")]
    pub(crate) method: String,
    /// Body, sent with Content-Length
    #[arg(long)]
    pub(crate) body: Option<String>,
}

/// Era of MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Era {
    /// 2026-07-28: each request stands alone.
    Modern,
    /// 2025-11-25 and before: a handshake, then a session.
    Legacy,
}

/// How much load, how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// http:// or https:// address; names are resolved once
    pub(crate) url: String,
    /// Connections, each with one request under way
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: u32,
    /// Threads; each has its own runtime and share of the connections
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
    /// Seconds to measure, at most 3600
    #[arg(short, long, default_value = "10", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Seconds of load before that which are not counted
    #[arg(short, long, default_value = "1", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Seconds that answers may still take after the end; then they count as unfinished
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) grace: Duration,
    /// Open loop: requests per second in all
    #[arg(short, long)]
    pub(crate) rate: Option<f64>,
    /// Header sent with every request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The certificate that https:// servers are checked against (PEM)
    #[arg(long)]
    pub(crate) cacert: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text
        .trim_end_matches('s')
        .parse()
        .map_err(|_| "a number of seconds")?;
    if (0.0..=3600.0).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err("between 0 and 3600 seconds".to_owned())
    }
}
