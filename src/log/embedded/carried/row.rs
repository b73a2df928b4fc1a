//! The layout of a run of events or commands in one value of the redb file: checksum, count, then each record after its
//! length. In a row in which some records belong to a call, the place of each in its trace follows, in the same order.
//! Earlier versions wrote nothing there. A row with a wrong checksum is refused as a whole.

use super::super::frame::Record;
use crate::trace::TraceContext;
use std::slice::ChunksExact;

/// Bytes of the checksum that every value of the file begins with.
const CHECKSUM_BYTES: usize = 8;
const COUNT_BYTES: usize = 4;
const LENGTH_BYTES: usize = 4;
/// Bytes of a place in a trace: the trace, the span, and whether it is recorded. All of them are 0 where there is none.
const TRACE_BYTES: usize = 25;

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

    /// The body of a value found at this position; `None` when this value was not written there.
    pub(super) fn open(self, value: &[u8]) -> Option<&[u8]> {
        let (checksum, body) = value.split_first_chunk::<CHECKSUM_BYTES>()?;
        (*checksum == self.checksum(body)).then_some(body)
    }
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
