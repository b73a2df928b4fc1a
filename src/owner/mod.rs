//! Deciding for a partition. [`Partition`] is the sans-IO machine: `decide` a batch, let the shell commit, `conclude`
//! with what became of it; nothing staged is seen by the fold, the store, a reply or a reader before that. [`shell`]
//! holds the only loop that does so.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod checkpointer;
pub mod crash;
pub mod follower;
pub mod losses;
pub mod ownership;
pub mod partition;
pub mod recover;
pub mod report;
pub mod shell;
mod stage;
pub mod withdrawal;

pub use partition::{Partition, Staged};
pub use report::{DeadCommands, Recovered, Report, TurnReport};
