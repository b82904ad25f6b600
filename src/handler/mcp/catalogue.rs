//! The gateway's servers and tools for `/api/v1/servers` and `/api/v1/tools`.

use std::sync::Arc;

use super::Scope;
use super::gateway::Gateway;
use super::link::{ServerId, ServerState, Transport};
use crate::config::McpTarget;
use crate::handler::builtin::{Catalogue, PublicTool};

impl Catalogue for Gateway {
    fn servers(&self) -> Vec<Arc<ServerState>> {
        let states = self.states.borrow();
        states
            .iter()
            .enumerate()
            .map(|(at, state)| match state {
                Some(state) => Arc::clone(state),
                None => Arc::new(self.unheard(at)),
            })
            .collect()
    }

    fn tools(&self) -> Vec<PublicTool> {
        let view = self.view(Scope::Merged);
        let states = self.states.borrow();
        let entries = view.catalog.tools().entries();
        entries
            .filter_map(|entry| {
                let state = states.get(usize::from(entry.server))?.as_ref()?;
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
    fn unheard(&self, at: usize) -> ServerState {
        let transport = match self.config.mcp.servers.get(at).map(|server| &server.target) {
            Some(McpTarget::Stdio { .. }) => Transport::Stdio,
            Some(McpTarget::Http { sse: true, .. }) => Transport::HttpSse,
            Some(McpTarget::Http { .. }) => Transport::StreamableHttp,
            None => Transport::Builtin,
        };
        let name = self
            .links
            .get(at)
            .map_or_else(|| "".into(), |(name, _)| Arc::clone(name));
        ServerState::unknown(ServerId(at as u16), name, transport)
    }

    /// How names were made unique, one line each, for the log at start.
    #[must_use]
    pub fn name_choices(&self) -> Vec<String> {
        let view = self.view(Scope::Merged);
        let server = |id: u16| {
            let link = self.links.get(usize::from(id));
            link.map_or("", |(name, _)| &**name)
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
