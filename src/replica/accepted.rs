//! The live reservations of one pool in the order in which they were accepted. The order is that of the log, so that it
//! is the same in every process. An entry takes eight bytes, because reservations take most of the memory.

/// Entries of a chunk that is full.
const CHUNK_ENTRIES: usize = 256;

/// Slots by the sequence number of the event that accepted their reservation.
#[derive(Default)]
pub struct Accepted {
    chunks: Vec<Chunk>,
    len: usize,
}

/// Neighbours in that order.
struct Chunk {
    first: u64,
    /// The sequence number less `first`, and the slot.
    entries: Vec<(u32, u32)>,
}

impl Chunk {
    fn of(seq: u64, slot: u32) -> Chunk {
        Chunk { first: seq, entries: vec![(0, slot)] }
    }

    fn place(&self, seq: u64) -> Option<u32> {
        seq.checked_sub(self.first).and_then(|place| u32::try_from(place).ok())
    }

    fn pairs(&self) -> impl DoubleEndedIterator<Item = (u64, u32)> {
        self.entries.iter().map(|(place, slot)| (self.first.saturating_add(u64::from(*place)), *slot))
    }
}

impl Accepted {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry. It is nearly always the last one.
    pub fn insert(&mut self, seq: u64, slot: u32) {
        self.len = self.len.saturating_add(1);
        let after = self.chunks.partition_point(|chunk| chunk.first <= seq);
        let chunk = after.checked_sub(1).and_then(|at| self.chunks.get_mut(at));
        if let Some(chunk) = chunk
            && let Some(place) = chunk.place(seq)
        {
            let at = chunk.entries.partition_point(|(other, _)| *other < place);
            if at < chunk.entries.len() || at < CHUNK_ENTRIES {
                return chunk.entries.insert(at, (place, slot));
            }
        }
        self.chunks.insert(after, Chunk::of(seq, slot));
    }

    /// Removes the entry of this sequence number.
    pub fn remove(&mut self, seq: u64) {
        let Some(at) = self.chunks.partition_point(|chunk| chunk.first <= seq).checked_sub(1) else { return };
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let found = chunk.place(seq).and_then(|place| chunk.entries.binary_search_by_key(&place, |(p, _)| *p).ok());
        let Some(entry) = found else { return };
        chunk.entries.remove(entry);
        self.len = self.len.saturating_sub(1);
        let left = chunk.entries.len();
        if left == 0 {
            self.chunks.remove(at);
        } else if left.saturating_mul(4) <= chunk.entries.capacity() {
            self.shrink(at);
        }
    }

    /// Takes the next chunk into a chunk with few entries, if both are small, and gives memory back.
    fn shrink(&mut self, at: usize) {
        let next = at.saturating_add(1);
        let last = self.chunks.get(next).and_then(|chunk| chunk.pairs().next_back());
        let counts = self
            .chunks
            .get(at)
            .zip(self.chunks.get(next))
            .map(|(a, b)| a.entries.len().saturating_add(b.entries.len()));
        let Some(chunk) = self.chunks.get(at) else { return };
        let fits = counts.is_some_and(|count| count <= CHUNK_ENTRIES / 2)
            && last.is_some_and(|(seq, _)| chunk.place(seq).is_some());
        let taken = if fits { Some(self.chunks.remove(next)) } else { None };
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let pairs: Vec<(u64, u32)> = taken.iter().flat_map(Chunk::pairs).collect();
        let places: Vec<_> = pairs.iter().filter_map(|(seq, slot)| Some((chunk.place(*seq)?, *slot))).collect();
        chunk.entries.extend(places);
        chunk.entries.shrink_to_fit();
    }

    /// Removes the last entry and answers its slot.
    pub fn pop(&mut self) -> Option<u32> {
        let chunk = self.chunks.last_mut()?;
        let popped = chunk.entries.pop();
        if chunk.entries.is_empty() {
            self.chunks.pop();
        }
        self.len = self.len.saturating_sub(usize::from(popped.is_some()));
        popped.map(|(_, slot)| slot)
    }

    /// The entries after this sequence number, in order; all of them without one.
    #[cfg(test)]
    pub fn after(&self, seq: Option<u64>) -> impl Iterator<Item = (u64, u32)> {
        let from = seq.map_or(0, |seq| self.chunks.partition_point(|chunk| chunk.first <= seq).saturating_sub(1));
        let chunks = self.chunks.get(from..).unwrap_or_default();
        let is_after = move |of: u64| seq.is_none_or(|seq| of > seq);
        chunks.iter().flat_map(Chunk::pairs).skip_while(move |(of, _)| !is_after(*of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Numbers without a pattern.
    fn scattered(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24)
    }

    #[test]
    fn entries_are_in_order_whatever_comes_and_goes() {
        let (mut accepted, mut expected) = (Accepted::default(), BTreeMap::new());
        for (seq, slot) in (0..10_000_u64).map(|n| n * 3).zip(0..) {
            accepted.insert(seq, slot);
            expected.insert(seq, slot);
        }
        for seq in scattered(40_000) {
            let seq = seq % 30_000;
            accepted.remove(seq);
            expected.remove(&seq);
        }
        // Out of order, as no log does it, and far apart.
        for (seq, slot) in [(u64::MAX / 2, 7), (5, 8), (1 << 40, 9), (29_998, 10)] {
            accepted.insert(seq, slot);
            expected.insert(seq, slot);
        }
        let pairs = |after: Option<u64>| accepted.after(after).collect::<Vec<_>>();
        assert_eq!(pairs(None), expected.iter().map(|(seq, slot)| (*seq, *slot)).collect::<Vec<_>>());
        for after in [0, 4, 5, 14_999, 29_998, 1 << 40, u64::MAX] {
            let later = expected.range(after..).filter(|(seq, _)| **seq > after);
            assert_eq!(pairs(Some(after)), later.map(|(seq, slot)| (*seq, *slot)).collect::<Vec<_>>(), "{after}");
        }
        assert_eq!(accepted.len(), expected.len());
        let mut left: Vec<u32> = std::iter::from_fn(|| accepted.pop()).collect();
        left.reverse();
        assert_eq!((left, accepted.len()), (expected.into_values().collect(), 0));
    }

    #[test]
    fn what_is_gone_takes_no_memory() {
        let mut accepted = Accepted::default();
        (0..100_000).for_each(|seq| accepted.insert(seq, 0));
        let bytes = |accepted: &Accepted| {
            let entries = accepted.chunks.iter().map(|chunk| chunk.entries.capacity() * 8);
            entries.sum::<usize>() + accepted.chunks.len() * size_of::<Chunk>()
        };
        assert!(bytes(&accepted) <= 9 * accepted.len(), "{} bytes", bytes(&accepted));
        (0..100_000).filter(|seq| seq % 100 != 0).for_each(|seq| accepted.remove(seq));
        assert!(bytes(&accepted) <= 64 * accepted.len(), "{} bytes for {}", bytes(&accepted), accepted.len());
    }
}
