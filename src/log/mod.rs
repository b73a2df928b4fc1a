//! The traits that every log implements, whether embedded or on Kafka. Their doc comments state the duties: which
//! events readers see at which time, what survives which fault, and what an error means. `tests/it/contract.rs` holds
//! every implementation to one list of cases.
//!
//! Commands and events pass through these traits as framed bytes, in order, and no log reads them. Of the domain a log
//! knows only a few types that accompany the bytes: the id of a command that takes something back, the pool that is an
//! event's key, times, the event that a reply carries, and the breach that it reports when its own contents contradict
//! each other.

mod cluster;
mod commands;
pub mod dead_letters;
pub mod embedded;
mod error;
mod events;
pub mod kafka;
mod level;
mod manifest;
mod membership;
mod opening;
mod ownership;
mod replies;

pub use cluster::{ClusterLog, EndOffsets};
pub use commands::{AppendError, CommandProducer, CommandSink, CommandTail, NewCommand, OF_ANOTHER_LOG, StoredCommand};
pub use error::{ClaimError, LogError, LogErrorKind};
pub use events::{CommittedTail, EventStream, ReadBy, StoredEvent, Streamed};
pub use level::{
    EMBEDDED_LEVEL, FEATURE_LEVEL, FIRST_LEVEL, FeatureLevel, PACKED_LEVEL, RETIREMENT_LEVEL, known_embedded_level,
    known_level,
};
pub use manifest::Manifest;
pub use membership::{
    ClusterDistance, Company, Fitness, JoinedGroup, Membership, MembershipChange, OwnedPosition, OwnerNotes,
};
pub use opening::Opening;
pub use ownership::{
    CommitOutcome, Fold, OwnedPartition, OwnerControl, PartitionLog, Polled, StopWhen, Turn, TurnEvent,
};
pub use replies::{Reply, ReplyChannel, ReplyReader};
