//! Metrics of the spans that are sent to a collector.

use super::register::{Register, counters};
use prometheus::IntCounter;

/// What became of spans.
#[derive(Clone)]
pub(super) struct SpanMetrics {
    pub(super) exported: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) dropped: IntCounter,
}

impl SpanMetrics {
    pub(super) fn new(r: &Register) -> SpanMetrics {
        let help = "Spans that a collector took, that could not be sent to it, and that found no room in the queue.";
        let spans = counters(r, "headroom_trace_spans_total", help, &["outcome"]);
        let of = |outcome: &str| spans.with_label_values(&[outcome]);
        SpanMetrics { exported: of("exported"), failed: of("failed"), dropped: of("dropped") }
    }
}
