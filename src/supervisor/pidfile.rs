//! The file with the process's number: locked while the process lives, so that two of them never
//! share one, and gone after it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A written and locked file; dropping it removes it.
#[derive(Debug)]
pub(super) struct Pidfile {
    /// Where it is now.
    path: PathBuf,
    /// Where it belongs.
    own: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Pidfile {
    /// Writes this process's number.
    ///
    /// # Errors
    /// The file cannot be written, or another running process holds it.
    pub(super) fn write(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(path).unwrap_or_default();
                let by = format!("process {} runs and holds it", pid.trim());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, by));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self {
            path: path.to_owned(),
            own: path.to_owned(),
            _file: file,
        })
    }
}

impl Pidfile {
    /// Gives the name to another process of this program: this one's file is `NAME.oldbin` from
    /// now on, as nginx has it.
    pub(super) fn move_aside(&mut self) -> io::Result<()> {
        let mut name = self.own.clone().into_os_string();
        name.push(".oldbin");
        let aside = PathBuf::from(name);
        fs::rename(&self.own, &aside)?;
        self.path = aside;
        Ok(())
    }

    /// Takes the name back.
    pub(super) fn move_back(&mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.own)?;
        self.path.clone_from(&self.own);
        Ok(())
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // Before the lock goes: nobody can have written another number meanwhile.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_nothing_left_behind() {
        let path = std::env::temp_dir().join(format!("ringway-pid-{}", std::process::id()));
        fs::write(&path, "a longer stale text than a number\n").unwrap();
        let held = Pidfile::write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        let refused = Pidfile::write(&path).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {} runs", std::process::id())),
            "{refused}"
        );
        assert!(path.exists(), "a refused one leaves the other's file");
        drop(held);
        assert!(!path.exists());
        drop(Pidfile::write(&path).unwrap());
    }
}
