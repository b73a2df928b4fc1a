//! The lock on a data directory of a log on a cluster: one process at a time keeps its checkpoints there.

use crate::log::embedded::try_lock;
use crate::time::pause;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// The lock on a data directory, held until it is dropped or the process ends. An embedded log that is open in the
/// directory holds the same lock.
#[derive(Debug)]
pub struct Hold {
    _lock: File,
}

impl Hold {
    /// Locks the directory until this is dropped or the process ends; `None` while another process has it.
    ///
    /// # Errors
    /// When the directory does not exist or may not be opened.
    pub fn take(dir: &Path) -> io::Result<Option<Hold>> {
        let lock = File::open(dir)?;
        match try_lock(&lock, true, &mut pause) {
            // On a file system that cannot lock directories, the directory counts as free.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(Hold { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
        }
    }

    /// Whether no process has the directory. On a file system that cannot lock directories nobody knows, and the answer is no.
    pub fn is_free(dir: &Path) -> bool {
        File::open(dir).is_ok_and(|lock| lock.try_lock_shared().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::Hold;

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Hold::is_free(dir.path()));
        let held = Hold::take(dir.path()).unwrap();
        assert!(held.is_some() && Hold::take(dir.path()).unwrap().is_none() && !Hold::is_free(dir.path()));
        drop(held);
        assert!(Hold::take(dir.path()).unwrap().is_some());
        assert!(Hold::take(&dir.path().join("none")).is_err());
    }
}
