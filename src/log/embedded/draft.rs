//! Frames on their way into the log. A turn is laid out before its place is known, so that the owners of several
//! partitions do that at the same time. The place is added when it is written.

use super::frame::{
    CHECKED, FRAME_HEADER, FRAME_MAGIC, Head, Header, Kind, LAST, LENGTH_BYTES_MAX, Place, TRACE_BYTES, TRACED,
    check_of,
};
use crate::trace::TraceContext;

/// Most bytes of the body of a frame; the first records always fit. It is large enough that a replay spends its time on
/// the records, and small enough that reading one event of a turn does not cost the turn.
const FRAME_BYTES_MAX: usize = 60 << 10;

/// An event, the command that it decides, or both.
#[derive(Clone, Copy, Default)]
pub(super) struct Pair<'a> {
    pub(super) event: Option<&'a [u8]>,
    pub(super) command: Option<&'a [u8]>,
    /// The span that has appended the command. What tracing systems add to a trace is not kept.
    pub(super) trace: Option<&'a TraceContext>,
}

/// The frames of one turn, whole but for their places.
#[derive(Debug, Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    /// Where each frame begins.
    starts: Vec<usize>,
}

/// A frame that is being filled.
#[derive(Default)]
struct Open {
    counts: (u16, u16),
    events: Vec<u8>,
    commands: Vec<u8>,
    traces: Vec<u8>,
    is_traced: bool,
}

impl Draft {
    /// Divides a turn of this partition, which ended at `first`, into frames.
    pub(super) fn of_turn<'a>(partition: u32, first: Head, pairs: impl Iterator<Item = Pair<'a>>) -> Draft {
        let (mut draft, mut open, mut next) = (Draft::default(), Open::default(), first);
        for pair in pairs {
            if !open.has_room(&pair) {
                next = draft.close(partition, next, std::mem::take(&mut open));
            }
            open.push(&pair);
        }
        if open.counts != (0, 0) {
            draft.close(partition, next, open);
        }
        draft
    }

    /// The frame of what became of a dead letter.
    pub(super) fn of_letter(partition: u32, offset: u64, resolution: &[u8]) -> Draft {
        let (mut draft, first) = (Draft::default(), Head { next_seq: 0, next_input: offset });
        draft.push(Kind::Letter, (partition, first, (0, 0), false), &[resolution]);
        draft
    }

    fn close(&mut self, partition: u32, first: Head, open: Open) -> Head {
        let Open { counts, events, commands, traces, is_traced } = open;
        let traces = if is_traced { traces } else { Vec::new() };
        self.push(Kind::Turn, (partition, first, counts, is_traced), &[&events, &commands, &traces]);
        Head {
            next_seq: first.next_seq.saturating_add(counts.0.into()),
            next_input: first.next_input.saturating_add(counts.1.into()),
        }
    }

    fn push(&mut self, kind: Kind, of: (u32, Head, (u16, u16), bool), body: &[&[u8]]) {
        let (partition, first, (events, commands), is_traced) = of;
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.extend_from_slice(&[0; FRAME_HEADER]);
        body.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let body = self.bytes.get(start.saturating_add(FRAME_HEADER)..).unwrap_or_default();
        // A longer one is refused with its batch (`Store::append`).
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let partition = u16::try_from(partition).unwrap_or(u16::MAX);
        let parts = [
            &FRAME_MAGIC[..],
            &length.to_le_bytes(),
            &[0; 8],
            &first.next_seq.to_le_bytes(),
            &first.next_input.to_le_bytes(),
            &partition.to_le_bytes(),
            &events.to_le_bytes(),
            &commands.to_le_bytes(),
            &[kind as u8, if is_traced { TRACED } else { 0 }],
            &check_of(body),
        ];
        let parts = parts.concat();
        self.bytes.iter_mut().skip(start).zip(parts).for_each(|(to, from)| *to = from);
    }

    /// Bytes of all frames.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The frames at their place, as a part of this batch.
    pub(super) fn sealed(&mut self, mut place: Place, batch: u64, is_last: bool) -> &[u8] {
        let (first, count) = (place.offset, self.starts.len());
        for (number, start) in (1..).zip(&self.starts) {
            place.offset = first.saturating_add(*start as u64);
            let Some(frame) = self.bytes.get_mut(*start..) else { continue };
            frame.iter_mut().skip(8).zip(batch.to_le_bytes()).for_each(|(to, from)| *to = from);
            if let Some(flags) = frame.get_mut(39) {
                *flags = *flags & !LAST | if is_last && number == count { LAST } else { 0 };
            }
            let Some((header, rest)) = frame.split_first_chunk_mut::<CHECKED>() else { continue };
            rest.iter_mut().zip(place.check(header)).for_each(|(to, from)| *to = from);
        }
        &self.bytes
    }

    /// The headers of the frames once they are at their place, with their offsets in the draft.
    pub(super) fn headers(&self, place: Place) -> impl Iterator<Item = (u64, Header)> {
        self.starts.iter().filter_map(move |start| {
            let at = *start as u64;
            let place = Place { offset: place.offset.saturating_add(at), ..place };
            Some((at, Header::read(place, self.bytes.get(*start..)?.first_chunk()?)?))
        })
    }
}

impl Open {
    fn has_room(&self, pair: &Pair<'_>) -> bool {
        let added = [pair.event, pair.command].into_iter().flatten().map(|record| record.len() + LENGTH_BYTES_MAX);
        let bytes = self.events.len() + self.commands.len() + self.traces.len() + added.sum::<usize>() + TRACE_BYTES;
        let count = self.counts.0.max(self.counts.1);
        count == 0 || (bytes <= FRAME_BYTES_MAX && count < u16::MAX)
    }

    fn push(&mut self, pair: &Pair<'_>) {
        if let Some(event) = pair.event {
            push_record(&mut self.events, event);
            self.counts.0 = self.counts.0.saturating_add(1);
            push_trace(&mut self.traces, pair.trace);
            self.is_traced |= pair.trace.is_some();
        }
        if let Some(command) = pair.command {
            push_record(&mut self.commands, command);
            self.counts.1 = self.counts.1.saturating_add(1);
        }
    }
}

fn push_record(to: &mut Vec<u8>, record: &[u8]) {
    let mut length = record.len();
    while length > 0x7f {
        to.push(length as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
    to.extend_from_slice(record);
}

fn push_trace(to: &mut Vec<u8>, trace: Option<&TraceContext>) {
    let Some(TraceContext { trace_id, span_id, is_sampled, .. }) = trace else {
        return to.extend_from_slice(&[0; TRACE_BYTES]);
    };
    to.extend_from_slice(&trace_id.to_le_bytes());
    to.extend_from_slice(&span_id.to_le_bytes());
    to.push(u8::from(*is_sampled));
}
