//! What one shard owns whatever the configuration says: figures, buffers, its gateway, what was
//! counted. Makes a server of each generation of the configuration.

use core::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::base::clock::Now;
use crate::filter::compress::{Compressor, Desk};
use crate::handler::Handlers;
use crate::handler::builtin::{Catalogue, Pages, Scraper, Setup};
use crate::handler::cache::{self, Caches};
use crate::handler::files::{self, Files};
use crate::handler::proxy::Proxy;
use crate::http::Shelf;
use crate::metrics::{Counter, Gauge, Recorder, RuntimeInfo, ShardSnapshot};
use crate::net::buffers::Buffers;
use crate::net::resolve::Resolver;
use crate::net::spawn;
use crate::record::{AccessLog, Record};
use crate::route::Router;
use crate::server::{Counting, Drain, Newest, Parts, Server, Time};
use crate::shard::gateway::Running;
use crate::shard::{Generation, Launch, Sockets, TlsGeneration};
use crate::upstream::group;

/// A shard's lasting possessions.
pub(super) struct Estate {
    shards: usize,
    started: Now,
    scraper: Scraper,
    seed: u64,
    runtime: RuntimeInfo,
    pub(super) recorder: Rc<Recorder>,
    buffers: Buffers,
    resolver: Resolver,
    time: Rc<Time>,
    sockets: Sockets,
    pub(super) drain: Rc<Drain>,
    pub(super) running: Running,
    pub(super) newest: Rc<Newest>,
    /// Tells of checks of upstreams' servers.
    health: group::Wire,
    /// Whether this shard makes them.
    makes_checks: bool,
    /// What generations of caches share.
    cache_office: Rc<cache::Office>,
    /// Servers so far; makes the request ids of each its own.
    served: Cell<u64>,
    /// Older generations that somebody still uses, or whose log lines are not written yet.
    older: RefCell<Vec<Rc<Server>>>,
    /// What the newest generation's predecessors had counted, by the order of [`counted`].
    counted: Cell<[u64; 3]>,
}

impl Estate {
    /// Starts what lasts, and the first generation.
    pub(super) fn found(launch: &Launch, sockets: &Sockets, runtime: &RuntimeInfo) -> Rc<Self> {
        let generation = &launch.generation;
        let config = &generation.config;
        let router = Router::new(&config.routes);
        let recorder = Rc::new(Recorder::new(launch.index, router.labels(), config.metrics));
        let counting = Counting::new(launch.links.clone(), config, &recorder, launch.seed);
        let counting = counting.following(config, generation.limits.clone());
        let buffers = Buffers::new();
        let running = Running::start(launch.ends.clone(), generation, &recorder, &buffers);
        let estate = Rc::new(Self {
            shards: launch.shards,
            started: launch.started,
            scraper: launch.scraper.clone(),
            seed: launch.seed,
            runtime: runtime.clone(),
            recorder,
            buffers,
            resolver: launch.ends.resolver.clone(),
            health: launch.ends.health.clone(),
            cache_office: cache::Office::new(launch.ends.caches.clone()),
            makes_checks: launch.index == 0,
            time: Rc::new(Time::new()),
            sockets: sockets.clone(),
            drain: Rc::new(Drain::new()),
            running,
            newest: Newest::new(),
            served: Cell::new(0),
            older: RefCell::default(),
            counted: Cell::default(),
        });
        estate.serve(generation, (router, counting));
        estate
    }

    /// Goes over to another generation. `None`: the shard ends.
    pub(super) fn adopt(&self, generation: &Generation) -> Option<()> {
        let old = self.newest.get()?;
        let config = &generation.config;
        let router = Router::with_labels(&config.routes, old.router().labels());
        self.recorder.adopt(router.labels(), config.metrics);
        let counting = old.counting().following(config, generation.limits.clone());
        self.settle(&old);
        self.running.adopt(generation);
        self.serve(generation, (router, counting));
        self.older.borrow_mut().push(old);
        Some(())
    }

    /// Makes the server of a generation, and the newest of it.
    fn serve(&self, generation: &Generation, (router, counting): (Router, Counting)) {
        self.served.set(self.served.get() + 1);
        let config = &generation.config;
        let access = generation.access.clone();
        let access = access.map(|lines| AccessLog::new(lines, &config.log));
        let shelf = Shelf::new(config.compression.keep);
        let desk = Desk::new(generation.recompress.clone());
        let disk = generation.disk.clone();
        let files = disk.as_ref().map(|disk| files::Shared {
            disk: disk.clone(),
            shelf: shelf.clone(),
            buffers: self.buffers.clone(),
            recorder: Rc::clone(&self.recorder),
            log: generation.log.clone(),
        });
        let setup = Setup {
            config: Arc::clone(config),
            generation: generation.number,
            loaded: generation.loaded,
            started: self.started,
            shards: self.shards,
            runtime: self.runtime.clone(),
            recorder: Rc::clone(&self.recorder),
            draining: self.drain.announced(),
            catalogue: Rc::clone(&self.running.gateway) as Rc<dyn Catalogue>,
            scraper: self.scraper.clone(),
            shelf: shelf.clone(),
        };
        let proxy = self.proxy(generation);
        let caches = self.caches(generation, proxy.as_ref(), &shelf);
        // Ids of one generation are not those of another.
        let seed = self.seed ^ (self.served.get() << 32);
        self.newest.set(Rc::new(Server::new(Parts {
            config: Arc::clone(config),
            newest: Rc::clone(&self.newest),
            listeners: Arc::clone(&generation.listeners),
            tls: TlsGeneration::clone(&generation.tls),
            handlers: Handlers {
                pages: Pages::new(setup, &router),
                gateway: Some(Rc::clone(&self.running.gateway)),
                files: files.map(|shared| Files::new(config, shared)),
                proxy,
                caches,
            },
            router,
            compressor: Compressor::new(&config.compression, &shelf, desk),
            record: Record::new(Rc::clone(&self.recorder), access, seed),
            counting: Rc::new(counting),
            buffers: self.buffers.clone(),
            disk,
            time: Rc::clone(&self.time),
            deadlines: Rc::clone(&self.sockets.connections),
            drain: Rc::clone(&self.drain),
            log: generation.log.clone(),
        })));
    }

    /// The way to the servers of `[upstream.NAME]`, where there are any. Groups that another
    /// generation does not change keep their connections and what they know of their servers.
    fn proxy(&self, generation: &Generation) -> Option<Rc<Proxy>> {
        let parts = group::Parts {
            resolver: self.resolver.clone(),
            buffers: self.buffers.clone(),
            deadlines: Rc::clone(&self.sockets.upstreams),
            log: generation.log.clone(),
            heads: Rc::default(),
        };
        let old = self.newest.get();
        let old = old.as_ref().and_then(|old| old.handlers().proxy.as_deref());
        let proxy = Proxy::new(&generation.config, parts, self.seed, old);
        if let Some(proxy) = proxy.as_ref().filter(|_| self.makes_checks) {
            proxy.check(&self.health);
        }
        proxy
    }

    /// The caches, where there are any and a proxy before them.
    fn caches(
        &self,
        generation: &Generation,
        proxy: Option<&Rc<Proxy>>,
        shelf: &Shelf,
    ) -> Option<Rc<Caches>> {
        let config = &*generation.config;
        let proxy = proxy.filter(|_| !config.caches.is_empty())?;
        let parts = cache::Parts {
            proxy: Rc::clone(proxy),
            shelf: shelf.clone(),
            disk: generation.disk.clone(),
            recorder: Rc::clone(&self.recorder),
            log: generation.log.clone(),
        };
        let known = self.newest_caches();
        let about = (config, generation.number);
        let caches = Caches::new(about, &self.cache_office, parts, known.as_deref());
        let finder = Rc::clone(&caches);
        spawn(async move { finder.find_files().await });
        Some(caches)
    }

    fn newest_caches(&self) -> Option<Rc<Caches>> {
        self.newest.get()?.handlers().caches.clone()
    }

    /// Keeps answers together with the other shards, for ever.
    pub(super) async fn serve_caches(&self) {
        self.cache_office.serve(|| self.newest_caches()).await;
    }

    /// Sets the figures of what is kept.
    fn gauge_caches(&self) {
        let levels = self.newest_caches().map(|caches| caches.levels());
        let (entries, bytes, files) = levels.unwrap_or_default();
        for (gauge, level) in [
            (Gauge::CacheEntries, entries),
            (Gauge::CacheBytes, bytes),
            (Gauge::CacheFileBytes, files),
        ] {
            let level = i64::try_from(level).unwrap_or(i64::MAX);
            self.recorder
                .shift(gauge, level - self.recorder.level(gauge));
        }
    }

    /// Hears of checks, for ever.
    pub(super) async fn hear(&self) {
        while let Some(news) = self.health.inbox.receive().await {
            if let Some(server) = self.newest.get()
                && let Some(proxy) = &server.handlers().proxy
            {
                proxy.hear(&news);
            }
        }
    }

    /// Does what is due a few times a second.
    pub(super) fn sweep(&self) {
        let now = crate::base::clock::mono();
        self.sockets.connections.sweep(now);
        self.sockets.upstreams.sweep(now);
        let Some(server) = self.newest.get() else {
            return;
        };
        server.record().sweep(now);
        server.counting().sweep(now);
        server.compressor().desk().take_answers();
        if let Some(caches) = &server.handlers().caches {
            caches.sweep(Now::read().unix.as_secs());
        }
        self.older.borrow_mut().retain(|old| {
            let is_used = Rc::strong_count(old) > 1;
            match is_used {
                true => old.record().sweep(now),
                false => old.record().flush(),
            }
            is_used
        });
    }

    /// The last log lines.
    pub(super) fn flush(&self) {
        for old in &*self.older.borrow() {
            old.record().flush();
        }
        if let Some(server) = self.newest.get() {
            server.record().flush();
        }
    }

    /// The shard's figures.
    pub(super) fn snapshot(&self) -> ShardSnapshot {
        if let Some(server) = self.newest.get() {
            let kept = i64::try_from(server.compressor().shelf().bytes()).unwrap_or(i64::MAX);
            let before = self.recorder.level(Gauge::KeptEncodingBytes);
            self.recorder.shift(Gauge::KeptEncodingBytes, kept - before);
            self.count(&server);
        }
        self.gauge_caches();
        let mut snapshot = self.recorder.snapshot();
        if let Some(server) = self.newest.get()
            && let Some(proxy) = &server.handlers().proxy
        {
            snapshot.upstreams = proxy.rows();
        }
        snapshot
    }

    /// Takes over what the parts of a server have counted by themselves.
    fn count(&self, server: &Server) {
        let misses = (Counter::BufferPoolMisses, self.buffers.misses());
        let own = counted(server).into_iter().zip(self.counted.get());
        let own = own.map(|((counter, value), before)| (counter, before + value));
        for (counter, value) in own.chain([misses]) {
            let known = self.recorder.value(counter);
            self.recorder.add(counter, value.saturating_sub(known));
        }
    }

    /// The same for one that is replaced: its successor begins at zero.
    fn settle(&self, server: &Server) {
        self.count(server);
        let known = counted(server).map(|(counter, _)| self.recorder.value(counter));
        self.counted.set(known);
    }
}

/// What parts of a server count by themselves.
fn counted(server: &Server) -> [(Counter, u64); 3] {
    let compressor = server.compressor();
    let (shelf, desk) = (compressor.shelf(), compressor.desk());
    [
        (Counter::KeptEncodingHits, shelf.hits()),
        (Counter::KeptEncodingsDropped, shelf.dropped()),
        (Counter::Recompressions, desk.improved()),
    ]
}
