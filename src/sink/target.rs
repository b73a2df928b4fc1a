//! What a place for rows owes: rows and the position after them become durable together, or not at all.

use super::batch::{Batch, Place};
use super::carried::Failure;
use super::column::Row;
use super::share::Rank;
use crate::time::Stopwatch;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A position that was looked at twice counts as one that has stood still for so long at most, however much later the second look
/// was. In between this writer may have lost its connection, and the other one with it.
const LOOKS_APART_MAX: Duration = Duration::from_secs(30);

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
    /// The event with which writing began.
    pub first_seq: u64,
    /// Rows of events that are written.
    pub row_count: i64,
    /// Events that were set aside.
    pub set_aside: i64,
    /// Seconds since the last batch, by the target's clock; `None` before the first.
    pub written_s_ago: Option<i64>,
    /// Why nothing more is written; `None` while all is well.
    pub stopped: Option<String>,
    /// The last error after which writing was tried again, or with which it ended, and how many seconds ago that was.
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

    /// In how long this writer takes a partition from the one that has it, where nothing but a position that stands still tells that
    /// a writer has ended. `None` where a lock tells it, and of a position that was seen to move: its writer lives.
    fn left_in(&self, _partition: u32) -> Option<Duration> {
        None
    }

    /// Lets the other writers of the same partitions know that this one lives, and tells which one of them it is. `open` are those
    /// partitions that this writer does not have. A target whose writers do not know each other leaves each partition to whoever
    /// claims it first.
    ///
    /// # Errors
    /// [`TargetError`] when the target cannot tell.
    fn rank(&mut self, _open: &[u32]) -> Result<Rank, TargetError> {
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
    /// [`TargetError::Fenced`] when the partition has another writer, which may well go on; nothing is noted then. Another
    /// [`TargetError`] when it could not be noted.
    fn note_stop(&mut self, partition: u32, why: &str) -> Result<(), TargetError>;

    /// Notes the last error after which writing is tried again, or with which it ends, for who asks for the status.
    ///
    /// # Errors
    /// [`TargetError`] when it could not be noted.
    fn note_failure(&mut self, partition: u32, failure: &Failure) -> Result<(), TargetError>;
}

/// The positions that other writers have, where nothing tells whether a writer lives: one that has not changed for longer than
/// a living writer needs is left. If that was too early, the writer that was overtaken notices it and has done no harm. The writers
/// of a process share what they have seen, however often they connect.
#[derive(Clone)]
pub struct Others<T> {
    /// How long a living writer leaves its position as it is, at most.
    pub(super) left_after: Duration,
    seen: Arc<Mutex<BTreeMap<u32, Watched<T>>>>,
}

/// The position of another writer.
struct Watched<T> {
    position: T,
    /// For how long it was seen to stand still, until it was looked at last.
    still: Duration,
    looked: Stopwatch,
    /// When it stands still for longer than this, its writer has ended.
    limit: Duration,
    has_moved: bool,
}

impl<T: PartialEq + Clone> Others<T> {
    /// Of a process that has seen none yet.
    pub fn new(left_after: Duration) -> Others<T> {
        Others { left_after, seen: Arc::default() }
    }

    /// Looks at the position of another writer: whether it has not changed for so long that the writer has ended. `more` is the time
    /// that this one needs in addition.
    pub(super) fn is_left(&self, partition: u32, position: &T, more: Duration) -> bool {
        let limit = self.left_after.saturating_add(more);
        let mut seen = self.seen.lock();
        let before = seen.remove(&partition);
        let still = match &before {
            Some(before) if before.position == *position => {
                before.still.saturating_add(before.looked.elapsed().min(LOOKS_APART_MAX))
            }
            _ => Duration::ZERO,
        };
        let has_moved = before.is_some_and(|before| before.has_moved || before.position != *position);
        let looked = Stopwatch::start();
        seen.insert(partition, Watched { position: position.clone(), still, looked, limit, has_moved });
        still > limit
    }

    /// In how long a position is left that goes on standing still; `None` of one that was not seen, or was seen to move.
    pub(super) fn left_in(&self, partition: u32) -> Option<Duration> {
        let seen = self.seen.lock();
        let watched = seen.get(&partition).filter(|watched| !watched.has_moved)?;
        Some(watched.limit.saturating_sub(watched.still))
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

    fn left_in(&self, partition: u32) -> Option<Duration> {
        (**self).left_in(partition)
    }

    fn rank(&mut self, open: &[u32]) -> Result<Rank, TargetError> {
        (**self).rank(open)
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
        let soon = Others::new(Duration::ZERO);
        assert!(!soon.is_left(0, &7, NO_MORE), "it is seen for the first time");
        assert!(soon.is_left(0, &7, NO_MORE));
        assert!(!soon.is_left(0, &7, Duration::MAX), "it needs more time");
        assert!(!soon.is_left(0, &8, NO_MORE), "it has moved");
        assert!(!soon.is_left(1, &8, NO_MORE), "another partition");
        let late = Others::new(Duration::MAX);
        assert!((0..3).all(|_| !late.is_left(0, &7, NO_MORE)));
    }

    /// The story: a sink connects again and again, and each time it began to wait for a dead one from the start.
    #[test]
    fn what_was_seen_of_other_writers_is_known_over_the_next_connection() {
        const NO_MORE: Duration = Duration::ZERO;
        let others = Others::new(Duration::ZERO);
        assert!(!others.clone().is_left(0, &7, NO_MORE), "it is seen for the first time");
        assert!(others.clone().is_left(0, &7, NO_MORE));
    }

    #[test]
    fn it_is_known_how_long_a_dead_writer_is_waited_for_and_that_another_one_lives() {
        let others = Others::new(Duration::from_secs(150));
        assert_eq!(others.left_in(0), None, "nobody has seen it");
        others.is_left(0, &7, Duration::from_secs(60));
        assert_eq!(others.left_in(0), Some(Duration::from_secs(210)));
        others.is_left(0, &7, Duration::ZERO);
        assert!(others.left_in(0).is_some_and(|left| left < Duration::from_secs(150)));
        others.is_left(0, &8, Duration::ZERO);
        assert_eq!(others.left_in(0), None, "it has moved");
        others.is_left(0, &8, Duration::ZERO);
        assert_eq!(others.left_in(0), None, "its writer lived a moment ago");
    }
}
