//! The oldest segments leave a log while it is written, read, killed and opened again.

use super::super::error::Fault;
use super::*;

/// A log of several segments on a disk that can fail, and how many events each of two partitions has.
fn several(dir: &TempDir) -> (Arc<Embedded>, Conducted, [Owned; 2], u64) {
    let (log, conduct) = open(dir);
    let mut owners = [claim(&log, 0).0, claim(&log, 1).0];
    let ends = (0..6).fold(0, |end, _| commit(&mut owners, end));
    (log, conduct, owners, ends)
}

/// Commits a turn of 700 events for each of the two partitions, which have so many.
fn commit(owners: &mut [Owned; 2], end: u64) -> u64 {
    for (owner, partition) in owners.iter_mut().zip(0..) {
        assert_eq!(owner.commit(turn(partition, end, 700)), CommitOutcome::Ok);
    }
    end + 700
}

fn oldest(log: &Embedded) -> u64 {
    log.oldest().unwrap().unwrap().0
}

/// Lets the oldest segment leave, and answers how far it reached.
fn leave(log: &Embedded) -> Vec<u64> {
    let (number, reach) = log.oldest().unwrap().unwrap();
    log.remove_oldest(number).unwrap();
    reach.end.iter().map(|end| end.next_seq).collect()
}

/// All that the log has of a partition.
fn left(log: &Embedded, partition: u32) -> Vec<StoredEvent> {
    let (mut next, end, mut found) = (log.first(partition).unwrap(), log.end(partition).unwrap(), Vec::new());
    while next < end {
        found.extend(CommittedTail::read(log, partition, next, 100_000).unwrap());
        next = found.last().map_or(end, |event: &StoredEvent| event.seq + 1);
    }
    found
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join(LOG_DIR)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The story: a log is bounded, and a reader stands before what is left. It is told where the log begins, and reads on from
/// there; nothing that is left is missing, now and after a restart.
#[test]
fn a_log_begins_after_what_has_left_it_and_says_so() {
    let dir = TempDir::new().unwrap();
    let (log, _, owners, end) = several(&dir);
    let count = files(dir.path()).len();
    assert!(count > 4, "{count}");
    assert_eq!((log.first(0), log.first(1)), (Ok(0), Ok(0)));
    leave(&log);
    let reach = leave(&log);
    assert!(reach[..2].iter().all(|reach| (1..end).contains(reach)), "{reach:?}");
    assert_eq!(files(dir.path()).len(), count - 2);
    let judge = |log: &Embedded| {
        for partition in 0..2 {
            let first = reach[partition as usize];
            assert_eq!(log.first(partition), Ok(first));
            assert_eq!(left(log, partition), events(partition, first, end - first));
            let refused = CommittedTail::read(log, partition, first - 1, 1).unwrap_err();
            assert_eq!(refused.kind, crate::log::LogErrorKind::OutOfRange);
            assert!(refused.detail.contains(&format!("begin with {first}, after the requested")), "{refused}");
            let Err(ClaimError::Log(refused)) = log.claim(partition, 0, &mut |_| Ok(0)) else { panic!("it is gone") };
            assert_eq!(refused.kind, crate::log::LogErrorKind::OutOfRange, "one reader fails, and not the log");
        }
        assert_eq!((log.first(3), log.end(3)), (Ok(0), Ok(0)));
    };
    judge(&log);
    drop((log, owners));
    judge(&Embedded::open(dir.path(), OPTIONS).unwrap());
    let reader = EmbeddedReader::open(dir.path()).unwrap();
    assert_eq!(CommittedTail::first(&reader, 0), Ok(reach[0]));
    drop(reader);
    EmbeddedReader::check_frames(dir.path()).unwrap();
}

/// The story: somebody removes the first file of a log by hand, to have room. A log that began with the next one would look like
/// one whose first events have left it.
#[test]
fn a_first_segment_that_was_removed_by_hand_is_missed() {
    let dir = TempDir::new().unwrap();
    let (log, _, owners, _) = several(&dir);
    drop((log, owners));
    let [at, aside] = [LOG_DIR, "aside"].map(|name| dir.path().join(name));
    let misses = |removed: std::ops::RangeInclusive<u64>, missing: u64| {
        fs::create_dir(&aside).unwrap();
        let moved = |from, to| {
            removed.clone().for_each(|number| fs::rename(path_of(from, number), path_of(to, number)).unwrap())
        };
        moved(&at, &aside);
        let refused = [
            Embedded::open(dir.path(), OPTIONS).map(drop).unwrap_err(),
            EmbeddedReader::open(dir.path()).map(drop).unwrap_err(),
            LogPrefix::open(dir.path()).map(drop).unwrap_err(),
        ];
        for refused in refused.map(|refused| refused.to_string()) {
            let says = format!("segment-{missing:08}");
            assert!(refused.contains(&says) && refused.contains("missing, and the log begins with it"), "{refused}");
        }
        moved(&aside, &at);
        fs::remove_dir(&aside).unwrap();
    };
    misses(0..=0, 0);
    misses(0..=2, 0);
    let log = Embedded::open(dir.path(), OPTIONS).unwrap();
    leave(&log);
    leave(&log);
    drop(log);
    misses(2..=2, 2);
    misses(2..=3, 2);
    // Without a note it is opened as it is, and has one from then on.
    let note = at.join("begins-00000002");
    fs::remove_file(&note).unwrap();
    fs::remove_file(path_of(&at, 2)).unwrap();
    drop(EmbeddedReader::open(dir.path()).unwrap());
    drop(Embedded::open(dir.path(), OPTIONS).unwrap());
    assert!(at.join("begins-00000003").exists() && !note.exists());
    misses(3..=3, 3);
}

/// The story: somebody reads an old segment in the moment in which it leaves. The reader is told, and the log goes on.
#[test]
fn a_reader_who_comes_a_moment_late_is_told_and_the_log_goes_on() {
    let dir = TempDir::new().unwrap();
    let (log, _, mut owners, end) = several(&dir);
    let sealed = log.shared.file.with(|store| Ok(store.readable.read().sealed[0].clone())).unwrap();
    leave(&log);
    let late = log.shared.file.with(|store| store.recent.get(&store.dir, &sealed).map(drop));
    assert!(matches!(&late, Err(Fault::Gone(_))), "{late:?}");
    // A file that somebody else has removed is another thing.
    let number = oldest(&log);
    fs::remove_file(path_of(&dir.path().join(LOG_DIR), number)).unwrap();
    let forget = |store: &store::Store| {
        store.recent.forget(number);
        Ok(())
    };
    log.shared.file.with(forget).unwrap();
    let refused = CommittedTail::read(&*log, 1, 0, 1).unwrap_err();
    assert_eq!(refused.kind, crate::log::LogErrorKind::Operator, "{refused}");
    assert!(refused.detail.contains("segment-00000001 is missing"), "{refused}");
    commit(&mut owners, end);
}

/// The story: a sector of an old segment is bad, and somebody watches from there, again and again. Each time the log took no turn
/// before it was opened again, and headroom verify could prove nothing of what came after. Only who reads there is told.
#[test]
fn what_the_disk_does_not_give_to_a_reader_stops_nobody_else() {
    let dir = TempDir::new().unwrap();
    let (log, _, mut owners, end) = several(&dir);
    let number = oldest(&log);
    let (path, aside) = (path_of(&dir.path().join(LOG_DIR), number), dir.path().join("aside"));
    // A directory opens, and does not give a byte.
    let spoil = || fs::rename(&path, &aside).and_then(|()| fs::create_dir(&path)).unwrap();
    let mend = || fs::remove_dir(&path).and_then(|()| fs::rename(&aside, &path)).unwrap();
    let judge = |log: &dyn CommittedTail, end: u64| {
        let refused = log.read(0, 0, 1).unwrap_err();
        assert_eq!(refused.kind, crate::log::LogErrorKind::Transient, "{refused}");
        assert_eq!((log.end(0), log.read(0, end - 1, 1)), (Ok(end), Ok(events(0, end - 1, 1))));
    };
    let forget = |store: &store::Store| {
        store.recent.forget(number);
        Ok(())
    };
    log.shared.file.with(forget).unwrap();
    spoil();
    judge(&*log, end);
    let end = commit(&mut owners, end);
    judge(&*log, end);
    assert_eq!(log.reopenings(), 0);
    mend();
    assert_eq!(left(&log, 0), events(0, 0, end));
    drop((log, owners));
    let reader = EmbeddedReader::open(dir.path()).unwrap();
    spoil();
    judge(&reader, end);
}

#[test]
fn only_the_oldest_sealed_segment_leaves_and_never_the_one_that_is_written() {
    let dir = TempDir::new().unwrap();
    let (log, _, mut owners, end) = several(&dir);
    let first = oldest(&log);
    assert!(log.remove_oldest(first + 1).unwrap_err().detail.contains("is not the oldest sealed one"));
    while log.oldest().unwrap().is_some() {
        leave(&log);
    }
    assert_eq!(files(dir.path()).len(), 2, "the last segment, and the note that the log begins with it");
    let last = log.shared.file.with(|store| Ok(store.end().0.number)).unwrap();
    assert!(log.remove_oldest(last).unwrap_err().detail.contains("is not the oldest sealed one"));
    // It is the whole log now: nobody else may open it, and it goes on.
    assert!(matches!(Embedded::open(dir.path(), OPTIONS), Err(OpenError::InUse { .. })));
    let end = commit(&mut owners, end);
    drop((log, owners));
    let log = Embedded::open(dir.path(), OPTIONS).unwrap();
    assert_eq!(log.end(0), Ok(end));
    assert_eq!(left(&log, 0).last(), events(0, end - 1, 1).last());
}

/// The story: the disk refuses to remove a file, or to say that its name is gone. A log that went on to remove could have a
/// gap after a power cut.
#[test]
fn a_segment_that_cannot_be_removed_stays_and_after_a_lost_flush_nothing_more_leaves() {
    let dir = TempDir::new().unwrap();
    let (log, conduct, mut owners, end) = several(&dir);
    let number = oldest(&log);
    conduct.0.lock().removes_fail = true;
    assert!(log.remove_oldest(number).unwrap_err().detail.contains("the disk is gone"));
    assert_eq!((oldest(&log), log.first(0)), (number, Ok(0)));
    assert_eq!(left(&log, 0), events(0, 0, end));
    conduct.0.lock().removes_fail = false;
    conduct.0.lock().dir_syncs_fail = true;
    assert!(log.remove_oldest(number).is_err());
    conduct.0.lock().dir_syncs_fail = false;
    let refused = log.remove_oldest(oldest(&log)).unwrap_err();
    assert!(refused.detail.contains("nothing is removed before a restart"), "{refused}");
    commit(&mut owners, end);
}

/// The story: the machine loses power while segments leave, and turns go on. Whichever names are safe by then, the log has
/// no gap, every committed turn that has not left, and no half of another.
#[test]
fn a_power_cut_while_segments_leave_leaves_no_gap() {
    let dir = TempDir::new().unwrap();
    let (log, conduct, mut owners, mut end) = several(&dir);
    conduct.0.lock().cuts_power = true;
    let mut firsts = vec![vec![0; 4]];
    for _ in 0..6 {
        firsts.push(leave(&log));
        conduct.0.lock().committed += 1;
        end = commit(&mut owners, end);
    }
    drop((log, owners));
    let cuts = std::mem::take(&mut conduct.0.lock().cuts);
    assert!(cuts.len() > 40, "{}", cuts.len());
    let mut begun = std::collections::BTreeSet::new();
    for (left_before, image) in cuts {
        let dir = disk::left_by(image);
        let log = Embedded::open(dir.path(), OPTIONS).unwrap();
        let first = [0, 1].map(|partition| log.first(partition).unwrap());
        // What has left is gone for good, but for the one that was leaving.
        assert!(firsts[left_before..].iter().take(2).any(|reach| reach[..2] == first), "{first:?} after {left_before}");
        for partition in 0..2 {
            let (first, end) = (log.first(partition).unwrap(), log.end(partition).unwrap());
            assert_eq!(left(&log, partition), events(partition, first, end - first));
        }
        begun.insert(first);
    }
    assert!(begun.len() > 4, "{begun:?}");
}

/// The story: the log fails after segments have left, and is opened again in the same process.
#[test]
fn a_log_whose_first_segments_have_left_is_opened_again_after_a_fault() {
    let dir = TempDir::new().unwrap();
    let (log, conduct, mut owners, end) = several(&dir);
    let reach = leave(&log);
    conduct.0.lock().writes_fail = true;
    assert_eq!(owners[0].commit(turn(0, end, 3)), CommitOutcome::Unknown);
    // A full disk is what segments have to leave for.
    let next = leave(&log);
    assert_ne!(next, reach);
    conduct.0.lock().writes_fail = false;
    assert_eq!(reopened(&log), Reopened::Whole);
    assert_eq!((log.first(0), log.end(0)), (Ok(next[0]), Ok(end)));
    let mut owned = log.claim(0, end, &mut |_| unreachable!()).unwrap();
    assert_eq!(owned.commit(turn(0, end, 3)), CommitOutcome::Ok);
}

/// The story: the disk takes the end of the log and refuses room for the next turn, again and again. Pauses grow all the same, and
/// nobody is told that turns are taken before one was.
#[test]
fn a_log_that_fails_again_as_soon_as_it_is_opened_is_opened_more_and_more_seldom() {
    let dir = TempDir::new().unwrap();
    let (log, conduct) = open(&dir);
    let rests: Vec<_> = (0..4)
        .map(|_| {
            let mut owned = claim(&log, 0).0;
            conduct.0.lock().writes_fail = true;
            assert_eq!(owned.commit(turn(0, 0, 1)), CommitOutcome::Unknown);
            conduct.0.lock().writes_fail = false;
            assert_eq!(reopened(&log), Reopened::Whole);
            assert!(log.shared.reopening.is_told());
            log.shared.reopening.rest()
        })
        .collect();
    assert!(rests.windows(2).all(|pair| pair[1] >= pair[0] * 2), "{rests:?}");
    let mut owned = claim(&log, 0).0;
    assert_eq!(owned.commit(Arc::default()), CommitOutcome::Ok, "nothing was written");
    assert!(log.shared.reopening.is_told());
    assert_eq!(owned.commit(turn(0, 0, 1)), CommitOutcome::Ok);
    assert!(!log.shared.reopening.is_told());
}

/// The story: the disk has some bytes left. A small turn fits into them and the next one does not, and on-call is told of the end of
/// the outage again and again.
#[test]
fn a_log_takes_no_turn_again_before_there_is_room_for_a_chunk() {
    let dir = TempDir::new().unwrap();
    let (log, conduct) = open(&dir);
    conduct.0.lock().writes_fail = true;
    assert_eq!(claim(&log, 0).0.commit(turn(0, 0, 1)), CommitOutcome::Unknown);
    conduct.0.lock().writes_fail = false;
    conduct.0.lock().chunks_fail = true;
    let before = log.reopenings();
    while log.reopenings() < before + 3 {
        assert!(matches!(log.reopen(), Reopened::Later(_)));
        std::thread::yield_now();
    }
    conduct.0.lock().chunks_fail = false;
    assert_eq!(reopened(&log), Reopened::Whole);
    assert_eq!(claim(&log, 0).0.commit(turn(0, 0, 1)), CommitOutcome::Ok);
    assert!(!dir.path().join(LOG_DIR).join("room.new").exists());
}

/// A segment is checked from its first byte to its last one before it is handed to anybody.
#[test]
fn a_damaged_segment_is_not_handed_over() {
    let dir = TempDir::new().unwrap();
    let (log, _, owners, _) = several(&dir);
    let (number, reach) = log.oldest().unwrap().unwrap();
    let whole = log.oldest_whole(number).unwrap();
    assert_eq!((whole.newest, log.begins(number)), (None, Ok(None)), "these are no events of the domain");
    assert_eq!(reach.first[0].next_seq, 0);
    let named = Named::open(file_of(&dir), true).unwrap();
    let mut written = fs::read(&named.path).unwrap();
    assert!(!written.starts_with(&whole.bytes));
    written[whole.slots.clone()].fill(0);
    assert!(written.starts_with(&whole.bytes), "it differs in its slots alone");
    for at in [30, 21_192, whole.bytes.len() / 2, whole.bytes.len() - 1] {
        let byte = whole.bytes[at];
        OsDisk.write(&named, at as u64, &[byte ^ 4]).unwrap();
        let refused = log.oldest_whole(number).unwrap_err();
        assert!(refused.detail.contains("segment-00000000 is not what was written"), "{at}: {refused}");
        OsDisk.write(&named, at as u64, &[byte]).unwrap();
    }
    assert!(log.oldest_whole(number).is_ok());
    drop(owners);
}
