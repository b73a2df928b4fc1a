//! Reading the records of a log, by the index of the segment that has them. The index of the last segment grows with
//! every batch. That of a sealed segment is made from its frames when it is needed, and kept for a while.

use super::disk::Named;
use super::error::{Fault, OpenError, damaged};
use super::frame::{Header, Record, Records};
use super::packed::Unpacking;
use super::scan::{Entry, Indexed, Walk, Window, changed, scan};
use super::segment::{ReadAt, SegmentHeader, path_of};
use super::store::Store;
use crate::log::Opening;
use std::sync::Arc;

/// A read takes in what lies between two frames that it needs, if that is no more than so many bytes.
const GAP_BYTES: u64 = 4 << 10;
/// Most bytes that a read takes in at once, unless one frame is larger.
const RUN_BYTES: u64 = 256 << 10;

/// The records to read.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) records: Records,
    pub(super) partition: u32,
    /// The first position to read.
    pub(super) from: u64,
    /// The position to stop before; it is committed and not before `from`.
    pub(super) end: u64,
    /// The most bytes to read; the first record is always read.
    pub(super) bytes_max: usize,
}

impl Store {
    /// Reads records without a gap, making each with `make`.
    ///
    /// # Errors
    /// [`Fault`] when the segment cannot be read, or a record has left the log, is missing or not what was written.
    pub(super) fn read<T>(&self, span: Span, make: impl Fn(Record<'_>) -> T) -> Result<Vec<T>, Fault> {
        read(span, |from| self.holding(span, from), make)
    }

    /// The frames to read for this position.
    fn holding(&self, span: Span, from: u64) -> Result<Plan, Fault> {
        let Span { records, partition, .. } = span;
        let begins_by =
            |header: &SegmentHeader| header.heads.get(partition as usize).is_some_and(|head| head.of(records) <= from);
        let readable = self.readable.read();
        if begins_by(&readable.active.header) {
            return Ok(readable.active.plan(span, from));
        }
        let after = readable.sealed.partition_point(|sealed| begins_by(&sealed.header));
        let sealed = after.checked_sub(1).and_then(|at| readable.sealed.get(at));
        let gone = |first: &SegmentHeader| {
            let first = first.heads.get(partition as usize).map_or(0, |head| head.of(records));
            Fault::Gone(format!(
                "{records:?} of partition {partition} in {} begin with {first}, after the requested {from}",
                self.dir.display()
            ))
        };
        let Some(sealed) = sealed.cloned() else { return Err(gone(readable.first())) };
        drop(readable);
        let indexed = self.recent.get(&self.dir, &sealed).map_err(|fault| match fault {
            Fault::Gone(_) if self.readable.read().first().number > sealed.header.number => {
                gone(self.readable.read().first())
            }
            Fault::Gone(_) => damaged(format!("{} is missing", path_of(&self.dir, sealed.header.number).display())),
            other => other,
        })?;
        Ok(indexed.plan(span, from))
    }

    /// The resolutions of dead letters in the order in which they were written: partition, offset and text of each.
    pub(super) fn letters(&self) -> Result<Vec<(u32, u64, Vec<u8>)>, Fault> {
        let mut letters = Vec::new();
        self.each_segment(|Indexed { named, header, index }| {
            let opening = Opening::default();
            let mut window = Window::new(&**named, &opening);
            for entry in &index.letters {
                let changed = || changed(&**named, entry.offset.into());
                let frame = window.get(entry.offset.into(), entry.length as usize, 0)?.ok_or_else(changed)?;
                let (of, body) = Header::split(header.place(entry.offset.into()), frame).ok_or_else(changed)?;
                if !of.is_body(body) {
                    return Err(changed());
                }
                letters.push((of.partition, of.first.next_input, body.to_vec()));
            }
            Ok(())
        })?;
        Ok(letters)
    }

    fn each_segment(&self, mut what: impl FnMut(&Indexed) -> Result<(), Fault>) -> Result<(), Fault> {
        let readable = self.readable.read();
        let Indexed { named, header, index } = &readable.active;
        let index = index.of_letters();
        let active = Indexed { named: Arc::clone(named), header: Arc::clone(header), index };
        let sealed = readable.sealed.clone();
        drop(readable);
        for sealed in &sealed {
            match self.recent.get(&self.dir, sealed) {
                // It has left the log meanwhile.
                Err(Fault::Gone(_)) => {}
                indexed => what(&*indexed?)?,
            }
        }
        what(&active)
    }

    /// The segments in their order.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let (active, end) = self.end();
        let sealed = self.readable.read().sealed.clone();
        let headers: Vec<_> = sealed.into_iter().map(|sealed| sealed.header).chain([active]).collect();
        let ends = headers.iter().skip(1).map(|next| next.before).chain([end]);
        headers.iter().zip(ends).map(|(header, end)| Segment { header: Arc::clone(header), end }).collect()
    }

    /// Reads every byte of the log and checks it.
    ///
    /// # Errors
    /// [`OpenError`] names the first segment that is not what was written.
    pub(super) fn check(&self, opening: &Opening) -> Result<(), OpenError> {
        self.segments().iter().try_for_each(|segment| self.check_segment(segment, opening))
    }

    /// Reads every byte of a segment and checks it.
    ///
    /// # Errors
    /// [`OpenError`] when it is not what was written.
    pub(super) fn check_segment(&self, segment: &Segment, opening: &Opening) -> Result<(), OpenError> {
        let Segment { header, end: (end, _) } = segment;
        let path = path_of(&self.dir, header.number);
        let io = |error| OpenError::io(&path, &error);
        let named = Named::open(path.clone(), false).map_err(io)?;
        let found = scan(&named, header, Walk::Checked { end: *end }, opening).map_err(io)?;
        match found.end == *end {
            true => Ok(()),
            false => Err(OpenError::damaged(&path, format!("at byte {} {}", found.end, found.stopped))),
        }
    }
}

/// A segment, and as far as it is a part of the log: where it ends, and where its last frame begins.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) header: Arc<SegmentHeader>,
    pub(super) end: (u64, u64),
}

/// Frames of one segment.
pub(super) type Plan = (Arc<dyn ReadAt>, Arc<SegmentHeader>, Vec<Entry>);

impl Indexed {
    /// The frames to read from this position on, with some bytes more than asked for.
    pub(super) fn plan(&self, Span { records, partition, bytes_max, .. }: Span, from: u64) -> Plan {
        let mut bytes = 0usize;
        let entries = self.index.from(&self.header, records, partition, from).iter().take_while(|entry| {
            let is_room = bytes <= bytes_max;
            bytes = bytes.saturating_add(entry.length as usize);
            is_room
        });
        (Arc::clone(&self.named), Arc::clone(&self.header), entries.copied().collect())
    }
}

/// Reads records without a gap, making each with `make`. `holding` says which frames of one segment to read for a position.
///
/// # Errors
/// [`Fault`] when the segment cannot be read, or a record is missing or not what was written.
pub(super) fn read<T>(
    span: Span,
    holding: impl Fn(u64) -> Result<Plan, Fault>,
    make: impl Fn(Record<'_>) -> T,
) -> Result<Vec<T>, Fault> {
    let Span { records, partition, from, end, bytes_max } = span;
    let (mut read, mut next, mut bytes) = (Vec::new(), from, 0usize);
    let (opening, mut unpacking) = (Opening::default(), Unpacking::default());
    while next < end {
        let (named, segment, entries) = holding(next)?;
        let (mut window, mut covered, before) = (Window::new(&*named, &opening), 0, next);
        for (at, entry) in entries.iter().enumerate() {
            let ahead = run(entries.get(at..).unwrap_or_default(), &mut covered);
            let changed = || changed(&*named, entry.offset.into());
            let frame = window.get(entry.offset.into(), entry.length as usize, ahead)?.ok_or_else(changed)?;
            let (header, body) = Header::split(segment.place(entry.offset.into()), frame).ok_or_else(changed)?;
            if !header.is_body(body) || header.partition != partition {
                return Err(changed());
            }
            let body = unpacking.body(&segment.dictionary, &header, body).ok_or_else(changed)?;
            for record in header.records(records, body) {
                if record.position < next {
                    continue;
                }
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
        if next == before {
            let path = named.path().display();
            return Err(damaged(format!("{records:?} of partition {partition} from {next} on are missing in {path}")));
        }
    }
    Ok(read)
}

/// The number of bytes to read at once for the first of these frames: up to the last one that lies close by. It is 0
/// when the frame was read with an earlier one; `covered` is the end of what was read.
fn run(entries: &[Entry], covered: &mut u64) -> usize {
    let Some(first) = entries.first() else { return 0 };
    let (start, mut end) = (u64::from(first.offset), u64::from(first.offset).saturating_add(first.length.into()));
    if end <= *covered {
        return 0;
    }
    for entry in entries.iter().skip(1) {
        let (next, its_end) = (u64::from(entry.offset), u64::from(entry.offset).saturating_add(entry.length.into()));
        if next.saturating_sub(end) > GAP_BYTES || its_end.saturating_sub(start) > RUN_BYTES {
            break;
        }
        end = its_end;
    }
    *covered = end;
    usize::try_from(end.saturating_sub(start)).unwrap_or_default()
}
