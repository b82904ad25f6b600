//! A shard's life inside its runtime: build what it owns, serve, drain.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::channel::{Sender, bounded};
use crate::filter::compress::{Compressor, Desk};
use crate::handler::Handlers;
use crate::handler::builtin::{Catalogue, Pages, Setup};
use crate::handler::files::{self, Files};
use crate::handler::proxy::Proxy;
use crate::http::Shelf;
use crate::metrics::{Counter, Gauge, Recorder, RuntimeInfo, ShardSnapshot};
use crate::net::buffers::Buffers;
use crate::net::listener::Listener;
use crate::net::mailbox::Inbox;
use crate::net::{sleep, spawn};
use crate::record::{AccessLog, Record};
use crate::route::Router;
use crate::server::{Counting, Deadlines, Drain, Parts, SWEEP_INTERVAL, Server, Time, accept};
use crate::shard::TlsGeneration;
use crate::shard::gateway::Running;
use crate::shard::{Launch, Message, Report, Sockets};
use crate::upstream::group;

/// Orders that may wait: one of each kind.
const ORDERS_MAX: usize = 4;

/// Serves until told to drain, and then to stop.
pub(super) async fn live(
    mut launch: Launch,
    sockets: &Sockets,
    runtime: RuntimeInfo,
) -> io::Result<()> {
    let drain = Rc::new(Drain::new());
    let (server, running) = build(&launch, sockets, &drain, &runtime);
    let server = Rc::new(server);
    let tables = [&sockets.connections, &sockets.upstreams].map(Rc::clone);
    spawn(sweep(Rc::clone(&server), tables));
    let mut listeners = Vec::new();
    for bound in core::mem::take(&mut launch.listeners) {
        listeners.push(Listener::new(bound)?);
    }
    let (orders, mut ordered) = bounded(ORDERS_MAX);
    let mut side = pin!(both(
        both(running.serve(), serve_limits(&server)),
        serve_inbox(&launch.inbox, &server, orders)
    ));
    let tell = |report| {
        // Without a supervisor there is nobody to tell, and the inbox ends as well.
        let _ = launch.reports.send(report);
    };
    let shard = launch.index;
    tell(Report::Started { shard, runtime });
    let limit = loop {
        match beside(&mut side, ordered.recv()).await {
            Some(Order::Accept) => {
                let listeners = core::mem::take(&mut listeners);
                start_accepting(&server, listeners, &sockets.listeners);
            }
            Some(Order::Drain(limit)) => break limit,
            Some(Order::Stop) | None => break Duration::ZERO,
        }
    };
    drop(listeners);
    drain.begin(&sockets.connections);
    running.begin_drain();
    let finish = drain.finish(&sockets.connections, limit);
    if !beside(&mut side, finish).await {
        launch.log.warn(
            "shard",
            format_args!("requests were cut off after {limit:?} (graceful_timeout)"),
        );
    }
    tell(Report::Drained { shard });
    // Calls of other shards may still need our servers.
    while let Some(Order::Accept | Order::Drain(_)) = beside(&mut side, ordered.recv()).await {}
    beside(&mut side, running.stop()).await;
    server.record().flush();
    Ok(())
}

fn start_accepting(server: &Rc<Server>, listeners: Vec<Listener>, places: &Rc<Deadlines>) {
    for (index, listener) in listeners.into_iter().enumerate() {
        let place = places.enter(listener.note());
        let server = Rc::clone(server);
        spawn(async move {
            // Dropped after the listener's last use and before its socket.
            let _place = place;
            accept(server, index, listener).await;
        });
    }
}

/// Counts together with the other shards, where anything is limited.
async fn serve_limits(server: &Server) {
    if let Some(counting) = server.counting() {
        counting.serve().await;
    }
}

/// Polls two futures that end only with the shard.
async fn both<A: Future, B: Future>(first: A, second: B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut is_first_over, mut is_second_over) = (false, false);
    poll_fn(|cx| {
        is_first_over = is_first_over || first.as_mut().poll(cx).is_ready();
        is_second_over = is_second_over || second.as_mut().poll(cx).is_ready();
        if is_first_over && is_second_over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Waits for `main` and lets `side` go on meanwhile.
async fn beside<S: Future, M: Future>(side: &mut Pin<&mut S>, main: M) -> M::Output {
    let mut main = pin!(main);
    let mut is_over = false;
    poll_fn(|cx| {
        is_over = is_over || side.as_mut().poll(cx).is_ready();
        main.as_mut().poll(cx)
    })
    .await
}

fn build(
    launch: &Launch,
    sockets: &Sockets,
    drain: &Rc<Drain>,
    runtime: &RuntimeInfo,
) -> (Server, Running) {
    let config = &launch.config;
    let router = Router::new(&config.routes);
    let recorder = Rc::new(Recorder::new(launch.index, router.labels(), config.metrics));
    let access = launch.access.clone();
    let access = access.map(|lines| AccessLog::new(lines, &config.log));
    let counting = launch
        .links
        .clone()
        .map(|links| Rc::new(Counting::new(links, config, &recorder, launch.seed)));
    let buffers = Buffers::new();
    let running = Running::start(
        launch.ends.clone(),
        config,
        &recorder,
        (&buffers, &launch.log),
    );
    let desk = Desk::new(launch.recompress.clone());
    let shelf = Shelf::new(config.compression.keep);
    let disk = launch.ends.disk.clone();
    let files = disk.as_ref().map(|disk| files::Shared {
        disk: disk.clone(),
        shelf: shelf.clone(),
        buffers: buffers.clone(),
        recorder: Rc::clone(&recorder),
        log: launch.log.clone(),
    });
    let setup = Setup {
        config: Arc::clone(config),
        started: launch.started,
        shards: launch.shards,
        runtime: runtime.clone(),
        recorder: Rc::clone(&recorder),
        draining: drain.flag(),
        catalogue: Rc::clone(&running.gateway) as Rc<dyn Catalogue>,
        scraper: launch.scraper.clone(),
        shelf: shelf.clone(),
    };
    let server = Server::new(Parts {
        config: Arc::clone(config),
        tls: TlsGeneration::clone(&launch.tls),
        handlers: Handlers {
            pages: Pages::new(setup, &router),
            gateway: Some(Rc::clone(&running.gateway)),
            files: files.map(|shared| Files::new(config, shared)),
            proxy: proxy(launch, sockets, &buffers),
        },
        router,
        compressor: Compressor::new(&config.compression, &shelf, desk),
        record: Record::new(recorder, access, launch.seed),
        counting,
        buffers,
        disk,
        time: Rc::new(Time::new()),
        deadlines: Rc::clone(&sockets.connections),
        drain: Rc::clone(drain),
        log: launch.log.clone(),
    });
    (server, running)
}

/// The way to the servers of `[upstream.NAME]`, where there are any.
fn proxy(launch: &Launch, sockets: &Sockets, buffers: &Buffers) -> Option<Rc<Proxy>> {
    let parts = group::Parts {
        resolver: launch.ends.resolver.clone(),
        buffers: buffers.clone(),
        deadlines: Rc::clone(&sockets.upstreams),
        log: launch.log.clone(),
        heads: Rc::default(),
    };
    Proxy::new(&launch.config, parts, launch.seed)
}

/// What the supervisor wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Accept,
    Drain(Duration),
    Stop,
}

/// Answers messages and passes orders on, until the supervisor is gone.
async fn serve_inbox(inbox: &Inbox<Message>, server: &Server, orders: Sender<Order>) {
    while let Some(message) = inbox.receive().await {
        let order = match message {
            Message::Snapshot(reply) => {
                let _ = reply.try_send(snapshot(server));
                continue;
            }
            Message::Tls(generation) => {
                server.replace_tls(&generation);
                continue;
            }
            Message::Accept => Order::Accept,
            Message::Drain(limit) => Order::Drain(limit),
            Message::Stop => Order::Stop,
            #[cfg(test)]
            Message::Crash => panic!("this panic is part of the test"),
        };
        if orders.send(order).await.is_err() {
            return;
        }
    }
}

fn snapshot(server: &Server) -> ShardSnapshot {
    let recorder = server.record().recorder();
    let compressor = server.compressor();
    let (shelf, desk) = (compressor.shelf(), compressor.desk());
    let kept = i64::try_from(shelf.bytes()).unwrap_or(i64::MAX);
    let before = recorder.level(Gauge::KeptEncodingBytes);
    recorder.shift(Gauge::KeptEncodingBytes, kept - before);
    for (counter, value) in [
        (Counter::BufferPoolMisses, server.buffers().misses()),
        (Counter::KeptEncodingHits, shelf.hits()),
        (Counter::KeptEncodingsDropped, shelf.dropped()),
        (Counter::Recompressions, desk.improved()),
    ] {
        let counted = recorder.value(counter);
        recorder.add(counter, value.saturating_sub(counted));
    }
    recorder.snapshot()
}

/// Ends overdue waits, takes what other threads have made and hands buffered log lines on, for
/// ever.
async fn sweep(server: Rc<Server>, tables: [Rc<Deadlines>; 2]) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        let now = crate::base::clock::mono();
        for table in &tables {
            table.sweep(now);
        }
        server.record().sweep(now);
        if let Some(counting) = server.counting() {
            counting.sweep(now);
        }
        server.compressor().desk().take_answers();
    }
}
