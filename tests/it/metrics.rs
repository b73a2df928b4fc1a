//! Names, types, labels and help of every metric, against `tests/golden/metrics.txt` and the page of metrics: dashboards
//! and alerts are built on them. `HEADROOM_REWRITE_GOLDEN=1` writes both anew.

use crate::access::issuer::{Key, jwks};
use crate::access::jwt::issuer;
use crate::process::{headroom, run};
use crate::server::Server;
use crate::wait::until;
use crate::world::becomes;
use headroom::access::oidc::KeySource;
use headroom::access::{Access, Ways};
use headroom::api::http::{Finished, Metrics as _};
use headroom::api::operation::Operation;
use headroom::domain::{Breach, EventKind, Law, Micros, Name, Reason};
use headroom::gateway::Gateway;
use headroom::gateway::admission::Shed;
use headroom::log::dead_letters::Undecidable;
use headroom::log::{AppendError, CommandSink, CommitOutcome, NewCommand};
use headroom::owner::{DeadCommands, OwnerEnd, Recovered, Report, TurnReport};
use headroom::replica::{Compared, PartitionState, PartitionStatus, Replica, Seal};
use headroom::sink::{Batch, Rare, Report as _};
use headroom::telemetry::{CanaryMetrics, Described, Disk, Metrics, Pace, ProcessMemory, SinkMetrics, table};
use headroom::time::{Clock, Stamp, Stopwatch, SystemClock};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A log of which three commands wait.
struct Waiting;

impl CommandSink for Waiting {
    fn append(&self, _: NewCommand<'_>) -> Result<(), AppendError> {
        Ok(())
    }
    fn waiting(&self, _: u32) -> usize {
        3
    }

    fn stalled(&self, _: u32) -> Duration {
        Duration::ZERO
    }
}

/// A checkpoint is deleted, and a fresh state takes the place of one that was the same.
fn replaced(metrics: &Metrics) {
    metrics.store_wiped(0, "odd");
    let seal = Seal::of(&PartitionState::new(0));
    metrics.swapped(0, &Compared { living: seal, fresh: seal });
}

/// Every metric, each with something in it, and what is said of them. The sink must outlive the rendering: metrics keep
/// nothing alive.
fn exported() -> (String, Vec<Described>) {
    let metrics = Metrics::new();
    let replica = Arc::new(Replica::new(1));
    let commands: Arc<dyn CommandSink> = Arc::new(Waiting);
    let clock = Arc::new(SystemClock::new());
    let gateway = Arc::new(Gateway::new(1, 250, Arc::clone(&commands), Arc::clone(&replica), clock));
    metrics.watch(&gateway, Arc::clone(&commands));
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.json");
    std::fs::write(&keys, jwks(&[&Key::ed("a")])).unwrap();
    let ways = Ways { issuer: Some(issuer(KeySource::File(keys))), ..Ways::default() };
    let access = Arc::new(Access::only(ways, Arc::new(SystemClock::new())).unwrap());
    metrics.watch_access(&access);
    metrics.watch_turns(1, |_| Pace { waited: 6, slow_commits: 0, pause_us: 3_500, held_back: 4, letter_failures: 2 });
    metrics.recovered(0, &Recovered { events: 9, read: 7, took_us: 2_000_000, from_checkpoint: true });
    replaced(&metrics);
    let partition = replica.partition(0).unwrap();
    partition.time().set_broker_stamp(Some(Stamp::new(SystemClock::new().wall(), Stopwatch::start())));
    becomes(partition, PartitionStatus::Active);
    metrics.turn(
        0,
        &turn([(EventKind::Accepted, None, 3), (EventKind::Released, None, 1), (EventKind::Expired, None, 1)]),
    );
    metrics.turn(0, &turn([(EventKind::Accepted, None, 4), (EventKind::Rejected, Some(Reason::OverLimit), 2)]));
    let first = Undecidable { offset: 7, at: Micros(1), reason: "misrouted".to_owned() };
    metrics.turn(0, &TurnReport { dead: Some(DeadCommands { first, count: 3 }), ..turn([]) });
    metrics.began(0, Some(150_000));
    metrics.ended(0, OwnerEnd::Fenced);
    metrics.disk(&Disk { log_file_bytes: Some(1 << 20), avail_bytes: 1 << 30, size_bytes: 1 << 31 });
    metrics.process_memory(&ProcessMemory { used_bytes: 1 << 28, limit_bytes: 1 << 30 });
    [Ok(5), Err("no space")].into_iter().for_each(|written| metrics.checkpoint(0, written));
    metrics.request_finished(&Finished {
        method: "POST",
        route: "/v1/reservations",
        operation: Some(Operation::Reserve),
        principal: None,
        protocol: "HTTP/1.1",
        peer: None,
        status: 201,
        code: "ok",
        title: "",
        trace_id: "1-1",
        at: Micros(0),
        took_us: 12_000,
        answer_us: Some(2_000),
        bytes: 300,
    });
    let (refused, partner) = (Some(Operation::GetPool), Name::new("partner").unwrap());
    metrics.request_finished(&Finished {
        method: "GET",
        route: "/v1/pools/{pool}",
        operation: refused,
        principal: Some(&partner),
        protocol: "HTTP/2",
        peer: None,
        status: 429,
        code: "over_quota",
        title: "",
        trace_id: "1-2",
        at: Micros(0),
        took_us: 100,
        answer_us: None,
        bytes: 300,
    });
    metrics.connected();
    as_a_canary(metrics.canary());
    as_a_sink(metrics.sink());
    as_a_writer_of_snapshots(&metrics);
    metrics.shed(Shed::Wait);
    metrics.breach(&Breach { law: Law::Chain, partition: 0, seq: 4, detail: "a gap".to_owned() });
    (metrics.render(), metrics.catalogue())
}

/// A writer that wrote one snapshot and failed at the next, on a partition whose start passed one over, beside a keeper of the
/// log that counts on them.
fn as_a_writer_of_snapshots(metrics: &Metrics) {
    let heard: &dyn headroom::snapshot::Heard = metrics.snapshots();
    heard.began(0, Micros(1));
    metrics.snapshot(0, Err("its rows are damaged"));
    heard.newest(0, Micros(2));
    heard.missing(0, 3);
    heard.written(0, 9, 300);
    heard.ahead(0, 1, 9);
    heard.failed(0, "the place is gone");
    as_a_keeper_of_the_log(metrics.log());
}

/// A keeper of a log from which one segment has left, and another one cannot.
fn as_a_keeper_of_the_log(heard: &dyn headroom::archive::Heard) {
    heard.begins(0, 9);
    heard.left(0, true);
    heard.overdue(5_000);
    heard.failed("the archive is gone");
}

/// A canary of which one round passed and one failed.
fn as_a_canary(canary: &CanaryMetrics) {
    canary.begins(0, 1);
    canary.passed(0, 2, 4_000);
    canary.failed(0, "timeout");
}

/// A sink that has written a batch, had to wait, and has stopped.
fn as_a_sink(sink: &SinkMetrics) {
    let batch = Batch {
        partition: 0,
        from: 3,
        until: 5,
        chain: None,
        decided_until: None,
        rows: Vec::new(),
        row_count: 2,
        rare: Rare::default(),
        aside: Vec::new(),
    };
    sink.looked(0, true, 2, Some(Micros(7_000_000)));
    sink.written(&batch, Duration::from_millis(30), Micros(9_000_000));
    sink.failed(None, "the database is down");
    sink.stopped(0, "an event cannot be read");
}

fn rendered() -> String {
    exported().0
}

fn turn<const N: usize>(events: [(EventKind, Option<Reason>, u64); N]) -> TurnReport {
    let change = |(kind, _, count): &(EventKind, Option<Reason>, u64)| match kind {
        EventKind::Accepted => *count as i64,
        EventKind::Released | EventKind::Expired => -(*count as i64),
        _ => 0,
    };
    let live = events.iter().map(change).sum();
    let events = events.into_iter().map(|(kind, reason, count)| ((kind, reason), count)).collect();
    let (outcome, dead, retired) = (CommitOutcome::Ok, None, None);
    TurnReport {
        outcome,
        events,
        dead,
        retired,
        live_change: live,
        memory_bytes: 0,
        commands: 7,
        turn_us: 4_000,
        commit_us: 3_000,
        reply_us: 200,
    }
}

/// The story: a process had owned a partition on a busy evening, and its number of that evening was the largest one of the panel
/// for days.
#[test]
fn a_process_that_owns_a_partition_no_more_counts_the_reservations_of_its_state() {
    let (metrics, replica) = (Metrics::new(), Arc::new(Replica::new(1)));
    let commands: Arc<dyn CommandSink> = Arc::new(Waiting);
    let clock = Arc::new(SystemClock::new());
    let gateway = Arc::new(Gateway::new(1, 250, Arc::clone(&commands), Arc::clone(&replica), clock));
    metrics.watch(&gateway, Arc::clone(&commands));
    let partition = replica.partition(0).unwrap();
    becomes(partition, PartitionStatus::Active);
    metrics.turn(0, &turn([(EventKind::Accepted, None, 3)]));
    let counted = |live: u64| {
        let (text, line) = (metrics.render(), format!("headroom_reservations_live{{partition=\"0\"}} {live}"));
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    };
    counted(3);
    becomes(partition, PartitionStatus::Standby);
    counted(0);
}

/// `name type {labels} help` of all that a text of Prometheus has, by name.
fn catalogue(text: &str) -> Vec<String> {
    let (mut types, mut helps) = (BTreeMap::new(), BTreeMap::new());
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), help) => drop(helps.insert(name, help.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => drop(types.insert(name, kind)),
            _ => {
                let (sample, _) = line.rsplit_once(' ').unwrap();
                let (name, pairs) = sample.split_once('{').unwrap_or((sample, ""));
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let family = family.filter(|family| types.get(family) == Some(&"histogram")).unwrap_or(name);
                let names = pairs.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
                labels.entry(family).or_default().extend(names.filter(|name| *name != "le"));
            }
        }
    }
    let line = |(name, kind): (&&str, &&str)| {
        let labels: Vec<_> = labels.get(name).into_iter().flatten().copied().collect();
        format!("{name} {kind} {{{}}} {}", labels.join(","), helps[name])
    };
    types.iter().map(line).collect()
}

/// The same of what is said of the metrics.
fn described(rows: &[Described]) -> Vec<String> {
    let line = |Described { name, kind, labels, help, .. }: &Described| {
        format!("{name} {} {{{}}} {help}", kind.name(), labels.join(","))
    };
    rows.iter().map(line).collect()
}

/// Compares a file of the tree, or writes it anew.
fn golden(path: &str, now: &str, found: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        std::fs::write(file, now).unwrap();
    } else {
        assert!(found == now, "{path} has to be\n{now}");
    }
}

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

#[test]
fn all_that_is_exported_is_described_and_all_that_is_described_can_be_exported() {
    let (text, rows) = exported();
    assert_eq!(catalogue(&text), described(&rows));
    let lines: String = described(&rows).iter().map(|line| format!("{line}\n")).collect();
    golden("tests/golden/metrics.txt", &lines, &file("tests/golden/metrics.txt"));
}

/// The page with the table of metrics. Before the table are words that a person has written.
const PAGE: &str = "src/telemetry/README.md";

#[test]
fn the_page_has_the_table_that_the_command_prints() {
    let (page, rows) = (file(PAGE), Metrics::new().catalogue());
    let head = table(&[]);
    let begin = page.find(head.lines().next().unwrap()).expect("the head of the table");
    golden(PAGE, &format!("{}{}", &page[..begin], table(&rows)), &page);
    let printed = run(&mut headroom(["metrics"]));
    assert_eq!((printed.code, printed.out, printed.err.as_str()), (0, table(&rows), ""));
    let printed = run(&mut headroom(["metrics", "--json"]));
    let json: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!((printed.code, &json), (0, &serde_json::to_value(&rows).unwrap()));
    let stages = json.as_array().unwrap().iter().find(|row| row["name"] == "headroom_stage_seconds").unwrap();
    assert_eq!(
        (&stages["kind"], &stages["labels"], &stages["unit"]),
        (&json!("histogram"), &json!(["stage"]), &json!("seconds"))
    );
}

#[test]
fn a_metric_is_named_as_prometheus_names_them() {
    for Described { name, kind, labels, help, .. } in Metrics::new().catalogue() {
        assert_eq!(kind.name() == "counter", name.ends_with("_total"), "{name} is a {}", kind.name());
        assert!(
            !["_ms", "_us", "_percent", "_kb"].iter().any(|unit| name.ends_with(unit)),
            "{name} is in no base unit"
        );
        assert!(labels.iter().all(|label| !name.contains(&format!("_by_{label}"))), "{name} has {labels:?}");
        assert!(help.ends_with('.') && !help.contains('|'), "{name}: {help}");
    }
}

/// What a process says of itself comes from the metrics library.
const OF_PROCESS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

#[test]
fn a_running_server_exports_what_is_described_and_shows_its_disk_its_owner_and_its_process() {
    let server = Server::alone();
    server.pool("p", 1);
    let client = &mut server.client();
    client.send("POST", "/v1/reservations", &[], r#"{"pool":"p","demand":{"orders":1}}"#);
    let mut text = String::new();
    until("the disk and the memory were looked at", || {
        text = client.get("/metrics").body;
        ["headroom_data_filesystem_avail_bytes ", "headroom_process_memory_limit_bytes "]
            .iter()
            .all(|name| text.contains(name))
    });
    let known = described(&Metrics::new().catalogue());
    let name = |line: &str| line.split(' ').next().unwrap().to_owned();
    let names: BTreeSet<String> = known.iter().map(|line| name(line)).collect();
    let found: BTreeSet<String> = catalogue(&text).iter().map(|line| name(line)).collect();
    assert!(found.is_subset(&names), "{:?}", found.difference(&names));
    assert!(OF_PROCESS.iter().all(|name| found.contains(*name)), "{found:?}");
    let value = |start: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let [avail, size] = ["avail", "size"].map(|of| value(&format!("headroom_data_filesystem_{of}_bytes ")));
    assert!(value("headroom_log_file_bytes ") > 0.0 && avail > 0.0 && avail <= size, "{avail} of {size}");
    let [resident, most] = ["process_resident_memory_bytes ", "headroom_process_memory_limit_bytes "].map(value);
    assert!(0.0 < resident && resident < most, "{resident} of {most}");
    for (start, expected) in [
        ("headroom_partition_epoch{", 1.0),
        ("headroom_partition_lag_records{", 0.0),
        ("headroom_partition_outage_seconds{", 0.0),
        ("headroom_partition_silence_seconds{partition=\"0\",sign=\"owner\"}", 0.0),
        ("headroom_partition_status{partition=\"0\",status=\"active\"}", 1.0),
        ("headroom_owner_ends_total{partition=\"0\",reason=\"fenced\"}", 0.0),
        ("headroom_handover_seconds_count{", 0.0),
    ] {
        assert_eq!(value(start), expected, "{start}");
    }
    let since = value("headroom_checkpoint_timestamp_seconds{") - value("process_start_time_seconds");
    assert!(since > -2.0, "a checkpoint of {since} s after the process began");
}

/// The promise is about 100 ms: whoever asks how many calls kept it must not have to guess between two edges.
#[test]
fn every_histogram_of_times_has_the_edges_that_promises_are_about() {
    let text = rendered();
    let histograms = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"));
    let times: Vec<_> = histograms.filter(|name| name.ends_with("_seconds")).collect();
    assert!(times.len() >= 4, "{times:?}");
    for (name, edge) in times.iter().flat_map(|name| ["0.05", "0.1", "0.25", "1"].map(|edge| (name, edge))) {
        let has =
            |line: &str| line.starts_with(&format!("{name}_bucket{{")) && line.contains(&format!("le=\"{edge}\""));
        assert!(text.lines().any(has), "{name} has no edge at {edge} s");
    }
}

#[test]
fn what_happened_is_counted() {
    let text = rendered();
    for line in [
        "headroom_reservations_live{partition=\"0\"} 5",
        "headroom_events_total{kind=\"Accepted\",partition=\"0\",reason=\"\"} 7",
        "headroom_events_total{kind=\"Rejected\",partition=\"0\",reason=\"over_limit\"} 2",
        "headroom_commands_waiting{partition=\"0\"} 3",
        "headroom_partition_status{partition=\"0\",status=\"active\"} 1",
        "headroom_partition_status{partition=\"0\",status=\"restoring\"} 0",
        "headroom_kafka_turns_waited_total{partition=\"0\"} 6",
        "headroom_kafka_slow_commits_total{partition=\"0\"} 0",
        "headroom_kafka_turn_pause_seconds{partition=\"0\"} 0.0035",
        "headroom_over_quota_total{kind=\"read\",principal=\"partner\"} 1",
        "headroom_law_breaches_total{law=\"L3\"} 1",
        "headroom_law_breaches_total{law=\"L1\"} 0",
        "headroom_turn_seconds_bucket{partition=\"0\",le=\"0.005\"} 3",
        "headroom_dead_letters_total{partition=\"0\"} 3",
        "headroom_dead_letter_failures_total{partition=\"0\"} 2",
        "headroom_handover_seconds_bucket{partition=\"0\",le=\"0.1\"} 0",
        "headroom_handover_seconds_bucket{partition=\"0\",le=\"0.15\"} 1",
        "headroom_owner_ends_total{partition=\"0\",reason=\"fenced\"} 1",
        "headroom_state_swaps_total{partition=\"0\",result=\"same\"} 1",
        "headroom_owner_ends_total{partition=\"0\",reason=\"not_claimed\"} 0",
        "headroom_log_file_bytes 1048576",
        "headroom_partition_lag_records{partition=\"0\"} 0",
        "headroom_stage_seconds_bucket{stage=\"decide\",le=\"0.0005\"} 0",
        "headroom_stage_seconds_bucket{stage=\"decide\",le=\"0.001\"} 21",
        "headroom_stage_seconds_bucket{stage=\"commit\",le=\"0.005\"} 21",
        "headroom_stage_seconds_bucket{stage=\"reply\",le=\"0.0005\"} 21",
        "headroom_stage_seconds_bucket{stage=\"answer\",le=\"0.0025\"} 1",
        "headroom_http_requests_total{code=\"ok\",method=\"POST\",route=\"/v1/reservations\",status=\"201\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
}
