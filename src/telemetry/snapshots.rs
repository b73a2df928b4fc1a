//! Metrics and log lines of snapshots.

use super::register::{Register, as_gauge, as_seconds, counters, float_gauges, gauge, gauges};
use crate::domain::Micros;
use crate::snapshot::Heard;
use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec};

/// What the writer of snapshots does, and which of them starts could not use.
pub struct SnapshotMetrics {
    newest: GaugeVec,
    missing: IntGaugeVec,
    writes: IntCounterVec,
    failures: IntCounterVec,
    bytes: IntGaugeVec,
    passed_over: IntCounterVec,
    ahead: IntGaugeVec,
    events_keep: IntGauge,
}

impl SnapshotMetrics {
    pub(super) fn new(r: &Register) -> SnapshotMetrics {
        SnapshotMetrics {
            newest: float_gauges(
                r,
                "headroom_snapshot_timestamp_seconds",
                "Time of the last event in the newest snapshot of a partition that this process owns, in seconds since \
                 1970; before one is known, when this process became its owner.",
                &["partition"],
            ),
            missing: gauges(
                r,
                "headroom_snapshot_missing_events",
                "Events of a partition that this process owns which are in no snapshot.",
                &["partition"],
            ),
            writes: counters(r, "headroom_snapshot_writes_total", "Snapshots that were written.", &["partition"]),
            failures: counters(
                r,
                "headroom_snapshot_failures_total",
                "Snapshots that could not be written, looked for or removed. Each is tried again.",
                &["partition"],
            ),
            bytes: gauges(
                r,
                "headroom_snapshot_bytes",
                "Length of the last snapshot of the partition that this process wrote.",
                &["partition"],
            ),
            passed_over: counters(
                r,
                "headroom_snapshot_passed_over_total",
                "Snapshots that a start could not use: damaged, of another log, ahead of the log, or not to be read.",
                &["partition"],
            ),
            ahead: gauges(
                r,
                "headroom_snapshots_ahead",
                "Snapshots of a partition that this process owns which have more events than its log: the log was set back, or \
                 another one with the same id writes to the same place.",
                &["partition"],
            ),
            events_keep: gauge(
                r,
                "headroom_events_keep_seconds",
                "Age up to which the cluster keeps events, as kafka_events_keep says; 0 when all of them are kept.",
            ),
        }
    }

    /// The cluster keeps events up to this age, in milliseconds; for ever with `None`.
    pub fn keeps_events(&self, ms: Option<u64>) {
        self.events_keep.set(as_gauge(ms.unwrap_or_default() / 1_000));
    }

    /// This process reads snapshots of so many partitions, whoever owns them: none is passed over yet. A series that begins
    /// with its first count shows no increase.
    pub fn reads(&self, partitions: u32) {
        for partition in 0..partitions {
            self.passed_over.with_label_values(&[&*partition.to_string()]);
        }
    }

    pub(super) fn passed_over(&self, partition: u32) {
        self.passed_over.with_label_values(&[&*partition.to_string()]).inc();
    }
}

impl Heard for SnapshotMetrics {
    fn began(&self, partition: u32, wall: Micros) {
        let label = [&*partition.to_string()];
        self.writes.with_label_values(&label);
        self.failures.with_label_values(&label);
        self.ahead.with_label_values(&label).set(0);
        self.newest.with_label_values(&label).set(as_seconds(wall.0));
    }

    fn left(&self, partition: u32) {
        let label = [&*partition.to_string()];
        // All are there since it began.
        let _ = self.ahead.remove_label_values(&label);
        let _ = self.newest.remove_label_values(&label);
        let _ = self.missing.remove_label_values(&label);
    }

    fn newest(&self, partition: u32, at: Micros) {
        self.newest.with_label_values(&[&*partition.to_string()]).set(as_seconds(at.0));
    }

    fn missing(&self, partition: u32, events: u64) {
        self.missing.with_label_values(&[&*partition.to_string()]).set(as_gauge(events));
    }

    fn written(&self, partition: u32, next_seq: u64, bytes: u64) {
        let label = [&*partition.to_string()];
        self.writes.with_label_values(&label).inc();
        self.bytes.with_label_values(&label).set(as_gauge(bytes));
        tracing::info!(partition, next_seq, bytes, "snapshot written");
    }

    fn ahead(&self, partition: u32, snapshots: usize, events: u64) {
        self.ahead.with_label_values(&[&*partition.to_string()]).set(as_gauge(snapshots));
        if snapshots == 0 {
            return;
        }
        tracing::warn!(
            partition,
            snapshots,
            events,
            "the place of snapshots has some of more events than the log: the log has lost its end, or another one with \
             the same id writes there"
        );
    }

    fn failed(&self, partition: u32, why: &str) {
        self.failures.with_label_values(&[&*partition.to_string()]).inc();
        tracing::warn!(partition, why, "snapshot not written; trying again");
    }
}
