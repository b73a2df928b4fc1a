//! Dead letters: what nobody can decide is answered by an event, and kept for a person, on either log.

use crate::cli::assert_says;
use crate::fixtures::{command, define, hex, orders, pool_of};
use crate::process::{Ended, headroom, once_free, run};
use headroom::domain::{Command, CommandId, Micros, PoolId, route};
use headroom::log::embedded::{Embedded, Options};
use headroom::log::{
    CommandSink, CommitOutcome, CommittedTail, NewCommand, OwnedPartition, PartitionLog, StoredCommand, Turn,
};
use headroom::owner::recover::fold_stored;
use headroom::owner::{DeadCommands, Partition};
use headroom::replica::PartitionState;
use headroom::wire;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How many partitions the logs here have.
pub const PARTITIONS: u32 = 2;
/// Longer than a claim's records take to arrive.
const LONG: Duration = Duration::from_secs(20);
const NOW: Micros = Micros(1_700_000_000_000_000);

/// The definition of a pool, in time at [`NOW`].
pub fn definition(pool: &PoolId) -> Vec<u8> {
    let body = define(pool, orders(1));
    // Of the same pool the same command.
    let id = CommandId(route::pool_hash(pool).into());
    let command = Command { id, deadline: NOW.plus_ms(5_000), ..command(1, body) };
    wire::command::encode(&command)
}

/// A record of a schema that nobody here has.
pub fn of_unknown_schema() -> Vec<u8> {
    [&[0xC3, 0x01], &[0xAB; 8][..], b"datum"].concat()
}

/// The objects of one line each.
pub fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
pub fn says(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, code, "{}{}", ended.out, ended.err);
    assert_says(&(ended.out.clone() + &ended.err), parts);
}

/// An owner in a test's hands.
pub struct Owner<O> {
    owned: O,
    state: PartitionState,
    owner: Partition,
}

impl<O: OwnedPartition> Owner<O> {
    /// Has claimed partition 0.
    pub fn claim<L: PartitionLog<Owned = O>>(log: &L) -> Owner<O> {
        let mut state = PartitionState::new(0);
        let owned =
            log.claim(0, 0, &mut |event| fold_stored(&mut state, &event).map(|_| state.position().next_input)).unwrap();
        let owner = Partition::claim(&state, PARTITIONS);
        let mut owner = Owner { owned, state, owner };
        let barrier = owner.owner.barrier(&owner.state, 1, NOW);
        assert_eq!(owner.owned.commit(barrier.turn()), CommitOutcome::Ok);
        owner.owner.conclude(&mut owner.state, barrier, CommitOutcome::Ok).unwrap();
        owner
    }

    /// Decides so many commands in one turn.
    pub fn decide(&mut self, count: usize) -> (Arc<Turn>, CommitOutcome) {
        let mut batch: Vec<StoredCommand> = Vec::new();
        while batch.len() < count {
            self.owned.poll(&mut batch, LONG).unwrap();
        }
        let staged = self.owner.decide(&self.state, batch, NOW);
        let turn = staged.turn();
        let outcome = self.owned.commit(Arc::clone(&turn));
        self.owner.conclude(&mut self.state, staged, outcome).unwrap();
        (turn, outcome)
    }
}

#[test]
fn a_turn_says_which_of_its_commands_nobody_could_decide() {
    let state = PartitionState::new(0);
    let owner = Partition::claim(&state, PARTITIONS);
    let inputs = [
        b"garbage".to_vec(),
        definition(&pool_of(0, PARTITIONS)),
        of_unknown_schema(),
        definition(&pool_of(1, PARTITIONS)),
        Vec::new(),
    ];
    let batch = inputs
        .into_iter()
        .zip(5..)
        .map(|(bytes, offset)| StoredCommand { offset, skipped: if offset == 5 { 5 } else { 0 }, bytes, trace: None })
        .collect();
    let staged = owner.decide(&state, batch, NOW);
    let turn = staged.turn();
    assert_eq!(turn.events.len(), 5);
    let dead: Vec<_> = turn.dead.iter().map(|letter| (letter.offset, letter.at, &*letter.reason)).collect();
    let expected = [
        (5, "malformed: shorter than its frame"),
        (7, "malformed: written under a schema that is not known here"),
        (8, "misrouted"),
        (9, "malformed: shorter than its frame"),
    ];
    assert_eq!(dead, expected.map(|(offset, reason)| (offset, NOW, reason)));
    let told = owner.conclude(&mut PartitionState::new(0), staged, CommitOutcome::Ok).unwrap().report.dead;
    assert_eq!(told, Some(DeadCommands { first: turn.dead[0].clone(), count: 4 }), "what telemetry warns of");
}

#[test]
fn the_embedded_log_reads_them_from_its_events() {
    let dir = tempfile::tempdir().unwrap();
    let on = |args: &[&str]| run(headroom(["dead-letters"]).args(args).arg("--data-dir").arg(dir.path()));
    let misrouted = definition(&pool_of(1, PARTITIONS));
    let options = Options { partitions: Some(PARTITIONS), log_id: 7, now: NOW };
    let log = Embedded::open(dir.path(), options).unwrap();
    for bytes in [b"garbage".to_vec(), definition(&pool_of(0, PARTITIONS)), misrouted.clone()] {
        log.append(NewCommand { partition: 0, key: b"key", bytes: &bytes, cancels: None, trace: None }).unwrap();
    }
    let mut owner = Owner::claim(&*log);
    assert_eq!(owner.decide(3).1, CommitOutcome::Ok);
    drop((owner, log));

    let listed = objects(&on(&["list", "--json"]).out);
    let told: Vec<_> = listed.iter().map(|letter| (letter["id"].as_str().unwrap(), letter["state"].as_str())).collect();
    assert_eq!(told, [("0-0", Some("open")), ("0-2", Some("open"))]);
    assert_eq!((&listed[0]["bytes"], &listed[0]["at"]), (&7.into(), &"2023-11-14T22:13:20Z".into()));
    says(&on(&["list"]), 0, &["malformed: shorter than its frame", "2023-11-14T22:13:20Z", "misrouted"]);
    let shown: Value = serde_json::from_str(&on(&["show", "0-2"]).out).unwrap();
    assert_eq!(shown["value"], hex(&misrouted));
    assert_eq!((&shown["key"], &shown["command"]["kind"]), (&Value::Null, &"DefinePool".into()));
    says(&on(&["retry", "0-2"]), 2, &["only its own server appends commands"]);
    says(&on(&["retry", "0-0"]), 1, &["0-0 is not appended again: it still cannot be read: shorter than its frame"]);
    says(&on(&["discard", "0-0"]), 0, &["0-0 was discarded"]);
    says(&on(&["discard", "0-0"]), 1, &["0-0 was discarded already, at"]);
    assert_eq!(objects(&on(&["list", "--json"]).out).len(), 1);
    let all = objects(&on(&["list", "--json", "--all", "--partition", "0"]).out);
    assert_eq!((all.len(), &all[0]["state"]), (2, &"discarded".into()));
    assert_eq!(on(&["list", "--json", "--partition", "1"]).out, "");
    says(&on(&["show", "0-1"]), 1, &["there is no dead letter 0-1"]);
    says(&on(&["show", "2-0"]), 2, &["there is no partition 2"]);
    says(&on(&["show", "first"]), 2, &["a dead letter's id is a partition and an offset"]);
    // What was done about one is no part of what was decided.
    says(&run(headroom(["verify", "--data-dir"]).arg(dir.path())), 0, &["no law broken in 4 events"]);
    let log = once_free(|| Embedded::open(dir.path(), options)).unwrap();
    assert_eq!(log.end(0).unwrap(), 4);
    says(&on(&["list"]), 2, &["in use"]);
}
