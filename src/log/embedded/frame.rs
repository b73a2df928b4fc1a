//! The layout of a frame, the unit that is checked and read: events of one partition with the commands that they
//! decide. A turn is one frame, or several if it is large. A frame that is found anywhere but at the place where it was
//! written is refused, and so is every frame with a changed byte.
//!
//! ```text
//! header   magic 4 │ length of the body 4 │ batch 8 │ first event 8 │ first command 8 │ partition 2 │ events 2
//!          commands 2 │ kind 1 │ flags 1 │ check of the body 8 │ check of the header 8
//! body     every event after its length │ every command after its length │ places in traces, 25 bytes for each event
//! ```
//!
//! Numbers are little-endian; lengths of records have 7 bits in each byte, the lowest first. A check is the beginning
//! of a BLAKE3 hash. That of the header includes the log, the segment and the offset of the frame.

use crate::trace::TraceContext;

/// Bytes of the header of a frame.
pub(super) const FRAME_HEADER: usize = 56;
/// Bytes of the header before its own check.
pub(super) const CHECKED: usize = FRAME_HEADER - 8;
/// The first bytes of every frame.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"HrF\x02";
/// Bytes of a place in a trace: the trace, the span, and whether it is recorded. All of them are 0 where there is none.
pub(super) const TRACE_BYTES: usize = 25;
/// Most bytes of the length of a record.
pub(super) const LENGTH_BYTES_MAX: usize = 5;

/// A flag: the frame is the last one of its batch. Only a batch with its last frame counts.
pub(super) const LAST: u8 = 1;
/// A flag: the body ends with places in traces.
pub(super) const TRACED: u8 = 2;

/// The first bytes of a BLAKE3 hash.
pub(super) fn check_of(bytes: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    check.iter_mut().zip(blake3::hash(bytes).as_bytes()).for_each(|(to, from)| *to = *from);
    check
}

/// The end of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// The sequence number after the last event.
    pub next_seq: u64,
    /// The input offset after the last one decided.
    pub next_input: u64,
}

impl Head {
    /// The end in one of the two sequences.
    pub(super) fn of(self, records: Records) -> u64 {
        match records {
            Records::Events => self.next_seq,
            Records::Commands => self.next_input,
        }
    }
}

/// One of the two sequences of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Records {
    Events,
    Commands,
}

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Turn = 1,
    /// The resolution of a dead letter. Its first command is the letter.
    Letter = 2,
}

/// The place of a frame, which its check includes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) log_id: u128,
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Place {
    pub(super) fn check(self, header: &[u8; CHECKED]) -> [u8; 8] {
        let mut all = [0; 32 + CHECKED];
        let parts = [&self.log_id.to_le_bytes()[..], &self.segment.to_le_bytes(), &self.offset.to_le_bytes(), header];
        all.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        check_of(&all)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// Bytes of the body.
    pub(super) length: u32,
    /// The number of the batch. The frames of a batch were flushed together.
    pub(super) batch: u64,
    /// The numbers of the first event and of the first command.
    pub(super) first: Head,
    pub(super) partition: u32,
    pub(super) events: u16,
    pub(super) commands: u16,
    pub(super) kind: Kind,
    pub(super) is_last: bool,
    is_traced: bool,
    body_check: [u8; 8],
}

impl Header {
    /// The header found at this place; `None` when none was written there.
    pub(super) fn read(place: Place, bytes: &[u8; FRAME_HEADER]) -> Option<Header> {
        let (header, check) = bytes.split_first_chunk::<CHECKED>()?;
        if !header.starts_with(&FRAME_MAGIC) || check != place.check(header) {
            return None;
        }
        let (length, rest) = header.get(4..)?.split_first_chunk()?;
        let (batch, rest) = rest.split_first_chunk()?;
        let (next_seq, rest) = rest.split_first_chunk()?;
        let (next_input, rest) = rest.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let (events, rest) = rest.split_first_chunk()?;
        let (commands, rest) = rest.split_first_chunk()?;
        let ([kind, flags], body_check) = rest.split_first_chunk()?;
        let first = Head { next_seq: u64::from_le_bytes(*next_seq), next_input: u64::from_le_bytes(*next_input) };
        Some(Header {
            length: u32::from_le_bytes(*length),
            batch: u64::from_le_bytes(*batch),
            first,
            partition: u16::from_le_bytes(*partition).into(),
            events: u16::from_le_bytes(*events),
            commands: u16::from_le_bytes(*commands),
            kind: [Kind::Turn, Kind::Letter].into_iter().find(|of| *of as u8 == *kind)?,
            is_last: flags & LAST != 0,
            is_traced: flags & TRACED != 0,
            body_check: body_check.try_into().ok()?,
        })
    }

    /// Bytes of the frame.
    pub(super) fn frame_length(&self) -> u64 {
        u64::from(self.length).saturating_add(FRAME_HEADER as u64)
    }

    /// The end of the partition after this frame.
    pub(super) fn end(&self) -> Head {
        Head {
            next_seq: self.first.next_seq.saturating_add(self.events.into()),
            next_input: self.first.next_input.saturating_add(self.commands.into()),
        }
    }

    /// Whether this is the body that was written with the header.
    pub(super) fn is_body(&self, body: &[u8]) -> bool {
        body.len() == self.length as usize && check_of(body) == self.body_check
    }

    /// The records of a body that is known to be the header's. It ends early if the lengths do not add up; the caller
    /// notices that by counting.
    pub(super) fn records<'a>(&self, records: Records, body: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
        let (before, count) = match records {
            Records::Events => (0, self.events),
            Records::Commands => (self.events, self.commands),
        };
        let skip = |rest: &'a [u8], _| split_record(rest).map(|(_, rest)| rest);
        let mut rest = (0..before).try_fold(body, skip).unwrap_or_default();
        let traced = usize::from(self.events).saturating_mul(TRACE_BYTES);
        let has_traces = self.is_traced && records == Records::Events;
        let traces = body.len().checked_sub(traced).and_then(|at| body.get(at..)).filter(|_| has_traces);
        let mut traces = traces.unwrap_or_default().chunks_exact(TRACE_BYTES);
        (self.first.of(records)..).take(count.into()).map_while(move |position| {
            let (bytes, after) = split_record(rest)?;
            rest = after;
            Some(Record { position, bytes, trace: traces.next().and_then(trace) })
        })
    }
}

/// One record of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Its sequence number or offset.
    pub(super) position: u64,
    pub(super) bytes: &'a [u8],
    /// The span that has appended its command, where the log has it.
    pub(super) trace: Option<TraceContext>,
}

/// The record that begins here, and what follows it; `None` when it is not whole.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0usize;
    for (at, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at.saturating_add(1)..)?.split_at_checked(length);
        }
    }
    None
}

fn trace(bytes: &[u8]) -> Option<TraceContext> {
    let (trace_id, rest) = bytes.split_first_chunk()?;
    let (span_id, flags) = rest.split_first_chunk()?;
    let (trace_id, span_id) = (u128::from_le_bytes(*trace_id), u64::from_le_bytes(*span_id));
    (trace_id != 0).then_some(TraceContext { trace_id, span_id, is_sampled: flags == [1], state: None })
}
