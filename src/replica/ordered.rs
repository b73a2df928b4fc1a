//! Reservations in the order of a number, such as the deadline of a hold, and then of their ids. Of each there is its number
//! and its slot: the slab says which id a slot holds. So an entry takes 12 bytes, and not the 24 of a number and an id.
//! Entries lie in sorted chunks. The work of a change is bounded by a chunk and by the list of chunks.

use crate::domain::ReservationId;
use std::cmp::Ordering;

/// Most entries of a chunk.
const CHUNK_MAX: usize = 512;
/// A chunk with fewer entries is joined with one beside it, if both together have no more than twice as many.
const CHUNK_FEW: usize = CHUNK_MAX / 4;
/// Entries of each chunk of those that are made at once: there is room for more.
const CHUNK_NEW: usize = CHUNK_MAX * 3 / 4;
/// A full chunk has room for one part in so many more entries when it grows.
const GROWTH: usize = 8;

/// A number and a slot, without the padding that a pair of them would have.
#[derive(Clone, Copy)]
struct Entry {
    high: u32,
    low: u32,
    slot: u32,
}

impl Entry {
    fn new(number: u64, slot: u32) -> Entry {
        Entry { high: (number >> 32) as u32, low: number as u32, slot }
    }

    fn number(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

/// Slots of reservations, in that order.
#[derive(Default)]
pub struct Ordered {
    /// None of them is empty.
    chunks: Vec<Vec<Entry>>,
    len: usize,
}

impl Ordered {
    /// These entries, each of them once. `id_at` says which id a slot holds.
    pub fn of<'a>(mut entries: Vec<(u64, u32)>, id_at: impl Fn(u32) -> Option<&'a ReservationId>) -> Ordered {
        entries.sort_unstable_by(|(number, slot), (other, of_other)| {
            number.cmp(other).then_with(|| id_at(*slot).cmp(&id_at(*of_other)))
        });
        let chunk = |entries: &[(u64, u32)]| entries.iter().map(|(number, slot)| Entry::new(*number, *slot)).collect();
        Ordered { chunks: entries.chunks(CHUNK_NEW).map(chunk).collect(), len: entries.len() }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first entry: its number and its slot.
    pub fn first(&self) -> Option<(u64, u32)> {
        self.chunks.first()?.first().map(|entry| (entry.number(), entry.slot))
    }

    /// Every entry from this number on.
    pub fn from(&self, number: u64) -> impl Iterator<Item = (u64, u32)> + use<'_> {
        let (no, at) = self.place(|entry| entry.number() < number);
        let chunks = self.chunks.get(no..).unwrap_or_default();
        chunks.iter().flatten().skip(at).map(|entry| (entry.number(), entry.slot))
    }

    /// Adds an entry that is not there yet. Its slot holds the id already.
    pub fn insert<'a>(&mut self, number: u64, slot: u32, id_at: impl Fn(u32) -> Option<&'a ReservationId>) {
        let (mut no, mut at) = self.place(is_before(number, slot, id_at));
        if self.chunks.get(no).is_some_and(|chunk| chunk.len() >= CHUNK_MAX) {
            (no, at) = self.split(no, at);
        }
        if no >= self.chunks.len() {
            self.chunks.push(Vec::new());
        }
        let Some(chunk) = self.chunks.get_mut(no) else { return };
        if chunk.len() == chunk.capacity() {
            let most = CHUNK_MAX.saturating_sub(chunk.len());
            chunk.reserve_exact((chunk.len() / GROWTH).max(2).min(most));
        }
        chunk.insert(at, Entry::new(number, slot));
        self.len = self.len.saturating_add(1);
    }

    /// Removes an entry. Its slot still holds the id.
    pub fn remove<'a>(&mut self, number: u64, slot: u32, id_at: impl Fn(u32) -> Option<&'a ReservationId>) {
        let (mut no, mut at) = self.place(is_before(number, slot, id_at));
        if self.chunks.get(no).is_some_and(|chunk| chunk.len() == at) {
            (no, at) = (no.saturating_add(1), 0);
        }
        let Some(chunk) = self.chunks.get_mut(no) else { return };
        if chunk.get(at).is_none_or(|entry| (entry.number(), entry.slot) != (number, slot)) {
            return;
        }
        chunk.remove(at);
        self.len = self.len.saturating_sub(1);
        if chunk.capacity() / 2 > chunk.len() {
            chunk.shrink_to_fit();
        }
        let (is_empty, has_few) = (chunk.is_empty(), chunk.len() < CHUNK_FEW);
        if is_empty {
            self.chunks.remove(no);
        } else if has_few && !self.joins(no) && no > 0 {
            self.joins(no.saturating_sub(1));
        }
    }

    /// Drops the last entry, and answers whether there was one.
    pub fn pop(&mut self) -> bool {
        let Some(chunk) = self.chunks.last_mut() else { return false };
        chunk.pop();
        if chunk.is_empty() {
            self.chunks.pop();
        }
        self.len = self.len.saturating_sub(1);
        true
    }

    /// Where the first entry is, or would be inserted, that does not come before: its chunk and its place there.
    fn place(&self, is_before: impl Fn(&Entry) -> bool) -> (usize, usize) {
        let begins_before = |chunk: &Vec<Entry>| chunk.first().is_some_and(&is_before);
        let no = self.chunks.partition_point(begins_before).saturating_sub(1);
        let Some(chunk) = self.chunks.get(no) else { return (no, 0) };
        // Most deadlines are later than all others.
        let at = if chunk.last().is_some_and(&is_before) { chunk.len() } else { chunk.partition_point(is_before) };
        (no, at)
    }

    /// Makes room in a full chunk for an entry at this place, and answers where that place is now. The last chunk stays full
    /// when it grows at its end, as it does with rising deadlines.
    fn split(&mut self, no: usize, at: usize) -> (usize, usize) {
        let next = no.saturating_add(1);
        let is_last = next >= self.chunks.len();
        let Some(chunk) = self.chunks.get_mut(no) else { return (no, at) };
        if at == chunk.len() && is_last {
            return (next, 0);
        }
        let middle = chunk.len() / 2;
        let upper = chunk.split_off(middle);
        chunk.shrink_to_fit();
        self.chunks.insert(next, upper);
        if at <= middle { (no, at) } else { (next, at.saturating_sub(middle)) }
    }

    /// Joins a chunk with the next one if both together have few entries, and answers whether they had.
    fn joins(&mut self, no: usize) -> bool {
        let next = no.saturating_add(1);
        if next >= self.chunks.len() || self.chunks.iter().skip(no).take(2).map(Vec::len).sum::<usize>() > 2 * CHUNK_FEW
        {
            return false;
        }
        let upper = self.chunks.remove(next);
        self.chunks.get_mut(no).into_iter().for_each(|chunk| chunk.extend_from_slice(&upper));
        true
    }
}

/// Whether an entry comes before the one of this slot with this number.
fn is_before<'a>(number: u64, slot: u32, id_at: impl Fn(u32) -> Option<&'a ReservationId>) -> impl Fn(&Entry) -> bool {
    move |entry| match entry.number().cmp(&number) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => entry.slot != slot && id_at(entry.slot) < id_at(slot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The id in a slot. Neighbouring slots hold ids that are far from each other.
    fn ids(count: u32) -> Vec<ReservationId> {
        let id = |slot: u32| ReservationId::new(slot.wrapping_mul(0x9e37_79b9), [0; 11]);
        (0..count).map(id).collect()
    }

    fn all(ordered: &Ordered, ids: &[ReservationId], from: u64) -> Vec<(u64, ReservationId)> {
        ordered.from(from).map(|(number, slot)| (number, ids[slot as usize])).collect()
    }

    proptest! {
        #[test]
        fn entries_lie_in_order_while_they_come_and_go(
            spread in prop_oneof![Just(1u64), Just(50), Just(u64::MAX)],
            numbers in prop::collection::vec(any::<u64>(), 1..4_000),
            leaving in any::<u32>(),
        ) {
            let ids = ids(4_000);
            let at = |slot: u32| ids.get(slot as usize);
            let (mut ordered, mut expected) = (Ordered::default(), BTreeSet::new());
            let entries: Vec<_> = (0..).zip(&numbers).map(|(slot, number)| (number.checked_rem(spread).unwrap(), slot)).collect();
            for (number, slot) in &entries {
                ordered.insert(*number, *slot, at);
                expected.insert((*number, ids[*slot as usize]));
            }
            let at_once = Ordered::of(entries.clone(), at);
            prop_assert_eq!(all(&at_once, &ids, 0), all(&ordered, &ids, 0));
            prop_assert_eq!((at_once.len(), at_once.first()), (ordered.len(), ordered.first()));
            let leaves = |slot: u32| !(slot ^ leaving).is_multiple_of(8);
            for (number, slot) in entries.iter().filter(|(_, slot)| leaves(*slot)) {
                ordered.remove(*number, *slot, at);
                expected.remove(&(*number, ids[*slot as usize]));
                ordered.remove(*number, *slot, at);
            }
            let from = numbers[0].checked_rem(spread).unwrap();
            prop_assert_eq!(ordered.len(), expected.len());
            prop_assert_eq!(ordered.first().map(|(number, slot)| (number, ids[slot as usize])), expected.first().copied());
            let later = expected.iter().filter(|(number, _)| *number >= from).copied().collect::<Vec<_>>();
            prop_assert_eq!(all(&ordered, &ids, from), later);
            prop_assert!(ordered.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_MAX));
        }
    }

    #[test]
    fn rising_numbers_fill_the_chunks_and_few_entries_take_little() {
        let ids = ids(10_000);
        let at = |slot: u32| ids.get(slot as usize);
        let mut ordered = Ordered::default();
        let places = |ordered: &Ordered| ordered.chunks.iter().map(Vec::capacity).sum::<usize>();
        (0..10_000).for_each(|slot| ordered.insert(slot.into(), slot, at));
        let full = 10_000_usize.div_ceil(CHUNK_MAX);
        assert!(ordered.chunks.len() == full && places(&ordered) <= full * CHUNK_MAX);
        (0..10_000).filter(|slot| slot % 100 != 0).for_each(|slot| ordered.remove(slot.into(), slot, at));
        assert_eq!((ordered.len(), ordered.chunks.len()), (100, 1));
        assert!(places(&ordered) <= 2 * CHUNK_FEW, "{} places are kept for 100", places(&ordered));
        assert!((0..100).all(|_| ordered.pop()) && !ordered.pop());
        assert_eq!((ordered.len(), ordered.first()), (0, None));
    }
}
