//! What servers say outside any call, and who hears of it: GET streams of legacy sessions and
//! modern subscriptions, each message on one stream of a client.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Scope;
use super::gateway::Gateway;
use super::link::{Item, LogLevel, ServerId, ServerState, SessionKey};
use super::listen::stamped;
use super::sse;
use super::streams::{Open, Slow, send};
use crate::mcp::method::Method;
use crate::mcp::scan::Message;
use crate::metrics::Counter;

/// How long list changes are gathered before clients hear of them: a gateway that starts ten
/// servers must not make every client read its lists ten times.
const GATHER: Duration = Duration::from_millis(20);

/// Choices of names that the operator is told; a server that changes its names for ever must
/// not fill the log.
const REPORTED_MAX: usize = 1000;

/// Which lists changed, and of which servers: merged endpoints hear of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    tools: Changed,
    prompts: Changed,
    resources: Changed,
}

/// The servers whose list changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Changed {
    #[default]
    None,
    Of(ServerId),
    Several,
}

impl Changed {
    fn add(&mut self, server: ServerId) {
        *self = match *self {
            Self::None => Self::Of(server),
            Self::Of(known) if known == server => Self::Of(server),
            Self::Of(_) | Self::Several => Self::Several,
        };
    }

    fn concerns(self, scope: Scope) -> bool {
        match (self, scope) {
            (Self::None, _) => false,
            (Self::Several, _) | (Self::Of(_), Scope::Merged) => true,
            (Self::Of(server), Scope::One(only)) => server == only,
        }
    }
}

impl Gateway {
    /// A server's new state: forgets what was made from the old one and tells who listens.
    pub(super) fn server_changed(self: &Rc<Self>, state: Arc<ServerState>) {
        let id = state.id;
        if self.links.is_gone(id) {
            return;
        }
        let old = {
            let mut states = self.states.borrow_mut();
            let at = usize::from(id.0);
            if states.len() <= at {
                // Its shard knows a newer configuration than this one yet does.
                states.resize(at + 1, None);
            }
            states.get_mut(at).and_then(|slot| slot.replace(state))
        };
        self.change(id, old.as_deref(), self.state(id).as_deref());
    }

    /// A server has come with another configuration, or has gone. `is_renamed`: its tools may
    /// have other names than before.
    pub(super) fn note_change(self: &Rc<Self>, id: ServerId, is_renamed: bool) {
        let states = self.states.borrow();
        let state = states.get(usize::from(id.0)).cloned().flatten();
        drop(states);
        self.change(id, None, state.as_deref());
        if is_renamed {
            self.forget_all_views();
        }
    }

    /// Lists that are not as they were are told of, soon.
    fn change(self: &Rc<Self>, id: ServerId, old: Option<&ServerState>, new: Option<&ServerState>) {
        let same = |part: fn(&ServerState) -> &[Item]| {
            same_items(
                old.map(part).unwrap_or_default(),
                new.map(part).unwrap_or_default(),
            )
        };
        let mut changes = self.changes.get();
        let had_none = changes == Changes::default();
        let heir = self.newest(id);
        if !same(|state| &state.tools) {
            changes.tools.add(heir);
        }
        if !same(|state| &state.prompts) {
            changes.prompts.add(heir);
        }
        if !same(|state| &state.resources) || !same(|state| &state.templates) {
            changes.resources.add(heir);
        }
        self.forget_views(id);
        self.stir();
        self.changes.set(changes);
        if had_none && changes != Changes::default() {
            let gateway = Rc::clone(self);
            self.tasks.spawn(async move {
                gateway.tasks.sleep(GATHER).await;
                gateway.tell_changes();
            });
        }
    }

    /// Tells of gathered list changes.
    fn tell_changes(&self) {
        let changes = self.changes.take();
        self.report_names();
        for (method, changed) in [
            (Method::ToolsChanged, changes.tools),
            (Method::PromptsChanged, changes.prompts),
            (Method::ResourcesChanged, changes.resources),
        ] {
            if changed != Changed::None {
                let plain = notification(method, "");
                self.deliver(|open| match open {
                    Open::Listening(listener)
                        if changed.concerns(self.newest_scope(listener.scope)) =>
                    {
                        Some(sse::event(&plain))
                    }
                    Open::Subscription { subscription, .. }
                        if changed.concerns(self.newest_scope(subscription.scope))
                            && subscription.wants(method) =>
                    {
                        let stamp = format!(r#","params":{{{}}}"#, subscription.stamp());
                        Some(sse::event(&notification(method, &stamp)))
                    }
                    _ => None,
                });
            }
        }
    }

    /// `notifications/message` outside any call.
    pub(super) fn server_logged(
        &self,
        server: ServerId,
        whose: Option<SessionKey>,
        message: &Bytes,
    ) {
        let Ok(parts) = Message::scan(message) else {
            return;
        };
        let Some(level) = LogLevel::parse(&Message::text(message, parts.level)) else {
            return;
        };
        let event = sse::event(message);
        let sessions = self.sessions.borrow();
        self.deliver(|open| match open {
            Open::Listening(listener) if self.newest_scope(listener.scope).has(server) => {
                let is_theirs = whose.is_none_or(|whose| whose == listener.session);
                let is_wanted = match sessions.log_level(listener.session) {
                    Some(least) => level >= least,
                    None => whose.is_some(),
                };
                (is_theirs && is_wanted).then(|| event.clone())
            }
            _ => None,
        });
    }

    /// Tells the operator how names were made unique, as far as that is news. One shard's word
    /// is enough: all choose alike.
    fn report_names(&self) {
        if self.peers.own() != 0 {
            return;
        }
        let mut reported = self.reported.borrow_mut();
        for line in self.name_choices() {
            if reported.len() < REPORTED_MAX && !reported.contains(&line) {
                (self.report)(&line);
                reported.insert(line);
            }
        }
    }

    /// `notifications/resources/updated`
    pub(super) fn resource_updated(
        &self,
        server: ServerId,
        whose: Option<SessionKey>,
        uri: &str,
        message: &Bytes,
    ) {
        let plain = sse::event(message);
        let sessions = self.sessions.borrow();
        self.deliver(|open| match open {
            Open::Listening(listener) if sessions.subscribes(listener.session, server, uri) => {
                let is_theirs = whose.is_none_or(|whose| whose == listener.session);
                is_theirs.then(|| plain.clone())
            }
            Open::Subscription { subscription, .. }
                if whose.is_none()
                    && subscription.watches(|known| self.newest(known) == server, uri) =>
            {
                stamped(message, subscription).map(|own| sse::event(&own))
            }
            _ => None,
        });
    }

    /// Hands each open stream what `choose` has for it. A client that does not keep up is
    /// disconnected: it cannot tell what it missed, but it can come again.
    fn deliver(&self, choose: impl Fn(&Open) -> Option<Bytes>) {
        let mut late = Vec::new();
        for (key, open) in self.streams.borrow().iter() {
            let pieces = match open {
                Open::Listening(listener) => &listener.pieces,
                Open::Subscription { pieces, .. } => pieces,
                Open::Waiting(_) | Open::Call(_) => continue,
            };
            match choose(open).map(|bytes| send(pieces, bytes)) {
                None | Some(Ok(())) => {}
                Some(Err(Slow::Gone)) => late.push(key),
                Some(Err(Slow::Full)) => {
                    self.recorder.count(Counter::SlowStreams);
                    late.push(key);
                }
            }
        }
        for key in late {
            self.close(key);
        }
    }

    /// Ends the GET stream of a session on this shard.
    pub(super) fn stop_listening(&self, session: SessionKey) {
        let key = self.streams.borrow().listener(session).map(|(key, _)| key);
        if let Some(key) = key {
            self.close(key);
        }
    }

    /// Ends every stream that would stay open for ever, subscriptions with their completion
    /// (2026-07-28 patterns/subscriptions §Graceful Closure). For a shard that drains.
    pub fn close_streams(&self) {
        let mut ending = Vec::new();
        for (key, open) in self.streams.borrow().iter() {
            match open {
                Open::Listening(_) => ending.push(key),
                Open::Subscription {
                    subscription,
                    pieces,
                } => {
                    let _ = send(pieces, sse::event(&subscription.completion()));
                    ending.push(key);
                }
                Open::Waiting(_) | Open::Call(_) => {}
            }
        }
        for key in ending {
            self.close(key);
        }
        self.close_channels();
    }
}

/// A notification of the gateway's own; `rest` follows the method.
fn notification(method: Method, rest: &str) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","method":"{}"{rest}}}"#,
        method.as_str()
    )
    .into_bytes()
}

fn same_items(old: &[Item], new: &[Item]) -> bool {
    old.len() == new.len()
        && old
            .iter()
            .zip(new)
            .all(|(old, new)| old.key == new.key && old.raw == new.raw)
}
