//! The layout of a frame, the unit that is checked and read: events of one partition with the commands that they
//! decide. A turn is one frame, or several if it is large. A frame that is found anywhere but at the place where it was
//! written is refused, and so is every frame with a changed byte.
//!
//! ```text
//! header   magic 3 │ flags 1 │ length of the body 4 │ batch 4 │ first event 4 │ first command 4 │ partition 2
//!          events 2 │ commands 2 │ check of the body 8 │ check of the header 8
//! body     every event after its length │ every command after its length │ places in traces, 25 bytes for each event
//! ```
//!
//! Numbers are little-endian; lengths of records have 7 bits in each byte, the lowest first. The batch, the first event and
//! the first command are counted from those with which the segment begins. A dead letter has its offset in their place, as
//! one number of 8 bytes.
//!
//! A check is the beginning of a BLAKE3 hash. That of the header includes the log, the segment, the offset of the frame, and
//! the numbers as they are, not as they are counted: a frame of another history of the log is refused as well.
//!
//! A flag says that the body is packed (`packed.rs`). Length and check of a body are those of the bytes in the segment. So
//! the end of a log is found without unpacking, and nothing is unpacked that was not written. What comes out has a check of
//! its own, within the packing.
//!
//! Segments of version 2 have this header instead, with every number as it is, and their bodies are not packed:
//!
//! ```text
//! header   magic 4 │ length of the body 4 │ batch 8 │ first event 8 │ first command 8 │ partition 2 │ events 2
//!          commands 2 │ kind 1 │ flags 1 │ check of the body 8 │ check of the header 8
//! ```

use crate::trace::TraceContext;
use std::io::Write;

/// How the frames of a segment are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// As in version 2. It is only read.
    Plain,
    /// As they are written.
    Packed,
}

/// Bytes of a check.
const CHECK: usize = 8;
/// Bytes of the header of a frame.
pub(super) const FRAME_HEADER: usize = 42;
/// Bytes of the header of a frame of version 2.
const PLAIN_HEADER: usize = 56;
/// Bytes of the place and of the numbers that the check of a header includes.
const PLACED: usize = 56;
/// The first bytes of every frame.
pub(super) const FRAME_MAGIC: [u8; 3] = *b"Hr\x03";
const PLAIN_MAGIC: [u8; 4] = *b"HrF\x02";
/// Bytes of a place in a trace: the trace, the span, and whether it is recorded. All of them are 0 where there is none.
pub(super) const TRACE_BYTES: usize = 25;
/// Most bytes of the length of a record.
const LENGTH_BYTES_MAX: usize = 5;

/// A flag: the frame is the last one of its batch. Only a batch with its last frame counts.
pub(super) const LAST: u8 = 1;
/// A flag: the body ends with places in traces.
pub(super) const TRACED: u8 = 2;
/// A flag: the body is packed.
pub(super) const PACKED: u8 = 4;
/// A flag: the frame is the resolution of a dead letter.
pub(super) const LETTER: u8 = 8;

impl Form {
    /// Bytes of the header of a frame.
    pub(super) const fn header(self) -> usize {
        match self {
            Form::Plain => PLAIN_HEADER,
            Form::Packed => FRAME_HEADER,
        }
    }

    /// The first bytes of every frame.
    pub(super) const fn magic(self) -> &'static [u8] {
        match self {
            Form::Plain => &PLAIN_MAGIC,
            Form::Packed => &FRAME_MAGIC,
        }
    }
}

/// The first bytes of a BLAKE3 hash.
pub(super) fn check_of(bytes: &[u8]) -> [u8; 8] {
    blake3::hash(bytes).as_bytes().first_chunk().copied().unwrap_or_default()
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
    /// Whether a partition that ends here holds all of one that ends there.
    pub(super) fn holds(self, there: Head) -> bool {
        there.next_seq <= self.next_seq && there.next_input <= self.next_input
    }

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

/// What a frame holds. Frames of version 2 say it by these numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Turn = 1,
    /// The resolution of a dead letter. Its first command is the letter.
    Letter = 2,
}

/// The place of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place<'a> {
    pub(super) form: Form,
    pub(super) log_id: u128,
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// The number of the first batch of the segment.
    pub(super) first_batch: u64,
    /// The ends of the partitions before its first frame.
    pub(super) heads: &'a [Head],
}

impl Place<'_> {
    /// The check of a header without its check, which has these numbers.
    pub(super) fn check(self, batch: u64, first: Head, header: &[u8]) -> [u8; CHECK] {
        let numbers = [batch, first.next_seq, first.next_input].map(u64::to_le_bytes);
        let numbers = numbers.as_flattened();
        let numbers = if self.form == Form::Packed { numbers } else { &[] };
        let parts =
            [&self.log_id.to_le_bytes()[..], &self.segment.to_le_bytes(), &self.offset.to_le_bytes(), numbers, header];
        let mut all = [0; PLACED + PLAIN_HEADER];
        let mut free = all.as_mut_slice();
        let length = parts.iter().map(|part| free.write(part).unwrap_or_default()).sum::<usize>();
        check_of(all.get(..length).unwrap_or_default())
    }
}

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    form: Form,
    /// Bytes of the body in the segment.
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
    pub(super) is_packed: bool,
    body_check: [u8; CHECK],
}

impl Header {
    /// The header with which these bytes begin, which are at this place; `None` when none was written there.
    pub(super) fn read(place: Place<'_>, bytes: &[u8]) -> Option<Header> {
        let (header, check) = bytes.get(..place.form.header())?.split_last_chunk::<CHECK>()?;
        let fields = header.strip_prefix(place.form.magic())?;
        let read = match place.form {
            Form::Plain => Header::plain(fields)?,
            Form::Packed => Header::packed(place, fields)?,
        };
        (*check == place.check(read.batch, read.first, header)).then_some(read)
    }

    /// The header of a frame, and its body.
    pub(super) fn split<'a>(place: Place<'_>, frame: &'a [u8]) -> Option<(Header, &'a [u8])> {
        Some((Header::read(place, frame)?, frame.get(place.form.header()..)?))
    }

    fn packed(place: Place<'_>, fields: &[u8]) -> Option<Header> {
        let ([flags], rest) = fields.split_first_chunk()?;
        if flags & !(LAST | TRACED | PACKED | LETTER) != 0 {
            return None;
        }
        let (length, rest) = rest.split_first_chunk()?;
        let (batch, rest) = rest.split_first_chunk()?;
        let (numbers, rest) = rest.split_first_chunk::<8>()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let (events, rest) = rest.split_first_chunk()?;
        let (commands, body_check) = rest.split_first_chunk()?;
        let partition = u16::from_le_bytes(*partition).into();
        let kind = if flags & LETTER == 0 { Kind::Turn } else { Kind::Letter };
        let first = match kind {
            Kind::Turn => {
                let (base, (seq, input)) = (place.heads.get(partition as usize)?, numbers.split_first_chunk()?);
                let input = u32::from_le_bytes(input.try_into().ok()?);
                Head {
                    next_seq: base.next_seq.checked_add(u32::from_le_bytes(*seq).into())?,
                    next_input: base.next_input.checked_add(input.into())?,
                }
            }
            Kind::Letter => Head { next_seq: 0, next_input: u64::from_le_bytes(*numbers) },
        };
        Some(Header {
            form: Form::Packed,
            length: u32::from_le_bytes(*length),
            batch: place.first_batch.checked_add(u32::from_le_bytes(*batch).into())?,
            first,
            partition,
            events: u16::from_le_bytes(*events),
            commands: u16::from_le_bytes(*commands),
            kind,
            is_last: flags & LAST != 0,
            is_traced: flags & TRACED != 0,
            is_packed: flags & PACKED != 0,
            body_check: body_check.try_into().ok()?,
        })
    }

    fn plain(fields: &[u8]) -> Option<Header> {
        let (length, rest) = fields.split_first_chunk()?;
        let (batch, rest) = rest.split_first_chunk()?;
        let (next_seq, rest) = rest.split_first_chunk()?;
        let (next_input, rest) = rest.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let (events, rest) = rest.split_first_chunk()?;
        let (commands, rest) = rest.split_first_chunk()?;
        let ([kind, flags], body_check) = rest.split_first_chunk()?;
        Some(Header {
            form: Form::Plain,
            length: u32::from_le_bytes(*length),
            batch: u64::from_le_bytes(*batch),
            first: Head { next_seq: u64::from_le_bytes(*next_seq), next_input: u64::from_le_bytes(*next_input) },
            partition: u16::from_le_bytes(*partition).into(),
            events: u16::from_le_bytes(*events),
            commands: u16::from_le_bytes(*commands),
            kind: [Kind::Turn, Kind::Letter].into_iter().find(|of| *of as u8 == *kind)?,
            is_last: flags & LAST != 0,
            is_traced: flags & TRACED != 0,
            is_packed: false,
            body_check: body_check.try_into().ok()?,
        })
    }

    /// Bytes of the frame.
    pub(super) fn frame_length(&self) -> u64 {
        u64::from(self.length).saturating_add(self.form.header() as u64)
    }

    /// The end of the partition after this frame.
    pub(super) fn end(&self) -> Head {
        Head {
            next_seq: self.first.next_seq.saturating_add(self.events.into()),
            next_input: self.first.next_input.saturating_add(self.commands.into()),
        }
    }

    /// Whether these are the bytes of the body that were written with the header.
    pub(super) fn is_body(&self, body: &[u8]) -> bool {
        body.len() == self.length as usize && check_of(body) == self.body_check
    }

    /// The records of a body that is known to be the header's, out of its packing. It ends early if the lengths do not add
    /// up; the caller notices that by counting.
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
