//! What a state is refused for, and with which exit code: never is another state printed instead.

use super::{BEGAN, Course, HOUR_MS, PARTITIONS, assert_refused};
use crate::cli::assert_says;
use crate::fixtures::{define, orders, pools_of, reserve};
use headroom::domain::{CommandBody, Micros};
use headroom::time::Shown;
use serde_json::Value;

#[test]
fn what_cannot_be_shown_is_refused_by_name() {
    let mut course = Course::new();
    let [here, there] = [0, 1].map(|partition| pools_of(partition, PARTITIONS).next().unwrap());
    course.turn(1_000, [(0, define(&here, orders(2))), (1, define(&there, orders(2)))]);
    let past = course.end();
    let other = format!("pool {there} is in partition 1, and --at-seq names partition 0");
    let begins = format!("is before the log begins: its first event was decided at {}", Shown(BEGAN.plus_ms(1_000)));
    let cases: [(&[&str], i32, &[&str]); 11] = [
        (&["--at", "2999-01-01T00:00:00Z"], 2, &["--at 2999-01-01T00:00:00Z is in the future", "it is "]),
        (&["--at", "2023-01-01T00:00:00Z"], 2, &["--at 2023-01-01T00:00:00Z", &begins]),
        (&["--at", "2024-02-30T00:00:00Z"], 2, &["invalid value '2024-02-30T00:00:00Z' for '--at <TIME>'"]),
        (&["--at", "yesterday"], 2, &["it has to be an RFC 3339 time with its offset"]),
        (&["--at-seq", "0:1"], 2, &["partition 0 has no event 1: it ends before 1"]),
        (&["--at-seq", "2:0"], 2, &["there is no partition 2: the log has 2, numbered from 0"]),
        (&["--at-seq", "0"], 2, &["is not a partition and a sequence number like 0:1204"]),
        (&["--at-seq", "0:0", "--at", "2024-02-03T00:00:00Z"], 2, &["cannot be used with"]),
        (&["--at-seq", "0:0", "--pool", there.as_str()], 2, &[&other]),
        (&["--pool", "__headroom.canary-0"], 2, &["such pools belong to Headroom itself"]),
        (&["--pool", "nobody-knows-it"], 1, &["pool nobody-knows-it is not known there: it had not been defined"]),
    ];
    for (args, code, says) in cases {
        assert_refused(&past.run(args), code, says);
    }
}

/// The story: the clocks of the servers were ahead of this machine's, here by decades. A time that the log has passed is the past,
/// in every partition. Later than the last event, only this machine's clock can say that a time has passed, and it has not.
#[test]
fn a_time_has_passed_when_the_log_has_passed_it() {
    let mut course = Course::new();
    let [here, there] = [0, 1].map(|partition| pools_of(partition, PARTITIONS).next().unwrap());
    course.turn(HOUR_MS, [(0, define(&here, orders(2))), (1, define(&there, orders(2)))]);
    course.turn(50 * 365 * 24 * HOUR_MS, [(0, reserve(&here, "K1"))]);
    let ahead = course.time;
    course.turn(24 * HOUR_MS, [(0, reserve(&here, "K2"))]);
    let (last, later) = (course.time, course.time.plus_ms(1));
    let past = course.end();
    let used = |at: Micros| {
        let ended = past.run(&["--json", "--at", &Shown(at).to_string()]);
        assert!(ended.code == 0 && ended.err.contains("partition 1 may still decide before it"), "{}", ended.err);
        let shown: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        [0, 1].map(|partition| shown[partition]["pools"][0]["used"]["orders"].as_u64().unwrap())
    };
    assert_eq!([ahead, Micros(last.0 - 1), last].map(used), [[1, 0], [1, 0], [2, 0]]);
    let future = Shown(later).to_string();
    let says =
        [&format!("--at {future} is in the future")[..], &format!("the last event was decided at {}", Shown(last))];
    assert_refused(&past.run(&["--at", &future]), 2, &says);
    // Nobody has decided anything at that time in the other partition.
    let only = past.run(&["--at", &Shown(ahead).to_string(), "--pool", there.as_str()]);
    assert_refused(&only, 2, &["is in the future", "it is ", "the last event was decided at "]);
}

/// The story: a slot was taken down at noon, a day and more ago. Before that it is shown with what was reserved; after it, the
/// command says when it went, as long as the state remembers.
#[test]
fn a_pool_that_had_retired_is_told_with_the_time() {
    let mut course = Course::new();
    let pool = pools_of(1, PARTITIONS).next().unwrap();
    let retire = CommandBody::RetirePool { pool: pool.clone(), with_reservations: true, expected_version: None };
    course.turn(HOUR_MS, [(1, define(&pool, orders(9)))]);
    course.turn(HOUR_MS, [(1, reserve(&pool, "K1")), (1, reserve(&pool, "K2"))]);
    let before = Shown(course.time).to_string();
    course.turn(HOUR_MS, [(1, retire)]);
    let [retired, after, day_after] =
        [0, 1, 24 * HOUR_MS].map(|later_ms| Shown(course.time.plus_ms(later_ms)).to_string());
    course.snapshot();
    course.turn(25 * HOUR_MS, [(1, define(&pool, orders(5)))]);
    let again = Shown(course.time).to_string();
    let past = course.end();
    let place = past.place();
    let of_pool = |at: &str| past.run(&["--at", at, "--pool", pool.as_str(), "--snapshots", &place]);

    let shown = past.json(&["--at", &before, "--pool", pool.as_str()]).remove(0);
    assert_eq!((&shown["pools"][0]["confirmed"], shown["reservations"].as_array().unwrap().len()), (&2.into(), 2));
    for at in [&retired, &after] {
        let told = format!("pool {pool} had retired at {retired}, by event 3 of partition 1");
        assert_refused(&of_pool(at), 1, &[&told]);
    }
    let unknown =
        format!("pool {pool} is not known there: it had not been defined, or had retired more than 24 hours before");
    assert_refused(&of_pool(&Shown(BEGAN).to_string()), 1, &[&unknown]);
    assert_refused(&of_pool(&day_after), 1, &[&unknown]);
    let life = past.json(&["--at", &again, "--pool", pool.as_str()]).remove(0);
    assert_eq!((&life["pools"][0]["used"]["orders"], &life["reservations"]), (&0.into(), &serde_json::json!([])));
}

/// The story: the newest snapshot in the bucket was cut by a full disk. The state is the same, and the command says what it
/// did not use.
#[test]
fn a_damaged_snapshot_is_named_and_the_one_before_it_is_taken() {
    let mut course = Course::new();
    let pool = pools_of(0, PARTITIONS).next().unwrap();
    course.turn(HOUR_MS, [(0, define(&pool, orders(9)))]);
    course.snapshot();
    course.turn(HOUR_MS, [(0, reserve(&pool, "K1"))]);
    course.snapshot();
    course.turn(HOUR_MS, [(0, reserve(&pool, "K2"))]);
    let past = course.end();
    let place = past.place();
    let args = ["--at-seq", "0:2", "--snapshots", &place];
    let sound = past.json(&args).remove(0);
    assert_eq!((&sound["events_read"], &sound["pools"][0]["used"]["orders"]), (&1.into(), &2.into()));
    let log = std::fs::read_dir(past.folder.path()).unwrap().next().unwrap().unwrap().path().join("p0");
    let rows = log.join(sound["snapshot"].as_str().unwrap().replace(".json", ".rows"));
    std::fs::write(rows, "cut").unwrap();
    let ended = past.run(&[&args[..], &["--json"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_says(&ended.err, &["partition 0: not used: snapshot ", "its rows have 3 bytes"]);
    let older: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!([&older["digest"], &older["pools"]], [&sound["digest"], &sound["pools"]]);
    assert_eq!(older["events_read"], 2);
}
