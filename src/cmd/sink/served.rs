//! The log of a running server that may stop and start again, on another port too.

use crate::client::running::RunningServer;
use crate::cmd::shared::certificate::Certificate;
use crate::cmd::shared::source::{is_known, own_server};
use crate::log::{CommittedTail, LogError, StoredEvent};
use parking_lot::Mutex;
use std::path::Path;

/// The server of a data directory, asked by one thread. After a call that failed, its address is read again.
pub(super) struct Served<'a> {
    dir: &'a Path,
    own: Option<&'a Certificate>,
    partitions: u32,
    log_id: u128,
    server: Mutex<Option<RunningServer>>,
}

impl<'a> Served<'a> {
    /// The server that runs on the directory now.
    ///
    /// # Errors
    /// None runs, or it refuses, or its log takes a newer version to read.
    pub(super) fn now(dir: &'a Path, own: Option<&'a Certificate>) -> Result<Served<'a>, String> {
        is_known(dir).map_err(|error| error.to_string())?;
        let server = own_server(dir, own)?;
        let (partitions, log_id) = (server.partitions(), server.log_id());
        Ok(Served { dir, own, partitions, log_id, server: Mutex::new(Some(server)) })
    }

    fn ask<T>(&self, question: impl FnOnce(&RunningServer) -> Result<T, LogError>) -> Result<T, LogError> {
        let mut server = self.server.lock();
        let running = match server.take() {
            Some(running) => running,
            None => self.again()?,
        };
        let answer = question(&running)?;
        *server = Some(running);
        Ok(answer)
    }

    /// The server that runs now, if it serves the same log.
    fn again(&self) -> Result<RunningServer, LogError> {
        is_known(self.dir).map_err(|error| LogError::operator(error.to_string()))?;
        let running = own_server(self.dir, self.own).map_err(LogError::transient)?;
        let (was, is) = (self.log_id, running.log_id());
        if was == is {
            return Ok(running);
        }
        Err(LogError::transient(format!(
            "the server of {} has the log {is:032x} now, and the sink reads the log {was:032x}: start the sink again",
            self.dir.display()
        )))
    }
}

impl CommittedTail for Served<'_> {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn log_id(&self) -> Option<u128> {
        Some(self.log_id)
    }

    fn first(&self, partition: u32) -> Result<u64, LogError> {
        self.ask(|server| server.first(partition))
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.ask(|server| server.end(partition))
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.ask(|server| server.read(partition, from_seq, bytes_max))
    }
}
