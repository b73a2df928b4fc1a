//! The use cases: everything that callers can ask for. They take and return domain values. Every edge parses its own
//! protocol, calls these functions, and translates their results. A [`Decided`] carries the event that decided the call;
//! a [`Refusal`] carries a [`Code`], from which an edge derives its status. Nothing here knows a protocol, a header or a
//! status number.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod acts;
pub mod canary;
mod change;
pub mod fresh;
pub mod health;
pub mod operator;
pub mod outcome;
mod pools;
mod quota;
pub mod reads;
mod reserve;
mod searches;
pub mod swap;
pub mod watch;

pub use crate::gateway::admission::Shed;
pub use change::ReservationChange;
pub use health::Health;
pub use outcome::{Code, Decided, Effect, Receipt, Refusal, Unread};
pub use pools::ExpectedPool;
pub use quota::{Charge, Exceeded, Standing};
pub use reads::{PoolList, ReservationView};
pub use reserve::Reserve;

use crate::access::{Principal, Quota};
use crate::domain::{CommandBody, Edit, IdempotencyKey, Micros, ReservationId, route};
use crate::gateway::{Call, Gateway, Outcome};
use crate::limits::WATCHES_MAX;
use crate::log::CommittedTail;
use crate::replica::{PartitionHandle, Replica};
use crate::time::Clock;
use crate::trace::CallTrace;
use fresh::Freshness;
use quota::Quotas;
use searches::Searches;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use swap::Swaps;
use tokio::sync::Semaphore;

/// What every changing call carries besides the change itself.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The caller's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// The caller. Its name is recorded with the decision.
    pub principal: Arc<Principal>,
    /// How long the caller waits, in milliseconds: at most [`DEADLINE_MAX_MS`](crate::limits::DEADLINE_MAX_MS). `None`
    /// means the default of the process.
    pub timeout_ms: Option<u64>,
    /// When the request arrived, by [`Service::now`]. The caller's time is counted from then on.
    pub arrived: Micros,
    /// The trace that the call belongs to.
    pub trace: CallTrace,
}

/// All use cases of one process.
pub struct Service {
    gateway: Arc<Gateway>,
    log_id: u128,
    tail: Arc<dyn CommittedTail>,
    freshness: Freshness,
    searches: Searches,
    quotas: Option<Quotas>,
    /// One for each watch that is open.
    watches: Arc<Semaphore>,
    /// Who makes fresh states, where somebody does.
    swaps: Option<Arc<dyn Swaps>>,
    /// A number that nobody outside of the process knows: it seeds the ids of reservations that come without a key.
    secret: u128,
    /// The number of the next Reserve without a key.
    next_unkeyed: AtomicU64,
}

impl Service {
    /// The use cases over this gateway, and over the id and the committed events of its log. `secret` is drawn at start.
    pub fn new(gateway: Arc<Gateway>, (log_id, tail): (u128, Arc<dyn CommittedTail>), secret: u128) -> Service {
        let freshness = Freshness::new(Arc::clone(&tail), gateway.replica().partition_count());
        let (searches, next_unkeyed) = (Searches::new(), AtomicU64::new(1));
        let watches = Arc::new(Semaphore::new(WATCHES_MAX));
        Service { gateway, log_id, tail, freshness, searches, quotas: None, watches, swaps: None, secret, next_unkeyed }
    }

    /// Counts calls in this quota, by the monotonic side of this clock. Without it, callers have no bound.
    #[must_use]
    pub fn limited(self, quota: Quota, clock: Arc<dyn Clock>) -> Service {
        Service { quotas: Some(Quotas::new(quota, clock)), ..self }
    }

    /// The present time of the clock that measures deadlines. It never goes back.
    pub fn now(&self) -> Micros {
        self.gateway.now()
    }

    /// Takes back a reservation whose answer could not be delivered to its caller.
    pub fn take_back(&self, Receipt { id, reserved }: Receipt) {
        self.gateway.take_back(id, reserved);
    }

    /// Announces that this process will soon take no more calls: `ready` says so from now on.
    pub fn leave(&self) {
        self.gateway.leave();
    }

    /// Whether this process has announced that it will take no more calls.
    pub fn is_leaving(&self) -> bool {
        self.gateway.is_leaving()
    }

    /// Stops taking calls. Calls in flight are still answered.
    pub fn close(&self) {
        self.gateway.close();
    }

    /// Counts a call of this kind by this principal, once, before anything of it is done. Returns what it may still call;
    /// `None` when its calls of this kind have no bound.
    ///
    /// # Errors
    /// When the quota is used up: the call is not to be done, and is refused after the pause.
    pub fn charge(&self, principal: &Principal, charge: Charge) -> Result<Option<Standing>, Exceeded> {
        let Some(quotas) = &self.quotas else { return Ok(None) };
        quotas.charge(principal.name.as_ref(), charge)
    }

    fn replica(&self) -> &Replica {
        self.gateway.replica()
    }

    /// What is left of the caller's time.
    fn left(&self, context: &CallContext) -> Duration {
        let timeout_ms = self.gateway.timeout_ms(context.timeout_ms);
        Duration::from_millis(timeout_ms.saturating_sub(self.now().ms_since(context.arrived)))
    }

    /// Appends a command and waits for its decision, until the caller's deadline.
    async fn decide(&self, body: CommandBody, context: CallContext) -> Result<Decided, Refusal> {
        if let Some(what) = ends_a_life(&body).filter(|_| !self.gateway.level().has_retirement()) {
            return Err(Refusal::FeatureLevel(what));
        }
        let CallContext { key, principal, timeout_ms, arrived, trace } = context;
        let actor = principal.name.clone();
        let is_keyed = key.is_some();
        let home = route::home(&body, self.replica().partition_count());
        let reserves = body.reservation().filter(|_| is_keyed && matches!(body, CommandBody::Reserve { .. }));
        let refusal = match self.gateway.call(Call { body, key, actor, timeout_ms, arrived, trace }).await {
            Ok(Outcome::Decided(event)) => match event.event.body.rejection().map(|rejection| rejection.reason) {
                None => return Ok(Decided(event)),
                Some(reason) => Refusal::Rejected { reason, event },
            },
            Ok(Outcome::TimedOut { is_unknown: false }) => Refusal::TimedOut { effect: Effect::NotApplied, is_keyed },
            Ok(Outcome::TimedOut { is_unknown: true }) => Refusal::TimedOut { effect: Effect::Unknown, is_keyed },
            Ok(Outcome::TooLate) => Refusal::TooLate,
            Err(shed) => Refusal::Shed(shed),
        };
        let refusal = or_unreadable(refusal, self.replica().partition(home));
        match reserves.filter(|id| refusal.is_of_one_attempt() && self.is_live(*id)) {
            Some(reservation) => Err(Refusal::EarlierAttempt(reservation, Box::new(refusal))),
            None => Err(refusal),
        }
    }

    /// Whether the reservation takes capacity, as far as this process knows.
    fn is_live(&self, id: ReservationId) -> bool {
        let known = self.replica().reservation(&id, self.gateway.clock());
        known.is_some_and(|known| known.reservation.status.is_live())
    }
}

/// How a command asks for the end of a pool's life, if it does. Versions before that could not read it.
fn ends_a_life(body: &CommandBody) -> Option<&'static str> {
    const BY_ITSELF: &str = "the call says when a pool retires by itself";
    match body {
        CommandBody::RetirePool { .. } => Some("the call ends the life of a pool"),
        CommandBody::DefinePool { spec, .. } => spec.rules.retire_after_ms.map(|_| BY_ITSELF),
        CommandBody::ChangePool { change, .. } => (change.rules.retire_after_ms != Edit::Keep).then_some(BY_ITSELF),
        _ => None,
    }
}

/// A partition whose state cannot be read has no owner either. Its callers get the same cause as its readers.
fn or_unreadable(refusal: Refusal, home: Option<&Arc<PartitionHandle>>) -> Refusal {
    match home {
        Some(home) if matches!(refusal, Refusal::Shed(Shed::NoOwner)) && home.is_unreadable() => {
            Refusal::Unread(Unread::of(home, Code::Unreadable, home.why_not_served().unwrap_or_default()))
        }
        _ => refusal,
    }
}

#[cfg(test)]
mod no_log {
    use super::*;
    use crate::log::{AppendError, CommandSink, LogError, NewCommand, StoredEvent};
    use crate::time::SystemClock;

    struct NoLog;

    impl CommandSink for NoLog {
        fn append(&self, _: NewCommand<'_>) -> Result<(), AppendError> {
            Err(AppendError::Closed)
        }

        fn waiting(&self, _: u32) -> usize {
            0
        }

        fn stalled(&self, _: u32) -> Duration {
            Duration::ZERO
        }
    }

    impl CommittedTail for NoLog {
        fn partitions(&self) -> u32 {
            1
        }

        fn end(&self, _: u32) -> Result<u64, LogError> {
            panic!("planted")
        }

        fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
            Ok(Vec::new())
        }
    }

    impl Service {
        /// A service over a log of one partition that takes no commands, and panics when it is asked for its end.
        pub(crate) fn over_no_log() -> Service {
            let (log, replica, clock) = (Arc::new(NoLog), Arc::new(Replica::new(1)), Arc::new(SystemClock::new()));
            let gateway = Arc::new(Gateway::new(1, 250, log.clone(), replica, clock));
            Service::new(gateway, (7, log), 7)
        }
    }
}
