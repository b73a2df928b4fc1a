//! A bucket that refuses: nobody waits for it. The sink ends, as it does when the database refuses it, and says what has to change.

use super::bucket::{self, COUNTED};
use super::redshift::Redshift;
use super::traffic::Traffic;
use super::{on_path, serve};
use crate::buckets::{self, Bucket, refusal, refusing};
use crate::cli::handwritten_logs::Writing;
use crate::process::{Running, headroom, run};
use crate::wait::until;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use tempfile::TempDir;

/// What a store says, and what is to be done about it.
const REFUSALS: &[(&str, &str, &str)] = &[
    ("403 Forbidden", "AccessDenied", "(403 AccessDenied, It says no): allow s3:"),
    ("403 Forbidden", "InvalidAccessKeyId", "(403 InvalidAccessKeyId, It says no): set AWS_ACCESS_KEY_ID"),
    ("404 Not Found", "NoSuchBucket", "(404 NoSuchBucket, It says no): there is no such bucket: make it"),
    ("400 Bad Request", "AuthorizationHeaderMalformed", "It says no): set AWS_REGION to the region of the bucket"),
];

fn log() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut writing = Writing::new(5);
    writing.accept(5);
    writing.write(dir.path());
    dir
}

fn into_a_lake(url: &str, log: &Path, args: &[&str]) -> Command {
    let mut command = headroom(["sink"]);
    command.args(args).env("HEADROOM_SINK_FILES", "s3://lake/some/place");
    buckets::at(&mut command, url);
    on_path(&mut command, log, args);
    command
}

/// The story: a team makes the bucket and forgets the rights, or mistypes a key or the name.
#[test]
fn a_lake_that_refuses_is_named_with_what_has_to_change() {
    let log = log();
    for (status, code, expected) in REFUSALS {
        let url = refusing(status, code);
        for (args, act) in [(["backfill"], "cannot replace positions/conditions"), (["status"], "cannot read log.json")]
        {
            let ended = run(&mut into_a_lake(&url, log.path(), &args));
            assert_eq!((ended.code, &*ended.out), (1, ""), "{code}: {}", ended.err);
            let place = format!("s3://lake/some/place: {act}: the store refuses it ");
            assert!(ended.err.contains(&place) && ended.err.contains(expected), "{}", ended.err);
            assert!(!ended.err.contains("try again"), "{}", ended.err);
        }
    }
    let url = refusing("403 Forbidden", "AccessDenied");
    let written = run(&mut into_a_lake(&url, log.path(), &["backfill"])).err;
    assert!(written.contains(": allow s3:PutObject under lake/some/place/*"), "{written}");
    let read = run(&mut into_a_lake(&url, log.path(), &["status"])).err;
    assert!(read.contains(": allow s3:GetObject under lake/some/place/* and s3:ListBucket on lake"), "{read}");
}

/// The story: keys are renewed while a sink writes, and for a moment the bucket refuses it: it goes on. Then somebody tightens the
/// policy of the bucket for good: it ends with what it lacks. When it may write again, whoever starts it finds every event once.
#[test]
fn a_sink_that_may_not_write_any_more_ends_and_the_next_one_goes_on() {
    let (log, bucket) = (tempfile::tempdir().unwrap(), Bucket::start());
    let served = serve(log.path());
    let mut traffic = Traffic::new(&served.url, 91);
    let (way, is_allowed) = bucket.refusing_way(refusal("403 Forbidden", "AccessDenied"));
    is_allowed.store(true, Relaxed);
    let mut sink = Running::start(&mut into_a_lake(&way, log.path(), COUNTED));
    traffic.calls(20);
    let failures = bucket::failures_of(&mut sink);
    until("something is written", || bucket::written(&bucket) > 0);
    for _ in 0..2 {
        let (before, written) = (failures(), bucket::written(&bucket));
        is_allowed.store(false, Relaxed);
        traffic.calls(20);
        until("it is refused", || failures() > before);
        is_allowed.store(true, Relaxed);
        until("more is written", || bucket::written(&bucket) > written);
    }
    is_allowed.store(false, Relaxed);
    traffic.calls(20);
    until("it has ended", || sink.is_over());
    let ended = sink.ended();
    assert_eq!(ended.code, 1, "{}", ended.err);
    let says = ": allow s3:PutObject under lake/some/place/*";
    let warned = |line: &str| line.contains("WARN") && line.contains("the sink waits") && line.contains(says);
    assert!(ended.err.lines().any(warned), "{}", ended.err);
    let last = ended.err.lines().last().unwrap();
    let after = last.split_once("; it was refused ").unwrap_or_else(|| panic!("{}", ended.err));
    assert!(after.0.contains(says) && after.1.ends_with(" s, and nothing was written meanwhile"), "{last}");
    served.running.terminate();
    bucket.writers_are_gone();
    bucket::assert_rest(&bucket, log.path());
}

/// The story: the policy of a bucket lets a sink write positions and no events. A backfill at night ends, and who asks for the status in
/// the morning hears that the partition is behind, and not why.
#[test]
fn what_a_bucket_refused_when_a_backfill_ended_stands_in_the_status() {
    let (log, bucket) = (log(), Bucket::start());
    let (way, is_allowed) = bucket.refusing_way_to("/events/", refusal("403 Forbidden", "AccessDenied"));
    let run = |command: &str| run(&mut into_a_lake(&way, log.path(), &[command]));
    let told = "s3://lake/some/place: cannot write events/day=";
    let ended = run("backfill");
    assert!(ended.code == 1 && ended.err.contains(told), "{}", ended.err);
    let status = run("status");
    let is_last = |line: &str| line.starts_with("partition 0: last failure ") && line.contains(told);
    assert!(status.code == 0 && status.out.lines().any(is_last), "{}{}", status.out, status.err);
    // The partition was given back all the same.
    is_allowed.store(true, Relaxed);
    let ended = run("backfill");
    assert_eq!(ended.code, 0, "{}", ended.err);
    bucket::assert_rest(&bucket, log.path());
}

/// The story: the folder belongs to another user, or its disk is mounted so that nobody writes. Here it is one that the system keeps
/// for itself.
#[test]
fn a_folder_that_may_not_be_written_is_named_with_what_the_system_says() {
    let log = log();
    let mut backfill = headroom(["sink", "backfill", "--sink-files", "file:///sys/kernel"]);
    on_path(&mut backfill, log.path(), &["backfill"]);
    let ended = run(&mut backfill);
    assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
    let parts = ["the system refuses it (/sys/kernel/log.json: ", "(os error ", ", or name another place"];
    assert!(parts.iter().all(|part| ended.err.contains(part)), "{}", ended.err);
    assert!(!ended.err.contains("try again"), "{}", ended.err);
}

/// The same of the bucket through which rows go into Redshift.
#[test]
fn a_bucket_on_the_way_into_redshift_that_refuses_is_named() {
    let (log, redshift) = (log(), Redshift::start());
    redshift.apply();
    for (status, code, expected) in REFUSALS {
        let mut backfill = redshift.sink(log.path(), &["backfill"]);
        buckets::at(&mut backfill, &refusing(status, code));
        let ended = run(&mut backfill);
        assert_eq!((ended.code, &*ended.out), (1, ""), "{code}: {}", ended.err);
        assert!(ended.err.contains("s3://lake/some/place: cannot write staged/events-p00000-"), "{}", ended.err);
        assert!(ended.err.contains(expected), "{}", ended.err);
        let status = run(&mut redshift.sink(log.path(), &["status"]));
        let is_last = |line: &str| line.starts_with("partition 0: last failure ") && line.contains(expected);
        assert!(status.out.lines().any(is_last), "{}{}", status.out, status.err);
    }
    // Whoever ends so gives its partition back.
    let ended = run(&mut redshift.sink(log.path(), &["backfill"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
}
