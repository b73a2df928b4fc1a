//! Counts the bytes of a partition's memory, and keeps the order in which entries are forgotten. Entries that are kept
//! for a time are grouped in spans of log time; a span stops counting as a whole. Refusals are kept in the order in
//! which they were given, and the oldest are dropped when all of them take too many bytes.

use crate::domain::retention::{Keeping, span_end};
use crate::domain::{CommandKey, Micros};
use std::collections::{BTreeMap, VecDeque};

/// Entries whose time is over within one span.
#[derive(Default)]
struct Span {
    bytes: u64,
    /// Slots of reservations that were to be forgotten then. Some may hold something else by now.
    slots: Vec<u32>,
}

/// How one entry counts, and since which event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Charge {
    pub keeping: Keeping,
    pub bytes: u64,
    pub seq: u64,
}

/// Refusals of one kind, the oldest first. Some entries may be no refusals any more.
pub struct Refusals<T> {
    queue: VecDeque<(u64, T)>,
    bytes: u64,
}

impl<T> Default for Refusals<T> {
    fn default() -> Refusals<T> {
        Refusals { queue: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Refusals<T> {
    pub fn push(&mut self, seq: u64, item: T) {
        self.queue.push_back((seq, item));
    }

    pub fn count(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub fn discount(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Bytes of the entries that are still refusals.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry that has this many older ones before it, and the event that gave it.
    pub fn get(&self, older: usize) -> Option<&(u64, T)> {
        self.queue.get(older)
    }

    pub fn pop(&mut self) -> Option<(u64, T)> {
        self.queue.pop_front()
    }

    /// Takes the entry of this event out, if it is there: it is no refusal any more.
    fn take_out(&mut self, seq: u64) {
        if let Ok(at) = self.queue.binary_search_by_key(&seq, |(seq, _)| *seq) {
            self.queue.remove(at);
        }
    }
}

/// What is forgotten by time and what is forgotten as the oldest refusal, with the bytes of each.
#[derive(Default)]
pub struct Past {
    spans: BTreeMap<Micros, Span>,
    /// Bytes of all spans, and of what lives.
    kept: u64,
    live: u64,
    pub refusals: Refusals<u32>,
    pub refused_answers: Refusals<CommandKey>,
}

impl Past {
    /// Bytes that are in use at `now` when the room for new work is counted.
    pub fn used(&self, now: Micros) -> u64 {
        let over = self.spans.range(..=now).map(|(_, span)| span.bytes).fold(0, u64::saturating_add);
        self.live.saturating_add(self.kept.saturating_sub(over))
    }

    /// Changes how the reservation in this slot counts: `was` before, `is` from now on.
    pub fn count(&mut self, slot: u32, was: Option<Charge>, is: Option<Charge>) {
        if was == is {
            return;
        }
        let is_queued = was.zip(is).is_some_and(|(was, is)| (was.keeping, was.seq) == (is.keeping, is.seq));
        match was {
            Some(Charge { keeping: Keeping::Live, bytes, .. }) => self.live = self.live.saturating_sub(bytes),
            Some(Charge { keeping: Keeping::Until(until), bytes, .. }) => self.discount(until, bytes),
            Some(Charge { keeping: Keeping::Refusal, bytes, seq }) => {
                self.refusals.discount(bytes);
                // Beside an attempt that was given up it is kept as long as that attempt. Its entry would lie for a day behind an
                // older refusal, and count nowhere. It is nearly always among the newest, so few others are moved.
                if !is_queued {
                    self.refusals.take_out(seq);
                }
            }
            None => {}
        }
        let Some(Charge { keeping, bytes, seq }) = is else { return };
        match keeping {
            Keeping::Live => self.live = self.live.saturating_add(bytes),
            Keeping::Until(until) => {
                let span = self.keep(until, bytes);
                if !is_queued {
                    span.slots.push(slot);
                }
            }
            Keeping::Refusal => {
                self.refusals.count(bytes);
                if !is_queued {
                    self.refusals.push(seq, slot);
                }
            }
        }
    }

    /// Stops counting so many bytes of what lived.
    pub fn end_live(&mut self, bytes: u64) {
        self.live = self.live.saturating_sub(bytes);
    }

    /// Counts this many bytes as kept until this time.
    pub fn keep_bytes(&mut self, until: Micros, bytes: u64) {
        self.keep(until, bytes);
    }

    fn keep(&mut self, until: Micros, bytes: u64) -> &mut Span {
        self.kept = self.kept.saturating_add(bytes);
        let span = self.spans.entry(span_end(until)).or_default();
        span.bytes = span.bytes.saturating_add(bytes);
        span
    }

    /// Stops counting this many bytes that were kept until this time.
    pub fn discount(&mut self, until: Micros, bytes: u64) {
        self.kept = self.kept.saturating_sub(bytes);
        if let Some(span) = self.spans.get_mut(&span_end(until)) {
            span.bytes = span.bytes.saturating_sub(bytes);
        }
    }

    /// The next slot to look at whose time may be over at `now`.
    pub fn next_over(&mut self, now: Micros) -> Option<u32> {
        while let Some(mut first) = self.spans.first_entry().filter(|span| *span.key() <= now) {
            match first.get_mut().slots.pop() {
                Some(slot) => return Some(slot),
                // The span also counts answers, which are dropped elsewhere: it stays until they are gone.
                None if first.get().bytes > 0 => return None,
                None => drop(first.remove()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_until_it_is_over_and_goes_when_it_is_empty() {
        let mut past = Past::default();
        let kept = |until, bytes| Some(Charge { keeping: Keeping::Until(Micros(until)), bytes, seq: 1 });
        let live = Some(Charge { keeping: Keeping::Live, bytes: 10, seq: 1 });
        past.count(0, None, live);
        past.count(1, None, kept(5, 20));
        past.count(2, None, kept(1_000_005, 30));
        past.keep_bytes(Micros(6), 5);
        let used = |past: &Past| [0, 999_999, 1_000_000, 2_000_000].map(|now| past.used(Micros(now)));
        assert_eq!(used(&past), [65, 65, 40, 10]);
        assert_eq!(past.next_over(Micros(999_999)), None);
        assert_eq!(past.next_over(Micros(1_000_000)), Some(1));
        past.count(1, kept(5, 20), None);
        assert_eq!(past.next_over(Micros(2_000_000)), None, "an answer of that span is kept");
        past.discount(Micros(6), 5);
        assert_eq!(past.next_over(Micros(2_000_000)), Some(2));
        past.count(2, kept(1_000_005, 30), live);
        assert_eq!((past.next_over(Micros(9_000_000)), past.spans.len()), (None, 0));
        assert_eq!(used(&past), [20; 4]);
    }
}
