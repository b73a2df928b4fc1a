//! The canary: a reservation of one unit that is made and released again and again on every partition, so that a
//! partition which stops deciding shows although nobody calls. It calls the use cases that every edge calls, in a pool of
//! each partition that belongs to Headroom itself. All gateways share these pools: nobody retires them, so a pool
//! of each process would stay behind when the process is gone.

use super::{CallContext, ExpectedPool, Refusal, ReservationChange, Reserve, Service};
use crate::access::{Principal, Roles};
use crate::domain::ids::INTERNAL_POOL_PREFIX;
use crate::domain::{Amounts, Dimension, Mode, Name, PoolId, PoolRules, PoolSpec, Reason, ReservationId, route};
use crate::limits::{ABANDON_GRACE_MS, CANARY_INTERVAL_DEFAULT_MS, HOLD_TTL_MAX_MS, HOLD_TTL_MIN_MS, UNITS_MAX};
use crate::trace::Tracing;
use std::sync::Arc;

/// A partition that stops deciding shows in the metrics of the canary within so many milliseconds, at the default time
/// between two rounds.
const CANARY_SHOWS_MS: u64 = 10_000;

/// The name under which the canary's commands are recorded.
const NAME: &str = "canary";
/// The dimension of the canary's pools.
const DIMENSION: &str = "units";
/// How long each call of a round may take, in milliseconds.
const TIMEOUT_MS: u64 = 1_000;
/// How long a reservation lasts that is not released, because its process ended, in milliseconds.
const HOLD_MS: u64 = 60_000;
/// How many ids are tried for each partition. A partition is missed by all of them once in e^200 times.
const IDS_PER_PARTITION: u32 = 200;

const _: () = {
    // The Reserve of a round that begins right after a partition has stopped shows it.
    assert!(CANARY_INTERVAL_DEFAULT_MS + TIMEOUT_MS + ABANDON_GRACE_MS < CANARY_SHOWS_MS);
    assert!(HOLD_TTL_MIN_MS <= HOLD_MS && HOLD_MS <= HOLD_TTL_MAX_MS && HOLD_MS > 2 * TIMEOUT_MS);
};

/// The canary of one partition.
pub struct Canary {
    service: Arc<Service>,
    tracing: Arc<Tracing>,
    principal: Arc<Principal>,
    pool: PoolId,
}

impl Canary {
    /// The canary of this partition; `None` when no id of a pool belongs there.
    pub fn new(service: Arc<Service>, tracing: Arc<Tracing>, partition: u32) -> Option<Canary> {
        let pool = pool_of(partition, service.replica().partition_count())?;
        let principal = Arc::new(Principal { name: Name::new(NAME).ok(), roles: Roles::NONE });
        Some(Canary { service, tracing, principal, pool })
    }

    /// Reserves one unit and releases it. Answers how long the Reserve took, in microseconds. The first round on a log
    /// defines the pool.
    ///
    /// # Errors
    /// The [`Refusal`] of the first call that was refused.
    pub async fn round(&self) -> Result<u64, Refusal> {
        let (reservation, took_us) = match self.reserve().await {
            Err(Refusal::Rejected { reason: Reason::UnknownPool, .. }) => {
                self.define().await?;
                self.reserve().await?
            }
            reserved => reserved?,
        };
        self.service.change_reservation(reservation, ReservationChange::Release, self.context()).await?;
        Ok(took_us)
    }

    async fn reserve(&self) -> Result<(ReservationId, u64), Refusal> {
        let context = self.context();
        let begun = context.arrived;
        let reserve =
            Reserve { pool: self.pool.clone(), demand: units(1)?, hold_ttl_ms: Some(HOLD_MS), order_ref: None };
        let decided = self.service.reserve(reserve, context).await?;
        Ok((decided.entry()?.reservation, self.service.now().0.saturating_sub(begun.0)))
    }

    async fn define(&self) -> Result<(), Refusal> {
        let spec = PoolSpec {
            limits: units(UNITS_MAX)?,
            areas: [].into(),
            window: None,
            labels: [].into(),
            mode: Mode::Open,
            rules: PoolRules::default(),
        };
        let expected = Some(ExpectedPool::Absent);
        match self.service.define_pool(self.pool.clone(), spec, expected, self.context()).await {
            // Another gateway was faster.
            Ok(_) | Err(Refusal::Rejected { reason: Reason::StaleVersion, .. }) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    fn context(&self) -> CallContext {
        CallContext {
            key: None,
            principal: Arc::clone(&self.principal),
            timeout_ms: Some(TIMEOUT_MS),
            arrived: self.service.now(),
            trace: self.tracing.enter(None),
        }
    }
}

fn units(count: u64) -> Result<Amounts, Refusal> {
    let units = Dimension::new(DIMENSION).ok().and_then(|dimension| Amounts::new([(dimension, count)]));
    units.ok_or_else(|| Refusal::bug("the canary's units cannot be written"))
}

/// The pool of the canary on this partition: the first id that belongs there, so it is the same in every process.
fn pool_of(partition: u32, partitions: u32) -> Option<PoolId> {
    let ids = (0..partitions.saturating_mul(IDS_PER_PARTITION))
        .filter_map(|number| PoolId::new(&format!("{INTERNAL_POOL_PREFIX}{NAME}.{number}")).ok());
    ids.into_iter().find(|id| route::partition_of(id, partitions) == partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PARTITIONS_MAX;

    #[test]
    fn every_partition_has_a_pool_of_the_canary() {
        for partitions in [1, 2, 3, 4, 12, 50, 128] {
            for partition in 0..partitions {
                let pool = pool_of(partition, partitions).unwrap();
                assert!(pool.is_internal() && route::partition_of(&pool, partitions) == partition, "{pool}");
            }
        }
        assert!(pool_of(PARTITIONS_MAX - 1, PARTITIONS_MAX).is_some());
    }
}
