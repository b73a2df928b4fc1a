//! Where a log is read from: its directory, or the server that has the directory open.

use super::Failure;
use super::server::Server;
use crate::log::CommittedTail;
use crate::log::embedded::{EmbeddedReader, OpenError};
use std::path::Path;

/// A log to read.
pub(super) enum Source {
    /// No server runs, and none can start while this is open.
    Directory(EmbeddedReader),
    /// A server runs.
    Server(Server),
}

impl Source {
    pub(super) fn open(dir: &Path) -> Result<Source, Failure> {
        match EmbeddedReader::open(dir) {
            Ok(reader) => Ok(Source::Directory(reader)),
            Err(OpenError::InUse { .. }) => Server::of(dir).map(Source::Server),
            Err(error) => Err(cannot_open(&error)),
        }
    }

    /// Whether it is still to be asked: then a read that failed says something of the log.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Source::Directory(_) => true,
            Source::Server(server) => server.is_there(),
        }
    }

    pub(super) fn tail(&self) -> &dyn CommittedTail {
        match self {
            Source::Directory(reader) => reader,
            Source::Server(server) => server,
        }
    }
}

/// That a log is damaged is an answer to every question about it; anything else means that there is none.
pub(super) fn cannot_open(error: &OpenError) -> Failure {
    let text = error.to_string();
    if matches!(error, OpenError::Damaged { .. }) { Failure::Wrong(text) } else { Failure::Unusable(text) }
}
