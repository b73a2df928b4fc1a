//! Places that fail or lie while a backup is taken, and what has rotted in one: no backup is told that is not there, and a
//! look at the place finds what is damaged before it is needed.

use super::{Folder, a_log, done, is_all_of, more, only};
use crate::cli::{assert_says, on};
use crate::faulty::{Conduct, Faulty};
use crate::process::run;
use headroom::backup::{self, BackupError, Place, Taken};
use headroom::config::object_place;
use headroom::domain::Micros;
use headroom::log::embedded::LogPrefix;
use headroom::objects::Bucket;
use std::fs;
use std::path::{Path, PathBuf};

/// Takes a backup at this second into a folder that behaves so.
fn take(dir: &Path, folder: &Folder, conduct: Conduct, second: u64) -> Result<Taken, BackupError> {
    let place = Faulty::over(Bucket::open(&object_place(&folder.url()).unwrap()).unwrap());
    place.is(conduct);
    let log = LogPrefix::open(dir).unwrap();
    backup::take(
        (&log, 1),
        &Place::new(Box::new(place)),
        Micros((1_780_000_000 + second) * 1_000_000),
        conduct == Conduct::Fine,
    )
}

#[test]
fn a_backup_that_the_place_does_not_have_as_it_was_is_not_told() {
    let dir = a_log(10);
    for (conduct, why) in [
        (Conduct::Gone, "the place is gone"),
        (Conduct::Full, "no space is left"),
        (Conduct::GivesNothing, "no answer within 10 s"),
        (Conduct::KeepsShort, "and the place lists"),
        (Conduct::KeepsOthers, "has other bytes under this name"),
        (Conduct::KeepsNothing, "the place does not list it"),
        (Conduct::LosesManifests, "no answer within 10 s"),
        (Conduct::HidesNewest, "the place does not list it"),
    ] {
        let (folder, target) = (Folder::new(), tempfile::tempdir().unwrap());
        let told = take(dir.path(), &folder, conduct, 1).map(|taken| taken.backup).unwrap_err().to_string();
        assert!(told.contains(why), "{conduct:?}: {told}");
        // Whatever it has left there, the next one is whole.
        take(dir.path(), &folder, Conduct::Fine, 2).unwrap();
        done(folder.restore(target.path(), &[]));
        is_all_of(target.path(), dir.path());
    }
}

/// The story: somebody removes last month's backups while another one lists all. What is gone is no damage; what the place
/// lists and does not have is.
#[test]
fn a_backup_that_is_removed_while_all_are_listed_is_not_damaged() {
    let (dir, folder) = (a_log(3), Folder::new());
    let id = take(dir.path(), &folder, Conduct::Fine, 1).unwrap().backup.id;
    for (conduct, is_damaged) in [(Conduct::Forgets, true), (Conduct::Fine, false)] {
        let objects = Faulty::over(Bucket::open(&object_place(&folder.url()).unwrap()).unwrap());
        objects.is(conduct);
        let place = Place::new(Box::new(objects));
        let listed = place.backups().unwrap();
        assert_eq!(listed[0].id, id);
        if !is_damaged {
            fs::remove_file(only(&folder.0.path().join("backups"))).unwrap();
        }
        match place.held(&listed[0]) {
            Ok(None) => assert!(!is_damaged),
            Err(BackupError::Damaged(why)) => {
                assert!(is_damaged && why == format!("backups/{id}.json is gone, and the place lists it"), "{why}");
            }
            held => panic!("{held:?}"),
        }
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The story: a bit of an object has turned over on the disk of the store. Every later backup builds on it, and nobody knows
/// before the drill.
#[test]
fn a_check_finds_what_has_rotted_and_mends_what_the_log_still_has() {
    let (dir, folder, target) = (a_log(10), Folder::new(), tempfile::tempdir().unwrap());
    let pieces = || folder.pieces().into_keys().map(PathBuf::from);
    let check = || on(dir.path(), ["backup", "--check", "--to", &folder.url()]);
    done(folder.back_up(dir.path()));
    let first = pieces().next().unwrap();
    flip(&first);
    assert_says(&done(folder.back_up(dir.path())), &["0 were new, in 0 objects"]);
    assert_eq!(folder.restore(target.path(), &[]).code, 1);
    let checked = done(check());
    assert_says(&checked, &["read 1 object there, 1 of them damaged and written again"]);
    done(folder.restore(target.path(), &[]));
    is_all_of(target.path(), dir.path());
    assert_says(&done(check()), &["read 1 object there, 0 of them damaged"]);
    // What only earlier backups have cannot be mended, and is named.
    more(dir.path(), 11);
    done(folder.back_up(dir.path()));
    fs::write(&first, &fs::read(&first).unwrap()[1..]).unwrap();
    let found = check();
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    let name = first.file_name().unwrap().to_str().unwrap();
    assert_says(&found.out, &["read 2 objects there, 0 of them damaged", &format!("earlier backups: {name}")]);
    assert_says(&found.err, &[name, " is damaged"]);
    let again = tempfile::tempdir().unwrap();
    done(folder.restore(again.path(), &[]));
    is_all_of(again.path(), dir.path());
}

/// The story: a log has grown for years, and its place has more than the hundred thousand objects that were listed. Its
/// backups ended without a manifest, after everything had been copied.
#[test]
fn a_place_with_very_many_objects_of_a_log_takes_another_backup() {
    let (dir, folder, target) = (a_log(3), Folder::new(), tempfile::tempdir().unwrap());
    done(folder.back_up(dir.path()));
    let log = PathBuf::from(folder.pieces().into_keys().next().unwrap()).parent().unwrap().to_owned();
    (0..100_000).for_each(|n| drop(fs::File::create(log.join(format!("{n}"))).unwrap()));
    more(dir.path(), 4);
    assert_says(&done(folder.back_up(dir.path())), &["in 1 object"]);
    done(folder.restore(target.path(), &[]));
    is_all_of(target.path(), dir.path());
}

/// The story: a log was backed up every minute for seventy days. The newest backups were not among those that were listed, and a
/// restore took an older one.
#[test]
fn a_place_with_more_backups_than_are_listed_is_refused_before_anything_is_copied() {
    let (dir, folder, target) = (a_log(3), Folder::new(), tempfile::tempdir().unwrap());
    done(folder.back_up(dir.path()));
    let (pieces, backups) = (folder.pieces(), folder.0.path().join("backups"));
    (0..100_000).for_each(|n| drop(fs::File::create(backups.join(format!("{n}"))).unwrap()));
    more(dir.path(), 4);
    for refused in [folder.back_up(dir.path()), folder.listed(), folder.restore(target.path(), &[])] {
        assert_eq!(refused.code, 2, "{}", refused.out);
        assert_says(&refused.err, &["the place has 100000 backups or more: delete the oldest objects of backups/"]);
    }
    assert_eq!(folder.pieces(), pieces);
}

/// The story: a backup is restored with this version, and an older one is installed on the machine. It would meet records that
/// it cannot read in the middle of the night.
#[test]
#[cfg(feature = "crash-points")]
fn what_is_restored_is_refused_by_an_older_version() {
    let (dir, folder, target) = (a_log(3), Folder::new(), tempfile::tempdir().unwrap());
    done(folder.back_up(dir.path()));
    done(folder.restore(target.path(), &[]));
    let level = |dir: &Path| fs::read_to_string(dir.join("feature-level")).unwrap();
    assert_eq!(level(target.path()), level(dir.path()));
    let mut older = crate::process::headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    let refused = run(older.arg(target.path()).env("HEADROOM_OLDER_LEVEL", "1"));
    assert_eq!((refused.code, &*refused.out), (2, ""), "{}", refused.err);
    assert_says(&refused.err, &["the log has feature level 3"]);
}
