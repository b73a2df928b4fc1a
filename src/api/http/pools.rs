//! Pools: what planners say of them, and what callers may know of them.

use super::dto::{IncompleteDto, PoolDto, PoolsDto};
use super::problem::Unread;
use super::reads::Read;
use super::reply::{Answer, Problem, Reply, is_repeated};
use super::request::{Expected, HttpRequest};
use super::{Api, body, detail, problem};
use crate::domain::coverage::Query;
use crate::domain::{CommandBody, Edit, PoolChange, PoolId, Reason, RuleChange};
use crate::gateway::Call;
use crate::limits::PAGE_POOLS_DEFAULT;
use crate::replica::{Listing, PoolPage, Search};
use axum::http::StatusCode;
use std::sync::Arc;

/// `POST /v1/availability`.
pub async fn availability(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let is_fresh = asked.wants_fresh()?;
    let body::Availability { query, limit, after } = body::availability(&asked.body)?;
    listing(api, query, PoolPage { after, limit }, is_fresh).await
}

/// `GET /v1/pools`.
pub async fn list(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let query = asked.query(&["fresh", "limit", "cursor"])?;
    let limit = query.number("limit")?.map(body::page_limit).transpose()?.unwrap_or(PAGE_POOLS_DEFAULT);
    let after = query.get("cursor").map(body::page_cursor).transpose()?;
    listing(api, Query::default(), PoolPage { after, limit }, query.fresh()?).await
}

/// What can be read, and which partitions cannot.
async fn listing(api: Arc<Api>, query: Query, page: PoolPage, is_fresh: bool) -> Answer {
    let (mut readable, mut incomplete) = (Vec::new(), Vec::new());
    for handle in api.gateway().replica().partitions() {
        match api.readable(handle, is_fresh).await {
            Ok(()) => readable.push(Arc::clone(handle)),
            // It will be, if it is asked again.
            Err(unread) if unread.case == problem::NOT_FRESH && handle.folds() => return Err(unread.into()),
            Err(unread) => incomplete.push(unread),
        }
    }
    if readable.is_empty() {
        let first = incomplete.into_iter().max_by_key(|unread| unread.case.is_retryable);
        return Err(first.map_or_else(|| Problem::bug("a log without partitions"), Problem::from));
    }
    let _place = api.reads.enter()?;
    let gateway = Arc::clone(&api.state.gateway);
    let begin =
        move || Read { search: Search::begin(&readable, query, page, gateway.clock()), incomplete, reply: told };
    api.reads.run(begin).await
}

fn told(listing: Listing, incomplete: &[Unread]) -> Reply {
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
pub async fn get(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let id = body::pool_id("the pool in the path", asked.param())?;
    let is_fresh = asked.wants_fresh()?;
    let replica = api.gateway().replica();
    if let Some(handle) = replica.of_pool(&id) {
        api.readable(handle, is_fresh).await?;
    }
    match replica.pool(&id) {
        Some(pool) => Ok(Reply::json(StatusCode::OK, &PoolDto::of(&pool, None)).etag(pool.version)),
        None => Err(Problem::new(problem::of_reason(Reason::UnknownPool), detail::unknown_pool(&id))),
    }
}

/// `PUT /v1/pools/{pool}`.
pub async fn put(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let pool = body::pool_id("the pool in the path", asked.param())?;
    asked.query(&[])?;
    let expected_version = match asked.expected()? {
        None => None,
        Some(Expected::Version(version)) => Some(version),
        Some(Expected::Nothing) => Some(0),
        Some(Expected::Something) => {
            exists(&api, &pool).await?;
            None
        }
    };
    let spec = body::pool_spec(&asked.body)?;
    change(&api, &asked, CommandBody::DefinePool { pool, spec, expected_version }).await
}

/// Refuses a pool that there is not. One that there is does not go away, so that it is still there when the command is
/// decided.
async fn exists(api: &Api, id: &PoolId) -> Result<(), Problem> {
    let replica = api.gateway().replica();
    if replica.pool(id).is_some() {
        return Ok(());
    }
    if let Some(handle) = replica.of_pool(id) {
        api.readable(handle, true).await?;
    }
    let absent = || Problem::new(problem::of_reason(Reason::StaleVersion), detail::unknown_pool(id));
    replica.pool(id).map(drop).ok_or_else(absent)
}

/// `PATCH /v1/pools/{pool}`: a change of limits alone is one by name.
pub async fn patch(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let pool = body::pool_id("the pool in the path", asked.param())?;
    asked.query(&[])?;
    let expected_version = asked.if_match()?;
    let body = match body::pool_change(&asked.body)? {
        PoolChange { limits: Some(limits), areas: None, window: Edit::Keep, labels, mode: None, rules }
            if labels.is_empty() && rules == RuleChange::default() =>
        {
            CommandBody::AdjustLimits { pool, change: limits, expected_version }
        }
        change => CommandBody::ChangePool { pool, change, expected_version },
    };
    change(&api, &asked, body).await
}

/// `POST /v1/pools/{pool}/mode`.
pub async fn mode(api: Arc<Api>, asked: HttpRequest) -> Answer {
    let pool = body::pool_id("the pool in the path", asked.param())?;
    asked.query(&[])?;
    let expected_version = asked.if_match()?;
    let mode = body::mode(&asked.body)?;
    change(&api, &asked, CommandBody::SetMode { pool, mode, expected_version }).await
}

async fn change(api: &Api, asked: &HttpRequest, body: CommandBody) -> Answer {
    let is_definition = matches!(body, CommandBody::DefinePool { .. });
    let (key, actor, timeout_ms) = (asked.key()?, asked.actor()?, asked.timeout_ms()?);
    let call = Call { body, key, actor, timeout_ms, arrived: asked.arrived };
    let decided = api.call(call).await?;
    let Some(pool) = decided.event.body.pool() else { return Err(Problem::unexpected(&decided)) };
    let is_new = is_definition && pool.version == 1;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let body = PoolDto::of(pool, Some(&decided));
    let body = if is_definition && !is_new { body.replacing() } else { body };
    let reply = Reply::json(status, &body);
    Ok(reply.etag(pool.version).replayed(is_repeated(&decided)))
}
