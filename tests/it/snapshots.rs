//! What snapshots owe a start, and what they must not do to a server: a start without a checkpoint begins with the newest
//! one that is whole and that the log continues, and a store that is gone, slow or lying costs snapshots and nothing else.

pub mod bucket;
mod head_gone;
mod recorded;
pub mod served;
mod verified;

use crate::bed::{Bed, HOUR_MS, KEEP, RULE, Told};
use crate::faulty::{Conduct, Faulty};
use crate::fixtures::{NOW, append};
use crate::owner::{define, reserve};
use crate::world::{World, commit_turn};
use headroom::config::SnapshotRule;
use headroom::objects::Objects;
use headroom::replica::PartitionState;
use headroom::snapshot::{Reader, Writer};
use headroom::store::Store;
use headroom::time::Clock as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

impl Bed {
    fn new() -> Bed {
        Bed::over(World::new(1), NOW)
    }

    /// Decides so many commands, a second apart, and writes a checkpoint.
    fn decide(&mut self, turns: u64) {
        for _ in 0..turns {
            self.asked += 1;
            let bytes = if self.asked == 1 { define(1) } else { reserve(self.asked, None) };
            append(&*self.world.log, 0, &bytes);
            self.world.clock.pass_ms(1_000);
            commit_turn(&self.owner, &self.handle, &mut self.owned, self.world.clock.wall());
        }
        self.world.checkpoint(&self.handle);
    }

    /// Three snapshots, and events after the last one.
    fn with_three() -> Bed {
        let mut bed = Bed::new();
        for _ in 0..3 {
            bed.decide(4);
            bed.snapshot();
        }
        bed.decide(2);
        assert_eq!(*bed.told.written.lock(), [4, 8, 12]);
        bed
    }

    /// One writer looks once, and after `between` once in each of four hours, in which a command is decided.
    fn write_hourly(&mut self, between: impl FnOnce(&World, &Told)) {
        let (bucket, log_id) = (self.bucket(), self.log_id());
        let Bed { world, replica, handle, owner, owned, told, .. } = self;
        let (world, replica, told) = (&*world, &*replica, &*told);
        let mut writer = Writer::new((log_id, replica, &world.store), &bucket, (&world.clock, told), RULE);
        writer.round(&|| false);
        between(world, told);
        for number in 10..14 {
            append(&*world.log, 0, &reserve(number, None));
            world.clock.pass_ms(HOUR_MS);
            commit_turn(owner, handle, owned, world.clock.wall());
            world.checkpoint(handle);
            writer.round(&|| false);
        }
    }

    /// Starts without a checkpoint. Answers the sequence number of the snapshot that it began with, and why others were
    /// passed over. The state is that of the owner, or a part of it.
    fn cold_start(&mut self) -> (Option<u64>, Vec<String>) {
        self.cold_start_with(Arc::new(self.bucket()))
    }

    fn cold_start_with(&mut self, objects: Arc<dyn Objects>) -> (Option<u64>, Vec<String>) {
        self.world.store.wipe(0, "a new machine").unwrap();
        self.world.snapshots = Some(Arc::new(Reader::new(objects, self.log_id())));
        let heard = &self.world.heard;
        heard.snapshots.lock().clear();
        let (restored, _owned) = self.world.recover(0);
        let alike = restored.read(|state| (*state.position(), state.digest()));
        assert_eq!(alike, self.handle.read(|state| (*state.position(), state.digest())));
        let (mut begun, mut passed_over) = (None, Vec::new());
        for told in heard.snapshots.lock().drain(..) {
            match told {
                Ok(name) => begun = Some(name.split('-').next().unwrap().parse().unwrap()),
                Err(why) => passed_over.push(why),
            }
        }
        (begun, passed_over)
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn copied(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

fn directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn replaced(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// What is done to the rows and the manifest of the newest snapshot, given those of the one before it.
type Spoiler = fn(rows: &Path, manifest: &Path, older: (&Path, &Path));

const SPOILERS: &[(&str, Spoiler, &str)] = &[
    ("a byte is another", |rows, _, _| edit(rows, |bytes| *bytes.last_mut().unwrap() ^= 1), "its rows are damaged"),
    ("cut short", |rows, _, _| edit(rows, |bytes| bytes.truncate(bytes.len() - 1)), "bytes, and"),
    ("longer", |rows, _, _| edit(rows, |bytes| bytes.push(0)), "bytes, and at most"),
    ("another object", |rows, _, (older, _)| copied(older, rows), "bytes, and"),
    ("no rows", |rows, _, _| fs::remove_file(rows).unwrap(), "is gone"),
    ("a directory", |rows, _, _| directory(rows), ".rows is a directory, and no object"),
    ("half a manifest", |_, manifest, _| edit(manifest, |bytes| bytes.truncate(40)), "its manifest cannot be read"),
    ("another manifest", |_, manifest, (_, older)| copied(older, manifest), "that of another snapshot"),
    ("another format", |_, manifest, _| replaced(manifest, r#""format": 1"#, r#""format": 2"#), "it has format 2"),
    (
        "another state",
        |_, manifest, _| replaced(manifest, r#""state": ""#, r#""state": "0"#),
        "its manifest is damaged",
    ),
    ("another input", |_, manifest, _| replaced(manifest, r#""next_input": 12"#, r#""next_input": 11"#), "is damaged"),
];

/// The story: a bucket is a place where things happen to objects. A start that took a damaged snapshot for good would
/// decide from a state that never was.
#[test]
fn a_start_begins_with_the_newest_snapshot_that_is_good_and_names_the_others() {
    let mut bed = Bed::with_three();
    assert_eq!(bed.cold_start(), (Some(12), vec![]));
    for (what, spoil, why) in SPOILERS {
        let mut bed = Bed::with_three();
        let (rows, manifests) = (bed.objects(".rows"), bed.objects(".json"));
        assert_eq!((rows.len(), manifests.len()), (3, 3));
        spoil(&rows[2], &manifests[2], (&rows[1], &manifests[1]));
        let (begun, passed_over) = bed.cold_start();
        assert_eq!((begun, passed_over.len()), (Some(8), 1), "{what}: {passed_over:?}");
        assert!(passed_over[0].contains(why), "{what}: {passed_over:?}");
    }
}

#[test]
fn without_a_good_snapshot_the_whole_log_is_read() {
    let mut bed = Bed::with_three();
    // A listing that lacks the newest leads to the one before it.
    fs::remove_file(&bed.objects(".json")[2]).unwrap();
    assert_eq!(bed.cold_start(), (Some(8), vec![]));
    for rows in bed.objects(".rows") {
        fs::write(rows, "nothing").unwrap();
    }
    let (begun, passed_over) = bed.cold_start();
    assert_eq!((begun, passed_over.len()), (None, 2), "{passed_over:?}");
    fs::remove_dir_all(bed.snapshots.path()).unwrap();
    let (begun, passed_over) = bed.cold_start();
    assert_eq!((begun, passed_over.len()), (None, 1), "{passed_over:?}");
    assert!(passed_over[0].contains("cannot list"), "{passed_over:?}");
    fs::create_dir(bed.snapshots.path()).unwrap();
}

/// The story: the log was brought back from a copy of yesterday, and the bucket has the snapshots of today.
#[test]
fn a_snapshot_that_is_ahead_of_the_log_or_of_another_course_of_it_is_passed_over() {
    let today = Bed::with_three();
    let mut yesterday = Bed::new();
    yesterday.decide(9);
    yesterday.snapshots = today.snapshots;
    // It does not stand in the way of new ones, and is told.
    yesterday.snapshot();
    assert_eq!((&*yesterday.told.written.lock(), &*yesterday.told.ahead.lock()), (&vec![9], &vec![(1, 9)]));
    let (begun, passed_over) = yesterday.cold_start();
    assert_eq!((begun, &*passed_over), (Some(9), &["1 hold more than the 9 events of the log".to_owned()][..]));
    let mut other = Bed::new();
    other.asked = 100;
    other.decide(20);
    other.snapshots = yesterday.snapshots;
    let (begun, passed_over) = other.cold_start();
    assert_eq!((begun, passed_over.len()), (None, 4), "{passed_over:?}");
    assert!(passed_over.iter().all(|why| why.contains("its last event has the digest")), "{passed_over:?}");
}

/// The story: the log was set back, and grows. That is told as long as it can be seen, and again when it cannot be seen any more.
#[test]
fn snapshots_ahead_of_the_log_are_told_until_there_are_none() {
    let today = Bed::with_three();
    let mut yesterday = Bed::new();
    yesterday.decide(9);
    yesterday.snapshots = today.snapshots;
    yesterday.write_hourly(|_, told| assert_eq!(*told.ahead.lock(), [(1, 9)]));
    let told = &yesterday.told;
    assert_eq!((&*told.ahead.lock(), &*told.failed.lock()), (&vec![(1, 9), (0, 12)], &vec![]));
}

/// The story: somebody copied the folder of one environment over that of another one.
#[test]
fn a_snapshot_of_another_log_is_passed_over() {
    const OTHER: u128 = 8;
    let mut bed = Bed::new();
    bed.decide(5);
    bed.handle.write(PartitionState::mark_all_dirty);
    let draft = bed.handle.write(|state| state.draft_checkpoint(OTHER));
    bed.world.store.wipe(0, "the rows are those of another log").unwrap();
    bed.world.store.apply(&draft.encode()).unwrap();
    let log = (OTHER, &bed.replica, &bed.world.store as &dyn Store);
    Writer::new(log, &bed.bucket(), (&bed.world.clock, &bed.told), RULE).round(&|| false);
    let dir = |log_id: u128| bed.snapshots.path().join(format!("{log_id:032x}"));
    fs::rename(dir(OTHER), dir(bed.log_id())).unwrap();
    let (begun, passed_over) = bed.cold_start();
    assert_eq!((begun, passed_over.len()), (None, 1), "{passed_over:?}");
    assert!(passed_over[0].ends_with("is of partition 0 of log 00000000000000000000000000000008"), "{passed_over:?}");
}

/// The story: a start waited for ten seconds for each of sixty snapshots, and could have read the log in a second.
#[test]
fn a_start_leaves_a_store_alone_that_gives_nothing() {
    let mut bed = Bed::with_three();
    let mute = Arc::new(Faulty::over(bed.bucket()));
    mute.is(Conduct::GivesNothing);
    let (begun, passed_over) = bed.cold_start_with(Arc::clone(&mute) as Arc<dyn Objects>);
    // It fails at once, so it is asked three times for each of two manifests.
    assert_eq!((begun, passed_over.len(), mute.gets()), (None, 3, 6), "{passed_over:?}");
    assert!(passed_over[2].contains("is left alone for a while"), "{passed_over:?}");
}

/// The story: many partitions started at once, and the bucket refused some of the calls for a moment. All others of them read the
/// whole log, which took an hour.
#[test]
fn a_start_asks_a_store_again_that_fails_for_a_moment() {
    let mut bed = Bed::with_three();
    let busy = Arc::new(Faulty::over(bed.bucket()));
    busy.is(Conduct::FailsBetween);
    assert_eq!(bed.cold_start_with(Arc::clone(&busy) as Arc<dyn Objects>), (Some(12), vec![]));
    assert_eq!(busy.gets(), 4, "manifest and rows, each at the second call");
}

#[test]
fn a_store_that_is_gone_is_asked_at_growing_pauses_until_it_is_back() {
    let mut bed = Bed::new();
    bed.decide(3);
    let store = Faulty::over(bed.bucket());
    store.is(Conduct::Gone);
    let mut writer = bed.writer(&store, RULE);
    let asked = |writer: &mut Writer<'_>, seconds: u64| {
        let before = bed.told.failed.lock().len();
        for _ in 0..seconds {
            writer.round(&|| false);
            bed.world.clock.pass_ms(1_000);
        }
        bed.told.failed.lock().len() - before
    };
    assert_eq!(asked(&mut writer, 256), 9, "at 0, 1, 3, 7, 15, … seconds");
    assert_eq!(asked(&mut writer, 3_000), 10, "every five minutes");
    store.is(Conduct::Fine);
    assert_eq!((asked(&mut writer, 300), bed.told.written.lock().len()), (0, 1));
}

/// What a store keeps of a snapshot, or shows of it, is not what was written: it is told at once, or a start passes it over.
#[test]
fn what_a_lying_or_full_store_has_is_never_taken_for_a_snapshot() {
    for (conduct, why, rows) in [
        (Conduct::Full, "no space is left", 0),
        (Conduct::KeepsShort, "were written", 1),
        (Conduct::KeepsNothing, "the store does not list it", 0),
        (Conduct::HidesNewest, "the store does not list it", 1),
        (Conduct::LosesManifests, "no answer within 10 s", 1),
    ] {
        let mut bed = Bed::new();
        bed.decide(3);
        let store = Faulty::over(bed.bucket());
        store.is(conduct);
        bed.writer(&store, RULE).round(&|| false);
        let failed = bed.told.failed.lock().clone();
        assert!(failed.len() == 1 && failed[0].contains(why), "{conduct:?}: {failed:?}");
        assert_eq!((bed.objects(".rows").len(), bed.objects(".json").len()), (rows, 0), "{conduct:?}");
        store.is(Conduct::Fine);
        bed.writer(&store, RULE).round(&|| false);
        drop(store);
        assert_eq!(bed.cold_start(), (Some(3), vec![]), "{conduct:?}");
    }
    let mut bed = Bed::new();
    bed.decide(3);
    let store = Faulty::over(bed.bucket());
    store.is(Conduct::KeepsOthers);
    bed.writer(&store, RULE).round(&|| false);
    drop(store);
    let (begun, passed_over) = bed.cold_start();
    assert_eq!((begun, passed_over.len()), (None, 1), "{passed_over:?}");
}

/// The story: a listing of the store lags behind, and has everything but the newest snapshot.
#[test]
fn a_listing_without_the_newest_leads_to_the_one_before_it() {
    let mut bed = Bed::with_three();
    let store = Faulty::over(bed.bucket());
    store.is(Conduct::HidesNewest);
    assert_eq!(bed.cold_start_with(Arc::new(store)), (Some(8), vec![]));
}

/// The story: an owner was paused, another process took its partition over, and both write the snapshot that is due.
#[test]
fn two_processes_that_write_the_same_snapshot_write_the_same_objects() {
    let mut bed = Bed::new();
    bed.decide(5);
    let other = bed.bucket();
    let store = Faulty::over(bed.bucket());
    store.before_put(|| bed.writer(&other, RULE).round(&|| false));
    bed.writer(&store, RULE).round(&|| false);
    drop(store);
    assert_eq!((bed.told.written.lock().clone(), bed.told.failed.lock().len()), (vec![5, 5], 0));
    assert_eq!((bed.objects(".rows").len(), bed.objects(".json").len()), (1, 1));
    assert_eq!(bed.cold_start(), (Some(5), vec![]));
}

#[test]
fn snapshots_come_by_events_and_by_time_and_old_ones_go() {
    let mut bed = Bed::new();
    let rule = SnapshotRule { events: 100, interval_ms: 600_000, keep: KEEP };
    let rounds = |bed: &mut Bed, turns| {
        bed.decide(turns);
        bed.writer(&bed.bucket(), rule).round(&|| false);
        bed.told.written.lock().len()
    };
    assert_eq!(rounds(&mut bed, 1), 1, "the first one at once");
    assert_eq!(rounds(&mut bed, 99), 1);
    assert_eq!(rounds(&mut bed, 1), 2, "after 100 events");
    assert_eq!(rounds(&mut bed, 1), 2);
    bed.world.clock.pass_ms(600_000);
    assert_eq!(rounds(&mut bed, 0), 3, "after ten minutes");
    bed.world.clock.pass_ms(600_000);
    assert_eq!(rounds(&mut bed, 0), 3, "nothing is new");
    assert_eq!(*bed.told.newest.lock(), Some(NOW.plus_ms(102_000)));
    bed.world.clock.pass_ms(40 * 24 * HOUR_MS);
    assert_eq!(rounds(&mut bed, 1), 4);
    assert_eq!(rounds(&mut bed, 0), 4);
    bed.world.clock.pass_ms(40 * 24 * HOUR_MS);
    assert_eq!(rounds(&mut bed, 1), 5);
    assert_eq!((bed.objects(".json").len(), bed.objects(".rows").len()), (3, 3), "the two newest stay, and a new one");
}

/// The story: the clock of the machine jumps ten years ahead, and decisions go on. Whoever sets it right some hours later finds
/// the snapshots of the days before, and those of the hours between.
#[test]
fn snapshots_of_before_a_clock_jumped_ahead_stay() {
    let mut bed = Bed::new();
    for _ in 0..4 {
        bed.decide(1);
        bed.snapshot();
        bed.world.clock.pass_ms(24 * HOUR_MS);
    }
    let before = bed.objects(".json");
    assert_eq!(before.len(), 4);
    bed.write_hourly(|world, _| world.clock.step(world.clock.wall().plus_ms(3_650 * 24 * HOUR_MS)));
    assert_eq!((bed.told.written.lock().len(), &*bed.told.failed.lock()), (8, &vec![]));
    let there = bed.objects(".json");
    assert!(there.len() == 8 && there.starts_with(&before), "{before:?}, then {there:?}");
}
