//! The errors of the file, in words for the operator who has to repair it.

use crate::log::{LogError, Opening};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the log was not opened. The file was not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// Whether only commands that read it have it.
        is_read: bool,
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
    /// The log is a file of an earlier version, which has to be carried over before it can be read.
    Earlier {
        /// Path of the file.
        path: PathBuf,
    },
    /// A log was to be restored here, and it is not whole.
    Unfinished {
        /// The directory in which it is put together.
        path: PathBuf,
    },
    /// A log can only be restored where nothing is.
    Occupied {
        /// The data directory.
        dir: PathBuf,
        /// The name of something in it.
        found: String,
    },
    /// A new log cannot have so many partitions.
    Partitions {
        /// How many were asked for.
        asked: u32,
    },
    /// The process ends, and waits no longer for the log.
    GivenUp,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse { dir, is_read } => {
                let by = match is_read {
                    true => {
                        "a command that reads it, such as headroom verify or headroom cat: end that, or wait for its end"
                    }
                    false => "a server, or a command that changes it",
                };
                write!(f, "the log in {} is in use by another process: {by}", dir.display())
            }
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
                write!(f, "the log {} has lost something, or may have, and was left as it is: {detail}", path.display())
            }
            OpenError::Earlier { path } => write!(
                f,
                "the log {} is of an earlier version: the next start of the server carries it over",
                path.display()
            ),
            OpenError::Unfinished { path } => write!(
                f,
                "{} is a log that was not restored to its end: run headroom restore again, or remove the directory",
                path.display()
            ),
            OpenError::Occupied { dir, found } => write!(
                f,
                "{} is not empty, it has {found}: name a directory that is empty or does not exist",
                dir.display()
            ),
            OpenError::Partitions { asked } => {
                let most = crate::limits::PARTITIONS_MAX;
                write!(f, "a log cannot have {asked} partitions, only 1 to {most}")
            }
            OpenError::GivenUp => f.write_str("the log was not opened, because the process ends"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for LogError {
    /// The process that has the file open may end, and a disk may answer again. All other errors need an operator.
    fn from(error: OpenError) -> LogError {
        let detail = error.to_string();
        match error {
            OpenError::InUse { .. } | OpenError::Io { .. } | OpenError::GivenUp => LogError::transient(detail),
            OpenError::Damaged { .. }
            | OpenError::Foreign { .. }
            | OpenError::Mismatch { .. }
            | OpenError::Behind { .. }
            | OpenError::Earlier { .. }
            | OpenError::Unfinished { .. }
            | OpenError::Occupied { .. }
            | OpenError::Partitions { .. } => LogError::operator(detail),
        }
    }
}

impl OpenError {
    pub(super) fn io(path: &Path, error: &io::Error) -> OpenError {
        match Opening::was_given_up(error) {
            true => OpenError::GivenUp,
            false => OpenError::Io { path: path.to_owned(), detail: error.to_string() },
        }
    }

    pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> OpenError {
        OpenError::Damaged { path: path.to_owned(), detail: detail.into() }
    }
}

/// What went wrong inside the files.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    /// The bytes are not those that were written.
    Damaged(String),
    /// What is asked for has left the log.
    Gone(String),
    /// What has left the log is in a place that did not give it.
    Withheld(LogError),
}

pub(super) fn damaged(detail: impl Into<String>) -> Fault {
    Fault::Damaged(detail.into())
}

impl Fault {
    /// The error of an operation that failed with this fault. A disk may answer again. A full or read-only disk and a
    /// damaged file need an operator.
    pub(super) fn error(&self, doing: fmt::Arguments<'_>) -> LogError {
        let detail = format!("{doing} failed: {self}");
        match self {
            Fault::Gone(detail) => LogError::out_of_range(detail.clone()),
            Fault::Withheld(error) => LogError::new(error.kind.clone(), detail),
            Fault::Damaged(_) => LogError::operator(detail),
            Fault::Io(error) if is_operators(error.kind()) => LogError::operator(detail),
            Fault::Io(_) => LogError::transient(detail),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Io(error) => error.fmt(f),
            Fault::Damaged(detail) | Fault::Gone(detail) => f.write_str(detail),
            Fault::Withheld(error) => error.fmt(f),
        }
    }
}

/// Whether the disk returns this error until an operator has changed something.
fn is_operators(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, FileTooLarge | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogErrorKind;

    #[test]
    fn a_disk_may_answer_again_and_the_rest_waits_for_a_person() {
        let io = |kind| Fault::from(io::Error::from(kind));
        let cases = [
            (io(io::ErrorKind::StorageFull), LogErrorKind::Operator),
            (io(io::ErrorKind::ReadOnlyFilesystem), LogErrorKind::Operator),
            (io(io::ErrorKind::TimedOut), LogErrorKind::Transient),
            (damaged("a frame"), LogErrorKind::Operator),
        ];
        for (fault, kind) in cases {
            assert_eq!(fault.error(format_args!("reading it")).kind, kind, "{fault}");
        }
    }
}
