//! Pools that have retired, and until when the id of each may not be defined anew. Everything that was live in such a pool
//! has ended with it, wherever it still lies in memory.

use crate::domain::{Micros, PoolId, Reservation};
use std::collections::{BTreeMap, BTreeSet};

/// The end of a pool's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// The sequence number of the event that retired the pool.
    pub seq: u64,
    /// Until when the id may not be defined anew.
    pub until: Micros,
}

impl Ending {
    /// Whether the reservation lived when the pool retired, so that it has ended.
    pub fn ends(self, reservation: &Reservation) -> bool {
        reservation.status.is_live() && reservation.decided_seq < self.seq
    }
}

/// The last end of each pool whose id may not be defined anew yet, or of which something lies in memory.
#[derive(Clone, Default)]
pub struct Retired {
    pools: BTreeMap<PoolId, Ending>,
    by_until: BTreeSet<(Micros, PoolId)>,
    last_seq: Option<u64>,
}

impl Retired {
    /// Notes the end of a pool's life.
    pub fn put(&mut self, pool: &PoolId, ending: Ending) {
        self.remove(pool);
        self.last_seq = self.last_seq.max(Some(ending.seq));
        self.by_until.insert((ending.until, pool.clone()));
        self.pools.insert(pool.clone(), ending);
    }

    /// Forgets the end of a pool's life.
    pub fn remove(&mut self, pool: &PoolId) {
        if let Some(ending) = self.pools.remove(pool) {
            self.by_until.remove(&(ending.until, pool.clone()));
        }
    }

    /// The last end of this pool.
    pub fn of(&self, pool: &PoolId) -> Option<Ending> {
        self.pools.get(pool).copied()
    }

    /// The event that retired a pool last.
    pub fn last_seq(&self) -> Option<u64> {
        self.last_seq
    }

    /// Whether the reservation has ended with its pool.
    pub fn ends(&self, reservation: &Reservation) -> bool {
        reservation.status.is_live() && self.of(&reservation.pool).is_some_and(|ending| ending.ends(reservation))
    }

    /// Number of all of them.
    pub fn count(&self) -> usize {
        self.pools.len()
    }

    /// Whether the ids of so many of them, or more, may be defined anew at `now`.
    pub fn are_over(&self, count: usize, now: Micros) -> bool {
        let last = count.checked_sub(1).map(|at| self.by_until.iter().nth(at));
        last.is_none_or(|last| last.is_some_and(|(until, _)| *until <= now))
    }

    /// Every pool, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&PoolId, Ending)> {
        self.pools.iter().map(|(pool, ending)| (pool, *ending))
    }

    /// The first pool whose id may be defined anew at `now`.
    pub fn first_over(&self, now: Micros) -> Option<(PoolId, Ending)> {
        let (_, pool) = self.by_until.first().filter(|(until, _)| *until <= now)?;
        Some((pool.clone(), self.of(pool)?))
    }
}
