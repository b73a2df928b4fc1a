//! Reservations: the live ones, those that are remembered after their end, and the attempts that must never count
//! again.

use super::memory::{Memory, Ring};
use crate::domain::reservation::AttemptSets;
use crate::domain::retention::Standing;
use crate::domain::room;
use crate::domain::route::pool_hash;
use crate::domain::{
    Amounts, Attempt, Attempts, Dimension, Entry, Judged, Micros, Name, PoolId, Reason, Reservation, ReservationId,
    Status,
};
use crate::limits::{ATTEMPTS_MAX, CANCELLED_ATTEMPTS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Most attempts that are watched after they were taken back. Of older ones it is not judged whether they count.
const GONE_MAX: u64 = 1 << 20;

/// The number of ended reservations that owners of older versions remembered; they forgot more of them early.
const OLDER_PAST_MAX: usize = 1 << 20;

/// The status of a reservation id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LifeStatus {
    /// Nothing was decided; attempts were taken back before they came.
    Void,
    /// A hold until this time.
    Held(Micros),
    /// Admitted until it is released.
    Confirmed,
    /// Ended by a release.
    Released,
    /// A hold that was not confirmed in time.
    Expired,
    /// Refused, with the reason and the deciding dimension.
    Refused(Reason, Option<Dimension>),
}

impl LifeStatus {
    pub(super) fn is_live(self) -> bool {
        matches!(self, LifeStatus::Held(_) | LifeStatus::Confirmed)
    }

    /// How an event shows it, with the deadline of a hold; `None` when no entry can show it.
    pub(super) fn written(self) -> Option<(Status, Option<Micros>)> {
        match self {
            LifeStatus::Held(until) => Some((Status::Held, Some(until))),
            LifeStatus::Confirmed => Some((Status::Confirmed, None)),
            LifeStatus::Released => Some((Status::Released, None)),
            LifeStatus::Expired => Some((Status::Expired, None)),
            LifeStatus::Void | LifeStatus::Refused(..) => None,
        }
    }
}

/// What is known of one reservation id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Life {
    pub(super) pool: PoolId,
    pub(super) demand: Amounts,
    pub(super) order_ref: Option<Name>,
    pub(super) fingerprint: u64,
    /// The attempts that it lives for.
    pub(super) counting: Vec<Attempt>,
    /// More attempts count than an owner keeps apart, so that it lives whichever of them are taken back.
    pub(super) is_settled: bool,
    /// Attempts that were taken back before they came.
    pub(super) cancelled: Vec<Attempt>,
    /// The time from which the life of a hold counts.
    pub(super) since: Micros,
    /// The sequence number of the event that last changed it.
    pub(super) seq: u64,
    /// The sequence number of the event that accepted or refused it.
    pub(super) decided_seq: u64,
    /// The figures that it was refused by.
    pub(super) judged: Option<Judged>,
    pub(super) stand: LifeStatus,
}

impl Life {
    /// A reservation id for which nothing was decided yet.
    pub(super) fn void(pool: PoolId, cancelled: Vec<Attempt>) -> Life {
        Life {
            pool,
            demand: Amounts::default(),
            order_ref: None,
            fingerprint: 0,
            counting: Vec::new(),
            is_settled: false,
            cancelled,
            since: Micros(0),
            seq: 0,
            decided_seq: 0,
            judged: None,
            stand: LifeStatus::Void,
        }
    }

    /// Whether the entry agrees with what no event may change.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        let is_since = entry.hold_since.is_none_or(|since| since == self.since);
        self.pool == entry.pool && self.order_ref == entry.order_ref && is_since
    }

    /// Makes it a hold until `until`. The length of its life is kept in milliseconds; a begun one counts as a whole
    /// one.
    pub(super) fn hold(&mut self, until: Micros, since: Micros) {
        let ms = u64::from(until.held_ms_since(since));
        self.stand = LifeStatus::Held(until);
        self.since = Micros(until.0.saturating_sub(ms.saturating_mul(1_000)));
    }

    /// Adds an attempt that it lives for.
    pub(super) fn count(&mut self, attempt: Attempt) {
        if self.is_settled || self.counting.contains(&attempt) {
            return;
        }
        self.counting.push(attempt);
        if self.counting.len() > ATTEMPTS_MAX || self.is_cancelled_full() {
            self.is_settled = true;
            self.counting.clear();
            self.cancelled.clear();
        }
    }

    /// Cancels an attempt that does not count; only a bounded number is kept.
    pub(super) fn cancel(&mut self, attempt: Attempt) {
        if !self.is_settled && !self.cancelled.contains(&attempt) && !self.is_cancelled_full() {
            self.cancelled.push(attempt);
        }
    }

    /// Whether as many attempts are cancelled as are kept.
    pub(super) fn is_cancelled_full(&self) -> bool {
        self.cancelled.len() >= CANCELLED_ATTEMPTS_MAX
    }
}

/// All reservation ids of the partition.
pub(super) struct Lives {
    live: BTreeMap<ReservationId, Life>,
    /// The live reservations that have an order.
    orders: BTreeSet<(PoolId, Name, ReservationId)>,
    /// Bytes of the live reservations.
    live_bytes: u64,
    /// Ended reservations, and those of which attempts were cancelled.
    past: Memory<ReservationId, Life>,
    refused: Ring<ReservationId, Life>,
    /// Attempts that were taken back, or refused as too late.
    gone: Ring<(ReservationId, Attempt), ()>,
}

impl Lives {
    /// No reservations. Refusals are remembered in `refusals_bytes_max` bytes.
    pub(super) fn new(refusals_bytes_max: u64) -> Lives {
        Lives {
            live: BTreeMap::new(),
            orders: BTreeSet::new(),
            live_bytes: 0,
            past: Memory::new(),
            refused: Ring::new(refusals_bytes_max),
            gone: Ring::new(GONE_MAX),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn at(&mut self, now: Micros) {
        self.past.at(now);
        self.refused.at(now);
        self.gone.at(now);
    }

    pub(super) fn forget(&mut self) {
        self.past.forget();
        self.refused.forget();
        self.gone.forget();
    }

    /// The clock went back by so many microseconds: every hold, and everything that is remembered, lasts as long as
    /// it would have.
    pub(super) fn set_back(&mut self, from: Micros, by_us: u64) {
        self.past.set_back(from, by_us);
        self.refused.set_back(by_us);
        self.gone.set_back(by_us);
        for life in self.live.values_mut() {
            if let LifeStatus::Held(until) = &mut life.stand {
                until.0 = until.0.saturating_sub(by_us);
                life.since.0 = life.since.0.saturating_sub(by_us);
            }
        }
    }

    /// Bytes that count in an owner's memory.
    pub(super) fn bytes(&self) -> u64 {
        self.live_bytes.saturating_add(self.past.bytes())
    }

    pub(super) fn live(&self, id: ReservationId) -> Option<&Life> {
        self.live.get(&id)
    }

    /// Changes a live reservation.
    pub(super) fn change(&mut self, id: ReservationId, f: impl FnOnce(&mut Life)) {
        let Some(life) = self.live.get_mut(&id) else { return };
        let was = life.bytes();
        f(life);
        self.live_bytes = self.live_bytes.saturating_sub(was).saturating_add(life.bytes());
    }

    /// What is known of the id, live or remembered; also where only cancelled attempts are known.
    pub(super) fn recall(&self, id: ReservationId) -> Option<&Life> {
        self.live.get(&id).or_else(|| self.past.recall(&id)).or_else(|| self.refused.recall(&id))
    }

    /// What is known of the id, if something was decided for it.
    pub(super) fn decided(&self, id: ReservationId) -> Option<&Life> {
        self.recall(id).filter(|life| life.stand != LifeStatus::Void)
    }

    /// Starts a live reservation. Returns the live one that it replaces, of which there must be none.
    pub(super) fn begin(&mut self, id: ReservationId, life: Life) -> Option<Life> {
        self.past.remove(&id);
        self.refused.remove(&id);
        let lost = self.end(id);
        if let Some(order_ref) = &life.order_ref {
            self.orders.insert((life.pool.clone(), order_ref.clone(), id));
        }
        self.live_bytes = self.live_bytes.saturating_add(life.bytes());
        self.live.insert(id, life);
        lost
    }

    /// The number of live reservations of a pool, and of those that are holds.
    pub(super) fn in_pool(&self, pool: &PoolId) -> (u64, u64) {
        let of_pool = self.live.range(first_of(pool)..).take_while(|(id, _)| is_of_hash(id, pool));
        of_pool.filter(|(_, life)| life.pool == *pool).fold((0, 0), |(live, held), (_, life)| {
            let is_held = matches!(life.stand, LifeStatus::Held(_));
            (u64::saturating_add(live, 1), u64::saturating_add(held, u64::from(is_held)))
        })
    }

    /// The pool has retired, and its live reservations with it.
    pub(super) fn retire(&mut self, pool: &PoolId) {
        let live = self.live.range(first_of(pool)..).take_while(|(id, _)| is_of_hash(id, pool));
        let ids: Vec<_> = live.filter(|(_, life)| life.pool == *pool).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| drop(self.end(id)));
    }

    /// The live reservation of this order in the pool; the one with the smallest id if there are several.
    pub(super) fn of_order(&self, pool: &PoolId, order_ref: &Name) -> Option<ReservationId> {
        let least = (pool.clone(), order_ref.clone(), ReservationId::new(0, [0; 11]));
        let first = self.orders.range(least..).next();
        first.filter(|(of, order, _)| (of, order) == (pool, order_ref)).map(|(.., id)| *id)
    }

    /// Ends a live reservation and returns it.
    pub(super) fn end(&mut self, id: ReservationId) -> Option<Life> {
        let life = self.live.remove(&id)?;
        if let Some(order_ref) = &life.order_ref {
            self.orders.remove(&(life.pool.clone(), order_ref.clone(), id));
        }
        self.live_bytes = self.live_bytes.saturating_sub(life.bytes());
        Some(life)
    }

    /// Something was forgotten before this began: of an attempt it cannot be said that it was never taken back.
    pub(super) fn has_forgotten(&mut self) {
        self.refused.has_dropped();
        self.gone.has_dropped();
    }

    /// Until when the id is remembered.
    pub(super) fn until(&self, id: ReservationId) -> Option<Micros> {
        self.past.until(&id).or_else(|| self.refused.until(&id))
    }

    /// Whether an owner of an older version may have forgotten some of them.
    pub(super) fn is_beyond_older(&self) -> bool {
        self.past.len().saturating_add(self.refused.len()) > OLDER_PAST_MAX || self.refused.has_overflowed()
    }

    /// Remembers a reservation that is not live. A refusal without cancelled attempts is remembered while there is
    /// room.
    pub(super) fn remember(&mut self, id: ReservationId, life: Life, until: Micros) {
        self.past.remove(&id);
        self.refused.remove(&id);
        let bytes = life.bytes();
        if matches!(life.stand, LifeStatus::Refused(..)) && life.cancelled.is_empty() {
            self.refused.put(id, life, until, bytes);
        } else {
            self.past.put(id, life, until, bytes);
        }
    }

    /// Remembers it at least as long as it was remembered before.
    pub(super) fn remember_longer(&mut self, id: ReservationId, life: Life, until: Micros) {
        let before = self.until(id);
        self.remember(id, life, before.map_or(until, |before| before.max(until)));
    }

    /// Notes that this attempt must not count from now on.
    pub(super) fn strike(&mut self, id: ReservationId, attempt: Attempt, until: Micros) {
        self.gone.put((id, attempt), (), until, 1);
    }

    /// Whether the owner must know that this attempt may not count. The owner keeps only so many attempts of one
    /// reservation. Of more it accepts none, or what it accepts takes nothing.
    pub(super) fn is_struck(&self, id: ReservationId, attempt: Attempt) -> bool {
        self.gone.recall(&(id, attempt)).is_some()
    }

    /// Whether the owner may believe that this attempt was taken back.
    pub(super) fn may_be_struck(&self, id: ReservationId, attempt: Attempt) -> bool {
        let cancelled = self.recall(id).is_some_and(|life| life.cancelled.contains(&attempt));
        cancelled || self.gone.has_overflowed() || self.is_struck(id, attempt)
    }

    /// The live reservations, by id.
    pub(super) fn each(&self) -> impl Iterator<Item = (&ReservationId, &Life)> {
        self.live.iter()
    }

    /// The live reservations as domain values, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ReservationId, Reservation)> + '_ {
        self.live.iter().map(|(id, life)| (*id, life.value(None)))
    }

    /// All known reservations as domain values, by id.
    pub(super) fn known(&self) -> Vec<(ReservationId, Reservation)> {
        let past = self.past.iter().chain(self.refused.iter());
        let past = past.map(|(id, life, until)| (*id, life.value(Some(until))));
        let mut known: Vec<_> = self.iter().chain(past).collect();
        known.sort_unstable_by_key(|(id, _)| *id);
        known
    }
}

fn first_of(pool: &PoolId) -> ReservationId {
    ReservationId::new(pool_hash(pool), [0; 11])
}

fn is_of_hash(id: &ReservationId, pool: &PoolId) -> bool {
    id.pool_hash() == pool_hash(pool)
}

impl Life {
    /// Bytes that an owner counts for it.
    fn bytes(&self) -> u64 {
        self.bytes_with((self.counting.len(), self.cancelled.len()))
    }

    /// Bytes that an owner counts for it when it begins.
    pub(super) fn bytes_anew(&self) -> u64 {
        self.bytes_with((1, 0))
    }

    fn bytes_with(&self, attempts: (usize, usize)) -> u64 {
        let standing = match self.stand {
            LifeStatus::Held(_) => Standing::Held,
            LifeStatus::Confirmed => Standing::Confirmed,
            _ => Standing::Over,
        };
        room::of_parts(&self.demand, self.order_ref.as_ref(), attempts, standing, self.judged.is_some())
    }

    /// The reservation as a domain value. `remembered_until` is given for one that is not live.
    fn value(&self, remembered_until: Option<Micros>) -> Reservation {
        let at =
            |d: Dimension| self.demand.iter().position(|(other, _)| other == d).and_then(|at| u8::try_from(at).ok());
        let (status, hold_until) = match self.stand {
            LifeStatus::Refused(reason, dimension) => {
                (Status::Refused { reason, binding: dimension.and_then(at) }, None)
            }
            stand => stand.written().unwrap_or((Status::Void, None)),
        };
        Reservation {
            pool: self.pool.clone(),
            demand: self.demand.clone(),
            order_ref: self.order_ref.clone(),
            attempts: if self.is_settled {
                Attempts::Settled
            } else {
                Attempts::from_sets(AttemptSets { live: self.counting.clone(), cancelled: self.cancelled.clone() })
            },
            fingerprint: self.fingerprint,
            until: hold_until.or(remembered_until).unwrap_or_default(),
            seq: self.seq,
            decided_seq: self.decided_seq,
            judged: self.judged.map(Box::new),
            held_ms: hold_until.map_or(0, |until| until.held_ms_since(self.since)),
            status,
        }
    }
}
