//! Connections of one shard: accepting, HTTP/1.1 on the wire, the life of a request, drain.
//!
//! A connection is one task. While it waits it owns no buffer: what a request needs is lent by
//! the shard and given back when the connection is idle again.
#![forbid(unsafe_code)]

mod accept;
mod answer;
mod connection;
mod content;
mod counting;
mod drain;
mod encode;
mod entrance;
mod error_page;
mod exchange;
mod h1;
mod h2;
mod lent;
mod newest;
mod opening;
mod pieces;
mod prepared;
mod pulled;
mod reader;
mod time;
mod tunnel;

pub use crate::net::deadlines::{self, Deadlines, SWEEP_INTERVAL};
pub use accept::accept;
pub use counting::{Counting, LimitPlaces, Links};
pub use drain::Drain;
pub use newest::Newest;
pub use time::Time;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::log::Logger;
use crate::config::Config;
use crate::filter::compress::Compressor;
use crate::filter::{RealIps, ResponseFilter, RouteFilter};
use crate::handler::Handlers;
use crate::http::h1::Limits;
use crate::metrics::{Counter, Recorder};
use crate::net::buffers::Buffers;
use crate::net::disk::Disk;
use crate::record::Record;
use crate::route::{Label, Router};
use crate::server::encode::Encoding;
use crate::server::entrance::Entrance;
use crate::server::lent::Lender;

/// The TLS of every listener, in their order: certificates, versions, ticket keys.
pub type TlsGeneration = Arc<[Option<Arc<rustls::ServerConfig>>]>;

/// Of a connection's number, those that are its shard's.
const SHARD_BITS: u32 = 10;

/// Names a listening address as long as any configuration has it, on all shards alike.
pub type ListenerKey = u32;

/// What the connections of one shard share: one generation of the configuration, compiled.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    newest: Rc<Newest>,
    /// There is a newer one.
    is_old: Cell<bool>,
    entrances: Vec<Rc<Entrance>>,
    limits: Limits,
    router: Router,
    filter: ResponseFilter,
    encoding: Rc<Encoding>,
    /// By the number that an exchange carries, less one.
    route_filters: Vec<RouteFilter>,
    real_ips: Option<RealIps>,
    handlers: Handlers,
    record: Record,
    recorder: Rc<Recorder>,
    buffers: Buffers,
    disk: Option<Disk>,
    lender: Lender,
    counting: Rc<Counting>,
    h2: h2::Kept,
    time: Rc<Time>,
    deadlines: Rc<Deadlines>,
    drain: Rc<Drain>,
    log: Logger,
}

/// What a [`Server`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The whole configuration.
    pub config: Arc<Config>,
    /// Where the generation after this one is found.
    pub newest: Rc<Newest>,
    /// The name of each listener.
    pub listeners: Arc<[ListenerKey]>,
    /// The TLS of each listener.
    pub tls: TlsGeneration,
    /// Its routes, compiled.
    pub router: Router,
    /// Everything that answers.
    pub handlers: Handlers,
    /// What is compressed, and how.
    pub compressor: Compressor,
    /// Metrics and access log.
    pub record: Record,
    /// Limits that hold over all shards.
    pub counting: Rc<Counting>,
    /// The shard's buffers.
    pub buffers: Buffers,
    /// The way to the threads that wait for disks; `None` where no route has files.
    pub disk: Option<Disk>,
    /// The shard's clock.
    pub time: Rc<Time>,
    /// The shard's table of time limits.
    pub deadlines: Rc<Deadlines>,
    /// Tells connections of the end.
    pub drain: Rc<Drain>,
    /// Diagnostics.
    pub log: Logger,
}

impl Server {
    /// The server of one shard.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let heads = parts.config.server.header_buffers;
        let recorder = Rc::clone(parts.record.recorder());
        let filter = ResponseFilter::new(&parts.config);
        let rules = parts.router.rules().iter();
        Self {
            entrances: entrances(&parts),
            newest: parts.newest,
            is_old: Cell::new(false),
            route_filters: rules
                .map(|rules| RouteFilter::new(rules, &filter))
                .collect(),
            real_ips: parts.config.real_ip.as_ref().map(RealIps::new),
            limits: Limits::from_buffers(heads.count, heads.size),
            filter,
            encoding: Rc::new(Encoding::new(
                parts.compressor,
                Rc::clone(&recorder),
                (parts.disk.clone(), parts.buffers.clone()),
            )),
            recorder,
            lender: Lender::default(),
            counting: parts.counting,
            h2: h2::Kept::default(),
            config: parts.config,
            router: parts.router,
            handlers: parts.handlers,
            record: parts.record,
            buffers: parts.buffers,
            disk: parts.disk,
            time: parts.time,
            deadlines: parts.deadlines,
            drain: parts.drain,
            log: parts.log,
        }
    }

    /// Gives new connections another generation of TLS.
    pub fn replace_tls(&self, generation: &TlsGeneration) {
        for (entrance, config) in self.entrances.iter().zip(generation.iter()) {
            if let (Some(tls), Some(config)) = (&entrance.tls, config) {
                tls.replace(Arc::clone(config));
            }
        }
    }

    /// The number of the connection that was accepted last: no other one of the process has it.
    fn number(&self) -> u64 {
        let accepted = self.recorder.value(Counter::Accepts);
        (accepted << SHARD_BITS) | u64::from(self.recorder.shard())
    }

    /// Its routes.
    #[must_use]
    pub const fn router(&self) -> &Router {
        &self.router
    }

    /// A label's text.
    fn label(&self, label: Label) -> &str {
        let labels = self.router.labels();
        labels.get(usize::from(label.0)).map_or("", |text| text)
    }

    /// What an exchange's route does to its response's fields, if anything.
    fn route_filter(&self, rules: u16) -> Option<&RouteFilter> {
        self.route_filters.get(usize::from(rules).checked_sub(1)?)
    }

    /// Everything that answers.
    #[must_use]
    pub fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// What is compressed, and how.
    #[must_use]
    pub fn compressor(&self) -> &Compressor {
        self.encoding.compressor()
    }

    /// The shard's buffers.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Limits that hold over all shards.
    #[must_use]
    pub const fn counting(&self) -> &Rc<Counting> {
        &self.counting
    }

    /// What a listener asks of its connections; `None` if the configuration has it no more.
    fn entrance(&self, key: ListenerKey) -> Option<&Rc<Entrance>> {
        self.entrances.iter().find(|entrance| entrance.key == key)
    }

    /// Metrics and access log.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }
}

/// The rules of each listener.
fn entrances(parts: &Parts) -> Vec<Rc<Entrance>> {
    let server = &parts.config.server;
    let configs = parts.tls.iter().cloned().chain(core::iter::repeat(None));
    let listeners = parts.config.listeners.iter().zip(&*parts.listeners);
    listeners
        .zip(configs)
        .map(|((listener, key), tls)| Rc::new(Entrance::new((*key, listener), tls, server)))
        .collect()
}
