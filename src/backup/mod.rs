//! Backups of an embedded log in a folder or a bucket, and the way back. A backup is a manifest and the objects that it
//! names. The manifest is written last, so a backup without one is not there.
//!
//! A segment is cut into pieces of 4 MiB, and each is an object whose name has its place and the hash of its bytes. Full
//! pieces never change, so the next backup finds them under their names and copies what is new: at most the last piece
//! of the segment that is being written comes again. Of sealed segments that the newest manifest names, nothing is read.
//!
//! A backup reads the files of the log beside the server that writes them ([`LogPrefix`]): it takes no lock and asks the
//! server nothing, so no turn waits for it, and a server that hangs can be backed up. All that was answered before it
//! began is in it.
//!
//! [`LogPrefix`]: crate::log::embedded::LogPrefix

mod manifest;
mod place;
mod restore;
mod take;

pub use place::{Backup, Held, Place};
pub use restore::{Restored, restore};
pub use take::{Checked, Taken, take};

use crate::log::embedded::OpenError;
use crate::log::{LogError, LogErrorKind};
use crate::store::StoreError;
use std::fmt;

/// Bytes of a piece of a segment; the last one may have fewer.
const PIECE_BYTES: u64 = 4 << 20;

/// Why there is no backup, or why nothing was restored.
#[derive(Debug)]
pub enum BackupError {
    /// The log cannot be read, or not be put together.
    Log(OpenError),
    /// What is in the place is not what was written.
    Damaged(String),
    /// A later version took the backup, and this one cannot restore it: the version to take is named.
    Newer(String),
    /// The place or the disk does not do its part, or what was asked for is not there.
    Unusable(String),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupError::Log(error) => error.fmt(f),
            BackupError::Damaged(why) | BackupError::Newer(why) | BackupError::Unusable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for BackupError {}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> BackupError {
        BackupError::Log(error)
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> BackupError {
        BackupError::Unusable(error.detail)
    }
}

impl From<LogError> for BackupError {
    /// A disk that may answer again is not damage, nor is a segment that has left the log meanwhile.
    fn from(error: LogError) -> BackupError {
        match error.kind {
            LogErrorKind::Operator | LogErrorKind::Breach(_) => BackupError::Damaged(error.detail),
            LogErrorKind::Transient
            | LogErrorKind::OutOfRange
            | LogErrorKind::Uncovered
            | LogErrorKind::Emptied
            | LogErrorKind::Withheld { .. }
            | LogErrorKind::Superseded
            | LogErrorKind::Internal => BackupError::Unusable(error.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_does_not_answer_is_no_damage() {
        let damaged = |error: LogError| matches!(BackupError::from(error), BackupError::Damaged(_));
        assert!(damaged(LogError::operator("a frame has another checksum")));
        let passing = [LogError::transient("input/output error"), LogError::out_of_range("a segment has left the log")];
        assert!(!passing.into_iter().any(damaged));
    }
}
