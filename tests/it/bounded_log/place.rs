//! The place for what leaves the log is gone, full or lying, or somebody puts something else into it. Nothing leaves the log
//! that is not there as it was, and nobody reads what is not.

use super::{BEGIN, KEEP_DAYS, KEEP_MS};
use crate::bed::{Bed, DAY_MS, Stopped, bucket, segments, url};
use crate::faulty::{Conduct, Faulty};
use crate::process::{Served, headroom, run};
use crate::store::copy_tree;
use headroom::archive::Shelf;
use headroom::log::embedded::{EmbeddedReader, WithArchive};
use headroom::log::{CommandTail, CommittedTail, LogError, LogErrorKind};
use headroom::objects::{Got, Objects};
use headroom::snapshot::Reader;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// A place does not give what it has, until somebody acts.
const WITHHELD: LogErrorKind = LogErrorKind::Withheld { may_pass: false };

/// A log of which some segments are old, and its archive.
fn old() -> (Bed, Arc<Faulty<'static>>) {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    let place = Faulty::over(bucket(bed.archive.path()));
    (bed, Arc::new(place))
}

#[test]
fn nothing_leaves_before_the_place_has_it_as_it_was() {
    for (conduct, why) in [
        (Conduct::Gone, "the place is gone"),
        (Conduct::Full, "no space is left"),
        (Conduct::KeepsShort, "was read back as"),
        (Conduct::KeepsOthers, "was read back as"),
        (Conduct::KeepsNothing, "was written, and the store does not have it"),
        (Conduct::LosesManifests, "no answer within 10 s"),
        (Conduct::GivesNothing, "no answer within 10 s"),
        (Conduct::IgnoresConditions, "the store ignores If-None-Match"),
    ] {
        let (bed, place) = old();
        let reader = bed.reader();
        let mut keeper = bed.keeper(&reader, Some(Arc::clone(&place) as Arc<dyn Objects>), KEEP_MS);
        place.is(conduct);
        let files = segments(bed.world.path());
        for _ in 0..3 {
            keeper.round(&|| false);
            bed.world.clock.pass_ms(60_000);
        }
        let failed = std::mem::take(&mut *bed.told.failed.lock());
        assert!(failed.len() == 3 && failed.iter().all(|told| told.contains(why)), "{conduct:?}: {failed:?}");
        assert_eq!((bed.world.log.first(0), segments(bed.world.path())), (Ok(0), files), "{conduct:?}");
        assert!(*bed.told.overdue_ms.lock() > DAY_MS);
        assert_eq!(bed.archived(".json").len(), 0, "{conduct:?}");
        place.is(Conduct::Fine);
        keeper.round(&|| false);
        assert_eq!((&*bed.told.left.lock(), &*bed.told.failed.lock()), (&vec![0], &vec![]), "{conduct:?}");
    }
}

/// The story: nobody has mounted the folder of the archive, and the first file is due in forty days. A disk that is full then is no
/// time to hear of it.
#[test]
fn a_place_that_takes_nothing_is_told_long_before_anything_is_due() {
    let (bed, place) = old();
    let reader = bed.reader();
    let mut keeper = bed.keeper(&reader, Some(Arc::clone(&place) as Arc<dyn Objects>), 100 * KEEP_MS);
    let mut failures = |conduct| {
        place.is(conduct);
        keeper.round(&|| false);
        bed.world.clock.pass_ms(60_000);
        std::mem::take(&mut *bed.told.failed.lock()).len()
    };
    assert_eq!([Conduct::Gone, Conduct::Full, Conduct::Fine, Conduct::Gone].map(&mut failures), [1, 1, 0, 0]);
    let nowhere = bucket(&bed.archive.path().join("not-mounted"));
    bed.keeper(&reader, Some(Arc::new(nowhere)), 100 * KEEP_MS).round(&|| false);
    let told = std::mem::take(&mut *bed.told.failed.lock());
    assert!(told.len() == 1 && told[0].contains("there is no such folder"), "{told:?}");
    assert_eq!((bed.world.log.first(0), bed.archived("").len()), (Ok(0), 0));
}

#[test]
fn a_place_that_is_gone_is_asked_at_growing_pauses_until_it_is_back() {
    let (bed, place) = old();
    let reader = bed.reader();
    let mut keeper = bed.keeper(&reader, Some(Arc::clone(&place) as Arc<dyn Objects>), KEEP_MS);
    place.is(Conduct::Gone);
    let mut failures = |seconds: u64| {
        let before = bed.told.failed.lock().len();
        for _ in 0..seconds {
            keeper.round(&|| false);
            bed.world.clock.pass_ms(1_000);
        }
        bed.told.failed.lock().len() - before
    };
    assert_eq!(failures(256), 9, "at 0, 1, 3, 7, 15, … seconds");
    assert_eq!(failures(3_000), 10, "every five minutes");
    place.is(Conduct::Fine);
    assert_eq!(failures(300), 0);
    assert!(bed.told.left.lock().starts_with(&[0, 1]));
}

/// The story: two logs with one id write to one place, because somebody copied a data directory and serves both. The archive
/// of the one is not replaced by that of the other, and the other keeps what it has.
#[test]
fn another_object_under_the_name_is_named_and_left_alone() {
    let (bed, place) = old();
    let reader = bed.reader();
    let mut keeper = bed.keeper(&reader, Some(Arc::clone(&place) as Arc<dyn Objects>), KEEP_MS);
    for end in [".segment", ".json"] {
        let path = format!("{:032x}/segments/00000000{end}", bed.world.log.manifest().log_id);
        bed.told.failed.lock().clear();
        place.bucket.put(&path, b"somebody's".to_vec()).unwrap();
        keeper.round(&|| false);
        let failed = bed.told.failed.lock().clone();
        let says = format!("{path} is another object, of 10 bytes, and was left as it is");
        assert!(failed.len() == 1 && failed[0].contains(&says), "{failed:?}");
        assert_eq!(place.bucket.get(&path, 10).unwrap(), Some(Got::Whole(b"somebody's".to_vec())));
        assert_eq!(bed.world.log.first(0), Ok(0));
        place.bucket.delete(&path).unwrap();
        bed.world.clock.pass_ms(60_000);
    }
    keeper.round(&|| false);
    assert_eq!(*bed.told.left.lock(), [0]);
}

/// The story: of two logs with one id the one archives into a store that says yes to everything. It would put its segments
/// into the place of those of the other.
#[test]
fn a_place_that_replaces_what_is_there_gets_no_segment() {
    let (bed, place) = old();
    let reader = bed.reader();
    let path = format!("{:032x}/segments/00000000.segment", bed.world.log.manifest().log_id);
    place.bucket.put(&path, b"somebody's".to_vec()).unwrap();
    place.is(Conduct::IgnoresConditions);
    bed.keeper(&reader, Some(Arc::clone(&place) as Arc<dyn Objects>), KEEP_MS).round(&|| false);
    assert!(bed.told.failed.lock()[0].contains("the store ignores If-None-Match"), "{:?}", bed.told.failed.lock());
    assert_eq!(place.bucket.get(&path, 10).unwrap(), Some(Got::Whole(b"somebody's".to_vec())));
    assert_eq!(bed.world.log.first(0), Ok(0));
}

/// The story: the place of snapshots had lost all of them but one, and a quarter of an hour was to pass before the next. In
/// the meantime that one was downloaded and put together every five seconds, which takes the memory of one more state.
#[test]
fn a_snapshot_is_read_once_while_another_one_is_waited_for() {
    let (bed, archive) = old();
    let log_id = bed.world.log.manifest().log_id;
    let folder = format!("{log_id:032x}/p0");
    let snapshots = Arc::new(Faulty::over(bucket(bed.snapshots.path())));
    let reader = Reader::new(Arc::clone(&snapshots) as Arc<dyn Objects>, log_id);
    let mut files: Vec<_> =
        fs::read_dir(bed.snapshots.path().join(&folder)).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    // Of two whole ones, each with a manifest and rows, one is damaged.
    let [_, damaged, ..] = &files[files.len() - 4..] else { unreachable!() };
    let whole = fs::read(damaged).unwrap();
    fs::write(damaged, &whole[1..]).unwrap();
    files[..files.len() - 4].iter().for_each(|file| fs::remove_file(file).unwrap());
    let mut keeper = bed.keeper(&reader, Some(Arc::clone(&archive) as Arc<dyn Objects>), KEEP_MS);
    for _ in 0..3_000 {
        keeper.round(&|| false);
        bed.world.clock.pass_ms(1_000);
    }
    assert_eq!((&*bed.told.left.lock(), &*bed.told.uncovered.lock()), (&vec![], &vec![0]));
    // The good one once; the other one after 5, 10, 20, … seconds, and then every five minutes, with its manifest once more: whether
    // that alone says that it is bad.
    assert_eq!(snapshots.gets(), 2 + 15 * 3);
    fs::write(damaged, &whole).unwrap();
    for _ in 0..300 {
        keeper.round(&|| false);
        bed.world.clock.pass_ms(1_000);
    }
    // And the good one once more, before anything leaves.
    assert_eq!(snapshots.gets(), 4);
    assert!(bed.told.left.lock().starts_with(&[0, 1]), "{:?}", bed.told.failed.lock());
}

/// All that log and archive have of partition 0, or the first error.
fn read(whole: &WithArchive<EmbeddedReader>) -> Result<u64, LogError> {
    let (mut next, end) = (CommittedTail::first(whole, 0)?, whole.end(0)?);
    let mut count = 0;
    while next < end {
        let events = whole.read(0, next, 100_000)?;
        assert!(events.iter().zip(next..).all(|(event, seq)| event.seq == seq));
        (next, count) = (next + events.len() as u64, count + events.len() as u64);
    }
    let (mut next, mut commands) = (CommandTail::first(whole, 0)?, 0);
    loop {
        let read = whole.commands(0, next, 100_000)?;
        if read.is_empty() {
            assert!(commands > 0);
            return Ok(count);
        }
        (next, commands) = (next + read.len() as u64, commands + read.len());
    }
}

/// Log and archive of a stopped server.
fn whole(stopped: &Stopped) -> WithArchive<EmbeddedReader> {
    let shelf = Shelf::new(Arc::new(bucket(stopped.archive.path())), 7);
    WithArchive::new(EmbeddedReader::open(stopped.dir.path()).unwrap(), 7, Some(Box::new(shelf)))
}

/// The story: an archive is a place where things happen to objects in the course of years. What is read from it is what left
/// the log, or an error that names the object.
#[test]
fn what_happens_to_an_archive_is_named_or_read_around() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    let left = bed.leave();
    assert!(left.len() > 4, "{left:?}");
    let (bytes, manifests) = (bed.archived(".segment"), bed.archived(".json"));
    assert_eq!((bytes.len(), manifests.len()), (left.len(), left.len()));
    let end = bed.world.log.end(0).unwrap();
    let stopped = Stopped::of(bed);
    let whole = || whole(&stopped);
    assert_eq!(read(&whole()), Ok(end));
    let flipped = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let cases: &[(&str, &dyn Fn(), &str)] = &[
        ("flipped bytes", &|| flipped(&bytes[1]), "00000001.segment is damaged"),
        ("flipped manifest", &|| flipped(&manifests[1]), "00000001.json"),
        ("short", &|| fs::write(&bytes[1], &fs::read(&bytes[1]).unwrap()[1..]).unwrap(), "00000001.segment is damaged"),
        ("long", &|| fs::write(&bytes[1], [&*fs::read(&bytes[1]).unwrap(), b"?"].concat()).unwrap(), "at most"),
        ("no bytes", &|| fs::remove_file(&bytes[1]).unwrap(), "00000001.segment is gone"),
        (
            "another one's manifest",
            &|| {
                fs::copy(&manifests[0], &manifests[1]).unwrap();
            },
            "is that of segment 0 of log",
        ),
    ];
    for (what, harm, says) in cases {
        let kept: Vec<_> = bytes.iter().chain(&manifests).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        harm();
        let error = read(&whole()).unwrap_err();
        assert!(error.kind == LogErrorKind::Operator && error.detail.contains(says), "{what}: {error}");
        let verified = stopped.whole("verify", &[]);
        assert_eq!(verified.code, 1, "{what}: {}{}", verified.out, verified.err);
        assert!(verified.out.contains(says), "{what}: {}", verified.out);
        kept.into_iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

/// The story: somebody verifies a log and names the folder of another log's archive, or one that is empty, or the bucket has lost
/// all that was in it. Nobody can tell which, and that the name is wrong says nothing of the log.
#[test]
fn a_place_without_a_segment_of_the_log_is_named_and_the_log_is_not_called_broken() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    assert!(!bed.leave().is_empty());
    let stopped = Stopped::of(bed);
    let [others, empty] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    copy_tree(&stopped.archive.path().join(format!("{:032x}", 7)), &others.path().join(format!("{:032x}", 8)));
    let says = format!("the archive has no segment of log {:032x}: name the place to which the segments have gone", 7);
    let is_refused = |place: &Path| {
        let place = url(place);
        let named = ["--log-archive", &*place];
        for what in ["verify", "cat", "rebuild"] {
            let told = stopped.bare(what, &named);
            assert_eq!((told.code, &*told.out), (2, ""), "{what}: {}", told.err);
            assert!(told.err.contains(&says) && !told.err.contains("BROKEN"), "{what}: {}", told.err);
        }
        let told = stopped.bare("verify", &[&named[..], &["--json"]].concat());
        let report: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!((told.code, &report["verdict"]), (2, &"not_proven".into()), "{report}");
        assert_eq!(report["breach_count"], 0, "{report}");
    };
    [others.path(), empty.path()].into_iter().for_each(is_refused);
    let kept = empty.path().join("kept");
    fs::rename(stopped.archive.path().join(format!("{:032x}", 7)), &kept).unwrap();
    is_refused(stopped.archive.path());
    assert_eq!(read(&whole(&stopped)).unwrap_err().kind, WITHHELD);
    fs::rename(kept, stopped.archive.path().join(format!("{:032x}", 7))).unwrap();
    assert_eq!(stopped.whole("verify", &[]).code, 0);
}

/// Whoever needs the object says this. Nothing is wrong with the log, as far as anybody can tell: no law is broken.
#[track_caller]
fn assert_named(stopped: &Stopped, says: &str) {
    for what in ["verify", "rebuild"] {
        let told = stopped.whole(what, &["--snapshots", &url(stopped.snapshots.path())]);
        assert_eq!((told.code, &*told.out), (2, ""), "{what}: {}", told.err);
        assert!(told.err.contains(says) && !told.err.contains("try again"), "{what}: {}", told.err);
    }
}

/// The story: the archive was copied to another disk by hand, and a directory has the name of a segment. It is neither damaged
/// nor gone, and whoever needs that segment says what it is. Whoever does not goes on.
#[test]
fn a_directory_in_an_archive_is_named_as_that() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    assert!(bed.leave().len() > 4);
    let (end, segment, manifest) =
        (bed.world.log.end(0).unwrap(), bed.archived(".segment")[1].clone(), bed.archived(".json")[1].clone());
    let stopped = Stopped::of(bed);
    let aside = stopped.dir.path().join("aside");
    let snapshots = url(stopped.snapshots.path());
    for (path, name) in [(&segment, "00000001.segment"), (&manifest, "00000001.json")] {
        fs::rename(path, &aside).unwrap();
        fs::create_dir(path).unwrap();
        let says = format!("{name} is a directory, and no object: move it away");
        assert_named(&stopped, &says);
        let state = stopped.whole("state", &["--snapshots", &snapshots]);
        assert_eq!(state.code, 0, "{}", state.err);
        assert!(state.err.contains("a directory is no object") && state.err.contains(name), "{}", state.err);
        let error = read(&whole(&stopped)).unwrap_err();
        assert!(error.kind == WITHHELD && error.detail.contains(&says), "{error}");
        // It comes while the archive is read.
        fs::remove_dir(path).unwrap();
        fs::rename(&aside, path).unwrap();
        let whole = whole(&stopped);
        let begins = CommittedTail::first(&whole, 0).unwrap();
        fs::rename(path, &aside).unwrap();
        fs::create_dir(path).unwrap();
        let mut next = begins;
        let error = loop {
            match whole.read(0, next, 100_000) {
                Ok(events) => {
                    assert!(!events.is_empty(), "all of it was read");
                    next += events.len() as u64;
                }
                Err(error) => break error,
            }
        };
        assert!(error.kind == WITHHELD && error.detail.contains(&says), "{error}");
        fs::remove_dir(path).unwrap();
        fs::rename(&aside, path).unwrap();
    }
    // A directory of another name is in nobody's way.
    fs::create_dir(segment.with_file_name("lost+found")).unwrap();
    assert_eq!(read(&whole(&stopped)), Ok(end));
}

/// The story: the same at either end of an archive, by which everybody knows how far it reaches. Whoever asks that is told which
/// directory to move away; nothing is called broken, and nothing is passed over that may still be there.
#[test]
fn a_directory_at_either_end_of_an_archive_is_named_as_that() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    assert!(bed.leave().len() > 4);
    let ends: Vec<_> = [".segment", ".json"]
        .into_iter()
        .flat_map(|end| {
            let all = bed.archived(end);
            [all.first().cloned(), all.last().cloned()].map(|path| (path.unwrap(), end))
        })
        .collect();
    let stopped = Stopped::of(bed);
    let (aside, snapshots) = (stopped.dir.path().join("aside"), url(stopped.snapshots.path()));
    for (path, end) in ends {
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let says = format!("{name} is a directory, and no object: move it away");
        assert_named(&stopped, &says);
        // A state that begins with a snapshot needs to know what the archive has, and none of its bytes.
        let state = stopped.whole("state", &["--snapshots", &snapshots]);
        assert_eq!(state.code, if end == ".json" { 2 } else { 0 }, "{name}: {}", state.err);
        assert!(state.err.contains(name) && (state.code == 0 || state.err.contains(&says)), "{}", state.err);
        let error = read(&whole(&stopped)).unwrap_err();
        assert!(error.kind == WITHHELD && error.detail.contains(&says), "{error}");
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
}

/// The story: one object of an archive is gone, in its middle or at its end. What lies before it does not lead to the log: the
/// rest is read, and trusted from a snapshot, and nobody is told that the archive is whole.
#[test]
fn what_lies_before_a_hole_in_an_archive_is_not_read_and_the_hole_is_named() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    assert!(bed.leave().len() > 4);
    let (first, manifests) = (bed.world.log.first(0).unwrap(), bed.archived(".json"));
    let stopped = Stopped::of(bed);
    let newest = manifests.len() - 1;
    for missing in [1, newest] {
        let kept = fs::read(&manifests[missing]).unwrap();
        fs::remove_file(&manifests[missing]).unwrap();
        let begun = CommittedTail::first(&whole(&stopped), 0).unwrap();
        assert!((1..=first).contains(&begun) && (begun == first) == (missing == newest), "{missing}: {begun}");
        is_read_from(&stopped, begun, &format!("segment {missing} is missing from the archive"));
        fs::write(&manifests[missing], kept).unwrap();
    }
    // A place that does not answer is no fault of the log.
    fs::rename(stopped.archive.path(), stopped.dir.path().join("elsewhere")).unwrap();
    assert_eq!(read(&whole(&stopped)).unwrap_err().kind, WITHHELD);
    let verified = stopped.whole("verify", &["--snapshots", &url(stopped.snapshots.path())]);
    assert_eq!(verified.code, 2, "{}{}", verified.out, verified.err);
    fs::rename(stopped.dir.path().join("elsewhere"), stopped.archive.path()).unwrap();
}

/// Log and archive are read from this event on, and it is told what the archive lacks.
fn is_read_from(stopped: &Stopped, begun: u64, lacks: &str) {
    let whole = whole(stopped);
    let end = whole.end(0).unwrap();
    assert_eq!(read(&whole), Ok(end - begun));
    assert!(whole.lacks().is_some_and(|told| told.contains(lacks)));
    drop(whole);
    let snapshots = url(stopped.snapshots.path());
    // Without a snapshot nobody can say what leads to the rest. That is not proven, and not broken.
    let alone = stopped.whole("verify", &[]);
    assert_eq!(alone.code, 1, "{}{}", alone.out, alone.err);
    assert!(alone.out.contains(&format!("DAMAGED: {lacks}")) && !alone.out.contains("BROKEN"), "{}", alone.out);
    let verified = stopped.whole("verify", &["--snapshots", &snapshots]);
    assert_eq!(verified.code, 1, "{}{}", verified.out, verified.err);
    assert!(verified.out.contains(&format!("events before seq {begun} are gone")), "{}", verified.out);
    assert!(verified.out.contains(&format!("DAMAGED: {lacks}")), "{}", verified.out);
    let printed = stopped.whole("cat", &["--partition", "0"]);
    assert_eq!((printed.code, printed.out.lines().count() as u64), (1, end - begun), "{}", printed.err);
    for (what, printed) in [
        ("cat", printed),
        ("state", stopped.whole("state", &["--snapshots", &snapshots])),
        ("rebuild", stopped.whole("rebuild", &["--snapshots", &snapshots])),
    ] {
        assert!(printed.err.contains(lacks), "{what}: {}", printed.err);
        assert_eq!(printed.code, i32::from(what == "cat"), "{what}: {}", printed.err);
    }
}

/// The story: the archive was set when the first segments had left the log already, or somebody has deleted its oldest objects.
/// Nobody can tell which, so it is told and is no fault.
#[test]
fn an_archive_that_begins_with_a_later_segment_is_told_and_is_no_fault() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    assert!(bed.leave().len() > 4);
    let oldest = [".segment", ".json"].map(|end| bed.archived(end).remove(0));
    let stopped = Stopped::of(bed);
    let (begins, snapshots) = ("the archive begins with segment 1: ", url(stopped.snapshots.path()));
    let told = |what: &str, says_so: bool| {
        let told = stopped.whole(what, &["--snapshots", &snapshots]);
        assert_eq!(told.code, 0, "{what}: {}{}", told.out, told.err);
        assert_eq!(told.err.contains(begins), says_so, "{what}: {}", told.err);
    };
    told("verify", false);
    oldest.iter().for_each(|path| fs::remove_file(path).unwrap());
    ["verify", "rebuild", "state"].into_iter().for_each(|what| told(what, true));
    let printed = stopped.whole("cat", &[]);
    assert!(printed.code == 0 && printed.err.contains(begins), "{}", printed.err);
    // Nothing is told of a beginning where something before it is there.
    fs::remove_file(stopped.archive.path().join(format!("{:032x}/segments/00000003.json", 7))).unwrap();
    let verified = stopped.whole("verify", &["--snapshots", &snapshots]);
    assert!(verified.code == 1 && !verified.err.contains("the archive begins with"), "{}", verified.err);
}

/// The story: the folder for snapshots, or that for what leaves the log, lies in the data directory. What is to outlive the disk
/// would be lost with it, and a server says so before it writes anything.
#[test]
fn a_folder_within_the_data_directory_is_refused_at_the_start() {
    let above = tempfile::tempdir().unwrap();
    let (dir, elsewhere) = (above.path().join("data"), above.path().join("snapshots"));
    [&dir.join("kept"), &elsewhere].into_iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    let serve = |args: &[&str]| {
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        serve.arg(&dir).args(args);
        serve
    };
    for within in [dir.join("kept"), dir.join("none"), dir.clone()] {
        let (within, elsewhere) = (url(&within), url(&elsewhere));
        let of_archive = ["--snapshots", &elsewhere, "--log-archive", &within];
        for (args, flag) in [(&["--snapshots", &*within][..], "--snapshots"), (&of_archive, "--log-archive")] {
            let refused = run(&mut serve(args));
            assert_eq!((refused.code, &*refused.out), (2, ""), "{}", refused.err);
            assert!(refused.err.contains(&format!("{within} is in the data directory")), "{}", refused.err);
            assert!(refused.err.contains(&format!("name a folder elsewhere with {flag}")), "{}", refused.err);
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing was made");
        }
    }
    let beside = Served::start(&mut serve(&["--snapshots", &url(&elsewhere)]));
    assert_eq!(beside.running.terminate().code, 0);
}
