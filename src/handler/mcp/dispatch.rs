//! Whose request it is. Lists are answered from the catalogue; everything else goes to the one
//! server it concerns, with nothing changed but the name the server knows.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::Scope;
use super::gateway::Gateway;
use super::link::{Call, Client, Fault, Outcome, Reply, ServerId, Status};
use super::view::View;
use crate::mcp::catalog::List;
use crate::mcp::jsonrpc::{
    self, INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND,
};
use crate::mcp::method::Method;
use crate::mcp::revision::Era;
use crate::mcp::scan::{Message, Span, decode, member};
use crate::mcp::splice;
use crate::metrics::{Counter, Gauge, ToolLabel};

/// Calls that may be under way on one shard. Connections bound them too, but a batch brings
/// many on one connection.
const CALLS_MAX: i64 = 16_384;

/// A request whose client is known.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) bytes: Bytes,
    pub(super) parts: Message,
    pub(super) method: Method,
    pub(super) client: Rc<Client>,
    pub(super) scope: Scope,
}

/// A request that has been dealt with or begun.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) reply: Reply,
    /// Under which label the call is counted, if it is a tool's.
    pub(super) label: Option<ToolLabel>,
    /// The server that was asked.
    pub(super) server: Option<ServerId>,
}

/// A server to ask, the name it knows, and where that stands.
struct Target {
    server: ServerId,
    own: Arc<str>,
    /// The string to replace if the name differs, in the message.
    span: Span,
    renamed: bool,
    label: Option<ToolLabel>,
}

impl Asked {
    pub(super) fn id(&self) -> &[u8] {
        self.parts.id.of(&self.bytes)
    }

    pub(super) fn era(&self) -> Era {
        self.client.revision.era()
    }

    /// An error answer of the gateway's own.
    pub(super) fn refuse(&self, code: i32, message: &str, data: Option<&str>) -> Started {
        Outcome {
            message: jsonrpc::error(self.id(), code, message, data),
            error: Some(i64::from(code)),
            connect: None,
        }
        .into()
    }

    /// A result of the gateway's own.
    pub(super) fn result(&self, result: &[u8]) -> Started {
        Outcome {
            message: jsonrpc::result(self.id(), result),
            error: None,
            connect: None,
        }
        .into()
    }

    fn unsupported(&self) -> Started {
        let method = self.method.as_str();
        let why = format!("No server of this gateway has {method}");
        self.refuse(METHOD_NOT_FOUND, &why, None)
    }
}

impl From<Outcome> for Started {
    fn from(outcome: Outcome) -> Self {
        Self {
            reply: Reply::Complete(outcome),
            label: None,
            server: None,
        }
    }
}

impl Gateway {
    /// Begins a request that both eras have. Waits only for servers that were never reached.
    pub(super) async fn start(&self, asked: Asked) -> Started {
        let view = self.view(asked.scope);
        let list = match asked.method {
            Method::ToolsCall | Method::PromptsGet => return self.start_named(asked, view).await,
            Method::ResourcesRead => return self.start_read(asked, view).await,
            Method::Complete => return self.start_completion(asked, view).await,
            Method::ToolsList => List::Tools,
            Method::PromptsList => List::Prompts,
            Method::ResourcesList => List::Resources,
            Method::TemplatesList => List::Templates,
            _ => return asked.unsupported(),
        };
        drop(view);
        self.settle(asked.scope).await;
        self.list(&asked, list)
    }

    fn list(&self, asked: &Asked, list: List) -> Started {
        let view = self.view(asked.scope);
        let features = view.about.features;
        let has = match list {
            List::Tools => features.tools,
            List::Prompts => features.prompts,
            List::Resources | List::Templates => features.resources,
        };
        if !has {
            return asked.unsupported();
        }
        let cursor = asked.parts.cursor;
        let cursor = cursor
            .is_some()
            .then(|| Message::text(&asked.bytes, cursor));
        let answer = view.catalog.answer(
            list,
            asked.era(),
            asked.id(),
            cursor.as_deref(),
            &self.sealer,
        );
        match answer {
            Ok(message) => Outcome {
                message,
                error: None,
                connect: None,
            }
            .into(),
            Err(bad) => asked.refuse(INVALID_PARAMS, &bad.to_string(), None),
        }
    }

    /// `tools/call` and `prompts/get`
    async fn start_named(&self, asked: Asked, view: Rc<View>) -> Started {
        if let Some(target) = named(&asked, &view) {
            return self.forward(asked, target);
        }
        self.settle(asked.scope).await;
        match named(&asked, &self.view(asked.scope)) {
            Some(target) => self.forward(asked, target),
            None if !asked.parts.name.is_some() => {
                asked.refuse(INVALID_PARAMS, "params.name is missing", None)
            }
            None => {
                let name = Message::text(&asked.bytes, asked.parts.name);
                let what = if asked.method == Method::ToolsCall {
                    "tool"
                } else {
                    "prompt"
                };
                self.unknown(&asked, &format!("Unknown {what}: {name}"))
            }
        }
    }

    /// `resources/read`
    async fn start_read(&self, asked: Asked, view: Rc<View>) -> Started {
        if !asked.parts.uri.is_some() {
            return asked.refuse(INVALID_PARAMS, "params.uri is missing", None);
        }
        let uri: Arc<str> = Message::text(&asked.bytes, asked.parts.uri).into();
        let mut server = view.catalog.reader(&uri);
        if server.is_none() {
            self.settle(asked.scope).await;
            server = self.view(asked.scope).catalog.reader(&uri);
        }
        match server {
            Some(server) => {
                let target = Target {
                    server: ServerId(server),
                    own: uri,
                    span: asked.parts.uri,
                    renamed: false,
                    label: None,
                };
                self.forward(asked, target)
            }
            None if asked.scope != Scope::Merged && !self.silent(asked.scope).is_empty() => {
                self.unknown(&asked, "")
            }
            None => no_resource(&asked, &uri),
        }
    }

    /// What no server is known to have: perhaps one that cannot be asked does.
    fn unknown(&self, asked: &Asked, what: &str) -> Started {
        let silent = self.silent(asked.scope);
        match (asked.scope, &*silent) {
            (_, []) => asked.refuse(INVALID_PARAMS, what, None),
            (Scope::One(_), [fault, ..]) => Started {
                reply: Reply::Failed(fault.clone()),
                label: None,
                server: None,
            },
            (Scope::Merged, silent) => {
                let faults: Vec<_> = silent.iter().map(ToString::to_string).collect();
                let why = format!("{what}, but {}", faults.join("; "));
                asked.refuse(INVALID_PARAMS, &why, None)
            }
        }
    }

    /// Servers of the scope that have never said what they offer, and why.
    fn silent(&self, scope: Scope) -> Vec<Fault> {
        let links = self.links_of(scope).into_iter();
        links
            .filter_map(|(id, name, _)| {
                let state = self.state(id);
                let known = state.as_ref();
                let reason = match known.map(|state| (&state.status, state.capabilities.is_empty()))
                {
                    Some((Status::Ready, _) | (_, false)) => return None,
                    Some((Status::Down(reason), true)) => reason.clone(),
                    Some((Status::Idle, true)) => "it has not been started yet".to_owned(),
                    Some((Status::Starting, true)) | None => "it is still starting".to_owned(),
                };
                Some(Fault::Unavailable {
                    server: name,
                    reason,
                })
            })
            .collect()
    }

    /// `completion/complete`
    async fn start_completion(&self, asked: Asked, view: Rc<View>) -> Started {
        if let Some(target) = completion(&asked, &view) {
            return self.forward(asked, target);
        }
        self.settle(asked.scope).await;
        match completion(&asked, &self.view(asked.scope)) {
            Some(target) => self.forward(asked, target),
            None => asked.refuse(INVALID_PARAMS, "params.ref names nothing known", None),
        }
    }

    /// Hands a request to its server. The one place where a client and a server of different
    /// eras meet: a bridge between them takes the call here.
    fn forward(&self, asked: Asked, target: Target) -> Started {
        let (label, server) = (target.label, Some(target.server));
        if self.recorder.level(Gauge::McpCallsUnderWay) >= CALLS_MAX {
            self.recorder.count(Counter::RefusedCalls);
            let why = "too many calls are under way on this gateway";
            return asked.refuse(INTERNAL_ERROR, why, None);
        }
        let reply = match self.link(target.server) {
            None => return asked.refuse(INTERNAL_ERROR, "the server is gone", None),
            Some((name, link)) => match self.era_fault(&asked.client, target.server, &name) {
                Some(fault) => Reply::Failed(fault),
                None => link.call(call(asked, target)),
            },
        };
        Started {
            reply,
            label,
            server,
        }
    }

    /// Why a client and a server cannot talk, if their eras do not meet.
    fn era_fault(&self, client: &Client, server: ServerId, name: &Arc<str>) -> Option<Fault> {
        let state = self.state(server)?;
        let newest = state.revisions.iter().max()?;
        if state.speaks(client.revision.era()) {
            return None;
        }
        Some(Fault::Era {
            server: Arc::clone(name),
            server_revision: newest.as_str(),
            client_revision: client.revision.as_str(),
        })
    }
}

/// The request as the server gets it.
fn call(asked: Asked, target: Target) -> Call {
    let (message, parts) = if target.renamed {
        let name = jsonrpc::string(&target.own);
        let range = target.span.range();
        let delta = name.len() as i64 - range.len() as i64;
        let message = splice::replace(&asked.bytes, &[(target.span, name.as_bytes())]);
        (message.into(), asked.parts.shifted(range.start, delta))
    } else {
        (asked.bytes, asked.parts)
    };
    Call {
        message,
        parts,
        method: asked.method,
        name: Some(target.own),
        client: asked.client,
    }
}

fn named(asked: &Asked, view: &View) -> Option<Target> {
    let is_tool = asked.method == Method::ToolsCall;
    let names = if is_tool {
        view.catalog.tools()
    } else {
        view.catalog.prompts()
    };
    let exposed = Message::text(&asked.bytes, asked.parts.name);
    let (slot, entry) = names.find_slot(&exposed)?;
    Some(Target {
        server: ServerId(entry.server),
        own: Arc::clone(&entry.own),
        span: asked.parts.name,
        renamed: entry.own != entry.exposed,
        label: if is_tool { view.label(slot) } else { None },
    })
}

fn completion(asked: &Asked, view: &View) -> Option<Target> {
    let reference = asked.parts.reference.get(&asked.bytes)?;
    let text = |key| {
        let span = member(reference, key)?;
        let quoted = span.of(reference).strip_prefix(b"\"")?;
        Some((span, decode(quoted.strip_suffix(b"\"")?)))
    };
    let (_, kind) = text("type")?;
    if kind == "ref/prompt" {
        let (span, exposed) = text("name")?;
        let entry = view.catalog.prompts().find(&exposed)?;
        let start = asked.parts.reference.range().start;
        return Some(Target {
            server: ServerId(entry.server),
            own: Arc::clone(&entry.own),
            span: Span::new(start + span.range().start, start + span.range().end),
            renamed: entry.own != entry.exposed,
            label: None,
        });
    }
    let (span, uri) = text("uri")?;
    Some(Target {
        server: ServerId(view.catalog.template(&uri)?),
        own: uri.into(),
        span,
        renamed: false,
        label: None,
    })
}

/// -32602 since 2026-07-28, -32002 before (server/resources §Error Handling).
pub(super) fn no_resource(asked: &Asked, uri: &str) -> Started {
    let code = match asked.era() {
        Era::Modern => INVALID_PARAMS,
        Era::Legacy => RESOURCE_NOT_FOUND,
    };
    let data = format!(r#"{{"uri":{}}}"#, jsonrpc::string(uri));
    asked.refuse(code, "Resource not found", Some(&data))
}
