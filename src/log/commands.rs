//! Commands: what callers ask, on its way into the log and out of it again.

use super::error::LogError;
use crate::domain::CommandId;
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
    /// The command's id if it takes something back (an Abandon): a queue that is full for others still has room for it.
    pub cancels: Option<CommandId>,
}

/// Why a command was not taken. Nothing of it is in the log, now or later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// As many commands wait as the bound allows.
    Full,
    /// The log takes no more commands: it is closing, or the partition has stopped.
    Closed,
}

/// Appending commands, from any thread.
pub trait CommandSink: Send + Sync {
    /// Hands a command over without waiting. `Ok` means that an owner polls it after every command that this caller handed
    /// over to the partition before, unless the process ends first. What became of it is known by its event alone.
    ///
    /// # Errors
    /// [`AppendError`]: the command will never be decided.
    fn append(&self, command: NewCommand<'_>) -> Result<(), AppendError>;

    /// How many commands of the partition were handed over and not yet polled, as far as this process knows.
    fn waiting(&self, partition: u32) -> usize;

    /// For how long commands have been waiting without any being polled, as far as this process knows; zero where the
    /// owner is of this process and says itself how long it takes.
    fn stalled(&self, partition: u32) -> Duration;
}

/// The way in for the commands of one process, into a log that takes them over a network. Dropping it waits until what was
/// taken is handed to the network.
pub trait CommandProducer: CommandSink {
    /// Has `told` called with the id of every Abandon that is in the log for good, though nobody may have decided it yet.
    /// It is called on a thread of the log and must not wait. A second call takes the place of the first.
    fn on_abandon_durable(&self, told: Box<dyn Fn(CommandId) + Send + Sync>);

    /// Takes no more commands, and returns when all that were taken are in the log, or after `limit`. Answers how many are
    /// not known to be there.
    fn close(&self, limit: Duration) -> usize;
}

/// A command as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredCommand {
    /// Its place among the partition's commands, from 0.
    pub offset: u64,
    /// How many offsets right before it hold no command and never will; 0 in a log whose every offset holds one. The record
    /// before it stands right before those.
    pub skipped: u64,
    /// The bytes appended.
    pub bytes: Vec<u8>,
}

/// What stands for the bytes of a command that names another log as its own: nobody can decide it here.
pub const OF_ANOTHER_LOG: &[u8] = b"asked of another log";

/// Reading commands beside their owner, for tools that inspect a log.
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
    fn commands(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError>;
}
