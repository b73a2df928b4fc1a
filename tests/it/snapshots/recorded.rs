//! The forms of snapshots as they were recorded, so that no change of the code changes one unseen, and none is forgotten.

use crate::bed::{Bed, bucket};
use crate::store::copy_tree;
use headroom::domain::{Digest, Outline};
use headroom::replica::checkpoint::Restoring;
use headroom::snapshot::Reader;
use headroom::store::Snapshots;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A snapshot of the same small partition in every form: in `snapshot-F-R` that of format F with rows of layout R.
const RECORDED: &str = "tests/golden/formats";
/// The log of that partition.
const LOG: u128 = 7;

fn told() -> Bed {
    let mut bed = Bed::new();
    bed.decide(6);
    bed
}

/// The story: a change of the code changes the form of snapshots, and nobody notices before a process of the version before
/// finds none that it can read. A new form has a new number, and both are recorded. `HEADROOM_REWRITE_GOLDEN=1` records a
/// number that is new. It never writes over an old one: whoever changes a number that no release has deletes its folder first.
#[test]
fn a_snapshot_has_the_form_that_was_recorded_for_its_numbers() {
    let mut bed = told();
    bed.snapshot();
    let [[rows], [manifest]] =
        &[bed.objects(".rows"), bed.objects(".json")].map(|found| <[_; 1]>::try_from(found).unwrap());
    let said: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let folder = Path::new(RECORDED).join(format!("snapshot-{}-{}", said["format"], said["rows_format"]));
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() && !folder.exists() {
        copy_tree(bed.snapshots.path(), &folder);
    }
    for written in [rows, manifest] {
        let recorded = folder.join(written.strip_prefix(bed.snapshots.path()).unwrap());
        let recorded = fs::read(&recorded).unwrap_or_else(|error| panic!("{}: {error}", recorded.display()));
        assert!(fs::read(written).unwrap() == recorded, "the form of {} has changed", written.display());
    }
    assert_eq!(bed.cold_start(), (Some(6), vec![]));
}

fn recorded() -> Vec<PathBuf> {
    let entries = fs::read_dir(RECORDED).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snapshot-")).collect();
    folders.sort();
    folders
}

/// The story: processes are updated, and a new machine starts. The log has lost its first events long ago, and all that can
/// take their place are snapshots that the version before has written.
#[test]
fn a_snapshot_of_every_form_so_far_makes_the_same_state() {
    // The digest of the last event is that of its bytes, which a later schema of events changes.
    let plain = |outline: Outline| Outline { chain: Digest::default(), ..outline };
    let expected = plain(told().handle.read(|state| state.outline()));
    let folders = recorded();
    assert!(!folders.is_empty());
    for folder in folders {
        let place = tempfile::tempdir().unwrap();
        copy_tree(&folder, place.path());
        let reader = Reader::new(Arc::new(bucket(place.path())), LOG);
        let (names, _) = reader.names(0, u64::MAX).unwrap();
        let [name] = &names[..] else { panic!("{} has one snapshot", folder.display()) };
        let mut restoring = Restoring::new(0, LOG);
        let read = reader.load(0, &name.text, &mut Vec::new(), &mut |key, value| restoring.row(key, value));
        let (mark, digest) = read.unwrap_or_else(|error| panic!("{}: {}", folder.display(), error.detail));
        let state = restoring.finish(&mark, Some(digest)).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
        assert_eq!(plain(state.outline()), expected, "{}", folder.display());
    }
}
