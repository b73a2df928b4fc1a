//! What turns cost on each partition, for metrics and for the clock's witness.

use crate::time::{Stamp, Stopwatch};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What the turns of one partition cost, since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// Turns that were committed.
    pub turns: u64,
    /// How many of them found the transaction coordinator still busy with the turn before.
    pub waited: u64,
    /// Commits that took 90 ms or more.
    pub slow_commits: u64,
    /// How long the last commit took, in microseconds.
    pub commit_us: u64,
    /// The pause that the owner in this process keeps between two turns now, in microseconds.
    pub pause_us: u64,
    /// How many offsets of commands the owner in this process cannot read, because a transaction of somebody else is open.
    pub held_back: u64,
    /// Dead letters that could not be written when their turn was decided, counted again with every try.
    pub letter_failures: u64,
}

#[derive(Default)]
struct Paced {
    turns: AtomicU64,
    waited: AtomicU64,
    slow_commits: AtomicU64,
    commit_us: AtomicU64,
    pause_us: AtomicU64,
    held_back: AtomicU64,
    letter_failures: AtomicU64,
    stamp: Mutex<Option<Stamp>>,
    last_end: Mutex<Option<LastEnd>>,
}

/// Where a follower came to the end of a partition.
struct LastEnd {
    offset: i64,
    /// Started before the last question that was answered with no later end; none before the first one.
    since: Option<Stopwatch>,
}

/// A commit that takes so long is counted as slow: the flush of the client library would make every commit take this long.
const SLOW_COMMIT: Duration = Duration::from_millis(90);

/// What turns cost and what the clocks of brokers showed, by partition. Clones share it.
#[derive(Clone)]
pub struct Paces(Arc<[Paced]>);

impl Paces {
    pub(super) fn of_partitions(partitions: u32) -> Paces {
        Paces((0..partitions).map(|_| Paced::default()).collect())
    }

    /// The pace of one partition; zeros for a partition that the log does not have.
    pub fn of(&self, partition: u32) -> Pace {
        let Some(pace) = self.0.get(partition as usize) else { return Pace::default() };
        Pace {
            turns: pace.turns.load(Relaxed),
            waited: pace.waited.load(Relaxed),
            slow_commits: pace.slow_commits.load(Relaxed),
            commit_us: pace.commit_us.load(Relaxed),
            pause_us: pace.pause_us.load(Relaxed),
            held_back: pace.held_back.load(Relaxed),
            letter_failures: pace.letter_failures.load(Relaxed),
        }
    }

    /// What the clock of a partition's broker showed last; `None` when no record of it was stamped in this process.
    pub fn stamp(&self, partition: u32) -> Option<Stamp> {
        *self.0.get(partition as usize)?.stamp.lock()
    }

    /// Takes what the clock of the partition's broker showed; `None` changes nothing.
    pub(in crate::log::kafka) fn stamped(&self, partition: u32, stamp: Option<Stamp>) {
        if let Some((pace, stamp)) = self.0.get(partition as usize).zip(stamp) {
            *pace.stamp.lock() = Some(stamp);
        }
    }

    /// Takes that a follower is at the end of a partition, at this offset.
    pub(super) fn is_at_end(&self, partition: u32, offset: i64) {
        let Some(pace) = self.0.get(partition as usize) else { return };
        let mut last = pace.last_end.lock();
        if last.as_ref().is_none_or(|last| last.offset != offset) {
            *last = Some(LastEnd { offset, since: None });
        }
    }

    /// Takes where a partition ends, records of open turns included. That was asked after `since` was started.
    pub(in crate::log::kafka) fn ended(&self, partition: u32, end: i64, since: Stopwatch) {
        let Some(pace) = self.0.get(partition as usize) else { return };
        if let Some(last) = pace.last_end.lock().as_mut().filter(|last| end <= last.offset) {
            last.since = Some(since);
        }
    }

    /// The first record behind the end to which a follower came was appended after this was started, however late it is read, and
    /// however long its turn was open. None where that is not known.
    pub(super) fn since_end(&self, partition: u32) -> Option<Stopwatch> {
        self.0.get(partition as usize)?.last_end.lock().take()?.since
    }

    /// Counts dead letters that could not be written.
    pub(in crate::log::kafka) fn letters_failed(&self, partition: u32, count: usize) {
        if let Some(pace) = self.0.get(partition as usize) {
            pace.letter_failures.fetch_add(count as u64, Relaxed);
        }
    }

    /// Takes how many offsets of commands are held back now.
    pub(in crate::log::kafka) fn held_back(&self, partition: u32, count: u64) {
        if let Some(pace) = self.0.get(partition as usize) {
            pace.held_back.store(count, Relaxed);
        }
    }

    /// Takes that the partition's owner in this process has ended: what held it back, and its pause, say nothing of the next one,
    /// which may be in another process.
    pub(in crate::log::kafka) fn left(&self, partition: u32) {
        if let Some(pace) = self.0.get(partition as usize) {
            pace.held_back.store(0, Relaxed);
            pace.pause_us.store(0, Relaxed);
        }
    }

    /// Counts a turn that was committed. `has_waited` says whether it found a busy coordinator.
    pub(in crate::log::kafka) fn turned(&self, partition: u32, commit: Duration, has_waited: bool, pause: Duration) {
        let Some(pace) = self.0.get(partition as usize) else { return };
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        pace.turns.fetch_add(1, Relaxed);
        pace.waited.fetch_add(u64::from(has_waited), Relaxed);
        pace.slow_commits.fetch_add(u64::from(commit >= SLOW_COMMIT), Relaxed);
        pace.commit_us.store(micros(commit), Relaxed);
        pace.pause_us.store(micros(pause), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: a follower was cut off, or a commit took long. What it read after that counted as written a moment ago, so that
    /// this machine's clock seemed to be ahead of the broker's.
    #[test]
    fn a_record_is_younger_than_the_last_question_before_it() {
        let (paces, [first, second, third]) = (Paces::of_partitions(1), [(); 3].map(|()| Stopwatch::start()));
        paces.ended(0, 5, first);
        assert_eq!(paces.since_end(0), None, "no end was reached");
        paces.is_at_end(0, 7);
        assert_eq!(paces.since_end(0), None, "nothing was asked");
        paces.is_at_end(0, 7);
        paces.ended(0, 8, first);
        assert_eq!(paces.since_end(0), None, "the record was there already, in an open turn");
        paces.is_at_end(0, 7);
        paces.ended(0, 6, first);
        paces.ended(0, 7, second);
        // The record is there, and is read much later.
        paces.ended(0, 8, third);
        paces.is_at_end(0, 7);
        assert_eq!(paces.since_end(0), Some(second), "a follower that stays there says so again and again");
        assert_eq!(paces.since_end(0), None, "of the next record it says little");
        paces.is_at_end(1, 7);
        assert_eq!(paces.since_end(1), None, "there is no such partition");
    }
}
