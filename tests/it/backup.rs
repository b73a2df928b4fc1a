//! Backups of the embedded log, and the way back: all that was answered before a backup began is in it, what is restored
//! is that log, and half of one is never served.

pub mod bucket;
mod damaged;
mod form;
#[cfg(feature = "crash-points")]
mod killed;
mod later;
mod lying;

use crate::cli::handwritten_logs::Writing;
use crate::cli::{assert_says, on};
use crate::process::{Ended, Served, agent, headroom, once_free, run};
use headroom::domain::Micros;
use headroom::log::embedded::{Embedded, EmbeddedReader, Options};
use headroom::log::{CommitOutcome, CommittedTail, OwnedPartition, PartitionLog, StoredEvent, Turn, TurnEvent};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use tempfile::TempDir;

/// A folder for backups.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("file://{}", self.0.path().display())
    }

    fn back_up(&self, dir: &Path) -> Ended {
        on(dir, ["backup", "--to", &self.url()])
    }

    fn restore(&self, dir: &Path, more: &[&str]) -> Ended {
        run(headroom(["restore", "--from", &self.url(), "--data-dir"]).arg(dir).args(more))
    }

    fn listed(&self) -> Ended {
        run(&mut headroom(["restore", "--list", "--from", &self.url()]))
    }

    /// The names of the backups, the newest first.
    fn list(&self) -> Vec<String> {
        let listed = self.listed();
        if listed.err.contains("the place has no backup") {
            return Vec::new();
        }
        let listed = done(listed);
        listed.lines().map(|line| line.split_once("  ").unwrap().0.to_owned()).collect()
    }

    /// The pieces of all logs, with their lengths.
    fn pieces(&self) -> BTreeMap<String, u64> {
        let logs = fs::read_dir(self.0.path().join("backup-data")).into_iter().flatten();
        let files = logs.flat_map(|log| fs::read_dir(log.unwrap().path()).unwrap().map(Result::unwrap));
        let named = files.map(|file| (file.path().display().to_string(), file.metadata().unwrap().len()));
        named.filter(|(name, _)| !name.contains('#')).collect()
    }
}

/// The one file of a folder.
fn only(dir: &Path) -> PathBuf {
    let mut files = fs::read_dir(dir).unwrap();
    let first = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    if first.is_dir() { only(&first) } else { first }
}

#[track_caller]
fn done(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    ended.out
}

fn serve(dir: &Path) -> Served {
    Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir))
}

fn define(url: &str, pool: &str) {
    let put = agent().put(format!("{url}/v1/pools/{pool}")).content_type("application/json");
    assert_eq!(put.send(r#"{"limits":{"orders":1000000}}"#).unwrap().status(), 201);
}

/// Takes one order of a pool; the proof of the yes.
fn reserve(url: &str, pool: &str, key: &str) -> Value {
    let post = agent().post(format!("{url}/v1/reservations")).header("idempotency-key", key);
    let post = post.header("request-timeout-ms", "5000").content_type("application/json");
    let mut reply = post.send(json!({ "pool": pool, "demand": { "orders": 1 } }).to_string()).unwrap();
    let text = reply.body_mut().read_to_string().unwrap();
    assert_eq!(reply.status(), 201, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["proof"].take()
}

/// A stopped server's log, of some orders.
fn a_log(orders: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    more(dir.path(), orders);
    dir
}

/// More orders in a log.
fn more(dir: &Path, orders: usize) {
    let served = serve(dir);
    let pool = format!("van-{orders}");
    define(&served.url, &pool);
    (0..orders).for_each(|n| drop(reserve(&served.url, &pool, &format!("K{n}"))));
    assert_eq!(served.running.terminate().code, 0);
}

/// All events of the log in this directory, which no process has open.
fn events(dir: &Path) -> Vec<Vec<StoredEvent>> {
    let log = once_free(|| EmbeddedReader::open(dir)).unwrap();
    let all = |partition| {
        let (mut all, end) = (Vec::new(), log.end(partition).unwrap());
        while (all.len() as u64) < end {
            all.extend(log.read(partition, all.len() as u64, 1 << 20).unwrap());
        }
        all
    };
    (0..log.partitions()).map(all).collect()
}

/// The state of each partition by its digest, and the event at which it is, of a log that breaks no law.
fn digests(dir: &Path) -> Vec<[Value; 3]> {
    let report: Value = serde_json::from_str(&done(on(dir, ["verify", "--json"]))).unwrap();
    assert_eq!((&report["clean"], &report["damage"]), (&json!(true), &json!(null)));
    let partitions = report["partitions"].as_array().unwrap().iter();
    partitions.map(|of| ["last_seq", "chain", "digest"].map(|name| of[name].clone())).collect()
}

/// Whether what was restored here is all of this log.
#[track_caller]
fn is_all_of(restored: &Path, log: &Path) {
    assert_eq!(events(restored), events(log));
    assert_eq!(digests(restored), digests(log));
}

/// Ends the callers, also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The story: a backup runs every hour while orders come. The disk is lost, and the last backup is all there is. An order
/// that was confirmed before the backup began, and is not in it, would be sold again.
#[test]
fn a_backup_of_a_busy_server_has_every_answer_that_was_given_before_it() {
    let (dir, folder, targets) = (tempfile::tempdir().unwrap(), Folder::new(), tempfile::tempdir().unwrap());
    let mut served = serve(dir.path());
    let pools: Vec<String> = (0..4).map(|n| format!("van-{n}")).collect();
    pools.iter().for_each(|pool| define(&served.url, pool));
    let (answered, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut taken = Vec::new();
    thread::scope(|scope| {
        for pool in &pools {
            let (url, answered, is_over) = (&served.url, &answered, &is_over);
            scope.spawn(move || {
                for n in 0.. {
                    if is_over.load(Relaxed) {
                        break;
                    }
                    let proof = reserve(url, pool, &format!("{pool}-{n}"));
                    answered.lock().push((proof, pool.clone(), format!("{pool}-{n}")));
                }
            });
        }
        let _over = Over(&is_over);
        for round in 1..=4 {
            crate::wait::until("orders are answered", || answered.lock().len() > round * 50);
            let before = answered.lock().clone();
            done(folder.back_up(dir.path()));
            taken.push(before);
        }
    });
    served.running.kill();
    let whole = events(dir.path());
    let listed = folder.list();
    assert_eq!(listed.len(), taken.len(), "{listed:?}");
    for (n, (id, before)) in listed.iter().rev().zip(&taken).enumerate() {
        let target = targets.path().join(n.to_string());
        assert_says(&done(folder.restore(&target, &["--backup", id])), &[id, "is restored"]);
        let found = events(&target);
        assert!(found.iter().zip(&whole).all(|(found, whole)| whole.starts_with(found)), "{id}");
        for (proof, ..) in before {
            let number = |name: &str| proof[name].to_string().trim_matches('"').parse::<usize>().unwrap();
            assert!(found[number("partition")].len() > number("seq"), "{proof} in {id}");
        }
    }
    // The newest one serves: the same keys have the same answers, and capacity goes on where it was.
    let newest = tempfile::tempdir().unwrap();
    done(folder.restore(newest.path(), &[]));
    assert_says(&done(on(newest.path(), ["verify"])), &["clean: no law broken"]);
    let served = serve(newest.path());
    for (proof, pool, key) in taken.last().unwrap() {
        assert_eq!(reserve(&served.url, pool, key)["original"]["seq"], proof["seq"], "{key}");
    }
    reserve(&served.url, "van-0", "new");
    assert_eq!(served.running.terminate().code, 0);
    assert_says(&done(on(newest.path(), ["verify"])), &["clean: no law broken"]);
}

/// The story: a log of a year is backed up every hour. Copying all of it each time would take longer than the hour.
#[test]
fn a_later_backup_copies_only_what_is_new() {
    let (dir, folder, target) = (a_log(20), Folder::new(), tempfile::tempdir().unwrap());
    assert_says(&done(folder.back_up(dir.path())), &["in 1 object"]);
    let first = folder.pieces();
    assert_eq!((first.len(), folder.list().len()), (1, 1));
    assert_says(&done(folder.back_up(dir.path())), &["0 were new, in 0 objects"]);
    assert_eq!((folder.pieces(), folder.list().len()), (first.clone(), 2));
    more(dir.path(), 30);
    assert_says(&done(folder.back_up(dir.path())), &["in 1 object"]);
    let third = folder.pieces();
    assert_eq!((third.len(), third.iter().filter(|piece| first.get(piece.0) == Some(piece.1)).count()), (2, 1));
    done(folder.restore(target.path(), &[]));
    is_all_of(target.path(), dir.path());
}

/// A log of 66 MiB, whose first segment is sealed.
fn a_long_log() -> TempDir {
    a_log_of_mib(66)
}

/// The log with the id 7, of so many events of a MiB and one that can be decoded.
fn a_log_of_mib(count: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(dir.path(), Options { partitions: Some(1), log_id: 7, now: Micros(1) }).unwrap();
    let mut owner = log.claim(0, 0, &mut |_| Ok(0)).unwrap();
    let mut commit = |seq, bytes: Vec<u8>| {
        let events = vec![TurnEvent { seq, key: None, bytes }];
        assert_eq!(owner.commit(Arc::new(Turn { events, ..Turn::default() })), CommitOutcome::Ok);
    };
    (0..count).for_each(|seq| commit(seq, seq.to_le_bytes().repeat(1 << 17)));
    commit(count, Writing::new(1).events[0].bytes.clone());
    dir
}

/// The story: a bit of an old segment flips on the disk, and nobody has read it since. The next backup relies on what it has
/// copied before, and does not copy the damage. One that has to begin anew says what is damaged, and is no backup.
#[test]
fn what_was_copied_before_is_not_read_again_and_damage_is_not_copied() {
    let (dir, folder, target) = (a_long_log(), Folder::new(), tempfile::tempdir().unwrap());
    let told = done(folder.back_up(dir.path()));
    // 3 MiB of the first segment are one piece, and the rest is in the second one.
    assert_says(&told, &["in 17 objects"]);
    let whole = events(dir.path());
    let sealed = dir.path().join("log/segment-00000000");
    let mut bytes = fs::read(&sealed).unwrap();
    bytes[1 << 21] ^= 1;
    fs::write(&sealed, bytes).unwrap();
    assert_says(&done(folder.back_up(dir.path())), &["0 were new, in 0 objects"]);
    done(folder.restore(target.path(), &[]));
    assert_eq!(events(target.path()), whole);
    let other = Folder::new();
    let refused = other.back_up(dir.path());
    assert_eq!((refused.code, &*refused.out, other.list().len()), (1, "", 0));
    assert_says(&refused.err, &["segment-00000000 is damaged", "the contents are not what was written"]);
}

/// The story: two schedules back up the same server at the same time. Both backups are whole.
#[test]
fn two_backups_at_the_same_time_are_both_whole() {
    let (dir, folder) = (a_log(20), Folder::new());
    thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| done(folder.back_up(dir.path()))));
        both.into_iter().for_each(|one| drop(one.join().unwrap()));
    });
    let ids = folder.list();
    assert_eq!((ids.len(), folder.pieces().len()), (2, 1));
    for id in ids {
        let target = tempfile::tempdir().unwrap();
        done(folder.restore(target.path(), &["--backup", &id]));
        is_all_of(target.path(), dir.path());
    }
}

/// The story: a second shop is backed up into the folder of the first one. Neither takes the other's place, and whoever
/// restores says which one it is to be.
#[test]
fn backups_of_two_logs_lie_in_one_place() {
    let (one, other, folder) = (a_log(3), a_log(5), Folder::new());
    done(folder.back_up(one.path()));
    done(folder.back_up(other.path()));
    let ids = folder.list();
    let target = tempfile::tempdir().unwrap();
    let refused = folder.restore(target.path(), &[]);
    assert_eq!((refused.code, fs::read_dir(target.path()).unwrap().count()), (2, 0));
    assert_says(&refused.err, &["backups of several logs: name the one to restore with --backup", &ids[0], &ids[1]]);
    done(folder.restore(target.path(), &["--backup", &ids[1]]));
    is_all_of(target.path(), one.path());
    assert_says(&folder.restore(target.path(), &["--backup", "none"]).err, &["has no backup none: --list shows"]);
}

/// The story: the volume of a server is lost, and a new one is mounted in its place, as Kubernetes does. Its file system has
/// made a directory there.
#[test]
fn a_backup_is_restored_onto_a_new_volume() {
    let (dir, folder, volume) = (a_log(3), Folder::new(), tempfile::tempdir().unwrap());
    done(folder.back_up(dir.path()));
    fs::create_dir(volume.path().join("lost+found")).unwrap();
    done(folder.restore(volume.path(), &[]));
    is_all_of(volume.path(), dir.path());
    assert!(volume.path().join("lost+found").is_dir());
}

/// The story: somebody restores into the directory of a server, or backs up what is no log. Nothing is changed.
#[test]
fn nothing_is_restored_over_a_log_and_no_backup_is_made_of_nothing() {
    let (dir, folder, empty) = (a_log(3), Folder::new(), tempfile::tempdir().unwrap());
    let no_log = folder.back_up(empty.path());
    assert_eq!((no_log.code, fs::read_dir(empty.path()).unwrap().count()), (2, 0));
    assert_says(&no_log.err, &["there is none; name the directory of a log with --data-dir"]);
    for refused in [folder.restore(empty.path(), &[]), folder.listed()] {
        assert_eq!(refused.code, 2, "{}", refused.out);
        assert_says(&refused.err, &["the place has no backup"]);
    }
    done(folder.back_up(dir.path()));
    let before = events(dir.path());
    let refused = folder.restore(dir.path(), &[]);
    assert_eq!((refused.code, &*refused.out), (2, ""));
    assert_says(&refused.err, &["is not empty, it has ", "name a directory that is empty or does not exist"]);
    assert_eq!(events(dir.path()), before);
    let served = serve(dir.path());
    assert_says(&folder.restore(dir.path(), &[]).err, &["is in use by another process"]);
    assert_eq!(served.running.terminate().code, 0);
    let mut of_cluster = headroom(["backup", "--to", &folder.url()]);
    let refused = run(of_cluster.env("HEADROOM_KAFKA_BROKERS", "127.0.0.1:1"));
    assert_eq!(refused.code, 2);
    assert_says(&refused.err, &["is on a Kafka cluster", "backups are of the embedded log"]);
    let old = tempfile::tempdir().unwrap();
    fs::copy("tests/golden/formats/embedded-1/log.redb", old.path().join("log.redb")).unwrap();
    assert_says(
        &folder.back_up(old.path()).err,
        &["is of an earlier version: the next start of the server carries it"],
    );
}

/// The story: the backups lay beside the log, and the disk took both.
#[test]
fn a_place_within_the_data_directory_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path())));
    let within = dir.path().join("backups");
    fs::create_dir(&within).unwrap();
    for folder in [dir.path(), &within, &within.join("../backups")] {
        let refused = on(dir.path(), ["backup", "--to", &format!("file://{}", folder.display())]);
        assert_eq!((refused.code, &*refused.out), (2, ""), "{}", refused.err);
        assert_says(&refused.err, &["is in the data directory", "name a folder elsewhere with --to"]);
    }
    assert_eq!(fs::read_dir(&within).unwrap().count(), 0);
}
