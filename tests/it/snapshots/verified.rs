//! `headroom verify` looks at every snapshot of a log: what is of no use is named before a start needs it, and what cannot be
//! read is not called sound.

use super::SPOILERS;
use crate::bed::{Bed, Stopped, url};
use crate::buckets::{self, over_folder, refusal};
use crate::process::{Ended, headroom, run};
use headroom::replica::PartitionState;
use headroom::store::Store;
use headroom::wire::snapshot::{Piece, decode_row, pool_row};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn verified(stopped: &Stopped, args: &[&str]) -> Ended {
    stopped.bare("verify", &[&["--snapshots", &url(stopped.snapshots.path())], args].concat())
}

/// The same of snapshots in the store at this URL.
fn verified_at(stopped: &Stopped, url: &str, args: &[&str]) -> Ended {
    let mut verify = headroom(["verify", "--snapshots", "s3://lake/some/place"]);
    buckets::at(&mut verify, url);
    run(verify.args(args).arg("--data-dir").arg(stopped.dir.path()))
}

#[track_caller]
fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {}{}", ended.out, ended.err))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Without its checkpoint, which is as wrong as the snapshots that were written of it.
fn without_checkpoint(bed: Bed) -> Stopped {
    let stopped = Stopped::of(bed);
    fs::remove_dir_all(stopped.dir.path().join("checkpoint")).unwrap();
    stopped
}

#[test]
fn sound_snapshots_are_counted_and_compared() {
    let stopped = Stopped::of(Bed::with_three());
    let told = verified(&stopped, &[]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert!(told.out.contains("partition 0: 3 sound snapshots, 3 of them with the state"), "{}", told.out);
    let told = report(&verified(&stopped, &["--json"]));
    let snapshots = json!([{ "partition": 0, "sound": 3, "compared": 3, "bad_count": 0 }]);
    assert_eq!((&told["clean"], &told["verdict"]), (&true.into(), &"clean".into()), "{told}");
    assert_eq!((&told["snapshots"], &told["bad_snapshots"]), (&snapshots, &json!([])), "{told}");
}

/// The story: a bucket is a place where things happen to objects, and nobody looks at them until the day of the restore.
#[test]
fn a_snapshot_to_which_something_has_happened_is_named() {
    for (what, spoil, why) in SPOILERS {
        let bed = Bed::with_three();
        let (rows, manifests) = (bed.objects(".rows"), bed.objects(".json"));
        spoil(&rows[2], &manifests[2], (&rows[1], &manifests[1]));
        let stopped = Stopped::of(bed);
        let (text, object) = (verified(&stopped, &[]), name(&manifests[2]));
        let all = report(&verified(&stopped, &["--json"]));
        assert_eq!(all["clean"], false, "{what}: {all}");
        if ["a directory", "another format"].contains(what) {
            // What a directory hides is not known, and a later version reads what it has written.
            assert_eq!((text.code, &all["verdict"]), (2, &"not_proven".into()), "{what}: {}{}", text.out, text.err);
            assert!(text.err.contains(why) && text.err.contains(&object), "{what}: {}", text.err);
            continue;
        }
        assert_eq!((text.code, &all["verdict"]), (1, &"bad_snapshots".into()), "{what}: {}{}", text.out, text.err);
        let line = format!("BAD SNAPSHOT of partition 0: {object}: ");
        assert!(text.out.lines().any(|told| told.starts_with(&line) && told.contains(why)), "{what}: {}", text.out);
        assert!(text.out.contains("BAD SNAPSHOTS: 1 snapshot; no law broken in 14 events"), "{what}: {}", text.out);
        let bad = &all["bad_snapshots"];
        let named = (&bad[0]["partition"], &bad[0]["object"], &bad[0]["ahead"]);
        assert_eq!(named, (&0.into(), &object.into(), &false.into()), "{what}: {all}");
        assert!(bad.as_array().unwrap().len() == 1 && bad[0]["why"].as_str().unwrap().contains(why), "{what}: {all}");
        let snapshots = json!([{ "partition": 0, "sound": 2, "compared": 2, "bad_count": 1 }]);
        assert_eq!((&all["snapshots"], &all["breach_count"]), (&snapshots, &0.into()), "{what}: {all}");
    }
}

/// The story: a process with a broken memory wrote a snapshot. Its hashes fit to each other, and its state never was.
#[test]
fn a_snapshot_of_a_state_to_which_the_log_does_not_lead_is_named() {
    let mut bed = Bed::with_three();
    bed.decide(2);
    bed.handle.write(PartitionState::mark_all_dirty);
    let mut draft = bed.handle.write(|state| state.draft_checkpoint(bed.log_id())).encode();
    let pool = draft.rows.iter_mut().find_map(|row| match decode_row(&row.key, row.value.as_deref()?) {
        Ok(Piece::Pool(pool)) => Some((row, pool)),
        _ => None,
    });
    let (row, mut pool) = pool.unwrap();
    pool.version += 1;
    row.value = Some(pool_row(&pool).1);
    bed.world.store.wipe(0, "it is written anew").unwrap();
    bed.world.store.apply(&draft).unwrap();
    bed.snapshot();
    let object = name(bed.objects(".json").last().unwrap());
    let told = verified(&without_checkpoint(bed), &[]);
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    let line = format!("BAD SNAPSHOT of partition 0: {object}: its state has the digest ");
    assert!(told.out.contains(&line) && told.out.contains("and the events before it lead to"), "{}", told.out);
    assert!(told.out.contains("3 sound snapshots, 3 of them with the state"), "{}", told.out);
}

/// The story: the log was brought back from a copy of yesterday, and the bucket has the snapshots of today. Another log has taken
/// another course.
#[test]
fn a_snapshot_that_is_ahead_of_the_log_or_of_another_course_of_it_is_named_as_that() {
    let today = Bed::with_three();
    let ahead = name(today.objects(".json").last().unwrap());
    let mut yesterday = Bed::new();
    yesterday.decide(9);
    yesterday.snapshots = today.snapshots;
    let yesterday = Stopped::of(yesterday);
    let told = verified(&yesterday, &[]);
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    let line = format!("SNAPSHOT AHEAD OF THE LOG of partition 0: {ahead}: it holds 12 events, and the log has 9");
    assert!(told.out.contains(&line) && !told.out.contains("BAD SNAPSHOT of"), "{}", told.out);
    let all = report(&verified(&yesterday, &["--json"]));
    let named =
        json!({ "partition": 0, "object": ahead, "ahead": true, "why": "it holds 12 events, and the log has 9" });
    assert_eq!((&all["bad_snapshots"], &all["snapshots"][0]["sound"]), (&json!([named]), &2.into()), "{all}");
    let mut other = Bed::new();
    other.asked = 100;
    other.decide(20);
    other.snapshots = yesterday.snapshots;
    let told = verified(&Stopped::of(other), &[]);
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert_eq!(told.out.matches(": its last event has the digest").count(), 3, "{}", told.out);
}

/// The story: the role of the auditor may read all snapshots but one. The laws are proven all the same, and told.
#[test]
fn a_snapshot_that_is_not_given_is_not_proven_and_the_laws_are() {
    let bed = Bed::with_three();
    let withheld = name(&bed.objects(".rows")[1]);
    let object = withheld.replace(".rows", ".json");
    let stopped = Stopped::of(bed);
    let url = over_folder(stopped.snapshots.path(), move |asked| {
        asked.ends_with(&withheld).then(|| refusal("403 Forbidden", "AccessDenied"))
    });
    let told = verified_at(&stopped, &url, &[]);
    assert_eq!(told.code, 2, "{}{}", told.out, told.err);
    assert!(told.err.contains(&format!("not proven: partition 0: its snapshot {object}: ")), "{}", told.err);
    assert!(told.err.contains("allow s3:GetObject"), "{}", told.err);
    assert!(told.out.contains("NOT PROVEN: ") && told.out.contains("no law broken in 14 events"), "{}", told.out);
    let all = report(&verified_at(&stopped, &url, &["--json"]));
    assert_eq!((&all["verdict"], &all["clean"]), (&"not_proven".into(), &false.into()), "{all}");
    assert_eq!((&all["snapshots"][0]["sound"], &all["not_proven"][0]["partition"]), (&2.into(), &0.into()), "{all}");
}

/// The story: the server lets an old snapshot go while it is read.
#[test]
fn a_snapshot_that_goes_while_it_is_read_is_no_bad_one() {
    let bed = Bed::with_three();
    let oldest = [bed.objects(".json")[0].clone(), bed.objects(".rows")[0].clone()];
    let stopped = Stopped::of(bed);
    let url = over_folder(stopped.snapshots.path(), move |asked| {
        let goes = oldest.iter().any(|path| asked.ends_with(&name(path)));
        goes.then(|| {
            oldest.iter().for_each(|path| drop(fs::remove_file(path)));
            refusal("404 Not Found", "NoSuchKey")
        })
    });
    let told = verified_at(&stopped, &url, &[]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert!(told.out.contains("2 sound snapshots, 2 of them with the state"), "{}", told.out);
}
