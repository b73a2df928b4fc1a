//! Segments whose bytes change: whatever happens to them, what is read is what was written, or it is refused.

use super::super::disk::{Named, OsDisk};
use super::super::draft::{Draft, Pair};
use super::super::error::OpenError;
use super::super::file::LOG_DIR;
use super::super::frame::{Head, Records};
use super::super::packed::{Dictionary, Packer};
use super::super::read::Span;
use super::super::segment::{CHUNK_BYTES, FORMAT_VERSION, SegmentHeader, path_of};
use super::super::start::{Started, segments, start};
use super::super::store::{Store, Terms, create};
use super::disk::{Conduct, Conducted, TestDisk, left_by};
use crate::domain::Micros;
use crate::log::{Manifest, Opening};
use parking_lot::{Condvar, Mutex};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const PARTITIONS: u32 = 2;

type Record = (Vec<u8>, Vec<u8>);

pub(super) fn open(dir: &Path, segment_bytes: u64) -> Result<Started, OpenError> {
    let terms = Terms { disk: Arc::new(OsDisk), segment_bytes };
    start(dir, segments(dir)?.unwrap(), (true, terms), &Opening::default())
}

pub(super) fn settled(dir: &Path, segment_bytes: u64) -> Store {
    let Started { store, written_to } = open(dir, segment_bytes).unwrap();
    store.settle(written_to).unwrap();
    store
}

pub(super) fn fresh() -> TempDir {
    fresh_of(FORMAT_VERSION)
}

/// An empty log whose first segment is of this version.
pub(super) fn fresh_of(format_version: u32) -> TempDir {
    let dictionary = if format_version < FORMAT_VERSION { Dictionary::default() } else { Dictionary::of_program() };
    fresh_with(format_version, dictionary)
}

/// The same, with this dictionary.
pub(super) fn fresh_with(format_version: u32, dictionary: Dictionary) -> TempDir {
    let dir = TempDir::new().unwrap();
    let manifest = Manifest {
        log_id: 9,
        partitions: PARTITIONS,
        hash_version: 1,
        format_version,
        dedup_window_ms: 1,
        memory_version: 1,
        created_at: Micros(1),
    };
    let heads = vec![Head::default(); PARTITIONS as usize];
    let header = SegmentHeader { manifest, number: 0, first_batch: 1, before: (0, 0), heads, dictionary };
    create(&OsDisk, dir.path(), &header).unwrap();
    dir
}

fn record(partition: u32, seq: u64) -> Record {
    let text = |what: &str| {
        // Nothing packs these bytes.
        let (mut own, named) = (vec![0; seq as usize * 7 % 90], format!("{what} {seq} of {partition} "));
        blake3::Hasher::new().update(named.as_bytes()).finalize_xof().fill(&mut own);
        [named.into_bytes(), own].concat()
    };
    (text("event"), text("command"))
}

/// Appends one batch with a turn of so many records for each of these partitions.
fn append(store: &Store, turns: &[(u32, u64)]) {
    store.append(&mut drafts(store, turns)).unwrap();
}

fn drafts(store: &Store, turns: &[(u32, u64)]) -> Vec<Draft> {
    let heads = store.heads();
    turns
        .iter()
        .map(|(partition, count)| {
            let first = heads[*partition as usize];
            let records: Vec<_> = (0..*count).map(|n| record(*partition, first.next_seq + n)).collect();
            let pairs = records.iter().map(|(event, command)| Pair {
                event: Some(&event[..]),
                command: Some(&command[..]),
                trace: None,
            });
            Draft::of_turn(&mut Packer::new(store.dictionary()), *partition, first, pairs)
        })
        .collect()
}

/// What the log says of a partition from here on; `None` when it refuses.
fn read(store: &Store, partition: u32, from: u64, bytes_max: usize) -> Option<Vec<Record>> {
    let all = |records| {
        let end = store.heads()[partition as usize].of(records);
        let (mut found, mut next) = (Vec::new(), from);
        while next < end {
            let span = Span { records, partition, from: next, end, bytes_max };
            found.extend(store.read(span, |record| (record.position, record.bytes.to_vec())).ok()?);
            next = from + found.len() as u64;
        }
        assert!(found.iter().map(|(position, _)| *position).eq(from..end));
        Some(found.into_iter().map(|(_, bytes)| bytes))
    };
    Some(all(Records::Events)?.zip(all(Records::Commands)?).collect())
}

/// Whether all that is read is what was written; returns the ends.
#[track_caller]
fn judge(store: &Store) -> Vec<u64> {
    let ends: Vec<_> = store.heads().iter().map(|head| head.next_seq).collect();
    for (partition, end) in (0..).zip(&ends) {
        if let Some(found) = read(store, partition, 0, 1_000) {
            assert!(found.into_iter().eq((0..*end).map(|seq| record(partition, seq))), "partition {partition}");
        }
    }
    ends
}

/// A log of one segment as a killed process leaves it, and where its batches end.
fn sample() -> (TempDir, Vec<usize>) {
    let dir = fresh();
    let store = settled(dir.path(), u64::MAX);
    let mut ends = Vec::new();
    for turns in [&[(0, 1)][..], &[(1, 2)], &[(0, 2), (1, 1)], &[(1, 3)]] {
        append(&store, turns);
        let bytes = fs::read(path_of(dir.path(), 0)).unwrap();
        ends.push(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    }
    store.shut();
    (dir, ends)
}

const WHOLE: [u64; 2] = [3, 6];
const WITHOUT_LAST: [u64; 2] = [3, 3];

/// The story: the machine stops while the last turn is being written; any number of its bytes are on the disk. The log
/// ends before it, and goes on as if it had never been there.
#[test]
fn a_batch_that_is_torn_at_any_byte_was_never_there() {
    let (dir, ends) = sample();
    let (path, bytes) = (path_of(dir.path(), 0), fs::read(path_of(dir.path(), 0)).unwrap());
    for torn in (ends[2]..ends[3]).step_by(3) {
        let mut image = bytes.clone();
        image[torn..ends[3]].fill(0);
        fs::write(&path, image).unwrap();
        let store = settled(dir.path(), u64::MAX);
        assert_eq!(judge(&store), WITHOUT_LAST, "torn at {torn}");
        append(&store, &[(1, 1)]);
        assert_eq!(judge(&store), [3, 4]);
        drop(store);
        assert_eq!(judge(&settled(dir.path(), u64::MAX)), [3, 4], "torn at {torn}");
    }
}

/// A log on a disk that forgets what is not flushed, and how the disk behaves.
fn forgetful(dir: &Path, segment_bytes: u64, random: u64) -> (Terms, Conducted) {
    let mut conduct = Conduct::default();
    conduct.random = random;
    conduct.begins(dir);
    let conduct: Conducted = Arc::new((Mutex::new(conduct), Condvar::new()));
    (Terms { disk: Arc::new(TestDisk(Arc::clone(&conduct))), segment_bytes }, conduct)
}

fn start_on(dir: &Path, terms: &Terms) -> Started {
    start(dir, segments(dir).unwrap().unwrap(), (true, terms.clone()), &Opening::default()).unwrap()
}

/// The story: a process is killed between the write of a batch and its flush, and the machine loses power while the next
/// process starts. The batch was not answered. It is there or it is not; the log opens, and nothing before it is lost.
#[test]
fn a_power_cut_while_a_killed_log_is_opened_leaves_a_log_that_opens() {
    let mut kept = [0; 2];
    for random in 0..200 {
        let dir = fresh();
        let (terms, conduct) = forgetful(dir.path(), u64::MAX, random << 40);
        let Started { store, written_to } = start_on(dir.path(), &terms);
        store.settle(written_to).unwrap();
        append(&store, &[(0, 3)]);
        conduct.0.lock().syncs_fail = true;
        store.append(&mut drafts(&store, &[(0, 2)])).unwrap_err();
        drop(store);
        conduct.0.lock().syncs_fail = false;
        conduct.0.lock().cuts_power = true;
        let Started { store, written_to } = start_on(dir.path(), &terms);
        assert_eq!(judge(&store), [5, 0]);
        store.settle(written_to).unwrap();
        store.shut();
        for (_, image) in std::mem::take(&mut conduct.0.lock().cuts) {
            let left = left_by(image);
            let ends = judge(&open(&left.path().join(LOG_DIR), u64::MAX).unwrap().store);
            assert!(ends == [3, 0] || ends == [5, 0], "{ends:?}");
            kept[usize::from(ends == [5, 0])] += 1;
        }
    }
    assert!(kept[0] > 10 && kept[1] > 10, "{kept:?}");
}

/// The story: a flush fails. The system drops what it could not write, and still gives it to whoever reads. Somebody mends the
/// disk and starts the server again, which reads the turn and tells its callers. A power cut after that may not take it.
#[test]
fn what_a_failed_flush_has_left_in_memory_only_is_written_by_the_next_start() {
    let dir = fresh();
    let (terms, conduct) = forgetful(dir.path(), u64::MAX, 0);
    let Started { store, written_to } = start_on(dir.path(), &terms);
    store.settle(written_to).unwrap();
    append(&store, &[(0, 3)]);
    {
        let mut conduct = conduct.0.lock();
        (conduct.syncs_fail, conduct.forgets) = (true, true);
    }
    store.append(&mut drafts(&store, &[(0, 2), (1, 900)])).unwrap_err();
    drop(store);
    conduct.0.lock().syncs_fail = false;
    let Started { store, written_to } = start_on(dir.path(), &terms);
    assert_eq!(judge(&store), [5, 900]);
    store.settle(written_to).unwrap();
    append(&store, &[(0, 1)]);
    conduct.0.lock().cuts_power = true;
    terms.disk.flush_dir(dir.path()).unwrap();
    let (_, image) = conduct.0.lock().cuts.pop().unwrap();
    let left = left_by(image);
    assert_eq!(judge(&open(&left.path().join(LOG_DIR), u64::MAX).unwrap().store), [6, 900]);
}

/// The story: the disk refuses to say that the name of a new segment is safe. Turns in it could be gone with their file,
/// so nothing more is written before a restart.
#[test]
fn a_new_segment_whose_name_is_not_safe_is_a_lost_flush() {
    let dir = fresh();
    let (terms, conduct) = forgetful(dir.path(), 21_192, 0);
    let Started { store, written_to } = start_on(dir.path(), &terms);
    store.settle(written_to).unwrap();
    conduct.0.lock().dir_syncs_fail = true;
    let failed = (0..100).any(|_| store.append(&mut drafts(&store, &[(0, 9)])).is_err());
    assert!(failed && store.has_lost_a_flush() && !store.is_writable());
    assert!(start_on(dir.path(), &terms).store.settle(0).is_err(), "nor is it settled while that goes on");
}

#[test]
fn a_file_that_is_cut_anywhere_or_made_longer_is_refused() {
    let (dir, ends) = sample();
    let named = Named::open(path_of(dir.path(), 0), true).unwrap();
    assert_eq!(named.file.metadata().unwrap().len(), CHUNK_BYTES);
    for (length, why) in [
        (CHUNK_BYTES + 9, "it was made longer, or cut off behind its last batch"),
        (CHUNK_BYTES - 1, "bytes are not its whole length: it was cut off"),
    ] {
        named.file.set_len(length).unwrap();
        let error = open(dir.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.ends_with(why), "{error}");
    }
    for length in (0..ends[3] as u64 + 40).chain([CHUNK_BYTES - 1]) {
        named.file.set_len(length).unwrap();
        assert!(open(dir.path(), u64::MAX).is_err(), "cut at {length}");
    }
}

/// The story: a bit flips on the disk. In the last batch that looks like one that was being written, and the log ends
/// before it. Everywhere else the log or the read is refused, or it does not matter. Nothing is read that was not
/// written.
#[test]
fn a_flipped_bit_at_any_byte_is_refused_or_takes_the_last_batch() {
    let (dir, ends) = sample();
    let named = Named::open(path_of(dir.path(), 0), true).unwrap();
    let bytes = fs::read(&named.path).unwrap();
    let mut refused = 0;
    for at in (0..200).chain(12_288..12_332).chain(16_384..16_432).chain(ends[0] - 200..ends[3] + 5) {
        named.file.write_all_at(&[bytes[at] ^ 1 << (at % 8)], at as u64).unwrap();
        match open(dir.path(), u64::MAX) {
            Err(_) => refused += 1,
            Ok(Started { store, .. }) => {
                let found = judge(&store);
                assert!(
                    found == WHOLE || (found == WITHOUT_LAST && (ends[2]..ends[3]).contains(&at)),
                    "{found:?} at {at}"
                );
                let is_read = (0..PARTITIONS).all(|partition| read(&store, partition, 0, 1_000).is_some());
                assert_eq!(is_read, store.check(&Opening::default()).is_ok());
                refused += usize::from(!is_read);
            }
        }
        named.file.write_all_at(&bytes[at..=at], at as u64).unwrap();
    }
    assert!(refused > ends[2] - ends[0], "{refused}");
    assert_eq!(judge(&open(dir.path(), u64::MAX).unwrap().store), WHOLE);
}

/// The story: a log that was closed in order, so its end is known for good. Damage of its last batch is refused, and
/// takes no other partition with it unless nobody can tell how far it reaches.
#[test]
fn a_log_that_was_closed_in_order_misses_its_last_batch() {
    let (dir, ends) = sample();
    drop(settled(dir.path(), u64::MAX));
    let named = Named::open(path_of(dir.path(), 0), true).unwrap();
    named.file.write_all_at(b"?", ends[3] as u64 - 1).unwrap();
    let store = open(dir.path(), u64::MAX).unwrap().store;
    assert_eq!(judge(&store), WHOLE);
    assert_eq!((read(&store, 1, 0, 1_000), read(&store, 0, 0, 1_000).map(|all| all.len())), (None, Some(3)));
    let error = store.check(&Opening::default()).unwrap_err().to_string();
    assert!(error.contains("segment-00000000 is damaged"), "{error}");
    named.file.write_all_at(b"?", ends[2] as u64 + 10).unwrap();
    let error = open(dir.path(), u64::MAX).unwrap_err().to_string();
    assert!(error.contains("segment-00000000 is damaged") && error.contains("batch 3 is its last one"), "{error}");
}

/// A log of several segments, closed in order.
fn several() -> TempDir {
    let dir = fresh();
    let store = settled(dir.path(), 24 << 10);
    (0..40).for_each(|n| append(&store, &[(n % 2, 9)]));
    assert!(segments(dir.path()).unwrap().is_some_and(|numbers| numbers.start == 0 && numbers.end > 2));
    assert_eq!(judge(&store), [180, 180]);
    dir
}

#[test]
fn a_segment_that_is_missing_foreign_or_of_another_place_is_refused_by_name() {
    let other = several();
    for (harm, says) in [
        (&(|dir: &Path| fs::remove_file(path_of(dir, 1)).unwrap()) as &dyn Fn(&Path), "segment-00000001 is damaged"),
        (&|dir| fs::write(path_of(dir, 1), "SQLite").unwrap(), "segment-00000001 is not a log of this program"),
        (&|dir| fs::write(path_of(dir, 1), "").unwrap(), "segment-00000001 is damaged"),
        (
            &|dir| {
                fs::copy(path_of(dir, 0), path_of(dir, 1)).unwrap();
            },
            "it is segment 0",
        ),
        (
            &|dir| fs::File::options().write(true).open(path_of(dir, 1)).unwrap().set_len(20_000).unwrap(),
            "does not end",
        ),
    ] {
        let dir = TempDir::new().unwrap();
        for entry in fs::read_dir(other.path()).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        harm(dir.path());
        let error = open(dir.path(), 24 << 10).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// The story: a byte of a sealed segment changes, which no start reads. Whoever reads it is told, and a check finds it.
#[test]
fn damage_of_a_sealed_segment_is_found_by_whoever_reads_it_and_by_a_check() {
    let dir = several();
    let store = open(dir.path(), 24 << 10).unwrap().store;
    store.check(&Opening::default()).unwrap();
    let named = Named::open(path_of(dir.path(), 1), true).unwrap();
    let bytes = fs::read(&named.path).unwrap();
    named.file.write_all_at(&[bytes[20_692] ^ 1], 20_692).unwrap();
    let store = open(dir.path(), 24 << 10).unwrap().store;
    assert!((0..PARTITIONS).any(|partition| read(&store, partition, 0, 1_000).is_none()));
    assert_eq!(judge(&store), [180, 180]);
    let error = store.check(&Opening::default()).unwrap_err().to_string();
    assert!(error.contains("segment-00000001 is damaged"), "{error}");
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(u32, u64)>),
    Reopened(bool),
    Read(u32, prop::sample::Index, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let turn = (0..PARTITIONS, prop_oneof![9 => 1..20u64, 1 => 900..1_500u64]);
    let step = prop_oneof![
        6 => prop::collection::vec(turn, 1..4).prop_map(|mut turns| {
            turns.sort();
            turns.dedup_by_key(|(partition, _)| *partition);
            Step::Batch(turns)
        }),
        1 => any::<bool>().prop_map(Step::Reopened),
        3 => (0..PARTITIONS, any::<prop::sample::Index>(), 0..5_000usize).prop_map(|(p, at, max)| Step::Read(p, at, max)),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is appended, in whatever turns, over however many segments and restarts, is read back from anywhere.
    #[test]
    fn a_log_gives_back_what_was_appended(steps in steps(), segment_bytes in 21_000..68_000u64) {
        let dir = fresh();
        let mut store = settled(dir.path(), segment_bytes);
        let mut ends = [0u64; PARTITIONS as usize];
        for step in steps {
            match step {
                Step::Batch(turns) => {
                    append(&store, &turns);
                    turns.iter().for_each(|(partition, count)| ends[*partition as usize] += count);
                }
                Step::Reopened(in_order) => {
                    if !in_order {
                        store.shut();
                    }
                    drop(store);
                    store = settled(dir.path(), segment_bytes);
                }
                Step::Read(partition, at, bytes_max) => {
                    let end = ends[partition as usize];
                    let from = at.index(end as usize + 1) as u64;
                    let expected: Vec<_> = (from..end).map(|seq| record(partition, seq)).collect();
                    prop_assert_eq!(read(&store, partition, from, bytes_max), Some(expected));
                }
            }
            prop_assert_eq!(store.heads().iter().map(|head| head.next_seq).collect::<Vec<_>>(), ends);
        }
        prop_assert_eq!(judge(&store), ends);
    }
}
