//! A running gateway goes over to another configuration: sessions and streams live on, servers
//! that have not changed are not touched, and clients hear of lists that have.

use core::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Scope;
use super::gateway::{Gateway, addresses};
use super::link::{Link, ServerId};
use super::streams::Open;
use crate::config::Config;

/// Number, name and link of a server.
pub type Named = (ServerId, Arc<str>, Rc<dyn Link>);
/// Servers of a scope; most have a few.
pub(super) type Members = SmallVec<[ServerId; 8]>;

/// A server's name and the way to it.
type Way = (Arc<str>, Rc<dyn Link>);

/// The servers of a gateway.
#[derive(Default)]
pub(super) struct Links {
    /// By number.
    all: RefCell<HashMap<u16, Way>>,
    /// Numbers in the order of the configuration.
    order: RefCell<Vec<ServerId>>,
    /// The server that took the place of another of its name.
    newer: RefCell<HashMap<u16, ServerId>>,
    /// The largest number that was ever among them.
    highest: Cell<Option<u16>>,
}

impl Links {
    pub(super) fn new(links: Vec<Named>) -> Self {
        let new = Self::default();
        new.replace(links);
        new
    }

    /// Takes other servers in the place of those before. Gives the numbers that came and went.
    fn replace(&self, links: Vec<Named>) -> (Vec<ServerId>, Vec<ServerId>) {
        let order: Vec<ServerId> = links.iter().map(|(id, ..)| *id).collect();
        let fresh: HashMap<u16, _> = links
            .into_iter()
            .map(|(id, name, link)| (id.0, (name, link)))
            .collect();
        let highest = order.iter().map(|id| id.0).max();
        self.highest.set(self.highest.get().max(highest));
        let old_order = self.order.replace(order.clone());
        let old = self.all.replace(fresh);
        let all = self.all.borrow();
        let gone: Vec<ServerId> = old_order
            .iter()
            .copied()
            .filter(|id| !all.contains_key(&id.0))
            .collect();
        let came: Vec<ServerId> = order
            .iter()
            .copied()
            .filter(|id| !old.contains_key(&id.0))
            .collect();
        let mut newer = self.newer.borrow_mut();
        for id in &gone {
            let name = old.get(&id.0).map(|(name, _)| name);
            let heir = order
                .iter()
                .find(|heir| all.get(&heir.0).map(|(own, _)| own) == name);
            if let Some(heir) = heir {
                newer.insert(id.0, *heir);
                for known in newer.values_mut().filter(|known| *known == id) {
                    *known = *heir;
                }
            }
        }
        (came, gone)
    }

    /// Whether that server was here and is not any more.
    pub(super) fn is_gone(&self, id: ServerId) -> bool {
        Some(id.0) <= self.highest.get() && !self.all.borrow().contains_key(&id.0)
    }

    pub(super) fn len(&self) -> usize {
        self.order.borrow().len()
    }
}

impl Gateway {
    /// A server's name and link; `None` if the configuration has it no more.
    pub(super) fn link(&self, id: ServerId) -> Option<(Arc<str>, Rc<dyn Link>)> {
        let id = self.newest(id);
        self.links.all.borrow().get(&id.0).cloned()
    }

    /// The server that has the place of that one now.
    pub(super) fn newest(&self, id: ServerId) -> ServerId {
        let newer = self.links.newer.borrow();
        match newer.is_empty() {
            true => id,
            false => newer.get(&id.0).copied().unwrap_or(id),
        }
    }

    /// The same for a scope that was kept for a while.
    pub(super) fn newest_scope(&self, scope: Scope) -> Scope {
        match scope {
            Scope::Merged => Scope::Merged,
            Scope::One(id) => Scope::One(self.newest(id)),
        }
    }

    /// The server of that name.
    pub(super) fn named(&self, name: &str) -> Option<ServerId> {
        let all = self.links.all.borrow();
        let mut found = all.iter().filter(|(_, (known, _))| **known == *name);
        found.next().map(|(id, _)| ServerId(*id))
    }

    /// Which servers a scope has, in order.
    pub(super) fn members(&self, scope: Scope) -> Members {
        match self.newest_scope(scope) {
            Scope::Merged => self.links.order.borrow().iter().copied().collect(),
            Scope::One(id) => self
                .link(id)
                .map(|_| Members::from_slice(&[id]))
                .unwrap_or_default(),
        }
    }

    /// The links of a scope, in order.
    pub(super) fn links_of(&self, scope: Scope) -> Vec<(ServerId, Arc<str>, Rc<dyn Link>)> {
        let members = self.members(scope).into_iter();
        members
            .filter_map(|id| self.link(id).map(|(name, link)| (id, name, link)))
            .collect()
    }

    /// Goes over to another configuration with those servers.
    pub fn adopt(self: &Rc<Self>, config: &Arc<Config>, links: Vec<Named>) {
        let has_other_names = self.config.borrow().mcp.namespace != config.mcp.namespace;
        self.config.replace(Arc::clone(config));
        self.streams.borrow_mut().set_max(config.mcp.max_streams);
        self.is_local.set(is_local(config));
        self.addresses.replace(addresses(config, &links));
        let (came, gone) = self.links.replace(links);
        self.forget_all_views();
        for id in came.iter().chain(&gone) {
            self.note_change(*id, has_other_names);
        }
        if has_other_names && came.is_empty() && gone.is_empty() {
            for id in self.members(Scope::Merged) {
                self.note_change(id, true);
            }
        }
        for id in gone {
            self.move_watches(id);
            if let Some(slot) = self.states.borrow_mut().get_mut(usize::from(id.0)) {
                slot.take();
            }
        }
        self.stir();
    }

    /// What clients watch at a server that was replaced, they watch at its successor.
    fn move_watches(&self, old: ServerId) {
        let new = self.newest(old);
        if new == old {
            return;
        }
        self.sessions.borrow_mut().move_server(old, new);
        let mut watched = Vec::new();
        for (_, open) in self.streams.borrow().iter() {
            match open {
                Open::Subscription { subscription, .. } => watched.extend(
                    subscription
                        .uris_of(old)
                        .map(|uri| (Rc::clone(subscription.client()), uri.to_owned())),
                ),
                Open::Listening(listener) => {
                    for (server, uri) in listener.watched.borrow_mut().iter_mut() {
                        if *server == old {
                            *server = new;
                            watched.push((Rc::clone(&listener.client), uri.to_string()));
                        }
                    }
                }
                Open::Waiting(_) | Open::Call(_) => {}
            }
        }
        for (client, uri) in watched {
            self.watch(new, &client, &uri, true);
        }
    }
}

/// Whether every listener is on this machine alone.
pub(super) fn is_local(config: &Config) -> bool {
    let mut listeners = config.listeners.iter();
    listeners.all(|listener| listener.address.ip().to_canonical().is_loopback())
}
