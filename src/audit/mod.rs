//! The auditor: it derives the laws again, from committed events alone, by a second and simpler model of plain sums
//! and sets. It reads every event once and decides nothing. It judges what the owner wrote and shares no code with
//! the owner's decisions: it uses nothing of `decide` or `evolve` and no judgement of [`crate::domain`], only its
//! values and what the manifest pins (the map from pool to partition, and the bytes that an entry counts for).
//!
//! It cannot judge what events do not hold: how limits were to be changed, what callers were told, and deadlines of
//! commands that older versions decided. Where commands are at hand, [`asked`] judges limits and deadlines; [`history`]
//! judges what callers were told. The auditor never stops at a breach: it keeps its own sums, reports, and reads on. It
//! has no clock, no input or output and no threads. Its memory grows with live reservations and with what is remembered,
//! never with the number of events.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod amends;
mod answers;
pub mod asked;
mod begun;
mod books;
mod chain;
mod copies;
pub mod history;
mod judge;
mod keys;
mod lives;
mod memory;
mod refusals;
mod report;
mod retirement;

pub use report::{ClockSet, PartitionReport, Report};

use crate::domain::retention::Bounds;
use crate::domain::{
    ChainedEvent, DedupEntry, Digest, Law, Micros, Pool, PoolId, PoolSpec, Reservation, ReservationId,
};
use crate::wire::digest::Stating;
use answers::{Answer, Answers};
use books::Books;
use chain::Chain;
use copies::Copies;
use judge::Judge;
use lives::Lives;
use memory::Memory;
use report::Breaches;

/// The auditor of one partition. It takes the partition's events in the order of the log, from the first one on.
pub struct PartitionAudit {
    chain: Chain,
    state: State,
    events: u64,
    breaches: Breaches,
}

/// What the events so far come to, by the auditor's own sums.
struct State {
    /// Number of partitions of the log.
    partitions: u32,
    books: Books,
    lives: Lives,
    answers: Answers,
    copies: Copies,
    /// With which event each pool has retired whose id may not be defined anew yet.
    retired: Memory<PoolId, u64>,
    /// How much the owner may remember, in bytes.
    bounds: Bounds,
}

/// The laws that one event broke, each with a detail for a person.
#[derive(Default)]
struct EventFindings(Vec<(Law, String)>);

impl EventFindings {
    /// Notes a breach unless `holds`.
    fn expect(&mut self, holds: bool, law: Law, detail: impl FnOnce() -> String) {
        if !holds {
            self.0.push((law, detail()));
        }
    }

    fn breach(&mut self, law: Law, detail: impl Into<String>) {
        self.0.push((law, detail.into()));
    }
}

impl PartitionAudit {
    /// The auditor of `partition` among `partitions`, before its first event.
    pub fn new(partition: u32, partitions: u32) -> PartitionAudit {
        PartitionAudit::bounded(partition, partitions, Bounds::default())
    }

    /// The auditor of a log whose owner may remember only so much.
    pub fn bounded(partition: u32, partitions: u32, bounds: Bounds) -> PartitionAudit {
        PartitionAudit {
            chain: Chain::new(partition),
            state: State {
                partitions,
                books: Books::default(),
                lives: Lives::new(bounds.refusals),
                answers: Answers::new(bounds.refused_answers),
                copies: Copies::default(),
                retired: Memory::new(),
                bounds,
            },
            events: 0,
            breaches: Breaches::default(),
        }
    }

    /// Takes the next event.
    pub fn observe(&mut self, recorded: &ChainedEvent) {
        let mut found = EventFindings::default();
        self.chain.observe(recorded, &mut found);
        let now = self.chain.now();
        self.state.at(now);
        Judge { state: &mut self.state, event: &recorded.event, version: recorded.version, now, found: &mut found }
            .run();
        self.state.forget();
        self.events = self.events.saturating_add(1);
        self.breaches.take(self.chain.partition(), recorded.event.seq, found);
    }

    /// Number of breaches found so far.
    pub fn breach_count(&self) -> u64 {
        self.breaches.count()
    }

    /// The pools as they stand, by id. What is in use comes from the auditor's own sums.
    pub fn pools(&self) -> impl Iterator<Item = Pool> + '_ {
        self.state.books.iter()
    }

    /// The definition of a pool as it stands.
    pub fn spec(&self, pool: &PoolId) -> Option<&PoolSpec> {
        self.state.books.get(pool).map(|book| &book.spec)
    }

    /// The live reservations as they stand, by id.
    pub fn live(&self) -> impl Iterator<Item = (ReservationId, Reservation)> + '_ {
        self.state.lives.iter()
    }

    /// Bytes that count in the owner's memory now.
    pub fn memory_used(&self) -> u64 {
        self.state.memory_used()
    }

    /// The digest of the state that the auditor's own model comes to. It differs from the owner's digest only if a
    /// law is broken (L7). It covers everything that counts, what is remembered included.
    pub fn digest(&self) -> Digest {
        let mut stating = Stating::begin();
        self.pools().for_each(|pool| stating.pool(&pool));
        let known = self.state.lives.known();
        known.iter().for_each(|(id, reservation)| stating.reservation(*id, reservation));
        for (key, Answer { fingerprint, body, seq }, until) in self.state.answers.sorted() {
            let remembered = DedupEntry { fingerprint: *fingerprint, until, body: Box::new(body.clone()), seq: *seq };
            stating.answer(key, &remembered);
        }
        self.state.copies.iter().for_each(|(until, id)| stating.decided(until, id));
        self.state.retired.iter().for_each(|(pool, seq, until)| stating.retired(pool, *seq, until));
        stating.end()
    }

    /// The findings so far, after a new count of all live demands of every pool. More events may follow.
    pub fn finish(&self) -> PartitionReport {
        let mut breaches = self.breaches.clone();
        let mut found = EventFindings::default();
        self.state.recount(&mut found);
        let last_seq = self.chain.last_seq();
        breaches.take(self.chain.partition(), last_seq.unwrap_or_default(), found);
        PartitionReport {
            partition: self.chain.partition(),
            events: self.events,
            pools: self.state.books.len(),
            live: self.state.lives.len(),
            last_seq,
            next_input: self.chain.next_input(),
            lost: self.chain.lost(),
            events_lost: self.chain.events_lost(),
            clock_sets: self.chain.clock_sets().to_vec(),
            chain: self.chain.digest(),
            breaches,
        }
    }
}

impl State {
    /// Moves on to `now`: what was remembered until then is not known any more.
    fn at(&mut self, now: Micros) {
        self.lives.at(now);
        self.answers.at(now);
        self.copies.forget(now);
        self.retired.at(now);
    }

    /// After an event: forgets what is over or too much, as an owner does.
    fn forget(&mut self) {
        self.lives.forget();
        self.answers.forget();
        self.retired.forget();
    }

    fn set_back(&mut self, from: Micros, to: Micros, window_end: Micros) {
        let by_us = from.0.saturating_sub(to.0);
        self.lives.set_back(from, by_us);
        self.answers.set_back(from, by_us);
        self.copies.carry(from, window_end);
        self.retired.set_back(from, by_us);
    }

    /// Ends the life of a pool with the event at `seq`.
    fn retire(&mut self, pool: &PoolId, seq: u64, until: Micros) {
        self.books.remove(pool);
        self.lives.retire(pool);
        self.retired.put(pool.clone(), seq, until, 0);
    }

    /// Bytes that count in the owner's memory.
    fn memory_used(&self) -> u64 {
        self.lives.bytes().saturating_add(self.answers.bytes())
    }

    /// Whether there is room for so many bytes of new work.
    fn has_room(&self, bytes: u64) -> bool {
        !self.copies.is_shut() && self.memory_used().saturating_add(bytes) <= self.bounds.memory
    }

    /// Whether there is room for so many bytes when the reserve is used too.
    fn has_reserve(&self, bytes: u64) -> bool {
        let Bounds { memory, reserve, .. } = self.bounds;
        self.memory_used().saturating_add(bytes) <= memory.saturating_add(reserve)
    }

    /// The sums kept event by event must be what the live reservations add up to.
    fn recount(&self, found: &mut EventFindings) {
        let mut sums = self.books.emptied();
        for (_, life) in self.lives.each() {
            sums.take(&life.pool, &life.demand);
        }
        for (pool, summed, kept) in sums.differences(&self.books) {
            found.breach(Law::Capacity, format!("live demands of pool {pool} add up to {summed}, kept was {kept}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Amounts, Dimension, Mode, PoolRules};

    #[test]
    fn a_sum_that_no_live_demand_makes_is_found_at_the_end() {
        let orders = |units| Amounts::new([(Dimension::new("orders").unwrap(), units)]).unwrap();
        let id = PoolId::new("pool").unwrap();
        let (areas, labels) = Default::default();
        let spec =
            PoolSpec { limits: orders(3), areas, window: None, labels, mode: Mode::Open, rules: PoolRules::default() };
        let mut audit = PartitionAudit::new(0, 1);
        audit.state.books.say(&Pool { id: id.clone(), spec, used: orders(0), version: 1 });
        assert_eq!(audit.finish().breach_count(), 0);
        audit.state.books.take(&id, &orders(1));
        assert_eq!(audit.finish().breaches().first().map(|breach| breach.law), Some(Law::Capacity));
    }
}
