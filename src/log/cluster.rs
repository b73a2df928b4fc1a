//! What a log owes beside the other traits when several processes share it: each owns some partitions and follows the
//! others.

use super::commands::CommandProducer;
use super::error::LogError;
use super::events::{CommittedTail, EventStream};
use super::manifest::Manifest;
use super::membership::{ClusterDistance, Fitness, JoinedGroup, OwnedPosition, OwnerNotes};
use super::ownership::{OwnerControl, PartitionLog};
use super::replies::{ReplyChannel, ReplyReader};
use crate::time::Stamp;
use std::sync::Arc;

/// A log that several processes share, as the threads of one process use it. Who holds one holds its connections: the last
/// to drop it closes them.
pub trait ClusterLog: PartitionLog + OwnerControl + CommittedTail + EndOffsets + 'static {
    /// How events of other owners come.
    type Stream: EventStream + 'static;

    /// What identifies the log.
    fn manifest(&self) -> &Manifest;

    /// The way in for this process's commands. There is one for each process.
    ///
    /// # Errors
    /// [`LogError`] when no client or thread can be made.
    fn producer(&self) -> Result<Arc<dyn CommandProducer>, LogError>;

    /// A stream that follows no partition yet.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    fn stream(&self) -> Result<Self::Stream, LogError>;

    /// The way back for what owners of this process decide. Replies to the gateway number `own` go to `gateway` directly.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made, or the log cannot carry replies.
    fn replies(&self, own: u64, gateway: Arc<dyn ReplyChannel>) -> Result<Arc<dyn ReplyChannel>, LogError>;

    /// Reads the replies to the gateway of this number. Every reply that is sent to it after this call, the reader hands
    /// over.
    ///
    /// # Errors
    /// [`LogError`] when replies cannot be read.
    fn reply_reader(&self, gateway: u64) -> Result<Box<dyn ReplyReader>, LogError>;

    /// Makes this process a member of the group of owners, and has what its first claims need made ready. It enters the
    /// group as soon as `fitness` says [`Fitness::Whole`], or a minute later if it says [`Fitness::Partial`]: a process
    /// that was given partitions before it has their states would keep others from serving them. It stays out at
    /// [`Fitness::Nothing`], and leaves for good at [`Fitness::Never`]. `positions` answers the partitions that this
    /// process serves, for the notes that its membership writes (see [`OwnerNotes`]).
    ///
    /// # Errors
    /// [`LogError`] when no client or thread can be made.
    fn join(
        &self,
        fitness: Box<dyn Fn() -> Fitness + Send>,
        positions: Box<dyn Fn() -> Vec<OwnedPosition> + Send>,
    ) -> Result<JoinedGroup, LogError>;

    /// Reads what owners note, without being one.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    fn owner_notes(&self) -> Result<Box<dyn OwnerNotes>, LogError>;

    /// Measures the way to the cluster.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    fn distance(&self) -> Result<Box<dyn ClusterDistance>, LogError>;

    /// What the clock of the partition's broker showed when this process last saw a record of it; `None` until it did, and
    /// where brokers do not stamp records.
    fn broker_clock(&self, partition: u32) -> Option<Stamp>;
}

/// How far the events of partitions go, counted in the log's own offsets, decided or not. Threads that prove that a state
/// is current ask for it several times a second.
pub trait EndOffsets: Send + Sync {
    /// The offset after the partition's last record, records of open turns included: every event that anybody has been
    /// told of by now lies before it. It never goes back, and is at least [`CommittedTail::end`]. Waits for the log at
    /// most a second.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer in time, or has no such partition.
    fn end_offset(&self, partition: u32) -> Result<i64, LogError>;

    /// The end offset that the last turn of this process left behind; `None` if this process has written none. It equals
    /// [`EndOffsets::end_offset`] for as long as nobody else has written.
    fn written_end_offset(&self, partition: u32) -> Option<i64>;
}
