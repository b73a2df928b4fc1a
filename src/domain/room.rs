//! What an entry counts for in a partition's memory, in bytes. The counts follow from values alone, so that everybody who
//! holds the same state comes to the same sum. They say no less than an entry takes, with its share of every index.

use super::event::EventBody;
use super::ids::CommandId;
use super::ledger::{CommandKey, Target};
use super::name::Name;
use super::pool::PoolSpec;
use super::reservation::Reservation;
use super::units::{Amounts, Micros};
use crate::limits::{
    ANSWER_BYTES, FORGET_SPAN_MS, HOLD_BYTES, MEMORY_BYTES_MAX, MEMORY_RESERVE_BYTES, REFUSALS_BYTES_MAX,
    REFUSED_ANSWERS_BYTES_MAX, RESERVATION_BYTES,
};

/// An allocation with its header, and the counters and the length before a shared text or list.
const SHARED_BYTES: u64 = 48;
/// A dimension with its units.
const AMOUNT_BYTES: u64 = 24;
/// The two lists of attempts, and one attempt in a list that has grown.
const ATTEMPTS_BYTES: u64 = 96;
const ATTEMPT_BYTES: u64 = 16;
/// What a refusal was judged by.
const JUDGED_BYTES: u64 = 32;
/// The place of a live reservation's order among those of its pool.
const ORDER_BYTES: u64 = 48;
/// A name's place in an ordered set, and two in a map.
const AREA_BYTES: u64 = 24;
const LABEL_BYTES: u64 = 48;

/// While this id is kept as that of a decided command, an attempt that was given up may come which there was no room to
/// remember: no Reserve may begin anything.
pub const SHUT: CommandId = CommandId(u128::MAX);

/// What a partition may remember, in bytes. Part of the fold: whoever folds the same events has the same bounds, which
/// are those of [`crate::limits`] wherever a log is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Reservations that live or have ended, attempts given up, and answers of applied changes. Nothing of it is let go
    /// before its time; work that needs more is refused.
    pub memory: u64,
    /// Beyond it, what may not be refused.
    pub reserve: u64,
    /// Refusals of Reserve commands: the oldest are let go.
    pub refusals: u64,
    /// Refusals of other keyed commands: the oldest are let go.
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

/// How a reservation lives: a hold has a timer, and the order of a live one is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Until a deadline.
    Held,
    /// For good.
    Confirmed,
    /// No more, or never.
    Over,
}

/// For how long an entry is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeping {
    /// For as long as it lives.
    Live,
    /// Until then at least: it ended, or attempts of it were given up.
    Until(Micros),
    /// As long as there is room for it: a refusal, by which nothing was taken.
    Refusal,
}

/// The end of the span of time in which `until` lies: what may be forgotten within one span stops counting together.
pub fn span_end(until: Micros) -> Micros {
    let span_us = FORGET_SPAN_MS.saturating_mul(1_000);
    let spans = until.0.checked_div(span_us).unwrap_or_default();
    Micros(spans.saturating_add(1).saturating_mul(span_us))
}

/// Of a reservation with so many attempts, not abandoned ones and cancelled ones.
pub fn of_parts(
    demand: &Amounts,
    order_ref: Option<&Name>,
    (live, cancelled): (usize, usize),
    standing: Standing,
    is_judged: bool,
) -> u64 {
    let attempts = match (live, cancelled) {
        (0 | 1, 0) => 0,
        (live, cancelled) => ATTEMPTS_BYTES.saturating_add(times(live.saturating_add(cancelled), ATTEMPT_BYTES)),
    };
    let held = if standing == Standing::Held { HOLD_BYTES } else { 0 };
    let order = match order_ref {
        Some(name) if standing != Standing::Over => text(name.as_str()).saturating_add(ORDER_BYTES),
        Some(name) => text(name.as_str()),
        None => 0,
    };
    let judged = if is_judged { JUDGED_BYTES } else { 0 };
    sum([RESERVATION_BYTES, amounts(demand), order, attempts, held, judged])
}

/// Of a reservation.
pub fn of_reservation(reservation: &Reservation) -> u64 {
    let Reservation { demand, order_ref, attempts, judged, .. } = reservation;
    let counts = (attempts.live().len(), attempts.cancelled().len());
    of_parts(demand, order_ref.as_ref(), counts, reservation.standing(), judged.is_some())
}

/// What one more than before counts for, that takes this instead.
pub fn growth(before: &Amounts, demand: &Amounts) -> u64 {
    amounts(demand).saturating_sub(amounts(before))
}

/// Of the answer that a key was given.
pub fn of_answer(key: &CommandKey, body: &EventBody) -> u64 {
    let target = match &key.target {
        Target::Pool(pool) => text(pool.as_str()),
        Target::Reservation(_) => 0,
    };
    let known = |amounts_of: &Option<Amounts>| amounts_of.as_ref().map_or(0, amounts);
    let told = match (body.pool(), body.entry(), body.rejection()) {
        (Some(pool), ..) => sum([of_spec(&pool.spec), amounts(&pool.used)]),
        (_, Some(entry), _) => {
            let order_ref = entry.order_ref.as_ref().map_or(0, |name| text(name.as_str()));
            sum([amounts(&entry.demand), amounts(&entry.limits), amounts(&entry.used), order_ref])
        }
        (_, _, Some(refused)) => sum([known(&refused.demand), known(&refused.limits), known(&refused.used)]),
        (None, None, None) => 0,
    };
    sum([ANSWER_BYTES, text(key.key.as_str()), target, told])
}

fn of_spec(spec: &PoolSpec) -> u64 {
    let areas = spec.areas.iter().map(|area| text(area.as_str()).saturating_add(AREA_BYTES));
    let labels =
        spec.labels.iter().map(|(label, value)| sum([text(label.as_str()), text(value.as_str()), LABEL_BYTES]));
    sum([amounts(&spec.limits), areas.fold(0, u64::saturating_add), labels.fold(0, u64::saturating_add)])
}

fn amounts(amounts: &Amounts) -> u64 {
    SHARED_BYTES.saturating_add(times(amounts.len(), AMOUNT_BYTES))
}

fn text(text: &str) -> u64 {
    SHARED_BYTES.saturating_add(times(text.len(), 1))
}

fn times(count: usize, bytes: u64) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(bytes)
}

fn sum<const N: usize>(parts: [u64; N]) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}
