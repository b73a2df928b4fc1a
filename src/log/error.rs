//! The errors of a log, and what each of them means to the caller.

use crate::domain::Breach;
use std::fmt;
use std::io;

/// What an error means: whether a retry can succeed, and whether an operator has to act first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogErrorKind {
    /// The log is slow, changes its leader or cannot be reached: the same call may succeed in a moment.
    Transient,
    /// An operator has to change something first: a permission, a topic, a setting, a version, a disk. A retry succeeds
    /// once that is done.
    Operator,
    /// The log does not have the requested position, or no longer has it.
    OutOfRange,
    /// The log has lost its first events, and nothing that was found covers them: the same call succeeds once something does.
    Uncovered,
    /// A partition of the log has lost all its events, so that nobody can tell how many there were, or what covers them: an
    /// operator has to bring them back, or to give the log up. The position of nobody is in it.
    Emptied,
    /// A place does not give what went there, a part of the log or a snapshot that covers one, so nothing is known of that part;
    /// or the note of what was seen of a log is not given. It shows no fault of the log.
    Withheld {
        /// Whether it may pass by itself. Otherwise an operator has to change something at the place first.
        may_pass: bool,
    },
    /// Another owner has taken the partition: the earlier owner may not write any more.
    Superseded,
    /// A client, a thread or a file has failed for an unforeseen reason: make a new one.
    Internal,
    /// The contents of the log break a law: a retry does not help, and nothing of it may be served.
    Breach(Box<Breach>),
}

/// An error of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogError {
    /// What it means.
    pub kind: LogErrorKind,
    /// What happened, and to which file or topic, as text for a person.
    pub detail: String,
}

impl LogError {
    /// An error of this kind.
    pub fn new(kind: LogErrorKind, detail: impl Into<String>) -> LogError {
        LogError { kind, detail: detail.into() }
    }

    /// An error of the kind [`LogErrorKind::Transient`].
    pub fn transient(detail: impl Into<String>) -> LogError {
        LogError::new(LogErrorKind::Transient, detail)
    }

    /// An error of the kind [`LogErrorKind::Operator`]; the detail says what the operator has to do.
    pub fn operator(detail: impl Into<String>) -> LogError {
        LogError::new(LogErrorKind::Operator, detail)
    }

    /// An error of the kind [`LogErrorKind::OutOfRange`].
    pub fn out_of_range(detail: impl Into<String>) -> LogError {
        LogError::new(LogErrorKind::OutOfRange, detail)
    }

    /// An error of the kind [`LogErrorKind::Uncovered`]; the detail says what would cover the events.
    pub fn uncovered(detail: impl Into<String>) -> LogError {
        LogError::new(LogErrorKind::Uncovered, detail)
    }

    /// An error of the kind [`LogErrorKind::Emptied`]; the detail says what an operator can do.
    pub fn emptied(detail: impl Into<String>) -> LogError {
        LogError::new(LogErrorKind::Emptied, detail)
    }

    /// An error of the kind [`LogErrorKind::Withheld`]; where it does not pass by itself, the detail says what has to change.
    pub fn withheld(may_pass: bool, detail: impl Into<String>) -> LogError {
        LogError::new(LogErrorKind::Withheld { may_pass }, detail)
    }

    /// An error of the kind [`LogErrorKind::Superseded`].
    pub fn superseded(detail: impl Into<String>) -> LogError {
        LogError::new(LogErrorKind::Superseded, detail)
    }

    /// An error of the kind [`LogErrorKind::Internal`].
    pub fn internal(detail: impl Into<String>) -> LogError {
        LogError::new(LogErrorKind::Internal, detail)
    }

    /// The system does not let this process start a thread.
    pub fn no_thread(error: &io::Error) -> LogError {
        LogError::internal(format!("cannot start a thread: {error}"))
    }

    /// The log has only `count` partitions.
    pub fn no_partition(partition: u32, count: u32) -> LogError {
        LogError::out_of_range(format!("there is no partition {partition}: the log has {count}"))
    }

    /// Whether a retry fails until an operator has acted.
    pub fn needs_operator(&self) -> bool {
        matches!(
            self.kind,
            LogErrorKind::Operator
                | LogErrorKind::Uncovered
                | LogErrorKind::Emptied
                | LogErrorKind::Withheld { may_pass: false }
        )
    }

    /// Whether it may pass by itself, because the log or a place did not answer.
    pub fn may_pass(&self) -> bool {
        matches!(self.kind, LogErrorKind::Transient | LogErrorKind::Withheld { may_pass: true })
    }

    /// Whether the log does not have what was asked for, and has not failed.
    pub fn is_out_of_range(&self) -> bool {
        matches!(self.kind, LogErrorKind::OutOfRange | LogErrorKind::Emptied)
    }

    /// Whether a place did not give what it has: nothing is known of that part of the log.
    pub fn is_withheld(&self) -> bool {
        matches!(self.kind, LogErrorKind::Withheld { .. })
    }

    /// Whether a part of the log is missing that nothing covers, or a place did not give what it has of it.
    pub fn is_without_cover(&self) -> bool {
        self.kind == LogErrorKind::Uncovered || self.is_withheld()
    }

    /// Whether the log has lost events that nothing covers, or all that it had: what it says of the rest does not help.
    pub fn has_lost_events(&self) -> bool {
        matches!(self.kind, LogErrorKind::Uncovered | LogErrorKind::Emptied)
    }

    /// The reason why a partition is not served. It says so when an operator has to act.
    pub fn reason(&self) -> String {
        if self.needs_operator() { format!("an operator must act: {self}") } else { self.detail.clone() }
    }
}

impl From<Breach> for LogError {
    fn from(breach: Breach) -> LogError {
        LogError { detail: breach.to_string(), kind: LogErrorKind::Breach(Box::new(breach)) }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for LogError {}

/// Why a partition could not be claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimError {
    /// The log returned an error; [`LogError::kind`] says whether a retry may help. No law is broken.
    Log(LogError),
    /// The log breaks a law: the partition must not be served.
    Breach(Breach),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimError::Log(error) => error.fmt(f),
            ClaimError::Breach(breach) => breach.fmt(f),
        }
    }
}

impl std::error::Error for ClaimError {}

impl From<LogError> for ClaimError {
    fn from(error: LogError) -> ClaimError {
        match error.kind {
            LogErrorKind::Breach(breach) => ClaimError::Breach(*breach),
            kind => ClaimError::Log(LogError { kind, ..error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Law;

    #[test]
    fn a_reason_says_when_a_person_has_to_act() {
        let kinds =
            [LogError::operator, LogError::uncovered, LogError::emptied, |disk| LogError::withheld(false, disk)];
        for error in kinds.map(|kind: fn(String) -> LogError| kind("a disk".to_owned())) {
            assert_eq!((error.reason(), error.needs_operator()), ("an operator must act: a disk".to_owned(), true));
            assert!(!error.may_pass(), "{error:?}");
        }
        let passing = [LogError::transient("the disk"), LogError::withheld(true, "the disk")];
        assert!(
            passing.iter().all(|error| error.may_pass() && !error.needs_operator() && error.reason() == "the disk")
        );
        let others = [LogError::transient, LogError::out_of_range, LogError::superseded, LogError::internal];
        for error in others.map(|kind: fn(String) -> LogError| kind("the disk".to_owned())) {
            assert_eq!((error.reason(), error.needs_operator()), ("the disk".to_owned(), false), "{error:?}");
        }
    }

    #[test]
    fn a_breach_stays_one_on_its_way_to_who_claims() {
        let breach = Breach { law: Law::Chain, partition: 1, seq: 2, detail: "a gap".to_owned() };
        assert_eq!(ClaimError::from(LogError::from(breach.clone())), ClaimError::Breach(breach));
        assert_eq!(ClaimError::from(LogError::transient("slow")), ClaimError::Log(LogError::transient("slow")));
    }
}
