//! Starts one shard for each core, watches them, merges their figures, ends them. Handles no
//! request itself. The main thread.
#![forbid(unsafe_code)]

mod banner;
mod bind;
mod certificates;
mod change;
mod end;
mod files;
mod fixed;
mod handover;
mod logs;
mod notify;
mod pidfile;
mod plan;
mod recompress;
mod reload;
mod scrape;
mod stapling;
mod statsd;
mod tally;
mod upgrade;
mod watch;

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::clock::Now;
use crate::config::{Config, Loaded, Options};
use crate::handler::builtin::Scraper;
use crate::handler::cache;
use crate::handler::mcp::demo;
use crate::handler::mcp::peers::Peers;
use crate::handler::mcp::upstream::Wires;
use crate::net::affinity::Cores;
use crate::net::listener::BoundListener;
use crate::net::process::Spawner;
use crate::net::resolve::Resolver;
use crate::net::runtime::{Driver, Runtime};
use crate::net::sys::{TerminationSignals, keep_freed_memory, raise_file_limit};
use crate::server::{Links, ListenerKey};
use crate::shard::{Ends, Generation};
use crate::supervisor::certificates::Certificates;
use crate::supervisor::handover::Inherited;
use crate::supervisor::logs::Logs;
use crate::supervisor::notify::Notify;
use crate::supervisor::pidfile::Pidfile;
use crate::supervisor::plan::Plan;
use crate::supervisor::reload::{Refused, Source, Tools};
use crate::supervisor::upgrade::Start;
use crate::supervisor::watch::Watch;
use crate::upstream::group::Wire as HealthWire;

/// Why the program could not start, or did not end well. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] bind::BindError),
    /// A log cannot be written.
    #[error(transparent)]
    Log(#[from] logs::LogFailure),
    /// Something that the configuration needs cannot be had.
    #[error(transparent)]
    Refused(#[from] reload::Refused),
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

/// Runs the server until it is told to end. `options` say where the configuration came from and
/// is read again.
#[must_use]
pub fn run(loaded: Loaded, options: Options) -> ExitCode {
    match start(loaded, options) {
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

fn start(loaded: Loaded, options: Options) -> Result<(), Failure> {
    let started = Now::read();
    // Before the first thread, which would otherwise be interrupted instead.
    let signals = TerminationSignals::block().map_err(Failure::system("block signals"))?;
    keep_freed_memory();
    let limit_before = raise_file_limit().ok().map(|(before, _)| before);
    // Before anything else is touched: a folder that is missing stops a start, not a server.
    let logs = Rc::new(Logs::open(&loaded.config.log)?);
    let inherited = Inherited::take().map_err(Failure::system("take what is handed over"))?;
    let with = (Rc::clone(&logs), limit_before, inherited);
    let source = Source::new(options, loaded.files);
    let config = Arc::new(loaded.config);
    let result = supervise((source, config), started, &signals, with);
    logs.finish();
    result
}

fn supervise(
    (source, config): (Source, Arc<Config>),
    started: Now,
    signals: &TerminationSignals,
    (logs, file_limit, mut inherited): (Rc<Logs>, Option<u64>, Inherited),
) -> Result<(), Failure> {
    let cores = Cores::allowed();
    let shards = config.server.shards.unwrap_or(cores.count).max(1);
    let certificates = Certificates::load(&config, started.unix, &logs.log())?;
    let plan = Plan::default().follow(&config).map_err(Refused::from)?;
    let listeners = bind_all(&plan, &mut inherited, (shards, config.server.backlog))?;
    for address in inherited.unwanted() {
        let what = "systemd hands over a socket that no [[listener]] names; it is closed";
        logs.log().error("start", format_args!("{address}: {what}"));
    }
    let pidfile = pidfile(&config)?;
    let (scraper, scrapes) = Scraper::channel();
    let secret = match config.mcp.secret.or(inherited.secret) {
        Some(secret) => secret,
        None => random_secret()?,
    };
    let ends = ends(secret, shards, file_limit)?;
    let count = u16::try_from(shards).unwrap_or(u16::MAX);
    let links = Links::connect(count, started.mono);
    let recompress = recompress::start(&config.compression)
        .map_err(Failure::system("start the recompressing thread"))?;
    let tools = Tools::new(&config, None)?;
    let generation = Generation {
        number: 1,
        loaded: started.unix,
        listeners: plan.listeners.iter().map(|(key, _)| *key).collect(),
        tls: certificates.generation(),
        limits: plan.limits.clone(),
        servers: Arc::clone(&plan.servers),
        demo: plan.demo,
        access: logs.access(),
        log: logs.log(),
        recompress,
        disk: tools.disk.clone(),
        connector: tools.connector.clone(),
        config: Arc::clone(&config),
    };
    let watch = Watch::new(watch::Setting {
        driver: config.server.driver,
        source,
        generation,
        plan,
        tools,
        cores,
        shards,
        listeners,
        certificates: Rc::new(RefCell::new(certificates)),
        ends,
        links,
        started,
        scraper,
        logs,
        pidfile,
        inherited,
        secret,
        start: Start::of_process(file_limit),
        notify: Notify::of_process(),
    });
    // Waiting for shards, signals and scrapes needs no ring; epoll takes the least memory.
    let mut runtime = Runtime::build(Some(Driver::Epoll)).map_err(|refusal| Failure::System {
        what: "start the supervisor",
        error: refusal.error,
    })?;
    runtime.block_on(watch.run(signals, scrapes))
}

/// The sockets of all shards, by shard.
fn bind_all(
    plan: &Plan,
    inherited: &mut Inherited,
    (shards, backlog): (usize, u32),
) -> Result<Vec<Vec<(ListenerKey, BoundListener)>>, Failure> {
    let mut by_shard: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
    for (key, address) in &plan.listeners {
        let handed = inherited.sockets_of(*address);
        let sockets = match handed.is_empty() {
            true => bind::bind(*address, shards, backlog)?,
            false => bind::fill_up(handed, shards, backlog)?,
        };
        // One that was handed over is never closed: connections wait in it. Where there are more
        // than shards, some shards have several.
        for (at, socket) in sockets.into_iter().enumerate() {
            if let Some(own) = by_shard.get_mut(at % shards.max(1)) {
                own.push((*key, socket));
            }
        }
    }
    Ok(by_shard)
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
fn ends(secret: [u8; 32], shards: usize, file_limit: Option<u64>) -> Result<Vec<Ends>, Failure> {
    let spawner =
        Spawner::start(file_limit).map_err(Failure::system("start the children's thread"))?;
    let resolver = Resolver::start().map_err(Failure::system("start the resolver"))?;
    let count = u16::try_from(shards).unwrap_or(u16::MAX);
    let wires = Wires::connect(count).into_iter();
    let wires = wires.zip(demo::Wire::connect(count)).zip(0..);
    let checks = HealthWire::connect(count).into_iter();
    let checks = checks.zip(cache::Links::connect(count));
    Ok(Peers::connect(count)
        .into_iter()
        .zip(wires.zip(checks))
        .map(
            |((peers, mailbox), (((wires, demo), index), (health, caches)))| Ends {
                caches,
                health,
                peers,
                mailbox,
                wires,
                demo,
                secret,
                spawner: spawner.for_owner(index),
                resolver: resolver.clone(),
            },
        )
        .collect())
}

fn random_secret() -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|error| Failure::system("make a key")(std::io::Error::other(error)))?;
    Ok(secret)
}
