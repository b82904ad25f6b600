//! `/api/v1/servers` and `/api/v1/tools`: what the gateway knows of its servers.

use core::fmt::Debug;
use std::sync::Arc;

use super::json::{Json, object};
use bytes::Bytes;

use super::Pages;
use crate::config::Builtin;
use crate::handler::mcp::link::{Item, ServerState, Status, Transport};
use crate::http::{RequestHead, Response};

/// The gateway's servers and merged tools, as this shard knows them. Must not wait.
pub trait Catalogue: Debug {
    /// Every server that may be used, in the order of the configuration.
    fn servers(&self) -> Vec<Arc<ServerState>>;
    /// Every tool as clients of the merged endpoint see it, in their order.
    fn tools(&self) -> Vec<PublicTool>;
}

/// A tool of the merged list.
#[derive(Clone, Debug)]
pub struct PublicTool {
    /// Its name towards clients.
    pub name: Arc<str>,
    /// The configured name of its server.
    pub server: Arc<str>,
    /// The server's own name for it.
    pub own_name: Arc<str>,
    /// The tool as the server described it, JSON.
    pub raw: Bytes,
}

impl Pages {
    pub(super) fn servers(&self, head: &RequestHead, response: &mut Response) {
        let mut servers: Vec<Json> = self
            .setup
            .catalogue
            .servers()
            .iter()
            .map(|state| server(state))
            .collect();
        for (name, reason) in &self.setup.config.mcp.refused {
            servers.push(object! {
                "name": name.as_str(), "status": "refused", "reason": reason.as_str(),
            });
        }
        let value = object! { "servers": servers };
        self.steady_json(Builtin::Servers, head, &value, response);
    }

    /// All tools, or with `?server=NAME` those of one server.
    pub(super) fn tools(&self, head: &RequestHead, response: &mut Response) {
        let mut pairs = head.query().split('&');
        let wanted = pairs.find_map(|pair| pair.strip_prefix("server="));
        let tools: Vec<Json> = self
            .setup
            .catalogue
            .tools()
            .iter()
            .filter(|tool| wanted.is_none_or(|wanted| *tool.server == *wanted))
            .map(|tool| {
                object! {
                    "name": &*tool.name,
                    "server": &*tool.server,
                    "server_name": &*tool.own_name,
                    "tool": Json::read(&tool.raw),
                }
            })
            .collect();
        let value = object! { "tools": tools };
        match wanted {
            Some(_) => self.json(head, &value, response),
            None => self.steady_json(Builtin::Tools, head, &value, response),
        }
    }
}

fn server(state: &ServerState) -> Json {
    let (status, reason) = status(&state.status);
    let revisions: Vec<&str> = state.revisions.iter().map(|r| r.as_str()).collect();
    object! {
        "name": &*state.name,
        "transport": transport(state.transport),
        "status": status,
        "reason": reason,
        "revisions": revisions,
        "server_info": Json::read(&state.info),
        "capabilities": Json::read(&state.capabilities),
        "instructions": state.instructions.as_deref(),
        "tools": keys(&state.tools),
        "prompts": keys(&state.prompts),
        "resources": keys(&state.resources),
        "resource_templates": keys(&state.templates),
        "restarts": state.restarts,
    }
}

/// A status in a word, and why where it is a bad one.
pub(super) fn status(status: &Status) -> (&'static str, Option<&str>) {
    match status {
        Status::Idle => ("idle", None),
        Status::Starting => ("starting", None),
        Status::Ready => ("ready", None),
        Status::Down(reason) => ("down", Some(reason.as_str())),
    }
}

/// A transport in a word.
pub(super) const fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Builtin => "builtin",
        Transport::Stdio => "stdio",
        Transport::StreamableHttp => "streamable-http",
        Transport::HttpSse => "sse",
    }
}

fn keys(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| &*item.key).collect()
}
