//! Reservations: taking capacity, keeping it, giving it back.

use super::Api;
use super::dto::{CountersDto, PlaceDto, ProofDto, ReleasedDto, ReservationDto, Time, Units, status_code};
use super::reply::{Answer, Problem, Reply};
use super::request::HttpRequest;
use crate::api::body;
use crate::domain::{Name, ReservationId, Status};
use crate::service::{Decided, ReservationChange, ReservationView};
use axum::http::StatusCode;
use std::sync::Arc;

/// `POST /v1/reservations`.
pub async fn reserve(api: Arc<Api>, request: HttpRequest) -> Answer {
    request.query(&[])?;
    let context = request.context()?;
    let reserve = body::reserve(request.json()?)?;
    let decided = api.service().reserve(reserve, context).await?;
    Ok(answer(StatusCode::CREATED, &decided)?.receipt(decided.receipt()))
}

/// `GET /v1/reservations/{reservation}`.
pub async fn get(api: Arc<Api>, request: HttpRequest) -> Answer {
    let id = reservation_id(&request)?;
    let is_fresh = request.wants_fresh()?;
    let ReservationView { reservation: known, pool, partition, next_seq } =
        api.service().reservation(id, is_fresh).await?;
    let body = ReservationDto {
        reservation: id,
        pool: pool.id.as_str(),
        status: status_code(known.status).unwrap_or_default(),
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
pub async fn confirm(api: Arc<Api>, request: HttpRequest) -> Answer {
    body::nothing(request.json_if_any()?)?;
    answer(StatusCode::OK, &change(&api, &request, ReservationChange::Confirm).await?)
}

/// `POST /v1/reservations/{reservation}/extend`.
pub async fn extend(api: Arc<Api>, request: HttpRequest) -> Answer {
    let hold_ttl_ms = body::extension(request.json()?)?;
    answer(StatusCode::OK, &change(&api, &request, ReservationChange::Extend { hold_ttl_ms }).await?)
}

/// `PATCH /v1/reservations/{reservation}`.
pub async fn amend(api: Arc<Api>, request: HttpRequest) -> Answer {
    let demand = body::amendment(request.json()?)?;
    answer(StatusCode::OK, &change(&api, &request, ReservationChange::Amend { demand }).await?)
}

/// `DELETE /v1/reservations/{reservation}`.
pub async fn release(api: Arc<Api>, request: HttpRequest) -> Answer {
    body::nothing(request.json_if_any()?)?;
    let decided = change(&api, &request, ReservationChange::Release).await?;
    let entry = decided.entry()?;
    let body = ReleasedDto {
        reservation: entry.reservation,
        status: status_code(entry.status).unwrap_or_default(),
        proof: ProofDto::of(&decided.0),
    };
    Ok(Reply::json(StatusCode::OK, &body).replayed(decided.is_repeated()))
}

async fn change(api: &Api, request: &HttpRequest, change: ReservationChange) -> Result<Decided, Problem> {
    let id = reservation_id(request)?;
    request.query(&[])?;
    let context = request.context()?;
    Ok(api.service().change_reservation(id, change, context).await?)
}

fn reservation_id(request: &HttpRequest) -> Result<ReservationId, Problem> {
    body::reservation_id("the id in the path", request.param())
}

fn answer(status: StatusCode, decided: &Decided) -> Answer {
    let entry = decided.entry()?;
    let body = ReservationDto {
        reservation: entry.reservation,
        pool: entry.pool.as_str(),
        status: status_code(entry.status).unwrap_or_default(),
        demand: Units(&entry.demand),
        demand_before: decided.0.event.body.demand_before().map(Units),
        hold_until: entry.hold_until.map(Time),
        order_ref: entry.order_ref.as_ref().map(Name::as_str),
        proof: Some(ProofDto::of(&decided.0)),
        last_event: None,
        pool_now: None,
    };
    Ok(Reply::json(status, &body).replayed(decided.is_repeated()))
}
