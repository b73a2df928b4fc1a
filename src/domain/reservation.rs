//! A reservation's life, and what is remembered of it afterwards.

use super::ids::{Attempt, Dimension, PoolId, ReservationId};
use super::name::Name;
use super::outcome::Reason;
use super::room::{Keeping, Standing};
use super::units::{Amounts, Micros};
use crate::limits::{ATTEMPTS_MAX, CANCELLED_ATTEMPTS_MAX};

/// Where a reservation id stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Status {
    /// Nothing was decided: only cancelled attempts are remembered.
    Void,
    /// Admitted until a deadline, to be confirmed before it.
    Held,
    /// Admitted.
    Confirmed,
    /// Given back.
    Released,
    /// Not confirmed in time, so given back.
    Expired,
    /// Never admitted; the refusal is remembered for its key. `binding` is the place in the demand of the dimension
    /// that refused it.
    Refused {
        /// Why.
        reason: Reason,
        /// Which of the demanded dimensions.
        binding: Option<u8>,
    },
}

impl Status {
    /// Whether it takes capacity.
    pub fn is_live(self) -> bool {
        matches!(self, Status::Held | Status::Confirmed)
    }
}

/// What a partition knows of one reservation id. A live one is never forgotten; the others are at `until`, a refusal
/// earlier when there are too many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// The pool it belongs to.
    pub pool: PoolId,
    /// Units it takes (or would have taken).
    pub demand: Amounts,
    /// The caller's order.
    pub order_ref: Option<Name>,
    /// The tries behind it.
    pub attempts: Attempts,
    /// Fingerprint of the Reserve's body.
    pub fingerprint: u64,
    /// Held: when it expires. Not live: when it is forgotten. Confirmed: meaningless, 0.
    pub until: Micros,
    /// The event that last changed where it stands, until when, or what it takes.
    pub seq: u64,
    /// The event that accepted or refused it.
    pub decided_seq: u64,
    /// What it was refused by, as it was then.
    pub judged: Option<Box<Judged>>,
    /// Where it stands.
    pub status: Status,
    /// Held: how long it is from its acceptance to `until`, in milliseconds, a begun one counted whole. 0 otherwise.
    pub held_ms: u32,
}

/// What a refusal was judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// What the dimension was like in which a demand did not fit.
    Units {
        /// Its limit.
        limit: u64,
        /// Its units in use.
        used: u64,
    },
    /// The reservation that the order had.
    Order(ReservationId),
    /// The latest instant until which the hold could last.
    Hold(Micros),
}

impl Reservation {
    /// Nothing decided yet.
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

    /// The order of a live one.
    pub fn live_order(&self) -> Option<&Name> {
        self.order_ref.as_ref().filter(|_| self.status.is_live())
    }

    /// Whether it is a live one of this order.
    pub fn is_of_order(&self, pool: &PoolId, order_ref: &str) -> bool {
        self.pool == *pool && self.live_order().is_some_and(|order| order.as_str() == order_ref)
    }

    /// Of a hold, the instant from which its life counts.
    pub fn held_since(&self) -> Micros {
        self.until.set_back(u64::from(self.held_ms).saturating_mul(1_000))
    }

    /// Whether it still counts at `now`: live, or remembered for a while yet.
    pub fn is_known(&self, now: Micros) -> bool {
        self.status.is_live() || self.until > now
    }

    /// Why it lives no more, if it did: a hold whose time has passed is over, expired by an event or not yet.
    pub fn why_over(&self, now: Micros) -> Option<Reason> {
        match self.status {
            Status::Held if self.until <= now => Some(Reason::HoldExpired),
            Status::Expired => Some(Reason::HoldExpired),
            Status::Released => Some(Reason::AlreadyReleased),
            Status::Held | Status::Confirmed | Status::Void | Status::Refused { .. } => None,
        }
    }

    /// What may be forgotten at `now` counts as forgotten, swept or not: nothing of it gets into what comes after it, which
    /// is of this pool.
    pub fn renew(&mut self, now: Micros, pool: &PoolId) {
        if !self.is_known(now) {
            *self = Reservation::void(pool.clone());
        }
    }

    /// How it lives.
    pub fn standing(&self) -> Standing {
        match self.status {
            Status::Held => Standing::Held,
            Status::Confirmed => Standing::Confirmed,
            _ => Standing::Over,
        }
    }

    /// For how long it is kept. A refusal with attempts that were given up is kept for their sake.
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

    /// The dimension that refused it.
    pub fn binding(&self) -> Option<Dimension> {
        match self.status {
            Status::Refused { binding: Some(at), .. } => self.demand.iter().nth(usize::from(at)).map(|(d, _)| d),
            _ => None,
        }
    }
}

/// The attempts of one reservation: those not abandoned, and those abandoned before they came. Nearly always one.
///
/// There is no telling which of very many attempts count. One that was told yes must not lose the reservation, so with
/// more than are kept it is settled: no Abandon takes it any more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Attempts {
    /// None.
    #[default]
    None,
    /// One not abandoned, none cancelled.
    One(Attempt),
    /// More than are kept: they count whatever is abandoned.
    Settled,
    /// Anything else.
    Many(Box<AttemptSets>),
}

/// Both sets, in order of arrival: at most [`ATTEMPTS_MAX`] and [`CANCELLED_ATTEMPTS_MAX`] long.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttemptSets {
    /// Not abandoned.
    pub live: Vec<Attempt>,
    /// Abandoned before they came.
    pub cancelled: Vec<Attempt>,
}

impl Attempts {
    /// From both sets.
    pub fn from_sets(sets: AttemptSets) -> Attempts {
        match (&*sets.live, &*sets.cancelled) {
            ([], []) => Attempts::None,
            ([one], []) => Attempts::One(*one),
            _ => Attempts::Many(Box::new(sets)),
        }
    }

    /// Those not abandoned.
    pub fn live(&self) -> &[Attempt] {
        match self {
            Attempts::None | Attempts::Settled => &[],
            Attempts::One(one) => std::slice::from_ref(one),
            Attempts::Many(sets) => &sets.live,
        }
    }

    /// Those abandoned before they came.
    pub fn cancelled(&self) -> &[Attempt] {
        match self {
            Attempts::Many(sets) => &sets.cancelled,
            Attempts::None | Attempts::One(_) | Attempts::Settled => &[],
        }
    }

    /// Whether as many are cancelled as are kept. One more could not be told from one that nobody gave up.
    pub fn is_cancelled_full(&self) -> bool {
        self.cancelled().len() >= CANCELLED_ATTEMPTS_MAX
    }

    /// Adds one that is not abandoned; a known one changes nothing. One that cannot be kept, or of which it cannot be told
    /// whether it was cancelled, settles.
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

    /// Takes one away; one that never came is cancelled instead, if it may come yet.
    pub fn abandon(&mut self, attempt: Attempt, may_come: bool) {
        if self.live().contains(&attempt) {
            self.change(|sets| sets.live.retain(|a| *a != attempt));
        } else if may_come {
            self.cancel(attempt);
        }
    }

    /// Cancels one that never came, if it did not, and if there is room: see [`Attempts::is_cancelled_full`].
    pub fn cancel(&mut self, attempt: Attempt) {
        let is_known = self.live().contains(&attempt) || self.cancelled().contains(&attempt);
        if !is_known && !self.is_cancelled_full() && !matches!(self, Attempts::Settled) {
            self.change(|sets| sets.cancelled.push(attempt));
        }
    }

    /// Forgets those not abandoned: the life they share is over.
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
