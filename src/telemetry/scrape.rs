//! Gauges that are read when someone asks for them: queues, statuses and pools. Nothing here holds a lock for longer
//! than a bounded piece of work, and nothing here keeps a watched object alive.

use super::metrics::{Metrics, OwnerMetrics};
use super::register::{as_gauge, as_seconds};
use super::watched::{Pace, Pacing, Watched};
use crate::access::Access;
use crate::domain::Micros;
use crate::gateway::{Gateway, PendingCounts};
use crate::log::{CommandSink, CommitOutcome};
use crate::owner::OwnerEnd;
use crate::replica::{PartitionHandle, PartitionState, StatusKind};
use crate::service::Service;
use std::sync::Arc;

impl Metrics {
    /// Reads gauges from this gateway, its replica and this sink from now on. To be called before owners start.
    pub fn watch(&self, gateway: &Arc<Gateway>, sink: Arc<dyn CommandSink>) {
        for (partition, _) in gateway.replica().partitions().enumerate() {
            let label = partition.to_string();
            // A counter of what never happened is 0 and not absent: see Metrics::begin.
            let OwnerMetrics { checkpoint_writes, checkpoint_failures, store_wiped, dead_letters, .. } = &self.owner;
            let letter_failures = &self.turning.letter_failures;
            for counters in [checkpoint_writes, checkpoint_failures, store_wiped, dead_letters, letter_failures] {
                counters.with_label_values(&[&label]);
            }
            self.owner.handovers.with_label_values(&[&label]);
            for end in OwnerEnd::ALL {
                self.owner.ends.with_label_values(&[label.as_str(), end.name()]);
            }
            self.partitions.checkpointed(&label, gateway.clock().wall());
            for came in [CommitOutcome::Ok, CommitOutcome::Aborted, CommitOutcome::Fenced, CommitOutcome::Unknown] {
                self.owner.turns.with_label_values(&[label.as_str(), came.name()]);
            }
        }
        let (gateway, replica) = (Arc::downgrade(gateway), Arc::downgrade(gateway.replica()));
        *self.watched.write() = Some(Watched { gateway, sink: Arc::downgrade(&sink), replica });
    }

    /// Reads the pace of turns from now on.
    pub fn watch_turns(&self, partitions: u32, pace: impl Fn(u32) -> Pace + Send + Sync + 'static) {
        *self.pace.write() = Some(Pacing { partitions, pace: Box::new(pace) });
    }

    /// Reads how callers are known from now on.
    pub fn watch_access(&self, access: &Arc<Access>) {
        self.callers.watch(access);
    }

    /// Counts the open watches of this service from now on.
    pub fn watch_service(&self, service: &Arc<Service>) {
        self.watches.watch(service);
    }

    fn refresh_turns(&self) {
        let pacing = self.pace.read();
        let Some(Pacing { partitions, pace }) = pacing.as_ref() else { return };
        for partition in 0..*partitions {
            let Pace { waited, slow_commits, pause_us, held_back, letter_failures } = pace(partition);
            let (label, turning) = (partition.to_string(), &self.turning);
            let letters = (&turning.letter_failures, letter_failures);
            for (counters, now) in [(&turning.waited, waited), (&turning.slow_commits, slow_commits), letters] {
                let counter = counters.with_label_values(&[&label]);
                counter.inc_by(now.saturating_sub(counter.get()));
            }
            self.turning.pause.with_label_values(&[&label]).set(as_seconds(pause_us));
            self.turning.held_back.with_label_values(&[&label]).set(as_gauge(held_back));
        }
    }

    /// The wall clock; none when nothing is watched.
    pub(super) fn wall(&self) -> Option<Micros> {
        let gateway = self.watched.read().as_ref()?.gateway.upgrade()?;
        Some(gateway.clock().wall())
    }

    pub(super) fn refresh(&self) {
        self.refresh_turns();
        self.callers.refresh();
        self.watches.refresh();
        let watched = self.watched.read();
        let Some(Watched { gateway, sink, replica }) = watched.as_ref() else { return };
        let gateway = gateway.upgrade();
        if let Some(gateway) = &gateway {
            self.refresh_calls(gateway);
        }
        let (sink, replica) = (sink.upgrade(), replica.upgrade());
        if let Some(replica) = &replica {
            self.turning.unknown_partitions.set(as_gauge(replica.unknown_partitions().len()));
        }
        for (partition, handle) in (0..).zip(replica.iter().flat_map(|replica| replica.partitions())) {
            let label = partition.to_string();
            if let Some(sink) = &sink {
                self.waiting.with_label_values(&[&label]).set(as_gauge(sink.waiting(partition)));
            }
            self.refresh_state(&label, handle);
            if let Some(gateway) = &gateway {
                self.partitions.saw(&label, handle, gateway.now());
                let ahead_us = handle.time().ahead_us(gateway.clock());
                self.clock.ahead.with_label_values(&[&label]).set(as_seconds(ahead_us));
                if let Some(offset) = handle.time().broker_offset(gateway.clock()) {
                    self.clock.offset(&label, offset);
                }
            }
        }
    }

    fn refresh_calls(&self, gateway: &Gateway) {
        let PendingCounts { calls: pending, abandons: backlog } = gateway.pending();
        self.pending.set(as_gauge(pending));
        self.abandon_backlog.set(as_gauge(backlog));
        self.level.set(gateway.level().of_log().into());
        let outages = gateway.outages();
        let (silences, wall) = (gateway.silences(), gateway.clock().wall());
        for (partition, calls) in (0..).zip(gateway.in_flight()) {
            let label = partition.to_string();
            self.in_flight.with_label_values(&[&label]).set(as_gauge(calls));
            let silence = silences.get(&partition).copied().unwrap_or_default();
            self.partitions.judged(&label, outages.get(&partition), silence, wall);
        }
    }

    fn refresh_state(&self, label: &str, handle: &PartitionHandle) {
        let status = handle.status_kind();
        for other in StatusKind::ALL {
            self.status.with_label_values(&[label, other.label()]).set(i64::from(other == status));
        }
        let (pools, over_committed) = count_pools(handle);
        self.pools.with_label_values(&[label]).set(as_gauge(pools));
        self.over_committed.with_label_values(&[label]).set(as_gauge(over_committed));
        self.memory.of(label, handle.read(PartitionState::memory_bytes));
        // The owner counts with each turn. What a process counted that owns the partition no more is of the past.
        if status != StatusKind::Active {
            self.owner.live.with_label_values(&[label]).set(as_gauge(handle.read(PartitionState::live_count)));
        }
    }
}

/// The number of pools, and the number of those that are over-committed.
fn count_pools(handle: &PartitionHandle) -> (usize, usize) {
    let pools = handle.read(|state| state.pools().clone());
    (pools.count(), pools.iter().filter(|pool| pool.is_over_committed()).count())
}
