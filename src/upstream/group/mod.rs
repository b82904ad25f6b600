//! Groups of servers that do the same (`[upstream.NAME]`), as one shard knows them: who gets a
//! request, connections kept open, and the exchange on one of them.

mod connection;
mod dial;
mod failure;
mod outgoing;
mod peer;
mod ticket;
mod transfer;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use failure::{Cause, Failure};
pub use outgoing::Outgoing;
pub use ticket::Ticket;

use crate::balance::{Balancer, Outcome, Tried};
use crate::base::hash;
use crate::base::log::Logger;
use crate::config::{ProxyTimeouts, Upstream};
use crate::http::{Body, BodyError, HeaderList, Hints, ResponseHead};
use crate::net::buffers::Buffers;
use crate::net::deadlines::Deadlines;
use crate::net::resolve::Resolver;
use dial::Dial;
use peer::{Content, Keeping, Peer};
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
            Peer::new(Dial::new(&server.address), keeping, Rc::clone(&parts))
        };
        Rc::new(Self {
            name: std::sync::Arc::clone(&upstream.name),
            balancer: RefCell::new(Balancer::new(upstream.method, upstream.ejection, specs)),
            peers: upstream.servers.iter().map(peer).collect(),
            names,
            chance: Cell::new(seed),
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

    /// Whether there is a server that was not tried yet.
    #[must_use]
    pub fn has_other(&self, tried: &Tried, now: Instant) -> bool {
        let balancer = self.balancer.borrow();
        (0..balancer.len())
            .any(|index| !tried.contains(&index) && balancer.is_available(index, now))
    }

    fn end(&self, index: usize, outcome: Outcome, now: Instant) {
        let is_out = self.balancer.borrow_mut().end(index, outcome, now);
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
                if failure.cause.blames_server() {
                    ticket.settle(Outcome::Failed);
                }
                Err(failure)
            }
        }
    }
}
