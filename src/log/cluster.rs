//! What a log that several processes share has to do in addition to the other traits. Each process owns some partitions
//! and follows the others.

use super::commands::CommandProducer;
use super::error::LogError;
use super::events::{CommittedTail, EventStream};
use super::manifest::Manifest;
use super::membership::{ClusterDistance, Fitness, JoinedGroup, OwnedPosition, OwnerNotes};
use super::ownership::{OwnerControl, PartitionLog};
use super::replies::{ReplyChannel, ReplyReader};
use crate::time::Stamp;
use std::sync::Arc;

/// A log that several processes share, as the threads of one process use it. It holds connections, which close when the
/// last handle is dropped.
pub trait ClusterLog: PartitionLog + OwnerControl + CommittedTail + EndOffsets + 'static {
    /// The stream of the events that other owners commit.
    type Stream: EventStream + 'static;

    /// The manifest, which identifies the log.
    fn manifest(&self) -> &Manifest;

    /// The sink that appends this process's commands. Each process has one.
    ///
    /// # Errors
    /// [`LogError`] when no client or thread can be made.
    fn producer(&self) -> Result<Arc<dyn CommandProducer>, LogError>;

    /// A new stream, which follows no partition yet.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    fn stream(&self) -> Result<Self::Stream, LogError>;

    /// Sends replies to what owners of this process decide. Replies to gateway number `own` go directly to `gateway`.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made, or the log cannot carry replies.
    fn replies(&self, own: u64, gateway: Arc<dyn ReplyChannel>) -> Result<Arc<dyn ReplyChannel>, LogError>;

    /// Reads the replies to the gateway of this number. The reader hands over every reply that is sent to it after this
    /// call.
    ///
    /// # Errors
    /// [`LogError`] when replies cannot be read.
    fn reply_reader(&self, gateway: u64) -> Result<Box<dyn ReplyReader>, LogError>;

    /// Makes this process a member of the group of owners, and prepares what its first claims need. It enters the group
    /// as soon as `fitness` says [`Fitness::Whole`], or a minute later if it says [`Fitness::Partial`]: a process that
    /// is given partitions before it has their states keeps other processes from serving them. It stays out of the
    /// group at [`Fitness::Nothing`], and at [`Fitness::Lacking`] until it is called with
    /// [`Membership::resume`](super::Membership::resume). It leaves for good at [`Fitness::Never`]. `positions` returns
    /// the partitions that this process serves, for the notes that its membership writes (see [`OwnerNotes`]).
    ///
    /// # Errors
    /// [`LogError`] when no client or thread can be made.
    fn join(
        &self,
        fitness: Box<dyn Fn() -> Fitness + Send>,
        positions: Box<dyn Fn() -> Vec<OwnedPosition> + Send>,
    ) -> Result<JoinedGroup, LogError>;

    /// Says, until the answer is dropped, that this process serves the log and what it can read, and follows the feature level
    /// of the log.
    ///
    /// # Errors
    /// [`LogError`] when no client or thread can be made.
    fn attend(&self) -> Result<Box<dyn Send>, LogError>;

    /// Reads the notes of owners, without being an owner.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    fn owner_notes(&self) -> Result<Box<dyn OwnerNotes>, LogError>;

    /// Measures the round trip to the cluster.
    ///
    /// # Errors
    /// [`LogError`] when no client can be made.
    fn distance(&self) -> Result<Box<dyn ClusterDistance>, LogError>;

    /// The time on the clock of the partition's broker when this process last saw a record of it. `None` before the
    /// first record, and where brokers do not stamp records.
    fn broker_clock(&self, partition: u32) -> Option<Stamp>;
}

/// The ends of the partitions' events in the log's own offsets, records of open turns included. Threads that prove that
/// a state is current read them several times a second.
pub trait EndOffsets: Send + Sync {
    /// The offset after the partition's last record, records of open turns included: every event that any caller knows
    /// of by now lies before it. It never goes back, and is at least [`CommittedTail::end`]. Waits for the log for at
    /// most a second.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer in time, or has no such partition.
    fn end_offset(&self, partition: u32) -> Result<i64, LogError>;

    /// The end offset that the last turn of this process left behind; `None` if this process has written none. It equals
    /// [`EndOffsets::end_offset`] for as long as nobody else has written.
    fn written_end_offset(&self, partition: u32) -> Option<i64>;
}
