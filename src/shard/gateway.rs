//! The gateway of one shard: its servers, their links, its mailbox.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::handler::cache;
use crate::handler::mcp::peers::{PeerMessage, Peers};
use crate::handler::mcp::tasks::Tasks;
use crate::handler::mcp::upstream::{Servers, Shard, Wires};
use crate::handler::mcp::{DemoLink, Gateway, Named, Parts, demo};
use crate::mcp::demo::Demo;
use crate::metrics::Recorder;
use crate::net::across::Receiver;
use crate::net::buffers::Buffers;
use crate::net::process::Spawner;
use crate::net::resolve::Resolver;
use crate::net::timer::race;
use crate::net::{sleep, spawn};
use crate::shard::Generation;
use crate::upstream;

/// Name of the built-in demo server among the servers.
const DEMO_NAME: &str = "demo";

/// One shard's ends of what its gateway shares with the others by message. A shard that starts
/// again gets a clone.
#[derive(Clone, Debug)]
pub struct Ends {
    /// The mailboxes of all gateways.
    pub peers: Peers,
    /// This gateway's own.
    pub mailbox: Receiver<PeerMessage>,
    /// The same for the servers' side.
    pub wires: Wires,
    /// The same for the demo server.
    pub demo: demo::Wire,
    /// Key of everything sealed, the same on all shards.
    pub secret: [u8; 32],
    /// Starts children.
    pub spawner: Spawner,
    /// Looks names up.
    pub resolver: Resolver,
    /// Tells of checks of upstreams' servers.
    pub health: upstream::group::Wire,
    /// What the caches tell each other.
    pub caches: cache::Links,
}

/// A gateway at work, and what ends with it.
pub(super) struct Running {
    pub(super) gateway: Rc<Gateway>,
    servers: Rc<Servers>,
    demo: DemoServer,
    mailbox: Receiver<PeerMessage>,
}

/// The demo server, started when a configuration first has it.
struct DemoServer {
    secret: [u8; 32],
    wire: demo::Wire,
    peers: Peers,
    tasks: Tasks,
    running: RefCell<Option<Named>>,
}

impl DemoServer {
    /// Its link, if the configuration has it.
    fn link(&self, generation: &Generation) -> Option<Named> {
        let id = generation.demo?;
        let mut running = self.running.borrow_mut();
        let named = running.get_or_insert_with(|| {
            let name: Arc<str> = Arc::from(DEMO_NAME);
            let link = DemoLink::start(demo::Parts {
                demo: Demo::new(&self.secret),
                id,
                name: Arc::clone(&name),
                wire: self.wire.clone(),
                peers: self.peers.clone(),
                tasks: self.tasks.clone(),
            });
            (id, name, link)
        });
        Some(named.clone())
    }
}

impl Running {
    /// Starts the gateway on this thread.
    pub(super) fn start(
        ends: Ends,
        generation: &Generation,
        recorder: &Rc<Recorder>,
        buffers: &Buffers,
    ) -> Self {
        let (config, log) = (&generation.config, &generation.log);
        let parts = upstream::Parts {
            tls: generation.connector.clone(),
            resolver: ends.resolver,
            buffers: buffers.clone(),
        };
        let peers = ends.peers.clone();
        let message_bytes_max = config.mcp.max_message_size;
        let shard = Shard::new(
            ends.wires,
            peers.clone(),
            log.clone(),
            ends.spawner,
            parts,
            message_bytes_max,
        );
        let servers = Servers::start(shard, &generation.servers);
        let tasks = Tasks::new(spawn, |time| Box::pin(sleep(time)));
        let demo = DemoServer {
            secret: ends.secret,
            wire: ends.demo,
            peers: peers.clone(),
            tasks: tasks.clone(),
            running: RefCell::new(None),
        };
        let mut links = servers.links();
        links.extend(demo.link(generation));
        let report = log.clone();
        let gateway = Gateway::new(Parts {
            config: Arc::clone(config),
            secret: ends.secret,
            peers,
            links,
            tasks,
            recorder: Rc::clone(recorder),
            report: Rc::new(move |line| report.info("mcp", format_args!("{line}"))),
        });
        spawn(Rc::clone(&gateway).beat());
        Self {
            gateway,
            servers,
            demo,
            mailbox: ends.mailbox,
        }
    }

    /// Goes over to another generation.
    pub(super) fn adopt(&self, generation: &Generation) {
        let message_bytes_max = generation.config.mcp.max_message_size;
        let (log, connector) = (&generation.log, &generation.connector);
        self.servers
            .settings()
            .adopt(log, connector, message_bytes_max);
        self.servers.adopt(&generation.servers);
        let mut links = self.servers.links();
        links.extend(self.demo.link(generation));
        self.gateway.adopt(&generation.config, links);
    }

    /// Serves the mailboxes of the gateway and its servers. Part of the shard's main future and
    /// not a task of its own: if the shard crashes this is dropped for certain, and the receivers
    /// with it. One that stayed behind would take messages from its successor.
    pub(super) async fn serve(&self) {
        let gateway = Rc::clone(&self.gateway).run(self.mailbox.clone());
        race(gateway, self.servers.serve()).await;
    }

    /// Ends what would stay open for ever.
    pub(super) fn begin_drain(&self) {
        self.gateway.close_streams();
    }

    /// Ends children and sessions at servers.
    pub(super) async fn stop(&self) {
        self.servers.stop().await;
    }
}
