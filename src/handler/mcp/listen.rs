//! `subscriptions/listen` (2026-07-28 basic/patterns/subscriptions).

use std::fmt::Write as _;
use std::rc::Rc;

use bytes::Bytes;

use super::Scope;
use super::gateway::Gateway;
use super::link::{Client, ServerId};
use super::sse;
use super::streams::{Open, send};
use super::view::can_subscribe;
use crate::base::channel::bounded;
use crate::http::{Body, Response};
use crate::mcp::jsonrpc::{self, INTERNAL_ERROR, INVALID_PARAMS};
use crate::mcp::method::Method;
use crate::mcp::scan::{Message, decode, elements, members, same_text};
use crate::mcp::splice;

/// Resources that one subscription may watch.
const URIS_MAX: usize = 1024;
/// Events that may wait for a slow client.
pub(super) const QUEUE_EVENTS_MAX: usize = 64;

const ID_KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// What a client wants to hear, as far as its servers can say it.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The id of the request, JSON: it stands in every message.
    id: Bytes,
    pub(super) scope: Scope,
    client: Rc<Client>,
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Vec<(ServerId, Box<str>)>,
}

/// What a client asked for.
#[derive(Debug, Default)]
struct Filter {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Vec<String>,
}

impl Gateway {
    /// Answers `subscriptions/listen`: the acknowledgement first, then what it promised.
    pub(super) fn listen(
        &self,
        scope: Scope,
        client: Rc<Client>,
        (bytes, parts): (&Bytes, &Message),
        response: &mut Response,
    ) {
        let id = bytes.slice(parts.id.range());
        let filter = match Filter::read(parts.filter.of(bytes)) {
            Ok(filter) => filter,
            Err(why) => {
                let error = jsonrpc::error(&id, INVALID_PARAMS, why, None);
                return super::endpoint::json(response, 400, error);
            }
        };
        let subscription = Rc::new(self.agree(scope, client, id.clone(), filter));
        let (pieces, receiver) = bounded(QUEUE_EVENTS_MAX);
        let first = send(&pieces, sse::event(&subscription.acknowledgement()));
        let open = Open::Subscription {
            subscription: Rc::clone(&subscription),
            pieces,
        };
        if first.is_err() || self.open(open).is_err() {
            let why = "too many streams are open on this gateway";
            let error = jsonrpc::error(&id, INTERNAL_ERROR, why, None);
            return super::endpoint::json(response, 503, error);
        }
        for (server, uri) in &subscription.uris {
            self.watch(*server, &subscription.client, uri, true);
        }
        sse::head(response);
        response.body = Body::Stream(receiver);
    }

    /// The part of a wish that the servers of the scope can fulfil.
    fn agree(&self, scope: Scope, client: Rc<Client>, id: Bytes, wish: Filter) -> Subscription {
        let view = self.view(scope);
        let features = view.about.features;
        let uris = wish.uris.into_iter().filter_map(|uri| {
            let server = ServerId(view.catalog.reader(&uri)?);
            let state = self.state(server)?;
            can_subscribe(&state).then(|| (server, uri.into_boxed_str()))
        });
        Subscription {
            id,
            scope,
            client,
            tools: wish.tools && features.tools,
            prompts: wish.prompts && features.prompts,
            resources: wish.resources && features.resources,
            uris: uris.collect(),
        }
    }

    pub(super) fn watch(&self, server: ServerId, client: &Rc<Client>, uri: &str, watching: bool) {
        if let Some((_, link)) = self.link(server) {
            link.watch(client, uri, watching);
        }
    }

    /// Ends what [`Self::listen`] began at the servers.
    pub(super) fn unwatch(&self, subscription: &Subscription) {
        for (server, uri) in &subscription.uris {
            self.watch(*server, &subscription.client, uri, false);
        }
    }
}

impl Filter {
    fn read(object: &[u8]) -> Result<Self, &'static str> {
        let mut filter = Self::default();
        let mut wrong = None;
        let flag = |value: &[u8]| match value {
            b"true" => Ok(true),
            b"false" | b"null" => Ok(false),
            _ => Err("the filters of params.notifications are true or false"),
        };
        let read = members(object, |key, value| {
            let value = value.of(object);
            let slot = if same_text(key, "toolsListChanged") {
                &mut filter.tools
            } else if same_text(key, "promptsListChanged") {
                &mut filter.prompts
            } else if same_text(key, "resourcesListChanged") {
                &mut filter.resources
            } else {
                if same_text(key, "resourceSubscriptions") {
                    match uris(value) {
                        Ok(uris) => filter.uris = uris,
                        Err(why) => wrong = Some(why),
                    }
                }
                return;
            };
            match flag(value) {
                Ok(on) => *slot = on,
                Err(why) => wrong = Some(why),
            }
        });
        if read.is_err() {
            return Err("params.notifications is missing");
        }
        wrong.map_or(Ok(filter), Err)
    }
}

fn uris(array: &[u8]) -> Result<Vec<String>, &'static str> {
    let mut found = Vec::new();
    let mut is_text = true;
    let read = elements(array, |value| {
        let quoted = value.of(array).strip_prefix(b"\"");
        match quoted.and_then(|rest| rest.strip_suffix(b"\"")) {
            Some(text) if found.len() <= URIS_MAX => {
                let uri = decode(text).into_owned();
                if !found.contains(&uri) {
                    found.push(uri);
                }
            }
            Some(_) => {}
            None => is_text = false,
        }
    });
    if read.is_err() || !is_text {
        return Err("params.notifications.resourceSubscriptions is an array of strings");
    }
    if found.len() > URIS_MAX {
        return Err("a subscription may watch 1024 resources");
    }
    Ok(found)
}

impl Subscription {
    /// Whether it asked for that kind of list change.
    pub(super) fn wants(&self, method: Method) -> bool {
        match method {
            Method::ToolsChanged => self.tools,
            Method::PromptsChanged => self.prompts,
            Method::ResourcesChanged => self.resources,
            _ => false,
        }
    }

    /// Whether it watches that resource of a server that `is_server` knows.
    pub(super) fn watches(&self, is_server: impl Fn(ServerId) -> bool, uri: &str) -> bool {
        self.uris
            .iter()
            .any(|(known, name)| **name == *uri && is_server(*known))
    }

    /// Who it is.
    pub(super) const fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// The resources that it watches at a server.
    pub(super) fn uris_of(&self, server: ServerId) -> impl Iterator<Item = &str> {
        let uris = self.uris.iter().filter(move |(known, _)| *known == server);
        uris.map(|(_, uri)| &**uri)
    }

    /// `"_meta":{…}` with the id in it.
    pub(super) fn stamp(&self) -> String {
        format!(
            r#""_meta":{{"{ID_KEY}":{}}}"#,
            String::from_utf8_lossy(&self.id)
        )
    }

    fn acknowledgement(&self) -> Vec<u8> {
        let mut agreed = Vec::new();
        for (flag, name) in [
            (self.tools, "toolsListChanged"),
            (self.prompts, "promptsListChanged"),
            (self.resources, "resourcesListChanged"),
        ] {
            if flag {
                agreed.push(format!("\"{name}\":true"));
            }
        }
        if !self.uris.is_empty() {
            let mut list = String::from("\"resourceSubscriptions\":[");
            for (at, (_, uri)) in self.uris.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                let _ = write!(list, "{comma}{}", jsonrpc::string(uri));
            }
            list.push(']');
            agreed.push(list);
        }
        format!(
            r#"{{"jsonrpc":"2.0","method":"{}","params":{{{},"notifications":{{{}}}}}}}"#,
            Method::Acknowledged.as_str(),
            self.stamp(),
            agreed.join(",")
        )
        .into_bytes()
    }

    /// The response that ends the subscription.
    pub(super) fn completion(&self) -> Bytes {
        let result = format!(r#"{{"resultType":"complete",{}}}"#, self.stamp());
        jsonrpc::result(&self.id, result.as_bytes())
    }
}

/// A server's notification with the id of a client's subscription in its `_meta`; everything
/// else as it was. `None` if it is not a notification.
pub(super) fn stamped(message: &[u8], subscription: &Subscription) -> Option<Vec<u8>> {
    let parts = Message::scan(message).ok()?;
    let id = &subscription.id;
    if parts.subscription_id.is_some() {
        return Some(splice::replace(message, &[(parts.subscription_id, id)]));
    }
    let member_text = format!(r#""{ID_KEY}":{}"#, String::from_utf8_lossy(id));
    let (object, text) = if parts.meta.is_some() {
        (parts.meta, member_text)
    } else {
        (parts.params, format!(r#""_meta":{{{member_text}}}"#))
    };
    let body = object.get(message)?;
    let mut has_members = false;
    members(body, |_, _| has_members = true).ok()?;
    let comma = if has_members { "," } else { "" };
    let at = object.range().start + 1;
    Some(splice::insert(
        message,
        at,
        format!("{text}{comma}").as_bytes(),
    ))
}
