//! Files in a bucket of a real store: no lock keeps two sinks apart there, and whoever was overtaken notices it.

#[cfg(feature = "crash-points")]
use super::files::POINTS;
use super::files::{Lake, Rows, assert_events, by_partition, each_once, rows};
#[cfg(feature = "crash-points")]
use super::killed;
use super::traffic::Traffic;
use super::{on_path, serve};
use crate::buckets::{self, Bucket, answering, empty, signal};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, foreign_agent, headroom, run};
use crate::wait::until;
use headroom::time::Stopwatch;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn sink(bucket: &Bucket, log: &Path, args: &[&str]) -> Command {
    let mut command = headroom(["sink"]);
    command.args(args).env("HEADROOM_SINK_FILES", bucket.place());
    bucket.named(&mut command);
    on_path(&mut command, log, args);
    command
}

/// Arguments of a sink that writes soon and counts its failures.
pub const COUNTED: &[&str] = &["--sink-batch-ms", "100", "--sink-listen", "127.0.0.1:0"];

/// The metrics of such a sink.
fn metrics_of(sink: &mut Running) -> impl Fn() -> String + use<> {
    let line = sink.line();
    let url = line.strip_prefix("headroom sink shows its metrics on ").unwrap().to_owned();
    move || foreign_agent().get(&url).call().unwrap().body_mut().read_to_string().unwrap()
}

/// How many calls of such a sink have failed.
pub fn failures_of(sink: &mut Running) -> impl Fn() -> f64 + use<> {
    let metrics = metrics_of(sink);
    move || {
        let text = metrics();
        let failures = text.lines().find_map(|line| line.strip_prefix("headroom_sink_failures_total "));
        // It is not there before it has looked for the first time.
        failures.map_or(0.0, |failures| failures.parse().unwrap())
    }
}

/// How many partitions such a sink writes, and of how many it knows that others do.
pub fn shares_of(sink: &mut Running) -> impl Fn() -> [usize; 2] + use<> {
    let metrics = metrics_of(sink);
    move || {
        let text = metrics();
        let lines = || text.lines().filter(|line| line.starts_with("headroom_sink_writes_partition{"));
        [" 1", " 0"].map(|end| lines().filter(|line| line.ends_with(end)).count())
    }
}

/// Of three partitions each sink gets its share that is started while others write them all, and leaves it when it ends.
#[track_caller]
pub fn share_with_those_that_come_later(start: impl Fn() -> Running, sinks_max: usize) {
    let (mut sinks, mut held) = (Vec::new(), Vec::new());
    for shares in [&[3][..], &[1, 2], &[1, 1, 1], &[0, 1, 1, 1]].into_iter().take(sinks_max) {
        let mut sink = start();
        held.push(shares_of(&mut sink));
        sinks.push(sink);
        until("each has its share", || {
            let mut found: Vec<usize> = held.iter().map(|held| held()[0]).collect();
            found.sort_unstable();
            found == shares
        });
    }
    while sinks.len() > 1 {
        drop(held.remove(0));
        assert_eq!(sinks.remove(0).terminate().code, 0);
        until("the others have its share", || held.iter().map(|held| held()[0]).sum::<usize>() == 3);
    }
    assert_eq!(sinks.remove(0).terminate().code, 0);
}

fn positions(bucket: &Bucket) -> BTreeMap<u64, Value> {
    let objects = bucket.objects("positions").into_iter().filter(|(name, _)| name.ends_with(".json"));
    by_partition(objects.map(|(_, bytes)| bytes))
}

/// How many partitions have a batch that is announced and not complete.
fn announced(bucket: &Bucket) -> usize {
    positions(bucket).values().filter(|position| !position["begun_until"].is_null()).count()
}

pub fn written(bucket: &Bucket) -> u64 {
    positions(bucket).values().map(|position| position["next_seq"].as_u64().unwrap()).sum()
}

/// Every row of every file, each once.
#[track_caller]
fn all(bucket: &Bucket) -> Rows {
    each_once(bucket.objects("events").into_iter().map(|(name, bytes)| (name, rows(&bytes))))
}

/// Whether the status says that everything is written.
fn is_all_written(bucket: &Bucket, log: &Path) -> bool {
    let status = run(&mut sink(bucket, log, &["status"]));
    status.code == 0 && status.out.matches(", 0 events behind").count() == 3
}

/// Writes what is left of a stopped server's log; then the bucket holds all of it.
#[track_caller]
pub fn assert_rest(bucket: &Bucket, log: &Path) {
    let ended = run(&mut sink(bucket, log, &["backfill"]));
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_events(&all(bucket), log);
}

/// Arguments of a backfill that has not to wait for long batches of others.
pub const SOON: &[&str] = &["backfill", "--sink-batch-ms", "100"];

/// The story: a sink or a backfill was killed, and the next backfill finds its partitions, of which no lock tells that nobody writes
/// them. It does not give up, says for how long it waits, and goes on when time has said that the dead one has ended.
#[track_caller]
pub fn waits_for_the_dead(backfill: &mut Command, time_passes: impl FnOnce()) {
    let (mut backfill, since) = (Running::start(backfill), Stopwatch::start());
    until("it says that it waits, and has waited for longer than for a sink that lives", || {
        assert!(!backfill.is_over());
        backfill.said().contains("and no lock tells whether it lives: this one waits, 151 s at most")
            && since.elapsed() > Duration::from_secs(10)
    });
    time_passes();
    let ended = backfill.ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
}

#[test]
fn a_backfill_waits_for_the_positions_of_a_sink_that_was_killed() {
    let (log, bucket) = (tempfile::tempdir().unwrap(), Bucket::start());
    let served = serve(log.path());
    let mut killed = Running::start(&mut sink(&bucket, log.path(), &["--sink-batch-ms", "100"]));
    until("it has all partitions", || positions(&bucket).len() == 3);
    killed.kill();
    Traffic::new(&served.url, 35).calls(20);
    served.running.terminate();
    waits_for_the_dead(&mut sink(&bucket, log.path(), SOON), || bucket.writers_are_gone());
    assert_rest(&bucket, log.path());
}

#[test]
fn sinks_of_a_bucket_share_the_partitions_with_those_that_come_later() {
    let (log, bucket) = (tempfile::tempdir().unwrap(), Bucket::start());
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 38);
    traffic.calls(20);
    share_with_those_that_come_later(|| Running::start(&mut sink(&bucket, log.path(), COUNTED)), 2);
    traffic.calls(20);
    served.running.terminate();
    assert_rest(&bucket, log.path());
}

#[test]
fn calls_that_a_slow_store_carries_out_later_write_nothing_twice() {
    writes_nothing_twice_beside_a_slow_store(&Bucket::start());
}

/// The story: a network stands still for so long that the sink gives its calls up, and the store carries them out later all
/// the same. None of them is in the files twice.
pub fn writes_nothing_twice_beside_a_slow_store(bucket: &Bucket) {
    let log = tempfile::tempdir().unwrap();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 31);
    let mut sink = Running::start(&mut sink(bucket, log.path(), COUNTED));
    let failures = failures_of(&mut sink);
    until("something is written", || written(bucket) > 0);
    for _ in 0..2 {
        let before = failures();
        bucket.stands_still();
        traffic.calls(30);
        until("calls are given up", || failures() > before);
        bucket.goes_on();
        traffic.calls(10);
        until("all of it is written", || is_all_written(bucket, log.path()));
    }
    let status = run(&mut self::sink(bucket, log.path(), &["status"]));
    assert!(status.out.contains(": last failure ") && status.out.contains(": no answer within 1"), "{}", status.out);
    served.running.terminate();
    assert_eq!(sink.terminate().code, 0);
    assert_rest(bucket, log.path());
}

#[test]
fn a_sink_that_hung_and_was_overtaken_writes_nothing_twice() {
    let bucket = Bucket::start();
    writes_nothing_twice_when_overtaken(&bucket, || {
        bucket.writers_are_gone();
        bucket.signs_are_gone();
    });
}

/// The story: a machine hangs for a minute, another sink takes its partitions over, and then the first one goes on as if
/// nothing had been. Where its sign is not said to be old, the other one waits until it is.
pub fn writes_nothing_twice_when_overtaken(bucket: &Bucket, time_passes: impl FnOnce()) {
    let log = tempfile::tempdir().unwrap();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 32);
    let start = || Running::start(&mut sink(bucket, log.path(), &["--sink-batch-ms", "100"]));
    let first = start();
    until("the first one has all partitions", || positions(bucket).len() == 3 && written(bucket) > 0);
    let second = start();
    traffic.calls(20);
    until("all of it is written", || is_all_written(bucket, log.path()));
    signal(&first, Signal::STOP);
    time_passes();
    traffic.calls(20);
    until("the second one has taken over", || is_all_written(bucket, log.path()));
    signal(&first, Signal::CONT);
    traffic.calls(20);
    until("all of it is written", || is_all_written(bucket, log.path()));
    let ended = first.terminate();
    assert!(ended.err.contains("another sink has taken the partition"), "{}", ended.err);
    // Who ends in good order is not waited for.
    assert_eq!(second.terminate().code, 0);
    served.running.terminate();
    assert_rest(bucket, log.path());
}

#[cfg(feature = "crash-points")]
#[test]
fn what_a_sink_that_died_has_begun_is_finished_by_another() {
    is_finished_by_another(&Bucket::start());
}

/// Killed with a batch that is announced and written in part, and taken over when its time is over.
#[cfg(feature = "crash-points")]
pub fn is_finished_by_another(bucket: &Bucket) {
    let log = tempfile::tempdir().unwrap();
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 33);
    traffic.calls(30);
    let mut dies = sink(bucket, log.path(), &["backfill", "--sink-batch-ms", "100"]);
    let died = run(dies.env("HEADROOM_CRASH_AT", "sink-file:1"));
    assert_eq!(died.code, crate::process::KILLED, "{}{}", died.out, died.err);
    assert_ne!(announced(bucket), 0);
    traffic.calls(30);
    bucket.writers_are_gone();
    let last = Running::start(&mut sink(bucket, log.path(), &["--sink-batch-ms", "100"]));
    until("another one has finished it", || is_all_written(bucket, log.path()));
    served.running.terminate();
    assert_eq!(last.terminate().code, 0);
    assert_rest(bucket, log.path());
}

#[cfg(feature = "crash-points")]
#[test]
fn killed_at_any_point_the_files_of_a_bucket_repeat_nothing_and_lose_nothing() {
    is_whole_after_each_death(&Bucket::start());
}

/// Backfills die at each point, and then sinks that would go on and have shown that they live. Whoever comes later is told that the
/// dead have ended, as time would say.
#[cfg(feature = "crash-points")]
pub fn is_whole_after_each_death(bucket: &Bucket) {
    let (log, mut unfinished) = (tempfile::tempdir().unwrap(), 0);
    for (seed, args) in [(39, &["backfill"][..]), (40, &["--sink-batch-ms", "100"][..])] {
        let next = || {
            bucket.writers_are_gone();
            bucket.signs_are_gone();
            sink(bucket, log.path(), args)
        };
        killed::at_each(POINTS, seed, log.path(), next, || {
            unfinished += announced(bucket);
            // First the positions: the store may still carry out what the dead have asked for.
            let positions = positions(bucket);
            killed::assert_first_files(&positions, all(bucket), log.path());
        });
    }
    assert!(unfinished >= 12, "{unfinished} batches were announced and not complete when it died");
    bucket.writers_are_gone();
    assert_rest(bucket, log.path());
}

/// The story: two sinks on a slow store take each other for dead again and again, and each goes on with the batch that the other
/// one is still writing. No event is in two files, and the positions are whole.
#[test]
fn sinks_that_overtake_each_other_on_a_slow_store_write_each_event_once() {
    const TAKE_OVERS: usize = 12;
    let (log, bucket) = (tempfile::tempdir().unwrap(), Bucket::start());
    let served = serve(log.path());
    let way = bucket.slow_way(20_000);
    let start = || {
        let mut sink = sink(&bucket, log.path(), &["--sink-batch-ms", "100"]);
        buckets::at(&mut sink, &way);
        Running::start(&mut sink)
    };
    let sinks = [start(), start()];
    until("something is written", || positions(&bucket).len() == 3 && written(&bucket) > 0);
    Traffic::new(&served.url, 34).beside(|| {
        for _ in 0..TAKE_OVERS {
            until("a batch is on its way", || announced(&bucket) > 0);
            bucket.writers_are_gone();
            let before = written(&bucket);
            until("more is written", || written(&bucket) > before);
        }
    });
    served.running.terminate();
    let overtaken = sinks.map(Running::terminate).map(|ended| {
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.err.matches("another sink has taken the partition").count()
    });
    assert!(overtaken.iter().sum::<usize>() > TAKE_OVERS / 2, "{overtaken:?}");
    bucket.writers_are_gone();
    assert_rest(&bucket, log.path());
}

/// The story: the way to the store is slow. A batch is announced, and cannot be written in the usual time. It is not given up again
/// and again, because it cannot become smaller: it gets more time.
#[test]
fn a_batch_that_takes_longer_than_usual_is_written() {
    const ACCEPTED: u64 = 4_000;
    let (log, bucket, lake) = (tempfile::tempdir().unwrap(), Bucket::start(), Lake::new());
    let mut writing = Writing::new(ACCEPTED);
    (0..ACCEPTED).for_each(|_| writing.accept(ACCEPTED));
    writing.write_long(log.path());
    // How large its file is.
    assert_eq!(run(&mut lake.sink(log.path(), &["backfill"])).code, 0);
    let bytes = lake.sizes().into_iter().max().unwrap();
    assert!(bytes < 1 << 20, "{bytes} bytes");
    // A call with less than a MiB has ten seconds.
    let way = bucket.slow_way(u32::try_from(bytes / 13).unwrap());
    let mut backfill = sink(&bucket, log.path(), &["backfill"]);
    buckets::at(&mut backfill, &way);
    let mut backfill = Running::start(&mut backfill);
    until("all of it is written", || backfill.is_over());
    let ended = backfill.ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.err.contains(": no answer within 10 s") && ended.err.contains("so the same one is tried again"),
        "{}",
        ended.err
    );
    assert_rest(&bucket, log.path());
}

/// A store that says yes to everything.
#[test]
fn a_store_that_ignores_conditions_is_refused() {
    let log = tempfile::tempdir().unwrap();
    drop(serve(log.path()).running.terminate());
    let url = answering(|_, _, client| client.write_all(&empty("200 OK")));
    let mut backfill = headroom(["sink", "backfill", "--sink-files", "s3://lake/place"]);
    buckets::at(&mut backfill, &url);
    let refused = run(backfill.env("HEADROOM_DATA_DIR", log.path()));
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("the store ignores If-Match and If-None-Match"), "{}", refused.err);
}
