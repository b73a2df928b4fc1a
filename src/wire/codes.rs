//! Enumerations as the schemas spell them. The first symbol of each, the schema's default, stands for a symbol that the
//! reader's version does not know. It is never written, and a record that holds it is refused.
//!
//! A symbol without a value is retired: the schema keeps it for ever, no program writes it, and a record that holds it is
//! refused by name.

use super::field::Code;
use crate::domain::{CommandKind, EventKind, Mode, Reason, ReleaseCause, RetireCause, Status};

/// A table in the order of the schema's symbols.
macro_rules! codes {
    ($type:ty as $name:literal, $unknown:literal: $($symbol:literal = $value:expr),* $(,)?) => {
        impl Code for $type {
            const NAME: &'static str = $name;
            const SYMBOLS: &'static [&'static str] = &[$unknown, $($symbol),*];
            const VALUES: &'static [Option<$type>] = &[$(Some($value)),*];
        }
    };
}
pub(super) use codes;

/// The table of an enumeration of kinds, made when the program is compiled: each kind has the place of its number. The
/// place of a retired symbol has no kind.
macro_rules! kinds {
    ($type:ident as $name:literal, retired $retired:literal = $symbol:literal) => {
        impl Code for $type {
            const NAME: &'static str = $name;
            const SYMBOLS: &'static [&'static str] = &{
                let mut symbols = ["Unknown"; places($type::ALL[$type::ALL.len() - 1] as usize) + 1];
                symbols[$retired + 1] = $symbol;
                let mut at = 0;
                while at < $type::ALL.len() {
                    symbols[$type::ALL[at] as usize + 1] = $type::ALL[at].name();
                    at += 1;
                }
                symbols
            };
            const VALUES: &'static [Option<$type>] = &{
                let mut values = [None; places($type::ALL[$type::ALL.len() - 1] as usize)];
                let mut at = 0;
                while at < $type::ALL.len() {
                    values[$type::ALL[at] as usize] = Some($type::ALL[at]);
                    at += 1;
                }
                values
            };
        }
    };
}

/// How many symbols a schema has beside that for "unknown" when this is the last kind's number.
const fn places(last: usize) -> usize {
    last + 1
}

kinds! { CommandKind as "Ask", retired 8 = "Handover" }
kinds! { EventKind as "Kind", retired 13 = "HandedOver" }

// Older versions spelt `paused` as `held`.
codes! { Mode as "Mode", "unknown":
    "open" = Mode::Open,
    "held" = Mode::Paused,
    "closed" = Mode::Closed,
    "paused" = Mode::Paused,
}

// The statuses of an admitted reservation; no event shows another one.
codes! { Status as "Status", "unknown":
    "held" = Status::Held,
    "confirmed" = Status::Confirmed,
    "released" = Status::Released,
    "expired" = Status::Expired,
}

codes! { RetireCause as "RetireCause", "unknown":
    "caller" = RetireCause::Caller,
    "window" = RetireCause::Window,
}

codes! { ReleaseCause as "ReleaseCause", "unknown":
    "caller" = ReleaseCause::Caller,
    "abandoned" = ReleaseCause::Abandoned,
}

// In the order in which the schema got them, which is not the order of precedence. Older versions spelt `paused` as
// `held`.
codes! { Reason as "Reason", "unknown":
    "malformed" = Reason::Malformed,
    "misrouted" = Reason::Misrouted,
    "expired" = Reason::Expired,
    "abandoned" = Reason::Abandoned,
    "key_reused" = Reason::KeyReused,
    "too_many_attempts" = Reason::TooManyAttempts,
    "partition_full" = Reason::PartitionFull,
    "unknown_pool" = Reason::UnknownPool,
    "unknown_reservation" = Reason::UnknownReservation,
    "stale_version" = Reason::StaleVersion,
    "past_cutoff" = Reason::PastCutoff,
    "closed" = Reason::Closed,
    "held" = Reason::Paused,
    "unknown_dimension" = Reason::UnknownDimension,
    "over_limit" = Reason::OverLimit,
    "limit_out_of_range" = Reason::LimitOutOfRange,
    "dimension_in_use" = Reason::DimensionInUse,
    "hold_expired" = Reason::HoldExpired,
    "already_released" = Reason::AlreadyReleased,
    "not_a_hold" = Reason::NotAHold,
    "duplicate" = Reason::Duplicate,
    "deadline_too_far" = Reason::DeadlineTooFar,
    "too_many_commands" = Reason::TooManyCommands,
    "paused" = Reason::Paused,
    "invalid_window" = Reason::InvalidWindow,
    "labels_full" = Reason::LabelsFull,
    "order_has_reservation" = Reason::OrderHasReservation,
    "hold_too_long" = Reason::HoldTooLong,
    "hold_too_old" = Reason::HoldTooOld,
    "hold_beyond_window" = Reason::HoldBeyondWindow,
    "memory_full" = Reason::MemoryFull,
    "pool_in_use" = Reason::PoolInUse,
    "pool_retired" = Reason::PoolRetired,
    "retires_too_soon" = Reason::RetiresTooSoon,
}
