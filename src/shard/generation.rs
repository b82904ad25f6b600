//! One generation of the configuration as it is handed to a shard: everything that may change
//! while the program runs. Immutable; each shard compiles its own server of it.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::base::log::Logger;
use crate::base::writer::Lines;
use crate::config::Config;
use crate::filter::compress::Job;
use crate::handler::mcp::link::{PlannedServer, ServerId};
use crate::net::disk::Disk;
use crate::net::listener::BoundListener;
use crate::net::tls::TlsConnector;
use crate::server::{LimitPlaces, ListenerKey, TlsGeneration};

/// A generation. A clone is for another shard, or for one that starts again.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Which, from 1.
    pub number: u64,
    /// When it was read, since the Unix epoch.
    pub loaded: Duration,
    /// The whole configuration.
    pub config: Arc<Config>,
    /// The name of each listener.
    pub listeners: Arc<[ListenerKey]>,
    /// The TLS of each listener.
    pub tls: TlsGeneration,
    /// Where its limits are counted.
    pub limits: LimitPlaces,
    /// Its MCP servers, in order.
    pub servers: Arc<[PlannedServer]>,
    /// Number of the demo server, where there is one.
    pub demo: Option<ServerId>,
    /// Where access log lines go, if anywhere.
    pub access: Option<Lines>,
    /// Diagnostics.
    pub log: Logger,
    /// Where kept encodings are made smaller, if anywhere.
    pub recompress: Option<SyncSender<Job>>,
    /// Waits for disks; `None` where neither a route nor a cache has files.
    pub disk: Option<Disk>,
    /// Makes TLS connections to servers.
    pub connector: TlsConnector,
}

/// A generation on its way to a running shard.
#[derive(Debug)]
pub struct Adopt {
    /// The generation.
    pub generation: Generation,
    /// This shard's sockets of listeners that it does not have yet.
    pub listeners: Vec<(ListenerKey, BoundListener)>,
}
