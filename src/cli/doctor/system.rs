//! The machine: kernel, driver, limits, sysctls, cores.

use std::fs;

use super::report::Report;
use crate::base::driver::Driver;
use crate::config::Config;
use crate::net::affinity::Cores;
use crate::net::runtime::Runtime;

/// The project's own recommendations, as `make tune` installs them.
const TUNING: &str = include_str!("../../../tuning/99-ringway.conf");
/// Descriptors besides those of connections: rings, logs, listeners, children, upstreams.
const DESCRIPTORS_MARGIN: u64 = 256;
/// What one ring with 1,024 submissions and 8,192 completions takes; before Linux 5.12 it is
/// charged to the user's locked memory.
const RING_BYTES: u64 = 256 << 10;

pub(super) fn examine(config: &Config, report: &mut Report) {
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.trim();
    let cores = Cores::allowed();
    let shards = config.server.shards.unwrap_or(cores.count).max(1);
    let limits = read("/proc/self/limits");
    driver(config.server.driver, kernel, report);
    sysctl_io_uring(&read("/proc/sys/kernel/io_uring_disabled"), report);
    seccomp(&read("/proc/self/status"), report);
    memlock(&limits, kernel, shards as u64, report);
    let connections = shards as u64 * config.server.max_connections as u64;
    nofile(&limits, connections, report);
    quota(&cores, config.server.shards, report);
    let current = |key: &str| fs::read_to_string(path_of(key)).ok();
    let backlog = u64::from(config.server.backlog);
    sysctls(TUNING, current, backlog, report);
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Builds a runtime as a shard would.
fn driver(forced: Option<Driver>, kernel: &str, report: &mut Report) {
    match Runtime::build(forced) {
        Err(refusal) => report.problem(
            "driver",
            format!("Linux {kernel}: {refusal}"),
            "set server.driver = \"auto\", which takes the best that works",
        ),
        Ok(runtime) => {
            let (driver, why) = (runtime.driver(), runtime.why_not_better());
            let what = format!("Linux {kernel}, {driver}");
            if why.is_empty() || forced.is_some() {
                report.ok("driver", what);
            } else if driver == Driver::Epoll {
                report.note("driver", what, Some(why));
            } else {
                let advice = format!("a newer kernel (6.1 or later) has better flags: {why}");
                report.note("driver", what, Some(advice));
            }
        }
    }
}

fn sysctl_io_uring(text: &str, report: &mut Report) {
    match text.trim() {
        "2" => report.note(
            "io_uring",
            "kernel.io_uring_disabled = 2: nobody may use io_uring".to_owned(),
            Some("sysctl -w kernel.io_uring_disabled=0, and in /etc/sysctl.d".to_owned()),
        ),
        "1" => report.note(
            "io_uring",
            "kernel.io_uring_disabled = 1: only the group kernel.io_uring_group may use io_uring"
                .to_owned(),
            Some("put the service's user into that group, or set it to 0".to_owned()),
        ),
        "0" => report.ok("io_uring", "kernel.io_uring_disabled = 0"),
        // Before Linux 6.6 there is no such switch.
        _ => report.ok("io_uring", "the kernel has no switch for io_uring"),
    }
}

fn seccomp(status: &str, report: &mut Report) {
    let mode = field(status, "Seccomp:");
    if mode == Some("2") {
        report.note(
            "seccomp",
            "a seccomp filter is on".to_owned(),
            Some(
                "if the driver above is epoll, run with tuning/seccomp-io-uring.json: the default \
                 profiles of Docker and containerd refuse io_uring"
                    .to_owned(),
            ),
        );
    } else {
        report.ok("seccomp", "no filter");
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()
}

/// Major and minor number of a kernel release.
fn version(kernel: &str) -> Option<(u32, u32)> {
    let mut parts = kernel.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Soft and hard value of a line of /proc/self/limits; `None` is unlimited.
fn limit(limits: &str, name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = line.split_ascii_whitespace();
    let value = |text: &str| text.parse().ok();
    Some((value(values.next()?), value(values.next()?)))
}

fn memlock(limits: &str, kernel: &str, shards: u64, report: &mut Report) {
    if version(kernel).is_none_or(|version| version >= (5, 12)) {
        return report.ok("memlock", "rings are not charged to it on this kernel");
    }
    let Some((_, hard)) = limit(limits, "Max locked memory") else {
        return;
    };
    let needed = shards * RING_BYTES;
    match hard {
        Some(hard) if hard < needed => report.problem(
            "memlock",
            format!(
                "{} KiB for {shards} rings that take {} KiB",
                hard >> 10,
                needed >> 10
            ),
            format!(
                "LimitMEMLOCK={needed} in the unit, or ulimit -l; before Linux 5.12 rings are \
                 charged to it"
            ),
        ),
        _ => report.ok("memlock", format!("enough for {shards} rings")),
    }
}

fn nofile(limits: &str, connections: u64, report: &mut Report) {
    let Some((soft, hard)) = limit(limits, "Max open files") else {
        return;
    };
    // Each connection is a descriptor; one that is passed on takes a second.
    let needed = connections + DESCRIPTORS_MARGIN;
    match hard {
        Some(hard) if hard < needed => report.problem(
            "nofile",
            format!("at most {hard} descriptors, and {connections} connections are allowed"),
            format!(
                "LimitNOFILE={} in the unit, ulimit -n, or a lower server.max_connections",
                needed * 2
            ),
        ),
        hard => {
            let top = hard.map_or("no limit".to_owned(), |hard| hard.to_string());
            let soft = soft.map_or("no limit".to_owned(), |soft| soft.to_string());
            report.ok(
                "nofile",
                format!("{soft}, raised to {top} at the start; {connections} connections allowed"),
            );
        }
    }
}

fn quota(cores: &Cores, asked: Option<usize>, report: &mut Report) {
    let (allowed, fed) = (cores.ids.len(), cores.count);
    let shards = asked.unwrap_or(fed);
    let what = format!("{shards} shards; {allowed} cores allowed, the quota feeds {fed}");
    if shards > fed {
        let advice = format!(
            "server.shards = \"auto\" (that is {fed}), or a larger CPU quota: throttled shards \
             make the slowest requests"
        );
        report.problem("cores", what, advice);
    } else {
        report.ok("cores", what);
    }
}

fn path_of(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}

/// Compares with the recommendations. Keys that the kernel does not have are left out.
fn sysctls(
    wanted: &str,
    current: impl Fn(&str) -> Option<String>,
    backlog: u64,
    report: &mut Report,
) {
    let somaxconn = current("net.core.somaxconn").and_then(|text| text.trim().parse().ok());
    if let Some(most) = somaxconn.filter(|most: &u64| *most < backlog) {
        report.problem(
            "sysctl",
            format!("net.core.somaxconn = {most} cuts server.backlog = {backlog} down"),
            format!("sysctl -w net.core.somaxconn={backlog}, or `make tune`"),
        );
    }
    let words = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let mut differing = Vec::new();
    let lines = wanted.lines().map(str::trim);
    let pairs = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((key.trim().trim_start_matches('-'), words(value)))
        });
    let mut count = 0;
    for (key, value) in pairs {
        let Some(now) = current(key).map(|text| words(&text)) else {
            continue;
        };
        count += 1;
        if is_less(&now, &value) {
            differing.push(format!("{key} = {now} ({value})"));
        }
    }
    if differing.is_empty() {
        return report.ok(
            "sysctl",
            format!("{count} keys as tuning/ recommends, or above"),
        );
    }
    report.note(
        "sysctl",
        format!(
            "{} of {count} keys are not as tuning/ recommends: {}",
            differing.len(),
            differing.join(", ")
        ),
        Some("`make tune` shows the difference and applies it; each line says what for".to_owned()),
    );
}

/// Whether a value differs from the wanted one and is not simply a larger single number.
fn is_less(now: &str, wanted: &str) -> bool {
    match (now.parse::<u64>(), wanted.parse::<u64>()) {
        // Small numbers are switches and times, where more is not better.
        (Ok(now), Ok(wanted)) if wanted >= 1024 => now < wanted,
        _ => now != wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Level, Report};
    use super::*;

    fn only(examine: impl FnOnce(&mut Report)) -> (Level, String, String) {
        let mut report = Report::default();
        examine(&mut report);
        let found = report.findings();
        assert_eq!(found.len(), 1, "{found:?}");
        let advice = found[0].advice.clone().unwrap_or_default();
        (found[0].level, found[0].what.clone(), advice)
    }

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
        Max open files            1024                 4096                 files\n\
        Max locked memory         65536                65536                bytes\n";

    #[test]
    fn descriptors_and_locked_memory() {
        let (level, what, advice) = only(|report| nofile(LIMITS, 8192, report));
        assert_eq!(level, Level::Problem);
        assert!(
            what.contains("at most 4096") && advice.contains("LimitNOFILE="),
            "{what}"
        );
        assert_eq!(only(|report| nofile(LIMITS, 1000, report)).0, Level::Ok);
        let old = only(|report| memlock(LIMITS, "5.10.0-32-cloud-amd64", 2, report));
        assert_eq!(
            (old.0, old.2.contains("LimitMEMLOCK=524288")),
            (Level::Problem, true)
        );
        assert_eq!(
            only(|report| memlock(LIMITS, "6.1.0", 2, report)).0,
            Level::Ok
        );
    }

    #[test]
    fn switches_of_io_uring() {
        for (text, expected) in [
            ("0\n", Level::Ok),
            ("", Level::Ok),
            ("1\n", Level::Note),
            ("2\n", Level::Note),
        ] {
            assert_eq!(only(|report| sysctl_io_uring(text, report)).0, expected);
        }
        let filtered = only(|report| seccomp("Name:\tx\nSeccomp:\t2\n", report));
        assert!(filtered.2.contains("seccomp-io-uring.json"));
        assert_eq!(only(|report| seccomp("Seccomp:\t0\n", report)).0, Level::Ok);
    }

    #[test]
    fn shards_beyond_the_quota() {
        let cores = Cores {
            ids: vec![0, 1, 2, 3],
            count: 2,
        };
        let (level, what, advice) = only(|report| quota(&cores, Some(4), report));
        assert_eq!(level, Level::Problem);
        assert!(
            what.contains("feeds 2") && advice.contains("auto"),
            "{what} {advice}"
        );
        assert_eq!(only(|report| quota(&cores, None, report)).0, Level::Ok);
    }

    #[test]
    fn sysctls_are_compared_with_the_recommendations() {
        let current = |key: &str| match key {
            "net.core.somaxconn" => Some("128\n".to_owned()),
            "net.ipv4.ip_local_port_range" => Some("10240\t65535\n".to_owned()),
            _ => None,
        };
        let mut report = Report::default();
        sysctls(TUNING, current, 2048, &mut report);
        let found = report.findings();
        assert_eq!((found[0].level, found.len()), (Level::Problem, 2));
        assert!(found[1].what.contains("1 of 2 keys"), "{}", found[1].what);
        let mut report = Report::default();
        let wanted = "a.b = 4096\n# c = 1\nd.e = 1\n";
        let both = |key: &str| Some(if key == "a.b" { "8192" } else { "1" }.to_owned());
        sysctls(wanted, both, 0, &mut report);
        assert_eq!(report.findings()[0].level, Level::Ok);
    }
}
