//! The use case that takes capacity.

use super::{CallContext, Decided, Refusal, Service};
use crate::domain::{Amounts, CommandBody, IdempotencyKey, Name, PoolId, ReservationId};
use crate::gateway::routing;
use std::sync::atomic::Ordering::Relaxed;

/// The capacity that a caller asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reserve {
    /// The pool that is to give it.
    pub pool: PoolId,
    /// Units by dimension. Either all of them are taken, or none.
    pub demand: Amounts,
    /// How long the hold lasts, in milliseconds; `None` makes a permanent reservation.
    pub hold_ttl_ms: Option<u64>,
    /// The caller's order.
    pub order_ref: Option<Name>,
}

impl Service {
    /// Reserves capacity. The same key in the same pool makes the same reservation. An edge that cannot deliver the
    /// "yes" has to call [`Service::take_back`]. When this future is dropped before it is done, the gateway takes the
    /// reservation back.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn reserve(&self, reserve: Reserve, context: CallContext) -> Result<Decided, Refusal> {
        let Reserve { pool, demand, hold_ttl_ms, order_ref } = reserve;
        let reservation = self.reservation_id(&pool, context.key.as_ref())?;
        self.decide(CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms, order_ref }, context).await
    }

    /// The id of the reservation that this key makes in this pool. Without a key the id is unique, and nobody can guess
    /// it.
    fn reservation_id(&self, pool: &PoolId, key: Option<&IdempotencyKey>) -> Result<ReservationId, Refusal> {
        if let Some(key) = key {
            return Ok(routing::reservation_id(pool, key));
        }
        let number = self.next_unkeyed.fetch_add(1, Relaxed);
        let own = IdempotencyKey::new(&format!("{:032x}-{number}", self.secret));
        own.map(|own| routing::reservation_id(pool, &own)).map_err(|_| Refusal::bug("no key to make an id of"))
    }
}
