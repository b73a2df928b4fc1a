//! The overlay of a turn that is not committed yet: what its decisions see beyond the partition's state. Dropping it
//! drops the turn.

use crate::domain::{
    CommandId, CommandKey, Ledger, LedgerMut, Micros, Pool, PoolId, Remembered, Reservation, ReservationId,
};
use crate::replica::Orders;
use std::collections::{BTreeMap, BTreeSet};

pub struct Stage<'a, L> {
    base: &'a L,
    pools: BTreeMap<PoolId, Pool>,
    /// `None`: nothing is left of it.
    reservations: BTreeMap<ReservationId, Option<Reservation>>,
    /// Of those.
    orders: Orders,
    remembered: BTreeMap<CommandKey, Remembered>,
    decided: BTreeSet<CommandId>,
    pools_added: usize,
    reservations_added: usize,
}

impl<'a, L: Ledger> Stage<'a, L> {
    pub fn over(base: &'a L) -> Stage<'a, L> {
        Stage {
            base,
            pools: BTreeMap::new(),
            reservations: BTreeMap::new(),
            orders: Orders::default(),
            remembered: BTreeMap::new(),
            decided: BTreeSet::new(),
            pools_added: 0,
            reservations_added: 0,
        }
    }
}

impl<L: Ledger> Ledger for Stage<'_, L> {
    fn pool(&self, id: &PoolId) -> Option<&Pool> {
        self.pools.get(id).or_else(|| self.base.pool(id))
    }

    fn reservation(&self, id: &ReservationId) -> Option<&Reservation> {
        match self.reservations.get(id) {
            Some(staged) => staged.as_ref(),
            None => self.base.reservation(id),
        }
    }

    fn of_order(
        &self,
        pool: &PoolId,
        order_ref: &str,
        is_asked: impl Fn(&ReservationId) -> bool,
    ) -> Option<ReservationId> {
        let is_of_order = |id: &ReservationId| self.reservation(id).is_some_and(|r| r.is_of_order(pool, order_ref));
        let staged = self.orders.may_have(pool, order_ref).find(|id| is_asked(id) && is_of_order(id));
        let is_asked = |id: &ReservationId| !self.reservations.contains_key(id) && is_asked(id);
        staged.into_iter().chain(self.base.of_order(pool, order_ref, is_asked)).min()
    }

    fn remembered(&self, key: &CommandKey) -> Option<&Remembered> {
        self.remembered.get(key).or_else(|| self.base.remembered(key))
    }

    fn is_decided(&self, id: CommandId, now: Micros) -> bool {
        self.decided.contains(&id) || self.base.is_decided(id, now)
    }

    fn decided_count(&self, now: Micros) -> usize {
        self.base.decided_count(now).saturating_add(self.decided.len())
    }

    fn pool_count(&self) -> usize {
        self.base.pool_count().saturating_add(self.pools_added)
    }

    /// An upper bound within the turn: what the turn drops still counts.
    fn reservation_count(&self) -> usize {
        self.base.reservation_count().saturating_add(self.reservations_added)
    }
}

impl<L: Ledger> LedgerMut for Stage<'_, L> {
    fn put_pool(&mut self, pool: Pool) {
        if self.pool(&pool.id).is_none() {
            self.pools_added = self.pools_added.saturating_add(1);
        }
        self.pools.insert(pool.id.clone(), pool);
    }

    fn update_pool(&mut self, id: &PoolId, f: impl FnOnce(&mut Pool)) {
        if let Some(pool) = self.pools.get_mut(id) {
            f(pool);
        } else if let Some(pool) = self.base.pool(id) {
            let mut pool = pool.clone();
            f(&mut pool);
            self.pools.insert(id.clone(), pool);
        }
    }

    fn update_reservation(&mut self, pool: &PoolId, id: ReservationId, f: impl FnOnce(&mut Reservation)) {
        let mut reservation = self.reservation(&id).cloned().unwrap_or_else(|| {
            self.reservations_added = self.reservations_added.saturating_add(1);
            Reservation::void(pool.clone())
        });
        let had = reservation.live_order().map(Box::<str>::from);
        f(&mut reservation);
        had.iter().for_each(|order_ref| self.orders.remove(&reservation.pool, order_ref, id));
        reservation.live_order().iter().for_each(|order_ref| self.orders.insert(&reservation.pool, order_ref, id));
        let kept = (!reservation.is_empty()).then_some(reservation);
        self.reservations.insert(id, kept);
    }

    fn remember(&mut self, key: CommandKey, remembered: Remembered) {
        self.remembered.insert(key, remembered);
    }

    /// A turn is shorter than any id is kept.
    fn keep_decided(&mut self, id: CommandId, _until: Micros) {
        self.decided.insert(id);
    }

    /// A clock is set by a turn of its own: nothing that comes after it is asked of the stage.
    fn set_back(&mut self, _by_us: u64) {}

    /// See [`Stage::set_back`].
    fn carry_decided(&mut self, _from: Micros, _latest: Micros) {}

    /// The state forgets when the turn is folded; until then what may be forgotten is merely not known.
    fn forget(&mut self, _now: Micros) {}
}
