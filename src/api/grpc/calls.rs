//! The calls: each reads its message, asks the service, and writes what that answers. What a caller may do has been
//! checked before, by [`crate::api::http::receive`].

use super::v1::{self, capacity_server::Capacity, define_pool_request::Expected};
use super::watch::Watching;
use super::{answers, messages, timeout};
use crate::api::body::{self, Parsed};
use crate::api::http::Api;
use crate::api::http::request::HttpRequest;
use crate::api::problem::{Problem, RequestFault};
use crate::domain::coverage::Query;
use crate::domain::{PoolId, ReservationId};
use crate::limits::PAGE_POOLS_DEFAULT;
use crate::service::reads::PoolPage;
use crate::service::{CallContext, Decided, ExpectedPool, ReservationChange};
use std::sync::Arc;
use tonic::{Request, Response, Status, async_trait};

/// The request that a message came in.
fn head<T>(request: &Request<T>) -> Parsed<Arc<HttpRequest>> {
    let head = request.extensions().get::<Arc<HttpRequest>>();
    head.map(Arc::clone).ok_or_else(|| Problem::bug("a message without its request"))
}

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

impl Api {
    async fn change<T>(
        &self,
        request: &Request<T>,
        id: &str,
        change: Parsed<ReservationChange>,
        key: &str,
    ) -> Parsed<Decided> {
        let head = head(request)?;
        let (change, id) = (change?, reservation_id(id)?);
        let context = context(&head, key)?;
        Ok(self.service().change_reservation(id, change, context).await?)
    }
}

/// What a call answers, or why it is refused.
type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(answer: Result<T, impl Into<Problem>>) -> Answer<T> {
    answer.map(Response::new).map_err(|refused| Status::from(refused.into()))
}

#[async_trait]
impl Capacity for Api {
    async fn availability(&self, request: Request<v1::AvailabilityRequest>) -> Answer<v1::PoolList> {
        let said = request.get_ref();
        let body::Availability { query, page } = body::availability(messages::availability(said))?;
        answer(self.service().pools(query, page, said.fresh, answers::pools).await)
    }

    async fn list_pools(&self, request: Request<v1::ListPoolsRequest>) -> Answer<v1::PoolList> {
        let v1::ListPoolsRequest { limit, cursor, fresh } = request.get_ref();
        let limit = limit.map(body::page_limit).transpose()?.unwrap_or(PAGE_POOLS_DEFAULT);
        let after = (!cursor.is_empty()).then(|| body::page_cursor(cursor)).transpose()?;
        answer(self.service().pools(Query::default(), PoolPage { after, limit }, *fresh, answers::pools).await)
    }

    async fn get_pool(&self, request: Request<v1::GetPoolRequest>) -> Answer<v1::Pool> {
        let v1::GetPoolRequest { pool, fresh } = request.get_ref();
        let pool = self.service().pool(&pool_id(pool)?, *fresh).await;
        answer(pool.map(|pool| answers::pool(&pool)))
    }

    async fn define_pool(&self, request: Request<v1::DefinePoolRequest>) -> Answer<v1::Pool> {
        let (head, said) = (head(&request)?, request.get_ref());
        let (pool, expected) = (pool_id(&said.pool)?, expected(said.expected.as_ref())?);
        let spec = body::pool_spec(messages::pool_spec(said))?;
        let context = context(&head, &said.idempotency_key)?;
        let decided = self.service().define_pool(pool, spec, expected, context).await.map_err(Problem::from)?;
        let pool = answers::decided_pool(&decided);
        answer(pool.map(|pool| v1::Pool { replaced_version: decided.replaced_version(), ..pool }))
    }

    async fn change_pool(&self, request: Request<v1::ChangePoolRequest>) -> Answer<v1::Pool> {
        let (head, said) = (head(&request)?, request.get_ref());
        let (pool, expected_version) = (pool_id(&said.pool)?, version(said.expected_version)?);
        let change = body::pool_change(messages::pool_change(said)?)?;
        let context = context(&head, &said.idempotency_key)?;
        let decided = self.service().change_pool(pool, change, expected_version, context).await;
        answer(decided.and_then(|decided| answers::decided_pool(&decided)))
    }

    async fn set_mode(&self, request: Request<v1::SetModeRequest>) -> Answer<v1::Pool> {
        let (head, said) = (head(&request)?, request.get_ref());
        let (pool, expected_version) = (pool_id(&said.pool)?, version(said.expected_version)?);
        let mode = body::mode(messages::mode(said))?;
        let context = context(&head, &said.idempotency_key)?;
        let decided = self.service().set_mode(pool, mode, expected_version, context).await;
        answer(decided.and_then(|decided| answers::decided_pool(&decided)))
    }

    async fn reserve(&self, request: Request<v1::ReserveRequest>) -> Answer<v1::Reservation> {
        let (head, said) = (head(&request)?, request.get_ref());
        let context = context(&head, &said.idempotency_key)?;
        let reserve = body::reserve(messages::reserve(said))?;
        let decided = self.service().reserve(reserve, context).await.map_err(Problem::from)?;
        let mut response = answer(answers::decided_reservation(&decided))?;
        if let Some(receipt) = decided.receipt() {
            response.extensions_mut().insert(receipt);
        }
        Ok(response)
    }

    async fn get_reservation(&self, request: Request<v1::GetReservationRequest>) -> Answer<v1::Reservation> {
        let v1::GetReservationRequest { reservation, fresh } = request.get_ref();
        let view = self.service().reservation(reservation_id(reservation)?, *fresh).await;
        answer(view.map(|view| answers::reservation(reservation, &view)))
    }

    async fn amend(&self, request: Request<v1::AmendRequest>) -> Answer<v1::Reservation> {
        let said = request.get_ref();
        let change = body::amendment(messages::amendment(said)).map(|demand| ReservationChange::Amend { demand });
        let decided = self.change(&request, &said.reservation, change, &said.idempotency_key).await?;
        answer(answers::decided_reservation(&decided))
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Answer<v1::Released> {
        let v1::ReleaseRequest { reservation, idempotency_key } = request.get_ref();
        let decided = self.change(&request, reservation, Ok(ReservationChange::Release), idempotency_key).await?;
        answer(answers::released(&decided))
    }

    async fn confirm(&self, request: Request<v1::ConfirmRequest>) -> Answer<v1::Reservation> {
        let v1::ConfirmRequest { reservation, idempotency_key } = request.get_ref();
        let decided = self.change(&request, reservation, Ok(ReservationChange::Confirm), idempotency_key).await?;
        answer(answers::decided_reservation(&decided))
    }

    async fn extend(&self, request: Request<v1::ExtendRequest>) -> Answer<v1::Reservation> {
        let said = request.get_ref();
        let change = body::extension(messages::extension(said));
        let change = change.map(|hold_ttl_ms| ReservationChange::Extend { hold_ttl_ms });
        let decided = self.change(&request, &said.reservation, change, &said.idempotency_key).await?;
        answer(answers::decided_reservation(&decided))
    }

    type WatchPoolsStream = Watching;

    async fn watch_pools(&self, request: Request<v1::WatchPoolsRequest>) -> Answer<Watching> {
        let (head, said) = (head(&request)?, request.get_ref());
        let filter = body::watch(messages::watch(said))?;
        let from = (!said.position.is_empty()).then(|| said.position.clone());
        let steps = self.shared_service().watch_pools(filter, from).await;
        answer(steps.map(|steps| Watching { steps, trace_id: head.trace_id() }))
    }
}
