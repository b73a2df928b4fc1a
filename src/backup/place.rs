//! The place of backups: what lies in it under which name, and asking it again when it does not answer at once.

use super::BackupError;
use super::manifest::{Manifest, Unread};
use crate::domain::Micros;
use crate::objects::{Got, LISTED_MAX, Listed, Objects};
use crate::store::{StoreError, StoreErrorKind};
use crate::time::{pause, retry_ms, text};
use std::collections::BTreeMap;
use std::time::Duration;

/// The folder of the manifests.
const MANIFESTS: &str = "backups";
/// The folder of the pieces, with a folder for each log.
const PIECES: &str = "backup-data";
/// The end of the name of a manifest.
const MANIFEST: &str = ".json";
/// The longest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Most pieces of a log that is backed up: those of 3.1 TB.
const PIECES_MAX: usize = 750_000;
/// Most pieces of a log in its place, with those that only earlier backups have.
const LISTED_PIECES_MAX: usize = 1_000_000;
/// Most backups of a place, of all its logs. Of more, not all would be listed, and an older one restored for the newest.
const BACKUPS_MAX: usize = LISTED_MAX;
/// Bytes of a manifest for each piece: its hash, two quotes, a comma, and its part of what is said of a segment.
const MANIFEST_BYTES_OF_PIECE: u64 = 80;
const _: () = assert!(PIECES_MAX < LISTED_PIECES_MAX);
const _: () = assert!(PIECES_MAX as u64 * MANIFEST_BYTES_OF_PIECE < MANIFEST_BYTES_MAX);
/// How often the place is asked the same before it counts as gone.
const TRIES: u32 = 3;
/// The first pause between two of these calls, in milliseconds, and the longest one.
const PAUSE_MS: (u64, u64) = (500, 4_000);

/// A place of backups, of one log or several.
pub struct Place {
    objects: Box<dyn Objects>,
}

/// What a backup holds, as its manifest says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// When it began, by the wall clock of its machine.
    pub taken_at: Micros,
    /// How many events it has.
    pub events: u64,
    /// How many bytes its log has.
    pub bytes: u64,
    /// Why this version cannot restore it, if that is so.
    pub newer: Option<String>,
}

/// A backup, as its name tells.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Backup {
    /// The name by which it is chosen. Names of one log sort by the time at which the backups began.
    pub id: String,
    /// The time at which it began, as the name tells it.
    pub taken_at: String,
    /// The first digits of the id of its log.
    pub log: String,
}

impl Backup {
    /// The name of the backup with this manifest.
    pub(super) fn of(manifest: &Manifest) -> Backup {
        let taken_at = told(Micros(manifest.taken_at_us));
        let log = manifest.log.get(..8).unwrap_or_default().to_owned();
        let id = format!("{taken_at}-{log}-{}", manifest.hash().get(..16).unwrap_or_default());
        Backup { id, taken_at, log }
    }

    /// Whether it began at this time of the wall clock, or earlier, as the name tells it.
    pub(super) fn is_by(&self, wall: Micros) -> bool {
        self.taken_at <= told(wall)
    }

    /// Reads a name; `None` when it is none.
    fn parse(id: &str) -> Option<Backup> {
        let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        let mut parts = id.split('-');
        let (taken_at, log, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let is_name = is_plain && parts.next().is_none() && log.len() == 8 && hash.len() == 16 && taken_at.len() > 8;
        is_name.then(|| Backup { id: id.to_owned(), taken_at: taken_at.to_owned(), log: log.to_owned() })
    }
}

impl Place {
    /// The place that has these objects.
    pub fn new(objects: Box<dyn Objects>) -> Place {
        Place { objects }
    }

    /// The backups of the place, the newest first.
    ///
    /// # Errors
    /// [`BackupError::Unusable`] when the place does not answer, or has too many of them.
    pub fn backups(&self) -> Result<Vec<Backup>, BackupError> {
        let listed = again(|| self.objects.list(MANIFESTS, BACKUPS_MAX))?;
        if listed.len() >= BACKUPS_MAX {
            let why = format!(
                "the place has {BACKUPS_MAX} backups or more: delete the oldest objects of {MANIFESTS}/, or back up to \
                 another one"
            );
            return Err(BackupError::Unusable(why));
        }
        let name = |listed: &Listed| Backup::parse(listed.name.strip_suffix(MANIFEST)?);
        let mut backups: Vec<Backup> = listed.iter().filter_map(name).collect();
        backups.sort();
        backups.reverse();
        Ok(backups)
    }

    /// The backup to restore: the one that is named, or the newest one if no other has more events.
    ///
    /// # Errors
    /// [`BackupError::Unusable`] when there is none, or none is named and a person has to choose: there are backups of several
    /// logs, or an older one has more events. [`BackupError::Damaged`] when the newest one does not say how many it has, and
    /// [`BackupError::Newer`] when only a later version can tell.
    pub fn choose(&self, named: Option<&str>) -> Result<Backup, BackupError> {
        let all = self.backups()?;
        let unusable = |why: String| Err(BackupError::Unusable(why));
        match (named, all.first()) {
            (Some(id), _) => match all.iter().find(|backup| backup.id == id) {
                Some(backup) => Ok(backup.clone()),
                None => unusable(format!("the place has no backup {id}: --list shows those that it has")),
            },
            (None, None) => unusable("the place has no backup".to_owned()),
            (None, Some(newest)) => match all.iter().find(|backup| backup.log != newest.log) {
                None => self.furthest(&all),
                Some(other) => unusable(format!(
                    "the place has backups of several logs: name the one to restore with --backup, such as {} or {}",
                    newest.id, other.id
                )),
            },
        }
    }

    /// The first of these backups, which are of one log, if no other has more events. A name tells the time of a wall clock,
    /// and that may have been wrong; or the log was restored, and its newest backup is of another history.
    fn furthest(&self, all: &[Backup]) -> Result<Backup, BackupError> {
        let Some((newest, older)) = all.split_first() else {
            return Err(BackupError::Unusable("the place has no backup".to_owned()));
        };
        let fewer = self.manifest(newest)?.events();
        for backup in older {
            match self.manifest(backup) {
                Ok(manifest) if manifest.events() > fewer => {
                    return Err(BackupError::Unusable(format!(
                        "the newest backup is {} with {fewer} events, and {} has {}: a clock was wrong, or the log was \
                         restored in between; name the one to restore with --backup",
                        newest.id,
                        backup.id,
                        manifest.events()
                    )));
                }
                Ok(_) => {}
                // Nobody wants that one.
                Err(BackupError::Damaged(why) | BackupError::Newer(why)) => {
                    tracing::warn!(why, "an older backup cannot be compared");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(newest.clone())
    }

    /// What a backup of [`Place::backups`] holds; `None` when somebody has deleted it since then.
    ///
    /// # Errors
    /// [`BackupError`] when that is not known, in words without the name of the backup.
    pub fn held(&self, backup: &Backup) -> Result<Option<Held>, BackupError> {
        let Some(manifest) = self.read(backup)? else {
            let gone = BackupError::Damaged(format!("{} is gone, and the place lists it", manifest_path(backup)));
            return if self.backups()?.contains(backup) { Err(gone) } else { Ok(None) };
        };
        let (taken_at, newer) = (Micros(manifest.taken_at_us), manifest.newer());
        Ok(Some(Held { taken_at, events: manifest.events(), bytes: manifest.bytes(), newer }))
    }

    /// The manifest of a backup.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] when it is not what was written, and [`BackupError::Newer`] when this version cannot read it.
    pub(super) fn manifest(&self, backup: &Backup) -> Result<Manifest, BackupError> {
        let named = |why: String| format!("backup {}: {why}", backup.id);
        match self.read(backup) {
            Ok(Some(manifest)) => Ok(manifest),
            Ok(None) => Err(BackupError::Damaged(named(format!("{} is gone", manifest_path(backup))))),
            Err(BackupError::Damaged(why)) => Err(BackupError::Damaged(named(why))),
            Err(BackupError::Newer(why)) => Err(BackupError::Newer(named(why))),
            Err(error) => Err(error),
        }
    }

    /// The same in errors without the name of the backup; `None` when the place does not have it.
    fn read(&self, backup: &Backup) -> Result<Option<Manifest>, BackupError> {
        let path = manifest_path(backup);
        let manifest = match again(|| self.objects.get(&path, MANIFEST_BYTES_MAX))? {
            None => return Ok(None),
            Some(Got::Longer(bytes)) => {
                return Err(BackupError::Damaged(format!("{path} has {bytes} bytes, and is no manifest")));
            }
            Some(Got::Whole(bytes)) => Manifest::decode(&bytes).map_err(|unread| match unread {
                Unread::Damaged(why) => BackupError::Damaged(why),
                Unread::Newer(why) => BackupError::Newer(why),
            })?,
        };
        match Backup::of(&manifest) == *backup {
            true => Ok(Some(manifest)),
            false => Err(BackupError::Damaged("its manifest is that of another backup".to_owned())),
        }
    }

    /// Whether a backup of so many pieces can be written and read.
    ///
    /// # Errors
    /// [`BackupError::Unusable`] when it has too many.
    pub(super) fn takes(pieces: usize) -> Result<(), BackupError> {
        let why = || format!("the log has {pieces} pieces of 4 MiB, and a backup names at most {PIECES_MAX}");
        if pieces <= PIECES_MAX { Ok(()) } else { Err(BackupError::Unusable(why())) }
    }

    /// Writes the manifest, and by that the backup. One that is there already under this name is the same.
    ///
    /// # Errors
    /// [`BackupError::Unusable`] when the place does not take it, or does not give it back.
    pub(super) fn publish(&self, manifest: &Manifest) -> Result<Backup, BackupError> {
        let (backup, bytes) = (Backup::of(manifest), manifest.encode());
        let path = manifest_path(&backup);
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            let why = format!("its manifest would have {} bytes, and {MANIFEST_BYTES_MAX} are read", bytes.len());
            return Err(BackupError::Unusable(why));
        }
        again(|| self.objects.create(&path, bytes.clone()))?;
        let not = |what: &str| Err(BackupError::Unusable(format!("{path} was written, and the place {what}")));
        match again(|| self.objects.get(&path, bytes.len() as u64))? {
            Some(Got::Whole(found)) if found == bytes => {}
            Some(_) => return not("has other bytes under this name"),
            None => return not("does not have it"),
        }
        match self.backups()?.contains(&backup) {
            true => Ok(backup),
            false => not("does not list it"),
        }
    }

    /// The pieces of a log that the place has, with their lengths.
    ///
    /// # Errors
    /// [`BackupError::Unusable`] when the place does not answer, or has too many of them.
    pub(super) fn pieces(&self, log_id: u128) -> Result<BTreeMap<String, u64>, BackupError> {
        let listed = again(|| self.objects.list(&folder(log_id), LISTED_PIECES_MAX))?;
        if listed.len() >= LISTED_PIECES_MAX {
            let why = format!("the place has {LISTED_PIECES_MAX} objects of this log: back it up to another one");
            return Err(BackupError::Unusable(why));
        }
        Ok(listed.into_iter().map(|listed| (listed.name, listed.bytes)).collect())
    }

    /// Writes a piece.
    ///
    /// # Errors
    /// [`BackupError::Unusable`] when the place does not take it.
    pub(super) fn put(&self, log_id: u128, piece: &str, bytes: &[u8]) -> Result<(), BackupError> {
        Ok(again(|| self.objects.put(&format!("{}/{piece}", folder(log_id)), bytes.to_vec()))?)
    }

    /// Reads a piece of so many bytes with this hash.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] when it is not there, or is not what was written.
    pub(super) fn get(&self, log_id: u128, piece: &str, (length, hash): (usize, &str)) -> Result<Vec<u8>, BackupError> {
        let path = format!("{}/{piece}", folder(log_id));
        let damaged = |why: String| Err(BackupError::Damaged(format!("{path} {why}")));
        match again(|| self.objects.get(&path, length as u64))? {
            None => damaged("is missing".to_owned()),
            Some(Got::Longer(bytes)) => damaged(format!("has {bytes} bytes, and {length} were written")),
            Some(Got::Whole(bytes)) if bytes.len() != length => {
                damaged(format!("has {} bytes, and {length} were written", bytes.len()))
            }
            Some(Got::Whole(bytes)) if hash_of(&bytes) != hash => {
                damaged("is damaged: it has another hash than its name says".to_owned())
            }
            Some(Got::Whole(bytes)) => Ok(bytes),
        }
    }
}

/// A time as names tell it: always with as many digits, so that they sort by it.
fn told(at: Micros) -> String {
    let (second, rest) = (at.0 / 1_000_000, at.0 % 1_000_000);
    let second = text(Micros(second.saturating_mul(1_000_000))).replace(['-', ':', 'Z'], "");
    format!("{second}.{rest:06}Z")
}

/// The hash that the name of a piece says; `None` when it is no such name.
pub(super) fn hash_in(piece: &str) -> Option<&str> {
    piece.rsplit_once('-').map(|(_, hash)| hash).filter(|hash| hash.len() == 64)
}

/// The hash of the bytes of a piece.
pub(super) fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The name of a piece: its segment, where it begins, and the hash of its bytes.
pub(super) fn piece(segment: u64, start: u64, hash: &str) -> String {
    format!("{segment:08}-{start:010}-{hash}")
}

fn folder(log_id: u128) -> String {
    format!("{PIECES}/{log_id:032x}")
}

fn manifest_path(Backup { id, .. }: &Backup) -> String {
    format!("{MANIFESTS}/{id}{MANIFEST}")
}

/// Asks the place, and again after a pause, unless it refuses.
fn again<T>(mut call: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut failures = 0_u32;
    loop {
        match call() {
            Err(error) if error.kind != StoreErrorKind::Refused && failures.saturating_add(1) < TRIES => {
                tracing::warn!(%error, "the place of backups failed; trying again");
                pause(Duration::from_millis(retry_ms(failures, PAUSE_MS.0, PAUSE_MS.1)));
                failures = failures.saturating_add(1);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_more_pieces_than_a_manifest_can_name_is_refused_before_it_is_copied() {
        assert!(Place::takes(PIECES_MAX).is_ok());
        let refused = Place::takes(PIECES_MAX + 1).unwrap_err().to_string();
        assert_eq!(refused, "the log has 750001 pieces of 4 MiB, and a backup names at most 750000");
    }

    #[test]
    fn a_name_tells_the_time_and_the_log_and_sorts_by_time() {
        let of = |us| Backup::of(&Manifest::new((0xab << 120, 1), Micros(us), Vec::new(), Vec::new()));
        let first = of(1_700_000_000_000_000);
        assert_eq!((&*first.taken_at, &*first.log), ("20231114T221320.000000Z", "ab000000"));
        assert_eq!(Backup::parse(&first.id), Some(first.clone()));
        assert!(first.id < of(1_700_000_000_000_001).id && of(1_700_000_000_999_999).id < of(1_700_000_001_000_000).id);
        let walls = [1_699_999_999_999_999, 1_700_000_000_000_000, 1_700_000_001_000_000];
        assert_eq!(walls.map(|wall| first.is_by(Micros(wall))), [false, true, true]);
        for bad in [
            "",
            "x",
            "20231114T221320Z-ab000000",
            "../../../../etc-ab000000-0123456789abcdef",
            &format!("{}-1", first.id),
        ] {
            assert_eq!(Backup::parse(bad), None, "{bad}");
        }
    }
}
