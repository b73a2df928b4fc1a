//! What is remembered for a while: bounded in log time and in number, the oldest going first. The owner's memory has
//! the same bounds but may let go of an entry a little earlier or later than this one, so a reader is told how sure it
//! may be that the owner still knows.

use crate::domain::Micros;
use std::collections::{BTreeMap, VecDeque};

/// Entries near the bound in number about which nothing is claimed either way.
const SLACK: usize = 64;

/// Values by key, kept for a while.
pub(super) struct Memory<K, V> {
    entries: BTreeMap<K, Kept<V>>,
    /// When each entry goes, and its stamp; one that was put again or taken out has another stamp, or none.
    order: VecDeque<(Micros, u64, K)>,
    added: u64,
    max: usize,
    overflowed: bool,
}

struct Kept<V> {
    value: V,
    stamp: u64,
}

/// What is remembered of a key.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Recall<'a, V> {
    /// The owner must know it.
    Must(&'a V),
    /// So many came after it that the owner may have let it go.
    May(&'a V),
    /// The owner cannot know it.
    Never,
    /// So many came after it, if there was one, that nothing can be said.
    Unclear,
}

impl<'a, V> Recall<'a, V> {
    /// The value, if one is remembered at all.
    pub(super) fn value(&self) -> Option<&'a V> {
        match self {
            Recall::Must(value) | Recall::May(value) => Some(value),
            Recall::Never | Recall::Unclear => None,
        }
    }
}

impl<K: Ord + Clone, V> Memory<K, V> {
    /// A memory of at most `max` entries.
    pub(super) fn new(max: usize) -> Memory<K, V> {
        Memory { entries: BTreeMap::new(), order: VecDeque::new(), added: 0, max, overflowed: false }
    }

    /// Keeps `value` until then, in place of what was kept. `until` never decreases from call to call.
    pub(super) fn put(&mut self, key: K, value: V, until: Micros) {
        let stamp = self.added;
        self.added = stamp.saturating_add(1);
        self.order.push_back((until, stamp, key.clone()));
        self.entries.insert(key, Kept { value, stamp });
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|kept| kept.value)
    }

    /// Lets go of what is due at `now`, and of the oldest past the bound.
    pub(super) fn forget(&mut self, now: Micros) {
        while let Some((until, stamp, _)) = self.order.front() {
            let is_due = *until <= now;
            let is_too_many = self.order.len() > self.max.saturating_add(SLACK);
            if !is_due && !is_too_many {
                return;
            }
            let stamp = *stamp;
            let Some((_, _, key)) = self.order.pop_front() else { return };
            if self.entries.get(&key).is_some_and(|kept| kept.stamp == stamp) {
                self.entries.remove(&key);
                self.overflowed |= !is_due;
            }
        }
    }

    /// What is remembered.
    pub(super) fn recall(&self, key: &K) -> Recall<'_, V> {
        match self.entries.get(key) {
            Some(kept) if self.is_recent(kept.stamp) => Recall::Must(&kept.value),
            Some(kept) => Recall::May(&kept.value),
            None if self.overflowed => Recall::Unclear,
            None => Recall::Never,
        }
    }

    /// The stamp the next entry gets.
    pub(super) fn stamp(&self) -> u64 {
        self.added
    }

    /// Whether so few were put since this stamp that the owner must have kept what it held then.
    pub(super) fn is_recent(&self, stamp: u64) -> bool {
        let since = self.added.saturating_sub(stamp);
        since < u64::try_from(self.max.saturating_sub(SLACK)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_go_in_time_and_in_number_and_says_how_sure_it_is() {
        let mut memory = Memory::new(200);
        memory.put("old", 1, Micros(10));
        memory.put("new", 2, Micros(20));
        memory.forget(Micros(9));
        assert_eq!(memory.recall(&"old"), Recall::Must(&1));
        memory.forget(Micros(10));
        assert_eq!(memory.recall(&"old"), Recall::Never);
        assert_eq!(memory.recall(&"new"), Recall::Must(&2));

        let mut memory = Memory::new(200);
        for n in 0..300 {
            memory.put(n, n, Micros(10));
            memory.forget(Micros(0));
        }
        assert_eq!(memory.recall(&0), Recall::Unclear);
        assert_eq!(memory.recall(&100), Recall::May(&100));
        assert_eq!(memory.recall(&299), Recall::Must(&299));
        assert_eq!(memory.order.len(), 200 + SLACK);
    }

    #[test]
    fn an_entry_put_again_lives_on() {
        let mut memory = Memory::new(200);
        memory.put("a", 1, Micros(10));
        memory.put("a", 2, Micros(20));
        memory.forget(Micros(15));
        assert_eq!(memory.recall(&"a"), Recall::Must(&2));
        assert_eq!(memory.remove(&"a"), Some(2));
        assert_eq!(memory.recall(&"a"), Recall::Never);
    }
}
