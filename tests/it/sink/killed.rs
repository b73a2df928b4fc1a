//! The process of a sink dies at every named point, whatever it writes to. After each death what is there is what the positions say:
//! the first events of each partition, each once.

use super::files::{Rows, assert_columns};
use super::postgres::Database;
use super::traffic::Traffic;
use super::{assert_tables, events, on_log, serve, state};
use crate::process::{KILLED, run};
use crate::wait::until;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Starts a sink for each point, in each of the first batches, which dies there, and looks at once at what it has left. Meanwhile
/// the log grows.
#[track_caller]
pub fn at_each(points: &[&str], seed: u64, log: &Path, sink: impl Fn() -> Command, mut look: impl FnMut()) {
    let served = serve(log);
    let mut traffic = Traffic::new(&served.url, seed);
    for nth in 1..=2 {
        for point in points {
            traffic.calls(15);
            // It writes all partitions: each time at least two batches are to be written.
            let ended = run(sink().env("HEADROOM_CRASH_AT", format!("{point}:{nth}")));
            assert_eq!(ended.code, KILLED, "{point}:{nth}: {}{}", ended.out, ended.err);
            look();
        }
    }
    served.running.terminate();
}

/// The events of a log that lie before the position of their partition.
fn first_events(log: &Path, positions: &BTreeMap<u64, u64>) -> Vec<Value> {
    let seq = |event: &Value| event["seq"].as_str().unwrap().parse::<u64>().unwrap();
    let is_before =
        |event: &Value| positions.get(&event["partition"].as_u64().unwrap()).is_some_and(|next| seq(event) < *next);
    events(&mut on_log("cat", log)).into_iter().filter(is_before).collect()
}

/// Whether the tables hold the events before the positions, each once, and what follows from them.
#[track_caller]
pub fn assert_first_rows(database: &Database, log: &Path) {
    // What a dead process has asked for may still be carried out.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'headroom sink'";
    until("its sessions have ended", || database.ask(sessions) == "0");
    state::assert_sums(database, || on_log("state", log));
    let positions = database.ask("SELECT partition, next_seq FROM sink_positions");
    let positions = positions.lines().map(|line| line.split_once('|').unwrap());
    let positions = positions.map(|(partition, next)| (partition.parse().unwrap(), next.parse().unwrap())).collect();
    assert_tables(database, &first_events(log, &positions));
}

/// Whether these rows of files, which were read after the positions, are the events before them, each with what it says in every
/// column. Rows behind them are of the batch that was announced.
#[track_caller]
pub fn assert_first_files(positions: &BTreeMap<u64, Value>, rows: Rows, log: &Path) {
    let next_seqs: BTreeMap<u64, u64> =
        positions.iter().map(|(partition, position)| (*partition, position["next_seq"].as_u64().unwrap())).collect();
    let (complete, begun): (Rows, Rows) = rows.into_iter().partition(|((of, seq), _)| *seq < next_seqs[of]);
    for (partition, seq) in begun.keys() {
        let until = positions[partition]["begun_until"].as_u64();
        assert!(
            until.is_some_and(|until| *seq < until),
            "seq {seq} of partition {partition} is of no batch: {until:?}"
        );
    }
    for (partition, position) in positions {
        let count = complete.keys().filter(|(of, _)| of == partition).count();
        assert_eq!(position["row_count"], count, "partition {partition}");
    }
    assert_columns(&complete, &first_events(log, &next_seqs));
}
