//! What the dashboards show. In a query `@job`, `@process` and `@partition` stand for what the reader has chosen at the top
//! of the dashboard, and `@calls` for the routes of calls that the objective is about.

/// How a panel shows its series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Show {
    /// Lines over time.
    Lines,
    /// Areas over time that add up.
    Stack,
    /// A bar for each series that changes its colour over time.
    States,
    /// The newest value of each series.
    Now,
}

/// The unit of a panel's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A number of things in a second.
    PerSecond,
    /// A length of time.
    Seconds,
    /// A share of a whole, where 1 is all of it.
    Share,
    /// A size in bytes.
    Bytes,
    /// A point in time, in milliseconds since 1970.
    Moment,
}

/// One panel: a picture of one or more queries.
pub struct Panel {
    pub title: &'static str,
    /// What it shows, and what is good.
    pub help: &'static str,
    pub show: Show,
    pub unit: Unit,
    /// The smallest value that is bad, if there is one.
    pub bad_from: Option<f64>,
    /// Legends and queries.
    pub queries: &'static [(&'static str, &'static str)],
    /// Why a server that is busy and well, with the embedded log, has no data for it; none when it has.
    pub empty_because: Option<&'static str>,
}

/// One dashboard, which is one file for Grafana.
pub struct Dashboard {
    pub title: &'static str,
    pub panels: &'static [Panel],
}

impl Dashboard {
    /// The id by which links find it.
    pub fn uid(&self) -> String {
        format!("headroom-{}", self.title.to_lowercase())
    }

    pub fn file(&self) -> String {
        format!("{}.json", self.title.to_lowercase())
    }
}

/// A query with the choices of the reader in it.
pub fn expanded(query: &str) -> String {
    let job = "namespace=~\"$namespace\", job=~\"$job\"";
    let process = format!("{job}, instance=~\"$instance\"");
    let partition = format!("{process}, partition=~\"$partition\"");
    let calls = "route=~\"/v1/.+|/headroom[.]v1[.]Capacity/.+\", route!~\".+/WatchPools\"";
    query.replace("@calls", calls).replace("@job", job).replace("@process", &process).replace("@partition", &partition)
}

const fn panel(
    title: &'static str,
    help: &'static str,
    show: Show,
    unit: Unit,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, help, show, unit, bad_from: None, queries, empty_because: None }
}

impl Panel {
    const fn bad_from(self, bad: f64) -> Panel {
        Panel { bad_from: Some(bad), ..self }
    }

    const fn only(self, because: &'static str) -> Panel {
        Panel { empty_because: Some(because), ..self }
    }
}

/// Why a panel needs a cluster; `brokered::dashboards` has one.
pub const KAFKA: &str = "Only a log on Kafka has it.";
const OWNERS: &str = "It takes an owner that follows on another.";
const TLS: &str = "Only a server with TLS has it.";
const SINK: &str = "Only headroom sink has it.";
const AUTH: &str = "Only a server with auth has it.";

/// Every dashboard, in the order in which a reader needs them.
pub const ALL: &[Dashboard] = &[
    Dashboard { title: "Promises", panels: PROMISES },
    Dashboard { title: "Partitions", panels: PARTITIONS },
    Dashboard { title: "Gateway", panels: GATEWAY },
    Dashboard { title: "Process", panels: PROCESS },
];

#[rustfmt::skip]
const PROMISES: &[Panel] = &[
    panel("Calls answered as promised", "The share of calls of three days that were answered within 100 ms, decided or refused for a reason of business. The objective is 99.99 %.",
        Show::Now, Unit::Share, &[("{{job}}", "1 - headroom:calls_missed:ratio_rate3d{@job}")]),
    panel("Budget burnt", "How many times faster than allowed calls are missed. Above 14.4 over an hour, or 6 over six hours, somebody is woken up.",
        Show::Lines, Unit::Count, &[
            ("1 hour, {{job}}", "headroom:calls_missed:ratio_rate1h{@job} / 0.0001"),
            ("6 hours, {{job}}", "headroom:calls_missed:ratio_rate6h{@job} / 0.0001"),
            ("3 days, {{job}}", "headroom:calls_missed:ratio_rate3d{@job} / 0.0001"),
        ]).bad_from(14.4),
    panel("Calls missed", "Calls that were not answered as promised, and which of them took longer than 100 ms.",
        Show::Lines, Unit::PerSecond, &[
            ("missed, {{job}}", "headroom:calls_missed:rate5m{@job}"),
            ("slow", r#"sum(rate(headroom_http_request_seconds_count{@process, @calls, status!="408"}[5m])) - sum(rate(headroom_http_request_seconds_bucket{@process, le="0.1", @calls, status!="408"}[5m]))"#),
        ]),
    panel("Laws broken", "Breaches of the laws L1 to L10 that a process has found. One is too many.",
        Show::Now, Unit::Count, &[("{{law}}", "sum by (law) (headroom_law_breaches_total{@process})")]).bad_from(1.0),
    panel("Partitions that are not decided", "Partitions of which no process sees a decision.",
        Show::Lines, Unit::Count, &[("not decided", "sum(1 - max by (namespace, job, partition) (headroom_partition_deciding{@partition}))")]).bad_from(1.0),
    panel("Pools above their limit", "Pools that use more than their limit, because a planner has lowered it. They accept nothing, and evict nobody.",
        Show::Lines, Unit::Count, &[("partition {{partition}}", "max by (partition) (headroom_pools_over_committed{@partition})")]),
    panel("Canary: last success", "Seconds since a canary call on the partition has succeeded, through any process.",
        Show::Lines, Unit::Seconds, &[("partition {{partition}}", "time() - max by (partition) (headroom_canary_last_success_timestamp_seconds{@partition})")])
        .bad_from(60.0),
    panel("Canary: calls", "Canary calls by what became of them.",
        Show::Stack, Unit::PerSecond, &[("{{outcome}}", "sum by (outcome) (rate(headroom_canary_calls_total{@partition}[$__rate_interval]))")]),
    panel("Canary: time", "How long 99 of 100 canary calls took at most.",
        Show::Lines, Unit::Seconds, &[("partition {{partition}}", "histogram_quantile(0.99, sum by (partition, le) (rate(headroom_canary_seconds_bucket{@partition}[$__rate_interval])))")])
        .bad_from(0.1),
];

#[rustfmt::skip]
const PARTITIONS: &[Panel] = &[
    panel("Owners", "The status of each partition in each process. Exactly one process is active.",
        Show::States, Unit::Count, &[("{{partition}}: {{status}}, {{instance}}", "headroom_partition_status{@partition} == 1")]),
    panel("Outage", "For how long nothing of the partition is decided, as far as the process knows.",
        Show::Lines, Unit::Seconds, &[("{{partition}}, {{instance}}", "headroom_partition_outage_seconds{@partition}")]).bad_from(2.0),
    panel("Silence", "For how long a sign of life is missing: decisions on commands that wait, an answer of the log, a note of an owner.",
        Show::Lines, Unit::Seconds, &[("{{partition}} {{sign}}", "max by (partition, sign) (headroom_partition_silence_seconds{@partition})")]).bad_from(2.0),
    panel("Lag", "For how long the state of a process may have been behind the log.",
        Show::Lines, Unit::Seconds, &[("{{partition}}, {{instance}}", "headroom_partition_lag_seconds{@partition}")]).bad_from(10.0),
    panel("Lag in records", "Records of the log that the state of a process does not have yet.",
        Show::Lines, Unit::Count, &[("{{partition}}, {{instance}}", "headroom_partition_lag_records{@partition}")]),
    panel("Commands waiting", "Commands that the owner has not taken yet.",
        Show::Lines, Unit::Count, &[("{{partition}}, {{instance}}", "headroom_commands_waiting{@partition}")]),
    panel("Events", "Decisions by their kind.",
        Show::Stack, Unit::PerSecond, &[("{{kind}} {{reason}}", "sum by (kind, reason) (rate(headroom_events_total{@partition}[$__rate_interval]))")]),
    panel("Turns", "Turns by the outcome of their commit.",
        Show::Stack, Unit::PerSecond, &[("{{outcome}}", "sum by (outcome) (rate(headroom_turns_total{@partition}[$__rate_interval]))")]),
    panel("Events of a turn", "Decisions that one commit makes durable, on average.",
        Show::Lines, Unit::Count, &[("{{partition}}", "sum by (partition) (rate(headroom_turn_records_sum{@partition}[$__rate_interval])) / sum by (partition) (rate(headroom_turn_records_count{@partition}[$__rate_interval]))")]),
    panel("Commits", "How long 99 of 100 commits took at most.",
        Show::Lines, Unit::Seconds, &[("{{partition}}", "histogram_quantile(0.99, sum by (partition, le) (rate(headroom_commit_seconds_bucket{@partition}[$__rate_interval])))")]).bad_from(0.1),
    panel("Pause between turns", "From the end of a turn to the earliest begin of the next one.",
        Show::Lines, Unit::Seconds, &[("{{partition}}, {{instance}}", "headroom_kafka_turn_pause_seconds{@partition}")]).only(KAFKA),
    panel("Slow commits", "Commits of 90 ms or more, and turns that had to wait for the coordinator.",
        Show::Lines, Unit::PerSecond, &[
            ("slow, {{partition}}", "sum by (partition) (rate(headroom_kafka_slow_commits_total{@partition}[$__rate_interval]))"),
            ("waited, {{partition}}", "sum by (partition) (rate(headroom_kafka_turns_waited_total{@partition}[$__rate_interval]))"),
        ]).only(KAFKA),
    panel("Held back", "Commands that cannot be read, because somebody left a transaction open on their topic.",
        Show::Lines, Unit::Count, &[("{{partition}}", "max by (partition) (headroom_kafka_commands_held_back{@partition})")]).bad_from(1.0).only(KAFKA),
    panel("Ends of owners", "Owners that ended or could not begin, by reason.",
        Show::Lines, Unit::Count, &[("{{partition}} {{reason}}", "sum by (partition, reason) (increase(headroom_owner_ends_total{@partition}[5m]))")]),
    panel("Handover", "How long nobody decided when the partition changed its owner, on average.",
        Show::Lines, Unit::Seconds, &[("{{partition}}", "sum by (partition) (rate(headroom_handover_seconds_sum{@partition}[1h])) / sum by (partition) (rate(headroom_handover_seconds_count{@partition}[1h]))")]).only(OWNERS),
    panel("Owners so far", "How many owners the partition has had. It grows with each start and each handover.",
        Show::Lines, Unit::Count, &[("{{partition}}", "max by (partition) (headroom_partition_epoch{@partition})")]),
    panel("Processes that left the group", "Processes that left their partitions to others, by reason.",
        Show::Lines, Unit::Count, &[("{{reason}}, {{instance}}", "increase(headroom_withdrawals_total{@process}[5m])")]),
    panel("Rebuild", "How long the last rebuild of the state took, and how many events it read.",
        Show::Now, Unit::Seconds, &[("{{partition}}, {{instance}}", "headroom_recovery_seconds{@partition}")]),
    panel("Checkpoint age", "Time since the process has written a checkpoint. A partition that nobody calls writes none.",
        Show::Lines, Unit::Seconds, &[("{{partition}}, {{instance}}", "time() - headroom_checkpoint_timestamp_seconds{@partition}")]),
    panel("Events without a checkpoint", "What a start of the process reads from the log.",
        Show::Lines, Unit::Count, &[("{{partition}}, {{instance}}", "headroom_checkpoint_missing_events{@partition}")]).bad_from(65536.0),
    panel("Snapshot age", "Time since the last event in the newest snapshot, as the owner knows it. A partition that nobody calls writes none.",
        Show::Lines, Unit::Seconds, &[("{{partition}}, {{instance}}", "time() - headroom_snapshot_timestamp_seconds{@partition}")]),
    panel("Events without a snapshot", "What a start without a checkpoint reads from the log.",
        Show::Lines, Unit::Count, &[("{{partition}}, {{instance}}", "headroom_snapshot_missing_events{@partition}")]),
    panel("Snapshots", "Snapshots that were written, that could not be, that a start could not use, and that have more events than the log.",
        Show::Lines, Unit::Count, &[
            ("written, {{instance}}", "sum by (instance) (increase(headroom_snapshot_writes_total{@partition}[1h]))"),
            ("failed, {{instance}}", "sum by (instance) (increase(headroom_snapshot_failures_total{@partition}[1h]))"),
            ("passed over, {{instance}}", "sum by (instance) (increase(headroom_snapshot_passed_over_total{@partition}[1h]))"),
            ("ahead of the log, {{instance}}", "sum by (instance) (headroom_snapshots_ahead{@partition})"),
        ]),
    panel("Snapshot size", "Length of the last snapshot that the owner wrote.",
        Show::Lines, Unit::Bytes, &[("{{partition}}, {{instance}}", "headroom_snapshot_bytes{@partition}")]),
    panel("Memory used", "Share of what the partition may remember. At 1, new reservations are refused.",
        Show::Lines, Unit::Share, &[("{{partition}}", "max by (partition) (headroom_memory_used_ratio{@partition})")]).bad_from(0.8),
    panel("Live reservations", "Reservations that take capacity now, and pools.",
        Show::Lines, Unit::Count, &[
            ("reservations, {{partition}}", "max by (partition) (headroom_reservations_live{@partition})"),
            ("pools, {{partition}}", "max by (partition) (headroom_pools{@partition})"),
        ]),
    panel("Clocks", "How far the time of the partition is ahead of the machine, and the machine away from its broker.",
        Show::Lines, Unit::Seconds, &[
            ("ahead, {{partition}}, {{instance}}", "headroom_clock_ahead_seconds{@partition}"),
            ("broker, {{partition}}, {{instance}}", "abs(headroom_clock_broker_offset_seconds{@partition}) or headroom_clock_ahead_seconds{@partition} * 0"),
        ]).bad_from(5.0),
    panel("Dead letters", "Commands that nobody can decide, and vain tries to write them to their topic.",
        Show::Lines, Unit::Count, &[
            ("letters, {{partition}}", "sum by (partition) (increase(headroom_dead_letters_total{@partition}[1h]))"),
            ("not written, {{partition}}", "sum by (partition) (increase(headroom_dead_letter_failures_total{@partition}[1h]))"),
        ]).bad_from(1.0),
];

#[rustfmt::skip]
const GATEWAY: &[Panel] = &[
    panel("Calls", "Calls that were answered, by route.",
        Show::Stack, Unit::PerSecond, &[("{{method}} {{route}}", "sum by (method, route) (rate(headroom_http_requests_total{@process}[$__rate_interval]))")]),
    panel("Outcomes", "Answers by their code: ok, or why not.",
        Show::Stack, Unit::PerSecond, &[("{{code}}", "sum by (code) (rate(headroom_http_requests_total{@process}[$__rate_interval]))")]),
    panel("Latency", "How long 50, 99 and 99.9 of 100 calls took at most.",
        Show::Lines, Unit::Seconds, &[
            ("50 %", "histogram_quantile(0.5, sum by (le) (rate(headroom_http_request_seconds_bucket{@process, @calls}[$__rate_interval])))"),
            ("99 %", "histogram_quantile(0.99, sum by (le) (rate(headroom_http_request_seconds_bucket{@process, @calls}[$__rate_interval])))"),
            ("99.9 %", "histogram_quantile(0.999, sum by (le) (rate(headroom_http_request_seconds_bucket{@process, @calls}[$__rate_interval])))"),
        ]).bad_from(0.1),
    panel("Stages", "How long 99 of 100 calls spent in each stage at most. admit, append, wait and answer add up to a call; decide, commit and reply are what the owner does meanwhile.",
        Show::Lines, Unit::Seconds, &[("{{stage}}", "histogram_quantile(0.99, sum by (stage, le) (rate(headroom_stage_seconds_bucket{@process}[$__rate_interval])))")]).bad_from(0.1),
    panel("Within 100 ms", "The share of calls of each route that were answered within 100 ms.",
        Show::Lines, Unit::Share, &[("{{route}}", r#"sum by (route) (rate(headroom_http_request_seconds_bucket{@process, le="0.1", @calls}[$__rate_interval])) / sum by (route) (rate(headroom_http_request_seconds_count{@process, @calls}[$__rate_interval]))"#)]),
    panel("Shed", "Calls that were refused at once because they could not have been answered in time, by reason.",
        Show::Stack, Unit::PerSecond, &[("{{reason}}", "sum by (reason) (rate(headroom_shed_total{@process}[$__rate_interval]))")]),
    panel("Over quota", "Calls of callers that call more often than they may.",
        Show::Stack, Unit::PerSecond, &[("{{principal}} {{kind}}", "sum by (principal, kind) (rate(headroom_over_quota_total{@process}[$__rate_interval]))")]),
    panel("Calls in flight", "Calls that have not been answered yet, and takings back that the log does not have yet.",
        Show::Lines, Unit::Count, &[
            ("{{partition}}, {{instance}}", "headroom_calls_in_flight{@partition}"),
            ("to be taken back, {{instance}}", "headroom_abandon_backlog{@process}"),
            ("pending, {{instance}}", "headroom_correlator_pending{@process}"),
        ]),
    panel("Connections", "Connections that are open.",
        Show::Lines, Unit::Count, &[("{{instance}}", "headroom_http_connections{@process}")]),
    panel("Age of lists", "How old the states were that 99 of 100 lists of pools were answered from, at most.",
        Show::Lines, Unit::Seconds, &[("99 %", "histogram_quantile(0.99, sum by (le) (rate(headroom_read_staleness_seconds_bucket{@process}[$__rate_interval])))")]).bad_from(1.0),
    panel("Who is known", "API tokens, keys of the issuer of JWTs, and names in client certificates that are known.",
        Show::Lines, Unit::Count, &[("{{source}}, {{instance}}", "headroom_access_known{@process}")]).only(AUTH),
    panel("Files not read again", "1 while tokens, keys or certificates cannot be read again, by source; without a source, the files of TLS. What was known stays in force.",
        Show::Lines, Unit::Count, &[("{{instance}} {{source}}", "headroom_access_unreadable{@process} or headroom_tls_unusable{@process}")]).bad_from(1.0),
];

#[rustfmt::skip]
const PROCESS: &[Panel] = &[
    panel("Versions", "Which version each process runs.",
        Show::Now, Unit::Count, &[("{{version}}", "count by (version) (headroom_build_info{@process})")]),
    panel("Starts", "Since when each process runs.",
        Show::Now, Unit::Moment, &[("{{instance}}", "process_start_time_seconds{@process} * 1000 and on (namespace, job, instance) headroom_build_info")]),
    panel("CPU", "Processors that the process uses.",
        Show::Lines, Unit::Count, &[("{{instance}}", "rate(process_cpu_seconds_total{@process}[$__rate_interval]) and on (namespace, job, instance) headroom_build_info")]),
    panel("Memory", "Memory that the process has from the system, and the most that it may have.",
        Show::Lines, Unit::Bytes, &[
            ("{{instance}}", "process_resident_memory_bytes{@process} and on (namespace, job, instance) headroom_build_info"),
            ("limit of {{instance}}", "headroom_process_memory_limit_bytes{@process}"),
        ]),
    panel("Memory of partitions", "What partitions remember, counted by a formula, and the most that one of them may.",
        Show::Lines, Unit::Bytes, &[
            ("{{partition}}, {{instance}}", "headroom_memory_bytes{@partition}"),
            ("limit", "max(headroom_memory_limit_bytes{@process})"),
        ]),
    panel("Open files", "Share of the open files that the process may have.",
        Show::Lines, Unit::Share, &[("{{instance}}", "process_open_fds{@process} / process_max_fds{@process} and on (namespace, job, instance) headroom_build_info")]).bad_from(0.8),
    panel("Threads", "Threads of the process.",
        Show::Lines, Unit::Count, &[("{{instance}}", "process_threads{@process} and on (namespace, job, instance) headroom_build_info")]),
    panel("Disk", "Share of the filesystem of the data directory that is free.",
        Show::Lines, Unit::Share, &[("{{instance}}", "headroom_data_filesystem_avail_bytes{@process} / headroom_data_filesystem_size_bytes{@process}")]),
    panel("Log file", "Size of the embedded log. It never becomes smaller, unless log_keep bounds it.",
        Show::Lines, Unit::Bytes, &[("{{instance}}", "headroom_log_file_bytes{@process}")]),
    panel("Certificate", "When the certificate that is served expires.",
        Show::Now, Unit::Moment, &[("{{instance}}", "(headroom_tls_certificate_expiry_timestamp_seconds{@process} > 0) * 1000")]).only(TLS),
    panel("Steps of the clock", "Steps of the machine's wall clock by half a second or more.",
        Show::Lines, Unit::Count, &[("{{direction}}, {{instance}}", "increase(headroom_clock_steps_total{@process}[1h])")]).bad_from(1.0),
    panel("Log lines and spans left out", "Lines of the access log that nobody read in time, and spans that no collector took.",
        Show::Lines, Unit::PerSecond, &[
            ("lines, {{instance}}", "rate(headroom_access_lines_left_out_total{@process}[$__rate_interval])"),
            ("spans {{outcome}}, {{instance}}", "rate(headroom_trace_spans_total{@process}[$__rate_interval])"),
        ]),
    panel("Checkpoints", "Checkpoints that were written, that could not be, and that did not match the log.",
        Show::Lines, Unit::PerSecond, &[
            ("written, {{instance}}", "sum by (instance) (rate(headroom_checkpoint_writes_total{@partition}[$__rate_interval]))"),
            ("failed, {{instance}}", "sum by (instance) (rate(headroom_checkpoint_failures_total{@partition}[$__rate_interval]))"),
            ("deleted, {{instance}}", "sum by (instance) (rate(headroom_store_wiped_total{@partition}[$__rate_interval]))"),
        ]),
    panel("Sink: events to write", "Events that headroom sink has not written yet.",
        Show::Lines, Unit::Count, &[("{{partition}}, {{instance}}", "headroom_sink_behind_events{@partition}")]).only(SINK),
    panel("Sink: age", "How long the oldest event has waited that headroom sink has not written.",
        Show::Lines, Unit::Seconds, &[("{{partition}}, {{instance}}", "time() - (headroom_sink_oldest_event_timestamp_seconds{@partition} > 0)")]).bad_from(900.0).only(SINK),
    panel("Sink: rows", "Rows that headroom sink has written, and how often it had to wait.",
        Show::Lines, Unit::PerSecond, &[
            ("rows, {{instance}}", "sum by (instance) (rate(headroom_sink_rows_total{@partition}[$__rate_interval]))"),
            ("waits, {{instance}}", "rate(headroom_sink_failures_total{@process}[$__rate_interval])"),
        ]).only(SINK),
    panel("Sink: stopped partitions", "Partitions of which headroom sink writes nothing more until somebody has acted.",
        Show::Lines, Unit::Count, &[("{{partition}}, {{instance}}", "headroom_sink_stopped{@partition}")]).bad_from(1.0).only(SINK),
    panel("Partitions that the log does not have", "Partitions given to the process that the manifest of the log does not count.",
        Show::Lines, Unit::Count, &[("{{instance}}", "headroom_partitions_unknown{@process}")]).bad_from(1.0),
];
