//! Copies of the first part of a log that is being written.

use super::*;

/// Puts the log together again in a directory of its own, piece by piece; returns the directory.
fn restored(prefix: &LogPrefix) -> TempDir {
    let dir = TempDir::new().unwrap();
    let segments = prefix.segments().unwrap();
    let restoring = Restoring::begin(dir.path()).unwrap();
    for segment in &segments {
        prefix.check(segment).unwrap();
        let file = restoring.segment(segment.number, segment.end).unwrap();
        let half = segment.end / 2;
        for (start, end) in [(0, half), (half, segment.end)] {
            let bytes = prefix.read(segment, start, (end - start) as usize).unwrap();
            file.write(start, &bytes).unwrap();
            assert_eq!(file.read(start, bytes.len()).unwrap(), bytes);
        }
        file.flush().unwrap();
    }
    assert!(matches!(Embedded::open(dir.path(), OPTIONS), Err(OpenError::InUse { .. })), "it is locked meanwhile");
    restoring.whole(0..=segments.len() as u64 - 1, segments.last().unwrap().end).unwrap();
    restoring.place().unwrap();
    dir
}

/// The story: an operator copies the log of a busy server every minute. A copy without an event that a caller had been
/// told about before it began, or with another one in its place, would be found out when nothing else is left.
#[test]
fn a_copy_of_a_log_that_is_written_has_all_that_was_committed_before_it() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir);
    let (is_over, log) = (std::sync::atomic::AtomicBool::new(false), &log);
    let mut sizes = Vec::new();
    thread::scope(|scope| {
        for partition in 0..2 {
            let is_over = &is_over;
            scope.spawn(move || {
                let (mut owner, mut end) = (claim(log, partition).0, 0);
                for count in [1, 3, 200, 20].into_iter().cycle() {
                    assert_eq!(owner.commit(turn(partition, end, count)), CommitOutcome::Ok);
                    end += count;
                    if (is_over.load(Relaxed) && end > 20_000) || end > 100_000 {
                        break;
                    }
                }
            });
        }
        for _ in 0..12 {
            let before = [0, 1].map(|partition| log.end(partition).unwrap());
            let prefix = LogPrefix::open(dir.path()).unwrap();
            let ends = [0, 1].map(|partition| prefix.end(partition).unwrap());
            assert!(ends[0] >= before[0] && ends[1] >= before[1], "{ends:?} of {before:?}");
            sizes.push(prefix.segments().unwrap().len());
            let target = restored(&prefix);
            let copy = Embedded::open(target.path(), OPTIONS).unwrap();
            for partition in 0..2 {
                let end = ends[partition as usize];
                assert_eq!(claim(&copy, partition).1, events(partition, 0, end));
            }
        }
        is_over.store(true, Relaxed);
    });
    let prefix = LogPrefix::open(dir.path()).unwrap();
    let seals: Vec<_> = prefix.segments().unwrap().iter().map(|segment| (segment.number, segment.seal)).collect();
    assert!(seals.len() > 3, "{sizes:?}, then {}", seals.len());
    assert_eq!(
        claim(&Embedded::open(restored(&prefix).path(), OPTIONS).unwrap(), 1).1.len() as u64,
        prefix.end(1).unwrap()
    );
    // The same bytes have the same seal, whoever wrote the slots between them.
    let copy = restored(&prefix);
    let of_copy = LogPrefix::open(copy.path()).unwrap().segments().unwrap();
    assert_eq!(of_copy.iter().map(|segment| (segment.number, segment.seal)).collect::<Vec<_>>(), seals);
}

/// The story: a restore was killed. A server that began a new log in its place would give away again what was promised.
#[test]
fn a_log_that_is_not_whole_is_refused_and_another_attempt_goes_on() {
    let (dir, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (log, _) = open(&dir);
    assert_eq!(claim(&log, 0).0.commit(turn(0, 0, 50)), CommitOutcome::Ok);
    let prefix = LogPrefix::open(dir.path()).unwrap();
    let segments = prefix.segments().unwrap();
    let [segment] = &segments[..] else { panic!("{} segments", segments.len()) };
    let restoring = Restoring::begin(target.path()).unwrap();
    let file = restoring.segment(0, segment.end).unwrap();
    file.write(0, &prefix.read(segment, 0, 8_192).unwrap()).unwrap();
    let short = restoring.whole(0..=0, segment.end).map(|_| ()).unwrap_err();
    assert!(matches!(short, OpenError::Damaged { .. }), "{short}");
    drop(restoring);
    let refused = [
        Embedded::open(target.path(), OPTIONS).err().unwrap(),
        EmbeddedReader::open(target.path()).err().unwrap(),
        LogPrefix::open(target.path()).err().unwrap(),
    ];
    assert!(refused.iter().all(|error| matches!(error, OpenError::Unfinished { .. })), "{refused:?}");
    // It had begun with a larger log.
    fs::write(path_of(&target.path().join("log.restoring"), 1), "of another backup").unwrap();
    fs::write(target.path().join("witness"), "of another backup").unwrap();
    let restoring = Restoring::begin(target.path()).unwrap();
    let file = restoring.segment(0, segment.end).unwrap();
    file.write(0, &prefix.read(segment, 0, segment.end as usize).unwrap()).unwrap();
    restoring.whole(0..=0, segment.end).unwrap();
    restoring.place().unwrap();
    assert_eq!(claim(&Embedded::open(target.path(), OPTIONS).unwrap(), 0).1, events(0, 0, 50));
    let occupied = Restoring::begin(target.path()).err().unwrap();
    assert!(matches!(&occupied, OpenError::Occupied { found, .. } if found == "log"), "{occupied}");
}

/// The story: the disk refuses to flush a file that is restored, and is mended. Another attempt that found its bytes in the memory
/// of the system would take them as there, and a power cut would show that they are not.
#[test]
fn a_restored_file_that_could_not_be_flushed_is_not_there_for_the_next_attempt() {
    let (dir, conduct) = (TempDir::new().unwrap(), Conducted::default());
    let disk = TestDisk(Arc::clone(&conduct));
    let named = disk.create(&path_of(dir.path(), 0)).unwrap();
    disk.write(&named, 0, b"a piece").unwrap();
    super::super::restored::flushed(&disk, &named).unwrap();
    assert!(named.path.exists());
    conduct.0.lock().syncs_fail = true;
    super::super::restored::flushed(&disk, &named).unwrap_err();
    assert!(!named.path.exists());
}
