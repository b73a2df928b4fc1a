//! Metrics of clocks: steps of this machine's wall clock, and how far partitions are ahead of it.

use super::register::{Register, as_seconds, counters, float_gauges};
use crate::time::Offset;
use prometheus::{GaugeVec, IntCounterVec};

/// The direction in which a clock steps.
pub(super) const FORWARD: &str = "forward";
pub(super) const BACK: &str = "back";

pub(super) struct ClockMetrics {
    pub(super) steps: IntCounterVec,
    pub(super) ahead: GaugeVec,
    broker_offset: GaugeVec,
}

impl ClockMetrics {
    pub(super) fn new(r: &Register) -> ClockMetrics {
        ClockMetrics {
            steps: counters(
                r,
                "headroom_clock_steps_total",
                "Steps of this machine's wall clock, by direction.",
                &["direction"],
            ),
            ahead: float_gauges(
                r,
                "headroom_clock_ahead_seconds",
                "How far the partition's time is ahead of this machine's wall clock.",
                &["partition"],
            ),
            broker_offset: float_gauges(
                r,
                "headroom_clock_broker_offset_seconds",
                "How far this machine's wall clock is ahead of that of the partition's broker, or behind it.",
                &["partition"],
            ),
        }
    }

    pub(super) fn offset(&self, partition: &str, Offset(offset_us): Offset) {
        let seconds = as_seconds(offset_us.unsigned_abs());
        self.broker_offset.with_label_values(&[partition]).set(if offset_us < 0 { -seconds } else { seconds });
    }

    pub(super) fn begin(&self) {
        for direction in [FORWARD, BACK] {
            self.steps.with_label_values(&[direction]);
        }
    }
}
