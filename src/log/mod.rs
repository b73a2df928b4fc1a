//! The seam: what Headroom needs of a log, whatever the log is. The doc comments state duties (what may be seen when);
//! `tests/it/contract.rs` holds every implementation to one list of cases. Nothing here knows what a decision is: bytes
//! in, bytes out, in order.

pub mod dead_letters;
pub mod embedded;
pub mod kafka;
mod opening;

pub use opening::Opening;

use crate::domain::{Breach, ChainedEvent, CommandId, Micros, PoolId};
use crate::time::Stamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A command on its way into the log.
#[derive(Clone, Copy, Debug)]
pub struct NewCommand<'a> {
    /// The partition it belongs to.
    pub partition: u32,
    /// The record's key: the pool's or the reservation's id. It carries no meaning to the owner.
    pub key: &'a [u8],
    /// The framed command, at most [`crate::limits::COMMAND_BYTES_MAX`].
    pub bytes: &'a [u8],
    /// Its id if it takes something back (an Abandon): places are kept for those when all others are shed.
    pub cancels: Option<CommandId>,
}

/// Why a command was not taken. Nothing of it is in the log, now or later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// As many are waiting as may.
    Full,
    /// The log takes no more: it is closing, or the partition has stopped.
    Closed,
}

/// Appending commands, from any thread.
pub trait CommandSink: Send + Sync {
    /// Hands a command over without waiting. `Ok` means that it will be polled after every command that this caller
    /// handed over to the partition before, unless the process ends first; what became of it is known by its event
    /// alone.
    ///
    /// # Errors
    /// [`AppendError`]: the command will never be decided.
    fn append(&self, command: NewCommand<'_>) -> Result<(), AppendError>;

    /// Commands handed over to the partition and not yet polled, as far as this process knows.
    fn waiting(&self, partition: u32) -> usize;

    /// For how long some have been waiting without any being polled, as far as this process knows; none where the owner
    /// is of this process and says itself how long it takes.
    fn stalled(&self, partition: u32) -> Duration;
}

/// A command as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place among the partition's commands, from 0.
    pub offset: u64,
    /// How many places right before it hold no command and never will; 0 in a log that only holds commands. The record
    /// before it stands right before those.
    pub skipped: u64,
    /// The bytes appended.
    pub bytes: Vec<u8>,
}

/// What stands for the bytes of a command that says that it is asked of another log: nobody can decide it here.
pub const OF_ANOTHER_LOG: &[u8] = b"asked of another log";

/// An event as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Its place in the partition.
    pub seq: u64,
    /// The framed event.
    pub bytes: Vec<u8>,
}

/// What one turn writes: all of it becomes visible together, or none of it ever.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// The commands it decided, in order of offset; of commands that are lost (see [`crate::domain::EventBody::CommandsLost`])
    /// the last place, without bytes.
    pub inputs: Vec<Record>,
    /// Its events, in order of sequence number: those of timers, then one for each input.
    pub events: Vec<StoredEvent>,
    /// The pools that its events are about, in their order, none where one is about no pool: the key of an event's
    /// record, where records have keys. They may be left out, and nobody here reads them.
    pub pools: Vec<Option<PoolId>>,
    /// Those of its inputs that nobody could decide. A log that does not keep commands for as long as their events writes
    /// each of them down before anything of the turn is visible: then it is never lost, and may be there twice.
    pub dead: Vec<dead_letters::Undecidable>,
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
    /// None will come any more: all that was handed over has been polled and the sink is closed.
    Closed,
}

/// A partition owned by this thread. Dropping it gives it up.
pub trait OwnedPartition: Send {
    /// Adds what is waiting to `batch`: at most [`crate::limits::TURN_RECORDS_MAX`] records and
    /// [`crate::limits::TURN_BYTES_MAX`] bytes, the first always; offsets go on where the last poll ended. Waits at most
    /// `wait` for the first. What an owner polled and never committed, the next one polls, in the same order: a command
    /// leaves by the turn that decided it, or with the process if the log keeps undecided ones in memory.
    ///
    /// # Errors
    /// [`LogError`]: the partition is to be claimed again, unless a law is broken.
    fn poll(&mut self, batch: &mut Vec<Record>, wait: Duration) -> Result<Polled, LogError>;

    /// Why commands that are there are not handed over for now, if that is so: the partition waits, and still has its
    /// owner.
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
    /// were polled, or none; the rest go into later turns. A turn without inputs and events is `Ok` and nothing.
    ///
    /// # Panics
    /// When the owner still has the partition and the turn does not go on where the log ends: it would leave a gap.
    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome;
}

/// Taking partitions.
pub trait PartitionLog: Send + Sync {
    /// The owned partition.
    type Owned: OwnedPartition;

    /// Takes the partition: fences every earlier owner, then hands every committed event from `from_seq` on to `fold`,
    /// in order and without a gap. When it returns `Ok`, `fold` has seen all that any earlier owner committed or ever
    /// will, and the next poll starts at `fold`'s last answer: the input offset after the last one decided. With
    /// `from_seq` at the end `fold` sees nothing, and the log itself knows that offset.
    ///
    /// # Errors
    /// [`ClaimError`], also when the log ends before `from_seq`; nothing is owned then, the earlier owner included.
    fn claim(&self, partition: u32, from_seq: u64, fold: &mut Fold<'_>) -> Result<Self::Owned, ClaimError>;
}

/// Folds one event and answers the next input offset after it.
pub type Fold<'a> = dyn FnMut(StoredEvent) -> Result<u64, Breach> + 'a;

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

/// Reading commands beside whoever decides them, for those who look after a log.
pub trait CommandTail: Send + Sync {
    /// The offset of the first command that the log still has, or will have.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    fn first(&self, partition: u32) -> Result<u64, LogError>;

    /// Commands from this offset on, in order: at least one if there is one, and then as many as fit `bytes_max`. Empty
    /// at the end. An offset that holds no command is left out.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read, or never reached so far.
    fn commands(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<Record>, LogError>;
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

/// An outcome on its way to the gateway that waits for it. It is sent after the commit, never before.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The gateway.
    pub to: u64,
    /// The decision, as recorded.
    pub decided: ChainedEvent,
}

/// Carrying outcomes back. A reply may be lost: the committed tail tells the same.
pub trait ReplyChannel: Send + Sync {
    /// Sends replies, without waiting.
    fn send(&self, replies: Vec<Reply>);
}

/// The log cannot do what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogError {
    /// What happened, and to which file or topic, for a person.
    pub detail: String,
    /// The law that it breaks, if it does: then trying again does not help.
    pub breach: Option<Box<Breach>>,
}

impl LogError {
    /// With this detail.
    pub fn new(detail: impl Into<String>) -> LogError {
        LogError { detail: detail.into(), breach: None }
    }
}

impl From<Breach> for LogError {
    fn from(breach: Breach) -> LogError {
        LogError { detail: breach.to_string(), breach: Some(Box::new(breach)) }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for LogError {}

/// Why a partition could not be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimError {
    /// The log did not let it; trying again may help.
    Log(LogError),
    /// The log breaks a law: the partition must not be served.
    Breach(Breach),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimError::Log(error) => error.fmt(f),
            ClaimError::Breach(breach) => breach.fmt(f),
        }
    }
}

impl std::error::Error for ClaimError {}

impl From<LogError> for ClaimError {
    fn from(error: LogError) -> ClaimError {
        match error.breach {
            Some(breach) => ClaimError::Breach(*breach),
            None => ClaimError::Log(error),
        }
    }
}

/// What identifies a log for good: pinned when it is made, checked whenever it is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Drawn when the log was made.
    pub log_id: u128,
    /// How many partitions it has.
    pub partitions: u32,
    /// How pools map to them, see [`crate::domain::route::HASH_VERSION`].
    pub hash_version: u32,
    /// How its files are laid out.
    pub format_version: u32,
    /// For how long keys are remembered, see [`crate::limits::DEDUP_WINDOW_MS`].
    pub dedup_window_ms: u64,
    /// How much is remembered, see [`crate::limits::MEMORY_VERSION`].
    pub memory_version: u32,
    /// When it was made.
    pub created_at: Micros,
}
