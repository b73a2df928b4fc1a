//! Reservations: taking capacity, keeping it, giving it back.

use super::Api;
use super::dto::{CountersDto, ProofDto, ReleasedDto, ReservationDto, ReservationsDto, Time, Units};
use super::reply::{Answer, Problem, Reply};
use super::request::HttpRequest;
use crate::api::body;
use crate::domain::{Name, ReservationId};
use crate::limits::PAGE_POOLS_DEFAULT;
use crate::service::reads::{ReservationPage, Reservations};
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
    let pool_now = Some(CountersDto::of(&pool, next_seq));
    let body = ReservationDto { pool_now, ..ReservationDto::of(id, &known, partition) };
    Ok(Reply::json(StatusCode::OK, &body))
}

/// `GET /v1/pools/{pool}/reservations`.
pub async fn list(api: Arc<Api>, request: HttpRequest) -> Answer {
    let pool = body::pool_id("the pool in the path", request.param())?;
    let query = request.query(&["status", "fresh", "limit", "cursor"])?;
    let status = query.get("status").map(body::status).transpose()?;
    let limit = query.number("limit")?.map(body::page_limit).transpose()?.unwrap_or(PAGE_POOLS_DEFAULT);
    let from = query.get("cursor").map(|cursor| body::reservations_cursor(&pool, cursor)).transpose()?;
    let is_fresh = query.fresh()?;
    Ok(api.service().reservations(ReservationPage { pool, status, from, limit }, is_fresh, page_of).await?)
}

fn page_of(found: Reservations, staleness_ms: u64) -> Reply {
    let Reservations { pool, reservations, partition, next_seq, next, .. } = &found;
    let body = ReservationsDto {
        reservations: reservations.iter().map(|(id, known)| ReservationDto::of(*id, known, *partition)).collect(),
        pool_now: CountersDto::of(pool, *next_seq),
        staleness_ms,
        next: *next,
    };
    Reply::json(StatusCode::OK, &body)
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
        status: entry.status.code().unwrap_or_default(),
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
        status: entry.status.code().unwrap_or_default(),
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
