//! Why a command is refused. The order of the variants is the order of precedence: when several reasons hold, the
//! first one is named. One exception: a reservation that has ended is refused as ended, whatever the state of its
//! pool. The codes are part of the API and of the event schema and never change.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $remembered:literal;)*) => {
        /// Why a command was refused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All reasons, in order of precedence.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The stable code, as it stands in the API, in events and in metrics.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// Whether an idempotency key remembers the refusal: a business outcome is remembered, a technical one is
            /// not.
            pub fn is_remembered(self) -> bool {
                match self { $(Reason::$name => $remembered,)* }
            }
        }
    };
}

reasons! {
    /// The command is inconsistent in itself: no caller can mean it.
    Malformed = "malformed", false;
    /// The command was appended to a partition that does not own its pool.
    Misrouted = "misrouted", false;
    /// The command is a copy of one that was decided a short while ago. The first decision stands.
    Duplicate = "duplicate", false;
    /// The deadline had passed before the command was decided.
    Expired = "expired", false;
    /// The deadline is so far ahead that a copy could still be in time when the command's id is no longer kept.
    DeadlineTooFar = "deadline_too_far", false;
    /// So many commands were decided a short while ago that no more ids can be kept.
    TooManyCommands = "too_many_commands", false;
    /// The attempt was abandoned before it came.
    Abandoned = "abandoned", false;
    /// The key was used before with another body.
    KeyReused = "key_reused", false;
    /// So many attempts of the reservation were abandoned before they came that no more can be kept apart. The
    /// refusal ends when their deadlines have passed.
    TooManyAttempts = "too_many_attempts", false;
    /// The partition remembers as much as it may. Entries are forgotten with time.
    MemoryFull = "memory_full", false;
    /// The pool has retired a short while ago, and its id may not be defined anew yet.
    PoolRetired = "pool_retired", false;
    /// The partition has as many pools as it may.
    PartitionFull = "partition_full", false;
    /// The pool does not exist.
    UnknownPool = "unknown_pool", true;
    /// The reservation does not exist.
    UnknownReservation = "unknown_reservation", true;
    /// The pool does not have the expected version.
    StaleVersion = "stale_version", true;
    /// The pool has live reservations, and may retire only without.
    PoolInUse = "pool_in_use", true;
    /// The order has a live reservation in the pool, and the pool allows an order only one.
    OrderHasReservation = "order_has_reservation", true;
    /// The pool's cutoff has passed.
    PastCutoff = "past_cutoff", true;
    /// The pool is closed.
    Closed = "closed", true;
    /// The pool is paused.
    Paused = "paused", true;
    /// The pool has no such dimension.
    UnknownDimension = "unknown_dimension", true;
    /// The demand does not fit the free units.
    OverLimit = "over_limit", true;
    /// The limit would leave its allowed range.
    LimitOutOfRange = "limit_out_of_range", true;
    /// The window would lack its start or its end, or start, cutoff and end would be out of order.
    InvalidWindow = "invalid_window", true;
    /// The pool would have more labels than it may.
    LabelsFull = "labels_full", true;
    /// The change would remove a dimension in which units are in use.
    DimensionInUse = "dimension_in_use", true;
    /// The pool would retire by itself so soon that somebody may still ask for what it has now.
    RetiresTooSoon = "retires_too_soon", true;
    /// The hold expired earlier.
    HoldExpired = "hold_expired", true;
    /// The reservation was released earlier.
    AlreadyReleased = "already_released", true;
    /// The reservation is not a hold.
    NotAHold = "not_a_hold", true;
    /// The pool does not allow a hold so much time at once.
    HoldTooLong = "hold_too_long", true;
    /// The pool does not allow a hold so long a life in all.
    HoldTooOld = "hold_too_old", true;
    /// The hold would last longer than the pool's window.
    HoldBeyondWindow = "hold_beyond_window", true;
}

impl Reason {
    /// Whether the id of a command that is refused for this reason is kept, so that a copy is refused as a duplicate.
    /// For the other reasons a copy is refused for the same reason again, or no room is left to keep ids.
    pub fn is_kept(self) -> bool {
        match self {
            Reason::Malformed | Reason::Misrouted | Reason::Duplicate | Reason::Expired => false,
            reason => !reason.is_open(),
        }
    }

    /// Whether a copy of a command that is refused for this reason may get another answer. Then the attempt of a
    /// Reserve is cancelled with the refusal. Callers of other commands must be told that the outcome is unknown.
    pub fn is_open(self) -> bool {
        matches!(self, Reason::DeadlineTooFar | Reason::TooManyCommands)
    }

    /// Whether the reason is that a hold would last too long.
    pub fn is_of_hold_time(self) -> bool {
        matches!(self, Reason::HoldTooLong | Reason::HoldTooOld | Reason::HoldBeyondWindow)
    }

    /// The reason with this code; `None` when there is no such code.
    pub fn from_code(code: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|r| r.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
