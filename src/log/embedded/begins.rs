//! The note of the segment with which the log begins. It is an empty file, and its name is the note: `begins-00000003`. Without
//! it, nobody could tell a first segment that has left the log from one that somebody has removed. It is written before a
//! segment leaves. So a log may begin with an earlier segment than its note says, and never with a later one.

use super::disk::{Disk, is_want_of_room};
use super::segment::number_after;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The path of the note.
fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("begins-{number:08}"))
}

/// The number that the note of this name says; `None` when it is no name of a note.
pub(super) fn begins_in(name: &str) -> Option<u64> {
    number_after("begins-", name)
}

/// Notes that the log begins with this segment, unless a note says so, or a later one. The note survives a power cut once the
/// names of the directory are flushed.
///
/// A full disk may have no room for that, and is where segments have to leave. Then the log has no note until the next time: it
/// is opened without one, and not with one that is too early.
///
/// # Errors
/// Those of the operating system, but for want of room.
pub(super) fn note(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    let noted = notes(dir)?.into_iter().max();
    let moved = match noted {
        Some(noted) if noted >= number => return Ok(()),
        Some(noted) => disk.rename(&path_of(dir, noted), &path_of(dir, number)),
        None => {
            if number > 0 {
                tracing::warn!(segment = number, "the log had no note of where it begins, and is taken to begin here");
            }
            disk.create(&path_of(dir, number)).map(drop)
        }
    };
    match moved {
        Err(error) if is_want_of_room(&error) => forget(disk, dir),
        moved => moved,
    }
}

/// Removes the notes that another log has left in the directory.
///
/// # Errors
/// Those of the operating system.
pub(super) fn forget(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    notes(dir)?.into_iter().try_for_each(|number| disk.remove(&path_of(dir, number)))
}

/// What the notes of the directory say: more than one is there for a moment, or after a power cut.
///
/// # Errors
/// Those of the operating system.
pub(super) fn notes(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(begins_in));
    }
    Ok(found)
}
