//! Writes snapshots of the partitions that this process owns, and removes those that are not kept. The rows are those of
//! the checkpoint on disk, so an owner neither waits nor copies for it.

use super::manifest::Manifest;
use super::name::Part;
use super::object::{Packing, unpack};
use super::{Found, Heard, Name, folder};
use crate::config::SnapshotRule;
use crate::crash;
use crate::domain::Micros;
use crate::objects::Objects;
use crate::replica::checkpoint::Restoring;
use crate::replica::{PartitionHandle, PartitionState, Replica, StatusKind};
use crate::store::Store;
use crate::time::{Believed, Clock, retry_ms};
use std::collections::{BTreeMap, BTreeSet};

/// Pause before a snapshot that failed is tried again, in milliseconds. It doubles with every further failure.
const RETRY_MS: u64 = 1_000;
/// Longest such pause, in milliseconds.
const RETRY_MAX_MS: u64 = 300_000;

/// What the writer knows of a partition that this process owns.
struct Owned {
    /// The newest snapshot in the store; none when the store has none. Not known before the first look.
    newest: Option<Option<Name>>,
    /// Snapshots in the store of more events than the log, as they were told.
    ahead: usize,
    /// Failures since the last success.
    tries: u32,
    /// Nothing is tried before this time of the monotonic clock.
    due: Micros,
    /// When this process wrote its last snapshot, by the monotonic clock.
    wrote: Option<Micros>,
}

/// The writer of a process. It is driven by one thread, which calls [`Writer::round`] again and again.
pub struct Writer<'a> {
    log_id: u128,
    objects: &'a dyn Objects,
    store: &'a dyn Store,
    replica: &'a Replica,
    clock: &'a dyn Clock,
    heard: &'a dyn Heard,
    rule: SnapshotRule,
    owned: BTreeMap<u32, Owned>,
    believed: Believed,
    /// The time of the wall clock, as far as it is believed in this round.
    now: Micros,
}

impl<'a> Writer<'a> {
    /// A writer of snapshots of this log into `objects`. `store` has the checkpoints of `replica`.
    pub fn new(
        (log_id, replica, store): (u128, &'a Replica, &'a dyn Store),
        objects: &'a dyn Objects,
        (clock, heard): (&'a dyn Clock, &'a dyn Heard),
        rule: SnapshotRule,
    ) -> Writer<'a> {
        let (owned, believed, now) = (BTreeMap::new(), Believed::default(), Micros(0));
        Writer { log_id, objects, store, replica, clock, heard, rule, owned, believed, now }
    }

    /// Writes the snapshots that are due, until `is_over`. It takes as long as the store does; the partitions are not held
    /// meanwhile.
    pub fn round(&mut self, is_over: &dyn Fn() -> bool) {
        self.now = self.believed.tell(self.clock.wall(), self.clock.now(), self.replica.decided_at());
        for handle in self.replica.partitions() {
            if is_over() {
                return;
            }
            let partition = handle.id();
            if handle.status_kind() != StatusKind::Active {
                if self.owned.remove(&partition).is_some() {
                    self.heard.left(partition);
                }
                continue;
            }
            let mut owned = self.owned.remove(&partition).unwrap_or_else(|| {
                self.heard.began(partition, self.clock.wall());
                Owned { newest: None, ahead: 0, tries: 0, due: Micros(0), wrote: None }
            });
            self.attend(handle, &mut owned, is_over);
            self.owned.insert(partition, owned);
        }
    }

    fn attend(&self, handle: &PartitionHandle, owned: &mut Owned, is_over: &dyn Fn() -> bool) {
        let partition = handle.id();
        let (events, saved) = handle.read(|state| {
            let events = state.position().next_seq;
            (events, events.saturating_sub(PartitionState::events_since_checkpoint(state)))
        });
        let has = |newest: Option<Name>| newest.map_or(0, |name| name.next_seq);
        self.heard.missing(partition, events.saturating_sub(has(owned.newest.flatten())));
        if self.clock.now() < owned.due {
            return;
        }
        let done = self.look(partition, owned, events).and_then(|newest| {
            let is_due = self.is_due(owned, newest, saved.saturating_sub(has(newest)));
            if is_due { self.write(partition, owned, events, is_over) } else { Ok(()) }
        });
        match done {
            Ok(()) => owned.tries = 0,
            Err(_) if is_over() => {}
            Err(why) => {
                let pause_ms = retry_ms(owned.tries, RETRY_MS, RETRY_MAX_MS);
                owned.tries = owned.tries.saturating_add(1);
                owned.due = self.clock.now().plus_ms(pause_ms);
                self.heard.failed(partition, &why);
            }
        }
    }

    /// The newest whole snapshot in the store of at most so many events. The store is asked once.
    fn look(&self, partition: u32, owned: &mut Owned, events: u64) -> Result<Option<Name>, String> {
        if let Some(newest) = owned.newest {
            return Ok(newest);
        }
        let found = Found::look(self.objects, &folder(self.log_id, partition)).map_err(|error| error.detail)?;
        self.tell_ahead(partition, owned, (&found, events));
        let newest = found.whole(events).next().copied();
        self.knows(partition, owned, newest);
        Ok(newest)
    }

    fn tell_ahead(&self, partition: u32, owned: &mut Owned, (found, events): (&Found, u64)) {
        let ahead = found.ahead(events);
        if ahead != owned.ahead {
            owned.ahead = ahead;
            self.heard.ahead(partition, ahead, events);
        }
    }

    fn knows(&self, partition: u32, owned: &mut Owned, newest: Option<Name>) {
        owned.newest = Some(newest);
        if let Some(name) = newest {
            self.heard.newest(partition, name.at);
        }
    }

    /// Whether a snapshot is due when the checkpoint has so many events that the newest one has not.
    fn is_due(&self, owned: &Owned, newest: Option<Name>, events: u64) -> bool {
        let is_old = |from: Micros, now: Micros| now.ms_since(from) >= self.rule.interval_ms;
        let wall = self.clock.wall();
        // An event that is later than the clock says nothing about its age.
        let is_time = newest.is_none_or(|name| name.at > wall || is_old(name.at, wall))
            && owned.wrote.is_none_or(|wrote| is_old(wrote, self.clock.now()));
        events >= self.rule.events || (events > 0 && is_time)
    }

    /// Writes a snapshot of the checkpoint, of a partition with so many events. What is not kept is removed first: it may be
    /// what fills the store.
    ///
    /// # Errors
    /// Why there is no new snapshot, or older ones are not removed, in words.
    fn write(&self, partition: u32, owned: &mut Owned, events: u64, is_over: &dyn Fn() -> bool) -> Result<(), String> {
        // The checkpoint may be on its way to the disk.
        owned.due = self.clock.now().plus_ms(RETRY_MS);
        let Some((manifest, object)) = self.pack(partition)? else { return Ok(()) };
        let (name, bytes) = (manifest.name()?, manifest.bytes);
        if is_over() || owned.newest.flatten().is_some_and(|newest| newest.next_seq >= name.next_seq) {
            return Ok(());
        }
        let folder = folder(self.log_id, partition);
        let path = |part| format!("{folder}/{}", name.of(part));
        let look = || Found::look(self.objects, &folder).map_err(|error| error.detail);
        let found = look()?;
        self.tell_ahead(partition, owned, (&found, events));
        let thinned = self.thin(&folder, &found.surplus(self.rule.keep, events, self.now));
        crash::point("snapshot-begun");
        self.objects.put(&path(Part::Rows), object).map_err(|error| error.detail)?;
        crash::point("snapshot-rows");
        match look()?.length(&name) {
            Some(length) if length == bytes => {}
            Some(length) => return Err(format!("{name} has {length} bytes in the store, and {bytes} were written")),
            None => return Err(format!("{name} was written, and the store does not list it")),
        }
        self.objects.put(&path(Part::Manifest), manifest.encode()).map_err(|error| error.detail)?;
        crash::point("snapshot-written");
        owned.wrote = Some(self.clock.now());
        self.heard.written(partition, name.next_seq, bytes);
        self.knows(partition, owned, Some(name));
        thinned
    }

    fn thin(&self, folder: &str, surplus: &BTreeSet<Name>) -> Result<(), String> {
        for name in surplus {
            // Without its manifest nobody looks for the rows.
            for part in [Part::Manifest, Part::Rows] {
                let deleted = self.objects.delete(&format!("{folder}/{}", name.of(part)));
                deleted.map_err(|error| format!("an old snapshot cannot be removed: {}", error.detail))?;
                crash::point("snapshot-thinned");
            }
        }
        Ok(())
    }

    /// The checkpoint's rows as an object, with their manifest; none when there is no checkpoint. The rows are put together
    /// to a state: what is none does not become a snapshot. Checkpoints wait only while the rows are read.
    fn pack(&self, partition: u32) -> Result<Option<(Manifest, Vec<u8>)>, String> {
        let mut packing = Packing::begin();
        let loaded = self.store.load(partition, &mut |key, value| packing.row(key, value));
        let Some(mark) = loaded.map_err(|error| error.detail)? else { return Ok(None) };
        let (object, mut restoring) = (packing.end(), Restoring::new(partition, self.log_id));
        unpack(&object, |key, value| restoring.row(key, value))?;
        let state = restoring.finish(&mark, None)?;
        Ok(Some((Manifest::new(&mark, state.digest(), &object), object)))
    }
}
