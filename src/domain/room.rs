//! How many bytes an entry counts for in a partition's memory. The count is a formula over values, so that every
//! process with the same state gets the same sum. It is at least what an entry really takes, with its share of every
//! index.

use super::event::EventBody;
use super::ledger::{CommandKey, Target};
use super::name::Name;
use super::pool::PoolSpec;
use super::reservation::Reservation;
use super::retention::Standing;
use super::units::Amounts;
use crate::limits::{ANSWER_BYTES, HOLD_BYTES, RESERVATION_BYTES};

/// One allocation with its header, and the counters and the length of a shared text or list.
const SHARED_BYTES: u64 = 48;
/// One dimension with its units.
const AMOUNT_BYTES: u64 = 24;
/// The two lists of attempts, and one attempt in a list that has grown.
const ATTEMPTS_BYTES: u64 = 96;
const ATTEMPT_BYTES: u64 = 16;
/// The figures by which a refusal was judged.
const JUDGED_BYTES: u64 = 32;
/// The entry of a live reservation in the index of orders of its pool.
const ORDER_BYTES: u64 = 48;
/// The entry of a name in an ordered set, and the two of a label in a map.
const AREA_BYTES: u64 = 24;
const LABEL_BYTES: u64 = 48;

/// Bytes of a reservation with so many attempts: first those not abandoned, then those cancelled.
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

/// Bytes of a reservation as it stands.
pub fn of_reservation(reservation: &Reservation) -> u64 {
    let Reservation { demand, order_ref, attempts, judged, .. } = reservation;
    let counts = (attempts.live().len(), attempts.cancelled().len());
    of_parts(demand, order_ref.as_ref(), counts, reservation.standing(), judged.is_some())
}

/// Bytes that a reservation counts for in addition when it takes `demand` in place of `before`.
pub fn growth(before: &Amounts, demand: &Amounts) -> u64 {
    amounts(demand).saturating_sub(amounts(before))
}

/// Bytes of the answer that is remembered for a key.
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
