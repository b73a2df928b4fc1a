//! A place with archived segments.

use super::manifest::Manifest;
use crate::crash;
use crate::log::LogError;
use crate::log::embedded::{Archive, Reach, Whole};
use crate::objects::{Got, Objects};
use crate::owner::begin::unread;
use crate::store::StoreError;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The longest manifest that is read, in bytes: of a segment of a log with the most partitions.
const MANIFEST_BYTES_MAX: u64 = 256 << 10;
/// Most objects of a log that are listed: those of 500,000 segments.
const LISTED_MAX: usize = 1_000_000;
/// What the name of a manifest ends with, and what that of the bytes.
const MANIFEST: &str = ".json";
const BYTES: &str = ".segment";

/// The archived segments of one log.
pub struct Shelf {
    objects: Arc<dyn Objects>,
    log_id: u128,
    /// Whether the place has shown that it replaces no object that is there.
    is_proven: AtomicBool,
}

impl Shelf {
    /// The segments of this log in `objects`.
    pub fn new(objects: Arc<dyn Objects>, log_id: u128) -> Shelf {
        Shelf { objects, log_id, is_proven: AtomicBool::new(false) }
    }

    fn folder(&self) -> String {
        format!("{:032x}/segments", self.log_id)
    }

    fn path(&self, number: u64, end: &str) -> String {
        format!("{}/{number:08}{end}", self.folder())
    }

    /// Writes a segment, and reads it back. What is there already has to be the same. Earlier builds did not make the slots
    /// zero: where the object of such a build is there, it stays, and the manifest is that of its bytes.
    ///
    /// # Errors
    /// Why it is not known to be there, in words.
    pub(super) fn put(&self, number: u64, reach: &Reach, newest_us: u64, whole: Whole) -> Result<(), String> {
        self.prove()?;
        let Whole { bytes, slots, .. } = whole;
        let there = self.once(&self.path(number, BYTES), bytes, &slots)?;
        crash::point("archive-bytes");
        let manifest = Manifest::new((self.log_id, number), reach, newest_us, &there);
        self.once(&self.path(number, MANIFEST), manifest.encode(), &(0..0))?;
        crash::point("archive-manifest");
        Ok(())
    }

    /// Asks the place once whether it takes objects, and whether it replaces what is there: then another log with this id would
    /// lose its segments to this one.
    ///
    /// # Errors
    /// Why it does not, or does, in words.
    pub(super) fn prove(&self) -> Result<(), String> {
        if self.is_proven.load(Relaxed) {
            return Ok(());
        }
        let path = format!("{:032x}/conditions", self.log_id);
        // A folder heeds them, and is not asked by the question.
        self.objects.put(&path, b"Does this place take objects?".to_vec()).map_err(|error| error.detail)?;
        let heeds = self.objects.heeds_conditions(&path);
        if !heeds.map_err(|error| error.detail)? {
            return Err("the store ignores If-None-Match, so it could replace a segment of another log: name another \
                        log_archive"
                .to_owned());
        }
        self.is_proven.store(true, Relaxed);
        Ok(())
    }

    /// Writes an object unless it is there, compares what is there then outside of `slots`, and returns it.
    fn once(&self, path: &str, bytes: Vec<u8>, slots: &Range<usize>) -> Result<Vec<u8>, String> {
        let told = |error: StoreError| error.detail;
        let (length, hash) = (bytes.len() as u64, hash_outside(slots, &bytes));
        let is_new = self.objects.create(path, bytes).map_err(told)?;
        let found = match self.objects.get(path, length).map_err(told)? {
            Some(Got::Whole(found)) if found.len() as u64 == length && hash_outside(slots, &found) == hash => {
                return Ok(found);
            }
            Some(Got::Whole(found)) => found.len() as u64,
            Some(Got::Longer(found)) => found,
            None => return Err(format!("{path} was written, and the store does not have it")),
        };
        if !is_new {
            return Err(format!(
                "{path} is another object, of {found} bytes, and was left as it is: move it away, or name another log_archive"
            ));
        }
        // Otherwise it would stand in the way of the next attempt.
        self.objects.delete(path).map_err(told)?;
        Err(format!("{path} was read back as {found} other bytes than the {length} that were written"))
    }

    fn get(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, LogError> {
        match self.objects.get(path, bytes_max).map_err(unread)? {
            Some(Got::Whole(bytes)) => Ok(bytes),
            Some(Got::Longer(bytes)) => {
                Err(LogError::operator(format!("{path} has {bytes} bytes, and at most {bytes_max} are read")))
            }
            None => Err(LogError::operator(format!("{path} is gone from the archive"))),
        }
    }

    fn manifest(&self, number: u64) -> Result<Manifest, LogError> {
        let path = self.path(number, MANIFEST);
        let bytes = self.get(&path, MANIFEST_BYTES_MAX)?;
        if let Some(why) = Manifest::newer(&bytes) {
            return Err(LogError::withheld(false, format!("{path}: {why}")));
        }
        Manifest::decode((self.log_id, number), &bytes).map_err(|why| LogError::operator(format!("{path}: {why}")))
    }
}

/// The hash of all bytes but those in `slots`.
fn hash_outside(slots: &Range<usize>, bytes: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in [bytes.get(..slots.start), bytes.get(slots.end..)].into_iter().flatten() {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The number of the segment whose object has this name, which ends so; `None` when it is no such name.
fn number(name: &str, end: &str) -> Option<u64> {
    name.strip_suffix(end).filter(|name| name.len() >= 8)?.parse().ok()
}

impl Archive for Shelf {
    fn numbers(&self) -> Result<Vec<u64>, LogError> {
        let folder = self.folder();
        let listed = self.objects.list(&folder, LISTED_MAX).map_err(unread)?;
        // What a directory hides is neither damaged nor gone. Whoever needs it is told.
        let hidden = self.objects.directories(&folder).map_err(unread)?;
        let names = listed.iter().map(|listed| &listed.name).chain(&hidden);
        Ok(names.filter_map(|name| number(name, MANIFEST)).collect())
    }

    fn reach(&self, number: u64) -> Result<Reach, LogError> {
        Ok(self.manifest(number)?.reach())
    }

    fn segment(&self, number: u64) -> Result<Vec<u8>, LogError> {
        let manifest = self.manifest(number)?;
        let path = self.path(number, BYTES);
        let bytes = self.get(&path, manifest.bytes)?;
        if bytes.len() as u64 != manifest.bytes || blake3::hash(&bytes).to_hex().as_str() != manifest.blake3 {
            return Err(LogError::operator(format!("{path} is damaged: it has other bytes than its manifest says")));
        }
        Ok(bytes)
    }
}
