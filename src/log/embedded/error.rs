//! What can be wrong with the file, in words for whoever has to put it right.

use crate::log::LogError;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Why the log was not opened. The file is as it was.
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
        /// What it said.
        detail: String,
    },
    /// It is a log, or was to become one, and parts are missing or changed.
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// It is something else.
    Foreign {
        /// Path of the file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// It is a log made for other terms than those of this process.
    Mismatch {
        /// Path of the file.
        path: PathBuf,
        /// The term that differs, as an operator calls it.
        what: &'static str,
        /// What the log was made with.
        log: u64,
        /// What this process has, or was asked for.
        ours: u64,
    },
    /// It holds less than was seen of it, or is gone.
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
    /// Whoever holds the file may let it go, and a disk may answer again; the rest waits for a person.
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
    /// redb or the operating system said so. Boxed: the good case is the one to keep small.
    Redb(Box<redb::Error>),
    /// The bytes are not those that were written.
    Damaged(String),
    /// There is no log in it.
    NoLog,
}

impl Fault {
    /// The error of an operation that failed so. A disk may answer again; one that is full, or lets nothing be written, and
    /// a damaged file wait for a person.
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

    /// Whether other places of the file may be as they should be.
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

/// Whether the disk answers so until a person has changed something.
fn is_operators(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, FileTooLarge | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

/// Runs what reads or writes the file. redb panics on some pages that no redb ever wrote; to us that is one more way
/// of finding the file damaged, not a reason to take the process and its other partitions down. Nothing that was
/// changed halfway is used again: the caller gives the file up after a fault.
pub(super) fn guarded<T>(what: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(Fault::Damaged(format!("its pages make no sense: {said}")))
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
