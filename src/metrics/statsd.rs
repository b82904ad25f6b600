//! StatsD lines and datagrams. Gunicorn's names where it has them (gunicorn/instrument/statsd.py),
//! `ringway.…` for the rest. Format only: whoever pushes has the socket.

use crate::metrics::{Counter, Gauge, Latency, Merged, Outcome, STATUS_CLASSES};

/// Durations sent for each push; each says with its sample rate for how many requests it stands.
/// One for each request, as Gunicorn sends, would be a packet storm.
const DURATIONS_MAX: usize = 20;
/// MCP servers with counters of their own.
const SERVERS_MAX: usize = 200;
/// Longest name that anybody gave.
const NAME_BYTES_MAX: usize = 80;

/// Log lines written so far, by what Gunicorn counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLines {
    /// `gunicorn.log.error`
    pub errors: u64,
    /// `gunicorn.log.warning`
    pub warnings: u64,
}

/// Figures of one moment.
#[derive(Debug)]
pub struct Look<'a> {
    /// All shards.
    pub merged: &'a Merged,
    /// The log.
    pub log: LogLines,
}

/// The lines of a push, without the prefix: how counters have grown since `before`, if there was
/// a push before, and how gauges stand.
#[must_use]
pub fn lines(before: Option<&Look<'_>>, now: &Look<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    gauges(now.merged, &mut lines);
    if let Some(before) = before {
        requests(before.merged, now.merged, &mut lines);
        let log = |read: fn(&LogLines) -> u64| read(&now.log).saturating_sub(read(&before.log));
        count("gunicorn.log.error", log(|log| log.errors), &mut lines);
        count("gunicorn.log.warning", log(|log| log.warnings), &mut lines);
        counters(before.merged, now.merged, &mut lines);
        calls(before.merged, now.merged, &mut lines);
    }
    lines
}

fn requests(before: &Merged, now: &Merged, lines: &mut Vec<String>) {
    let (then, now) = (Sum::of(before), Sum::of(now));
    let mut all = 0;
    for ((class, count_now), count_then) in
        STATUS_CLASSES.iter().zip(now.statuses).zip(then.statuses)
    {
        let grown = count_now.saturating_sub(count_then);
        all += grown;
        count(&format!("gunicorn.request.status.{class}"), grown, lines);
    }
    count("gunicorn.requests", all, lines);
    let latency = now.latency.since(&then.latency);
    let sample = latency.sample(DURATIONS_MAX);
    let rate = sample.len() as f64 / latency.count().max(1) as f64;
    for duration in sample {
        let millis = duration.as_secs_f64() * 1e3;
        lines.push(if rate < 1.0 {
            format!("gunicorn.request.duration:{millis:.3}|ms|@{rate:.6}")
        } else {
            format!("gunicorn.request.duration:{millis:.3}|ms")
        });
    }
}

/// All requests that are counted.
#[derive(Default)]
struct Sum {
    statuses: [u64; STATUS_CLASSES.len()],
    latency: Latency,
}

impl Sum {
    fn of(merged: &Merged) -> Self {
        let mut sum = Self::default();
        for line in &merged.shards {
            for (all, count) in sum.statuses.iter_mut().zip(line.http.statuses) {
                *all += count;
            }
            sum.latency.merge(&line.http.latency);
        }
        sum
    }
}

fn gauges(now: &Merged, lines: &mut Vec<String>) {
    let up = now.shards.iter().filter(|line| line.is_up).count();
    gauge("gunicorn.workers", up as u64, lines);
    for one in Gauge::ALL {
        let values = now
            .shards
            .iter()
            .filter_map(|line| line.gauges.get(one as usize));
        let sum: i64 = values.sum();
        // A gauge below zero would be read as a step down.
        gauge(
            &ours(one.family().name),
            u64::try_from(sum).unwrap_or(0),
            lines,
        );
    }
    let process = &now.process;
    gauge(
        "ringway.process.resident_bytes",
        process.resident_bytes,
        lines,
    );
    gauge("ringway.process.open_fds", process.open_fds, lines);
}

fn counters(before: &Merged, now: &Merged, lines: &mut Vec<String>) {
    let sum = |merged: &Merged, counter: Counter| -> u64 {
        let values = merged.shards.iter();
        values
            .filter_map(|line| line.counters.get(counter as usize))
            .sum()
    };
    for counter in Counter::ALL {
        let grown = sum(now, counter).saturating_sub(sum(before, counter));
        let mut name = ours(counter.family().name);
        if let Some((_, label)) = counter.label() {
            name.push('.');
            name.push_str(label);
        }
        count(&name, grown, lines);
    }
}

fn calls(before: &Merged, now: &Merged, lines: &mut Vec<String>) {
    let mut servers: Vec<(&str, [u64; Outcome::ALL.len()])> = Vec::new();
    for (key, count) in &now.totals.calls {
        let grown = count.saturating_sub(before.totals.calls.get(key).copied().unwrap_or(0));
        // Rows come by server, so the one looked for is the last.
        if servers.last().is_none_or(|(name, _)| **name != *key.0) {
            if servers.len() >= SERVERS_MAX {
                break;
            }
            servers.push((&key.0, [0; Outcome::ALL.len()]));
        }
        let row = servers.last_mut().and_then(|(_, row)| row.get_mut(key.3));
        if let Some(sum) = row {
            *sum += grown;
        }
    }
    for (server, outcomes) in servers {
        for (outcome, grown) in Outcome::ALL.into_iter().zip(outcomes) {
            let name = format!("ringway.mcp.calls.{}.{}", safe(server), outcome.as_str());
            count(&name, grown, lines);
        }
    }
}

fn count(name: &str, grown: u64, lines: &mut Vec<String>) {
    if grown > 0 {
        lines.push(format!("{name}:{grown}|c"));
    }
}

fn gauge(name: &str, value: u64, lines: &mut Vec<String>) {
    lines.push(format!("{name}:{value}|g"));
}

/// `ringway_sent_bytes` is `ringway.sent_bytes`.
fn ours(family: &str) -> String {
    family.replacen('_', ".", 1)
}

/// A name that somebody gave, as one part of a StatsD name.
fn safe(name: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let parts = name.chars().take(NAME_BYTES_MAX);
    parts.map(|c| if is_safe(c) { c } else { '_' }).collect()
}

/// Puts lines into datagrams of at most that many bytes. A line that fits none is left out.
#[must_use]
pub fn pack(prefix: &str, lines: &[String], bytes_max: usize) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        let len = prefix.len() + line.len();
        if len > bytes_max {
            continue;
        }
        match packets.last_mut() {
            Some(packet) if packet.len() + 1 + len <= bytes_max => packet.push(b'\n'),
            _ => packets.push(Vec::with_capacity(bytes_max)),
        }
        if let Some(packet) = packets.last_mut() {
            packet.extend_from_slice(prefix.as_bytes());
            packet.extend_from_slice(line.as_bytes());
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::Method;
    use crate::mcp::revision::Era;
    use crate::metrics::{Collector, Process, Recorder, RuntimeInfo};

    fn merged(recorder: &Recorder) -> Merged {
        let mut collector = Collector::new(1);
        collector.update(recorder.snapshot());
        collector.merged(Process::default(), &RuntimeInfo::default())
    }

    fn requests(recorder: &Recorder, count: u64, status: u16) {
        for _ in 0..count {
            recorder.request_started(0, Method::Get);
            recorder.request_finished(0, Method::Get, status, Duration::from_micros(1_500));
        }
    }

    #[test]
    fn a_push_says_what_grew_and_how_things_stand() {
        let recorder = Recorder::new(0, &["/health".into()], true);
        requests(&recorder, 5, 200);
        let log = LogLines::default();
        let before = merged(&recorder);
        let before = Look {
            merged: &before,
            log,
        };
        let first = lines(None, &before);
        assert!(first.contains(&"gunicorn.workers:1|g".to_owned()));
        assert!(first.iter().all(|line| line.ends_with("|g")), "{first:?}");

        requests(&recorder, 37, 200);
        requests(&recorder, 3, 503);
        recorder.add(Counter::RateLimitRefused, 2);
        recorder.shift(Gauge::Connections, 4);
        let tool = recorder.tool_label("my server.v2", "now");
        recorder.mcp_call(tool, Era::Modern, Outcome::ToolError, None);
        let now = merged(&recorder);
        let log = LogLines {
            errors: 1,
            warnings: 0,
        };
        let pushed = lines(Some(&before), &Look { merged: &now, log });
        for expected in [
            "gunicorn.requests:40|c",
            "gunicorn.request.status.2xx:37|c",
            "gunicorn.request.status.5xx:3|c",
            "gunicorn.log.error:1|c",
            "ringway.connections:4|g",
            "ringway.rate_limit_decisions.refused:2|c",
            "ringway.mcp.calls.my_server_v2.tool_error:1|c",
        ] {
            assert!(
                pushed.iter().any(|line| line == expected),
                "{expected}: {pushed:?}"
            );
        }
        assert!(
            !pushed.iter().any(|line| line.contains("warning")),
            "it did not grow"
        );
        let durations: Vec<_> = pushed
            .iter()
            .filter(|line| line.starts_with("gunicorn.request.duration:"))
            .collect();
        assert_eq!(durations.len(), DURATIONS_MAX);
        assert!(durations[0].starts_with("gunicorn.request.duration:1.5"));
        assert!(durations[0].ends_with("|ms|@0.500000"), "{}", durations[0]);
    }

    #[test]
    fn datagrams_stay_within_their_size() {
        let lines: Vec<String> = (0..100).map(|n| format!("name{n}:1|c")).collect();
        let packets = pack("a.b.", &lines, 100);
        assert!(packets.len() > 10 && packets.iter().all(|packet| packet.len() <= 100));
        let all = packets.join(&b'\n');
        let all = String::from_utf8(all).unwrap();
        assert_eq!(all.lines().count(), 100);
        assert!(all.lines().all(|line| line.starts_with("a.b.name")));
        assert!(pack("p.", &["x".repeat(99)], 100).is_empty());
    }
}
