//! The errors of the file, in words for the operator who has to repair it.

use crate::log::LogError;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Why the log was not opened. The file was not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// The operating system refused.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        detail: String,
    },
    /// The file is a log, or an unfinished one, and parts of it are missing or changed.
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file is not a log.
    Foreign {
        /// Path of the file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The log was made with other terms than those of this process.
    Mismatch {
        /// Path of the file.
        path: PathBuf,
        /// The term that differs, in the operator's words.
        what: &'static str,
        /// The value of the log.
        log: u64,
        /// The value of this process, or the requested one.
        ours: u64,
    },
    /// The log holds less than was seen of it earlier, or is missing.
    Behind {
        /// Path of the file.
        path: PathBuf,
        /// What is missing.
        detail: String,
    },
    /// A new log cannot have so many partitions.
    Partitions {
        /// How many were asked for.
        asked: u32,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse { dir } => write!(f, "the log in {} is in use by another process", dir.display()),
            OpenError::Io { path, detail } => write!(f, "cannot open the log {}: {detail}", path.display()),
            OpenError::Damaged { path, detail } => {
                write!(f, "the log {} is damaged and was left as it is: {detail}", path.display())
            }
            OpenError::Foreign { path, detail } => {
                write!(f, "{} is not a log of this program and was left as it is: {detail}", path.display())
            }
            OpenError::Mismatch { path, what, log, ours } => {
                write!(f, "the log {} was made with {what} {log}, this process has {ours}", path.display())
            }
            OpenError::Behind { path, detail } => {
                write!(f, "the log {} has lost something and was left as it is: {detail}", path.display())
            }
            OpenError::Partitions { asked } => {
                let most = crate::limits::PARTITIONS_MAX;
                write!(f, "a log cannot have {asked} partitions, only 1 to {most}")
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for LogError {
    /// The process that has the file open may end, and a disk may answer again. All other errors need an operator.
    fn from(error: OpenError) -> LogError {
        let detail = error.to_string();
        match error {
            OpenError::InUse { .. } | OpenError::Io { .. } => LogError::transient(detail),
            OpenError::Damaged { .. }
            | OpenError::Foreign { .. }
            | OpenError::Mismatch { .. }
            | OpenError::Behind { .. }
            | OpenError::Partitions { .. } => LogError::operator(detail),
        }
    }
}

/// What went wrong inside the file.
#[derive(Debug)]
pub(super) enum Fault {
    /// An error of redb or of the operating system. It is boxed to keep the result of a success small.
    Redb(Box<redb::Error>),
    /// The bytes are not those that were written.
    Damaged(String),
    /// The file holds no log.
    NoLog,
}

impl Fault {
    /// The error of an operation that failed with this fault. A disk may answer again. A full or read-only disk and a
    /// damaged file need an operator.
    pub(super) fn error(&self, doing: fmt::Arguments<'_>) -> LogError {
        let detail = format!("{doing} failed: {self}");
        match self {
            Fault::Damaged(_) | Fault::NoLog => LogError::operator(detail),
            Fault::Redb(error) => match &**error {
                redb::Error::Corrupted(_) => LogError::operator(detail),
                redb::Error::Io(error) if is_operators(error.kind()) => LogError::operator(detail),
                redb::Error::Io(_) | redb::Error::PreviousIo => LogError::transient(detail),
                _ => LogError::internal(detail),
            },
        }
    }

    /// Whether the fault concerns one part of the file, and other parts may be sound.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Fault::Damaged(_) | Fault::NoLog => true,
            Fault::Redb(error) => matches!(**error, redb::Error::Corrupted(_)),
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Fault {
        Fault::Redb(Box::new(error.into()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Redb(error) => error.fmt(f),
            Fault::Damaged(detail) => f.write_str(detail),
            Fault::NoLog => f.write_str("it holds no manifest"),
        }
    }
}

/// Whether the disk returns this error until an operator has changed something.
fn is_operators(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, FileTooLarge | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

/// Runs a read or a write of the file. redb panics on some damaged pages. Such a panic is reported as damage of the
/// file, and does not end the process, which may have sound partitions. Half-made changes in memory are never used
/// again, because the caller gives the file up after a fault.
pub(super) fn guarded<T>(what: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(Fault::Damaged(format!("redb cannot read its pages: {said}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogErrorKind;

    #[test]
    fn a_disk_may_answer_again_and_the_rest_waits_for_a_person() {
        let io = |kind| Fault::from(redb::Error::Io(io::Error::from(kind)));
        let cases = [
            (io(io::ErrorKind::StorageFull), LogErrorKind::Operator),
            (io(io::ErrorKind::ReadOnlyFilesystem), LogErrorKind::Operator),
            (io(io::ErrorKind::TimedOut), LogErrorKind::Transient),
            (Fault::from(redb::Error::PreviousIo), LogErrorKind::Transient),
            (Fault::from(redb::Error::Corrupted("a page".to_owned())), LogErrorKind::Operator),
            (Fault::Damaged("a row".to_owned()), LogErrorKind::Operator),
            (Fault::NoLog, LogErrorKind::Operator),
        ];
        for (fault, kind) in cases {
            assert_eq!(fault.error(format_args!("reading it")).kind, kind, "{fault}");
        }
    }
}
