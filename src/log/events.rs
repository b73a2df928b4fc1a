//! Committed events: reading them at any place, and following them as they come.

use super::error::LogError;
use crate::domain::Breach;
use std::time::Duration;

/// An event as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Its place in the partition.
    pub seq: u64,
    /// The framed event.
    pub bytes: Vec<u8>,
}

/// Reading committed events, from any thread. Several readers see the same events in the same order.
pub trait CommittedTail: Send + Sync {
    /// How many partitions the log has.
    fn partitions(&self) -> u32;

    /// The sequence number after the last committed event.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    fn end(&self, partition: u32) -> Result<u64, LogError>;

    /// The same, and nothing that anybody has been told of comes after it.
    ///
    /// # Errors
    /// [`LogError`] also when that cannot be known yet, because the log may say of a commit that it is done a moment
    /// before readers see it.
    fn end_told(&self, partition: u32) -> Result<u64, LogError> {
        self.end(partition)
    }

    /// Committed events from `from_seq` on, in order, without a gap: at least one if there is one, and then as many as
    /// fit `bytes_max`. Empty at the end.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read, no longer holds `from_seq`, or ends before it.
    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError>;
}

/// What a stream hands over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Streamed {
    /// The partition's next event.
    Event(StoredEvent),
    /// All that was committed a moment ago has been handed over.
    End,
    /// The log does not go on as a log does: nothing more of the partition is handed over.
    Broken(Breach),
    /// The partition cannot be handed over any further now: it is to be followed anew. The others go on.
    Failed(LogError),
}

/// Committed events as they come, for those who follow partitions that other processes own. For one thread.
pub trait EventStream: Send {
    /// Hands over the partition's events from this number on, in order and without a gap. May be called again.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read now: try again.
    fn follow(&mut self, partition: u32, from_seq: u64) -> Result<(), LogError>;

    /// Hands over nothing of the partition any more.
    fn leave(&mut self, partition: u32);

    /// What comes next, of any partition followed; waits at most `wait`.
    ///
    /// # Errors
    /// [`LogError`] when every partition has to be followed anew.
    fn next(&mut self, wait: Duration) -> Result<Option<(u32, Streamed)>, LogError>;

    /// How far each partition that is followed has been handed over: all of it that lies before this place, which is
    /// one of those that the log counts its ends in.
    fn places(&self) -> Vec<(u32, i64)>;
}
