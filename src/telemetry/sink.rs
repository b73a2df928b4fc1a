//! Metrics of `headroom sink`, and its log lines.

use super::register::{Register, as_gauge, counters, gauges, seconds};
use crate::domain::Micros;
use crate::sink::{Batch, Report};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use std::time::Duration;

/// Microseconds in a second.
const US_PER_S: u64 = 1_000_000;

/// How far the partitions are written that this process writes.
pub struct SinkMetrics {
    held: IntGaugeVec,
    behind: IntGaugeVec,
    oldest: IntGaugeVec,
    stopped: IntGaugeVec,
    rows: IntCounterVec,
    set_aside: IntCounterVec,
    batch_seconds: HistogramVec,
    written_at: IntGaugeVec,
    failures: IntCounterVec,
}

impl SinkMetrics {
    pub(super) fn new(r: &Register) -> SinkMetrics {
        SinkMetrics {
            held: gauges(
                r,
                "headroom_sink_writes_partition",
                "1 when this sink writes the partition, 0 when another one does.",
                &["partition"],
            ),
            behind: gauges(
                r,
                "headroom_sink_behind_events",
                "Events of the partition that are not written yet.",
                &["partition"],
            ),
            oldest: gauges(
                r,
                "headroom_sink_oldest_event_timestamp_seconds",
                "When this sink saw the oldest event of the partition that is not written, in seconds since 1970; 0 when all \
                 are written.",
                &["partition"],
            ),
            stopped: gauges(
                r,
                "headroom_sink_stopped",
                "1 when nothing more of the partition is written until somebody has acted.",
                &["partition"],
            ),
            rows: counters(r, "headroom_sink_rows_total", "Rows of events that were written.", &["partition"]),
            set_aside: counters(
                r,
                "headroom_sink_set_aside_total",
                "Events that could not be read and were set aside.",
                &["partition"],
            ),
            batch_seconds: seconds(
                r,
                "headroom_sink_batch_seconds",
                "From the begin of reading a batch to the end of its transaction.",
                &["partition"],
            ),
            written_at: gauges(
                r,
                "headroom_sink_last_success_timestamp_seconds",
                "When a batch of the partition was written last, in seconds since 1970.",
                &["partition"],
            ),
            failures: counters(
                r,
                "headroom_sink_failures_total",
                "Times that the log or the target did not answer, or another sink took a partition, and it is tried again.",
                &[],
            ),
        }
    }
}

impl Report for SinkMetrics {
    fn looked(&self, partition: u32, is_held: bool, behind: u64, oldest: Option<Micros>) {
        let label = &[&*partition.to_string()];
        self.held.with_label_values(label).set(i64::from(is_held));
        self.behind.with_label_values(label).set(as_gauge(behind));
        self.oldest.with_label_values(label).set(oldest.map_or(0, |at| as_gauge(at.0 / US_PER_S)));
        // A counter of what never happened is 0 and not absent.
        self.rows.with_label_values(label);
        self.set_aside.with_label_values(label);
        self.failures.with_label_values::<&str>(&[]);
        self.stopped.with_label_values(label).set(0);
    }

    fn written(&self, batch: &Batch, took: Duration, at: Micros) {
        let label = &[&*batch.partition.to_string()];
        self.rows.with_label_values(label).inc_by(batch.row_count);
        self.set_aside.with_label_values(label).inc_by(batch.aside.len() as u64);
        self.batch_seconds.with_label_values(label).observe(took.as_secs_f64());
        self.written_at.with_label_values(label).set(as_gauge(at.0 / US_PER_S));
        let (partition, until, rows) = (batch.partition, batch.until, batch.row_count);
        tracing::debug!(partition, until, rows, ?took, "a batch is written");
        for event in &batch.aside {
            tracing::error!(partition, seq = event.seq, why = event.why, "an event cannot be read and is set aside");
        }
    }

    fn failed(&self, partition: Option<u32>, why: &str) {
        self.failures.with_label_values::<&str>(&[]).inc();
        tracing::warn!(partition, why, "the sink waits");
    }

    fn failed_too(&self) {
        self.failures.with_label_values::<&str>(&[]).inc();
    }

    fn stopped(&self, partition: u32, why: &str) {
        self.stopped.with_label_values(&[&*partition.to_string()]).set(1);
        tracing::error!(partition, why, "the sink writes nothing more of the partition");
    }
}
