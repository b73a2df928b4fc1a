//! The audit after a run of the load test or the demonstration. It reads the whole committed log of a running server,
//! checks the laws with the auditor's own model, looks for every answer that a caller was given, and compares the
//! server's state with the model's.

use super::{Connection, internal};
use crate::audit::history::{History, HistoryReport};
use crate::audit::{PartitionAudit, Report};
use crate::domain::{Breach, ChainedEvent, Digest, Law, Pool, PoolId, Reservation, ReservationId};
use crate::wire;
use std::collections::BTreeMap;

/// The findings of one audit.
pub struct Inspection {
    /// The laws that the log alone can show.
    pub laws: Report,
    /// The log compared with the answers that callers were given.
    pub callers: HistoryReport,
    /// Partitions whose state in the server differs from the model's (L7).
    pub states: Vec<Breach>,
    /// The pools of the auditor's model.
    pub pools: BTreeMap<PoolId, Pool>,
    /// The live reservations of the auditor's model.
    pub live: BTreeMap<ReservationId, Reservation>,
}

impl Inspection {
    /// Waits until the server's log has settled, and audits it. `callers` holds every call that was made; `each` is
    /// called with every event, in order within a partition.
    ///
    /// # Errors
    /// The log cannot be read, or an event cannot be decoded.
    pub async fn run(
        server: &mut Connection,
        mut callers: History,
        mut each: impl FnMut(&ChainedEvent),
    ) -> Result<Inspection, String> {
        let ends = internal::settled_ends(server).await?;
        let partitions = u32::try_from(ends.len()).map_err(|e| e.to_string())?;
        let (mut laws, mut states) = (Report::default(), Vec::new());
        let (mut pools, mut live) = (BTreeMap::new(), BTreeMap::new());
        for (partition, end) in (0..partitions).zip(ends) {
            let mut audit = PartitionAudit::new(partition, partitions);
            let mut judge = |bytes: &[u8]| {
                let recorded = wire::event::decode(bytes).map_err(|e| e.to_string())?;
                audit.observe(&recorded);
                callers.observe(&recorded);
                each(&recorded);
                Ok(())
            };
            internal::read(server, partition, 0, end, &mut judge).await?;
            // The state may include later events: the model reads on to the same position.
            let state = internal::state(server, partition).await?;
            internal::read(server, partition, end, state.next_seq, &mut judge).await?;
            states.extend(compare(partition, &state, audit.digest()));
            pools.extend(audit.pools().map(|pool| (pool.id.clone(), pool)));
            live.extend(audit.live());
            laws.add(audit.finish());
        }
        Ok(Inspection { laws, callers: callers.finish(), states, pools, live })
    }

    /// Whether no law is broken and no caller was told anything that the log contradicts.
    pub fn is_clean(&self) -> bool {
        self.breach_count() == 0
    }

    /// The number of breaches of all kinds.
    pub fn breach_count(&self) -> u64 {
        let states = u64::try_from(self.states.len()).unwrap_or(u64::MAX);
        self.laws.breach_count().saturating_add(self.callers.breach_count()).saturating_add(states)
    }

    /// The first breaches of each kind.
    pub fn breaches(&self) -> impl Iterator<Item = &Breach> {
        self.laws.breaches().iter().chain(self.callers.breaches()).chain(&self.states)
    }

    /// Of the first breaches, how many are of this law.
    pub fn breaches_of(&self, law: Law) -> usize {
        self.breaches().filter(|breach| breach.law == law).count()
    }
}

/// L7: the server's state and the model's have the same digest.
fn compare(partition: u32, state: &internal::LiveState, summed: Digest) -> Option<Breach> {
    let detail = format!("the digest of the server's state is {}, that of the log's events {summed}", state.digest);
    let seq = state.next_seq.saturating_sub(1);
    (summed.to_string() != state.digest).then_some(Breach { law: Law::OneState, partition, seq, detail })
}
