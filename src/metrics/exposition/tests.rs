//! Reads the pages back with the rules that `promtool check metrics` applies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::*;
use crate::http::Method;
use crate::mcp::revision::Era;
use crate::metrics::{Collector, Process, Recorder, RuntimeInfo, ServerLine};

/// A page as a scraper reads it.
#[derive(Debug, Default)]
struct Read {
    types: BTreeMap<String, String>,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Fails on: samples before their family's HELP and TYPE or apart from them, families twice,
/// series twice, bad names, bad escapes, counters without `_total`, values that are no numbers.
fn read(page: &str, format: Format) -> Read {
    let mut read = Read::default();
    let mut family = String::new();
    let mut seen = BTreeSet::new();
    let mut lines = page.lines().peekable();
    assert!(page.ends_with('\n'));
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert_eq!(format, Format::OpenMetrics);
            assert!(lines.next().is_none(), "text after # EOF");
            return read;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (type_name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(type_name, name);
            assert!(is_name(name), "{name}");
            family = name.to_owned();
            let twice = read.types.insert(family.clone(), kind.to_owned());
            assert!(twice.is_none(), "family {name} twice");
            if kind == "counter" {
                assert_eq!(name.ends_with("_total"), format == Format::Text, "{name}");
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        let kind = &read.types[&family];
        let rest = name.strip_prefix(family.as_str());
        let suffix = rest.unwrap_or_else(|| panic!("{name} under {family}"));
        let expected: &[&str] = match (kind.as_str(), format) {
            ("counter", Format::OpenMetrics) => &["_total"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(expected.contains(&suffix), "{line}");
        assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
        read.samples.push((name, labels, value));
    }
    assert_eq!(format, Format::Text, "no # EOF");
    read
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(is_name(label), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',').unwrap();
        }
    }
    let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
    (name.to_owned(), labels, value)
}

fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().unwrap().1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                other => panic!("bad escape {other}"),
            }),
            other => value.push(other),
        }
    }
    panic!("no closing quote")
}

fn page(format: Format) -> String {
    let labels = ["none".into(), "/health".into(), "/mcp/{server}".into()];
    let mut collector = Collector::new(2);
    for shard in 0..2 {
        let recorder = Recorder::new(shard, &labels, true);
        for (micros, status) in [(10, 200), (300, 204), (70_000_000, 503)] {
            recorder.request_started(1, Method::Get);
            recorder.request_finished(1, Method::Get, status, Duration::from_micros(micros));
        }
        recorder.request_started(2, Method::Other);
        let odd = recorder.tool_label("a\"b\\c\nd", "tööl");
        let elapsed = Some(Duration::from_millis(3));
        recorder.mcp_call(odd, Era::Legacy, Outcome::TimedOut, elapsed);
        recorder.count(Counter::TimeoutBody);
        recorder.shift(Gauge::Connections, 2);
        collector.update(recorder.snapshot());
    }
    let runtime = RuntimeInfo {
        driver: "io_uring".into(),
        flags: "SINGLE_ISSUER|DEFER_TASKRUN".into(),
        ..RuntimeInfo::default()
    };
    let process = Process {
        cpu: Duration::from_millis(1500),
        ..Process::default()
    };
    let mut merged = collector.merged(process, &runtime);
    merged.servers.push(ServerLine {
        server: "time".into(),
        is_up: true,
        restarts: 4,
    });
    render(&merged, format)
}

fn find(read: &Read, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let matches = |have: &BTreeMap<String, String>| {
        labels
            .iter()
            .all(|(k, v)| have.get(*k).map(String::as_str) == Some(*v))
    };
    let found = read
        .samples
        .iter()
        .find(|(n, l, _)| n == name && matches(l));
    found.map(|(_, _, value)| *value)
}

#[test]
fn both_formats_are_valid_and_say_the_same() {
    let text = read(&page(Format::Text), Format::Text);
    let open = read(&page(Format::OpenMetrics), Format::OpenMetrics);
    assert_eq!(text.samples, open.samples);
    assert_eq!(text.types.len(), open.types.len());
}

#[test]
fn the_seeds_names_and_labels_are_there() {
    let read = read(&page(Format::Text), Format::Text);
    let ok = [("method", "GET"), ("handler", "/health"), ("status", "2xx")];
    assert_eq!(find(&read, "http_requests_total", &ok), Some(4.0));
    let of = [("method", "GET"), ("handler", "/health")];
    let name = "http_request_duration_seconds";
    assert_eq!(find(&read, &format!("{name}_count"), &of), Some(6.0));
    let bound = |le| [("handler", "/health"), ("le", le)];
    let bucket = format!("{name}_bucket");
    assert_eq!(find(&read, &bucket, &bound("0.000025")), Some(2.0));
    assert_eq!(find(&read, &bucket, &bound("0.0005")), Some(4.0));
    assert_eq!(find(&read, &bucket, &bound("10")), Some(4.0));
    assert_eq!(find(&read, &bucket, &bound("+Inf")), Some(6.0));
    let busy = [("method", "OTHER"), ("handler", "/mcp/{server}")];
    assert_eq!(find(&read, "mcp_requests_inprogress", &busy), Some(2.0));
    assert_eq!(find(&read, "http_requests_inprogress", &busy), Some(2.0));
    let server = [("server", "time")];
    assert_eq!(find(&read, "ringway_mcp_server_up", &server), Some(1.0));
    let restarts = find(&read, "ringway_mcp_server_restarts_total", &server);
    assert_eq!(restarts, Some(4.0));
    let body = [("shard", "1"), ("limit", "client_body")];
    assert_eq!(find(&read, "ringway_timeouts_total", &body), Some(1.0));
    assert_eq!(find(&read, "process_cpu_seconds_total", &[]), Some(1.5));
}

#[test]
fn label_values_survive_escaping() {
    let read = read(&page(Format::Text), Format::Text);
    let odd = [
        ("server", "a\"b\\c\nd"),
        ("tool", "tööl"),
        ("era", "legacy"),
        ("outcome", "timed_out"),
    ];
    assert_eq!(find(&read, "ringway_mcp_calls_total", &odd), Some(2.0));
}

#[test]
fn histogram_buckets_only_grow_and_end_in_the_count() {
    let read = read(&page(Format::Text), Format::Text);
    let mut last: HashMap<(String, Option<String>, Option<String>), f64> = HashMap::new();
    for (name, labels, value) in &read.samples {
        let key = |name: &str| {
            let label = |key: &str| labels.get(key).cloned();
            (name.to_owned(), label("handler"), label("server"))
        };
        if let Some(family) = name.strip_suffix("_bucket") {
            let before = last.insert(key(family), *value).unwrap_or(0.0);
            assert!(*value >= before, "{name} {labels:?}");
        } else if let Some(family) = name.strip_suffix("_count") {
            assert_eq!(last.get(&key(family)), Some(value), "{name}");
        }
    }
    assert!(!last.is_empty());
}

#[test]
fn openmetrics_only_where_it_is_asked_for() {
    let prometheus = b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
    for (accept, format) in [
        (None, Format::Text),
        (Some(&b"*/*"[..]), Format::Text),
        (Some(prometheus), Format::OpenMetrics),
        (
            Some(b"text/plain, application/openmetrics-text;q=0"),
            Format::Text,
        ),
        (Some(b"\xff"), Format::Text),
    ] {
        assert_eq!(Format::negotiate(accept), format, "{accept:?}");
    }
}
