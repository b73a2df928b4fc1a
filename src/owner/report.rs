//! What an owner did, as plain data: telemetry turns it into metrics.

use crate::domain::{Breach, Event, EventKind, Reason};
use crate::log::CommitOutcome;
use crate::log::dead_letters::Undecidable;
use std::collections::BTreeMap;

/// One turn.
#[derive(Clone, Debug)]
pub struct TurnReport {
    /// What became of it.
    pub outcome: CommitOutcome,
    /// Its events by kind and, for refusals, reason.
    pub events: BTreeMap<(EventKind, Option<Reason>), u64>,
    /// What nobody could decide: the first, and how many.
    pub dead: Option<(Undecidable, usize)>,
    /// Bytes that the partition's memory counts after it.
    pub memory_bytes: u64,
    /// From the end of the poll to the end of the commit, in microseconds; set by the shell.
    pub turn_us: u64,
    /// The commit alone, in microseconds; set by the shell.
    pub commit_us: u64,
}

impl TurnReport {
    pub(super) fn new(outcome: CommitOutcome) -> TurnReport {
        TurnReport { outcome, events: BTreeMap::new(), dead: None, memory_bytes: 0, turn_us: 0, commit_us: 0 }
    }

    pub(super) fn count(&mut self, event: &Event) {
        let reason = event.body.rejection().map(|rejection| rejection.reason);
        let count = self.events.entry((event.body.kind(), reason)).or_default();
        *count = count.saturating_add(1);
    }
}

/// How a partition's state was rebuilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Events that the state is made of.
    pub events: u64,
    /// Those of them that were read from the log; the others are in a checkpoint, or had been followed.
    pub read: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Whether it began with a checkpoint.
    pub from_checkpoint: bool,
}

/// Who listens to owners. Called on the partition's thread: it must not wait.
pub trait Report: Send + Sync {
    /// A turn was concluded.
    fn turn(&self, partition: u32, report: &TurnReport);
    /// A checkpoint was written (`Ok`: how many rows) or could not be.
    fn checkpoint(&self, partition: u32, result: Result<usize, &str>);
    /// The partition's store was of no use and was removed.
    fn store_wiped(&self, partition: u32, why: &str);
    /// The partition was rebuilt.
    fn recovered(&self, partition: u32, recovered: &Recovered);
    /// The partition cannot be followed, and why, or can again: `None`. It is tried again and again.
    fn unread(&self, partition: u32, why: Option<&str>);
    /// A law was found broken.
    fn breach(&self, breach: &Breach);
    /// The partition stopped for good.
    fn failed(&self, partition: u32, why: &str);
}
