//! The state of one partition at a sequence number.

use super::decided::{Decided, LeafNo};
use super::orders::Orders;
use super::pools::Pools;
use super::slab::{Common, Slab, page_of};
use crate::domain::evolve::evolve;
use crate::domain::{
    Body, Breach, Cause, CommandId, CommandKey, Digest, Law, Ledger, LedgerMut, Micros, Pool, PoolId, Recorded,
    Remembered, Reservation, ReservationId, Status,
};
use crate::limits::{FORGOTTEN_PER_EVENT_MAX, REMEMBERED_COMMANDS_MAX, REMEMBERED_RESERVATIONS_MAX};
use crate::wire::digest::Stating;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a state stands in its partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The sequence number after the last event folded in.
    pub next_seq: u64,
    /// The input offset after the last one decided.
    pub next_input: u64,
    /// The last event's epoch.
    pub epoch: u32,
    /// The last event's digest.
    pub chain: Digest,
    /// The last event's time.
    pub decided_at: Micros,
}

/// How much is remembered of what is over; the oldest goes first. Part of the fold: whoever folds the same events has
/// the same bounds, which are those of [`crate::limits`] wherever a log is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Ended reservations, refusals and burned attempts.
    pub reservations: usize,
    /// Answers of keyed commands other than Reserve.
    pub commands: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { reservations: REMEMBERED_RESERVATIONS_MAX, commands: REMEMBERED_COMMANDS_MAX }
    }
}

/// Pools, reservations, remembered answers and timers.
pub struct PartitionState {
    pub(super) partition: u32,
    bounds: Bounds,
    pub(super) position: Position,
    pub(super) pools: Pools,
    pub(super) slab: Slab,
    common: Common,
    /// Holds by when they expire.
    timers: BTreeSet<(Micros, ReservationId)>,
    /// What is not live any more, by when it may be forgotten.
    forgettable: BTreeSet<(Micros, ReservationId)>,
    orders: Orders,
    pub(super) remembered: BTreeMap<CommandKey, Remembered>,
    remembered_until: BTreeSet<(Micros, CommandKey)>,
    pub(super) decided: Decided,
    pub(super) dirty: Dirty,
}

/// What changed since the last checkpoint.
#[derive(Default)]
pub(super) struct Dirty {
    /// Where that checkpoint stands; `None` when there is none, and everything is new.
    pub base: Option<u64>,
    pub pools: BTreeSet<PoolId>,
    pub pages: BTreeSet<u32>,
    pub remembered: BTreeSet<CommandKey>,
    pub decided: BTreeSet<LeafNo>,
    pub events: u64,
}

impl PartitionState {
    /// Before the first event.
    pub fn new(partition: u32) -> PartitionState {
        PartitionState {
            partition,
            bounds: Bounds::default(),
            position: Position::default(),
            pools: Pools::default(),
            slab: Slab::default(),
            common: Common::default(),
            timers: BTreeSet::new(),
            forgettable: BTreeSet::new(),
            orders: Orders::default(),
            remembered: BTreeMap::new(),
            remembered_until: BTreeSet::new(),
            decided: Decided::default(),
            dirty: Dirty::default(),
        }
    }

    /// With other bounds, for a fold of its own.
    #[must_use]
    pub fn bounded(self, bounds: Bounds) -> PartitionState {
        PartitionState { bounds, ..self }
    }

    /// The state a checkpoint's pieces make.
    ///
    /// # Errors
    /// Says what does not fit together: the pieces are then not those of any one state.
    pub(super) fn restored(
        partition: u32,
        position: Position,
        pools: Vec<Pool>,
        (slab, common): (Slab, Common),
        remembered: Vec<(CommandKey, Remembered)>,
        decided: Decided,
    ) -> Result<PartitionState, String> {
        let mut state = PartitionState { position, slab, common, decided, ..PartitionState::new(partition) };
        pools.into_iter().for_each(|pool| state.pools.put(pool));
        for (key, value) in remembered {
            state.remembered_until.insert((value.until, key.clone()));
            state.remembered.insert(key, value);
        }
        let mut used: BTreeMap<&PoolId, BTreeMap<_, u64>> = BTreeMap::new();
        for (id, reservation) in state.slab.iter() {
            let queue = match reservation.status {
                Status::Held => Some(&mut state.timers),
                Status::Confirmed => None,
                _ => Some(&mut state.forgettable),
            };
            if let Some(queue) = queue {
                queue.insert((reservation.until, *id));
            }
            if let Some(order_ref) = reservation.live_order() {
                state.orders.insert(&reservation.pool, order_ref, *id);
            }
            if reservation.status.is_live() {
                let of_pool = used.entry(&reservation.pool).or_default();
                for (dimension, units) in reservation.demand.iter() {
                    let sum = of_pool.entry(dimension).or_default();
                    *sum = sum.saturating_add(units);
                }
            }
        }
        for pool in state.pools.iter() {
            let sums = used.remove(&pool.id).unwrap_or_default();
            let sum = pool.used.map(|d, _| sums.get(&d).copied().unwrap_or_default());
            if sum != pool.used || sums.keys().any(|d| pool.used.get(*d).is_none()) {
                return Err(format!("pool {} uses {:?}, its reservations {sums:?}", pool.id, pool.used));
            }
        }
        state.dirty.base = Some(position.next_seq);
        match used.keys().next() {
            Some(pool) => Err(format!("reservations of a pool {pool} that is not there")),
            None => Ok(state),
        }
    }

    /// Folds the next event in.
    ///
    /// # Errors
    /// The [`Breach`]: the event cannot follow on this state. The state is then not to be used any more.
    pub fn fold(&mut self, recorded: &Recorded) -> Result<(), Breach> {
        let event = &recorded.event;
        let Position { next_seq, next_input, epoch, chain, decided_at } = self.position;
        let breach = |law, detail| Err(Breach { law, partition: self.partition, seq: event.seq, detail });
        if (event.partition, event.seq) != (self.partition, next_seq) {
            let at = (event.partition, event.seq);
            return breach(
                Law::Chain,
                format!("partition and seq {at:?} where {:?} is due", (self.partition, next_seq)),
            );
        }
        if event.prev != chain {
            return breach(Law::Chain, format!("follows {} where the record before is {chain}", event.prev));
        }
        if event.epoch < epoch {
            return breach(Law::Chain, format!("epoch {} after {epoch}", event.epoch));
        }
        // A clock may be set back, from no earlier time than was told.
        let told = match event.body {
            Body::ClockSet { from, .. } => from,
            _ => event.decided_at,
        };
        if told < decided_at {
            return breach(Law::ClocksDecideNothing, format!("time goes back from {} to {}", decided_at.0, told.0));
        }
        let cause = event.cause.as_ref();
        if let Some(cause) = cause.filter(|cause| cause.first() != Some(next_input)) {
            let Cause { input_offset, skipped, .. } = cause;
            let detail =
                format!("input offset {input_offset} after {skipped} without a command where {next_input} is due");
            return breach(Law::OneDecision, detail);
        }
        evolve(self, event)?;
        self.position = Position {
            next_seq: next_seq.saturating_add(1),
            next_input: cause.map_or(next_input, |cause| cause.input_offset.saturating_add(1)),
            epoch: event.epoch,
            chain: recorded.digest,
            decided_at: event.decided_at,
        };
        self.dirty.events = self.dirty.events.saturating_add(1);
        Ok(())
    }

    /// Which partition this is.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Where it stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The first `most` holds that are due at `now`, earliest first.
    pub fn due(&self, now: Micros, most: usize) -> Vec<ReservationId> {
        self.timers.iter().take_while(|(until, _)| *until <= now).take(most).map(|(_, id)| *id).collect()
    }

    /// When the next hold expires.
    pub fn next_due(&self) -> Option<Micros> {
        self.timers.first().map(|(until, _)| *until)
    }

    /// Events folded in since the last checkpoint was drafted.
    pub fn events_since_checkpoint(&self) -> u64 {
        self.dirty.events
    }

    /// Its pools. A copy costs some reference counts, and stays as it is.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Every live reservation, by id.
    pub fn live(&self) -> Vec<(ReservationId, &Reservation)> {
        let mut live: Vec<_> = self.slab.iter().filter(|(_, r)| r.status.is_live()).map(|(id, r)| (*id, r)).collect();
        live.sort_unstable_by_key(|(id, _)| *id);
        live
    }

    /// The digest of all that counts at the time of the last event (L7): pools, reservations that live or are remembered
    /// with their burned attempts, remembered answers, and ids of decided commands.
    pub fn digest(&self) -> Digest {
        let now = self.position.decided_at;
        let mut stating = Stating::begin();
        self.pools.iter().for_each(|pool| stating.pool(pool));
        let mut known: Vec<_> = self.slab.iter().filter(|(_, r)| r.is_known(now)).collect();
        known.sort_unstable_by_key(|(id, _)| *id);
        known.into_iter().for_each(|(id, reservation)| stating.reservation(*id, reservation));
        let answers = self.remembered.iter().filter(|(_, remembered)| remembered.until > now);
        answers.for_each(|(key, remembered)| stating.answer(key, remembered));
        self.decided.sorted(now).for_each(|(until, id)| stating.decided(until, id));
        stating.end()
    }

    fn queue(&mut self, id: ReservationId, was: Option<(Status, Micros)>, is: Option<(Status, Micros)>) {
        if was == is {
            return;
        }
        if let Some((status, until)) = was {
            match status {
                Status::Held => self.timers.remove(&(until, id)),
                Status::Confirmed => false,
                _ => self.forgettable.remove(&(until, id)),
            };
        }
        if let Some((status, until)) = is {
            match status {
                Status::Held => self.timers.insert((until, id)),
                Status::Confirmed => false,
                _ => self.forgettable.insert((until, id)),
            };
        }
    }

    fn touch(&mut self, slot: u32) {
        self.dirty.pages.insert(page_of(slot));
    }

    fn drop_reservation(&mut self, id: ReservationId) {
        let Some(slot) = self.slab.find(&id) else { return };
        let was = self.slab.at(slot).map(|(_, r)| (r.status, r.until));
        self.queue(id, was, None);
        self.slab.remove(&id);
        self.touch(slot);
    }
}

impl Ledger for PartitionState {
    fn pool(&self, id: &PoolId) -> Option<&Pool> {
        self.pools.get(id).map(Arc::as_ref)
    }

    fn reservation(&self, id: &ReservationId) -> Option<&Reservation> {
        self.slab.get(id)
    }

    fn of_order(
        &self,
        pool: &PoolId,
        order_ref: &str,
        is_asked: impl Fn(&ReservationId) -> bool,
    ) -> Option<ReservationId> {
        let is_of_order = |id: &ReservationId| self.slab.get(id).is_some_and(|r| r.is_of_order(pool, order_ref));
        self.orders.may_have(pool, order_ref).find(|id| is_asked(id) && is_of_order(id))
    }

    fn remembered(&self, key: &CommandKey) -> Option<&Remembered> {
        self.remembered.get(key)
    }

    fn is_decided(&self, id: CommandId, now: Micros) -> bool {
        self.decided.holds(id, now)
    }

    fn decided_count(&self, now: Micros) -> usize {
        self.decided.count(now)
    }

    fn pool_count(&self) -> usize {
        self.pools.count()
    }

    fn reservation_count(&self) -> usize {
        self.slab.len()
    }
}

impl LedgerMut for PartitionState {
    fn put_pool(&mut self, pool: Pool) {
        self.dirty.pools.insert(pool.id.clone());
        self.pools.put(pool);
    }

    fn update_pool(&mut self, id: &PoolId, f: impl FnOnce(&mut Pool)) {
        if self.pools.update(id, f) && !self.dirty.pools.contains(id) {
            self.dirty.pools.insert(id.clone());
        }
    }

    fn update_reservation(&mut self, pool: &PoolId, id: ReservationId, f: impl FnOnce(&mut Reservation)) {
        let found = self.slab.find(&id);
        let was = found.and_then(|slot| self.slab.at(slot)).map(|(_, r)| (r.status, r.until));
        let slot = found.unwrap_or_else(|| self.slab.insert(id, Reservation::void(pool.clone())));
        let Some((_, reservation)) = self.slab.place(slot).and_then(Option::as_mut) else { return };
        let had = reservation.live_order().map(Box::<str>::from);
        f(reservation);
        self.common.share(reservation);
        let is = (reservation.status, reservation.until);
        let is_empty = reservation.is_empty();
        let has = reservation.live_order();
        if had.as_deref() != has {
            had.iter().for_each(|order_ref| self.orders.remove(&reservation.pool, order_ref, id));
            has.iter().for_each(|order_ref| self.orders.insert(&reservation.pool, order_ref, id));
        }
        self.touch(slot);
        if is_empty {
            self.queue(id, was, None);
            self.slab.remove(&id);
        } else {
            self.queue(id, was, Some(is));
        }
    }

    fn remember(&mut self, key: CommandKey, remembered: Remembered) {
        if let Some(before) = self.remembered.get(&key) {
            self.remembered_until.remove(&(before.until, key.clone()));
        }
        self.remembered_until.insert((remembered.until, key.clone()));
        self.dirty.remembered.insert(key.clone());
        self.remembered.insert(key, remembered);
    }

    fn keep_decided(&mut self, id: CommandId, until: Micros) {
        if let Some(leaf) = self.decided.put(id, until) {
            self.dirty.decided.insert(leaf);
        }
    }

    /// As if each were changed by an event of its own: whatever is kept beside them follows.
    fn set_back(&mut self, by_us: u64) {
        let timed = self.slab.iter().filter(|(_, r)| r.status != Status::Confirmed);
        let timed: Vec<_> = timed.map(|(id, r)| (*id, r.pool.clone())).collect();
        for (id, pool) in timed {
            self.update_reservation(&pool, id, |r| r.until = r.until.set_back(by_us));
        }
        for (key, answer) in self.remembered.clone() {
            self.remember(key, Remembered { until: answer.until.set_back(by_us), ..answer });
        }
    }

    fn carry_decided(&mut self, from: Micros, latest: Micros) {
        self.dirty.decided.extend(self.decided.forget(from));
        self.dirty.decided.extend(self.decided.keep_no_later(latest));
    }

    fn forget(&mut self, now: Micros) {
        self.dirty.decided.extend(self.decided.forget(now));
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            let full = self.forgettable.len() > self.bounds.reservations;
            let oldest = self.forgettable.first().filter(|(until, _)| full || *until <= now);
            let Some((_, id)) = oldest.copied() else { break };
            self.drop_reservation(id);
        }
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            let full = self.remembered.len() > self.bounds.commands;
            match self.remembered_until.first() {
                Some((until, _)) if full || *until <= now => {}
                _ => break,
            }
            if let Some((_, key)) = self.remembered_until.pop_first() {
                self.remembered.remove(&key);
                self.dirty.remembered.insert(key);
            }
        }
    }
}
