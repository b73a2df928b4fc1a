//! The archive in a bucket of a real store.

use super::served::{all_have_left, figure, left_for_a_month, reserve_in_new_pool, serve_into};
use super::{BEGIN, KEEP_DAYS, SEGMENT_BYTES};
use crate::bed::{Bed, Stopped, segments, url};
use crate::buckets::{self, Bucket, empty, over_folder, refusal};
use crate::process::{Ended, Served, headroom, run};
use crate::store::copy_tree;
use crate::turns::turn;
use crate::wait::until;
use crate::world::World;
use headroom::domain::{Digest, Event, EventBody};
use headroom::log::embedded::Embedded;
use headroom::log::{CommitOutcome, OwnedPartition, PartitionLog, StoredEvent};
use headroom::wire;
use serde_json::Value;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Log and bucket have every event.
fn is_whole(bucket: &Bucket, stopped: &Stopped) {
    let mut verify = headroom(["verify", "--log-archive", bucket.place(), "--data-dir"]);
    bucket.named(&mut verify);
    let verified = run(verify.arg(stopped.dir.path()));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert!(!verified.out.contains("are gone"), "{}", verified.out);
}

#[test]
fn segments_leave_into_a_bucket_once_and_are_read_from_there() {
    leave_once_and_are_read(&Bucket::start());
}

/// The story: segments leave into a bucket. The server of a copy of the directory, as a restored backup, writes the same objects.
/// That of another log with the same id does not replace them, and keeps what it has.
pub fn leave_once_and_are_read(bucket: &Bucket) {
    let stopped = left_for_a_month();
    let [copied, snapshots] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    copy_tree(&stopped.dir.path().join("log"), &copied.path().join("log"));
    copy_tree(stopped.snapshots.path(), snapshots.path());
    let served = |stopped: &Stopped| {
        let mut serve = serve_into(stopped, bucket.place());
        bucket.named(&mut serve);
        Served::start(&mut serve)
    };
    let whole = |stopped: &Stopped| is_whole(bucket, stopped);
    let first = served(&stopped);
    until("all that is old has left", || all_have_left(&stopped));
    whole(&stopped);
    assert_eq!(first.running.terminate().code, 0);
    whole(&stopped);
    let copy = Stopped { dir: copied, snapshots, archive: tempfile::tempdir().unwrap() };
    let second = served(&copy);
    until("the copy has let it go as well", || all_have_left(&copy));
    assert_eq!(figure(&second, "headroom_log_leaving_failures_total"), Some(0.0));
    assert_eq!(second.running.terminate().code, 0);
    whole(&copy);
    let other = left_for_a_month();
    let third = served(&other);
    until("it is told", || figure(&third, "headroom_log_leaving_failures_total") >= Some(1.0));
    let ended = third.running.terminate();
    assert!(ended.err.contains("00000000.segment is another object"), "{}", ended.err);
    assert!(!all_have_left(&other), "{}", url(other.dir.path()));
    whole(&copy);
}

/// The story: the bucket of the archive has reached its quota, or the server may not write into it. Nothing leaves the disk, orders
/// are taken, the log says why, and once that is mended everything that is old leaves.
#[test]
fn nothing_leaves_into_a_store_that_takes_nothing() {
    for (answer, expected) in [
        (empty("507 Insufficient Storage"), "507 Insufficient Storage"),
        (refusal("403 Forbidden", "AccessDenied"), "allow s3:PutObject under lake/some/place/*"),
    ] {
        let (stopped, bucket) = (left_for_a_month(), Bucket::start());
        let (way, is_allowed) = bucket.refusing_way(answer);
        let before = segments(stopped.dir.path());
        let mut serve = serve_into(&stopped, bucket.place());
        buckets::at(&mut serve, &way);
        let served = Served::start(&mut serve);
        until("it was tried twice", || figure(&served, "headroom_log_leaving_failures_total") >= Some(2.0));
        assert!(reserve_in_new_pool(&served));
        assert!(before.iter().all(|segment| segment.exists()));
        is_allowed.store(true, Relaxed);
        until("all that is old has left", || all_have_left(&stopped));
        let ended = served.running.terminate();
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(ended.err.contains(expected), "{}", ended.err);
        is_whole(&bucket, &stopped);
    }
}

/// The archive of a stopped server in a store, with a command that reads it.
fn read_from(stopped: &Stopped, url: &str, what: &str) -> Ended {
    let mut command = headroom([what, "--log-archive", "s3://lake/some/place", "--data-dir"]);
    buckets::at(&mut command, url);
    run(command.arg(stopped.dir.path()))
}

fn left() -> Stopped {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    assert!(bed.leave().len() > 4);
    Stopped::of(bed)
}

/// The story: an auditor may list the archive and not read it, or a rule of the bucket has moved its objects to where they are not
/// read from. No law is broken by that, as far as anybody can tell.
#[test]
fn an_archive_that_is_listed_and_not_given_proves_nothing_and_breaks_no_law() {
    let stopped = left();
    for (status, code, says) in [
        ("403 Forbidden", "AccessDenied", "allow s3:GetObject under lake/some/place/* and s3:ListBucket on lake"),
        ("403 Forbidden", "InvalidObjectState", "bring the object back from the archive tier"),
        ("503 Service Unavailable", "SlowDown", "SlowDown"),
    ] {
        let url = over_folder(stopped.archive.path(), move |_| Some(refusal(status, code)));
        for what in ["verify", "cat", "rebuild", "state"] {
            let told = read_from(&stopped, &url, what);
            assert_eq!((told.code, &*told.out), (2, ""), "{what}: {}", told.err);
            let names =
                told.err.contains("s3://lake/some/place: cannot read ") && told.err.contains("/segments/0000000");
            assert!(names && told.err.contains(says), "{what}: {}", told.err);
            assert!(!told.err.contains("L3") && !told.err.contains("damaged"), "{what}: {}", told.err);
            assert_eq!(told.err.contains("not proven: "), what == "verify", "{}", told.err);
            assert!(code == "SlowDown" || !told.err.contains("try again"), "{what}: {}", told.err);
        }
    }
}

/// The same when the right goes while the archive is read, at any place: of its manifests, of its events, of its commands.
#[test]
fn an_archive_that_is_not_given_to_its_end_proves_nothing_and_breaks_no_law() {
    let (stopped, mut given) = (left(), 0_usize);
    loop {
        let left = Arc::new(AtomicUsize::new(given));
        let url = over_folder(stopped.archive.path(), move |_| {
            let is_given = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            (!is_given).then(|| refusal("403 Forbidden", "AccessDenied"))
        });
        let told = read_from(&stopped, &url, "verify");
        if told.code == 0 {
            break;
        }
        assert_eq!((told.code, &*told.out), (2, ""), "after {given}: {}", told.err);
        assert!(told.err.contains("not proven: ") && told.err.contains("allow s3:GetObject"), "{}", told.err);
        given += 1;
        assert!(given < 500, "{given} objects are not all that it reads");
    }
    assert!(given > 10, "{given}");
}

/// The same of snapshots that would cover what has left.
#[test]
fn snapshots_that_are_listed_and_not_given_prove_nothing_and_break_no_law() {
    let stopped = left();
    let mut objects: Vec<_> = fs::read_dir(stopped.snapshots.path().join(format!("{:032x}/p0", 7)))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    objects.sort();
    // A place of several is left alone after some reads that failed. One that has a single snapshot is read again.
    let newest = objects.split_off(objects.len() - 2);
    for is_single in [false, true] {
        for (status, code, says) in [
            ("403 Forbidden", "AccessDenied", "allow s3:GetObject"),
            ("403 Forbidden", "InvalidObjectState", "bring the object back from the archive tier"),
            ("503 Service Unavailable", "SlowDown", "SlowDown"),
        ] {
            let url = over_folder(stopped.snapshots.path(), move |_| Some(refusal(status, code)));
            let told = covered_by(&stopped, &url, &[]);
            assert_eq!((told.code, &*told.out), (2, ""), "{is_single}: {}", told.err);
            assert!(told.err.contains("not proven: ") && told.err.contains(says), "{}", told.err);
        }
        objects.drain(..).for_each(|path| fs::remove_file(path).unwrap());
    }
    // What is given and damaged covers nothing, however often it is read. It is named, and an archive may cover the log.
    newest.iter().for_each(|path| fs::write(path, "no snapshot").unwrap());
    let url = over_folder(stopped.snapshots.path(), |_| None);
    let told = covered_by(&stopped, &url, &[]);
    assert_eq!(told.code, 1, "{}", told.err);
    assert!(told.out.contains("BAD SNAPSHOT of partition 0") && !told.out.contains("BROKEN"), "{}", told.out);
    assert!(told.err.contains("its head cannot be proven without --log-archive"), "{}", told.err);
}

/// `verify` of the log of a stopped server whose snapshots are in the store at this URL.
fn covered_by(stopped: &Stopped, url: &str, args: &[&str]) -> Ended {
    let mut verify = headroom(["verify", "--snapshots", "s3://lake/some/place"]);
    buckets::at(&mut verify, url);
    run(verify.args(args).arg("--data-dir").arg(stopped.dir.path()))
}

/// The story: the store of snapshots is slow, so nothing is known of one partition. Another one has a fork, which is found.
#[test]
fn a_partition_that_is_not_proven_hides_no_fork_of_another() {
    let mut bed = Bed::over(World::sealing_at(2, SEGMENT_BYTES), BEGIN);
    (0..KEEP_DAYS + 8).for_each(|_| bed.day());
    assert!(!bed.leave().is_empty());
    write_fork(&bed.world.log, 1);
    let stopped = Stopped::of(bed);
    let url = over_folder(stopped.snapshots.path(), |_| Some(refusal("503 Service Unavailable", "SlowDown")));
    let told = covered_by(&stopped, &url, &["--partition", "0"]);
    assert_eq!((told.code, &*told.out), (2, ""), "{}", told.err);
    let told = covered_by(&stopped, &url, &["--json"]);
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(told.err.contains("not proven: partition 0: "), "{}", told.err);
    let report: Value = serde_json::from_str(&told.out).unwrap();
    let (not_proven, breach) = (&report["not_proven"], &report["breaches"][0]);
    let (first, others) = not_proven.as_array().unwrap().split_first().unwrap();
    assert_eq!(first["partition"], 0, "{report}");
    // As long as the place is left alone, nothing is known of the snapshots of the other one either.
    let is_of_snapshots = |other: &Value| other["why"].as_str().unwrap().contains("its snapshots cannot be listed");
    assert!(others.iter().all(|other| other["partition"] == 1 && is_of_snapshots(other)), "{report}");
    assert!(told.err.contains(not_proven[0]["why"].as_str().unwrap()), "{report}");
    assert_eq!(
        (&breach["partition"], &breach["seq"], &breach["law"]),
        (&1.into(), &1.into(), &"L3".into()),
        "{report}"
    );
}

/// Writes two events of which the second does not follow the first.
fn write_fork(log: &Arc<Embedded>, partition: u32) {
    let mut owned = log.claim(partition, 0, &mut |_| Ok(0)).unwrap();
    let event = |seq| {
        let (epoch, body) = (seq + 1, EventBody::Barrier { nonce: seq });
        let prev = Digest::default();
        let event = Event { partition, seq, epoch: epoch as u32, prev, decided_at: BEGIN, cause: None, body };
        StoredEvent { seq, bytes: wire::event::encode(&event).0, trace: None }
    };
    let turn = turn(Vec::new(), &[event(0), event(1)]);
    assert_eq!(owned.commit(Arc::new(turn)), CommitOutcome::Ok);
}

/// The story: the way to the bucket is slow, and a segment takes seconds. Orders do not wait for it.
#[test]
fn segments_leave_on_a_slow_way_beside_orders() {
    let (stopped, bucket) = (left_for_a_month(), Bucket::start());
    let mut serve = serve_into(&stopped, bucket.place());
    buckets::at(&mut serve, &bucket.slow_way(20_000));
    let served = Served::start(&mut serve);
    assert!(reserve_in_new_pool(&served) && !all_have_left(&stopped));
    until("all that is old has left", || all_have_left(&stopped));
    assert_eq!(figure(&served, "headroom_log_leaving_failures_total"), Some(0.0));
    assert_eq!(served.running.terminate().code, 0);
    is_whole(&bucket, &stopped);
}
