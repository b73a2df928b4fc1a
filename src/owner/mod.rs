//! The owner of a partition decides its commands. [`Partition`] is the sans-IO machine: `decide` takes a batch, the
//! shell commits the turn, and `conclude` takes the outcome of the commit. Before that, the fold, the store, replies
//! and readers see nothing of the turn. [`shell`] holds the only loop that does this.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod begin;
pub mod checkpointer;
pub mod follower;
pub mod losses;
pub mod moment;
pub mod ownership;
pub mod partition;
pub mod recover;
pub mod report;
mod restoring;
pub mod shell;
mod stage;
pub mod swap;
mod traced;
pub mod withdrawal;

pub use partition::{Partition, Staged};
pub use report::{DeadCommands, OwnerEnd, Recovered, Report, RetiredPools, TurnReport};
