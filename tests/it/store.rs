//! What a checkpoint may and may not do to a restart: give back what was applied, or say that it cannot.

use crate::knob;
use headroom::domain::{Digest, Micros};
use headroom::store::sled::SledStore;
use headroom::store::{Checkpoint, Mark, Row, Store, StoreError};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn mark(partition: u32, next_seq: u64) -> Mark {
    Mark {
        log_id: 0x1234_5678_9abc_def0_1111_2222_3333_4444,
        partition,
        format_version: 3,
        next_seq,
        next_input: next_seq + 5,
        chain: Digest([7; 16]),
        epoch: 2,
        decided_at: Micros(1_700_000_000_000_000 + next_seq),
    }
}

fn row(n: u32, fill: u8, len: usize) -> Row {
    let value = (0..len).map(|i| fill.wrapping_add((i % 251) as u8)).collect();
    Row { key: n.to_be_bytes().to_vec(), value: Some(value) }
}

fn gone(n: u32) -> Row {
    Row { key: n.to_be_bytes().to_vec(), value: None }
}

/// Rows 0, 1, 2… of `bytes` each.
fn checkpoint(partition: u32, next_seq: u64, rows: u32, bytes: usize) -> Checkpoint {
    Checkpoint {
        mark: mark(partition, next_seq),
        base: None,
        rows: (0..rows).map(|n| row(n, n as u8, bytes)).collect(),
    }
}

fn rows_of(checkpoint: &Checkpoint) -> Rows {
    checkpoint.rows.iter().filter_map(|row| Some((row.key.clone(), row.value.clone()?))).collect()
}

fn load(store: &SledStore, partition: u32) -> Result<Option<(Mark, Rows)>, StoreError> {
    let mut rows = Rows::new();
    let mark = store.load(partition, &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
    })?;
    Ok(mark.map(|mark| (mark, rows)))
}

/// Loads as a new process would.
fn reload(dir: &Path, partition: u32) -> Result<Option<(Mark, Rows)>, StoreError> {
    load(&SledStore::open(dir), partition)
}

fn applied(checkpoint: &Checkpoint) -> TempDir {
    let dir = TempDir::new().unwrap();
    SledStore::open(dir.path()).apply(checkpoint).unwrap();
    dir
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

fn wipe_then_apply_works(dir: &Path, partition: u32) {
    let store = SledStore::open(dir);
    store.wipe(partition, "a test says so").unwrap();
    assert_eq!(load(&store, partition), Ok(None));
    let fresh = checkpoint(partition, 1, 3, 10);
    store.apply(&fresh).unwrap();
    drop(store);
    assert_eq!(reload(dir, partition), Ok(Some((fresh.mark, rows_of(&fresh)))));
}

#[test]
fn nothing_is_no_checkpoint_and_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    assert_eq!(reload(dir.path(), 0), Ok(None));
    SledStore::open(dir.path()).wipe(0, "nothing there").unwrap();
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn reopening_gives_the_same_rows() {
    for (rows, bytes) in [(0, 0), (1, 0), (1, 1), (100, 5_000), (3, 600_000)] {
        let written = checkpoint(2, 40, rows, bytes);
        let dir = applied(&written);
        assert_eq!(reload(dir.path(), 2), Ok(Some((written.mark, rows_of(&written)))), "{rows} rows of {bytes}");
    }
}

#[test]
fn later_checkpoints_change_add_and_remove() {
    let first = checkpoint(0, 10, 50, 300);
    let dir = applied(&first);
    let mut expected = rows_of(&first);
    let store = SledStore::open(dir.path());
    for step in 1..20_u32 {
        let rows = vec![gone(step), row(step + 1, 0xee, 20), row(1_000 + step, 1, 5), gone(9_999), gone(40)];
        for Row { key, value } in &rows {
            match value {
                Some(value) => drop(expected.insert(key.clone(), value.clone())),
                None => drop(expected.remove(key)),
            }
        }
        let at = 10 + u64::from(step);
        let next = Checkpoint { mark: mark(0, at), base: Some(at - 1), rows };
        store.apply(&next).unwrap();
        assert_eq!(load(&store, 0), Ok(Some((next.mark, expected.clone()))));
    }
    drop(store);
    assert_eq!(reload(dir.path(), 0), Ok(Some((mark(0, 29), expected))));
}

#[test]
fn rewriting_for_ever_takes_bounded_space() {
    let (rows, bytes) = (40_u32, 50_000_usize);
    let dir = applied(&checkpoint(0, 0, rows, bytes));
    let store = SledStore::open(dir.path());
    let mut expected = rows_of(&checkpoint(0, 0, rows, bytes));
    for step in 1..60_u32 {
        // A quarter changes, another quarter each time: what is copied to a new file matters as much as what is not.
        let rows = (0..rows).filter(|n| (n + step) % 4 == 0).map(|n| row(n, (n + step) as u8, bytes)).collect();
        let at = u64::from(step);
        let next = Checkpoint { mark: mark(0, at), base: Some(at - 1), rows };
        store.apply(&next).unwrap();
        expected.extend(rows_of(&next));
        let on_disk: u64 = files(&store.dir(0)).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(on_disk < 16 << 20, "{on_disk} bytes for {} after {step} steps", rows_of(&next).len());
    }
    drop(store);
    assert_eq!(reload(dir.path(), 0), Ok(Some((mark(0, 59), expected))));
}

#[test]
fn of_two_rows_with_one_key_the_last_counts() {
    let dir = applied(&Checkpoint {
        mark: mark(0, 1),
        base: None,
        rows: vec![row(1, 1, 9), gone(1), row(1, 2, 4), row(2, 1, 1)],
    });
    SledStore::open(dir.path())
        .apply(&Checkpoint { mark: mark(0, 2), base: Some(1), rows: vec![row(2, 5, 5), gone(2)] })
        .unwrap();
    let expected = rows_of(&Checkpoint { mark: mark(0, 2), base: None, rows: vec![row(1, 2, 4)] });
    assert_eq!(reload(dir.path(), 0), Ok(Some((mark(0, 2), expected))));
}

#[test]
fn partitions_are_apart() {
    let dir = TempDir::new().unwrap();
    let store = SledStore::open(dir.path());
    let (a, b) = (checkpoint(0, 1, 10, 100), checkpoint(1, 9, 20, 50));
    store.apply(&a).unwrap();
    store.apply(&b).unwrap();
    store.wipe(0, "only this one").unwrap();
    assert_eq!(load(&store, 0), Ok(None));
    assert_eq!(load(&store, 1), Ok(Some((b.mark, rows_of(&b)))));
}

/// The story: changes of one log, or of an older state, are written on top of another checkpoint. Loaded, it would be a
/// state that no log has ever made. They are refused, and the checkpoint stays as it was.
#[test]
fn a_checkpoint_that_does_not_follow_is_refused() {
    let first = checkpoint(0, 10, 5, 10);
    let dir = applied(&first);
    let store = SledStore::open(dir.path());
    for foreign in
        [Mark { next_seq: 9, ..first.mark }, Mark { log_id: 1, ..first.mark }, Mark { format_version: 4, ..first.mark }]
    {
        assert!(
            store.apply(&Checkpoint { mark: foreign, base: Some(10), rows: vec![gone(1)] }).is_err(),
            "{foreign:?}"
        );
    }
    assert_eq!(load(&store, 0), Ok(Some((first.mark, rows_of(&first)))));
}

/// The story: a write of changes fails, and the next ones build on what was never written. The checkpoint would miss
/// the reservations between. Changes name the state that they change, and are refused on any other.
#[test]
fn changes_of_a_state_that_is_not_there_are_refused() {
    let first = checkpoint(0, 10, 5, 10);
    let dir = applied(&first);
    let store = SledStore::open(dir.path());
    for base in [None, Some(9), Some(11)] {
        let changes = Checkpoint { mark: mark(0, 12), base, rows: vec![row(9, 9, 9)] };
        assert!(store.apply(&changes).is_err(), "{base:?}");
        assert_eq!(load(&store, 0), Ok(Some((first.mark, rows_of(&first)))), "{base:?}");
    }
    store.wipe(0, "to show that changes need something to change").unwrap();
    let changes = Checkpoint { mark: mark(0, 12), base: Some(10), rows: vec![row(9, 9, 9)] };
    assert!(store.apply(&changes).is_err());
    assert_eq!(load(&store, 0), Ok(None));
}

/// The story: somebody restores the directory of partition 0 under the name of partition 1. Its pools would appear
/// twice. The checkpoint knows its partition and is refused, wiped, and rebuilt from the log.
#[test]
fn a_copy_from_another_partition_is_refused() {
    let dir = applied(&checkpoint(0, 10, 5, 10));
    let store = SledStore::open(dir.path());
    copy_tree(&store.dir(0), &store.dir(1));
    let error = reload(dir.path(), 1).unwrap_err();
    assert!(error.detail.contains("is of partition 0"), "{error}");
    assert!(store.apply(&checkpoint(1, 11, 1, 1)).is_err());
    drop(store);
    wipe_then_apply_works(dir.path(), 1);
}

#[test]
fn wiping_keeps_one_copy_aside_and_says_why() {
    let dir = applied(&checkpoint(0, 10, 5, 10));
    let store = SledStore::open(dir.path());
    store.wipe(0, "first").unwrap();
    store.apply(&checkpoint(0, 3, 1, 1)).unwrap();
    store.wipe(0, "second").unwrap();
    store.wipe(0, "there is nothing to wipe").unwrap();
    assert_eq!(fs::read_to_string(store.aside_dir(0).join("why")).unwrap(), "second");
    assert_eq!(fs::read_dir(dir.path().join("checkpoint")).unwrap().count(), 1);
}

/// The story: a disk fills up while a whole checkpoint is written, and the one before is gone by then. On a bounded log nothing
/// else may reach up to the first event. It stays until another one is whole.
#[test]
fn a_whole_checkpoint_takes_the_place_of_another_one_when_it_is_written() {
    let first = checkpoint(0, 10, 5, 10);
    let dir = applied(&first);
    let store = SledStore::open(dir.path());
    let names = || fs::read_dir(store.root()).unwrap().count();
    let unfit = Checkpoint { base: Some(9), ..checkpoint(0, 12, 3, 10) };
    assert!(store.replace(&unfit, "it cannot be written").is_err());
    assert_eq!((load(&store, 0), names()), (Ok(Some((first.mark, rows_of(&first)))), 1));
    let next = checkpoint(0, 12, 3, 10);
    store.replace(&next, "a better one").unwrap();
    assert_eq!((load(&store, 0), names()), (Ok(Some((next.mark, rows_of(&next)))), 2));
    assert_eq!(fs::read_to_string(store.aside_dir(0).join("why")).unwrap(), "a better one");
    store.apply(&Checkpoint { mark: mark(0, 13), base: Some(12), rows: vec![gone(0)] }).unwrap();
    drop(store);
    let (found, rows) = reload(dir.path(), 0).unwrap().unwrap();
    assert_eq!((found.next_seq, rows.len()), (13, 2));
    // Nor does it need one before it.
    SledStore::open(dir.path()).replace(&checkpoint(1, 1, 1, 1), "there is none").unwrap();
    assert_eq!(reload(dir.path(), 1).unwrap().map(|(mark, _)| mark.next_seq), Some(1));
}

/// The story: on a full disk a database is made and nothing gets into it. Put aside as well, it would take the place of the only
/// copy that holds a state.
#[test]
fn a_copy_aside_is_not_given_up_for_a_database_that_holds_nothing() {
    let dir = applied(&checkpoint(0, 10, 5, 10));
    let store = SledStore::open(dir.path());
    store.wipe(0, "it holds a state").unwrap();
    assert!(store.apply(&Checkpoint { base: Some(10), ..checkpoint(0, 12, 1, 1) }).is_err());
    assert!(store.dir(0).exists());
    store.wipe(0, "it holds nothing").unwrap();
    assert!(!store.dir(0).exists());
    assert_eq!(fs::read_to_string(store.aside_dir(0).join("why")).unwrap(), "it holds a state");
}

/// The story: one checkpoint directory is broken. If that kept the whole store from opening, every partition would be
/// rebuilt from the log. The broken one alone is refused, and made anew.
#[test]
fn a_directory_that_cannot_be_opened_affects_its_partition_alone() {
    let dir = TempDir::new().unwrap();
    let store = SledStore::open(dir.path());
    fs::create_dir_all(dir.path().join("checkpoint")).unwrap();
    fs::write(store.dir(0), "a file where a directory belongs").unwrap();
    assert!(load(&store, 0).is_err());
    assert!(store.apply(&checkpoint(0, 1, 1, 1)).is_err());
    store.apply(&checkpoint(1, 1, 1, 1)).unwrap();
    drop(store);
    wipe_then_apply_works(dir.path(), 0);
}

/// One way to spoil a file of so many bytes, chosen by a number.
fn spoil(path: &Path, choice: u64) -> String {
    let mut bytes = fs::read(path).unwrap();
    // A fixed scramble of the choice: the places are scattered, and the same on every run.
    let scattered = choice.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let at = (scattered % bytes.len().max(1) as u64) as usize;
    let end = bytes.len().min(at + 512);
    let what = match choice % 5 {
        0 | 1 if !bytes.is_empty() => {
            bytes[at] ^= 1 << (scattered >> 61);
            "flipped"
        }
        2 if !bytes.is_empty() => {
            bytes[at..end].fill(0);
            "zeroed"
        }
        3 => {
            bytes.truncate(at);
            "truncated"
        }
        _ => {
            bytes.extend([0xa5; 700]);
            "lengthened"
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{} {what} at {at}", path.display())
}

/// The story: a checkpoint's files are damaged on the disk: bits flip, pages are zeroed, ends are cut or grow. Loaded
/// as they are, they would be pools with wrong counters, and the log after them would be folded on top. The load is
/// refused, or gives exactly one of the checkpoints that were applied.
#[test]
fn spoilt_files_are_refused_or_load_as_some_checkpoint_that_was_applied() {
    // Three checkpoints, so that falling back to an older one is possible, and must then be all of it.
    let dir = TempDir::new().unwrap();
    let store = SledStore::open(dir.path());
    let mut legal = Vec::new();
    let mut rows = Rows::new();
    for (base, seq, count, bytes) in [(None, 10, 60, 900), (Some(10), 20, 90, 700), (Some(20), 30, 30, 5_000)] {
        let next = Checkpoint { base, ..checkpoint(0, seq, count, bytes) };
        store.apply(&next).unwrap();
        rows.extend(rows_of(&next));
        legal.push(Some((next.mark, rows.clone())));
    }
    drop(store);
    // sled may find nothing at all to be there: then all is rebuilt, which is as good as being refused.
    legal.push(None);

    let spoils: u64 = knob("HEADROOM_STORE_SPOILS", 120);
    let mut refused = 0;
    for choice in 0..spoils {
        let copy = TempDir::new().unwrap();
        copy_tree(dir.path(), copy.path());
        let all = files(copy.path());
        let what = spoil(&all[(choice / 5) as usize % all.len()], choice);
        match reload(copy.path(), 0) {
            Ok(found) => assert!(legal.contains(&found), "{what}: loaded what never was applied"),
            Err(_) => refused += 1,
        }
        if choice % 4 == 0 {
            wipe_then_apply_works(copy.path(), 0);
        }
    }
    assert!(refused > 0, "none of {spoils} spoilt copies was refused: the spoiling does not reach the files");
}

/// The story: a file of the checkpoint is deleted by hand or was not in the backup. The library under the store panics
/// on some of that, which would end the process in a loop of restarts. The load is refused or right, and a new
/// checkpoint can be written.
#[test]
fn missing_files_are_refused_without_a_panic() {
    let written = checkpoint(0, 10, 40, 3_000);
    let dir = applied(&written);
    for missing in files(dir.path()) {
        let copy = TempDir::new().unwrap();
        copy_tree(dir.path(), copy.path());
        fs::remove_file(copy.path().join(missing.strip_prefix(dir.path()).unwrap())).unwrap();
        if let Ok(Some(found)) = reload(copy.path(), 0) {
            assert_eq!(found, (written.mark, rows_of(&written)), "without {}", missing.display());
        }
        wipe_then_apply_works(copy.path(), 0);
    }
}

/// The story: the process is killed, or the directory copied, in the middle of a write. Half of the changes would be a
/// state between two turns. What is left is refused, or is one of the checkpoints as it was applied.
#[test]
fn a_copy_taken_while_writing_is_refused_or_whole() {
    // What a kill leaves: the file as of some moment, cut anywhere in its last write.
    let dir = TempDir::new().unwrap();
    let store = SledStore::open(dir.path());
    let mut legal = vec![None];
    let mut rows = Rows::new();
    for step in 0..12 {
        let whole = checkpoint(0, step, 20 + (step as u32 % 3) * 30, 2_000);
        let next = Checkpoint { base: step.checked_sub(1), ..whole };
        store.apply(&next).unwrap();
        rows.extend(rows_of(&next));
        legal.push(Some((next.mark, rows.clone())));
        let db = store.dir(0).join("index").join("db");
        let whole = fs::metadata(&db).unwrap().len();
        for cut in [0, 1, 700, 9_000, 40_000] {
            let copy = TempDir::new().unwrap();
            copy_tree(dir.path(), copy.path());
            let target = copy.path().join(db.strip_prefix(dir.path()).unwrap());
            fs::OpenOptions::new().write(true).open(target).unwrap().set_len(whole.saturating_sub(cut)).unwrap();
            if let Ok(found) = reload(copy.path(), 0) {
                assert!(legal.contains(&found), "step {step} cut by {cut}: loaded what never was applied");
            }
        }
    }
}
