//! Somebody cleans up, restores or moves what a sink writes into a folder. Nothing is repeated or left out in silence.

use super::files::{Lake, assert_rest};
use super::traffic::Traffic;
use super::{events, serve};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, headroom, run};
use crate::wait::until;
use headroom::time::Stopwatch;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The log of a pool for this many orders, of which so many were taken.
fn log(limit: u64, accepted: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut writing = Writing::new(limit);
    (0..accepted).for_each(|_| writing.accept(limit));
    writing.write(dir.path());
    dir
}

fn backfill(lake: &Lake, log: &Path) -> (i32, String) {
    let ended = run(&mut lake.sink(log, &["backfill"]));
    (ended.code, ended.out + &ended.err)
}

/// The story: somebody deletes the lock files, or puts positions of yesterday back, while a sink writes. A second sink is
/// there too.
#[test]
fn a_sink_whose_lock_or_position_was_deleted_stops_before_it_writes_on() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 41);
    let start = || Running::start(&mut lake.sink(log.path(), &["--sink-batch-ms", "100"]));
    let first = start();
    until("all partitions are begun", || lake.positions().len() == 3);
    let second = start();
    for _ in 0..4 {
        traffic.calls(20);
        for partition in 0..3 {
            // Nobody has made it anew where nothing was to be written since.
            drop(fs::remove_file(lake.path().join(format!("positions/p{partition:05}.lock"))));
        }
        let before = lake.written();
        traffic.calls(20);
        until("one of them goes on", || lake.written() > before);
    }
    let position = lake.path().join("positions/p00001.json");
    let kept = fs::read(&position).unwrap();
    // A sink that has looked at it a moment before writes it once more.
    until("it is gone for good", || {
        let was_gone = fs::remove_file(&position).is_err();
        traffic.calls(20);
        was_gone && !position.exists()
    });
    let before = lake.written();
    traffic.calls(40);
    until("the other partitions go on", || lake.written() > before);
    served.running.terminate();
    let told = [first, second].map(|sink| sink.terminate().err).join("\n");
    assert!(told.contains("another sink has taken the partition"), "{told}");
    assert!(!position.exists(), "nobody begins anew");
    let (code, told) = backfill(&lake, log.path());
    assert_eq!(code, 1, "{told}");
    let gone = "positions/p00001.json is not there, and files of its partition are";
    assert!(told.contains(gone), "{told}");
    let status = run(&mut lake.sink(log.path(), &["status"]));
    let is_told = status.out.contains(&format!("partition 1: stopped: {gone}"));
    assert!(status.code == 1 && is_told && !status.out.contains("never written"), "{}", status.out);
    fs::write(&position, kept).unwrap();
    assert_rest(&lake, log.path());
}

/// The story: somebody puts positions back that are older than the files. What follows them would be written a second time.
#[test]
fn an_older_copy_of_a_position_stops_its_partition_before_an_event_is_written_twice() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let more = |seed| {
        let served = serve(log.path());
        Traffic::new(&served.url, seed).calls(60);
        served.running.terminate();
    };
    let names = || (0..3).map(|partition| lake.path().join(format!("positions/p{partition:05}.json")));
    let copied = || names().map(|name| fs::read(name).unwrap()).collect::<Vec<_>>();
    let put_back = |copies: &[Vec<u8>]| names().zip(copies).for_each(|(name, copy)| fs::write(name, copy).unwrap());
    more(44);
    assert_eq!(backfill(&lake, log.path()).0, 0);
    let older = copied();
    more(45);
    assert_eq!(backfill(&lake, log.path()).0, 0);
    let (newest, written) = (copied(), lake.names());
    more(46);
    put_back(&older);
    let (code, told) = backfill(&lake, log.path());
    assert_eq!(code, 1, "{told}");
    for partition in 0..3 {
        let says = format!("positions/p{partition:05}.json ends before seq ");
        assert!(told.contains(&says) && told.contains("so it is an older copy"), "{told}");
    }
    assert_eq!(lake.names(), written);
    put_back(&newest);
    assert_rest(&lake, log.path());
}

/// The story: a sink died in its first batch, and the next one was started with another log, or reads what the first one set
/// aside. The file that may be there is not the one that it would write.
#[test]
fn a_batch_that_was_begun_is_gone_on_with_only_by_the_same_rows() {
    let (first, other, lake) = (log(5, 3), log(9, 3), Lake::new());
    assert_eq!(backfill(&lake, first.path()).0, 0);
    let path = lake.path().join("positions/p00000.json");
    let written = fs::read_to_string(&path).unwrap();
    let mut begun: Value = serde_json::from_str(&written).unwrap();
    // As it was before the batch was complete.
    let (until, chain, rows) = (begun["next_seq"].take(), begun["chain"].take(), begun["row_count"].take());
    (begun["next_seq"], begun["row_count"]) = (json!(0), json!(0));
    for (until, chain, rows, log, why) in [
        (&until, &chain, &rows, &other, Some("were begun with other rows")),
        (&until, &chain, &json!(3), &first, Some("were begun with other rows")),
        (&until, &chain, &rows, &first, None),
    ] {
        (begun["begun_until"], begun["begun_chain"], begun["begun_rows"]) =
            (until.clone(), chain.clone(), rows.clone());
        fs::write(&path, begun.to_string()).unwrap();
        let (code, told) = backfill(&lake, log.path());
        assert_eq!(code, i32::from(why.is_some()), "{told}");
        assert!(told.contains(why.unwrap_or_default()), "{told}");
    }
    assert_eq!(lake.complete().len(), 5);
}

/// The story: one file cannot be written. The sink tries that again and again, but not without a pause that grows, because it
/// reads the whole batch each time.
#[test]
fn a_batch_that_cannot_be_written_is_tried_less_and_less_often() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    Traffic::new(&served.url, 43).calls(60);
    served.running.terminate();
    let events = events(headroom(["cat"]).env("HEADROOM_DATA_DIR", log.path()));
    // The second partition of its writer.
    let rows: Vec<_> = events.iter().filter(|event| event["partition"] == 2).collect();
    let day = |event: &Value| event["decided_at"].as_str().unwrap()[..10].to_owned();
    let of_day: Vec<u64> = rows.iter().filter(|event| day(event) == day(rows[0])).map(|event| seq(event)).collect();
    let name = format!("p00002-{:020}-{:020}.avro", of_day[0], of_day.last().unwrap());
    let in_the_way = lake.path().join(format!("events/day={}/{name}/full", day(rows[0])));
    fs::create_dir_all(&in_the_way).unwrap();
    let since = Stopwatch::start();
    let backfill = Running::start(&mut lake.sink(log.path(), &["backfill"]));
    until("it was tried six times", || {
        lake.positions().get(&2).is_some_and(|position| position["claim"].as_u64() >= Some(6))
    });
    assert!(since.elapsed() > Duration::from_secs(6), "{:?}", since.elapsed());
    fs::remove_dir_all(in_the_way.parent().unwrap()).unwrap();
    let ended = backfill.ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let is_told = ended.err.contains("the batch was announced, so the same one is tried again");
    assert!(is_told && !ended.err.contains("the next batch is smaller"), "{}", ended.err);
    assert_rest(&lake, log.path());
}

fn seq(event: &Value) -> u64 {
    event["seq"].as_str().unwrap().parse().unwrap()
}

/// One position that cannot be read stops its partition, and the status names it beside the others.
#[test]
fn the_other_partitions_go_on_beside_a_position_that_cannot_be_read() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    Traffic::new(&served.url, 42).calls(60);
    served.running.terminate();
    fs::create_dir(lake.path().join("positions")).unwrap();
    for spoilt in ["{}".to_owned(), "x".repeat(70_000)] {
        fs::write(lake.path().join("positions/p00001.json"), spoilt).unwrap();
        let (code, told) = backfill(&lake, log.path());
        assert_eq!(code, 1, "{told}");
        assert!(told.contains("positions/p00001.json is no"), "{told}");
        let status = run(&mut lake.sink(log.path(), &["status"]));
        assert_eq!(status.code, 1, "{}", status.out);
        assert!(status.out.contains("partition 1: stopped: positions/p00001.json is no"), "{}", status.out);
        assert_eq!(status.out.matches("partition 1: ").count(), 1, "{}", status.out);
        assert_eq!(status.out.matches(", 0 events behind").count(), 2, "{}", status.out);
    }
    fs::remove_file(lake.path().join("positions/p00001.json")).unwrap();
    assert_rest(&lake, log.path());
}

/// The story: a shop has one small partition. A begin that is behind the end of that one leaves the folder of use.
#[test]
fn a_begin_behind_the_end_of_a_partition_is_its_end() {
    let (log, lake) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    Traffic::new(&served.url, 42).calls(60);
    served.running.terminate();
    let status = run(&mut lake.sink(log.path(), &["status", "--json"]));
    let end = |line: &str| serde_json::from_str::<Value>(line).unwrap()["log_end"].as_u64().unwrap();
    let ends: Vec<u64> = status.out.lines().map(end).collect();
    let longest = *ends.iter().max().unwrap();
    assert!(ends.iter().any(|end| *end < longest), "{ends:?}");
    let ended = run(&mut lake.sink(log.path(), &["backfill", "--from", &longest.to_string()]));
    assert_eq!((ended.code, &*ended.out), (0, "0 rows of 0 events written\n"), "{}", ended.err);
    let begun: Vec<u64> = lake.positions().values().map(|position| position["next_seq"].as_u64().unwrap()).collect();
    assert_eq!(begun, ends);
    let earlier = run(&mut lake.sink(log.path(), &["backfill", "--from", "1"]));
    let at: Vec<String> =
        ends.iter().enumerate().map(|(partition, end)| format!("partition {partition} at seq {end}")).collect();
    let told = format!(
        "--from 1 has no meaning for what was begun before, which went on where it was: {}\n0 rows of 0 events written\n",
        at.join(", ")
    );
    assert_eq!((earlier.code, earlier.out), (0, told), "{}", earlier.err);
}

/// The story: analysts read the folder as other users. What they may read is decided by who starts the sink.
#[test]
fn the_files_follow_the_mask_of_who_starts_the_sink() {
    let (log, lake) = (log(9, 3), Lake::new());
    let plain = lake.sink(log.path(), &["backfill"]);
    let mut masked = std::process::Command::new("sh");
    masked.args(["-c", "umask 027; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => masked.env(name, value),
            None => masked.env_remove(name),
        };
    }
    let ended = run(&mut masked);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let mode = |path: &str| fs::metadata(lake.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("events"), mode("positions"), mode("positions/p00000.json")), (0o750, 0o750, 0o640));
}

/// The story: a secret was made from a file that ends with a line break. Nothing of it is told, and no process dies of it.
#[test]
fn a_bucket_with_a_key_that_no_request_can_carry_is_refused_by_name() {
    for (name, value) in [("AWS_SECRET_ACCESS_KEY", "hidden\n"), ("AWS_ENDPOINT_URL", "https://hidden@store")] {
        let dir = log(5, 3);
        let with = |command: [&str; 4], code| {
            let mut command = headroom(command);
            command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env(name, value);
            let ended = run(command.env("HEADROOM_DATA_DIR", dir.path()));
            assert_eq!(ended.code, code, "{}", ended.err);
            assert!(ended.err.contains(&format!("{name} has a ")) && !ended.err.contains("hidden"), "{}", ended.err);
        };
        with(["sink", "status", "--sink-files", "s3://bucket/prefix"], 1);
        with(["serve", "--listen=127.0.0.1:0", "--snapshots", "s3://bucket/prefix"], 2);
    }
}
