//! What `/readyz`, `/livez` and `/startupz` say of partitions that do not decide.

use super::client::{Client, request};
use super::manual_owner::Desk;
use crate::fixtures::{NOW, pool_of};
use crate::wait::until;
use crate::world::becomes;
use headroom::limits::STALLED_MS;
use headroom::replica::PartitionStatus;
use headroom::time::Stopwatch;
use serde_json::{Value, json};

const PARTITIONS: u32 = 2;

fn asked(desk: &Desk, path: &str) -> (u16, Value) {
    let reply = Client::connect(desk.address).raw(&request("GET", path, &[], b""));
    (reply.status, reply.json())
}

fn body(status: &str, closing: bool, partitions: &Value) -> Value {
    json!({ "status": status, "closing": closing, "partitions": partitions })
}

/// A pool of the partition that the test decides for.
fn pool() -> String {
    pool_of(0, PARTITIONS).as_str().to_owned()
}

/// Every time in an answer of [`timeless`].
const SINCE: &str = "2027-01-15T08:00:00Z";

/// A partition's row in an answer of [`timeless`].
fn why(why: &str) -> Value {
    json!({ "why": why, "since": SINCE })
}

/// The answer with one time in place of each: what is met again was met at the first look.
fn timeless(desk: &Desk, path: &str) -> (u16, Value) {
    let (status, mut body) = asked(desk, path);
    for row in body["partitions"].as_object_mut().unwrap().values_mut() {
        let time: jiff::Timestamp = row["since"].as_str().unwrap().parse().unwrap();
        assert!(time.as_microsecond() <= i64::try_from(NOW.0).unwrap());
        row["since"] = SINCE.into();
    }
    (status, body)
}

#[test]
fn readiness_says_which_partition_does_not_serve_and_why() {
    let desk = Desk::restoring(PARTITIONS);
    let status = |partition: u32, status| becomes(desk.gateway.replica().partition(partition).unwrap(), status);
    let blotted = |path: &str| timeless(&desk, path);
    status(0, PartitionStatus::Active);
    let restoring = json!({ "1": why("restoring") });
    assert_eq!(blotted("/readyz"), (503, body("unavailable", false, &restoring)));
    let mut starting = body("unavailable", false, &restoring);
    starting["startup"] = json!({ "phase": "restoring", "partitions": { "1": { "events": 0 } } });
    assert_eq!(blotted("/startupz"), (503, starting.clone()));
    let other = desk.gateway.replica().partition(1).unwrap();
    other.progress().set_end_seq(9);
    starting["startup"]["partitions"]["1"]["of"] = 9.into();
    assert_eq!(blotted("/startupz"), (503, starting.clone()));
    other.progress().set_expiring(true);
    starting["startup"]["phase"] = "expiring".into();
    starting["partitions"]["1"]["why"] = "expiring".into();
    assert_eq!(blotted("/startupz"), (503, starting));
    other.progress().set_expiring(false);
    assert_eq!(blotted("/livez"), (200, body("ok", false, &json!({}))));
    status(1, PartitionStatus::Active);
    assert_eq!(blotted("/readyz"), (200, body("ok", false, &json!({}))));
    status(1, PartitionStatus::Failed { why: "seq 4 is missing".to_owned() });
    assert_eq!(blotted("/readyz"), (200, body("degraded", false, &json!({ "1": why("failed: seq 4 is missing") }))));
    assert_eq!(blotted("/startupz").0, 200);
    assert_eq!(blotted("/livez"), (200, body("ok", false, &json!({}))));
    status(0, PartitionStatus::Unreadable { why: "no state".to_owned() });
    let none = json!({ "0": why("unreadable: no state"), "1": why("failed: seq 4 is missing") });
    assert_eq!(blotted("/livez"), (503, body("unavailable", false, &none)), "nothing is served here any more");
    assert_eq!(blotted("/readyz").0, 503);
}

#[test]
fn a_process_that_ends_is_alive_and_not_ready() {
    let desk = Desk::of(PARTITIONS);
    let status = |partition: u32, status| becomes(desk.gateway.replica().partition(partition).unwrap(), status);
    status(1, PartitionStatus::Failed { why: "seq 4 is missing".to_owned() });
    status(0, PartitionStatus::Stopped);
    let blotted = |path: &str| timeless(&desk, path);
    assert_eq!(blotted("/livez").0, 200);
    let both = json!({ "0": why("stopped"), "1": why("failed: seq 4 is missing") });
    assert_eq!(blotted("/readyz"), (503, body("unavailable", false, &both)));
    let desk = Desk::of(PARTITIONS);
    let blotted = |path: &str| timeless(&desk, path);
    desk.gateway.leave();
    assert_eq!(blotted("/readyz"), (503, body("unavailable", true, &json!({}))));
    assert_eq!(blotted("/livez").0, 200);
}

/// An owner that is alive and does nothing: its thread says nothing is wrong.
#[test]
fn an_owner_that_decides_nothing_is_seen_by_what_waits_for_it() {
    let mut desk = Desk::of(PARTITIONS);
    let path = format!("/v1/pools/{}", pool());
    let put = |desk: &mut Desk| desk.ask("PUT", &path, &["Request-Timeout-Ms: 5000"], r#"{"limits":{"orders":1}}"#);
    assert_eq!(put(&mut desk).status, 201);
    assert_eq!(asked(&desk, "/readyz"), (200, body("ok", false, &json!({}))));
    let waiting = Stopwatch::start();
    let before = desk.taken().len();
    let mut caller = desk.send("PUT", &path, &["Request-Timeout-Ms: 5000"], r#"{"limits":{"orders":2}}"#);
    until("its command waits", || desk.taken().len() > before);
    let mut seen = Value::Null;
    until("readiness says so", || {
        let (status, body) = asked(&desk, "/readyz");
        assert_eq!(status, 200, "the other partition decides");
        seen = body;
        seen["status"] == "degraded"
    });
    assert!(waiting.elapsed().as_millis() >= u128::from(STALLED_MS), "one that is slow for a moment is not told of");
    assert_eq!(seen["partitions"]["0"]["why"], "commands wait and nothing is decided", "{seen}");
    assert!(seen["partitions"]["0"]["since"].is_string() && seen["partitions"]["1"].is_null(), "{seen}");
    // A partition beside it whose log failed leaves none that decides.
    let other = desk.gateway.replica().partition(1).unwrap();
    becomes(other, PartitionStatus::Reopening { why: "no answer".to_owned() });
    assert_eq!(asked(&desk, "/readyz").0, 503);
    becomes(other, PartitionStatus::Active);
    desk.decide();
    assert_eq!(caller.read().unwrap().status, 200);
    assert_eq!(asked(&desk, "/readyz"), (200, body("ok", false, &json!({}))));
}
