//! Opens the log that a command reads: the data directory, the running server that has the directory open, or the
//! Kafka cluster.

use crate::app::{self, ADDRESS_FILE};
use crate::client::running::RunningServer;
use crate::cmd::Failure;
use crate::config::Config;
use crate::log::embedded::{EmbeddedReader, OpenError};
use crate::log::kafka::Kafka;
use crate::log::{ClusterLog, CommittedTail, EndOffsets};
use crate::store::sled::SledStore;
use crate::time::pause;
use std::path::Path;
use std::time::Duration;

/// Attempts to open a log that another process has open and no server serves.
const TRIES: u32 = 10;
/// Pause between two attempts.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// An open log.
pub(in crate::cmd) enum Source {
    /// No server runs, and none can start while this is open.
    Directory(EmbeddedReader),
    /// A server runs.
    Server(Box<RunningServer>),
    /// A cluster, whoever else uses it.
    Cluster(Box<Kafka>),
}

impl Source {
    pub(in crate::cmd) fn open(config: &Config) -> Result<Source, Failure> {
        let Some(kafka) = &config.kafka else { return Source::of_directory(&config.data_dir) };
        let log = app::look(config, kafka).map_err(|error| Failure::Unusable(error.to_string()))?;
        Ok(Source::Cluster(Box::new(log)))
    }

    fn of_directory(dir: &Path) -> Result<Source, Failure> {
        let mut tries = TRIES;
        loop {
            tries = tries.saturating_sub(1);
            match EmbeddedReader::open(dir) {
                Ok(reader) => return Ok(Source::Directory(reader)),
                // A server has the log open for a moment before it can be asked and after it was.
                Err(OpenError::InUse { .. }) => match running_server(dir) {
                    Err(_) if tries > 0 => pause(TRY_EVERY),
                    asked => return asked.map(|server| Source::Server(Box::new(server))),
                },
                Err(error) => return Err(cannot_open(&gone(dir, error))),
            }
        }
    }

    /// Whether it is still to be asked: then a read that failed says something of the log.
    pub(in crate::cmd) fn is_there(&self) -> bool {
        match self {
            Source::Directory(_) => true,
            Source::Server(server) => server.is_there(),
            Source::Cluster(log) => log.end_offset(0).is_ok(),
        }
    }

    /// The log's own id; through a server it is not to be had.
    pub(in crate::cmd) fn log_id(&self) -> Option<u128> {
        match self {
            Source::Directory(reader) => Some(reader.manifest().log_id),
            Source::Server(_) => None,
            Source::Cluster(log) => Some(log.manifest().log_id),
        }
    }

    pub(in crate::cmd) fn tail(&self) -> &dyn CommittedTail {
        match self {
            Source::Directory(reader) => reader,
            Source::Server(server) => &**server,
            Source::Cluster(log) => &**log,
        }
    }
}

/// The server that has this data directory open.
pub(in crate::cmd) fn running_server(dir: &Path) -> Result<RunningServer, Failure> {
    let address = app::read_address(dir).map_err(|error| {
        let (dir, path) = (dir.display(), dir.join(ADDRESS_FILE));
        Failure::Unusable(format!(
            "the log in {dir} is in use and {} does not say where its server is: {error}; \
             it may be starting or stopping: try again",
            path.display()
        ))
    })?;
    RunningServer::at(address).map_err(|error| Failure::Unusable(error.to_string()))
}

/// A log that is not there, and was, is lost.
fn gone(dir: &Path, error: OpenError) -> OpenError {
    match (&error, app::nothing_was_seen(&SledStore::open(dir))) {
        (OpenError::Io { path, .. }, Err(detail)) if dir.is_dir() && !path.exists() => {
            OpenError::Behind { path: path.clone(), detail }
        }
        _ => error,
    }
}

/// That a log is damaged is an answer to every question about it; anything else means that there is none.
pub(in crate::cmd) fn cannot_open(error: &OpenError) -> Failure {
    let text = error.to_string();
    if matches!(error, OpenError::Damaged { .. } | OpenError::Behind { .. }) {
        Failure::Wrong(text)
    } else {
        Failure::Unusable(text)
    }
}
