//! What callers may ask of the replica. Every answer says which prefix of each partition it equals, and how old that
//! is (L8); none of them ever touches the log.

use super::shared::{Replica, Shared};
use crate::domain::coverage::Query;
use crate::domain::{Ledger, Pool, PoolId, Reservation, ReservationId};
use crate::time::Clock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One page of pools.
#[derive(Clone, Copy, Debug)]
pub struct PoolPage<'a> {
    /// Pools after this one.
    pub after: Option<&'a PoolId>,
    /// At most so many.
    pub limit: usize,
}

/// Pools by id, and how true they are.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The pools.
    pub pools: Vec<Arc<Pool>>,
    /// Of each partition, the sequence number after the last event seen.
    pub as_of: BTreeMap<u32, u64>,
    /// For how long the oldest of those views may have been out of date, in milliseconds.
    pub staleness_ms: u64,
    /// Where the next page starts, when there is more.
    pub next: Option<PoolId>,
}

impl Replica {
    /// The pools that match, by id.
    pub fn availability(&self, query: &Query, page: PoolPage<'_>, clock: &dyn Clock) -> Listing {
        let now = clock.now();
        let mut as_of = BTreeMap::new();
        let mut staleness_us = 0;
        let mut pools = Vec::new();
        for shared in self.partitions() {
            // Read before the state: a turn that begins in between makes the answer older than it says, never younger.
            staleness_us = staleness_us.max(shared.staleness_us(now));
            let mut of_partition: Vec<_> = shared.read(|state| {
                as_of.insert(state.partition(), state.position().next_seq);
                // References only: the owner waits for this lock, and a query may look at every pool in vain.
                state.pools_after(page.after).cloned().collect()
            });
            // A cutoff has passed here when it has passed for the owner.
            let time = shared.time(clock);
            of_partition.retain(|pool| query.matches(pool, time));
            pools.append(&mut of_partition);
            // And after it: one that began anew in between says so.
            staleness_us = staleness_us.max(shared.staleness_us(now));
        }
        pools.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let more = pools.len() > page.limit;
        pools.truncate(page.limit);
        let next = pools.last().filter(|_| more).map(|pool| pool.id.clone());
        Listing { pools, as_of, staleness_ms: staleness_us / 1_000, next }
    }

    /// One pool.
    pub fn pool(&self, id: &PoolId) -> Option<Pool> {
        self.of_pool(id)?.read(|state| state.pool(id).cloned())
    }

    /// What is known of a reservation, and its pool.
    pub fn reservation(&self, id: &ReservationId, clock: &dyn Clock) -> Option<(Reservation, Pool)> {
        let shared: &Shared = self.of_reservation(id)?;
        let now = shared.time(clock);
        shared.read(|state| {
            let known = state.reservation(id).filter(|r| r.is_known(now))?;
            Some((known.clone(), state.pool(&known.pool)?.clone()))
        })
    }
}
