//! The sans-IO machine of an owned partition. Between [`Partition::decide`] and [`Partition::conclude`] the shell
//! commits. The same state, inputs and time give the same bytes.

use super::report::{DeadCommands, TurnReport};
use super::stage::Stage;
use crate::domain::decide::{DecisionContext, decide, expire, retire};
use crate::domain::evolve::evolve;
use crate::domain::{Breach, Cause, ChainedEvent, Event, EventBody, Ledger, Micros, PoolId, Reason, ReservationId};
use crate::limits::{TURN_OVERDUE_MAX, TURN_TIMERS_MAX};
use crate::log::dead_letters::Undecidable;
use crate::log::{
    CommitOutcome, FeatureLevel, OF_ANOTHER_LOG, RETIREMENT_LEVEL, Reply, StoredCommand, Turn, TurnEvent,
};
use crate::replica::{PartitionState, Position};
use crate::wire;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most pools that one turn retires because their time has come; the rest follow in the next turns. A turn that retires
/// pools is no larger than one that expires holds.
pub const TURN_RETIREMENTS_MAX: usize = 64;
const _: () = assert!(TURN_RETIREMENTS_MAX < TURN_TIMERS_MAX);

/// An owner of one partition, for one epoch.
#[derive(Clone, Debug)]
pub struct Partition {
    partition: u32,
    partitions: u32,
    epoch: u32,
    level: FeatureLevel,
}

/// A turn that is decided and not concluded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Staged {
    turn: Arc<Turn>,
    decided: Vec<ChainedEvent>,
}

impl Staged {
    /// The turn to commit. While the answer is held, [`Partition::conclude`] has to copy the turn.
    pub fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.turn)
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.turn.events.is_empty()
    }

    /// The turn's events, in order.
    pub fn decided(&self) -> &[ChainedEvent] {
        &self.decided
    }
}

/// What is left to do after a turn.
#[derive(Clone, Debug)]
pub struct Concluded {
    /// Replies to send; none unless the commit was Ok.
    pub replies: Vec<Reply>,
    /// What happened, for telemetry.
    pub report: TurnReport,
}

impl Partition {
    /// The owner of the epoch after the last one in `state`. Its first turn must be [`Partition::barrier`].
    pub fn claim(state: &PartitionState, partitions: u32) -> Partition {
        let epoch = state.position().epoch.saturating_add(1);
        Partition { partition: state.partition(), partitions, epoch, level: FeatureLevel::default() }
    }

    /// The same owner in a log of this level: it writes nothing that the level does not have.
    #[must_use]
    pub fn writing(self, level: FeatureLevel) -> Partition {
        Partition { level, ..self }
    }

    /// When the next hold is due or the next pool retires.
    pub fn next_due(&self, state: &PartitionState, now: Micros) -> Option<Micros> {
        if self.level.has_retirement() { state.next_due(now) } else { state.next_expiry() }
    }

    /// The number of the owned partition.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Whether this owner can go on from `state`: the last event in it is of this owner's epoch.
    pub fn goes_on_from(&self, state: &PartitionState) -> bool {
        (state.partition(), state.position().epoch) == (self.partition, self.epoch)
    }

    /// The turn that starts the epoch.
    pub fn barrier(&self, state: &PartitionState, nonce: u64, now: Micros) -> Staged {
        let mut turn = Drafting::begin(self, state, now);
        turn.add(None, EventBody::Barrier { nonce });
        turn.finish(Vec::new())
    }

    /// A turn that only says that there is an owner.
    pub fn tick(&self, state: &PartitionState, now: Micros) -> Staged {
        let mut turn = Drafting::begin(self, state, now);
        turn.add(None, EventBody::Tick);
        turn.finish(Vec::new())
    }

    /// The turn that sets the partition's time back from `from` to `to`, with an operator's reason. There is nothing
    /// to commit when `from` is not after `to`.
    pub fn set_clock(&self, state: &PartitionState, from: Micros, to: Micros, because: &str) -> Staged {
        let mut turn = Drafting::begin(self, state, from);
        let from = std::mem::replace(&mut turn.now, to);
        if to < from {
            turn.add(None, EventBody::ClockSet { from, detail: because.to_owned() });
        }
        turn.finish(Vec::new())
    }

    /// The turn that gives up lost commands, from the next one to the last one before `until`, with an operator's
    /// reason. There is nothing to commit when the next command is not before `until`.
    pub fn lost(&self, state: &PartitionState, until: u64, detail: &str, now: Micros) -> Staged {
        let mut turn = Drafting::begin(self, state, now);
        let next = turn.position.next_input;
        let Some(input_offset) = until.checked_sub(1).filter(|last| *last >= next) else {
            return turn.finish(Vec::new());
        };
        let skipped = input_offset.saturating_sub(next);
        let cause = Cause { input_offset, skipped, command: None, unread: None };
        turn.add(Some(cause), EventBody::CommandsLost { detail: detail.to_owned() });
        turn.finish(vec![StoredCommand { offset: input_offset, skipped, bytes: Vec::new(), trace: None }])
    }

    /// The turn that accepts the loss of the events with sequence numbers from `from` to the last one before `until`,
    /// with an operator's reason. Its time is after `last`, the time of the last event that anybody knows of.
    pub fn events_lost(
        &self,
        state: &PartitionState,
        (from, until): (u64, u64),
        detail: &str,
        (last, now): (Micros, Micros),
    ) -> Staged {
        let mut turn = Drafting::begin(self, state, now.max(Micros(last.0.saturating_add(1))));
        turn.add(None, EventBody::EventsLost { detail: detail.to_owned(), from, until });
        turn.finish(Vec::new())
    }

    /// A turn that expires holds that are due, for an owner that does not take commands yet. There is nothing to
    /// commit when none is due.
    ///
    /// # Panics
    /// When a decision breaks a law: a partition without an owner is better than one with a wrong owner.
    pub fn expire(&self, state: &PartitionState, now: Micros) -> Staged {
        let mut turn = Drafting::begin(self, state, now);
        let due = state.due(turn.now, TURN_OVERDUE_MAX);
        turn.expire(&due);
        turn.finish(Vec::new())
    }

    /// Decides a batch: first the holds that are due, then the pools that retire by themselves, then each command in order,
    /// each on top of those before it.
    /// When more holds are due than one turn expires, those of pools that would refuse a command because of what lives in them
    /// are expired in any case, so that no command is refused because of a hold that has ended.
    ///
    /// # Panics
    /// When a decision breaks a law: a partition without an owner is better than one with a wrong owner.
    pub fn decide(&self, state: &PartitionState, batch: Vec<StoredCommand>, now: Micros) -> Staged {
        let mut turn = Drafting::begin(self, state, now);
        let due = state.due(turn.now, TURN_TIMERS_MAX);
        turn.take(state, &due, &batch);
        let may_be_more = due.len() >= TURN_TIMERS_MAX;
        let overdue = if may_be_more { turn.overdue_of_refusing_pools(state, &due) } else { Vec::new() };
        if overdue.len() > due.len() {
            turn = Drafting::begin(self, state, now);
            turn.take(state, &overdue, &batch);
        }
        turn.finish(batch)
    }

    /// Takes the outcome of the commit. After `Ok` the turn is part of `state`; after every other outcome nothing of
    /// it is. After an outcome other than `Ok` and `Aborted` this owner must not be used any more.
    ///
    /// # Errors
    /// The [`Breach`] that makes the committed turn impossible after `state`. The process must stop.
    pub fn conclude(
        &self,
        state: &mut PartitionState,
        staged: Staged,
        outcome: CommitOutcome,
    ) -> Result<Concluded, Breach> {
        let mut concluded = Concluded { replies: Vec::new(), report: TurnReport::new(outcome) };
        if outcome != CommitOutcome::Ok {
            return Ok(concluded);
        }
        // No log keeps a turn after its commit. So the bytes of events are moved here and not copied.
        let Turn { events, dead, .. } = Arc::unwrap_or_clone(staged.turn);
        let dead_count = dead.len();
        concluded.report.dead = dead.into_iter().next().map(|first| DeadCommands { first, count: dead_count });
        for (decided, written) in staged.decided.into_iter().zip(events) {
            state.fold(&decided)?;
            concluded.report.count(&decided.event);
            // A copy gets no reply, because the first decision is the answer.
            let is_copy = decided.event.body.rejection().is_some_and(|r| r.reason == Reason::Duplicate);
            let stamp = decided.event.command().filter(|_| !is_copy);
            if let Some(to) = stamp.and_then(|command| command.reply_to) {
                concluded.replies.push(Reply { to, decided, bytes: written.bytes, trace: None });
            }
        }
        concluded.report.memory_bytes = state.memory_used(state.position().decided_at);
        Ok(concluded)
    }
}

/// A turn that is being decided.
struct Drafting<'a> {
    owner: &'a Partition,
    stage: Stage<'a>,
    position: Position,
    now: Micros,
    level: u32,
    events: Vec<TurnEvent>,
    decided: Vec<ChainedEvent>,
    dead: Vec<Undecidable>,
}

impl<'a> Drafting<'a> {
    /// Begins a turn at `now`, or at the time of the last event where that is later.
    fn begin(owner: &'a Partition, state: &'a PartitionState, now: Micros) -> Drafting<'a> {
        let position = *state.position();
        let now = now.max(position.decided_at);
        let stage = Stage::over(state, now);
        let (events, decided, dead) = (Vec::new(), Vec::new(), Vec::new());
        let level = owner.level.get();
        Drafting { owner, stage, position, now, level, events, decided, dead }
    }

    fn take(&mut self, state: &PartitionState, due: &[ReservationId], batch: &[StoredCommand]) {
        self.expire(due);
        self.retire(state);
        batch.iter().for_each(|record| self.answer(record));
    }

    fn expire(&mut self, due: &[ReservationId]) {
        for id in due {
            if let Some(body) = expire(&self.stage, *id, self.now) {
                self.add(None, body);
            }
        }
    }

    /// Retires pools whose time has come. When the time has jumped there, an event says so, and the pools wait.
    fn retire(&mut self, state: &PartitionState) {
        if self.level < RETIREMENT_LEVEL {
            return;
        }
        if self.events.is_empty()
            && state.has_jumped(self.now)
            && state.next_retirement(self.now).is_some_and(|at| at <= self.now)
        {
            self.add(None, EventBody::Tick);
        }
        for pool in state.retiring(self.now, TURN_RETIREMENTS_MAX) {
            if let Some(body) = retire(&self.stage, &pool, self.now) {
                self.add(None, body);
            }
        }
    }

    /// The holds that this turn began with, and other due holds of the pools that have refused a command because of what lives
    /// in them, in all as many as one turn expires.
    fn overdue_of_refusing_pools(&self, state: &PartitionState, due: &[ReservationId]) -> Vec<ReservationId> {
        let bodies = self.decided.iter().map(|decided| &decided.event.body);
        let refuses =
            |body: &&EventBody| matches!(body, EventBody::Rejected(refused) if is_of_what_lives(refused.reason));
        let refusing: BTreeSet<&PoolId> = bodies.filter(refuses).filter_map(EventBody::pool_id).collect();
        let first: BTreeSet<ReservationId> = due.iter().copied().collect();
        let of_pools = refusing.into_iter().flat_map(|pool| state.due_of(pool, self.now, TURN_OVERDUE_MAX));
        let more = of_pools.filter(|id| !first.contains(id));
        due.iter().copied().chain(more).take(TURN_OVERDUE_MAX).collect()
    }

    fn answer(&mut self, record: &StoredCommand) {
        let StoredCommand { offset: input_offset, skipped, .. } = *record;
        let (command, unread, body) = match wire::command::decode(&record.bytes) {
            Ok(command) => {
                let Partition { partition, partitions, .. } = *self.owner;
                let pools_retire = self.level >= RETIREMENT_LEVEL;
                let place = DecisionContext { partition, partitions, now: self.now, pools_retire };
                let body = decide(&self.stage, &command, place);
                (Some(command.stamp()), None, body)
            }
            Err(_) if record.bytes == OF_ANOTHER_LOG => {
                let detail = String::from_utf8_lossy(OF_ANOTHER_LOG).into_owned();
                (None, None, EventBody::Malformed { detail })
            }
            Err(error) => {
                (None, wire::command::id_of(&record.bytes), EventBody::Malformed { detail: error.to_string() })
            }
        };
        if let Some(reason) = body.undecidable() {
            self.dead.push(Undecidable { offset: record.offset, at: self.now, reason });
        }
        self.add(Some(Cause { input_offset, skipped, command, unread }), body);
    }

    fn add(&mut self, cause: Option<Cause>, body: EventBody) {
        let event = Event {
            partition: self.owner.partition,
            seq: self.position.next_seq,
            epoch: self.owner.epoch,
            prev: self.position.chain,
            decided_at: self.now,
            cause,
            body,
        };
        if let Err(breach) = evolve(&mut self.stage, &event) {
            panic!("a decision must fit the state it was made on: {breach}");
        }
        let (bytes, decided) = wire::event::encode_at(self.level, event);
        let ChainedEvent { event, digest, .. } = &decided;
        self.events.push(TurnEvent { seq: event.seq, key: event.body.pool_id().cloned(), bytes });
        self.position.chain = *digest;
        self.position.next_seq = self.position.next_seq.saturating_add(1);
        self.decided.push(decided);
    }

    fn finish(self, inputs: Vec<StoredCommand>) -> Staged {
        let Drafting { events, decided, dead, .. } = self;
        Staged { turn: Arc::new(Turn { inputs, events, dead }), decided }
    }
}

/// Whether a command is refused for this reason because of what lives in its pool: that may be a hold that has ended.
fn is_of_what_lives(reason: Reason) -> bool {
    matches!(reason, Reason::OverLimit | Reason::OrderHasReservation | Reason::PoolInUse | Reason::DimensionInUse)
}
