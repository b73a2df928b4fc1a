//! Metrics of the canary.

use super::register::{Register, as_gauge, as_seconds, counters, gauges, seconds};
use parking_lot::Mutex;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use std::collections::BTreeMap;

/// Outcome of a round that passed: its unit was reserved and released.
const PASSED: &str = "ok";
/// Before the first round of a process has passed, so many have to fail until that is told: it rebuilds its states meanwhile.
const FAILED_AT_START: u64 = 3;

/// What came of the rounds of the canary.
pub struct CanaryMetrics {
    up: IntGaugeVec,
    last_success: IntGaugeVec,
    calls: IntCounterVec,
    seconds: HistogramVec,
    rounds: Mutex<BTreeMap<u32, Rounds>>,
}

/// The rounds on a partition.
#[derive(Default)]
struct Rounds {
    has_passed: bool,
    /// How many have failed since one passed last.
    failed: u64,
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
            rounds: Mutex::default(),
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
        self.ends(partition, PASSED);
        let before = self.rounds.lock().insert(partition, Rounds { has_passed: true, failed: 0 });
        let label = &*partition.to_string();
        self.last_success.with_label_values(&[label]).set(as_gauge(at_s));
        self.seconds.with_label_values(&[label]).observe(as_seconds(reserve_us));
        if before.is_none_or(|before| !before.has_passed || before.failed > 0) {
            tracing::info!(partition, "the canary passes on the partition");
        }
    }

    /// A round failed for this reason.
    pub fn failed(&self, partition: u32, reason: &str) {
        self.ends(partition, reason);
        let mut rounds = self.rounds.lock();
        let rounds = rounds.entry(partition).or_default();
        rounds.failed = rounds.failed.saturating_add(1);
        let told_at = if rounds.has_passed { 1 } else { FAILED_AT_START };
        if rounds.failed == told_at {
            tracing::warn!(partition, reason, "the canary fails on the partition: calls on it are not decided in time");
        }
    }

    /// Counts a round.
    fn ends(&self, partition: u32, outcome: &str) {
        let partition = &*partition.to_string();
        self.calls.with_label_values(&[partition, outcome]).inc();
        self.up.with_label_values(&[partition]).set(i64::from(outcome == PASSED));
    }
}
