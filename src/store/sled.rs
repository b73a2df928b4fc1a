//! Checkpoints in sled: one directory per partition, so that wiping one touches no other. In it a sled database lists
//! the rows and the state that they make. The rows' bytes lie in a plain file next to it ([`rows`]), because sled keeps
//! used pages of 16 values in memory and evicts them only after thousands of pages.
//!
//! Checkpoints are never trusted: every row has a checksum, and the mark has the count of rows and the sum of their
//! checksums. A checkpoint in which any byte, row or deletion is missing is refused as a whole. This code does not know
//! what a row means.

mod rows;

use super::witness::Witness;
use super::{Checkpoint, Mark, Row, Seen, Store, StoreError, StoreErrorKind};
use crate::domain::{Digest, Micros};
use crate::time::pause;
use parking_lot::Mutex;
use rows::{Reader, RowSpan, Writer};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sled::{Batch, Db};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The size of sled's cache in bytes.
const CACHE_BYTES: u64 = 1 << 20;
/// Rows are copied to a new file when its waste exceeds the used bytes by more than this.
const WASTE_BYTES: u64 = 4 << 20;
/// Layout of the mark's value; see [`Held::encode`].
const MARK_LAYOUT: u8 = 1;
/// The key of the mark. It sorts before all rows, whose keys begin with [`ROW_PREFIX`].
const MARK_KEY: &[u8] = &[0];
const ROW_PREFIX: u8 = 1;

/// The number of attempts to open a locked database, and the pause between them.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// What sled says of a locked database, for which it has no kind of error, and what is said here.
const LOCKED: &str = "could not acquire lock";
const IN_USE: &str = "another process has it open";

/// Checkpoints under one directory, which may not exist yet. A partition's database is opened at its first use, so that
/// a broken one affects only its partition and not the process.
pub struct SledStore {
    root: PathBuf,
    open: Mutex<BTreeMap<u32, Opened>>,
    witness: Witness,
    /// Where copies are made of what is only read.
    copies: Option<PathBuf>,
}

/// An open database.
struct Opened {
    db: Db,
    /// Of a copy, the original: its lock keeps others from changing the rows meanwhile.
    _original: Option<fs::File>,
}

impl SledStore {
    /// Checkpoints under `<data_dir>/checkpoint`, with the directory's witness. Does not access the disk.
    pub fn open(data_dir: &Path) -> SledStore {
        let (root, witness) = (data_dir.join("checkpoint"), Witness::of(data_dir));
        SledStore { root, open: Mutex::new(BTreeMap::new()), witness, copies: None }
    }

    /// The same for somebody who only reads. A sled database that is opened is also written, and new files belong to whoever
    /// opened it. So copies are opened, which are made in the directory `copies`.
    pub fn read_only(data_dir: &Path, copies: &Path) -> SledStore {
        SledStore { copies: Some(copies.to_owned()), ..SledStore::open(data_dir) }
    }

    /// The directory's witness.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// The partitions that have a checkpoint or are in the witness.
    ///
    /// # Errors
    /// [`StoreError`] when the directory or the witness cannot be read.
    pub fn kept(&self) -> Result<BTreeSet<u32>, StoreError> {
        let mut kept: BTreeSet<u32> = (0..self.witness.partitions()?).collect();
        let cannot = |error: std::io::Error| StoreError::new(format!("{}: {error}", self.root.display()));
        let names = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(kept),
            names => names.map_err(cannot)?,
        };
        for name in names {
            let name = name.map_err(cannot)?.file_name();
            kept.extend(name.to_str().and_then(|name| name.strip_prefix('p')?.parse::<u32>().ok()));
        }
        Ok(kept)
    }

    /// Moves the checkpoints of these partitions and the witness into a new directory, for an operator who looks into a loss,
    /// and returns the directory.
    ///
    /// # Errors
    /// When they cannot be moved.
    pub fn set_aside(&self, partitions: impl IntoIterator<Item = u32>) -> std::io::Result<PathBuf> {
        let mut open = self.open.lock();
        std::mem::take(&mut *open).into_values().for_each(close);
        let data_dir = self.root.parent().unwrap_or(&self.root);
        let aside = (1..).map(|n: u64| data_dir.join(format!("lost-{n}"))).find(|dir| !dir.exists());
        let aside = aside.unwrap_or_else(|| data_dir.join("lost"));
        let checkpoints = aside.join(self.root.file_name().unwrap_or_default());
        fs::create_dir_all(&checkpoints)?;
        let of_partitions =
            partitions.into_iter().flat_map(|partition| [self.dir(partition), self.aside_dir(partition)]);
        let of_partitions = of_partitions.map(|path| (path, &checkpoints));
        // The witness last: as long as it is there, it tells of the loss.
        for (path, to) in of_partitions.chain([(self.witness.path().to_owned(), &aside)]) {
            if let Some(name) = path.file_name().filter(|_| path.exists()) {
                fs::rename(&path, to.join(name))?;
            }
        }
        for flushed in [&*checkpoints, &*aside, &*self.root, data_dir].into_iter().filter(|dir| dir.exists()) {
            fs::File::open(flushed)?.sync_all()?;
        }
        Ok(aside)
    }

    /// The directory of a partition's checkpoint.
    pub fn dir(&self, partition: u32) -> PathBuf {
        self.root.join(format!("p{partition}"))
    }

    /// The directory in which [`Store::wipe`] keeps a copy of the last checkpoint that it removed.
    pub fn aside_dir(&self, partition: u32) -> PathBuf {
        self.root.join(format!("p{partition}.aside"))
    }

    /// Whether another process has the partition's checkpoint open, and has not closed it within a second.
    pub fn is_in_use(&self, partition: u32) -> bool {
        let is_there = self.dir(partition).try_exists().unwrap_or(false);
        is_there && self.with(partition, |_| Ok(())).is_err_and(|error| error.detail.ends_with(IN_USE))
    }

    /// The directory of all checkpoints.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs `f` on the partition's database. After an error the handle is dropped, so that the next call reads from the
    /// disk, and nothing that a failed operation left in memory.
    fn with<T>(&self, partition: u32, f: impl FnOnce(&Disk<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let dir = self.dir(partition);
        let mut open = self.open.lock();
        let opened = match open.remove(&partition) {
            Some(opened) => opened,
            None => {
                let opened = match &self.copies {
                    Some(copies) => open_copy(&dir, &copies.join(format!("p{partition}"))),
                    None => guarded(|| open_unlocked(&dir)).map(|db| Opened { db, _original: None }),
                };
                opened.map_err(|error| self.error(partition, error))?
            }
        };
        match f(&Disk { db: &opened.db, dir: &dir, partition }) {
            Ok(done) => {
                open.insert(partition, opened);
                Ok(done)
            }
            Err(error) => {
                close(opened);
                Err(self.error(partition, error))
            }
        }
    }

    fn error(&self, partition: u32, StoreError { detail, kind }: StoreError) -> StoreError {
        StoreError { detail: format!("checkpoint {}: {detail}", self.dir(partition).display()), kind }
    }

    /// Whether the partition's database is there and holds nothing, as a write that could not begin leaves it.
    fn is_empty(&self, partition: u32) -> bool {
        self.dir(partition).is_dir() && matches!(self.with(partition, |disk| disk.held()), Ok(None))
    }

    /// Removes the partition's checkpoint, and gives its place to the one in this directory.
    fn remove(&self, partition: u32, why: &str, new: Option<&Path>) -> std::io::Result<()> {
        let (dir, aside) = (self.dir(partition), self.aside_dir(partition));
        // A copy that may hold a state is not given up for a database that holds none.
        let is_worthless = aside.exists() && self.is_empty(partition);
        let mut open = self.open.lock();
        open.remove(&partition).into_iter().for_each(close);
        let is_there = dir.try_exists()?;
        // In one step where the system can: so whenever this process dies, there is a checkpoint in the place.
        let exchanged =
            new.filter(|new| is_there && renameat_with(CWD, *new, CWD, &dir, RenameFlags::EXCHANGE).is_ok());
        if is_there {
            let old = exchanged.unwrap_or(&dir);
            // The checkpoint is removed even when no copy of it can be kept.
            let is_kept = !is_worthless && remove_tree(&aside).and_then(|()| fs::rename(old, &aside)).is_ok();
            match is_kept {
                true => drop(fs::write(aside.join("why"), why)),
                // The new one is in its place.
                false if exchanged.is_some() => drop(remove_tree(old)),
                false => remove_tree(old)?,
            }
        }
        if let Some(new) = new {
            if exchanged.is_none() {
                fs::rename(new, &dir)?;
            }
            // Open from now on, as the old one was: no other process gets between.
            let opened = guarded(|| open_unlocked(&dir)).map(|db| Opened { db, _original: None });
            open.extend(opened.ok().map(|opened| (partition, opened)));
        }
        // Without this flush a power cut could bring the old directory back.
        if is_there || new.is_some() { fs::File::open(&self.root)?.sync_all() } else { Ok(()) }
    }
}

impl Store for SledStore {
    fn load(&self, partition: u32, row: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, StoreError> {
        // Looking for a checkpoint must not make a database.
        match self.dir(partition).try_exists() {
            Ok(true) => self.with(partition, |disk| disk.load(row)),
            Ok(false) => Ok(None),
            Err(error) => Err(self.error(partition, of_disk(error))),
        }
    }

    fn apply(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.with(checkpoint.mark.partition, |disk| disk.apply(checkpoint))
    }

    /// The new one is made beside the old one, which stays until then.
    fn replace(&self, checkpoint: &Checkpoint, why: &str) -> Result<(), StoreError> {
        let partition = checkpoint.mark.partition;
        let new = self.root.join(format!("p{partition}.new"));
        // The disk need not have room for three of them.
        if !self.is_empty(partition) {
            drop(remove_tree(&self.aside_dir(partition)));
        }
        let placed = make(&new, checkpoint).and_then(|()| self.remove(partition, why, Some(&new)).map_err(of_disk));
        placed.map_err(|error| self.error(partition, error))
    }

    fn wipe(&self, partition: u32, why: &str) -> Result<(), StoreError> {
        self.remove(partition, why, None).map_err(|error| {
            let why = format!("cannot be wiped: {error}");
            self.error(partition, of_disk(std::io::Error::new(error.kind(), why)))
        })
    }

    fn seen(&self, partition: u32) -> Result<Vec<Seen>, StoreError> {
        let is_there = self.dir(partition).try_exists().unwrap_or(true);
        // A checkpoint that cannot be read is left out here: loading it reports the error.
        let held = if is_there { self.with(partition, |disk| disk.held()).ok().flatten() } else { None };
        let marked = held.map(|held| Seen::from(&held.mark));
        Ok(marked.into_iter().chain(self.witness.seen(partition)?).collect())
    }

    fn note(&self, partition: u32, seen: &Seen) {
        self.witness.note(partition, seen);
    }
}

fn config(dir: &Path) -> sled::Config {
    // Only `apply` flushes: without a timer no background write can fail unnoticed.
    sled::Config::new().path(dir.join("index")).cache_capacity(CACHE_BYTES).flush_every_ms(None)
}

/// Opens a database. A database that was closed a moment ago stays locked until its last background thread has ended:
/// opening is tried again for at most a second.
fn open_unlocked(dir: &Path) -> sled::Result<Db> {
    for _ in 0..LOCK_TRIES {
        match config(dir).open() {
            Err(sled::Error::Io(error)) if error.to_string().contains(LOCKED) => {
                pause(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
    config(dir).open()
}

/// Makes a database in this directory, with a whole checkpoint in it, and closes it.
fn make(dir: &Path, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    // One may be there of an earlier try, or of another process that is at it.
    if let Err(error) = lock(dir)
        && error.kind == StoreErrorKind::Transient
    {
        return Err(error);
    }
    remove_tree(dir).map_err(of_disk)?;
    let db = guarded(|| open_unlocked(dir))?;
    let applied = Disk { db: &db, dir, partition: checkpoint.mark.partition }.apply(checkpoint);
    close(Opened { db, _original: None });
    // Whoever renames or removes the directory has to know that nobody writes to it any more.
    lock(dir)?;
    // What cannot be removed now, the next try removes.
    applied.inspect_err(|_| drop(remove_tree(dir)))
}

/// The file of a closed database, locked so that nobody opens it for writing.
fn lock(dir: &Path) -> Result<fs::File, StoreError> {
    let file = fs::File::open(dir.join("index").join("db")).map_err(of_disk)?;
    let is_locked = || matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock));
    let mut tries = 0;
    while is_locked() {
        if tries == LOCK_TRIES {
            return Err(StoreError::new(IN_USE));
        }
        tries = tries.saturating_add(1);
        pause(LOCK_PAUSE);
    }
    Ok(file)
}

/// Opens a copy of the database, which lists rows of the original.
fn open_copy(dir: &Path, copy: &Path) -> Result<Opened, StoreError> {
    let original = lock(dir)?;
    // One may be there of an earlier try.
    remove_tree(copy).and_then(|()| copy_tree(&dir.join("index"), &copy.join("index"))).map_err(of_disk)?;
    let db = guarded(|| open_unlocked(copy))?;
    Ok(Opened { db, _original: Some(original) })
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Runs one call into sled and turns its panics into errors: sled asserts what it reads from the disk, and a corrupt
/// checkpoint must not end the process. This is sound because after an error the database is closed and never used
/// again (`with`). Callers run no code of their own in here, so that their panics stay panics.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Err(sled::Error::Io(error))) => Err(of_disk(error)),
        Ok(result) => result.map_err(|error| StoreError::damaged(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(StoreError::damaged(format!("sled panicked: {}", text.unwrap_or("without a message"))))
        }
    }
}

/// Closing writes to the disk, and so may panic as well.
fn close(opened: Opened) {
    let _ = guarded(|| {
        drop(opened);
        Ok(())
    });
}

/// The same as `remove_dir_all`, but a missing directory is no error.
fn remove_tree(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A partition's checkpoint on the disk.
struct Disk<'a> {
    db: &'a Db,
    dir: &'a Path,
    partition: u32,
}

impl Disk<'_> {
    fn load(&self, row: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, StoreError> {
        let Some(held) = self.held()? else { return Ok(None) };
        let mut reader = Reader::open(self.dir, held.file, held.end).map_err(of_disk)?;
        let mut found = Tally::default();
        self.each_row(|key, span| {
            found.add(span);
            row(key, reader.read(key, span).map_err(of_disk)?);
            Ok(())
        })?;
        match found == held.tally {
            true => Ok(Some(held.mark)),
            false => {
                let (found, all) = (found.rows, held.tally.rows);
                Err(StoreError::damaged(format!("rows do not match its mark: {found} of {all} found")))
            }
        }
    }

    fn apply(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let before = self.held()?;
        let there = before.as_ref().map(|held| held.mark.next_seq);
        if there != checkpoint.base {
            let base = checkpoint.base;
            return Err(StoreError::new(format!(
                "changes to the state at {base:?} do not fit the stored one: {there:?}"
            )));
        }
        if let Some(before) = &before {
            follows(&before.mark, &checkpoint.mark)?;
        }
        // Only the last row of each key counts: the tally must count what the batch leaves.
        let changed: BTreeMap<&[u8], Option<&[u8]>> =
            checkpoint.rows.iter().map(|Row { key, value }| (key.as_slice(), value.as_deref())).collect();
        let (file, end) = before.as_ref().map_or((0, 0), |held| (held.file, held.end));
        let mut tally = before.map_or_else(Tally::default, |held| held.tally);
        for key in changed.keys() {
            if let Some(span) = self.place(key)? {
                tally.remove(span);
            }
        }
        let mut batch = Batch::default();
        let worn = end > tally.bytes.saturating_mul(2).saturating_add(WASTE_BYTES);
        let file = if worn { file.wrapping_add(1) } else { file };
        let mut writer = Writer::open(self.dir, file, if worn { 0 } else { end }).map_err(of_disk)?;
        if worn {
            let mut reader = Reader::open(self.dir, file.wrapping_sub(1), end).map_err(of_disk)?;
            self.each_row(|key, span| {
                if !changed.contains_key(key) {
                    let bytes = reader.read(key, span).map_err(of_disk)?;
                    batch.insert(row_key(key), writer.write(key, bytes).map_err(of_disk)?.encode());
                }
                Ok(())
            })?;
        }
        for (key, value) in changed {
            let Some(bytes) = value else {
                batch.remove(row_key(key));
                continue;
            };
            let span = writer.write(key, bytes).map_err(of_disk)?;
            tally.add(span);
            batch.insert(row_key(key), span.encode());
        }
        // The bytes must be durable before the database points to them.
        let end = writer.finish().map_err(of_disk)?;
        fs::File::open(self.dir).and_then(|dir| dir.sync_all()).map_err(of_disk)?;
        batch.insert(MARK_KEY, Held { mark: checkpoint.mark, tally, file, end }.encode());
        guarded(|| self.db.apply_batch(batch))?;
        guarded(|| self.db.flush())?;
        rows::remove_others(self.dir, file);
        Ok(())
    }

    /// The contents of the mark; `None` when the database is empty.
    fn held(&self) -> Result<Option<Held>, StoreError> {
        let Some(bytes) = guarded(|| self.db.get(MARK_KEY))? else {
            return match guarded(|| Ok(self.db.is_empty()))? {
                true => Ok(None),
                false => Err(StoreError::damaged("has rows and no mark")),
            };
        };
        let held = Held::decode(&bytes).ok_or_else(|| StoreError::damaged("mark cannot be read"))?;
        match held.mark.partition == self.partition {
            true => Ok(Some(held)),
            false => Err(StoreError::damaged(format!("is of partition {}", held.mark.partition))),
        }
    }

    fn place(&self, key: &[u8]) -> Result<Option<RowSpan>, StoreError> {
        let found = guarded(|| self.db.get(row_key(key)))?;
        found.map(|bytes| span(&bytes)).transpose()
    }

    fn each_row(&self, mut row: impl FnMut(&[u8], RowSpan) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut entries = guarded(|| Ok(self.db.scan_prefix([ROW_PREFIX])))?;
        while let Some((key, bytes)) = guarded(|| entries.next().transpose())? {
            row(key.get(1..).unwrap_or_default(), span(&bytes)?)?;
        }
        Ok(())
    }
}

/// A checkpoint is a change to the one before. On any other base it would make a state that never existed.
fn follows(before: &Mark, mark: &Mark) -> Result<(), StoreError> {
    if (before.log_id, before.format_version) != (mark.log_id, mark.format_version) {
        return Err(StoreError::new("is of another log or layout"));
    }
    if before.next_seq > mark.next_seq {
        return Err(StoreError::new(format!("is at {}, beyond {}", before.next_seq, mark.next_seq)));
    }
    Ok(())
}

fn span(bytes: &[u8]) -> Result<RowSpan, StoreError> {
    RowSpan::decode(bytes).ok_or_else(|| StoreError::damaged("the position of a row cannot be read"))
}

fn row_key(key: &[u8]) -> Vec<u8> {
    [&[ROW_PREFIX], key].concat()
}

/// An error of the disk, as that of a checkpoint. What is missing or cut off is damage. A checkpoint that this process may not
/// open, or for which there is no room, may be sound.
fn of_disk(error: std::io::Error) -> StoreError {
    use std::io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let detail = error.to_string();
    match error.kind() {
        _ if detail.contains(LOCKED) => StoreError::new(IN_USE),
        PermissionDenied => StoreError::refused(detail),
        FileTooLarge | QuotaExceeded | ReadOnlyFilesystem | StorageFull => StoreError::operator(detail),
        _ => StoreError::damaged(detail),
    }
}

/// The sums over all rows that there should be. They show a lost, old or restored row and a half-applied batch,
/// whatever the order of rows.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    rows: u64,
    bytes: u64,
    /// The sum of all checksums.
    sum: u64,
}

impl Tally {
    fn add(&mut self, span: RowSpan) {
        self.rows = self.rows.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(u64::from(span.len));
        self.sum = self.sum.wrapping_add(span.check);
    }

    fn remove(&mut self, span: RowSpan) {
        self.rows = self.rows.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(u64::from(span.len));
        self.sum = self.sum.wrapping_sub(span.check);
    }
}

/// The mark as it is stored, with what is needed to read and check the rows.
struct Held {
    mark: Mark,
    tally: Tally,
    /// The number of the file that holds the rows.
    file: u64,
    /// The end of the used bytes of that file.
    end: u64,
}

impl Held {
    /// The encoding: one byte of layout, every field in the order of [`Mark`], [`Tally`] and [`Held`], little-endian,
    /// and a checksum of all that.
    fn encode(&self) -> Vec<u8> {
        let Held { mark, tally, file, end } = self;
        let mut bytes = vec![MARK_LAYOUT];
        bytes.extend(mark.log_id.to_le_bytes());
        bytes.extend(mark.partition.to_le_bytes());
        bytes.extend(mark.format_version.to_le_bytes());
        bytes.extend(mark.next_seq.to_le_bytes());
        bytes.extend(mark.next_input.to_le_bytes());
        bytes.extend(mark.chain.0);
        bytes.extend(mark.epoch.to_le_bytes());
        bytes.extend(mark.decided_at.0.to_le_bytes());
        for number in [tally.rows, tally.bytes, tally.sum, *file, *end] {
            bytes.extend(number.to_le_bytes());
        }
        let check = rows::checksum(MARK_KEY, &bytes);
        bytes.extend(check.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Held> {
        let (body, check) = bytes.split_last_chunk()?;
        let mut rest = body;
        if u64::from_le_bytes(*check) != rows::checksum(MARK_KEY, body) || take::<1>(&mut rest)? != [MARK_LAYOUT] {
            return None;
        }
        let mark = Mark {
            log_id: u128::from_le_bytes(take(&mut rest)?),
            partition: u32::from_le_bytes(take(&mut rest)?),
            format_version: u32::from_le_bytes(take(&mut rest)?),
            next_seq: u64::from_le_bytes(take(&mut rest)?),
            next_input: u64::from_le_bytes(take(&mut rest)?),
            chain: Digest(take(&mut rest)?),
            epoch: u32::from_le_bytes(take(&mut rest)?),
            decided_at: Micros(u64::from_le_bytes(take(&mut rest)?)),
        };
        let mut number = || take(&mut rest).map(u64::from_le_bytes);
        let tally = Tally { rows: number()?, bytes: number()?, sum: number()? };
        let held = Held { mark, tally, file: number()?, end: number()? };
        rest.is_empty().then_some(held)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}
