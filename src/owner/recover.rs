//! Rebuilding a partition's state: from its checkpoint, or from a snapshot, if it matches the log, and from the log after it.

use super::losses::loss;
use super::report::{Recovered, Report};
use crate::domain::{Breach, ChainedEvent};
use crate::log::{ClaimError, CommittedTail, LogError, PartitionLog, StoredEvent};
use crate::replica::checkpoint::Restoring;
use crate::replica::{PartitionHandle, PartitionState, StatusKind};
use crate::store::{Snapshots, Store};
use crate::time::Clock;
use crate::wire;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::num::NonZero;
use std::ops::Range;
use std::thread::{Builder, Scope};

/// Event bytes of one batch, and the most batches that are read ahead.
const READ_BYTES: usize = 1 << 20;
const READ_AHEAD: usize = 8;
/// The most threads that decode what one thread reads: with more of them, decoding is faster than folding.
const DECODERS_MAX: usize = 4;

/// Everything that rebuilding a partition's state needs.
pub struct Recovery<'a> {
    /// The log's own id, which a checkpoint must name.
    pub log_id: u128,
    /// Where committed events are read.
    pub tail: &'a dyn CommittedTail,
    /// Where checkpoints are read.
    pub store: &'a dyn Store,
    /// Where snapshots are read when there is no checkpoint, if there is such a place.
    pub snapshots: Option<&'a dyn Snapshots>,
    /// Wall clock and monotonic clock.
    pub clock: &'a dyn Clock,
    /// Receives how recovery went, for metrics and log lines.
    pub report: &'a dyn Report,
    /// Called with every event that is read from the log: a caller may still wait for it.
    pub on_committed: &'a (dyn Fn(&ChainedEvent) + Sync),
}

/// Most snapshots that one start tries: reading the log from its first event is better than waiting for ever more of them.
const SNAPSHOTS_TRIED_MAX: usize = 8;

impl Recovery<'_> {
    /// Puts the partition's checkpoint into `handle`, or else its newest snapshot that matches the log, or else an empty
    /// state. Answers whether it is not empty.
    ///
    /// # Errors
    /// [`ClaimError::Breach`] when the log holds less than was seen of it (L10), and [`ClaimError::Log`] when the log
    /// cannot be read. In both cases the store and `handle` are unchanged.
    pub fn restore(&self, handle: &PartitionHandle) -> Result<bool, ClaimError> {
        let partition = handle.id();
        if let Some(loss) = loss(self.tail, self.store, self.log_id, partition)? {
            return Err(ClaimError::Breach(loss.breach()));
        }
        let state = match self.checkpoint(partition)? {
            None => self.snapshot(partition)?,
            checkpoint => checkpoint,
        };
        let is_there = state.is_some();
        handle.progress().set_from_checkpoint(is_there);
        handle.write(|current| *current = state.unwrap_or_else(|| PartitionState::new(partition)));
        Ok(is_there)
    }

    /// Folds a followed partition's events up to the last one before `until`, which the log has. It stops earlier once
    /// it is past `enough`.
    ///
    /// # Errors
    /// [`ClaimError`] when the log cannot be read or breaks a law.
    pub(super) fn catch_up(&self, handle: &PartitionHandle, enough: u64, until: u64) -> Result<(), ClaimError> {
        let (partition, from) = (handle.id(), handle.read(|state| state.position().next_seq));
        handle.progress().set_end_seq(until);
        ahead(self.tail, partition, from..until, enough, |events| {
            let folded = handle.follow(|state| fold_all(state, &events));
            let folded = folded.ok_or_else(|| LogError::superseded("the partition was claimed in the meantime"));
            folded?.map_err(ClaimError::Breach)?;
            events.iter().flatten().for_each(|chained| (self.on_committed)(chained));
            Ok(())
        })
    }

    /// Claims the partition and folds its events into `handle` up to the end of the log, from the state of a checkpoint
    /// or of a follower. The log is the truth: if it does not continue the checkpoint, the checkpoint is deleted and
    /// the whole log is read.
    ///
    /// # Errors
    /// [`ClaimError`]; `handle` is then not to be served.
    pub fn claim<L: PartitionLog>(
        &self,
        log: &L,
        handle: &PartitionHandle,
        is_of_checkpoint: bool,
    ) -> Result<L::Owned, ClaimError> {
        let begun = self.clock.now();
        let at = || handle.read(|state| state.position().next_seq);
        let (partition, from) = (handle.id(), at());
        let owned = match self.replay(log, handle) {
            Err(ClaimError::Breach(breach)) if is_of_checkpoint => {
                self.start_over(handle, &breach.to_string());
                self.replay(log, handle)?
            }
            other => other?,
        };
        handle.progress().set_from_checkpoint(false);
        let (events, took_us) = (at(), self.clock.now().0.saturating_sub(begun.0));
        let read = events.saturating_sub(from);
        self.report.recovered(partition, &Recovered { events, read, took_us, from_checkpoint: is_of_checkpoint });
        Ok(owned)
    }

    fn start_over(&self, handle: &PartitionHandle, why: &str) {
        let partition = handle.id();
        self.wipe(partition, why);
        handle.write(|state| *state = PartitionState::new(partition));
    }

    fn replay<L: PartitionLog>(&self, log: &L, handle: &PartitionHandle) -> Result<L::Owned, ClaimError> {
        let (partition, from) = (handle.id(), handle.read(|state| state.position().next_seq));
        // A followed state is at the end already, and a claim must not take the time to ask for the end.
        if handle.status_kind() == StatusKind::Restoring
            && let Ok(end) = self.tail.end(partition)
        {
            handle.progress().set_end_seq(end);
        }
        log.claim(partition, from, &mut |event| {
            let chained = handle.write(|state| fold_stored(state, &event))?;
            (self.on_committed)(&chained);
            Ok(handle.read(|state| state.position().next_input))
        })
    }

    /// The state in the partition's checkpoint, if there is one that matches the log. One that does not is deleted.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    pub fn checkpoint(&self, partition: u32) -> Result<Option<PartitionState>, LogError> {
        let state = match kept(self.store, self.log_id, partition) {
            Ok(Some(state)) => self.mismatch(&state)?.map_or(Ok(Some(state)), Err),
            other => other,
        };
        Ok(state.unwrap_or_else(|why| {
            self.wipe(partition, &why);
            None
        }))
    }

    /// The state in the newest snapshot that is whole and matches the log, if there is one. Every one that is passed over
    /// is named.
    fn snapshot(&self, partition: u32) -> Result<Option<PartitionState>, LogError> {
        let Some(snapshots) = self.snapshots else { return Ok(None) };
        let end = self.tail.end(partition)?;
        if end == 0 {
            return Ok(None);
        }
        let (names, ahead) = snapshots.names(partition, end).unwrap_or_else(|error| {
            self.report.snapshot(partition, Err(&error.detail));
            (Vec::new(), 0)
        });
        if ahead > 0 {
            self.report.snapshot(partition, Err(&format!("{ahead} hold more than the {end} events of the log")));
        }
        for name in names.into_iter().take(SNAPSHOTS_TRIED_MAX) {
            let mut state = match copied(snapshots, self.log_id, partition, &name) {
                Ok(state) => state,
                Err(why) => {
                    self.report.snapshot(partition, Err(&why));
                    continue;
                }
            };
            if let Some(why) = self.mismatch(&state)? {
                self.report.snapshot(partition, Err(&format!("snapshot {name}: {why}")));
                continue;
            }
            self.report.snapshot(partition, Ok(&name));
            // There is no checkpoint that a next one could build on.
            state.mark_all_dirty();
            return Ok(Some(state));
        }
        Ok(None)
    }

    /// Why the log does not continue this state; none where it does.
    fn mismatch(&self, state: &PartitionState) -> Result<Option<String>, LogError> {
        let (partition, position) = (state.partition(), *state.position());
        // While a transaction is open, readers may see less than what was committed. A checkpoint that is not ahead of
        // what readers see needs no further check, so an owner that was killed in its turn does not delay a restart.
        if position.next_seq > self.tail.end(partition)? {
            let end = self.tail.end_told(partition)?;
            if position.next_seq > end {
                return Ok(Some(format!("it holds {} events, and the log has {end}", position.next_seq)));
            }
        }
        let Some(last) = position.next_seq.checked_sub(1) else { return Ok(None) };
        let events = self.tail.read(partition, last, 1)?;
        let Some(event) = events.first() else { return Ok(Some("the log does not hold its last event".to_owned())) };
        Ok(match wire::event::decode(&event.bytes) {
            Err(error) => Some(error.to_string()),
            Ok(chained) if chained.digest == position.chain => None,
            Ok(chained) => Some(format!(
                "its last event has the digest {}, that of the log has {}",
                position.chain, chained.digest
            )),
        })
    }

    /// Deletes the partition's checkpoint.
    pub(super) fn wipe(&self, partition: u32, why: &str) {
        self.report.store_wiped(partition, why);
        if let Err(error) = self.store.wipe(partition, why) {
            self.report.checkpoint(partition, Err(&error.detail));
        }
    }
}

/// The state that a partition's checkpoint holds, whether or not it matches the log.
///
/// # Errors
/// Why the checkpoint cannot be read or makes no state, in words.
pub fn kept(store: &dyn Store, log_id: u128, partition: u32) -> Result<Option<PartitionState>, String> {
    let mut restoring = Restoring::new(partition, log_id);
    let loaded = store.load(partition, &mut |key, value| restoring.row(key, value));
    let mark = loaded.map_err(|error| error.detail)?;
    mark.map(|mark| restoring.finish(&mark)).transpose()
}

/// The state that a snapshot holds, whether or not it matches the log.
///
/// # Errors
/// Why it cannot be read or makes no state, in words.
fn copied(snapshots: &dyn Snapshots, log_id: u128, partition: u32, name: &str) -> Result<PartitionState, String> {
    let mut restoring = Restoring::new(partition, log_id);
    let loaded = snapshots.load(partition, name, &mut |key, value| restoring.row(key, value));
    let (mark, digest) = loaded.map_err(|error| error.detail)?;
    let state = restoring.finish(&mark).map_err(|why| format!("snapshot {name}: {why}"))?;
    match state.digest() == digest {
        true => Ok(state),
        false => Err(format!("snapshot {name}: its rows make another state than its manifest says")),
    }
}

/// Folds one stored event, and answers it.
///
/// # Errors
/// The [`Breach`]; bytes that are no event break the chain.
pub fn fold_stored(state: &mut PartitionState, event: &StoredEvent) -> Result<ChainedEvent, Breach> {
    let chained = decode_event(state.partition(), event)?;
    state.fold(&chained)?;
    Ok(chained)
}

fn decode_event(partition: u32, event: &StoredEvent) -> Result<ChainedEvent, Breach> {
    wire::event::decode(&event.bytes).map_err(|error| Breach {
        law: crate::domain::Law::Chain,
        partition,
        seq: event.seq,
        detail: format!("its bytes are no event: {error}"),
    })
}

/// Rebuilds a partition's state from its first event on; see [`replay_from`].
///
/// # Errors
/// Those of [`replay_from`].
pub fn rebuild(
    tail: &dyn CommittedTail,
    partition: u32,
    until: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<PartitionState, ClaimError> {
    replay_from(tail, PartitionState::new(partition), until, progress)
}

/// Folds events into a state up to the last one before `until`, which the log has, and calls `progress` with the
/// sequence number reached.
///
/// # Errors
/// [`ClaimError`] when the log cannot be read or breaks a law.
pub fn replay_from(
    tail: &dyn CommittedTail,
    mut state: PartitionState,
    until: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<PartitionState, ClaimError> {
    let (partition, from) = (state.partition(), state.position().next_seq);
    ahead(tail, partition, from..until, until, |events| {
        fold_all(&mut state, &events).map_err(ClaimError::Breach)?;
        progress(state.position().next_seq);
        Ok(())
    })?;
    Ok(state)
}

/// The result for one event. The events before it are folded first, so that the first breach is the one that is named.
type Decoded = Result<ChainedEvent, Breach>;

fn fold_all(state: &mut PartitionState, events: &[Decoded]) -> Result<(), Breach> {
    events.iter().try_for_each(|decoded| decoded.as_ref().map_err(Breach::clone).and_then(|event| state.fold(event)))
}

/// Hands over these events in batches, and stops after `enough`. Meanwhile one thread reads the next batches and others
/// decode them, because both take longer than folding.
///
/// # Errors
/// The error of `each`, or the [`LogError`] of a read.
fn ahead(
    tail: &dyn CommittedTail,
    partition: u32,
    seqs: Range<u64>,
    enough: u64,
    mut each: impl FnMut(Vec<Decoded>) -> Result<(), ClaimError>,
) -> Result<(), ClaimError> {
    std::thread::scope(|scope| {
        let (decode, undecoded) = bounded::<(Vec<StoredEvent>, Sender<_>)>(0);
        // For each batch, in order, the channel on which its decoder sends the result.
        let (order, decoded) = bounded::<Receiver<Result<Vec<Decoded>, LogError>>>(READ_AHEAD);
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get).clamp(1, DECODERS_MAX) {
            let undecoded = undecoded.clone();
            let decoding = move || {
                for (events, done) in undecoded {
                    let decoded = events.iter().map(|event| decode_event(partition, event)).collect();
                    // The receiver is gone only after an error, which it reports itself.
                    let _ = done.send(Ok(decoded));
                }
            };
            start(scope, format!("decodes-{partition}"), decoding)?;
        }
        let reading = move || {
            let mut next = seqs.start;
            while next < seqs.end.min(enough) {
                let (done, result) = bounded(1);
                let batch = batch(tail, partition, next, seqs.end);
                next = batch.as_ref().ok().and_then(|events| events.last()).map_or(u64::MAX, |event| event.seq);
                next = next.saturating_add(1);
                let is_heard = order.send(result).is_ok();
                let is_taken = match batch {
                    Ok(events) => decode.send((events, done)).is_ok(),
                    Err(error) => done.send(Err(error)).is_ok(),
                };
                if !(is_heard && is_taken) {
                    return;
                }
            }
        };
        start(scope, format!("reads-{partition}"), reading)?;
        decoded.into_iter().try_for_each(|result| {
            let lost = || LogError::internal("a decoder ended before its batch was decoded");
            each(result.recv().unwrap_or_else(|_| Err(lost()))?)
        })
    })
}

fn start<'s>(scope: &'s Scope<'s, '_>, name: String, work: impl FnOnce() + Send + 's) -> Result<(), LogError> {
    let started = Builder::new().name(name).spawn_scoped(scope, work);
    started.map(drop).map_err(|error| LogError::no_thread(&error))
}

/// Events before `until`, at least one.
fn batch(tail: &dyn CommittedTail, partition: u32, next: u64, until: u64) -> Result<Vec<StoredEvent>, LogError> {
    let mut events = tail.read(partition, next, READ_BYTES)?;
    events.truncate(events.partition_point(|event| event.seq < until));
    match events.is_empty() {
        true => Err(LogError::out_of_range(format!("partition {partition} ends at {next}, not at {until}"))),
        false => Ok(events),
    }
}
