//! A data directory of an earlier version: its log is carried over by the first start, whatever happens meanwhile.

use crate::cli::{assert_says, on};
use crate::process::{KILLED, Served, headroom, run};
use headroom::domain::Micros;
use headroom::log::embedded::{Embedded, Options};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// As a killed server of format version 1 left it: orders of three pools with refusals, an amend and a release.
pub const OLD: &str = "tests/golden/formats/embedded-1/log.redb";
/// Its events, one a line: partition, number, digest, kind and trace.
pub const EVENTS: &str = include_str!("../golden/formats/embedded-1/events.txt");

fn old_in(dir: &Path) -> PathBuf {
    dir.join("log.redb")
}

/// A directory with that log.
fn old() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(OLD, old_in(dir.path())).unwrap();
    dir
}

fn serve(dir: &Path) -> Served {
    Served::start(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir))
}

/// The events that it had, of those that the log has now.
pub fn events(dir: &Path) -> String {
    let printed = on(dir, ["cat"]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    let line = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} {} {}\n", event["partition"], text("seq"), text("digest"), text("kind"), text("trace_id"))
    };
    printed.out.lines().map(line).filter(|line| EVENTS.contains(&**line)).collect()
}

#[track_caller]
fn is_carried_over(dir: &Path) {
    assert_eq!(events(dir), EVENTS);
    assert!(!old_in(dir).exists() && !dir.join("log.new").exists());
    let verified = on(dir, ["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// The story: a server is updated, and its log has the form of the version before. The first start carries it over, the
/// old file goes, and everything that was promised is there.
#[test]
fn the_first_start_carries_the_log_over() {
    let dir = old();
    for reads in ["verify", "cat", "rebuild"] {
        let told = on(dir.path(), [reads]);
        assert_eq!(told.code, 2, "{}", told.out);
        assert_says(&told.err, &["log.redb is of an earlier version: the next start of the server carries it over"]);
    }
    assert!(fs::read(old_in(dir.path())).unwrap() == fs::read(OLD).unwrap());
    for _ in 0..2 {
        assert_eq!(serve(dir.path()).running.terminate().code, 0);
        is_carried_over(dir.path());
    }
}

/// The story: the machine stops while the log is carried over, at any step of it. The old file or the new log is there,
/// and the next start ends the work.
#[test]
fn killed_while_it_is_carried_over_it_loses_nothing() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    for point in ["carrying:1", "carrying:3", "carried:1", "carried-raised:1", "carried-renamed:1", "carried-removed:1"]
    {
        let dir = old();
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        let died = run(serve.arg(dir.path()).env("HEADROOM_CRASH_AT", point));
        assert_eq!(died.code, KILLED, "{point}: {}{}", died.out, died.err);
        assert_eq!(old_in(dir.path()).exists(), point != "carried-removed:1", "{point}");
        assert_eq!(self::serve(dir.path()).running.terminate().code, 0, "{point}");
        is_carried_over(dir.path());
    }
}

/// The story: a server is updated, and its start is refused: the setting says another number of partitions, or the witness has
/// seen more events than the file has. Whoever goes back to the version before finds a directory that it can serve.
#[test]
fn a_start_that_is_refused_leaves_the_level_and_the_old_file_as_they_were() {
    let dir = old();
    let refused = |args: &[&str], code: i32, says: &str| {
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        let served = run(serve.arg(dir.path()).args(args));
        assert_eq!((served.code, &*served.out), (code, ""), "{}", served.err);
        assert_says(&served.err, &["log.redb", says]);
        assert!(fs::read(old_in(dir.path())).unwrap() == fs::read(OLD).unwrap(), "{says}");
        for made in ["feature-level", "log", "log.new"] {
            assert!(!dir.path().join(made).exists(), "{says}: {made}");
        }
    };
    refused(&["--partitions", "7"], 2, "was made with partition count 2, this process has 7");
    // It was served before, and more was decided.
    assert_eq!(serve(dir.path()).running.terminate().code, 0);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    fs::remove_file(dir.path().join("feature-level")).unwrap();
    fs::copy(OLD, old_in(dir.path())).unwrap();
    refused(&[], 1, "has lost something, or may have, and was left as it is");
    // With what is missing, and the right number, it is carried over.
    let dir = old();
    let mut right = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "2", "--data-dir"]);
    assert_eq!(Served::start(right.arg(dir.path())).running.terminate().code, 0);
    is_carried_over(dir.path());
}

/// The story: the old file is damaged. A log made of what can be read of it would miss orders. It is refused by name
/// and stays as it was found.
#[test]
fn a_damaged_log_is_not_carried_over() {
    let bytes = fs::read(OLD).unwrap();
    let cut = bytes[..bytes.len() / 2].to_vec();
    let mut changed = bytes.clone();
    let needle = b"van-2";
    for at in 0..bytes.len() - needle.len() {
        if bytes[at..].starts_with(needle) {
            changed[at] ^= 1;
        }
    }
    let foreign = b"SQLite".to_vec();
    for (bytes, code, says) in [(cut, 1, "is damaged"), (changed, 1, "is damaged"), (foreign, 2, "is not a log")] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(old_in(dir.path()), &bytes).unwrap();
        let served = on(dir.path(), ["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!((served.code, &*served.out), (code, ""), "{}", served.err);
        assert_says(&served.err, &["log.redb", says, "was left as it is"]);
        assert!(fs::read(old_in(dir.path())).unwrap() == bytes && !dir.path().join("log").exists());
    }
}

/// The story: an operator moves the segments aside and leaves the folder where it was. A start that carries the old file
/// over removes nothing of theirs.
#[test]
fn what_else_lies_in_the_place_of_the_log_stays() {
    let dir = old();
    let aside = dir.path().join("log/aside/segment-00000000");
    fs::create_dir_all(aside.parent().unwrap()).unwrap();
    fs::write(&aside, "of an operator").unwrap();
    let served = on(dir.path(), ["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!((served.code, &*served.out), (2, ""), "{}", served.err);
    assert_says(&served.err, &["/log: ", "not empty"]);
    assert_eq!(fs::read_to_string(&aside).unwrap(), "of an operator");
    fs::remove_dir_all(dir.path().join("log/aside")).unwrap();
    fs::write(dir.path().join("log/segment-00000000.new"), "half").unwrap();
    assert_eq!(serve(dir.path()).running.terminate().code, 0);
    is_carried_over(dir.path());
}

/// The story: somebody puts a file of the earlier version back beside the log. If the log holds all of it, it goes. If
/// it is of another log, nobody knows which of the two counts: a person decides.
#[test]
fn an_old_file_beside_the_log_goes_if_the_log_holds_it() {
    let dir = old();
    assert_eq!(serve(dir.path()).running.terminate().code, 0);
    fs::copy(OLD, old_in(dir.path())).unwrap();
    assert_eq!(serve(dir.path()).running.terminate().code, 0);
    is_carried_over(dir.path());
    let other = tempfile::tempdir().unwrap();
    assert_eq!(serve(other.path()).running.terminate().code, 0);
    fs::copy(OLD, old_in(other.path())).unwrap();
    let served = on(other.path(), ["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!((served.code, &*served.out), (1, ""));
    assert_says(&served.err, &["log.redb beside it is another log: move the one away that is not to be served"]);
    assert!(old_in(other.path()).exists());
}

/// The same log in the form of this version, and in the one before it, without the zeros at its end.
const RECORDED: &str = "tests/golden/formats/embedded-3/segment-00000000";
pub const RECORDED_PLAIN: &str = "tests/golden/formats/embedded-2/segment-00000000";

/// The story: a change of the code changes the form of the log, and nobody notices before an older version cannot read
/// it, or this one cannot read what it has written. A new form has a new format version, and both are recorded.
/// `HEADROOM_REWRITE_GOLDEN=1` writes it anew while no release has it.
#[test]
fn a_log_has_the_form_that_was_recorded_for_its_format_version() {
    let dir = old();
    drop(Embedded::open(dir.path(), Options { partitions: None, log_id: 1, now: Micros(1) }).unwrap());
    let segment = dir.path().join("log/segment-00000000");
    let mut bytes = fs::read(&segment).unwrap();
    let length = bytes.len();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
        fs::create_dir_all(Path::new(RECORDED).parent().unwrap()).unwrap();
        fs::write(RECORDED, &bytes).unwrap();
    }
    let mut recorded = fs::read(RECORDED).unwrap();
    assert!(bytes == recorded, "the form has changed");
    recorded.resize(length, 0);
    fs::write(&segment, recorded).unwrap();
    assert_eq!(events(dir.path()), EVENTS);
}

/// The story: a server is updated whose log is of the version before. Its file stays as it is, what follows is packed in the next
/// one, and both are one log. The version before refuses it from then on, and says why.
#[test]
fn a_log_of_the_version_before_is_served_and_goes_on_packed() {
    let dir = tempfile::tempdir().unwrap();
    let segment = |number: u32| dir.path().join(format!("log/segment-{number:08}"));
    let mut recorded = fs::read(RECORDED_PLAIN).unwrap();
    recorded.resize(1 << 20, 0);
    fs::create_dir(dir.path().join("log")).unwrap();
    fs::write(segment(0), &recorded).unwrap();
    assert_eq!(events(dir.path()), EVENTS);
    let older = |command: &mut Command| run(command.env("HEADROOM_OLDER_LEVEL", "2"));
    if cfg!(feature = "crash-points") {
        let verified = older(headroom(["verify", "--data-dir"]).arg(dir.path()));
        assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    }
    for _ in 0..2 {
        // Every owner begins with an event of its own.
        assert_eq!(serve(dir.path()).running.terminate().code, 0);
        assert_eq!(events(dir.path()), EVENTS);
        let verified = on(dir.path(), ["verify"]);
        assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    }
    let slots = 4_096..12_288;
    let frames = recorded.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(fs::read(segment(0)).unwrap()[slots.end..frames] == recorded[slots.end..frames]);
    let version = |number| u32::from_le_bytes(fs::read(segment(number)).unwrap()[16..20].try_into().unwrap());
    assert_eq!((version(0), version(1), segment(2).exists()), (2, 3, false));
    if cfg!(feature = "crash-points") {
        let refused = older(headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()));
        assert_says(&refused.err, &["feature level 3", "this version knows 2"]);
        // The same where nothing says so but the files.
        fs::remove_file(dir.path().join("feature-level")).unwrap();
        let unread = older(headroom(["verify", "--data-dir"]).arg(dir.path()));
        assert_ne!((refused.code, unread.code), (0, 0));
        assert_says(&unread.err, &["format version 3, this process has 2"]);
    }
}
