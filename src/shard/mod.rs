//! One core's share of the program: its runtime, listeners, connections, pages and figures.
//! Nothing here is shared with another shard; they and the supervisor are reached by messages.
#![forbid(unsafe_code)]

mod estate;
mod gateway;
mod generation;
mod live;

pub use gateway::Ends;
pub use generation::{Adopt, Generation};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use crate::base::clock::Now;
use crate::handler::builtin::Scraper;
use crate::metrics::{RuntimeInfo, ShardSnapshot};
use crate::net::across;
use crate::net::affinity;
use crate::net::listener::BoundListener;
use crate::net::mailbox::{Address, Inbox};
use crate::net::runtime::{Driver, Runtime};
pub use crate::server::TlsGeneration;
use crate::server::{Deadlines, Links, ListenerKey};

/// What a shard is started with. Everything in it crosses threads.
#[derive(Debug)]
pub struct Launch {
    /// Which shard, from 0.
    pub index: u16,
    /// How many there are.
    pub shards: usize,
    /// The core to stay on; `None` leaves it to the kernel.
    pub core: Option<usize>,
    /// The driver to insist on; `None` takes the best.
    pub driver: Option<Driver>,
    /// The newest configuration.
    pub generation: Generation,
    /// This shard's sockets, for each configured address.
    pub listeners: Vec<(ListenerKey, BoundListener)>,
    /// Where its messages arrive.
    pub inbox: Inbox<Message>,
    /// Where it reports.
    pub reports: Address<Report>,
    /// When the program started.
    pub started: Now,
    /// Where merged figures are asked for.
    pub scraper: Scraper,
    /// What its gateway shares with the others.
    pub ends: Ends,
    /// What it needs to count together with the others.
    pub links: Links,
    /// Differs between shards and starts; for request ids.
    pub seed: u64,
}

/// What a shard is told.
#[derive(Debug)]
pub enum Message {
    /// Asks for its figures.
    Snapshot(across::Sender<ShardSnapshot>),
    /// New connections get this TLS.
    Tls(TlsGeneration),
    /// Go over to another configuration.
    Adopt(Box<Adopt>),
    /// Begin to accept connections.
    Accept,
    /// The end is near: load balancers are to hear of it.
    Announce,
    /// Take nothing new, finish what is under way.
    Drain {
        /// How long connections without a request are left alone.
        patience: Duration,
        /// How long the rest may take.
        limit: Duration,
    },
    /// Every shard has drained: end the servers, then the shard.
    Stop,
    /// Panic, to see what becomes of it.
    #[cfg(test)]
    Crash,
}

/// What a shard tells the supervisor.
#[derive(Debug)]
pub enum Report {
    /// It runs and could accept.
    Started {
        /// Which shard.
        shard: u16,
        /// What it runs on.
        runtime: RuntimeInfo,
    },
    /// New requests are served by that generation.
    Adopted {
        /// Which shard.
        shard: u16,
        /// Which generation.
        number: u64,
    },
    /// It could not start; the text says what to do.
    Failed {
        /// Which shard.
        shard: u16,
        /// Why.
        reason: String,
    },
    /// No client is left; it still serves the calls of other shards.
    Drained {
        /// Which shard.
        shard: u16,
    },
    /// Its thread is over.
    Ended {
        /// Which shard.
        shard: u16,
        /// It did not end because it was told to.
        has_crashed: bool,
    },
}

/// A shard's thread, from its first line to its last.
pub fn run(launch: Launch) {
    let (shard, reports) = (launch.index, launch.reports.clone());
    let tell = |report| {
        // The supervisor waits for nothing when it is gone.
        let _ = reports.send(report);
    };
    if let Some(core) = launch.core
        && !affinity::pin(core)
    {
        let log = &launch.generation.log;
        log.warn("shard", format_args!("cannot be pinned to core {core}"));
    }
    let mut runtime = match Runtime::build(launch.driver) {
        Ok(runtime) => runtime,
        Err(refusal) => {
            let reason = refusal.to_string();
            return tell(Report::Failed { shard, reason });
        }
    };
    let sockets = Sockets::default();
    let info = runtime_info(&runtime);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(live::live(launch, &sockets, info))
    }));
    // What of a crashed shard waited for the kernel is in a circle of references with the
    // runtime and never dropped. Its sockets must not stay open for that.
    drop(runtime);
    let has_crashed = match lived {
        Ok(Ok(())) => false,
        Ok(Err(reason)) => {
            let reason = reason.to_string();
            return tell(Report::Failed { shard, reason });
        }
        Err(_) => {
            sockets.connections.end_all();
            sockets.listeners.close_leaked();
            sockets.connections.close_leaked();
            sockets.upstreams.close_leaked();
            true
        }
    };
    tell(Report::Ended { shard, has_crashed });
}

/// The sockets of a shard, listed outside its runtime.
#[derive(Clone, Debug, Default)]
struct Sockets {
    listeners: Rc<Deadlines>,
    connections: Rc<Deadlines>,
    /// Connections to servers of `[upstream.NAME]`.
    upstreams: Rc<Deadlines>,
}

fn runtime_info(runtime: &Runtime) -> RuntimeInfo {
    let driver = runtime.driver();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    RuntimeInfo {
        driver: driver.name().to_owned(),
        flags: driver.flags().to_owned(),
        reason: runtime.why_not_better(),
        kernel: kernel.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests;
