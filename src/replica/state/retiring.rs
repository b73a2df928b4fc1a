//! Pools that retire. The end of a pool's life is one step, however many reservations live in it: they have ended from then
//! on. What lies in memory of them is swept later, a little with each event. Nothing that a state answers depends on how
//! far that is, and no event says so.

use super::PartitionState;
use crate::domain::event::RETIREMENT_VERSION;
use crate::domain::{ChainedEvent, Ledger, Living, Micros, PoolId, Reservation, ReservationId};
use crate::limits::{FORGOTTEN_PER_EVENT_MAX, POOLS_PER_PARTITION_MAX};
use crate::replica::lives::PoolLives;
use crate::replica::retired::{Ending, Retired};

/// Most reservations that ended with their pools and leave memory while one event is folded: one more than an event adds,
/// so that they become fewer.
pub const SWEPT_PER_EVENT_MAX: usize = 2;
/// Most slots that are looked at for them.
const SLOTS_PER_EVENT_MAX: usize = 8;
const _: () = assert!(1 < SWEPT_PER_EVENT_MAX && SWEPT_PER_EVENT_MAX <= SLOTS_PER_EVENT_MAX);

/// A time without any event that is no pause of a server but may be a jump of its clock, in milliseconds.
const JUMP_MS: u64 = 2 * 60 * 60 * 1_000;
/// How long after a jump of the partition's time no pool retires by itself, in milliseconds: whoever looks after the server
/// sees a wrong clock and sets it back before a pool is lost. It is shorter than what counts as a jump, so that a partition
/// in which nothing else happens gets there.
pub const STEADY_MS: u64 = 60 * 60 * 1_000;
const _: () = assert!(STEADY_MS < JUMP_MS);

/// What is left in memory of pools that have retired.
#[derive(Default)]
pub(super) struct Sweeping {
    /// The indexes of their reservations.
    indexes: Vec<PoolLives>,
    /// The round that is under way.
    round: Option<Round>,
    /// Nothing is left of reservations that ended with an event up to this one.
    swept_through: Option<u64>,
}

/// A look at slots, for reservations that ended with an event up to `through`.
struct Round {
    /// Those that are still to be looked at: all that may hold such a reservation.
    slots: Box<dyn Iterator<Item = u32> + Send + Sync>,
    through: u64,
}

impl Sweeping {
    /// What is left in a state that was restored, where `ended` are the slots of what had ended with its pool. They make a round
    /// of their own: one over all slots would begin anew at each restart, and where restarts are frequent it would never end.
    pub(super) fn of_restored(ended: Vec<u32>, retired: &Retired) -> Sweeping {
        let round = retired.last_seq().map(|through| Round { slots: Box::new(ended.into_iter()), through });
        Sweeping { round, ..Sweeping::default() }
    }
}

impl PartitionState {
    /// Whether the entry is a live reservation of a pool that lives.
    pub(super) fn counts_live(&self, entry: &Reservation) -> bool {
        entry.status.is_live() && !self.retired.ends(entry)
    }

    /// The first `most` pools that retire by themselves at `now`, earliest first. There is none shortly after the time has
    /// jumped.
    pub fn retiring(&self, now: Micros, most: usize) -> Vec<PoolId> {
        if self.has_jumped(now) || self.steady_at().is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.retiring.iter().take_while(|(at, _)| *at <= now).take(most).map(|(_, pool)| pool.clone()).collect()
    }

    /// The pools whose time to retire by themselves had come at the last event, and how many live reservations they have.
    pub fn overdue(&self) -> (usize, usize) {
        let due = self.retiring.iter().take_while(|(at, _)| *at <= self.position.decided_at);
        let live = |pool: &PoolId| self.lives.of(pool).map_or(0, |lives| lives.count);
        due.fold((0, 0), |(pools, all), (_, pool)| (pools.saturating_add(1), all.saturating_add(live(pool))))
    }

    /// Whether the time has jumped since the last event, or nothing is known of it because that event is of an older version
    /// or in a checkpoint. While a pool waits to retire, an event has to say so.
    pub fn has_jumped(&self, now: Micros) -> bool {
        self.steady_since.is_none() || self.position.decided_at.plus_ms(JUMP_MS) < now
    }

    /// From when on the time has been steady for long enough.
    fn steady_at(&self) -> Option<Micros> {
        self.steady_since.map(|since| since.plus_ms(STEADY_MS))
    }

    /// Follows the time of the partition to that of the next event. Time before the first event of a version in which pools
    /// retire does not count: whoever upgrades a server has a while to keep pools whose windows ended long ago.
    pub(super) fn follow_time(&mut self, next: &ChainedEvent) {
        let decided_at = next.event.decided_at;
        if next.version < RETIREMENT_VERSION {
            self.steady_since = None;
        } else if self.has_jumped(decided_at) || decided_at < self.position.decided_at {
            self.steady_since = Some(decided_at);
        }
    }

    /// When a pool retires by itself next. After a jump of the time that is later than its window says.
    pub fn next_retirement(&self, now: Micros) -> Option<Micros> {
        let (at, _) = self.retiring.first()?;
        Some(if self.has_jumped(now) { *at } else { (*at).max(self.steady_at().unwrap_or_default()) })
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
        if let Some(lives) = self.lives.retire(pool, |slot| self.slab.id_at(slot)) {
            self.past.end_live(lives.bytes);
            self.sweeping.indexes.push(lives);
        }
        self.put_ending(pool, ending);
        self.dirty.pools.insert(pool.clone());
    }

    pub(super) fn put_ending(&mut self, pool: &PoolId, ending: Ending) {
        self.retired.put(pool, ending);
        self.dirty.retired.insert(pool.clone());
    }

    /// Sweeps some of what has ended with its pool, and forgets pools that retired long ago.
    pub(super) fn sweep(&mut self, now: Micros) {
        if let Some(PoolLives { holds, orders, .. }) = self.sweeping.indexes.last_mut() {
            let (had_hold, had_order) = (holds.pop(), orders.pop());
            if !had_hold && !had_order {
                self.sweeping.indexes.pop();
            }
        }
        self.sweep_slots();
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            let Some((pool, ending)) = self.retired.first_over(now) else { break };
            if self.sweeping.swept_through.is_none_or(|seq| seq < ending.seq) {
                break;
            }
            self.retired.remove(&pool);
            self.common.forget(&pool);
            self.dirty.retired.insert(pool);
        }
    }

    fn sweep_slots(&mut self) {
        let Some(last) = self.retired.last_seq() else { return };
        if self.sweeping.round.is_none() && self.sweeping.swept_through >= Some(last) {
            return;
        }
        let all = 0..self.slab.slot_count();
        let begun = self.sweeping.round.take();
        let mut round = begun.unwrap_or_else(|| Round { slots: Box::new(all), through: last });
        let mut swept = 0;
        for _ in 0..SLOTS_PER_EVENT_MAX {
            if swept == SWEPT_PER_EVENT_MAX {
                break;
            }
            let Some(slot) = round.slots.next() else {
                self.sweeping.swept_through = Some(round.through);
                return;
            };
            let ended = self.slab.at(slot).filter(|(_, entry)| self.retired.ends(entry)).map(|(id, _)| *id);
            if let Some(id) = ended {
                self.take_out(slot, id);
                swept = swept.saturating_add(1);
            }
        }
        self.sweeping.round = Some(round);
    }

    /// Frees a slot that does not count.
    pub(super) fn take_out(&mut self, slot: u32, id: ReservationId) {
        self.slab.remove(&id);
        self.touch(slot);
    }

    /// Whether there are places for so many more pools. The id of a pool that has retired keeps its place until it may be
    /// defined anew, whether or not it is forgotten by then.
    pub fn has_places(&self, more: usize, now: Micros) -> bool {
        let taken = self.pools.count().saturating_add(self.retired.count());
        let to_be_over = taken.saturating_add(more).saturating_sub(POOLS_PER_PARTITION_MAX);
        self.retired.are_over(to_be_over, now)
    }

    /// The pools that have retired, and whose ids may not be defined anew yet or of which something lies in memory.
    pub fn retired(&self) -> &Retired {
        &self.retired
    }

    /// The live reservations of this pool, and their bytes.
    pub fn living_with_bytes(&self, pool: &PoolId) -> (Living, u64) {
        self.lives.of(pool).map(|lives| (lives.living(), lives.bytes)).unwrap_or_default()
    }

    /// Number of reservations in memory, with their entries in indexes; also of what has ended with its pool.
    pub fn entry_count(&self) -> usize {
        let ended = self.sweeping.indexes.iter().map(PoolLives::index_len).fold(0, usize::saturating_add);
        self.slab.len().saturating_add(self.lives.index_len()).saturating_add(ended)
    }

    /// What lies in memory under this id, also when it has ended with its pool.
    pub fn entry(&self, id: &ReservationId) -> Option<&Reservation> {
        self.slab.get(id)
    }

    /// The clock goes back from `from` by so many microseconds: an id that may not be defined anew yet waits for as long as
    /// it would have.
    pub(super) fn set_endings_back(&mut self, from: Micros, by_us: u64) {
        let endings: Vec<_> = self.retired.iter().map(|(pool, ending)| (pool.clone(), ending)).collect();
        for (pool, Ending { seq, until }) in endings {
            let until = if until > from { until.set_back(by_us) } else { Micros(0) };
            self.put_ending(&pool, Ending { seq, until });
        }
    }
}
