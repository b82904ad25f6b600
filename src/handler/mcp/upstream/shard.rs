//! What every part of the gateway's server side on one shard uses.

use std::cell::{Cell, Ref, RefCell};

use bytes::Bytes;

use super::mux::ServerRequest;
use super::requests;
use super::wire::{Ticket, Wires};
use crate::base::channel::{Receiver, Sender, bounded};
use crate::base::log::Logger;
use crate::handler::mcp::link::{ServerEvent, SessionKey};
use crate::handler::mcp::peers::{PeerMessage, Peers, Question};
use crate::net::across;
use crate::net::process::Spawner;
use crate::net::tls::TlsConnector;
use crate::upstream::Parts;

/// Handed in when the shard starts.
#[derive(Debug)]
pub struct Shard {
    pub(crate) wires: Wires,
    pub(crate) peers: Peers,
    log: RefCell<Logger>,
    pub(crate) spawner: Spawner,
    parts: RefCell<Parts>,
    /// `[mcp] max_message_size`
    message_bytes_max: Cell<usize>,
    tickets: Cell<u64>,
    starts: Starts,
}

/// Children that may be starting at once: fifty servers must not mean fifty package managers
/// fighting for the same cores. Large enough that a few that hang do not hold up the others.
const STARTS_MAX: usize = 16;

/// A queue whose filled places are the starts under way.
#[derive(Debug)]
struct Starts {
    taken: Sender<()>,
    free: RefCell<Receiver<()>>,
}

/// A child may start until this is dropped.
#[derive(Debug)]
pub(crate) struct StartPermit<'a>(&'a Starts);

impl Drop for StartPermit<'_> {
    fn drop(&mut self) {
        self.0.free.borrow_mut().try_recv();
    }
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
            log: RefCell::new(log),
            spawner,
            parts: RefCell::new(parts),
            message_bytes_max: Cell::new(message_bytes_max),
            tickets: Cell::new(0),
            starts: {
                let (taken, free) = bounded(STARTS_MAX);
                Starts {
                    taken,
                    free: RefCell::new(free),
                }
            },
        }
    }

    /// Another configuration holds.
    pub fn adopt(&self, log: &Logger, tls: &TlsConnector, message_bytes_max: usize) {
        self.log.replace(log.clone());
        self.parts.borrow_mut().tls = tls.clone();
        self.message_bytes_max.set(message_bytes_max);
    }

    /// Diagnostics.
    pub(crate) fn log(&self) -> Ref<'_, Logger> {
        self.log.borrow()
    }

    /// What connections are made with.
    pub(crate) fn parts(&self) -> Ref<'_, Parts> {
        self.parts.borrow()
    }

    /// Largest message of a server.
    pub(crate) const fn message_bytes_max(&self) -> usize {
        self.message_bytes_max.get()
    }

    /// Waits until another child may start.
    pub(crate) async fn start_permit(&self) -> StartPermit<'_> {
        // The receiver lives as long as the sender, so this cannot fail.
        let _ = self.starts.taken.send(()).await;
        StartPermit(&self.starts)
    }

    /// Tells the fronts of all shards something that may be missed: a shard that does not keep
    /// up is passed over.
    pub(crate) fn tell_all(&self, event: &ServerEvent) {
        for shard in 0..self.wires.shards() {
            let _ = self.peers.tell(shard, PeerMessage::Server(event.clone()));
        }
    }

    /// Asks a client on its GET stream, on whichever shard that is, and waits for the answer.
    ///
    /// # Errors
    /// The refusal that the server is to get.
    pub(crate) async fn ask_listener(
        &self,
        session: SessionKey,
        request: &ServerRequest,
    ) -> Result<Bytes, Bytes> {
        let refusal = |reason| requests::refusal(&request.id, -32603, reason);
        for shard in 0..self.wires.shards() {
            let (taken, is_taken) = across::bounded(1);
            let (answer, answered) = across::bounded(1);
            let question = Question {
                session,
                message: request.message.clone(),
                taken,
                answer,
            };
            let told = self.peers.tell(shard, PeerMessage::Question(question));
            if told.is_ok() && is_taken.recv().await == Ok(true) {
                let answer = answered.recv().await;
                return answer.map_err(|_| refusal("the client did not answer"));
            }
        }
        Err(refusal(
            "the client has no call under way and listens on no stream that could carry this to it",
        ))
    }

    /// A name for a call that no other shard gives.
    pub(crate) fn ticket(&self) -> Ticket {
        self.tickets.set(self.tickets.get() + 1);
        Ticket(u64::from(self.wires.own) << 48 | self.tickets.get())
    }
}
