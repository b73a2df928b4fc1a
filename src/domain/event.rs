//! A decision as recorded: one record in `headroom.events`, and all a caller is told. It carries the values after it
//! of whatever it touched, so one record can be understood alone.

use super::change::LimitChange;
use super::ids::{Attempt, CommandId, Digest, Dimension, IdempotencyKey, PoolId, ReservationId};
use super::kind::{CommandKind, EventKind};
use super::name::Name;
use super::outcome::Reason;
use super::pool::{Mode, Pool};
use super::reservation::{Judged, Status};
use super::units::{Amounts, Micros};
use crate::limits::REASON_CHARS_MAX;

/// A decision as recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its partition.
    pub partition: u32,
    /// Its place in the partition: dense, from 0.
    pub seq: u64,
    /// The owner that decided it: how many the partition has had, from 1.
    pub epoch: u32,
    /// The digest of the record before it; zero for the first.
    pub prev: Digest,
    /// When it was decided; never earlier than the record before it, but where this sets the clock back.
    pub decided_at: Micros,
    /// What caused it; `None` for timers, barriers, ticks, lost events and clocks that are set. Of [`EventBody::CommandsLost`] the last command that is lost.
    pub cause: Option<Cause>,
    /// What was decided.
    pub body: EventBody,
}

/// The command behind an event, and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// Its place in the partition's commands.
    pub input_offset: u64,
    /// How many places right before it hold no command, so that they have no event of their own: markers of
    /// transactions, and records of those that were aborted.
    pub skipped: u64,
    /// The rest, unless the record could not be read.
    pub command: Option<CommandStamp>,
    /// Of a record that could not be read, its command's id if that could be.
    pub unread: Option<CommandId>,
}

impl Cause {
    /// A command that could be read, at this place, right after the one before it.
    pub fn of(input_offset: u64, command: CommandStamp) -> Cause {
        Cause { input_offset, skipped: 0, command: Some(command), unread: None }
    }

    /// The first place that the event is about; `None` when it skips more places than there are before it.
    pub fn first(&self) -> Option<u64> {
        self.input_offset.checked_sub(self.skipped)
    }
}

/// What an event repeats of its command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandStamp {
    /// Its identity.
    pub id: CommandId,
    /// The gateway that waits, if one does.
    pub reply_to: Option<u64>,
    /// Its attempt.
    pub attempt: Attempt,
    /// Who asked.
    pub actor: Option<Name>,
    /// What was asked.
    pub kind: CommandKind,
    /// The caller's key.
    pub key: Option<IdempotencyKey>,
    /// The body's fingerprint.
    pub fingerprint: u64,
    /// After this instant it was to be refused, by the partition's time; events of older versions do not say. Of an
    /// Abandon that of the try it takes back.
    pub deadline: Option<Micros>,
}

/// What was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventBody {
    /// A pool was made, or said anew.
    PoolDefined(Pool),
    /// A pool's limits were changed.
    LimitsAdjusted(Pool),
    /// A pool was opened, paused or closed.
    ModeSet(Pool),
    /// Parts of a pool were said anew.
    PoolChanged(Pool),
    /// Capacity was taken.
    Accepted(Entry),
    /// A hold became a reservation for good.
    Confirmed(Entry),
    /// A hold got another deadline.
    Extended(Entry),
    /// A reservation takes other units of its pool; with those that it took before.
    Amended(Entry, Amounts),
    /// Capacity was given back.
    Released(Entry, ReleaseCause),
    /// A hold was not confirmed in time: its capacity was given back.
    Expired(Entry),
    /// The answer given before, again, and the event that gave it, which events of older versions do not name. For a
    /// Reserve that was accepted with the reservation as it is now.
    Repeated(Box<EventBody>, Option<Origin>),
    /// Refused.
    Rejected(Rejection),
    /// An attempt was taken back and gave nothing back: others share the reservation, or it had not come.
    Abandoned {
        /// The pool.
        pool: PoolId,
        /// The reservation.
        reservation: ReservationId,
    },
    /// A record that could not be read.
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// Commands were gone before they were decided: those from the next place on up to and including the cause's. They
    /// never will be decided.
    CommandsLost {
        /// Who says so, and why they are gone.
        detail: String,
    },
    /// Events that were committed are gone from the log, and a person has accepted that. The log goes on after what is
    /// left of it: their sequence numbers are given to others.
    EventsLost {
        /// Who says so, and why they are gone.
        detail: String,
        /// The first that is gone.
        from: u64,
        /// The one after the last that is known to be gone.
        until: u64,
    },
    /// An owner's claim.
    Barrier {
        /// Its own number.
        nonce: u64,
    },
    /// Nothing happened for a while.
    Tick,
    /// The partition's time was ahead, and was set back to that of this event. What holds and what is remembered for a
    /// time lasts as long as it would have.
    ClockSet {
        /// The time before.
        from: Micros,
        /// Who says so, and why.
        detail: String,
    },
}

/// The event that gave an answer first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Its place in the partition.
    pub seq: u64,
    /// When it was decided, where that is still known: of what is kept for a while, not of a reservation that lives.
    pub decided_at: Option<Micros>,
}

/// A reservation after the event, and its pool's counters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its pool.
    pub pool: PoolId,
    /// Its id.
    pub reservation: ReservationId,
    /// Where it stands.
    pub status: Status,
    /// Units it takes or took.
    pub demand: Amounts,
    /// When the hold expires.
    pub hold_until: Option<Micros>,
    /// Of a hold, the instant from which its life counts. Events of older versions do not tell it.
    pub hold_since: Option<Micros>,
    /// The caller's order.
    pub order_ref: Option<Name>,
    /// The pool's limits.
    pub limits: Amounts,
    /// The pool's units in use.
    pub used: Amounts,
}

/// Who gave capacity back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReleaseCause {
    /// Whoever knows the reservation's id.
    Caller,
    /// Its last attempt was abandoned.
    Abandoned,
}

/// A refusal with what it was judged against. One that is repeated tells of the pool no more than what decided it
/// ([`Judged`]), as it was then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// The dimension that decided it.
    pub dimension: Option<Dimension>,
    /// The pool asked about.
    pub pool: Option<PoolId>,
    /// The reservation asked about.
    pub reservation: Option<ReservationId>,
    /// Units asked for.
    pub demand: Option<Amounts>,
    /// Units that the reservation takes and goes on to take, where an Amend of one that lives is refused.
    pub demand_before: Option<Amounts>,
    /// The caller's order.
    pub order_ref: Option<Name>,
    /// The pool's limits, if it is known.
    pub limits: Option<Amounts>,
    /// The pool's units in use, if it is known.
    pub used: Option<Amounts>,
    /// The pool's mode, if it is known.
    pub mode: Option<Mode>,
    /// The pool's version, if it is known.
    pub version: Option<u64>,
    /// Of a hold that is refused more time, the latest instant until which it could last.
    pub hold_until: Option<Micros>,
    /// The reservation that the order has already.
    pub existing_reservation: Option<ReservationId>,
    /// What was asked, where a change of a pool or a hold is refused.
    pub asked: Option<Box<AskedChange>>,
}

/// What was asked of a pool or of a hold and refused, as far as it is recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AskedChange {
    /// The limits.
    pub limits: Option<LimitChange>,
    /// The mode.
    pub mode: Option<Mode>,
    /// The version that the pool was expected to have; 0 means that there must be none.
    pub version: Option<u64>,
    /// The hold's time.
    pub hold_ttl_ms: Option<u64>,
}

/// Whether this may be what an operator says of something that was done by hand: some characters on one line.
pub fn is_reason(text: &str) -> bool {
    (1..=REASON_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

impl Rejection {
    /// What it was judged by: the other reservation, the latest instant, or limit and use of the dimension that decided it.
    pub fn judged(&self) -> Option<Judged> {
        let of = |amounts: &Option<Amounts>| amounts.as_ref()?.get(self.dimension?);
        match self.reason {
            Reason::OrderHasReservation => self.existing_reservation.map(Judged::Order),
            reason if reason.is_of_hold_time() => self.hold_until.map(Judged::Hold),
            _ => Some(Judged::Units { limit: of(&self.limits)?, used: of(&self.used)? }),
        }
    }
}

impl EventBody {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            EventBody::PoolDefined(_) => EventKind::PoolDefined,
            EventBody::LimitsAdjusted(_) => EventKind::LimitsAdjusted,
            EventBody::ModeSet(_) => EventKind::ModeSet,
            EventBody::PoolChanged(_) => EventKind::PoolChanged,
            EventBody::Accepted(_) => EventKind::Accepted,
            EventBody::Confirmed(_) => EventKind::Confirmed,
            EventBody::Extended(_) => EventKind::Extended,
            EventBody::Amended(..) => EventKind::Amended,
            EventBody::Released(..) => EventKind::Released,
            EventBody::Expired(_) => EventKind::Expired,
            EventBody::Repeated(..) => EventKind::Repeated,
            EventBody::Rejected(_) => EventKind::Rejected,
            EventBody::Abandoned { .. } => EventKind::Abandoned,
            EventBody::Malformed { .. } => EventKind::Malformed,
            EventBody::CommandsLost { .. } => EventKind::CommandsLost,
            EventBody::EventsLost { .. } => EventKind::EventsLost,
            EventBody::Barrier { .. } => EventKind::Barrier,
            EventBody::Tick => EventKind::Tick,
            EventBody::ClockSet { .. } => EventKind::ClockSet,
        }
    }

    /// The reservation and counters after it, where it tells of one.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            EventBody::Accepted(entry)
            | EventBody::Confirmed(entry)
            | EventBody::Extended(entry)
            | EventBody::Amended(entry, _)
            | EventBody::Released(entry, _)
            | EventBody::Expired(entry) => Some(entry),
            EventBody::Repeated(original, _) => original.entry(),
            _ => None,
        }
    }

    /// What the reservation took before, where an Amend of one that lives was done or refused.
    pub fn demand_before(&self) -> Option<&Amounts> {
        match self {
            EventBody::Amended(_, before) => Some(before),
            EventBody::Rejected(rejection) => rejection.demand_before.as_ref(),
            EventBody::Repeated(original, _) => original.demand_before(),
            _ => None,
        }
    }

    /// The pool after it, where it tells of the whole of one.
    pub fn pool(&self) -> Option<&Pool> {
        match self {
            EventBody::PoolDefined(pool)
            | EventBody::LimitsAdjusted(pool)
            | EventBody::ModeSet(pool)
            | EventBody::PoolChanged(pool) => Some(pool),
            EventBody::Repeated(original, _) => original.pool(),
            _ => None,
        }
    }

    /// Why nobody could decide the command: it cannot be read, or came to another partition than its own. In words, for a
    /// person. It depends on nothing but the record and its place.
    pub fn undecidable(&self) -> Option<String> {
        match self {
            EventBody::Malformed { detail } => Some(format!("malformed: {detail}")),
            EventBody::Rejected(rejection) if rejection.reason == Reason::Misrouted => Some("misrouted".to_owned()),
            _ => None,
        }
    }

    /// The refusal, given now or given before.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            EventBody::Rejected(rejection) => Some(rejection),
            EventBody::Repeated(original, _) => original.rejection(),
            _ => None,
        }
    }

    /// The id of the pool it is about.
    pub fn pool_id(&self) -> Option<&PoolId> {
        match self {
            EventBody::Abandoned { pool, .. } => Some(pool),
            _ => self
                .entry()
                .map(|e| &e.pool)
                .or_else(|| self.pool().map(|p| &p.id))
                .or_else(|| self.rejection().and_then(|r| r.pool.as_ref())),
        }
    }

    /// The id of the reservation it is about.
    pub fn reservation_id(&self) -> Option<ReservationId> {
        match self {
            EventBody::Abandoned { reservation, .. } => Some(*reservation),
            _ => self.entry().map(|e| e.reservation).or_else(|| self.rejection().and_then(|r| r.reservation)),
        }
    }
}

impl Event {
    /// The command behind it, if it could be read.
    pub fn command(&self) -> Option<&CommandStamp> {
        self.cause.as_ref().and_then(|cause| cause.command.as_ref())
    }
}

/// The version of events that are decided here: of their schema, and of the rules that they were decided by.
pub const VERSION: u32 = 4;

/// An event with the digest of its bytes: what the log holds, and what a caller's proof names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainedEvent {
    /// The event.
    pub event: Event,
    /// The digest of its bytes; the next event's `prev`.
    pub digest: Digest,
    /// See [`VERSION`].
    pub version: u32,
}

impl ChainedEvent {
    /// An event that is decided here.
    pub fn new(event: Event, digest: Digest) -> ChainedEvent {
        ChainedEvent { event, digest, version: VERSION }
    }
}
