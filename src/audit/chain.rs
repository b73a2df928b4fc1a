//! The chain of one partition's events (L3), and the offsets of commands that they cover (L2). This module only
//! counts; it does not look at the meaning of events.

use super::EventFindings;
use super::report::ClockSet;
use crate::domain::{Cause, ChainedEvent, Digest, Event, EventBody, Law, Micros, Outline};

/// Most set clocks that are reported one by one; each one is the work of a person.
const CLOCK_SETS_KEPT_MAX: usize = 100;

/// The end of the chain so far.
pub(super) struct Chain {
    partition: u32,
    next_seq: u64,
    next_input: u64,
    epoch: u32,
    digest: Digest,
    now: Micros,
    is_empty: bool,
    /// Offsets of commands that were lost before they were decided.
    lost: u64,
    /// Events that were committed and are lost, as events say.
    events_lost: u64,
    /// The first times that the clock was set back.
    clock_sets: Vec<ClockSet>,
}

impl Chain {
    pub(super) fn new(partition: u32) -> Chain {
        Chain {
            partition,
            next_seq: 0,
            next_input: 0,
            epoch: 0,
            digest: Digest::default(),
            now: Micros(0),
            is_empty: true,
            lost: 0,
            events_lost: 0,
            clock_sets: Vec::new(),
        }
    }

    /// The chain after the last event of this state.
    pub(super) fn begun(outline: &Outline) -> Chain {
        let Outline { partition, next_seq, next_input, epoch, chain, decided_at, .. } = *outline;
        Chain {
            next_seq,
            next_input,
            epoch,
            digest: chain,
            now: decided_at,
            is_empty: next_seq == 0,
            ..Chain::new(partition)
        }
    }

    pub(super) fn partition(&self) -> u32 {
        self.partition
    }

    pub(super) fn now(&self) -> Micros {
        self.now
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn next_input(&self) -> u64 {
        self.next_input
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn events_lost(&self) -> u64 {
        self.events_lost
    }

    pub(super) fn clock_sets(&self) -> &[ClockSet] {
        &self.clock_sets
    }

    pub(super) fn last_seq(&self) -> Option<u64> {
        (!self.is_empty).then_some(self.next_seq.saturating_sub(1))
    }

    /// Checks the place of the event, and continues from it whether it is right or wrong: the next event is judged
    /// against this one.
    pub(super) fn observe(&mut self, recorded: &ChainedEvent, found: &mut EventFindings) {
        let event = &recorded.event;
        self.check_place(event, found);
        self.check_input(event, found);
        self.check_loss(event, found);
        self.next_seq = event.seq.saturating_add(1);
        self.epoch = self.epoch.max(event.epoch);
        self.digest = recorded.digest;
        self.now = self.now.max(event.decided_at);
        if let EventBody::ClockSet { from, detail } = &event.body {
            self.set_clock(event, *from, detail);
        }
        self.is_empty = false;
    }

    fn check_place(&self, event: &Event, found: &mut EventFindings) {
        let Chain { partition, next_seq, epoch, digest, now, .. } = self;
        found.expect(event.partition == *partition, Law::Chain, || {
            format!("the record says partition {}", event.partition)
        });
        found.expect(event.seq == *next_seq, Law::Chain, || format!("seq {next_seq} was expected"));
        found.expect(event.epoch >= (*epoch).max(1), Law::Chain, || format!("epoch {} after {epoch}", event.epoch));
        found.expect(event.prev == *digest, Law::Chain, || {
            format!("it follows {}, the record before it is {digest}", event.prev)
        });
        let told = match event.body {
            EventBody::ClockSet { from, .. } => from,
            _ => event.decided_at,
        };
        found.expect(told >= *now, Law::ClocksDecideNothing, || {
            format!("the time is {}, the record before it was decided at {}", told.0, now.0)
        });
        // Two claims of one epoch would be two owners that nothing tells apart.
        let claims_anew = !matches!(event.body, EventBody::Barrier { .. }) || event.epoch > *epoch;
        found.expect(claims_anew, Law::Chain, || format!("a claim of epoch {} after {epoch}", event.epoch));
    }

    /// An EventsLost event must name events that came after those that are left.
    fn check_loss(&mut self, event: &Event, found: &mut EventFindings) {
        let EventBody::EventsLost { from, until, .. } = event.body else { return };
        found.expect(from <= until && from <= self.next_seq, Law::Chain, || {
            format!("it says that the events from {from} on and before {until} are lost, and has seq {}", event.seq)
        });
        self.events_lost = self.events_lost.saturating_add(until.saturating_sub(from));
    }

    /// A ClockSet event is the only one that may go back in time.
    fn set_clock(&mut self, event: &Event, from: Micros, detail: &str) {
        self.now = event.decided_at;
        if self.clock_sets.len() < CLOCK_SETS_KEPT_MAX {
            let (seq, to, detail) = (event.seq, event.decided_at, detail.to_owned());
            self.clock_sets.push(ClockSet { seq, from, to, detail });
        }
    }

    fn check_input(&mut self, event: &Event, found: &mut EventFindings) {
        let Some(cause) = &event.cause else { return };
        let next = self.next_input;
        let Cause { input_offset, skipped, .. } = cause;
        found.expect(cause.first() == Some(next), Law::OneDecision, || {
            let what = match cause.first() {
                _ if *input_offset < next => "is decided again",
                None => "comes after more places than there are",
                Some(first) if first < next => "comes after a place that was decided",
                Some(_) => "is decided too early",
            };
            format!("command {input_offset} {what} ({skipped} skipped), {next} was expected")
        });
        if matches!(event.body, EventBody::CommandsLost { .. }) {
            self.lost = self.lost.saturating_add(skipped.saturating_add(1));
        }
        self.next_input = next.max(cause.input_offset.saturating_add(1));
    }
}
