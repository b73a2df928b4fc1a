//! Defining and changing pools.

use super::acts::PlannersAct;
use super::{CallContext, Decided, Refusal, Service};
use crate::domain::{CommandBody, Edit, Mode, PoolChange, PoolId, PoolSpec, RuleChange};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What a planner expects of a pool before it is defined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpectedPool {
    /// The pool has this version.
    Version(u64),
    /// The pool exists, in any version.
    Present,
    /// The pool does not exist.
    Absent,
}

impl Service {
    /// Creates a pool, or replaces its whole definition. [`Decided::replaced_version`] tells which of the two happened.
    /// Looking whether the pool exists and waiting for the decision share the caller's deadline.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn define_pool(
        &self,
        pool: PoolId,
        spec: PoolSpec,
        expected: Option<ExpectedPool>,
        context: CallContext,
    ) -> Result<Decided, Refusal> {
        let act = PlannersAct::begin(self.replica(), "define_pool", &pool, &context);
        let expected_version = match expected {
            None => None,
            Some(ExpectedPool::Version(version)) => Some(version),
            Some(ExpectedPool::Absent) => Some(0),
            Some(ExpectedPool::Present) => match self.require_pool(&pool, self.left(&context)).await {
                Ok(()) => None,
                Err(refusal) => return act.end(Err(refusal)),
            },
        };
        act.end(self.decide(CommandBody::DefinePool { pool, spec, expected_version }, context).await)
    }

    /// Refuses a pool that does not exist. The command does not name the version that is found here, so that a retry of it is
    /// the same command. If the pool retires before the command is decided, its owner refuses to define it anew.
    async fn require_pool(&self, id: &PoolId, within: Duration) -> Result<(), Refusal> {
        let replica = self.replica();
        if let Some(handle) = replica.of_pool(id) {
            self.readable(handle, false).await?;
            self.caught_up(handle, within, &Semaphore::new(1)).await?;
        }
        let unknown = || Refusal::NoPoolToReplace(id.clone(), replica.retired_until(id, self.gateway.clock()));
        replica.pool(id).map(drop).ok_or_else(unknown)
    }

    /// Changes parts of a pool and keeps the rest. A change of limits alone becomes the command that adjusts limits.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn change_pool(
        &self,
        pool: PoolId,
        change: PoolChange,
        expected_version: Option<u64>,
        context: CallContext,
    ) -> Result<Decided, Refusal> {
        let act = PlannersAct::begin(self.replica(), "change_pool", &pool, &context);
        let body = match change {
            PoolChange { limits: Some(limits), areas: None, window: Edit::Keep, labels, mode: None, rules }
                if labels.is_empty() && rules == RuleChange::default() =>
            {
                CommandBody::AdjustLimits { pool, change: limits, expected_version }
            }
            change => CommandBody::ChangePool { pool, change, expected_version },
        };
        act.end(self.decide(body, context).await)
    }

    /// Ends the life of a pool. With live reservations only when `with_reservations` says so.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn retire_pool(
        &self,
        pool: PoolId,
        with_reservations: bool,
        expected_version: Option<u64>,
        context: CallContext,
    ) -> Result<Decided, Refusal> {
        let act = PlannersAct::begin(self.replica(), "retire_pool", &pool, &context);
        act.end(self.decide(CommandBody::RetirePool { pool, with_reservations, expected_version }, context).await)
    }

    /// Opens, pauses or closes a pool.
    ///
    /// # Errors
    /// The [`Refusal`] to tell the caller.
    pub async fn set_mode(
        &self,
        pool: PoolId,
        mode: Mode,
        expected_version: Option<u64>,
        context: CallContext,
    ) -> Result<Decided, Refusal> {
        let act = PlannersAct::begin(self.replica(), "set_mode", &pool, &context);
        act.end(self.decide(CommandBody::SetMode { pool, mode, expected_version }, context).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Principal, Roles};
    use crate::domain::{Amounts, Dimension, PoolRules};
    use crate::replica::{PartitionStatus, StatusKind};
    use crate::service::{Code, Unread};
    use crate::trace::Tracing;
    use std::sync::Arc;

    /// The log does not say where it ends, so that nobody knows whether the pool exists.
    #[tokio::test]
    async fn a_definition_of_a_pool_that_has_to_exist_waits_no_longer_than_its_caller() {
        let service = Service::over_no_log();
        let handle = service.replica().partition(0).unwrap();
        handle.try_transition(&[StatusKind::Restoring], PartitionStatus::Active).unwrap();
        let spec = PoolSpec {
            limits: Amounts::new([(Dimension::new("orders").unwrap(), 1)]).unwrap(),
            areas: [].into(),
            window: None,
            labels: [].into(),
            mode: Mode::Open,
            rules: PoolRules::default(),
        };
        let context = CallContext {
            key: None,
            principal: Arc::new(Principal { name: None, roles: Roles::NONE }),
            timeout_ms: Some(300),
            arrived: service.now(),
            trace: Arc::new(Tracing::off(|| 7)).enter(None),
        };
        let expected = Some(ExpectedPool::Present);
        let refused = service.define_pool(PoolId::new("van-1").unwrap(), spec, expected, context).await.unwrap_err();
        let Refusal::Unread(Unread { code: Code::NotFresh, why, .. }) = refused else { panic!("{refused:?}") };
        let waited_ms: Vec<u64> = why.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert!(matches!(waited_ms[..], [ms] if ms <= 300), "{why}");
    }
}
