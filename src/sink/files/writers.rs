//! The writers of a place, as they know of each other: each has an object of its own beside the positions. In a folder of this
//! machine a lock of that file tells that its writer lives. In a store its age does: a writer writes it again and again.

use super::index::POSITIONS;
use crate::objects::{Bucket, LISTED_MAX, Listed, Lock, Objects as _};
use crate::sink::{Rank, TargetError, Writer};
use crate::time::Stopwatch;
use std::collections::BTreeSet;
use std::time::Duration;

/// Time after which a writer in a store shows again that it lives, and looks for the others.
const EVERY: Duration = Duration::from_secs(15);

/// What the object of a writer says that has ended; that of a living one is empty.
const LEFT: &[u8] = b"left";

/// What one writer shows of itself.
pub(super) struct Sign {
    writer: Writer,
    /// A writer in a store has ended when its object is older than the newest one by more than this.
    left_after: Duration,
    /// Kept for as long as the writer takes a share.
    shown: Option<Lock>,
    /// What was found when a store was asked last.
    found: Option<(Stopwatch, Rank)>,
}

impl Sign {
    pub(super) fn of(writer: Writer, left_after: Duration) -> Sign {
        Sign { writer, left_after, shown: None, found: None }
    }

    /// The rank that was found in a store a moment ago.
    pub(super) fn found(&self) -> Option<Rank> {
        self.found.as_ref().filter(|(since, _)| since.elapsed() < EVERY).map(|(_, rank)| *rank)
    }

    /// Whether it is shown in a store, where no lock tells who lives.
    pub(super) fn is_of_store(&self) -> bool {
        matches!(self.shown, Some(Lock::Unknown))
    }

    /// Shows that the writer lives, and finds its rank. A writer in a store has ended when its object is older than the newest one
    /// by more than this.
    pub(super) fn rank(&mut self, bucket: &Bucket) -> Result<Rank, TargetError> {
        self.show(bucket)?;
        let (own, mut others) = (self.name(), self.signs(bucket)?);
        let newest = others.iter().map(|object| object.written).max().unwrap_or_default();
        others.retain(|object| object.name != own);
        let mut living = BTreeSet::new();
        for other in others {
            let path = format!("{POSITIONS}/{}", other.name);
            let lives = match bucket.lock(&path)? {
                Lock::Elsewhere => true,
                Lock::Held(_) => false,
                Lock::Unknown => u128::from(newest.ms_since(other.written)) <= self.left_after.as_millis(),
            };
            if lives {
                living.insert(other.name);
            } else {
                delete(bucket, &path);
            }
        }
        let rank = self.writer.rank(own, living);
        self.found = self.is_of_store().then(|| (Stopwatch::start(), rank));
        Ok(rank)
    }

    /// Whether another writer shows itself in a folder.
    pub(super) fn has_others(&self, bucket: &Bucket) -> Result<bool, TargetError> {
        let own = self.name();
        for other in self.signs(bucket)?.into_iter().filter(|object| object.name != own) {
            if matches!(bucket.lock(&format!("{POSITIONS}/{}", other.name))?, Lock::Elsewhere) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The objects of all writers of the same partitions, but for those that say that theirs has ended.
    fn signs(&self, bucket: &Bucket) -> Result<Vec<Listed>, TargetError> {
        let (kind, mut signs) = (self.kind(), bucket.list(POSITIONS, LISTED_MAX)?);
        signs.retain(|object| object.name.starts_with(&kind) && object.bytes < LEFT.len() as u64);
        Ok(signs)
    }

    /// Shows again that the writer lives, where a batch has taken long. An error is told when it looks for the others.
    pub(super) fn show_again(&self, bucket: &Bucket) {
        if self.is_of_store() && self.found().is_none() {
            self.put(bucket, &[]).unwrap_or_else(|error| tracing::debug!(%error, "the sign of this sink grows old"));
        }
    }

    /// Shows no longer that the writer lives. Who may not delete in a store says so in the object.
    pub(super) fn withdraw(&mut self, bucket: &Bucket) {
        let is_of_store = self.is_of_store();
        self.found = None;
        if self.shown.take().is_none() {
            return;
        }
        if is_of_store && let Err(error) = self.put(bucket, LEFT) {
            tracing::debug!(%error, "the sign of this sink stays");
        }
        delete(bucket, &self.path());
    }

    fn put(&self, bucket: &Bucket, said: &[u8]) -> Result<(), TargetError> {
        Ok(bucket.put(&self.path(), said.to_vec())?)
    }

    fn show(&mut self, bucket: &Bucket) -> Result<(), TargetError> {
        let path = self.path();
        let is_shown = match &self.shown {
            // Who looks whether a file is locked has it locked for a moment.
            None | Some(Lock::Elsewhere) => false,
            Some(lock) => bucket.holds(&path, lock)?,
        };
        if !is_shown {
            self.shown = Some(bucket.lock(&path)?);
        }
        if self.is_of_store() {
            self.put(bucket, &[])?;
        }
        Ok(())
    }

    /// What the names of all writers of the same partitions begin with.
    fn kind(&self) -> String {
        format!("writer-{}-", self.writer.rest)
    }

    fn name(&self) -> String {
        format!("{}{:032x}", self.kind(), self.writer.process)
    }

    fn path(&self) -> String {
        format!("{POSITIONS}/{}", self.name())
    }
}

/// Deletes the sign of a writer that has ended. Where that is not allowed it stays, and tells nothing once it is old.
fn delete(bucket: &Bucket, path: &str) {
    if let Err(error) = bucket.delete(path) {
        tracing::debug!(%error, path, "the sign of a sink that has ended stays");
    }
}
