//! The sans-IO machine that brings callers and outcomes together. Every call is answered once, by its deadline or (a
//! timed-out Reserve) at most [`ABANDON_GRACE_MS`] later, and a "no" is final:
//!
//! A Reserve whose deadline passes, or whose caller leaves, is taken back: an Abandon of its attempt follows it into
//! the same partition. The caller is told "no" once the Abandon is known to be in the log, by its event or (on Kafka) by the
//! broker's acknowledgement, because then the log itself says that the attempt holds nothing. If that takes longer than
//! the grace, the caller is told that the outcome is unknown. The other commands cannot be taken back, so after their
//! timeout the outcome is unknown at once.

use crate::domain::{
    Attempt, ChainedEvent, Command, CommandBody, CommandId, IdempotencyKey, Micros, Name, Reason, Reserved,
};
use crate::limits::{ABANDON_GRACE_MS, ABANDON_RETRY_MS};
use std::collections::{BTreeMap, BTreeSet};

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The decision, as recorded.
    Decided(Box<ChainedEvent>),
    /// The deadline passed. `is_unknown`: the command may yet be applied; otherwise it is certain that it holds
    /// nothing and never will.
    TimedOut {
        /// Whether it may yet be applied.
        is_unknown: bool,
    },
    /// The deadline had passed before anything was done: nothing of the call is in the log, now or later.
    TooLate,
}

/// A request to correlate.
#[derive(Clone, Debug)]
pub struct Request {
    /// The body of the command.
    pub body: CommandBody,
    /// The caller's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// The name of the caller; it is recorded with the decision.
    pub actor: Option<Name>,
    /// The deadline of the call, by the gateway's monotonic clock.
    pub deadline: Micros,
    /// The same deadline in the time of the partition, which its owner decides by.
    pub deadline_there: Micros,
}

/// An outcome and the caller that it is for.
#[derive(Debug)]
pub struct Answer<W> {
    /// The caller that waits for the answer.
    pub waiter: W,
    /// How its call ended.
    pub outcome: Outcome,
}

/// What the caller of the machine has to do after a tick or a departure.
#[derive(Debug)]
pub struct Outputs<W> {
    /// Answers to be delivered.
    pub answers: Vec<Answer<W>>,
    /// Abandons to be appended; whatever is refused is handed back through [`Correlator::not_appended`].
    pub append: Vec<Command>,
}

struct Pending<W> {
    /// `None` when the caller has left or been answered.
    waiter: Option<W>,
    /// When something has to be done about it.
    due: Micros,
    /// For a Reserve, what an Abandon would take back.
    cancels: Option<Reserved>,
    /// The number of the Abandon that follows it.
    abandon: Option<u64>,
}

/// All calls of one gateway that are not over.
pub struct Correlator<W> {
    incarnation: u64,
    next: u64,
    pending: BTreeMap<u64, Pending<W>>,
    due: BTreeSet<(Micros, u64)>,
    /// Abandons on their way: their own number, and their call's.
    abandons: BTreeMap<u64, u64>,
    /// Abandons that the log did not take yet.
    backlog: Vec<Command>,
    /// When they are offered again; meaningless when there is none.
    retry_at: Micros,
}

impl<W> Correlator<W> {
    /// `incarnation` is a number that no other gateway has, drawn at start.
    pub fn new(incarnation: u64) -> Correlator<W> {
        Correlator {
            incarnation,
            next: 0,
            pending: BTreeMap::new(),
            due: BTreeSet::new(),
            abandons: BTreeMap::new(),
            backlog: Vec::new(),
            retry_at: Micros(0),
        }
    }

    /// Registers a call and answers the command to append. If the log does not take it, say so with
    /// [`Correlator::withdraw`].
    pub fn submit(&mut self, request: Request, waiter: W) -> Command {
        let number = self.number();
        let due = request.deadline;
        let command = Command {
            id: self.id(number),
            reply_to: Some(self.incarnation),
            attempt: self.attempt(number),
            actor: request.actor,
            key: request.key,
            deadline: request.deadline_there,
            body: request.body,
        };
        self.due.insert((due, number));
        let cancels = command.reserved();
        self.pending.insert(number, Pending { waiter: Some(waiter), due, cancels, abandon: None });
        command
    }

    /// Forgets a call whose command the log did not take: it will never be decided.
    pub fn withdraw(&mut self, id: CommandId) -> Option<W> {
        self.remove(self.own(id)?).and_then(|pending| pending.waiter)
    }

    /// Takes a decision, from a reply or from the committed tail; the second of the two changes nothing.
    pub fn decided(&mut self, chained: ChainedEvent) -> Option<Answer<W>> {
        let number = self.own(chained.event.command()?.id)?;
        let refused = chained.event.body.rejection().map(|rejection| rejection.reason);
        if refused == Some(Reason::Duplicate) {
            // The decision on a copy is no answer: the first decision is on its way, or was delivered.
            return None;
        }
        if self.abandons.contains_key(&number) {
            return self.taken_back(number);
        }
        let pending = self.pending.get_mut(&number)?;
        if pending.abandon.is_some() {
            // An acceptance is no answer, because it is being taken back. A refusal is as final as the Abandon.
            chained.event.body.rejection()?;
            let waiter = pending.waiter.take()?;
            return Some(Answer { waiter, outcome: Outcome::Decided(Box::new(chained)) });
        }
        let Pending { waiter, cancels, .. } = self.remove(number)?;
        // A Reserve that is refused for such a reason is cancelled. A copy of another command may still be applied.
        let is_unknown = cancels.is_none() && refused.is_some_and(Reason::is_open);
        let outcome = match is_unknown {
            true => Outcome::TimedOut { is_unknown },
            false => Outcome::Decided(Box::new(chained)),
        };
        Some(Answer { waiter: waiter?, outcome })
    }

    /// An Abandon is in the log for good, and will be decided after its Reserve: what it takes back is gone, whichever
    /// owner decides it and whenever that is.
    pub fn abandon_durable(&mut self, abandon: CommandId) -> Option<Answer<W>> {
        let number = self.own(abandon)?;
        self.taken_back(number)
    }

    fn taken_back(&mut self, abandon: u64) -> Option<Answer<W>> {
        let call = self.abandons.remove(&abandon)?;
        let waiter = self.remove(call)?.waiter?;
        Some(Answer { waiter, outcome: Outcome::TimedOut { is_unknown: false } })
    }

    /// A caller has left without its answer. `reserved` is what its call was to reserve, if it was a Reserve: an answer
    /// that can no longer be delivered is taken back as well.
    pub fn disconnected(&mut self, id: CommandId, reserved: Option<Reserved>) -> Outputs<W> {
        let mut outputs = Outputs { answers: Vec::new(), append: Vec::new() };
        let Some(number) = self.own(id) else { return outputs };
        if !self.pending.contains_key(&number) {
            outputs.append.extend(reserved.map(|reserved| self.abandon_of(number, reserved).1));
        }
        if let Some(pending) = self.pending.get_mut(&number) {
            pending.waiter = None;
            match (pending.abandon, &pending.cancels) {
                (Some(_), _) => {}
                (None, Some(_)) => self.abandon(number, &mut outputs),
                (None, None) => drop(self.remove(number)),
            }
        }
        outputs
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Micros) -> Outputs<W> {
        let append = if self.retry_at <= now { std::mem::take(&mut self.backlog) } else { Vec::new() };
        let mut outputs = Outputs { answers: Vec::new(), append };
        while let Some((due, number)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, number));
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            if pending.cancels.is_some() && pending.abandon.is_none() {
                self.abandon(number, &mut outputs);
                continue;
            }
            // A Reserve stays until its Abandon is known to be in the log; its caller is answered now.
            let waiter = pending.waiter.take();
            if pending.abandon.is_none_or(|abandon| !self.abandons.contains_key(&abandon)) {
                self.pending.remove(&number);
            }
            let unknown = Outcome::TimedOut { is_unknown: true };
            outputs.answers.extend(waiter.map(|waiter| Answer { waiter, outcome: unknown }));
        }
        outputs
    }

    /// Takes back an Abandon that the log did not take at `now`; it is offered again soon.
    pub fn not_appended(&mut self, abandon: Command, now: Micros) {
        self.backlog.push(abandon);
        self.retry_at = now.plus_ms(ABANDON_RETRY_MS);
    }

    /// An Abandon will never be in the log, because its partition has stopped. Its caller is told that the outcome is
    /// unknown when the grace is over.
    pub fn lost(&mut self, abandon: &Command) {
        let call = self.own(abandon.id).and_then(|number| self.abandons.remove(&number));
        if let Some(call) = call
            && self.pending.get(&call).is_some_and(|pending| pending.waiter.is_none())
        {
            self.remove(call);
        }
    }

    /// When [`Correlator::tick`] has something to do next.
    pub fn next_due(&self) -> Option<Micros> {
        let retry_at = (!self.backlog.is_empty()).then_some(self.retry_at);
        self.due.first().map(|(due, _)| *due).into_iter().chain(retry_at).min()
    }

    /// Calls that are not over.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether every call is over.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Abandons that wait for the log to take them.
    pub fn backlog_len(&self) -> usize {
        self.backlog.len()
    }

    fn abandon(&mut self, number: u64, outputs: &mut Outputs<W>) {
        let Some(reserved) = self.pending.get(&number).and_then(|pending| pending.cancels.clone()) else { return };
        let (own, command) = self.abandon_of(number, reserved);
        let Some(pending) = self.pending.get_mut(&number) else { return };
        self.due.remove(&(pending.due, number));
        pending.abandon = Some(own);
        pending.due = pending.due.plus_ms(ABANDON_GRACE_MS);
        self.due.insert((pending.due, number));
        self.abandons.insert(own, number);
        outputs.append.push(command);
    }

    /// The Abandon of a call's attempt, and its own number.
    fn abandon_of(&mut self, number: u64, reserved: Reserved) -> (u64, Command) {
        let attempt = self.attempt(number);
        let own = self.number();
        let Reserved { pool, reservation, deadline } = reserved;
        let command = Command {
            id: self.id(own),
            reply_to: Some(self.incarnation),
            attempt,
            actor: None,
            key: None,
            deadline,
            body: CommandBody::Abandon { pool, reservation },
        };
        (own, command)
    }

    fn remove(&mut self, number: u64) -> Option<Pending<W>> {
        let pending = self.pending.remove(&number)?;
        self.due.remove(&(pending.due, number));
        Some(pending)
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    fn id(&self, number: u64) -> CommandId {
        CommandId((u128::from(self.incarnation) << 64) | u128::from(number))
    }

    /// Attempts only have to differ within one reservation, for which half of the incarnation is enough.
    fn attempt(&self, number: u64) -> Attempt {
        Attempt((self.incarnation << 32) ^ number)
    }

    fn own(&self, id: CommandId) -> Option<u64> {
        let incarnation = u64::try_from(id.0 >> 64).ok()?;
        let number = u64::try_from(id.0 & u128::from(u64::MAX)).ok()?;
        (incarnation == self.incarnation).then_some(number)
    }
}
