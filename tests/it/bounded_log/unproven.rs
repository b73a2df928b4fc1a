//! A bounded log is sound, and whoever looks at it does not name the places that cover its head. Nothing is called broken for
//! that; what is broken in the events that are left is, all the same.

use super::served::{begun_later, reserve_in_new_pool};
use super::{BEGIN, KEEP_DAYS, damage};
use crate::bed::{Bed, Stopped, segments, url};
use crate::process::Ended;
use headroom::log::CommittedTail as _;
use serde_json::Value;
use std::fs;

/// It is told where the log begins and what would prove its head, and nothing is called broken.
#[track_caller]
pub(super) fn is_not_proven(told: &Ended, first: u64, without: &str) {
    assert_eq!((told.code, &*told.out), (2, ""), "{}", told.err);
    let says = format!(
        "not proven: partition 0: the log begins at event {first}; its head cannot be proven without {without}"
    );
    assert!(told.err.contains(&says) && told.err.contains("follow on each other"), "{}", told.err);
    assert!(!told.err.contains("BROKEN") && !told.err.contains("L3"), "{}", told.err);
}

fn bounded() -> (Bed, u64) {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    assert!(!bed.leave().is_empty());
    let first = bed.world.log.first(0).unwrap();
    (bed, first)
}

/// The story: on call runs `verify` without any setting on a server whose log is bounded.
#[test]
fn a_sound_log_whose_places_are_not_named_is_not_called_broken() {
    let (bed, first) = bounded();
    let stopped = Stopped::of(bed);
    is_not_proven(&stopped.bare("verify", &[]), first, "--snapshots or --log-archive");
    let told = stopped.bare("verify", &["--json"]);
    let report: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((told.code, &report["verdict"], &report["clean"]), (2, &"not_proven".into(), &false.into()), "{report}");
    assert_eq!((&report["breach_count"], &report["not_proven"][0]["partition"]), (&0.into(), &0.into()), "{report}");
    // The places of another log, and an archive whose snapshots were named before.
    let other = tempfile::tempdir().unwrap();
    let empty = url(other.path());
    is_not_proven(&stopped.bare("verify", &["--snapshots", &empty]), first, "--log-archive: ");
    let (snapshots, archive) = (url(stopped.snapshots.path()), url(stopped.archive.path()));
    for places in [["--snapshots", &snapshots], ["--log-archive", &archive]] {
        let told = stopped.bare("verify", &places);
        assert_eq!(told.code, 0, "{places:?}: {}{}", told.out, told.err);
    }
    // All of an archive has gone into a place whose snapshots are lost: the archive proves the head.
    let told = stopped.whole("verify", &["--snapshots", &empty]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
}

/// The story: the same, and the disk has rotted under the events that are left, or has lost some that were seen.
#[test]
fn what_is_broken_in_the_events_that_are_left_is_found_without_places() {
    let (bed, first) = bounded();
    let stopped = Stopped::of(bed);
    let sealed = segments(stopped.dir.path());
    damage(&sealed[sealed.len() / 2]);
    let told = stopped.bare("verify", &[]);
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(told.out.contains("L3 broken at partition 0") && told.out.contains("BROKEN: "), "{}", told.out);
    assert!(told.out.contains(&format!("not proven: the log begins at event {first}; ")), "{}", told.out);
}

/// The story: snapshots have rotted, among them one that lies before all that is left of the log.
#[test]
fn every_snapshot_of_a_bounded_log_is_looked_at() {
    let (bed, first) = bounded();
    let (rows, manifests) = (bed.objects(".rows"), bed.objects(".json"));
    let stopped = Stopped::of(bed);
    let seq = |at: usize| -> u64 {
        let name = manifests[at].file_name().unwrap().to_str().unwrap().to_owned();
        name.split('-').next().unwrap().parse().unwrap()
    };
    let before = (0..manifests.len()).take_while(|at| seq(*at) < first).count();
    assert!(before > 0 && before + 2 < manifests.len(), "{before} of {}", manifests.len());
    let snapshots = ["--json", "--snapshots", &url(stopped.snapshots.path())];
    let verified = |code| -> Value {
        let told = stopped.bare("verify", &snapshots);
        assert_eq!(told.code, code, "{}{}", told.out, told.err);
        serde_json::from_str(&told.out).unwrap()
    };
    let (all, compared) = (manifests.len(), manifests.len() - before);
    let counts = &verified(0)["snapshots"][0];
    assert_eq!((&counts["sound"], &counts["compared"]), (&all.into(), &compared.into()), "{counts}");
    for at in [0, before, all - 1] {
        fs::write(&rows[at], "rotten").unwrap();
    }
    let report = verified(1);
    let bad: Vec<_> = report["bad_snapshots"].as_array().unwrap().iter().map(|bad| bad["object"].clone()).collect();
    let named = [0, before, all - 1].map(|at| Value::from(manifests[at].file_name().unwrap().to_str().unwrap()));
    assert_eq!((bad, &report["verdict"]), (named.to_vec(), &"bad_snapshots".into()), "{report}");
}

/// The story: the server runs, and its settings name the places. Who runs `verify` beside it has none of these settings.
#[test]
fn a_running_server_is_asked_for_its_places() {
    let stopped = super::served::left_for_a_month();
    let (served, _) = begun_later(&stopped);
    assert!(reserve_in_new_pool(&served));
    let told = stopped.bare("verify", &[]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    for (what, place) in [("snapshots", &stopped.snapshots), ("log_archive", &stopped.archive)] {
        let says = format!("{what} = {}, as the running server has it", url(place.path()));
        assert!(told.err.contains(&says), "{}", told.err);
    }
    assert!(told.out.contains("clean: ") && !told.out.contains("are gone"), "{}", told.out);
    assert!(told.out.contains(" of them with the state to which the events lead"), "{}", told.out);
    assert_eq!(served.running.terminate().code, 0);
}
