//! What the service answers, from domain values to generated messages.

use super::v1;
use crate::api::problem::Problem;
use crate::domain::{
    Amounts, ChainedEvent, EventBody, Micros, Mode, Name, Origin, Pool, PoolId, Reservation, ReservationId, Status,
    Window,
};
use crate::service::outcome::Effect;
use crate::service::reads::{Listing, Reservations};
use crate::service::{Decided, PoolList, Refusal, ReservationView, Shed};
use prost_types::Timestamp;
use std::collections::BTreeMap;

type Units = BTreeMap<String, u64>;

fn units(amounts: &Amounts) -> Units {
    amounts.iter().map(|(dimension, units)| (dimension.to_string(), units)).collect()
}

/// Units by dimension, none where nothing is known.
pub fn units_if_any(amounts: Option<&Amounts>) -> Units {
    amounts.map(units).unwrap_or_default()
}

/// An instant as a message has it. The latest there is stands for all later ones.
pub fn time(at: Micros) -> Timestamp {
    let (seconds, us) = (at.0 / 1_000_000, at.0 % 1_000_000);
    let nanos = i32::try_from(us).unwrap_or_default().saturating_mul(1_000);
    Timestamp { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos }
}

fn mode(mode: Mode) -> v1::Mode {
    match mode {
        Mode::Open => v1::Mode::Open,
        Mode::Paused => v1::Mode::Paused,
        Mode::Closed => v1::Mode::Closed,
    }
}

fn status(status: Status) -> v1::reservation::Status {
    match status {
        Status::Held => v1::reservation::Status::Held,
        Status::Confirmed => v1::reservation::Status::Confirmed,
        Status::Released => v1::reservation::Status::Released,
        Status::Expired => v1::reservation::Status::Expired,
        Status::Void | Status::Refused { .. } => v1::reservation::Status::Unspecified,
    }
}

/// The proof of a decision.
fn proof(decided: &ChainedEvent) -> v1::Proof {
    let event = &decided.event;
    let (entry, rejection) = (event.body.entry(), event.body.rejection());
    v1::Proof {
        partition: event.partition,
        seq: event.seq,
        epoch: event.epoch,
        limits: units_if_any(entry.map(|e| &e.limits).or(rejection.and_then(|r| r.limits.as_ref()))),
        used: units_if_any(entry.map(|e| &e.used).or(rejection.and_then(|r| r.used.as_ref()))),
        digest: decided.digest.to_string(),
        original: match event.body {
            EventBody::Repeated(_, Some(Origin { seq, decided_at })) => {
                Some(v1::Origin { seq, decided_at: decided_at.map(time) })
            }
            _ => None,
        },
    }
}

fn window(window: Window) -> v1::Window {
    let Window { start, end, cutoff } = window;
    v1::Window { start: Some(time(start)), end: Some(time(end)), cutoff: cutoff.map(time) }
}

/// A pool as it was read.
pub fn pool(pool: &Pool) -> v1::Pool {
    let spec = &pool.spec;
    v1::Pool {
        pool: pool.id.to_string(),
        limits: units(&spec.limits),
        used: units(&pool.used),
        remaining: units(&spec.limits.map(|dimension, _| pool.remaining(dimension).unwrap_or_default())),
        mode: mode(spec.mode).into(),
        over_committed: pool.is_over_committed(),
        areas: spec.areas.iter().map(Name::to_string).collect(),
        window: spec.window.map(window),
        labels: spec.labels.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect(),
        hold_ttl_max_ms: spec.rules.hold_ttl_max_ms,
        hold_life_max_ms: spec.rules.hold_life_max_ms,
        unique_order_ref: spec.rules.unique_order_ref,
        retire_after_ms: spec.rules.retire_after_ms,
        live_reservations: None,
        version: pool.version,
        replaced_version: None,
        proof: None,
        replayed: false,
    }
}

/// A pool as it was decided.
///
/// # Errors
/// [`Refusal::Internal`] when the decision is about something else.
pub fn decided_pool(decided: &Decided) -> Result<v1::Pool, Refusal> {
    let told = pool(decided.pool()?);
    let live_reservations = decided.0.event.body.retirement().map(|ended| ended.live);
    Ok(v1::Pool { proof: Some(proof(&decided.0)), replayed: decided.is_repeated(), live_reservations, ..told })
}

/// A page of pools.
pub fn pools(PoolList { listing, incomplete }: PoolList) -> v1::PoolList {
    let Listing { pools, as_of, staleness_ms, next } = listing;
    let incomplete =
        incomplete.into_iter().map(|unread| v1::Incomplete { partition: unread.partition, reason: unread.why });
    v1::PoolList {
        pools: pools.iter().map(|of| pool(of)).collect(),
        as_of,
        incomplete: incomplete.collect(),
        staleness_ms,
        next: next.as_ref().map(PoolId::to_string).unwrap_or_default(),
    }
}

/// A reservation as it was decided.
///
/// # Errors
/// [`Refusal::Internal`] when the decision is about something else.
pub fn decided_reservation(decided: &Decided) -> Result<v1::Reservation, Refusal> {
    let entry = decided.entry()?;
    Ok(v1::Reservation {
        reservation: entry.reservation.to_string(),
        pool: entry.pool.to_string(),
        status: status(entry.status).into(),
        demand: units(&entry.demand),
        demand_before: units_if_any(decided.0.event.body.demand_before()),
        hold_until: entry.hold_until.map(time),
        order_ref: entry.order_ref.as_ref().map(Name::to_string).unwrap_or_default(),
        proof: Some(proof(&decided.0)),
        last_event: None,
        pool_now: None,
        replayed: decided.is_repeated(),
    })
}

/// A reservation that was given back.
///
/// # Errors
/// [`Refusal::Internal`] when the decision is about something else.
pub fn released(decided: &Decided) -> Result<v1::Released, Refusal> {
    let entry = decided.entry()?;
    Ok(v1::Released {
        reservation: entry.reservation.to_string(),
        status: status(entry.status).into(),
        proof: Some(proof(&decided.0)),
        replayed: decided.is_repeated(),
    })
}

/// A reservation as it was read.
pub fn reservation(id: ReservationId, view: &ReservationView) -> v1::Reservation {
    let ReservationView { reservation: known, pool, partition, next_seq } = view;
    v1::Reservation { pool_now: Some(counters(pool, *next_seq)), ..listed(id, known, *partition) }
}

/// A page of the reservations of a pool.
pub fn reservations(found: Reservations, staleness_ms: u64) -> v1::ReservationList {
    let Reservations { pool, reservations, partition, next_seq, next, .. } = found;
    v1::ReservationList {
        reservations: reservations.iter().map(|(id, known)| listed(*id, known, partition)).collect(),
        pool_now: Some(counters(&pool, next_seq)),
        staleness_ms,
        next: next.as_ref().map(ReservationId::to_string).unwrap_or_default(),
    }
}

fn listed(id: ReservationId, known: &Reservation, partition: u32) -> v1::Reservation {
    v1::Reservation {
        reservation: id.to_string(),
        pool: known.pool.to_string(),
        status: status(known.status).into(),
        demand: units(&known.demand),
        demand_before: Units::new(),
        hold_until: (known.status == Status::Held).then(|| time(known.until)),
        order_ref: known.order_ref.as_ref().map(Name::to_string).unwrap_or_default(),
        proof: None,
        last_event: Some(v1::Place { partition, seq: known.seq }),
        pool_now: None,
        replayed: false,
    }
}

fn counters(pool: &Pool, next_seq: u64) -> v1::Counters {
    v1::Counters { next_seq, limits: units(&pool.spec.limits), used: units(&pool.used) }
}

/// A refusal, without the id of its call and the position of its watch.
pub fn problem(problem: &Problem) -> v1::Problem {
    let case = problem.case();
    let outcome = match case.outcome {
        Effect::NotApplied => v1::problem::Outcome::NotApplied,
        Effect::Unknown => v1::problem::Outcome::Unknown,
    };
    v1::Problem {
        code: case.code.to_owned(),
        title: case.title.to_owned(),
        detail: problem.detail().to_owned(),
        outcome: outcome.into(),
        retryable: case.is_retryable,
        reason: problem.shed().map(Shed::code).unwrap_or_default().to_owned(),
        dimension: problem.dimension().map(|dimension| dimension.to_string()).unwrap_or_default(),
        remaining: units_if_any(problem.remaining().as_ref()),
        reservation: problem.reservation().map(|id| id.to_string()).unwrap_or_default(),
        hold_until: problem.hold_until().map(time),
        live_reservations: problem.live_reservations(),
        retired_until: problem.retired_until().map(time),
        proof: problem.event().map(proof),
        trace_id: String::new(),
        position: BTreeMap::new(),
    }
}
