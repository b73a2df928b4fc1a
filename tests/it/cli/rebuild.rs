//! `headroom rebuild` of one partition: beside a running server it compares, and of a stopped one it makes a checkpoint.

use super::{assert_says, on};
use crate::fixtures::{NOW, pool_id, pools_of};
use crate::process::{Served, agent, closed, headroom};
use crate::server::Server;
use crate::world::ManualClock;
use headroom::domain::{LedgerMut, route};
use headroom::store::Store;
use headroom::store::sled::SledStore;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn serve(dir: &Path) -> Served {
    Served::start(headroom(["--listen", "127.0.0.1:0", "--partitions", "2", "--data-dir"]).arg(dir))
}

#[track_caller]
fn report(dir: &Path, partition: &str, code: i32) -> Value {
    let ended = on(dir, ["rebuild", "--partition", partition, "--json"]);
    assert_eq!(ended.code, code, "{}{}", ended.out, ended.err);
    serde_json::from_str(&ended.out).unwrap()
}

/// What was compared, and whether all was well with it.
fn compared(report: &Value) -> Vec<(&str, bool)> {
    let of = report["compared"].as_array().unwrap().iter();
    of.map(|compared| (compared["what"].as_str().unwrap(), compared["fine"].as_bool().unwrap())).collect()
}

/// The story: somebody on call doubts what a server answers. A new state is made of the log beside it, and is the same.
#[test]
fn a_new_state_is_folded_beside_a_running_server_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    let pools = [0, 1].map(|partition| pools_of(partition, 2).next().unwrap());
    pools.iter().for_each(|pool| server.sell_out(pool.as_str()));

    let ended = on(dir.path(), ["rebuild", "--partition", "0"]);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_says(
        &ended.out,
        &["partition 0: 5 events, 1 pool, 2 live reservations", "  live state: the same after event 4"],
    );
    assert_says(&ended.err, &["5 of 5 events, 0 s left"]);
    for partition in ["0", "1"] {
        let report = report(dir.path(), partition, 0);
        let state = agent().get(format!("{}/internal/state/{partition}", server.url)).call();
        let state: Value = serde_json::from_str(&state.unwrap().body_mut().read_to_string().unwrap()).unwrap();
        assert_eq!(
            [&report["next_seq"], &report["chain"], &report["digest"]],
            [&state["next_seq"], &state["chain"], &state["digest"]]
        );
        assert_eq!(["events_read", "pools", "live"].map(|name| report[name].as_u64()), [Some(5), Some(1), Some(2)]);
        assert_eq!(compared(&report), [("live state", true)]);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!([&report["build"], &report["server_build"]], [version, version]);
        assert_eq!((&report["fine"], &report["snapshot"]), (&true.into(), &Value::Null));
    }
    let none = on(dir.path(), ["rebuild", "--partition", "2"]);
    assert_eq!(none.code, 2);
    assert_says(&none.err, &["there is no partition 2: the log has 2"]);
    let unnamed = on(dir.path(), ["rebuild", "--json"]);
    assert_eq!((unnamed.code, &*unnamed.out), (2, ""));
    assert_says(&unnamed.err, &["stop it and try again, or name a partition with --partition"]);
    server.sell_out("one-more");
    let partition = route::partition_of(&pool_id("one-more"), 2).to_string();
    assert_eq!(report(dir.path(), &partition, 0)["live"], 4, "the server goes on");

    assert_eq!(server.running.terminate().code, 0);
    fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    let rebuilt = report(dir.path(), "1", 0);
    assert_eq!(compared(&rebuilt), [("old checkpoint", true), ("new checkpoint", true)]);
    assert_eq!(rebuilt["server_build"], Value::Null);
    // The other partition was left alone.
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["partition 0: no checkpoint", "fold, checkpoint at"]);
}

/// The story: a bit of the server's memory is not what it was. The log says what it should be, and the command that it is not.
#[test]
fn a_state_in_memory_that_is_not_that_of_the_log_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 1, Arc::new(ManualClock::at(NOW)));
    let put = agent().put(format!("http://{}/v1/pools/van-1", server.address)).content_type("application/json");
    assert_eq!(put.send(r#"{"limits":{"orders":2}}"#).unwrap().status(), 201);
    assert_eq!(compared(&report(dir.path(), "0", 0)), [("live state", true)]);
    let handle = server.gateway.replica().partition(0).unwrap();
    handle.write(|state| state.update_pool(&pool_id("van-1"), |pool| pool.version += 1));
    let told = report(dir.path(), "0", 1);
    assert_eq!((compared(&told), &told["fine"]), (vec![("live state", false)], &false.into()));
    let detail = told["compared"][0]["told"].as_str().unwrap();
    let log =
        format!("the log leads to {} after {}", told["digest"].as_str().unwrap(), told["chain"].as_str().unwrap());
    assert_says(detail, &["DIFFERS: it has digest ", &log]);
    let ended = on(dir.path(), ["rebuild", "--partition", "0"]);
    assert_eq!(ended.code, 1);
    assert_says(&ended.out, &["  live state: DIFFERS"]);
}

/// The story: two people on call make new checkpoints of the same stopped server. One does, and the other is told why not.
#[test]
fn checkpoints_that_another_process_has_open_are_named_as_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    pools_of(0, 2).take(2).for_each(|pool| server.sell_out(pool.as_str()));
    assert_eq!(server.running.terminate().code, 0);
    let other = SledStore::open(dir.path());
    assert!(other.load(0, &mut |_, _| {}).unwrap().is_some());
    let rebuilt = on(dir.path(), ["rebuild"]);
    assert_eq!((rebuilt.code, &*rebuilt.out), (2, ""), "{}", rebuilt.err);
    assert_says(&rebuilt.err, &["checkpoint/p0 is in use by another process", "try again when that has ended"]);
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_says(&verified.out, &["partition 0: the checkpoint was not compared: another process has it open"]);
    drop(other);
    let all = std::thread::scope(|scope| {
        let all = [(); 4].map(|()| scope.spawn(|| on(dir.path(), ["rebuild"])));
        all.map(|one| one.join().unwrap())
    });
    assert!(all.iter().any(|ended| ended.code == 0), "{:?}", all.map(|ended| ended.err));
    for ended in all {
        assert!(!ended.out.contains("did not match") && !ended.out.contains("DIFFERS"), "{}{}", ended.out, ended.err);
        match ended.code {
            0 => assert_says(&ended.out, &["led to the same state", "reads back as the same state"]),
            code => {
                assert_eq!(code, 2, "{}{}", ended.out, ended.err);
                assert_says(&ended.err, &["is in use by another process"]);
            }
        }
    }
}

/// The story: only the first line of the output was read. The other partition was left as it was, and the exit code said that all
/// was well.
#[test]
fn a_rebuild_whose_output_is_closed_goes_on_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    let pools = [0, 1].map(|partition| pools_of(partition, 2).next().unwrap());
    pools.iter().for_each(|pool| server.sell_out(pool.as_str()));
    assert_eq!(server.running.terminate().code, 0);
    fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    let rebuilt = headroom(["rebuild", "--data-dir"]).arg(dir.path()).stdout(closed()).output().unwrap();
    assert_eq!(rebuilt.status.code(), Some(0), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    let store = SledStore::open(dir.path());
    for partition in [0, 1] {
        assert!(store.load(partition, &mut |_, _| {}).unwrap().is_some(), "partition {partition} has a checkpoint");
    }
}
