//! Starts one shard for each core, watches them, merges their figures, ends them. Handles no
//! request itself. The main thread.
#![forbid(unsafe_code)]

mod banner;
mod bind;
mod certificates;
mod logs;
mod pidfile;
mod recompress;
mod scrape;
mod stapling;
mod watch;

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::clock::Now;
use crate::config::{self, Config, McpServer, McpTarget};
use crate::handler::builtin::Scraper;
use crate::handler::mcp::demo;
use crate::handler::mcp::peers::Peers;
use crate::handler::mcp::upstream::Wires;
use crate::net::affinity::Cores;
use crate::net::disk::Disk;
use crate::net::process::Spawner;
use crate::net::resolve::Resolver;
use crate::net::runtime::{Driver, Runtime};
use crate::net::sys::{TerminationSignals, raise_file_limit};
use crate::net::tls::TlsConnector;
use crate::server::Links;
use crate::shard::Ends;
use crate::supervisor::certificates::Certificates;
use crate::supervisor::logs::Logs;
use crate::supervisor::pidfile::Pidfile;
use crate::supervisor::watch::Watch;

/// Why the program could not start, or did not end well. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] bind::BindError),
    /// A log file cannot be opened.
    #[error("cannot open the log {}: {error}", .path.display())]
    Log {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The pidfile cannot be written, or somebody else's process holds it.
    #[error("cannot write server.pidfile {}: {error}", .path.display())]
    Pidfile {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A certificate cannot be used.
    #[error("TLS: {0}")]
    Certificates(#[from] certificates::CertificateFailure),
    /// A shard has no runtime, or lost its listener.
    #[error("shard {shard} cannot run: {reason}")]
    Shard {
        /// Which shard.
        shard: u16,
        /// Why.
        reason: String,
    },
    /// Something that every process can do did not work.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// A second signal came before the drain was over.
    #[error("ended by a second signal; requests under way were cut off")]
    Interrupted,
}

impl Failure {
    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

/// Runs the server until it is told to end.
#[must_use]
pub fn run(config: Config) -> ExitCode {
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("ringway: {failure}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard error. If nobody reads it any more, that is no reason to end.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn start(config: Config) -> Result<(), Failure> {
    let started = Now::read();
    // Before the first thread, which would otherwise be interrupted instead.
    let signals = TerminationSignals::block().map_err(Failure::system("block signals"))?;
    let limit_before = raise_file_limit().ok().map(|(before, _)| before);
    // Before anything else is touched: a folder that is missing stops a start, not a server.
    let logs = Rc::new(Logs::open(&config.log)?);
    let with = (Rc::clone(&logs), limit_before);
    let result = supervise(Arc::new(config), started, &signals, with);
    logs.finish();
    result
}

fn supervise(
    config: Arc<Config>,
    started: Now,
    signals: &TerminationSignals,
    (logs, file_limit): (Rc<Logs>, Option<u64>),
) -> Result<(), Failure> {
    let cores = Cores::allowed();
    let shards = config.server.shards.unwrap_or(cores.count).max(1);
    let certificates = Certificates::load(&config, started.unix, &logs.log)?;
    let listeners = bind::bind_all(&config, shards)?;
    let pidfile = pidfile(&config)?;
    let (scraper, scrapes) = Scraper::channel();
    let ends = ends(&config, shards, file_limit)?;
    let count = u16::try_from(shards).unwrap_or(u16::MAX);
    let links = Links::connect(&config, count, started.mono);
    let recompress = recompress::start(&config.compression)
        .map_err(Failure::system("start the recompressing thread"))?;
    let watch = Watch::new(watch::Setting {
        driver: config.server.driver,
        config,
        cores,
        shards,
        listeners,
        certificates: Rc::new(RefCell::new(certificates)),
        ends,
        links,
        started,
        scraper,
        logs,
        recompress,
    });
    // Waiting for shards, signals and scrapes needs no ring; epoll takes the least memory.
    let mut runtime = Runtime::build(Some(Driver::Epoll)).map_err(|refusal| Failure::System {
        what: "start the supervisor",
        error: refusal.error,
    })?;
    let result = runtime.block_on(watch.run(signals, scrapes));
    drop(pidfile);
    result
}

fn pidfile(config: &Config) -> Result<Option<Pidfile>, Failure> {
    let Some(path) = &config.server.pidfile else {
        return Ok(None);
    };
    Pidfile::write(path)
        .map(Some)
        .map_err(|error| Failure::Pidfile {
            path: path.clone(),
            error,
        })
}

/// What the gateways of the shards share by message, by shard.
fn ends(config: &Config, shards: usize, file_limit: Option<u64>) -> Result<Vec<Ends>, Failure> {
    let secret = match config.mcp.secret {
        Some(secret) => secret,
        None => random_secret()?,
    };
    let spawner =
        Spawner::start(file_limit).map_err(Failure::system("start the children's thread"))?;
    let resolver = Resolver::start().map_err(Failure::system("start the resolver"))?;
    let has_files = |route: &config::Route| matches!(route.handler, config::Handler::Files(_));
    let disk = match config.routes.iter().any(has_files) {
        true => Some(Disk::start().map_err(Failure::system("start the disks' threads"))?),
        false => None,
    };
    let is_https = |server: &McpServer| match &server.target {
        McpTarget::Http { url, .. } => url.starts_with("https"),
        McpTarget::Stdio { .. } => false,
    };
    let tls = if config.mcp.servers.iter().any(is_https) {
        TlsConnector::new()
    } else {
        TlsConnector::trusting_nobody()
    };
    let tls = tls.map_err(|error| Failure::system("set TLS up")(std::io::Error::other(error)))?;
    let count = u16::try_from(shards).unwrap_or(u16::MAX);
    let wires = Wires::connect(count).into_iter();
    let wires = wires.zip(demo::Wire::connect(count)).zip(0..);
    Ok(Peers::connect(count)
        .into_iter()
        .zip(wires)
        .map(|((peers, mailbox), ((wires, demo), index))| Ends {
            peers,
            mailbox,
            wires,
            demo,
            secret,
            spawner: spawner.for_owner(index),
            resolver: resolver.clone(),
            tls: tls.clone(),
            disk: disk.clone(),
        })
        .collect())
}

fn random_secret() -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|error| Failure::system("make a key")(std::io::Error::other(error)))?;
    Ok(secret)
}
