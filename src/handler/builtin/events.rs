//! `/api/v1/sse`: live figures of each shard as an event stream, one event a second.

use core::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::json::{Json, object};

use super::{Pages, Scraper};
use crate::base::channel::{Sender, bounded};
use crate::handler::problem::Problem;
use crate::http::{Body, BodyError, Frame, Known, Method, RequestHead, Response, sse};
use crate::metrics::{Counter, Gauge, Latency, Merged, Outcome, Recorder};
use crate::net;

/// From one event to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// Streams of one shard. Each asks every shard once a second.
const STREAMS_MAX: i64 = 32;
/// Events that a slow client may be behind; it misses those beyond.
const QUEUED_MAX: usize = 2;

type Frames = Sender<Result<Frame, BodyError>>;

impl Pages {
    pub(super) fn events(&self, head: &RequestHead, response: &mut Response) {
        if !self.setup.config.metrics {
            *response = Problem::NotFound.response();
            return;
        }
        let Some(open) = Open::new(&self.event_streams, &self.setup.recorder) else {
            *response = Problem::Busy.response();
            return;
        };
        response.status = 200;
        let headers = &mut response.headers;
        headers.push_known(Known::ContentType, b"text/event-stream");
        headers.push_known(Known::CacheControl, b"no-cache");
        headers.push(b"X-Accel-Buffering", b"no");
        if head.method == Method::Head {
            return;
        }
        let (sender, receiver) = bounded(QUEUED_MAX);
        response.body = Body::Stream(receiver);
        let scraper = self.setup.scraper.clone();
        let draining = Rc::clone(&self.setup.draining);
        net::spawn(async move {
            feed(&scraper, &sender, &draining).await;
            drop(open);
        });
    }
}

/// Sends figures until the client is gone or the shard drains.
async fn feed(scraper: &Scraper, sender: &Frames, draining: &Cell<bool>) {
    while !draining.get() {
        let mut text = Vec::new();
        match scraper.scrape().await {
            Some(merged) => {
                let figures = sonic_rs::to_vec(&figures(&merged)).unwrap_or_default();
                sse::write_event(Some("metrics"), None, &figures, &mut text);
            }
            // The stream stays alive; the next second may have figures.
            None => sse::write_comment(b"no figures", &mut text),
        }
        if sender.send(Ok(Frame::Data(text.into()))).await.is_err() {
            return;
        }
        net::sleep(INTERVAL).await;
    }
}

/// Counts a stream as long as it lives.
struct Open {
    streams: Rc<Cell<i64>>,
    recorder: Rc<Recorder>,
}

impl Open {
    fn new(streams: &Rc<Cell<i64>>, recorder: &Rc<Recorder>) -> Option<Self> {
        if streams.get() >= STREAMS_MAX {
            return None;
        }
        streams.set(streams.get() + 1);
        recorder.shift(Gauge::OpenStreams, 1);
        Some(Self {
            streams: Rc::clone(streams),
            recorder: Rc::clone(recorder),
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
        self.recorder.shift(Gauge::OpenStreams, -1);
    }
}

/// What an event says.
fn figures(merged: &Merged) -> Json {
    let shards: Vec<Json> = merged
        .shards
        .iter()
        .map(|line| {
            let counter = |counter: Counter| line.counters.get(counter as usize).copied();
            let gauge = |gauge: Gauge| line.gauges.get(gauge as usize).copied();
            object! {
                "shard": line.shard,
                "up": line.is_up,
                "restarts": line.restarts,
                "connections": gauge(Gauge::Connections),
                "open_streams": gauge(Gauge::OpenStreams),
                "mcp_calls_under_way": gauge(Gauge::McpCallsUnderWay),
                "accepts": counter(Counter::Accepts),
                "sent_bytes": counter(Counter::SentBytes),
                "received_bytes": counter(Counter::ReceivedBytes),
                "panics": counter(Counter::Panics),
            }
        })
        .collect();
    let mut latency = Latency::default();
    let (mut finished, mut under_way) = (0, 0);
    for row in merged.totals.http.values() {
        latency.merge(&row.latency);
        finished += row.statuses.iter().sum::<u64>();
        under_way += row.under_way;
    }
    let calls = merged.totals.calls.values().sum::<u64>();
    let answered = [Outcome::Ok, Outcome::ToolError, Outcome::Cancelled];
    let answered = answered.map(|outcome| merged.totals.calls_with(outcome));
    object! {
        "shards": shards,
        "requests": finished,
        "requests_under_way": under_way,
        "p50_seconds": latency.quantile(0.5).as_secs_f64(),
        "p99_seconds": latency.quantile(0.99).as_secs_f64(),
        "mcp_calls": calls,
        "mcp_calls_failed": calls - answered.iter().sum::<u64>(),
        "cpu_seconds": merged.process.cpu.as_secs_f64(),
        "resident_bytes": merged.process.resident_bytes,
    }
}
