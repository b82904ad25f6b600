//! Starts the shards, starts crashed ones again, ends them all.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::channel::{Receiver, Sender, bounded};
use crate::base::clock::{self, Now};
use crate::config::Config;
use crate::filter::compress::Job;
use crate::handler::builtin::{Scrape, Scraper};
use crate::metrics::{Collector, RuntimeInfo};
use crate::net::across;
use crate::net::affinity::Cores;
use crate::net::buffers::Buffers;
use crate::net::listener::BoundListener;
use crate::net::mailbox::{Address, Inbox, mailbox};
use crate::net::runtime::Driver;
use crate::net::signals::{Signal, Signals};
use crate::net::sys::TerminationSignals;
use crate::net::timer::{Either, Elapsed, race, within};
use crate::net::{sleep, spawn};
use crate::server::Links;
use crate::shard::{self, Ends, Launch, Message, Report};
use crate::supervisor::certificates::{self, Certificates, Publisher};
use crate::supervisor::logs::Logs;
use crate::supervisor::stapling;
use crate::supervisor::{Failure, banner, say, scrape};
use crate::upstream::Parts;

/// Messages that may wait for a shard: scrapes and one drain.
const MESSAGES_MAX: usize = 64;
/// Pause before a crashed shard is started again; doubles with each crash.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A shard that lived so long starts again at the shortest pause.
const LIFE_FORGIVEN: Duration = Duration::from_secs(60);
/// Beyond graceful_timeout, for a shard that is stuck: the others are not kept waiting for ever.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);

/// Time for children and sessions at servers to end.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What the supervisor starts with.
pub(super) struct Setting {
    pub(super) config: Arc<Config>,
    pub(super) driver: Option<Driver>,
    pub(super) cores: Cores,
    pub(super) shards: usize,
    /// By shard.
    pub(super) listeners: Vec<Vec<BoundListener>>,
    pub(super) certificates: Rc<RefCell<Certificates>>,
    /// By shard.
    pub(super) ends: Vec<Ends>,
    /// By shard.
    pub(super) links: Vec<Option<Links>>,
    pub(super) started: Now,
    pub(super) scraper: Scraper,
    pub(super) logs: Rc<Logs>,
    pub(super) recompress: Option<SyncSender<Job>>,
}

/// The supervisor at work.
pub(super) struct Watch {
    setting: Setting,
    shards: Vec<Shard>,
    /// By shard; a new one for each life, so that what a crash left behind hears nothing.
    addresses: Rc<RefCell<Vec<Address<Message>>>>,
    reports: (Address<Report>, Inbox<Report>),
    /// Shards whose pause is over.
    restarts: (Sender<usize>, Receiver<usize>),
    collector: Rc<RefCell<Collector>>,
    runtime: Rc<RefCell<RuntimeInfo>>,
    /// Starts of shards so far; makes every start's seed different.
    starts: u64,
}

/// One shard as the supervisor sees it.
struct Shard {
    core: Option<usize>,
    /// Kept, so that a shard that starts again takes over its queue of connections.
    listeners: Vec<BoundListener>,
    is_alive: bool,
    is_drained: bool,
    since: Instant,
    pause: Duration,
}

/// What the supervisor woke up for.
enum Woken {
    Report(Report),
    Restart(usize),
    Signal(std::io::Result<Signal>),
}

impl Watch {
    pub(super) fn new(mut setting: Setting) -> Self {
        let is_pinned = setting.shards <= setting.cores.ids.len();
        let ids = setting.cores.ids.clone();
        let shards = std::mem::take(&mut setting.listeners)
            .into_iter()
            .enumerate()
            .map(|(index, listeners)| Shard {
                core: ids.get(index).copied().filter(|_| is_pinned),
                listeners,
                is_alive: false,
                is_drained: false,
                since: clock::mono(),
                pause: RESTART_PAUSE_MIN,
            })
            .collect();
        Self {
            collector: Rc::new(RefCell::new(Collector::new(setting.shards))),
            runtime: Rc::default(),
            // Each shard reports twice in a life; room for all of them at once.
            reports: mailbox(setting.shards * 4),
            restarts: bounded(setting.shards),
            addresses: Rc::new(RefCell::new(
                (0..setting.shards).map(|_| mailbox(1).0).collect(),
            )),
            setting,
            shards,
            starts: 0,
        }
    }

    /// Runs until every shard has ended.
    pub(super) async fn run(
        mut self,
        signals: &TerminationSignals,
        scrapes: across::Receiver<Scrape>,
    ) -> Result<(), Failure> {
        let mut signals =
            Signals::listen(signals).map_err(Failure::system("listen for signals"))?;
        for index in 0..self.shards.len() {
            self.launch(index)?;
        }
        self.await_start().await?;
        spawn(scrape::serve(
            scrapes,
            Rc::clone(&self.addresses),
            Rc::clone(&self.collector),
            Rc::clone(&self.runtime),
        ));
        self.keep_certificates();
        self.tell_started();
        self.tell_all(|| Message::Accept);
        loop {
            match self.next(&mut signals).await {
                Woken::Report(report) => self.note(report),
                Woken::Restart(index) => self.launch(index)?,
                Woken::Signal(Ok(Signal::End)) => break,
                Woken::Signal(Ok(Signal::Reopen)) => self.setting.logs.reopen(),
                Woken::Signal(Err(error)) => {
                    return Err(Failure::system("read signals")(error));
                }
            }
        }
        self.drain(&mut signals).await
    }

    /// Looks after certificates, ticket keys and OCSP answers from now on.
    fn keep_certificates(&self) {
        let setting = &self.setting;
        let certificates = &setting.certificates;
        if certificates.borrow().is_empty() {
            return;
        }
        let publisher = Publisher::new(&self.addresses);
        let kept = Rc::clone(certificates);
        spawn(certificates::keep(kept, Rc::clone(&publisher)));
        let is_stapled = !certificates.borrow().to_staple().is_empty();
        if let Some(ends) = setting.ends.first().filter(|_| is_stapled) {
            let parts = Parts {
                tls: ends.tls.clone(),
                resolver: ends.resolver.clone(),
                buffers: Buffers::new(),
            };
            let log = setting.logs.log.clone();
            let publish = move |generation| publisher.publish(generation);
            spawn(stapling::keep(Rc::clone(certificates), parts, log, publish));
        }
    }

    async fn next(&mut self, signals: &mut Signals) -> Woken {
        let Self {
            reports, restarts, ..
        } = self;
        loop {
            let message = race(reports.1.receive(), restarts.1.recv());
            // We hold both sending halves, so neither queue ends.
            match race(message, signals.next()).await {
                Either::First(Either::First(Some(report))) => return Woken::Report(report),
                Either::First(Either::Second(Some(index))) => return Woken::Restart(index),
                Either::First(_) => {}
                Either::Second(signal) => return Woken::Signal(signal),
            }
        }
    }

    /// Starts a shard's thread.
    fn launch(&mut self, index: usize) -> Result<(), Failure> {
        self.starts += 1;
        let ends = self.setting.ends.get(index).cloned();
        let (Some(shard), Some(ends)) = (self.shards.get_mut(index), ends) else {
            return Ok(());
        };
        shard.since = clock::mono();
        shard.is_alive = true;
        let (address, inbox) = mailbox(MESSAGES_MAX);
        if let Some(known) = self.addresses.borrow_mut().get_mut(index) {
            *known = address;
        }
        let listeners: std::io::Result<Vec<_>> = shard
            .listeners
            .iter()
            .map(BoundListener::try_clone)
            .collect();
        let setting = &self.setting;
        let launch = Launch {
            index: index as u16,
            shards: setting.shards,
            core: shard.core,
            driver: setting.driver,
            config: Arc::clone(&setting.config),
            tls: setting.certificates.borrow().generation(),
            listeners: listeners.map_err(Failure::system("share a listening socket"))?,
            inbox,
            reports: self.reports.0.clone(),
            started: setting.started,
            scraper: setting.scraper.clone(),
            access: setting.logs.access.clone(),
            recompress: setting.recompress.clone(),
            ends,
            log: setting.logs.log.with_prefix(&format!("shard {index}")),
            links: setting.links.get(index).cloned().flatten(),
            seed: setting.started.unix.as_nanos() as u64 ^ (self.starts << 48),
        };
        thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || shard::run(launch))
            .map_err(Failure::system("start a thread"))?;
        Ok(())
    }

    /// Waits until every shard accepts. One that cannot start ends the program: half a server
    /// would hide a wrong set-up.
    async fn await_start(&mut self) -> Result<(), Failure> {
        let mut missing = self.shards.len();
        while missing > 0 {
            match self.reports.1.receive().await {
                Some(Report::Started { runtime, .. }) => {
                    missing -= 1;
                    *self.runtime.borrow_mut() = runtime;
                }
                Some(Report::Failed { shard, reason }) => {
                    return Err(Failure::Shard { shard, reason });
                }
                Some(Report::Ended { shard, .. } | Report::Drained { shard }) => {
                    let reason = "it crashed at the start".to_owned();
                    return Err(Failure::Shard { shard, reason });
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn tell_started(&self) {
        let addresses: Vec<SocketAddr> = self
            .shards
            .first()
            .map(|shard| shard.listeners.iter().map(BoundListener::address).collect())
            .unwrap_or_default();
        let cores: Vec<Option<usize>> = self.shards.iter().map(|shard| shard.core).collect();
        let runtime = self.runtime.borrow();
        let text = banner::banner(&self.setting.config, &addresses, &runtime, &cores);
        say(&text);
    }

    /// A shard has something to say.
    fn note(&mut self, report: Report) {
        let log = &self.setting.logs.log;
        match report {
            Report::Started { shard, .. } => {
                log.info("supervisor", format_args!("shard {shard} runs again"));
                if let Some(address) = self.addresses.borrow().get(usize::from(shard)) {
                    let _ = address.send(Message::Accept);
                }
            }
            Report::Drained { .. } => {}
            Report::Failed { shard, reason } => {
                // It ran before, so what it lacks (descriptors, memory) may come back.
                log.error("supervisor", format_args!("shard {shard}: {reason}"));
                self.restart(shard);
            }
            Report::Ended { shard, .. } => {
                log.error(
                    "supervisor",
                    format_args!("shard {shard} crashed and is started again"),
                );
                self.collector.borrow_mut().restarted(shard);
                if let Some(ends) = self.setting.ends.get(usize::from(shard)) {
                    ends.spawner.owner_lost();
                }
                self.restart(shard);
            }
        }
    }

    /// Starts a shard again after a pause that grows while it keeps crashing.
    fn restart(&mut self, shard: u16) {
        let index = usize::from(shard);
        let Some(shard) = self.shards.get_mut(index) else {
            return;
        };
        shard.is_alive = false;
        if clock::mono().duration_since(shard.since) > LIFE_FORGIVEN {
            shard.pause = RESTART_PAUSE_MIN;
        }
        let pause = shard.pause;
        shard.pause = (pause * 2).min(RESTART_PAUSE_MAX);
        let due = self.restarts.0.clone();
        spawn(async move {
            sleep(pause).await;
            let _ = due.send(index).await;
        });
    }

    /// Ends all shards; a second signal or a stuck shard ends the wait.
    async fn drain(mut self, signals: &mut Signals) -> Result<(), Failure> {
        let limit = self.setting.config.server.graceful_timeout;
        let log = &self.setting.logs.log;
        log.info("supervisor", format_args!("draining, at most {limit:?}"));
        for shard in &mut self.shards {
            // The last handles: the kernel refuses connections when the shard closes its own.
            shard.listeners.clear();
        }
        self.tell_all(|| Message::Drain(limit));
        let until = clock::mono() + limit + DRAIN_MARGIN;
        self.await_all(signals, until, |shard| shard.is_alive && !shard.is_drained)
            .await?;
        // Only now: a call may have come from any shard to a server of any other.
        self.tell_all(|| Message::Stop);
        let until = clock::mono() + STOP_MAX;
        self.await_all(signals, until, |shard| shard.is_alive).await
    }

    /// Waits while any shard is as `is_pending` says, at most until then.
    async fn await_all(
        &mut self,
        signals: &mut Signals,
        until: Instant,
        is_pending: impl Fn(&Shard) -> bool,
    ) -> Result<(), Failure> {
        while self.shards.iter().any(&is_pending) {
            let left = until.saturating_duration_since(clock::mono());
            match within(left, self.next(signals)).await {
                Ok(Woken::Report(report)) => self.note_end(&report),
                Ok(Woken::Restart(_)) => {}
                Ok(Woken::Signal(Ok(Signal::Reopen))) => self.setting.logs.reopen(),
                Ok(Woken::Signal(_)) => return Err(Failure::Interrupted),
                Err(Elapsed) => break,
            }
        }
        Ok(())
    }

    fn note_end(&mut self, report: &Report) {
        let (shard, is_alive) = match *report {
            Report::Started { .. } => return,
            Report::Drained { shard } => (shard, true),
            Report::Ended { shard, .. } | Report::Failed { shard, .. } => (shard, false),
        };
        if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
            shard.is_drained = true;
            shard.is_alive = is_alive;
        }
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for address in &*self.addresses.borrow() {
            // Closed: the shard has crashed. Full: it is stuck, and will be left behind.
            let _ = address.send(message());
        }
    }
}
