//! The archive in a bucket of a real store.

use super::served::{all_have_left, figure, left_for_a_month, serve_into};
use crate::bed::{Stopped, url};
use crate::buckets::Bucket;
use crate::process::{Served, headroom, run};
use crate::wait::until;
use std::fs;
use std::path::Path;

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
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
    copy(&stopped.dir.path().join("log"), &copied.path().join("log"));
    copy(stopped.snapshots.path(), snapshots.path());
    let served = |stopped: &Stopped| {
        let mut serve = serve_into(stopped, bucket.place());
        bucket.named(&mut serve);
        Served::start(&mut serve)
    };
    let whole = |stopped: &Stopped| {
        let mut verify = headroom(["verify", "--log-archive", bucket.place(), "--data-dir"]);
        bucket.named(&mut verify);
        let verified = run(verify.arg(stopped.dir.path()));
        assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
        assert!(!verified.out.contains("are gone"), "{}", verified.out);
    };
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
