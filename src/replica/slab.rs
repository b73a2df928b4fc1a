//! Keeps a partition's reservations in pages of [`PAGE_SLOTS`] slots, found by an index of slot numbers. A page is
//! shared with the checkpoint that is being written, and copied only if it changes meanwhile. So a snapshot of a
//! million reservations costs the owner a clone of some reference counts. A new reservation takes the lowest free slot, so
//! that high pages become empty when there are fewer, and an empty page takes no memory.

use super::index::{Index, Part};
use crate::domain::{Amounts, PoolId, Reservation, ReservationId};
use crate::limits::{PAGE_SLOTS, POOLS_PER_PARTITION_MAX, RESERVATION_BYTES};
use crate::wire::snapshot::{Sharing, Slots};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

/// Most different demands of one partition that its reservations share in memory.
const SHARED_DEMANDS_MAX: usize = 4_096;

/// Most ids for which a slab looks ahead at once: what is read for them stays in the caches until it is used.
pub const LOOK_AHEAD: usize = 16;

/// One reservation with its id.
pub type Slot = (ReservationId, Reservation);

/// Values that many reservations have in common. Each is kept once, because reservations take most of the memory.
#[derive(Default)]
pub struct Common {
    pools: BTreeSet<PoolId>,
    demands: BTreeSet<Amounts>,
    /// Those of the last reservation: most follow one that has the same.
    last: Option<(PoolId, Amounts)>,
}

impl Common {
    /// Takes in the values that others have in common, as far as there is room.
    pub fn join(&mut self, other: Common) {
        let Common { pools, demands, last: _ } = other;
        let (more_pools, more_demands) = (
            POOLS_PER_PARTITION_MAX.saturating_sub(self.pools.len()),
            SHARED_DEMANDS_MAX.saturating_sub(self.demands.len()),
        );
        self.pools.extend(pools.into_iter().take(more_pools));
        self.demands.extend(demands.into_iter().take(more_demands));
    }

    /// Forgets the id of a pool.
    pub fn forget(&mut self, pool: &PoolId) {
        self.pools.remove(pool);
        self.last = None;
    }

    /// Shares what the reservation has in common with others. The id of its pool is kept for them where the pool `is_there`: that
    /// of one that never was, or has retired, would stay for good.
    pub fn share(&mut self, reservation: &mut Reservation, is_there: impl FnOnce(&PoolId) -> bool) {
        let last = self.last.as_ref();
        if let Some((pool, demand)) = last.filter(|(p, d)| (p, d) == (&reservation.pool, &reservation.demand)) {
            (reservation.pool, reservation.demand) = (pool.clone(), demand.clone());
            return;
        }
        reservation.demand = self.demand(std::mem::take(&mut reservation.demand));
        if is_there(&reservation.pool) {
            reservation.pool = self.pool(reservation.pool.clone());
        }
        self.last = Some((reservation.pool.clone(), reservation.demand.clone()));
    }
}

impl Sharing for Common {
    fn pool(&mut self, pool: PoolId) -> PoolId {
        kept(&mut self.pools, POOLS_PER_PARTITION_MAX, pool)
    }

    fn demand(&mut self, demand: Amounts) -> Amounts {
        kept(&mut self.demands, SHARED_DEMANDS_MAX, demand)
    }
}

/// The same value as these have it. It becomes one of them while there are fewer than `most`.
fn kept<T: Ord + Clone>(values: &mut BTreeSet<T>, most: usize, value: T) -> T {
    if let Some(kept) = values.get(&value) {
        return kept.clone();
    }
    if values.len() < most {
        values.insert(value.clone());
    }
    value
}

/// The slots of one page, next to each other.
pub type Page = Slots;

/// With the two reference counts before it, a page fits a size class of allocators: one word more would cost an eighth
/// more.
const _: () = assert!(size_of::<Page>() + 2 * size_of::<usize>() <= 8_192);

/// A reservation's share of its page, of the 48 bytes at most that are noted of a page, and of the index, whose tables are
/// nearly half full when they are new, and two slot numbers of four bytes in the order of forgetting.
const _: () = assert!((8_192 + 48usize).div_ceil(PAGE_SLOTS) + 12 + 8 <= RESERVATION_BYTES as usize);

/// The bits of a page of which every slot is in use.
const FULL: u128 = (1 << PAGE_SLOTS) - 1;

#[derive(Clone)]
pub struct Slab {
    pages: Vec<Arc<Page>>,
    /// The slots of each page that are in use, a bit for each.
    used: Vec<u128>,
    /// The pages that have a free slot.
    open: BTreeSet<u32>,
    /// Stands in the place of every page that holds nothing.
    empty: Arc<Page>,
    index: Index,
}

impl Default for Slab {
    fn default() -> Slab {
        let empty = Arc::new(std::array::from_fn(|_| None));
        Slab { pages: Vec::new(), used: Vec::new(), open: BTreeSet::new(), empty, index: Index::default() }
    }
}

impl Slab {
    /// Puts stored pages back where they were. `ids` are those in the pages with their slots, in their order. The slab does not
    /// find anything before it has its index.
    ///
    /// # Errors
    /// What does not fit together, in words.
    pub fn restore(mut stored: Vec<(u32, Arc<Page>)>, ids: &[(ReservationId, u32)]) -> Result<Slab, String> {
        stored.sort_unstable_by_key(|(no, _)| *no);
        if let Some(((id, _), _)) = ids.iter().zip(ids.iter().skip(1)).find(|((one, _), (next, _))| one == next) {
            return Err(format!("two slots hold {id}"));
        }
        let mut slab = Slab::default();
        for (no, page) in stored {
            if (no as usize) < slab.pages.len() {
                return Err(format!("page {no} is there twice"));
            }
            slab.pages.resize(no as usize, Arc::clone(&slab.empty));
            slab.pages.push(page);
        }
        slab.used.resize(slab.pages.len(), 0);
        for (_, slot) in ids {
            slab.used.get_mut(split(*slot).0).into_iter().for_each(|used| *used |= bit(*slot));
        }
        let open = (0..).zip(&slab.used).filter(|(_, used)| **used != FULL);
        slab.open = open.map(|(no, _)| no).collect();
        Ok(slab)
    }

    /// The index of the ids, which are in their order, each there once.
    pub fn index(&self, sorted: &[(ReservationId, u32)]) -> Index {
        Index::of(sorted, |slot| id_at(&self.pages, slot))
    }

    /// Makes the slab find its reservations by this index.
    pub fn set_index(&mut self, index: Index) {
        self.index = index;
    }

    /// Reads what finding these ids will read, for no more than [`LOOK_AHEAD`] of them. It is done step by step for all of
    /// them: what is read in one step does not wait for anything else of that step.
    pub fn look_ahead(&self, ids: impl Iterator<Item = ReservationId>) {
        let (mut places, mut slots) = ([None; LOOK_AHEAD], [None; LOOK_AHEAD]);
        places.iter_mut().zip(ids).for_each(|(place, id)| *place = Some(self.index.place_of(&id)));
        let places = places.iter().flatten();
        slots.iter_mut().zip(places).for_each(|(slot, place)| *slot = self.index.may_be_at(*place));
        for slot in slots.into_iter().flatten() {
            black_box(self.at(slot).map(|(id, reservation)| (*id, reservation.seq)));
        }
    }

    pub fn find(&self, id: &ReservationId) -> Option<u32> {
        self.index.find(id, |slot| id_at(&self.pages, slot))
    }

    pub fn get(&self, id: &ReservationId) -> Option<&Reservation> {
        self.at(self.find(id)?).map(|(_, reservation)| reservation)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.pages.iter().flat_map(|page| page.iter().flatten())
    }

    /// Every slot that is in use.
    pub fn slots(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let slots = self.pages.iter().flat_map(|page| page.iter());
        (0..).zip(slots).filter_map(|(no, slot)| Some((no, slot.as_ref()?)))
    }

    pub fn page(&self, no: u32) -> Option<&Arc<Page>> {
        self.pages.get(no as usize)
    }

    pub fn page_count(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }

    /// Number of slots, free ones included.
    pub fn slot_count(&self) -> u32 {
        u32::try_from(self.pages.len().saturating_mul(PAGE_SLOTS)).unwrap_or(u32::MAX)
    }

    /// Number of slots that are in use.
    pub fn len(&self) -> usize {
        self.used.iter().map(|used| used.count_ones() as usize).sum()
    }

    /// Access to change a slot that is in use.
    pub fn place(&mut self, slot: u32) -> Option<&mut Option<Slot>> {
        let (page, at) = split(slot);
        self.pages.get_mut(page).map(Arc::make_mut).and_then(|page| page.get_mut(at))
    }

    /// Gives a new reservation a slot.
    pub fn insert(&mut self, id: ReservationId, reservation: Reservation) -> u32 {
        let slot = self.take_slot();
        if let Some(entry) = self.place(slot) {
            *entry = Some((id, reservation));
        }
        self.index.insert(&id, slot, |slot| id_at(&self.pages, slot));
        slot
    }

    /// The lowest free slot, which is in use from now on.
    fn take_slot(&mut self) -> u32 {
        let lowest = self.open.first().copied();
        let no = lowest.unwrap_or_else(|| {
            let no = self.page_count();
            self.pages.push(Arc::clone(&self.empty));
            self.used.push(0);
            self.open.insert(no);
            no
        });
        let used = self.used.get_mut(no as usize).expect("a page has its bits");
        let slot = slots_of(no).and_then(|slots| slots.start.checked_add(used.trailing_ones()));
        let slot = slot.expect("MEMORY_BYTES_MAX keeps slot numbers within u32");
        *used |= bit(slot);
        if *used == FULL {
            self.open.remove(&no);
        }
        slot
    }

    /// Removes a reservation, and frees its slot.
    pub fn remove(&mut self, id: &ReservationId) {
        let Some(slot) = self.find(id) else { return };
        self.index.remove(id, slot, |slot| id_at(&self.pages, slot));
        let (no, _) = split(slot);
        let (Some(used), Some(page)) = (self.used.get_mut(no), self.pages.get_mut(no)) else { return };
        if *used == FULL {
            self.open.insert(page_of(slot));
        }
        *used &= !bit(slot);
        if *used == 0 {
            *page = Arc::clone(&self.empty);
        } else if let Some(entry) = self.place(slot) {
            *entry = None;
        }
    }

    pub fn at(&self, slot: u32) -> Option<&Slot> {
        slot_at(&self.pages, slot)
    }

    /// The id that a slot holds.
    pub fn id_at(&self, slot: u32) -> Option<&ReservationId> {
        id_at(&self.pages, slot)
    }

    /// The part of the index that holds this id, and all after it.
    pub fn parts_from(&self, id: ReservationId) -> impl Iterator<Item = Part<'_>> {
        self.index.parts_from(id)
    }

    /// Every part of the index, in the order of the ids in it.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.index.parts()
    }
}

fn slot_at(pages: &[Arc<Page>], slot: u32) -> Option<&Slot> {
    let (page, at) = split(slot);
    pages.get(page)?.get(at)?.as_ref()
}

fn id_at(pages: &[Arc<Page>], slot: u32) -> Option<&ReservationId> {
    slot_at(pages, slot).map(|(id, _)| id)
}

pub fn page_of(slot: u32) -> u32 {
    page_no(split(slot).0)
}

fn page_no(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The slots of the page of this number; none where their numbers are too large.
pub fn slots_of(page: u32) -> Option<Range<u32>> {
    let first = (page as usize).checked_mul(PAGE_SLOTS)?;
    Some(u32::try_from(first).ok()?..u32::try_from(first.checked_add(PAGE_SLOTS)?).ok()?)
}

fn split(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / PAGE_SLOTS, slot % PAGE_SLOTS)
}

/// The bit of a slot among those of its page.
fn bit(slot: u32) -> u128 {
    let (_, at) = split(slot);
    u32::try_from(at).map_or(0, |at| 1_u128.unbounded_shl(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Ids that do not come in their order, of a pool each.
    fn ids(count: u32) -> Vec<ReservationId> {
        let id = |n: u32| ReservationId::new(n, *blake3::hash(&n.to_le_bytes()).as_bytes().first_chunk().unwrap());
        (0..count).map(|n| id(n.wrapping_mul(0x9e37_79b9))).collect()
    }

    /// A reservation that says which of the ids it is of.
    fn numbered(n: u32) -> Reservation {
        Reservation { seq: n.into(), ..Reservation::void(PoolId::new("slot").unwrap()) }
    }

    /// How many pages take memory.
    fn pages(slab: &Slab) -> usize {
        slab.pages.iter().filter(|page| !Arc::ptr_eq(page, &slab.empty)).count()
    }

    /// The story: after the busiest day of a year the pages of its reservations stayed with the process until its restart.
    /// Reservations that came later were spread over all of them.
    #[test]
    fn the_pages_of_a_peak_are_given_back_and_what_comes_later_lies_together() {
        const SLOTS: u32 = PAGE_SLOTS as u32;
        const PEAK: u32 = 100 * SLOTS;
        const LATER: u32 = PEAK + 70;
        let ids = ids(LATER);
        let put = |slab: &mut Slab, n: u32| slab.insert(ids[n as usize], numbered(n));
        let mut slab = Slab::default();
        (0..PEAK).for_each(|n| assert_eq!(put(&mut slab, n), n));
        assert_eq!((pages(&slab), slab.len()), (100, PEAK as usize));
        // Of every tenth page one stays, and all others go.
        let stays = |n: u32| n.is_multiple_of(10 * SLOTS);
        (0..PEAK).filter(|n| !stays(*n)).for_each(|n| slab.remove(&ids[n as usize]));
        assert_eq!((pages(&slab), slab.len()), (10, 10));
        (PEAK..LATER).zip(1..).for_each(|(n, slot)| assert_eq!(put(&mut slab, n), slot, "the lowest that is free"));
        let high = Arc::downgrade(slab.page(90).unwrap());
        (0..PEAK).filter(|n| stays(*n)).for_each(|n| slab.remove(&ids[n as usize]));
        assert_eq!((pages(&slab), slab.len(), high.strong_count()), (1, 70, 0));
        (PEAK..LATER).for_each(|n| slab.remove(&ids[n as usize]));
        assert_eq!((pages(&slab), slab.len(), slab.iter().count()), (0, 0, 0));
        assert_eq!(put(&mut slab, 0), 0);
    }

    proptest! {
        #[test]
        fn reservations_are_where_a_map_has_them_while_they_come_and_go(
            waves in prop::collection::vec((any::<bool>(), prop::collection::vec(0_u32..400, 1..400)), 1..5),
        ) {
            let ids = ids(400);
            let (mut slab, mut map, mut taken) = (Slab::default(), BTreeMap::<u32, u32>::new(), BTreeSet::<u32>::new());
            let agree = |slab: &Slab, map: &BTreeMap<u32, u32>| {
                let is_right = |(n, id): (u32, &ReservationId)| {
                    slab.find(id) == map.get(&n).copied() && slab.get(id) == map.get(&n).map(|_| numbered(n)).as_ref()
                };
                let filled: BTreeSet<_> = map.values().map(|slot| page_of(*slot)).collect();
                (0..).zip(&ids).all(is_right) && slab.len() == map.len() && pages(slab) == filled.len()
            };
            for (comes, wave) in waves {
                let before = (slab.clone(), map.clone());
                for n in wave {
                    let id = ids[n as usize];
                    if comes && !map.contains_key(&n) {
                        let slot = slab.insert(id, numbered(n));
                        let gap = (0..).zip(&taken).find(|(no, taken)| no != *taken).map(|(no, _)| no);
                        prop_assert_eq!(slot, gap.unwrap_or(u32::try_from(taken.len()).unwrap()), "the lowest that is free");
                        taken.insert(slot);
                        map.insert(n, slot);
                    } else if !comes && let Some(slot) = map.remove(&n) {
                        slab.remove(&id);
                        taken.remove(&slot);
                    }
                }
                prop_assert!(agree(&slab, &map));
                prop_assert!(agree(&before.0, &before.1), "a checkpoint has what it began with");
            }
            let mut sorted: Vec<_> = slab.slots().map(|(slot, (id, _))| (*id, slot)).collect();
            sorted.sort_unstable();
            let stored = (0..).zip(&slab.pages).filter(|(_, page)| !Arc::ptr_eq(page, &slab.empty));
            let stored = stored.map(|(no, page)| (no, Arc::clone(page))).collect();
            let mut restored = Slab::restore(stored, &sorted).unwrap();
            restored.set_index(restored.index(&sorted));
            prop_assert!(agree(&restored, &map));
            let new = ReservationId::new(7, [7; 11]);
            prop_assert_eq!(restored.insert(new, numbered(0)), slab.insert(new, numbered(0)));
        }
    }

    /// The story: over the years callers ask for pools that nobody has defined, or that have long retired. Each such id was kept for
    /// reservations to come, until there was no room for those of new pools.
    #[test]
    fn the_id_of_a_pool_that_is_not_there_is_not_kept() {
        let mut common = Common::default();
        let mut shared = |name: &str, is_there| {
            let mut reservation = Reservation::void(PoolId::new(name).unwrap());
            common.share(&mut reservation, |_| is_there);
            common.pools.len()
        };
        assert_eq!(["gone-1", "gone-2"].map(|name| shared(name, false)), [0, 0]);
        assert_eq!(["there-1", "there-2", "there-1"].map(|name| shared(name, true)), [1, 2, 2]);
    }
}
