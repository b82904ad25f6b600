//! Active checks: one shard asks each server now and then and tells all shards what it found.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::{Group, Hints, Request};
use crate::base::clock;
use crate::config::HealthCheck;
use crate::http::{HeaderList, Known};
use crate::net::mailbox::{Address, Inbox, mailbox};
use crate::net::{sleep, spawn};

/// News that may wait for a shard. More are dropped: they are told again at the next check.
const NEWS_MAX: usize = 1024;

/// What a check found.
#[derive(Clone, Debug)]
pub struct News {
    /// The group's name.
    pub group: Arc<str>,
    /// Place of the server in it.
    pub server: u16,
    /// Whether it may be asked.
    pub is_healthy: bool,
}

/// One shard's ends.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The inboxes of all shards.
    pub to: Arc<[Address<News>]>,
    /// Its own.
    pub inbox: Inbox<News>,
}

impl Wire {
    /// The ends of so many shards.
    #[must_use]
    pub fn connect(shards: u16) -> Vec<Self> {
        let boxes: Vec<_> = (0..shards).map(|_| mailbox(NEWS_MAX)).collect();
        let to: Arc<[_]> = boxes.iter().map(|(address, _)| address.clone()).collect();
        let ends = boxes.into_iter().map(|(_, inbox)| Self {
            to: Arc::clone(&to),
            inbox,
        });
        ends.collect()
    }
}

/// Begins to check the servers of a group.
pub(super) fn start(group: &Rc<Group>, check: &HealthCheck, wire: &Wire) {
    for server in 0..group.peers.len() {
        let checker = Checker {
            group: Rc::downgrade(group),
            check: check.clone(),
            to: Arc::clone(&wire.to),
            server,
        };
        spawn(checker.run());
    }
}

struct Checker {
    /// A group that a new configuration has no use for is checked no more.
    group: Weak<Group>,
    check: HealthCheck,
    to: Arc<[Address<News>]>,
    server: usize,
}

impl Checker {
    async fn run(self) {
        let (mut is_healthy, mut others) = (true, 0);
        // Not all servers at the same moment.
        let interval = self.check.interval;
        sleep(interval.mul_f64((self.server % 16) as f64 / 64.0)).await;
        while let Some(group) = self.group.upgrade() {
            let found = self.ask(&group).await;
            if found.is_ok() == is_healthy {
                others = 0;
            } else {
                others += 1;
                let wanted = if is_healthy {
                    self.check.fails
                } else {
                    self.check.passes
                };
                if others >= wanted {
                    (is_healthy, others) = (found.is_ok(), 0);
                    self.tell_log(&group, found);
                }
            }
            // Each time: a shard that was started again knows nothing.
            self.tell(&group, is_healthy);
            drop(group);
            sleep(interval).await;
        }
    }

    async fn ask(&self, group: &Group) -> Result<(), String> {
        let Some(peer) = group.peers.get(self.server) else {
            return Err("no such server".to_owned());
        };
        let name = group.server_name(self.server);
        let host = self
            .check
            .host
            .as_deref()
            .unwrap_or(match name.rsplit("//").next() {
                Some(host) if !name.starts_with("unix:") => host,
                _ => "localhost",
            });
        let mut headers = HeaderList::new();
        headers.push_known(Known::Host, host.as_bytes());
        let agent = concat!("ringway/", env!("CARGO_PKG_VERSION"), " health-check");
        headers.push_known(Known::UserAgent, agent.as_bytes());
        let hints = Hints::default();
        let request = Request {
            method: "GET",
            target: &self.check.path,
            headers: &headers,
            is_repeatable: true,
            buffering: false,
            switch_to: None,
            hints: &hints,
        };
        let limit = self.check.timeout;
        let timeouts = crate::config::ProxyTimeouts {
            connect: limit,
            send: limit,
            read: limit,
        };
        let mut none = None;
        let asked = core::pin::pin!(peer.ask_anew(request, &mut none, &timeouts));
        match crate::net::timer::within(limit, asked).await {
            Ok(Ok(got)) => {
                let status = got.head.status;
                match self
                    .check
                    .status
                    .iter()
                    .any(|range| range.contains(&status))
                {
                    true => Ok(()),
                    false => Err(format!("status {status}")),
                }
            }
            Ok(Err(failure)) => Err(failure.cause.to_string()),
            Err(_) => Err(format!("no answer within {} s", limit.as_secs_f32())),
        }
    }

    fn tell_log(&self, group: &Group, found: Result<(), String>) {
        let log = &group.parts.log;
        let (group, server) = (group.name(), group.server_name(self.server));
        match found {
            Ok(()) => log.info("upstream", format_args!("{group}: {server} is well again")),
            Err(why) => log.warn(
                "upstream",
                format_args!("{group}: {server} gets no requests: its check failed: {why}"),
            ),
        }
    }

    fn tell(&self, group: &Group, is_healthy: bool) {
        let news = News {
            group: Arc::clone(&group.name),
            server: self.server as u16,
            is_healthy,
        };
        for address in &*self.to {
            // A box that is full gets the next.
            let _ = address.send(news.clone());
        }
    }
}

impl Group {
    /// Takes over what a check found.
    pub fn hear(&self, news: &News) {
        let index = usize::from(news.server);
        let mut balancer = self.balancer.borrow_mut();
        balancer.set_healthy(index, news.is_healthy, clock::mono());
    }
}
