//! Frames on their way into the log. A turn is laid out and packed before its place is known, so that the owners of
//! several partitions do that at the same time. The place is added when it is written.

use super::error::{Fault, damaged};
use super::frame::{
    FRAME_HEADER, FRAME_MAGIC, Head, Header, Kind, LAST, LETTER, PACKED, Place, TRACE_BYTES, TRACED, check_of,
};
use super::packed::{Dictionary, Packer, Unpacking};
use crate::log::Turn;
use crate::trace::TraceContext;
use std::io;

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

impl<'a> Pair<'a> {
    /// Each event of a turn with the command that it decides.
    pub(super) fn of(turn: &'a Turn) -> impl Iterator<Item = Pair<'a>> + Clone {
        let (events, inputs) = (turn.events.len(), turn.inputs.len());
        let count = events.max(inputs);
        (0..count).map(move |at| {
            // The events of timers come first and decide no command.
            let event = at.checked_sub(count.saturating_sub(events)).and_then(|at| turn.events.get(at));
            let input = at.checked_sub(count.saturating_sub(inputs)).and_then(|at| turn.inputs.get(at));
            Pair {
                event: event.map(|event| &*event.bytes),
                command: input.map(|input| &*input.bytes),
                trace: input.and_then(|input| input.trace.as_ref()),
            }
        })
    }

    /// The most bytes that it takes in a body.
    fn bytes(&self) -> usize {
        let records = [self.event, self.command].into_iter().flatten();
        let records: usize = records.map(|record| record.len() + length_bytes(record.len())).sum();
        records + if self.event.is_some() { TRACE_BYTES } else { 0 }
    }
}

/// The body of a frame with a turn that has room in one, before it is packed: a sample for whoever makes a dictionary.
pub fn sample(turn: &Turn) -> Vec<u8> {
    let mut part = Part::default();
    Pair::of(turn).for_each(|pair| part.take(&pair));
    part.body(Pair::of(turn))
}

/// The frames of one turn, whole but for their places.
#[derive(Debug, Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    partition: u32,
    frames: Vec<Frame>,
    /// What they are packed against.
    dictionary: Dictionary,
}

/// A frame in a draft.
#[derive(Debug)]
struct Frame {
    /// Where it begins.
    start: usize,
    kind: Kind,
    first: Head,
    counts: (u16, u16),
    /// Those that neither the packing nor its place decides.
    flags: u8,
}

/// Where in a header the numbers are that its place decides.
const FLAGS_AT: usize = 3;
const NUMBERS_AT: usize = 8;
const CHECK_AT: usize = FRAME_HEADER - 8;

/// The part of a turn that goes into one frame: its first pairs.
#[derive(Default)]
struct Part {
    pairs: usize,
    /// Events and commands.
    counts: (u16, u16),
    /// The most bytes that their body takes.
    bytes: usize,
    is_traced: bool,
}

impl Draft {
    /// Divides a turn of this partition, which ended at `first`, into frames.
    pub(super) fn of_turn<'a>(
        packer: &mut Packer,
        partition: u32,
        first: Head,
        mut pairs: impl Iterator<Item = Pair<'a>> + Clone,
    ) -> Draft {
        let mut draft = Draft { partition, dictionary: packer.dictionary().clone(), ..Draft::default() };
        let (mut part, mut next) = (Part::first_of(pairs.clone()), first);
        while part.pairs > 0 {
            next = draft.close(packer, next, &part, &part.body(pairs.clone()));
            pairs.by_ref().take(part.pairs).for_each(drop);
            part = Part::first_of(pairs.clone());
        }
        draft
    }

    /// The frame of what became of a dead letter.
    pub(super) fn of_letter(partition: u32, offset: u64, resolution: &[u8]) -> Draft {
        let mut draft = Draft { partition, ..Draft::default() };
        let first = Head { next_seq: 0, next_input: offset };
        draft.push(None, Frame { start: 0, kind: Kind::Letter, first, counts: (0, 0), flags: LETTER }, resolution);
        draft
    }

    fn close(&mut self, packer: &mut Packer, first: Head, part: &Part, body: &[u8]) -> Head {
        let (counts, flags) = (part.counts, if part.is_traced { TRACED } else { 0 });
        self.push(Some(packer), Frame { start: 0, kind: Kind::Turn, first, counts, flags }, body);
        Head {
            next_seq: first.next_seq.saturating_add(counts.0.into()),
            next_input: first.next_input.saturating_add(counts.1.into()),
        }
    }

    /// Adds a frame behind the others.
    fn push(&mut self, packer: Option<&mut Packer>, frame: Frame, body: &[u8]) {
        let (start, flags, (events, commands)) = (self.bytes.len(), frame.flags, frame.counts);
        self.frames.push(Frame { start, ..frame });
        self.bytes.extend_from_slice(&[0; FRAME_HEADER]);
        let is_packed = packer.is_some_and(|packer| packer.pack(body, &mut self.bytes));
        if !is_packed {
            self.bytes.extend_from_slice(body);
        }
        let body = self.bytes.get(start.saturating_add(FRAME_HEADER)..).unwrap_or_default();
        // A longer one is refused with its batch (`Store::append`).
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let partition = u16::try_from(self.partition).unwrap_or(u16::MAX);
        let parts = [
            &FRAME_MAGIC[..],
            &[flags | if is_packed { PACKED } else { 0 }],
            &length.to_le_bytes(),
            &[0; 12],
            &partition.to_le_bytes(),
            &events.to_le_bytes(),
            &commands.to_le_bytes(),
            &check_of(body),
        ];
        put(&mut self.bytes, start, &parts.concat());
    }

    /// Packs what is packed against another dictionary anew, as the segment for which it is now needs it.
    ///
    /// # Errors
    /// [`Fault`] when it does not come out of its packing: then nothing of it may be written.
    pub(super) fn pack_with(&mut self, packer: &mut Packer) -> Result<(), Fault> {
        if self.dictionary == *packer.dictionary() {
            return Ok(());
        }
        let next = Draft { partition: self.partition, dictionary: packer.dictionary().clone(), ..Draft::default() };
        let (before, mut unpacking) = (std::mem::replace(self, next), Unpacking::default());
        let ends: Vec<_> = before.frames.iter().skip(1).map(|next| next.start).chain([before.bytes.len()]).collect();
        for (frame, end) in before.frames.into_iter().zip(ends) {
            let packed = before.bytes.get(frame.start..end).and_then(|bytes| bytes.split_at_checked(FRAME_HEADER));
            let body = packed.and_then(|(header, body)| match header.get(FLAGS_AT)? & PACKED {
                0 => Some(body),
                _ => unpacking.unpacked(&before.dictionary, body),
            });
            let body = body.ok_or_else(|| damaged("a frame that is to be written does not come out of its packing"))?;
            let packer = if frame.kind == Kind::Turn { Some(&mut *packer) } else { None };
            self.push(packer, frame, body);
        }
        Ok(())
    }

    /// Bytes of all frames.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the numbers of the frames, counted from those with which the segment of this place begins, are short enough.
    pub(super) fn fits(&self, place: Place<'_>) -> bool {
        self.frames.iter().all(|frame| frame.numbers(self.partition, place).is_some())
    }

    /// The frames at their place, as a part of this batch.
    ///
    /// # Errors
    /// [`Fault`] when their numbers are too large for the segment.
    pub(super) fn sealed(&mut self, mut place: Place<'_>, batch: u64, is_last: bool) -> Result<&[u8], Fault> {
        let (begin, count) = (place.offset, self.frames.len());
        for (number, frame) in (1..).zip(&self.frames) {
            place.offset = begin.saturating_add(frame.start as u64);
            let counted = batch.checked_sub(place.first_batch).and_then(|batch| u32::try_from(batch).ok());
            let numbers = counted.zip(frame.numbers(self.partition, place));
            let (counted, numbers) = numbers.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            put(&mut self.bytes, frame.start.saturating_add(NUMBERS_AT), &counted.to_le_bytes());
            put(&mut self.bytes, frame.start.saturating_add(NUMBERS_AT + 4), &numbers);
            if let Some(flags) = self.bytes.get_mut(frame.start.saturating_add(FLAGS_AT)) {
                *flags = *flags & !LAST | if is_last && number == count { LAST } else { 0 };
            }
            let header = self.bytes.get(frame.start..).and_then(|frame| frame.get(..CHECK_AT)).unwrap_or_default();
            let check = place.check(batch, frame.first, header);
            put(&mut self.bytes, frame.start.saturating_add(CHECK_AT), &check);
        }
        Ok(&self.bytes)
    }

    /// The headers of the frames once they are at their place, with their offsets in the draft.
    pub(super) fn headers(&self, place: Place<'_>) -> impl Iterator<Item = (u64, Header)> {
        self.frames.iter().filter_map(move |frame| {
            let at = frame.start as u64;
            let place = Place { offset: place.offset.saturating_add(at), ..place };
            Some((at, Header::read(place, self.bytes.get(frame.start..)?)?))
        })
    }
}

impl Frame {
    /// The numbers of the first event and of the first command as a header of this segment has them.
    fn numbers(&self, partition: u32, place: Place<'_>) -> Option<[u8; 8]> {
        if self.kind == Kind::Letter {
            return Some(self.first.next_input.to_le_bytes());
        }
        let base = place.heads.get(partition as usize)?;
        let seq = u32::try_from(self.first.next_seq.checked_sub(base.next_seq)?).ok()?;
        let input = u32::try_from(self.first.next_input.checked_sub(base.next_input)?).ok()?;
        Some((u64::from(seq) | u64::from(input) << 32).to_le_bytes())
    }
}

impl Part {
    /// As many of these pairs as there is room for, and at least the first one.
    fn first_of<'a>(pairs: impl Iterator<Item = Pair<'a>>) -> Part {
        let mut part = Part::default();
        for pair in pairs {
            if part.pairs > 0 && !part.has_room(&pair) {
                break;
            }
            part.take(&pair);
        }
        part
    }

    fn has_room(&self, pair: &Pair<'_>) -> bool {
        self.bytes.saturating_add(pair.bytes()) <= FRAME_BYTES_MAX && self.counts.0.max(self.counts.1) < u16::MAX
    }

    fn take(&mut self, pair: &Pair<'_>) {
        self.pairs = self.pairs.saturating_add(1);
        self.bytes = self.bytes.saturating_add(pair.bytes());
        self.counts.0 = self.counts.0.saturating_add(pair.event.is_some().into());
        self.counts.1 = self.counts.1.saturating_add(pair.command.is_some().into());
        self.is_traced |= pair.event.and(pair.trace).is_some();
    }

    /// The body of its frame: the events of its pairs, their commands, and then where the events stand in traces, if any does.
    fn body<'a>(&self, pairs: impl Iterator<Item = Pair<'a>> + Clone) -> Vec<u8> {
        let (pairs, mut body) = (pairs.take(self.pairs), Vec::with_capacity(self.bytes));
        pairs.clone().filter_map(|pair| pair.event).for_each(|event| push_record(&mut body, event));
        pairs.clone().filter_map(|pair| pair.command).for_each(|command| push_record(&mut body, command));
        if self.is_traced {
            pairs.filter(|pair| pair.event.is_some()).for_each(|pair| push_trace(&mut body, pair.trace));
        }
        body
    }
}

/// Overwrites what is there.
fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes.iter_mut().skip(at).zip(with).for_each(|(to, from)| *to = *from);
}

/// The bytes in which the length of a record is written.
fn length_bytes(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros();
    bits.div_ceil(7).max(1) as usize
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
