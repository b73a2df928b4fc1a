//! What `/readyz`, `/livez` and `/startupz` say of partitions that do not decide.

use super::client::{Client, request};
use super::desk::{Desk, NOW};
use crate::wait::until;
use headroom::domain::{PoolId, route};
use headroom::limits::STALLED_MS;
use headroom::replica::Mood;
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
    let ours = |name: &String| route::partition_of(&PoolId::new(name).unwrap(), PARTITIONS) == 0;
    (0..).map(|n| format!("van-{n}")).find(ours).unwrap()
}

#[test]
fn readiness_says_which_partition_does_not_serve_and_why() {
    let desk = Desk::of(PARTITIONS);
    let mood = |partition: u32, mood: Mood| desk.gateway.replica().partition(partition).unwrap().set_mood(mood);
    // What is met again was met at the first look.
    let since = "2027-01-15T08:00:00Z";
    let why = |why: &str| json!({ "why": why, "since": since });
    let blotted = |path: &str| {
        let (status, mut body) = asked(&desk, path);
        for standing in body["partitions"].as_object_mut().unwrap().values_mut() {
            let time: jiff::Timestamp = standing["since"].as_str().unwrap().parse().unwrap();
            assert!(time.as_microsecond() <= i64::try_from(NOW.0).unwrap());
            standing["since"] = since.into();
        }
        (status, body)
    };
    assert_eq!(blotted("/readyz"), (200, body("ok", false, &json!({}))));
    mood(1, Mood::Rebuilding);
    let rebuilding = json!({ "1": why("rebuilding") });
    assert_eq!(blotted("/readyz"), (503, body("unavailable", false, &rebuilding)));
    assert_eq!(blotted("/startupz"), (503, body("unavailable", false, &rebuilding)));
    assert_eq!(blotted("/livez"), (200, body("ok", false, &json!({}))));
    mood(1, Mood::Halted("seq 4 is missing".to_owned()));
    assert_eq!(blotted("/readyz"), (200, body("degraded", false, &json!({ "1": why("halted: seq 4 is missing") }))));
    assert_eq!(blotted("/startupz").0, 200);
    assert_eq!(blotted("/livez"), (200, body("ok", false, &json!({}))));
    mood(0, Mood::Lost("no state".to_owned()));
    let none = json!({ "0": why("lost: no state"), "1": why("halted: seq 4 is missing") });
    assert_eq!(blotted("/livez"), (503, body("unavailable", false, &none)), "nothing is served here any more");
    assert_eq!(blotted("/readyz").0, 503);
    mood(0, Mood::Stopped);
    assert_eq!(blotted("/livez").0, 200);
    let both = json!({ "0": why("stopped"), "1": why("halted: seq 4 is missing") });
    assert_eq!(blotted("/readyz"), (503, body("unavailable", false, &both)));
    mood(0, Mood::Owning);
    mood(1, Mood::Owning);
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
    // A partition beside it that has stopped leaves none that decides.
    let other = desk.gateway.replica().partition(1).unwrap();
    other.set_mood(Mood::Halted("seq 4 is missing".to_owned()));
    assert_eq!(asked(&desk, "/readyz").0, 503);
    other.set_mood(Mood::Owning);
    desk.decide();
    assert_eq!(caller.read().unwrap().status, 200);
    assert_eq!(asked(&desk, "/readyz"), (200, body("ok", false, &json!({}))));
}
