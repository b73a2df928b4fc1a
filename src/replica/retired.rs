//! Pools that have retired: with which event, and until when each keeps its place. What was decided in the life that ended
//! with that event is not known any more, wherever it still lies in memory.

use crate::domain::route::pool_hash;
use crate::domain::{CommandKey, DedupEntry, Micros, PoolId, Reservation, Target};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The end of a pool's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// The sequence number of the event that retired the pool.
    pub seq: u64,
    /// Until when the pool keeps its place.
    pub until: Micros,
}

impl Ending {
    /// Whether the reservation was decided in the life that has ended.
    pub fn ends(self, reservation: &Reservation) -> bool {
        reservation.is_of_life_until(self.seq)
    }
}

/// What is known of an entry of memory, given the end of its pool's last life: the entry itself, what the end has left of
/// it, or nothing.
pub fn known(entry: &Reservation, ending: Option<Ending>) -> Option<Cow<'_, Reservation>> {
    match ending.filter(|ending| ending.ends(entry)) {
        None => Some(Cow::Borrowed(entry)),
        Some(ending) => entry.left_after_retirement(ending.until).map(Cow::Owned),
    }
}

/// The last end of each pool that keeps its place.
#[derive(Default)]
pub struct Retired {
    /// By the hash of the pool, which the ids of its reservations have too.
    by_hash: BTreeMap<u32, BTreeMap<PoolId, Ending>>,
    by_until: BTreeSet<(Micros, PoolId)>,
}

impl Retired {
    /// Notes the end of a pool's life. It replaces the end of an earlier one.
    pub fn put(&mut self, pool: &PoolId, ending: Ending) {
        self.remove(pool);
        self.by_until.insert((ending.until, pool.clone()));
        self.by_hash.entry(pool_hash(pool)).or_default().insert(pool.clone(), ending);
    }

    /// Forgets the end of a pool's life.
    pub fn remove(&mut self, pool: &PoolId) {
        let hash = pool_hash(pool);
        let Some(pools) = self.by_hash.get_mut(&hash) else { return };
        if let Some(ending) = pools.remove(pool) {
            self.by_until.remove(&(ending.until, pool.clone()));
        }
        if pools.is_empty() {
            self.by_hash.remove(&hash);
        }
    }

    /// The last end of this pool.
    pub fn of(&self, pool: &PoolId) -> Option<Ending> {
        if self.by_hash.is_empty() {
            return None;
        }
        self.by_hash.get(&pool_hash(pool))?.get(pool).copied()
    }

    /// Whether the answer was given in a life that has ended. One about a reservation that names no pool was given in the
    /// life of any pool that the reservation can be of.
    pub fn ends(&self, key: &CommandKey, answer: &DedupEntry) -> bool {
        if self.by_hash.is_empty() {
            return false;
        }
        let is_before = |ending: Ending| answer.seq < ending.seq;
        match (&key.target, answer.body.pool_id()) {
            (Target::Pool(pool), _) | (Target::Reservation(_), Some(pool)) => self.of(pool).is_some_and(is_before),
            (Target::Reservation(id), None) => {
                let pools = self.by_hash.get(&id.pool_hash());
                pools.is_some_and(|pools| pools.values().any(|ending| is_before(*ending)))
            }
        }
    }

    /// How many pools keep their places at `now`.
    pub fn count(&self, now: Micros) -> usize {
        let over = self.by_until.iter().take_while(|(until, _)| *until <= now).count();
        self.by_until.len().saturating_sub(over)
    }

    /// Every pool that keeps its place at `now`, by id.
    pub fn sorted(&self, now: Micros) -> Vec<(&PoolId, Ending)> {
        let mut pools: Vec<_> = self.iter().filter(|(_, ending)| ending.until > now).collect();
        pools.sort_unstable_by_key(|(pool, _)| *pool);
        pools
    }

    /// Every pool, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&PoolId, Ending)> {
        self.by_hash.values().flatten().map(|(pool, ending)| (pool, *ending))
    }

    /// The pool whose place is free again first, if it is at `now`.
    pub fn first_over(&self, now: Micros) -> Option<(PoolId, Ending)> {
        let (_, pool) = self.by_until.first().filter(|(until, _)| *until <= now)?;
        Some((pool.clone(), self.of(pool)?))
    }
}
