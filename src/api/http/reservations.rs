//! Reservations: taking capacity, keeping it, giving it back.

use super::dto::{CountersDto, PlaceDto, ProofDto, ReleasedDto, ReservationDto, Time, Units, status_code};
use super::json::quoted;
use super::reply::{Answer, Problem, Receipt, Reply, is_repeated};
use super::request::HttpRequest;
use super::{Api, body, detail, problem};
use crate::domain::{ChainedEvent, CommandBody, IdempotencyKey, Micros, Name, Reason, ReservationId, Reserved, Status};
use crate::gateway::{Call, routing};
use crate::replica::query::Known;
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// `POST /v1/reservations`.
pub async fn reserve(api: Arc<Api>, asked: HttpRequest) -> Answer {
    asked.query(&[])?;
    let (key, actor, timeout_ms) = (asked.key()?, asked.actor()?, asked.timeout_ms()?);
    let body::Reserve { pool, demand, hold_ttl_ms, order_ref } = body::reserve(&asked.body)?;
    let own_key = match &key {
        Some(_) => None,
        None => IdempotencyKey::new(&api.own_key(asked.number)).ok(),
    };
    let Some(id_key) = key.as_ref().or(own_key.as_ref()) else { return Err(Problem::bug("no key to make an id of")) };
    let reservation = routing::reservation_id(&pool, id_key);
    let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, order_ref };
    let decided = api.call(Call { body, key, actor, timeout_ms, arrived: asked.arrived }).await?;
    let receipt = decided.event.command().zip(decided.event.body.entry()).map(|(command, entry)| {
        let deadline = command.deadline.unwrap_or(Micros::MAX);
        let reserved = Reserved { pool: entry.pool.clone(), reservation: entry.reservation, deadline };
        Receipt { id: command.id, reserved }
    });
    Ok(told(StatusCode::CREATED, &decided)?.receipt(receipt))
}

/// `GET /v1/reservations/{reservation}`.
pub async fn get(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let id = reservation_id(&asked)?;
    let is_fresh = asked.wants_fresh()?;
    let gateway = api.gateway();
    let handle = gateway.replica().of_reservation(&id).ok_or_else(|| unknown(id))?;
    api.readable(handle, is_fresh).await?;
    let Known { reservation: known, pool, next_seq } = admitted(&api, id).ok_or_else(|| unknown(id))?;
    let partition = handle.id();
    let body = ReservationDto {
        reservation: id,
        pool: pool.id.as_str(),
        status: status_code(known.status).ok_or_else(|| unknown(id))?,
        demand: Units(&known.demand),
        demand_before: None,
        hold_until: (known.status == Status::Held).then_some(Time(known.until)),
        order_ref: known.order_ref.as_ref().map(Name::as_str),
        proof: None,
        last_event: Some(PlaceDto { partition, seq: known.seq }),
        pool_now: Some(CountersDto { next_seq, limits: Units(&pool.spec.limits), used: Units(&pool.used) }),
    };
    Ok(Reply::json(StatusCode::OK, &body))
}

/// `POST /v1/reservations/{reservation}/confirm`.
pub async fn confirm(api: Arc<Api>, asked: HttpRequest) -> Answer {
    body::nothing(&asked.body)?;
    let decided = change(&api, &asked, |reservation| CommandBody::Confirm { reservation }).await?;
    told(StatusCode::OK, &decided)
}

/// `POST /v1/reservations/{reservation}/extend`.
pub async fn extend(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let hold_ttl_ms = body::extension(&asked.body)?;
    let decided = change(&api, &asked, |reservation| CommandBody::Extend { reservation, hold_ttl_ms }).await?;
    told(StatusCode::OK, &decided)
}

/// `PATCH /v1/reservations/{reservation}`.
pub async fn amend(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let demand = body::amendment(&asked.body)?;
    let decided = change(&api, &asked, |reservation| CommandBody::Amend { reservation, demand }).await?;
    told(StatusCode::OK, &decided)
}

/// `DELETE /v1/reservations/{reservation}`.
pub async fn release(api: Arc<Api>, asked: HttpRequest) -> Answer {
    body::nothing(&asked.body)?;
    let decided = change(&api, &asked, |reservation| CommandBody::Release { reservation }).await?;
    let Some(entry) = decided.event.body.entry() else { return Err(Problem::unexpected(&decided)) };
    let body = ReleasedDto {
        reservation: entry.reservation,
        status: status_code(entry.status).unwrap_or_default(),
        proof: ProofDto::of(&decided),
    };
    Ok(Reply::json(StatusCode::OK, &body).replayed(is_repeated(&decided)))
}

async fn change(
    api: &Api,
    asked: &HttpRequest,
    ask: impl FnOnce(ReservationId) -> CommandBody,
) -> Result<Box<ChainedEvent>, Problem> {
    let id = reservation_id(asked)?;
    asked.query(&[])?;
    let (gateway, key, actor) = (api.gateway(), asked.key()?, asked.actor()?);
    let timeout_ms = gateway.timeout_ms(asked.timeout_ms()?);
    // Nothing is appended for an id that was never admitted: whoever guesses ids costs the log nothing.
    if admitted(api, id).is_none() {
        let handle = gateway.replica().of_reservation(&id).ok_or_else(|| unknown(id))?;
        api.readable(handle, false).await?;
        // One deadline for both waits.
        let left_ms = timeout_ms.saturating_sub(gateway.now().ms_since(asked.arrived));
        let is_fresh = gateway.fresh(handle, Duration::from_millis(left_ms)).await;
        if admitted(api, id).is_none() {
            let detail = "the reservation is not known to this process, and may be to others: try again";
            return Err(if is_fresh { unknown(id) } else { Problem::new(problem::NOT_FRESH, detail) });
        }
    }
    let call = Call { body: ask(id), key, actor, timeout_ms: Some(timeout_ms), arrived: asked.arrived };
    api.call(call).await
}

/// What is known of a reservation that was admitted once, and its pool.
fn admitted(api: &Api, id: ReservationId) -> Option<Known> {
    let gateway = api.gateway();
    let known = gateway.replica().reservation(&id, gateway.clock())?;
    status_code(known.reservation.status).map(|_| known)
}

/// Whatever is no id of ours names no reservation of ours.
fn reservation_id(asked: &HttpRequest) -> Result<ReservationId, Problem> {
    let case = problem::of_reason(Reason::UnknownReservation);
    ReservationId::parse(asked.param())
        .map_err(|error| Problem::new(case, format!("the id in the path is {}, which {error}", quoted(asked.param()))))
}

fn unknown(id: ReservationId) -> Problem {
    Problem::new(problem::of_reason(Reason::UnknownReservation), detail::unknown_reservation(id))
}

fn told(status: StatusCode, decided: &ChainedEvent) -> Answer {
    let Some(entry) = decided.event.body.entry() else { return Err(Problem::unexpected(decided)) };
    let body = ReservationDto {
        reservation: entry.reservation,
        pool: entry.pool.as_str(),
        status: status_code(entry.status).unwrap_or_default(),
        demand: Units(&entry.demand),
        demand_before: decided.event.body.demand_before().map(Units),
        hold_until: entry.hold_until.map(Time),
        order_ref: entry.order_ref.as_ref().map(Name::as_str),
        proof: Some(ProofDto::of(decided)),
        last_event: None,
        pool_now: None,
    };
    Ok(Reply::json(status, &body).replayed(is_repeated(decided)))
}
