//! Gauges that are read when someone asks for them: queues, moods and pools. Nothing here holds a lock for longer than
//! a bounded piece of work, nor keeps what it watches alive.

use super::Metrics;
use super::metrics::as_seconds;
use super::report::outcome;
use crate::domain::Ledger;
use crate::gateway::Gateway;
use crate::log::{CommandSink, CommitOutcome};
use crate::replica::{PartitionHandle, PartitionState, Replica, StatusKind};
use std::sync::{Arc, Weak};

/// What gauges are read from.
pub(super) struct Watched {
    gateway: Weak<Gateway>,
    sink: Weak<dyn CommandSink>,
    replica: Weak<Replica>,
}

/// What turns cost on one partition of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// Those that met the coordinator still busy.
    pub waited: u64,
    /// Commits that took 90 ms or more.
    pub slow_commits: u64,
    /// The pause between two of them, in microseconds.
    pub pause_us: u64,
    /// Offsets of commands that somebody's open transaction keeps from being read.
    pub held_back: u64,
}

/// What the pace of turns is read from.
pub(super) struct Pacing {
    partitions: u32,
    pace: Box<dyn Fn(u32) -> Pace + Send + Sync>,
}

impl Watched {
    pub(super) fn partition(&self, partition: u32) -> Option<Arc<PartitionHandle>> {
        self.replica.upgrade()?.partition(partition).cloned()
    }
}

impl Metrics {
    /// Reads gauges from this gateway, its replica and this sink from now on. To be called before owners start.
    pub fn watch(&self, gateway: &Arc<Gateway>, sink: Arc<dyn CommandSink>) {
        for (partition, _) in gateway.replica().partitions().enumerate() {
            let label = partition.to_string();
            // Not absent but 0: see Metrics::new.
            for counters in [&self.checkpoint_writes, &self.checkpoint_failures, &self.store_wiped] {
                counters.with_label_values(&[&label]);
            }
            for came in [CommitOutcome::Ok, CommitOutcome::Aborted, CommitOutcome::Fenced, CommitOutcome::Unknown] {
                self.turns.with_label_values(&[label.as_str(), outcome(came)]);
            }
        }
        let (gateway, replica) = (Arc::downgrade(gateway), Arc::downgrade(gateway.replica()));
        *self.watched.write() = Some(Watched { gateway, sink: Arc::downgrade(&sink), replica });
    }

    /// Reads the pace of turns from now on.
    pub fn watch_turns(&self, partitions: u32, pace: impl Fn(u32) -> Pace + Send + Sync + 'static) {
        *self.pace.write() = Some(Pacing { partitions, pace: Box::new(pace) });
    }

    fn refresh_turns(&self) {
        let pacing = self.pace.read();
        let Some(Pacing { partitions, pace }) = pacing.as_ref() else { return };
        for partition in 0..*partitions {
            let Pace { waited, slow_commits, pause_us, held_back } = pace(partition);
            let label = partition.to_string();
            for (counters, now) in [(&self.turning.waited, waited), (&self.turning.slow_commits, slow_commits)] {
                let counter = counters.with_label_values(&[&label]);
                counter.inc_by(now.saturating_sub(counter.get()));
            }
            self.turning.pause.with_label_values(&[&label]).set(as_seconds(pause_us));
            self.turning.held_back.with_label_values(&[&label]).set(i64::try_from(held_back).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn refresh(&self) {
        self.refresh_turns();
        let watched = self.watched.read();
        let Some(Watched { gateway, sink, replica }) = watched.as_ref() else { return };
        let gateway = gateway.upgrade();
        if let Some(gateway) = &gateway {
            let (pending, backlog) = gateway.pending();
            self.pending.set(as_gauge(pending));
            self.abandon_backlog.set(as_gauge(backlog));
            let outages = gateway.outages();
            for (partition, calls) in (0..).zip(gateway.in_flight()) {
                let label = partition.to_string();
                self.in_flight.with_label_values(&[&label]).set(as_gauge(calls));
                let decides = outages.get(&partition).is_none_or(|outage| outage.decides);
                self.deciding.with_label_values(&[&label]).set(i64::from(decides));
            }
        }
        let (sink, replica) = (sink.upgrade(), replica.upgrade());
        if let Some(replica) = &replica {
            self.turning.strange.set(as_gauge(replica.unknown_partitions().len()));
        }
        for (partition, handle) in (0..).zip(replica.iter().flat_map(|replica| replica.partitions())) {
            let label = partition.to_string();
            if let Some(sink) = &sink {
                self.waiting.with_label_values(&[&label]).set(as_gauge(sink.waiting(partition)));
            }
            let status = handle.status_kind();
            for other in StatusKind::ALL {
                self.status.with_label_values(&[label.as_str(), other.label()]).set(i64::from(other == status));
            }
            let (pools, over_committed) = count_pools(handle);
            self.pools.with_label_values(&[&label]).set(as_gauge(pools));
            self.over_committed.with_label_values(&[&label]).set(as_gauge(over_committed));
            if let Some(gateway) = &gateway {
                let ahead_us = handle.time().ahead_us(gateway.clock());
                self.clock.ahead.with_label_values(&[&label]).set(as_seconds(ahead_us));
                if let Some(offset) = handle.time().broker_offset(gateway.clock()) {
                    self.clock.offset(&label, offset);
                }
            }
            self.memory.of(&label, handle.read(memory_used));
        }
    }
}

/// Bytes that count in a partition's memory at its last event.
pub(super) fn memory_used(state: &PartitionState) -> u64 {
    state.memory_used(state.position().decided_at)
}

/// Pools, and those over-committed.
fn count_pools(handle: &PartitionHandle) -> (usize, usize) {
    let pools = handle.read(|state| state.pools().clone());
    (pools.count(), pools.iter().filter(|pool| pool.is_over_committed()).count())
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
