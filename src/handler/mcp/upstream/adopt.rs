//! Other servers while a shard runs: new ones are begun, those that are not wanted any more end
//! after their calls, the rest is not touched.
//!
//! ```text
//!  not in the configuration --> each shard: its calls are over --> Left --> owner: all have left
//!                                                                              --> stopped
//! ```

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::owner::Owner;
use super::servers::{FAREWELL_MAX, Handle, ServerLink, Servers};
use super::shard::Shard;
use super::wire::Note;
use crate::base::clock;
use crate::handler::mcp::link::{Link, PlannedServer, ServerId};
use crate::net::timer::within;
use crate::net::{sleep, spawn};

/// How long a server that is not wanted any more is kept for calls under way.
const LEAVE_MAX: Duration = Duration::from_secs(600);
/// How often they are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A shard that has crashed meanwhile does not say that it has left.
const MISSED_MAX: Duration = Duration::from_secs(10);

impl Servers {
    /// Goes over to these servers.
    pub fn adopt(self: &Rc<Self>, planned: &[PlannedServer]) {
        let wanted: BTreeSet<ServerId> = planned.iter().map(|server| server.id).collect();
        let old = self.order.take();
        for id in old.into_iter().filter(|id| !wanted.contains(id)) {
            self.give_up(id);
        }
        self.begin(planned);
    }

    /// What all of them use.
    #[must_use]
    pub fn settings(&self) -> &Shard {
        &self.shard
    }

    /// A link to each server of the configuration, in its order.
    #[must_use]
    pub fn links(&self) -> Vec<(ServerId, Arc<str>, Rc<dyn Link>)> {
        let links = self.links.borrow();
        let order = self.order.borrow();
        order
            .iter()
            .filter_map(|id| {
                let link = links.get(id)?;
                let name = Arc::clone(&link.config.name);
                let handle: Rc<dyn Link> = Rc::new(Handle(Rc::clone(link)));
                Some((*id, name, handle))
            })
            .collect()
    }

    /// Begins with the servers that are not known yet.
    pub(super) fn begin(self: &Rc<Self>, planned: &[PlannedServer]) {
        self.order
            .replace(planned.iter().map(|server| server.id).collect());
        for PlannedServer { id, config } in planned {
            if self.links.borrow().contains_key(id) {
                continue;
            }
            let link = Rc::new(ServerLink::new(*id, config, &self.shard));
            if self.shard.wires.owner(*id) == self.shard.wires.own {
                self.look_after(&link);
            }
            self.links.borrow_mut().insert(*id, link);
        }
        let highest = planned.iter().map(|server| server.id).max();
        let waiting = self.early.borrow_mut().reached(highest);
        for note in waiting {
            self.note(note);
        }
    }

    fn look_after(&self, link: &Rc<ServerLink>) {
        let (owner, bell) = Owner::new(
            link.id,
            Rc::clone(&self.shard),
            Arc::clone(&link.config),
            link.http.clone(),
        );
        match &link.unusable {
            None => spawn(Rc::clone(&owner).run(bell)),
            Some(reason) => {
                let (owner, reason) = (Rc::clone(&owner), reason.clone());
                spawn(async move { owner.never(&reason).await });
            }
        }
        self.owners.borrow_mut().insert(link.id, owner);
    }

    /// Ends this shard's part of a server after its calls.
    fn give_up(self: &Rc<Self>, id: ServerId) {
        let link = self.links.borrow().get(&id).cloned();
        let Some(link) = link else { return };
        let servers = Rc::clone(self);
        spawn(async move {
            let until = clock::mono() + LEAVE_MAX;
            // Calls hold the link. The list and this task do, too.
            while Rc::strong_count(&link) > 2 && clock::mono() < until {
                sleep(LOOK_INTERVAL).await;
            }
            if let Some(http) = &link.http {
                // A server that cannot be told will forget its sessions by itself.
                let _ = within(FAREWELL_MAX, http.end_all()).await;
            }
            servers.links.borrow_mut().remove(&id);
            let wires = &servers.shard.wires;
            wires.tell_owner(id, Note::Left(id));
            if wires.owner(id) == wires.own {
                sleep(MISSED_MAX).await;
                servers.stop_owner(id).await;
            }
        });
    }

    /// A shard has no more calls of a server.
    pub(super) fn left(self: &Rc<Self>, id: ServerId) {
        let owner = self.owners.borrow().get(&id).cloned();
        if let Some(owner) = owner
            && owner.has_left() >= self.shard.wires.shards()
        {
            let servers = Rc::clone(self);
            spawn(async move { servers.stop_owner(id).await });
        }
    }

    async fn stop_owner(&self, id: ServerId) {
        let owner = self.owners.borrow_mut().remove(&id);
        if let Some(owner) = owner {
            owner.stop().await;
            let name = &owner.config.name;
            let log = self.shard.log();
            log.info("mcp", format_args!("server {name} has been stopped"));
        }
    }
}
