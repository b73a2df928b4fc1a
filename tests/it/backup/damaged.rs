//! Backups with damage, and places that do not do their part: what is wrong is named, and nothing of it is served.

use super::{Folder, a_log, a_log_of_mib, a_long_log, done, is_all_of, more, only};
use crate::cli::{assert_says, on};
use crate::fixtures::NOW;
use crate::process::{headroom, run};
use headroom::backup::{BackupError, Place, take};
use headroom::config::object_place;
use headroom::log::embedded::LogPrefix;
use headroom::objects::Bucket;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The story: a bucket has lost, cut or mixed up objects, or somebody has written into them. A log made of what is left
/// would miss orders, or hold others. It is refused with the name of the object; when the object is back the same command
/// goes on.
#[test]
fn a_damaged_backup_is_named_and_nothing_of_it_is_served() {
    let (dir, folder) = (a_log(10), Folder::new());
    done(folder.back_up(dir.path()));
    let (piece, manifest) = (only(&folder.0.path().join("backup-data")), only(&folder.0.path().join("backups")));
    let (other, elsewhere) = (a_log(12), Folder::new());
    done(elsewhere.back_up(other.path()));
    let [foreign_piece, foreign_manifest] = ["backup-data", "backups"].map(|of| only(&elsewhere.0.path().join(of)));
    let flipped = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        Some(bytes)
    };
    let cut = |path: &Path| Some(fs::read(path).unwrap().split_last().unwrap().1.to_vec());
    let longer = |path: &Path| Some([fs::read(path).unwrap(), vec![0]].concat());
    let cases: [(&Path, Option<Vec<u8>>, &str); 11] = [
        (&piece, None, " is missing"),
        (&piece, cut(&piece), " were written"),
        (&piece, longer(&piece), " were written"),
        (&piece, flipped(&piece, 0), "it has another hash than its name says"),
        (&piece, flipped(&piece, 40_000), "it has another hash than its name says"),
        (&piece, fs::read(&foreign_piece).ok(), " were written"),
        (&manifest, cut(&manifest), "its manifest cannot be read"),
        (&manifest, longer(&manifest), "its manifest cannot be read"),
        (&manifest, flipped(&manifest, 60), "manifest"),
        (&manifest, fs::read(&foreign_manifest).ok(), "its manifest is that of another backup"),
        (&manifest, Some(Vec::new()), "its manifest cannot be read"),
    ];
    for (path, bytes, says) in cases {
        let (target, whole) = (tempfile::tempdir().unwrap(), fs::read(path).unwrap());
        match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let refused = folder.restore(target.path(), &[]);
        assert_eq!((refused.code, &*refused.out), (1, ""), "{says}: {}", refused.err);
        assert_says(&refused.err, &[path.file_stem().unwrap().to_str().unwrap(), says]);
        if path == piece {
            let (serve, url) = (["serve", "--listen", "127.0.0.1:0"], folder.url());
            for command in [&serve[..], &["verify"], &["backup", "--to", &url]] {
                let refused = run(headroom([]).args(command).arg("--data-dir").arg(target.path()));
                assert_eq!((refused.code, &*refused.out), (2, ""), "{command:?}");
                assert_says(&refused.err, &["log.restoring is a log that was not restored to its end"]);
            }
        }
        fs::write(path, whole).unwrap();
        done(folder.restore(target.path(), &[]));
        is_all_of(target.path(), dir.path());
    }
}

/// The story: backups were copied by hand, and a directory has the name of an object. Nothing is damaged: it is named, and
/// moved away.
#[test]
fn a_directory_in_a_place_of_backups_is_named_as_that() {
    let (dir, folder, target) = (a_log(3), Folder::new(), tempfile::tempdir().unwrap());
    done(folder.back_up(dir.path()));
    let aside = dir.path().join("aside");
    let (piece, manifest) = (only(&folder.0.path().join("backup-data")), only(&folder.0.path().join("backups")));
    for (path, of_piece) in [(&piece, true), (&manifest, false)] {
        fs::rename(path, &aside).unwrap();
        fs::create_dir(path).unwrap();
        let refused = folder.restore(target.path(), &[]);
        assert_eq!((refused.code, &*refused.out), (2, ""), "{}", refused.err);
        let name = path.file_name().unwrap().to_str().unwrap();
        let says = if of_piece { "is a directory, and no object: move it away" } else { "a directory is no object" };
        assert_says(&refused.err, &[name, says]);
        // A piece is not overwritten either. What is passed over is told once, however often the place is listed.
        let again = folder.back_up(dir.path()).err;
        assert_says(&again, &[name, says]);
        assert_eq!(again.matches("a directory is no object").count(), 1, "{again}");
        fs::remove_dir(path).unwrap();
        fs::rename(&aside, path).unwrap();
    }
    done(folder.restore(target.path(), &[]));
    is_all_of(target.path(), dir.path());
}

/// The story: the objects of the newest backup are damaged. Nobody falls back to an older one unasked: it has fewer orders,
/// and a person has to know.
#[test]
fn an_older_backup_is_restored_only_when_it_is_named() {
    let (dir, folder, target) = (a_log(10), Folder::new(), tempfile::tempdir().unwrap());
    done(folder.back_up(dir.path()));
    more(dir.path(), 11);
    done(folder.back_up(dir.path()));
    let ids = folder.list();
    fs::write(folder.0.path().join("backups").join(format!("{}.json", ids[0])), "{").unwrap();
    assert_eq!(folder.restore(target.path(), &[]).code, 1);
    assert_says(&done(folder.restore(target.path(), &["--backup", &ids[1]])), &["is restored"]);
    assert_says(&done(on(target.path(), ["verify"])), &["clean: no law broken"]);
    // The next backup does not need the damaged one.
    let told = folder.back_up(dir.path());
    assert_says(&told.err, &["the newest backup cannot be used"]);
    let again = tempfile::tempdir().unwrap();
    done(told);
    done(folder.restore(again.path(), &[]));
    is_all_of(again.path(), dir.path());
}

/// A command whose files may not grow beyond so many blocks of 512 bytes.
fn limited(program: &Command, blocks: u64) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(program.get_program()).args(program.get_args());
    for (name, _) in program.get_envs() {
        command.env_remove(name);
    }
    command
}

/// The story: the folder is not mounted, or its disk is full. There is no backup, and the command says so: a schedule that
/// ends with success would be trusted for months.
#[test]
fn a_place_that_is_gone_or_full_is_no_success() {
    let (dir, folder, target) = (a_log(10), Folder::new(), tempfile::tempdir().unwrap());
    let none = format!("{}/none", folder.url());
    let gone = on(dir.path(), ["backup", "--to", &none]);
    assert_eq!((gone.code, &*gone.out), (2, ""), "{}", gone.err);
    assert_says(&gone.err, &["trying again", &none]);
    let mut full = limited(headroom(["backup", "--to", &folder.url(), "--data-dir"]).arg(dir.path()), 8);
    let full = run(&mut full);
    assert_eq!((full.code, &*full.out, folder.list().len()), (2, "", 0), "{}", full.err);
    assert_says(&full.err, &["cannot write backup-data/"]);
    done(folder.back_up(dir.path()));
    // And the disk to which it is to go back.
    let restore = |blocks| {
        let mut command = headroom(["restore", "--from", &folder.url(), "--data-dir"]);
        run(&mut limited(command.arg(target.path()), blocks))
    };
    let full = restore(8);
    assert_eq!((full.code, &*full.out), (2, ""), "{}", full.err);
    assert_says(&full.err, &["cannot write"]);
    done(folder.restore(target.path(), &[]));
    is_all_of(target.path(), dir.path());
}

fn place(folder: &Folder) -> Place {
    Place::new(Box::new(Bucket::open(&object_place(&folder.url()).unwrap()).unwrap()))
}

/// The story: a machine's clock was years ahead when it took a backup. Every backup since then has an older name, and the
/// one that looks newest lacks all that was decided since.
#[test]
fn a_backup_that_only_looks_newest_is_not_restored_unasked() {
    let (dir, folder, target) = (a_log(10), Folder::new(), tempfile::tempdir().unwrap());
    let ahead =
        take((&LogPrefix::open(dir.path()).unwrap(), 1), &place(&folder), NOW.plus_ms(1_000 * 86_400_000), false)
            .unwrap();
    more(dir.path(), 11);
    let right = take((&LogPrefix::open(dir.path()).unwrap(), 1), &place(&folder), NOW, false).unwrap();
    assert_eq!(folder.list(), [ahead.backup.id.as_str(), &right.backup.id]);
    let refused = folder.restore(target.path(), &[]);
    assert_eq!((refused.code, &*refused.out), (2, ""), "{}", refused.err);
    let fewer = format!("the newest backup is {} with {} events", ahead.backup.id, ahead.events);
    assert_says(&refused.err, &[&fewer, &format!("{} has {}", right.backup.id, right.events), "with --backup"]);
    done(folder.restore(target.path(), &["--backup", &right.backup.id]));
    is_all_of(target.path(), dir.path());
}

/// The story: the same. What the log has since then is in the backups that followed, and is not read again for each of them: a
/// disk that has rotted under it shows that.
#[test]
fn a_backup_that_only_looks_newest_has_no_later_one_read_all_again() {
    let (begun, dir, folder) = (a_log_of_mib(0), a_long_log(), Folder::new());
    let taken =
        |dir: &Path, wall| take((&LogPrefix::open(dir).unwrap(), 1), &place(&folder), wall, false).unwrap().copied;
    let ahead = NOW.plus_ms(1_000 * 86_400_000);
    assert_eq!((taken(begun.path(), ahead).0, taken(dir.path(), NOW).0), (1, 17));
    let sealed = dir.path().join("log/segment-00000000");
    let mut bytes = fs::read(&sealed).unwrap();
    bytes[1 << 21] ^= 1;
    fs::write(&sealed, bytes).unwrap();
    assert_eq!(taken(dir.path(), NOW.plus_ms(1_000)), (0, 0));
}

/// The story: the oldest segment leaves a bounded log just when the nightly backup comes to it. The log is not damaged, and
/// nobody has forgotten to name it.
#[test]
fn a_segment_that_leaves_during_a_backup_is_told_as_that() {
    let (dir, folder) = (a_log(5), Folder::new());
    let log = LogPrefix::open(dir.path()).unwrap();
    fs::rename(dir.path().join("log").join("segment-00000000"), dir.path().join("gone")).unwrap();
    let error = take((&log, 1), &place(&folder), NOW, false).unwrap_err();
    assert!(matches!(error, BackupError::Unusable(_)), "{error:?}");
    assert_says(&error.to_string(), &["has left the log"]);
    assert!(folder.list().is_empty());
}
