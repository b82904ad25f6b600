//! Which server of a group gets a request: nginx's methods and its idea of a failed server, plus
//! power of two choices, slow start and ejection of outliers. Pure: time, chance and the key are
//! given; connections are the caller's.
#![forbid(unsafe_code)]

mod choose;
mod peer;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use peer::Outcome;
use peer::Peer;

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// In turns, by weight, spread evenly (nginx's smooth weighted round robin).
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way for its weight; in turns among equals.
    LeastConn,
    /// The less busy of two taken by chance.
    PowerOfTwo,
    /// Always the same one for the same key, as long as it is there (rendezvous hashing: a server
    /// that leaves moves its own keys and no others).
    Hash,
}

/// One server as the configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its share beside the others; at least 1.
    pub weight: u32,
    /// Failures within `fail_timeout` after which it gets no requests; 0 never takes it out.
    pub max_fails: u32,
    /// The window for counting failures, and how long it is left alone then.
    pub fail_timeout: Duration,
    /// Only used when no other can be.
    pub backup: bool,
    /// Requests under way at once; 0 is no limit.
    pub max_conns: u32,
    /// Time in which a server that came back gets its full share; zero gives it at once.
    pub slow_start: Duration,
    /// Never used (kept in the list so that hashing does not move).
    pub down: bool,
    /// Identity for hashing: the address as configured.
    pub name: String,
}

/// When a server that answers, but wrongly, is ejected for a time (Envoy's outlier detection).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Errors in a row (5xx or no answer) that eject; 0 switches ejection off.
    pub consecutive_errors: u32,
    /// First time out; each further one is longer by as much.
    pub base: Duration,
    /// The longest time out.
    pub max: Duration,
    /// Greatest part of the group that may be out, in percent. One may always be.
    pub max_percent: u32,
}

/// A group of servers, as one shard sees it.
#[derive(Debug)]
pub struct Balancer {
    method: Method,
    ejection: Ejection,
    peers: Vec<Peer>,
    /// Whether there is just one server to choose: then failures do not take it out, because
    /// nobody else could answer (as in nginx).
    is_single: bool,
}

/// Servers that a request has tried already.
pub type Tried = smallvec::SmallVec<[usize; 4]>;

impl Balancer {
    /// A group in its first state: everyone is taken to be well.
    #[must_use]
    pub fn new(method: Method, ejection: Ejection, specs: Vec<Spec>) -> Self {
        let usable = specs.iter().filter(|spec| !spec.down).count();
        Self {
            method,
            ejection,
            peers: specs.into_iter().map(Peer::new).collect(),
            is_single: usable == 1,
        }
    }

    /// How many servers there are, usable or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is no server at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Chooses a server that was not tried yet and counts the request to it; whoever gets one
    /// has to call [`end`](Self::end). `key` is the hash of the key to hash by, `chance` random.
    /// Backups are chosen only when no other server is left.
    pub fn begin(&mut self, key: u64, chance: u64, tried: &Tried, now: Instant) -> Option<usize> {
        let index = self
            .choose(false, key, chance, tried, now)
            .or_else(|| self.choose(true, key, chance, tried, now))?;
        self.peers.get_mut(index)?.begin(now);
        Some(index)
    }

    /// A request to that server has ended so. Says whether this took the server out.
    pub fn end(&mut self, index: usize, outcome: Outcome, now: Instant) -> bool {
        let (out, total) = self.out_of_group(now);
        let ejection = self.ejection;
        let may_eject = !self.is_single
            && ejection.consecutive_errors > 0
            && (out == 0 || (out + 1) * 100 <= total * ejection.max_percent as usize);
        let is_single = self.is_single;
        let Some(peer) = self.peers.get_mut(index) else {
            return false;
        };
        peer.active = peer.active.saturating_sub(1);
        match outcome {
            Outcome::Answered => {
                peer.succeed(now);
                false
            }
            Outcome::ServerError => {
                peer.errors_in_row = peer.errors_in_row.saturating_add(1);
                let is_outlier = peer.errors_in_row >= ejection.consecutive_errors;
                may_eject && is_outlier && peer.eject(&ejection, now)
            }
            Outcome::Failed => {
                peer.errors_in_row = peer.errors_in_row.saturating_add(1);
                let is_outlier = may_eject && peer.errors_in_row >= ejection.consecutive_errors;
                let is_out = !is_single && peer.fail(now);
                (is_outlier && peer.eject(&ejection, now)) || is_out
            }
            Outcome::Unused => false,
        }
    }

    /// What an active check found.
    pub fn set_healthy(&mut self, index: usize, is_healthy: bool, now: Instant) {
        if let Some(peer) = self.peers.get_mut(index)
            && peer.is_healthy != is_healthy
        {
            peer.is_healthy = is_healthy;
            if is_healthy {
                peer.come_back(now);
            }
        }
    }

    /// Whether that server would get requests now.
    #[must_use]
    pub fn is_available(&self, index: usize, now: Instant) -> bool {
        let peer = self.peers.get(index);
        peer.is_some_and(|peer| peer.is_available(now))
    }

    /// Whether a server would get the request if only it had fewer under way.
    #[must_use]
    pub fn is_full(&self, tried: &Tried, now: Instant) -> bool {
        let mut peers = self.peers.iter().enumerate();
        peers.any(|(index, peer)| !tried.contains(&index) && peer.lacks_only_room(now))
    }

    /// Requests under way to that server.
    #[must_use]
    pub fn active(&self, index: usize) -> u32 {
        self.peers.get(index).map_or(0, |peer| peer.active)
    }

    /// How many of the servers that are not backups are out, and how many there are.
    fn out_of_group(&self, now: Instant) -> (usize, usize) {
        let group = || self.peers.iter().filter(|peer| !peer.spec.backup);
        let out = group().filter(|peer| !peer.is_available(now)).count();
        (out, group().count())
    }
}
