//! The calls: each reads its message, asks the service, and writes what that answers. What a caller may do has been
//! checked before, by [`crate::api::http::receive`].

use super::message::read;
use super::status::GrpcReply;
use super::v1::{self, define_pool_request::Expected};
use super::watch::Watching;
use super::{answers, messages, timeout};
use crate::api::body::{self, Parsed};
use crate::api::http::Api;
use crate::api::http::request::HttpRequest;
use crate::api::problem::{Problem, RequestFault};
use crate::domain::coverage::Query;
use crate::domain::{PoolId, ReservationId};
use crate::limits::PAGE_POOLS_DEFAULT;
use crate::service::reads::{PoolPage, ReservationPage};
use crate::service::{CallContext, Decided, ExpectedPool, ReservationChange};
use std::sync::Arc;

/// What a changing call carries besides the change itself.
fn context(head: &HttpRequest, key: &str) -> Parsed<CallContext> {
    let key = (!key.is_empty()).then(|| body::key(key)).transpose()?;
    let said = head.header("grpc-timeout", RequestFault::BadTimeout)?;
    Ok(head.call(key, said.map(timeout::parse).transpose()?))
}

fn pool_id(text: &str) -> Parsed<PoolId> {
    body::pool_id("pool", text)
}

fn reservation_id(text: &str) -> Parsed<ReservationId> {
    body::reservation_id("reservation", text)
}

/// The version that a caller expects; pools count theirs from 1.
fn version(said: Option<u64>) -> Parsed<Option<u64>> {
    match said {
        Some(0) => {
            Err(Problem::fault(RequestFault::BadVersion, "expected_version is 0, it has to be 1 or more, or not set"))
        }
        said => Ok(said),
    }
}

fn expected(said: Option<&Expected>) -> Parsed<Option<ExpectedPool>> {
    let unknown = |n: i32| {
        let detail =
            format!("expected_existence is {n}, it has to be EXISTENCE_PRESENT or EXISTENCE_ABSENT, or not set");
        Problem::fault(RequestFault::BadVersion, detail)
    };
    match said {
        None => Ok(None),
        Some(Expected::ExpectedVersion(number)) => Ok(version(Some(*number))?.map(ExpectedPool::Version)),
        Some(Expected::ExpectedExistence(n)) => match v1::Existence::try_from(*n).map_err(|_| unknown(*n))? {
            v1::Existence::Unspecified => Ok(None),
            v1::Existence::Present => Ok(Some(ExpectedPool::Present)),
            v1::Existence::Absent => Ok(Some(ExpectedPool::Absent)),
        },
    }
}

/// What a call answers, or why it is refused.
type Answer = Parsed<GrpcReply>;

async fn change(
    api: &Api,
    request: &HttpRequest,
    id: &str,
    change: Parsed<ReservationChange>,
    key: &str,
) -> Parsed<Decided> {
    let (change, id) = (change?, reservation_id(id)?);
    let context = context(request, key)?;
    Ok(api.service().change_reservation(id, change, context).await?)
}

pub async fn availability(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::AvailabilityRequest = read(request)?;
    let body::Availability { query, page } = body::availability(messages::availability(&said))?;
    let pools = api.service().pools(query, page, said.fresh, answers::pools).await?;
    Ok(GrpcReply::of(&pools))
}

pub async fn list_pools(api: &Api, request: &HttpRequest) -> Answer {
    let v1::ListPoolsRequest { limit, cursor, fresh } = read(request)?;
    let limit = limit.map(body::page_limit).transpose()?.unwrap_or(PAGE_POOLS_DEFAULT);
    let after = (!cursor.is_empty()).then(|| body::page_cursor(&cursor)).transpose()?;
    let pools = api.service().pools(Query::default(), PoolPage { after, limit }, fresh, answers::pools).await?;
    Ok(GrpcReply::of(&pools))
}

pub async fn get_pool(api: &Api, request: &HttpRequest) -> Answer {
    let v1::GetPoolRequest { pool, fresh } = read(request)?;
    let pool = api.service().pool(&pool_id(&pool)?, fresh).await?;
    Ok(GrpcReply::of(&answers::pool(&pool)))
}

pub async fn define_pool(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::DefinePoolRequest = read(request)?;
    let (pool, expected) = (pool_id(&said.pool)?, expected(said.expected.as_ref())?);
    let spec = body::pool_spec(messages::pool_spec(&said))?;
    let context = context(request, &said.idempotency_key)?;
    let decided = api.service().define_pool(pool, spec, expected, context).await?;
    let pool = answers::decided_pool(&decided)?;
    Ok(GrpcReply::of(&v1::Pool { replaced_version: decided.replaced_version(), ..pool }))
}

pub async fn change_pool(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::ChangePoolRequest = read(request)?;
    let (pool, expected_version) = (pool_id(&said.pool)?, version(said.expected_version)?);
    let change = body::pool_change(messages::pool_change(&said)?)?;
    let context = context(request, &said.idempotency_key)?;
    let decided = api.service().change_pool(pool, change, expected_version, context).await?;
    Ok(GrpcReply::of(&answers::decided_pool(&decided)?))
}

pub async fn retire_pool(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::RetirePoolRequest = read(request)?;
    let (pool, expected_version) = (pool_id(&said.pool)?, version(said.expected_version)?);
    let context = context(request, &said.idempotency_key)?;
    let decided = api.service().retire_pool(pool, said.with_reservations, expected_version, context).await?;
    Ok(GrpcReply::of(&answers::decided_pool(&decided)?))
}

pub async fn set_mode(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::SetModeRequest = read(request)?;
    let (pool, expected_version) = (pool_id(&said.pool)?, version(said.expected_version)?);
    let mode = body::mode(messages::mode(&said))?;
    let context = context(request, &said.idempotency_key)?;
    let decided = api.service().set_mode(pool, mode, expected_version, context).await?;
    Ok(GrpcReply::of(&answers::decided_pool(&decided)?))
}

pub async fn list_reservations(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::ListReservationsRequest = read(request)?;
    let pool = pool_id(&said.pool)?;
    let status = messages::status(said.status)?;
    let limit = said.limit.map(body::page_limit).transpose()?.unwrap_or(PAGE_POOLS_DEFAULT);
    let from = (!said.cursor.is_empty()).then(|| body::reservations_cursor(&pool, &said.cursor)).transpose()?;
    let page = ReservationPage { pool, status, from, limit };
    let found = api.service().reservations(page, said.fresh, answers::reservations).await?;
    Ok(GrpcReply::of(&found))
}

pub async fn reserve(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::ReserveRequest = read(request)?;
    let context = context(request, &said.idempotency_key)?;
    let reserve = body::reserve(messages::reserve(&said))?;
    let decided = api.service().reserve(reserve, context).await?;
    let mut reply = GrpcReply::of(&answers::decided_reservation(&decided)?);
    if let Some(receipt) = decided.receipt() {
        reply.0.extensions_mut().insert(receipt);
    }
    Ok(reply)
}

pub async fn get_reservation(api: &Api, request: &HttpRequest) -> Answer {
    let v1::GetReservationRequest { reservation, fresh } = read(request)?;
    let id = reservation_id(&reservation)?;
    let view = api.service().reservation(id, fresh).await?;
    Ok(GrpcReply::of(&answers::reservation(id, &view)))
}

pub async fn amend(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::AmendRequest = read(request)?;
    let asked = body::amendment(messages::amendment(&said)).map(|demand| ReservationChange::Amend { demand });
    let decided = change(api, request, &said.reservation, asked, &said.idempotency_key).await?;
    Ok(GrpcReply::of(&answers::decided_reservation(&decided)?))
}

pub async fn release(api: &Api, request: &HttpRequest) -> Answer {
    let v1::ReleaseRequest { reservation, idempotency_key } = read(request)?;
    let decided = change(api, request, &reservation, Ok(ReservationChange::Release), &idempotency_key).await?;
    Ok(GrpcReply::of(&answers::released(&decided)?))
}

pub async fn confirm(api: &Api, request: &HttpRequest) -> Answer {
    let v1::ConfirmRequest { reservation, idempotency_key } = read(request)?;
    let decided = change(api, request, &reservation, Ok(ReservationChange::Confirm), &idempotency_key).await?;
    Ok(GrpcReply::of(&answers::decided_reservation(&decided)?))
}

pub async fn extend(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::ExtendRequest = read(request)?;
    let asked = body::extension(messages::extension(&said));
    let asked = asked.map(|hold_ttl_ms| ReservationChange::Extend { hold_ttl_ms });
    let decided = change(api, request, &said.reservation, asked, &said.idempotency_key).await?;
    Ok(GrpcReply::of(&answers::decided_reservation(&decided)?))
}

pub async fn watch_pools(api: &Api, request: &HttpRequest) -> Answer {
    let said: v1::WatchPoolsRequest = read(request)?;
    let filter = body::watch(messages::watch(&said))?;
    let position = said.position;
    let from = (!position.is_empty()).then(|| position.clone());
    let steps = api.shared_service().watch_pools(filter, from).await?;
    Ok(GrpcReply::with(Watching::new(steps, position, Arc::clone(api.access()), request)))
}
