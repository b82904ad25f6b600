//! Merges the shards' snapshots. Lives in the supervisor; it keeps each shard's last figures so
//! that a stuck shard is shown as stale and a crashed one's counts are never taken back
//! (a sum that shrinks looks like a restart of everything to Prometheus).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::glob;
use crate::metrics::{
    Counter, Gauge, HttpRow, Latency, Outcome, STATUS_CLASSES, ServerRow, ShardSnapshot,
    UpstreamRow,
};

/// Gathers snapshots of a fixed number of shards.
#[derive(Debug)]
pub struct Collector {
    shards: Vec<Slot>,
    /// What shards that are gone had counted.
    retired: Totals,
    /// What the supervisor notes itself.
    pub life: Life,
    /// Handlers whose requests are left out, by their label.
    excluded: Vec<String>,
}

/// The program's life as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Which generation of the configuration every shard serves.
    pub generation: u64,
    /// Times that another one was taken.
    pub reloads: u64,
    /// Times that one was refused.
    pub reloads_failed: u64,
    /// When the last was, since the Unix epoch; zero if there was none.
    pub last_reload: Duration,
    /// It was refused.
    pub has_reload_failed: bool,
}

#[derive(Debug)]
struct Slot {
    last: Option<ShardSnapshot>,
    retired: [u64; Counter::ALL.len()],
    retired_http: HttpSum,
    is_fresh: bool,
    restarts: u64,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            last: None,
            // The library has defaults for arrays of up to 32 only.
            retired: [0; Counter::ALL.len()],
            retired_http: HttpSum::default(),
            is_fresh: false,
            restarts: 0,
        }
    }
}

/// What a scrape answers from.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Each shard's own figures, by index.
    pub shards: Vec<ShardLine>,
    /// Figures without a shard label, summed over the shards.
    pub totals: Totals,
    /// MCP servers; whoever scrapes fills them in from the gateway's catalogue.
    pub servers: Vec<ServerLine>,
    /// The program's life.
    pub life: Life,
    /// The whole process.
    pub process: Process,
    /// What runs.
    pub runtime: RuntimeInfo,
}

/// State of one MCP server.
#[derive(Clone, Debug)]
pub struct ServerLine {
    /// The server's configured name.
    pub server: Arc<str>,
    /// Whether it answers.
    pub is_up: bool,
    /// Restarts of its child or reconnects to its endpoint.
    pub restarts: u64,
}

/// One shard's part of a scrape.
#[derive(Clone, Debug)]
pub struct ShardLine {
    /// Which shard.
    pub shard: u16,
    /// Whether it answered in time; if not, its figures are its last known.
    pub is_up: bool,
    /// Starts after a crash.
    pub restarts: u64,
    /// By [`Counter`], over all lives of the shard.
    pub counters: [u64; Counter::ALL.len()],
    /// By [`Gauge`].
    pub gauges: [i64; Gauge::ALL.len()],
    /// Its requests, whatever handler and method; over all lives of the shard.
    pub http: HttpSum,
}

/// Requests without regard to their handler or method.
#[derive(Clone, Debug, Default)]
pub struct HttpSum {
    /// Finished ones by status class.
    pub statuses: [u64; STATUS_CLASSES.len()],
    /// Ones under way.
    pub under_way: i64,
    /// How long finished ones took.
    pub latency: Latency,
}

impl HttpSum {
    /// Finished requests.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.statuses.iter().sum()
    }

    /// Adds a row.
    pub fn add(&mut self, row: &HttpRow) {
        for (sum, count) in self.statuses.iter_mut().zip(row.statuses) {
            *sum += count;
        }
        self.under_way += row.under_way;
        self.latency.merge(&row.latency);
    }
}

/// Figures summed over shards, in the order of their labels.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// By handler and method's index.
    pub http: BTreeMap<(Arc<str>, usize), HttpRow>,
    /// Number of calls by server, tool, era's and outcome's index.
    pub calls: BTreeMap<(Arc<str>, Arc<str>, usize, usize), u64>,
    /// By server.
    pub servers: BTreeMap<Arc<str>, ServerRow>,
    /// By upstream and server.
    pub upstreams: BTreeMap<(Arc<str>, Arc<str>), UpstreamRow>,
}

/// Figures of the whole process, read by whoever collects.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// User and system CPU time.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Virtual memory.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Most descriptors allowed; 0 if there is no limit.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
    /// Start, since the Unix epoch.
    pub started: Duration,
}

/// What runs, for the info metrics and `/version`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// `io_uring` or `epoll`.
    pub driver: String,
    /// Ring flags in use, e.g. `SINGLE_ISSUER|DEFER_TASKRUN`; empty for epoll.
    pub flags: String,
    /// Why this driver and not a better one; empty if it is the best.
    pub reason: String,
    /// Kernel release.
    pub kernel: String,
}

impl Collector {
    /// A collector for `shards` shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Slot::default()).collect(),
            retired: Totals::default(),
            life: Life {
                generation: 1,
                ..Life::default()
            },
            excluded: Vec::new(),
        }
    }

    /// Leaves requests out whose handler's label fits one of the patterns. Counts that were taken
    /// before stay.
    pub fn exclude(&mut self, patterns: &[String]) {
        self.excluded = patterns.to_vec();
    }

    /// Starts a round: until a shard answers it counts as not up.
    pub fn begin(&mut self) {
        for slot in &mut self.shards {
            slot.is_fresh = false;
        }
    }

    /// Takes a shard's answer.
    pub fn update(&mut self, mut snapshot: ShardSnapshot) {
        let excluded = &self.excluded;
        snapshot.http.retain(|row| {
            let mut patterns = excluded.iter();
            !patterns.any(|pattern| glob::matches(pattern, &row.handler))
        });
        if let Some(slot) = self.shards.get_mut(usize::from(snapshot.shard)) {
            slot.last = Some(snapshot);
            slot.is_fresh = true;
        }
    }

    /// Whether every shard has answered in this round.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.shards.iter().all(|slot| slot.is_fresh)
    }

    /// A shard crashed and was started again with figures at zero.
    pub fn restarted(&mut self, shard: u16) {
        let Some(slot) = self.shards.get_mut(usize::from(shard)) else {
            return;
        };
        slot.restarts += 1;
        slot.is_fresh = false;
        if let Some(last) = slot.last.take() {
            add_counters(&mut slot.retired, &last.counters);
            for row in &last.http {
                slot.retired_http.add(row);
            }
            slot.retired_http.under_way = 0;
            self.retired.add(&last);
            for row in self.retired.http.values_mut() {
                row.under_way = 0;
            }
            for row in self.retired.upstreams.values_mut() {
                (row.under_way, row.idle, row.available) = (0, 0, 0);
            }
        }
    }

    /// Everything known now.
    #[must_use]
    pub fn merged(&self, process: Process, runtime: &RuntimeInfo) -> Merged {
        let mut totals = self.retired.clone();
        let mut shards = Vec::with_capacity(self.shards.len());
        for (shard, slot) in (0_u16..).zip(&self.shards) {
            let mut line = ShardLine {
                shard,
                is_up: slot.is_fresh,
                restarts: slot.restarts,
                counters: slot.retired,
                gauges: [0; Gauge::ALL.len()],
                http: slot.retired_http.clone(),
            };
            if let Some(last) = &slot.last {
                add_counters(&mut line.counters, &last.counters);
                line.gauges = last.gauges;
                for row in &last.http {
                    line.http.add(row);
                }
                totals.add(last);
            }
            shards.push(line);
        }
        Merged {
            shards,
            totals,
            servers: Vec::new(),
            life: self.life,
            process,
            runtime: runtime.clone(),
        }
    }
}

impl Totals {
    fn add(&mut self, snapshot: &ShardSnapshot) {
        for row in &snapshot.http {
            let key = (Arc::clone(&row.handler), row.method.index());
            match self.http.get_mut(&key) {
                Some(sum) => sum.add(row),
                None => drop(self.http.insert(key, row.clone())),
            }
        }
        for row in &snapshot.calls {
            let (server, tool) = (Arc::clone(&row.server), Arc::clone(&row.tool));
            let key = (server, tool, row.era as usize, row.outcome as usize);
            *self.calls.entry(key).or_default() += row.count;
        }
        for row in &snapshot.upstreams {
            let key = (Arc::clone(&row.upstream), Arc::clone(&row.server));
            match self.upstreams.get_mut(&key) {
                Some(sum) => sum.add(row),
                None => drop(self.upstreams.insert(key, row.clone())),
            }
        }
        for row in &snapshot.servers {
            match self.servers.get_mut(&row.server) {
                Some(sum) => sum.latency.merge(&row.latency),
                None => drop(self.servers.insert(Arc::clone(&row.server), row.clone())),
            }
        }
    }

    /// Tool calls that ended so.
    #[must_use]
    pub fn calls_with(&self, outcome: Outcome) -> u64 {
        let calls = self.calls.iter();
        let matching = calls.filter(|((.., ended), _)| *ended == outcome as usize);
        matching.map(|(_, count)| count).sum()
    }
}

impl UpstreamRow {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.connects += other.connects;
        for ((_, sum), (_, count)) in self.failures.iter_mut().zip(&other.failures) {
            *sum += count;
        }
        self.under_way += other.under_way;
        self.idle += other.idle;
        self.available += other.available;
    }
}

impl HttpRow {
    fn add(&mut self, other: &Self) {
        for (sum, count) in self.statuses.iter_mut().zip(other.statuses) {
            *sum += count;
        }
        self.under_way += other.under_way;
        self.latency.merge(&other.latency);
    }
}

fn add_counters(sum: &mut [u64], more: &[u64]) {
    for (sum, count) in sum.iter_mut().zip(more) {
        *sum += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use crate::mcp::revision::Era;
    use crate::metrics::Recorder;

    fn shard(index: u16, requests: u64) -> ShardSnapshot {
        let recorder = Recorder::new(index, &["/health".into()], true);
        for _ in 0..requests {
            recorder.count(Counter::Accepts);
            recorder.request_started(0, Method::Get);
            recorder.request_finished(0, Method::Get, 200, Duration::from_micros(10));
        }
        recorder.request_started(0, Method::Get);
        recorder.shift(Gauge::Connections, 3);
        let tool = recorder.tool_label("time", "now");
        let elapsed = Some(Duration::from_millis(2));
        recorder.mcp_call(tool, Era::Modern, Outcome::Ok, elapsed);
        recorder.snapshot()
    }

    fn requests(merged: &Merged) -> u64 {
        merged.totals.http.values().map(|row| row.statuses[1]).sum()
    }

    fn merged(collector: &Collector) -> Merged {
        collector.merged(Process::default(), &RuntimeInfo::default())
    }

    #[test]
    fn shards_add_up_and_a_silent_one_is_stale() {
        let mut collector = Collector::new(2);
        collector.update(shard(0, 5));
        collector.update(shard(1, 7));
        assert!(collector.is_complete());
        let all = merged(&collector);
        assert_eq!(requests(&all), 12);
        assert_eq!(all.totals.calls_with(Outcome::Ok), 2);
        assert_eq!(all.totals.servers["time"].latency.count(), 2);

        collector.begin();
        collector.update(shard(0, 6));
        let later = merged(&collector);
        assert_eq!(requests(&later), 13);
        let up: Vec<_> = later.shards.iter().map(|line| line.is_up).collect();
        assert_eq!(up, [true, false]);
    }

    #[test]
    fn excluded_handlers_are_in_no_figure() {
        let mut collector = Collector::new(1);
        collector.exclude(&["*admin*".to_owned(), "/heal*".to_owned()]);
        collector.update(shard(0, 5));
        let all = merged(&collector);
        assert_eq!((requests(&all), all.shards[0].http.finished()), (0, 0));
        assert!(collector.is_complete());
    }

    #[test]
    fn a_restart_takes_no_count_back() {
        let mut collector = Collector::new(2);
        collector.update(shard(0, 5));
        collector.update(shard(1, 7));
        collector.restarted(1);
        let after = merged(&collector);
        assert_eq!(requests(&after), 12);
        let line = &after.shards[1];
        let accepts = line.counters[Counter::Accepts as usize];
        assert_eq!((line.restarts, line.is_up, accepts), (1, false, 7));
        assert_eq!(line.gauges[Gauge::Connections as usize], 0);
        let under_way: i64 = after.totals.http.values().map(|row| row.under_way).sum();
        assert_eq!(under_way, 1, "only the living shard's");

        collector.update(shard(1, 1));
        let again = merged(&collector);
        assert_eq!(requests(&again), 13);
        let http = &again.shards[1].http;
        assert_eq!(
            (http.finished(), http.latency.count(), http.under_way),
            (8, 8, 1)
        );
    }
}
