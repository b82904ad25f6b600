//! `/metrics`: the supervisor asks every shard and answers with the merged figures.

use std::sync::Arc;
use std::time::Duration;

use super::Pages;
use super::json::{Json, object};
use crate::handler::mcp::link::Status;
use crate::handler::problem::Problem;
use crate::http::{Known, RequestHead, Response};
use crate::metrics::exposition::{self, Format};
use crate::metrics::{Merged, ServerLine};
use crate::net;
use crate::net::across;
use crate::net::across::TryRecvError;

/// Scrapes that may wait for the supervisor. Beyond, scrapers are told to come back.
const SCRAPES_QUEUED_MAX: usize = 64;
/// The supervisor gives stuck shards less; this is the fence for the supervisor itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a waiting scrape looks for its answer.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Asks the supervisor for merged figures. Each shard has a clone.
#[derive(Clone, Debug)]
pub struct Scraper {
    asks: across::Sender<Scrape>,
}

/// One question for merged figures, for the supervisor to answer.
#[derive(Debug)]
pub struct Scrape {
    reply: across::Sender<Box<Merged>>,
}

impl Scraper {
    /// A scraper and the end where its questions arrive.
    #[must_use]
    pub fn channel() -> (Self, across::Receiver<Scrape>) {
        let (asks, questions) = across::bounded(SCRAPES_QUEUED_MAX);
        (Self { asks }, questions)
    }

    /// Merged figures; `None` if the supervisor has too much to do or is gone.
    ///
    /// The answer is looked for and not waited for: a waker of this shard left in a channel
    /// would, if the shard crashed meanwhile, drop the dead shard's task on the supervisor's
    /// thread inside the channel's lock, and hang it.
    pub async fn scrape(&self) -> Option<Box<Merged>> {
        let (reply, answer) = across::bounded(1);
        self.asks.try_send(Scrape { reply }).ok()?;
        let looks = ANSWER_TIMEOUT.as_millis() / LOOK_EVERY.as_millis();
        for _ in 0..looks {
            match answer.try_recv() {
                Ok(merged) => return Some(merged),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => net::sleep(LOOK_EVERY).await,
            }
        }
        None
    }
}

impl Scrape {
    /// Answers. A scraper that has given up meanwhile is no error.
    pub fn answer(self, merged: Merged) {
        self.reply.try_send(Box::new(merged)).unwrap_or(());
    }
}

impl Pages {
    /// `/api/v1/upstreams`: the servers behind the proxy.
    pub(super) async fn upstreams(&self, head: &RequestHead, response: &mut Response) {
        let Some(merged) = self.setup.scraper.scrape().await else {
            *response = Problem::Busy.response();
            return;
        };
        let rows = merged.totals.upstreams.values();
        let rows: Vec<Json> = rows
            .map(|row| {
                let failures = row.failures.iter().filter(|(_, count)| *count > 0);
                let failures = failures.map(|(why, count)| ((*why).to_owned(), (*count).into()));
                object! {
                    "upstream": row.upstream.to_string(),
                    "server": row.server.to_string(),
                    "available_shards": row.available,
                    "requests": row.requests,
                    "requests_under_way": row.under_way,
                    "retries": row.retries,
                    "connects": row.connects,
                    "idle_connections": row.idle,
                    "failures": Json::Object(failures.collect()),
                }
            })
            .collect();
        self.json(head, &object! { "upstreams": rows }, response);
    }

    pub(super) async fn metrics(&self, head: &RequestHead, response: &mut Response) {
        if !self.setup.config.metrics {
            *response = Problem::NotFound.response();
            return;
        }
        let Some(mut merged) = self.setup.scraper.scrape().await else {
            *response = Problem::Busy.response();
            return;
        };
        let states = self.setup.catalogue.servers();
        merged.servers.extend(states.iter().map(|state| ServerLine {
            server: Arc::clone(&state.name),
            is_up: state.status == Status::Ready,
            restarts: state.restarts,
        }));
        let format = Format::negotiate(head.header(Known::Accept));
        response.status = 200;
        let media = format.content_type();
        response.headers.push(b"Content-Type", media.as_bytes());
        response.headers.push(b"Cache-Control", b"no-store");
        response.headers.push(b"Vary", b"Accept");
        response.body = exposition::render(&merged, format).into_bytes().into();
    }
}
