//! The oldest sealed segment on its way out of the log. When it may leave, and where it goes before, others decide.

use super::disk::Named;
use super::error::{Fault, damaged};
use super::frame::{Head, Records};
use super::packed::Unpacking;
use super::recent::Sealed;
use super::scan::{WINDOW_BYTES, Walk, changed, each_frame, scan};
use super::segment::{ReadAt, SegmentHeader, path_of};
use super::store::Store;
use super::{Embedded, LogError};
use crate::domain::Micros;
use crate::log::Opening;
use crate::wire;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far the partitions are before the first frame of a segment, and after its last one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Before it, by partition.
    pub first: Vec<Head>,
    /// After it, by partition.
    pub end: Vec<Head>,
}

/// A sealed segment, every frame of it checked.
#[derive(Debug)]
pub struct Whole {
    /// Its bytes up to the end of its last frame. The slots are zero, so they are the same in every copy of the log.
    pub bytes: Vec<u8>,
    /// Where the slots are in them.
    pub slots: Range<usize>,
    /// The time of the newest event in it, as far as its events can be decoded.
    pub newest: Option<Micros>,
}

/// The bytes of a segment in memory.
#[derive(Debug)]
pub(super) struct InMemory {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl ReadAt for InMemory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_up_to(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default();
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(buffer.len().min(rest.len()))
    }
}

impl Embedded {
    /// The number of the oldest segment that is sealed, and how far it reaches; `None` when none is sealed.
    ///
    /// # Errors
    /// [`LogError`] while the log is closed after a fault.
    pub fn oldest(&self) -> Result<Option<(u64, Reach)>, LogError> {
        self.ask(|store| {
            Ok(store.oldest().map(|(sealed, after)| {
                (sealed.header.number, Reach { first: sealed.header.heads.clone(), end: after.heads.clone() })
            }))
        })
    }

    /// The time of the first event in the segment of this number, as far as its events can be decoded; `None` as well where no
    /// such segment is sealed.
    ///
    /// # Errors
    /// [`LogError`] when the segment cannot be read or is damaged, or while the log is closed after a fault.
    pub fn begins(&self, number: u64) -> Result<Option<Micros>, LogError> {
        self.ask(|store| {
            let Some(sealed) = store.sealed_of(number) else { return Ok(None) };
            let named = Named::open(path_of(&store.dir, number), false)?;
            let mut first = None;
            each_event(&named, &sealed, |at| {
                first = Some(at);
                ControlFlow::Break(())
            })?;
            Ok(first)
        })
    }

    /// Reads the oldest sealed segment, which has this number, and checks all of it.
    ///
    /// # Errors
    /// [`LogError`] when the segment is not there, cannot be read or is not what was written.
    pub fn oldest_whole(&self, number: u64) -> Result<Whole, LogError> {
        self.ask(|store| {
            let (sealed, after) = store.oldest_of(number)?;
            let path = path_of(&store.dir, number);
            let named = Named::open(path.clone(), false)?;
            let mut bytes = vec![0; usize::try_from(sealed.end).unwrap_or_default()];
            let there = named.read_up_to(0, &mut bytes)?;
            bytes.truncate(there);
            let read = InMemory { path, bytes };
            let is_its = SegmentHeader::read(&read)?.is_ok_and(|header| header == *sealed.header);
            let found = scan(&read, &sealed.header, Walk::Checked { end: sealed.end }, &Opening::default())?;
            if !is_its || found.end != sealed.end || found.heads != after.heads {
                return Err(changed(&read, found.end));
            }
            let mut newest = None;
            each_event(&read, &sealed, |at| {
                newest = newest.max(Some(at));
                ControlFlow::Continue(())
            })?;
            let InMemory { mut bytes, .. } = read;
            sealed.header.clear_slots(0, &mut bytes);
            let (slots, at) = (sealed.header.slots(), |offset: u64| usize::try_from(offset).unwrap_or_default());
            Ok(Whole { bytes, slots: at(slots.start)..at(slots.end), newest })
        })
    }

    /// Removes the oldest sealed segment, which has this number. From then on the log begins after it.
    ///
    /// # Errors
    /// [`LogError`]; the segment is there as before, or is removed and may come back after a power cut.
    pub fn remove_oldest(&self, number: u64) -> Result<(), LogError> {
        let file = &self.shared.file;
        let removed = file.remove_oldest(number);
        removed.map_err(|fault| fault.error(format_args!("removing segment {number} of {}", file.path.display())))
    }

    fn ask<T>(&self, what: impl FnOnce(&Store) -> Result<T, Fault>) -> Result<T, LogError> {
        let file = &self.shared.file;
        file.with(what).map_err(|fault| fault.error(format_args!("reading {}", file.path.display())))
    }
}

impl Store {
    /// The oldest sealed segment, and the header of the one after it.
    fn oldest(&self) -> Option<(Sealed, Arc<SegmentHeader>)> {
        let readable = self.readable.read();
        let sealed = readable.sealed.first()?.clone();
        let after = readable.sealed.get(1).map_or(&readable.active.header, |after| &after.header);
        Some((sealed, Arc::clone(after)))
    }

    /// The sealed segment of this number.
    fn sealed_of(&self, number: u64) -> Option<Sealed> {
        let readable = self.readable.read();
        readable.sealed.iter().find(|sealed| sealed.header.number == number).cloned()
    }

    pub(super) fn oldest_of(&self, number: u64) -> Result<(Sealed, Arc<SegmentHeader>), Fault> {
        let oldest = self.oldest().filter(|(sealed, _)| sealed.header.number == number);
        oldest.ok_or_else(|| damaged(format!("segment {number} is not the oldest sealed one")))
    }
}

/// Calls `what` with the time of every event that can be decoded, in their order, until it breaks.
fn each_event(
    read: &dyn ReadAt,
    Sealed { header, end }: &Sealed,
    mut what: impl FnMut(Micros) -> ControlFlow<()>,
) -> Result<(), Fault> {
    let mut unpacking = Unpacking::default();
    each_frame(read, header, *end, |window, offset, frame| {
        let changed = || changed(read, offset);
        let at = offset.saturating_add(header.form().header() as u64);
        let body = window.get(at, frame.length as usize, WINDOW_BYTES)?.ok_or_else(changed)?;
        let body = unpacking.body(&header.dictionary, frame, body).ok_or_else(changed)?;
        for record in frame.records(Records::Events, body) {
            // An event that cannot be decoded is told by headroom verify.
            let Ok(chained) = wire::event::decode(record.bytes) else { continue };
            if what(chained.event.decided_at).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}
