//! What an event of `/api/v1/sse` says: rates and percentiles of the last second, and the sums
//! since the start from which a client can make its own.

use core::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Setup;
use super::catalogue::{Catalogue, status, transport};
use super::json::{Json, object};
use crate::base::clock::Now;
use crate::config::Config;
use crate::handler::mcp::link::ServerState;
use crate::mcp::revision::Era;
use crate::metrics::{
    Beat, Counter, Gauge, Latency, Merged, Outcome, STATUS_CLASSES, ShardLine, Stretch,
};

/// Upper bounds in microseconds of the bands of the heat map; one more lies above them.
const BANDS_MICROS: [u64; 11] = [
    50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000, 5_000_000,
];
/// Routes in an event: the busiest. A configuration may have thousands, an event comes each second.
const ROUTES_MAX: usize = 24;
/// Servers in an event.
const SERVERS_MAX: usize = 200;

/// What an event is made from, besides the figures.
#[derive(Debug)]
pub(super) struct Live {
    catalogue: Rc<dyn Catalogue>,
    config: Arc<Config>,
    started: Now,
    /// Calls of each server at the last event, for its rate.
    calls: Vec<(Arc<str>, u64)>,
}

/// Sums of one server's calls.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    all: u64,
    tool_errors: u64,
    errors: u64,
}

impl Live {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            catalogue: Rc::clone(&setup.catalogue),
            config: Arc::clone(&setup.config),
            started: setup.started,
            calls: Vec::new(),
        }
    }

    pub(super) fn figures(&mut self, beat: &Beat) -> Json {
        let now = Now::read();
        let merged = &beat.now;
        let lines = merged.shards.iter().zip(&beat.shards);
        let shards: Vec<Json> = lines
            .map(|(line, stretch)| shard(beat, line, stretch))
            .collect();
        let mut statuses = [0; STATUS_CLASSES.len()];
        let mut under_way = 0;
        for line in &merged.shards {
            for (sum, count) in statuses.iter_mut().zip(line.http.statuses) {
                *sum += count;
            }
            under_way += line.http.under_way;
        }
        let uptime = now.mono.saturating_duration_since(self.started.mono);
        let servers = self.servers(beat);
        object! {
            "time": now.unix.as_secs_f64(),
            "span_seconds": beat.span.as_secs_f64(),
            "uptime_seconds": uptime.as_secs(),
            "requests": statuses.iter().sum::<u64>(),
            "requests_under_way": under_way,
            "requests_per_second": beat.per_second(beat.all.finished()),
            "statuses": by_class(statuses),
            "statuses_in_span": by_class(beat.all.statuses),
            "bands_seconds": Json::list(BANDS_MICROS.map(|micros| micros as f64 / 1e6)),
            "latency": latency(&beat.all.latency),
            "shards": shards,
            "routes": routes(beat),
            "routes_used": beat.routes.len(),
            "counters": counters(&merged.shards),
            "gauges": gauges(&merged.shards),
            "servers": servers,
            "process": process(beat),
        }
    }

    fn servers(&mut self, beat: &Beat) -> Vec<Json> {
        let mut sums = Vec::new();
        let mut servers = Vec::new();
        for state in self.catalogue.servers().iter().take(SERVERS_MAX) {
            let calls = calls_of(&beat.now, &state.name);
            let before = self.calls.iter().find(|(name, _)| *name == state.name);
            let new = before.map_or(0, |(_, before)| calls.all.saturating_sub(*before));
            sums.push((Arc::clone(&state.name), calls.all));
            let answers = beat.servers.get(&state.name);
            servers.push(server(state, calls, beat.per_second(new), answers));
        }
        self.calls = sums;
        let refused = self.config.mcp.refused.iter().map(|(name, reason)| {
            object! {
                "name": name.as_str(), "status": "refused", "reason": reason.as_str(),
            }
        });
        servers.extend(refused.take(SERVERS_MAX));
        servers
    }
}

fn shard(beat: &Beat, line: &ShardLine, stretch: &Stretch) -> Json {
    let counter = |counter: Counter| line.counters.get(counter as usize).copied();
    let gauge = |gauge: Gauge| line.gauges.get(gauge as usize).copied();
    object! {
        "shard": line.shard,
        "up": line.is_up,
        "restarts": line.restarts,
        "connections": gauge(Gauge::Connections),
        "open_streams": gauge(Gauge::OpenStreams),
        "mcp_calls_under_way": gauge(Gauge::McpCallsUnderWay),
        "requests": line.http.finished(),
        "requests_under_way": line.http.under_way,
        "requests_per_second": beat.per_second(stretch.finished()),
        "latency": latency(&stretch.latency),
        "accepts": counter(Counter::Accepts),
        "sent_bytes": counter(Counter::SentBytes),
        "received_bytes": counter(Counter::ReceivedBytes),
        "panics": counter(Counter::Panics),
    }
}

/// Percentiles, null where nothing was seen: no request is not a fast one.
fn latency(latency: &Latency) -> Json {
    let share = |share: f64| {
        let seen = latency.count() > 0;
        seen.then(|| latency.quantile(share).as_secs_f64())
    };
    object! {
        "count": latency.count(),
        "p50_seconds": share(0.5),
        "p90_seconds": share(0.9),
        "p99_seconds": share(0.99),
        "p999_seconds": share(0.999),
        "max_seconds": share(1.0),
        "bands": latency.bands(&BANDS_MICROS),
    }
}

fn routes(beat: &Beat) -> Vec<Json> {
    let sum_of = |handler: &Arc<str>| -> u64 {
        let rows = beat.now.totals.http.iter();
        let own = rows.filter(|((name, _), _)| name == handler);
        own.map(|(_, row)| row.statuses.iter().sum::<u64>()).sum()
    };
    let used = beat
        .routes
        .iter()
        .map(|(handler, stretch)| (handler, stretch, sum_of(handler)));
    let mut busiest: Vec<_> = used.filter(|(_, _, requests)| *requests > 0).collect();
    busiest.sort_by_key(|(_, stretch, requests)| Reverse((stretch.finished(), *requests)));
    let shown = busiest
        .iter()
        .take(ROUTES_MAX)
        .map(|(handler, stretch, requests)| {
            object! {
                "handler": &***handler,
                "requests": *requests,
                "requests_per_second": beat.per_second(stretch.finished()),
                "statuses_in_span": by_class(stretch.statuses),
                "latency": latency(&stretch.latency),
            }
        });
    shown.collect()
}

fn by_class(statuses: [u64; STATUS_CLASSES.len()]) -> Json {
    let members = STATUS_CLASSES.iter().zip(statuses);
    Json::Object(
        members
            .map(|(class, count)| ((*class).to_owned(), count.into()))
            .collect(),
    )
}

/// Every counter by its name in `/metrics`, summed over the shards; those of a family that has
/// several by their label's value.
fn counters(lines: &[ShardLine]) -> Json {
    let mut families: Vec<(String, Json)> = Vec::new();
    for counter in Counter::ALL {
        let values = lines
            .iter()
            .filter_map(|line| line.counters.get(counter as usize));
        let sum: u64 = values.sum();
        let name = counter.family().name;
        let Some((_, label)) = counter.label() else {
            families.push((name.to_owned(), sum.into()));
            continue;
        };
        let member = (label.to_owned(), Json::from(sum));
        match families.last_mut() {
            Some((last, Json::Object(members))) if last == name => members.push(member),
            _ => families.push((name.to_owned(), Json::Object(vec![member]))),
        }
    }
    Json::Object(families)
}

fn gauges(lines: &[ShardLine]) -> Json {
    let sum = |gauge: Gauge| -> i64 {
        let values = lines
            .iter()
            .filter_map(|line| line.gauges.get(gauge as usize));
        values.sum()
    };
    let members = Gauge::ALL.map(|gauge| (gauge.family().name.to_owned(), sum(gauge).into()));
    Json::Object(members.into())
}

fn process(beat: &Beat) -> Json {
    let process = &beat.now.process;
    let cores = match beat.span {
        Duration::ZERO => None,
        span => Some(beat.cpu.as_secs_f64() / span.as_secs_f64()),
    };
    object! {
        "cpu_seconds": process.cpu.as_secs_f64(),
        "cpu_cores": cores,
        "resident_bytes": process.resident_bytes,
        "open_fds": process.open_fds,
        "max_fds": process.max_fds,
        "threads": process.threads,
    }
}

fn calls_of(merged: &Merged, server: &str) -> Calls {
    let mut sums = Calls::default();
    for ((name, _, _, outcome), count) in &merged.totals.calls {
        if **name != *server {
            continue;
        }
        sums.all += count;
        match Outcome::ALL.get(*outcome) {
            Some(Outcome::Ok | Outcome::Cancelled) => {}
            Some(Outcome::ToolError) => sums.tool_errors += count,
            _ => sums.errors += count,
        }
    }
    sums
}

fn server(state: &ServerState, calls: Calls, per_second: f64, answers: Option<&Latency>) -> Json {
    let (status, reason) = status(&state.status);
    let mut eras = Vec::new();
    for (era, name) in [(Era::Legacy, "legacy"), (Era::Modern, "modern")] {
        if state.speaks(era) {
            eras.push(name);
        }
    }
    let revisions: Vec<&str> = state.revisions.iter().map(|r| r.as_str()).collect();
    let quiet = Latency::default();
    object! {
        "name": &*state.name,
        "transport": transport(state.transport),
        "status": status,
        "reason": reason,
        "eras": eras,
        "revisions": revisions,
        "tools": state.tools.len(),
        "prompts": state.prompts.len(),
        "resources": state.resources.len(),
        "restarts": state.restarts,
        "calls": calls.all,
        "calls_per_second": per_second,
        "tool_errors": calls.tool_errors,
        "errors": calls.errors,
        "latency": latency(answers.unwrap_or(&quiet)),
    }
}
