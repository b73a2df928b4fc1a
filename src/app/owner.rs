//! One owner's thread, whatever the log: recover, claim, serve.

use super::{StartError, draw, spawn};
use crate::domain::ChainedEvent;
use crate::limits::CLOCK_AHEAD_MAX_MS;
use crate::log::{ClaimError, CommittedTail, PartitionLog, ReplyChannel};
use crate::owner::checkpointer::{Checkpointer, Work};
use crate::owner::recover::Recovery;
use crate::owner::shell::{End, Shell};
use crate::owner::{OwnerEnd, Partition, Report};
use crate::replica::{PartitionHandle, PartitionStatus, StatusKind};
use crate::store::{Snapshots, Store};
use crate::telemetry::Metrics;
use crate::time::Clock;
use crate::trace::Tracing;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What all owners and followers of a process share.
pub(super) struct OwnerContext {
    pub(super) partitions: u32,
    pub(super) log_id: u128,
    pub(super) tail: Arc<dyn CommittedTail>,
    pub(super) store: Arc<dyn Store>,
    /// Where snapshots are read, if a place for them is set.
    pub(super) snapshots: Option<Arc<dyn Snapshots>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) replies: Arc<dyn ReplyChannel>,
    pub(super) checkpointer: Checkpointer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracing: Arc<Tracing>,
    /// Gets every event that is read from the log.
    pub(super) on_committed: Box<dyn Fn(&ChainedEvent) + Send + Sync>,
    /// The time without events after which an owner writes a Tick, as in [`Shell::tick_after_ms`].
    pub(super) tick_after_ms: Option<u64>,
}

/// Changes the status of a partition that the calling owner writes. Only the owner may change it, so a refusal is a
/// fault of this program: it is logged, and the status stays as it is.
pub(super) fn set_status(handle: &PartitionHandle, from: &[StatusKind], to: PartitionStatus) {
    if let Err(refused) = handle.try_transition(from, to) {
        tracing::error!(partition = handle.id(), %refused, "the partition's status was not changed by its owner");
    }
}

/// How an owner ended.
pub(super) enum Served {
    /// The partition was not claimed.
    NotClaimed(ClaimError),
    /// The owner served, and ended for this reason.
    Ended(End),
}

impl Served {
    fn how(&self) -> OwnerEnd {
        match self {
            Served::NotClaimed(ClaimError::Breach(_))
            | Served::Ended(End::Breach(_) | End::Forked(_) | End::WrongState(_)) => OwnerEnd::Breach,
            Served::NotClaimed(ClaimError::Log(_)) => OwnerEnd::NotClaimed,
            Served::Ended(End::Closed) => OwnerEnd::Stopped,
            Served::Ended(End::Fenced) => OwnerEnd::Fenced,
            Served::Ended(End::Unknown(_)) => OwnerEnd::Unknown,
            Served::Ended(End::WrongClock(_)) => OwnerEnd::Clock,
        }
    }
}

impl OwnerContext {
    /// Starts the thread that writes checkpoints. It ends once nobody can give it any more to write.
    ///
    /// # Errors
    /// [`StartError`] when there is no thread.
    pub(super) fn write_checkpoints(&self, work: Work) -> Result<JoinHandle<()>, StartError> {
        let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&self.metrics));
        spawn("checkpoints", move || work.run(store.as_ref(), metrics.as_ref()))
    }

    pub(super) fn recovery(&self) -> Recovery<'_> {
        Recovery {
            log_id: self.log_id,
            tail: self.tail.as_ref(),
            store: self.store.as_ref(),
            snapshots: self.snapshots.as_deref(),
            clock: self.clock.as_ref(),
            report: self.metrics.as_ref(),
            on_committed: &*self.on_committed,
        }
    }

    /// Claims the partition and serves it until it ends. It runs on a watched thread: a panic of an owner means that a
    /// law is broken, and then the process must end.
    ///
    /// # Panics
    /// When the committed events do not follow on the earlier ones: the state of this process is wrong.
    pub(super) fn serve<L: PartitionLog>(
        &self,
        log: &L,
        handle: &Arc<PartitionHandle>,
        is_of_checkpoint: bool,
    ) -> Served {
        let served = self.claim_and_serve(log, handle, is_of_checkpoint);
        self.metrics.ended(handle.id(), served.how());
        served
    }

    fn claim_and_serve<L: PartitionLog>(
        &self,
        log: &L,
        handle: &Arc<PartitionHandle>,
        is_of_checkpoint: bool,
    ) -> Served {
        let partition = handle.id();
        let owned = match self.recovery().claim(log, handle, is_of_checkpoint) {
            Ok(owned) => owned,
            Err(error) => {
                if let ClaimError::Breach(breach) = &error {
                    self.metrics.breach(breach);
                }
                return Served::NotClaimed(error);
            }
        };
        self.look_at_the_clock(partition, handle);
        let owner = handle.read(|state| Partition::claim(state, self.partitions)).writing(log.level());
        let shell = Shell {
            log: owned,
            owner,
            handle: Arc::clone(handle),
            clock: self.clock.as_ref(),
            replies: self.replies.as_ref(),
            checkpointer: &self.checkpointer,
            report: self.metrics.as_ref(),
            tracing: &self.tracing,
            tick_after_ms: self.tick_after_ms,
        };
        let end = shell.run(draw());
        match &end {
            End::Breach(breach) => {
                self.metrics.breach(breach);
                panic!("{breach}");
            }
            End::Forked(breach) => self.metrics.breach(breach),
            // Whoever has compared the state has reported it.
            End::WrongState(_) | End::Closed | End::Fenced | End::WrongClock(_) | End::Unknown(_) => {}
        }
        Served::Ended(end)
    }

    /// When the log was written by a clock ahead of this one, its time runs at half speed until this clock has caught
    /// up: holds expire late, and cutoffs pass early.
    fn look_at_the_clock(&self, partition: u32, handle: &PartitionHandle) {
        let ahead_ms = handle.time().ahead_us(self.clock.as_ref()) / 1_000;
        // A clock that differs from the broker's is logged already.
        if ahead_ms > CLOCK_AHEAD_MAX_MS && !handle.time().is_clock_refused() {
            tracing::error!(partition, ahead_ms, "the log's time is ahead of this machine's clock: check the clock");
        }
    }
}
