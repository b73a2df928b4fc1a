//! The live reservations of each pool: how many there are, their holds by deadline, and their orders. When a pool retires,
//! all of it is taken out in one piece, however much it is.

use super::ordered::Ordered;
use super::orders;
use crate::domain::{Living, Micros, Name, PoolId, Reservation, ReservationId, Status};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// How a live reservation counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Life {
    bytes: u64,
    hold_until: Option<Micros>,
    order_ref: Option<Name>,
}

impl Life {
    /// How this reservation counts, which takes so many bytes; none when it is not live.
    pub fn of(reservation: &Reservation, bytes: u64) -> Option<Life> {
        reservation.status.is_live().then(|| Life {
            bytes,
            hold_until: Some(reservation.until).filter(|_| reservation.status == Status::Held),
            order_ref: reservation.order_ref.clone(),
        })
    }

    /// Whether it is a hold.
    pub fn is_hold(&self) -> bool {
        self.hold_until.is_some()
    }
}

/// The live reservations of one pool.
#[derive(Default)]
pub struct PoolLives {
    /// How many there are.
    pub count: usize,
    /// The holds, by deadline.
    pub holds: Ordered,
    /// Those that have an order, by the hash of its text: whoever searches compares the texts.
    pub orders: Ordered,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl PoolLives {
    fn change<'a>(
        &mut self,
        pool: &PoolId,
        slot: u32,
        (was, is): (Option<&Life>, Option<&Life>),
        id_at: impl Fn(u32) -> Option<&'a ReservationId> + Copy,
    ) {
        self.count = counted(self.count, was, is);
        let bytes = |life: Option<&Life>| life.map_or(0, |life| life.bytes);
        self.bytes = self.bytes.saturating_sub(bytes(was)).saturating_add(bytes(is));
        let until = |life: Option<&Life>| life.and_then(|life| life.hold_until);
        if until(was) != until(is) {
            if let Some(until) = until(was) {
                self.holds.remove(until.0, slot, id_at);
            }
            if let Some(until) = until(is) {
                self.holds.insert(until.0, slot, id_at);
            }
        }
        let (had, has) = (was.and_then(|was| was.order_ref.as_ref()), is.and_then(|is| is.order_ref.as_ref()));
        if had != has {
            let hash = |order: &Name| orders::hash(pool, order.as_str());
            had.iter().for_each(|order| self.orders.remove(hash(order), slot, id_at));
            has.iter().for_each(|order| self.orders.insert(hash(order), slot, id_at));
        }
    }

    /// The slots of those that may be of this order, by id.
    pub fn may_have(&self, pool: &PoolId, order_ref: &str) -> impl Iterator<Item = u32> {
        let hash = orders::hash(pool, order_ref);
        self.orders.from(hash).take_while(move |(of, _)| *of == hash).map(|(_, slot)| slot)
    }

    /// The hold that ends first.
    fn first_hold<'a>(&self, id_at: impl Fn(u32) -> Option<&'a ReservationId>) -> Option<(Micros, ReservationId)> {
        let (until, slot) = self.holds.first()?;
        Some((Micros(until), *id_at(slot)?))
    }

    /// Number of entries of its indexes.
    pub fn index_len(&self) -> usize {
        self.holds.len().saturating_add(self.orders.len())
    }

    /// How many there are, and how many of them are holds.
    pub fn living(&self) -> Living {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Living { live: number(self.count), held: number(self.holds.len()) }
    }
}

/// The live reservations of one pool, with their numbers in no order.
struct Found<'a> {
    pool: &'a PoolId,
    count: usize,
    bytes: u64,
    holds: Vec<(u64, u32)>,
    orders: Vec<(u64, u32)>,
}

impl Found<'_> {
    fn add(&mut self, slot: u32, life: &Life) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(life.bytes);
        self.holds.extend(life.hold_until.map(|until| (until.0, slot)));
        self.orders.extend(life.order_ref.as_ref().map(|order| (orders::hash(self.pool, order.as_str()), slot)));
    }
}

/// The live reservations of all pools.
#[derive(Default)]
pub struct Lives {
    pools: BTreeMap<PoolId, PoolLives>,
    /// The hold of each pool that ends first.
    first_holds: BTreeSet<(Micros, ReservationId, PoolId)>,
    count: usize,
}

impl Lives {
    /// Those of a whole state: of these reservations with their slots and bytes, the ones that live.
    pub fn all<'a>(
        counted: impl Iterator<Item = (u32, &'a Reservation, u64)>,
        id_at: impl Fn(u32) -> Option<&'a ReservationId> + Copy,
    ) -> Lives {
        let (mut found, mut places): (Vec<Found<'a>>, BTreeMap<_, _>) = (Vec::new(), BTreeMap::new());
        let mut last = 0;
        for (slot, reservation, bytes) in counted {
            let Some(life) = Life::of(reservation, bytes) else { continue };
            let pool = &reservation.pool;
            // Most follow one of the same pool.
            if found.get(last).is_none_or(|of_pool: &Found<'_>| of_pool.pool != pool) {
                last = *places.entry(pool).or_insert(found.len());
                if last == found.len() {
                    found.push(Found { pool, count: 0, bytes: 0, holds: Vec::new(), orders: Vec::new() });
                }
            }
            found.get_mut(last).into_iter().for_each(|of_pool| of_pool.add(slot, &life));
        }
        let mut lives = Lives::default();
        for Found { pool, count, bytes, holds, orders } in found {
            let (holds, orders) = (Ordered::of(holds, id_at), Ordered::of(orders, id_at));
            let of_pool = PoolLives { count, holds, orders, bytes };
            lives.first_holds.extend(of_pool.first_hold(id_at).map(|(until, id)| (until, id, pool.clone())));
            lives.count = lives.count.saturating_add(count);
            lives.pools.insert(pool.clone(), of_pool);
        }
        lives
    }

    /// Number of live reservations.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Number of entries of all indexes.
    pub fn index_len(&self) -> usize {
        self.pools.values().map(PoolLives::index_len).fold(0, usize::saturating_add)
    }

    /// The live reservations of this pool; none when it has none.
    pub fn of(&self, pool: &PoolId) -> Option<&PoolLives> {
        self.pools.get(pool)
    }

    /// Changes how the reservation in a slot counts: `was` before, `is` from now on. `id_at` says which id a slot holds.
    pub fn change<'a>(
        &mut self,
        pool: &PoolId,
        slot: u32,
        (was, is): (Option<&Life>, Option<&Life>),
        id_at: impl Fn(u32) -> Option<&'a ReservationId> + Copy,
    ) {
        if was == is {
            return;
        }
        let of_pool = self.pools.entry(pool.clone()).or_default();
        let first_before = of_pool.first_hold(id_at);
        of_pool.change(pool, slot, (was, is), id_at);
        let (first, is_empty) = (of_pool.first_hold(id_at), of_pool.count == 0);
        if first_before != first {
            if let Some((until, id)) = first_before {
                self.first_holds.remove(&(until, id, pool.clone()));
            }
            if let Some((until, id)) = first {
                self.first_holds.insert((until, id, pool.clone()));
            }
        }
        self.count = counted(self.count, was, is);
        if is_empty {
            self.pools.remove(pool);
        }
    }

    /// Takes out all live reservations of a pool.
    pub fn retire<'a>(&mut self, pool: &PoolId, id_at: impl Fn(u32) -> Option<&'a ReservationId>) -> Option<PoolLives> {
        let gone = self.pools.remove(pool)?;
        if let Some((until, id)) = gone.first_hold(id_at) {
            self.first_holds.remove(&(until, id, pool.clone()));
        }
        self.count = self.count.saturating_sub(gone.count);
        Some(gone)
    }

    /// The first `most` holds that are due at `now`, earliest first.
    pub fn due<'a>(
        &self,
        now: Micros,
        most: usize,
        id_at: impl Fn(u32) -> Option<&'a ReservationId> + Copy,
    ) -> Vec<ReservationId> {
        // No pool after the first `most` has a hold among them.
        let pools = self.first_holds.iter().take_while(|(until, ..)| *until <= now).take(most);
        let holds = |pool: &PoolId| {
            let holds = self.pools.get(pool)?.holds.from(0);
            Some(holds.filter_map(move |(until, slot)| Some((Micros(until), *id_at(slot)?))))
        };
        let mut sources: Vec<_> = pools.filter_map(|(.., pool)| holds(pool)).collect();
        let firsts = sources.iter_mut().enumerate().filter_map(|(at, holds)| Some(Reverse((holds.next()?, at))));
        let mut heads: BinaryHeap<_> = firsts.collect();
        let mut due = Vec::new();
        while due.len() < most
            && let Some(Reverse(((until, id), at))) = heads.pop()
            && until <= now
        {
            due.push(id);
            let next = sources.get_mut(at).and_then(Iterator::next);
            heads.extend(next.map(|next| Reverse((next, at))));
        }
        due
    }

    /// The first `most` holds of a pool that are due at `now`, earliest first.
    pub fn due_of<'a>(
        &self,
        pool: &PoolId,
        now: Micros,
        most: usize,
        id_at: impl Fn(u32) -> Option<&'a ReservationId>,
    ) -> Vec<ReservationId> {
        let holds = self.of(pool).into_iter().flat_map(|lives| lives.holds.from(0));
        let due = holds.take_while(|(until, _)| *until <= now.0).take(most);
        due.filter_map(|(_, slot)| id_at(slot).copied()).collect()
    }

    /// When the next hold ends.
    pub fn next_due(&self) -> Option<Micros> {
        self.first_holds.first().map(|(until, ..)| *until)
    }
}

/// So many live reservations after the change of one.
fn counted(count: usize, was: Option<&Life>, is: Option<&Life>) -> usize {
    count.saturating_sub(usize::from(was.is_some())).saturating_add(usize::from(is.is_some()))
}
