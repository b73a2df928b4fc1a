//! What callers may ask of the replica. Every answer says which prefix of each partition it equals, and how old that is
//! (L8). No query reads the log.

use super::pools::Pools;
use super::{PartitionHandle, Replica};
use crate::domain::coverage::Query;
use crate::domain::{Ledger, Micros, Pool, PoolId, Reservation, ReservationId};
use crate::limits::SEARCH_STEP_POOLS;
use crate::time::Clock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One page of pools.
#[derive(Clone, Debug)]
pub struct PoolPage {
    /// The page begins after this pool; none for the first page.
    pub after: Option<PoolId>,
    /// The most pools on one page.
    pub limit: usize,
}

/// Pools by id, and how current they are.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The pools that match, by id: at most a page of them.
    pub pools: Vec<Arc<Pool>>,
    /// Of each partition, the sequence number after the last event seen.
    pub as_of: BTreeMap<u32, u64>,
    /// For how long the oldest of those views may have been out of date, in milliseconds.
    pub staleness_ms: u64,
    /// Where the next page starts, when there is more.
    pub next: Option<PoolId>,
}

/// A reservation as it was read.
#[derive(Clone, Debug)]
pub struct Known {
    /// The reservation as the state has it.
    pub reservation: Reservation,
    /// The pool of the reservation.
    pub pool: Arc<Pool>,
    /// The first event of the partition that the read does not include.
    pub next_seq: u64,
}

/// A query over some partitions that is running. It holds the pools as they were when it began, and no lock. It runs in
/// steps of bounded work, so that a query over many pools does not make others wait.
pub struct Search {
    query: Query,
    page: PoolPage,
    /// The partitions that have not been searched to their end, the one that is being searched last.
    views: Vec<View>,
    /// The pool up to which the last view has been searched.
    reached: Option<PoolId>,
    /// The first pools that match, by id, up to one more than the page holds.
    found: Vec<Arc<Pool>>,
    as_of: BTreeMap<u32, u64>,
    staleness_us: u64,
}

/// The pools of one partition, and its time: a cutoff has passed here when it has passed for the owner.
struct View {
    pools: Pools,
    time: Micros,
}

/// What came of looking at some pools of one partition.
struct Looked {
    found: Vec<Arc<Pool>>,
    /// The last pool that was looked at, when there are more.
    reached: Option<PoolId>,
    count: usize,
}

impl Search {
    /// Looks for the pools that match, by id, in what these partitions hold now.
    pub fn begin<'a>(
        partitions: impl IntoIterator<Item = &'a Arc<PartitionHandle>>,
        query: Query,
        page: PoolPage,
        clock: &dyn Clock,
    ) -> Search {
        let now = clock.now();
        let (mut views, mut as_of, mut staleness_us) = (Vec::new(), BTreeMap::new(), 0);
        for handle in partitions {
            // Read before the state: a turn that ends in between makes the answer newer than it says, never older.
            staleness_us = staleness_us.max(handle.staleness_us(now));
            let pools = handle.read(|state| {
                as_of.insert(handle.id(), state.position().next_seq);
                state.pools().clone()
            });
            views.push(View { pools, time: handle.time().now(clock) });
            // It is read again after the state: if the state was emptied in between, its age is not known.
            staleness_us = staleness_us.max(handle.staleness_us(now));
        }
        Search { query, page, views, reached: None, found: Vec::new(), as_of, staleness_us }
    }

    /// Looks at some more pools, at most [`SEARCH_STEP_POOLS`], and at as many entries of the index; answers whether
    /// there is more to look at.
    pub fn step(&mut self) -> bool {
        let mut left = SEARCH_STEP_POOLS;
        while left > 0
            && let Some(view) = self.views.last()
        {
            let Looked { found, reached, count } = self.look(view, left);
            left = left.saturating_sub(count.max(1));
            self.found.extend(found);
            self.found.sort_unstable_by(|a, b| a.id.cmp(&b.id));
            self.found.truncate(self.wanted());
            if reached.is_none() {
                self.views.pop();
            }
            self.reached = reached;
        }
        !self.views.is_empty()
    }

    fn look(&self, View { pools, time }: &View, most: usize) -> Looked {
        let mut looked = Looked { found: Vec::new(), reached: None, count: 0 };
        // A pool after a full page of matches is not on this page.
        let end = self.found.get(self.page.limit).map(|pool| &pool.id);
        let after = self.reached.as_ref().or(self.page.after.as_ref());
        let mut last: Option<&PoolId> = None;
        for id in pools.candidates(&self.query, *time, after, most) {
            if looked.found.len() == self.wanted() || end.is_some_and(|end| id > end) {
                return looked;
            }
            if looked.count == most {
                looked.reached = last.cloned();
                return looked;
            }
            looked.count = looked.count.saturating_add(1);
            let pool = pools.get(id).filter(|pool| last != Some(id) && self.query.matches(pool, *time));
            looked.found.extend(pool.cloned());
            last = Some(id);
        }
        looked
    }

    /// One more than the page holds, which tells that there is a next one.
    fn wanted(&self) -> usize {
        self.page.limit.saturating_add(1)
    }

    /// The page, once there is no more to look at.
    pub fn finish(self) -> Listing {
        let Search { page, found: mut pools, as_of, staleness_us, .. } = self;
        let more = pools.len() > page.limit;
        pools.truncate(page.limit);
        let next = pools.last().filter(|_| more).map(|pool| pool.id.clone());
        Listing { pools, as_of, staleness_ms: staleness_us / 1_000, next }
    }
}

impl Replica {
    /// The pool of this id, as the partition's state has it now.
    pub fn pool(&self, id: &PoolId) -> Option<Arc<Pool>> {
        self.of_pool(id)?.read(|state| state.pools().get(id).cloned())
    }

    /// Until when the id of a pool that has retired may not be defined anew; none when it may be now.
    pub fn retired_until(&self, id: &PoolId, clock: &dyn Clock) -> Option<Micros> {
        let handle = self.of_pool(id)?;
        let now = handle.time().now(clock);
        handle.read(|state| state.retired_until(id, now))
    }

    /// A reservation, if it is known, and its pool, both after the same event of their partition.
    pub fn reservation(&self, id: &ReservationId, clock: &dyn Clock) -> Option<Known> {
        let handle = self.of_reservation(id)?;
        let now = handle.time().now(clock);
        handle.read(|state| {
            let known = state.reservation(id).filter(|r| r.is_known(now))?;
            let pool = Arc::clone(state.pools().get(&known.pool)?);
            Some(Known { reservation: known.clone(), pool, next_seq: state.position().next_seq })
        })
    }
}
