//! The gateway of one shard: its servers, their links, its mailbox.

use std::rc::Rc;
use std::sync::Arc;

use crate::base::log::Logger;
use crate::config::Config;
use crate::handler::mcp::link::{Link, ServerId};
use crate::handler::mcp::peers::{PeerMessage, Peers};
use crate::handler::mcp::tasks::Tasks;
use crate::handler::mcp::upstream::{Servers, Shard, Wires};
use crate::handler::mcp::{DemoLink, Gateway, Parts, demo};
use crate::mcp::demo::Demo;
use crate::metrics::Recorder;
use crate::net::across::Receiver;
use crate::net::buffers::Buffers;
use crate::net::disk::Disk;
use crate::net::process::Spawner;
use crate::net::resolve::Resolver;
use crate::net::timer::race;
use crate::net::tls::TlsConnector;
use crate::net::{sleep, spawn};
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
    /// Makes TLS connections.
    pub tls: TlsConnector,
    /// Waits for disks; `None` where no route has files.
    pub disk: Option<Disk>,
}

/// A gateway at work, and what ends with it.
pub(super) struct Running {
    pub(super) gateway: Rc<Gateway>,
    servers: Rc<Servers>,
    mailbox: Receiver<PeerMessage>,
}

impl Running {
    /// Starts the gateway on this thread.
    pub(super) fn start(
        ends: Ends,
        config: &Arc<Config>,
        recorder: &Rc<Recorder>,
        (buffers, log): (&Buffers, &Logger),
    ) -> Self {
        let parts = upstream::Parts {
            tls: ends.tls,
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
        let servers = Servers::start(shard, &config.mcp.servers);
        let tasks = Tasks::new(spawn, |time| Box::pin(sleep(time)));
        let names = config
            .mcp
            .servers
            .iter()
            .map(|server| Arc::clone(&server.name));
        let mut links: Vec<(Arc<str>, Rc<dyn Link>)> = names.zip(servers.links()).collect();
        if config.mcp.demo {
            let id = ServerId(links.len() as u16);
            let name: Arc<str> = Arc::from(DEMO_NAME);
            let link = DemoLink::start(demo::Parts {
                demo: Demo::new(&ends.secret),
                id,
                name: Arc::clone(&name),
                wire: ends.demo,
                peers: peers.clone(),
                tasks: tasks.clone(),
            });
            links.push((name, link));
        }
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
            mailbox: ends.mailbox,
        }
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
