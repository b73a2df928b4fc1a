//! Amends: one event gives back what a reservation took and takes what was asked for.

use super::judge::Judge;
use super::lives::LifeStatus;
use crate::domain::{Amounts, Entry, Law, room};

impl Judge<'_> {
    /// Judges an amend: the reservation keeps its status and takes other units of its pool.
    pub(super) fn amended(&mut self, entry: &Entry, before: &Amounts) {
        let id = entry.reservation;
        let Some(life) = self.state.lives.live(id).cloned() else {
            self.found.breach(Law::TrueYes, format!("{id} is amended and is not live"));
            return self.counters(entry);
        };
        self.found.expect(*before == life.demand, Law::Capacity, || {
            format!("{id} takes {:?}, the event says {before:?}", life.demand)
        });
        self.found.expect(entry.demand != life.demand, Law::OneState, || {
            format!("{id} is amended to the demand that it has")
        });
        self.found.expect(life.is_of(entry), Law::OneState, || {
            format!("the event changes the pool, the order or the beginning of {id}")
        });
        self.told_as(entry, life.stand);
        self.found.expect(!self.is_run_out(life.stand), Law::ClocksDecideNothing, || {
            format!("the hold of {id} had ended, and is amended: {:?}", life.stand)
        });
        self.admissible(entry, &life.demand);
        self.state.books.give_back(&life.pool, &life.demand);
        self.state.books.take(&life.pool, &entry.demand);
        let grows = room::growth(before, &entry.demand);
        self.found.expect(grows == 0 || self.state.has_room(grows), Law::SameAnswer, || {
            format!("{id} is amended although the memory is full")
        });
        let seq = self.event.seq;
        self.state.lives.change(id, |life| {
            life.demand = entry.demand.clone();
            life.seq = seq;
        });
        self.counters(entry);
    }

    /// Judges the repeated answer to an Amend that asks for what is already taken.
    pub(super) fn amended_already(&mut self, entry: &Entry, before: &Amounts) {
        self.found.expect(*before == entry.demand, Law::SameAnswer, || {
            format!(
                "the amend of {} from {before:?} to {:?} is repeated, and was not done",
                entry.reservation, entry.demand
            )
        });
        let run_out = self.state.lives.live(entry.reservation).is_some_and(|life| self.is_run_out(life.stand));
        self.stands(entry, |stand| stand.is_live() && !run_out);
    }

    fn is_run_out(&self, stand: LifeStatus) -> bool {
        matches!(stand, LifeStatus::Held(until) if until <= self.now)
    }
}
