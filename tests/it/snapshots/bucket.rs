//! Snapshots in a bucket of a real store.

use super::served::{command, define, figure, is_sound, reserve};
use crate::buckets::{self, Bucket, refusal, refusing};
use crate::process::{Served, agent};
use crate::store::copy_tree;
use crate::wait::until;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn a_start_begins_with_a_snapshot_in_a_bucket() {
    begins_with_a_snapshot(&Bucket::start());
}

/// A server writes snapshots into the bucket, and a start without a checkpoint begins with one of them.
pub fn begins_with_a_snapshot(bucket: &Bucket) {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = command(dir.path(), bucket.place());
        bucket.named(&mut command);
        Served::start(&mut command)
    };
    let served = start();
    define(&served);
    assert!((0..30).all(|n| reserve(&served, n)));
    until("a snapshot is written", || figure(&served, "headroom_snapshot_writes_total") >= Some(1.0));
    until("it has all events", || figure(&served, "headroom_snapshot_missing_events") == Some(0.0));
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    let served = start();
    assert!((0..31).all(|n| reserve(&served, n)));
    let ended = served.running.terminate();
    assert!(ended.err.contains("no checkpoint: rebuilding from this snapshot and the log"), "{}", ended.err);
    is_sound(dir.path());
}

/// The story: the bucket has reached its quota. Orders are taken, a log line has the store's own words, and snapshots are written
/// once there is room.
#[test]
fn a_store_without_room_costs_snapshots_and_nothing_else() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), Bucket::start());
    let (way, has_room) = bucket.full_way();
    let mut command = command(dir.path(), bucket.place());
    buckets::at(&mut command, &way);
    let served = Served::start(&mut command);
    define(&served);
    assert!((0..20).all(|n| reserve(&served, n)));
    until("it was tried twice", || figure(&served, "headroom_snapshot_failures_total") >= Some(2.0));
    assert!((20..30).all(|n| reserve(&served, n)));
    assert!(bucket.reader().beginning_with("lake/some/place/").is_empty());
    has_room.store(true, Relaxed);
    until("a snapshot is written", || figure(&served, "headroom_snapshot_writes_total") >= Some(1.0));
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("507 Insufficient Storage"), "{}", ended.err);
    is_sound(dir.path());
}

/// The story: the role of the servers may not write into the bucket. Orders are taken, a log line says which right is missing, and
/// snapshots are written once they have it. A start that may not even look reads the whole log, and says so.
#[test]
fn a_store_that_refuses_costs_snapshots_and_nothing_else() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), Bucket::start());
    let (way, is_allowed) = bucket.refusing_way(refusal("403 Forbidden", "AccessDenied"));
    let start = |url: &str| {
        let mut command = command(dir.path(), bucket.place());
        buckets::at(&mut command, url);
        Served::start(&mut command)
    };
    let served = start(&way);
    define(&served);
    assert!((0..20).all(|n| reserve(&served, n)));
    until("it was tried twice", || figure(&served, "headroom_snapshot_failures_total") >= Some(2.0));
    assert!((20..30).all(|n| reserve(&served, n)));
    is_allowed.store(true, Relaxed);
    until("a snapshot is written", || figure(&served, "headroom_snapshot_writes_total") >= Some(1.0));
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("It says no): allow s3:PutObject under lake/some/place/*"), "{}", ended.err);
    fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    let served = start(&refusing("404 Not Found", "NoSuchBucket"));
    assert!((0..31).all(|n| reserve(&served, n)));
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("It says no): there is no such bucket: make it"), "{}", ended.err);
    is_sound(dir.path());
}

/// The story: a data directory was copied, and a server of each copy writes snapshots of the same partition into one bucket.
/// Their histories part from there, and a start begins with a snapshot of its own.
#[test]
fn two_servers_that_write_snapshots_of_one_partition_begin_with_their_own() {
    let ([one, other], bucket) = ([(); 2].map(|()| tempfile::tempdir().unwrap()), Bucket::start());
    let start = |dir: &Path| {
        let mut command = command(dir, bucket.place());
        bucket.named(&mut command);
        Served::start(&mut command)
    };
    let served = start(one.path());
    define(&served);
    assert!((0..10).all(|n| reserve(&served, n)));
    assert_eq!(served.running.terminate().code, 0);
    copy_tree(one.path(), other.path());
    let both = [one.path(), other.path()];
    let servers = both.map(start);
    // Each pair of orders has the same place in the two logs.
    for n in 0..20 {
        assert!(reserve(&servers[0], 100 + n) && reserve(&servers[1], 200 + n));
    }
    for served in servers {
        until("it has all events", || figure(&served, "headroom_snapshot_missing_events") == Some(0.0));
        assert_eq!(figure(&served, "headroom_snapshot_failures_total"), Some(0.0));
        assert_eq!(served.running.terminate().code, 0);
    }
    for (dir, own, foreign) in [(both[0], 100, 200), (both[1], 200, 100)] {
        fs::remove_dir_all(dir.join("checkpoint")).unwrap();
        let served = start(dir);
        let used = || {
            let mut shown = agent().get(format!("{}/v1/pools/van-1", served.url)).call().unwrap();
            serde_json::from_str::<Value>(&shown.body_mut().read_to_string().unwrap()).unwrap()["used"]["orders"]
                .clone()
        };
        assert_eq!(used(), 30);
        // What was taken is known, and what the other one took is new.
        assert!((own..own + 20).all(|n| reserve(&served, n)));
        assert_eq!(used(), 30);
        assert!(reserve(&served, foreign));
        assert_eq!(used(), 31);
        let ended = served.running.terminate();
        assert!(ended.err.contains("no checkpoint: rebuilding from this snapshot and the log"), "{}", ended.err);
        is_sound(dir);
    }
}
