//! Which cores the program may use: the affinity mask, narrowed by the cgroup's CPU quota.

use std::fs;
use std::path::{Path, PathBuf};

use core_affinity::CoreId;

/// The cores this process may run on, and how many of them are worth a shard each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Ids of the allowed cores, ascending.
    pub ids: Vec<usize>,
    /// Shards that the CPU quota feeds: at least one, at most the number of ids.
    pub count: usize,
}

impl Cores {
    /// Reads the affinity mask (sched_getaffinity) and the quota of the cgroup and those above.
    #[must_use]
    pub fn allowed() -> Self {
        let mut ids: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect();
        ids.sort_unstable();
        if ids.is_empty() {
            ids.push(0);
        }
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let quota = quota(&membership, Path::new("/sys/fs/cgroup"));
        let count = quota.map_or(ids.len(), |cores| whole_cores(cores, ids.len()));
        Self { ids, count }
    }
}

/// Pins this thread to one core. `false` if the system refuses.
#[must_use]
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}

/// A quota of 1.5 cores is worth two shards: one would leave a third of it unused.
fn whole_cores(quota: f64, available: usize) -> usize {
    (quota.ceil() as usize).clamp(1, available.max(1))
}

/// The tightest CPU quota in cores over the cgroup and its ancestors; `None` if unlimited.
fn quota(membership: &str, root: &Path) -> Option<f64> {
    membership
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            if controllers.is_empty() {
                tightest(root, path, quota_v2)
            } else if controllers.split(',').any(|name| name == "cpu") {
                tightest(&root.join("cpu"), path, quota_v1)
                    .or_else(|| tightest(&root.join("cpu,cpuacct"), path, quota_v1))
            } else {
                None
            }
        })
        .reduce(f64::min)
}

/// The tightest quota from a cgroup up to the root of its hierarchy. Inside a container the
/// path may not exist under the mount; its own root then holds the files.
fn tightest(root: &Path, path: &str, read: fn(&Path) -> Option<f64>) -> Option<f64> {
    let mut folder: PathBuf = root.join(path.trim_start_matches('/'));
    let mut found: Option<f64> = None;
    loop {
        if let Some(cores) = read(&folder) {
            found = Some(found.map_or(cores, |least| least.min(cores)));
        }
        if folder == root || !folder.pop() || !folder.starts_with(root) {
            return found;
        }
    }
}

fn quota_v2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

fn quota_v1(folder: &Path) -> Option<f64> {
    let quota = fs::read_to_string(folder.join("cpu.cfs_quota_us")).ok()?;
    let period = fs::read_to_string(folder.join("cpu.cfs_period_us")).ok()?;
    ratio(quota.trim(), period.trim())
}

/// `max` (v2) and `-1` (v1) mean unlimited.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own under the target directory, gone when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringway-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_tightest_quota_on_the_way_up_counts() {
        let root = Folder::new("cgroup2");
        root.write("a/cpu.max", "150000 100000\n");
        root.write("a/b/cpu.max", "max 100000\n");
        assert_eq!(quota("0::/a/b\n", &root.0), Some(1.5));
        assert_eq!(quota("0::/elsewhere\n", &root.0), None);
    }

    #[test]
    fn version_one_files_are_read_too() {
        let root = Folder::new("cgroup1");
        root.write("cpu/docker/cpu.cfs_quota_us", "50000\n");
        root.write("cpu/docker/cpu.cfs_period_us", "100000\n");
        root.write("cpu/cpu.cfs_quota_us", "-1\n");
        root.write("cpu/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota("4:cpu,cpuacct:/docker\n", &root.0), Some(0.5));
    }

    #[test]
    fn a_quota_is_rounded_up_within_the_mask() {
        for (quota, available, expected) in [(0.5, 4, 1), (1.5, 4, 2), (8.0, 4, 4)] {
            assert_eq!(whole_cores(quota, available), expected);
        }
    }

    #[test]
    fn this_process_may_run_somewhere() {
        let cores = Cores::allowed();
        assert!(cores.count >= 1 && cores.count <= cores.ids.len());
    }
}
