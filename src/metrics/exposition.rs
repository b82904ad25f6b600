//! Prometheus text format 0.0.4 and OpenMetrics 1.0 from merged figures.

use core::fmt::{Display, Write};

use crate::base::version;
use crate::metrics::collector::ShardLine;
use crate::metrics::latency::BUCKETS_MICROS;
use crate::metrics::{
    Counter, Family, Gauge, Kind, Latency, Merged, Outcome, STATUS_CLASSES, UpstreamRow, families,
};

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text exposition 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format an `Accept` field asks for. Prometheus lists OpenMetrics first where it wants
    /// it; anything else gets the text format that every scraper reads.
    #[must_use]
    pub fn negotiate(accept: Option<&[u8]>) -> Self {
        let accept = accept.and_then(|value| core::str::from_utf8(value).ok());
        let wanted = accept.unwrap_or("").split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_media = parts
                .next()
                .is_some_and(|media| media.eq_ignore_ascii_case("application/openmetrics-text"));
            is_media && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        });
        if wanted {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The media type of the answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Prints everything.
#[must_use]
pub fn render(merged: &Merged, format: Format) -> String {
    let mut page = Page {
        out: String::with_capacity(16 * 1024),
        format,
    };
    info(&mut page, merged);
    http(&mut page, merged);
    mcp(&mut page, merged);
    upstreams(&mut page, merged);
    shards(&mut page, &merged.shards);
    life(&mut page, merged);
    process(&mut page, merged);
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

fn info(page: &mut Page, merged: &Merged) {
    page.head(families::BUILD_INFO);
    let labels = [("version", version::VERSION), ("git", version::GIT)];
    page.sample(families::BUILD_INFO, &labels, 1);
    let runtime = &merged.runtime;
    page.head(families::RUNTIME_INFO);
    let labels = [
        ("driver", runtime.driver.as_str()),
        ("flags", &runtime.flags),
        ("kernel", &runtime.kernel),
    ];
    page.sample(families::RUNTIME_INFO, &labels, 1);
}

fn life(page: &mut Page, merged: &Merged) {
    let life = &merged.life;
    page.head(families::CONFIG_GENERATION);
    page.sample(families::CONFIG_GENERATION, &[], life.generation);
    page.head(families::CONFIG_RELOADS);
    for (result, count) in [("success", life.reloads), ("failure", life.reloads_failed)] {
        page.sample(families::CONFIG_RELOADS, &[("result", result)], count);
    }
    page.head(families::CONFIG_LAST_RELOAD);
    let last = life.last_reload.as_secs();
    page.sample(families::CONFIG_LAST_RELOAD, &[], last);
    page.head(families::CONFIG_LAST_RELOAD_OK);
    let is_good = u8::from(!life.has_reload_failed);
    page.sample(families::CONFIG_LAST_RELOAD_OK, &[], is_good);
}

fn http(page: &mut Page, merged: &Merged) {
    let rows = || merged.totals.http.values();
    page.head(families::HTTP_REQUESTS);
    for row in rows() {
        let used = STATUS_CLASSES.iter().zip(row.statuses);
        for (class, count) in used.filter(|&(_, count)| count > 0) {
            let method = row.method.as_str();
            let labels = [
                ("method", method),
                ("handler", &row.handler),
                ("status", class),
            ];
            page.sample(families::HTTP_REQUESTS, &labels, count);
        }
    }
    page.head(families::HTTP_DURATION);
    for row in rows().filter(|row| row.latency.count() > 0) {
        let labels = [("method", row.method.as_str()), ("handler", &row.handler)];
        page.histogram(families::HTTP_DURATION, &labels, &row.latency);
    }
    for family in [families::HTTP_INPROGRESS, families::MCP_INPROGRESS] {
        page.head(family);
        for row in rows() {
            let labels = [("method", row.method.as_str()), ("handler", &row.handler)];
            page.sample(family, &labels, row.under_way);
        }
    }
}

fn mcp(page: &mut Page, merged: &Merged) {
    page.head(families::MCP_CALLS);
    for ((server, tool, era, outcome), count) in &merged.totals.calls {
        let outcome = Outcome::ALL.get(*outcome).map_or("", |o| o.as_str());
        let era = if *era == 0 { "legacy" } else { "modern" };
        let labels = [
            ("server", &**server),
            ("tool", tool),
            ("era", era),
            ("outcome", outcome),
        ];
        page.sample(families::MCP_CALLS, &labels, count);
    }
    let servers = merged.totals.servers.values();
    page.head(families::UPSTREAM_DURATION);
    for row in servers.filter(|row| row.latency.count() > 0) {
        let labels = [("server", &*row.server)];
        page.histogram(families::UPSTREAM_DURATION, &labels, &row.latency);
    }
    page.head(families::SERVER_UP);
    for line in &merged.servers {
        let labels = [("server", &*line.server)];
        page.sample(families::SERVER_UP, &labels, u8::from(line.is_up));
    }
    page.head(families::SERVER_RESTARTS);
    for line in &merged.servers {
        let labels = [("server", &*line.server)];
        page.sample(families::SERVER_RESTARTS, &labels, line.restarts);
    }
}

fn upstreams(page: &mut Page, merged: &Merged) {
    let rows = || merged.totals.upstreams.values();
    if rows().next().is_none() {
        return;
    }
    type Value = fn(&UpstreamRow) -> i64;
    let families: [(Family, Value); 6] = [
        (families::UPSTREAM_REQUESTS, |row| count(row.requests)),
        (families::UPSTREAM_RETRIES, |row| count(row.retries)),
        (families::UPSTREAM_CONNECTS, |row| count(row.connects)),
        (families::UPSTREAM_INPROGRESS, |row| row.under_way),
        (families::UPSTREAM_IDLE, |row| row.idle),
        (families::UPSTREAM_AVAILABLE, |row| row.available),
    ];
    for (family, value) in families {
        page.head(family);
        for row in rows() {
            let labels = [("upstream", &*row.upstream), ("server", &*row.server)];
            page.sample(family, &labels, value(row));
        }
    }
    page.head(families::UPSTREAM_FAILURES);
    for row in rows() {
        for (reason, count) in row.failures.iter().filter(|(_, count)| *count > 0) {
            let labels = [
                ("upstream", &*row.upstream),
                ("server", &*row.server),
                ("reason", *reason),
            ];
            page.sample(families::UPSTREAM_FAILURES, &labels, count);
        }
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn shards(page: &mut Page, lines: &[ShardLine]) {
    let names: Vec<String> = lines.iter().map(|line| line.shard.to_string()).collect();
    let named = || names.iter().map(String::as_str).zip(lines);
    page.head(families::SHARD_UP);
    for (shard, line) in named() {
        page.sample(
            families::SHARD_UP,
            &[("shard", shard)],
            u8::from(line.is_up),
        );
    }
    page.head(families::SHARD_RESTARTS);
    for (shard, line) in named() {
        page.sample(families::SHARD_RESTARTS, &[("shard", shard)], line.restarts);
    }
    let mut last = "";
    for counter in Counter::ALL {
        let family = counter.family();
        if family.name != last {
            page.head(family);
            last = family.name;
        }
        for (shard, line) in named() {
            let value = line.counters.get(counter as usize).copied().unwrap_or(0);
            match counter.label() {
                Some(label) => page.sample(family, &[("shard", shard), label], value),
                None => page.sample(family, &[("shard", shard)], value),
            }
        }
    }
    for gauge in Gauge::ALL {
        page.head(gauge.family());
        for (shard, line) in named() {
            let value = line.gauges.get(gauge as usize).copied().unwrap_or(0);
            page.sample(gauge.family(), &[("shard", shard)], value);
        }
    }
}

fn process(page: &mut Page, merged: &Merged) {
    let process = &merged.process;
    for (family, value) in [
        (families::PROCESS_CPU, process.cpu.as_secs_f64()),
        (families::PROCESS_START, process.started.as_secs_f64()),
    ] {
        page.head(family);
        page.sample(family, &[], value);
    }
    for (family, value) in [
        (families::PROCESS_RESIDENT, process.resident_bytes),
        (families::PROCESS_VIRTUAL, process.virtual_bytes),
        (families::PROCESS_OPEN_FDS, process.open_fds),
        (families::PROCESS_MAX_FDS, process.max_fds),
        (families::PROCESS_THREADS, process.threads),
    ] {
        page.head(family);
        page.sample(family, &[], value);
    }
}

type Labels<'a> = [(&'a str, &'a str)];

struct Page {
    out: String,
    format: Format,
}

impl Page {
    fn head(&mut self, family: Family) {
        let (kind, suffix) = match (family.kind, self.format) {
            (Kind::Counter, Format::Text) => ("counter", "_total"),
            (Kind::Counter, Format::OpenMetrics) => ("counter", ""),
            (Kind::Gauge, _) => ("gauge", ""),
            (Kind::Histogram, _) => ("histogram", ""),
        };
        let Family { name, help, .. } = family;
        self.line(format_args!(
            "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
        ));
    }

    fn sample(&mut self, family: Family, labels: &Labels<'_>, value: impl Display) {
        let suffix = match family.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.value(family.name, suffix, labels, value);
    }

    fn histogram(&mut self, family: Family, labels: &Labels<'_>, latency: &Latency) {
        for (bound, count) in BUCKETS_MICROS.iter().zip(latency.buckets()) {
            let bound = (*bound as f64 / 1e6).to_string();
            let with_bound = [labels, &[("le", bound.as_str())]].concat();
            self.value(family.name, "_bucket", &with_bound, count);
        }
        let all = [labels, &[("le", "+Inf")]].concat();
        self.value(family.name, "_bucket", &all, latency.count());
        self.value(family.name, "_sum", labels, latency.sum().as_secs_f64());
        self.value(family.name, "_count", labels, latency.count());
    }

    fn value(&mut self, name: &str, suffix: &str, labels: &Labels<'_>, value: impl Display) {
        self.out.push_str(name);
        self.out.push_str(suffix);
        let mut separator = '{';
        for (label, text) in labels {
            self.out.push(separator);
            self.line(format_args!("{label}=\""));
            self.escaped(text);
            self.out.push('"');
            separator = ',';
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                other => self.out.push(other),
            }
        }
    }

    fn line(&mut self, text: core::fmt::Arguments<'_>) {
        // Writing into a String does not fail.
        self.out.write_fmt(text).unwrap_or(());
    }
}

#[cfg(test)]
mod tests;
