//! The handlers for pools: planners define and change them, and callers read and search them.

use super::Api;
use super::dto::{IncompleteDto, PoolDto, PoolsDto};
use super::reply::{Answer, Problem, Reply};
use super::request::HttpRequest;
use crate::api::body;
use crate::domain::PoolId;
use crate::domain::coverage::Query;
use crate::limits::PAGE_POOLS_DEFAULT;
use crate::service::reads::{Listing, PoolPage};
use crate::service::{Decided, PoolList};
use axum::http::StatusCode;
use std::sync::Arc;

/// `POST /v1/availability`.
pub async fn availability(api: Arc<Api>, request: HttpRequest) -> Answer {
    let is_fresh = request.wants_fresh()?;
    let body::Availability { query, page } = body::availability(request.json_if_any()?)?;
    Ok(api.service().pools(query, page, is_fresh, page_of).await?)
}

/// `GET /v1/pools`.
pub async fn list(api: Arc<Api>, request: HttpRequest) -> Answer {
    let query = request.query(&["fresh", "limit", "cursor"])?;
    let limit = query.number("limit")?.map(body::page_limit).transpose()?.unwrap_or(PAGE_POOLS_DEFAULT);
    let after = query.get("cursor").map(body::page_cursor).transpose()?;
    let is_fresh = query.fresh()?;
    Ok(api.service().pools(Query::default(), PoolPage { after, limit }, is_fresh, page_of).await?)
}

fn page_of(PoolList { listing, incomplete }: PoolList) -> Reply {
    let Listing { pools, as_of, staleness_ms, next } = listing;
    let incomplete = incomplete.iter().map(|unread| IncompleteDto { partition: unread.partition, reason: &unread.why });
    let body = PoolsDto {
        pools: pools.iter().map(|pool| PoolDto::of(pool, None)).collect(),
        as_of: &as_of,
        incomplete: incomplete.collect(),
        staleness_ms,
        next: next.as_ref().map(PoolId::as_str),
    };
    Reply::json(StatusCode::OK, &body)
}

/// `GET /v1/pools/{pool}`.
pub async fn get(api: Arc<Api>, request: HttpRequest) -> Answer {
    let id = pool_id(&request)?;
    let is_fresh = request.wants_fresh()?;
    let pool = api.service().pool(&id, is_fresh).await?;
    Ok(Reply::json(StatusCode::OK, &PoolDto::of(&pool, None)).etag(pool.version))
}

/// `PUT /v1/pools/{pool}`.
pub async fn put(api: Arc<Api>, request: HttpRequest) -> Answer {
    let pool = pool_id(&request)?;
    request.query(&[])?;
    let expected = request.expected()?;
    let spec = body::pool_spec(request.json()?)?;
    let context = request.context()?;
    let decided = api.service().define_pool(pool, spec, expected, context).await?;
    let replaced = decided.replaced_version();
    let status = if replaced.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    answer(status, &decided, replaced)
}

/// `PATCH /v1/pools/{pool}`.
pub async fn patch(api: Arc<Api>, request: HttpRequest) -> Answer {
    let pool = pool_id(&request)?;
    request.query(&[])?;
    let expected_version = request.if_match()?;
    let change = body::pool_change(request.json()?)?;
    let context = request.context()?;
    let decided = api.service().change_pool(pool, change, expected_version, context).await?;
    answer(StatusCode::OK, &decided, None)
}

/// `DELETE /v1/pools/{pool}`. The answer shows the pool as it was last, with its last version.
pub async fn retire(api: Arc<Api>, request: HttpRequest) -> Answer {
    let pool = pool_id(&request)?;
    body::nothing(request.json_if_any()?)?;
    let with_reservations = request.query(&["with_reservations"])?.flag("with_reservations")?;
    let expected_version = request.if_match()?;
    let context = request.context()?;
    let decided = api.service().retire_pool(pool, with_reservations, expected_version, context).await?;
    answer(StatusCode::OK, &decided, None)
}

/// `POST /v1/pools/{pool}/mode`.
pub async fn mode(api: Arc<Api>, request: HttpRequest) -> Answer {
    let pool = pool_id(&request)?;
    request.query(&[])?;
    let expected_version = request.if_match()?;
    let mode = body::mode(request.json()?)?;
    let context = request.context()?;
    let decided = api.service().set_mode(pool, mode, expected_version, context).await?;
    answer(StatusCode::OK, &decided, None)
}

fn pool_id(request: &HttpRequest) -> Result<PoolId, Problem> {
    body::pool_id("the pool in the path", request.param())
}

fn answer(status: StatusCode, decided: &Decided, replaced: Option<u64>) -> Answer {
    let pool = decided.pool()?;
    let body = PoolDto::of(pool, Some(&decided.0)).replacing(replaced);
    Ok(Reply::json(status, &body).etag(pool.version).replayed(decided.is_repeated()))
}
