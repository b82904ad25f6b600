//! Starts the shards, starts crashed ones again, hears what the operator wants.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::channel::{Receiver, Sender, bounded};
use crate::base::clock::{self, Now};
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
use crate::net::timer::{Either, race};
use crate::net::{sleep, spawn};
use crate::server::{Links, ListenerKey};
use crate::shard::{self, Adopt, Ends, Generation, Launch, Message, Report};
use crate::supervisor::certificates::{self, Certificates, Publisher};
use crate::supervisor::handover::Inherited;
use crate::supervisor::logs::Logs;
use crate::supervisor::notify::Notify;
use crate::supervisor::pidfile::Pidfile;
use crate::supervisor::plan::Plan;
use crate::supervisor::reload::{Source, Tools};
use crate::supervisor::stapling;
use crate::supervisor::upgrade::{self, Outcome, Start, Upgrade};
use crate::supervisor::{Failure, banner, say, scrape, statsd};
use crate::upstream::Parts;

/// Messages that may wait for a shard: scrapes and one drain.
const MESSAGES_MAX: usize = 64;
/// Pause before a crashed shard is started again; doubles with each crash.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A shard that lived so long starts again at the shortest pause.
const LIFE_FORGIVEN: Duration = Duration::from_secs(60);

/// What the supervisor starts with.
pub(super) struct Setting {
    pub(super) source: Source,
    pub(super) generation: Generation,
    pub(super) plan: Plan,
    pub(super) tools: Tools,
    pub(super) driver: Option<Driver>,
    pub(super) cores: Cores,
    pub(super) shards: usize,
    /// By shard.
    pub(super) listeners: Vec<Vec<(ListenerKey, BoundListener)>>,
    pub(super) certificates: Rc<RefCell<Certificates>>,
    /// By shard.
    pub(super) ends: Vec<Ends>,
    /// By shard.
    pub(super) links: Vec<Links>,
    pub(super) started: Now,
    pub(super) scraper: Scraper,
    pub(super) logs: Rc<Logs>,
    pub(super) pidfile: Option<Pidfile>,
    /// Where the predecessor waits, if there is one.
    pub(super) inherited: Inherited,
    /// Key of what is sealed.
    pub(super) secret: [u8; 32],
    /// How the program was started.
    pub(super) start: Option<Start>,
    pub(super) notify: Notify,
}

impl Setting {
    /// The newest generation, as a shard is to have it.
    pub(super) fn for_shard(&self, index: usize) -> Generation {
        Generation {
            tls: self.certificates.borrow().generation(),
            log: self.generation.log.with_prefix(&format!("shard {index}")),
            ..self.generation.clone()
        }
    }
}

/// The supervisor at work.
pub(super) struct Watch {
    pub(super) setting: Setting,
    pub(super) shards: Vec<Shard>,
    /// By shard; a new one for each life, so that what a crash left behind hears nothing.
    pub(super) addresses: Rc<RefCell<Vec<Address<Message>>>>,
    reports: (Address<Report>, Inbox<Report>),
    /// Shards whose pause is over.
    restarts: (Sender<usize>, Receiver<usize>),
    /// Rung when a file of the configuration has changed.
    pub(super) changes: (Sender<()>, Receiver<()>),
    /// Rung when a generation has still to be handed to a shard.
    pub(super) owed: (Sender<()>, Receiver<()>),
    /// One under way.
    pub(super) upgrade: Option<Upgrade>,
    pub(super) upgrades: (across::Sender<Outcome>, across::Receiver<Outcome>),
    /// Another process has taken over.
    pub(super) is_followed: bool,
    pub(super) is_watching_files: bool,
    pub(super) is_keeping_certificates: bool,
    pub(super) publisher: Rc<Publisher>,
    pub(super) files: Rc<RefCell<Vec<PathBuf>>>,
    pub(super) collector: Rc<RefCell<Collector>>,
    runtime: Rc<RefCell<RuntimeInfo>>,
    /// Starts of shards so far; makes every start's seed different.
    starts: u64,
}

/// One shard as the supervisor sees it.
pub(super) struct Shard {
    core: Option<usize>,
    /// Kept, so that a shard that starts again takes over its queue of connections.
    pub(super) listeners: Vec<(ListenerKey, BoundListener)>,
    pub(super) is_alive: bool,
    pub(super) is_drained: bool,
    /// The generation that it serves.
    pub(super) generation: u64,
    /// What it did not take because its mailbox was full.
    pub(super) owed: Option<Box<Adopt>>,
    since: Instant,
    pause: Duration,
}

/// What the supervisor woke up for.
pub(super) enum Woken {
    Report(Report),
    Restart(usize),
    /// A file of the configuration has changed.
    Changed,
    /// A generation is still to be handed over.
    Owed,
    /// The next process accepts, or has failed.
    Upgraded(Outcome),
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
                generation: 0,
                owed: None,
                since: clock::mono(),
                pause: RESTART_PAUSE_MIN,
            })
            .collect();
        let mut collector = Collector::new(setting.shards);
        collector.exclude(&setting.generation.config.metrics_exclude);
        let addresses: Vec<_> = (0..setting.shards).map(|_| mailbox(1).0).collect();
        let addresses = Rc::new(RefCell::new(addresses));
        Self {
            changes: bounded(1),
            owed: bounded(1),
            upgrade: None,
            upgrades: upgrade::outcomes(),
            is_followed: false,
            is_watching_files: false,
            is_keeping_certificates: false,
            publisher: Publisher::new(&addresses),
            files: Rc::default(),
            addresses,
            collector: Rc::new(RefCell::new(collector)),
            runtime: Rc::default(),
            // Each shard reports twice in a life; room for all of them at once.
            reports: mailbox(setting.shards * 4),
            restarts: bounded(setting.shards),
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
        let sources = scrape::Sources {
            shards: Rc::clone(&self.addresses),
            collector: Rc::clone(&self.collector),
            runtime: Rc::clone(&self.runtime),
        };
        spawn(scrape::serve(scrapes, sources));
        self.push_figures();
        self.keep_certificates();
        self.watch_files();
        self.tell_started();
        self.tell_all(|| Message::Accept);
        self.setting.notify.ready();
        self.setting.inherited.tell_ready();
        self.keep_alive();
        while !self.is_told_to_end(&mut signals).await? {}
        self.end(&mut signals).await
    }

    /// Pushes figures to StatsD from now on, if so configured.
    fn push_figures(&self) {
        let setting = &self.setting;
        let config = &setting.generation.config.statsd;
        if let (Some(config), Some(ends)) = (config, setting.ends.first()) {
            let push = statsd::Push {
                config: config.clone(),
                scraper: setting.scraper.clone(),
                resolver: ends.resolver.clone(),
                tally: Arc::clone(&setting.logs.tally),
                log: setting.logs.log(),
            };
            spawn(push.run());
        }
    }

    /// Waits for the next thing and does it; `true` if that is the end.
    pub(super) async fn is_told_to_end(&mut self, signals: &mut Signals) -> Result<bool, Failure> {
        match self.next(signals).await {
            Woken::Report(report) => self.note(report),
            Woken::Restart(index) => self.launch(index)?,
            Woken::Changed => self.reload("a file has changed"),
            Woken::Owed => self.hand_over(),
            Woken::Signal(Ok(Signal::End)) => return Ok(true),
            Woken::Signal(Ok(Signal::Reopen)) => self.setting.logs.reopen(),
            Woken::Signal(Ok(Signal::Reload)) => self.reload("SIGHUP"),
            Woken::Signal(Ok(Signal::Upgrade)) => self.begin_upgrade(),
            Woken::Upgraded(outcome) => {
                self.is_followed = self.upgraded(outcome);
                return Ok(self.is_followed);
            }
            Woken::Signal(Err(error)) => return Err(Failure::system("read signals")(error)),
        }
        Ok(false)
    }

    /// Looks after certificates, ticket keys and OCSP answers from now on.
    pub(super) fn keep_certificates(&mut self) {
        let setting = &self.setting;
        let certificates = &setting.certificates;
        if self.is_keeping_certificates || certificates.borrow().is_empty() {
            return;
        }
        self.is_keeping_certificates = true;
        let publisher = Rc::clone(&self.publisher);
        let kept = Rc::clone(certificates);
        spawn(certificates::keep(kept, Rc::clone(&publisher)));
        if let Some(ends) = setting.ends.first() {
            let parts = Parts {
                tls: setting.tools.connector.clone(),
                resolver: ends.resolver.clone(),
                buffers: Buffers::new(),
            };
            let log = setting.logs.log();
            let publish = move |generation| publisher.publish(generation);
            spawn(stapling::keep(Rc::clone(certificates), parts, log, publish));
        }
    }

    pub(super) async fn next(&mut self, signals: &mut Signals) -> Woken {
        let Self {
            reports,
            restarts,
            changes,
            owed,
            upgrades,
            ..
        } = self;
        loop {
            let message = race(reports.1.receive(), restarts.1.recv());
            let bells = race(changes.1.recv(), owed.1.recv());
            // We hold all sending halves, so no queue ends.
            let bells = race(bells, upgrades.1.recv());
            match race(race(message, bells), signals.next()).await {
                Either::First(Either::First(Either::First(Some(report)))) => {
                    return Woken::Report(report);
                }
                Either::First(Either::First(Either::Second(Some(index)))) => {
                    return Woken::Restart(index);
                }
                Either::First(Either::Second(Either::First(Either::First(_)))) => {
                    return Woken::Changed;
                }
                Either::First(Either::Second(Either::First(Either::Second(_)))) => {
                    return Woken::Owed;
                }
                Either::First(Either::Second(Either::Second(Ok(outcome)))) => {
                    return Woken::Upgraded(outcome);
                }
                Either::First(_) => {}
                Either::Second(signal) => return Woken::Signal(signal),
            }
        }
    }

    /// Tells systemd again and again that the supervisor is well, if it wants to know.
    fn keep_alive(&self) {
        if let Some(interval) = self.setting.notify.watchdog {
            let notify = Notify::of_process();
            spawn(async move {
                loop {
                    notify.tell("WATCHDOG=1");
                    sleep(interval).await;
                }
            });
        }
    }

    /// Starts a shard's thread.
    fn launch(&mut self, index: usize) -> Result<(), Failure> {
        self.starts += 1;
        let ends = self.setting.ends.get(index).cloned();
        let links = self.setting.links.get(index).cloned();
        let (Some(shard), Some(ends), Some(links)) = (self.shards.get_mut(index), ends, links)
        else {
            return Ok(());
        };
        shard.since = clock::mono();
        shard.is_alive = true;
        shard.owed = None;
        let (address, inbox) = mailbox(MESSAGES_MAX);
        if let Some(known) = self.addresses.borrow_mut().get_mut(index) {
            *known = address;
        }
        let listeners: std::io::Result<Vec<_>> = shard
            .listeners
            .iter()
            .map(|(key, socket)| Ok((*key, socket.try_clone()?)))
            .collect();
        let setting = &self.setting;
        shard.generation = setting.generation.number;
        let launch = Launch {
            index: index as u16,
            shards: setting.shards,
            core: shard.core,
            driver: setting.driver,
            generation: setting.for_shard(index),
            listeners: listeners.map_err(Failure::system("share a listening socket"))?,
            inbox,
            reports: self.reports.0.clone(),
            started: setting.started,
            scraper: setting.scraper.clone(),
            ends,
            links,
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
                Some(Report::Adopted { .. }) => {}
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
            .map(|shard| {
                let sockets = shard.listeners.iter();
                sockets.map(|(_, socket)| socket.address()).collect()
            })
            .unwrap_or_default();
        let cores: Vec<Option<usize>> = self.shards.iter().map(|shard| shard.core).collect();
        let runtime = self.runtime.borrow();
        let text = banner::banner(
            &self.setting.generation.config,
            &addresses,
            &runtime,
            &cores,
        );
        say(&text);
    }

    /// A shard has something to say.
    fn note(&mut self, report: Report) {
        let log = self.setting.logs.log();
        match report {
            Report::Started { shard, .. } => {
                log.info("supervisor", format_args!("shard {shard} runs again"));
                if let Some(address) = self.addresses.borrow().get(usize::from(shard)) {
                    let _ = address.send(Message::Accept);
                }
            }
            Report::Drained { .. } => {}
            Report::Adopted { shard, number } => self.adopted(shard, number),
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

    pub(super) fn tell_all(&self, message: impl Fn() -> Message) {
        for address in &*self.addresses.borrow() {
            // Closed: the shard has crashed. Full: it is stuck, and will be left behind.
            let _ = address.send(message());
        }
    }
}
