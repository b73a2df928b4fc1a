//! Backups in a bucket of a real store.

use super::{a_log, done, is_all_of, more};
use crate::buckets::{self, Bucket, refusing};
use crate::cli::assert_says;
use crate::process::{Running, headroom, run};
use crate::wait::until;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

fn command(bucket: &Bucket, args: [&str; 3], dir: &Path) -> Command {
    let mut command = headroom(args);
    command.arg("--data-dir").arg(dir);
    bucket.named(&mut command);
    command
}

/// Whether somebody has a connection to the store. The system takes it for a store that stands still.
fn is_connected(bucket: &Bucket) -> bool {
    let open = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_to_it = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&format!(":{:04X}", bucket.port())) && fields[3] == "01"
    };
    open.lines().skip(1).any(is_to_it)
}

#[test]
fn a_log_comes_back_from_a_bucket() {
    comes_back(&Bucket::start());
}

#[test]
fn a_listing_of_several_pages_has_all_backups() {
    lists_all_of(&Bucket::start(), 1_100);
}

/// Backups of many years, which the store lists page by page.
pub fn lists_all_of(bucket: &Bucket, count: usize) {
    let (dir, reader) = (tempfile::tempdir().unwrap(), bucket.reader());
    let names: Vec<_> = (0..count).map(|n| format!("20260101T000000.{n:06}Z-ab000000-0123456789abcdef")).collect();
    names.iter().for_each(|name| reader.put(&format!("backups/{name}.json"), b"{}"));
    let listed = run(command(bucket, ["restore", "--from", bucket.place()], dir.path()).arg("--list"));
    assert_eq!(listed.code, 1, "none of them has a whole manifest: {}", listed.err);
    let found = listed.out.lines().map(|line| line.split_once("  ").unwrap().0);
    assert!(found.eq(names.iter().rev()), "{} of {count}", listed.out.lines().count());
}

/// A log goes into the bucket, a later backup adds what is new, and all of it comes back. A store that does not answer for a
/// while is waited for.
pub fn comes_back(bucket: &Bucket) {
    let (dir, target) = (a_log(10), tempfile::tempdir().unwrap());
    let back_up = || command(bucket, ["backup", "--to", bucket.place()], dir.path());
    assert_says(&done(run(&mut back_up())), &["in 1 object"]);
    assert_says(&done(run(&mut back_up())), &["0 were new, in 0 objects"]);
    more(dir.path(), 11);
    bucket.stands_still();
    let mut waits = Running::start(&mut back_up());
    until("it is connected to the store", || is_connected(bucket));
    assert!(!waits.is_over());
    bucket.goes_on();
    assert_says(&done(waits.ended()), &["in 1 object"]);
    assert_eq!((bucket.objects("backups").len(), bucket.objects("backup-data").len()), (3, 2));
    let restored = run(&mut command(bucket, ["restore", "--from", bucket.place()], target.path()));
    assert_says(&done(restored), &["is restored into"]);
    is_all_of(target.path(), dir.path());
}

/// The story: the bucket has reached its quota. There is no backup, the command says why, and later everything is copied.
#[test]
fn a_store_without_room_is_no_success() {
    let (dir, target, bucket) = (a_log(10), tempfile::tempdir().unwrap(), Bucket::start());
    let (way, has_room) = bucket.full_way();
    let mut backup = command(&bucket, ["backup", "--to", bucket.place()], dir.path());
    buckets::at(&mut backup, &way);
    let full = run(&mut backup);
    assert_eq!((full.code, &*full.out), (2, ""), "{}", full.err);
    assert_says(&full.err, &["trying again", "cannot write backup-data/", "507 Insufficient Storage"]);
    assert!(bucket.reader().beginning_with("lake/some/place/").is_empty());
    has_room.store(true, Relaxed);
    assert_says(&done(run(&mut backup)), &["in 1 object"]);
    done(run(&mut command(&bucket, ["restore", "--from", bucket.place()], target.path())));
    is_all_of(target.path(), dir.path());
}

/// The story: the keys of the store are wrong, or nobody listens there. The command ends, and says why.
#[test]
fn a_store_that_cannot_be_reached_is_named() {
    let dir = a_log(1);
    let mut backup = headroom(["backup", "--to", "s3://bucket/prefix", "--data-dir"]);
    buckets::at(backup.arg(dir.path()), "http://127.0.0.1:9");
    let failed = run(&mut backup);
    assert_eq!((failed.code, &*failed.out), (2, ""));
    assert_says(&failed.err, &["trying again", "s3://bucket/prefix: cannot list backups"]);
    let failed = run(backup.env("AWS_SECRET_ACCESS_KEY", "secret\n"));
    assert_eq!((failed.code, &*failed.out), (2, ""));
    assert_says(&failed.err, &["AWS_SECRET_ACCESS_KEY has a character that no request can carry"]);
}

/// The story: the schedule runs with another role than the one that was tried by hand. What is refused stays so: nobody waits.
#[test]
fn a_store_that_refuses_is_named_at_once_with_what_has_to_change() {
    let dir = a_log(1);
    for (status, code, expected) in [
        ("403 Forbidden", "AccessDenied", "(403 AccessDenied, It says no): allow s3:ListBucket on bucket"),
        ("403 Forbidden", "SignatureDoesNotMatch", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("404 Not Found", "NoSuchBucket", "there is no such bucket: make it, or name another place"),
    ] {
        let mut backup = headroom(["backup", "--to", "s3://bucket/prefix", "--data-dir"]);
        buckets::at(backup.arg(dir.path()), &refusing(status, code));
        let refused = run(&mut backup);
        assert_eq!((refused.code, &*refused.out), (2, ""), "{}", refused.err);
        assert_says(&refused.err, &["s3://bucket/prefix: cannot list backups: the store refuses it ", expected]);
        assert!(!refused.err.contains("trying again"), "{}", refused.err);
    }
}
