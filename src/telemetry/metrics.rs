//! Every metric by name: prefix `headroom_`, base units, `_total` for what only grows. Labels are few and bounded
//! (partition, kind, reason, route, method, status and the like), never the id of a pool, a reservation or a caller.
//! Call sites call functions; no name or label stands anywhere else.

use super::clock::ClockMetrics;
use super::sample::Samples;
use super::scrape::{Pacing, Watched};
use crate::domain::{Breach, Law};
use crate::gateway::admission::Shed;
use crate::limits::{MEMORY_BYTES_MAX, MEMORY_CALM_PERCENT, MEMORY_WARN_PERCENT};
use crate::owner::handover;
use parking_lot::{Mutex, RwLock};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

/// From half a millisecond to a second, close together around the promised 100 ms.
const SECONDS_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0];
/// Reason of a handover: the cluster is too far for turns to fit callers' deadlines.
const FAR: &str = "far";
/// Reason of a handover: the machine's clock is far from the brokers'.
const CLOCK: &str = "clock";
/// Up to [`crate::limits::TURN_RECORDS_MAX`].
const RECORDS_BUCKETS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    pub(super) watched: RwLock<Option<Watched>>,
    pub(super) pace: RwLock<Option<Pacing>>,
    pub(super) samples: Mutex<Samples>,
    /// Whether requests got no line, of which nothing was told yet.
    pub(super) has_left_out: AtomicBool,

    pub(super) turns: IntCounterVec,
    pub(super) events: IntCounterVec,
    pub(super) turn_seconds: HistogramVec,
    pub(super) commit_seconds: HistogramVec,
    pub(super) turn_records: HistogramVec,
    pub(super) checkpoint_writes: IntCounterVec,
    pub(super) checkpoint_failures: IntCounterVec,
    pub(super) store_wiped: IntCounterVec,
    pub(super) recovery_seconds: prometheus::GaugeVec,
    pub(super) recovery_events: IntGaugeVec,
    pub(super) live: IntGaugeVec,
    breaches: IntCounterVec,
    pub(super) clock: ClockMetrics,

    pub(super) waiting: IntGaugeVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) pending: IntGauge,
    pub(super) abandon_backlog: IntGauge,
    pub(super) status: IntGaugeVec,
    pub(super) deciding: IntGaugeVec,
    pub(super) pools: IntGaugeVec,
    pub(super) over_committed: IntGaugeVec,
    pub(super) memory: MemoryMetrics,

    pub(super) turning: TurnMetrics,

    pub(super) http_requests: IntCounterVec,
    pub(super) http_seconds: HistogramVec,
    pub(super) http_connections: IntGauge,
    pub(super) shed: IntCounterVec,
}

/// What partitions remember, and may.
pub(super) struct MemoryMetrics {
    bytes: IntGaugeVec,
    ratio: prometheus::GaugeVec,
    /// Partitions of which was warned.
    warned: Mutex<BTreeSet<u32>>,
}

/// From so many bytes on an owner warns, once until they were fewer than those.
const MEMORY_WARN_BYTES: u64 = MEMORY_BYTES_MAX / 100 * MEMORY_WARN_PERCENT;
const MEMORY_CALM_BYTES: u64 = MEMORY_BYTES_MAX / 100 * MEMORY_CALM_PERCENT;

impl MemoryMetrics {
    fn new(r: &Registry) -> MemoryMetrics {
        let limit = gauge(r, "headroom_memory_limit_bytes", "Bytes that one partition may remember.");
        limit.set(i64::try_from(MEMORY_BYTES_MAX).unwrap_or(i64::MAX));
        MemoryMetrics {
            bytes: gauges(
                r,
                "headroom_memory_bytes",
                "Bytes remembered: reservations that live or ended, attempts given up, answers of applied changes.",
                &["partition"],
            ),
            ratio: float_gauges(
                r,
                "headroom_memory_used_ratio",
                "Share of the limit that is remembered. At 1 new work is refused.",
                &["partition"],
            ),
            warned: Mutex::default(),
        }
    }

    /// Warns long before new work is refused.
    pub(super) fn saw(&self, partition: u32, bytes: u64) {
        let mut warned = self.warned.lock();
        if bytes < MEMORY_CALM_BYTES {
            warned.remove(&partition);
        } else if bytes >= MEMORY_WARN_BYTES && warned.insert(partition) {
            let limit_bytes = MEMORY_BYTES_MAX;
            tracing::warn!(
                partition,
                bytes,
                limit_bytes,
                "the memory of what was reserved and changed fills up; at its limit new work is refused"
            );
        }
    }

    pub(super) fn of(&self, partition: &str, bytes: u64) {
        self.bytes.with_label_values(&[partition]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 20).unwrap_or(u32::MAX));
        self.ratio.with_label_values(&[partition]).set(mib(bytes) / mib(MEMORY_BYTES_MAX));
    }
}

/// What turns cost on a cluster, and what its group of owners does.
pub(super) struct TurnMetrics {
    pub(super) strange: IntGauge,
    handovers: IntCounterVec,
    pub(super) waited: IntCounterVec,
    pub(super) slow_commits: IntCounterVec,
    pub(super) pause: prometheus::GaugeVec,
    pub(super) held_back: IntGaugeVec,
}

impl TurnMetrics {
    fn new(r: &Registry) -> TurnMetrics {
        TurnMetrics {
            strange: gauge(
                r,
                "headroom_partitions_unknown",
                "Partitions given to this process that the log's manifest does not count.",
            ),
            handovers: counters(
                r,
                "headroom_handovers_total",
                "Times this process left its partitions to others, by why.",
                &["reason"],
            ),
            waited: counters(
                r,
                "headroom_kafka_turns_waited_total",
                "Turns that met a coordinator still busy with the one before.",
                &["partition"],
            ),
            slow_commits: counters(
                r,
                "headroom_kafka_slow_commits_total",
                "Commits that took 90 ms or more.",
                &["partition"],
            ),
            pause: float_gauges(
                r,
                "headroom_kafka_turn_pause_seconds",
                "From the end of a turn to the earliest beginning of the next one.",
                &["partition"],
            ),
            held_back: gauges(
                r,
                "headroom_kafka_commands_held_back",
                "Offsets of commands that an open transaction of somebody keeps from being read.",
                &["partition"],
            ),
        }
    }
}

impl Metrics {
    /// All of them, at nothing.
    pub fn new() -> Metrics {
        let r = &Registry::new();
        put(r, ProcessCollector::for_self());
        gauges(r, "headroom_build_info", "Which version runs; always 1.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let metrics = Metrics {
            registry: r.clone(),
            watched: RwLock::new(None),
            pace: RwLock::new(None),
            samples: Mutex::default(),
            has_left_out: AtomicBool::new(false),
            turns: counters(r, "headroom_turns_total", "Turns, by what became of them.", &["partition", "outcome"]),
            events: counters(r, "headroom_events_total", "Committed events.", &["partition", "kind", "reason"]),
            turn_seconds: seconds(
                r,
                "headroom_turn_seconds",
                "From deciding to the end of the commit.",
                &["partition"],
            ),
            commit_seconds: seconds(r, "headroom_commit_seconds", "Commits alone.", &["partition"]),
            turn_records: histograms(
                r,
                HistogramOpts::new("headroom_turn_records", "Events of one turn.").buckets(RECORDS_BUCKETS.to_vec()),
                &["partition"],
            ),
            checkpoint_writes: counters(r, "headroom_checkpoint_writes_total", "Checkpoints written.", &["partition"]),
            checkpoint_failures: counters(
                r,
                "headroom_checkpoint_failures_total",
                "Checkpoints that could not be written or removed.",
                &["partition"],
            ),
            store_wiped: counters(r, "headroom_store_wiped_total", "Checkpoints removed as odd.", &["partition"]),
            recovery_seconds: recovery_seconds(r),
            recovery_events: recovery_events(r),
            live: gauges(r, "headroom_reservations_live", "Reservations that take capacity.", &["partition"]),
            breaches: counters(r, "headroom_law_breaches_total", "Laws found broken: wake someone.", &["law"]),
            clock: ClockMetrics::new(r),
            waiting: gauges(r, "headroom_commands_waiting", "Commands not polled yet.", &["partition"]),
            in_flight: gauges(r, "headroom_calls_in_flight", "Calls not answered yet.", &["partition"]),
            pending: gauge(r, "headroom_correlator_pending", "Calls that are not over, abandoned ones included."),
            abandon_backlog: gauge(r, "headroom_abandon_backlog", "Abandons that the log did not take yet."),
            status: statuses(r),
            deciding: deciding(r),
            pools: gauges(r, "headroom_pools", "Pools known.", &["partition"]),
            over_committed: gauges(
                r,
                "headroom_pools_over_committed",
                "Pools with more in use than their limit, since it was lowered.",
                &["partition"],
            ),
            memory: MemoryMetrics::new(r),
            turning: TurnMetrics::new(r),
            http_requests: counters(
                r,
                "headroom_http_requests_total",
                "Requests answered.",
                &["method", "route", "status", "code"],
            ),
            http_seconds: seconds(
                r,
                "headroom_http_request_seconds",
                "From head to answer.",
                &["method", "route", "status"],
            ),
            http_connections: gauge(r, "headroom_http_connections", "Open connections."),
            shed: counters(r, "headroom_shed_total", "Calls refused before the log.", &["reason"]),
        };
        metrics.begin();
        metrics
    }

    /// What never happened is 0, not absent: an alert on the first one needs the step from 0.
    fn begin(&self) {
        for reason in [FAR, CLOCK] {
            self.turning.handovers.with_label_values(&[reason]);
        }
        self.clock.begin();
        for law in Law::ALL {
            self.breaches.with_label_values(&[law.id()]);
        }
        for shed in
            [Shed::InFlight, Shed::Wait, Shed::Full, Shed::NoOwner, Shed::Closing, Shed::Connections, Shed::Reads]
        {
            self.shed.with_label_values(&[shed.code()]);
        }
    }

    pub(super) fn text(&self) -> String {
        self.refresh();
        // The encoder fails on families without names or samples, which the registry does not hand out.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// This process leaves its partitions to others, for this reason.
    pub fn handed_over(&self, why: handover::Why) {
        let reason = match why {
            handover::Why::Far(..) => FAR,
            handover::Why::Clock => CLOCK,
        };
        self.turning.handovers.with_label_values(&[reason]).inc();
    }

    /// A law was found broken.
    pub fn breach(&self, breach: &Breach) {
        self.breaches.with_label_values(&[breach.law.id()]).inc();
        let Breach { law, partition, seq, detail } = breach;
        tracing::error!(%law, partition, seq, detail, "a law is broken: {}", law.sentence());
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

pub(super) fn as_seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

const VALID: &str = "names and labels are constants that the golden test registers";

fn put(registry: &Registry, collector: impl Collector + 'static) {
    registry.register(Box::new(collector)).expect(VALID);
}

pub(super) fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), labels).expect(VALID);
    put(registry, counters.clone());
    counters
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels).expect(VALID);
    put(registry, gauges.clone());
    gauges
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect(VALID);
    put(registry, gauge.clone());
    gauge
}

pub(super) fn float_gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::GaugeVec {
    let gauges = prometheus::GaugeVec::new(Opts::new(name, help), labels).expect(VALID);
    put(registry, gauges.clone());
    gauges
}

fn recovery_seconds(registry: &Registry) -> prometheus::GaugeVec {
    float_gauges(registry, "headroom_recovery_seconds", "How long the last recovery took.", &["partition"])
}

fn recovery_events(registry: &Registry) -> IntGaugeVec {
    gauges(registry, "headroom_recovery_events", "Events the last recovery read from the log.", &["partition"])
}

fn statuses(registry: &Registry) -> IntGaugeVec {
    gauges(registry, "headroom_partition_status", "1 for what the partition is doing.", &["partition", "status"])
}

fn deciding(registry: &Registry) -> IntGaugeVec {
    let help = "1 while calls on the partition are decided, by this process or another, as far as it knows.";
    gauges(registry, "headroom_partition_deciding", help, &["partition"])
}

fn histograms(registry: &Registry, opts: HistogramOpts, labels: &[&str]) -> HistogramVec {
    let histograms = HistogramVec::new(opts, labels).expect(VALID);
    put(registry, histograms.clone());
    histograms
}

fn seconds(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    histograms(registry, HistogramOpts::new(name, help).buckets(SECONDS_BUCKETS.to_vec()), labels)
}
