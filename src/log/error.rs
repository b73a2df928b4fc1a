//! How a log fails.

use crate::domain::Breach;
use std::fmt;

/// The log cannot do what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogError {
    /// What happened, and to which file or topic, for a person.
    pub detail: String,
    /// The law that it breaks, if it does: then trying again does not help.
    pub breach: Option<Box<Breach>>,
}

impl LogError {
    /// With this detail.
    pub fn new(detail: impl Into<String>) -> LogError {
        LogError { detail: detail.into(), breach: None }
    }
}

impl From<Breach> for LogError {
    fn from(breach: Breach) -> LogError {
        LogError { detail: breach.to_string(), breach: Some(Box::new(breach)) }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for LogError {}

/// Why a partition could not be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimError {
    /// The log did not let it; trying again may help.
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
        match error.breach {
            Some(breach) => ClaimError::Breach(*breach),
            None => ClaimError::Log(error),
        }
    }
}
