//! A partition's state in memory, folded from its events, and what may be read of it. One fold in three moods:
//! *rebuilding* from a checkpoint and the log, *owning* and fed by its own concluded turns, *following* a log that
//! another process writes. It never decides, never waits, and reads no clock but the one it is handed.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod checkpoint;
mod decided;
mod orders;
pub mod partition;
mod partitions;
mod past;
mod pools;
pub mod query;
mod slab;
pub mod state;

pub use checkpoint::Draft;
pub use orders::Orders;
pub use partition::{ClockRequest, ClockSetOutcome, PartitionHandle, PartitionStatus, StatusKind};
pub use partitions::Replica;
pub use pools::Pools;
pub use query::{Listing, PoolPage, Search};
pub use state::{PartitionState, Position};
