//! Pools that retire. The end of a pool's life is one step, however many reservations it has: they are not known from then
//! on. What lies in memory of them is swept later, a bounded number with each event. Nothing that a state answers
//! depends on how far that is, and no event says so.

use super::PartitionState;
use crate::domain::{CommandKey, DedupEntry, Ledger, Living, Micros, PoolId, Reservation, ReservationId};
use crate::limits::FORGOTTEN_PER_EVENT_MAX;
use crate::replica::lives::PoolLives;
use crate::replica::retired::{self, Ending, Retired};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Most reservations of retired pools that leave memory while one event is folded, and as many entries of each index of
/// such a pool. It is more than one event adds.
pub const SWEPT_PER_EVENT_MAX: usize = 8;
const _: () = assert!(SWEPT_PER_EVENT_MAX > FORGOTTEN_PER_EVENT_MAX);

/// What is to be swept, in the order in which the lives of its pools ended.
#[derive(Default)]
pub(super) struct Sweeping {
    lives: VecDeque<Ended>,
    /// Live reservations of those pools whose cancelled attempts are kept for a time.
    lingering: VecDeque<Lingering>,
}

/// The live reservations of a pool when its life ended with the event at `seq`.
struct Ended {
    pool: PoolId,
    seq: u64,
    lives: PoolLives,
}

struct Lingering {
    seq: u64,
    id: ReservationId,
    until: Micros,
}

impl Sweeping {
    /// Puts a reservation back that a checkpoint still has. Whatever is put back goes before what comes later.
    pub(super) fn put_back(&mut self, seq: u64, reservation: &Reservation, slot: u32) {
        let at = self.lives.partition_point(|ended| ended.seq < seq);
        if self.lives.get(at).is_none_or(|ended| ended.seq != seq) {
            let ended = Ended { pool: reservation.pool.clone(), seq, lives: PoolLives::default() };
            self.lives.insert(at, ended);
        }
        if let Some(ended) = self.lives.get_mut(at) {
            ended.lives.accepted.insert(reservation.decided_seq, slot);
        }
    }

    /// Whether nothing is left of a life that ended with the event at `seq`, or of an earlier one.
    fn is_past(&self, seq: u64) -> bool {
        let first_ended = self.lives.front().map(|ended| ended.seq);
        let first_lingering = self.lingering.front().map(|lingering| lingering.seq);
        first_ended.into_iter().chain(first_lingering).all(|first| first > seq)
    }
}

impl PartitionState {
    /// Whether the entry was decided in a life of its pool that has ended.
    pub(super) fn is_ended(&self, entry: &Reservation) -> bool {
        self.retired.of(&entry.pool).is_some_and(|ending| ending.ends(entry))
    }

    /// Whether the entry is a live reservation of a pool that lives.
    pub(super) fn counts_live(&self, entry: &Reservation) -> bool {
        entry.status.is_live() && !self.is_ended(entry)
    }

    /// What is known of an entry.
    pub(super) fn known<'a>(&self, entry: &'a Reservation) -> Option<Cow<'a, Reservation>> {
        retired::known(entry, self.retired.of(&entry.pool))
    }

    /// The first `most` pools that retire by themselves at `now`, earliest first.
    pub fn retiring(&self, now: Micros, most: usize) -> Vec<PoolId> {
        self.retiring.iter().take_while(|(at, _)| *at <= now).take(most).map(|(_, pool)| pool.clone()).collect()
    }

    /// When this pool retires by itself; none when it does not, or while it has a live hold.
    pub(super) fn retires_at(&self, pool: &PoolId) -> Option<Micros> {
        let retires_at = self.pools.get(pool)?.spec.retires_at()?;
        (self.living(pool).held == 0).then_some(retires_at)
    }

    /// Follows a change of when the pool retires, which was `before`.
    pub(super) fn reschedule(&mut self, pool: &PoolId, before: Option<Micros>) {
        let now = self.retires_at(pool);
        if before != now {
            if let Some(at) = before {
                self.retiring.remove(&(at, pool.clone()));
            }
            if let Some(at) = now {
                self.retiring.insert((at, pool.clone()));
            }
        }
    }

    /// Ends the life of a pool.
    pub(super) fn end_life(&mut self, pool: &PoolId, ending: Ending) {
        let retires_at = self.retires_at(pool);
        self.pools.remove(pool);
        self.reschedule(pool, retires_at);
        if let Some(lives) = self.lives.retire(pool) {
            self.past.end_live(lives.bytes);
            self.sweeping.lives.push_back(Ended { pool: pool.clone(), seq: ending.seq, lives });
        }
        self.retired.put(pool, ending);
        self.common.forget(pool);
        self.dirty.pools.insert(pool.clone());
        self.dirty.retired.insert(pool.clone());
    }

    /// Sweeps some of what is not known any more.
    pub(super) fn sweep(&mut self, now: Micros) {
        for _ in 0..SWEPT_PER_EVENT_MAX {
            let Some(Ended { pool, seq, lives }) = self.sweeping.lives.front_mut() else { break };
            let (seq, slot) = (*seq, lives.accepted.pop());
            let (hold, has_order) = (lives.holds.pop_first(), lives.orders.pop());
            if slot.is_none() && hold.is_none() && !has_order {
                self.sweeping.lives.pop_front();
            } else if let Some(slot) = slot {
                let pool = pool.clone();
                self.sweep_slot(slot, &pool, seq);
            }
        }
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            if self.sweeping.lingering.front().is_none_or(|first| first.until > now) {
                break;
            }
            let Some(over) = self.sweeping.lingering.pop_front() else { break };
            let slot = self.slab.find(&over.id);
            let ended = slot.filter(|slot| {
                self.slab.at(*slot).is_some_and(|(_, r)| r.status.is_live() && r.is_of_life_until(over.seq))
            });
            ended.iter().for_each(|slot| self.take_out(*slot, over.id));
        }
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            let Some((pool, ending)) = self.retired.first_over(now) else { break };
            if !self.sweeping.is_past(ending.seq) {
                break;
            }
            self.retired.remove(&pool);
            self.common.forget(&pool);
            self.dirty.retired.insert(pool);
        }
    }

    /// Sweeps the reservation that was live in this slot when the life ended, unless something else is there by now. It
    /// does not count in memory any more.
    fn sweep_slot(&mut self, slot: u32, pool: &PoolId, seq: u64) {
        let Some((id, entry)) = self.slab.at(slot) else { return };
        if entry.pool != *pool || !entry.status.is_live() || !entry.is_of_life_until(seq) {
            return;
        }
        let (id, until) = (*id, self.retired.of(pool).map_or(Micros(0), |ending| ending.until));
        if entry.left_after_retirement(until).is_some() {
            self.sweeping.lingering.push_back(Lingering { seq, id, until });
        } else {
            self.take_out(slot, id);
        }
    }

    /// The pools that have retired and keep their places.
    pub fn retired(&self) -> &Retired {
        &self.retired
    }

    /// The live reservations of this pool, and their bytes.
    pub fn living_with_bytes(&self, pool: &PoolId) -> (Living, u64) {
        self.lives.of(pool).map(|lives| (lives.living(), lives.bytes)).unwrap_or_default()
    }

    /// What lies in memory under this id, whether or not it is still known.
    pub fn entry(&self, id: &ReservationId) -> Option<&Reservation> {
        self.slab.get(id)
    }

    /// What lies in memory under this key, whether or not it is still known.
    pub fn answer_entry(&self, key: &CommandKey) -> Option<&DedupEntry> {
        self.remembered.get(key)
    }

    /// Frees a slot that does not count.
    fn take_out(&mut self, slot: u32, id: ReservationId) {
        self.slab.remove(&id);
        self.touch(slot);
    }

    /// The clock goes back by so many microseconds: pools keep their places for as long as they would have.
    pub(super) fn set_endings_back(&mut self, by_us: u64) {
        let endings: Vec<_> = self.retired.iter().map(|(pool, ending)| (pool.clone(), ending)).collect();
        for (pool, Ending { seq, until }) in endings {
            self.retired.put(&pool, Ending { seq, until: until.set_back(by_us) });
            self.dirty.retired.insert(pool);
        }
        self.sweeping.lingering.iter_mut().for_each(|lingering| lingering.until = lingering.until.set_back(by_us));
    }
}
