//! Finds the slot of a reservation by its id. The ids are divided into parts in their order, and each part is a small hash
//! table of slot numbers. An id begins with the hash of its pool, so the ids of a pool lie in neighbouring parts, and its
//! reservations are found without an index of their own. A part that is full becomes two, which is the most work that one
//! insertion makes.

use crate::domain::ReservationId;
use hashbrown::HashTable;
use std::hint::black_box;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// Most ids in one part: what fills a table of 1,024 places.
pub const PART_MAX: usize = 896;
/// Ids in each part of an index that is made at once.
const PART_NEW: usize = PART_MAX * 3 / 4;
/// A table that is no more than one part in so many full becomes smaller.
const SPARE: usize = 8;
/// Leading bits of an id that narrow down where its part is. Ids of many pools differ in them, so one or two parts are left.
const LEAD_BITS: u32 = 12;
/// Ids of one pool lie in very many parts, and finding the one takes longer than looking into it. An id is looked up several
/// times in a row, so of so many ids it is noted in which part they were.
const NOTES: usize = 256;
/// Of so many places of a table, which lie next to each other, one is nearly always taken.
const BESIDE: usize = 4;

#[derive(Clone)]
pub struct Index {
    /// The least id that each part may hold, in order. The first part begins before all ids.
    starts: Vec<u128>,
    /// How many parts begin before all ids with certain leading bits, for each value of these bits and the one after.
    before: Vec<u32>,
    parts: Vec<HashTable<u32>>,
    notes: Notes,
}

/// The number of the part in which an id was, by the hash of the id. It may be wrong by now, and is checked.
struct Notes([AtomicU32; NOTES]);

impl Default for Notes {
    fn default() -> Notes {
        Notes(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

/// A copy begins without notes.
impl Clone for Notes {
    fn clone(&self) -> Notes {
        Notes::default()
    }
}

/// The ids from one on that lie next to each other.
pub struct Part<'a> {
    slots: &'a HashTable<u32>,
    /// The least id that the next part may hold; none for the last part.
    pub next: Option<ReservationId>,
}

impl Part<'_> {
    /// Number of ids.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of each id, in no order.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied()
    }
}

impl Default for Index {
    fn default() -> Index {
        let before = (0..=1 << LEAD_BITS).map(|lead: u32| lead.min(1)).collect();
        Index { starts: vec![0], before, parts: vec![HashTable::new()], notes: Notes::default() }
    }
}

impl Index {
    /// The index of these ids, which are in their order, each there once. Its parts have room for more.
    pub fn of<'a>(sorted: &[(ReservationId, u32)], id_at: impl Fn(u32) -> Option<&'a ReservationId>) -> Index {
        let mut index = Index::default();
        for (no, ids) in sorted.chunks(PART_NEW).enumerate() {
            let mut part = HashTable::with_capacity(ids.len());
            for (id, slot) in ids {
                part.insert_unique(hash(id), *slot, |slot| id_at(*slot).map_or(0, hash));
            }
            match (no, ids.first()) {
                (0, _) | (_, None) => index.parts = vec![part],
                (_, Some((first, _))) => {
                    let start = order(first);
                    index.starts.push(start);
                    index.parts.push(part);
                    index.before_all_after(start).for_each(|before| *before = before.saturating_add(1));
                }
            }
        }
        index
    }

    /// The part in which this id is or would be, and its hash there.
    pub fn place_of(&self, id: &ReservationId) -> (usize, u64) {
        (self.part_of(id), hash(id))
    }

    /// A slot that may hold the id of this place. Only where it lies in memory is known for sure: in what is read for this.
    pub fn may_be_at(&self, (part, hash): (usize, u64)) -> Option<u32> {
        may_be_in(self.parts.get(part)?, hash)
    }

    /// The slot of this id. `id_at` says which id a slot holds.
    pub fn find<'a>(&self, id: &ReservationId, id_at: impl Fn(u32) -> Option<&'a ReservationId>) -> Option<u32> {
        let part = self.parts.get(self.part_of(id))?;
        part.find(hash(id), |slot| id_at(*slot) == Some(id)).copied()
    }

    /// Adds an id that is not there yet. Its slot holds it already.
    pub fn insert<'a>(&mut self, id: &ReservationId, slot: u32, id_at: impl Fn(u32) -> Option<&'a ReservationId>) {
        let mut no = self.part_of(id);
        if self.parts.get(no).is_some_and(|part| part.len() >= PART_MAX) {
            self.split(no, &id_at);
            no = self.part_of(id);
        }
        if let Some(part) = self.parts.get_mut(no) {
            part.insert_unique(hash(id), slot, |slot| id_at(*slot).map_or(0, hash));
        }
    }

    /// Removes an id. Its slot still holds it.
    pub fn remove<'a>(&mut self, id: &ReservationId, slot: u32, id_at: impl Fn(u32) -> Option<&'a ReservationId>) {
        let no = self.part_of(id);
        let Some(part) = self.parts.get_mut(no) else { return };
        if let Ok(entry) = part.find_entry(hash(id), |other| *other == slot) {
            entry.remove();
        }
        if part.is_empty() && no > 0 {
            let start = self.starts.remove(no);
            self.parts.remove(no);
            self.before_all_after(start).for_each(|before| *before = before.saturating_sub(1));
        } else if part.len().saturating_mul(SPARE) <= part.capacity() {
            part.shrink_to(part.len().saturating_mul(2), |slot| id_at(*slot).map_or(0, hash));
        }
    }

    /// The part that holds this id, and all after it.
    pub fn parts_from(&self, id: ReservationId) -> impl Iterator<Item = Part<'_>> {
        self.parts_of(self.part_of(&id))
    }

    /// Every part, in the order of the ids that it may hold.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.parts_of(0)
    }

    fn parts_of(&self, first: usize) -> impl Iterator<Item = Part<'_>> {
        let next = |no: usize| ReservationId::from_bytes(self.starts.get(no.saturating_add(1))?.to_be_bytes()).ok();
        let parts = self.parts.iter().enumerate().skip(first);
        parts.map(move |(no, slots)| Part { slots, next: next(no) })
    }

    /// The part in which this id is, or would be.
    fn part_of(&self, id: &ReservationId) -> usize {
        let order = order(id);
        let note = self.notes.0.get(hash(id) as usize % NOTES);
        let noted = note.map_or(0, |note| note.load(Relaxed) as usize);
        if self.starts.get(noted).is_some_and(|start| *start <= order)
            && self.starts.get(noted.saturating_add(1)).is_none_or(|next| order < *next)
        {
            return noted;
        }
        let before = |lead: usize| self.before.get(lead).map_or(0, |before| *before as usize);
        let (first, end) = (before(lead(order)), before(lead(order).saturating_add(1)));
        let among = self.starts.get(first..end).unwrap_or_default();
        let no = first.saturating_add(among.partition_point(|start| *start <= order)).saturating_sub(1);
        note.into_iter().for_each(|note| note.store(u32::try_from(no).unwrap_or_default(), Relaxed));
        no
    }

    /// The counts of parts that one with this start belongs to.
    fn before_all_after(&mut self, start: u128) -> impl Iterator<Item = &mut u32> {
        self.before.iter_mut().skip(lead(start).saturating_add(1))
    }

    /// Gives the upper half of a part's ids a part of their own.
    fn split<'a>(&mut self, no: usize, id_at: &impl Fn(u32) -> Option<&'a ReservationId>) {
        let Some(part) = self.parts.get_mut(no) else { return };
        // Their slots first, so that the ids are read from memory beside each other.
        let slots: Vec<_> = part.iter().copied().collect();
        let mut ids: Vec<_> = slots.into_iter().filter_map(|slot| Some((*id_at(slot)?, slot))).collect();
        let middle = ids.len() / 2;
        if middle == 0 {
            return;
        }
        let (below, (first, _), _) = ids.select_nth_unstable_by_key(middle, |(id, _)| order(id));
        let (start, below) = (order(first), below.len());
        let (below, above) = ids.split_at(below);
        let [lower, upper] = [below, above].map(|ids| {
            // With room for all that it may hold: a table that grows looks every id up to place it anew.
            let mut half = HashTable::with_capacity(PART_MAX);
            for (id, slot) in ids {
                half.insert_unique(hash(id), *slot, |slot| id_at(*slot).map_or(0, hash));
            }
            half
        });
        *part = lower;
        self.starts.insert(no.saturating_add(1), start);
        self.parts.insert(no.saturating_add(1), upper);
        self.before_all_after(start).for_each(|before| *before = before.saturating_add(1));
    }
}

/// The place of an id among all ids.
fn order(id: &ReservationId) -> u128 {
    u128::from_be_bytes(*id.bytes())
}

/// The leading bits of an id.
fn lead(order: u128) -> usize {
    (order >> (u128::BITS - LEAD_BITS)) as usize
}

/// Takes eight bytes of an id that differ within a pool, and mixes them: a table uses the highest and the lowest bits.
fn hash(id: &ReservationId) -> u64 {
    let [_, _, _, _, a, b, c, d, e, f, g, h, ..] = *id.bytes();
    let bytes = u64::from_le_bytes([a, b, c, d, e, f, g, h]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes ^ (bytes >> 32)
}

/// A number of this table that may be the one of this hash. What finding and inserting it needs of the table has then been
/// read from memory: a change of what is not in the caches holds up everything after it.
pub fn may_be_in(table: &HashTable<u32>, hash: u64) -> Option<u32> {
    let home = hash as usize & table.num_buckets().saturating_sub(1);
    black_box((home..home.saturating_add(BESIDE)).find_map(|at| table.get_bucket(at).copied()));
    table.find(hash, |_| true).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids of three pools, one of which has nearly all.
    fn ids(count: u64) -> Vec<ReservationId> {
        let id = |n: u64| {
            let unique = *blake3::hash(&n.to_le_bytes()).as_bytes().first_chunk().unwrap();
            let pool = if n.is_multiple_of(200) {
                1
            } else if n.is_multiple_of(100) {
                0x1_0000
            } else {
                7
            };
            ReservationId::new(pool, unique)
        };
        (0..count).map(id).collect()
    }

    fn sorted(index: &Index, ids: &[ReservationId], from: &ReservationId) -> Vec<ReservationId> {
        let mut all = Vec::new();
        for part in index.parts_from(*from) {
            let mut of_part: Vec<_> = part.slots().map(|slot| ids[slot as usize]).collect();
            of_part.sort_unstable();
            assert!(part.len() == of_part.len() && of_part.len() <= PART_MAX);
            assert!(all.last() < of_part.first(), "parts lie in the order of ids");
            assert!(part.next.is_none_or(|next| *of_part.last().unwrap() < next));
            all.extend(of_part);
        }
        all
    }

    #[test]
    fn ids_are_found_one_by_one_and_in_their_order_while_others_come_and_go() {
        let ids = ids(100_000);
        let at = |slot: u32| ids.get(slot as usize);
        let mut index = Index::default();
        (0..).zip(&ids).for_each(|(slot, id)| index.insert(id, slot, at));
        assert!((0..).zip(&ids).all(|(slot, id)| index.find(id, at) == Some(slot)));
        let mut expected = ids.clone();
        expected.sort_unstable();
        assert_eq!(sorted(&index, &ids, &expected[0]), expected);
        let places: usize = index.parts.iter().map(HashTable::capacity).sum();
        assert!(index.parts.len() > ids.len() / PART_MAX && places <= 2 * ids.len(), "{places} places");
        let mut entries: Vec<_> = ids.iter().copied().zip(0..).collect();
        entries.sort_unstable();
        let at_once = Index::of(&entries, at);
        assert_eq!(sorted(&at_once, &ids, &expected[0]), expected);
        assert!((0..).zip(&ids).all(|(slot, id)| at_once.find(id, at) == Some(slot)));
        assert!(at_once.before.iter().zip(at_once.before.iter().skip(1)).all(|(one, next)| one <= next));
        assert_eq!(Index::of(&[], at).find(&ids[0], at), None);

        let leaves = |slot: u32| !slot.is_multiple_of(50);
        (0..).zip(&ids).filter(|(slot, _)| leaves(*slot)).for_each(|(slot, id)| index.remove(id, slot, at));
        assert!((0..).zip(&ids).all(|(slot, id)| index.find(id, at) == (!leaves(slot)).then_some(slot)));
        let mut expected: Vec<_> = ids.iter().copied().step_by(50).collect();
        expected.sort_unstable();
        let from = expected[expected.len() / 2];
        let found = sorted(&index, &ids, &from);
        assert!(found.ends_with(&expected[expected.len() / 2..]) && found.len() < expected.len() / 2 + PART_MAX);
        let places: usize = index.parts.iter().map(HashTable::capacity).sum();
        assert!(
            places <= SPARE * expected.len() + 4 * index.parts.len(),
            "{places} places are kept for {}",
            expected.len()
        );

        (0..).zip(&ids).filter(|(slot, _)| !leaves(*slot)).for_each(|(slot, id)| index.remove(id, slot, at));
        assert_eq!((index.parts.len(), index.parts[0].capacity()), (1, 0));
        assert_eq!((&index.starts, &index.before), (&Index::default().starts, &Index::default().before));
    }

    /// A copy has no notes, so it searches.
    #[test]
    fn a_note_of_where_an_id_was_is_not_followed_when_the_id_is_elsewhere() {
        let ids = ids(10_000);
        let at = |slot: u32| ids.get(slot as usize);
        let is_as_searched = |index: &Index| {
            let searching = index.clone();
            ids.iter().take(2 * NOTES).all(|id| index.place_of(id) == searching.place_of(id))
        };
        let mut index = Index::default();
        for (slot, id) in (0..).zip(&ids) {
            index.insert(id, slot, at);
            assert!(!slot.is_multiple_of(100) || is_as_searched(&index));
        }
        assert!(index.parts.len() > 10 && index.notes.0.iter().any(|note| note.load(Relaxed) > 10));
        for (slot, id) in (0..).zip(&ids) {
            index.remove(id, slot, at);
            assert!(!slot.is_multiple_of(100) || is_as_searched(&index));
        }
        assert_eq!(index.parts.len(), 1);
    }
}
