//! The only loop of an owned partition: it polls, decides, commits, concludes, and offers a checkpoint from time to
//! time. It runs on a thread of its own. Its branches depend on what the log answers, never on what was decided.

use super::checkpointer::Checkpointer;
use super::partition::{Partition, Staged};
use super::report::{Report, TurnReport};
use super::swap::Exchange;
use super::traced::{TracedTurn, TurnTimes};
use crate::crash;
use crate::domain::{Breach, Ledger, Micros};
use crate::limits::{
    CHECKPOINT_EVENTS, CHECKPOINT_INTERVAL_MS, CLOCK_SET_COMMANDS_MAX, POLL_WAIT_MAX_MS, TICK_AFTER_MS,
};
use crate::log::{CommitOutcome, LogError, LogErrorKind, OwnedPartition, Polled, ReplyChannel, StoredCommand, Turn};
use crate::replica::{
    ClockRequest, ClockSetOutcome, PartitionHandle, PartitionState, PartitionStatus, Position, StatusKind, SwapRequest,
};
use crate::time::{Clock, Offset, Stopwatch, pause_unless};
use crate::trace::Tracing;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a fresh state, once the living one is known to be wrong.
const REPLACED_WITHIN: Duration = Duration::from_secs(5);
/// Pause before the next look whether it has come.
const LOOK: Duration = Duration::from_millis(1);

/// Why the loop ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The log is closed: no command will come any more, and all that came are decided.
    Closed,
    /// Another owner has the partition.
    Fenced,
    /// It is not known whether a turn was committed, or the log cannot be polled: the partition has to be claimed
    /// again.
    Unknown(LogError),
    /// A law is broken by what this owner has committed: the partition must not be served.
    Breach(Breach),
    /// Another process wrote to the partition beside this owner and broke a law: the partition must not be served.
    Forked(Breach),
    /// The state was compared with the log and is not the log's, and no other has taken its place (L7): the partition must not be
    /// served from it.
    WrongState(Breach),
    /// The wall clock is far from the broker's: nothing may be decided by it.
    WrongClock(Offset),
}

/// Everything the loop needs.
pub struct Shell<'a, O> {
    /// The partition's log, as its owner.
    pub log: O,
    /// The machine that decides.
    pub owner: Partition,
    /// The partition whose state this loop is the one writer of.
    pub handle: Arc<PartitionHandle>,
    /// Wall clock and monotonic clock.
    pub clock: &'a dyn Clock,
    /// Where outcomes are sent to callers.
    pub replies: &'a dyn ReplyChannel,
    /// Where checkpoints are written.
    pub checkpointer: &'a Checkpointer,
    /// Receives a report of every turn, for metrics and log lines.
    pub report: &'a dyn Report,
    /// Receives the spans of turns with recorded commands.
    pub tracing: &'a Tracing,
    /// After this many milliseconds without a turn the owner commits an empty one, because the log forgets silent
    /// writers, or loses its oldest events with time. None for a log that does neither.
    pub tick_after_ms: Option<u64>,
}

impl<O: OwnedPartition> Shell<'_, O> {
    /// Opens the epoch with a barrier of this number, then serves until the log closes, fences or fails.
    pub fn run(mut self, nonce: u64) -> End {
        match self.begin(nonce).and_then(|begun| self.serve(begun)) {
            Ok(()) => End::Closed,
            Err(end) => end,
        }
    }

    /// Opens the epoch, expires the holds that are due, and becomes Active. Answers when that began.
    fn begin(&mut self, nonce: u64) -> Result<Micros, End> {
        self.trusted()?;
        let now = self.clock.now();
        let time = self.time()?;
        if self.handle.time().set_clock_refused(false) {
            tracing::info!(partition = self.owner.partition(), "this machine's clock is as its broker's again");
        }
        let (last, barrier) = self.handle.read(|state| (*state.position(), self.owner.barrier(state, nonce, time)));
        self.settle(barrier, now)?;
        // Holds that ended while the partition had no owner must not cause the first commands to be refused.
        self.handle.progress().set_expiring(true);
        let expired = self.expire();
        self.handle.progress().set_expiring(false);
        expired?;
        let claimed = [StatusKind::Claiming, StatusKind::Restoring, StatusKind::Reopening, StatusKind::Active];
        let active = self.handle.try_transition(&claimed, PartitionStatus::Active);
        active.map_err(|refused| End::Unknown(LogError::internal(refused.to_string())))?;
        self.report.began(self.owner.partition(), self.gap_us(&last)?);
        Ok(now)
    }

    /// Expires the holds that are due, in as many turns as that takes.
    fn expire(&mut self) -> Result<(), End> {
        loop {
            let (time, now) = (self.time()?, self.clock.now());
            if self.handle.read(PartitionState::next_expiry).is_none_or(|due| due > time) {
                return Ok(());
            }
            let expired = self.handle.read(|state| self.owner.expire(state, time));
            self.settle(expired, now)?;
        }
    }

    /// For how many microseconds nobody had decided before this owner, which began at `last`: since the event before
    /// that position, or since the last note of an owner if that is later. None when there was no event, and on a log
    /// whose owners write little or nothing while nobody calls: there an owner may have lived for long after its last event.
    fn gap_us(&self, last: &Position) -> Result<Option<u64>, End> {
        if last.next_seq == 0 || self.tick_after_ms.is_none_or(|after_ms| after_ms > TICK_AFTER_MS) {
            return Ok(None);
        }
        let of_event = self.time()?.0.saturating_sub(last.decided_at.0);
        let shown_at = self.handle.liveness().owner_shown_at();
        let of_note = shown_at.map(|at| self.clock.now().0.saturating_sub(at.0));
        Ok(Some(of_note.map_or(of_event, |of_note| of_note.min(of_event))))
    }

    fn serve(&mut self, begun: Micros) -> Result<(), End> {
        let mut checkpoint_due = begun.plus_ms(CHECKPOINT_INTERVAL_MS);
        let mut tick_due = self.tick_due(begun);
        let mut trouble = None;
        loop {
            let mut batch = Vec::new();
            let wait = self.wait()?;
            let polled = match self.log.poll(&mut batch, wait) {
                Ok(polled) => polled,
                Err(LogError { kind: LogErrorKind::Breach(breach), .. }) => return Err(End::Forked(*breach)),
                Err(LogError { kind: LogErrorKind::Superseded, .. }) => return Err(End::Fenced),
                Err(error) => return Err(End::Unknown(error)),
            };
            if self.trusted()? {
                checkpoint_due = self.clock.now();
            }
            let before = std::mem::replace(&mut trouble, self.log.trouble());
            if before != trouble {
                self.handle.set_owner_error(trouble.clone());
            }
            let next_seq = self.next_seq();
            self.turn(batch)?;
            if let Some(request) = self.handle.time().take_request() {
                self.set_clock(request)?;
            }
            if self.handle.take_swap(StatusKind::Active).is_some_and(|request| self.swap(request)) {
                checkpoint_due = self.clock.now();
            }
            let now = self.clock.now();
            if self.next_seq() > next_seq {
                tick_due = self.tick_due(now);
            } else if tick_due.is_some_and(|due| due <= now) {
                let time = self.time()?;
                let tick = self.handle.read(|state| self.owner.tick(state, time));
                self.settle(tick, now)?;
                tick_due = self.tick_due(now);
            }
            let changed = self.handle.read(PartitionState::events_since_checkpoint);
            if polled == Polled::Closed {
                self.checkpointer.offer_last(&self.handle);
                return Ok(());
            }
            let is_due = changed >= CHECKPOINT_EVENTS || (changed > 0 && now >= checkpoint_due);
            if is_due && self.checkpointer.offer(&self.handle) {
                checkpoint_due = now.plus_ms(CHECKPOINT_INTERVAL_MS);
            }
        }
    }

    /// Ends a state that is known to be wrong, unless a fresh one takes its place in time; answers whether one did. Commands wait for
    /// that as well, and those whose time passes are rejected. Nobody brings one to an owner that is not Active yet. No later
    /// process begins with the checkpoint of the wrong state, also where this one dies meanwhile.
    fn trusted(&mut self) -> Result<bool, End> {
        let Some(breach) = self.handle.wrong() else { return Ok(false) };
        let partition = self.owner.partition();
        self.checkpointer.forget(partition, breach.to_string());
        let (handle, waiting) = (Arc::clone(&self.handle), Stopwatch::start());
        let is_awaited = || handle.is_replacing() && handle.status_kind() == StatusKind::Active;
        if is_awaited() {
            tracing::warn!(partition, "the state is wrong: nothing is decided until another one takes its place");
        }
        while is_awaited() && waiting.elapsed() < REPLACED_WITHIN {
            if handle.take_swap(StatusKind::Active).is_some_and(|request| self.swap(request)) {
                return Ok(true);
            }
            pause_unless(LOOK, || false);
        }
        Err(End::WrongState(breach))
    }

    /// The partition's time. Everything else here is a duration, measured by the monotonic clock. Where the log has a
    /// clock of its own, nothing is decided while this machine's clock is far from it.
    fn time(&self) -> Result<Micros, End> {
        let Some(stamp) = self.log.stamp() else { return Ok(self.handle.time().now(self.clock)) };
        let offset = self.clock.offset(&stamp);
        if offset.is_far() {
            return Err(End::WrongClock(offset));
        }
        self.handle.time().set_broker_stamp(Some(stamp));
        Ok(self.handle.time().now(self.clock))
    }

    fn tick_due(&self, now: Micros) -> Option<Micros> {
        self.tick_after_ms.map(|after_ms| now.plus_ms(after_ms))
    }

    fn next_seq(&self) -> u64 {
        self.handle.read(|state| state.position().next_seq)
    }

    fn is_due(&self, time: Micros) -> bool {
        self.handle.read(|state| self.owner.next_due(state, time)).is_some_and(|due| due <= time)
    }

    /// How long a poll may wait: until the next hold is due or the next pool retires, and at most [`POLL_WAIT_MAX_MS`].
    fn wait(&self) -> Result<Duration, End> {
        let time = self.time()?;
        let due = self.handle.read(|state| self.owner.next_due(state, time));
        let due_in_ms = due.map_or(POLL_WAIT_MAX_MS, |due| due.ms_since(time).saturating_add(1));
        Ok(Duration::from_millis(due_in_ms.min(POLL_WAIT_MAX_MS)))
    }

    /// Decides and commits a batch, and the holds and pools that are due. When the commit was aborted, it decides them again.
    fn turn(&mut self, mut batch: Vec<StoredCommand>) -> Result<(), End> {
        loop {
            let (time, now) = (self.time()?, self.clock.now());
            if batch.is_empty() && !self.is_due(time) {
                return Ok(());
            }
            self.handle.turn_begins(now);
            let staged = self.handle.read(|state| self.owner.decide(state, batch, time));
            crash::point("decided");
            match self.settle(staged, now)? {
                None => return Ok(()),
                Some(again) => batch = again.inputs.clone(),
            }
        }
    }

    /// Sets the partition's time back to the wall clock's, in a turn of its own.
    fn set_clock(&mut self, ClockRequest { because, told }: ClockRequest) -> Result<(), End> {
        let (from, to) = (self.time()?, self.clock.wall());
        let (seq, kept) = self.handle.read(|state| (state.position().next_seq, state.decided_count(from)));
        if kept > CLOCK_SET_COMMANDS_MAX {
            told(ClockSetOutcome::Busy);
            return Ok(());
        }
        let staged = self.handle.read(|state| self.owner.set_clock(state, from, to, &because));
        if staged.is_empty() {
            told(ClockSetOutcome::NotAhead);
            return Ok(());
        }
        let again = match self.settle(staged, self.clock.now()) {
            Ok(again) => again,
            Err(End::Fenced) => return Err(End::Fenced),
            Err(end) => {
                // The event may be in the log all the same. Then the holds have moved, and must not be judged by the old
                // time. If it is not, the time is still never earlier than that of the last event.
                self.handle.time().was_set_back();
                told(ClockSetOutcome::NotKnown);
                return Err(end);
            }
        };
        if again.is_some() {
            told(ClockSetOutcome::NotCommitted);
            return Ok(());
        }
        // Readers may have seen a time that is later than any event's. Then the events alone do not show that it went
        // back.
        self.handle.time().was_set_back();
        told(ClockSetOutcome::Done { seq, from, to });
        Ok(())
    }

    /// Puts a fresh state in the place of the living one, between two turns; answers whether it did. It must have folded
    /// exactly what this owner has committed.
    fn swap(&mut self, SwapRequest { bring, told }: SwapRequest) -> bool {
        crash::point("swap-begun");
        let next_seq = self.next_seq();
        let Some(fresh) = bring(next_seq) else { return false };
        let is_ours = fresh.state.position().next_seq == next_seq && self.owner.goes_on_from(&fresh.state);
        let exchange = Exchange { handle: &self.handle, checkpointer: self.checkpointer };
        let replaced = if is_ours { Ok(exchange.run(fresh)) } else { Err(Box::new(fresh.state)) };
        if let Ok((compared, _)) = &replaced {
            self.report.swapped(self.owner.partition(), compared);
        }
        told(replaced);
        is_ours
    }

    /// Commits a turn and concludes it. Answers the turn when its commit was aborted, so that it can be decided again.
    fn settle(&mut self, staged: Staged, begun: Micros) -> Result<Option<Arc<Turn>>, End> {
        let decided = self.clock.now();
        let commands = staged.turn().inputs.len();
        let mut traced = TracedTurn::of(self.tracing, self.owner.partition(), &staged);
        let outcome = self.log.commit(staged.turn());
        let committed = self.clock.now();
        crash::point("committed");
        let again = (outcome == CommitOutcome::Aborted).then(|| staged.turn());
        if let Some(last) = staged.decided().last().filter(|_| outcome == CommitOutcome::Ok) {
            self.checkpointer.committed(last);
        }
        let mut concluded =
            self.handle.write(|state| self.owner.conclude(state, staged, outcome)).map_err(End::Breach)?;
        crash::point("adopted");
        // After any other outcome the log may hold more than the state does. So the turn stays under way, and readers
        // are told that the state may be out of date since the turn began.
        if matches!(outcome, CommitOutcome::Ok | CommitOutcome::Aborted) {
            // The log let this owner write after that moment, so the owner had not been replaced before it.
            self.handle.turn_ends(decided, self.clock.now());
        }
        if let Some(traced) = &mut traced {
            traced.mark(&mut concluded.replies);
        }
        self.replies.send(concluded.replies);
        let replied = self.clock.now();
        if let Some(traced) = traced {
            traced.record(outcome, TurnTimes { begun, decided, committed, replied });
        }
        let report = TurnReport {
            commands,
            turn_us: committed.0.saturating_sub(begun.0),
            commit_us: committed.0.saturating_sub(decided.0),
            reply_us: replied.0.saturating_sub(committed.0),
            ..concluded.report
        };
        self.report.turn(self.owner.partition(), &report);
        match outcome {
            CommitOutcome::Ok | CommitOutcome::Aborted => Ok(again),
            CommitOutcome::Fenced => Err(End::Fenced),
            CommitOutcome::Unknown => {
                Err(End::Unknown(LogError::transient("it is not known whether the last turn was committed")))
            }
        }
    }
}
