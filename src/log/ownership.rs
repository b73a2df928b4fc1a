//! Owning a partition: claiming it, polling its commands, and committing turns.

use super::commands::StoredCommand;
use super::dead_letters::Undecidable;
use super::error::{ClaimError, LogError};
use super::events::StoredEvent;
use super::level::FeatureLevel;
use crate::domain::{Breach, PoolId};
use crate::time::Stamp;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

/// The records of one turn: either all of them become visible together, or none of them ever does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// The commands it decided, in order of offset; of commands that are lost (see
    /// [`crate::domain::EventBody::CommandsLost`]) the last offset, without bytes.
    pub inputs: Vec<StoredCommand>,
    /// Its events, in order of sequence number: those of timers, then one for each input.
    pub events: Vec<TurnEvent>,
    /// The inputs that could not be decided. A log that removes commands earlier than their events writes a dead letter
    /// for each of them before the turn becomes visible: it is never lost, but may be written twice.
    pub dead: Vec<Undecidable>,
}

impl Turn {
    /// Each event, with the command that it decides. The events of timers decide none.
    pub fn decided(&self) -> impl Iterator<Item = (&TurnEvent, Option<&StoredCommand>)> {
        let timers = self.events.len().saturating_sub(self.inputs.len());
        let inputs = iter::repeat_n(None, timers).chain(self.inputs.iter().map(Some));
        self.events.iter().zip(inputs)
    }
}

/// An event that a turn writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TurnEvent {
    /// Its sequence number in the partition.
    pub seq: u64,
    /// The pool of the event, if it has one. It is the key of the record in a log whose records have keys; no reader
    /// depends on it.
    pub key: Option<PoolId>,
    /// The framed event.
    pub bytes: Vec<u8>,
}

/// The outcome of a commit. There is no fifth case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitOutcome {
    /// The turn is durable and visible.
    Ok,
    /// Nothing was written: drop the stage and decide again.
    Aborted,
    /// Another owner has the partition: send no answers and drop the partition.
    Fenced,
    /// The outcome is unknown: drop everything, claim again and read the log. Never guess.
    Unknown,
}

impl CommitOutcome {
    /// The name in metrics and spans.
    pub fn name(self) -> &'static str {
        match self {
            CommitOutcome::Ok => "ok",
            CommitOutcome::Aborted => "aborted",
            CommitOutcome::Fenced => "fenced",
            CommitOutcome::Unknown => "unknown",
        }
    }
}

/// The result of a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polled {
    /// Commands were added to the batch.
    Records,
    /// No command came in time.
    Idle,
    /// This owner gets no more commands and has to end: the sink is closed and everything that was handed over has been
    /// polled, or [`OwnerControl`] has told the owner to stop.
    Closed,
}

/// A partition owned by this thread. Dropping it gives the partition up.
pub trait OwnedPartition: Send {
    /// Adds waiting commands to `batch`: at most [`crate::limits::TURN_RECORDS_MAX`] records and
    /// [`crate::limits::TURN_BYTES_MAX`] bytes, but always the first one. Offsets continue where the last poll ended.
    /// Waits at most `wait` for the first. The next owner polls, in the same order, what this owner polled and never
    /// committed. A command leaves the queue only with the turn that decides it, or with the process if the log keeps
    /// undecided commands in memory.
    ///
    /// # Errors
    /// [`LogError`]: the partition has to be claimed again, unless a law is broken.
    fn poll(&mut self, batch: &mut Vec<StoredCommand>, wait: Duration) -> Result<Polled, LogError>;

    /// Why commands that are in the log are not handed over for now; `None` when they are handed over. Meanwhile the
    /// partition waits and keeps its owner.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// The last time of the log's own clock, if it has one, to compare with the owner's clock.
    fn stamp(&self) -> Option<Stamp> {
        None
    }

    /// Makes a turn durable. On [`CommitOutcome::Ok`] it survives the loss of this process and, where the log promises
    /// it, of the machine; before that no reader sees any of it. After any other outcome the partition has to be
    /// claimed again, but after `Aborted` the same inputs may be tried again at once. A turn may hold fewer inputs than
    /// were polled, or none; the rest go into later turns. A turn without inputs and events is `Ok` and writes nothing.
    ///
    /// # Panics
    /// When the owner still has the partition and the turn does not start at the end of the log: it would leave a gap.
    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome;
}

/// A log whose partitions can be claimed.
pub trait PartitionLog: Send + Sync {
    /// The owned partition.
    type Owned: OwnedPartition;

    /// Takes the partition: fences every earlier owner, then hands every committed event from `from_seq` on to `fold`,
    /// in order and without a gap. When it returns `Ok`, `fold` has seen all that any earlier owner committed or ever
    /// will, and the next poll starts at `fold`'s last answer: the input offset after the last one decided. With
    /// `from_seq` at the end, `fold` is not called, and the log itself knows that offset.
    ///
    /// # Errors
    /// [`ClaimError`], also when the log ends before `from_seq`. Then nobody owns the partition, not even the earlier
    /// owner.
    fn claim(&self, partition: u32, from_seq: u64, fold: &mut Fold<'_>) -> Result<Self::Owned, ClaimError>;

    /// Whether the partition is not to be decided any more in this process, so that who reads its events need not come to their end.
    fn is_closed(&self, _partition: u32) -> bool {
        false
    }

    /// The feature level at which its owners write. A log that only this process serves has the newest one.
    fn level(&self) -> FeatureLevel {
        FeatureLevel::default()
    }
}

/// Folds one event and returns the next input offset after it.
pub type Fold<'a> = dyn FnMut(StoredEvent) -> Result<u64, Breach> + 'a;

/// The moment at which an owner that is told to stop ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopWhen {
    /// At its next poll, or at once if it waits in a poll.
    Now,
    /// When it has polled every command that this process is known to have appended, or within
    /// [`crate::limits::SHUTDOWN_REST_MS`]: without this limit, commands that cannot be read would keep it from ending.
    OwnCommandsPolled,
}

/// Tells the owners of this process when to stop, from any thread. A call holds for the partition's owner, for one that
/// is being started, and for later ones, until [`OwnerControl::allow`].
pub trait OwnerControl: Send + Sync {
    /// Tells the partition's owner to stop: its poll returns [`Polled::Closed`] at once. A turn that it commits
    /// meanwhile is committed like any other.
    fn stop(&self, partition: u32, when: StopWhen);

    /// Tells the partition's owner to stop, as with [`StopWhen::Now`], once it sees that another process has written to
    /// the partition. It checks several times a second, and serves until then.
    fn step_down_when_fenced(&self, partition: u32);

    /// Whether the partition's owner has to stop now.
    fn is_to_stop(&self, partition: u32) -> bool;

    /// Cancels [`OwnerControl::stop`] and [`OwnerControl::step_down_when_fenced`]. To be called before a new owner
    /// starts, when no earlier one is left.
    fn allow(&self, partition: u32);
}
