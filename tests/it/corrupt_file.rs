//! The embedded log's file, damaged: an open or a read says so and names the file, or the data is right. It is never
//! wrong, nothing panics, and a file that is refused stays as it was found.

use crate::process::once_free;
use crate::turns;
use headroom::domain::Micros;
use headroom::limits::PARTITIONS_MAX;
use headroom::log::embedded::{Embedded, EmbeddedReader, OpenError, Options};
use headroom::log::{CommandSink, CommitOutcome, CommittedTail, NewCommand, OwnedPartition, PartitionLog, StoredEvent};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const PARTITIONS: u32 = 2;

fn options(partitions: Option<u32>) -> Options {
    Options { partitions, log_id: 0xfeed, now: Micros(1_700_000_000_000_000) }
}

/// The first and only segment of the log in this directory, which is made.
fn file_in(dir: &Path) -> PathBuf {
    fs::create_dir_all(dir.join("log")).unwrap();
    dir.join("log/segment-00000000")
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The names in a data directory, and in its log.
fn whole() -> (Vec<String>, Vec<String>) {
    (vec!["log".to_owned()], vec!["segment-00000000".to_owned()])
}

/// The same once a writer has opened the log: it has noted with which segment the log begins.
fn opened() -> (Vec<String>, Vec<String>) {
    (vec!["log".to_owned()], vec!["begins-00000000".to_owned(), "segment-00000000".to_owned()])
}

/// A log's file and what was committed to each partition, in turns of these many events.
struct Sample {
    bytes: Vec<u8>,
    events: Vec<Vec<StoredEvent>>,
}

const TURNS: [(u32, u64); 7] = [(0, 1), (1, 3), (0, 900), (1, 2), (1, 1), (0, 40), (1, 5)];

/// Commits a turn of so many events at the end of a partition and adds them to what it holds. Whether it did.
fn commit(log: &Embedded, partition: u32, count: u64, events: &mut Vec<StoredEvent>) -> bool {
    for _ in 0..count {
        let command = NewCommand { partition, key: b"", bytes: &[5; 90], cancels: None, trace: None };
        log.append(command).unwrap();
    }
    let first = events.len() as u64;
    let mut owner = log.claim(partition, first, &mut |_| unreachable!()).unwrap();
    let mut inputs = Vec::new();
    owner.poll(&mut inputs, Duration::ZERO).unwrap();
    let next = inputs.iter().map(|input| input.offset).zip(first..);
    let turn: Vec<_> = next
        .map(|(offset, seq)| {
            let text = format!("{partition} {seq} {}", "x".repeat((seq % 200) as usize));
            StoredEvent { seq, bytes: [&(offset + 1).to_le_bytes(), text.as_bytes()].concat(), trace: None }
        })
        .collect();
    let outcome = owner.commit(Arc::new(turns::turn(inputs, &turn)));
    assert!(matches!(outcome, CommitOutcome::Ok | CommitOutcome::Unknown));
    if outcome == CommitOutcome::Ok {
        events.extend(turn);
    }
    outcome == CommitOutcome::Ok
}

impl Sample {
    fn write(log: &Embedded) -> Vec<Vec<StoredEvent>> {
        let mut events = vec![Vec::new(), Vec::new()];
        for (partition, count) in TURNS {
            assert!(commit(log, partition, count, &mut events[partition as usize]));
        }
        events
    }

    /// Closed in order.
    fn closed() -> Sample {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), options(Some(PARTITIONS))).unwrap();
        let events = Sample::write(&log);
        drop(log);
        Sample { bytes: fs::read(file_in(dir.path())).unwrap(), events }
    }

    /// As a killed process leaves it.
    fn killed() -> Sample {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), options(Some(PARTITIONS))).unwrap();
        let events = Sample::write(&log);
        Sample { bytes: fs::read(file_in(dir.path())).unwrap(), events }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    Refused,
    ReadError,
    Right,
    /// The last turn is gone and the rest is right.
    Shorter,
}

fn read_all(tail: &dyn CommittedTail, partition: u32) -> Option<Vec<StoredEvent>> {
    let mut all = Vec::new();
    loop {
        let read = tail.read(partition, all.len() as u64, 10_000).ok()?;
        if read.is_empty() {
            assert_eq!(tail.end(partition).ok()?, all.len() as u64);
            return Some(all);
        }
        all.extend(read);
    }
}

fn judge_tail(tail: &dyn CommittedTail, events: &[Vec<StoredEvent>]) -> Verdict {
    assert_eq!(tail.partitions(), PARTITIONS);
    let read: Vec<_> = (0..PARTITIONS).map(|partition| read_all(tail, partition)).collect();
    for (read, events) in read.iter().zip(events) {
        let Some(read) = read else { return Verdict::ReadError };
        assert!(events.starts_with(read), "wrong data");
    }
    let lengths: Vec<_> = read.iter().map(|read| read.as_ref().map_or(0, Vec::len)).collect();
    let whole: Vec<_> = events.iter().map(Vec::len).collect();
    let (last_partition, last_turn) = TURNS[TURNS.len() - 1];
    let mut shorter = whole.clone();
    shorter[last_partition as usize] -= last_turn as usize;
    match lengths {
        lengths if lengths == whole => Verdict::Right,
        lengths if lengths == shorter => Verdict::Shorter,
        lengths => panic!("{lengths:?} of {whole:?} events"),
    }
}

/// Damage that reading does not meet can be met by writing, which finds its pages by what the file says is free. Then
/// too something is said, now or when the file is opened or read again, and a check of all pages would have known.
fn go_on(dir: &Path, log: Arc<Embedded>, events: &[Vec<StoredEvent>], sound: bool) {
    let mut events = events.to_vec();
    let all_committed = TURNS.iter().all(|(partition, count)| {
        let events = &mut events[*partition as usize];
        commit(&log, *partition, *count, events)
    });
    if !all_committed {
        assert!(log.end(0).is_err() && !sound);
        return;
    }
    let right = |log: &Embedded| {
        let right = |read: Option<Vec<_>>, events: &Vec<_>| read.map_or(!sound, |read| read == *events);
        assert!((0..PARTITIONS).zip(&events).all(|(partition, events)| right(read_all(log, partition), events)));
    };
    right(&log);
    drop(log);
    match open(dir, options(None)) {
        Ok(log) => right(&log),
        Err(error) => assert!(!sound, "{error}"),
    }
}

fn open(dir: &Path, options: Options) -> Result<Arc<Embedded>, OpenError> {
    once_free(|| Embedded::open(dir, options))
}

fn open_reader(dir: &Path) -> Result<EmbeddedReader, OpenError> {
    once_free(|| EmbeddedReader::open(dir))
}

fn check_frames(dir: &Path) -> Result<(), OpenError> {
    once_free(|| EmbeddedReader::check_frames(dir))
}

/// What becomes of a log with these bytes, opened for writing and for reading.
fn judge(bytes: &[u8], events: &[Vec<StoredEvent>]) -> Verdict {
    let dir = tempfile::tempdir().unwrap();
    let file = file_in(dir.path());
    fs::write(&file, bytes).unwrap();
    let untouched = |what: &str| {
        assert!(fs::read(&file).unwrap() == bytes, "{what} wrote to the file");
        assert_eq!((names_in(dir.path()), names_in(&dir.path().join("log"))), whole(), "{what}");
    };
    let read_only = match open_reader(dir.path()) {
        Err(_) => Verdict::Refused,
        Ok(reader) => judge_tail(&reader, events),
    };
    let sound = check_frames(dir.path()).is_ok();
    untouched("reading");
    let verdict = match open(dir.path(), options(None)) {
        Err(error) => {
            untouched("a refused open");
            assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
            Verdict::Refused
        }
        Ok(log) => {
            let verdict = judge_tail(&*log, events);
            if verdict == Verdict::Right {
                go_on(dir.path(), log, events, sound);
            }
            verdict
        }
    };
    assert_eq!(verdict, read_only);
    verdict
}

#[test]
fn an_undamaged_file_reads_as_it_was_written() {
    for sample in [Sample::closed(), Sample::killed()] {
        assert_eq!(judge(&sample.bytes, &sample.events), Verdict::Right);
    }
}

/// The story: the file of a log is an empty file, another program's, or what a failed copy left. A process that took it
/// for a new log would begin at zero in the place of the one that is missing. It is refused, and stays as it was found.
#[test]
fn a_foreign_file_is_refused() {
    let zeros_after_magic = [&b"headroom"[..], &[0; 1 << 20]].concat();
    for bytes in [&b""[..], b"h", b"headroom", b"redb", b"SQLite format 3\0 and more", &[0; 8192], &zeros_after_magic] {
        assert_eq!(judge(bytes, &[]), Verdict::Refused);
    }
}

/// The story: a copy of the file stops half-way, because the network or the disk ended. Its beginning is sound, so it
/// could be read as a shorter log, and what was sold since would be sold again. A cut anywhere is refused.
#[test]
fn a_truncated_file_is_refused() {
    for sample in [Sample::closed(), Sample::killed()] {
        let length = sample.bytes.len();
        for cut in (1..32).map(|i| length * i / 32).chain([1, 9, 64, 320, 4095, 4096, length - 4096, length - 1]) {
            assert_eq!(judge(&sample.bytes[..cut], &sample.events), Verdict::Refused, "cut at {cut} of {length}");
        }
    }
}

/// The story: a failing disk returns pages of zeros, or of ones, in the middle of the file. Read as data they would be
/// other events. The file is refused, or what is read is right; only after a kill may the last turn be missing, which
/// the witness notices.
#[test]
fn a_file_with_overwritten_pages_never_yields_wrong_events() {
    for (sample, worst) in [(Sample::closed(), Verdict::Right), (Sample::killed(), Verdict::Shorter)] {
        for start in (0..sample.bytes.len()).step_by(64 << 10) {
            for (length, fill) in [(4096, 0), (4096, 0xff), (100_000, 0)] {
                let mut bytes = sample.bytes.clone();
                bytes.iter_mut().skip(start).take(length).for_each(|byte| *byte = fill);
                let verdict = judge(&bytes, &sample.events);
                assert!(verdict != Verdict::Shorter || worst == verdict, "{fill} from {start}");
            }
        }
    }
}

/// Bits of the header of the file and of its slots, and of what was written.
fn flip_bits(sample: &Sample, worst: Verdict) {
    const HEADER_BYTES: usize = 320;
    let header = (0..HEADER_BYTES).step_by(3).map(|at| (at, at % 8));
    let slots = (12_288..12_328).chain(16_384..16_424).step_by(5).map(|at| (at, at % 8));
    let written = (HEADER_BYTES..sample.bytes.len()).filter(|at| sample.bytes[*at] != 0);
    let written = written.step_by(2_003).map(|at| (at, at % 8));
    let mut seen = BTreeSet::new();
    for (at, bit) in header.chain(slots).chain(written) {
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= 1 << bit;
        let verdict = judge(&bytes, &sample.events);
        assert!(verdict != Verdict::Shorter || worst == verdict, "bit {bit} of byte {at}");
        seen.insert(verdict);
    }
    assert!(seen.contains(&Verdict::Refused), "only {seen:?}");
}

/// The story: one bit flips on the disk or on its way there. Most of a file is not read at every start, so the flip may
/// be met months later, as a counter that is wrong. Whatever bit it is, the open or the read is refused, or the events
/// are right.
#[test]
fn a_flipped_bit_is_noticed_or_does_not_matter() {
    flip_bits(&Sample::closed(), Verdict::Right);
}

/// The story: the same flip in a file that a killed process left. What a killed process leaves can end in a turn that
/// was being written, and a bit that flipped in the last turn looks just like that. The log then ends one turn earlier
/// and no more; the witness tells that this turn was committed (`lost_data.rs`).
#[test]
fn a_flipped_bit_after_a_kill_costs_the_last_turn_at_most() {
    flip_bits(&Sample::killed(), Verdict::Shorter);
}

/// The story: the server is started with eight partitions over a log that was made with two. A pool's commands would go
/// to another partition than its past. The start is refused with both numbers, and the file is not touched.
#[test]
fn a_log_made_with_another_partition_count_is_refused() {
    let sample = Sample::closed();
    let dir = tempfile::tempdir().unwrap();
    fs::write(file_in(dir.path()), &sample.bytes).unwrap();
    let error = open(dir.path(), options(Some(8))).err().unwrap();
    let path = dir.path().join("log");
    assert_eq!(error, OpenError::Mismatch { path: path.clone(), what: "partition count", log: 2, ours: 8 });
    let expected = format!("the log {} was made with partition count 2, this process has 8", path.display());
    assert_eq!(error.to_string(), expected);
    assert!(fs::read(file_in(dir.path())).unwrap() == sample.bytes);
    for asked in [0, PARTITIONS_MAX + 1] {
        let none = TempDir::new().unwrap();
        let error = open(none.path(), options(Some(asked))).err();
        assert_eq!(error, Some(OpenError::Partitions { asked }));
        assert!(names_in(none.path()).is_empty());
    }
}

#[test]
fn the_manifest_stays_that_of_the_first_start() {
    let dir = TempDir::new().unwrap();
    let below = dir.path().join("not/yet/there");
    let made = open(&below, options(None)).unwrap().manifest();
    assert_eq!((made.partitions, made.log_id, made.created_at), (4, 0xfeed, Micros(1_700_000_000_000_000)));
    let again = open(&below, Options { partitions: Some(4), log_id: 1, now: Micros(2) }).unwrap();
    assert_eq!(again.manifest(), made);
    assert_eq!((names_in(&below), names_in(&below.join("log"))), opened());
}

/// The story: two servers are started over one directory, or a tool reads while one writes. Two writers would both
/// decide, each without the other's orders. The second process is told that the directory is in use; readers alone
/// share it.
#[test]
fn one_directory_has_one_writer_or_readers() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(open_reader(dir.path()), Err(OpenError::Io { .. })));
    assert!(names_in(dir.path()).is_empty());
    let log = open(dir.path(), options(None)).unwrap();
    let [in_use, is_read] = [false, true].map(|is_read| OpenError::InUse { dir: dir.path().to_owned(), is_read });
    let begin = format!("the log in {} is in use by another process: a ", dir.path().display());
    assert_eq!(in_use.to_string(), format!("{begin}server, or a command that changes it"));
    let reads = "command that reads it, such as headroom verify or headroom cat: end that, or wait for its end";
    assert_eq!(is_read.to_string(), format!("{begin}{reads}"));
    assert_eq!(Embedded::open(dir.path(), options(None)).err().unwrap(), in_use);
    assert_eq!(EmbeddedReader::open(dir.path()).err().unwrap(), in_use);
    // An owned partition keeps the log open as its handle does.
    let owned = log.claim(0, 0, &mut |_| unreachable!()).unwrap();
    drop(log);
    assert_eq!(Embedded::open(dir.path(), options(None)).err().unwrap(), in_use);
    drop(owned);
    let (reader, another) = (open_reader(dir.path()).unwrap(), open_reader(dir.path()).unwrap());
    assert_eq!((reader.manifest(), reader.end(0)), (another.manifest(), Ok(0)));
    assert_eq!(Embedded::open(dir.path(), options(None)).err().unwrap(), is_read);
}

/// The story: the process is killed while it makes the log for the first time. Half a file under the right name would be
/// refused for ever. It is made under another name and renamed when it is whole, so the next start makes it anew.
#[test]
fn a_half_made_log_is_made_anew() {
    let dir = TempDir::new().unwrap();
    fs::write(file_in(dir.path()).with_extension("new"), b"half").unwrap();
    drop(open(dir.path(), options(None)).unwrap());
    assert_eq!((names_in(dir.path()), names_in(&dir.path().join("log"))), opened());
}

#[test]
fn decided_commands_can_be_read() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path(), options(Some(PARTITIONS))).unwrap();
    let events = Sample::write(&log);
    let mut offset = 0;
    while offset < events[0].len() as u64 {
        let commands = log.commands(0, offset, 1_000).unwrap();
        assert!(commands.iter().zip(offset..).all(|(c, expected)| c.offset == expected && c.bytes == [5; 90]));
        assert_eq!(commands.len() as u64, (events[0].len() as u64 - offset).min(11));
        offset += commands.len() as u64;
    }
    assert_eq!(log.commands(0, offset, 1_000), Ok(vec![]));
    assert!(log.commands(0, offset + 1, 1_000).is_err());
}
