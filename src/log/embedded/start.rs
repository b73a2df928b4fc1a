//! Opening the segments of a log: which files there are, whether they belong together, and where the log ends. Nothing
//! is changed here. A log that a killed process has left may end in a torn batch, which is passed over. Everything else
//! that is not as it was written is refused by name.

use super::begins::begins_in;
use super::disk::Named;
use super::error::OpenError;
use super::recent::Sealed;
use super::scan::{Index, Scan, Walk, rest, scan};
use super::segment::{CHUNK_BYTES, NoSegment, SegmentHeader, Slot, is_frame, known_version, number_in, path_of};
use super::store::{Store, Terms, Writer};
use crate::log::Opening;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A log that was opened and is not settled yet.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) store: Store,
    /// Behind the last byte of a torn batch, for [`Store::settle`].
    pub(super) written_to: u64,
}

/// The numbers of the segments in this directory, of which the first ones may have left it; `None` when there is none, or no
/// directory.
///
/// # Errors
/// [`OpenError`] when the directory cannot be read, or a segment between others is missing, or the one that the note of the
/// log's beginning names.
pub(super) fn segments(dir: &Path) -> Result<Option<Range<u64>>, OpenError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(dir, &error)),
    };
    let (mut found, mut noted) = (Vec::new(), None);
    for entry in entries {
        let name = entry.map_err(|error| OpenError::io(dir, &error))?.file_name();
        found.extend(name.to_str().and_then(number_in));
        noted = noted.max(name.to_str().and_then(begins_in));
    }
    found.sort_unstable();
    let Some(first) = found.first().copied() else { return Ok(None) };
    let missing = |number, why: &str| Err(OpenError::damaged(&path_of(dir, number), format!("it is missing, {why}")));
    if let Some(noted) = noted.filter(|noted| found.binary_search(noted).is_err()) {
        return missing(
            noted,
            "and the log begins with it by its note begins-…: put it back, or read in OPERATING.md about a log that lost events",
        );
    }
    match (first..).zip(&found).find(|(expected, number)| expected != *number) {
        Some((between, _)) => missing(between, "and later ones are there: put it back, or restore a backup"),
        None => Ok(Some(first..first.saturating_add(found.len() as u64))),
    }
}

/// Opens a log of these segments.
///
/// # Errors
/// [`OpenError`].
pub(super) fn start(
    dir: &Path,
    numbers: Range<u64>,
    (writable, terms): (bool, Terms),
    opening: &Opening,
) -> Result<Started, OpenError> {
    let (sealed, last) = headers(dir, numbers, writable, opening)?;
    end(dir, terms, sealed, last, opening)
}

/// Opens the first part of a log that another process may be writing: up to the last whole batch that its files hold
/// now. What was answered before the call is in it. What is written meanwhile may be or not; it is no fault.
///
/// # Errors
/// [`OpenError`].
pub(super) fn look(dir: &Path, numbers: Range<u64>, terms: Terms) -> Result<Store, OpenError> {
    let (sealed, (named, header)) = headers(dir, numbers, false, &Opening::default())?;
    let io = |error: io::Error| OpenError::io(&named.path, &error);
    // The slot first: its batch was written before it. A writer may have been at both of them while they were read.
    let slot = last_slot(&named, &header).or_else(|_| last_slot(&named, &header))?;
    let found = scan(&named, &header, Walk::Last { flushed: 0 }, &Opening::default()).map_err(io)?;
    is_reached(&named.path, &found, &slot)?;
    let allocated = named.file.metadata().map_err(io)?.len();
    let (writer, index) = writer(named, header, found, (allocated, slot.number));
    Ok(Store::new(dir, terms, sealed, (writer, index)))
}

/// Opens the segments of a log and reads their headers. Returns the sealed ones, and the last one.
fn headers(
    dir: &Path,
    numbers: Range<u64>,
    writable: bool,
    opening: &Opening,
) -> Result<(Vec<Sealed>, (Named, SegmentHeader)), OpenError> {
    let (mut sealed, mut last): (Vec<Sealed>, Option<(Named, SegmentHeader)>) = (Vec::new(), None);
    for number in numbers {
        let path = path_of(dir, number);
        let named = opening.goes_on().and_then(|()| Named::open(path.clone(), writable));
        let named = named.map_err(|error| OpenError::io(&path, &error))?;
        let mut header = header(&named, number)?;
        if let Some((before, its)) = last.take() {
            belongs(&before, &its, &header, &path)?;
            header.dictionary.shares(&its.dictionary);
            sealed.push(Sealed { header: Arc::new(its), end: header.before.0 });
        }
        last = Some((named, header));
    }
    last.map(|last| (sealed, last)).ok_or_else(|| OpenError::damaged(dir, "it holds no segment"))
}

/// The header of a segment.
///
/// # Errors
/// [`OpenError`] when the file is not that segment.
pub(super) fn header(named: &Named, number: u64) -> Result<SegmentHeader, OpenError> {
    let path = &named.path;
    match SegmentHeader::read(named).map_err(|error| OpenError::io(path, &error))? {
        Ok(header) if header.number == number => Ok(header),
        Ok(header) => Err(OpenError::damaged(path, format!("it is segment {}", header.number))),
        Err(NoSegment::Foreign) => {
            Err(OpenError::Foreign { path: path.clone(), detail: "it does not begin as a segment does".to_owned() })
        }
        Err(NoSegment::Damaged(why)) => Err(OpenError::damaged(path, why)),
        Err(NoSegment::Version(log)) => {
            let (log, ours) = (log.into(), known_version().into());
            Err(OpenError::Mismatch { path: path.clone(), what: "format version", log, ours })
        }
    }
}

/// Checks that a segment goes on where the one before it ends.
fn belongs(before: &Named, its: &SegmentHeader, next: &SegmentHeader, path: &Path) -> Result<(), OpenError> {
    if !next.manifest.is_of(&its.manifest) || next.manifest.format_version < its.manifest.format_version {
        return Err(OpenError::damaged(path, "it belongs to another log than the segment before it"));
    }
    let (end, last_frame) = next.before;
    // Only one of an earlier version is sealed without a frame.
    let is_empty = last_frame == 0 && end == its.begin() && its.manifest.format_version < next.manifest.format_version;
    let goes_on = match is_empty {
        true => next.heads == its.heads && next.first_batch == its.first_batch,
        false => is_frame(before, its, last_frame, end).map_err(|error| OpenError::io(&before.path, &error))?,
    };
    if !goes_on {
        return Err(OpenError::damaged(&before.path, format!("it does not end where segment {} begins", next.number)));
    }
    Ok(())
}

/// Finds the end of the last segment.
fn end(
    dir: &Path,
    terms: Terms,
    sealed: Vec<Sealed>,
    (named, header): (Named, SegmentHeader),
    opening: &Opening,
) -> Result<Started, OpenError> {
    let path = named.path.clone();
    let io = |error: io::Error| OpenError::io(&path, &error);
    let damaged = |detail: String| OpenError::damaged(&path, detail);
    let allocated = named.file.metadata().map_err(io)?.len();
    opening.begins(allocated);
    if !allocated.is_multiple_of(CHUNK_BYTES) || allocated < header.begin() {
        // It always had room behind its last batch, up to a multiple of these bytes.
        let end = Slot::last(&named, &header).map_err(io)?.map_or(0, |slot| slot.end);
        let least = end.saturating_add(1).checked_next_multiple_of(CHUNK_BYTES);
        let why = match least.is_none_or(|least| allocated < least) {
            true => "it was cut off",
            false => "it was made longer, or cut off behind its last batch",
        };
        return Err(damaged(format!("{allocated} bytes are not its whole length: {why}")));
    }
    let slot = last_slot(&named, &header)?;
    let found = scan(&named, &header, Walk::Last { flushed: slot.flushed() }, opening).map_err(io)?;
    let rest = rest(&named, &header, &found, opening).map_err(io)?;
    if let Some(later) = rest.later_frame {
        let (end, why) = (found.end, found.stopped);
        return Err(damaged(format!("at byte {end} {why}, and a later batch follows at byte {later}")));
    }
    is_reached(&path, &found, &slot)?;
    if found.end >= allocated {
        return Err(damaged("it has no room behind its last batch: it was cut off".to_owned()));
    }
    let last = writer(named, header, found, (allocated, slot.number));
    Ok(Started { store: Store::new(dir, terms, sealed, last), written_to: rest.written_to })
}

/// What the slots of a segment say of its end.
fn last_slot(named: &Named, header: &SegmentHeader) -> Result<Slot, OpenError> {
    let slot = Slot::last(named, header).map_err(|error| OpenError::io(&named.path, &error))?;
    slot.ok_or_else(|| OpenError::damaged(&named.path, "both of its slots are not what was written"))
}

/// Checks that all is there that was flushed before this slot was written.
fn is_reached(path: &Path, found: &Scan, slot: &Slot) -> Result<(), OpenError> {
    let last = found.next_batch.saturating_sub(1);
    if last >= slot.flushed() && (last != slot.batch || found.end == slot.end) {
        return Ok(());
    }
    let (end, why, written) = (found.end, found.stopped, slot.batch);
    let detail = format!("at byte {end} {why}: batch {last} is its last one, and {written} was written");
    Err(OpenError::damaged(path, detail))
}

/// The end of a log whose last segment was scanned, which has so many bytes and this last slot.
fn writer(named: Named, header: SegmentHeader, found: Scan, (allocated, slot): (u64, u64)) -> (Writer, Index) {
    let Scan { index, heads, end, last_frame, flushed_end, next_batch, .. } = found;
    let (named, header, next_slot) = (Arc::new(named), Arc::new(header), slot.saturating_add(1));
    let writer =
        Writer { named, header, heads, end, last_frame, flushed_end, allocated, next_batch, next_slot, training: None };
    (writer, index)
}
