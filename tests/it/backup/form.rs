//! The form of a backup: what an earlier version has written is restored by every later one, and what a later one has written
//! is refused with the version to take.

use super::{Folder, a_log, done, only};
use crate::carried_log::{EVENTS, RECORDED_PLAIN, events};
use crate::cli::assert_says;
use crate::process::{headroom, run};
use crate::store::copy_tree;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A backup of the recorded log in each form, the newest last.
const OF_THEN: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/formats/backup-1"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/formats/backup-2"),
];

/// What the manifest of the one backup here says, but for the time, and for the version that took it.
fn manifest(place: &Path) -> Value {
    let mut manifest: Value = serde_json::from_slice(&fs::read(only(&place.join("backups"))).unwrap()).unwrap();
    let all = manifest.as_object_mut().unwrap();
    assert!(all.remove("taken_at_us").is_some() && all.remove("check").is_some());
    assert!(all["needs"].as_object_mut().unwrap().remove("version").is_some());
    manifest
}

/// The story: a change of the code changes the form of backups, and nobody notices before the day on which one is needed.
/// `HEADROOM_REWRITE_GOLDEN=1` writes it anew while no release has it.
#[test]
fn a_backup_has_the_form_that_was_recorded_and_is_restored() {
    let (dir, folder) = (tempfile::tempdir().unwrap(), Folder::new());
    let mut segment = fs::read(RECORDED_PLAIN).unwrap();
    segment.resize(1 << 20, 0);
    fs::create_dir(dir.path().join("log")).unwrap();
    fs::write(dir.path().join("log/segment-00000000"), segment).unwrap();
    done(folder.back_up(dir.path()));
    let of_then = Path::new(OF_THEN[OF_THEN.len() - 1]);
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        // There is none the first time.
        let _gone = fs::remove_dir_all(of_then);
        copy_tree(folder.0.path(), of_then);
    }
    assert_eq!(manifest(folder.0.path()), manifest(of_then), "the form has changed");
    for of_then in OF_THEN {
        let target = tempfile::tempdir().unwrap();
        let mut restore = headroom(["restore", "--from", &format!("file://{of_then}"), "--data-dir"]);
        done(run(restore.arg(target.path())));
        assert_eq!(events(target.path()), EVENTS);
    }
}

/// The story: a person looks for the backup of last night, and sees what each of them holds. One that is damaged, or that a
/// later version took, is told as that and hides no other.
#[test]
fn a_list_says_what_each_backup_holds() {
    let (dir, folder) = (a_log(3), Folder::new());
    done(folder.back_up(dir.path()));
    let held = done(folder.listed());
    let bytes: u64 = folder.pieces().values().sum();
    // The first event of each partition, a pool, and three orders.
    assert!(held.trim_end().ends_with(&format!("Z  8 events  {bytes} bytes")), "{held}");
    let path = only(&folder.0.path().join("backups"));
    let text = fs::read_to_string(&path).unwrap();
    done(folder.back_up(dir.path()));
    fs::write(&path, text.replacen("\"format\":2", "\"format\":9", 1)).unwrap();
    let listed = done(folder.listed());
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].ends_with(" bytes") && lines[1].contains("it has format 9, and this version reads 2"), "{listed}");
    assert_says(lines[1], &[&format!("take version {} or a later one", env!("CARGO_PKG_VERSION"))]);
    fs::write(&path, "{").unwrap();
    let damaged = folder.listed();
    assert_eq!(damaged.code, 1, "{}", damaged.err);
    assert!(damaged.out.starts_with(lines[0]), "{}", damaged.out);
    assert_says(&damaged.out, &["its manifest cannot be read"]);
    let id = damaged.out.lines().nth(1).unwrap().split_once("  ").unwrap().0;
    assert_eq!(damaged.out.matches(id).count(), 1, "{}", damaged.out);
}

/// The story: the machine is lost, and on the new one is the version of last month. It would write a log that it cannot read,
/// and find that out at the start of the server.
#[test]
fn a_backup_of_a_later_version_is_refused_before_anything_is_written() {
    let (dir, folder, target) = (a_log(3), Folder::new(), tempfile::tempdir().unwrap());
    done(folder.back_up(dir.path()));
    let (own, mut refused) = (env!("CARGO_PKG_VERSION"), Vec::new());
    if cfg!(feature = "crash-points") {
        let older = |args: &[&str]| {
            let mut command = headroom(["restore", "--from", &folder.url(), "--data-dir"]);
            run(command.arg(target.path()).args(args).env("HEADROOM_OLDER_LEVEL", "1"))
        };
        refused.push((older(&[]), "its log has feature level 3, and this version knows 1"));
        let listed = done(older(&["--list"]));
        assert_says(
            &listed,
            &["8 events", "its log has feature level 3", &format!("take version {own} or a later one")],
        );
    }
    let path = only(&folder.0.path().join("backups"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"format\":2", "\"format\":9", 1)).unwrap();
    refused.push((folder.restore(target.path(), &[]), "it has format 9, and this version reads 2"));
    for (ended, says) in refused {
        assert_eq!((ended.code, &*ended.out), (2, ""), "{}", ended.err);
        assert_says(&ended.err, &[says, &format!("take version {own} or a later one")]);
    }
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    // It keeps no new backup away.
    assert_says(&folder.back_up(dir.path()).err, &["the newest backup cannot be used"]);
}
