//! What is remembered for a while: bounded in log time and in number, the oldest going first and so many with each event.
//! It is the owner's rule, so that this model knows exactly what an owner knows: what may be forgotten at the time of an
//! event counts as forgotten, and beyond the bound as much is forgotten as an owner forgets.

use crate::domain::Micros;
use crate::limits::FORGOTTEN_PER_EVENT_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// Values by key, kept for a while.
pub(super) struct Memory<K, V> {
    entries: BTreeMap<K, Kept<V>>,
    /// When each entry goes.
    order: BTreeSet<(Micros, K)>,
    now: Micros,
    added: u64,
    max: usize,
    overflowed: bool,
}

struct Kept<V> {
    value: V,
    until: Micros,
}

impl<K: Ord + Clone, V> Memory<K, V> {
    /// A memory of about `max` entries.
    pub(super) fn new(max: usize) -> Memory<K, V> {
        let (entries, order) = (BTreeMap::new(), BTreeSet::new());
        Memory { entries, order, now: Micros(0), added: 0, max, overflowed: false }
    }

    /// Keeps `value` until then, in place of what was kept.
    pub(super) fn put(&mut self, key: K, value: V, until: Micros) {
        self.remove(&key);
        self.added = self.added.saturating_add(1);
        self.order.insert((until, key.clone()));
        self.entries.insert(key, Kept { value, until });
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let kept = self.entries.remove(key)?;
        self.order.remove(&(kept.until, key.clone()));
        Some(kept.value)
    }

    /// An event at `now`: lets go of some of the oldest that are due or too many.
    pub(super) fn forget(&mut self, now: Micros) {
        self.now = now;
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            let is_full = self.order.len() > self.max;
            let oldest = self.order.first().filter(|(until, _)| is_full || *until <= now).cloned();
            let Some((until, key)) = oldest else { return };
            self.overflowed |= until > now;
            self.remove(&key);
        }
    }

    /// The clock went back by so many microseconds: everything is kept for as long as it would have been.
    pub(super) fn set_back(&mut self, by_us: u64) {
        let back = |until: Micros| Micros(until.0.saturating_sub(by_us));
        self.order = std::mem::take(&mut self.order).into_iter().map(|(until, key)| (back(until), key)).collect();
        self.entries.values_mut().for_each(|kept| kept.until = back(kept.until));
    }

    /// What is remembered.
    pub(super) fn recall(&self, key: &K) -> Option<&V> {
        self.entries.get(key).filter(|kept| kept.until > self.now).map(|kept| &kept.value)
    }

    /// Until when it is remembered.
    pub(super) fn until(&self, key: &K) -> Option<Micros> {
        self.entries.get(key).map(|kept| kept.until).filter(|until| *until > self.now)
    }

    /// Whether something was let go before its time.
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// How many were put so far.
    pub(super) fn stamp(&self) -> u64 {
        self.added
    }

    /// Whether so few were put since this stamp that what was put then is kept for its time.
    pub(super) fn is_recent(&self, stamp: u64) -> bool {
        let since = self.added.saturating_sub(stamp);
        since < u64::try_from(self.max).unwrap_or(u64::MAX)
    }

    /// Everything that is remembered, by key, and until when.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V, Micros)> {
        let known = self.entries.iter().filter(|(_, kept)| kept.until > self.now);
        known.map(|(key, kept)| (key, &kept.value, kept.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_go_in_time_and_in_number_as_an_owner_does() {
        let mut memory = Memory::new(200);
        memory.put("old", 1, Micros(10));
        memory.put("new", 2, Micros(20));
        memory.forget(Micros(9));
        assert_eq!(memory.recall(&"old"), Some(&1));
        memory.forget(Micros(10));
        assert_eq!((memory.recall(&"old"), memory.recall(&"new")), (None, Some(&2)));

        let mut memory = Memory::new(200);
        for n in 0..300 {
            memory.forget(Micros(0));
            memory.put(n, n, Micros(10));
        }
        // What comes last is one too many until the next event.
        assert_eq!((memory.recall(&98), memory.recall(&99), memory.order.len()), (None, Some(&99), 201));
        assert!(memory.has_overflowed());
        // What is due is not known, and goes a few at a time.
        memory.forget(Micros(10));
        assert_eq!((memory.recall(&299), memory.order.len()), (None, 201 - FORGOTTEN_PER_EVENT_MAX));
    }

    #[test]
    fn an_entry_put_again_lives_on() {
        let mut memory = Memory::new(200);
        memory.put("a", 1, Micros(10));
        memory.put("a", 2, Micros(20));
        memory.forget(Micros(15));
        assert_eq!(memory.recall(&"a"), Some(&2));
        assert_eq!(memory.remove(&"a"), Some(2));
        assert_eq!(memory.recall(&"a"), None);
    }
}
