//! The layout of a run of events or commands in one value: checksum, count, then each record after its length. In a row in
//! which some records belong to a call, the place of each in its trace follows, in the same order. Earlier versions wrote
//! nothing there, and pass over it. This code does not know the file. A row with a wrong checksum is refused as a whole.

use crate::trace::TraceContext;
use std::slice::ChunksExact;

/// Bytes of the checksum that every value of the file begins with.
pub(super) const CHECKSUM_BYTES: usize = 8;
const COUNT_BYTES: usize = 4;
const LENGTH_BYTES: usize = 4;
/// Bytes of a place in a trace: the trace, the span, and whether it is recorded. All of them are 0 where there is none.
const TRACE_BYTES: usize = 25;

/// The most bytes of records in one row, with their places in traces; the first record always fits. The page that holds
/// one full row is then 64 KiB: large enough that a replay spends its time on the records, small enough that reading one
/// event of a turn does not cost the turn.
const ROW_BYTES_MAX: usize = 60 << 10;

/// Which table a row belongs to: part of its checksum, so that a row found at another position is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Manifest = 1,
    Head = 2,
    Events = 3,
    Commands = 4,
    Letters = 5,
}

/// The position of a value: its table, its partition, and its first sequence number or offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RowKey {
    pub(super) kind: Kind,
    pub(super) partition: u32,
    pub(super) first: u64,
}

impl RowKey {
    fn checksum(self, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[self.kind as u8]).update(&self.partition.to_le_bytes()).update(&self.first.to_le_bytes());
        let mut checksum = [0; CHECKSUM_BYTES];
        hasher.update(body).finalize_xof().fill(&mut checksum);
        checksum
    }

    /// The value that holds `body` at this position.
    pub(super) fn seal(self, body: &[u8]) -> Vec<u8> {
        [&self.checksum(body), body].concat()
    }

    /// The body of a value found at this position; `None` when this value was not written there.
    pub(super) fn open(self, value: &[u8]) -> Option<&[u8]> {
        let (checksum, body) = value.split_first_chunk::<CHECKSUM_BYTES>()?;
        (*checksum == self.checksum(body)).then_some(body)
    }
}

/// One row on its way into the file.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) first: u64,
    pub(super) value: Vec<u8>,
}

/// Divides records into rows, each with the span that has appended its command, if it is known; the first record is at
/// `first`. What tracing systems add to a trace is not kept.
pub(super) fn lay_out<'a>(
    mut first: RowKey,
    records: impl Iterator<Item = (&'a [u8], Option<&'a TraceContext>)>,
) -> Vec<NewRow> {
    let mut rows = Vec::new();
    let mut open = Unsealed::default();
    for (record, trace) in records {
        if open.count > 0 && open.bytes_with(record, trace) > ROW_BYTES_MAX {
            let sealed = std::mem::take(&mut open);
            let count = sealed.count;
            rows.push(sealed.seal(first));
            first.first = first.first.saturating_add(u64::from(count));
        }
        open.push(record, trace);
    }
    if open.count > 0 {
        rows.push(open.seal(first));
    }
    rows
}

struct Unsealed {
    count: u32,
    body: Vec<u8>,
    /// Of all records, once one of them has any.
    traces: Vec<u8>,
}

impl Default for Unsealed {
    fn default() -> Self {
        Unsealed { count: 0, body: vec![0; COUNT_BYTES], traces: Vec::new() }
    }
}

impl Unsealed {
    /// The bytes of places in traces up to this record; `None` when the row has none with this record either.
    fn traces_with(&self, trace: Option<&TraceContext>) -> Option<usize> {
        (trace.is_some() || !self.traces.is_empty()).then_some((self.count as usize).saturating_mul(TRACE_BYTES))
    }

    fn bytes_with(&self, record: &[u8], trace: Option<&TraceContext>) -> usize {
        let traces = self.traces_with(trace).map_or(0, |before| before.saturating_add(TRACE_BYTES));
        self.body.len().saturating_add(record.len()).saturating_add(traces)
    }

    fn push(&mut self, record: &[u8], trace: Option<&TraceContext>) {
        if let Some(before) = self.traces_with(trace) {
            self.traces.resize(before, 0);
            self.traces.extend_from_slice(&trace.map_or([0; TRACE_BYTES], written));
        }
        // A record too long for the length field is too long for a redb value as well: the commit fails.
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        self.body.extend_from_slice(&length.to_le_bytes());
        self.body.extend_from_slice(record);
        self.count = self.count.saturating_add(1);
    }

    fn seal(mut self, position: RowKey) -> NewRow {
        if let Some(count) = self.body.first_chunk_mut::<COUNT_BYTES>() {
            *count = self.count.to_le_bytes();
        }
        self.body.extend_from_slice(&self.traces);
        NewRow { first: position.first, value: position.seal(&self.body) }
    }
}

fn written(TraceContext { trace_id, span_id, is_sampled, .. }: &TraceContext) -> [u8; TRACE_BYTES] {
    let mut bytes = [0; TRACE_BYTES];
    let parts = [&trace_id.to_le_bytes()[..], &span_id.to_le_bytes(), &[u8::from(*is_sampled)]];
    bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(byte, part)| *byte = *part);
    bytes
}

fn trace(bytes: &[u8]) -> Option<TraceContext> {
    let (trace_id, rest) = bytes.split_first_chunk()?;
    let (span_id, flags) = rest.split_first_chunk()?;
    let (trace_id, span_id) = (u128::from_le_bytes(*trace_id), u64::from_le_bytes(*span_id));
    let is_sampled = flags == [1];
    (trace_id != 0).then_some(TraceContext { trace_id, span_id, is_sampled, state: None })
}

/// The record that begins here, and what follows it; `None` when it is not whole.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// A row whose checksum was right.
#[derive(Debug)]
pub(super) struct Row<'a> {
    first: u64,
    count: u32,
    records: &'a [u8],
}

/// One record of a row.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// Its sequence number or offset.
    pub(super) position: u64,
    pub(super) bytes: &'a [u8],
    /// The span that has appended its command, where the row has it.
    pub(super) trace: Option<TraceContext>,
}

impl<'a> Row<'a> {
    /// The row found at `position`; `None` when this row was not written there.
    pub(super) fn open(position: RowKey, value: &'a [u8]) -> Option<Row<'a>> {
        let (count, records) = position.open(value)?.split_first_chunk::<COUNT_BYTES>()?;
        Some(Row { first: position.first, count: u32::from_le_bytes(*count), records })
    }

    /// The position after its last record.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// What follows the last record.
    fn traces(&self) -> &'a [u8] {
        let skip = |rest: &'a [u8], _| record(rest).map(|(_, rest)| rest);
        (0..self.count).try_fold(self.records, skip).unwrap_or_default()
    }
}

impl<'a> IntoIterator for Row<'a> {
    type Item = Record<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        let traces = self.traces().chunks_exact(TRACE_BYTES);
        Records { next: self.first, end: self.end(), rest: self.records, traces }
    }
}

/// The records of a row with their positions. It ends early if the lengths do not add up; the caller notices that by
/// counting.
#[derive(Debug)]
pub(super) struct Records<'a> {
    next: u64,
    end: u64,
    rest: &'a [u8],
    traces: ChunksExact<'a, u8>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.next >= self.end {
            return None;
        }
        let (bytes, rest) = record(self.rest)?;
        let position = self.next;
        self.next = position.saturating_add(1);
        self.rest = rest;
        Some(Record { position, bytes, trace: self.traces.next().and_then(trace) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: RowKey = RowKey { kind: Kind::Events, partition: 3, first: 40 };

    #[test]
    fn rows_give_back_what_was_laid_out_and_stay_bounded() {
        let records: Vec<Vec<u8>> = (0..2_000usize).map(|i| vec![i as u8; i % 300]).collect();
        // Of the first half none has a trace, and of the second every third one.
        let trace = |i: usize| (i >= 1_000 && i.is_multiple_of(3)).then(|| context(i as u64));
        let traces: Vec<_> = (0..records.len()).map(trace).collect();
        let rows = lay_out(PLACE, records.iter().map(Vec::as_slice).zip(traces.iter().map(Option::as_ref)));
        assert!(rows.len() > 1 && rows.iter().all(|row| row.value.len() <= 64 << 10));
        let mut next = PLACE.first;
        for row in &rows {
            assert_eq!(row.first, next);
            let read = Row::open(RowKey { first: row.first, ..PLACE }, &row.value).unwrap();
            next = read.end();
            for Record { position, bytes, trace } in read {
                let i = (position - PLACE.first) as usize;
                assert_eq!((bytes, &trace), (&*records[i], &traces[i]), "{i}");
            }
        }
        assert_eq!(next, PLACE.first + records.len() as u64);
    }

    fn context(n: u64) -> TraceContext {
        TraceContext { trace_id: u128::from(n) << 64 | 7, span_id: n, is_sampled: n.is_multiple_of(2), state: None }
    }

    /// The story: a log that was written before places in traces were kept is opened by this version, and the other way
    /// round.
    #[test]
    fn a_row_without_traces_is_as_it_always_was() {
        let records = [&b"first"[..], b"second"];
        let body = [&[2, 0, 0, 0, 5, 0, 0, 0][..], records[0], &[6, 0, 0, 0], records[1]].concat();
        let without = lay_out(PLACE, records.into_iter().map(|record| (record, None))).remove(0);
        assert_eq!(PLACE.open(&without.value), Some(&*body));
        let trace = context(4);
        let with = lay_out(PLACE, records.into_iter().zip([None, Some(&trace)])).remove(0);
        let begins = PLACE.open(&with.value).unwrap();
        assert_eq!((&begins[..body.len()], begins.len()), (&*body, body.len() + 2 * TRACE_BYTES));
    }

    #[test]
    fn a_record_larger_than_a_row_gets_a_row_of_its_own() {
        let large = vec![7; ROW_BYTES_MAX * 2];
        let rows = lay_out(PLACE, [&b"a"[..], &large, b"b"].into_iter().map(|record| (record, None)));
        assert_eq!(rows.iter().map(|row| row.first).collect::<Vec<_>>(), [40, 41, 42]);
        assert!(lay_out(PLACE, std::iter::empty()).is_empty());
    }

    #[test]
    fn every_flipped_bit_and_every_other_place_is_noticed() {
        let trace = context(4);
        let row = lay_out(PLACE, [(&b"first"[..], None), (b"second", Some(&trace))].into_iter()).remove(0);
        for bit in 0..row.value.len() * 8 {
            let mut flipped = row.value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Row::open(PLACE, &flipped).is_none(), "bit {bit}");
        }
        for cut in 0..row.value.len() {
            assert!(Row::open(PLACE, &row.value[..cut]).is_none(), "cut at {cut}");
        }
        for elsewhere in
            [RowKey { kind: Kind::Commands, ..PLACE }, RowKey { partition: 4, ..PLACE }, RowKey { first: 41, ..PLACE }]
        {
            assert!(Row::open(elsewhere, &row.value).is_none());
        }
    }
}
