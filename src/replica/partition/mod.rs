//! What a process knows of one partition. [`PartitionHandle`] holds the state and composes the rest: what the partition
//! is doing, how fresh the state is, how busy the owner is, the partition's time, how far the state is rebuilt, and
//! whether the log answers.

mod freshness;
mod handle;
mod liveness;
mod load;
mod progress;
pub mod status;
mod swap;
mod time;

pub use handle::{EXPIRING, PartitionHandle, RESTORING};
pub use liveness::{Liveness, LogContact};
pub use load::{EndedTurns, Load};
pub use progress::RestoreProgress;
pub use status::{PartitionStatus, StatusKind, TransitionRefused};
pub use swap::{Brought, Compared, Replaced, Seal, SwapRequest, Swapped};
pub use time::{ClockRequest, ClockSetOutcome, PartitionTime};
