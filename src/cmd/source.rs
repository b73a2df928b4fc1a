//! Where a log is read from: its directory, or the server that has the directory open.

use super::Failure;
use super::server::Server;
use crate::log::CommittedTail;
use crate::log::embedded::{EmbeddedReader, OpenError};
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
}

impl Source {
    pub(super) fn open(dir: &Path) -> Result<Source, Failure> {
        let mut tries = TRIES;
        loop {
            tries = tries.saturating_sub(1);
            match EmbeddedReader::open(dir) {
                Ok(reader) => return Ok(Source::Directory(reader)),
                // A server has the log open for a moment before it can be asked and after it was.
                Err(OpenError::InUse { .. }) => match Server::of(dir) {
                    Err(_) if tries > 0 => std::thread::park_timeout(TRY_EVERY),
                    asked => return asked.map(|server| Source::Server(Box::new(server))),
                },
                Err(error) => return Err(cannot_open(&error)),
            }
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
            Source::Server(server) => &**server,
        }
    }
}

/// That a log is damaged is an answer to every question about it; anything else means that there is none.
pub(super) fn cannot_open(error: &OpenError) -> Failure {
    let text = error.to_string();
    if matches!(error, OpenError::Damaged { .. }) { Failure::Wrong(text) } else { Failure::Unusable(text) }
}
