//! Keeps a partition's reservations in pages of [`PAGE_SLOTS`] slots, found by an index of slot numbers. A page is
//! shared with the checkpoint that is being written, and copied only if it changes meanwhile. So a snapshot of a
//! million reservations costs the owner a clone of some reference counts.

use super::index::{Index, Part};
use crate::domain::{Amounts, PoolId, Reservation, ReservationId};
use crate::limits::{PAGE_SLOTS, POOLS_PER_PARTITION_MAX, RESERVATION_BYTES};
use crate::wire::snapshot::{Sharing, Slots};
use std::cmp::Reverse;
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

/// A reservation's share of its page and of the index, whose tables are nearly half full when they are new, and two slot
/// numbers of four bytes in the order of forgetting.
const _: () = assert!(8_192usize.div_ceil(PAGE_SLOTS) + 12 + 8 <= RESERVATION_BYTES as usize);

#[derive(Clone, Default)]
pub struct Slab {
    pages: Vec<Arc<Page>>,
    index: Index,
    free: Vec<u32>,
}

impl Slab {
    /// Puts stored pages back where they were. `ids` are those in the pages with their slots, in their order, and `free` are
    /// the slots of the pages that hold none. The slab does not find anything before it has its index.
    ///
    /// # Errors
    /// What does not fit together, in words.
    pub fn restore(
        mut stored: Vec<(u32, Arc<Page>)>,
        ids: &[(ReservationId, u32)],
        mut free: Vec<u32>,
    ) -> Result<Slab, String> {
        stored.sort_unstable_by_key(|(no, _)| *no);
        if let Some(((id, _), _)) = ids.iter().zip(ids.iter().skip(1)).find(|((one, _), (next, _))| one == next) {
            return Err(format!("two slots hold {id}"));
        }
        let mut pages: Vec<Arc<Page>> = Vec::with_capacity(stored.len());
        let empty = Arc::new(empty_page());
        for (no, page) in stored {
            if (no as usize) < pages.len() {
                return Err(format!("page {no} is there twice"));
            }
            for between in page_no(pages.len())..no {
                free.extend(slots_of(between).ok_or("too many slots")?);
                pages.push(Arc::clone(&empty));
            }
            pages.push(page);
        }
        // The lowest free slot is taken first, so that pages fill up.
        free.sort_unstable_by_key(|slot| Reverse(*slot));
        Ok(Slab { pages, free, index: Index::default() })
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
        self.pages.len().saturating_mul(PAGE_SLOTS).saturating_sub(self.free.len())
    }

    /// Access to change a slot that is in use.
    pub fn place(&mut self, slot: u32) -> Option<&mut Option<Slot>> {
        let (page, at) = split(slot);
        self.pages.get_mut(page).map(Arc::make_mut).and_then(|page| page.get_mut(at))
    }

    /// Gives a new reservation a slot.
    pub fn insert(&mut self, id: ReservationId, reservation: Reservation) -> u32 {
        if self.free.is_empty() {
            let first = self.pages.len().saturating_mul(PAGE_SLOTS);
            let slots = first..first.saturating_add(PAGE_SLOTS);
            self.free.extend(slots.rev().filter_map(|slot| u32::try_from(slot).ok()));
            self.pages.push(Arc::new(empty_page()));
        }
        let slot = self.free.pop().expect("MEMORY_BYTES_MAX keeps slot numbers within u32");
        if let Some(entry) = self.place(slot) {
            *entry = Some((id, reservation));
        }
        self.index.insert(&id, slot, |slot| id_at(&self.pages, slot));
        slot
    }

    /// Removes a reservation, and frees its slot.
    pub fn remove(&mut self, id: &ReservationId) {
        let Some(slot) = self.find(id) else { return };
        self.index.remove(id, slot, |slot| id_at(&self.pages, slot));
        if let Some(entry) = self.place(slot) {
            *entry = None;
        }
        self.free.push(slot);
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

fn empty_page() -> Page {
    std::array::from_fn(|_| None)
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

#[cfg(test)]
mod tests {
    use super::*;

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
