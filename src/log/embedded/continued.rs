//! A log whose files are all gone, while what has left it before is in an archive: it goes on where the archive ends, in a new
//! segment, as if the last one there had left it just now. What it had beyond that is lost, and is not this file's affair.

use super::archived::{Archive, fetched};
use super::begins::{note, notes};
use super::error::damaged;
use super::file::{LOG_DIR, lock};
use super::of_this_machine;
use super::scan::{Walk, scan};
use super::segment::{FORMAT_VERSION, SegmentHeader};
use super::start::segments;
use super::store::create;
use crate::log::{LogError, Manifest, Opening};
use std::fs;
use std::io;
use std::path::Path;

/// Makes the segment with which the log of this id goes on in a data directory that has none, and returns its number. Before the
/// first change it calls `raise`, whose error says why there can be none. `None` where nothing is known to have left the log and no
/// archive is named, or the directory has a segment.
///
/// # Errors
/// [`LogError`] when the directory is in use, the disk does not answer, or the place does not give its last segment; and when
/// the archive has nothing of the log, or segments have left it and no archive is named. Nothing is made then, or all of it.
pub fn continue_after(
    dir: &Path,
    log_id: u128,
    archive: Option<&dyn Archive>,
    raise: &dyn Fn() -> Result<(), String>,
) -> Result<Option<u64>, LogError> {
    let path = dir.join(LOG_DIR);
    let _lock = lock(dir, dir, true)?;
    if segments(&path)?.is_some() {
        return Ok(None);
    }
    let io = |error: io::Error| LogError::transient(format!("{}: {error}", path.display()));
    let noted = if path.is_dir() { notes(&path).map_err(io)? } else { Vec::new() };
    let left = noted.into_iter().max().unwrap_or_default();
    let last = archive.map(Archive::numbers).transpose()?.and_then(|numbers| numbers.into_iter().max());
    let (archive, last) = match (archive, last) {
        (Some(archive), Some(last)) => (archive, last),
        (None, _) if left == 0 => return Ok(None),
        (Some(_), None) => {
            return Err(LogError::operator(format!(
                "no file of the log is there, and the archive has no segment of log {log_id:032x}: name the place to which \
                 they have gone, or no archive if nothing had left the log"
            )));
        }
        (None, _) => {
            return Err(LogError::operator(format!(
                "{left} segments have left the log: name the place to which they have gone with --log-archive; if there is \
                 none, delete the note begins-{left:08} in {}, and a new log begins with nothing",
                path.display()
            )));
        }
    };
    if last.saturating_add(1) < left {
        return Err(LogError::operator(format!(
            "{left} segments have left the log, and the archive ends with segment {last}: name the place to which all have gone"
        )));
    }
    let next = after(log_id, last, archive)?;
    raise().map_err(LogError::operator)?;
    let terms = of_this_machine();
    let made = fs::create_dir_all(&path).and_then(|()| note(&*terms.disk, &path, next.number));
    // The names in the directory of the log are flushed with the segment.
    made.and_then(|()| create(&*terms.disk, &path, &next)).and_then(|_| terms.disk.flush_dir(dir)).map_err(io)?;
    Ok(Some(next.number))
}

/// The header of the segment that follows on the last one of an archive. All of that one is read and checked.
fn after(log_id: u128, last: u64, archive: &dyn Archive) -> Result<SegmentHeader, LogError> {
    let told = |fault: super::error::Fault| fault.error(format_args!("reading the archive"));
    let (read, header) = fetched(archive, log_id, last).map_err(told)?;
    let end = read.bytes.len() as u64;
    let found = scan(&read, &header, Walk::Checked { end }, &Opening::default()).map_err(|error| told(error.into()))?;
    if found.end != end {
        return Err(told(damaged(format!("at byte {} of segment {last} {}", found.end, found.stopped))));
    }
    Ok(SegmentHeader {
        manifest: Manifest { format_version: FORMAT_VERSION, ..header.manifest },
        number: last.saturating_add(1),
        first_batch: found.next_batch,
        before: (end, found.last_frame),
        heads: found.heads,
        dictionary: header.next_dictionary(),
    })
}
