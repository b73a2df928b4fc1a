//! What the logs that are compared with the embedded one have in common: turns that meet become durable together, and the records
//! of a turn are laid out in rows, as the embedded log did in form 1.

use headroom::log::Turn;
use headroom::trace::TraceContext;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;

/// Most bytes of records in one row; the first one always fits.
const ROW_BYTES_MAX: usize = 60 << 10;
/// Bytes of a place in a trace.
const TRACE_BYTES: usize = 25;
/// Bytes of the checksum with which a row begins.
const CHECKSUM_BYTES: usize = 8;

/// The table of a row: a part of its checksum.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Kind {
    /// The terms of the log.
    Manifest = 1,
    /// Where a partition ends.
    Head = 2,
    /// Events of a partition.
    Events = 3,
    /// Commands of a partition.
    Commands = 4,
}

/// Rows on their way into a table, each with its first position.
type NewRows = Vec<(u64, Vec<u8>)>;

/// A turn on its way into a store.
pub struct Ticket {
    id: u64,
    /// The partition of the turn.
    pub partition: u32,
    /// The row that says where the partition ends after it.
    pub head: Vec<u8>,
    /// The rows of its events.
    pub events: NewRows,
    /// The rows of its commands.
    pub commands: NewRows,
}

/// A store of rows.
pub trait Base: Send + Sync {
    /// Writes these turns. They are durable when this returns.
    ///
    /// # Errors
    /// The error of the store.
    fn write(&self, batch: &[Ticket]) -> Result<(), String>;

    /// Bytes of the disk in use.
    ///
    /// # Errors
    /// The error of the store.
    fn bytes(&self) -> Result<u64, String>;
}

#[derive(Default)]
struct State {
    queue: Vec<Ticket>,
    concluded: BTreeMap<u64, Result<(), String>>,
    next: u64,
    /// Whether one of the owners is writing for all who wait.
    writing: bool,
}

/// A store of which several owners commit turns.
pub struct Grouped {
    /// Where the turns go.
    pub base: Box<dyn Base>,
    state: Mutex<State>,
    moved: Condvar,
}

impl Grouped {
    /// Turns are committed into this one.
    pub fn new(base: impl Base + 'static) -> Grouped {
        Grouped { base: Box::new(base), state: Mutex::default(), moved: Condvar::new() }
    }

    /// Commits a turn, together with those that wait for the disk as well.
    ///
    /// # Errors
    /// The error of the store.
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
        let written = MutexGuard::unlocked(state, || self.base.write(&batch));
        state.writing = false;
        state.concluded.extend(batch.iter().map(|ticket| (ticket.id, written.clone())));
        self.moved.notify_all();
    }
}

/// The value that holds a body at its place: a checksum of both, and the body.
pub fn sealed((kind, partition, first): (Kind, u32, u64), body: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind as u8]).update(&partition.to_le_bytes()).update(&first.to_le_bytes());
    let mut checksum = [0; CHECKSUM_BYTES];
    hasher.update(body).finalize_xof().fill(&mut checksum);
    [&checksum, body].concat()
}

/// The row of the end of a partition.
pub fn head(partition: u32, next_seq: u64, next_input: u64) -> Vec<u8> {
    sealed((Kind::Head, partition, 0), &[next_seq.to_le_bytes(), next_input.to_le_bytes()].concat())
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

/// The records of a row, if it is the one of this place.
pub fn records(place: (Kind, u32, u64), row: &[u8]) -> Option<Vec<&[u8]>> {
    let (_, body) = row.split_at_checked(CHECKSUM_BYTES)?;
    let (count, mut rest) = (sealed(place, body) == row).then_some(body)?.split_first_chunk()?;
    let record = |_| {
        let (length, after) = rest.split_first_chunk()?;
        let (record, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = after;
        Some(record)
    };
    (0..u32::from_le_bytes(*count)).map(record).collect()
}
