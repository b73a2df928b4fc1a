//! How metrics are made and registered, and how values become samples.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The edges of every histogram of times: from half a millisecond to twice the longest deadline, close together around
/// the promised 100 ms. One of them is exactly that.
const SECONDS_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

pub(super) fn as_seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

const VALID: &str = "names and labels are constants that the golden test registers";

pub(super) fn put(registry: &Registry, collector: impl Collector + 'static) {
    registry.register(Box::new(collector)).expect(VALID);
}

pub(super) fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), labels).expect(VALID);
    put(registry, counters.clone());
    counters
}

pub(super) fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels).expect(VALID);
    put(registry, gauges.clone());
    gauges
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect(VALID);
    put(registry, gauge.clone());
    gauge
}

pub(super) fn float_gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::GaugeVec {
    let gauges = prometheus::GaugeVec::new(Opts::new(name, help), labels).expect(VALID);
    put(registry, gauges.clone());
    gauges
}

pub(super) fn histograms(registry: &Registry, opts: HistogramOpts, labels: &[&str]) -> HistogramVec {
    let histograms = HistogramVec::new(opts, labels).expect(VALID);
    put(registry, histograms.clone());
    histograms
}

pub(super) fn seconds(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    histograms(registry, HistogramOpts::new(name, help).buckets(SECONDS_BUCKETS.to_vec()), labels)
}

/// A histogram of times, without labels.
pub(super) fn histogram(registry: &Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS_BUCKETS.to_vec()));
    let histogram = histogram.expect(VALID);
    put(registry, histogram.clone());
    histogram
}

/// A count as a gauge's value.
pub(super) fn as_gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
