//! `/health`, `/health/live` and `/health/ready`. Asked by load balancers many times a second,
//! so the text is made once a second and shared.

use bytes::Bytes;

use super::json::object;
use super::{Pages, wants_pretty};
use crate::handler::Incoming;
use crate::handler::problem::Problem;
use crate::http::Response;

/// The last `/health` text and what it was made from.
#[derive(Debug, Default)]
pub(super) struct Cache {
    uptime: Option<u64>,
    is_draining: bool,
    text: Bytes,
}

impl Pages {
    /// A load balancer's question. Liveness stays 200 while draining: the process must not be
    /// killed for ending in order; the others say 503, so that no new work is sent here.
    pub(super) fn health(&self, request: &Incoming<'_>, response: &mut Response) {
        let below = request.found.below;
        let path = if below.is_empty() {
            &*request.found.endpoint.base
        } else {
            below
        };
        let is_draining = self.setup.draining.get();
        if path.ends_with("/live") {
            self.json_bytes(Bytes::from_static(br#"{"status":"live"}"#), response);
        } else if path.ends_with("/ready") {
            let text: &'static [u8] = if is_draining {
                br#"{"status":"draining"}"#
            } else {
                br#"{"status":"ready"}"#
            };
            self.json_bytes(Bytes::from_static(text), response);
            unavailable_if(is_draining, response);
        } else if below.is_empty() || below == "/" {
            self.whole_health(request, is_draining, response);
            unavailable_if(is_draining, response);
        } else {
            *response = Problem::NotFound.response();
        }
    }

    fn whole_health(&self, request: &Incoming<'_>, is_draining: bool, response: &mut Response) {
        let started = self.setup.started.mono;
        let uptime = request.now.mono.saturating_duration_since(started);
        let uptime = uptime.as_secs();
        let status = if is_draining { "draining" } else { "healthy" };
        let shards = self.setup.shards;
        let query = request.head.query();
        if self.setup.config.development || (!query.is_empty() && wants_pretty(query)) {
            let value = object! {
                "status": status, "uptime_seconds": uptime, "shards": shards,
            };
            return self.json(request.head, &value, response);
        }
        let mut cache = self.health.borrow_mut();
        if cache.uptime != Some(uptime) || cache.is_draining != is_draining {
            let text =
                format!(r#"{{"status":"{status}","uptime_seconds":{uptime},"shards":{shards}}}"#);
            *cache = Cache {
                uptime: Some(uptime),
                is_draining,
                text: text.into(),
            };
        }
        self.json_bytes(cache.text.clone(), response);
    }
}

fn unavailable_if(is_draining: bool, response: &mut Response) {
    if is_draining {
        response.status = 503;
    }
}
