//! The form of a backup: what an earlier version has written is restored by every later one.

use super::{Folder, done, only};
use crate::carried_log::{EVENTS, RECORDED, events};
use crate::process::{headroom, run};
use crate::store::copy_tree;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A backup of the recorded log.
const OF_THEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/formats/backup-1");

/// What the manifest of the one backup here says, but for the time.
fn manifest(place: &Path) -> Value {
    let mut manifest: Value = serde_json::from_slice(&fs::read(only(&place.join("backups"))).unwrap()).unwrap();
    let all = manifest.as_object_mut().unwrap();
    assert!(all.remove("taken_at_us").is_some() && all.remove("check").is_some());
    manifest
}

/// The story: a change of the code changes the form of backups, and nobody notices before the day on which one is needed.
/// `HEADROOM_REWRITE_GOLDEN=1` writes it anew while no release has it.
#[test]
fn a_backup_has_the_form_that_was_recorded_and_is_restored() {
    let (dir, folder, target) = (tempfile::tempdir().unwrap(), Folder::new(), tempfile::tempdir().unwrap());
    let mut segment = fs::read(RECORDED).unwrap();
    segment.resize(1 << 20, 0);
    fs::create_dir(dir.path().join("log")).unwrap();
    fs::write(dir.path().join("log/segment-00000000"), segment).unwrap();
    done(folder.back_up(dir.path()));
    let of_then = Path::new(OF_THEN);
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        // There is none the first time.
        let _gone = fs::remove_dir_all(of_then);
        copy_tree(folder.0.path(), of_then);
    }
    assert_eq!(manifest(folder.0.path()), manifest(of_then), "the form has changed");
    let mut restore = headroom(["restore", "--from", &format!("file://{OF_THEN}"), "--data-dir"]);
    done(run(restore.arg(target.path())));
    assert_eq!(events(target.path()), EVENTS);
}
