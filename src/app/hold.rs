//! A data directory beside a log that is on a cluster: one process at a time keeps its checkpoints there.

use crate::time::pause;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// How often, and how far apart, a directory is asked for that is held: a process that is being started holds for a
/// moment what its parent does.
const TRIES: u32 = 10;
const TRY_EVERY: Duration = Duration::from_millis(10);

/// The right to a data directory, held until it is dropped or the process ends. An embedded log that is open in the
/// directory holds it as well.
#[derive(Debug)]
pub struct Hold {
    _lock: File,
}

impl Hold {
    /// The directory, until this is dropped or the process ends; `None` while another process has it.
    ///
    /// # Errors
    /// When there is no such directory, or it may not be opened.
    pub fn take(dir: &Path) -> io::Result<Option<Hold>> {
        let lock = File::open(dir)?;
        for _ in 0..TRIES {
            match lock.try_lock() {
                // A file system that cannot lock directories is taken at its word.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Some(Hold { _lock: lock })),
                Err(TryLockError::WouldBlock) => pause(TRY_EVERY),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::Hold;

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = Hold::take(dir.path()).unwrap();
        assert!(held.is_some() && Hold::take(dir.path()).unwrap().is_none());
        drop(held);
        assert!(Hold::take(dir.path()).unwrap().is_some());
        assert!(Hold::take(&dir.path().join("none")).is_err());
    }
}
