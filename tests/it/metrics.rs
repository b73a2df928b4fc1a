//! Names, types, labels and help of every metric, against `tests/golden/metrics.txt`: dashboards and alerts are built
//! on them. `HEADROOM_REWRITE_GOLDEN=1` writes the file anew.

use crate::access::issuer::{Key, jwks};
use crate::access::jwt::issuer;
use crate::world::becomes;
use headroom::access::oidc::KeySource;
use headroom::access::{Access, Ways};
use headroom::api::http::{Finished, Metrics as _};
use headroom::api::operation::Operation;
use headroom::domain::{Breach, EventKind, Law, Micros, Name, Reason};
use headroom::gateway::Gateway;
use headroom::gateway::admission::Shed;
use headroom::log::{AppendError, CommandSink, CommitOutcome, NewCommand};
use headroom::owner::{Recovered, Report, TurnReport};
use headroom::replica::{PartitionStatus, Replica};
use headroom::telemetry::{Metrics, Pace};
use headroom::time::{Clock, Stamp, Stopwatch, SystemClock};
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

/// Every metric, each with something in it. The sink must outlive the rendering: metrics keep nothing alive.
fn rendered() -> String {
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
    metrics.watch_turns(1, |_| Pace { waited: 6, slow_commits: 0, pause_us: 3_500, held_back: 4 });
    metrics.recovered(0, &Recovered { events: 9, read: 7, took_us: 2_000_000, from_checkpoint: true });
    let partition = replica.partition(0).unwrap();
    partition.time().set_broker_stamp(Some(Stamp::new(SystemClock::new().wall(), Stopwatch::start())));
    becomes(partition, PartitionStatus::Active);
    metrics.turn(
        0,
        &turn([(EventKind::Accepted, None, 3), (EventKind::Released, None, 1), (EventKind::Expired, None, 1)]),
    );
    metrics.turn(0, &turn([(EventKind::Accepted, None, 4), (EventKind::Rejected, Some(Reason::OverLimit), 2)]));
    metrics.checkpoint(0, Ok(5));
    metrics.checkpoint(0, Err("no space"));
    metrics.store_wiped(0, "odd");
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
    metrics.canary().begins(0, 1);
    metrics.canary().passed(0, 2, 4_000);
    metrics.canary().failed(0, "timeout");
    metrics.shed(Shed::Wait);
    metrics.breach(&Breach { law: Law::Chain, partition: 0, seq: 4, detail: "a gap".to_owned() });
    metrics.render()
}

fn turn<const N: usize>(events: [(EventKind, Option<Reason>, u64); N]) -> TurnReport {
    let events = events.into_iter().map(|(kind, reason, count)| ((kind, reason), count)).collect();
    let (outcome, dead) = (CommitOutcome::Ok, None);
    TurnReport { outcome, events, dead, memory_bytes: 0, commands: 7, turn_us: 4_000, commit_us: 3_000, reply_us: 200 }
}

/// `name type {labels} help`, sorted.
fn catalogue(text: &str) -> String {
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
        format!("{name} {kind} {{{}}} {}\n", labels.join(","), helps[name])
    };
    types.iter().map(line).collect()
}

#[test]
fn names_types_and_labels_are_those_that_dashboards_know() {
    let found = catalogue(&rendered());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.txt");
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == golden, "metrics differ from {}; they are now\n{found}", path.display());
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
        "headroom_turn_seconds_bucket{partition=\"0\",le=\"0.005\"} 2",
        "headroom_stage_seconds_bucket{stage=\"decide\",le=\"0.0005\"} 0",
        "headroom_stage_seconds_bucket{stage=\"decide\",le=\"0.001\"} 14",
        "headroom_stage_seconds_bucket{stage=\"commit\",le=\"0.005\"} 14",
        "headroom_stage_seconds_bucket{stage=\"reply\",le=\"0.0005\"} 14",
        "headroom_stage_seconds_bucket{stage=\"answer\",le=\"0.0025\"} 1",
        "headroom_http_requests_total{code=\"ok\",method=\"POST\",route=\"/v1/reservations\",status=\"201\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
}
