//! Metrics and log lines of what leaves the embedded log.

use super::register::{Register, as_gauge, counter, gauge, gauges};
use crate::archive::Heard;
use prometheus::{IntCounter, IntGauge, IntGaugeVec};

/// With which events the embedded log begins, and how its oldest segments leave it.
pub struct LogMetrics {
    first_seq: IntGaugeVec,
    overdue: IntGauge,
    left: IntCounter,
    failures: IntCounter,
}

impl LogMetrics {
    pub(super) fn new(r: &Register) -> LogMetrics {
        LogMetrics {
            first_seq: gauges(
                r,
                "headroom_log_first_seq",
                "Sequence number of the first event of the partition that the embedded log has on this disk.",
                &["partition"],
            ),
            overdue: gauge(
                r,
                "headroom_log_overdue_seconds",
                "For how long the oldest segment of the embedded log has been older than log_keep, and is still on this disk; 0 \
                 when none is.",
            ),
            left: counter(
                r,
                "headroom_log_segments_left_total",
                "Segments that have left the disk because they were older than log_keep.",
            ),
            failures: counter(
                r,
                "headroom_log_leaving_failures_total",
                "Failed attempts to archive a segment, to remove it, or to ask the archive whether it takes any. Each is tried again.",
            ),
        }
    }
}

impl Heard for LogMetrics {
    fn begins(&self, partition: u32, seq: u64) {
        self.first_seq.with_label_values(&[&*partition.to_string()]).set(as_gauge(seq));
    }

    fn overdue(&self, ms: u64) {
        self.overdue.set(as_gauge(ms / 1_000));
    }

    fn left(&self, segment: u64, is_archived: bool) {
        self.left.inc();
        tracing::info!(segment, is_archived, "a segment has left the log, which begins after it");
    }

    fn uncovered(&self, segment: u64, partition: u32) {
        tracing::warn!(
            segment,
            partition,
            "a segment is older than log_keep and stays, because fewer than two good snapshots of the partition cover it"
        );
    }

    fn failed(&self, why: &str) {
        self.failures.inc();
        tracing::warn!(why, "segments cannot leave the log as log_keep says; trying again");
    }
}
