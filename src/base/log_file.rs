//! Files that logs are appended to.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Opens a file for appending and makes it where there is none. A named pipe opens at once,
/// also where nobody reads it.
///
/// # Errors
/// The system's: no folder, no permission.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    // With a reader of its own, a pipe neither waits for one nor breaks when one leaves.
    if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        options.read(true);
    }
    options.open(path)
}
