//! The state that a restart would come to: a partition's checkpoint and what the log has after it. Looks, and changes
//! nothing: what is odd is told, not removed.

use crate::domain::{Breach, Law};
use crate::log::{ClaimError, CommittedTail, LogError};
use crate::owner::recover::{kept, replay_from};
use crate::replica::PartitionState;
use crate::store::Store;

/// What a partition's checkpoint is worth.
pub(in crate::cmd) enum Restart {
    /// There is none.
    Absent,
    /// It cannot be read whole or is of something else: the next start removes it and reads the log.
    Odd(String),
    /// It cannot be a state of this log.
    Breach(Breach),
    /// Carried on to `until`, it comes to this state.
    State {
        /// Where the checkpoint ended.
        from: u64,
        /// What it came to.
        state: Box<PartitionState>,
    },
}

/// A log with its checkpoints.
pub(in crate::cmd) struct Restarting<'a> {
    pub(in crate::cmd) log_id: u128,
    pub(in crate::cmd) tail: &'a dyn CommittedTail,
    pub(in crate::cmd) store: &'a dyn Store,
}

impl Restarting<'_> {
    /// The state at `until`, by way of the checkpoint.
    pub(in crate::cmd) fn restart(&self, partition: u32, until: u64) -> Result<Restart, LogError> {
        let state = match self.checkpoint(partition) {
            Ok(None) => return Ok(Restart::Absent),
            Ok(Some(state)) => state,
            Err(why) => return Ok(Restart::Odd(why)),
        };
        let from = state.position().next_seq;
        if from > until {
            return Ok(Restart::Odd(format!("it holds {from} events, the log only {until}")));
        }
        match replay_from(self.tail, state, until, &mut |_| {}) {
            Ok(state) => Ok(Restart::State { from, state: Box::new(state) }),
            Err(ClaimError::Log(error)) => Err(error),
            Err(ClaimError::Breach(breach)) => {
                let detail = format!("does not follow on the checkpoint at {from}: {}", breach.detail);
                Ok(Restart::Breach(Breach { law: Law::OneState, detail, ..breach }))
            }
        }
    }

    /// The checkpoint's own state.
    pub(in crate::cmd) fn checkpoint(&self, partition: u32) -> Result<Option<PartitionState>, String> {
        kept(self.store, self.log_id, partition)
    }
}
