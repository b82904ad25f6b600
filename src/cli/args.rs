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
    /// Look at everything a start meets (kernel, limits, certificates, MCP servers) and say what
    /// to do
    Doctor(DoctorArgs),
    /// List the tools of an MCP server: name, input, cost in tokens
    Tools(ToolsArgs),
    /// Call a tool of an MCP server
    Call(CallArgs),
    /// Ask a running gateway whether it is healthy (for containers without curl)
    Healthcheck(HealthcheckArgs),
    /// Have a running gateway start the program anew and hand over to it, without a pause
    Upgrade(UpgradeArgs),
    /// Make a self-signed certificate and its key, to try TLS with
    Certs(CertsArgs),
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

/// `ringway doctor`
#[derive(Args, Clone, Debug)]
pub(super) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Look for programs of MCP servers, and do not start them
    #[arg(long)]
    pub(super) no_start: bool,
    /// How long each MCP server may take for an answer
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(super) timeout: String,
    /// What would be served.
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

/// How to reach an MCP server.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ConnectArgs {
    /// Header sent with every request, for example "Authorization: Bearer …"
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(super) headers: Vec<String>,
    /// Era of the protocol: auto, modern or legacy
    #[arg(long, value_name = "ERA", default_value = "auto")]
    pub(super) era: String,
    /// How long to wait for the next byte of an answer
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(super) timeout: String,
    /// Print the server's JSON as it is
    #[arg(long)]
    pub(super) json: bool,
    /// Say which steps the protocol takes, and show the server's log messages
    #[arg(short, long)]
    pub(super) verbose: bool,
}

/// `ringway tools`
#[derive(Args, Clone, Debug)]
pub(super) struct ToolsArgs {
    /// The server; the local gateway if nothing is said
    #[arg(value_name = "URL")]
    pub(super) url: Option<String>,
    /// Show one tool only
    #[arg(long, value_name = "NAME")]
    pub(super) tool: Option<String>,
    /// How to reach it.
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
}

/// `ringway call`
#[derive(Args, Clone, Debug)]
pub(super) struct CallArgs {
    /// [URL] TOOL [JSON | KEY=VALUE …]; the URL of the local gateway may be left out
    #[arg(value_name = "[URL] TOOL [JSON | KEY=VALUE]", required = true, num_args = 1..)]
    pub(super) words: Vec<String>,
    /// Save images, audio and files of the result in this folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Answer to what the tool asks for while it runs; may be given several times
    #[arg(long = "answer", value_name = "NAME=VALUE")]
    pub(super) answers: Vec<String>,
    /// Send the arguments even if they do not fit the tool's schema
    #[arg(long)]
    pub(super) no_check: bool,
    /// How to reach it.
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
}

/// `ringway healthcheck`
#[derive(Args, Clone, Debug)]
pub(super) struct HealthcheckArgs {
    /// Page to ask; /health of the local gateway if nothing is said
    #[arg(value_name = "URL")]
    pub(super) url: Option<String>,
    /// Configuration file of the local gateway, which tells its address; ringway.toml if it is
    /// there
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    pub(super) config: Option<PathBuf>,
}

/// `ringway upgrade`
#[derive(Args, Clone, Debug)]
pub(super) struct UpgradeArgs {
    /// Number of the running process
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<i32>,
    /// File with that number; server.pidfile of the configuration if nothing is said
    #[arg(long, value_name = "FILE")]
    pub(super) pidfile: Option<PathBuf>,
    /// Configuration file that names the pidfile
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// `ringway certs`
#[derive(Args, Clone, Debug)]
pub(super) struct CertsArgs {
    /// Folder for cert.pem and key.pem
    #[arg(short, long, value_name = "DIR", default_value = "certs")]
    pub(super) out: PathBuf,
    /// Name or address that the certificate is for, besides localhost; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(super) host: Vec<String>,
    /// Replace files that are there already
    #[arg(long)]
    pub(super) force: bool,
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
