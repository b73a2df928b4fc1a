//! The embedded log is bounded: what is older than an age leaves the disk as whole segments, first into an archive. Log and
//! archive together are the log that kept everything, and what is wrong with one of them is refused by name.

pub mod bucket;
mod killed;
mod lost;
mod place;
mod served;
mod unproven;

use crate::bed::{Bed, BeforeLoad, DAY_MS, HOUR_MS, RULE, Stopped, Told, bucket, segments, url};
use crate::fixtures::{append, command, orders, pool_id, reservation_id, reserve};
use crate::process::Ended;
use crate::world::{World, commit_turn, conclude_turn};
use headroom::archive::Keeper;
use headroom::domain::{Command, CommandBody, Micros};
use headroom::log::CommittedTail;
use headroom::objects::Objects as _;
use headroom::owner::begin::{Beginning, Prefer, TRIED_MAX};
use headroom::snapshot::Writer;
use headroom::store::StoreError;
use headroom::time::Clock as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A season begins here.
const BEGIN: Micros = Micros(1_780_000_000_000_000);
const KEEP_DAYS: u64 = 10;
const KEEP_MS: u64 = KEEP_DAYS * DAY_MS;
/// So few bytes that a day fills more than one segment.
const SEGMENT_BYTES: u64 = 26 << 10;
/// Orders of a day.
const ORDERS: u64 = 50;

impl Bed {
    /// Days after which snapshots cover all but the last one.
    fn of_days(begin: Micros, days: u64) -> Bed {
        let mut bed = Bed::over(World::sealing_at(1, SEGMENT_BYTES), begin);
        (0..days).for_each(|_| bed.day());
        bed
    }

    /// A pool for the day, its orders, and the end of those of the day before; then a checkpoint and a snapshot.
    fn day(&mut self) {
        self.days += 1;
        let day = |days: u64| pool_id(&format!("van-{days}"));
        let key = |n: u64| format!("K{n}");
        let (today, before) = (day(self.days), day(self.days - 1));
        let spec = crate::fixtures::define(&today, orders(ORDERS));
        let released = |n| CommandBody::Release { reservation: reservation_id(&before, &key(n)) };
        let mut bodies = vec![spec];
        bodies.extend((0..ORDERS).map(|n| reserve(&today, &key(n))));
        bodies.extend((0..ORDERS).filter(|_| self.days > 1).map(released));
        for turn in bodies.chunks(26) {
            self.world.clock.pass_ms(DAY_MS / 4);
            for body in turn {
                self.asked += 1;
                let deadline = self.world.clock.wall().plus_ms(5_000);
                let asked = Command { deadline, ..command(self.asked, body.clone()) };
                append(&*self.world.log, 0, &headroom::wire::command::encode(&asked));
            }
            commit_turn(&self.owner, &self.handle, &mut self.owned, self.world.clock.wall());
        }
        self.world.checkpoint(&self.handle);
        self.snapshot();
    }

    /// Lets everything leave whose time has come, and answers which segments did.
    fn leave(&self) -> Vec<u64> {
        let reader = self.reader();
        let mut keeper = self.keeper(&reader, Some(Arc::new(bucket(self.archive.path()))), KEEP_MS);
        self.told.left.lock().clear();
        loop {
            let before = self.told.left.lock().len();
            keeper.round(&|| false);
            let left = self.told.left.lock().clone();
            if left.len() == before {
                assert_eq!(*self.told.failed.lock(), Vec::<String>::new());
                return left;
            }
        }
    }

    /// How many bytes the log takes on the disk.
    fn bytes(&self) -> u64 {
        segments(self.world.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }
}

/// The story: a shop takes orders for four months. The disk that its log takes is that of ten days, from the tenth day on.
/// Months later an auditor reads everything, from the archive and the log, and finds what a log says that has kept all.
#[test]
fn a_season_takes_the_disk_of_ten_days_and_log_and_archive_are_the_log_that_kept_all() {
    let (mut bounded, mut unbounded) = (Bed::of_days(BEGIN, 0), Bed::of_days(BEGIN, 0));
    let mut taken = Vec::new();
    for _ in 0..120 {
        bounded.day();
        unbounded.day();
        bounded.leave();
        taken.push((bounded.bytes(), unbounded.bytes()));
    }
    let most = |days: std::ops::Range<usize>| taken[days].iter().map(|(bytes, _)| *bytes).max().unwrap();
    let (middle, last) = (most(50..60), most(110..120));
    assert!(last * 100 <= middle * 105 && middle * 100 <= last * 105, "{middle} and {last} bytes");
    assert!(taken[119].1 > 18 * taken[59].1 / 10 && taken[119].1 > 8 * last, "{:?} of {last}", taken[119]);
    let digest = |bed: &Bed| bed.handle.read(|state| (*state.position(), state.digest()));
    assert_eq!(digest(&bounded), digest(&unbounded));
    let first = bounded.world.log.first(0).unwrap();
    let end = bounded.world.log.end(0).unwrap();
    assert!(first > end * 8 / 10, "{first} of {end}");
    let (bounded, unbounded) = (Stopped::of(bounded), Stopped::of(unbounded));
    let kept_all = |what: &str, args: &[&str]| {
        let ended = unbounded.bare(what, args);
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        ended.out
    };
    for (what, args) in [("cat", &[][..]), ("cat", &["--from", "17"]), ("verify", &["--json"])] {
        let read = bounded.whole(what, args);
        assert_eq!((read.code, read.out == kept_all(what, args)), (0, true), "{what} {args:?}: {}", read.err);
    }
    // Without the archive it is told from where the log is trusted.
    let read = bounded.bare("cat", &[]);
    let left =
        format!("partition 0 begins with seq {first}: the events before it have left the log; --log-archive names");
    assert!(read.err.contains(&left), "{}", read.err);
    let asked = bounded.bare("cat", &["--from", "17"]);
    let left = format!("begins with seq {first}, and --from asks for seq 17, which has left the log: name the place");
    assert!((asked.code, &*asked.out) == (2, "") && asked.err.contains(&left), "{}", asked.err);
    assert_eq!(read.out.lines().count() as u64, end - first);
    let snapshots = url(bounded.snapshots.path());
    let trusted = bounded.bare("verify", &["--snapshots", &snapshots]);
    assert_eq!(trusted.code, 0, "{}{}", trusted.out, trusted.err);
    let says = format!("events before seq {first} are gone; the chain is trusted from snapshot");
    assert!(trusted.out.contains(&says), "{}", trusted.out);
    unproven::is_not_proven(&bounded.bare("verify", &[]), first, "--snapshots or --log-archive");
    let unmounted =
        "there is no such folder: mount it if it is a mount that failed, make one only for a place that never had";
    for (place, is) in [
        ("file:///nonexistent/snapshots", unmounted),
        ("file:///dev/null", "it is a file, and not a folder: make one, or name another place"),
    ] {
        for what in ["verify", "rebuild", "state"] {
            let refused = bounded.bare(what, &["--snapshots", place]);
            assert_eq!(refused.code, 2, "{what}: {}{}", refused.out, refused.err);
            assert!(refused.err.contains(is), "{}", refused.err);
            assert!(!refused.err.contains("try again"), "{}", refused.err);
        }
    }
    let lines = |ended: Ended| {
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        ended.out.lines().filter(|line| line.starts_with("partition ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(bounded.whole("rebuild", &[])), lines(unbounded.bare("rebuild", &[])));
    let refused = bounded.bare("rebuild", &[]);
    assert!(refused.code == 2 && refused.err.contains("no place of snapshots is set"), "{}", refused.err);
}

/// The story: the clock of the machine jumps ten years ahead. Everything is old by that clock, and nothing leaves by it alone.
#[test]
fn a_clock_alone_removes_nothing() {
    let mut bed = Bed::of_days(BEGIN, KEEP_DAYS - 1);
    let today = bed.world.clock.wall();
    bed.world.clock.step(today.plus_ms(3_650 * DAY_MS));
    assert_eq!(bed.leave(), [] as [u64; 0]);
    bed.world.clock.step(today);
    (0..5).for_each(|_| bed.day());
    let left = bed.leave();
    assert!(left.starts_with(&[0, 1]), "{left:?}");
}

/// The story: the clock of the machine shows 1970 for a moment, until the time service has set it. What was old before is old
/// again, and not years later.
#[test]
fn a_clock_that_was_years_behind_for_a_moment_is_believed_again() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    let reader = bed.reader();
    let mut keeper = bed.keeper(&reader, None, KEEP_MS);
    keeper.round(&|| false);
    let today = bed.world.clock.wall();
    bed.world.clock.step(Micros(0));
    keeper.round(&|| false);
    assert_eq!(*bed.told.left.lock(), [0]);
    bed.world.clock.step(today);
    bed.world.clock.pass_ms(1_000);
    keeper.round(&|| false);
    assert_eq!((&*bed.told.left.lock(), &*bed.told.failed.lock()), (&vec![0, 1], &vec![]));
}

/// The story: the machine begins with its clock at 1970, and the server is started before the time service has set it.
#[test]
fn a_clock_that_was_years_behind_at_the_start_is_believed_once_it_is_right() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    let (reader, today) = (bed.reader(), bed.world.clock.wall());
    bed.world.clock.step(Micros(0));
    let mut keeper = bed.keeper(&reader, None, KEEP_MS);
    keeper.round(&|| false);
    assert_eq!(*bed.told.left.lock(), [] as [u64; 0]);
    bed.world.clock.step(today);
    bed.world.clock.pass_ms(1_000);
    keeper.round(&|| false);
    assert_eq!((&*bed.told.left.lock(), &*bed.told.failed.lock()), (&vec![0], &vec![]));
}

/// The story: a log is young. Its first file is full, and the clock jumps a year ahead before anybody looks at that file.
#[test]
fn a_clock_that_jumps_ahead_before_anything_can_leave_is_not_believed_at_once() {
    let mut bed = Bed::of_days(BEGIN, 0);
    let (reader, bucket, log_id, pool) = (bed.reader(), bed.bucket(), bed.log_id(), pool_id("van"));
    let Bed { world, replica, handle, owner, owned, told, .. } = &mut bed;
    let (world, replica, told) = (&*world, &*replica, &*told);
    let mut writer = Writer::new((log_id, replica, &world.store), &bucket, (&world.clock, told), RULE);
    let mut keeper = Keeper::new((&world.log, replica), &reader, None, (&world.clock, told), KEEP_MS);
    let mut asked = 0;
    let mut turn = || {
        world.clock.pass_ms(2_000);
        for _ in 0..26 {
            asked += 1;
            let deadline = world.clock.wall().plus_ms(5_000);
            let asked = Command { deadline, ..command(asked, reserve(&pool, &format!("K{asked}"))) };
            append(&*world.log, 0, &headroom::wire::command::encode(&asked));
        }
        commit_turn(owner, handle, owned, world.clock.wall());
        world.checkpoint(handle);
        writer.round(&|| false);
    };
    turn();
    keeper.round(&|| false);
    while world.log.oldest().unwrap().is_none() {
        turn();
    }
    world.clock.step(world.clock.wall().plus_ms(365 * DAY_MS));
    (0..2).for_each(|_| turn());
    keeper.round(&|| false);
    assert_eq!((&*told.left.lock(), &*told.failed.lock()), (&vec![], &vec![]));
}

/// The story: the clock was thirty years ahead for a day, and `headroom clock set` has set the log right. The events of that day
/// are later than all that follow for thirty years, and they leave with those around them.
#[test]
fn events_of_a_clock_that_was_years_ahead_keep_no_segment_in_the_log() {
    let mut bed = Bed::of_days(BEGIN, 2);
    let right = bed.world.clock.wall();
    bed.world.clock.step(right.plus_ms(30 * 365 * DAY_MS));
    bed.day();
    let (from, to) = (bed.world.clock.wall(), right.plus_ms(DAY_MS));
    bed.world.clock.step(to);
    let Bed { handle, owner, owned, .. } = &mut bed;
    let staged = handle.read(|state| owner.set_clock(state, from, to, "it was ahead"));
    assert_eq!(conclude_turn(owner, handle, owned, staged).len(), 1);
    let set_right = bed.world.log.end(0).unwrap();
    // Nothing leaves before its time.
    assert_eq!(bed.leave(), [] as [u64; 0]);
    (0..KEEP_DAYS + 4).for_each(|_| bed.day());
    let (left, first) = (bed.leave(), bed.world.log.first(0).unwrap());
    assert!(left.starts_with(&[0, 1]) && first > set_right, "{left:?}, up to {first} of {set_right}");
}

/// The story: the place of snapshots lost one, and another is damaged. A log that let its events go would stand on a single
/// copy of what they lead to, or on none.
#[test]
fn a_segment_stays_until_two_good_snapshots_cover_it() {
    let mut bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    let (manifests, rows) = (bed.objects(".json"), bed.objects(".rows"));
    manifests.iter().rev().skip(2).for_each(|path| fs::remove_file(path).unwrap());
    let kept = fs::read(&rows[rows.len() - 2]).unwrap();
    fs::write(&rows[rows.len() - 2], &kept[1..]).unwrap();
    let reader = bed.reader();
    {
        let mut keeper = bed.keeper(&reader, None, KEEP_MS);
        for _ in 0..5 {
            keeper.round(&|| false);
            bed.world.clock.pass_ms(10_000);
        }
        assert_eq!((&*bed.told.left.lock(), &*bed.told.uncovered.lock()), (&vec![], &vec![0]), "it is told once");
        assert!(*bed.told.overdue_ms.lock() > DAY_MS);
        fs::write(&rows[rows.len() - 2], &kept).unwrap();
        // It is not read at each look.
        bed.world.clock.pass_ms(300_000);
        keeper.round(&|| false);
        assert_eq!(*bed.told.left.lock(), [0]);
    }
    // The one that was counted on is gone: what is proven once is looked for again.
    fs::remove_file(manifests.last().unwrap()).unwrap();
    bed.told.left.lock().clear();
    bed.keeper(&reader, None, KEEP_MS).round(&|| false);
    assert_eq!(*bed.told.left.lock(), [] as [u64; 0]);
    bed.day();
    bed.keeper(&reader, None, KEEP_MS).round(&|| false);
    assert_eq!(*bed.told.left.lock(), [1]);
}

/// The story: a disk rots under a snapshot that was read and found good. What leaves later does not leave on its word.
#[test]
fn a_snapshot_that_was_damaged_after_it_was_read_covers_nothing() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    let (manifests, rows) = (bed.objects(".json"), bed.objects(".rows"));
    manifests.iter().rev().skip(2).for_each(|path| fs::remove_file(path).unwrap());
    let reader = bed.reader();
    let mut keeper = bed.keeper(&reader, None, KEEP_MS);
    keeper.round(&|| false);
    assert_eq!(*bed.told.left.lock(), [0]);
    let newest = rows.last().unwrap();
    let kept = fs::read(newest).unwrap();
    let mut rotten = kept.clone();
    let middle = rotten.len() / 2;
    rotten[middle] ^= 1;
    fs::write(newest, rotten).unwrap();
    bed.world.clock.pass_ms(61_000);
    keeper.round(&|| false);
    assert_eq!((&*bed.told.left.lock(), &*bed.told.uncovered.lock()), (&vec![0], &vec![1]));
    fs::write(newest, kept).unwrap();
    bed.world.clock.pass_ms(10_000);
    keeper.round(&|| false);
    assert_eq!(*bed.told.left.lock(), [0, 1]);
    assert_eq!(*bed.told.failed.lock(), [] as [String; 0]);
}

/// The story: somebody copies manifests into the place, and they count as the newest ones. A start passes over them, and they keep no
/// segment in the log. There is an end to that, as there is to what a start looks at.
#[test]
fn manifests_that_are_of_no_use_keep_no_segment_in_the_log() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    let newest = bed.objects(".rows").pop().unwrap().with_extension("json");
    let (place, _) = newest.file_name().unwrap().to_str().unwrap().rsplit_once('-').unwrap();
    let copied = |copies: std::ops::Range<u128>| {
        for n in copies {
            fs::copy(&newest, newest.with_file_name(format!("{place}-{:032x}.json", u128::MAX - n))).unwrap();
        }
    };
    copied(0..12);
    let reader = bed.reader();
    let mut keeper = bed.keeper(&reader, None, KEEP_MS);
    keeper.round(&|| false);
    assert_eq!((&*bed.told.left.lock(), &*bed.told.uncovered.lock()), (&vec![0], &vec![]));
    copied(12..120);
    keeper.round(&|| false);
    assert_eq!((&*bed.told.left.lock(), &*bed.told.uncovered.lock()), (&vec![0], &vec![1]));
    let copies = bed.objects(".json").into_iter().filter(|path| !path.with_extension("rows").exists());
    copies.for_each(|path| fs::remove_file(path).unwrap());
    bed.world.clock.pass_ms(10_000);
    keeper.round(&|| false);
    assert_eq!(*bed.told.left.lock(), [0, 1]);
    assert_eq!(*bed.told.failed.lock(), [] as [String; 0]);
}

/// The story: two snapshots were read and are good. Then newer ones come, so many of them with damaged rows that a start would not
/// come to the good ones behind them. Nothing leaves on the word of those, until somebody moves the bad ones away.
#[test]
fn good_snapshots_behind_more_bad_ones_than_a_start_tries_cover_nothing() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 12);
    let newest = |end: &str| {
        let mut all = bed.objects(end);
        all.split_off(all.len() - TRIED_MAX)
    };
    let (manifests, rows) = (newest(".json"), newest(".rows"));
    let aside = tempfile::tempdir().unwrap();
    let moved = |path: &Path| aside.path().join(path.file_name().unwrap());
    manifests.iter().for_each(|path| fs::rename(path, moved(path)).unwrap());
    let reader = bed.reader();
    let mut keeper = bed.keeper(&reader, None, KEEP_MS);
    keeper.round(&|| false);
    assert_eq!(*bed.told.left.lock(), [0]);
    rows.iter().for_each(|rows| fs::write(rows, "nothing").unwrap());
    manifests.iter().for_each(|path| fs::rename(moved(path), path).unwrap());
    for _ in 0..3 {
        keeper.round(&|| false);
        bed.world.clock.pass_ms(10_000);
    }
    assert_eq!((&*bed.told.left.lock(), &*bed.told.uncovered.lock()), (&vec![0], &vec![1]), "it is told once");
    let (tail, first) = (&*bed.world.log, bed.world.log.first(0).unwrap());
    let beginning = Beginning { log_id: bed.log_id(), tail, snapshots: Some(&reader) };
    let refused = beginning.look(0, first, Prefer::Newest).err().unwrap();
    assert!(first > 0 && refused.detail.contains("more were not tried"), "{refused}");
    manifests.iter().for_each(|path| fs::remove_file(path).unwrap());
    keeper.round(&|| false);
    assert_eq!(*bed.told.left.lock(), [0, 1]);
    assert_eq!(*bed.told.failed.lock(), [] as [String; 0]);
}

/// A place of snapshots that takes forty seconds for each, and counts them.
fn slow<'a>(bed: &'a Bed, loads: &'a AtomicUsize) -> BeforeLoad<impl Fn() -> Result<(), StoreError>> {
    BeforeLoad(bed.reader(), || {
        bed.world.clock.pass_ms(40_000);
        loads.fetch_add(1, Relaxed);
        Ok(())
    })
}

/// The story: it takes longer than a minute to read the snapshots. Not each segment that leaves has them read, and what was read
/// long ago is read again.
#[test]
fn segments_leave_on_one_reading_of_snapshots_that_takes_minutes() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    let loads = AtomicUsize::new(0);
    let slow = slow(&bed, &loads);
    let mut keeper = bed.keeper(&slow, None, KEEP_MS);
    (0..4).for_each(|_| keeper.round(&|| false));
    assert_eq!((&*bed.told.left.lock(), loads.load(Relaxed)), (&vec![0, 1, 2, 3], 2));
    // They were read in 80 s, which end now; the first one 320 s after its reading began.
    bed.world.clock.pass_ms(240_000);
    keeper.round(&|| false);
    assert_eq!((bed.told.left.lock().len(), loads.load(Relaxed)), (5, 2));
    bed.world.clock.pass_ms(41_000);
    keeper.round(&|| false);
    assert_eq!((bed.told.left.lock().len(), loads.load(Relaxed)), (6, 4));
    assert_eq!(*bed.told.failed.lock(), [] as [String; 0]);
}

/// The story: the same, and one of the snapshots that were read has gone, as old ones do. Another one is read in its place, and
/// the rest need not be read again for that.
#[test]
fn a_snapshot_that_is_read_alone_has_no_other_read_again() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 8);
    let loads = AtomicUsize::new(0);
    let slow = slow(&bed, &loads);
    let mut keeper = bed.keeper(&slow, None, KEEP_MS);
    keeper.round(&|| false);
    assert_eq!((&*bed.told.left.lock(), loads.load(Relaxed)), (&vec![0], 2));
    fs::remove_file(bed.objects(".json").last().unwrap()).unwrap();
    bed.world.clock.pass_ms(200_000);
    keeper.round(&|| false);
    assert_eq!((&*bed.told.left.lock(), loads.load(Relaxed)), (&vec![0, 1], 3));
    assert_eq!(*bed.told.failed.lock(), [] as [String; 0]);
}

/// The story: the log begins later than its first event, and the machine burns down. What the backup has is what the log had,
/// and with the snapshots it is served again.
#[test]
fn a_backup_of_a_bounded_log_begins_where_the_log_begins() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    assert!(!bed.leave().is_empty());
    let stopped = Stopped::of(bed);
    let place = tempfile::tempdir().unwrap();
    let done = |ended: Ended| {
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        ended.out
    };
    // A second one finds what the first has copied.
    for more in ["", "again"] {
        done(stopped.bare("backup", &["--to", &url(place.path())]));
        let target = tempfile::tempdir().unwrap();
        let restored =
            Stopped { dir: target, snapshots: tempfile::tempdir().unwrap(), archive: tempfile::tempdir().unwrap() };
        done(restored.bare("restore", &["--from", &url(place.path())]));
        assert_eq!(done(restored.bare("cat", &[])), done(stopped.bare("cat", &[])), "{more}");
        let snapshots = url(stopped.snapshots.path());
        done(restored.bare("verify", &["--snapshots", &snapshots]));
        assert_eq!(restored.bare("verify", &[]).code, 2, "nothing covers its beginning");
    }
}

/// The bytes of the oldest segment as they are in its file, slots included.
fn oldest_with_slots(bed: &Bed) -> Vec<u8> {
    let files = segments(bed.world.path());
    // The header of the next one says where it ends.
    let end = u64::from_le_bytes(fs::read(&files[1]).unwrap()[92..100].try_into().unwrap());
    fs::read(&files[0]).unwrap()[..end as usize].to_vec()
}

/// The story: the machine burns down after its server has archived segments which its last backup still has. The restored server
/// lets the same ones leave into the same archive. An earlier build has archived the first of them with its slots, which no
/// backup has: that object stays as it is.
#[test]
fn a_restored_log_archives_what_the_old_one_has_archived_after_the_backup() {
    for is_of_earlier_build in [false, true] {
        let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
        let (now, log_id, raw) = (bed.world.clock.wall(), bed.log_id(), oldest_with_slots(&bed));
        let [place, dir] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let stopped = Stopped::of(bed);
        let done = |ended: Ended| assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        done(stopped.bare("backup", &["--to", &url(place.path())]));
        if is_of_earlier_build {
            let path = format!("{log_id:032x}/segments/00000000.segment");
            bucket(stopped.archive.path()).put(&path, raw.clone()).unwrap();
        }
        let bed = stopped.again(SEGMENT_BYTES, now);
        let objects = |bed: &Bed| bed.archived("").iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
        let (left, archived) = (bed.leave(), objects(&bed));
        assert!(left.len() > 1 && archived.len() == left.len() * 2, "{left:?}");
        assert_eq!(archived.contains(&raw), is_of_earlier_build);
        let restored = Stopped { dir, ..Stopped::of(bed) };
        done(restored.bare("restore", &["--from", &url(place.path())]));
        let bed = restored.again(SEGMENT_BYTES, now);
        assert_eq!(bed.leave(), left, "{is_of_earlier_build}");
        assert!(objects(&bed) == archived, "{is_of_earlier_build}");
        served::is_whole(&Stopped::of(bed), "restored");
    }
}

/// The story: the clock jumps ten years ahead while the server runs, and the next event has that time. A person has as long as
/// the events are kept to set the clock right.
#[test]
fn a_clock_that_jumps_with_an_event_removes_nothing_at_once() {
    let mut bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    bed.leave();
    bed.told.left.lock().clear();
    let reader = bed.reader();
    let Bed { world, replica, handle, owner, owned, snapshots, told, .. } = &mut bed;
    let heard: &Told = told;
    let mut keeper = Keeper::new((&world.log, replica), &reader, None, (&world.clock, heard), KEEP_MS);
    keeper.round(&|| false);
    world.clock.step(world.clock.wall().plus_ms(3_650 * DAY_MS));
    let objects = bucket(snapshots.path());
    for _ in 0..2 {
        let tick = handle.read(|state| owner.tick(state, world.clock.wall()));
        conclude_turn(owner, handle, owned, tick);
        world.checkpoint(handle);
        let log_id = world.log.manifest().log_id;
        Writer::new((log_id, replica, &world.store), &objects, (&world.clock, heard), RULE).round(&|| false);
        world.clock.pass_ms(HOUR_MS);
        keeper.round(&|| false);
    }
    assert_eq!((&*heard.left.lock(), &*heard.failed.lock()), (&vec![], &vec![]));
    // The server believes the clock at its start.
    Keeper::new((&world.log, replica), &reader, None, (&world.clock, heard), KEEP_MS).round(&|| false);
    assert_eq!(heard.left.lock().len(), 1);
}

/// Changes bytes in the middle of a segment.
fn damage(segment: &Path) {
    let mut bytes = fs::read(segment).unwrap();
    // Behind the slots.
    bytes[21 << 10..][..64].fill(0xA5);
    fs::write(segment, bytes).unwrap();
}

/// The story: the oldest file cannot be read. It stays, the log grows, and somebody has to hear of it before the disk is full.
#[test]
fn a_segment_that_cannot_be_read_is_overdue_all_the_same() {
    let bed = Bed::of_days(BEGIN, KEEP_DAYS + 4);
    let oldest = segments(bed.world.path()).remove(0);
    damage(&oldest);
    let reader = bed.reader();
    bed.keeper(&reader, None, KEEP_MS).round(&|| false);
    assert_eq!((bed.told.failed.lock().len(), &*bed.told.left.lock()), (1, &vec![]));
    assert!(*bed.told.overdue_ms.lock() > DAY_MS);
}
