//! Snapshots in a bucket of a real store.

use super::served::{command, define, figure, is_sound, reserve};
use crate::buckets::Bucket;
use crate::process::Served;
use crate::wait::until;
use std::fs;

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
