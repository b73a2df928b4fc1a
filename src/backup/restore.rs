//! Puts a log together again from a backup, in a data directory that has none. The log gets its place when all of it is
//! there, was read and checked, and is as far as the backup says.

use super::BackupError;
use super::manifest::{End, Manifest, Segment, ends};
use super::place::{Backup, Place, hash_of, piece};
use crate::crash;
use crate::log::embedded::{OpenError, RestoredSegment, Restoring};
use crate::store::Seen;
use crate::store::witness::Witness;
use std::io;
use std::path::Path;

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The id of the log.
    pub log_id: u128,
    /// How many events it has.
    pub events: u64,
    /// How many bytes were read from the place. What an earlier attempt had read is not read again.
    pub read: u64,
}

/// Restores a backup into a data directory that is empty, does not exist, or has what an earlier attempt has left. `note` is
/// called before the log gets its place there.
///
/// # Errors
/// [`BackupError`]; then a server refuses the directory, and another call goes on with what is there.
pub fn restore(
    place: &Place,
    backup: &Backup,
    data_dir: &Path,
    note: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<Restored, BackupError> {
    let manifest = place.manifest(backup)?;
    if let Some(why) = manifest.newer() {
        return Err(BackupError::Newer(format!("backup {}: {why}", backup.id)));
    }
    let damaged = |why: String| BackupError::Damaged(format!("backup {}: {why}", backup.id));
    let (log_id, seen) = (manifest.log_id().map_err(damaged)?, manifest.seen().map_err(damaged)?);
    let ends = manifest.segments.first().zip(manifest.segments.last());
    let (first, last) = ends.ok_or_else(|| damaged("it holds no segment".to_owned()))?;
    let restoring = Restoring::begin(data_dir).map_err(of_target)?;
    crash::point("restore-begun");
    let mut read = 0_u64;
    for segment in &manifest.segments {
        let file = restoring.segment(segment.number, segment.end).map_err(|error| cannot_write(data_dir, &error))?;
        read = read.saturating_add(fill(place, log_id, segment, &file)?);
    }
    let log = restoring.whole(first.number..=last.number, last.end).map_err(of_target)?;
    crash::point("restore-whole");
    is_as_said(&manifest, &self::ends(log_id, &log)?).map_err(damaged)?;
    drop(log);
    noted(data_dir, &manifest, log_id, &seen)?;
    note(data_dir).map_err(BackupError::Unusable)?;
    crash::point("restore-noted");
    restoring.place().map_err(of_target)?;
    crash::point("restore-placed");
    Ok(Restored { log_id, events: manifest.events(), read })
}

/// Writes the pieces of a segment that its file does not have; returns how many bytes were read from the place.
fn fill(place: &Place, log_id: u128, segment: &Segment, file: &RestoredSegment) -> Result<u64, BackupError> {
    let mut read = 0_u64;
    let failed = |error: io::Error| cannot_write(file.path(), &error);
    for (start, length, hash) in segment.pieces() {
        if hash_of(&file.read(start, length).map_err(failed)?) == hash {
            continue;
        }
        let bytes = place.get(log_id, &piece(segment.number, start, hash), (length, hash))?;
        file.write(start, &bytes).map_err(failed)?;
        crash::point("restore-piece");
        read = read.saturating_add(length as u64);
    }
    file.flush().map_err(failed)?;
    Ok(read)
}

/// The directory that is restored into is not what a command reads: that there is no log in it is no fault of it.
fn of_target(error: OpenError) -> BackupError {
    match error {
        OpenError::Damaged { .. } => BackupError::Damaged(error.to_string()),
        OpenError::Io { path, detail } => BackupError::Unusable(format!("cannot write {}: {detail}", path.display())),
        other => BackupError::Unusable(other.to_string()),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> BackupError {
    BackupError::Unusable(format!("cannot write {}: {error}", path.display()))
}

/// Checks that every partition ends with the event that the backup names.
fn is_as_said(manifest: &Manifest, found: &[End]) -> Result<(), String> {
    if manifest.ends.len() != found.len() {
        return Err(format!("it names {} partitions, and its log has {}", manifest.ends.len(), found.len()));
    }
    let differs = |(_, (said, found)): &(usize, (&End, &End))| said != found;
    match manifest.ends.iter().zip(found).enumerate().find(differs) {
        None => Ok(()),
        Some((partition, (said, found))) => Err(format!(
            "partition {partition} has the event {} with digest {} at its end, and {} with {} was backed up",
            found.next_seq, found.chain, said.next_seq, said.chain
        )),
    }
}

/// Notes how far the log is before it gets its place: a server that finds less of it later refuses it.
fn noted(data_dir: &Path, manifest: &Manifest, log_id: u128, seen: &[(u32, Seen)]) -> Result<(), BackupError> {
    let witness = Witness::of(data_dir);
    let partitions = u32::try_from(manifest.ends.len()).unwrap_or(u32::MAX);
    witness.begin(log_id, partitions)?;
    seen.iter().for_each(|(partition, seen)| witness.note(*partition, seen));
    witness.flush();
    let noted = |(partition, seen): &(u32, Seen)| witness.seen(*partition).is_ok_and(|found| found == Some(*seen));
    match seen.iter().all(noted) {
        true => Ok(()),
        false => Err(BackupError::Unusable(format!("cannot write {}", witness.path().display()))),
    }
}
