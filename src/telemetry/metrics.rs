//! Every metric by name: prefix `headroom_`, base units, `_total` for what only grows. Labels are few and bounded
//! (partition, kind, reason, route, method, status and the like), never the id of a pool or a reservation. Of callers
//! only the first few that exceed their quota have a label.
//! Call sites call functions; no name or label is written anywhere else.

use super::access::AccessMetrics;
use super::access_log::AccessLines;
use super::canary::CanaryMetrics;
use super::catalogue::{Described, Kind};
use super::clock::ClockMetrics;
use super::disk::{Disk, DiskMetrics};
use super::lines::LEFT_OUT;
use super::log::LogMetrics;
use super::memory::{MemoryMetrics, ProcessMemory};
use super::partitions::PartitionMetrics;
use super::register::{Register, counters, float_gauges, gauge, gauges, histograms, seconds};
use super::sink::SinkMetrics;
use super::snapshots::SnapshotMetrics;
use super::spans::SpanMetrics;
use super::stages::StageMetrics;
use super::tls::TlsMetrics;
use super::watched::{Pacing, Watched};
use super::watches::WatchMetrics;
use crate::config::AccessLog;
use crate::domain::{Breach, Law, Name};
use crate::gateway::admission::Shed;
use crate::log::FEATURE_LEVEL;
use crate::owner::withdrawal;
use crate::service::Charge;
use parking_lot::{Mutex, RwLock};
use prometheus::process_collector::ProcessCollector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, TextEncoder};
use std::collections::BTreeSet;

/// Reason of a withdrawal: the cluster is too far for turns to fit callers' deadlines.
const FAR: &str = "far";
/// Reason of a withdrawal: the machine's clock is far from the brokers'.
const CLOCK: &str = "clock";
/// Reason of a withdrawal: the state of a partition cannot be restored here.
const STATE: &str = "state";
/// How the metrics begin that a sink shows.
const OF_SINK: [&str; 3] = ["headroom_sink_", "headroom_build_info", "process_"];
/// Label of callers without a name.
pub(super) const NAMELESS: &str = "(none)";
/// Label of callers that have none of their own.
pub(super) const OTHERS: &str = "(other)";
/// Buckets for the number of events in a turn, up to [`crate::limits::TURN_RECORDS_MAX`].
const RECORDS_BUCKETS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// All metrics of one process.
pub struct Metrics {
    register: Register,
    pub(super) watched: RwLock<Option<Watched>>,
    pub(super) pace: RwLock<Option<Pacing>>,
    pub(super) access: AccessLines,

    pub(super) owner: OwnerMetrics,
    breaches: IntCounterVec,
    pub(super) callers: AccessMetrics,
    canary: CanaryMetrics,
    sink: SinkMetrics,
    pub(super) clock: ClockMetrics,

    pub(super) waiting: IntGaugeVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) pending: IntGauge,
    pub(super) level: IntGauge,
    pub(super) abandon_backlog: IntGauge,
    pub(super) status: IntGaugeVec,
    pub(super) partitions: PartitionMetrics,
    disk: DiskMetrics,
    log: LogMetrics,
    pub(super) pools: IntGaugeVec,
    pub(super) over_committed: IntGaugeVec,
    pub(super) memory: MemoryMetrics,
    pub(super) snapshots: SnapshotMetrics,

    pub(super) stages: StageMetrics,
    pub(super) turning: TurnMetrics,
    pub(super) http: HttpMetrics,
    pub(super) watches: WatchMetrics,
    pub(super) spans: SpanMetrics,
    pub(super) tls: TlsMetrics,
}

/// What owners decide and commit, and how partitions are rebuilt.
pub(super) struct OwnerMetrics {
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
    pub(super) handovers: HistogramVec,
    pub(super) ends: IntCounterVec,
    pub(super) swaps: IntCounterVec,
    pub(super) dead_letters: IntCounterVec,
}

impl OwnerMetrics {
    fn new(r: &Register) -> OwnerMetrics {
        OwnerMetrics {
            turns: counters(
                r,
                "headroom_turns_total",
                "Turns, by the outcome of their commit.",
                &["partition", "outcome"],
            ),
            events: counters(
                r,
                "headroom_events_total",
                "Events that were committed.",
                &["partition", "kind", "reason"],
            ),
            turn_seconds: seconds(
                r,
                "headroom_turn_seconds",
                "From the begin of deciding a turn to the end of its commit.",
                &["partition"],
            ),
            commit_seconds: seconds(
                r,
                "headroom_commit_seconds",
                "How long the commit of a turn took.",
                &["partition"],
            ),
            turn_records: histograms(
                r,
                HistogramOpts::new("headroom_turn_records", "Number of events in one turn.")
                    .buckets(RECORDS_BUCKETS.to_vec()),
                &["partition"],
            ),
            checkpoint_writes: counters(
                r,
                "headroom_checkpoint_writes_total",
                "Checkpoints that were written.",
                &["partition"],
            ),
            checkpoint_failures: counters(
                r,
                "headroom_checkpoint_failures_total",
                "Checkpoints that could not be written or deleted.",
                &["partition"],
            ),
            store_wiped: counters(
                r,
                "headroom_store_wiped_total",
                "Checkpoints that were deleted because they did not match the log.",
                &["partition"],
            ),
            recovery_seconds: recovery_seconds(r),
            recovery_events: recovery_events(r),
            live: gauges(r, "headroom_reservations_live", "Reservations that take capacity now.", &["partition"]),
            handovers: seconds(
                r,
                "headroom_handover_seconds",
                "On a cluster, how long nobody decided before this process took the partition over: since the last event, \
                 or the last note of an owner.",
                &["partition"],
            ),
            ends: counters(
                r,
                "headroom_owner_ends_total",
                "Times that an owner of this process ended or could not claim its partition, by reason.",
                &["partition", "reason"],
            ),
            swaps: swaps(r),
            dead_letters: dead_letters(r),
        }
    }
}

/// What the API answers.
pub(super) struct HttpMetrics {
    pub(super) requests: IntCounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) connections: IntGauge,
    pub(super) shed: IntCounterVec,
    pub(super) over_quota: IntCounterVec,
    /// The callers that have a label of their own in it.
    pub(super) shown: Mutex<BTreeSet<Name>>,
}

impl HttpMetrics {
    fn new(r: &Register) -> HttpMetrics {
        HttpMetrics {
            requests: counters(
                r,
                "headroom_http_requests_total",
                "HTTP requests that were answered.",
                &["method", "route", "status", "code"],
            ),
            seconds: seconds(
                r,
                "headroom_http_request_seconds",
                "From the end of a request's head to the end of its answer.",
                &["method", "route", "status"],
            ),
            connections: gauge(r, "headroom_http_connections", "HTTP connections that are open."),
            shed: counters(
                r,
                "headroom_shed_total",
                "Calls that were refused before anything was written to the log.",
                &["reason"],
            ),
            over_quota: counters(
                r,
                "headroom_over_quota_total",
                "Calls that were refused because their caller calls more often than it may.",
                &["principal", "kind"],
            ),
            shown: Mutex::default(),
        }
    }
}

/// What turns cost on a cluster, and what its group of owners does.
pub(super) struct TurnMetrics {
    pub(super) unknown_partitions: IntGauge,
    withdrawals: IntCounterVec,
    pub(super) waited: IntCounterVec,
    pub(super) slow_commits: IntCounterVec,
    pub(super) pause: prometheus::GaugeVec,
    pub(super) held_back: IntGaugeVec,
    pub(super) letter_failures: IntCounterVec,
}

impl TurnMetrics {
    fn new(r: &Register) -> TurnMetrics {
        TurnMetrics {
            unknown_partitions: gauge(
                r,
                "headroom_partitions_unknown",
                "Partitions given to this process that the log's manifest does not count.",
            ),
            withdrawals: counters(
                r,
                "headroom_withdrawals_total",
                "Times that this process left the group of owners, by reason.",
                &["reason"],
            ),
            waited: counters(
                r,
                "headroom_kafka_turns_waited_total",
                "Turns that had to wait because the coordinator was still ending the one before.",
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
                "Offsets of commands that cannot be read because a foreign transaction is open.",
                &["partition"],
            ),
            letter_failures: counters(
                r,
                "headroom_dead_letter_failures_total",
                "Dead letters that could not be written to their topic, counted again with every try.",
                &["partition"],
            ),
        }
    }
}

impl Metrics {
    /// All metrics, with nothing counted yet.
    pub fn new() -> Metrics {
        let register = Register::default();
        let r = &register;
        let of_process = |name: &str| if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        r.put_each(of_process, ProcessCollector::for_self());
        r.put(Kind::Counter, LEFT_OUT.clone());
        build_info(r);
        let metrics = Metrics {
            watched: RwLock::new(None),
            pace: RwLock::new(None),
            access: AccessLines::new(AccessLog::Sampled),
            owner: OwnerMetrics::new(r),
            breaches: counters(
                r,
                "headroom_law_breaches_total",
                "Laws that were found broken: wake someone.",
                &["law"],
            ),
            callers: AccessMetrics::new(r),
            canary: CanaryMetrics::new(r),
            sink: SinkMetrics::new(r),
            clock: ClockMetrics::new(r),
            waiting: gauges(
                r,
                "headroom_commands_waiting",
                "Commands of which this process knows, and which no owner has polled yet.",
                &["partition"],
            ),
            in_flight: gauges(r, "headroom_calls_in_flight", "Calls that have not been answered yet.", &["partition"]),
            pending: gauge(
                r,
                "headroom_correlator_pending",
                "Calls that wait for a decision, abandoned ones included.",
            ),
            level: gauge(
                r,
                "headroom_log_feature_level",
                "The feature level of the log: what its processes may write.",
            ),
            abandon_backlog: gauge(r, "headroom_abandon_backlog", "Abandons that the log has not taken yet."),
            status: statuses(r),
            partitions: PartitionMetrics::new(r),
            disk: DiskMetrics::new(r),
            log: LogMetrics::new(r),
            pools: gauges(r, "headroom_pools", "Pools that the partition has.", &["partition"]),
            over_committed: gauges(
                r,
                "headroom_pools_over_committed",
                "Pools that use more than their limit, because the limit was lowered.",
                &["partition"],
            ),
            memory: MemoryMetrics::new(r),
            snapshots: SnapshotMetrics::new(r),
            stages: StageMetrics::new(r),
            turning: TurnMetrics::new(r),
            http: HttpMetrics::new(r),
            watches: WatchMetrics::new(r),
            spans: SpanMetrics::new(r),
            tls: TlsMetrics::new(r),
            register,
        };
        metrics.begin();
        metrics
    }

    /// Replaces which calls get a line of the access log; without it, some do.
    #[must_use]
    pub fn access_log(self, which: AccessLog) -> Metrics {
        Metrics { access: AccessLines::new(which), ..self }
    }

    /// Sets counters of what never happened to 0. An alert on the first event needs the step from 0 to 1.
    fn begin(&self) {
        for reason in [FAR, CLOCK, STATE] {
            self.turning.withdrawals.with_label_values(&[reason]);
        }
        self.callers.begin();
        self.clock.begin();
        self.tls.begin();
        for law in Law::ALL {
            self.breaches.with_label_values(&[law.id()]);
        }
        for charge in Charge::ALL {
            self.http.over_quota.with_label_values(&[OTHERS, charge.name()]);
        }
        for shed in Shed::ALL {
            self.http.shed.with_label_values(&[shed.code()]);
        }
    }

    /// What can be said of every metric that a process may export, by name.
    pub fn catalogue(&self) -> Vec<Described> {
        self.register.rows()
    }

    /// Takes what was seen of the disk under the data directory.
    pub fn disk(&self, seen: &Disk) {
        self.disk.saw(seen);
    }

    /// Takes what was seen of the memory of this process.
    pub fn process_memory(&self, seen: &ProcessMemory) {
        self.memory.process(seen);
    }

    pub(super) fn text(&self) -> String {
        self.refresh();
        self.text_of(|_| true)
    }

    /// The text of a process that only writes as a sink. What a server alone counts would be 0 in it for ever.
    pub fn text_of_sink(&self) -> String {
        self.text_of(|name| OF_SINK.iter().any(|beginning| name.starts_with(beginning)))
    }

    fn text_of(&self, is_shown: impl Fn(&str) -> bool) -> String {
        let mut families = self.register.gather();
        families.retain(|family| is_shown(family.name()));
        // The encoder fails on families without names or samples, which the registry does not hand out.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }

    /// How far this process has written partitions as a sink.
    pub fn sink(&self) -> &SinkMetrics {
        &self.sink
    }

    /// Where what leaves the embedded log is told.
    pub fn log(&self) -> &LogMetrics {
        &self.log
    }

    /// Where the writer of snapshots tells what it does.
    pub fn snapshots(&self) -> &SnapshotMetrics {
        &self.snapshots
    }

    /// What came of the rounds of the canary.
    pub fn canary(&self) -> &CanaryMetrics {
        &self.canary
    }

    /// When the certificate that is served expires, in seconds since 1970.
    pub fn certificate_expires(&self, at_s: u64) {
        self.tls.expires(at_s);
    }

    /// New files of TLS were taken, or could not be used.
    pub fn tls_reloaded(&self, is_taken: bool) {
        self.tls.reloaded(is_taken);
    }

    /// The files of TLS are those that are served.
    pub fn tls_unchanged(&self) {
        self.tls.unchanged();
    }

    /// This process leaves its partitions to others, for this reason.
    pub fn withdrew(&self, why: withdrawal::Why) {
        let reason = match why {
            withdrawal::Why::Far { .. } => FAR,
            withdrawal::Why::Clock => CLOCK,
            withdrawal::Why::State { .. } => STATE,
        };
        self.turning.withdrawals.with_label_values(&[reason]).inc();
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

fn swaps(registry: &Register) -> IntCounterVec {
    counters(
        registry,
        "headroom_state_swaps_total",
        "Times that an operator had a partition's state replaced by one folded anew, by whether the two were the same.",
        &["partition", "result"],
    )
}

fn dead_letters(registry: &Register) -> IntCounterVec {
    let help = "Commands that nobody could decide, as their owner counts them.";
    counters(registry, "headroom_dead_letters_total", help, &["partition"])
}

fn recovery_seconds(registry: &Register) -> prometheus::GaugeVec {
    float_gauges(registry, "headroom_recovery_seconds", "How long the last recovery took.", &["partition"])
}

fn recovery_events(registry: &Register) -> IntGaugeVec {
    gauges(registry, "headroom_recovery_events", "Events that the last recovery read from the log.", &["partition"])
}

fn statuses(registry: &Register) -> IntGaugeVec {
    gauges(
        registry,
        "headroom_partition_status",
        "1 for the status that the partition is in, 0 for the others.",
        &["partition", "status"],
    )
}

fn build_info(registry: &Register) {
    let help = "Always 1; the labels say which version runs, and up to which feature level it reads and writes.";
    let info = gauges(registry, "headroom_build_info", help, &["version", "feature_level"]);
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), FEATURE_LEVEL.to_string().as_str()]).set(1);
}
