//! Snapshots of the real binary: their place is gone, or takes a connection and says nothing, or the process is killed while
//! it writes one.

use crate::process::{Served, agent, foreign_agent, headroom, run};
use crate::store::copy_tree;
use crate::wait::until;
use serde_json::json;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

pub fn command(dir: &Path, place: &str) -> Command {
    let mut command =
        headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "1", "--snapshot-interval-ms", "1000"]);
    command.arg("--data-dir").arg(dir).arg("--snapshots").arg(place);
    command
}

pub fn define(served: &Served) {
    let put = agent().put(format!("{}/v1/pools/van-1", served.url)).content_type("application/json");
    assert!(matches!(put.send(r#"{"limits":{"orders":100000}}"#).unwrap().status().as_u16(), 200 | 201));
}

pub fn reserve(served: &Served, n: u64) -> bool {
    asked(served, n).is_some_and(|(status, _)| status == 201)
}

/// Whether an order that was taken is still there: its key gets the answer of then. Where it is lost, it would be taken anew. On a
/// busy machine a call may be too late, and is asked again.
#[cfg(feature = "crash-points")]
pub fn is_there(served: &Served, n: u64) -> bool {
    let mut is_replayed = false;
    until("the order is answered", || {
        let answered = asked(served, n).filter(|(status, _)| ![503, 504].contains(status));
        is_replayed = answered == Some((201, true));
        answered.is_some()
    });
    is_replayed
}

/// The status of an order, and whether its answer is one that was given before.
fn asked(served: &Served, n: u64) -> Option<(u16, bool)> {
    let post = agent().post(format!("{}/v1/reservations", served.url)).header("idempotency-key", format!("K{n}"));
    let order = json!({ "pool": "van-1", "demand": { "orders": 1 } }).to_string();
    let reply = post.content_type("application/json").send(order).ok()?;
    Some((reply.status().as_u16(), reply.headers().contains_key("idempotent-replayed")))
}

/// A figure of partition 0; none when it is not exported.
pub fn figure(served: &Served, name: &str) -> Option<f64> {
    let text = foreign_agent().get(format!("{}/metrics", served.url)).call().ok()?.body_mut().read_to_string().ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{partition=\"0\"}} ")))?;
    line.parse().ok()
}

/// How many events the newest snapshot of partition 0 has.
fn newest_in(place: &Path) -> Option<u64> {
    let logs = fs::read_dir(place).unwrap().flatten();
    let objects = logs.flat_map(|log| fs::read_dir(log.path().join("p0"))).flatten().flatten();
    let events = |name: &str| name.strip_suffix(".json")?.split('-').next()?.parse::<u64>().ok();
    objects.filter_map(|object| events(object.file_name().to_str()?)).max()
}

pub fn is_sound(dir: &Path) {
    let verified = run(headroom(["verify", "--data-dir"]).arg(dir));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: nobody has mounted the folder. Orders are taken, the metric and a log line say what is wrong, and when the
/// folder is there a snapshot is written. The disk is replaced later, the log is brought back, and the start begins with it.
#[test]
fn a_server_goes_on_without_the_place_for_snapshots_and_uses_it_when_it_is_back() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = place.path().join("snapshots");
    let url = format!("file://{}", folder.display());
    let served = Served::start(&mut command(dir.path(), &url));
    define(&served);
    assert!((0..20).all(|n| reserve(&served, n)));
    until("a failure is counted", || figure(&served, "headroom_snapshot_failures_total") >= Some(1.0));
    assert!((20..30).all(|n| reserve(&served, n)));
    fs::create_dir(&folder).unwrap();
    until("a snapshot is written", || figure(&served, "headroom_snapshot_writes_total") >= Some(1.0));
    until("it has all events", || figure(&served, "headroom_snapshot_missing_events") == Some(0.0));
    let age = figure(&served, "headroom_snapshot_timestamp_seconds").unwrap();
    assert!(age > 1.7e9 && figure(&served, "headroom_snapshot_bytes") > Some(0.0), "{age}");
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("snapshot not written; trying again") && ended.err.contains("snapshot written"));
    fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    let served = Served::start(&mut command(dir.path(), &url));
    assert!(reserve(&served, 30));
    let ended = served.running.terminate();
    assert!(ended.err.contains("no checkpoint: rebuilding from this snapshot and the log"), "{}", ended.err);
    is_sound(dir.path());
}

/// The story: the machine is set back to this morning, with log, checkpoint and witness. Nothing on it is wrong by itself, and what
/// was sold since is sold again. Only the place of snapshots knows of more, and a metric says so.
#[test]
fn a_directory_that_was_set_back_is_told_by_the_snapshots_that_are_ahead_of_it() {
    let [dir, back, place] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let url = format!("file://{}", place.path().display());
    let ahead = |served: &Served| figure(served, "headroom_snapshots_ahead");
    let served = Served::start(&mut command(dir.path(), &url));
    define(&served);
    assert!((0..5).all(|n| reserve(&served, n)));
    assert_eq!(served.running.terminate().code, 0);
    copy_tree(dir.path(), back.path());
    let served = Served::start(&mut command(dir.path(), &url));
    assert!((5..10).all(|n| reserve(&served, n)));
    // Each start is an event as well, and so is the pool.
    until("a snapshot has all of it", || newest_in(place.path()) >= Some(13));
    assert_eq!(ahead(&served), Some(0.0));
    assert_eq!(served.running.terminate().code, 0);
    let served = Served::start(&mut command(back.path(), &url));
    until("it is told", || ahead(&served) >= Some(1.0));
    let ended = served.running.terminate();
    assert!(ended.err.contains("the place of snapshots has some of more events than the log"), "{}", ended.err);
    is_sound(back.path());
}

/// The story: a firewall drops what is sent to the bucket. The call hangs, and neither calls nor the end of the process wait
/// for it.
#[test]
fn a_store_that_never_answers_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = command(dir.path(), "s3://bucket/prefix");
    command.env("AWS_ENDPOINT_URL", format!("http://{}", silent.local_addr().unwrap())).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "us-east-1");
    let served = Served::start(&mut command);
    define(&served);
    let (_asked, _) = silent.accept().unwrap();
    assert!((0..50).all(|n| reserve(&served, n)));
    assert_eq!(figure(&served, "headroom_snapshot_writes_total"), Some(0.0));
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    is_sound(dir.path());
}

/// Orders one by one until the server dies at this named point. Answers how many were asked for, and which were taken.
#[cfg(feature = "crash-points")]
pub fn orders_until_it_dies(served: &mut Served, point: &str) -> (u64, Vec<u64>) {
    let (mut asked, mut taken) = (0, Vec::new());
    until("it dies", || {
        asked += 1;
        if reserve(served, asked) {
            taken.push(asked);
        }
        served.running.is_over()
    });
    served.running.died(point);
    (asked, taken)
}

/// The story: the machine goes down while a snapshot is written. What is in the folder afterwards is whole snapshots, and a
/// start from them has every order.
#[test]
#[cfg(feature = "crash-points")]
fn killed_while_a_snapshot_is_written_a_start_has_every_order() {
    for point in ["snapshot-begun", "snapshot-rows", "snapshot-written"] {
        let (dir, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let url = format!("file://{}", folder.path().display());
        let mut served = Served::start(command(dir.path(), &url).env("HEADROOM_CRASH_AT", format!("{point}:2")));
        define(&served);
        let (_, taken) = orders_until_it_dies(&mut served, point);
        assert!(!taken.is_empty(), "{point}");
        fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
        let served = Served::start(&mut command(dir.path(), &url));
        // The same keys get the answers of then.
        assert!(taken.iter().all(|n| is_there(&served, *n)), "{point}");
        let mut shown = agent().get(format!("{}/v1/pools/van-1", served.url)).call().unwrap();
        let pool: serde_json::Value = serde_json::from_str(&shown.body_mut().read_to_string().unwrap()).unwrap();
        let used = pool["used"]["orders"].as_u64().unwrap();
        // The last call may have been decided without an answer.
        assert!((taken.len() as u64..=taken.len() as u64 + 1).contains(&used), "{point}: {used} of {}", taken.len());
        let ended = served.running.terminate();
        assert!(ended.err.contains("rebuilding from this snapshot"), "{point}: {}", ended.err);
        assert!(!ended.err.contains("snapshot not used"), "{point}: {}", ended.err);
        is_sound(dir.path());
    }
}
