//! `/metrics`: the supervisor asks every shard and answers with the merged figures.

use std::sync::Arc;

use super::Pages;
use super::json::{Json, object};
use crate::handler::mcp::link::Status;
use crate::handler::problem::Problem;
use crate::http::{Known, RequestHead, Response};
use crate::metrics::ServerLine;
use crate::metrics::exposition::{self, Format};

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
