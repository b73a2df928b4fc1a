//! A recorded decision: one record in `headroom.events`, and all that a caller is told. An event carries the values
//! after it of everything that it changed, so that one record can be understood alone.

use super::change::LimitChange;
use super::ids::{Attempt, CommandId, Digest, Dimension, IdempotencyKey, PoolId, ReservationId};
use super::kind::{CommandKind, EventKind};
use super::name::Name;
use super::outcome::Reason;
use super::pool::{Mode, Pool};
use super::reservation::{Judged, Status};
use super::units::{Amounts, Micros};
use crate::limits::REASON_CHARS_MAX;

/// A recorded decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The partition that decided it.
    pub partition: u32,
    /// The sequence number in the partition: dense, from 0.
    pub seq: u64,
    /// The epoch of the owner that decided it: the number of owners that the partition has had, from 1.
    pub epoch: u32,
    /// The digest of the event before it; zero for the first event.
    pub prev: Digest,
    /// When it was decided. Never earlier than the event before it, except where the event sets the clock back.
    pub decided_at: Micros,
    /// The command behind it. `None` for timers, barriers, ticks, lost events and set clocks. Of
    /// [`EventBody::CommandsLost`] it is the last lost command.
    pub cause: Option<Cause>,
    /// What was decided.
    pub body: EventBody,
}

/// The command behind an event, and its place in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// The offset of the command among the partition's commands.
    pub input_offset: u64,
    /// How many offsets right before it hold no command and so have no event: markers of transactions, and records of
    /// aborted transactions.
    pub skipped: u64,
    /// What the event repeats of the command; `None` when the record could not be read.
    pub command: Option<CommandStamp>,
    /// The id of a command whose record could not be read, if at least the id could be.
    pub unread: Option<CommandId>,
}

impl Cause {
    /// The cause of an event whose command could be read and stands right after the command before it.
    pub fn of(input_offset: u64, command: CommandStamp) -> Cause {
        Cause { input_offset, skipped: 0, command: Some(command), unread: None }
    }

    /// The first offset that the event covers; `None` when it claims to skip more offsets than there are before it.
    pub fn first(&self) -> Option<u64> {
        self.input_offset.checked_sub(self.skipped)
    }
}

/// The part of a command that its event repeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandStamp {
    /// The identity of the command.
    pub id: CommandId,
    /// The incarnation of the gateway that waits for the reply; `None` when nobody waits.
    pub reply_to: Option<u64>,
    /// The attempt; of an Abandon, the attempt that it takes back.
    pub attempt: Attempt,
    /// Who asked; callers set it.
    pub actor: Option<Name>,
    /// The kind of the command.
    pub kind: CommandKind,
    /// The caller's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// The fingerprint of the command's body.
    pub fingerprint: u64,
    /// The command's deadline, by the partition's time; of an Abandon, the deadline of the attempt that it takes
    /// back. `None` in events of older versions.
    pub deadline: Option<Micros>,
}

/// What was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventBody {
    /// A pool was created, or its whole definition was replaced.
    PoolDefined(Pool),
    /// A pool's limits were changed.
    LimitsAdjusted(Pool),
    /// A pool was opened, paused or closed.
    ModeSet(Pool),
    /// Parts of a pool were changed.
    PoolChanged(Pool),
    /// A pool's life ended. The pool and its live reservations are unknown from now on.
    PoolRetired(Retirement),
    /// A Reserve was accepted: capacity was taken.
    Accepted(Entry),
    /// A hold was confirmed.
    Confirmed(Entry),
    /// A hold got another deadline.
    Extended(Entry),
    /// A reservation takes other units than before. The second value is what it took before.
    Amended(Entry, Amounts),
    /// A reservation ended, and its capacity was given back.
    Released(Entry, ReleaseCause),
    /// A hold was not confirmed in time, and its capacity was given back.
    Expired(Entry),
    /// An earlier answer was given again. `Origin` is the event that gave it first; events of older versions do not
    /// name it. The repetition of an accepted Reserve shows the reservation as it is now.
    Repeated(Box<EventBody>, Option<Origin>),
    /// The command was refused.
    Rejected(Rejection),
    /// An attempt was taken back, and no capacity was given back: other attempts share the reservation, somebody has
    /// confirmed, extended or amended it, or the attempt had not come.
    Abandoned {
        /// The pool of the Reserve.
        pool: PoolId,
        /// The reservation of the Reserve.
        reservation: ReservationId,
    },
    /// The record could not be read as a command.
    Malformed {
        /// What is wrong with the record.
        detail: String,
    },
    /// Commands were lost before they were decided, and never will be: those from the next offset up to and including
    /// the offset of the cause.
    CommandsLost {
        /// Who recorded the loss, and why the commands are lost.
        detail: String,
    },
    /// Events that were committed are gone from the log, and an operator has accepted that. The log continues after
    /// what is left of it, and their sequence numbers are used again.
    EventsLost {
        /// Who accepted the loss, and why the events are gone.
        detail: String,
        /// The sequence number of the first lost event.
        from: u64,
        /// The sequence number after the last event that is known to be lost.
        until: u64,
    },
    /// A new owner has claimed the partition.
    Barrier {
        /// A random number of the owner.
        nonce: u64,
    },
    /// Nothing happened for a while; the event shows that there is an owner.
    Tick,
    /// The partition's time was ahead and was set back to the time of this event. Every hold, and everything that is
    /// remembered for a time, lasts as long as it would have.
    ClockSet {
        /// The partition's time before.
        from: Micros,
        /// Who set it back, and why.
        detail: String,
    },
}

/// The end of a pool's life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retirement {
    /// The pool as it was last.
    pub pool: Pool,
    /// The number of reservations that lived, and ended with it.
    pub live: u64,
    /// Why it ended.
    pub cause: RetireCause,
}

/// Why a pool retired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RetireCause {
    /// A caller asked for it.
    Caller,
    /// Its window had ended long ago.
    Window,
}

/// The event that gave an answer first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Its sequence number in the partition.
    pub seq: u64,
    /// When it was decided, where that is still known. It is known of an answer that is kept for a time, and not of a
    /// live reservation.
    pub decided_at: Option<Micros>,
}

/// A reservation after the event, and the counters of its pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The pool of the reservation.
    pub pool: PoolId,
    /// The id of the reservation.
    pub reservation: ReservationId,
    /// The status of the reservation after the event.
    pub status: Status,
    /// Units that it takes; after its end, units that it took.
    pub demand: Amounts,
    /// When the hold expires; `None` when it is no hold.
    pub hold_until: Option<Micros>,
    /// The time from which the life of a hold counts. `None` in events of older versions.
    pub hold_since: Option<Micros>,
    /// The caller's order, if there is one.
    pub order_ref: Option<Name>,
    /// The pool's limits.
    pub limits: Amounts,
    /// The pool's units in use, after the event.
    pub used: Amounts,
}

/// Why capacity was given back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReleaseCause {
    /// Somebody who knows the reservation's id released it.
    Caller,
    /// The last attempt of the reservation was abandoned.
    Abandoned,
}

/// A refusal, with the figures that it was judged by. A refusal that is repeated shows only the figures that decided
/// it ([`Judged`]), as they were then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// The reason of the refusal.
    pub reason: Reason,
    /// The dimension that decided it, if one did.
    pub dimension: Option<Dimension>,
    /// The pool that the command is about, if it is known.
    pub pool: Option<PoolId>,
    /// The reservation that the command names.
    pub reservation: Option<ReservationId>,
    /// The units that were asked for.
    pub demand: Option<Amounts>,
    /// The units that the reservation takes and keeps; only where the amend of a live reservation is refused.
    pub demand_before: Option<Amounts>,
    /// The caller's order, if there is one.
    pub order_ref: Option<Name>,
    /// The pool's limits, if the pool exists.
    pub limits: Option<Amounts>,
    /// The pool's units in use, if the pool exists.
    pub used: Option<Amounts>,
    /// The pool's mode, if the pool exists.
    pub mode: Option<Mode>,
    /// The pool's version, if the pool exists.
    pub version: Option<u64>,
    /// The latest time until which a hold could last, where it is refused more time.
    pub hold_until: Option<Micros>,
    /// The live reservation that the order already has, where that is the reason.
    pub existing_reservation: Option<ReservationId>,
    /// The number of live reservations of the pool, where that is the reason.
    pub live: Option<u64>,
    /// Until when the id of the pool may not be defined anew, if the pool has retired so lately.
    pub retired_until: Option<Micros>,
    /// What was asked for, where a change of a pool or of a hold is refused.
    pub asked: Option<Box<AskedChange>>,
}

/// The part of a refused change of a pool or a hold that its event records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AskedChange {
    /// The change of limits.
    pub limits: Option<LimitChange>,
    /// The mode that the pool should get.
    pub mode: Option<Mode>,
    /// The version that the pool had to have; 0: the pool had to be new.
    pub version: Option<u64>,
    /// The time of the hold in milliseconds.
    pub hold_ttl_ms: Option<u64>,
}

/// Whether an operator may give this text as a reason: one line without control characters, of 1 to
/// [`REASON_CHARS_MAX`] characters.
pub fn is_reason(text: &str) -> bool {
    (1..=REASON_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

impl Rejection {
    /// Whether a key remembers the refusal. A refusal about a pool that has retired is not remembered, so that nothing of
    /// it is left when the id is defined anew. A reservation of which nothing is known may have ended with such a pool.
    pub fn is_remembered(&self) -> bool {
        self.reason.is_remembered() && self.retired_until.is_none() && !self.is_about_nothing()
    }

    /// Whether nothing is known of the reservation that the command names, not even its pool.
    fn is_about_nothing(&self) -> bool {
        self.reason == Reason::UnknownReservation && self.pool.is_none()
    }

    /// The figures that decided the refusal: the order's reservation, the latest time, or limit and use of the
    /// deciding dimension.
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
    /// The kind of the event.
    pub fn kind(&self) -> EventKind {
        match self {
            EventBody::PoolDefined(_) => EventKind::PoolDefined,
            EventBody::LimitsAdjusted(_) => EventKind::LimitsAdjusted,
            EventBody::ModeSet(_) => EventKind::ModeSet,
            EventBody::PoolChanged(_) => EventKind::PoolChanged,
            EventBody::PoolRetired(_) => EventKind::PoolRetired,
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

    /// The reservation that the event shows, now or as a repetition; `None` when it shows none.
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

    /// The units that the reservation took before an amend; also where the amend of a live reservation is refused.
    pub fn demand_before(&self) -> Option<&Amounts> {
        match self {
            EventBody::Amended(_, before) => Some(before),
            EventBody::Rejected(rejection) => rejection.demand_before.as_ref(),
            EventBody::Repeated(original, _) => original.demand_before(),
            _ => None,
        }
    }

    /// The whole pool, where the event shows one, now or as a repetition. A pool that has retired is shown as it was
    /// last.
    pub fn pool(&self) -> Option<&Pool> {
        match self {
            EventBody::PoolDefined(pool)
            | EventBody::LimitsAdjusted(pool)
            | EventBody::ModeSet(pool)
            | EventBody::PoolChanged(pool)
            | EventBody::PoolRetired(Retirement { pool, .. }) => Some(pool),
            EventBody::Repeated(original, _) => original.pool(),
            _ => None,
        }
    }

    /// The end of a pool's life, now or as a repetition.
    pub fn retirement(&self) -> Option<&Retirement> {
        match self {
            EventBody::PoolRetired(retirement) => Some(retirement),
            EventBody::Repeated(original, _) => original.retirement(),
            _ => None,
        }
    }

    /// Why nobody can decide the command, for a person: its record cannot be read, or it is in a partition that is
    /// not its own. The answer depends only on the record and its place. `None` for a command that was decided.
    pub fn undecidable(&self) -> Option<String> {
        match self {
            EventBody::Malformed { detail } => Some(format!("malformed: {detail}")),
            EventBody::Rejected(rejection) if rejection.reason == Reason::Misrouted => Some("misrouted".to_owned()),
            _ => None,
        }
    }

    /// The refusal, given now or repeated.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            EventBody::Rejected(rejection) => Some(rejection),
            EventBody::Repeated(original, _) => original.rejection(),
            _ => None,
        }
    }

    /// The id of the pool that the event is about, if it is about one.
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

    /// The id of the reservation that the event is about, if it is about one.
    pub fn reservation_id(&self) -> Option<ReservationId> {
        match self {
            EventBody::Abandoned { reservation, .. } => Some(*reservation),
            _ => self.entry().map(|e| e.reservation).or_else(|| self.rejection().and_then(|r| r.reservation)),
        }
    }
}

impl Event {
    /// The command behind the event; `None` when there is none or it could not be read.
    pub fn command(&self) -> Option<&CommandStamp> {
        self.cause.as_ref().and_then(|cause| cause.command.as_ref())
    }
}

/// The version of the events that this program decides: of their schema, and of the rules that they follow.
pub const VERSION: u32 = 5;
/// From this version of the events on, pools retire.
pub const RETIREMENT_VERSION: u32 = 5;

/// An event with the digest of its bytes. The log holds events like this, and a caller's proof names the digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainedEvent {
    /// The decision and its place in the log.
    pub event: Event,
    /// The digest of its bytes; it is `prev` of the next event.
    pub digest: Digest,
    /// The version that wrote the event, see [`VERSION`].
    pub version: u32,
}

impl ChainedEvent {
    /// An event that this program has decided.
    pub fn new(event: Event, digest: Digest) -> ChainedEvent {
        ChainedEvent { event, digest, version: VERSION }
    }
}
