//! Watches the files of the configuration. They are looked at by name: editors put another file
//! in a file's place, and mounted directories (Kubernetes) another directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::base::channel::Sender;
use crate::net::sleep;

/// Pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What tells a file from the one that was there before.
type Stamp = Option<(u64, u64, Option<SystemTime>)>;

/// Looks at the files for ever and says when they have changed. `files` tells which. A change
/// counts when two looks have seen the same: an editor may still be writing.
pub(super) async fn watch(files: impl Fn() -> Vec<PathBuf>, changed: Sender<()>) {
    let look = || -> Vec<Stamp> { files().iter().map(|file| stamp(file)).collect() };
    let mut known = look();
    let mut before = known.clone();
    loop {
        sleep(LOOK_INTERVAL).await;
        let now = look();
        if now != known && now == before {
            known.clone_from(&now);
            // One that waits already is enough.
            let _ = changed.try_send(());
        }
        before = now;
    }
}

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::metadata(file).ok()?;
    Some((about.ino(), about.size(), about.modified().ok()))
}
