//! What a process knows of one partition, apart from the state itself: what its thread is doing, how fresh the state is, how
//! busy its owner is, and its time.

mod handle;

pub use handle::{EXPIRING, PartitionHandle, PartitionStatus, RESTORING};
