//! Metrics of the canary.

use super::register::{as_seconds, counters, gauges, seconds};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Registry};

/// Result of a round: its unit was reserved and released.
const PASSED: &str = "ok";
/// Result of a round: one of its calls was refused.
const FAILED: &str = "failed";

/// What came of the rounds of the canary.
pub struct CanaryMetrics {
    up: IntGaugeVec,
    rounds: IntCounterVec,
    failures: IntCounterVec,
    seconds: HistogramVec,
}

impl CanaryMetrics {
    pub(super) fn new(r: &Registry) -> CanaryMetrics {
        CanaryMetrics {
            up: gauges(
                r,
                "headroom_canary_up",
                "1 when the last round of the canary on the partition passed, 0 when it failed.",
                &["partition"],
            ),
            rounds: counters(
                r,
                "headroom_canary_rounds_total",
                "Rounds of the canary, each a Reserve and a Release, by their result.",
                &["partition", "result"],
            ),
            failures: counters(
                r,
                "headroom_canary_failures_total",
                "Rounds of the canary that failed, by the reason or the code of the refusal.",
                &["partition", "reason"],
            ),
            seconds: seconds(
                r,
                "headroom_canary_reserve_seconds",
                "How long a Reserve of the canary took until it was accepted.",
                &["partition"],
            ),
        }
    }

    /// The canary of this partition begins: its counters are there before its first round ends.
    pub fn begins(&self, partition: u32) {
        let partition = partition.to_string();
        for result in [PASSED, FAILED] {
            self.rounds.with_label_values(&[&*partition, result]);
        }
    }

    /// A round passed, and its Reserve took this long.
    pub fn passed(&self, partition: u32, reserve_us: u64) {
        let was_up = self.ends(partition, PASSED);
        self.seconds.with_label_values(&[&*partition.to_string()]).observe(as_seconds(reserve_us));
        if !was_up {
            tracing::info!(partition, "the canary passes on the partition");
        }
    }

    /// A round failed for this reason.
    pub fn failed(&self, partition: u32, reason: &str) {
        let was_up = self.ends(partition, FAILED);
        self.failures.with_label_values(&[&*partition.to_string(), reason]).inc();
        if was_up {
            tracing::warn!(partition, reason, "the canary fails on the partition: calls on it are not decided in time");
        }
    }

    /// Counts a round, and answers whether the one before it passed.
    fn ends(&self, partition: u32, result: &str) -> bool {
        let partition = partition.to_string();
        self.rounds.with_label_values(&[&*partition, result]).inc();
        let up = self.up.with_label_values(&[&*partition]);
        let was_up = up.get() == 1;
        up.set(i64::from(result == PASSED));
        was_up
    }
}
