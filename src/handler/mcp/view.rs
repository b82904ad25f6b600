//! One endpoint's view of the servers: `/mcp` sees all of them merged, `/mcp/{server}` one.

use std::sync::Arc;

use super::about::{About, server_info};
use super::gateway::Gateway;
use super::link::ServerState;
use super::{Scope, about};
use crate::config::Namespace;
use crate::mcp::catalog::{Catalog, Making, PAGE_ITEMS_MAX, Source};
use crate::mcp::namespace::Policy;
use crate::mcp::scan::member;
use crate::metrics::ToolLabel;

/// Lists, names and capabilities of a scope. Immutable; made anew when a server changes.
#[derive(Debug)]
pub(super) struct View {
    pub(super) catalog: Catalog,
    pub(super) about: About,
    /// The label of each tool's figures, by its slot in the names.
    labels: Vec<ToolLabel>,
}

impl View {
    /// The view of that scope as things stand.
    pub(super) fn make(gateway: &Gateway, scope: Scope) -> Self {
        let states: Vec<Option<Arc<ServerState>>> = gateway
            .states
            .borrow()
            .get(gateway.members(scope))
            .unwrap_or_default()
            .to_vec();
        let sources: Vec<Source<'_>> = states.iter().flatten().map(|state| source(state)).collect();
        let policy = match (scope, gateway.config.mcp.namespace) {
            (Scope::One(_), _) => Policy::Untouched,
            (Scope::Merged, Namespace::Always) => Policy::Always,
            (Scope::Merged, Namespace::Auto) => Policy::Auto,
            (Scope::Merged, Namespace::Never) => Policy::Never,
        };
        let catalog = Catalog::merge(
            &sources,
            Making {
                policy,
                sealer: &gateway.sealer,
                scope: &scope.label(),
                server_info: &server_info(),
                page_items_max: PAGE_ITEMS_MAX,
            },
        );
        let name = |server: u16| {
            let link = gateway.links.get(usize::from(server));
            link.map_or("", |(name, _)| name)
        };
        let labels = catalog
            .tools()
            .slots()
            .iter()
            .map(|entry| gateway.recorder.tool_label(name(entry.server), &entry.own))
            .collect();
        Self {
            about: About::of(&states),
            catalog,
            labels,
        }
    }

    /// The label of the tool in that slot.
    pub(super) fn label(&self, slot: usize) -> Option<ToolLabel> {
        self.labels.get(slot).copied()
    }
}

fn source(state: &ServerState) -> Source<'_> {
    let resources = member(&state.capabilities, "resources").is_some();
    Source {
        server: state.id.0,
        name: &state.name,
        tools: &state.tools,
        prompts: &state.prompts,
        resources: &state.resources,
        templates: &state.templates,
        reads: resources,
        ttl_ms: state.caching.ttl_ms,
        public: state.caching.public,
    }
}

/// Whether a server tells of changes to single resources.
pub(super) fn can_subscribe(state: &ServerState) -> bool {
    let capabilities = &state.capabilities;
    member(capabilities, "resources")
        .is_some_and(|resources| about::can_subscribe(resources.of(capabilities)))
}
