//! What is remembered, by the owner's own rule, so that this model knows exactly what an owner knows. An entry is
//! known until its time is over, and its bytes count until its span of time is over. Refusals are kept for a time as
//! well; the oldest ones are forgotten earlier when they take too many bytes.

use crate::domain::Micros;
use crate::limits::{FORGET_SPAN_MS, FORGOTTEN_PER_EVENT_MAX};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Values by key, each kept until its time is over.
pub(super) struct Memory<K, V> {
    entries: BTreeMap<K, Kept<V>>,
    /// When each entry is forgotten.
    order: BTreeSet<(Micros, K)>,
    /// Bytes by the end of their span of time, for spans that are not over, and the sum of them.
    spans: BTreeMap<Micros, u64>,
    bytes: u64,
    now: Micros,
}

struct Kept<V> {
    value: V,
    until: Micros,
    bytes: u64,
    no: u64,
}

impl<K: Ord + Clone, V> Memory<K, V> {
    /// A memory without any entries.
    pub(super) fn new() -> Memory<K, V> {
        let (entries, order, spans) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Memory { entries, order, spans, bytes: 0, now: Micros(0) }
    }

    /// Keeps `value` until `until`. It replaces what the key had before.
    pub(super) fn put(&mut self, key: K, value: V, until: Micros, bytes: u64) {
        self.remove(&key);
        let end = span_end(until);
        if end > self.now {
            self.bytes = self.bytes.saturating_add(bytes);
            let span = self.spans.entry(end).or_default();
            *span = span.saturating_add(bytes);
        }
        self.order.insert((until, key.clone()));
        self.entries.insert(key, Kept { value, until, bytes, no: 0 });
    }

    /// Removes the entry of a key.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let kept = self.entries.remove(key)?;
        self.order.remove(&(kept.until, key.clone()));
        if let Some(span) = self.spans.get_mut(&span_end(kept.until)) {
            *span = span.saturating_sub(kept.bytes);
            self.bytes = self.bytes.saturating_sub(kept.bytes);
        }
        Some(kept.value)
    }

    /// Moves on to `now`: the bytes of spans that are over stop counting.
    pub(super) fn at(&mut self, now: Micros) {
        self.now = now;
        while let Some(over) = self.spans.first_entry().filter(|span| *span.key() <= now) {
            self.bytes = self.bytes.saturating_sub(over.remove());
        }
    }

    /// After an event: removes some entries that do not count any more.
    pub(super) fn forget(&mut self) {
        let now = self.now;
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            let oldest = self.order.first().filter(|(until, _)| span_end(*until) <= now).cloned();
            let Some((_, key)) = oldest else { return };
            self.remove(&key);
        }
    }

    /// The clock went back by so many microseconds from `from`. Entries whose time was over then are removed; all
    /// others are kept as long as they would have been.
    pub(super) fn set_back(&mut self, from: Micros, by_us: u64) {
        let entries = std::mem::take(&mut self.entries);
        *self = Memory { now: self.now, ..Memory::new() };
        for (key, Kept { value, until, bytes, .. }) in entries {
            if until > from {
                self.put(key, value, back(until, by_us), bytes);
            }
        }
    }

    /// The value of a key whose time is not over.
    pub(super) fn recall(&self, key: &K) -> Option<&V> {
        self.entries.get(key).filter(|kept| kept.until > self.now).map(|kept| &kept.value)
    }

    /// Until when the value of a key is remembered.
    pub(super) fn until(&self, key: &K) -> Option<Micros> {
        self.entries.get(key).map(|kept| kept.until).filter(|until| *until > self.now)
    }

    /// Number of entries, those whose time is over included.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that count.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Every entry whose time is not over, and until when it is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V, Micros)> {
        known(&self.entries, self.now)
    }
}

/// Values by key. Each is kept for a time, or until there are too many bytes: then the oldest are removed first.
pub(super) struct Ring<K, V> {
    entries: BTreeMap<K, Kept<V>>,
    /// The keys in the order in which they came, each with a number.
    order: VecDeque<(u64, K)>,
    bytes: u64,
    bytes_max: u64,
    now: Micros,
    added: u64,
    overflowed: bool,
}

impl<K: Ord + Clone, V> Ring<K, V> {
    /// No entries, and room for `bytes_max` bytes.
    pub(super) fn new(bytes_max: u64) -> Ring<K, V> {
        let (entries, order) = (BTreeMap::new(), VecDeque::new());
        Ring { entries, order, bytes: 0, bytes_max, now: Micros(0), added: 0, overflowed: false }
    }

    /// Keeps `value` until `until`. It replaces what the key had before.
    pub(super) fn put(&mut self, key: K, value: V, until: Micros, bytes: u64) {
        self.remove(&key);
        self.added = self.added.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.order.push_back((self.added, key.clone()));
        self.entries.insert(key, Kept { value, until, bytes, no: self.added });
    }

    /// Removes the entry of a key.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let kept = self.entries.remove(key)?;
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        Some(kept.value)
    }

    /// Moves on to `now`.
    pub(super) fn at(&mut self, now: Micros) {
        self.now = now;
    }

    /// After an event: removes the oldest entries while there are too many bytes, and some whose time is over.
    pub(super) fn forget(&mut self) {
        let now = self.now;
        let mut swept = 0;
        while let Some((no, key)) = self.order.front() {
            let kept = self.entries.get(key).filter(|kept| kept.no == *no);
            let is_over = kept.is_none_or(|kept| kept.until <= now);
            if self.bytes <= self.bytes_max && !(is_over && swept < FORGOTTEN_PER_EVENT_MAX) {
                return;
            }
            swept = swept.saturating_add(1);
            self.overflowed |= !is_over;
            let is_one = kept.is_some();
            if let Some((_, key)) = self.order.pop_front().filter(|_| is_one) {
                self.remove(&key);
            }
        }
    }

    /// The value of a key whose time is not over.
    pub(super) fn recall(&self, key: &K) -> Option<&V> {
        self.entries.get(key).filter(|kept| kept.until > self.now).map(|kept| &kept.value)
    }

    /// Until when the value of a key is remembered, if there is room for so long.
    pub(super) fn until(&self, key: &K) -> Option<Micros> {
        self.entries.get(key).map(|kept| kept.until).filter(|until| *until > self.now)
    }

    /// The clock went back by so many microseconds: everything is kept as long as it would have been.
    pub(super) fn set_back(&mut self, by_us: u64) {
        self.entries.values_mut().for_each(|kept| kept.until = back(kept.until, by_us));
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Entries may have been removed before, of which nothing is known here.
    pub(super) fn has_dropped(&mut self) {
        self.overflowed = true;
    }

    /// Whether an entry was removed before its time was over.
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Every entry whose time is not over, and until when it is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V, Micros)> {
        known(&self.entries, self.now)
    }
}

fn known<K, V>(entries: &BTreeMap<K, Kept<V>>, now: Micros) -> impl Iterator<Item = (&K, &V, Micros)> {
    entries.iter().filter(move |(_, kept)| kept.until > now).map(|(key, kept)| (key, &kept.value, kept.until))
}

fn back(until: Micros, by_us: u64) -> Micros {
    Micros(until.0.saturating_sub(by_us))
}

fn span_end(until: Micros) -> Micros {
    let span_us = FORGET_SPAN_MS.saturating_mul(1_000);
    let into_span = until.0.checked_rem(span_us).unwrap_or_default();
    Micros(until.0.saturating_add(span_us.saturating_sub(into_span)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: u64 = FORGET_SPAN_MS * 1_000;

    #[test]
    fn what_is_kept_for_a_time_is_known_until_then_and_counts_until_its_span_is_over() {
        let mut memory = Memory::new();
        memory.put("old", 1, Micros(10), 7);
        memory.put("new", 2, Micros(SPAN), 5);
        memory.at(Micros(9));
        memory.forget();
        assert_eq!((memory.recall(&"old"), memory.bytes()), (Some(&1), 12));
        memory.at(Micros(10));
        memory.forget();
        assert_eq!((memory.recall(&"old"), memory.recall(&"new"), memory.bytes()), (None, Some(&2), 12));
        memory.put("new", 3, Micros(SPAN + 1), 6);
        memory.at(Micros(SPAN));
        memory.forget();
        assert_eq!((memory.recall(&"new"), memory.bytes()), (Some(&3), 6));
        memory.at(Micros(2 * SPAN));
        memory.forget();
        assert_eq!((memory.recall(&"new"), memory.bytes()), (None, 0));
    }

    #[test]
    fn of_what_is_too_much_the_oldest_goes_with_the_next_event() {
        let mut ring = Ring::new(20);
        (0..5).for_each(|n| ring.put(n, n, Micros(10), 5));
        assert_eq!((ring.recall(&0), ring.has_overflowed()), (Some(&0), false));
        ring.at(Micros(1));
        ring.forget();
        assert_eq!((ring.recall(&0), ring.recall(&1), ring.has_overflowed()), (None, Some(&1), true));
        // A key that was put again is among the youngest.
        ring.put(1, 11, Micros(10), 10);
        ring.at(Micros(1));
        ring.forget();
        assert_eq!([1, 2, 3, 4].map(|n| ring.recall(&n).copied()), [Some(11), None, Some(3), Some(4)]);
        ring.at(Micros(10));
        ring.forget();
        assert_eq!((ring.iter().count(), ring.bytes), (0, 0));
    }
}
