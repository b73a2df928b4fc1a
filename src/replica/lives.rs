//! The live reservations of each pool: how many there are, their holds by deadline, and their orders. When a pool retires,
//! all of it is taken out in one piece, however much it is.

use super::orders::Orders;
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
    pub holds: BTreeSet<(Micros, ReservationId)>,
    /// Those that have an order.
    pub orders: Orders,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl PoolLives {
    fn change(&mut self, pool: &PoolId, id: ReservationId, was: Option<&Life>, is: Option<&Life>) {
        self.count = counted(self.count, was, is);
        let bytes = |life: Option<&Life>| life.map_or(0, |life| life.bytes);
        self.bytes = self.bytes.saturating_sub(bytes(was)).saturating_add(bytes(is));
        let until = |life: Option<&Life>| life.and_then(|life| life.hold_until);
        if until(was) != until(is) {
            if let Some(until) = until(was) {
                self.holds.remove(&(until, id));
            }
            if let Some(until) = until(is) {
                self.holds.insert((until, id));
            }
        }
        let (had, has) = (was.and_then(|was| was.order_ref.as_ref()), is.and_then(|is| is.order_ref.as_ref()));
        if had != has {
            had.iter().for_each(|order| self.orders.remove(pool, order.as_str(), id));
            has.iter().for_each(|order| self.orders.insert(pool, order.as_str(), id));
        }
    }

    /// Number of entries of its indexes.
    pub fn index_len(&self) -> usize {
        self.holds.len().saturating_add(self.orders.count())
    }

    /// How many there are, and how many of them are holds.
    pub fn living(&self) -> Living {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Living { live: number(self.count), held: number(self.holds.len()) }
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

    /// Changes how a reservation counts: `was` before, `is` from now on.
    pub fn change(&mut self, pool: &PoolId, id: ReservationId, was: Option<&Life>, is: Option<&Life>) {
        if was == is {
            return;
        }
        let of_pool = self.pools.entry(pool.clone()).or_default();
        let first_before = of_pool.holds.first().copied();
        of_pool.change(pool, id, was, is);
        let (first, is_empty) = (of_pool.holds.first().copied(), of_pool.count == 0);
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
    pub fn retire(&mut self, pool: &PoolId) -> Option<PoolLives> {
        let gone = self.pools.remove(pool)?;
        if let Some((until, id)) = gone.holds.first() {
            self.first_holds.remove(&(*until, *id, pool.clone()));
        }
        self.count = self.count.saturating_sub(gone.count);
        Some(gone)
    }

    /// The first `most` holds that are due at `now`, earliest first.
    pub fn due(&self, now: Micros, most: usize) -> Vec<ReservationId> {
        // No pool after the first `most` has a hold among them.
        let pools = self.first_holds.iter().take_while(|(until, ..)| *until <= now).take(most);
        let mut sources: Vec<_> =
            pools.filter_map(|(.., pool)| Some(self.pools.get(pool)?.holds.iter().copied())).collect();
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

    /// When the next hold ends.
    pub fn next_due(&self) -> Option<Micros> {
        self.first_holds.first().map(|(until, ..)| *until)
    }
}

/// So many live reservations after the change of one.
fn counted(count: usize, was: Option<&Life>, is: Option<&Life>) -> usize {
    count.saturating_sub(usize::from(was.is_some())).saturating_add(usize::from(is.is_some()))
}
