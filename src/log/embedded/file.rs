//! The file `log.redb`: making it, opening it, its tables, and reading rows. Later writes are in [`super::commit`].
//! Rows are never changed or removed, except the heads, which follow the last row, and the resolutions of dead letters.

use super::super::{LogError, Manifest, Opening};
use super::Judge;
use super::deferred_writes::{DeferredWrites, Flag};
use super::error::{Fault, OpenError, guarded};
use super::row::{Kind, Record, Row, RowKey};
use crate::domain::Micros;
use crate::domain::route::HASH_VERSION;
use crate::limits::{DEDUP_WINDOW_MS, MEMORY_VERSION, PARTITIONS_MAX};
use parking_lot::RwLock;
use redb::backends::FileBackend;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The version of the layout of the file: tables, rows, checksums.
pub(super) const FORMAT_VERSION: u32 = 1;
/// The name of the log in its data directory.
pub(super) const FILE_NAME: &str = "log.redb";
/// The name of the file until it is complete: a half-made log must never be taken for a log.
const UNFINISHED_NAME: &str = "log.redb.new";
/// The first bytes of every redb file.
const REDB_MAGIC: &[u8] = b"redb";
/// Memory for pages of the file. Followers read the end, which is among the pages written last.
const CACHE_BYTES: usize = 16 << 20;

pub(super) type Rows = TableDefinition<'static, (u32, u64), &'static [u8]>;

/// The manifest: one value under the empty name.
pub(super) const MANIFEST: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("manifest");
/// The ends of the two tables below, by partition. They say what the tables must hold, so that missing rows are
/// noticed.
pub(super) const HEADS: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("heads");
/// Runs of events by partition and first sequence number.
pub(super) const EVENTS: Rows = TableDefinition::new("events");
/// Runs of decided commands by partition and first offset.
pub(super) const COMMANDS: Rows = TableDefinition::new("commands");

/// The resolutions of dead letters, by partition and offset. The table does not exist before the first one.
pub(super) const LETTERS: Rows = TableDefinition::new("letters");

/// The end of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    /// The sequence number after the last event.
    pub(super) next_seq: u64,
    /// The input offset after the last one decided.
    pub(super) next_input: u64,
}

impl Head {
    pub(super) fn value(self, partition: u32) -> Vec<u8> {
        let body = [self.next_seq.to_le_bytes(), self.next_input.to_le_bytes()].concat();
        Head::place(partition).seal(&body)
    }

    fn place(partition: u32) -> RowKey {
        RowKey { kind: Kind::Head, partition, first: 0 }
    }

    fn read(partition: u32, value: &[u8]) -> Option<Head> {
        let (next_seq, rest) = Head::place(partition).open(value)?.split_first_chunk()?;
        let next_input = rest.try_into().ok()?;
        Some(Head { next_seq: u64::from_le_bytes(*next_seq), next_input: u64::from_le_bytes(next_input) })
    }

    fn end_of(self, kind: Kind) -> u64 {
        if kind == Kind::Commands { self.next_input } else { self.next_seq }
    }
}

const MANIFEST_PLACE: RowKey = RowKey { kind: Kind::Manifest, partition: 0, first: 0 };

pub(super) fn manifest_value(manifest: &Manifest) -> Vec<u8> {
    let Manifest { log_id, partitions, hash_version, format_version, dedup_window_ms, memory_version, created_at } =
        manifest;
    let mut body = Vec::with_capacity(64);
    // The version first: whatever else a later one changes, it can be told apart by its first four bytes.
    body.extend_from_slice(&format_version.to_le_bytes());
    body.extend_from_slice(&hash_version.to_le_bytes());
    body.extend_from_slice(&partitions.to_le_bytes());
    body.extend_from_slice(&dedup_window_ms.to_le_bytes());
    body.extend_from_slice(&created_at.0.to_le_bytes());
    body.extend_from_slice(&log_id.to_le_bytes());
    body.extend_from_slice(&memory_version.to_le_bytes());
    MANIFEST_PLACE.seal(&body)
}

/// The manifest of a file. Of another format version only the version itself can be read.
fn read_manifest(value: &[u8]) -> Option<Result<Manifest, u32>> {
    let (format_version, rest) = MANIFEST_PLACE.open(value)?.split_first_chunk()?;
    let format_version = u32::from_le_bytes(*format_version);
    if format_version != FORMAT_VERSION {
        return Some(Err(format_version));
    }
    let (hash_version, rest) = rest.split_first_chunk()?;
    let (partitions, rest) = rest.split_first_chunk()?;
    let (dedup_window_ms, rest) = rest.split_first_chunk()?;
    let (created_at, rest) = rest.split_first_chunk()?;
    let (log_id, rest) = rest.split_first_chunk()?;
    let memory_version = if rest.is_empty() { 1 } else { u32::from_le_bytes(rest.try_into().ok()?) };
    Some(Ok(Manifest {
        log_id: u128::from_le_bytes(*log_id),
        partitions: u32::from_le_bytes(*partitions),
        hash_version: u32::from_le_bytes(*hash_version),
        format_version,
        dedup_window_ms: u64::from_le_bytes(*dedup_window_ms),
        memory_version,
        created_at: Micros(u64::from_le_bytes(*created_at)),
    }))
}

/// An opened file.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    /// The heads at the time when the file was opened.
    pub(super) heads: Vec<Head>,
    pages: RwLock<Pages>,
    /// Opens the file again in the way in which it was opened first.
    opens: Box<dyn Fn() -> Result<Opened, OpenError> + Send + Sync>,
    has_lost_a_flush: Flag,
    /// The device and inode of the file.
    identity: (u64, u64),
    /// Locks the directory against other processes, even before it has a file.
    _lock: File,
}

/// The result of opening the file.
struct Opened {
    manifest: Manifest,
    heads: Vec<Head>,
    pages: Pages,
    identity: (u64, u64),
    release: Release,
}

impl LogFile {
    /// Runs a read or a write on the file; waits while the file is being reopened.
    pub(super) fn with<T>(&self, what: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        let pages = self.pages.read();
        guarded(|| what(pages.db()?))
    }

    /// Whether the file can be read and not written.
    pub(super) fn is_read_only(&self) -> bool {
        self.pages.read().is_shut.load(Ordering::SeqCst)
    }

    /// Whether a flush has failed. The system may have dropped the pages that it could not write, and may report the
    /// next flush as a success. What this process reads of the file may then differ from the disk.
    pub(super) fn has_lost_a_flush(&self) -> bool {
        self.has_lost_a_flush.load(Ordering::SeqCst)
    }

    /// Opens the file again after a fault: drops everything in memory and reads it from the file. Returns the ends of
    /// its partitions.
    ///
    /// # Errors
    /// [`OpenError`]; the call may be repeated.
    pub(super) fn reopen(&self) -> Result<Vec<Head>, OpenError> {
        let mut pages = self.pages.write();
        // A file that was removed or replaced still exists while this process has it open.
        self.is_in_place().map_err(|error| OpenError::Io { path: self.path.clone(), detail: error.detail })?;
        // Closing a faulty database must not mark the file as closed in order.
        pages.is_shut.store(true, Ordering::SeqCst);
        pages.close();
        let opened = (self.opens)()?;
        if opened.manifest != self.manifest || opened.identity != self.identity {
            let detail = "it is not the file that this process had open".to_owned();
            return Err(OpenError::Io { path: self.path.clone(), detail });
        }
        (opened.release)()?;
        *pages = opened.pages;
        Ok(opened.heads)
    }
}

/// The redb database. Its closing may panic, and is caught: see [`guarded`].
struct Pages {
    db: Option<Database>,
    /// Set when nothing more may be written, as [`DeferredWrites::shut`] says.
    is_shut: Flag,
}

impl Pages {
    fn db(&self) -> Result<&Database, Fault> {
        self.db.as_ref().ok_or_else(|| damaged("it is closed"))
    }

    fn close(&mut self) {
        let db = self.db.take();
        // What was committed is in the file; closing only makes the next opening faster.
        let _closed = guarded(|| {
            drop(db);
            Ok(())
        });
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.close();
    }
}

impl LogFile {
    /// Checks that the path still names the open file: whatever is written to a removed file is lost when this process
    /// ends.
    pub(super) fn is_in_place(&self) -> Result<(), LogError> {
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == self.identity => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(LogError::operator(format!("{} cannot be examined: {error}", self.path.display())));
            }
        }
        let (path, process) = (self.path.display(), std::process::id());
        Err(LogError::operator(format!(
            "{path} was removed or replaced under this process: as long as the process runs, the file that it wrote can \
             be copied from /proc/{process}/fd"
        )))
    }
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Writes the changes that were held back while the file was opened. Without disk space for them, the file is left as
/// it was and can only be read.
pub(super) type Release = Box<dyn FnOnce() -> Result<(), OpenError>>;

/// The way to open a file: whether it may be written, and made if it does not exist.
#[derive(Clone, Copy)]
pub(super) enum Access<'a> {
    /// The file is read and nothing is changed, not even to repair it.
    ReadOnly,
    /// The file is written, and made if it does not exist: with the manifest of a new log, and the check that runs
    /// before.
    Write(&'a Manifest, &'a Judge<'a>),
}

/// Opens the log in `dir`, with `wrap` around its file. If `partitions` is given, the log must have that number. An
/// existing file is not changed before the release function in the result is called.
pub(super) fn open<B: StorageBackend>(
    dir: &Path,
    access: Access<'_>,
    partitions: Option<u32>,
    wrap: impl Fn(FileBackend) -> B + Send + Sync + 'static,
    opening: Arc<Opening>,
) -> Result<(LogFile, Release), OpenError> {
    let path = dir.join(FILE_NAME);
    if let Access::Write(..) = access {
        fs::create_dir_all(dir).map_err(|error| io_error(dir, &error))?;
    }
    let writable = matches!(access, Access::Write(..));
    let lock = lock_directory(dir, writable)?;
    if let Access::Write(manifest, judge) = access
        && !path.try_exists().map_err(|error| io_error(&path, &error))?
    {
        judge(None).map_err(|detail| OpenError::Behind { path: path.clone(), detail })?;
        create(dir, &path, manifest)?;
    }
    let (of, at) = (dir.to_owned(), path.clone());
    let has_lost_a_flush = Flag::default();
    let lost = Flag::clone(&has_lost_a_flush);
    let opens = Box::new(move || {
        opened(&of, &at, (writable, partitions), |backend| {
            opening.begins(backend.len().unwrap_or_default());
            DeferredWrites::new(wrap(backend), !writable, Flag::clone(&lost), Arc::clone(&opening))
        })
    });
    let Opened { manifest, heads, pages, identity, release } = opens()?;
    let pages = RwLock::new(pages);
    Ok((LogFile { path, manifest, heads, pages, opens, has_lost_a_flush, identity, _lock: lock }, release))
}

/// Opens the existing file at `path`.
fn opened<B: StorageBackend>(
    dir: &Path,
    path: &Path,
    (writable, partitions): (bool, Option<u32>),
    hold_back: impl FnOnce(FileBackend) -> DeferredWrites<B>,
) -> Result<Opened, OpenError> {
    let file = OpenOptions::new().read(true).write(writable).open(path).map_err(|error| io_error(path, &error))?;
    recognise(path, &file)?;
    let identity = identity(&file.metadata().map_err(|error| io_error(path, &error))?);
    let backend = FileBackend::new(file).map_err(|error| refusal(dir, path, Fault::from(error)))?;
    let held = hold_back(backend);
    let opened = guarded(|| Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(held.clone())?));
    let db = Some(opened.map_err(|fault| refusal(dir, path, fault))?);
    let pages = Pages { db, is_shut: held.shut() };
    let checked = guarded(|| check(pages.db()?));
    let (manifest, heads) = checked.map_err(|fault| refusal(dir, path, fault))?;
    let manifest = agreed(path, manifest, partitions)?;
    let of = path.to_owned();
    let release = Box::new(move || {
        held.release().or_else(|error| if is_want_of_room(&error) { Ok(()) } else { Err(io_error(&of, &error)) })
    });
    Ok(Opened { manifest, heads, pages, identity, release })
}

/// Whether a change failed for lack of disk space: the contents of the file are sound.
fn is_want_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The manifest, if this process supports its terms.
fn agreed(path: &Path, found: Result<Manifest, u32>, partitions: Option<u32>) -> Result<Manifest, OpenError> {
    let agree = |what, log: u64, ours: u64| {
        if log == ours { Ok(()) } else { Err(OpenError::Mismatch { path: path.to_owned(), what, log, ours }) }
    };
    let version = found.map_or_else(|version| version, |manifest| manifest.format_version);
    agree("format version", version.into(), FORMAT_VERSION.into())?;
    let manifest = found.map_err(|_| OpenError::Damaged { path: path.to_owned(), detail: "no manifest".into() })?;
    agree("hash version", manifest.hash_version.into(), HASH_VERSION.into())?;
    agree("dedup window (ms)", manifest.dedup_window_ms, DEDUP_WINDOW_MS)?;
    agree("memory version", manifest.memory_version.into(), MEMORY_VERSION.into())?;
    agree("partition count", manifest.partitions.into(), partitions.unwrap_or(manifest.partitions).into())?;
    Ok(manifest)
}

/// Reads the whole file and checks every page against redb's own checksums, in memory. It includes pages that no claim
/// and no reader uses, such as the list of free pages.
pub(super) fn check_pages(dir: &Path) -> Result<(), OpenError> {
    let (file, _) = open(dir, Access::ReadOnly, None, |file| file, Arc::default())?;
    let sound = guarded(|| match file.pages.write().db.as_mut() {
        Some(db) => Ok(db.check_integrity()?),
        None => Ok(false),
    });
    let sound = sound.map_err(|fault| refusal(dir, &file.path, fault))?;
    let detail = || "the list of free pages is not that of the pages in use".to_owned();
    if sound { Ok(()) } else { Err(OpenError::Damaged { path: file.path.clone(), detail: detail() }) }
}

fn io_error(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), detail: error.to_string() }
}

fn refusal(dir: &Path, path: &Path, fault: Fault) -> OpenError {
    let (path, detail) = (path.to_owned(), fault.to_string());
    match fault {
        Fault::NoLog => OpenError::Foreign { path, detail },
        Fault::Damaged(_) => OpenError::Damaged { path, detail },
        Fault::Redb(error) => match *error {
            redb::Error::DatabaseAlreadyOpen => OpenError::InUse { dir: dir.to_owned() },
            redb::Error::UpgradeRequired(_) => OpenError::Foreign { path, detail },
            redb::Error::Io(ref error) => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => OpenError::Damaged { path, detail },
                _ => OpenError::Io { path, detail },
            },
            _ => OpenError::Damaged { path, detail },
        },
    }
}

/// redb locks the file; the directory is locked because two processes may both find no file.
fn lock_directory(dir: &Path, writable: bool) -> Result<File, OpenError> {
    let handle = File::open(dir).map_err(|error| io_error(dir, &error))?;
    match if writable { handle.try_lock() } else { handle.try_lock_shared() } {
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        // A file system that cannot lock directories still has redb's lock.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(handle),
    }
}

/// Refuses a file that is clearly not a log before redb opens it.
fn recognise(path: &Path, file: &File) -> Result<(), OpenError> {
    let mut start = Vec::new();
    file.take(REDB_MAGIC.len() as u64).read_to_end(&mut start).map_err(|error| io_error(path, &error))?;
    let detail = match start.as_slice() {
        REDB_MAGIC => return Ok(()),
        [] => return Err(OpenError::Damaged { path: path.to_owned(), detail: "it is empty".into() }),
        _ => "it does not begin as a redb file does".into(),
    };
    Err(OpenError::Foreign { path: path.to_owned(), detail })
}

/// Makes a complete log under a temporary name and renames it, so that a crash leaves no half-made log.
fn create(dir: &Path, path: &Path, manifest: &Manifest) -> Result<(), OpenError> {
    if !(1..=PARTITIONS_MAX).contains(&manifest.partitions) {
        return Err(OpenError::Partitions { asked: manifest.partitions });
    }
    let unfinished = dir.join(UNFINISHED_NAME);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unfinished);
    let file = file.map_err(|error| io_error(&unfinished, &error))?;
    let made = guarded(|| {
        let db = Database::builder().create_file(file)?;
        let txn = db.begin_write()?;
        txn.open_table(MANIFEST)?.insert("", manifest_value(manifest).as_slice())?;
        txn.open_table(EVENTS)?;
        txn.open_table(COMMANDS)?;
        let mut heads = txn.open_table(HEADS)?;
        for partition in 0..manifest.partitions {
            heads.insert(partition, Head::default().value(partition).as_slice())?;
        }
        drop(heads);
        txn.commit()?;
        Ok(())
    });
    made.map_err(|fault| refusal(dir, &unfinished, fault))?;
    fs::rename(&unfinished, path).map_err(|error| io_error(path, &error))?;
    // A file's name is durable once its directory is flushed, and the directory's name once its parent is.
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    for dir in [Some(dir), parent].into_iter().flatten() {
        File::open(dir).and_then(|handle| handle.sync_all()).map_err(|error| io_error(dir, &error))?;
    }
    Ok(())
}

type Checked = (Result<Manifest, u32>, Vec<Head>);

/// Checks what can be checked without reading the whole file: the manifest, and that every partition's last rows are
/// the ones that its head names. All other rows are checked when they are read.
fn check(db: &Database) -> Result<Checked, Fault> {
    let txn = db.begin_read()?;
    let table = match txn.open_table(MANIFEST) {
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(Fault::NoLog),
        Ok(table) => table,
    };
    let value = table.get("")?.ok_or(Fault::NoLog)?;
    let manifest = read_manifest(value.value()).ok_or_else(|| damaged("its manifest is not what was written"))?;
    let mut heads = Vec::new();
    if let Ok(manifest) = &manifest {
        let table = txn.open_table(HEADS)?;
        for partition in 0..manifest.partitions {
            let value = table.get(partition)?;
            let head = value.and_then(|value| Head::read(partition, value.value()));
            let head = head.ok_or_else(|| damaged(format!("the head of partition {partition} is missing")))?;
            for kind in [Kind::Events, Kind::Commands] {
                check_end(&txn, kind, partition, head.end_of(kind))?;
            }
            heads.push(head);
        }
    }
    Ok((manifest, heads))
}

fn check_end(txn: &ReadTransaction, kind: Kind, partition: u32, end: u64) -> Result<(), Fault> {
    let found = match rows(txn, kind)?.range((partition, 0)..=(partition, u64::MAX))?.next_back().transpose()? {
        None => 0,
        Some((key, value)) => {
            let position = RowKey { kind, partition, first: key.value().1 };
            Row::open(position, value.value()).ok_or_else(|| changed(position))?.end()
        }
    };
    if found == end {
        return Ok(());
    }
    Err(damaged(format!("{kind:?} of partition {partition} end at {found}, not at {end}")))
}

fn damaged(detail: impl Into<String>) -> Fault {
    Fault::Damaged(detail.into())
}

fn changed(RowKey { kind, partition, first }: RowKey) -> Fault {
    damaged(format!("{kind:?} of partition {partition} from {first} on are not what was written"))
}

fn rows(txn: &ReadTransaction, kind: Kind) -> Result<ReadOnlyTable<(u32, u64), &'static [u8]>, Fault> {
    Ok(txn.open_table(if kind == Kind::Commands { COMMANDS } else { EVENTS })?)
}

/// The records to read.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) kind: Kind,
    pub(super) partition: u32,
    /// The first position to read.
    pub(super) from: u64,
    /// The position to stop before; it is committed and not before `from`.
    pub(super) end: u64,
    /// The most bytes to read; the first record is always read.
    pub(super) bytes_max: usize,
}

/// Reads records without a gap, making each with `make`.
pub(super) fn read<T>(db: &Database, span: Span, make: impl Fn(Record<'_>) -> T) -> Result<Vec<T>, Fault> {
    let Span { kind, partition, from, end, bytes_max } = span;
    let mut read = Vec::new();
    if from >= end {
        return Ok(read);
    }
    let txn = db.begin_read()?;
    let table = rows(&txn, kind)?;
    // The row that holds `from` is the last one that begins at or before it.
    let first = table.range((partition, 0)..=(partition, from))?.next_back().transpose()?;
    let first = first.map_or(from, |(key, _)| key.value().1);
    let (mut next, mut bytes) = (from, 0usize);
    for entry in table.range((partition, first)..(partition, end))? {
        let (key, value) = entry?;
        let position = RowKey { kind, partition, first: key.value().1 };
        let row = Row::open(position, value.value()).ok_or_else(|| changed(position))?;
        let asked = row.into_iter().skip_while(|record| record.position < from);
        for record in asked.take_while(|record| record.position < end) {
            if record.position != next {
                break;
            }
            bytes = bytes.saturating_add(record.bytes.len());
            if bytes > bytes_max && next != from {
                return Ok(read);
            }
            read.push(make(record));
            next = next.saturating_add(1);
        }
    }
    if next != end {
        return Err(damaged(format!("{kind:?} of partition {partition} from {next} on are missing")));
    }
    Ok(read)
}
