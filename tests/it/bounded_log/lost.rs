//! A bounded log that has lost its end, or all of its files, while its archive is whole. Only what the archive does not have is
//! lost.

use super::served::{all_have_left, begun_later, is_whole, left_for_a_month, reserve_in_new_pool, serve};
use super::{BEGIN, KEEP_DAYS, damage};
use crate::bed::{Bed, Stopped, segments, url};
use crate::lost_data::id_in;
use crate::process::{Ended, Served, headroom, run};
use crate::snapshots::served::reserve;
use crate::store::copy_tree;
use crate::wait::until;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What a server says that is to serve what is left, with the name of the log in it.
fn refused(stopped: &Stopped) -> String {
    let refused = run(&mut serve(stopped));
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("were seen as committed and are gone"), "{}", refused.err);
    refused.err
}

fn accept(stopped: &Stopped, id: &str, places: &[&str]) -> Ended {
    run(&mut accepting(stopped, id, places))
}

fn accepting(stopped: &Stopped, id: &str, places: &[&str]) -> Command {
    let mut accept = headroom(["log", "accept-loss", "--because", "told by the tests", "--log", id, "--data-dir"]);
    accept.arg(stopped.dir.path()).args(places);
    accept
}

fn assert_says(ended: &Ended, code: i32, says: &[&str]) {
    let told = format!("{}{}", ended.out, ended.err);
    assert_eq!(ended.code, code, "{told}");
    says.iter().for_each(|part| assert!(told.contains(part), "{part}: {told}"));
}

fn without(files: &[PathBuf]) {
    files.iter().for_each(|path| fs::remove_file(path).unwrap());
}

/// The story: the disk loses the last files of a log, and both snapshots that are left were written after that. What is left of the
/// log begins in the middle, and nothing but the archive leads to it.
#[test]
fn a_bounded_log_that_lost_its_end_goes_on_from_its_archive() {
    let mut bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    assert!(!bed.leave().is_empty());
    bed.day();
    let (manifests, newest) = (bed.objects(".json"), bed.archived(".json").pop().unwrap());
    let stopped = Stopped::of(bed);
    without(&manifests[..manifests.len() - 2]);
    let files = segments(stopped.dir.path());
    without(&files[3..]);
    let told = refused(&stopped);
    let (id, archive, snapshots) = (id_in(&told), url(stopped.archive.path()), url(stopped.snapshots.path()));
    assert_says(&stopped.whole("rebuild", &["--snapshots", &snapshots]), 1, &["nothing was rebuilt"]);
    let alone = accept(&stopped, &id, &["--snapshots", &snapshots]);
    assert_says(&alone, 2, &["hold more than the", "or name the place of what has left the log with --log-archive"]);
    // An archive that lacks what comes right before the log leads to it no more than none.
    let kept = fs::read(&newest).unwrap();
    fs::remove_file(&newest).unwrap();
    let lacking = accept(&stopped, &id, &["--snapshots", &snapshots, "--log-archive", &archive]);
    assert_says(&lacking, 2, &["hold more than the", "is missing from the archive"]);
    refused(&stopped);
    fs::write(&newest, kept).unwrap();
    let left = stopped.whole("state", &["--json"]);
    let accepted = accept(&stopped, &id, &["--snapshots", &snapshots, "--log-archive", &archive]);
    assert_says(&accepted, 0, &["partition 0: events ", "recorded in the log as accepted", "are now in ", "lost-1"]);
    assert!(stopped.dir.path().join("lost-1/checkpoint/p0").exists());
    // What was given away before the loss still is.
    let pools = |ended: &Ended| serde_json::from_str::<Value>(&ended.out).unwrap()["pools"].clone();
    assert_eq!(pools(&stopped.whole("state", &["--json"])), pools(&left), "{}{}", left.out, left.err);
    let again = accept(&stopped, &id, &["--log-archive", &archive]);
    assert_says(&again, 0, &["the log holds every event that was seen; nothing was changed"]);
    is_served(&stopped);
    assert_says(&stopped.whole("verify", &[]), 0, &["are lost: told by the tests: events ", "clean: no law broken"]);
}

/// Served again, and bounded: what is old leaves it for the archive.
fn is_served(stopped: &Stopped) {
    let served = Served::start(&mut serve(stopped));
    assert!(reserve_in_new_pool(&served));
    let mut orders = 1;
    // Two snapshots have to cover what leaves.
    until("all that is old has left", || {
        orders += 1;
        reserve(&served, orders) && all_have_left(stopped)
    });
    let ended = served.running.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(!ended.err.contains("cannot leave the log"), "{}", ended.err);
    is_whole(stopped, "served again");
}

/// A stopped server with nothing of its log on the disk, whose last file is moved away.
fn gone() -> (Stopped, String) {
    let stopped = left_for_a_month();
    let (served, _) = begun_later(&stopped);
    assert!(reserve_in_new_pool(&served));
    assert_eq!(served.running.terminate().code, 0);
    without(&segments(stopped.dir.path()));
    let id = id_in(&refused(&stopped));
    (stopped, id)
}

/// The story: the one file that a bounded log has on the disk is lost. A new log would begin with empty pools, and months of orders
/// would be given up that the archive has.
#[test]
fn a_bounded_log_without_a_file_goes_on_behind_its_archive() {
    let (stopped, id) = gone();
    let (archive, elsewhere) = (url(stopped.archive.path()), tempfile::tempdir().unwrap());
    let wrong = accept(&stopped, &id, &["--log-archive", &url(elsewhere.path())]);
    assert_says(&wrong, 2, &["the archive has no segment of log ", "name the place", "or no archive if nothing"]);
    let unnamed = accept(&stopped, &id, &[]);
    assert_says(
        &unnamed,
        2,
        &["segments have left the log: name the place", "with --log-archive", "delete the note begins-"],
    );
    assert_eq!(segments(stopped.dir.path()), [] as [PathBuf; 0]);
    // Nothing of the first object is needed, which a cold store may take hours to give.
    let first = fs::read_dir(stopped.archive.path().join(format!("{id}/segments"))).unwrap();
    let first = first.map(|entry| entry.unwrap().path()).find(|path| path.ends_with("00000000.segment")).unwrap();
    let (away, snapshots) = (stopped.archive.path().join("away"), url(stopped.snapshots.path()));
    fs::rename(&first, &away).unwrap();
    fs::create_dir(&first).unwrap();
    let accepted = accept(&stopped, &id, &["--log-archive", &archive, "--snapshots", &snapshots]);
    fs::remove_dir(&first).unwrap();
    fs::rename(&away, &first).unwrap();
    let says = [
        "the log goes on behind its archive, with segment ",
        "partition 0: events ",
        "recorded in the log as accepted",
    ];
    assert_says(&accepted, 0, &says);
    assert!(!accepted.out.contains("partition 0: events 0 to"), "{}", accepted.out);
    is_whole(&stopped, "accepted");
    is_served(&stopped);
}

/// The story: a copy of the log of last month is put in the place of the one that is lost. The archive has more than the copy, and
/// nobody who accepts a loss means to lose that.
#[test]
fn an_older_copy_does_not_hide_what_the_archive_has() {
    let stopped = left_for_a_month();
    let (copy, log) = (tempfile::tempdir().unwrap(), stopped.dir.path().join("log"));
    copy_tree(&log, copy.path());
    let (served, _) = begun_later(&stopped);
    assert_eq!(served.running.terminate().code, 0);
    fs::remove_dir_all(&log).unwrap();
    copy_tree(copy.path(), &log);
    without(&segments(stopped.dir.path())[2..]);
    let id = id_in(&refused(&stopped));
    let archive = url(stopped.archive.path());
    let hidden = accept(&stopped, &id, &["--log-archive", &archive]);
    assert_says(
        &hidden,
        2,
        &["the archive has more of the log than", "and it would be lost: move all files from there"],
    );
    refused(&stopped);
    fs::rename(&log, copy.path().join("moved")).unwrap();
    assert_says(&accept(&stopped, &id, &["--log-archive", &archive]), 0, &["the log goes on behind its archive"]);
    is_served(&stopped);
}

/// The story: a disk loses the log, and an old copy of the checkpoint is brought back. The archive has every event that is seen in
/// it. Nothing is lost that anybody knows of, and the log goes on; also when the first try was killed.
#[test]
#[cfg(feature = "crash-points")]
fn a_log_of_which_the_archive_has_all_that_was_seen_goes_on_behind_it() {
    let mut bed = Bed::of_days(BEGIN, 3);
    let (seen, copy) = (bed.world.path().join("checkpoint"), tempfile::tempdir().unwrap());
    copy_tree(&seen, copy.path());
    (0..KEEP_DAYS + 5).for_each(|_| bed.day());
    assert!(!bed.leave().is_empty());
    let stopped = Stopped::of(bed);
    without(&segments(stopped.dir.path()));
    fs::remove_dir_all(&seen).unwrap();
    copy_tree(copy.path(), &seen);
    let (id, archive) = (id_in(&refused(&stopped)), url(stopped.archive.path()));
    assert_dies(&stopped, &id, "log-continued:1");
    let unnamed = accept(&stopped, &id, &[]);
    assert_says(&unnamed, 2, &["the log has no event of partition 0", "have gone with --log-archive"]);
    let accepted = accept(&stopped, &id, &["--log-archive", &archive]);
    assert_says(&accepted, 0, &["partition 0: the archive has every event that was seen"]);
    assert!(!accepted.out.contains("accepted"), "{}", accepted.out);
    is_served(&stopped);
}

/// The story: the machine goes down when the loss is in the log, and the checkpoints that have seen more are still there.
#[test]
#[cfg(feature = "crash-points")]
fn killed_after_a_loss_was_recorded_the_log_is_rebuilt_from_its_archive() {
    let (stopped, id) = gone();
    assert_dies(&stopped, &id, "loss-recorded:1");
    let again = accept(&stopped, &id, &["--log-archive", &url(stopped.archive.path())]);
    assert_says(&again, 0, &["nothing was changed"]);
    assert_says(&stopped.whole("rebuild", &[]), 0, &["partition 0"]);
    is_served(&stopped);
}

fn assert_dies(stopped: &Stopped, id: &str, point: &str) {
    let mut accept = accepting(stopped, id, &["--log-archive", &url(stopped.archive.path())]);
    let ended = run(accept.env("HEADROOM_CRASH_AT", point));
    assert_eq!(ended.code, crate::process::KILLED, "{point}: {}{}", ended.out, ended.err);
}

/// The story: bytes in the middle of a log have changed on the disk. Somebody on call has read of a loss that can be accepted, but
/// nothing is lost that a copy of the file does not bring back.
#[test]
fn damage_in_the_middle_of_a_log_is_no_loss_to_accept() {
    let stopped = Stopped::of(Bed::of_days(BEGIN, 4));
    damage(&segments(stopped.dir.path())[1]);
    let told = accept(&stopped, &format!("{:032x}", 7), &[]);
    assert_says(
        &told,
        1,
        &["the log holds every event that was seen; nothing was changed", " is damaged ", "bring the file back"],
    );
}
