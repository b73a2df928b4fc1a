//! The log as it was in form 1: a redb file, in which turns that meet become durable in one transaction. It is laid out so that
//! the embedded log carries it over; whoever wants to read it back opens it as one.

use headroom::domain::Micros;
use headroom::domain::route::HASH_VERSION;
use headroom::limits::{DEDUP_WINDOW_MS, MEMORY_VERSION};
use headroom::log::Turn;
use headroom::trace::TraceContext;
use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::{Database, TableDefinition};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the file in its data directory.
const FILE_NAME: &str = "log.redb";
/// Memory for pages of the file, as it was.
const CACHE_BYTES: usize = 16 << 20;
/// Most bytes of records in one row; the first one always fits.
const ROW_BYTES_MAX: usize = 60 << 10;
/// Bytes of a place in a trace.
const TRACE_BYTES: usize = 25;

type Rows = TableDefinition<'static, (u32, u64), &'static [u8]>;
const MANIFEST: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("manifest");
const HEADS: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("heads");
const EVENTS: Rows = TableDefinition::new("events");
const COMMANDS: Rows = TableDefinition::new("commands");

/// The table of a row: a part of its checksum.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Manifest = 1,
    Head = 2,
    Events = 3,
    Commands = 4,
}

/// Rows on their way into a table, each with its first position.
type NewRows = Vec<(u64, Vec<u8>)>;

/// A turn on its way into the file.
struct Ticket {
    id: u64,
    partition: u32,
    head: Vec<u8>,
    events: NewRows,
    commands: NewRows,
}

#[derive(Default)]
struct State {
    queue: Vec<Ticket>,
    concluded: BTreeMap<u64, Result<(), String>>,
    next: u64,
    /// Whether one of the owners is writing for all who wait.
    writing: bool,
}

/// The open file.
pub struct Former {
    db: Database,
    state: Mutex<State>,
    moved: Condvar,
}

impl Former {
    /// Makes an empty log in this directory.
    ///
    /// # Errors
    /// The error of redb.
    pub fn create(dir: &Path, partitions: u32, log_id: u128) -> Result<Former, String> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join(FILE_NAME));
        let former = Former { db: db.map_err(told)?, state: Mutex::default(), moved: Condvar::new() };
        former.begin(partitions, log_id).map_err(told)?;
        Ok(former)
    }

    fn begin(&self, partitions: u32, log_id: u128) -> Result<(), redb::Error> {
        let txn = self.db.begin_write()?;
        txn.open_table(MANIFEST)?.insert("", manifest(partitions, log_id).as_slice())?;
        txn.open_table(EVENTS)?;
        txn.open_table(COMMANDS)?;
        let heads = (0..partitions).map(|partition| (partition, head(partition, 0, 0)));
        heads.into_iter().try_for_each(|(partition, head)| {
            txn.open_table(HEADS)?.insert(partition, head.as_slice())?;
            Ok::<_, redb::Error>(())
        })?;
        Ok(txn.commit()?)
    }

    /// Commits a turn, together with those that wait for the disk as well.
    ///
    /// # Errors
    /// The error of redb.
    pub fn commit(&self, partition: u32, turn: &Turn) -> Result<(), String> {
        let events = turn.decided().map(|(event, input)| (&*event.bytes, input.and_then(|input| input.trace.as_ref())));
        let commands = turn.inputs.iter().map(|input| (&*input.bytes, None));
        let first = (turn.events.first().map_or(0, |event| event.seq), turn.inputs.first().map_or(0, |of| of.offset));
        let events = laid_out((Kind::Events, partition, first.0), events);
        let commands = laid_out((Kind::Commands, partition, first.1), commands);
        let next = (first.0 + turn.events.len() as u64, first.1 + turn.inputs.len() as u64);
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.queue.push(Ticket { id, partition, head: head(partition, next.0, next.1), events, commands });
        loop {
            if let Some(outcome) = state.concluded.remove(&id) {
                return outcome;
            }
            if state.writing { self.moved.wait(&mut state) } else { self.lead(&mut state) }
        }
    }

    fn lead(&self, state: &mut MutexGuard<'_, State>) {
        let batch = std::mem::take(&mut state.queue);
        state.writing = true;
        let written = MutexGuard::unlocked(state, || self.write(&batch)).map_err(told);
        state.writing = false;
        state.concluded.extend(batch.iter().map(|ticket| (ticket.id, written.clone())));
        self.moved.notify_all();
    }

    /// Flushed before the commit returns: that is what redb does unless it is told otherwise.
    fn write(&self, batch: &[Ticket]) -> Result<(), redb::Error> {
        let txn = self.db.begin_write()?;
        {
            let (mut events, mut commands) = (txn.open_table(EVENTS)?, txn.open_table(COMMANDS)?);
            let mut heads = txn.open_table(HEADS)?;
            for Ticket { partition, head, events: its_events, commands: its_commands, .. } in batch {
                for (first, row) in its_events {
                    events.insert((*partition, *first), row.as_slice())?;
                }
                for (first, row) in its_commands {
                    commands.insert((*partition, *first), row.as_slice())?;
                }
                heads.insert(*partition, head.as_slice())?;
            }
        }
        Ok(txn.commit()?)
    }

    /// Bytes of the pages that are in use.
    ///
    /// # Errors
    /// The error of redb.
    pub fn bytes(&self) -> Result<u64, String> {
        let txn = self.db.begin_write().map_err(told)?;
        let stats = txn.stats().map_err(told)?;
        txn.abort().map_err(told)?;
        Ok(stats.allocated_pages() * stats.page_size() as u64)
    }
}

fn told(error: impl Into<redb::Error>) -> String {
    let error: redb::Error = error.into();
    format!("the redb file: {error}")
}

/// The value that holds a body at its place: a checksum of both, and the body.
fn sealed((kind, partition, first): (Kind, u32, u64), body: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind as u8]).update(&partition.to_le_bytes()).update(&first.to_le_bytes());
    let mut checksum = [0; 8];
    hasher.update(body).finalize_xof().fill(&mut checksum);
    [&checksum, body].concat()
}

fn head(partition: u32, next_seq: u64, next_input: u64) -> Vec<u8> {
    sealed((Kind::Head, partition, 0), &[next_seq.to_le_bytes(), next_input.to_le_bytes()].concat())
}

fn manifest(partitions: u32, log_id: u128) -> Vec<u8> {
    let (format_version, Micros(created_at)) = (1_u32, Micros(1));
    let body = [
        &format_version.to_le_bytes()[..],
        &HASH_VERSION.to_le_bytes(),
        &partitions.to_le_bytes(),
        &DEDUP_WINDOW_MS.to_le_bytes(),
        &created_at.to_le_bytes(),
        &log_id.to_le_bytes(),
        &MEMORY_VERSION.to_le_bytes(),
    ];
    sealed((Kind::Manifest, 0, 0), &body.concat())
}

/// A row that is being filled: the count of its records, each record after its length, and their places in traces.
#[derive(Default)]
struct Row {
    count: u32,
    records: Vec<u8>,
    traces: Vec<u8>,
}

impl Row {
    fn push(&mut self, record: &[u8], trace: Option<&TraceContext>) {
        self.records.extend_from_slice(&(record.len() as u32).to_le_bytes());
        self.records.extend_from_slice(record);
        if let Some(TraceContext { trace_id, span_id, is_sampled, .. }) = trace {
            self.traces.extend_from_slice(&trace_id.to_le_bytes());
            self.traces.extend_from_slice(&span_id.to_le_bytes());
            self.traces.push(u8::from(*is_sampled));
        }
        self.count += 1;
    }

    fn seal(self, place: (Kind, u32, u64)) -> Vec<u8> {
        sealed(place, &[&self.count.to_le_bytes()[..], &self.records, &self.traces].concat())
    }
}

/// Divides records into rows. Either all of them have a trace or none.
fn laid_out<'a>(
    (kind, partition, mut first): (Kind, u32, u64),
    records: impl Iterator<Item = (&'a [u8], Option<&'a TraceContext>)>,
) -> NewRows {
    let (mut rows, mut open) = (Vec::new(), Row::default());
    for (record, trace) in records {
        let bytes = open.records.len() + open.traces.len() + record.len() + TRACE_BYTES;
        if open.count > 0 && bytes > ROW_BYTES_MAX {
            let full = std::mem::take(&mut open);
            let count = u64::from(full.count);
            rows.push((first, full.seal((kind, partition, first))));
            first += count;
        }
        open.push(record, trace);
    }
    if open.count > 0 {
        rows.push((first, open.seal((kind, partition, first))));
    }
    rows
}
