//! The reservations of a pool, page by page, by their ids. Ids say nothing of time, but they are the same in every process
//! and for good, so that the next page may be asked of another process, and changes in between move no reservation to
//! another page. A page equals the state after one event. Its work is bounded, so that no owner waits long for the lock:
//! a page that would take more work has fewer reservations than it may have, and the next page goes on from there.

use super::Replica;
use super::index::PART_MAX;
use super::slab::Slot;
use super::state::PartitionState;
use crate::domain::route::pool_hash;
use crate::domain::{Micros, Pool, PoolId, Reservation, ReservationId, Status};
use crate::time::Clock;
use std::sync::Arc;

/// Most reservations that are looked at for one page, of this pool and of others. The owner waits for so long.
pub const LOOKED_AT_MAX: usize = 4_096;
/// The first part of the index may hold no reservation of the page, and there is always room for another one.
const _: () = assert!(2 * PART_MAX <= LOOKED_AT_MAX);

/// One page of the reservations of a pool.
#[derive(Clone, Debug)]
pub struct ReservationPage {
    /// The pool whose reservations are asked for.
    pub pool: PoolId,
    /// The status of those that are asked for; all of them without it.
    pub status: Option<Status>,
    /// The least id that may be on the page; none for the first page.
    pub from: Option<ReservationId>,
    /// The most reservations on the page.
    pub limit: usize,
}

/// Reservations of a pool, by id, with the pool, all after the same event.
#[derive(Clone, Debug)]
pub struct Reservations {
    /// The pool, with its counters after that event.
    pub pool: Arc<Pool>,
    /// At most a page of its reservations.
    pub reservations: Vec<(ReservationId, Reservation)>,
    /// The number of its partition.
    pub partition: u32,
    /// The first event of the partition that the read does not include.
    pub next_seq: u64,
    /// Where the next page begins; none when there is no more.
    pub next: Option<ReservationId>,
    /// How many reservations were looked at, of this pool and of others.
    pub looked_at: usize,
}

impl PartitionState {
    /// A page of the reservations that are known at `now`; none when there is no such pool.
    pub fn reservations(&self, page: &ReservationPage, now: Micros) -> Option<Reservations> {
        let pool = Arc::clone(self.pools.get(&page.pool)?);
        let hash = pool_hash(&page.pool);
        let mut begin = page.from.unwrap_or(ReservationId::new(hash, [0; 11]));
        let (mut reservations, mut next, mut looked_at) = (Vec::new(), None, 0_usize);
        for part in self.slab.parts_from(begin) {
            if looked_at > 0 && looked_at.saturating_add(part.len()) > LOOKED_AT_MAX {
                next = Some(begin);
                break;
            }
            looked_at = looked_at.saturating_add(part.len());
            let of_page = |(id, of): &&Slot| *id >= begin && self.is_listed(of, page, now);
            let mut of_part: Vec<_> = part.slots().filter_map(|slot| self.slab.at(slot)).filter(of_page).collect();
            of_part.sort_unstable_by_key(|(id, _)| *id);
            let room = page.limit.saturating_sub(reservations.len());
            next = of_part.get(room).map(|(id, _)| *id);
            reservations.extend(of_part.into_iter().take(room).cloned());
            match part.next.filter(|start| next.is_none() && start.pool_hash() == hash) {
                Some(start) => begin = start,
                None => break,
            }
        }
        let (partition, next_seq) = (self.partition, self.position.next_seq);
        Some(Reservations { pool, reservations, partition, next_seq, next, looked_at })
    }

    fn is_listed(&self, of: &Reservation, page: &ReservationPage, now: Micros) -> bool {
        of.pool == page.pool
            && of.status.was_admitted()
            && page.status.is_none_or(|status| status == of.status)
            && of.is_known(now)
            && !self.retired.ends(of)
    }
}

impl Replica {
    /// A page of the reservations of a pool, and for how many microseconds it may have been out of date; none when there is
    /// no such pool.
    pub fn reservations(&self, page: &ReservationPage, clock: &dyn Clock) -> Option<(Reservations, u64)> {
        let handle = self.of_pool(&page.pool)?;
        let (now, before) = (handle.time().now(clock), handle.staleness_us(clock.now()));
        let found = handle.read(|state| state.reservations(page, now))?;
        // It is read again after the state: if the state was emptied in between, its age is not known.
        Some((found, before.max(handle.staleness_us(clock.now()))))
    }
}
