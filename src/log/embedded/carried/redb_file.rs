//! Reading the file of format version 1: a redb database with a table for events, one for commands, and a few small
//! ones. It is opened only to be carried over, and is never changed.

use super::super::error::{Fault, OpenError, damaged};
use super::super::frame::{Head, Record, Records};
use super::super::read::Span;
use super::row::{Kind, Row, RowKey};
use super::unwritten::Unwritten;
use crate::domain::Micros;
use crate::log::{Manifest, Opening};
use redb::backends::FileBackend;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

const FORMAT_VERSION: u32 = 1;
/// The first bytes of every redb file.
const REDB_MAGIC: &[u8] = b"redb";
/// Memory for pages of the file.
const CACHE_BYTES: usize = 16 << 20;

type Rows = TableDefinition<'static, (u32, u64), &'static [u8]>;

/// The manifest: one value under the empty name.
const MANIFEST: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("manifest");
/// The ends of the two tables below, by partition. They say what the tables must hold.
const HEADS: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("heads");
/// Runs of events by partition and first sequence number.
const EVENTS: Rows = TableDefinition::new("events");
/// Runs of decided commands by partition and first offset.
const COMMANDS: Rows = TableDefinition::new("commands");
/// The resolutions of dead letters, by partition and offset. The table does not exist before the first one.
const LETTERS: Rows = TableDefinition::new("letters");

/// An open file of format version 1.
pub(super) struct RedbFile {
    db: Database,
    pub(super) manifest: Manifest,
    pub(super) heads: Vec<Head>,
}

impl RedbFile {
    /// Opens the file and checks its manifest and its ends. `opening` counts what is read.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(path: &Path, opening: &Arc<Opening>) -> Result<RedbFile, OpenError> {
        let file = File::open(path).map_err(|error| OpenError::io(path, &error))?;
        opening.begins(file.metadata().map_err(|error| OpenError::io(path, &error))?.len());
        recognise(path, &file)?;
        let refused = |fault| refusal(path, fault);
        let opened = guarded(|| {
            let backend = Unwritten::new(FileBackend::new(file)?, Arc::clone(opening));
            let db = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
            let (manifest, heads) = check(&db)?;
            Ok((db, manifest, heads))
        });
        let (db, manifest, heads) = opened.map_err(refused)?;
        Ok(RedbFile { db, manifest, heads })
    }

    /// Reads records without a gap, making each with `make`.
    ///
    /// # Errors
    /// [`OpenError`] when a row is missing or not what was written.
    pub(super) fn read<T>(&self, path: &Path, span: Span, make: impl Fn(Record<'_>) -> T) -> Result<Vec<T>, OpenError> {
        guarded(|| read(&self.db, span, make)).map_err(|fault| refusal(path, fault))
    }

    /// What became of dead letters: partition, offset and text of each.
    ///
    /// # Errors
    /// [`OpenError`] as for [`RedbFile::read`].
    pub(super) fn letters(&self, path: &Path) -> Result<Vec<(u32, u64, Vec<u8>)>, OpenError> {
        guarded(|| letters(&self.db)).map_err(|fault| refusal(path, fault))
    }
}

/// An error of redb.
#[derive(Debug)]
enum RedbFault {
    Redb(Box<redb::Error>),
    Ours(Fault),
    /// The file holds no log.
    NoLog,
}

impl<E: Into<redb::Error>> From<E> for RedbFault {
    fn from(error: E) -> RedbFault {
        RedbFault::Redb(Box::new(error.into()))
    }
}

fn broken(detail: impl Into<String>) -> RedbFault {
    RedbFault::Ours(damaged(detail))
}

/// Runs a read of the file. redb panics on some damaged pages. Such a panic is reported as damage of the file.
fn guarded<T>(what: impl FnOnce() -> Result<T, RedbFault>) -> Result<T, RedbFault> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(broken(format!("redb cannot read its pages: {said}")))
    })
}

fn refusal(path: &Path, fault: RedbFault) -> OpenError {
    let path = path.to_owned();
    match fault {
        RedbFault::NoLog => OpenError::Foreign { path, detail: "it holds no manifest".to_owned() },
        RedbFault::Ours(fault) => OpenError::Damaged { path, detail: fault.to_string() },
        RedbFault::Redb(error) => {
            let detail = error.to_string();
            match *error {
                redb::Error::UpgradeRequired(_) => OpenError::Foreign { path, detail },
                redb::Error::DatabaseAlreadyOpen => OpenError::Io { path, detail },
                redb::Error::Io(ref error) => match error.kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => OpenError::Damaged { path, detail },
                    _ => OpenError::io(&path, error),
                },
                _ => OpenError::Damaged { path, detail },
            }
        }
    }
}

/// Refuses a file that is clearly no redb file before redb opens it.
fn recognise(path: &Path, file: &File) -> Result<(), OpenError> {
    let mut start = Vec::new();
    file.take(REDB_MAGIC.len() as u64).read_to_end(&mut start).map_err(|error| OpenError::io(path, &error))?;
    let detail = match start.as_slice() {
        REDB_MAGIC => return Ok(()),
        [] => return Err(OpenError::damaged(path, "it is empty")),
        _ => "it does not begin as a redb file does".into(),
    };
    Err(OpenError::Foreign { path: path.to_owned(), detail })
}

/// The manifest, and the ends of the partitions. All rows are checked when they are read.
fn check(db: &Database) -> Result<(Manifest, Vec<Head>), RedbFault> {
    let txn = db.begin_read()?;
    let table = match txn.open_table(MANIFEST) {
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(RedbFault::NoLog),
        Ok(table) => table,
    };
    let value = table.get("")?.ok_or(RedbFault::NoLog)?;
    let manifest = read_manifest(value.value()).ok_or_else(|| broken("its manifest is not what was written"))?;
    let mut heads = Vec::new();
    let table = txn.open_table(HEADS)?;
    for partition in 0..manifest.partitions {
        let value = table.get(partition)?;
        let head = value.and_then(|value| read_head(partition, value.value()));
        let head = head.ok_or_else(|| broken(format!("the head of partition {partition} is missing")))?;
        for records in [Records::Events, Records::Commands] {
            check_end(&txn, records, partition, head.of(records))?;
        }
        heads.push(head);
    }
    Ok((manifest, heads))
}

fn check_end(txn: &ReadTransaction, records: Records, partition: u32, end: u64) -> Result<(), RedbFault> {
    let found = match rows(txn, records)?.range((partition, 0)..=(partition, u64::MAX))?.next_back().transpose()? {
        None => 0,
        Some((key, value)) => {
            let position = key_of(records, partition, key.value().1);
            Row::open(position, value.value()).ok_or_else(|| changed(position))?.end()
        }
    };
    if found == end {
        return Ok(());
    }
    Err(broken(format!("{records:?} of partition {partition} end at {found}, not at {end}")))
}

fn read_head(partition: u32, value: &[u8]) -> Option<Head> {
    let place = RowKey { kind: Kind::Head, partition, first: 0 };
    let (next_seq, rest) = place.open(value)?.split_first_chunk()?;
    let next_input = rest.try_into().ok()?;
    Some(Head { next_seq: u64::from_le_bytes(*next_seq), next_input: u64::from_le_bytes(next_input) })
}

fn read_manifest(value: &[u8]) -> Option<Manifest> {
    let place = RowKey { kind: Kind::Manifest, partition: 0, first: 0 };
    let (format_version, rest) = place.open(value)?.split_first_chunk()?;
    let (hash_version, rest) = rest.split_first_chunk()?;
    let (partitions, rest) = rest.split_first_chunk()?;
    let (dedup_window_ms, rest) = rest.split_first_chunk()?;
    let (created_at, rest) = rest.split_first_chunk()?;
    let (log_id, rest) = rest.split_first_chunk()?;
    let memory_version = if rest.is_empty() { 1 } else { u32::from_le_bytes(rest.try_into().ok()?) };
    let manifest = Manifest {
        log_id: u128::from_le_bytes(*log_id),
        partitions: u32::from_le_bytes(*partitions),
        hash_version: u32::from_le_bytes(*hash_version),
        format_version: u32::from_le_bytes(*format_version),
        dedup_window_ms: u64::from_le_bytes(*dedup_window_ms),
        memory_version,
        created_at: Micros(u64::from_le_bytes(*created_at)),
    };
    (manifest.format_version == FORMAT_VERSION).then_some(manifest)
}

fn key_of(records: Records, partition: u32, first: u64) -> RowKey {
    let kind = if records == Records::Commands { Kind::Commands } else { Kind::Events };
    RowKey { kind, partition, first }
}

fn changed(RowKey { kind, partition, first }: RowKey) -> RedbFault {
    broken(format!("{kind:?} of partition {partition} from {first} on are not what was written"))
}

fn rows(txn: &ReadTransaction, records: Records) -> Result<ReadOnlyTable<(u32, u64), &'static [u8]>, RedbFault> {
    Ok(txn.open_table(if records == Records::Commands { COMMANDS } else { EVENTS })?)
}

fn read<T>(db: &Database, span: Span, make: impl Fn(Record<'_>) -> T) -> Result<Vec<T>, RedbFault> {
    let Span { records, partition, from, end, bytes_max } = span;
    let mut read = Vec::new();
    let txn = db.begin_read()?;
    let table = rows(&txn, records)?;
    // The row that holds `from` is the last one that begins at or before it.
    let first = table.range((partition, 0)..=(partition, from))?.next_back().transpose()?;
    let first = first.map_or(from, |(key, _)| key.value().1);
    let (mut next, mut bytes) = (from, 0usize);
    for entry in table.range((partition, first)..(partition, end))? {
        let (key, value) = entry?;
        let position = key_of(records, partition, key.value().1);
        let row = Row::open(position, value.value()).ok_or_else(|| changed(position))?;
        for record in row.into_iter().skip_while(|record| record.position < from) {
            if record.position != next || next >= end {
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
        return Err(broken(format!("{records:?} of partition {partition} from {next} on are missing")));
    }
    Ok(read)
}

fn letters(db: &Database) -> Result<Vec<(u32, u64, Vec<u8>)>, RedbFault> {
    let txn = db.begin_read()?;
    let table = match txn.open_table(LETTERS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut letters = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        let (partition, offset) = key.value();
        let position = RowKey { kind: Kind::Letters, partition, first: offset };
        let body = position.open(value.value()).ok_or_else(|| changed(position))?;
        letters.push((partition, offset, body.to_vec()));
    }
    Ok(letters)
}
