//! The process's own figures from `/proc/self`, read when somebody asks for metrics.

use std::fs;
use std::time::Duration;

use crate::metrics::Process;

/// Reads them. What the kernel does not tell stays zero.
#[must_use]
pub fn read_process() -> Process {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let mut process = from_stat(&text("/proc/self/stat"));
    process.resident_bytes = from_status(&text("/proc/self/status"));
    process.open_fds = open_fds();
    process.max_fds = from_limits(&text("/proc/self/limits"));
    // Start is told in ticks after boot; the time of boot comes in whole seconds.
    process.started += Duration::from_secs(from_boot(&text("/proc/stat")));
    process
}

/// `USER_HZ` is 100 on every machine this program is built for.
const TICK: Duration = Duration::from_millis(10);

/// proc_pid_stat(5): the name in parentheses may hold blanks and parentheses itself.
fn from_stat(stat: &str) -> Process {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<u64> = after_name
        .split_ascii_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // Field numbers of the manual page start at 1 and `after_name` at field 3.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks = |count: u64| TICK * u32::try_from(count).unwrap_or(u32::MAX);
    Process {
        cpu: ticks(field(14)) + ticks(field(15)),
        threads: field(20),
        started: ticks(field(22)),
        virtual_bytes: field(23),
        ..Process::default()
    }
}

/// proc_pid_status(5), in KiB: `stat` counts in pages, whose size differs between kernels.
fn from_status(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn from_limits(limits: &str) -> u64 {
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().nth(3));
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(0)
}

fn from_boot(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok())
        .unwrap_or(0)
}

/// Linux 6.2 and later tell the number as the folder's size; before, the entries are counted.
fn open_fds() -> u64 {
    let size = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    if size > 0 {
        return size;
    }
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_after_the_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 4 18 1000 8192 3 21";
        let process = from_stat(stat);
        assert_eq!(process.cpu, Duration::from_secs(2));
        assert_eq!(process.threads, 4);
        assert_eq!(process.started, Duration::from_secs(10));
        assert_eq!(process.virtual_bytes, 8192);
    }

    #[test]
    fn this_process_has_plausible_figures() {
        let process = read_process();
        assert!(process.resident_bytes > 1 << 20 && process.resident_bytes < 1 << 40);
        assert!(process.virtual_bytes > process.resident_bytes);
        assert!(process.open_fds >= 3 && process.open_fds < 1 << 20);
        assert!(process.threads >= 1);
        assert!(process.started > Duration::from_secs(1_600_000_000));
        assert!(process.max_fds >= process.open_fds);
    }

    #[test]
    fn limits_and_boot() {
        assert_eq!(from_status("VmSize:  9 kB\nVmRSS:\t    12 kB\n"), 12 * 1024);
        let limits = "Limit  Soft  Hard  Units\nMax open files            1024   4096   files\n";
        assert_eq!(from_limits(limits), 1024);
        assert_eq!(from_boot("cpu 1 2\nbtime 1700000000\nx"), 1_700_000_000);
    }
}
