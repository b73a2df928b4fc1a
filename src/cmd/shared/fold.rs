//! The state that the events of a log lead to, for commands that need one. When the log has lost its first events, it begins
//! with a snapshot that covers them.

use crate::app;
use crate::cmd::Failure;
use crate::config::Config;
use crate::log::{ClaimError, CommittedTail, LogError};
use crate::owner::begin::{Beginning, Examined, Looked, Moment, Prefer};
use crate::owner::moment::Then;
use crate::owner::recover::replay_from;
use crate::replica::PartitionState;
use crate::store::{SnapshotName, Snapshots, StoreError};
use crate::time::text;
use std::sync::Arc;

/// A log, and the place of its snapshots if one is set.
pub(in crate::cmd) struct Folding<'a> {
    log_id: u128,
    tail: &'a dyn CommittedTail,
    snapshots: Option<Arc<dyn Snapshots>>,
}

impl<'a> Folding<'a> {
    pub(in crate::cmd) fn new(
        config: &Config,
        tail: &'a dyn CommittedTail,
        log_id: u128,
    ) -> Result<Folding<'a>, Failure> {
        let snapshots = app::snapshots(config, log_id).map_err(|error| Failure::Unusable(error.to_string()))?;
        Ok(Folding { log_id, tail, snapshots })
    }

    /// What a partition begins with.
    pub(in crate::cmd) fn begin(&self, partition: u32, prefer: Prefer) -> Result<Looked, LogError> {
        self.beginning().covering(partition, prefer)
    }

    /// All snapshots of a partition, the oldest first, those that hold more than the log as well; none without a place for them.
    pub(in crate::cmd) fn snapshots(&self, partition: u32) -> Result<Vec<SnapshotName>, StoreError> {
        let Some(snapshots) = &self.snapshots else { return Ok(Vec::new()) };
        let (mut names, _) = snapshots.names(partition, u64::MAX)?;
        names.reverse();
        Ok(names)
    }

    /// The newest snapshot of a partition whose log ends with `end`, as far as manifests tell.
    pub(in crate::cmd) fn newest_by_manifest(
        &self,
        partition: u32,
        end: u64,
    ) -> Result<Option<SnapshotName>, StoreError> {
        self.beginning().newest_by_manifest(partition, end)
    }

    /// Reads a snapshot, and compares it with the log.
    pub(in crate::cmd) fn examine(&self, partition: u32, name: &SnapshotName) -> Result<Examined, LogError> {
        self.beginning().examine(partition, name)
    }

    fn beginning(&self) -> Beginning<'_> {
        let Folding { log_id, tail, snapshots } = self;
        Beginning { log_id: *log_id, tail: *tail, snapshots: snapshots.as_deref() }
    }

    /// The state at a moment of a partition whose log ends before the event `end`.
    pub(in crate::cmd) fn then(
        &self,
        partition: u32,
        moment: Moment,
        end: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Then, ClaimError> {
        self.beginning().then(partition, moment, end, progress)
    }

    /// The state before the event `until`, which the log has.
    pub(in crate::cmd) fn state(&self, partition: u32, until: u64) -> Result<PartitionState, ClaimError> {
        let (state, _) = self.begin(partition, Prefer::Newest)?.state(partition);
        replay_from(self.tail, state, until, &mut |_| {})
    }
}

/// A snapshot in words: its name, what is in it, and when that was decided.
pub(in crate::cmd) fn described(name: &SnapshotName, state: &PartitionState) -> String {
    format!("snapshot {} (state digest {}, taken at {})", name.text, state.digest(), text(name.decided_at))
}
