//! The overlay of a turn that is not committed yet. Decisions see the partition's state through it. Dropping it drops
//! the turn. With each event it remembers and forgets refusals exactly as the state will when the turn is folded.

use crate::domain::retention::{self, Bounds, Keeping};
use crate::domain::room;
use crate::domain::{
    CommandId, CommandKey, DedupEntry, Ledger, LedgerMut, Living, Micros, Pool, PoolId, Reservation, ReservationId,
    Status,
};
use crate::replica::state::{refusal_bytes, refused_answer_bytes};
use crate::replica::{Ending, Orders, PartitionState, Retired};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub struct Stage<'a> {
    base: &'a PartitionState,
    now: Micros,
    /// `None`: the pool has retired.
    pools: BTreeMap<PoolId, Option<Pool>>,
    /// `None`: nothing is left to remember of it.
    reservations: BTreeMap<ReservationId, Option<Reservation>>,
    /// The orders of those reservations.
    orders: Orders,
    /// `None`: the answer is forgotten.
    remembered: BTreeMap<CommandKey, Option<DedupEntry>>,
    decided: BTreeSet<CommandId>,
    /// The live reservations of each pool of which the turn has changed some, and their bytes.
    living: BTreeMap<PoolId, (Living, u64)>,
    /// Pools that have retired in the turn.
    retired: Retired,
    /// How many more pools there are than before the turn. The id of one that retires keeps its place.
    pools_added: usize,
    used: u64,
    refusals: Refusals<ReservationId>,
    refused_answers: Refusals<CommandKey>,
}

/// How the turn has changed the refusals of one kind in the state.
struct Refusals<K> {
    /// Bytes of all refusals that are left, those of the turn included.
    bytes: u64,
    /// How many of the state's refusals, from the oldest on, are forgotten or are no refusals any more.
    passed: usize,
    /// The refusals of the turn, each with the sequence number of its event.
    added: VecDeque<(u64, K)>,
}

impl<K> Refusals<K> {
    fn of(bytes: u64) -> Refusals<K> {
        Refusals { bytes, passed: 0, added: VecDeque::new() }
    }

    fn count(&mut self, was: u64, is: u64) {
        self.bytes = self.bytes.saturating_sub(was).saturating_add(is);
    }
}

impl<'a> Stage<'a> {
    /// An overlay over `base` for a turn at this time.
    pub fn over(base: &'a PartitionState, now: Micros) -> Stage<'a> {
        let (refusals, refused_answers) = base.refused_bytes();
        Stage {
            base,
            now,
            pools: BTreeMap::new(),
            reservations: BTreeMap::new(),
            orders: Orders::default(),
            remembered: BTreeMap::new(),
            decided: BTreeSet::new(),
            living: BTreeMap::new(),
            retired: Retired::default(),
            pools_added: 0,
            used: base.memory_used(now),
            refusals: Refusals::of(refusals),
            refused_answers: Refusals::of(refused_answers),
        }
    }

    /// Bytes that an entry counts for: first in memory, then among refusals.
    fn bytes(&self, keeping: Keeping, bytes: u64) -> (u64, u64) {
        match keeping {
            Keeping::Live => (bytes, 0),
            Keeping::Until(until) if retention::span_end(until) > self.now => (bytes, 0),
            Keeping::Until(_) => (0, 0),
            Keeping::Refusal => (0, bytes),
        }
    }

    /// What lies under this id, also when it has ended with its pool.
    fn entry(&self, id: &ReservationId) -> Option<&Reservation> {
        match self.reservations.get(id) {
            Some(staged) => staged.as_ref(),
            None => self.base.entry(id),
        }
    }

    fn ending(&self, pool: &PoolId) -> Option<Ending> {
        self.retired.of(pool).or_else(|| self.base.retired().of(pool))
    }

    /// Whether a reservation has ended with its pool.
    fn is_ended(&self, entry: &Reservation) -> bool {
        entry.status.is_live() && self.ending(&entry.pool).is_some_and(|ending| ending.ends(entry))
    }

    fn bytes_of(&self, known: Option<&Reservation>) -> (u64, u64) {
        known.map_or((0, 0), |r| self.bytes(r.keeping(), room::of_reservation(r)))
    }

    fn living_with_bytes(&self, pool: &PoolId) -> (Living, u64) {
        self.living.get(pool).copied().unwrap_or_else(|| self.base.living_with_bytes(pool))
    }

    fn count_life(&mut self, pool: &PoolId, was: (Living, u64), is: (Living, u64)) {
        if was == is {
            return;
        }
        let (Living { live, held }, bytes) = self.living_with_bytes(pool);
        let changed = |count: u64, was: u64, is: u64| count.saturating_sub(was).saturating_add(is);
        let living = Living { live: changed(live, was.0.live, is.0.live), held: changed(held, was.0.held, is.0.held) };
        self.living.insert(pool.clone(), (living, changed(bytes, was.1, is.1)));
    }

    fn bytes_of_answer(&self, key: &CommandKey) -> (u64, u64) {
        self.remembered(key).map_or((0, 0), |answer| self.bytes(answer.keeping(), room::of_answer(key, &answer.body)))
    }

    fn count(&mut self, was: u64, is: u64) {
        self.used = self.used.saturating_sub(was).saturating_add(is);
    }

    /// The oldest refusal of a Reserve that is left, with its bytes; `Some(None)` when that entry is no refusal any
    /// more.
    fn oldest_refusal(&mut self) -> Option<Option<(ReservationId, u64)>> {
        if let Some(refusal) = self.base.refusal(self.refusals.passed) {
            self.refusals.passed = self.refusals.passed.saturating_add(1);
            return Some(refusal.filter(|(id, _)| !self.reservations.contains_key(id)));
        }
        let (seq, id) = self.refusals.added.pop_front()?;
        let staged = self.reservations.get(&id).and_then(Option::as_ref);
        Some(staged.and_then(|r| Some((id, refusal_bytes(r, seq)?))))
    }

    fn oldest_refused_answer(&mut self) -> Option<Option<(CommandKey, u64)>> {
        if let Some(answer) = self.base.refused_answer(self.refused_answers.passed) {
            self.refused_answers.passed = self.refused_answers.passed.saturating_add(1);
            let left = answer.filter(|(key, _)| !self.remembered.contains_key(*key));
            return Some(left.map(|(key, bytes)| (key.clone(), bytes)));
        }
        let (seq, key) = self.refused_answers.added.pop_front()?;
        let staged = self.remembered.get(&key).and_then(Option::as_ref);
        let bytes = staged.and_then(|answer| refused_answer_bytes(&key, answer, seq));
        Some(bytes.map(|bytes| (key, bytes)))
    }
}

impl Ledger for Stage<'_> {
    fn pool(&self, id: &PoolId) -> Option<&Pool> {
        match self.pools.get(id) {
            Some(staged) => staged.as_ref(),
            None => self.base.pool(id),
        }
    }

    fn reservation(&self, id: &ReservationId) -> Option<&Reservation> {
        self.entry(id).filter(|entry| !self.is_ended(entry))
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
        let base = if self.retired.of(pool).is_some() { None } else { self.base.of_order(pool, order_ref, is_asked) };
        staged.into_iter().chain(base).min()
    }

    fn remembered(&self, key: &CommandKey) -> Option<&DedupEntry> {
        match self.remembered.get(key) {
            Some(staged) => staged.as_ref(),
            None => self.base.remembered(key),
        }
    }

    fn is_decided(&self, id: CommandId, now: Micros) -> bool {
        self.decided.contains(&id) || self.base.is_decided(id, now)
    }

    fn decided_count(&self, now: Micros) -> usize {
        self.base.decided_count(now).saturating_add(self.decided.len())
    }

    fn living(&self, pool: &PoolId) -> Living {
        self.living_with_bytes(pool).0
    }

    fn retired_until(&self, pool: &PoolId, now: Micros) -> Option<Micros> {
        self.ending(pool).map(|ending| ending.until).filter(|until| *until > now)
    }

    fn has_place(&self, now: Micros) -> bool {
        self.base.has_places(self.pools_added.saturating_add(1), now)
    }

    /// The bytes are those at the turn's time.
    fn memory_used(&self, _now: Micros) -> u64 {
        self.used
    }

    fn bounds(&self) -> Bounds {
        self.base.bounds()
    }
}

impl LedgerMut for Stage<'_> {
    fn put_pool(&mut self, pool: Pool) {
        if self.pool(&pool.id).is_none() {
            self.pools_added = self.pools_added.saturating_add(1);
        }
        self.pools.insert(pool.id.clone(), Some(pool));
    }

    fn retire(&mut self, pool: &PoolId, seq: u64, until: Micros) {
        let (_, bytes) = self.living_with_bytes(pool);
        self.used = self.used.saturating_sub(bytes);
        self.living.insert(pool.clone(), Default::default());
        self.pools.insert(pool.clone(), None);
        self.retired.put(pool, Ending { seq, until });
    }

    fn update_pool(&mut self, id: &PoolId, f: impl FnOnce(&mut Pool)) {
        if let Some(staged) = self.pools.get_mut(id) {
            if let Some(pool) = staged {
                f(pool);
            }
        } else if let Some(pool) = self.base.pool(id) {
            let mut pool = pool.clone();
            f(&mut pool);
            self.pools.insert(id.clone(), Some(pool));
        }
    }

    fn update_reservation(&mut self, pool: &PoolId, id: ReservationId, f: impl FnOnce(&mut Reservation)) {
        let known = self.reservation(&id);
        let (was, was_life) = (self.bytes_of(known), life_of(known));
        let mut reservation = known.cloned().unwrap_or_else(|| Reservation::void(pool.clone()));
        let had = reservation.live_order().cloned();
        f(&mut reservation);
        had.iter().for_each(|order| self.orders.remove(&reservation.pool, order.as_str(), id));
        reservation.live_order().iter().for_each(|order| self.orders.insert(&reservation.pool, order.as_str(), id));
        let kept = (!reservation.is_empty()).then_some(reservation);
        let is = self.bytes_of(kept.as_ref());
        self.count(was.0, is.0);
        self.refusals.count(was.1, is.1);
        if let Some(seq) = kept.as_ref().filter(|r| r.keeping() == Keeping::Refusal).map(|r| r.seq) {
            self.refusals.added.push_back((seq, id));
        }
        let is_life = life_of(kept.as_ref());
        self.count_life(pool, was_life, is_life);
        self.reservations.insert(id, kept);
    }

    fn remember(&mut self, key: CommandKey, remembered: DedupEntry) {
        let (was, refused) = (self.bytes_of_answer(&key), remembered.keeping() == Keeping::Refusal);
        let seq = remembered.seq;
        self.remembered.insert(key.clone(), Some(remembered));
        let is = self.bytes_of_answer(&key);
        self.count(was.0, is.0);
        self.refused_answers.count(was.1, is.1);
        if refused {
            self.refused_answers.added.push_back((seq, key));
        }
    }

    /// A turn is shorter than the time for which any id is kept.
    fn keep_decided(&mut self, id: CommandId, _until: Micros) {
        self.decided.insert(id);
    }

    /// The clock is set by a turn of its own, so no decision follows on this overlay.
    fn set_back(&mut self, _from: Micros, _by_us: u64) {}

    /// Nothing to do, for the same reason as in [`Stage::set_back`].
    fn carry_decided(&mut self, _from: Micros, _latest: Micros) {}

    /// Entries whose time is over are forgotten when the turn is folded. Until then the domain treats them as
    /// unknown.
    fn forget(&mut self, _now: Micros) {
        let bounds = self.base.bounds();
        while self.refusals.bytes > bounds.refusals {
            let Some(oldest) = self.oldest_refusal() else { break };
            if let Some((id, bytes)) = oldest {
                self.refusals.count(bytes, 0);
                self.reservations.insert(id, None);
            }
        }
        while self.refused_answers.bytes > bounds.refused_answers {
            let Some(oldest) = self.oldest_refused_answer() else { break };
            if let Some((key, bytes)) = oldest {
                self.refused_answers.count(bytes, 0);
                self.remembered.insert(key, None);
            }
        }
    }
}

/// Whether a reservation is live and a hold, each as a number, and its bytes while it lives.
fn life_of(known: Option<&Reservation>) -> (Living, u64) {
    known.filter(|r| r.status.is_live()).map_or((Living::default(), 0), |r| {
        let held = u64::from(r.status == Status::Held);
        (Living { live: 1, held }, room::of_reservation(r))
    })
}
