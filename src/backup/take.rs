//! Takes a backup: every piece of the log that the place does not have, and then the manifest.

use super::manifest::{Manifest, Segment, ends, length, ranges};
use super::place::{Backup, Place, hash_in, hash_of, piece};
use super::{BackupError, PIECE_BYTES};
use crate::crash;
use crate::domain::Micros;
use crate::log::embedded::{LogPrefix, OpenError, PrefixSegment};
use std::collections::{BTreeMap, BTreeSet};

/// What a look at the pieces of a log in their place has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// How many pieces were read.
    pub read: u64,
    /// Those that are not what was written. This backup does not need them, so they stay as they are: an earlier backup
    /// that names one of them cannot be restored.
    pub damaged: Vec<String>,
    /// How many more there were: the log has them, and they were written again.
    pub mended: u64,
}

impl Checked {
    /// What is left when all that this backup names has been written again.
    fn without(mut self, manifest: &Manifest) -> Checked {
        let named: BTreeSet<String> = manifest.segments.iter().flat_map(names).map(|(name, _)| name).collect();
        let found = self.damaged.len();
        self.damaged.retain(|piece| !named.contains(piece));
        self.mended = found.saturating_sub(self.damaged.len()) as u64;
        self
    }
}

/// The names of a segment's pieces, with their lengths.
fn names(segment: &Segment) -> impl Iterator<Item = (String, u64)> {
    segment.pieces().map(|(start, length, hash)| (piece(segment.number, start, hash), length as u64))
}

/// What a backup holds, and what was copied for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Its name, and what the name tells.
    pub backup: Backup,
    /// How many events are in it.
    pub events: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many pieces were new, and how many bytes they have.
    pub copied: (u64, u64),
    /// What the pieces are that were there, if that was asked for.
    pub checked: Option<Checked>,
}

/// A backup that is being taken.
struct Taking<'a> {
    log: &'a LogPrefix,
    log_id: u128,
    place: &'a Place,
    /// The pieces that the place has.
    there: BTreeMap<String, u64>,
    copied: (u64, u64),
}

/// Takes a backup of the log, which begins at this time of the wall clock. The log has this feature level, or had it after
/// it was looked at. With `checks` every piece of the log in the place is read before, and one that is damaged counts as one
/// that is not there.
///
/// # Errors
/// [`BackupError`]; then the place may have some more pieces, and no backup more.
pub fn take(
    (log, feature_level): (&LogPrefix, u32),
    place: &Place,
    wall: Micros,
    checks: bool,
) -> Result<Taken, BackupError> {
    let log_id = log.manifest().log_id;
    let ends = ends(log_id, log)?;
    let segments = log.segments().map_err(of_log)?;
    Place::takes(segments.iter().map(|segment| ranges(segment.end).count()).sum())?;
    let known = newest(place, log_id, wall)?;
    let mut there = place.pieces(log_id)?;
    let checked = if checks { Some(check(place, log_id, &mut there)?) } else { None };
    crash::point("backup-begun");
    let mut taking = Taking { log, log_id, place, there, copied: (0, 0) };
    let mut copied = Vec::new();
    for segment in &segments {
        let known = known.iter().find(|known| known.number == segment.number);
        copied.push(taking.segment(segment, known)?);
    }
    let manifest = Manifest::new((log_id, feature_level), wall, copied, ends);
    taking.is_kept(&manifest)?;
    crash::point("backup-copied");
    let backup = place.publish(&manifest)?;
    crash::point("backup-written");
    let checked = checked.map(|checked| checked.without(&manifest));
    Ok(Taken { backup, events: manifest.events(), bytes: manifest.bytes(), copied: taking.copied, checked })
}

/// Reads every piece of a log that the place lists, and takes those that are damaged from `there`.
fn check(place: &Place, log_id: u128, there: &mut BTreeMap<String, u64>) -> Result<Checked, BackupError> {
    let (mut checked, pieces) = (Checked::default(), std::mem::take(there));
    for (piece, bytes) in pieces {
        // What has another name is no piece.
        let Some(hash) = hash_in(&piece) else { continue };
        let length = usize::try_from(bytes.min(PIECE_BYTES)).unwrap_or_default();
        checked.read = checked.read.saturating_add(1);
        match place.get(log_id, &piece, (length, hash)) {
            Ok(_) => drop(there.insert(piece, bytes)),
            Err(BackupError::Damaged(why)) => {
                tracing::warn!(why, "a piece of a backup is damaged");
                checked.damaged.push(piece);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(checked)
}

/// The segments that the newest backup of this log names; none where there is no backup that can be read. One that is later than
/// now was taken by a clock that was ahead. It would stay the newest for years, and each backup would read all that the log has
/// got since.
fn newest(place: &Place, log_id: u128, wall: Micros) -> Result<Vec<Segment>, BackupError> {
    let log = format!("{log_id:032x}");
    let backups: Vec<Backup> = place.backups()?.into_iter().filter(|backup| log.starts_with(&backup.log)).collect();
    let newest = backups.iter().find(|backup| backup.is_by(wall)).or(backups.first());
    match newest.map(|backup| place.manifest(backup)).transpose() {
        Ok(manifest) => {
            Ok(manifest.filter(|manifest| manifest.log == log).map(|known| known.segments).unwrap_or_default())
        }
        Err(BackupError::Damaged(why) | BackupError::Newer(why)) => {
            tracing::warn!(why, "the newest backup cannot be used: the log is read from its beginning");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// A file that was there when the log was looked at, and is not any more, has left a bounded log.
fn of_log(error: OpenError) -> BackupError {
    match error {
        OpenError::Io { path, .. } if !path.exists() => BackupError::Unusable(format!(
            "{} has left the log while it was backed up: take the backup again",
            path.display()
        )),
        other => other.into(),
    }
}

impl Taking<'_> {
    /// Copies what the place does not have of a segment. One that the newest backup has as it is now is not read.
    fn segment(&mut self, segment: &PrefixSegment, known: Option<&Segment>) -> Result<Segment, BackupError> {
        let seal = blake3::Hash::from_bytes(segment.seal).to_hex().to_string();
        if let Some(known) = known.filter(|known| known.seal == seal && known.end == segment.end)
            && self.missing(known).is_none()
        {
            return Ok(known.clone());
        }
        // What is damaged must not take the place of what may be whole in an earlier backup.
        self.log.check(segment).map_err(of_log)?;
        let mut pieces = Vec::new();
        for range in ranges(segment.end) {
            let bytes = self.log.read(segment, range.start, length(&range)).map_err(of_log)?;
            let hash = hash_of(&bytes);
            let name = piece(segment.number, range.start, &hash);
            if self.there.get(&name) != Some(&(bytes.len() as u64)) {
                self.place.put(self.log_id, &name, &bytes)?;
                crash::point("backup-piece");
                self.copied = (self.copied.0.saturating_add(1), self.copied.1.saturating_add(bytes.len() as u64));
            }
            pieces.push(hash);
        }
        Ok(Segment { number: segment.number, end: segment.end, seal, pieces })
    }

    /// The first piece of a segment that the place does not list with its length.
    fn missing(&self, segment: &Segment) -> Option<String> {
        names(segment).find(|(name, length)| self.there.get(name) != Some(length)).map(|(name, _)| name)
    }

    /// Checks that the place lists all that the backup needs, as it was written.
    fn is_kept(&mut self, manifest: &Manifest) -> Result<(), BackupError> {
        if self.copied.0 > 0 {
            self.there = self.place.pieces(self.log_id)?;
        }
        let missing = manifest.segments.iter().find_map(|segment| self.missing(segment));
        let told = |name: String| {
            let found =
                self.there.get(&name).map_or("does not list it".to_owned(), |bytes| format!("lists {bytes} bytes"));
            let why = format!("{name} was written, at most {PIECE_BYTES} bytes, and the place {found}");
            Err(BackupError::Unusable(why))
        };
        missing.map_or(Ok(()), told)
    }
}
