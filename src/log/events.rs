//! Committed events: reading them from any position, and following new ones.

use super::error::LogError;
use crate::domain::Breach;
use crate::trace::TraceContext;
use std::time::Duration;

/// An event as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Its sequence number in the partition.
    pub seq: u64,
    /// The framed event.
    pub bytes: Vec<u8>,
    /// The span that has appended its command, in a log that keeps it.
    pub trace: Option<TraceContext>,
}

/// Reads committed events, from any thread. Several readers see the same events in the same order.
pub trait CommittedTail: Send + Sync {
    /// The number of partitions of the log.
    fn partitions(&self) -> u32;

    /// The id of the log, which no other log has; `None` where it is not known, as through a server of an earlier version.
    fn log_id(&self) -> Option<u128> {
        None
    }

    /// The sequence number of the first event that the log still holds: 0 unless its beginning was removed, as a topic's
    /// retention does.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read, or all its events were removed: then nobody can tell where it ends.
    fn first(&self, _partition: u32) -> Result<u64, LogError> {
        Ok(0)
    }

    /// The sequence number after the last committed event.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    fn end(&self, partition: u32) -> Result<u64, LogError>;

    /// The same, but never before an event that any caller already knows of.
    ///
    /// # Errors
    /// [`LogError`] also when that is not known yet: the log may confirm a commit a moment before readers can see it.
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

/// A log of which events are read in another way. Everything else is asked of the log itself.
pub struct ReadBy<'a, F> {
    /// The log itself.
    pub tail: &'a dyn CommittedTail,
    /// Reads events of it, as [`CommittedTail::read`] does.
    pub read: F,
}

impl<F> CommittedTail for ReadBy<'_, F>
where
    F: Fn(u32, u64, usize) -> Result<Vec<StoredEvent>, LogError> + Send + Sync,
{
    fn partitions(&self) -> u32 {
        self.tail.partitions()
    }

    fn log_id(&self) -> Option<u128> {
        self.tail.log_id()
    }

    fn first(&self, partition: u32) -> Result<u64, LogError> {
        self.tail.first(partition)
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.tail.end(partition)
    }

    fn end_told(&self, partition: u32) -> Result<u64, LogError> {
        self.tail.end_told(partition)
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        (self.read)(partition, from_seq, bytes_max)
    }
}

/// One step of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Streamed {
    /// The partition's next event.
    Event(StoredEvent),
    /// The stream has caught up: everything that was committed a moment ago has been handed over.
    End,
    /// The log breaks a law here: nothing more of the partition is handed over.
    Broken(Breach),
    /// The partition cannot be read further now: it has to be followed again. Other partitions are not affected.
    Failed(LogError),
}

/// New committed events, for a process that follows partitions of other owners. Used by one thread.
pub trait EventStream: Send {
    /// Hands over the partition's events from this number on, in order and without a gap. May be called again.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read now: try again.
    fn follow(&mut self, partition: u32, from_seq: u64) -> Result<(), LogError>;

    /// Stops handing over events of the partition.
    fn leave(&mut self, partition: u32);

    /// The next step of any followed partition; waits at most `wait`.
    ///
    /// # Errors
    /// [`LogError`] when every partition has to be followed again.
    fn next(&mut self, wait: Duration) -> Result<Option<(u32, Streamed)>, LogError>;

    /// The position of each followed partition: everything before it has been handed over. It is an offset of the log, like those
    /// of its ends. A partition is left out until reading has come to the first event that is to be handed over.
    fn places(&self) -> Vec<(u32, i64)>;
}
