//! A log of format version 1 is carried over by the first start: its redb file is read from beginning to end, segments
//! are written beside it, read back and compared, and only then renamed into their place. The old file is removed once
//! the new log is known to hold all of it. A process that is killed meanwhile leaves the old file, the new log, or
//! both; the next start begins anew or goes on. This is the only place that needs redb.

mod redb_file;
mod row;
mod unwritten;

use super::CLAIM_READ_BYTES;
use super::disk::is_want_of_room;
use super::draft::{Draft, Pair};
use super::error::{Fault, OpenError};
use super::frame::{Head, Record, Records};
use super::packed::{Dictionary, Packer};
use super::read::Span;
use super::segment::{FORMAT_VERSION, SegmentHeader, path_of};
use super::start::{Started, segments, start};
use super::store::{Store, Terms, create};
use crate::crash;
use crate::log::{Manifest, Opening};
use crate::trace::TraceContext;
use redb_file::RedbFile;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file of format version 1 in the data directory.
const OLD_NAME: &str = "log.redb";
/// The name of the new log until it is whole.
const UNFINISHED_NAME: &str = "log.new";

type Owned = (Vec<u8>, Option<TraceContext>);

/// The path of the file of format version 1, if there is one in this data directory.
pub(super) fn old_file(dir: &Path) -> Option<PathBuf> {
    let path = dir.join(OLD_NAME);
    // What cannot be looked at, such as a link to a disk that is not there, is not the same as no file.
    let is_none = fs::symlink_metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    (!is_none).then_some(path)
}

/// Makes the log `to` from the file of format version 1. The file stays as it is. `admitted` is asked for the directory of the
/// new log, before that gets its place: until then the version before can go on with the old file.
///
/// # Errors
/// [`OpenError`]; there is no new log then.
pub(super) fn carry_over(
    (dir, old, to): (&Path, &Path, &Path),
    admitted: &dyn Fn(&Path) -> Result<(), OpenError>,
    terms: &Terms,
    opening: &Arc<Opening>,
) -> Result<(), OpenError> {
    tracing::info!(from = %old.display(), "the log of an earlier version is carried over");
    cleared(to).map_err(|error| OpenError::io(to, &error))?;
    let file = RedbFile::open(old, opening)?;
    let new = dir.join(UNFINISHED_NAME);
    let io = |error| OpenError::io(&new, &error);
    if new.exists() {
        fs::remove_dir_all(&new).map_err(io)?;
    }
    written((&file, old), &new, terms).and_then(|()| admitted(&new)).inspect_err(|_| {
        // It may have filled the disk. What is left of it is removed by the next attempt.
        let _removed = fs::remove_dir_all(&new);
    })?;
    terms.disk.rename(&new, to).and_then(|()| terms.disk.flush_dir(dir)).map_err(io)?;
    crash::point("carried-renamed");
    Ok(())
}

/// Removes what a killed first start leaves in the place of the log: a directory without a segment. Anything else in it
/// is somebody's, and an error.
fn cleared(to: &Path) -> io::Result<()> {
    let is_there =
        |result: io::Result<()>| result.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) });
    is_there(fs::remove_file(path_of(to, 0).with_extension("new")))?;
    is_there(fs::remove_dir(to))
}

/// Writes the new log and compares it with the file.
fn written(from: (&RedbFile, &Path), new: &Path, terms: &Terms) -> Result<(), OpenError> {
    let (file, _) = from;
    let io = |error| failed(new, &error);
    fs::create_dir(new).map_err(io)?;
    let manifest = Manifest { format_version: FORMAT_VERSION, ..file.manifest };
    let heads = vec![Head::default(); file.heads.len()];
    let dictionary = Dictionary::of_program();
    let header = SegmentHeader { manifest, number: 0, first_batch: 1, before: (0, 0), heads, dictionary };
    create(&*terms.disk, new, &header).map_err(io)?;
    let Started { store, written_to } = opened(new, terms)?;
    store.settle(written_to).map_err(io)?;
    copy(from, (&store, new))?;
    drop(store);
    crash::point("carried");
    compare(from, (&opened(new, terms)?.store, new))
}

/// Checks that the log holds everything that the file of format version 1 beside it holds.
///
/// # Errors
/// [`OpenError::Behind`] when it does not: then nobody knows which of the two is to be served.
pub(super) fn is_held(old: &Path, store: &Store, log: &Path, opening: &Arc<Opening>) -> Result<(), OpenError> {
    let file = RedbFile::open(old, opening)?;
    let behind = |what: &str| {
        let detail = format!("{} beside it {what}: move the one away that is not to be served", old.display());
        Err(OpenError::Behind { path: log.to_owned(), detail })
    };
    let Manifest { log_id, .. } = store.manifest;
    if file.manifest.log_id != log_id {
        return behind("is another log");
    }
    let is_in = |(old, new): (&Head, Head)| old.next_seq <= new.next_seq && old.next_input <= new.next_input;
    if !file.heads.iter().zip(store.heads()).all(is_in) {
        return behind("holds more");
    }
    compare((&file, old), (store, log))
}

/// Removes the file of format version 1, which the log holds.
///
/// # Errors
/// [`OpenError::Io`].
pub(super) fn remove(dir: &Path, old: &Path, terms: &Terms) -> Result<(), OpenError> {
    fs::remove_file(old).and_then(|()| terms.disk.flush_dir(dir)).map_err(|error| OpenError::io(old, &error))?;
    crash::point("carried-removed");
    tracing::info!("the log of an earlier version is carried over; its file is removed");
    Ok(())
}

fn opened(new: &Path, terms: &Terms) -> Result<Started, OpenError> {
    let numbers = segments(new)?.unwrap_or_default();
    start(new, numbers, (true, terms.clone()), &Opening::default())
}

fn owned(record: Record<'_>) -> Owned {
    (record.bytes.to_vec(), record.trace)
}

/// Calls `what` with each run of records of the file, in order, with the end of its partition before it.
fn each_run(
    (file, path): (&RedbFile, &Path),
    mut what: impl FnMut(u32, Head, Records, Vec<Owned>) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    for (partition, end) in (0..).zip(&file.heads) {
        let mut at = Head::default();
        while at != *end {
            let before = at;
            for records in [Records::Events, Records::Commands] {
                let span = Span {
                    records,
                    partition,
                    from: at.of(records),
                    end: end.of(records),
                    bytes_max: CLAIM_READ_BYTES,
                };
                if span.from == span.end {
                    continue;
                }
                let run = file.read(path, span, owned)?;
                let first = at;
                match records {
                    Records::Events => at.next_seq = at.next_seq.saturating_add(run.len() as u64),
                    Records::Commands => at.next_input = at.next_input.saturating_add(run.len() as u64),
                }
                what(partition, first, records, run)?;
            }
            if at == before {
                return Err(OpenError::damaged(path, format!("partition {partition} ends at {at:?}, not at {end:?}")));
            }
        }
    }
    Ok(())
}

fn copy(from: (&RedbFile, &Path), (store, new): (&Store, &Path)) -> Result<(), OpenError> {
    let mut packer = Packer::new(store.dictionary());
    let append = |draft| store.append(&mut [draft]).map_err(|fault| of_fault(new, fault));
    each_run(from, |partition, first, records, run| {
        let pairs = run.iter().map(|(bytes, trace)| match records {
            Records::Events => Pair { event: Some(bytes), command: None, trace: trace.as_ref() },
            Records::Commands => Pair { event: None, command: Some(bytes), trace: None },
        });
        append(Draft::of_turn(&mut packer, partition, first, pairs))?;
        crash::point("carrying");
        Ok(())
    })?;
    let letters = from.0.letters(from.1)?;
    letters.iter().try_for_each(|(partition, offset, body)| append(Draft::of_letter(*partition, *offset, body)))
}

fn compare(from: (&RedbFile, &Path), (store, new): (&Store, &Path)) -> Result<(), OpenError> {
    let differs = |what: String| OpenError::damaged(new, format!("it does not hold {what} as the old file does"));
    each_run(from, |partition, first, records, run| {
        let (mut next, end) = (first.of(records), first.of(records).saturating_add(run.len() as u64));
        let mut expected = run.into_iter();
        while next < end {
            let span = Span { records, partition, from: next, end, bytes_max: CLAIM_READ_BYTES };
            for found in store.read(span, owned).map_err(|fault| of_fault(new, fault))? {
                if expected.next() != Some(found) {
                    return Err(differs(format!("{records:?} {next} of partition {partition}")));
                }
                next = next.saturating_add(1);
            }
        }
        Ok(())
    })?;
    let letters = store.letters().map_err(|fault| of_fault(new, fault))?;
    let missing = from.0.letters(from.1)?.into_iter().find(|letter| !letters.contains(letter));
    missing.map_or(Ok(()), |(partition, offset, _)| Err(differs(format!("dead letter {partition}:{offset}"))))
}

fn of_fault(path: &Path, fault: Fault) -> OpenError {
    match fault {
        Fault::Io(error) => failed(path, &error),
        Fault::Gone(detail) | Fault::Damaged(detail) => OpenError::damaged(path, detail),
        Fault::Withheld(error) => OpenError::damaged(path, error.detail),
    }
}

/// The error of a write into the new log. It is written beside the old file, which may take more room than there is.
fn failed(new: &Path, error: &io::Error) -> OpenError {
    let dir = new.parent().unwrap_or(new);
    match is_want_of_room(error) {
        false => OpenError::io(new, error),
        true => OpenError::Io {
            path: dir.to_owned(),
            detail: format!(
                "its disk has no room to carry over the log of an earlier version, which is written anew beside {OLD_NAME} \
                 and takes about as much: {error}"
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operator is told of the disk, and not of a directory that is gone by then.
    #[test]
    fn without_room_the_disk_is_named() {
        let told = |kind| failed(Path::new("/data/log.new"), &io::Error::from(kind)).to_string();
        let full = told(ErrorKind::StorageFull);
        assert!(full.starts_with("cannot open the log /data: its disk has no room to carry over"), "{full}");
        assert!(told(ErrorKind::TimedOut).starts_with("cannot open the log /data/log.new: "));
    }
}
