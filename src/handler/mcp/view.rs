//! One endpoint's view of the servers: `/mcp` sees all of them merged, `/mcp/{server}` one.

use std::collections::HashMap;
use std::sync::Arc;

use super::about::{About, server_info};
use super::gateway::Gateway;
use super::link::{ServerId, ServerState};
use super::upstream::mirror::{self, MirroredParam};
use super::{Scope, about};
use crate::config::Namespace;
use crate::http::HeaderList;
use crate::mcp::catalog::{Catalog, Making, PAGE_ITEMS_MAX, Source};
use crate::mcp::era::header_text;
use crate::mcp::namespace::{Entry, Policy};
use crate::mcp::scan::{Message, member};
use crate::metrics::ToolLabel;

/// Lists, names and capabilities of a scope. Immutable; made anew when a server changes.
#[derive(Debug)]
pub(super) struct View {
    pub(super) catalog: Catalog,
    pub(super) about: About,
    /// The label of each tool's figures, by its slot in the names.
    labels: Vec<ToolLabel>,
    /// Parameters that clients repeat in headers, by the tool's exposed name.
    mirrored: HashMap<Arc<str>, Vec<MirroredParam>>,
}

impl View {
    /// The view of that scope as things stand.
    pub(super) fn make(gateway: &Gateway, scope: Scope) -> Self {
        let members = gateway.members(scope).into_iter();
        let states: Vec<Option<Arc<ServerState>>> = members.map(|id| gateway.state(id)).collect();
        let sources: Vec<Source<'_>> = states.iter().flatten().map(|state| source(state)).collect();
        let policy = match (scope, gateway.config.borrow().mcp.namespace) {
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
            let link = gateway.link(ServerId(server));
            link.map_or_else(|| "".into(), |(name, _)| name)
        };
        let labels = catalog
            .tools()
            .slots()
            .iter()
            .map(|entry| gateway.recorder.tool_label(&name(entry.server), &entry.own))
            .collect();
        Self {
            about: About::of(&states),
            mirrored: mirrored(&catalog, &states),
            catalog,
            labels,
        }
    }

    /// The label of the tool in that slot.
    pub(super) fn label(&self, slot: usize) -> Option<ToolLabel> {
        self.labels.get(slot).copied()
    }

    /// What is wrong with the headers that repeat parameters of a tool call, if something is.
    pub(super) fn mirror_mismatch(
        &self,
        headers: &HeaderList,
        message: &[u8],
        parts: &Message,
    ) -> Option<String> {
        if self.mirrored.is_empty() {
            return None;
        }
        let params = self.mirrored.get(&*Message::text(message, parts.name))?;
        let arguments = parts.arguments.get(message).unwrap_or(b"{}");
        params
            .iter()
            .find_map(|param| mismatch(param, headers, arguments))
    }
}

fn mismatch(param: &MirroredParam, headers: &HeaderList, arguments: &[u8]) -> Option<String> {
    let name = &param.header;
    let mut values = headers
        .iter()
        .filter(|(_, field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, _, value)| value.trim_ascii());
    let value = values.next();
    if value.is_some_and(|first| values.any(|other| other != first)) {
        return Some(format!("{name} stands more than once"));
    }
    let Some(decoded) = value.map_or(Some(None), |value| header_text(value).map(Some)) else {
        return Some(format!("{name} holds malformed base64"));
    };
    let agrees = param.agrees(arguments, decoded.as_deref());
    (!agrees).then(|| format!("{name} does not match the argument it repeats"))
}

/// The mirrored parameters of the tools that clients see. A definition that annotates wrongly
/// is taken as one that does not annotate.
fn mirrored(
    catalog: &Catalog,
    states: &[Option<Arc<ServerState>>],
) -> HashMap<Arc<str>, Vec<MirroredParam>> {
    let mut annotated = HashMap::new();
    for state in states.iter().flatten() {
        for tool in &state.tools {
            match mirror::mirrored(&tool.raw) {
                Ok(params) if !params.is_empty() => {
                    annotated.insert((state.id.0, &*tool.key), params);
                }
                _ => {}
            }
        }
    }
    if annotated.is_empty() {
        return HashMap::new();
    }
    let params = |entry: &Entry| {
        let params = annotated.get(&(entry.server, &*entry.own))?;
        Some((Arc::clone(&entry.exposed), params.clone()))
    };
    catalog.tools().entries().filter_map(params).collect()
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn headers_that_repeat_a_parameter_must_stand_once_and_say_the_same() {
        let tool = br#"{"name":"t","inputSchema":{"type":"object","properties":
            {"region":{"type":"string","x-mcp-header":"Region"}}}}"#;
        let params = mirror::mirrored(&Bytes::from_static(tool)).unwrap();
        let check = |values: &[&str]| {
            let mut headers = HeaderList::default();
            headers.push(b"Host", b"localhost");
            for value in values {
                headers.push(b"mcp-param-REGION", value.as_bytes());
            }
            mismatch(&params[0], &headers, br#"{"region":"Hello"}"#)
        };
        for good in [
            &["Hello"][..],
            &["=?base64?SGVsbG8=?="],
            &["Hello", "Hello"],
        ] {
            assert_eq!(check(good), None, "{good:?}");
        }
        for (bad, expected) in [
            (&[][..], "does not match"),
            (&["hello"], "does not match"),
            (&["Hello", "World"], "stands more than once"),
            (&["=?base64?SGVsbG8?="], "malformed base64"),
            (&["=?base64?SGVs!!!bG8=?="], "malformed base64"),
        ] {
            let found = check(bad).unwrap();
            assert!(found.contains(expected), "{bad:?}: {found}");
        }
    }
}
