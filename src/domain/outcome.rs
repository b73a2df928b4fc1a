//! Why a command is refused. The order of the variants is the order of precedence: of two reasons that hold, the
//! earlier one is named; but a reservation that is over is called that, whatever holds of its pool. Codes are part of the API and of the event schema, and never change.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $remembered:literal;)*) => {
        /// Why a command was refused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in order of precedence.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// Its stable code.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// Whether a key remembers it: a business outcome, not a technical one.
            pub fn is_remembered(self) -> bool {
                match self { $(Reason::$name => $remembered,)* }
            }
        }
    };
}

reasons! {
    /// It cannot be what any caller meant.
    Malformed = "malformed", false;
    /// It was appended to a partition that its pool does not belong to.
    Misrouted = "misrouted", false;
    /// It is a copy of a command that was decided a short while ago: what was decided then stands.
    Duplicate = "duplicate", false;
    /// Its deadline had passed before it was decided.
    Expired = "expired", false;
    /// Its deadline lies so far ahead that a copy of it could be in time when its id is not kept any more.
    DeadlineTooFar = "deadline_too_far", false;
    /// As many commands were decided a short while ago as ids are kept.
    TooManyCommands = "too_many_commands", false;
    /// Its attempt was abandoned before it came.
    Abandoned = "abandoned", false;
    /// Its key was used with another body.
    KeyReused = "key_reused", false;
    /// So many attempts of the reservation were abandoned before they came that it cannot be told whether this is one.
    /// It passes with their deadlines.
    TooManyAttempts = "too_many_attempts", false;
    /// The partition remembers as much as it may. What is remembered goes with time.
    MemoryFull = "memory_full", false;
    /// The partition has as many pools as it may.
    PartitionFull = "partition_full", false;
    /// There is no such pool.
    UnknownPool = "unknown_pool", true;
    /// There is no such reservation.
    UnknownReservation = "unknown_reservation", true;
    /// The pool has another version than expected.
    StaleVersion = "stale_version", true;
    /// The order has a live reservation in the pool, which lets it have one.
    OrderHasReservation = "order_has_reservation", true;
    /// The pool's cutoff has passed.
    PastCutoff = "past_cutoff", true;
    /// The pool is closed.
    Closed = "closed", true;
    /// The pool is paused.
    Paused = "paused", true;
    /// The pool has no such dimension.
    UnknownDimension = "unknown_dimension", true;
    /// It does not fit.
    OverLimit = "over_limit", true;
    /// The limit would leave its range.
    LimitOutOfRange = "limit_out_of_range", true;
    /// The window would lack its start or its end, or they and the cutoff would be out of order.
    InvalidWindow = "invalid_window", true;
    /// The pool would have more labels than it may.
    LabelsFull = "labels_full", true;
    /// A dimension that reservations still use would go.
    DimensionInUse = "dimension_in_use", true;
    /// The hold expired before.
    HoldExpired = "hold_expired", true;
    /// The reservation was released before.
    AlreadyReleased = "already_released", true;
    /// The reservation is not a hold.
    NotAHold = "not_a_hold", true;
    /// The pool lets no hold have so much time at once.
    HoldTooLong = "hold_too_long", true;
    /// The pool lets no hold live so long in all.
    HoldTooOld = "hold_too_old", true;
    /// The hold would outlive the pool's window.
    HoldBeyondWindow = "hold_beyond_window", true;
}

impl Reason {
    /// Whether a command refused so has its id kept, so that a copy is refused as one. Of the others a copy is refused for
    /// the same reason again, whenever it comes; or there is no room, or no room for as long as it takes.
    pub fn is_kept(self) -> bool {
        match self {
            Reason::Malformed | Reason::Misrouted | Reason::Duplicate | Reason::Expired => false,
            reason => !reason.is_open(),
        }
    }

    /// Whether a copy of a command refused so may be decided otherwise. A Reserve's attempt is cancelled for it; of another
    /// command nobody may be told that it is not applied.
    pub fn is_open(self) -> bool {
        matches!(self, Reason::DeadlineTooFar | Reason::TooManyCommands)
    }

    /// Whether a hold was refused the time that was asked for it.
    pub fn is_of_hold_time(self) -> bool {
        matches!(self, Reason::HoldTooLong | Reason::HoldTooOld | Reason::HoldBeyondWindow)
    }

    /// The reason with this code.
    pub fn from_code(code: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|r| r.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
