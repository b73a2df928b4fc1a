//! Reads snapshots for a start. Rows are handed over while they are checked, and count only when all of the snapshot turned out to
//! be as its manifest says; whether the log continues it is checked by who reads it.

use super::manifest::Manifest;
use super::name::{Name, Part};
use super::object::unpack;
use super::{Found, folder};
use crate::domain::Digest;
use crate::objects::{Got, Objects};
use crate::store::{Mark, SnapshotName, Snapshots, StoreError};
use crate::threads::beside;
use crate::time::{Stopwatch, pause};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// The longest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 16;
/// After so many calls that failed the place is left alone: a start with many partitions and many snapshots does not wait for
/// each of them. What a person has to change, such as a directory with the name of an object, is told at once, and does not
/// count.
const FAILURES_MAX: u32 = 2;
/// For so long. Where a log has lost its first events, a start waits for the place.
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// A call that fails within this time is made again: a store that gets many calls at once, as when many partitions start, refuses
/// some of them.
const FAST: Duration = Duration::from_secs(1);
/// After each of these pauses. When the last call has failed as well, all of them count as one that failed.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];

/// The snapshots of one log.
pub struct Reader {
    objects: Arc<dyn Objects>,
    log_id: u128,
    failing: Mutex<Option<Failing>>,
}

/// Calls that failed one after the other.
#[derive(Clone, Copy)]
struct Failing {
    count: u32,
    since: Stopwatch,
}

impl Reader {
    /// The snapshots of this log in `objects`.
    pub fn new(objects: Arc<dyn Objects>, log_id: u128) -> Reader {
        Reader { objects, log_id, failing: Mutex::new(None) }
    }

    /// Asks the place, unless it has failed too often.
    fn ask<T>(&self, call: impl Fn(&dyn Objects) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let failing = self.failing.lock().filter(|failing| !failing.since.left_of(LEFT_ALONE).is_zero());
        if failing.is_some_and(|failing| failing.count >= FAILURES_MAX) {
            let detail = "the place of snapshots did not answer, and is left alone for a while".to_owned();
            return Err(StoreError::new(detail));
        }
        self.again(call).inspect_err(|error| {
            if !error.needs_operator() {
                let count = failing.map_or(0, |failing| failing.count).saturating_add(1);
                *self.failing.lock() = Some(Failing { count, since: Stopwatch::start() });
            }
        })
    }

    /// Makes a call, and makes it again after a pause where it failed fast.
    fn again<T>(&self, call: impl Fn(&dyn Objects) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let calling = Stopwatch::start();
            let done = call(self.objects.as_ref());
            let may_pass = done.as_ref().is_err_and(|error| !error.needs_operator() && calling.elapsed() < FAST);
            match pauses.next() {
                Some(rest) if may_pass => pause(rest),
                _ => return done,
            }
        }
    }

    fn get(&self, partition: u32, name: &Name, part: Part, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let path = format!("{}/{}", folder(self.log_id, partition), name.of(part));
        match self.ask(|objects| objects.get(&path, bytes_max))? {
            None => Err(StoreError::damaged(format!("{path} is gone"))),
            Some(Got::Longer(bytes)) => {
                Err(StoreError::damaged(format!("{path} has {bytes} bytes, and at most {bytes_max} are read")))
            }
            Some(Got::Whole(bytes)) => Ok(bytes),
        }
    }

    /// The manifest, what it says of the state, and the digest of that.
    fn manifest(&self, partition: u32, text: &str) -> Result<(Name, Manifest, Mark, Digest), StoreError> {
        let (name, _) = Name::parse(text).ok_or_else(|| StoreError::damaged("is no name of a snapshot"))?;
        let manifest = self.get(partition, &name, Part::Manifest, MANIFEST_BYTES_MAX)?;
        let manifest = Manifest::decode(&name, &manifest)?;
        let state = Digest::parse(&manifest.state);
        let state = state.ok_or_else(|| StoreError::damaged("its manifest has no digest of a state"))?;
        let mark = manifest.mark().map_err(StoreError::damaged)?;
        if (mark.log_id, mark.partition) != (self.log_id, partition) {
            return Err(StoreError::damaged(format!("is of partition {} of log {:032x}", mark.partition, mark.log_id)));
        }
        Ok((name, manifest, mark, state))
    }

    /// The rows as an object, with the hash that they must have, and what else its manifest says of them.
    fn found(&self, partition: u32, text: &str) -> Result<(Vec<u8>, String, Mark, Digest), StoreError> {
        let (name, manifest, mark, state) = self.manifest(partition, text)?;
        let object = self.get(partition, &name, Part::Rows, manifest.bytes)?;
        if object.len() as u64 != manifest.bytes {
            let (found, written) = (object.len(), manifest.bytes);
            return Err(StoreError::damaged(format!("its rows have {found} bytes, and {written} were written")));
        }
        Ok((object, manifest.blake3, mark, state))
    }
}

impl Snapshots for Reader {
    fn names(&self, partition: u32, end: u64) -> Result<(Vec<SnapshotName>, usize), StoreError> {
        let folder = folder(self.log_id, partition);
        let found = self.ask(|objects| Found::look(objects, &folder))?;
        let named =
            |name: &Name| SnapshotName { text: name.of(Part::Manifest), next_seq: name.next_seq, decided_at: name.at };
        let names = found.manifests_up_to(end).map(named).collect();
        Ok((names, found.ahead(end)))
    }

    fn mark(&self, partition: u32, name: &str) -> Result<Mark, StoreError> {
        self.manifest(partition, name).map(|(_, _, mark, _)| mark)
    }

    fn load<'o>(
        &self,
        partition: u32,
        name: &str,
        object: &'o mut Vec<u8>,
        row: &mut dyn FnMut(&'o [u8], &'o [u8]),
    ) -> Result<(Mark, Digest), StoreError> {
        let told = |why: &str| format!("snapshot {name}: {why}");
        let fail = |why: &str| StoreError::damaged(told(why));
        let found = self.found(partition, name);
        let found = found.map_err(|error| StoreError { detail: told(&error.detail), ..error });
        let (read, hash, mark, state) = found?;
        *object = read;
        let object: &'o [u8] = object;
        // Rows are handed over while they are hashed. They count only if their hash is right.
        let (is_as_written, unpacked) = beside(
            format!("hashes-{partition}"),
            || blake3::hash(object).to_hex().as_str() == hash,
            || unpack(object, row),
        );
        if !is_as_written {
            return Err(fail("its rows are damaged: they have another hash than its manifest says"));
        }
        unpacked.map_err(fail)?;
        Ok((mark, state))
    }
}
