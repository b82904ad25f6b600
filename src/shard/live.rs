//! A shard's life inside its runtime: build what it owns, serve, drain.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::handler::Handlers;
use crate::handler::builtin::{Catalogue, Pages, Setup};
use crate::metrics::{Counter, Recorder, RuntimeInfo, ShardSnapshot};
use crate::net::buffers::Buffers;
use crate::net::listener::Listener;
use crate::net::mailbox::Inbox;
use crate::net::{sleep, spawn};
use crate::record::{AccessLog, Record};
use crate::route::Router;
use crate::server::{Deadlines, Drain, Parts, SWEEP_INTERVAL, Server, Time, accept};
use crate::shard::gateway::Running;
use crate::shard::{Launch, Message, Report, Sockets};

/// Sweeps between two times that buffered access log lines are handed on: one second.
const SWEEPS_PER_FLUSH: u32 = 4;

/// Serves until told to drain and everything has ended.
pub(super) async fn live(
    launch: Launch,
    sockets: &Sockets,
    runtime: RuntimeInfo,
) -> io::Result<()> {
    let drain = Rc::new(Drain::new());
    let (server, running) = build(&launch, sockets, &drain, &runtime);
    let server = Rc::new(server);
    for bound in launch.listeners {
        let listener = Listener::new(bound)?;
        let place = sockets.listeners.enter(listener.note());
        let server = Rc::clone(&server);
        spawn(async move {
            let _place = place;
            accept(server, listener).await;
        });
    }
    spawn(sweep(Rc::clone(&server), Rc::clone(&sockets.connections)));
    let shard = launch.index;
    let _ = launch.reports.send(Report::Started { shard, runtime });
    let mut mailbox = pin!(running.serve());
    let limit = beside(&mut mailbox, serve_inbox(&launch.inbox, &server)).await;
    drain.begin(&sockets.connections);
    running.begin_drain();
    let finish = drain.finish(&sockets.connections, limit);
    let is_complete = beside(&mut mailbox, finish).await;
    // Other shards' calls may still need our servers; each waits no longer than its clients.
    beside(&mut mailbox, running.stop()).await;
    if !is_complete {
        let log = &launch.log;
        log.warn(
            "shard",
            format_args!("requests were cut off after {limit:?} (graceful_timeout)"),
        );
    }
    server.record().flush();
    Ok(())
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
    let access = access.map(|lines| AccessLog::new(lines, config.log.format));
    let buffers = Buffers::new();
    let running = Running::start(
        launch.ends.clone(),
        config,
        &recorder,
        (&buffers, &launch.log),
    );
    let setup = Setup {
        config: Arc::clone(config),
        started: launch.started,
        shards: launch.shards,
        runtime: runtime.clone(),
        recorder: Rc::clone(&recorder),
        draining: drain.flag(),
        catalogue: Rc::clone(&running.gateway) as Rc<dyn Catalogue>,
        scraper: launch.scraper.clone(),
    };
    let server = Server::new(Parts {
        config: Arc::clone(config),
        handlers: Handlers {
            pages: Pages::new(setup, &router),
            gateway: Some(Rc::clone(&running.gateway)),
        },
        router,
        record: Record::new(recorder, access, launch.seed),
        buffers,
        time: Rc::new(Time::new()),
        deadlines: Rc::clone(&sockets.connections),
        drain: Rc::clone(drain),
        log: launch.log.clone(),
    });
    (server, running)
}

/// Answers messages until the one that ends the shard; the time it grants.
async fn serve_inbox(inbox: &Inbox<Message>, server: &Server) -> Duration {
    loop {
        match inbox.receive().await {
            Some(Message::Snapshot(reply)) => {
                let _ = reply.try_send(snapshot(server));
            }
            Some(Message::Drain(limit)) => return limit,
            #[cfg(test)]
            Some(Message::Crash) => panic!("this panic is part of the test"),
            // The supervisor is gone; nobody else would end us.
            None => return Duration::ZERO,
        }
    }
}

fn snapshot(server: &Server) -> ShardSnapshot {
    let recorder = server.record().recorder();
    let misses = server.buffers().misses();
    let counted = recorder.value(Counter::BufferPoolMisses);
    recorder.add(Counter::BufferPoolMisses, misses.saturating_sub(counted));
    recorder.snapshot()
}

/// Ends overdue waits and hands buffered log lines on, for ever.
async fn sweep(server: Rc<Server>, connections: Rc<Deadlines>) {
    let mut sweeps = 0_u32;
    loop {
        sleep(SWEEP_INTERVAL).await;
        connections.sweep(crate::base::clock::mono());
        sweeps = sweeps.wrapping_add(1);
        if sweeps.is_multiple_of(SWEEPS_PER_FLUSH) {
            server.record().flush();
        }
    }
}
