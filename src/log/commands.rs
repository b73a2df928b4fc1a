//! Commands: the requests of callers, as they are appended to the log and read from it.

use super::error::LogError;
use crate::domain::CommandId;
use crate::trace::TraceContext;
use std::time::Duration;

/// A command on its way into the log.
#[derive(Clone, Copy, Debug)]
pub struct NewCommand<'a> {
    /// The partition it belongs to.
    pub partition: u32,
    /// The record's key: the pool's or the reservation's id. The owner does not use it.
    pub key: &'a [u8],
    /// The framed command, at most [`crate::limits::COMMAND_BYTES_MAX`].
    pub bytes: &'a [u8],
    /// The id of a command that takes something back (an Abandon). A queue that is full for other commands still has
    /// room for it.
    pub cancels: Option<CommandId>,
    /// The span that appends it, if it belongs to a call. It travels beside the command and decides nothing.
    pub trace: Option<&'a TraceContext>,
}

/// Why a command was not accepted. It is not in the log, and never will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// As many commands are waiting as the limit allows.
    Full,
    /// The log accepts no more commands: it is closing, or the partition has stopped.
    Closed,
}

/// Appending commands, from any thread.
pub trait CommandSink: Send + Sync {
    /// Hands a command over without waiting. `Ok` means that an owner polls it after all commands that this caller
    /// handed over to the partition earlier, unless the process ends first. Only its event says how it was decided.
    ///
    /// # Errors
    /// [`AppendError`]: the command will never be decided.
    fn append(&self, command: NewCommand<'_>) -> Result<(), AppendError>;

    /// The number of commands of the partition that were handed over and not yet polled, as far as this process knows.
    fn waiting(&self, partition: u32) -> usize;

    /// The time for which commands have been waiting while none was polled, as far as this process knows. Zero where
    /// the owner is in this process, because it measures this time itself.
    fn stalled(&self, partition: u32) -> Duration;
}

/// Appends the commands of one process to a log over a network. Dropping it waits until the commands that it accepted
/// are handed to the network.
pub trait CommandProducer: CommandSink {
    /// Calls `told` with the id of every Abandon that is in the log for good, even if it is not decided yet. `told`
    /// runs on a thread of the log and must not wait. A second call of this method replaces the first `told`.
    fn on_abandon_durable(&self, told: Box<dyn Fn(CommandId) + Send + Sync>);

    /// Accepts no more commands, and returns when all accepted ones are in the log, or after `limit`. Returns how many
    /// are not known to be in the log.
    fn close(&self, limit: Duration) -> usize;
}

/// A command as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredCommand {
    /// Its offset among the partition's commands, from 0.
    pub offset: u64,
    /// The number of offsets directly before it that hold no command and never will. It is 0 in a log in which every
    /// offset holds a command.
    pub skipped: u64,
    /// The bytes appended.
    pub bytes: Vec<u8>,
    /// The span that has appended it, where it is known.
    pub trace: Option<TraceContext>,
}

/// Replaces the bytes of a command that names another log as its own. Such a command cannot be decided in this log.
pub const OF_ANOTHER_LOG: &[u8] = b"asked of another log";

/// Reads commands without owning the partition, for tools that inspect a log.
pub trait CommandTail: Send + Sync {
    /// The offset of the first command that the log still has. Without commands, the offset of the next one.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    fn first(&self, partition: u32) -> Result<u64, LogError>;

    /// Commands from this offset on, in order: at least one if there is one, and then as many as fit `bytes_max`. Empty
    /// at the end. An offset that holds no command is left out.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read, or ends before this offset.
    fn commands(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<StoredCommand>, LogError>;
}
