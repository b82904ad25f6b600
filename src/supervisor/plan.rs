//! Numbers that hold over generations of the configuration: of listeners, limits and servers. A
//! thing that the next generation has too keeps its number, so that all shards mean the same,
//! also while some of them are a generation behind.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::handler::mcp::link::{PlannedServer, ServerId};
use crate::server::{LimitPlaces, ListenerKey};

/// The numbers of one generation.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// By listener.
    pub(super) listeners: Vec<(ListenerKey, SocketAddr)>,
    pub(super) limits: LimitPlaces,
    pub(super) servers: Arc<[PlannedServer]>,
    pub(super) demo: Option<ServerId>,
    /// Names of all limits there have been, by place.
    rates: Vec<String>,
    connections: Vec<String>,
    listeners_made: u32,
    servers_made: u16,
    /// The demo server's, once it has one.
    demo_made: Option<ServerId>,
}

/// There are no numbers left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("after 65,535 changed servers or limits, a change needs a restart")]
pub(crate) struct NoNumbers;

impl Plan {
    /// The numbers of the generation after this one; of the first one after
    /// [`default`](Self::default).
    pub(super) fn follow(&self, config: &Config) -> Result<Self, NoNumbers> {
        let mut next = self.clone();
        next.number_listeners(config, &self.listeners);
        let rates = config.rate_limits.iter().map(|limit| &*limit.common.name);
        next.limits.rates = places(&mut next.rates, rates)?;
        let connections = config
            .connection_limits
            .iter()
            .map(|limit| &*limit.common.name);
        // That of each address has no name.
        let connections = connections.chain([""]);
        next.limits.connections = places(&mut next.connections, connections)?;
        next.number_servers(config)?;
        Ok(next)
    }

    fn number_listeners(&mut self, config: &Config, known: &[(ListenerKey, SocketAddr)]) {
        // The same address may stand there twice, with port 0.
        let mut known = known.to_vec();
        self.listeners.clear();
        for listener in &config.listeners {
            let address = listener.address;
            let at = known.iter().position(|(_, other)| *other == address);
            let key = match at {
                Some(at) => known.swap_remove(at).0,
                None => {
                    self.listeners_made += 1;
                    self.listeners_made
                }
            };
            self.listeners.push((key, address));
        }
    }

    fn number_servers(&mut self, config: &Config) -> Result<(), NoNumbers> {
        let old = Arc::clone(&self.servers);
        let mut servers = Vec::new();
        for server in &config.mcp.servers {
            let same = old.iter().find(|known| *known.config == *server);
            servers.push(match same {
                Some(known) => known.clone(),
                None => PlannedServer {
                    id: self.next_server()?,
                    config: Arc::new(server.clone()),
                },
            });
        }
        self.servers = servers.into();
        self.demo = None;
        if config.mcp.demo {
            let id = match self.demo_made {
                Some(id) => id,
                None => self.next_server()?,
            };
            self.demo_made = Some(id);
            self.demo = Some(id);
        }
        Ok(())
    }

    fn next_server(&mut self) -> Result<ServerId, NoNumbers> {
        let id = ServerId(self.servers_made);
        self.servers_made = self.servers_made.checked_add(1).ok_or(NoNumbers)?;
        Ok(id)
    }
}

/// The place of each name; names that are new are added.
fn places<'a>(
    known: &mut Vec<String>,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<u16>, NoNumbers> {
    names
        .map(|name| {
            let at = known.iter().position(|known| known == name);
            let at = at.unwrap_or_else(|| {
                known.push(name.to_owned());
                known.len() - 1
            });
            u16::try_from(at).map_err(|_| NoNumbers)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Listener, McpServer, McpTarget};

    fn server(name: &str, url: &str) -> McpServer {
        McpServer::new(
            name,
            McpTarget::Http {
                url: url.to_owned(),
                headers: Vec::new(),
                sse: false,
            },
        )
    }

    fn ids(plan: &Plan) -> Vec<u16> {
        plan.servers.iter().map(|server| server.id.0).collect()
    }

    #[test]
    fn what_stays_keeps_its_number_and_what_changes_gets_another() {
        let mut config = Config::default();
        config.mcp.servers = vec![server("a", "http://1/"), server("b", "http://2/")];
        let first = Plan::default().follow(&config).unwrap();
        assert_eq!((ids(&first), first.demo), (vec![0, 1], Some(ServerId(2))));
        config.mcp.servers = vec![server("b", "http://2/"), server("a", "http://3/")];
        config.mcp.demo = false;
        let second = first.follow(&config).unwrap();
        assert_eq!((ids(&second), second.demo), (vec![1, 3], None));
        config.mcp.demo = true;
        let third = second.follow(&config).unwrap();
        assert_eq!((ids(&third), third.demo), (vec![1, 3], Some(ServerId(2))));
    }

    #[test]
    fn listeners_are_known_by_their_address_also_where_it_stands_twice() {
        let any = Listener::plain("127.0.0.1:0".parse().unwrap());
        let other = Listener::plain("127.0.0.1:80".parse().unwrap());
        let mut config = Config {
            listeners: vec![any.clone(), any.clone()],
            ..Config::default()
        };
        let keys =
            |plan: &Plan| -> Vec<u32> { plan.listeners.iter().map(|(key, _)| *key).collect() };
        let first = Plan::default().follow(&config).unwrap();
        assert_eq!(keys(&first), [1, 2]);
        config.listeners = vec![other, any];
        let second = first.follow(&config).unwrap();
        assert_eq!(keys(&second), [3, 1]);
    }
}
