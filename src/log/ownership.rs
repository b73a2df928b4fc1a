//! Owning a partition: taking it, polling its commands, and committing turns.

use super::commands::StoredCommand;
use super::dead_letters::Undecidable;
use super::error::{ClaimError, LogError};
use super::events::StoredEvent;
use crate::domain::{Breach, PoolId};
use crate::time::Stamp;
use std::sync::Arc;
use std::time::Duration;

/// What one turn writes: all of it becomes visible together, or none of it ever.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// The commands it decided, in order of offset; of commands that are lost (see [`crate::domain::EventBody::CommandsLost`])
    /// the last place, without bytes.
    pub inputs: Vec<StoredCommand>,
    /// Its events, in order of sequence number: those of timers, then one for each input.
    pub events: Vec<TurnEvent>,
    /// Those of its inputs that nobody could decide. A log that does not keep commands for as long as their events writes
    /// each of them down before anything of the turn is visible: then it is never lost, and may be there twice.
    pub dead: Vec<Undecidable>,
}

/// An event that a turn writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TurnEvent {
    /// Its place in the partition.
    pub seq: u64,
    /// The pool that it is about, if it is about one: the key of its record in a log whose records have keys. No reader
    /// depends on it.
    pub key: Option<PoolId>,
    /// The framed event.
    pub bytes: Vec<u8>,
}

/// What became of a commit. There is no fifth case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitOutcome {
    /// Durable and visible.
    Ok,
    /// Nothing happened: drop the stage, decide again.
    Aborted,
    /// Another owner has the partition: answer nothing, forget it.
    Fenced,
    /// Nobody knows: drop everything, claim again, read the log, never guess.
    Unknown,
}

/// What a poll found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polled {
    /// Commands were added to the batch.
    Records,
    /// None came in time.
    Idle,
    /// No more commands are handed to this owner, which is to end: the sink is closed and all that was handed over has been
    /// polled, or [`OwnerControl`] has told it to stop.
    Closed,
}

/// A partition owned by this thread. Dropping it gives the partition up.
pub trait OwnedPartition: Send {
    /// Adds the commands that wait to `batch`: at most [`crate::limits::TURN_RECORDS_MAX`] records and
    /// [`crate::limits::TURN_BYTES_MAX`] bytes, the first always; offsets go on where the last poll ended. Waits at most
    /// `wait` for the first. What an owner polled and never committed, the next owner polls, in the same order: a command
    /// leaves by the turn that decided it, or with the process if the log keeps undecided commands in memory.
    ///
    /// # Errors
    /// [`LogError`]: the partition is to be claimed again, unless a law is broken.
    fn poll(&mut self, batch: &mut Vec<StoredCommand>, wait: Duration) -> Result<Polled, LogError>;

    /// Why commands that are in the log are not handed over for now; `None` when they are. The partition waits meanwhile,
    /// and still has its owner.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// What the log's own clock showed last, where it has one: the owner's clock may be held against it.
    fn stamp(&self) -> Option<Stamp> {
        None
    }

    /// Makes a turn durable. On [`CommitOutcome::Ok`] it survives the loss of this process and, where the log promises
    /// it, of the machine; before that no reader sees any of it. After anything but `Ok` the partition is to be
    /// claimed again, except that `Aborted` allows another try with the same inputs. A turn may hold fewer inputs than
    /// were polled, or none; the rest go into later turns. A turn without inputs and events is `Ok` and writes nothing.
    ///
    /// # Panics
    /// When the owner still has the partition and the turn does not go on where the log ends: it would leave a gap.
    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome;
}

/// A log whose partitions can be claimed.
pub trait PartitionLog: Send + Sync {
    /// The owned partition.
    type Owned: OwnedPartition;

    /// Takes the partition: fences every earlier owner, then hands every committed event from `from_seq` on to `fold`,
    /// in order and without a gap. When it returns `Ok`, `fold` has seen all that any earlier owner committed or ever
    /// will, and the next poll starts at `fold`'s last answer: the input offset after the last one decided. With
    /// `from_seq` at the end `fold` sees nothing, and the log itself knows that offset.
    ///
    /// # Errors
    /// [`ClaimError`], also when the log ends before `from_seq`; nobody owns the partition then, the earlier owner
    /// included.
    fn claim(&self, partition: u32, from_seq: u64, fold: &mut Fold<'_>) -> Result<Self::Owned, ClaimError>;
}

/// Folds one event and answers the next input offset after it.
pub type Fold<'a> = dyn FnMut(StoredEvent) -> Result<u64, Breach> + 'a;

/// When an owner that is told to stop does so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopWhen {
    /// At its next poll, or in the one that it waits in.
    Now,
    /// When it has polled every command that this process is known to have appended, or within
    /// [`crate::limits::SHUTDOWN_REST_MS`]: commands that nobody can read would keep it for ever.
    OwnCommandsPolled,
}

/// Telling the owners of this process when to stop, from any thread. What is said holds for the partition's owner, for the
/// one that is being made, and for those after it, until [`OwnerControl::allow`].
pub trait OwnerControl: Send + Sync {
    /// The partition's owner is to stop: its poll answers [`Polled::Closed`], without waiting for the end of its time. A
    /// turn that it commits meanwhile is committed like any other.
    fn stop(&self, partition: u32, when: StopWhen);

    /// The partition's owner is to stop, as by [`StopWhen::Now`], once it sees that somebody else has written to the
    /// partition. It looks several times a second. Until then it goes on.
    fn step_down_when_fenced(&self, partition: u32);

    /// Whether the partition's owner is to stop now.
    fn is_to_stop(&self, partition: u32) -> bool;

    /// Takes back what [`OwnerControl::stop`] and [`OwnerControl::step_down_when_fenced`] said. For whoever is about to make
    /// an owner, when no earlier one is left.
    fn allow(&self, partition: u32);
}
