//! The gateway's servers and tools for `/api/v1/servers` and `/api/v1/tools`.

use std::sync::Arc;

use super::Scope;
use super::gateway::Gateway;
use super::link::{ServerId, ServerState, Transport};
use crate::config::McpTarget;
use crate::handler::builtin::{Catalogue, PublicTool};

impl Catalogue for Gateway {
    fn servers(&self) -> Vec<Arc<ServerState>> {
        let members = self.members(Scope::Merged).into_iter();
        members
            .map(|id| match self.state(id) {
                Some(state) => state,
                None => Arc::new(self.unheard(id)),
            })
            .collect()
    }

    fn tools(&self) -> Vec<PublicTool> {
        let view = self.view(Scope::Merged);
        let entries = view.catalog.tools().entries();
        entries
            .filter_map(|entry| {
                let state = self.state(ServerId(entry.server))?;
                Some(PublicTool {
                    name: Arc::clone(&entry.exposed),
                    server: Arc::clone(&state.name),
                    own_name: Arc::clone(&entry.own),
                    raw: state.tools.get(entry.place)?.raw.clone(),
                })
            })
            .collect()
    }
}

impl Gateway {
    /// A server that no link has said anything of yet.
    fn unheard(&self, id: ServerId) -> ServerState {
        let link = self.link(id);
        let name = link.map_or_else(|| "".into(), |(name, _)| name);
        let config = self.config.borrow();
        let mut servers = config.mcp.servers.iter();
        let server = servers.find(|server| server.name == name);
        let transport = match server.map(|server| &server.target) {
            Some(McpTarget::Stdio { .. }) => Transport::Stdio,
            Some(McpTarget::Http { sse: true, .. }) => Transport::HttpSse,
            Some(McpTarget::Http { .. }) => Transport::StreamableHttp,
            None => Transport::Builtin,
        };
        ServerState::unknown(id, name, transport)
    }

    /// How names were made unique, one line each, for the log at start.
    #[must_use]
    pub fn name_choices(&self) -> Vec<String> {
        let view = self.view(Scope::Merged);
        let server = |id: u16| {
            let link = self.link(ServerId(id));
            link.map_or_else(|| "".into(), |(name, _)| name)
        };
        let mut lines = Vec::new();
        for (kind, names) in [
            ("tool", view.catalog.tools()),
            ("prompt", view.catalog.prompts()),
        ] {
            lines.extend(names.renamed().map(|(id, own, exposed)| {
                format!(
                    "{kind} {own} of server {} is offered as {exposed}",
                    server(id)
                )
            }));
            lines.extend(names.hidden().map(|(id, own)| {
                format!(
                    "{kind} {own} of server {} is hidden: its name is taken",
                    server(id)
                )
            }));
        }
        lines
    }
}
