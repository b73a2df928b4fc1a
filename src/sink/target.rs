//! What a place for rows owes: rows and the position after them become durable together, or not at all.

use super::batch::{Batch, Place};
use super::carried::Failure;
use super::column::Row;
use super::share::Rank;
use crate::time::Stopwatch;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Why a target did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetError {
    /// It does not answer, or had to break off: the same may succeed over a new connection. Whether the last batch was
    /// taken, its position says.
    Transient(String),
    /// Another writer has the partition by now. Nothing was written.
    Fenced,
    /// Somebody has to act before anything more of this one partition is written.
    Partition(String),
    /// The bucket or the folder refuses this process. Somebody may have to change a right or a key first, and a right that was
    /// given a moment ago may be refused for some seconds.
    Refused(String),
    /// Somebody has to change something first: a table, a permission, a setting.
    Operator(String),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetError::Transient(why)
            | TargetError::Partition(why)
            | TargetError::Refused(why)
            | TargetError::Operator(why) => f.write_str(why),
            TargetError::Fenced => f.write_str("another sink has taken the partition"),
        }
    }
}

/// How far a partition is written, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The partition of the log.
    pub partition: u32,
    /// How far it is written.
    pub place: Place,
    /// Rows of events that are written.
    pub row_count: i64,
    /// Events that were set aside.
    pub set_aside: i64,
    /// Seconds since the last batch, by the target's clock; `None` before the first.
    pub written_s_ago: Option<i64>,
    /// Why nothing more is written; `None` while all is well.
    pub stopped: Option<String>,
    /// The last error after which writing was tried again, and how many seconds ago that was.
    pub failed: Option<(String, i64)>,
}

/// A place that takes the rows of partitions. Used by one thread.
pub trait Target {
    /// The id of the log that is written here; `None` while none is noted.
    ///
    /// # Errors
    /// [`TargetError`] when the target cannot tell.
    fn log(&mut self) -> Result<Option<String>, TargetError>;

    /// How far each partition is written of which anything is.
    ///
    /// # Errors
    /// [`TargetError`] when the target cannot tell.
    fn written(&mut self) -> Result<Vec<(u32, Place)>, TargetError>;

    /// Notes the id of the log, unless one is noted.
    ///
    /// # Errors
    /// [`TargetError`] when it could not be noted.
    fn note_log(&mut self, log: &str) -> Result<(), TargetError>;

    /// Makes this the only writer of a partition. Returns how far the partition is written; `None` while another writer
    /// has it. A partition of which nothing was ever written begins at `first`, unless it was to begin later.
    ///
    /// # Errors
    /// [`TargetError`] when the target cannot tell, or what it has of the partition cannot be gone on with.
    fn claim(&mut self, partition: u32, first: u64) -> Result<Option<Place>, TargetError>;

    /// Lets the other writers of the same partitions know that this one lives, and tells which one of them it is. A target whose
    /// writers do not know each other leaves each partition to whoever claims it first.
    ///
    /// # Errors
    /// [`TargetError`] when the target cannot tell.
    fn rank(&mut self) -> Result<Rank, TargetError> {
        Ok(Rank::ALONE)
    }

    /// Lets the other writers know that this one takes no share of the partitions, until it asks for its rank again.
    ///
    /// # Errors
    /// [`TargetError`] when the target does not answer.
    fn withdraw(&mut self) -> Result<(), TargetError> {
        Ok(())
    }

    /// Whether another writer takes a share of the same partitions, as far as this one can know. Where nothing tells it, a partition
    /// whose writer cannot read is taken from it some time after its position has moved last.
    ///
    /// # Errors
    /// [`TargetError`] when the target does not answer.
    fn has_others(&mut self) -> Result<bool, TargetError> {
        Ok(false)
    }

    /// Gives back a partition that this writer has, so that another one can claim it at once.
    ///
    /// # Errors
    /// [`TargetError`] when the target does not answer.
    fn release(&mut self, _partition: u32) -> Result<(), TargetError> {
        Ok(())
    }

    /// Appends a row to those of a batch, in the form in which this target takes them.
    fn put(&self, row: &Row, rows: &mut Vec<u8>);

    /// The sequence number at which the next batch has to end, because another one like it may have been written in part.
    /// `None`: wherever it ends.
    fn begun(&self, _partition: u32) -> Option<u64> {
        None
    }

    /// Makes the rows of a batch durable, and the position after it. Either both or none.
    ///
    /// # Errors
    /// [`TargetError::Fenced`] when the partition is not at the begin of the batch, or has another writer;
    /// [`TargetError::Partition`] when this is not the batch that was begun. After [`TargetError::Transient`] the batch may
    /// have been taken: the partition has to be claimed again.
    fn commit(&mut self, batch: &Batch) -> Result<(), TargetError>;

    /// Notes why nothing more of a partition is written, for who asks for the status.
    ///
    /// # Errors
    /// [`TargetError`] when it could not be noted.
    fn note_stop(&mut self, partition: u32, why: &str) -> Result<(), TargetError>;

    /// Notes the last error after which writing is tried again, for who asks for the status.
    ///
    /// # Errors
    /// [`TargetError`] when it could not be noted.
    fn note_failure(&mut self, partition: u32, failure: &Failure) -> Result<(), TargetError>;
}

/// The positions that other writers have, where nothing tells whether a writer lives: one that has not changed for longer than
/// a living writer needs is left. If that was too early, the writer that was overtaken notices it and has done no harm.
pub(super) struct Others<T> {
    left_after: Duration,
    /// The position of each partition, and since when it is as it is.
    seen: BTreeMap<u32, (T, Stopwatch)>,
}

impl<T: PartialEq + Clone> Others<T> {
    pub(super) fn new(left_after: Duration) -> Others<T> {
        Others { left_after, seen: BTreeMap::new() }
    }

    /// Whether the position of another writer has not changed for so long that it has ended. `more` is the time that this one
    /// needs in addition.
    pub(super) fn is_left(&mut self, partition: u32, position: &T, more: Duration) -> bool {
        let left_after = self.left_after.saturating_add(more);
        self.saw(partition, position).is_some_and(|since| since.elapsed() > left_after)
    }

    /// Since when the position of another writer is seen as it is; `None` when it has changed.
    pub(super) fn saw(&mut self, partition: u32, position: &T) -> Option<&Stopwatch> {
        let is_new = self.seen.get(&partition).is_none_or(|(seen, _)| seen != position);
        if is_new {
            self.seen.insert(partition, (position.clone(), Stopwatch::start()));
        }
        self.seen.get(&partition).filter(|_| !is_new).map(|(_, since)| since)
    }
}

impl Target for Box<dyn Target> {
    fn log(&mut self) -> Result<Option<String>, TargetError> {
        (**self).log()
    }

    fn written(&mut self) -> Result<Vec<(u32, Place)>, TargetError> {
        (**self).written()
    }

    fn note_log(&mut self, log: &str) -> Result<(), TargetError> {
        (**self).note_log(log)
    }

    fn claim(&mut self, partition: u32, first: u64) -> Result<Option<Place>, TargetError> {
        (**self).claim(partition, first)
    }

    fn rank(&mut self) -> Result<Rank, TargetError> {
        (**self).rank()
    }

    fn withdraw(&mut self) -> Result<(), TargetError> {
        (**self).withdraw()
    }

    fn has_others(&mut self) -> Result<bool, TargetError> {
        (**self).has_others()
    }

    fn release(&mut self, partition: u32) -> Result<(), TargetError> {
        (**self).release(partition)
    }

    fn put(&self, row: &Row, rows: &mut Vec<u8>) {
        (**self).put(row, rows);
    }

    fn begun(&self, partition: u32) -> Option<u64> {
        (**self).begun(partition)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), TargetError> {
        (**self).commit(batch)
    }

    fn note_stop(&mut self, partition: u32, why: &str) -> Result<(), TargetError> {
        (**self).note_stop(partition, why)
    }

    fn note_failure(&mut self, partition: u32, failure: &Failure) -> Result<(), TargetError> {
        (**self).note_failure(partition, failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_has_ended_when_its_position_stands_still_for_longer_than_a_living_one_needs() {
        const NO_MORE: Duration = Duration::ZERO;
        let mut soon = Others::new(Duration::ZERO);
        assert!(!soon.is_left(0, &7, NO_MORE), "it is seen for the first time");
        assert!(soon.is_left(0, &7, NO_MORE));
        assert!(!soon.is_left(0, &7, Duration::MAX), "it needs more time");
        assert!(!soon.is_left(0, &8, NO_MORE), "it has moved");
        assert!(!soon.is_left(1, &8, NO_MORE), "another partition");
        let mut late = Others::new(Duration::MAX);
        assert!((0..3).all(|_| !late.is_left(0, &7, NO_MORE)));
    }
}
