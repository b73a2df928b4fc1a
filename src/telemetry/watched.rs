//! The parts of the process that gauges are read from. None of them is kept alive by being watched.

use crate::gateway::Gateway;
use crate::log::CommandSink;
use crate::replica::{PartitionHandle, Replica};
use std::sync::{Arc, Weak};

/// What gauges are read from.
pub(super) struct Watched {
    pub(super) gateway: Weak<Gateway>,
    pub(super) sink: Weak<dyn CommandSink>,
    pub(super) replica: Weak<Replica>,
}

/// What turns cost on one partition of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// Turns that had to wait because the coordinator was still busy.
    pub waited: u64,
    /// Commits that took 90 ms or more.
    pub slow_commits: u64,
    /// The pause between two turns, in microseconds.
    pub pause_us: u64,
    /// Offsets of commands that cannot be read because a foreign transaction is open.
    pub held_back: u64,
    /// Dead letters that could not be written, counted again with every try.
    pub letter_failures: u64,
}

/// What the pace of turns is read from.
pub(super) struct Pacing {
    pub(super) partitions: u32,
    pub(super) pace: Box<dyn Fn(u32) -> Pace + Send + Sync>,
}

impl Watched {
    pub(super) fn partition(&self, partition: u32) -> Option<Arc<PartitionHandle>> {
        self.replica.upgrade()?.partition(partition).cloned()
    }
}
