//! Groups of servers that do the same (`[upstream.NAME]`), as one shard knows them: who gets a
//! request, connections kept open, and the exchange on one of them.

mod connection;
mod dial;
mod failure;
mod health;
mod outgoing;
mod peer;
mod stream;
mod tally;
mod ticket;
mod transfer;
mod trunk;
mod tunnel;

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use failure::{Cause, Failure};
pub use health::{News, Wire};
pub use outgoing::Outgoing;
pub use ticket::Ticket;

use crate::balance::{Balancer, Outcome, Tried};
use crate::base::log::Logger;
use crate::base::{clock, hash};
use crate::config::{HealthCheck, Protocol, ProxyTimeouts, Upstream};
use crate::http::{Body, BodyError, HeaderList, Hints, ResponseHead};
use crate::net::buffers::Buffers;
use crate::net::deadlines::Deadlines;
use crate::net::resolve::Resolver;
use crate::net::timer::{Elapsed, within};
use dial::Dial;
use peer::{Content, Keeping, Peer};
use tally::Tally;
use tunnel::Tunnel;

/// Heads kept to be filled again.
const HEADS_MAX: usize = 32;

/// What the groups of a shard share.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Looks names up.
    pub resolver: Resolver,
    /// The shard's buffers.
    pub buffers: Buffers,
    /// Time limits of connections to servers.
    pub deadlines: Rc<Deadlines>,
    /// Diagnostics.
    pub log: Logger,
    /// Heads of answers that are done with.
    pub heads: Rc<RefCell<Vec<ResponseHead>>>,
}

impl Parts {
    fn head(&self) -> ResponseHead {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the memory of a head for another answer.
    pub fn recycle(&self, head: ResponseHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < HEADS_MAX {
            heads.push(head);
        }
    }
}

/// A request to send. Framing is added.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method as it is spelled.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// All other fields, Host among them.
    pub headers: &'a HeaderList,
    /// Whether doing it twice is harmless.
    pub is_repeatable: bool,
    /// Whether content that the client does not take yet is read ahead.
    pub buffering: bool,
    /// The protocol that the client would like to switch to.
    pub switch_to: Option<&'a [u8]>,
    /// Where interim answers go.
    pub hints: &'a Hints,
}

impl Request<'_> {
    /// Passes an interim answer on. 100 is between us and the server.
    fn hear(&self, status: u16, head: &ResponseHead) {
        if status != 100 {
            self.hints.put(status, &head.headers);
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields as the server sent them.
    pub head: ResponseHead,
    /// The content.
    pub body: Body,
    /// Time to connect; zero on a connection that was kept.
    pub connected: Duration,
}

/// The servers of one `[upstream.NAME]`.
#[derive(Debug)]
pub struct Group {
    name: std::sync::Arc<str>,
    balancer: RefCell<Balancer>,
    peers: Vec<Rc<Peer>>,
    names: Vec<String>,
    chance: Cell<u64>,
    /// Requests that wait for a server with room.
    waiting: RefCell<VecDeque<Waker>>,
    queue: (usize, Duration),
    parts: Rc<Parts>,
}

impl Group {
    /// A group without connections. `seed` differs between shards.
    #[must_use]
    pub fn new(upstream: &Upstream, parts: Rc<Parts>, seed: u64) -> Rc<Self> {
        let keeping = Keeping {
            idle_max: upstream.keepalive,
            requests_max: upstream.keepalive_requests,
            idle_time: upstream.keepalive_timeout,
        };
        let specs: Vec<_> = upstream.servers.iter().map(|s| s.spec.clone()).collect();
        let names = specs.iter().map(|spec| spec.name.clone()).collect();
        let peer = |server: &crate::config::UpstreamServer| {
            let dial = Dial::new(server, upstream.tls.as_ref());
            let speaks_h2 = upstream.protocol == Protocol::Http2;
            Peer::new(dial, keeping, speaks_h2, Rc::clone(&parts))
        };
        Rc::new(Self {
            name: std::sync::Arc::clone(&upstream.name),
            balancer: RefCell::new(Balancer::new(upstream.method, upstream.ejection, specs)),
            peers: upstream.servers.iter().map(peer).collect(),
            names,
            chance: Cell::new(seed),
            waiting: RefCell::default(),
            queue: (upstream.queue, upstream.queue_timeout),
            parts,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A server's address as configured.
    #[must_use]
    pub fn server_name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", |name| name)
    }

    /// What it shares with the shard's other groups.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Chooses a server that was not tried yet. `None`: there is none.
    #[must_use]
    pub fn begin(self: &Rc<Self>, key: u64, tried: &Tried, now: Instant) -> Option<Ticket> {
        let mut state = self.chance.get();
        let chance = hash::next(&mut state);
        self.chance.set(state);
        let index = self.balancer.borrow_mut().begin(key, chance, tried, now)?;
        Some(Ticket::new(Rc::clone(self), index))
    }

    /// Begins active checks, on the one shard that makes them.
    pub fn check(self: &Rc<Self>, check: &HealthCheck, wire: &Wire) {
        health::start(self, check, wire);
    }

    /// Chooses a server as [`begin`](Self::begin) does, and waits for one that has room where
    /// only that is missing.
    ///
    /// # Errors
    /// There is no server, or none had room in time, or too many wait already.
    pub async fn begin_waiting(self: &Rc<Self>, key: u64, tried: &Tried) -> Result<Ticket, Cause> {
        if !self.balancer.borrow().is_full(tried, clock::mono()) {
            return Err(Cause::NoServer);
        }
        let (places, limit) = self.queue;
        let mut is_queued = false;
        let room = poll_fn(|cx| {
            if let Some(ticket) = self.begin(key, tried, clock::mono()) {
                return Poll::Ready(Ok(ticket));
            }
            let mut waiting = self.waiting.borrow_mut();
            if waiting.len() >= places && !is_queued {
                return Poll::Ready(Err(Cause::Full));
            }
            is_queued = true;
            if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
                waiting.push_back(cx.waker().clone());
            }
            Poll::Pending
        });
        match within(limit, core::pin::pin!(room)).await {
            Ok(begun) => begun,
            Err(Elapsed) => Err(Cause::Full),
        }
    }

    /// Counts a try of that server after another had failed.
    pub fn count_retry(&self, index: usize) {
        if let Some(peer) = self.peers.get(index) {
            Tally::count(&peer.tally().retries);
        }
    }

    /// Whether there is a server that was not tried yet.
    #[must_use]
    pub fn has_other(&self, tried: &Tried, now: Instant) -> bool {
        let balancer = self.balancer.borrow();
        (0..balancer.len())
            .any(|index| !tried.contains(&index) && balancer.is_available(index, now))
    }

    fn end(&self, index: usize, outcome: Outcome, now: Instant) {
        let is_out = self.balancer.borrow_mut().end(index, outcome, now);
        let next = self.waiting.borrow_mut().pop_front();
        if let Some(next) = next {
            next.wake();
        }
        if is_out {
            self.parts.log.warn(
                "upstream",
                format_args!(
                    "{}: {} gets no requests for a time: it has failed too often",
                    self.name,
                    self.server_name(index)
                ),
            );
        }
    }

    fn answer_broke_off(&self, index: usize, error: BodyError) {
        if let Some(peer) = self.peers.get(index) {
            peer.tally().fail_as("cut");
        }
        self.parts.log.warn(
            "upstream",
            format_args!(
                "{}: an answer of {} broke off: {error}",
                self.name,
                self.server_name(index)
            ),
        );
    }

    /// Sends a request to the ticket's server and waits for the head of its answer. `outgoing`
    /// is the request's content; it stays there as long as it can be sent again.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(
        &self,
        mut ticket: Ticket,
        request: Request<'_>,
        outgoing: &mut Option<Box<Outgoing>>,
        timeouts: &ProxyTimeouts,
    ) -> Result<Answer, Failure> {
        let index = ticket.index();
        let Some(peer) = self.peers.get(index) else {
            return Err(Cause::NoServer.early());
        };
        Tally::count(&peer.tally().requests);
        match peer.ask(request, outgoing, timeouts).await {
            Ok(got) => {
                ticket.settle(match got.head.status {
                    500.. => Outcome::ServerError,
                    _ => Outcome::Answered,
                });
                let body = match got.content {
                    Content::Whole(body) => body,
                    Content::Switched(connection) => Body::Tunnel(Box::new(Tunnel {
                        connection,
                        idle: timeouts.read,
                        ticket,
                    })),
                    Content::Streaming(mut inflow) => {
                        inflow.ticket = Some(ticket);
                        Body::Source(inflow)
                    }
                    Content::Coming(mut transfer) => {
                        transfer.ticket = Some(ticket);
                        Body::Source(transfer)
                    }
                };
                Ok(Answer {
                    head: got.head,
                    body,
                    connected: got.connected,
                })
            }
            Err(mut failure) => {
                failure.server = Some(index);
                peer.tally().fail(&failure.cause);
                if failure.cause.blames_server() {
                    ticket.settle(Outcome::Failed);
                }
                Err(failure)
            }
        }
    }
}
