//! Where a log is read from: its directory, the server that has the directory open, or the cluster that carries it.

use super::Failure;
use super::server::Server;
use crate::app;
use crate::config::Config;
use crate::log::CommittedTail;
use crate::log::embedded::{EmbeddedReader, OpenError};
use crate::log::kafka::Kafka;
use crate::store::sled::SledStore;
use crate::time::pause;
use std::path::Path;
use std::time::Duration;

/// How often a log is tried that is in use by nobody who answers.
const TRIES: u32 = 10;
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// A log to read.
pub(super) enum Source {
    /// No server runs, and none can start while this is open.
    Directory(EmbeddedReader),
    /// A server runs.
    Server(Box<Server>),
    /// A cluster, whoever else uses it.
    Cluster(Box<Kafka>),
}

impl Source {
    pub(super) fn open(config: &Config) -> Result<Source, Failure> {
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
                Err(OpenError::InUse { .. }) => match Server::of(dir) {
                    Err(_) if tries > 0 => pause(TRY_EVERY),
                    asked => return asked.map(|server| Source::Server(Box::new(server))),
                },
                Err(error) => return Err(cannot_open(&gone(dir, error))),
            }
        }
    }

    /// Whether it is still to be asked: then a read that failed says something of the log.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Source::Directory(_) => true,
            Source::Server(server) => server.is_there(),
            Source::Cluster(log) => log.whole_end(0).is_some(),
        }
    }

    /// The log's own id; through a server it is not to be had.
    pub(super) fn log_id(&self) -> Option<u128> {
        match self {
            Source::Directory(reader) => Some(reader.manifest().log_id),
            Source::Server(_) => None,
            Source::Cluster(log) => Some(log.manifest().log_id),
        }
    }

    pub(super) fn tail(&self) -> &dyn CommittedTail {
        match self {
            Source::Directory(reader) => reader,
            Source::Server(server) => &**server,
            Source::Cluster(log) => &**log,
        }
    }
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
pub(super) fn cannot_open(error: &OpenError) -> Failure {
    let text = error.to_string();
    if matches!(error, OpenError::Damaged { .. } | OpenError::Behind { .. }) {
        Failure::Wrong(text)
    } else {
        Failure::Unusable(text)
    }
}
