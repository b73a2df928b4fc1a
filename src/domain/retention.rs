//! How long the entries of a partition's memory are kept, and how much may be remembered: what the fold goes by when it
//! forgets. What an entry counts for in bytes is in `room.rs`.

use super::ids::CommandId;
use super::units::Micros;
use crate::limits::{
    FORGET_SPAN_MS, MEMORY_BYTES_MAX, MEMORY_RESERVE_BYTES, REFUSALS_BYTES_MAX, REFUSED_ANSWERS_BYTES_MAX,
};

/// A marker among the ids of decided commands. While it is kept, an attempt may still come that was given up and for
/// which there was no room to remember. No Reserve may start a reservation until then.
pub const SHUT: CommandId = CommandId(u128::MAX);

/// How many bytes a partition may remember. The bounds are part of the fold: whoever folds the same events must use
/// the same bounds. A served log uses those of [`crate::limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// For live and ended reservations, attempts that were given up, and answers of applied changes. None of these is
    /// forgotten before its time; work that needs more room is refused.
    pub memory: u64,
    /// Room beyond `memory`, for what must not be refused.
    pub reserve: u64,
    /// For refusals of Reserve commands; the oldest are forgotten first.
    pub refusals: u64,
    /// For refusals of other keyed commands; the oldest are forgotten first.
    pub refused_answers: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            memory: MEMORY_BYTES_MAX,
            reserve: MEMORY_RESERVE_BYTES,
            refusals: REFUSALS_BYTES_MAX,
            refused_answers: REFUSED_ANSWERS_BYTES_MAX,
        }
    }
}

/// How a reservation lives. A hold also has a timer, and a live one has an entry in the index of orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It lives until a deadline.
    Held,
    /// It lives until it is released.
    Confirmed,
    /// It does not live any more, or never did.
    Over,
}

/// How long an entry is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeping {
    /// As long as the reservation lives.
    Live,
    /// At least until this time: the reservation ended, or attempts of it were given up.
    Until(Micros),
    /// As long as there is room for it: a refusal, which took nothing.
    Refusal,
}

/// The end of the span of time in which `until` lies. All entries that may be forgotten within one span stop counting
/// together.
pub fn span_end(until: Micros) -> Micros {
    end_of_span(until, FORGET_SPAN_MS)
}

/// The end of the span of so many milliseconds in which a time lies.
pub(super) fn end_of_span(time: Micros, span_ms: u64) -> Micros {
    let span_us = span_ms.saturating_mul(1_000);
    let spans = time.0.checked_div(span_us).unwrap_or_default();
    Micros(spans.saturating_add(1).saturating_mul(span_us))
}
