//! Why the service did not start: errors of both logs, of the data directory and of the system.

use crate::log::LogError;
use crate::log::embedded::OpenError;
use crate::log::kafka::ops::preflight::PreflightErrors;
use crate::tls::TlsError;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the service did not start.
#[derive(Debug)]
pub enum StartError {
    /// The embedded log cannot be opened.
    Log(OpenError),
    /// The cluster does not meet its requirements or cannot be reached: all reasons at once.
    PreflightErrors(PreflightErrors),
    /// A client of the cluster cannot be made.
    Cluster(LogError),
    /// Another process keeps its checkpoints in the data directory.
    InUse(PathBuf),
    /// The witness cannot be written.
    Witness(String),
    /// There can be no client of the place for snapshots.
    Snapshots(String),
    /// There can be no client of the place for what leaves the log.
    Archive(String),
    /// The data directory belongs to another log.
    OtherLog(String),
    /// A later version serves the log.
    NewerLog {
        /// The feature level of the log.
        level: u32,
        /// The newest level that this version knows.
        known: u32,
        /// The version that raised the level.
        version: String,
    },
    /// The server cannot listen on the address.
    Listen(SocketAddr, std::io::Error),
    /// Spans cannot be sent: what is wrong with the setting.
    Traces(String),
    /// What says who may call cannot be read.
    Access(String),
    /// The certificate or its key cannot be used.
    Tls(TlsError),
    /// A file of the data directory cannot be written, or a thread not started.
    Io(PathBuf, std::io::Error),
    /// The process was asked to end before the log was open.
    GivenUp,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Log(error) => error.fmt(f),
            StartError::PreflightErrors(unfit) => unfit.fmt(f),
            StartError::Cluster(error) => error.fmt(f),
            StartError::InUse(dir) => {
                write!(f, "{} is in use by another process: stop it, or name another data_dir", dir.display())
            }
            StartError::Witness(why) | StartError::Traces(why) => f.write_str(why),
            StartError::OtherLog(why) => write!(f, "the log cannot be served: {why}"),
            StartError::NewerLog { level, known, version } => write!(
                f,
                "the log has feature level {level}, given by version {version}, and this version knows {known}: take that \
                 version or a later one"
            ),
            StartError::Archive(why) => write!(f, "the log cannot be archived: {why}"),
            StartError::Snapshots(why) => write!(f, "snapshots cannot be written: {why}"),
            StartError::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            StartError::Access(why) => write!(f, "cannot read who may call: {why}"),
            StartError::Tls(error) => write!(f, "TLS cannot be spoken: {error}"),
            StartError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            StartError::GivenUp => f.write_str("the process was asked to end before the log was open"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<LogError> for StartError {
    fn from(error: LogError) -> StartError {
        StartError::Cluster(error)
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> StartError {
        match error {
            OpenError::GivenUp => StartError::GivenUp,
            error => StartError::Log(error),
        }
    }
}
