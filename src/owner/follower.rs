//! Following partitions that other processes own: their committed events are folded as they come, so that reads are
//! answered here, and this process can take a partition over in a moment. A partition that this process owns is left
//! alone until its owner is gone; then following goes on from where the owner left the state.

use super::begin::Prefer;
use super::checkpointer::Checkpointer;
use super::recover::{Recovery, fold_stored};
use super::swap::Exchange;
use crate::crash;
use crate::domain::{Breach, Micros};
use crate::limits::{CHECKPOINT_EVENTS, CHECKPOINT_INTERVAL_MS, FOLLOWED_AT_ONCE};
use crate::log::{ClaimError, EventStream, LogError, StoredEvent, Streamed};
use crate::replica::{PartitionHandle, PartitionStatus, Replica, StatusKind, SwapRequest};
use crate::time::{Clock, retry_ms};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Events that a follower far behind folds before it looks again. A process that is to end waits for them.
const CAUGHT_UP_AT_ONCE: u64 = 200_000;

/// Time before a partition that could not be followed is tried again, in milliseconds; doubled with every further
/// failure.
const RETRY_MS: u64 = 500;
/// Longest such time, in milliseconds. After a try that took long it is longer, because the other partitions wait
/// meanwhile.
const RETRY_MAX_MS: u64 = 2_000;
/// Tries may take at most one part in this many of the time that passes.
const TRIED_ONE_IN: u64 = 5;
/// After this many failures to read a stretch, a partition is followed all the same: one event after the other, up to
/// the one that is wrong.
const STRETCH_TRIES: u32 = 3;

/// Failed tries to follow a partition.
#[derive(Default)]
struct Failing {
    tries: u32,
    /// When it is tried again.
    due: Micros,
}

/// Follows all partitions of a log on one thread. A partition that this process owns is left alone.
pub struct Follower<'a, S> {
    stream: S,
    replica: &'a Replica,
    recovery: &'a Recovery<'a>,
    checkpointer: &'a Checkpointer,
    /// Partitions that the stream hands over.
    followed: BTreeSet<u32>,
    /// Partitions that could not be followed; the others go on meanwhile.
    failing: BTreeMap<u32, Failing>,
    /// Partitions whose checkpoint was not looked at yet.
    unrestored: BTreeSet<u32>,
    checkpoint_due: BTreeMap<u32, Micros>,
    /// Of each partition, the number of events that the last note counts.
    noted: BTreeMap<u32, u64>,
    probe: &'a EndOffsetProbe,
}

impl<'a, S: EventStream> Follower<'a, S> {
    /// A follower of all partitions of `replica`, each from its checkpoint on.
    pub fn new(
        stream: S,
        replica: &'a Replica,
        recovery: &'a Recovery<'a>,
        checkpointer: &'a Checkpointer,
        probe: &'a EndOffsetProbe,
    ) -> Follower<'a, S> {
        Follower {
            stream,
            replica,
            recovery,
            checkpointer,
            followed: BTreeSet::new(),
            failing: BTreeMap::new(),
            unrestored: (0..replica.partition_count()).collect(),
            checkpoint_due: BTreeMap::new(),
            noted: BTreeMap::new(),
            probe,
        }
    }

    /// Follows what is to be followed, and folds what has come; waits at most `wait` for the first event. For a
    /// partition that cannot be followed, its handle says why, and it is tried again after a while.
    ///
    /// # Errors
    /// [`LogError`] when none of the log can be read now: call again after a while.
    pub fn round(&mut self, wait: Duration) -> Result<(), LogError> {
        let mut is_behind = false;
        for handle in self.replica.partitions() {
            if let Some(request) = handle.take_swap(StatusKind::Standby) {
                self.swap(handle, request);
            }
            if let Some(breach) = handle.wrong().filter(|_| !handle.is_replacing()) {
                self.begin_anew(handle, &breach);
            }
            is_behind |= self.try_to_attend(handle);
        }
        // Who has more to read at once does not wait for what others write.
        let mut wait = if is_behind { Duration::ZERO } else { wait };
        for _ in 0..FOLLOWED_AT_ONCE {
            let asked = self.recovery.clock.now();
            let next = self.stream.next(wait).inspect_err(|_| self.let_go())?;
            wait = Duration::ZERO;
            let Some((partition, streamed)) = next else { break };
            let Some(handle) = self.replica.partition(partition) else { continue };
            match streamed {
                Streamed::Event(event) => self.fold(partition, handle, &event),
                Streamed::Broken(breach) => self.broken(partition, handle, &breach),
                Streamed::Failed(error) => {
                    self.let_go_of(partition);
                    self.put_off(handle, asked, error);
                }
                // An end from before the partition was left says nothing about the state now.
                Streamed::End if !self.followed.contains(&partition) => {}
                Streamed::End => {
                    self.is_well(partition, handle);
                    handle.caught_up(asked);
                }
            }
        }
        self.note();
        for (partition, offset) in self.stream.places() {
            if let Some(handle) = self.replica.partition(partition) {
                self.probe.read_to(partition, handle, offset);
            }
        }
        Ok(())
    }

    /// Puts a fresh state in the place of a followed one that has folded as many events, unless the partition is claimed by
    /// then. Nothing is folded here meanwhile. A claim waits while the two are exchanged: no owner decides from a state that
    /// is known to be wrong.
    fn swap(&mut self, handle: &PartitionHandle, SwapRequest { bring, told }: SwapRequest) {
        crash::point("swap-begun");
        let Some(fresh) = bring(handle.next_seq()) else { return };
        let exchange = Exchange { handle, checkpointer: self.checkpointer };
        let replaced = handle.holding_status(|status| {
            let is_there = status == StatusKind::Standby && fresh.state.position().next_seq == handle.next_seq();
            if is_there { Ok(exchange.run(fresh)) } else { Err(Box::new(fresh.state)) }
        });
        if let Ok((compared, _)) = &replaced {
            self.recovery.report.swapped(handle.id(), compared);
            self.checkpoint_due.insert(handle.id(), self.recovery.clock.now());
        }
        told(replaced);
    }

    /// Empties a state that is known to be wrong, and deletes its checkpoint, unless the partition is claimed by now: then its
    /// owner ends.
    fn begin_anew(&mut self, handle: &PartitionHandle, breach: &Breach) {
        if handle.begin_anew().is_ok() {
            self.let_go_of(handle.id());
            self.checkpointer.forget(handle.id(), breach.to_string());
        }
    }

    /// Notes how far the followed partitions were seen as committed.
    fn note(&mut self) {
        for partition in &self.followed {
            let Some(handle) = self.replica.partition(*partition) else { continue };
            let position = handle.read(|state| *state.position());
            if self.noted.insert(*partition, position.next_seq) != Some(position.next_seq) {
                self.checkpointer.saw(*partition, &position);
            }
        }
    }

    /// Whether there is more to do at once.
    fn try_to_attend(&mut self, handle: &Arc<PartitionHandle>) -> bool {
        let partition = handle.id();
        let begun = self.recovery.clock.now();
        if self.failing.get(&partition).is_some_and(|failing| begun < failing.due) {
            return false;
        }
        match self.attend(handle) {
            Ok(is_behind) => is_behind,
            Err(error) => {
                self.put_off(handle, begun, error);
                false
            }
        }
    }

    /// Tries a partition again after a while.
    fn put_off(&mut self, handle: &PartitionHandle, begun: Micros, error: LogError) {
        let partition = handle.id();
        let failing = self.failing.entry(partition).or_default();
        let pause_ms = retry_ms(failing.tries, RETRY_MS, RETRY_MAX_MS);
        failing.tries = failing.tries.saturating_add(1);
        let now = self.recovery.clock.now();
        let took_ms = now.ms_since(begun).saturating_mul(TRIED_ONE_IN.saturating_sub(1));
        failing.due = now.plus_ms(pause_ms.max(took_ms));
        if failing.tries == 1 {
            self.recovery.report.unread(partition, Some(&error));
        }
        // What is wrong with the log itself is wrong for every process: it is no reason to leave the others to one of them.
        match error.is_without_cover() {
            true => handle.set_unrestorable(error.reason()),
            false => handle.set_read_error(Some(error.reason())),
        }
    }

    /// The partition can be read again, or the follower has nothing to read of it.
    fn is_well(&mut self, partition: u32, handle: &PartitionHandle) {
        if self.failing.remove(&partition).is_some() {
            handle.set_read_error(None);
            self.recovery.report.unread(partition, None);
        }
    }

    /// Follows a partition that this process does not own, and leaves one that it owns. Answers whether the state is still
    /// far behind, so that the next stretch is due at once.
    fn attend(&mut self, handle: &Arc<PartitionHandle>) -> Result<bool, LogError> {
        self.restore(handle)?;
        let (partition, next_seq) = (handle.id(), handle.read(|state| state.position().next_seq));
        if !StatusKind::FOLLOWED.contains(&handle.status_kind()) {
            self.is_well(partition, handle);
            self.leave(partition);
            return Ok(false);
        }
        let is_followed = self.followed.contains(&partition);
        let is_near = handle.status_kind() != StatusKind::Restoring
            || self.failing.get(&partition).is_some_and(|failing| failing.tries >= STRETCH_TRIES);
        if !is_followed {
            let followed = self.follow(handle, next_seq, is_near);
            followed.or_else(|error| self.overtaken(handle, next_seq, error))?;
        }
        self.checkpoint(partition, handle);
        Ok(!self.followed.contains(&partition))
    }

    fn follow(&mut self, handle: &PartitionHandle, next_seq: u64, is_near: bool) -> Result<(), LogError> {
        let partition = handle.id();
        if is_near || self.catch_up(partition, handle, next_seq)? {
            self.stream.follow(partition, next_seq)?;
            self.followed.insert(partition);
        }
        Ok(())
    }

    /// When the log has lost the next event of a followed state, the state of a snapshot takes its place that the log still
    /// continues.
    ///
    /// # Errors
    /// The error that there was when another one was the cause, and [`LogError`] when no snapshot covers what is gone.
    fn overtaken(&mut self, handle: &PartitionHandle, next_seq: u64, error: LogError) -> Result<(), LogError> {
        let partition = handle.id();
        if !error.is_out_of_range() {
            return Err(error);
        }
        let first = self.recovery.tail.first(partition)?;
        if next_seq >= first {
            return Err(error);
        }
        // Newer snapshots may have been taken of the state that was wrong: as in a swap, the oldest one is trusted.
        let prefer = if handle.is_distrusted() { Prefer::Oldest } else { Prefer::Newest };
        let Some(state) = self.recovery.snapshot(partition, first, prefer)? else { return Err(error) };
        // Refused when the partition is claimed by now, or has stopped.
        if handle.begin_anew().is_ok() {
            self.recovery.report.unread(partition, Some(&error));
            self.recovery.wipe(partition, &error.detail);
            handle.follow(|current| *current = state);
        }
        Ok(())
    }

    /// Reads a partition that is far behind the log's end, one stretch in each round. The stream would be slower,
    /// because it hands over one event at a time. Answers whether the end is near.
    fn catch_up(&mut self, partition: u32, handle: &PartitionHandle, next_seq: u64) -> Result<bool, LogError> {
        let end = self.recovery.tail.end(partition)?;
        if end.saturating_sub(next_seq) <= FOLLOWED_AT_ONCE as u64 {
            return Ok(true);
        }
        match self.recovery.catch_up(handle, next_seq.saturating_add(CAUGHT_UP_AT_ONCE), end) {
            Ok(()) => self.is_well(partition, handle),
            Err(ClaimError::Log(error)) => return Err(error),
            Err(ClaimError::Breach(breach)) => self.broken(partition, handle, &breach),
        }
        Ok(false)
    }

    /// Puts the partition's checkpoint in, once. If the log cannot be read to check it, this is tried again after a
    /// while.
    fn restore(&mut self, handle: &PartitionHandle) -> Result<(), LogError> {
        let partition = handle.id();
        if !self.unrestored.contains(&partition) {
            return Ok(());
        }
        if handle.status_kind() == StatusKind::Restoring {
            match self.recovery.restore(handle) {
                Ok(_) => {}
                Err(ClaimError::Log(error)) => return Err(error),
                // Nothing of the partition was read yet, so there is no state that a caller may see.
                Err(ClaimError::Breach(breach)) => {
                    let unreadable = PartitionStatus::Unreadable { why: breach.to_string() };
                    if handle.try_transition(&[StatusKind::Restoring], unreadable).is_ok() {
                        self.stopped(partition, &breach);
                    }
                }
            }
        }
        self.unrestored.remove(&partition);
        self.is_well(partition, handle);
        Ok(())
    }

    fn let_go(&mut self) {
        for partition in std::mem::take(&mut self.followed) {
            self.let_go_of(partition);
        }
    }

    fn let_go_of(&mut self, partition: u32) {
        self.followed.remove(&partition);
        self.stream.leave(partition);
        self.probe.left(partition);
    }

    fn leave(&mut self, partition: u32) {
        if self.followed.contains(&partition) {
            self.let_go_of(partition);
        }
    }

    fn fold(&mut self, partition: u32, handle: &PartitionHandle, event: &StoredEvent) {
        // The state has this event already if the stream handed it over before an owner here folded it and ended.
        let folded = handle.follow(|state| match event.seq >= state.position().next_seq {
            true => fold_stored(state, event).map(Some),
            false => Ok(None),
        });
        let Some(folded) = folded else {
            // The partition is being claimed. If the claim fails, the state lacks this event: the stream has to hand it
            // over again.
            return self.leave(partition);
        };
        match folded {
            Ok(Some(chained)) => {
                self.is_well(partition, handle);
                // The partition's time continues from this event, as its owner's does, and not from the next time
                // somebody reads it.
                handle.time().now(self.recovery.clock);
                (self.recovery.on_committed)(&chained);
            }
            Ok(None) => {}
            Err(breach) => self.broken(partition, handle, &breach),
        }
    }

    /// If the log does not continue a checkpoint, the checkpoint is deleted and the whole log is read, as long as it has its
    /// first event and all that was seen of it. Any other breach stops the partition, and so does a log that has lost
    /// something: its owner may never have seen what it lacks.
    fn broken(&mut self, partition: u32, handle: &PartitionHandle, breach: &Breach) {
        self.let_go_of(partition);
        // What does not follow on a state that is known to be wrong shows nothing of the log. That is read anew, and shows it.
        if let Some(wrong) = handle.wrong() {
            return self.begin_anew(handle, &wrong);
        }
        let asked = self.recovery.clock.now();
        let is_from_checkpoint = handle.progress().is_from_checkpoint();
        match is_from_checkpoint.then(|| self.recovery.may_begin_anew(partition)) {
            // Refused when the partition is claimed already: then the claim meets the same breach.
            Some(Ok(true)) => {
                if handle.begin_anew().is_ok() {
                    self.recovery.wipe(partition, &breach.to_string());
                }
            }
            Some(Err(ClaimError::Log(error))) => self.put_off(handle, asked, error),
            Some(Err(ClaimError::Breach(lost))) => self.stop(partition, handle, &lost),
            Some(Ok(false)) | None => self.stop(partition, handle, breach),
        }
    }

    /// Stops a followed partition, unless it is claimed by now: then the claim meets what is broken.
    fn stop(&self, partition: u32, handle: &PartitionHandle, breach: &Breach) {
        let failed = PartitionStatus::Failed { why: breach.to_string() };
        if handle.try_transition(&StatusKind::FOLLOWED, failed).is_ok() {
            self.stopped(partition, breach);
        }
    }

    fn stopped(&self, partition: u32, breach: &Breach) {
        self.recovery.report.breach(breach);
        self.recovery.report.failed(partition, &breach.to_string());
    }

    fn checkpoint(&mut self, partition: u32, handle: &Arc<PartitionHandle>) {
        let (changed, is_wrong) = handle.read(|state| (state.events_since_checkpoint(), state.wrong().is_some()));
        // A process that dies before this state is replaced must not begin with it.
        if is_wrong {
            return;
        }
        let now = self.recovery.clock.now();
        let due = self.checkpoint_due.entry(partition).or_insert(now.plus_ms(CHECKPOINT_INTERVAL_MS));
        // A state that is not current yet is written by time alone: the partition waits for the cores that writing takes.
        let is_much = changed >= CHECKPOINT_EVENTS && handle.status_kind() != StatusKind::Restoring;
        if (is_much || (changed > 0 && now >= *due)) && self.checkpointer.offer(handle) {
            *due = now.plus_ms(CHECKPOINT_INTERVAL_MS);
        }
    }
}

/// Tells apart a log without new events, a log that is out of reach, and a log that hides committed events behind a
/// transaction that nobody ends. It asks the log for its whole end again and again. A state that was read up to such an
/// end was current when the log was asked.
pub struct EndOffsetProbe(Vec<Mutex<ProbeState>>);

#[derive(Clone, Copy, Default)]
struct ProbeState {
    /// The offset up to which the partition is read, if it is followed.
    read: Option<i64>,
    /// An end that has not been reached yet.
    ahead: Option<AskedEnd>,
}

/// The end of a partition's log, and the time just before the log was asked for it.
#[derive(Clone, Copy)]
struct AskedEnd {
    end: i64,
    asked: Micros,
}

/// What a log says of one partition's end, in its own offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogEnd {
    /// The offset after the partition's last record, records of open transactions included. Every event that a caller
    /// was told of lies before it.
    pub end: i64,
    /// Where the last turn of this process ended; none before its first one.
    pub written: Option<i64>,
}

impl EndOffsetProbe {
    /// A probe of this many partitions; the log was asked about none of them yet.
    pub fn new(partitions: u32) -> EndOffsetProbe {
        EndOffsetProbe((0..partitions).map(|_| Mutex::default()).collect())
    }

    /// Asks for the end of every partition that has not stopped. `ends` may wait, and answers none when the log does
    /// not answer.
    pub fn look(&self, replica: &Replica, clock: &dyn Clock, ends: impl Fn(u32) -> Option<LogEnd>) {
        for (handle, probe) in replica.partitions().zip(&self.0) {
            if handle.has_stopped() {
                continue;
            }
            let is_owned = handle.status_kind() == StatusKind::Active;
            let asked = clock.now();
            handle.liveness().log_asked();
            let Some(LogEnd { end, written }) = ends(handle.id()) else { continue };
            handle.liveness().log_answered();
            let mut probe = probe.lock();
            handle.set_lag(probe.read.map(|read| u64::try_from(end.saturating_sub(read)).unwrap_or_default()));
            match probe.read {
                _ if is_owned && written == Some(end) => handle.was_current_at(asked),
                Some(read) if read >= end => handle.was_current_at(asked),
                // An end that was asked for earlier has to be reached first.
                Some(_) => {
                    probe.ahead.get_or_insert(AskedEnd { end, asked });
                }
                None => {}
            }
        }
    }

    /// A followed partition's state holds all that lies before this offset.
    fn read_to(&self, partition: u32, handle: &PartitionHandle, offset: i64) {
        let Some(probe) = self.0.get(partition as usize) else { return };
        let mut probe = probe.lock();
        probe.read = Some(offset);
        if let Some(AskedEnd { asked, .. }) = probe.ahead.take_if(|ahead| ahead.end <= offset) {
            handle.was_current_at(asked);
        }
    }

    /// The partition is not followed any more.
    fn left(&self, partition: u32) {
        if let Some(probe) = self.0.get(partition as usize) {
            *probe.lock() = ProbeState::default();
        }
    }
}
