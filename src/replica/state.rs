//! The state of one partition at a sequence number.

mod ahead;
mod changed;
mod forgetting;
mod frozen;
mod restored;
mod retiring;
mod stated;

pub use ahead::EVENTS_AHEAD;
pub use forgetting::{refusal_bytes, refused_answer_bytes};
pub use frozen::Frozen;
pub use restored::{Derived, Restored};
pub use retiring::{STEADY_MS, SWEPT_PER_EVENT_MAX};

use super::decided::{Decided, LeafNo};
use super::lives::{Life, Lives, PoolLives};
use super::past::Past;
use super::pools::Pools;
use super::retired::{Ending, Retired};
use super::slab::{Common, Slab, Slot, page_of};
use crate::domain::evolve::evolve;
use crate::domain::retention::{Bounds, Keeping};
use crate::domain::{
    Breach, Cause, ChainedEvent, CommandId, CommandKey, DedupEntry, Digest, EventBody, Law, Ledger, LedgerMut, Living,
    Micros, Outline, Pool, PoolId, Reservation, ReservationId, Status,
};
use changed::Changed;
use forgetting::{charge, enter_answer};
use imbl::OrdMap;
use retiring::Sweeping;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How far a state has folded its partition's events.
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

/// Pools, reservations, remembered answers and timers.
pub struct PartitionState {
    pub(super) partition: u32,
    bounds: Bounds,
    pub(super) position: Position,
    pub(super) pools: Pools,
    pub(super) slab: Slab,
    common: Common,
    lives: Lives,
    pub(super) retired: Retired,
    /// The pools that retire by themselves and have no live hold, ordered by when they do.
    retiring: BTreeSet<(Micros, PoolId)>,
    sweeping: Sweeping,
    /// Since when the time of the events has not jumped; none before an event of a version in which pools retire.
    steady_since: Option<Micros>,
    /// A copy shares its nodes, as with [`Pools`].
    pub(super) remembered: OrdMap<CommandKey, DedupEntry>,
    /// The remembered answers that are no refusals, ordered by when they may be forgotten.
    remembered_until: BTreeSet<(Micros, CommandKey)>,
    past: Past,
    pub(super) decided: Decided,
    pub(super) dirty: Dirty,
    /// What it breaks, once it is known to be wrong.
    wrong: Option<Breach>,
}

/// What changed since the last checkpoint.
#[derive(Default)]
pub(super) struct Dirty {
    /// The sequence number of that checkpoint; `None` when there is none, so that everything counts as changed.
    pub base: Option<u64>,
    pub pools: BTreeSet<PoolId>,
    pub pages: Changed<u32>,
    pub remembered: BTreeSet<CommandKey>,
    pub decided: Changed<LeafNo>,
    pub retired: BTreeSet<PoolId>,
    pub events: u64,
}

impl PartitionState {
    /// The empty state before the first event of this partition.
    pub fn new(partition: u32) -> PartitionState {
        PartitionState {
            partition,
            bounds: Bounds::default(),
            position: Position::default(),
            pools: Pools::default(),
            slab: Slab::default(),
            common: Common::default(),
            lives: Lives::default(),
            retired: Retired::default(),
            retiring: BTreeSet::new(),
            sweeping: Sweeping::default(),
            steady_since: None,
            remembered: OrdMap::new(),
            remembered_until: BTreeSet::new(),
            past: Past::default(),
            decided: Decided::default(),
            dirty: Dirty::default(),
            wrong: None,
        }
    }

    /// The same state with other bounds, for a test or a tool that folds by itself.
    #[must_use]
    pub fn bounded(self, bounds: Bounds) -> PartitionState {
        PartitionState { bounds, ..self }
    }

    /// Folds the next event in.
    ///
    /// # Errors
    /// The [`Breach`]: the event cannot follow on this state. The state must not be used any more.
    pub fn fold(&mut self, chained: &ChainedEvent) -> Result<(), Breach> {
        let event = &chained.event;
        let Position { next_seq, next_input, epoch, chain, decided_at } = self.position;
        let breach = |law, detail| Err(Breach { law, partition: self.partition, seq: event.seq, detail });
        if (event.partition, event.seq) != (self.partition, next_seq) {
            let at = (event.partition, event.seq);
            return breach(Law::Chain, format!("partition and seq {at:?}, expected {:?}", (self.partition, next_seq)));
        }
        if event.prev != chain {
            return breach(Law::Chain, format!("follows {}, but the event before has the digest {chain}", event.prev));
        }
        if event.epoch < epoch {
            return breach(Law::Chain, format!("epoch {} after {epoch}", event.epoch));
        }
        // A clock may be set back, but not from a time before the last event's.
        let time = match event.body {
            EventBody::ClockSet { from, .. } => from,
            _ => event.decided_at,
        };
        if time < decided_at {
            return breach(Law::ClocksDecideNothing, format!("time goes back from {} to {}", decided_at.0, time.0));
        }
        let cause = event.cause.as_ref();
        if let Some(cause) = cause.filter(|cause| cause.first() != Some(next_input)) {
            let Cause { input_offset, skipped, .. } = cause;
            let detail =
                format!("input offset {input_offset} after {skipped} without a command, expected {next_input} first");
            return breach(Law::OneDecision, detail);
        }
        self.follow_time(chained);
        evolve(self, event)?;
        self.position = Position {
            next_seq: next_seq.saturating_add(1),
            next_input: cause.map_or(next_input, |cause| cause.input_offset.saturating_add(1)),
            epoch: event.epoch,
            chain: chained.digest,
            decided_at: event.decided_at,
        };
        self.dirty.events = self.dirty.events.saturating_add(1);
        Ok(())
    }

    /// The number of the partition.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The law that this state is known to break, because it was compared with the log; none where nothing is known against it.
    pub fn wrong(&self) -> Option<&Breach> {
        self.wrong.as_ref()
    }

    /// Notes that this state breaks a law, for as long as it is there.
    pub fn distrust(&mut self, breach: Breach) {
        self.wrong = Some(breach);
    }

    /// How far the state has folded the log.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The first `most` holds that are due at `now`, earliest first.
    pub fn due(&self, now: Micros, most: usize) -> Vec<ReservationId> {
        self.lives.due(now, most, |slot| self.slab.id_at(slot))
    }

    /// The first `most` holds of this pool that are due at `now`, earliest first.
    pub fn due_of(&self, pool: &PoolId, now: Micros, most: usize) -> Vec<ReservationId> {
        self.lives.due_of(pool, now, most, |slot| self.slab.id_at(slot))
    }

    /// When the next hold expires.
    pub fn next_expiry(&self) -> Option<Micros> {
        self.lives.next_due()
    }

    /// When the next hold expires or the next pool retires, as seen at `now`.
    pub fn next_due(&self, now: Micros) -> Option<Micros> {
        self.next_expiry().into_iter().chain(self.next_retirement(now)).min()
    }

    /// Events folded in since the last checkpoint was drafted.
    pub fn events_since_checkpoint(&self) -> u64 {
        self.dirty.events
    }

    /// The partition's pools. A copy costs some reference counts, and does not change later.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// How many reservations are live. The number is kept, so that nobody has to count.
    pub fn live_count(&self) -> usize {
        self.lives.len()
    }

    /// Bytes that count in the partition's memory at the last event.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_used(self.position.decided_at)
    }

    /// Every reservation that is known at `now`, by id: it lives, or it is remembered that it ended or was refused.
    pub fn known(&self, now: Micros) -> Vec<(ReservationId, &Reservation)> {
        let is_known = |r: &Reservation| r.is_known(now) && !self.retired.ends(r);
        let mut known: Vec<_> = self.slab.iter().filter(|(_, r)| is_known(r)).map(|(id, r)| (*id, r)).collect();
        known.sort_unstable_by_key(|(id, _)| *id);
        known
    }

    /// Every live reservation, by id.
    pub fn live(&self) -> Vec<(ReservationId, &Reservation)> {
        let mut live: Vec<_> = self.slab.iter().filter(|(_, r)| self.counts_live(r)).map(|(id, r)| (*id, r)).collect();
        live.sort_unstable_by_key(|(id, _)| *id);
        live
    }

    /// The state as plain values, with what is not forgotten yet although its time is over, but for what is to be swept.
    pub fn outline(&self) -> Outline {
        let Position { next_seq, next_input, epoch, chain, decided_at } = self.position;
        let retired = self.retired.iter().filter(|(_, ending)| ending.until > decided_at);
        Outline {
            partition: self.partition,
            next_seq,
            next_input,
            epoch,
            chain,
            decided_at,
            pools: self.pools.iter().map(|pool| pool.as_ref().clone()).collect(),
            reservations: self.slab.iter().filter(|(_, r)| !self.retired.ends(r)).cloned().collect(),
            answers: self.remembered.iter().map(|(key, answer)| (key.clone(), answer.clone())).collect(),
            decided: self.decided.sorted(decided_at).collect(),
            retired: retired.map(|(pool, ending)| (pool.clone(), ending.seq, ending.until)).collect(),
        }
    }

    /// Changes an entry that has not ended with its pool.
    fn update_entry(&mut self, slot: u32, f: impl FnOnce(&mut Reservation)) {
        let Some((id, entry)) = self.slab.place(slot).and_then(Option::as_mut) else { return };
        let counted = |entry: &Reservation| (!entry.is_empty()).then(|| charge(entry));
        let was = counted(entry);
        let was_life = was.and_then(|was| Life::of(entry, was.bytes));
        f(entry);
        self.common.share(entry, |pool| self.pools.get(pool).is_some());
        let is = counted(entry);
        let life = is.and_then(|is| Life::of(entry, is.bytes));
        let (id, is_gone) = (*id, entry.is_empty());
        self.touch(slot);
        self.past.count(slot, was, is);
        let Some((_, Reservation { pool, .. })) = self.slab.at(slot) else { return };
        let is_hold = |life: &Option<Life>| life.as_ref().is_some_and(Life::is_hold);
        let retires = (is_hold(&was_life) != is_hold(&life)).then(|| (pool.clone(), self.retires_at(pool)));
        self.lives.change(pool, slot, (was_life.as_ref(), life.as_ref()), |slot| self.slab.id_at(slot));
        if let Some((pool, before)) = retires {
            self.reschedule(&pool, before);
        }
        if is_gone {
            self.slab.remove(&id);
        }
    }

    fn touch(&mut self, slot: u32) {
        self.dirty.pages.insert(page_of(slot));
    }
}

impl Ledger for PartitionState {
    fn pool(&self, id: &PoolId) -> Option<&Pool> {
        self.pools.get(id).map(Arc::as_ref)
    }

    fn reservation(&self, id: &ReservationId) -> Option<&Reservation> {
        self.slab.get(id).filter(|entry| !self.retired.ends(entry))
    }

    fn of_order(
        &self,
        pool: &PoolId,
        order_ref: &str,
        is_asked: impl Fn(&ReservationId) -> bool,
    ) -> Option<ReservationId> {
        let is_found = |(id, r): &&Slot| is_asked(id) && r.is_of_order(pool, order_ref);
        let mut slots = self.lives.of(pool)?.may_have(pool, order_ref).filter_map(|slot| self.slab.at(slot));
        slots.find(is_found).map(|(id, _)| *id)
    }

    fn remembered(&self, key: &CommandKey) -> Option<&DedupEntry> {
        self.remembered.get(key)
    }

    fn is_decided(&self, id: CommandId, now: Micros) -> bool {
        self.decided.holds(id, now)
    }

    fn decided_count(&self, now: Micros) -> usize {
        self.decided.count(now)
    }

    fn living(&self, pool: &PoolId) -> Living {
        self.lives.of(pool).map(PoolLives::living).unwrap_or_default()
    }

    fn retired_until(&self, pool: &PoolId, now: Micros) -> Option<Micros> {
        self.retired.of(pool).map(|ending| ending.until).filter(|until| *until > now)
    }

    fn has_place(&self, now: Micros) -> bool {
        self.has_places(1, now)
    }

    fn memory_used(&self, now: Micros) -> u64 {
        self.past.used(now)
    }

    fn bounds(&self) -> Bounds {
        self.bounds
    }
}

impl LedgerMut for PartitionState {
    fn put_pool(&mut self, pool: Pool) {
        let (id, retires_at) = (pool.id.clone(), self.retires_at(&pool.id));
        self.dirty.pools.insert(id.clone());
        self.pools.put(pool);
        self.reschedule(&id, retires_at);
    }

    fn retire(&mut self, pool: &PoolId, seq: u64, until: Micros) {
        self.end_life(pool, Ending { seq, until });
    }

    fn update_pool(&mut self, id: &PoolId, f: impl FnOnce(&mut Pool)) {
        if self.pools.update(id, f) && !self.dirty.pools.contains(id) {
            self.dirty.pools.insert(id.clone());
        }
    }

    fn update_reservation(&mut self, pool: &PoolId, id: ReservationId, f: impl FnOnce(&mut Reservation)) {
        let found = self.slab.find(&id);
        let ended = found.filter(|slot| self.slab.at(*slot).is_some_and(|(_, entry)| self.retired.ends(entry)));
        // What has ended with its pool has no part in what becomes of the id.
        ended.iter().for_each(|slot| self.take_out(*slot, id));
        let known = found.filter(|_| ended.is_none());
        let slot = known.unwrap_or_else(|| self.slab.insert(id, Reservation::void(pool.clone())));
        self.update_entry(slot, f);
    }

    fn remember(&mut self, key: CommandKey, remembered: DedupEntry) {
        self.drop_answer(&key);
        enter_answer((&mut self.past, &mut self.remembered_until), &key, &remembered);
        self.dirty.remembered.insert(key.clone());
        self.remembered.insert(key, remembered);
    }

    fn keep_decided(&mut self, id: CommandId, until: Micros) {
        if let Some(leaf) = self.decided.put(id, until) {
            self.dirty.decided.insert(leaf);
        }
    }

    /// Changes each entry as an event of its own would, so that timers and memory follow. An entry that was over at
    /// `from` is dropped at once: it must not count again.
    fn set_back(&mut self, from: Micros, by_us: u64) {
        let timed = self.slab.slots();
        let timed = timed.filter(|(_, (_, r))| r.status != Status::Confirmed && !self.retired.ends(r));
        let timed: Vec<_> = timed.map(|(slot, (_, r))| (slot, r.keeping())).collect();
        for (slot, keeping) in timed {
            match keeping {
                Keeping::Until(until) if until <= from => self.drop_slot(slot),
                _ => self.update_entry(slot, |r| r.until = r.until.set_back(by_us)),
            }
        }
        for (key, answer) in self.remembered.clone() {
            match answer.keeping() {
                Keeping::Until(until) if until <= from => self.drop_answer(&key),
                _ => self.remember(key, DedupEntry { until: answer.until.set_back(by_us), ..answer }),
            }
        }
        self.set_endings_back(from, by_us);
    }

    fn carry_decided(&mut self, from: Micros, latest: Micros) {
        self.dirty.decided.extend(self.decided.forget(from));
        self.dirty.decided.extend(self.decided.keep_no_later(latest));
    }

    fn forget(&mut self, now: Micros) {
        self.dirty.decided.extend(self.decided.forget(now));
        self.forget_over(now);
        self.forget_refusals(now);
        self.forget_refused_answers(now);
        self.sweep(now);
    }
}
