//! The log of a running server that may stop and start again, on another port too.

use crate::client::running::RunningServer;
use crate::cmd::shared::certificate::Certificate;
use crate::cmd::shared::source::running_server;
use crate::log::{CommittedTail, LogError, StoredEvent};
use parking_lot::Mutex;
use std::path::Path;

/// The server of a data directory, asked by one thread. After a call that failed, its address is read again.
pub(super) struct Served<'a> {
    dir: &'a Path,
    own: Option<&'a Certificate>,
    partitions: u32,
    server: Mutex<Option<RunningServer>>,
}

impl<'a> Served<'a> {
    /// The server that runs on the directory now.
    ///
    /// # Errors
    /// None runs, or it refuses.
    pub(super) fn now(dir: &'a Path, own: Option<&'a Certificate>) -> Result<Served<'a>, String> {
        let server = running_server(dir, own)?;
        Ok(Served { dir, own, partitions: server.partitions(), server: Mutex::new(Some(server)) })
    }

    fn ask<T>(&self, question: impl FnOnce(&RunningServer) -> Result<T, LogError>) -> Result<T, LogError> {
        let mut server = self.server.lock();
        let running = match server.take() {
            Some(running) => running,
            None => running_server(self.dir, self.own).map_err(LogError::transient)?,
        };
        let answer = question(&running)?;
        *server = Some(running);
        Ok(answer)
    }
}

impl CommittedTail for Served<'_> {
    fn partitions(&self) -> u32 {
        self.partitions
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
