//! Walking through a segment from frame to frame: at the start to find the end of the log, and later to know where the
//! records of a sealed segment are. The index is never written: it is made anew from the frames.

use super::disk::Named;
use super::error::{Fault, damaged};
use super::frame::{Head, Header, Kind, Records};
use super::packed::Unpacking;
use super::segment::{ReadAt, SegmentHeader};
use crate::log::Opening;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes that a walk reads at once.
pub(super) const WINDOW_BYTES: usize = 256 << 10;

/// Reads a file in pieces.
pub(super) struct Window<'a> {
    named: &'a dyn ReadAt,
    opening: &'a Opening,
    start: u64,
    bytes: Vec<u8>,
    filled: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(named: &'a dyn ReadAt, opening: &'a Opening) -> Window<'a> {
        Window { named, opening, start: 0, bytes: Vec::new(), filled: 0 }
    }

    /// So many bytes at this offset, and at least `ahead` are read if the file has to be asked; `None` when the file
    /// ends before.
    pub(super) fn get(&mut self, offset: u64, length: usize, ahead: usize) -> io::Result<Option<&[u8]>> {
        let end = offset.saturating_add(length as u64);
        if offset < self.start || end > self.start.saturating_add(self.filled as u64) {
            let wanted = length.max(ahead);
            if self.bytes.len() < wanted {
                self.bytes.resize(wanted, 0);
            }
            self.opening.goes_on()?;
            let Some(buffer) = self.bytes.get_mut(..wanted) else { return Ok(None) };
            (self.start, self.filled) = (offset, 0);
            self.filled = self.named.read_up_to(offset, buffer)?;
            self.opening.reads(self.filled);
        }
        let at = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.bytes.get(..self.filled).and_then(|all| all.get(at..)).and_then(|all| all.get(..length)))
    }
}

/// Where a frame is, and which records it begins with, counted from those of its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    seq: u32,
    input: u32,
    pub(super) offset: u32,
    /// Bytes of the frame, header included.
    pub(super) length: u32,
}

/// Where the records of a segment are.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// By partition, in order.
    turns: Vec<Vec<Entry>>,
    pub(super) letters: Vec<Entry>,
}

impl Index {
    pub(super) fn new(partitions: usize) -> Index {
        Index { turns: vec![Vec::new(); partitions], letters: Vec::new() }
    }

    /// The dead letters alone.
    pub(super) fn of_letters(&self) -> Index {
        Index { letters: self.letters.clone(), turns: Vec::new() }
    }

    /// Adds a frame. A segment and a batch are small enough for the short numbers.
    pub(super) fn push(&mut self, segment: &SegmentHeader, offset: u64, header: &Header) {
        let base = segment.heads.get(header.partition as usize).copied().unwrap_or_default();
        let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let entry = Entry {
            seq: short(header.first.next_seq.saturating_sub(base.next_seq)),
            input: short(header.first.next_input.saturating_sub(base.next_input)),
            offset: short(offset),
            length: short(header.frame_length()),
        };
        match header.kind {
            Kind::Letter => self.letters.push(entry),
            Kind::Turn => self.turns.get_mut(header.partition as usize).into_iter().for_each(|of| of.push(entry)),
        }
    }

    /// The frames that hold records of a partition from this one on, in order.
    pub(super) fn from(&self, segment: &SegmentHeader, records: Records, partition: u32, from: u64) -> &[Entry] {
        let Some(entries) = self.turns.get(partition as usize) else { return &[] };
        let base = segment.heads.get(partition as usize).map_or(0, |head| head.of(records));
        let from = from.saturating_sub(base);
        let first = |entry: &Entry| u64::from(if records == Records::Events { entry.seq } else { entry.input });
        let after = entries.partition_point(|entry| first(entry) <= from);
        entries.get(after.saturating_sub(1)..).unwrap_or_default()
    }
}

/// How a walk through a segment ended.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) index: Index,
    /// The ends of the partitions after the last whole batch.
    pub(super) heads: Vec<Head>,
    /// The end of the last whole batch, and where its last frame begins.
    pub(super) end: u64,
    pub(super) last_frame: u64,
    /// The end of the last batch that is known to have been flushed.
    pub(super) flushed_end: u64,
    /// The number of the batch that would be next.
    pub(super) next_batch: u64,
    /// Why the walk ended there.
    pub(super) stopped: &'static str,
}

/// How far a walk goes, and what it checks.
#[derive(Clone, Copy)]
pub(super) enum Walk {
    /// To the end of a sealed segment; of every frame the header.
    Sealed { end: u64 },
    /// To this end; of every frame every byte, and that its body can be unpacked.
    Checked { end: u64 },
    /// To the last whole batch of the last segment. Batches up to `flushed` are known to have been flushed. A frame of
    /// theirs whose contents have changed since is passed over: whoever reads it is refused, and other partitions are
    /// not affected. In a later batch such a frame was half written.
    Last { flushed: u64 },
}

impl Walk {
    fn ends_at(self, offset: u64) -> bool {
        match self {
            Walk::Sealed { end } | Walk::Checked { end } => offset == end,
            Walk::Last { .. } => false,
        }
    }

    fn is_checked(self, batch: u64) -> bool {
        match self {
            Walk::Sealed { .. } => false,
            Walk::Checked { .. } => true,
            Walk::Last { flushed } => batch > flushed,
        }
    }
}

/// Walks from the first frame as far as `walk` says, or as the frames are sound.
pub(super) fn scan(named: &dyn ReadAt, segment: &SegmentHeader, walk: Walk, opening: &Opening) -> io::Result<Scan> {
    let mut window = Window::new(named, opening);
    let begin = segment.begin();
    let mut found = Scan {
        index: Index::new(segment.heads.len()),
        heads: segment.heads.clone(),
        end: begin,
        last_frame: 0,
        flushed_end: begin,
        next_batch: segment.first_batch,
        stopped: "",
    };
    let mut unpacking = Unpacking::default();
    // The frames of a batch count when its last one is there.
    let mut batch: Vec<(u64, Header, Head)> = Vec::new();
    let mut offset = begin;
    while !walk.ends_at(offset) {
        let header = match window.get(offset, segment.form().header(), WINDOW_BYTES)? {
            None => Err("the file ends"),
            Some(bytes) => Header::read(segment.place(offset), bytes).ok_or("no frame begins"),
        };
        let checked = header.and_then(|header| match found.heads.get_mut(header.partition as usize) {
            Some(head)
                if header.batch == found.next_batch && (header.kind == Kind::Letter || header.first == *head) =>
            {
                Ok((header, head))
            }
            _ => Err("another frame is due"),
        });
        let (header, head) = match checked {
            Ok(checked) => checked,
            Err(why) => {
                found.stopped = why;
                break;
            }
        };
        if walk.is_checked(header.batch) {
            let at = offset.saturating_add(segment.form().header() as u64);
            let body = window.get(at, header.length as usize, WINDOW_BYTES)?;
            let body = body.filter(|body| header.is_body(body));
            let unpacks = |body| {
                matches!(walk, Walk::Last { .. }) || unpacking.body(&segment.dictionary, &header, body).is_some()
            };
            if !body.is_some_and(unpacks) {
                found.stopped = "the contents are not what was written";
                break;
            }
        }
        batch.push((offset, header, *head));
        if header.kind == Kind::Turn {
            *head = header.end();
        }
        let start = offset;
        offset = offset.saturating_add(header.frame_length());
        if header.is_last {
            batch.drain(..).for_each(|(offset, header, _)| found.index.push(segment, offset, &header));
            (found.end, found.last_frame, found.next_batch) = (offset, start, found.next_batch.saturating_add(1));
            if !walk.is_checked(header.batch) {
                found.flushed_end = offset;
            }
        }
    }
    for (_, header, before) in batch.into_iter().rev() {
        found.heads.get_mut(header.partition as usize).into_iter().for_each(|head| *head = before);
    }
    Ok(found)
}

/// Calls `what` with each frame that ends up to this byte, and with where it is, in their order, until it breaks. Whoever wants the
/// body finds it in the window.
pub(super) fn each_frame(
    read: &dyn ReadAt,
    segment: &SegmentHeader,
    end: u64,
    mut what: impl FnMut(&mut Window<'_>, u64, &Header) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let opening = Opening::default();
    let (mut window, mut offset) = (Window::new(read, &opening), segment.begin());
    while offset < end {
        let changed = || changed(read, offset);
        let bytes = window.get(offset, segment.form().header(), WINDOW_BYTES)?.ok_or_else(changed)?;
        let frame = Header::read(segment.place(offset), bytes).ok_or_else(changed)?;
        let next = offset.saturating_add(frame.frame_length());
        if next > end || what(&mut window, offset, &frame)?.is_break() {
            break;
        }
        offset = next;
    }
    Ok(())
}

pub(super) fn changed(named: &dyn ReadAt, offset: u64) -> Fault {
    damaged(format!("what begins at byte {offset} of {} is not what was written", named.path().display()))
}

/// What follows the last whole batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// Behind the last byte that is not zero; the end of the batch when all are.
    pub(super) written_to: u64,
    /// Where a frame of a later batch begins than the one that would be next. It was written after that one had been
    /// flushed, so that one is damaged and not only half written.
    pub(super) later_frame: Option<u64>,
}

/// Looks through what follows the last whole batch.
pub(super) fn rest(named: &Named, segment: &SegmentHeader, found: &Scan, opening: &Opening) -> io::Result<Rest> {
    let mut rest = Rest { written_to: found.end, later_frame: None };
    let mut window = Window::new(named, opening);
    let length = named.file.metadata()?.len();
    let zeros = vec![0; WINDOW_BYTES];
    let mut offset = found.end;
    // The pieces overlap, so that a header which lies across two of them is seen.
    while offset < length && rest.later_frame.is_none() {
        let size = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        let Some(piece) = window.get(offset, size, size)? else { break };
        let last = if zeros.starts_with(piece) { None } else { piece.iter().rposition(|byte| *byte != 0) };
        if let Some(last) = last {
            rest.written_to = rest.written_to.max(offset.saturating_add(last as u64).saturating_add(1));
            let is_later = |at: &usize| {
                let place = segment.place(offset.saturating_add(*at as u64));
                let header = piece.get(*at..).and_then(|bytes| Header::read(place, bytes));
                header.is_some_and(|header| header.batch > found.next_batch)
            };
            let magic = segment.form().magic();
            let starts = piece.windows(magic.len()).enumerate().filter(|(_, bytes)| *bytes == magic);
            let later = starts.map(|(at, _)| at).find(is_later);
            rest.later_frame = later.map(|at| offset.saturating_add(at as u64));
        }
        let step = if size == WINDOW_BYTES { size.saturating_sub(segment.form().header()) } else { size };
        offset = offset.saturating_add(step as u64);
    }
    Ok(rest)
}

/// A segment with its index.
#[derive(Debug)]
pub(super) struct Indexed {
    pub(super) named: Arc<dyn ReadAt>,
    pub(super) header: Arc<SegmentHeader>,
    pub(super) index: Index,
}
