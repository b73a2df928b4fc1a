//! The life of a reservation, and what is remembered of it afterwards.

use super::ids::{Attempt, Dimension, PoolId, ReservationId};
use super::name::Name;
use super::outcome::Reason;
use super::retention::{Keeping, Standing};
use super::units::{Amounts, Micros};
use crate::limits::{ATTEMPTS_MAX, CANCELLED_ATTEMPTS_MAX};

/// The status of a reservation id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Status {
    /// Nothing was decided yet; only cancelled attempts are remembered.
    Void,
    /// Admitted until a deadline; it expires unless it is confirmed before.
    Held,
    /// Admitted until it is released.
    Confirmed,
    /// Ended by a caller, or with its last attempt; its capacity was given back.
    Released,
    /// A hold that was not confirmed in time; its capacity was given back.
    Expired,
    /// Never admitted; the refusal is remembered for its key. `binding` is the index, in the demand, of the dimension
    /// that decided it.
    Refused {
        /// The reason of the refusal.
        reason: Reason,
        /// The index of the deciding dimension in the demand; `None` when no dimension decided.
        binding: Option<u8>,
    },
}

impl Status {
    /// Every status of a reservation that was admitted, once.
    pub const ADMITTED: [Status; 4] = [Status::Held, Status::Confirmed, Status::Released, Status::Expired];

    /// Whether a reservation with this status takes capacity.
    pub fn is_live(self) -> bool {
        matches!(self, Status::Held | Status::Confirmed)
    }

    /// Its name, as callers write and read it; `None` for an id under which nothing was ever admitted.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Status::Held => Some("held"),
            Status::Confirmed => Some("confirmed"),
            Status::Released => Some("released"),
            Status::Expired => Some("expired"),
            Status::Void | Status::Refused { .. } => None,
        }
    }

    /// Whether the reservation was admitted once, so that callers may read it.
    pub fn was_admitted(self) -> bool {
        self.code().is_some()
    }
}

/// What a partition knows of one reservation id. A live one is never forgotten. The others are forgotten at `until`,
/// a refusal earlier when there are too many of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// The pool it belongs to.
    pub pool: PoolId,
    /// Units that it takes; of a refused one those that it asked for.
    pub demand: Amounts,
    /// The caller's order, if the Reserve named one.
    pub order_ref: Option<Name>,
    /// The attempts that share the reservation.
    pub attempts: Attempts,
    /// The fingerprint of the Reserve's body.
    pub fingerprint: u64,
    /// Of a hold: when it expires. Of one that is not live: when it may be forgotten. 0 when it is confirmed.
    pub until: Micros,
    /// The sequence number of the event that last changed its status, its deadline or its demand.
    pub seq: u64,
    /// The sequence number of the event that accepted or refused it.
    pub decided_seq: u64,
    /// Of a refused one: the figures that it was judged by, as they were then.
    pub judged: Option<Box<Judged>>,
    /// Its status after the last event about it.
    pub status: Status,
    /// Of a hold: milliseconds from its acceptance to `until`; a begun millisecond counts as a whole one. 0
    /// otherwise.
    pub held_ms: u32,
}

/// The figures that a refusal was judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// The dimension in which the demand did not fit.
    Units {
        /// The limit of the dimension.
        limit: u64,
        /// The units that were in use in the dimension.
        used: u64,
    },
    /// The reservation that the order already had.
    Order(ReservationId),
    /// The latest time until which the hold could last.
    Hold(Micros),
}

impl Reservation {
    /// A reservation id for which nothing was decided yet.
    pub fn void(pool: PoolId) -> Reservation {
        Reservation {
            pool,
            demand: Amounts::default(),
            order_ref: None,
            attempts: Attempts::None,
            fingerprint: 0,
            until: Micros(0),
            seq: 0,
            decided_seq: 0,
            judged: None,
            status: Status::Void,
            held_ms: 0,
        }
    }

    /// The order of a live reservation; `None` when it is not live or has no order.
    pub fn live_order(&self) -> Option<&Name> {
        self.order_ref.as_ref().filter(|_| self.status.is_live())
    }

    /// Whether it is a live reservation of this order in this pool.
    pub fn is_of_order(&self, pool: &PoolId, order_ref: &str) -> bool {
        self.pool == *pool && self.live_order().is_some_and(|order| order.as_str() == order_ref)
    }

    /// The time from which the life of a hold counts; only meaningful for a hold.
    pub fn held_since(&self) -> Micros {
        self.until.set_back(u64::from(self.held_ms).saturating_mul(1_000))
    }

    /// Whether it still counts at `now`: it is live, or its time to be remembered has not passed.
    pub fn is_known(&self, now: Micros) -> bool {
        self.status.is_live() || self.until > now
    }

    /// Why it has ended, if it has. A hold whose deadline has passed has ended, even while no event says so yet.
    pub fn why_over(&self, now: Micros) -> Option<Reason> {
        match self.status {
            Status::Held if self.until <= now => Some(Reason::HoldExpired),
            Status::Expired => Some(Reason::HoldExpired),
            Status::Released => Some(Reason::AlreadyReleased),
            Status::Held | Status::Confirmed | Status::Void | Status::Refused { .. } => None,
        }
    }

    /// Starts anew when what is known may be forgotten at `now`, and sets the pool. What may be forgotten counts as
    /// forgotten, so that nothing of it reaches the next life.
    pub fn renew(&mut self, now: Micros, pool: &PoolId) {
        if !self.is_known(now) {
            *self = Reservation::void(pool.clone());
        }
    }

    /// How it lives, for the count of bytes.
    pub fn standing(&self) -> Standing {
        match self.status {
            Status::Held => Standing::Held,
            Status::Confirmed => Standing::Confirmed,
            _ => Standing::Over,
        }
    }

    /// How long it is kept. A refusal with cancelled attempts is kept for the sake of those attempts.
    pub fn keeping(&self) -> Keeping {
        match self.status {
            Status::Held | Status::Confirmed => Keeping::Live,
            Status::Refused { .. } if self.attempts.cancelled().is_empty() => Keeping::Refusal,
            _ => Keeping::Until(self.until),
        }
    }

    /// Whether nothing is left to remember.
    pub fn is_empty(&self) -> bool {
        self.status == Status::Void && self.attempts.cancelled().is_empty()
    }

    /// The dimension that decided the refusal, if one did.
    pub fn binding(&self) -> Option<Dimension> {
        match self.status {
            Status::Refused { binding: Some(at), .. } => self.demand.iter().nth(usize::from(at)).map(|(d, _)| d),
            _ => None,
        }
    }
}

/// The attempts of one reservation: those not abandoned, and those abandoned before they came. There is nearly always
/// one.
///
/// Only a bounded number is kept apart. With more, the reservation is settled: no Abandon ends it any more, because
/// the caller of another attempt may have been told yes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Attempts {
    /// No attempt came yet or all were abandoned, and none is cancelled.
    #[default]
    None,
    /// One attempt that is not abandoned, and no cancelled one.
    One(Attempt),
    /// More attempts than are kept: all of them count, whatever is abandoned.
    Settled,
    /// Every other combination.
    Many(Box<AttemptSets>),
}

/// Both lists, in order of arrival, of at most [`ATTEMPTS_MAX`] and [`CANCELLED_ATTEMPTS_MAX`] attempts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttemptSets {
    /// Attempts that are not abandoned.
    pub live: Vec<Attempt>,
    /// Attempts that were abandoned before they came.
    pub cancelled: Vec<Attempt>,
}

impl Attempts {
    /// Makes the value from both lists.
    pub fn from_sets(sets: AttemptSets) -> Attempts {
        match (&*sets.live, &*sets.cancelled) {
            ([], []) => Attempts::None,
            ([one], []) => Attempts::One(*one),
            _ => Attempts::Many(Box::new(sets)),
        }
    }

    /// The attempts that are not abandoned.
    pub fn live(&self) -> &[Attempt] {
        match self {
            Attempts::None | Attempts::Settled => &[],
            Attempts::One(one) => std::slice::from_ref(one),
            Attempts::Many(sets) => &sets.live,
        }
    }

    /// The attempts that were abandoned before they came.
    pub fn cancelled(&self) -> &[Attempt] {
        match self {
            Attempts::Many(sets) => &sets.cancelled,
            Attempts::None | Attempts::One(_) | Attempts::Settled => &[],
        }
    }

    /// Whether as many attempts are cancelled as are kept. A further one could not be told from one that nobody gave
    /// up.
    pub fn is_cancelled_full(&self) -> bool {
        self.cancelled().len() >= CANCELLED_ATTEMPTS_MAX
    }

    /// Adds an attempt that is not abandoned; one that is there already changes nothing. When it cannot be kept, or
    /// it cannot be told whether it was cancelled, the reservation becomes settled.
    pub fn add(&mut self, attempt: Attempt) {
        if matches!(self, Attempts::Settled) || self.live().contains(&attempt) {
            return;
        }
        if self.live().len() >= ATTEMPTS_MAX || self.is_cancelled_full() {
            *self = Attempts::Settled;
        } else {
            self.change(|sets| sets.live.push(attempt));
        }
    }

    /// Removes an attempt. One that has not come is cancelled instead, if it may still come.
    pub fn abandon(&mut self, attempt: Attempt, may_come: bool) {
        if self.live().contains(&attempt) {
            self.change(|sets| sets.live.retain(|a| *a != attempt));
        } else if may_come {
            self.cancel(attempt);
        }
    }

    /// Cancels an attempt that has not come, unless it has, or there is no room: see [`Attempts::is_cancelled_full`].
    pub fn cancel(&mut self, attempt: Attempt) {
        let is_known = self.live().contains(&attempt) || self.cancelled().contains(&attempt);
        if !is_known && !self.is_cancelled_full() && !matches!(self, Attempts::Settled) {
            self.change(|sets| sets.cancelled.push(attempt));
        }
    }

    /// Forgets the attempts that are not abandoned, because the life that they shared has ended.
    pub fn end(&mut self) {
        self.change(|sets| sets.live.clear());
    }

    fn change(&mut self, f: impl FnOnce(&mut AttemptSets)) {
        let mut sets = match std::mem::take(self) {
            Attempts::None | Attempts::Settled => AttemptSets::default(),
            Attempts::One(one) => AttemptSets { live: vec![one], cancelled: Vec::new() },
            Attempts::Many(sets) => *sets,
        };
        f(&mut sets);
        *self = Attempts::from_sets(sets);
    }
}
