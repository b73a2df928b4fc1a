//! Killed at any point of a backup or a restore.

use super::{Folder, a_log, done, is_all_of, more};
use crate::cli::{assert_says, on};
use crate::process::{KILLED, headroom, run};
use std::fs;

/// The story: the machine goes down during the nightly backup. The backups of before are whole, and there is no half one.
#[test]
fn killed_while_it_is_taken_there_is_a_whole_backup_or_none() {
    for point in ["backup-begun", "backup-piece", "backup-copied", "backup-written"] {
        let (dir, folder) = (a_log(5), Folder::new());
        done(folder.back_up(dir.path()));
        more(dir.path(), 6);
        let mut backup = headroom(["backup", "--to", &folder.url(), "--data-dir"]);
        let died = run(backup.arg(dir.path()).env("HEADROOM_CRASH_AT", format!("{point}:1")));
        assert_eq!((died.code, &*died.out), (KILLED, ""), "{point}: {}", died.err);
        let count = if point == "backup-written" { 2 } else { 1 };
        assert_eq!(folder.list().len(), count, "{point}");
        let target = tempfile::tempdir().unwrap();
        done(folder.restore(target.path(), &[]));
        assert_says(&done(on(target.path(), ["verify"])), &["clean: no law broken"]);
        done(folder.back_up(dir.path()));
        let again = tempfile::tempdir().unwrap();
        done(folder.restore(again.path(), &[]));
        is_all_of(again.path(), dir.path());
    }
}

/// The story: the machine goes down during a restore. What is in the directory is a whole log, or no server starts on it
/// and the same command goes on.
#[test]
fn killed_while_it_is_restored_the_log_is_whole_or_not_served() {
    let (dir, folder) = (a_log(5), Folder::new());
    done(folder.back_up(dir.path()));
    for point in ["restore-begun", "restore-piece", "restore-whole", "restore-noted", "restore-placed"] {
        let target = tempfile::tempdir().unwrap();
        let mut restore = headroom(["restore", "--from", &folder.url(), "--data-dir"]);
        let died = run(restore.arg(target.path()).env("HEADROOM_CRASH_AT", format!("{point}:1")));
        assert_eq!((died.code, &*died.out), (KILLED, ""), "{point}: {}", died.err);
        if point == "restore-placed" {
            is_all_of(target.path(), dir.path());
            continue;
        }
        let refused = on(target.path(), ["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!((refused.code, &*refused.out), (2, ""), "{point}");
        assert_says(
            &refused.err,
            &["log.restoring is a log that was not restored to its end: run headroom restore again"],
        );
        let goes_on = done(folder.restore(target.path(), &[]));
        // What was written before the kill is not asked for again, unless the log was ended already.
        if point == "restore-piece" {
            assert_says(&goes_on, &[" 0 bytes read"]);
        }
        is_all_of(target.path(), dir.path());
        assert!(fs::metadata(target.path().join("witness")).is_ok() && !target.path().join("log.restoring").exists());
    }
}
