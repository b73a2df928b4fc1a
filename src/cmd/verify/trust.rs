//! From where a log is trusted: from before its first event on, or, where that is gone, from a snapshot on. The snapshot is
//! the oldest one that covers what is gone, so that the most of the log is checked with the laws. Of the events before it the
//! chain is checked.

use crate::audit::PartitionAudit;
use crate::cmd::shared::fold::{Folding, described};
use crate::domain::{Breach, Digest, Law};
use crate::limits::TURN_BYTES_MAX;
use crate::log::{CommittedTail, LogError};
use crate::owner::begin::Prefer;
use crate::replica::{PartitionState, Position};
use crate::wire;
use std::ops::Range;

/// What a partition begins with.
pub(super) struct Trust {
    /// The state of the owner's fold.
    pub(super) state: PartitionState,
    /// The auditor's model, by which it is the same state.
    pub(super) audit: PartitionAudit,
    /// What is to be told of it.
    pub(super) notes: Vec<String>,
    /// What is wrong with it already.
    pub(super) breaches: Vec<Breach>,
}

impl Trust {
    /// A log that is read from before its first event on.
    pub(super) fn anew(partition: u32, partitions: u32) -> Trust {
        Trust {
            state: PartitionState::new(partition),
            audit: PartitionAudit::new(partition, partitions),
            notes: Vec::new(),
            breaches: Vec::new(),
        }
    }

    /// A log that may have lost its first events.
    ///
    /// # Errors
    /// [`LogError`] when the log or the place of snapshots cannot be read, or no snapshot covers what is gone.
    pub(super) fn of(tail: &dyn CommittedTail, folding: &Folding<'_>, partition: u32) -> Result<Trust, LogError> {
        let looked = folding.begin(partition, Prefer::Oldest)?;
        let Some((name, state)) = looked.taken else { return Ok(Trust::anew(partition, tail.partitions())) };
        let (first, Position { next_seq, chain, .. }) = (tail.first(partition)?, *state.position());
        let audit = PartitionAudit::begun(state.outline(), tail.partitions());
        let mut breaches: Vec<Breach> = lead_in(tail, partition, first..next_seq, chain)?.into_iter().collect();
        if audit.digest() != state.digest() {
            let detail =
                format!("the auditor's model of the {} has the digest {}", described(&name, &state), audit.digest());
            breaches.push(Breach { law: Law::OneState, partition, seq: next_seq.saturating_sub(1), detail });
        }
        let mut notes: Vec<String> = looked.passed_over.into_iter().map(|why| format!("not trusted: {why}")).collect();
        notes.push(format!(
            "events before seq {first} are gone; the chain is trusted from {}, and verified from seq {next_seq} on",
            described(&name, &state)
        ));
        Ok(Trust { state, audit, notes, breaches })
    }
}

/// The first fault of the chain in these events, which end where a snapshot begins whose last event has the digest `chain`.
fn lead_in(
    tail: &dyn CommittedTail,
    partition: u32,
    events: Range<u64>,
    chain: Digest,
) -> Result<Option<Breach>, LogError> {
    let seq = events.end.saturating_sub(1);
    Ok(match chain_of(tail, partition, events)? {
        Err(breach) => Some(breach),
        Ok(Some(last)) if last != chain => {
            let detail = format!("it has the digest {last}, and the snapshot after it {chain}");
            Some(Breach { law: Law::Chain, partition, seq, detail })
        }
        Ok(_) => None,
    })
}

/// The digest of the last of these events, which the log has; none when there are none. Or the first fault in their chain.
pub(super) fn chain_of(
    tail: &dyn CommittedTail,
    partition: u32,
    events: Range<u64>,
) -> Result<Result<Option<Digest>, Breach>, LogError> {
    let (mut next, mut last) = (events.start, None);
    let breach = |seq, detail| Ok(Err(Breach { law: Law::Chain, partition, seq, detail }));
    while next < events.end {
        let mut read = tail.read(partition, next, TURN_BYTES_MAX)?;
        read.retain(|stored| stored.seq < events.end);
        if read.is_empty() {
            return breach(next, format!("the log ends here, and {} events were committed", events.end));
        }
        for stored in read {
            let seq = stored.seq;
            let chained = match wire::event::decode(&stored.bytes) {
                Ok(chained) => chained,
                Err(error) => return breach(seq, format!("its bytes cannot be decoded as an event: {error}")),
            };
            if (chained.event.partition, chained.event.seq) != (partition, next) {
                let (partition, found) = (chained.event.partition, chained.event.seq);
                return breach(
                    seq,
                    format!("it says that it is seq {found} of partition {partition}, and seq {next} is due"),
                );
            }
            if let Some(last) = last.filter(|last| *last != chained.event.prev) {
                return breach(seq, format!("it follows {}, the record before it is {last}", chained.event.prev));
            }
            (next, last) = (next.saturating_add(1), Some(chained.digest));
        }
    }
    Ok(Ok(last))
}
