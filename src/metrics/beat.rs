//! What happened between two looks at the figures: for the live page and for StatsD, which both
//! want "in the last second" where Prometheus wants "since the start".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Latency, Merged};

/// Two looks, and what lies between them.
#[derive(Debug)]
pub struct Beat {
    /// The later look.
    pub now: Merged,
    /// Time between them; zero if there was none before.
    pub span: Duration,
    /// All requests between them.
    pub all: Stretch,
    /// By shard.
    pub shards: Vec<Stretch>,
    /// By handler.
    pub routes: BTreeMap<Arc<str>, Stretch>,
    /// Answers of MCP servers to tool calls, by server.
    pub servers: BTreeMap<Arc<str>, Latency>,
    /// CPU time between them.
    pub cpu: Duration,
}

/// Requests of a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// Finished ones by status class.
    pub statuses: [u64; 5],
    /// How long they took.
    pub latency: Latency,
}

impl Stretch {
    /// Finished requests.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.statuses.iter().sum()
    }

    fn add(&mut self, statuses: [u64; 5], latency: &Latency) {
        for (sum, count) in self.statuses.iter_mut().zip(statuses) {
            *sum += count;
        }
        self.latency.merge(latency);
    }
}

impl Beat {
    /// What lies between `before`, if there was such a look, and `now`.
    #[must_use]
    pub fn between(before: Option<&Merged>, now: Merged, span: Duration) -> Self {
        let Some(before) = before else {
            return Self::first(now);
        };
        let mut all = Stretch::default();
        let mut routes: BTreeMap<Arc<str>, Stretch> = BTreeMap::new();
        for (key, row) in &now.totals.http {
            let (statuses, latency) = match before.totals.http.get(key) {
                Some(old) => (
                    less(row.statuses, old.statuses),
                    row.latency.since(&old.latency),
                ),
                None => (row.statuses, row.latency.clone()),
            };
            all.add(statuses, &latency);
            let route = routes.entry(Arc::clone(&key.0)).or_default();
            route.add(statuses, &latency);
        }
        let shards = now.shards.iter().zip(&before.shards);
        let shards = shards.map(|(line, old)| Stretch {
            statuses: less(line.http.statuses, old.http.statuses),
            latency: line.http.latency.since(&old.http.latency),
        });
        let servers = now.totals.servers.iter().map(|(name, row)| {
            let old = before.totals.servers.get(name);
            let latency = match old {
                Some(old) => row.latency.since(&old.latency),
                None => row.latency.clone(),
            };
            (Arc::clone(name), latency)
        });
        Self {
            span,
            all,
            shards: shards.collect(),
            routes,
            servers: servers.collect(),
            cpu: now.process.cpu.saturating_sub(before.process.cpu),
            now,
        }
    }

    /// The first look: nothing lies before it.
    fn first(now: Merged) -> Self {
        Self {
            span: Duration::ZERO,
            all: Stretch::default(),
            shards: now.shards.iter().map(|_| Stretch::default()).collect(),
            routes: BTreeMap::new(),
            servers: BTreeMap::new(),
            cpu: Duration::ZERO,
            now,
        }
    }

    /// A count of this beat for each second; zero for the first look.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.span.is_zero() {
            return 0.0;
        }
        count as f64 / self.span.as_secs_f64()
    }
}

fn less(now: [u64; 5], before: [u64; 5]) -> [u64; 5] {
    let mut between = now;
    for (count, old) in between.iter_mut().zip(before) {
        *count = count.saturating_sub(old);
    }
    between
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use crate::metrics::{Collector, Process, Recorder, RuntimeInfo};

    #[test]
    fn a_beat_is_what_came_between() {
        let recorder = Recorder::new(0, &["none".into(), "/health".into()], true);
        let mut collector = Collector::new(1);
        let mut look = |seconds| {
            collector.update(recorder.snapshot());
            let process = Process {
                cpu: Duration::from_secs(seconds),
                ..Process::default()
            };
            collector.merged(process, &RuntimeInfo::default())
        };
        let request = |status, millis| {
            recorder.request_started(1, Method::Get);
            recorder.request_finished(1, Method::Get, status, Duration::from_millis(millis));
        };
        request(200, 1_000);
        let before = look(3);
        request(200, 2);
        request(500, 2);
        let beat = Beat::between(Some(&before), look(4), Duration::from_secs(2));
        assert_eq!(beat.all.statuses, [0, 1, 0, 0, 1]);
        assert_eq!(beat.shards[0].finished(), 2);
        assert_eq!(beat.routes["/health"].finished(), 2);
        let p99 = beat.all.latency.quantile(0.99);
        assert!(p99 < Duration::from_millis(3), "{p99:?}");
        assert_eq!(
            (beat.cpu.as_secs(), beat.per_second(beat.all.finished())),
            (1, 1.0)
        );
        let first = Beat::between(None, before, Duration::ZERO);
        assert_eq!((first.all.finished(), first.per_second(5)), (0, 0.0));
    }
}
