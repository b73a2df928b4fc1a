//! How metrics are made and registered, and how values become samples.

use super::catalogue::{Described, Kind};
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The edges of every histogram of times: from half a millisecond to twice the longest deadline, close together around
/// the promised 100 ms. One of them is exactly that.
const SECONDS_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

pub(super) fn as_seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

const VALID: &str = "names and labels are constants that the golden test registers";

/// The metrics of a process, with what can be said of each.
#[derive(Default)]
pub(super) struct Register {
    registry: Registry,
    rows: Mutex<Vec<Described>>,
}

impl Register {
    /// Adds what a collector exports, which is all of this kind.
    pub(super) fn put(&self, kind: Kind, collector: impl Collector + 'static) {
        self.put_each(|_| kind, collector);
    }

    /// Adds a metric of this kind, once it is made, and returns it.
    fn keep<C: Collector + Clone + 'static>(&self, kind: Kind, made: prometheus::Result<C>) -> C {
        let metric = made.expect(VALID);
        self.put(kind, metric.clone());
        metric
    }

    /// Adds what a collector exports. The kind of each metric follows from its name.
    pub(super) fn put_each(&self, kind: impl Fn(&str) -> Kind, collector: impl Collector + 'static) {
        let rows = collector.desc().into_iter().map(|desc| Described::of(desc, kind(&desc.fq_name)));
        self.rows.lock().extend(rows);
        self.registry.register(Box::new(collector)).expect(VALID);
    }

    /// Everything with its present values.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// What can be said of every metric, by name.
    pub(super) fn rows(&self) -> Vec<Described> {
        let mut rows = self.rows.lock().clone();
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        rows
    }
}

pub(super) fn counters(r: &Register, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    r.keep(Kind::Counter, IntCounterVec::new(Opts::new(name, help), labels))
}

pub(super) fn counter(r: &Register, name: &str, help: &str) -> IntCounter {
    r.keep(Kind::Counter, IntCounter::new(name, help))
}

pub(super) fn gauges(r: &Register, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    r.keep(Kind::Gauge, IntGaugeVec::new(Opts::new(name, help), labels))
}

pub(super) fn gauge(r: &Register, name: &str, help: &str) -> IntGauge {
    r.keep(Kind::Gauge, IntGauge::new(name, help))
}

pub(super) fn float_gauges(r: &Register, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    r.keep(Kind::Gauge, GaugeVec::new(Opts::new(name, help), labels))
}

pub(super) fn histograms(r: &Register, opts: HistogramOpts, labels: &[&str]) -> HistogramVec {
    r.keep(Kind::Histogram, HistogramVec::new(opts, labels))
}

/// Histograms of times.
pub(super) fn seconds(r: &Register, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    histograms(r, HistogramOpts::new(name, help).buckets(SECONDS_BUCKETS.to_vec()), labels)
}

/// A histogram of times, without labels.
pub(super) fn histogram(r: &Register, name: &str, help: &str) -> Histogram {
    seconds(r, name, help, &[]).with_label_values::<&str>(&[])
}

/// A count as a gauge's value.
pub(super) fn as_gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
