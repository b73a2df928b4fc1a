//! The embedded log over a disk that can stop, refuse and forget. What every log owes is in `tests/it/contract.rs`,
//! what a damaged file comes to in `tests/it/corrupt_file.rs`.

mod disk;
mod leaving;
mod packed;
mod prefix;
mod segments;
mod training;

use super::disk::{Disk, Named};
use super::file::LOG_DIR;
use super::segment::{SegmentHeader, path_of};
use super::*;
use crate::limits::{COMMAND_BYTES_MAX, TURN_BYTES_MAX};
use crate::log::TurnEvent;
use crate::time::Stopwatch;
use disk::{Conduct, Conducted, TestDisk};
use parking_lot::{Condvar, Mutex};
use std::fs;
use std::path::PathBuf;
use std::thread;
use tempfile::TempDir;

const OPTIONS: Options = Options { partitions: Some(4), log_id: 7, now: Micros(1) };

/// So few bytes that a log of some turns has several segments.
const FEW_BYTES: u64 = 300 << 10;

fn file_of(dir: &TempDir) -> PathBuf {
    path_of(&dir.path().join(LOG_DIR), 0)
}

fn open(dir: &TempDir) -> (Arc<Embedded>, Conducted) {
    drop(Embedded::open(dir.path(), OPTIONS).unwrap());
    let mut conduct = Conduct::default();
    conduct.begins(&dir.path().join(LOG_DIR));
    let conduct = Arc::new((Mutex::new(conduct), Condvar::new()));
    (open_on(dir, &conduct), conduct)
}

fn open_on(dir: &TempDir, conduct: &Conducted) -> Arc<Embedded> {
    let terms = Terms { disk: Arc::new(TestDisk(conduct.clone())), segment_bytes: FEW_BYTES };
    Embedded::open_on(dir.path(), OPTIONS, (Before::NOTHING, &Arc::default()), terms).unwrap()
}

/// Asks the log to be opened again until it says something else than that this has to wait.
fn reopened(log: &Embedded) -> Reopened {
    let waiting = Stopwatch::start();
    loop {
        match log.reopen() {
            Reopened::Later(error) => assert!(waiting.elapsed() < Duration::from_secs(60), "{error}"),
            told => return told,
        }
        thread::yield_now();
    }
}

/// Events whose bytes are their own, but for a few.
fn events(partition: u32, first: u64, count: u64) -> Vec<StoredEvent> {
    let bytes = |seq: u64| {
        let mut bytes = vec![0; 288];
        let place = [seq, u64::from(partition)].map(u64::to_le_bytes).concat();
        blake3::Hasher::new().update(&place).finalize_xof().fill(&mut bytes[40..]);
        bytes
    };
    (first..first + count).map(|seq| StoredEvent { seq, bytes: bytes(seq), trace: None }).collect()
}

/// A turn of those events.
fn turn(partition: u32, first: u64, count: u64) -> Arc<Turn> {
    let written = |StoredEvent { seq, bytes, .. }| TurnEvent { seq, key: None, bytes };
    Arc::new(Turn { events: events(partition, first, count).into_iter().map(written).collect(), ..Turn::default() })
}

fn claim(log: &Embedded, partition: u32) -> (Owned, Vec<StoredEvent>) {
    let mut events = Vec::new();
    let owned = log.claim(partition, 0, &mut |event| {
        events.push(event);
        Ok(0)
    });
    (owned.unwrap(), events)
}

/// The story: the machine loses power while turns are being written; what was not flushed is gone or half there. A log
/// that was read back with half of a turn, or without one that was answered, would oversell. Wherever the power goes,
/// every committed turn is there and no half of another one.
#[test]
fn a_power_cut_at_any_point_keeps_every_committed_turn_and_no_half_of_another() {
    let dir = TempDir::new().unwrap();
    let (log, conduct) = open(&dir);
    conduct.0.lock().cuts_power = true;
    let mut owners = [claim(&log, 0).0, claim(&log, 1).0];
    let turns: Vec<_> = (0..24u64).map(|i| (i % 2, [1, 3, 700, 20][i as usize % 4])).collect();
    let mut ends = vec![[0u64; 2]];
    for (partition, count) in turns {
        let mut end = ends[ends.len() - 1];
        let turn = turn(partition as u32, end[partition as usize], count);
        assert_eq!(owners[partition as usize].commit(turn), CommitOutcome::Ok);
        end[partition as usize] += count;
        ends.push(end);
        conduct.0.lock().committed += 1;
    }
    drop((log, owners));
    let cuts = std::mem::take(&mut conduct.0.lock().cuts);
    let sealed = |image: &disk::Image| image.iter().filter(|(path, ..)| path.extension().is_none()).count();
    assert!(cuts.len() > 40 && cuts.iter().any(|(_, image)| sealed(image) > 2), "{}", cuts.len());
    for (committed, image) in cuts {
        let dir = disk::left_by(image);
        let log = Embedded::open(dir.path(), OPTIONS).unwrap();
        let found = [0, 1].map(|partition| {
            let events = claim(&log, partition).1;
            assert_eq!(events, self::events(partition, 0, events.len() as u64));
            events.len() as u64
        });
        assert!(ends[committed..].iter().take(2).any(|end| *end == found), "{found:?} after {:?}", ends[committed]);
    }
}

/// The story: the disk refuses a write or a flush. Whether the turn is on it nobody knows, and the next turn would
/// stand on top of it. The outcome is unknown, and so is every later one, until the log is opened again and read.
#[test]
fn a_commit_that_fails_is_unknown_and_so_is_everything_after_it() {
    for syncs in [false, true] {
        let dir = TempDir::new().unwrap();
        let (log, conduct) = open(&dir);
        let (mut owner, _) = claim(&log, 0);
        let (mut other, _) = claim(&log, 1);
        assert_eq!(owner.commit(turn(0, 0, 5)), CommitOutcome::Ok);
        let fails = |now: bool| {
            let mut conduct = conduct.0.lock();
            (conduct.writes_fail, conduct.syncs_fail) = (now && !syncs, now && syncs);
        };
        fails(true);
        assert_eq!(owner.commit(turn(0, 5, 3)), CommitOutcome::Unknown);
        fails(false);
        assert_eq!(owner.commit(turn(0, 5, 3)), CommitOutcome::Unknown);
        assert_eq!(other.commit(turn(1, 0, 1)), CommitOutcome::Unknown);
        let said = log.end(0).unwrap_err().detail;
        assert!(said.contains("/log") && said.contains(if syncs { "disk is gone" } else { "no space" }), "{said}");
        assert_eq!(CommittedTail::read(&*log, 0, 0, 1).unwrap_err().detail, said);
        assert!(matches!(log.claim(0, 0, &mut |_| Ok(0)), Err(ClaimError::Log(error)) if error.detail == said));
        // After a flush that failed nothing shows what is on the disk.
        let told = reopened(&log);
        assert_eq!(matches!(told, Reopened::Never(_)), syncs, "{told:?}");
        if !syncs {
            assert_eq!(owner.commit(turn(0, 5, 3)), CommitOutcome::Fenced, "it does not know what is in the file");
            assert_eq!(other.commit(turn(1, 0, 1)), CommitOutcome::Ok, "nothing of it was unknown");
            assert_eq!(claim(&log, 0).1, self::events(0, 0, 5));
        }
        drop((log, owner, other));
        let log = Embedded::open(dir.path(), OPTIONS).unwrap();
        let events = claim(&log, 0).1;
        assert!([5, 8].contains(&events.len()), "{}", events.len());
        assert_eq!(events, self::events(0, 0, events.len() as u64));
    }
}

/// The story: a commit fails, and its turn may be on the disk or not. Decided again although it is there, its commands
/// would be applied twice. What the log holds when it is opened again is what counts, for events and commands alike.
#[test]
fn a_turn_of_which_nobody_knows_is_decided_once_when_the_log_is_opened_again() {
    let mut found = std::collections::BTreeSet::new();
    for writes in 0..40 {
        let dir = TempDir::new().unwrap();
        let (log, conduct) = open(&dir);
        let (mut owner, _) = claim(&log, 0);
        assert_eq!(owner.commit(turn(0, 0, 5)), CommitOutcome::Ok);
        for n in 0..4u8 {
            log.append(NewCommand { partition: 0, key: b"", bytes: &[n], cancels: None, trace: None }).unwrap();
        }
        let mut inputs = Vec::new();
        owner.poll(&mut inputs, Duration::ZERO).unwrap();
        inputs.truncate(3);
        let turn = Arc::new(Turn { inputs, ..(*turn(0, 5, 3)).clone() });
        {
            let mut conduct = conduct.0.lock();
            (conduct.fails_after, conduct.fails_half) = (Some(writes / 2), writes % 2 == 0);
        }
        if owner.commit(turn) == CommitOutcome::Ok {
            break;
        }
        {
            let mut conduct = conduct.0.lock();
            (conduct.fails_after, conduct.writes_fail) = (None, false);
        }
        // An owner gives back what it polled, before or after.
        let owner = (writes % 4 < 2).then_some(owner);
        assert_eq!(reopened(&log), Reopened::Whole, "after {writes} writes");
        drop(owner);
        let head = log.shared.committer.head(0).unwrap();
        found.insert(head.next_seq);
        let mut left = Vec::new();
        let next = (head.next_seq, head.next_input);
        let mut owner = log.claim(0, head.next_seq, &mut |_| unreachable!()).unwrap();
        owner.poll(&mut left, Duration::ZERO).unwrap();
        let left: Vec<_> = left.iter().map(|record| (record.offset, record.bytes[0])).collect();
        let all = [(0, 0), (1, 1), (2, 2), (3, 3)];
        match next {
            (5, 0) => assert_eq!(left, all),
            (8, 3) => assert_eq!(left, all[3..]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(Vec::from_iter(found), [5, 8], "both are to be met");
}

/// The story: the process starts while the disk is full. The log can be read, and refuses turns until there is room;
/// nobody restarts anything.
#[test]
fn a_log_that_is_opened_without_room_is_read_and_takes_turns_when_there_is_some() {
    let dir = TempDir::new().unwrap();
    let (log, conduct) = open(&dir);
    assert_eq!(claim(&log, 0).0.commit(turn(0, 0, 5)), CommitOutcome::Ok);
    // As a killed process leaves it.
    let left = fs::read(file_of(&dir)).unwrap();
    drop(log);
    fs::write(file_of(&dir), &left).unwrap();
    conduct.0.lock().writes_fail = true;
    let log = open_on(&dir, &conduct);
    let (mut owner, events) = claim(&log, 0);
    assert_eq!(events, self::events(0, 0, 5));
    assert_eq!(owner.commit(turn(0, 5, 1)), CommitOutcome::Unknown);
    assert!(owner.poll(&mut Vec::new(), Duration::ZERO).unwrap_err().detail.contains("no disk space"));
    assert!(matches!(log.reopen(), Reopened::Later(error) if error.detail.contains("no disk space")));
    assert!(fs::read(file_of(&dir)).unwrap() == left, "it is as it was found");
    conduct.0.lock().writes_fail = false;
    assert_eq!(reopened(&log), Reopened::Whole);
    let (mut owner, events) = claim(&log, 0);
    assert_eq!(events, self::events(0, 0, 5));
    assert_eq!(owner.commit(turn(0, 5, 1)), CommitOutcome::Ok);
}

/// The story: after a failed commit the file is replaced, or restored from an older copy, before it is opened again.
/// Turns on top of it would follow a past that was not answered. It takes none.
#[test]
fn a_file_that_is_another_when_it_is_opened_again_or_holds_less_takes_no_turn() {
    let dir = TempDir::new().unwrap();
    let (log, conduct) = open(&dir);
    let path = file_of(&dir);
    let earlier = fs::read(&path).unwrap();
    assert_eq!(claim(&log, 0).0.commit(turn(0, 0, 5)), CommitOutcome::Ok);
    let (mut owner, _) = claim(&log, 0);
    conduct.0.lock().writes_fail = true;
    assert_eq!(owner.commit(turn(0, 5, 3)), CommitOutcome::Unknown);
    conduct.0.lock().writes_fail = false;
    fs::write(&path, earlier).unwrap();
    let Reopened::Never(error) = reopened(&log) else { panic!("it has lost five events") };
    assert!(error.detail.contains("has lost events of partition 0"), "{error}");
    assert_eq!(owner.commit(turn(0, 0, 1)), CommitOutcome::Unknown);
}

/// The story: the log fails for a moment, and when it is read again a byte of the last turn is another one. That looks like a
/// turn that was being written, and it was answered. It is not made zero: the file is all that is left of it.
#[test]
fn a_log_that_lacks_an_answered_turn_when_it_is_opened_again_is_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let (log, conduct) = open(&dir);
    let (mut owner, _) = claim(&log, 0);
    assert_eq!(owner.commit(turn(0, 0, 5)), CommitOutcome::Ok);
    assert_eq!(owner.commit(turn(0, 5, 3)), CommitOutcome::Ok);
    conduct.0.lock().writes_fail = true;
    assert_eq!(owner.commit(turn(0, 8, 1)), CommitOutcome::Unknown);
    conduct.0.lock().writes_fail = false;
    let path = file_of(&dir);
    let mut left = fs::read(&path).unwrap();
    let last = left.iter().rposition(|byte| *byte != 0).unwrap();
    left[last - 100] ^= 1;
    fs::write(&path, &left).unwrap();
    let Reopened::Never(error) = reopened(&log) else { panic!("it lacks three events") };
    assert!(error.detail.contains("has lost events of partition 0"), "{error}");
    drop((log, owner));
    assert!(fs::read(&path).unwrap() == left, "it is as it was found");
}

#[test]
fn turns_that_meet_share_a_flush() {
    let dir = TempDir::new().unwrap();
    let (log, conduct) = open(&dir);
    let owners: Vec<_> = (0..4).map(|partition| claim(&log, partition).0).collect();
    let (conduct, changed) = &*conduct;
    let before = conduct.lock().syncs;
    conduct.lock().syncs_wait = true;
    thread::scope(|scope| {
        for (mut owner, partition) in owners.into_iter().zip(0..) {
            scope.spawn(move || assert_eq!(owner.commit(turn(partition, 0, 2)), CommitOutcome::Ok));
        }
        changed.wait_while(&mut conduct.lock(), |conduct| conduct.syncs == before);
        while log.shared.committer.queued() < 3 {
            thread::yield_now();
        }
        conduct.lock().syncs_wait = false;
        changed.notify_all();
    });
    assert_eq!(conduct.lock().syncs, before + 2);
    assert!((0..4).all(|partition| claim(&log, partition).1 == self::events(partition, 0, 2)));
}

#[test]
fn a_claim_waits_for_the_commit_it_is_too_late_to_fence() {
    let dir = TempDir::new().unwrap();
    let (log, conduct) = open(&dir);
    let (mut writing, mut queued) = (claim(&log, 0).0, claim(&log, 1).0);
    let (conduct, changed) = &*conduct;
    let before = conduct.lock().syncs;
    conduct.lock().syncs_wait = true;
    thread::scope(|scope| {
        let writing = scope.spawn(move || writing.commit(turn(0, 0, 2)));
        changed.wait_while(&mut conduct.lock(), |conduct| conduct.syncs == before);
        let queued = scope.spawn(move || queued.commit(turn(1, 0, 2)));
        while log.shared.committer.queued() < 1 {
            thread::yield_now();
        }
        let claimed = scope.spawn(|| claim(&log, 0).1);
        while log.shared.committer.generation(0) < 2 {
            thread::yield_now();
        }
        // One that is not being written yet is fenced, and its claim waits for nothing.
        assert_eq!(claim(&log, 1).1, []);
        conduct.lock().syncs_wait = false;
        changed.notify_all();
        assert_eq!((writing.join().unwrap(), queued.join().unwrap()), (CommitOutcome::Ok, CommitOutcome::Fenced));
        let events = claimed.join().unwrap();
        assert_eq!(events, self::events(0, 0, 2));
    });
    assert_eq!(claim(&log, 1).1, []);
}

#[test]
#[should_panic(expected = "does not go on at Head { next_seq: 2, next_input: 0 }: it begins with event Some(3)")]
fn a_turn_that_would_leave_a_gap_is_not_written() {
    let dir = TempDir::new().unwrap();
    let log = Embedded::open(dir.path(), OPTIONS).unwrap();
    let (mut owner, _) = claim(&log, 0);
    assert_eq!(owner.commit(turn(0, 0, 2)), CommitOutcome::Ok);
    let _never = owner.commit(turn(0, 3, 1));
}

#[test]
fn a_fold_and_a_log_that_disagree_are_no_claim() {
    let dir = TempDir::new().unwrap();
    let log = Embedded::open(dir.path(), OPTIONS).unwrap();
    assert_eq!(claim(&log, 0).0.commit(turn(0, 0, 2)), CommitOutcome::Ok);
    let said = log.claim(0, 0, &mut |_| Ok(1)).err().unwrap().to_string();
    assert!(said.ends_with("by its events input 1 is next, by its commands 0"), "{said}");
}

#[test]
fn another_version_or_window_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let ours = Embedded::open(dir.path(), OPTIONS).unwrap().manifest();
    let (path, log_dir) = (file_of(&dir), dir.path().join(LOG_DIR));
    for (manifest, what, log, ours, of) in [
        (Manifest { format_version: 9, ..ours }, "format version", 9, 3, &path),
        (Manifest { hash_version: 9, ..ours }, "hash version", 9, 1, &log_dir),
        (Manifest { dedup_window_ms: 9, ..ours }, "dedup window (ms)", 9, limits::DEDUP_WINDOW_MS, &log_dir),
        (Manifest { memory_version: 9, ..ours }, "memory version", 9, limits::MEMORY_VERSION.into(), &log_dir),
    ] {
        let before = fs::read(&path).unwrap();
        let named = Named::open(path.clone(), true).unwrap();
        let header = SegmentHeader::read(&named).unwrap().unwrap();
        OsDisk.write(&named, 0, &SegmentHeader { manifest, ..header }.bytes()).unwrap();
        let bytes = fs::read(&path).unwrap();
        let error = Embedded::open(dir.path(), OPTIONS).err().unwrap();
        assert_eq!(error, OpenError::Mismatch { path: of.clone(), what, log, ours });
        assert!(fs::read(&path).unwrap() == bytes);
        fs::write(&path, before).unwrap();
    }
}

#[test]
fn the_first_command_is_polled_however_large_and_polling_alone_has_an_end() {
    let intake = Intake::default();
    let bytes = vec![1; TURN_BYTES_MAX + 1];
    let command = |bytes| NewCommand { partition: 0, key: b"", bytes, cancels: None, trace: None };
    let mut next = 0;
    let mut poll = || {
        let mut batch = Vec::new();
        intake.poll(0, &mut next, &mut batch, Duration::ZERO).map(|_| batch.len())
    };
    intake.append(command(&bytes)).unwrap();
    intake.append(command(&bytes[..COMMAND_BYTES_MAX])).unwrap();
    assert_eq!((poll(), poll(), poll()), (Ok(1), Ok(1), Ok(0)));
    let refused = (0..100_000).find_map(|_| {
        intake.append(command(b"c")).unwrap();
        poll().err()
    });
    assert!(refused.unwrap().detail.ends_with("commands were polled without a commit"));
}
