//! What a state forgets, and what of it may be forgotten next: reservations that have ended, and answers. The order and
//! the bounds are part of the fold.

use super::PartitionState;
use crate::domain::retention::{self, Keeping};
use crate::domain::{CommandKey, DedupEntry, Micros, Reservation, ReservationId, room};
use crate::limits::FORGOTTEN_PER_EVENT_MAX;
use crate::replica::past::{Charge, Past};
use std::collections::BTreeSet;

impl PartitionState {
    /// The refusal of a Reserve that has this many older ones before it, and its bytes; `Some(None)` where it is no
    /// refusal any more.
    pub fn refusal(&self, older: usize) -> Option<Option<(ReservationId, u64)>> {
        let (seq, slot) = self.past.refusals.get(older)?;
        let (id, reservation) = self.slab.at(*slot).map_or((None, None), |(id, r)| (Some(*id), Some(r)));
        Some(id.zip(reservation.and_then(|r| refusal_bytes(r, *seq))))
    }

    /// The same for other keyed commands.
    pub fn refused_answer(&self, older: usize) -> Option<Option<(&CommandKey, u64)>> {
        let (seq, key) = self.past.refused_answers.get(older)?;
        Some(self.remembered.get(key).and_then(|answer| Some((key, refused_answer_bytes(key, answer, *seq)?))))
    }

    /// Bytes of all refusals: of Reserve, and of other keyed commands.
    pub fn refused_bytes(&self) -> (u64, u64) {
        (self.past.refusals.bytes(), self.past.refused_answers.bytes())
    }

    /// Drops a reservation that is not live.
    pub(super) fn drop_slot(&mut self, slot: u32) {
        let Some((id, was)) = self.slab.at(slot).map(|(id, r)| (*id, charge(r))) else { return };
        self.past.count(slot, Some(was), None);
        self.slab.remove(&id);
        self.touch(slot);
    }

    pub(super) fn drop_answer(&mut self, key: &CommandKey) {
        let Some(answer) = self.remembered.remove(key) else { return };
        let bytes = room::of_answer(key, &answer.body);
        match answer.keeping() {
            Keeping::Refusal => self.past.refused_answers.discount(bytes),
            Keeping::Until(_) | Keeping::Live => {
                self.past.discount(answer.until, bytes);
                self.remembered_until.remove(&(answer.until, key.clone()));
            }
        }
        self.dirty.remembered.insert(key.clone());
    }

    pub(super) fn forget_over(&mut self, now: Micros) {
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            let Some(slot) = self.past.next_over(now) else { break };
            let reservation = self.slab.at(slot).map(|(_, reservation)| reservation.keeping());
            if matches!(reservation, Some(Keeping::Until(until)) if retention::span_end(until) <= now) {
                self.drop_slot(slot);
            }
        }
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            let first = self.remembered_until.first().filter(|(until, _)| retention::span_end(*until) <= now);
            let Some((_, key)) = first.cloned() else { break };
            self.drop_answer(&key);
        }
    }

    pub(super) fn forget_refusals(&mut self, now: Micros) {
        let mut swept = 0;
        while let Some(refusal) = self.refusal(0) {
            let is_over = refusal.is_none_or(|(id, _)| self.slab.get(&id).is_none_or(|r| !r.is_known(now)));
            let sweeps = is_over && swept < FORGOTTEN_PER_EVENT_MAX;
            if self.past.refusals.bytes() <= self.bounds.refusals && !sweeps {
                break;
            }
            swept = swept.saturating_add(1);
            let popped = self.past.refusals.pop();
            if let Some((_, slot)) = popped.filter(|_| refusal.is_some()) {
                self.drop_slot(slot);
            }
        }
    }

    pub(super) fn forget_refused_answers(&mut self, now: Micros) {
        let mut swept = 0;
        while let Some(answer) = self.refused_answer(0) {
            let is_over = answer.is_none_or(|(key, _)| self.remembered.get(key).is_none_or(|a| a.until <= now));
            let sweeps = is_over && swept < FORGOTTEN_PER_EVENT_MAX;
            if self.past.refused_answers.bytes() <= self.bounds.refused_answers && !sweeps {
                break;
            }
            swept = swept.saturating_add(1);
            let is_one = answer.is_some();
            if let Some((_, key)) = self.past.refused_answers.pop().filter(|_| is_one) {
                self.drop_answer(&key);
            }
        }
    }
}

/// Puts an answer into its order of forgetting.
pub(super) fn enter_answer(
    (past, remembered_until): (&mut Past, &mut BTreeSet<(Micros, CommandKey)>),
    key: &CommandKey,
    answer: &DedupEntry,
) {
    let bytes = room::of_answer(key, &answer.body);
    match answer.keeping() {
        Keeping::Refusal => {
            past.refused_answers.count(bytes);
            past.refused_answers.push(answer.seq, key.clone());
        }
        Keeping::Until(_) | Keeping::Live => {
            past.keep_bytes(answer.until, bytes);
            remembered_until.insert((answer.until, key.clone()));
        }
    }
}

/// What counts in memory for a reservation.
pub(super) fn charge(reservation: &Reservation) -> Charge {
    Charge { keeping: reservation.keeping(), bytes: room::of_reservation(reservation), seq: reservation.seq }
}

/// The bytes of a reservation that the event at `seq` refused and that has not changed since; none for any other.
pub fn refusal_bytes(reservation: &Reservation, seq: u64) -> Option<u64> {
    let is_one = reservation.keeping() == Keeping::Refusal && reservation.seq == seq;
    is_one.then(|| room::of_reservation(reservation))
}

/// The bytes of a refused answer that the event at `seq` gave and that has not changed since; none for any other.
pub fn refused_answer_bytes(key: &CommandKey, answer: &DedupEntry, seq: u64) -> Option<u64> {
    let is_one = answer.keeping() == Keeping::Refusal && answer.seq == seq;
    is_one.then(|| room::of_answer(key, &answer.body))
}
