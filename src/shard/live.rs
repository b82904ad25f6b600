//! A shard's life inside its runtime: serve, change with the configuration, drain.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::base::channel::{Sender, bounded};
use crate::metrics::RuntimeInfo;
use crate::net::listener::{BoundListener, Listener};
use crate::net::mailbox::{Address, Inbox};
use crate::net::{sleep, spawn};
use crate::server::{ListenerKey, SWEEP_INTERVAL, accept};
use crate::shard::estate::Estate;
use crate::shard::{Adopt, Launch, Message, Report, Sockets};

/// Orders that may wait: one of each kind.
const ORDERS_MAX: usize = 4;

/// Serves until told to drain, and then to stop.
pub(super) async fn live(
    mut launch: Launch,
    sockets: &Sockets,
    runtime: RuntimeInfo,
) -> io::Result<()> {
    let estate = Estate::found(&launch, sockets, &runtime);
    spawn(sweep(Rc::clone(&estate)));
    let doors = Doors::new(&estate, sockets);
    for (key, bound) in core::mem::take(&mut launch.listeners) {
        doors.build(key, bound)?;
    }
    let (orders, mut ordered) = bounded(ORDERS_MAX);
    let desk = Desk {
        estate: &estate,
        doors: &doors,
        orders,
        reports: &launch.reports,
        shard: launch.index,
    };
    let counting = estate
        .newest
        .get()
        .map(|server| Rc::clone(server.counting()));
    let limits = async {
        if let Some(counting) = counting {
            counting.serve().await;
        }
    };
    let mut side = pin!(both(
        both(
            estate.running.serve(),
            both(limits, both(estate.hear(), estate.serve_caches()))
        ),
        desk.serve(&launch.inbox)
    ));
    let tell = |report| {
        // Without a supervisor there is nobody to tell, and the inbox ends as well.
        let _ = launch.reports.send(report);
    };
    let shard = launch.index;
    tell(Report::Started { shard, runtime });
    let (patience, limit) = loop {
        match beside(&mut side, ordered.recv()).await {
            Some(Order::Accept) => doors.open(),
            Some(Order::Drain { patience, limit }) => break (patience, limit),
            Some(Order::Stop) | None => break (Duration::ZERO, Duration::ZERO),
        }
    };
    doors.close();
    estate.drain.begin(&sockets.connections);
    estate.running.begin_drain();
    let finish = estate.drain.finish(&sockets.connections, (patience, limit));
    if !beside(&mut side, finish).await {
        launch.generation.log.warn(
            "shard",
            format_args!("requests were cut off after {limit:?} (graceful_timeout)"),
        );
    }
    tell(Report::Drained { shard });
    // Calls of other shards may still need our servers.
    while let Some(Order::Accept | Order::Drain { .. }) = beside(&mut side, ordered.recv()).await {}
    beside(&mut side, estate.running.stop()).await;
    estate.flush();
    estate.newest.clear();
    Ok(())
}

/// The shard's listeners.
struct Doors<'a> {
    estate: &'a Rc<Estate>,
    sockets: &'a Sockets,
    /// Those that are not open yet.
    built: RefCell<Vec<(ListenerKey, Listener)>>,
    /// Dropping a sender ends the task that accepts. A key may have several sockets.
    open: RefCell<BTreeMap<ListenerKey, Vec<Sender<()>>>>,
    is_open: core::cell::Cell<bool>,
}

impl<'a> Doors<'a> {
    fn new(estate: &'a Rc<Estate>, sockets: &'a Sockets) -> Self {
        Self {
            estate,
            sockets,
            built: RefCell::default(),
            open: RefCell::default(),
            is_open: core::cell::Cell::new(false),
        }
    }

    /// Takes a socket in; it accepts when the shard is told to, or at once if it was.
    fn build(&self, key: ListenerKey, bound: BoundListener) -> io::Result<()> {
        let listener = Listener::new(bound)?;
        self.built.borrow_mut().push((key, listener));
        if self.is_open.get() {
            self.open();
        }
        Ok(())
    }

    fn open(&self) {
        self.is_open.set(true);
        for (key, listener) in self.built.take() {
            let place = self.sockets.listeners.enter(listener.note());
            let newest = Rc::clone(&self.estate.newest);
            let (keep, stopped) = bounded(1);
            self.open.borrow_mut().entry(key).or_default().push(keep);
            spawn(async move {
                // Dropped after the listener's last use and before its socket.
                let _place = place;
                accept(newest, key, listener, stopped).await;
            });
        }
    }

    /// Gives up the listeners that are not among these.
    fn keep(&self, keys: &[ListenerKey]) {
        self.open.borrow_mut().retain(|key, _| keys.contains(key));
        self.built
            .borrow_mut()
            .retain(|(key, _)| keys.contains(key));
    }

    fn close(&self) {
        self.keep(&[]);
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

/// What the supervisor wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Accept,
    Drain { patience: Duration, limit: Duration },
    Stop,
}

/// Reads the shard's mail.
struct Desk<'a> {
    estate: &'a Rc<Estate>,
    doors: &'a Doors<'a>,
    orders: Sender<Order>,
    reports: &'a Address<Report>,
    shard: u16,
}

impl Desk<'_> {
    /// Answers messages and passes orders on, until the supervisor is gone.
    async fn serve(self, inbox: &Inbox<Message>) {
        while let Some(message) = inbox.receive().await {
            let order = match message {
                Message::Snapshot(reply) => {
                    let _ = reply.try_send(self.estate.snapshot());
                    continue;
                }
                Message::Tls(generation) => {
                    if let Some(server) = self.estate.newest.get() {
                        server.replace_tls(&generation);
                    }
                    continue;
                }
                Message::Adopt(adopt) => {
                    self.adopt(*adopt);
                    continue;
                }
                Message::Announce => {
                    self.estate.drain.announce();
                    continue;
                }
                Message::Accept => Order::Accept,
                Message::Drain { patience, limit } => Order::Drain { patience, limit },
                Message::Stop => Order::Stop,
                #[cfg(test)]
                Message::Crash => panic!("this panic is part of the test"),
            };
            if self.orders.send(order).await.is_err() {
                return;
            }
        }
    }

    fn adopt(&self, adopt: Adopt) {
        let Adopt {
            generation,
            listeners,
        } = adopt;
        if self.estate.adopt(&generation).is_none() {
            return;
        }
        self.doors.keep(&generation.listeners);
        for (key, bound) in listeners {
            let address = bound.address();
            if let Err(error) = self.doors.build(key, bound) {
                let log = &generation.log;
                log.error("accept", format_args!("{address}: {error}"));
            }
        }
        let (shard, number) = (self.shard, generation.number);
        let _ = self.reports.send(Report::Adopted { shard, number });
    }
}

/// Ends overdue waits, takes what other threads have made and hands buffered log lines on, for
/// ever.
async fn sweep(estate: Rc<Estate>) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        estate.sweep();
    }
}
