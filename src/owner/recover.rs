//! Rebuilding a partition's state: from its checkpoint, or from a snapshot, if it matches the log, and from the log after it.

use super::begin::{Beginning, Looked, Prefer, mismatch};
use super::losses::loss;
use super::report::{Recovered, Report};
use super::restoring::{self, decoders};
use crate::domain::{Breach, ChainedEvent, Law, Micros};
use crate::log::{ClaimError, CommittedTail, LogError, PartitionLog, StoredEvent};
use crate::replica::{EVENTS_AHEAD, PartitionHandle, PartitionState, StatusKind};
use crate::store::{Snapshots, Store, StoreError, StoreErrorKind};
use crate::threads::processors;
use crate::time::Clock;
use crate::wire::{self, Recent};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::ops::Range;
use std::thread::{Builder, Scope};

/// Event bytes of one batch, and the most batches that are read ahead.
const READ_BYTES: usize = 1 << 20;
const READ_AHEAD: usize = 8;

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

impl Recovery<'_> {
    /// Puts the partition's checkpoint into `handle`, or else its newest snapshot that matches the log, or else an empty
    /// state. Answers whether it is not empty.
    ///
    /// # Errors
    /// [`ClaimError::Breach`] when the log holds less than was seen of it (L10), and [`ClaimError::Log`] when the log
    /// cannot be read, or has lost its first events and nothing covers them: it says as well why a checkpoint does not. In all
    /// cases the store and `handle` are unchanged, but for a checkpoint that does not match the log.
    pub fn restore(&self, handle: &PartitionHandle) -> Result<bool, ClaimError> {
        let partition = handle.id();
        self.holds_what_was_seen(partition)?;
        let first = self.tail.first(partition)?;
        let (checkpoint, unused) = self.checkpoint_of(partition, first)?;
        let state = match checkpoint {
            None => self.snapshot(partition, first, Prefer::Newest).map_err(|LogError { kind, detail }| {
                LogError::new(kind, unused.iter().fold(detail, |detail, why| format!("{detail}; {why}")))
            })?,
            checkpoint => checkpoint,
        };
        // The next checkpoint takes its place. Until then a start may need it, where no snapshot can be read.
        unused.iter().for_each(|why| self.report.checkpoint_unused(partition, why));
        let is_there = state.is_some();
        handle.progress().set_from_checkpoint(is_there);
        drop(handle.replace(state.unwrap_or_else(|| PartitionState::new(partition))));
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
            let folded = handle.follow(|state| fold_all(state, events));
            let folded = folded.ok_or_else(|| LogError::superseded("the partition was claimed in the meantime"));
            folded?.map_err(ClaimError::Breach)?;
            self.committed(events);
            Ok(())
        })
    }

    fn committed(&self, events: &[Decoded]) {
        events.iter().flatten().for_each(|chained| (self.on_committed)(chained));
    }

    /// Claims the partition and folds its events into `handle` up to the end of the log, from the state of a checkpoint
    /// or of a follower. The log is the truth: if it does not continue the checkpoint, the checkpoint is deleted and
    /// the whole log is read, as long as the log has all of it, and all that was seen of it.
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
                if !self.may_begin_anew(partition)? {
                    return Err(ClaimError::Breach(breach));
                }
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

    /// Whether a broken state that began with a checkpoint may be read anew from the log: it has its first event. As it has all
    /// that was seen of it as well, the checkpoint is what is wrong, and not the log.
    ///
    /// # Errors
    /// Those of [`Recovery::holds_what_was_seen`].
    pub(super) fn may_begin_anew(&self, partition: u32) -> Result<bool, ClaimError> {
        self.holds_what_was_seen(partition)?;
        Ok(self.tail.first(partition)? == 0)
    }

    /// Checks that the log holds all that was seen of the partition.
    ///
    /// # Errors
    /// [`ClaimError::Breach`] when it holds less (L10), and [`ClaimError::Log`] when the log cannot be read.
    fn holds_what_was_seen(&self, partition: u32) -> Result<(), ClaimError> {
        match loss(self.tail, self.store, self.log_id, partition)? {
            Some(loss) => Err(ClaimError::Breach(loss.breach())),
            None => Ok(()),
        }
    }

    fn start_over(&self, handle: &PartitionHandle, why: &str) {
        let partition = handle.id();
        self.wipe(partition, why);
        drop(handle.replace(PartitionState::new(partition)));
    }

    /// Folds these events before a claim does, on all cores; none of them when there are as many partitions as cores, whose
    /// claims keep all of them busy. What cannot be read is left to the claim, which needs no further thread and tells why.
    fn read_ahead<L: PartitionLog>(
        &self,
        log: &L,
        handle: &PartitionHandle,
        seqs: Range<u64>,
    ) -> Result<(), ClaimError> {
        if processors() <= self.tail.partitions() as usize {
            return Ok(());
        }
        let until = seqs.end;
        let read = ahead(self.tail, handle.id(), seqs, until, |events| {
            if log.is_closed(handle.id()) {
                return Err(LogError::superseded("the process ends").into());
            }
            handle.write(|state| fold_all(state, events)).map_err(ClaimError::Breach)?;
            self.committed(events);
            Ok(())
        });
        match read {
            Err(ClaimError::Breach(breach)) => Err(ClaimError::Breach(breach)),
            Ok(()) | Err(ClaimError::Log(_)) => Ok(()),
        }
    }

    fn replay<L: PartitionLog>(&self, log: &L, handle: &PartitionHandle) -> Result<L::Owned, ClaimError> {
        let (partition, next_seq) = (handle.id(), || handle.read(|state| state.position().next_seq));
        // A followed state is at the end already, and a claim must not take the time to ask for the end. For another one, all
        // but the last committed event are read ahead of the claim, which decodes and folds one after the other. With the last
        // one the claim checks that events and commands of the log end together.
        if handle.status_kind() == StatusKind::Restoring
            && let Ok(end) = self.tail.end(partition)
        {
            handle.progress().set_end_seq(end);
            self.read_ahead(log, handle, next_seq()..end.saturating_sub(1))?;
        }
        let (from, first) = (next_seq(), self.tail.first(partition)?);
        // The last event that is folded is read once more, as long as the log has it: where no other follows, that alone shows
        // that it is the log's.
        let begin = from.saturating_sub(u64::from(first < from));
        let mut is_shown = begin == from;
        let owned = log.claim(partition, begin, &mut |event| {
            if event.seq < from {
                handle.read(|state| ends_with(state, &event))?;
                is_shown = true;
            } else {
                let chained = handle.write(|state| fold_stored(state, &event))?;
                (self.on_committed)(&chained);
            }
            Ok(handle.read(|state| state.position().next_input))
        })?;
        match is_shown {
            true => Ok(owned),
            false => {
                Err(LogError::out_of_range(format!("partition {partition} ends before seq {from}, at {begin}")).into())
            }
        }
    }

    /// The state in the partition's checkpoint, if there is one that matches the log. One that does not is deleted, unless the
    /// log has lost its first events since: then it stays until there is something better. So does one that cannot be opened.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    pub fn checkpoint(&self, partition: u32) -> Result<Option<PartitionState>, LogError> {
        let first = self.tail.first(partition)?;
        self.checkpoint_of(partition, first).map(|found| found.0)
    }

    /// The same of a log that begins with `first`, and why there is a checkpoint that is not used and not deleted.
    fn checkpoint_of(&self, partition: u32, first: u64) -> Result<(Option<PartitionState>, Option<String>), LogError> {
        let why = match kept(self.store, self.log_id, partition) {
            Ok(None) => return Ok((None, None)),
            Ok(Some(state)) if state.position().next_seq < first => "the log has lost the events after it".to_owned(),
            // It may well match.
            Err(error) if error.kind != StoreErrorKind::Damaged => {
                return Ok((None, Some(format!("the checkpoint cannot be opened: {error}"))));
            }
            Ok(Some(state)) => match mismatch(self.tail, &state, first)? {
                None => return Ok((Some(state), None)),
                Some(why) => why,
            },
            Err(error) => error.detail,
        };
        if first > 0 {
            return Ok((None, Some(format!("the checkpoint is not used: {why}"))));
        }
        self.wipe(partition, &why);
        Ok((None, None))
    }

    /// The state in the newest snapshot that is whole and that the log continues, or in the oldest one, if there is one. Every
    /// one that is passed over is named. There is one where the log does not have its first event any more.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read, and when no snapshot covers the events that it has lost.
    pub(super) fn snapshot(
        &self,
        partition: u32,
        first: u64,
        prefer: Prefer,
    ) -> Result<Option<PartitionState>, LogError> {
        let Recovery { log_id, tail, snapshots, .. } = *self;
        let Looked { taken, passed_over } = Beginning { log_id, tail, snapshots }.look(partition, first, prefer)?;
        passed_over.iter().for_each(|why| self.report.snapshot(partition, Err(why)));
        Ok(taken.map(|(name, state)| {
            self.report.snapshot(partition, Ok(&name.text));
            state
        }))
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
/// [`StoreError`] when the checkpoint cannot be read or makes no state.
pub fn kept(store: &dyn Store, log_id: u128, partition: u32) -> Result<Option<PartitionState>, StoreError> {
    let (mark, rows) = restoring::take_in((partition, log_id), |row| {
        store.load(partition, &mut |key, value| row([key.to_vec().into(), value.to_vec().into()]))
    })?;
    mark.map(|mark| restoring::put_together(rows, &mark, None)).transpose().map_err(StoreError::damaged)
}

/// Folds one stored event, and answers it.
///
/// # Errors
/// The [`Breach`]; bytes that are no event break the chain.
pub fn fold_stored(state: &mut PartitionState, event: &StoredEvent) -> Result<ChainedEvent, Breach> {
    let chained = decode_event(state.partition(), event, None)?;
    state.fold(&chained)?;
    Ok(chained)
}

/// Checks that the last event of a state is this one.
fn ends_with(state: &PartitionState, event: &StoredEvent) -> Result<(), Breach> {
    let (partition, last) = (state.partition(), state.position().chain);
    let found = decode_event(partition, event, None)?.digest;
    if found == last {
        return Ok(());
    }
    let detail = format!("the log has it with the digest {found}, and the state was made with {last}");
    Err(Breach { law: Law::Chain, partition, seq: event.seq, detail })
}

fn decode_event(partition: u32, event: &StoredEvent, recent: Option<&mut Recent>) -> Result<ChainedEvent, Breach> {
    wire::event::decode_after(&event.bytes, recent).map_err(|error| Breach {
        law: Law::Chain,
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
        fold_all(&mut state, events).map_err(ClaimError::Breach)?;
        progress(state.position().next_seq);
        Ok(())
    })?;
    Ok(state)
}

/// Folds into a state all events before `until`, which the log has, up to the last one that was decided at `time` or earlier,
/// and calls `progress` with the sequence number reached.
///
/// # Errors
/// [`ClaimError`] when the log cannot be read or breaks a law.
pub fn replay_through(
    tail: &dyn CommittedTail,
    mut state: PartitionState,
    until: u64,
    time: Micros,
    progress: &mut dyn FnMut(u64),
) -> Result<PartitionState, ClaimError> {
    let (partition, from) = (state.partition(), state.position().next_seq);
    // After the last event of that time or earlier, where a later time stands before it because a clock was set back.
    let (mut is_later, mut behind) = (false, None);
    ahead(tail, partition, from..until, until, |events| {
        for decoded in events {
            let chained = decoded.as_ref().map_err(|breach| ClaimError::Breach(breach.clone()))?;
            let next_seq = chained.event.seq.saturating_add(1);
            match (chained.event.decided_at > time, is_later) {
                (true, _) => is_later = true,
                (false, true) => behind = Some(next_seq),
                (false, false) => state.fold(chained).map_err(ClaimError::Breach)?,
            }
            progress(next_seq);
        }
        Ok(())
    })?;
    match behind {
        None => Ok(state),
        Some(next_seq) => replay_from(tail, state, next_seq, &mut |_| {}),
    }
}

/// The result for one event. The events before it are folded first, so that the first breach is the one that is named.
type Decoded = Result<ChainedEvent, Breach>;

fn fold_all(state: &mut PartitionState, events: &[Decoded]) -> Result<(), Breach> {
    events.chunks(EVENTS_AHEAD).try_for_each(|events| {
        state.look_ahead(events.iter().flatten().map(|chained| &chained.event));
        events.iter().try_for_each(|decoded| state.fold(decoded.as_ref().map_err(Breach::clone)?))
    })
}

/// Hands over these events in batches, and stops after `enough`. Meanwhile one thread reads the next batches and others
/// decode them, because both take longer than folding. Decoders also take batches back that are folded: memory is freed
/// with less work where it was allocated.
///
/// # Errors
/// The error of `each`, or the [`LogError`] of a read.
fn ahead(
    tail: &dyn CommittedTail,
    partition: u32,
    seqs: Range<u64>,
    enough: u64,
    mut each: impl FnMut(&[Decoded]) -> Result<(), ClaimError>,
) -> Result<(), ClaimError> {
    std::thread::scope(|scope| {
        let (decode, undecoded) = bounded::<(Vec<StoredEvent>, Sender<_>)>(0);
        // For each batch, in order, the channel on which its decoder sends the result.
        let (order, decoded) = bounded::<Receiver<Result<Vec<Decoded>, LogError>>>(READ_AHEAD);
        let (give_back, folded) = bounded::<Vec<Decoded>>(READ_AHEAD);
        for _ in 0..decoders() {
            let (undecoded, folded) = (undecoded.clone(), folded.clone());
            let decoding = move || {
                for (events, done) in undecoded {
                    folded.try_iter().for_each(drop);
                    // For each batch anew: two threads that share values keep taking their counters from each other.
                    let mut recent = Recent::default();
                    let decoded =
                        events.iter().map(|event| decode_event(partition, event, Some(&mut recent))).collect();
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
            let events = result.recv().unwrap_or_else(|_| Err(lost()))?;
            each(&events)?;
            // When decoders are busy, it is freed here.
            drop(give_back.try_send(events));
            Ok(())
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
