//! Metrics of the canary.

use super::register::{Register, as_gauge, as_seconds, counters, gauges, seconds};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

/// Outcome of a round that passed: its unit was reserved and released.
const PASSED: &str = "ok";

/// What came of the rounds of the canary.
pub struct CanaryMetrics {
    up: IntGaugeVec,
    last_success: IntGaugeVec,
    calls: IntCounterVec,
    seconds: HistogramVec,
}

impl CanaryMetrics {
    pub(super) fn new(r: &Register) -> CanaryMetrics {
        CanaryMetrics {
            up: gauges(
                r,
                "headroom_canary_up",
                "1 when the last round of the canary on the partition passed, 0 when it failed.",
                &["partition"],
            ),
            last_success: gauges(
                r,
                "headroom_canary_last_success_timestamp_seconds",
                "When a round of the canary passed last, in seconds since 1970; before that, when the canary began.",
                &["partition"],
            ),
            calls: counters(
                r,
                "headroom_canary_calls_total",
                "Rounds of the canary, each a Reserve and a Release: ok, or why one of them was refused.",
                &["partition", "outcome"],
            ),
            seconds: seconds(
                r,
                "headroom_canary_seconds",
                "How long a Reserve of the canary took until it was accepted.",
                &["partition"],
            ),
        }
    }

    /// The canary of this partition begins, at this time in seconds since 1970.
    pub fn begins(&self, partition: u32, at_s: u64) {
        let partition = &*partition.to_string();
        self.calls.with_label_values(&[partition, PASSED]);
        self.last_success.with_label_values(&[partition]).set(as_gauge(at_s));
    }

    /// A round passed at this time in seconds since 1970, and its Reserve took so many microseconds.
    pub fn passed(&self, partition: u32, at_s: u64, reserve_us: u64) {
        let was_up = self.ends(partition, PASSED);
        let label = &*partition.to_string();
        self.last_success.with_label_values(&[label]).set(as_gauge(at_s));
        self.seconds.with_label_values(&[label]).observe(as_seconds(reserve_us));
        if !was_up {
            tracing::info!(partition, "the canary passes on the partition");
        }
    }

    /// A round failed for this reason.
    pub fn failed(&self, partition: u32, reason: &str) {
        if self.ends(partition, reason) {
            tracing::warn!(partition, reason, "the canary fails on the partition: calls on it are not decided in time");
        }
    }

    /// Counts a round, and answers whether the one before it passed.
    fn ends(&self, partition: u32, outcome: &str) -> bool {
        let partition = &*partition.to_string();
        self.calls.with_label_values(&[partition, outcome]).inc();
        let up = self.up.with_label_values(&[partition]);
        let was_up = up.get() == 1;
        up.set(i64::from(outcome == PASSED));
        was_up
    }
}
