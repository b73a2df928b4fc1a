//! The state that a restart would come to: a partition's checkpoint, and the events after it. Changes nothing: a
//! checkpoint that does not match is reported, and not deleted as a restart would.

use crate::domain::{Breach, Law};
use crate::log::{ClaimError, CommittedTail, LogError};
use crate::owner::recover::{kept, replay_from};
use crate::replica::PartitionState;
use crate::store::sled::SledStore;
use crate::store::{StoreError, StoreErrorKind};

/// The state that a partition's checkpoint leads to.
pub(in crate::cmd) enum Restart {
    /// The partition has no checkpoint.
    Absent,
    /// Another process has the checkpoint open: it is not known what is in it.
    InUse,
    /// The checkpoint cannot be opened, as of another user, and may be sound: the next start goes on without it.
    Unopened(String),
    /// The checkpoint is damaged or belongs to another log or version: the next start deletes it and reads the log.
    Mismatch(String),
    /// The events of the log do not follow on the checkpoint.
    Breach(Breach),
    /// The checkpoint and the events after it lead to this state.
    State {
        /// The sequence number after the last event in the checkpoint.
        from: u64,
        /// The state after all events.
        state: Box<PartitionState>,
    },
}

/// A log and the checkpoints of it in a data directory.
pub(in crate::cmd) struct Restarting<'a> {
    pub(in crate::cmd) log_id: u128,
    pub(in crate::cmd) tail: &'a dyn CommittedTail,
    pub(in crate::cmd) store: &'a SledStore,
}

impl Restarting<'_> {
    /// The state at `until`, read from the checkpoint and the events after it.
    pub(in crate::cmd) fn restart(&self, partition: u32, until: u64) -> Result<Restart, LogError> {
        if self.store.is_in_use(partition) {
            return Ok(Restart::InUse);
        }
        let state = match self.checkpoint(partition) {
            Ok(None) => return Ok(Restart::Absent),
            Ok(Some(state)) => state,
            Err(error) if error.kind == StoreErrorKind::Damaged => return Ok(Restart::Mismatch(error.detail)),
            Err(error) => return Ok(Restart::Unopened(error.detail)),
        };
        let (from, first) = (state.position().next_seq, self.tail.first(partition)?);
        if from < first {
            return Ok(Restart::Mismatch(format!("its next event is seq {from}, and the log begins with seq {first}")));
        }
        if from > until {
            return Ok(Restart::Mismatch(format!("it was made after {from} events, and the log has only {until}")));
        }
        match replay_from(self.tail, state, until, &mut |_| {}) {
            Ok(state) => Ok(Restart::State { from, state: Box::new(state) }),
            Err(ClaimError::Log(error)) => Err(error),
            Err(ClaimError::Breach(breach)) => {
                let detail = format!("the event does not follow on the checkpoint at {from}: {}", breach.detail);
                Ok(Restart::Breach(Breach { law: Law::OneState, detail, ..breach }))
            }
        }
    }

    /// The state in the checkpoint; the error says why it cannot be used.
    pub(in crate::cmd) fn checkpoint(&self, partition: u32) -> Result<Option<PartitionState>, StoreError> {
        kept(self.store, self.log_id, partition)
    }
}
