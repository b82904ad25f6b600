//! What every part of the gateway's server side on one shard uses.

use std::cell::Cell;

use super::wire::{Ticket, Wires};
use crate::base::log::Logger;
use crate::handler::mcp::link::ServerEvent;
use crate::handler::mcp::peers::{PeerMessage, Peers};
use crate::net::process::Spawner;
use crate::upstream::Parts;

/// Handed in when the shard starts.
#[derive(Debug)]
pub struct Shard {
    pub(crate) wires: Wires,
    pub(crate) peers: Peers,
    pub(crate) log: Logger,
    pub(crate) spawner: Spawner,
    pub(crate) parts: Parts,
    /// `[mcp] max_message_size`
    pub(crate) message_bytes_max: usize,
    tickets: Cell<u64>,
}

impl Shard {
    /// Everything that comes from outside.
    #[must_use]
    pub fn new(
        wires: Wires,
        peers: Peers,
        log: Logger,
        spawner: Spawner,
        parts: Parts,
        message_bytes_max: usize,
    ) -> Self {
        Self {
            wires,
            peers,
            log,
            spawner,
            parts,
            message_bytes_max,
            tickets: Cell::new(0),
        }
    }

    /// Tells the fronts of all shards something that may be missed: a shard that does not keep
    /// up is passed over.
    pub(crate) fn tell_all(&self, event: &ServerEvent) {
        for shard in 0..self.wires.shards() {
            let _ = self.peers.tell(shard, PeerMessage::Server(event.clone()));
        }
    }

    /// A name for a call that no other shard gives.
    pub(crate) fn ticket(&self) -> Ticket {
        self.tickets.set(self.tickets.get() + 1);
        Ticket(u64::from(self.wires.own) << 48 | self.tickets.get())
    }
}
