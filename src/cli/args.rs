//! The command line, as typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Flags, Options};

/// MCP gateway and edge server in one binary.
///
/// Without a configuration it serves its demo server on 127.0.0.1:4444.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.\n\
                        Every configuration key is also a variable: RINGWAY_SECTION_KEY."
)]
pub(super) struct Cli {
    /// What to do; `serve` if nothing is said.
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    /// Flags of `serve`.
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server (the default)
    Serve(ServeArgs),
    /// Check the configuration and say everything that is wrong with it
    Check(ServeArgs),
    /// About the configuration file
    Config(ConfigArgs),
}

/// Flags of `serve` and `check`.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ServeArgs {
    /// Configuration file; ringway.toml if it is there
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// File of an MCP client with its servers (mcp.json, claude_desktop_config.json,
    /// config.toml of Codex …); may be given several times
    #[arg(short, long, value_name = "FILE")]
    pub(super) mcp: Vec<PathBuf>,
    /// Address to listen on instead of those of the file; may be given several times
    #[arg(short, long, value_name = "ADDR")]
    pub(super) listen: Vec<String>,
    /// Number of shards (threads), or auto
    #[arg(long, value_name = "N")]
    pub(super) shards: Option<String>,
    /// How to wait for the kernel: auto, defer, coop, uring or epoll
    #[arg(long, value_name = "DRIVER")]
    pub(super) driver: Option<String>,
}

impl ServeArgs {
    /// What the configuration needs of it.
    #[must_use]
    pub(super) fn options(&self) -> Options {
        Options {
            config: self.config.clone(),
            mcp: self.mcp.clone(),
            flags: Flags {
                listen: self.listen.clone(),
                shards: self.shards.clone(),
                driver: self.driver.clone(),
            },
        }
    }
}

/// `ringway config`
#[derive(Args, Clone, Debug)]
pub(super) struct ConfigArgs {
    /// What to print.
    #[command(subcommand)]
    pub(super) command: ConfigCommand,
}

/// What `ringway config` prints.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the JSON Schema of ringway.toml, for editors
    Schema,
}
