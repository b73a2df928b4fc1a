//! The state of a partition as it was at a time, or between two events. It begins with the nearest snapshot that does not
//! lie after that, and is folded from there as every other state is.

use super::begin::{Beginning, Moment, Prefer};
use super::recover::{replay_from, replay_through};
use crate::log::ClaimError;
use crate::replica::PartitionState;
use crate::store::SnapshotName;

/// A state as it was, and how it was found.
pub struct Then {
    /// The partition as it was.
    pub state: PartitionState,
    /// The snapshot that it began with; none where the log was read from its first event.
    pub snapshot: Option<SnapshotName>,
    /// Snapshots that were tried before and passed over, and why.
    pub passed_over: Vec<String>,
    /// Events that were read after the beginning.
    pub read: u64,
}

impl Beginning<'_> {
    /// The state at a moment of a partition whose log ends before the event `end`. A moment after that is the end. For a
    /// time, the log is read to its end: a clock that was set back later may show that time once more.
    ///
    /// # Errors
    /// [`ClaimError`] when the log cannot be read or breaks a law, or has lost events that no snapshot covers.
    pub fn then(
        &self,
        partition: u32,
        moment: Moment,
        end: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Then, ClaimError> {
        let first = self.tail.first(partition)?;
        let mut looked = self.look(partition, first, Prefer::Nearest(moment))?;
        let passed_over = std::mem::take(&mut looked.passed_over);
        let (state, snapshot) = looked.state(partition);
        let from = state.position().next_seq;
        let (state, until) = match moment {
            Moment::Before(seq) => (replay_from(self.tail, state, seq.min(end), progress)?, seq.min(end)),
            Moment::At(time) => (replay_through(self.tail, state, end, time, progress)?, end),
        };
        Ok(Then { state, snapshot, passed_over, read: until.saturating_sub(from) })
    }
}
