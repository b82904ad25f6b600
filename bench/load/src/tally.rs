//! What was counted, and how it is told.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::exchange::Fault;

/// Bounds of what a histogram holds, in nanoseconds; beyond them the bound is counted.
const LONGEST: u64 = 3_600_000_000_000;

/// What one thread saw.
pub(crate) struct Tally {
    /// Answers within the window.
    pub(crate) requests: u64,
    /// Answers of the whole run, warm-up and end included: what a server's CPU time is divided by.
    pub(crate) all: u64,
    /// The bodies' bytes of those within the window.
    pub(crate) bytes: u64,
    /// Smallest and largest body.
    pub(crate) body: Option<(u64, u64)>,
    /// Connections opened again.
    pub(crate) reconnects: u64,
    /// Events of streams.
    pub(crate) events: u64,
    /// What failed.
    pub(crate) errors: Errors,
    /// From when a request began, or was due, to its answer's last byte.
    pub(crate) latency: Histogram<u64>,
    /// Between two events of a stream.
    pub(crate) gaps: Histogram<u64>,
    /// The first failure, in words.
    pub(crate) first_fault: Option<String>,
}

/// Failed requests by the step at which they failed.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Errors {
    connect: u64,
    write: u64,
    read: u64,
    status: u64,
    answer: u64,
    /// Due, or begun, but not answered when the time was over.
    pub(crate) unfinished: u64,
}

impl Errors {
    fn total(self) -> u64 {
        self.connect + self.write + self.read + self.status + self.answer + self.unfinished
    }
}

fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, LONGEST, 3).map_err(|error| error.to_string())
}

fn note(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self {
            requests: 0,
            all: 0,
            bytes: 0,
            body: None,
            reconnects: 0,
            events: 0,
            errors: Errors::default(),
            latency: histogram()?,
            gaps: histogram()?,
            first_fault: None,
        })
    }

    /// An answer.
    pub(crate) fn answered(&mut self, time: Duration, body: u64) {
        self.requests += 1;
        self.bytes += body;
        let (least, most) = self.body.unwrap_or((body, body));
        self.body = Some((least.min(body), most.max(body)));
        note(&mut self.latency, time);
    }

    /// An event, and how long after the one before.
    pub(crate) fn event(&mut self, gap: Option<Duration>) {
        self.events += 1;
        if let Some(gap) = gap {
            note(&mut self.gaps, gap);
        }
    }

    /// A request that failed.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        let count = match fault {
            Fault::Connect(_) => &mut self.errors.connect,
            Fault::Write(_) => &mut self.errors.write,
            Fault::Read(_) => &mut self.errors.read,
            Fault::Status(_) => &mut self.errors.status,
            Fault::Answer(_) => &mut self.errors.answer,
        };
        *count += 1;
        self.first_fault.get_or_insert_with(|| fault.to_string());
    }

    /// A request that has no answer after all this time.
    pub(crate) fn unfinished(&mut self, time: Option<Duration>) {
        self.errors.unfinished += 1;
        if let Some(time) = time {
            note(&mut self.latency, time);
        }
    }

    /// With another thread's.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), String> {
        self.requests += other.requests;
        self.all += other.all;
        self.bytes += other.bytes;
        self.reconnects += other.reconnects;
        self.events += other.events;
        self.body = match (self.body, other.body) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, None) => one,
            (None, one) => one,
        };
        let (ours, theirs) = (&mut self.errors, other.errors);
        ours.connect += theirs.connect;
        ours.write += theirs.write;
        ours.read += theirs.read;
        ours.status += theirs.status;
        ours.answer += theirs.answer;
        ours.unfinished += theirs.unfinished;
        self.latency
            .add(&other.latency)
            .map_err(|error| error.to_string())?;
        self.gaps
            .add(&other.gaps)
            .map_err(|error| error.to_string())?;
        if self.first_fault.is_none() {
            self.first_fault.clone_from(&other.first_fault);
        }
        Ok(())
    }
}

/// Times of a histogram in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            min: micros(histogram.min()),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(histogram.max()),
        })
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    mode: &'static str,
    url: String,
    connections: u32,
    threads: u32,
    seconds: f64,
    rate_wanted: Option<f64>,
    requests: u64,
    requests_all: u64,
    rps: f64,
    body_bytes: u64,
    body_min: u64,
    body_max: u64,
    errors: Errors,
    failed: u64,
    first_fault: Option<String>,
    reconnects: u64,
    /// In microseconds; open loop: from the time at which the request was due.
    latency_us: Option<Times>,
    events: u64,
    events_per_second: f64,
    event_gap_us: Option<Times>,
    /// CPU seconds of this program for each second of a thread: near 1 it is itself the limit.
    client_busy: f64,
}

impl Report {
    /// Of a whole run. `busy` is the CPU time of this program over the whole run, warm-up too.
    pub(crate) fn new(load: &crate::args::Load, tally: &Tally, busy: f64) -> Self {
        let seconds = load.duration.as_secs_f64();
        #[allow(
            clippy::cast_precision_loss,
            reason = "counts of a run are far below 2^53"
        )]
        let per_second = |count: u64| count as f64 / seconds;
        let (body_min, body_max) = tally.body.unwrap_or_default();
        Self {
            mode: if load.rate.is_some() {
                "open"
            } else {
                "closed"
            },
            url: load.url.clone(),
            connections: load.connections,
            threads: load.threads,
            seconds,
            rate_wanted: load.rate,
            requests: tally.requests,
            requests_all: tally.all,
            rps: per_second(tally.requests),
            body_bytes: tally.bytes,
            body_min,
            body_max,
            errors: tally.errors,
            failed: tally.errors.total(),
            first_fault: tally.first_fault.clone(),
            reconnects: tally.reconnects,
            latency_us: Times::of(&tally.latency),
            events: tally.events,
            events_per_second: per_second(tally.events),
            event_gap_us: Times::of(&tally.gaps),
            client_busy: busy,
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} loop, {} connections, {} s: {:.0} requests/s, {} failed\n",
            self.mode, self.connections, self.seconds, self.rps, self.failed
        );
        for (name, times) in [("latency", &self.latency_us), ("gap", &self.event_gap_us)] {
            if let Some(times) = times {
                text += &format!(
                    "{name} µs: p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}\n",
                    times.p50, times.p90, times.p99, times.p999, times.max
                );
            }
        }
        if self.events > 0 {
            text += &format!("events/s: {:.0}\n", self.events_per_second);
        }
        if let Some(fault) = &self.first_fault {
            text += &format!("first failure: {fault}\n");
        }
        text + &format!(
            "this program used {:.0} % of its threads' CPU\n",
            self.client_busy * 100.0
        )
    }
}
