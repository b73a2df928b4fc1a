//! Bringing a partition's state back: from its checkpoint where that is beyond doubt, and from the log always.

use super::report::Report;
use crate::domain::Breach;
use crate::limits::TURN_BYTES_MAX;
use crate::log::{ClaimError, CommittedTail, PartitionLog, StoredEvent};
use crate::replica::checkpoint::Restoring;
use crate::replica::{PartitionState, Shared};
use crate::store::Store;
use crate::time::Clock;
use crate::wire;

/// What recovery needs.
pub struct Recovery<'a> {
    /// The log's own id, which a checkpoint must name.
    pub log_id: u128,
    /// The committed events.
    pub tail: &'a dyn CommittedTail,
    /// The checkpoints.
    pub store: &'a dyn Store,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Who listens.
    pub report: &'a dyn Report,
}

impl Recovery<'_> {
    /// Claims the partition and leaves `shared` at the end of its log.
    ///
    /// # Errors
    /// [`ClaimError`]; `shared` is then not to be served.
    pub fn claim<L: PartitionLog>(&self, log: &L, shared: &Shared, partition: u32) -> Result<L::Owned, ClaimError> {
        let begun = self.clock.now();
        let checkpoint = self.checkpoint(partition);
        let from_checkpoint = checkpoint.is_some();
        let state = checkpoint.unwrap_or_else(|| PartitionState::new(partition));
        let from = state.position().next_seq;
        let owned = match replay(log, shared, state) {
            // The log does not go on where the checkpoint ends: one of them is wrong, and the log is the truth.
            Err(ClaimError::Breach(breach)) if from_checkpoint => {
                self.wipe(partition, &breach.to_string());
                replay(log, shared, PartitionState::new(partition))?
            }
            other => other?,
        };
        let end = shared.read(|state| state.position().next_seq);
        let took_us = self.clock.now().0.saturating_sub(begun.0);
        self.report.recovered(partition, end.saturating_sub(from), took_us, from_checkpoint);
        Ok(owned)
    }

    /// The state in the partition's checkpoint, if there is one and nothing about it is odd. An odd one is removed.
    pub fn checkpoint(&self, partition: u32) -> Option<PartitionState> {
        match self.checked(partition) {
            Ok(state) => state,
            Err(why) => {
                self.wipe(partition, &why);
                None
            }
        }
    }

    fn checked(&self, partition: u32) -> Result<Option<PartitionState>, String> {
        let mut restoring = Restoring::new(partition, self.log_id);
        let loaded = self.store.load(partition, &mut |key, value| restoring.row(key, value));
        let Some(mark) = loaded.map_err(|error| error.detail)? else { return Ok(None) };
        let state = restoring.finish(&mark)?;
        let position = *state.position();
        let end = self.tail.end(partition).map_err(|error| error.detail)?;
        if position.next_seq > end {
            return Err(format!("it is ahead of the log: {} events, the log has {end}", position.next_seq));
        }
        let Some(last) = position.next_seq.checked_sub(1) else { return Ok(Some(state)) };
        let events = self.tail.read(partition, last, 1).map_err(|error| error.detail)?;
        let event = events.first().ok_or("the log does not hold its last event")?;
        let recorded = wire::event::decode(&event.bytes).map_err(|error| error.to_string())?;
        if recorded.digest != position.chain {
            return Err(format!("its last event is {}, the log's is {}", position.chain, recorded.digest));
        }
        Ok(Some(state))
    }

    fn wipe(&self, partition: u32, why: &str) {
        self.report.store_wiped(partition, why);
        if let Err(error) = self.store.wipe(partition, why) {
            self.report.checkpoint(partition, Err(&error.detail));
        }
    }
}

fn replay<L: PartitionLog>(log: &L, shared: &Shared, state: PartitionState) -> Result<L::Owned, ClaimError> {
    let (partition, from) = (state.partition(), state.position().next_seq);
    shared.write(|current| *current = state);
    log.claim(partition, from, &mut |event| shared.write(|state| fold_stored(state, &event)))
}

/// Folds one stored event, and answers the next input offset.
///
/// # Errors
/// The [`Breach`]; bytes that are no event break the chain.
pub fn fold_stored(state: &mut PartitionState, event: &StoredEvent) -> Result<u64, Breach> {
    let recorded = wire::event::decode(&event.bytes).map_err(|error| Breach {
        law: crate::domain::Law::Chain,
        partition: state.partition(),
        seq: event.seq,
        detail: format!("its bytes are no event: {error}"),
    })?;
    state.fold(&recorded)?;
    Ok(state.position().next_input)
}

/// Rebuilds a partition's state from its first event, calling `progress` with the sequence number reached.
///
/// # Errors
/// [`ClaimError`] when the log cannot be read or breaks a law.
pub fn rebuild(
    tail: &dyn CommittedTail,
    partition: u32,
    progress: &mut dyn FnMut(u64),
) -> Result<PartitionState, ClaimError> {
    let mut state = PartitionState::new(partition);
    loop {
        let events = tail.read(partition, state.position().next_seq, TURN_BYTES_MAX)?;
        if events.is_empty() {
            return Ok(state);
        }
        for event in &events {
            fold_stored(&mut state, event).map_err(ClaimError::Breach)?;
        }
        progress(state.position().next_seq);
    }
}
