//! The audit after a run: the whole committed log of a running server is read back and judged by the auditor's own
//! model, every answer a caller was given is looked for in it, and the server's own state is held against the model's.

use super::{Connection, log};
use crate::audit::history::{History, HistoryReport};
use crate::audit::{PartitionAudit, Report};
use crate::domain::{Breach, ChainedEvent, Digest, Law, Pool, PoolId, Reservation, ReservationId};
use crate::wire;
use std::collections::BTreeMap;

/// What was found.
pub struct Inspection {
    /// The log by itself.
    pub laws: Report,
    /// The log against what callers were told.
    pub callers: HistoryReport,
    /// The log against what the server holds of it: partitions whose state is not the model's.
    pub states: Vec<Breach>,
    /// The pools as the auditor adds them up.
    pub pools: BTreeMap<PoolId, Pool>,
    /// The live reservations as the auditor adds them up.
    pub live: BTreeMap<ReservationId, Reservation>,
}

impl Inspection {
    /// Reads the log of the server, once it has settled. `callers` holds every call made; `each` sees every event
    /// besides.
    ///
    /// # Errors
    /// Why the log cannot be read.
    pub async fn run(
        server: &mut Connection,
        mut callers: History,
        mut each: impl FnMut(&ChainedEvent),
    ) -> Result<Inspection, String> {
        let ends = log::settled_ends(server).await?;
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
            log::read(server, partition, 0, end, &mut judge).await?;
            // The state may be some events further on: the model follows it there.
            let state = log::state(server, partition).await?;
            log::read(server, partition, end, state.next_seq, &mut judge).await?;
            states.extend(compare(partition, &state, audit.digest()));
            pools.extend(audit.pools().map(|pool| (pool.id.clone(), pool)));
            live.extend(audit.live());
            laws.add(audit.finish());
        }
        Ok(Inspection { laws, callers: callers.finish(), states, pools, live })
    }

    /// Whether every law held and every caller was told the truth.
    pub fn is_clean(&self) -> bool {
        self.breach_count() == 0
    }

    /// How often a law was broken.
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

/// L7: the server's state and the model's are one.
fn compare(partition: u32, state: &log::LiveState, summed: Digest) -> Option<Breach> {
    let detail = format!("the server's state is {}, the log adds up to {summed}", state.digest);
    let seq = state.next_seq.saturating_sub(1);
    (summed.to_string() != state.digest).then_some(Breach { law: Law::OneState, partition, seq, detail })
}
