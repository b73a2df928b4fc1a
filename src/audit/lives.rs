//! Reservations: the live ones, what the window remembers of the others, and the attempts that must never count
//! again.

use super::memory::{Memory, Ring};
use crate::domain::reservation::AttemptSets;
use crate::domain::room::{self, Standing};
use crate::domain::{
    Amounts, Attempt, Attempts, Dimension, Entry, Judged, Micros, Name, PoolId, Reason, Reservation, ReservationId,
    Status,
};
use crate::limits::{ATTEMPTS_MAX, CANCELLED_ATTEMPTS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Attempts taken back that are watched; of older ones it is not judged whether they count.
const GONE_MAX: u64 = 1 << 20;

/// So many reservations that lived no more were known to owners of older versions; more were forgotten early.
const OLDER_PAST_MAX: usize = 1 << 20;

/// Where a reservation id stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LifeStatus {
    /// Nothing decided: attempts were taken back before they came.
    Void,
    /// A hold until then.
    Held(Micros),
    /// Admitted for good.
    Confirmed,
    /// Given back.
    Released,
    /// Not confirmed in time.
    Expired,
    /// Refused, by the dimension.
    Refused(Reason, Option<Dimension>),
}

impl LifeStatus {
    pub(super) fn is_live(self) -> bool {
        matches!(self, LifeStatus::Held(_) | LifeStatus::Confirmed)
    }

    /// How an event writes it, with the hold's deadline; `None` where no entry can.
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
    /// Attempts it lives for.
    pub(super) counting: Vec<Attempt>,
    /// More attempts count than an owner keeps apart: it lives whichever of them are taken back.
    pub(super) is_settled: bool,
    /// Attempts taken back before they came.
    pub(super) cancelled: Vec<Attempt>,
    /// Of a hold, the instant from which its life counts.
    pub(super) since: Micros,
    /// The event that last changed it.
    pub(super) seq: u64,
    /// The event that accepted or refused it.
    pub(super) decided_seq: u64,
    /// What it was refused by.
    pub(super) judged: Option<Judged>,
    pub(super) stand: LifeStatus,
}

impl Life {
    /// Nothing decided yet.
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

    /// Whether the entry tells of this reservation: what an event may not change, whatever it does.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        let is_since = entry.hold_since.is_none_or(|since| since == self.since);
        self.pool == entry.pool && self.order_ref == entry.order_ref && is_since
    }

    /// It is a hold until then. Since when it lives is kept to the millisecond: the one that has begun counts whole.
    pub(super) fn hold(&mut self, until: Micros, since: Micros) {
        let ms = u64::from(until.held_ms_since(since));
        self.stand = LifeStatus::Held(until);
        self.since = Micros(until.0.saturating_sub(ms.saturating_mul(1_000)));
    }

    /// One more attempt for which it lives.
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

    /// Cancels an attempt that does not count; there is a bound to how many are kept.
    pub(super) fn cancel(&mut self, attempt: Attempt) {
        if !self.is_settled && !self.cancelled.contains(&attempt) && !self.is_cancelled_full() {
            self.cancelled.push(attempt);
        }
    }

    /// Whether as many are cancelled as are kept.
    pub(super) fn is_cancelled_full(&self) -> bool {
        self.cancelled.len() >= CANCELLED_ATTEMPTS_MAX
    }
}

/// Every reservation id of the partition.
pub(super) struct Lives {
    live: BTreeMap<ReservationId, Life>,
    /// The live ones that have an order.
    orders: BTreeSet<(PoolId, Name, ReservationId)>,
    /// Bytes of the live ones.
    live_bytes: u64,
    /// What ended, and what attempts were taken back of.
    past: Memory<ReservationId, Life>,
    refused: Ring<ReservationId, Life>,
    /// Attempts taken back or refused as too late.
    gone: Ring<(ReservationId, Attempt), ()>,
}

impl Lives {
    /// None yet; refusals are remembered in so many bytes.
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

    /// The clock went back by so many microseconds: every hold lasts, and everything is remembered, as long as it would
    /// have.
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

    /// Bytes that an owner counts in its memory.
    pub(super) fn bytes(&self) -> u64 {
        self.live_bytes.saturating_add(self.past.bytes())
    }

    pub(super) fn live(&self, id: ReservationId) -> Option<&Life> {
        self.live.get(&id)
    }

    /// Changes a life.
    pub(super) fn change(&mut self, id: ReservationId, f: impl FnOnce(&mut Life)) {
        let Some(life) = self.live.get_mut(&id) else { return };
        let was = life.bytes();
        f(life);
        self.live_bytes = self.live_bytes.saturating_sub(was).saturating_add(life.bytes());
    }

    /// What is known of the id, live or remembered, cancelled attempts alone included.
    pub(super) fn recall(&self, id: ReservationId) -> Option<&Life> {
        self.live.get(&id).or_else(|| self.past.recall(&id)).or_else(|| self.refused.recall(&id))
    }

    /// The same where something was decided.
    pub(super) fn decided(&self, id: ReservationId) -> Option<&Life> {
        self.recall(id).filter(|life| life.stand != LifeStatus::Void)
    }

    /// Starts a life; answers the one that it replaces, which there must not be.
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

    /// The live reservation that the order has in the pool; of several, that of the least id.
    pub(super) fn of_order(&self, pool: &PoolId, order_ref: &Name) -> Option<ReservationId> {
        let least = (pool.clone(), order_ref.clone(), ReservationId::new(0, [0; 11]));
        let first = self.orders.range(least..).next();
        first.filter(|(of, order, _)| (of, order) == (pool, order_ref)).map(|(.., id)| *id)
    }

    /// Ends a life.
    pub(super) fn end(&mut self, id: ReservationId) -> Option<Life> {
        let life = self.live.remove(&id)?;
        if let Some(order_ref) = &life.order_ref {
            self.orders.remove(&(life.pool.clone(), order_ref.clone(), id));
        }
        self.live_bytes = self.live_bytes.saturating_sub(life.bytes());
        Some(life)
    }

    /// Until when the id is remembered.
    pub(super) fn until(&self, id: ReservationId) -> Option<Micros> {
        self.past.until(&id).or_else(|| self.refused.until(&id))
    }

    /// Whether an owner of an older version may have forgotten some of it.
    pub(super) fn is_beyond_older(&self) -> bool {
        self.past.len().saturating_add(self.refused.len()) > OLDER_PAST_MAX || self.refused.has_overflowed()
    }

    /// Remembers what is not live. A refusal alone is remembered while there is room for it.
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

    /// The same, and no shorter than until now.
    pub(super) fn remember_longer(&mut self, id: ReservationId, life: Life, until: Micros) {
        let before = self.until(id);
        self.remember(id, life, before.map_or(until, |before| before.max(until)));
    }

    /// From now on this attempt must not count.
    pub(super) fn strike(&mut self, id: ReservationId, attempt: Attempt, until: Micros) {
        self.gone.put((id, attempt), (), until, 1);
    }

    /// Whether the owner must know that this attempt may not count. It keeps only so many of one reservation; of more it
    /// lets none in, or what it lets in takes nothing.
    pub(super) fn is_struck(&self, id: ReservationId, attempt: Attempt) -> bool {
        self.gone.recall(&(id, attempt)).is_some()
    }

    /// Whether the owner may think that this attempt was taken back.
    pub(super) fn may_be_struck(&self, id: ReservationId, attempt: Attempt) -> bool {
        let cancelled = self.recall(id).is_some_and(|life| life.cancelled.contains(&attempt));
        cancelled || self.gone.has_overflowed() || self.is_struck(id, attempt)
    }

    /// The live ones, by id.
    pub(super) fn each(&self) -> impl Iterator<Item = (&ReservationId, &Life)> {
        self.live.iter()
    }

    /// The live ones as values, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ReservationId, Reservation)> + '_ {
        self.live.iter().map(|(id, life)| (*id, life.value(None)))
    }

    /// All that are known as values, by id.
    pub(super) fn known(&self) -> Vec<(ReservationId, Reservation)> {
        let past = self.past.iter().chain(self.refused.iter());
        let past = past.map(|(id, life, until)| (*id, life.value(Some(until))));
        let mut known: Vec<_> = self.iter().chain(past).collect();
        known.sort_unstable_by_key(|(id, _)| *id);
        known
    }
}

impl Life {
    /// What an owner counts for it.
    fn bytes(&self) -> u64 {
        self.bytes_with((self.counting.len(), self.cancelled.len()))
    }

    /// The same of one that begins.
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

    /// As the domain's value; until when it is remembered, if it does not live.
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
