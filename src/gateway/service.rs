//! The correlator's shell, which [`crate::service`] calls: one async call in, one outcome out.

mod readiness;
mod stages;

pub use readiness::{Restored, Startup};
pub use stages::{CallReport, Stage};

use super::admission::{InFlight, Lane, QueueLoad, Shed, in_time};
use super::correlator::{Answer, Correlator, Outcome, Outputs, Request};
use super::memory::{Memory, takes_memory};
use super::readiness::Readiness;
use crate::domain::{
    Attempt, ChainedEvent, Command, CommandBody, CommandId, IdempotencyKey, Ledger, Micros, Name, Reserved, route,
};
use crate::limits::{ABANDON_RETRY_MS, DEADLINE_MAX_MS};
use crate::log::{AppendError, CommandSink, FeatureLevel, NewCommand, Reply, ReplyChannel};
use crate::replica::{PartitionHandle, Replica};
use crate::time::{Clock, Stopwatch};
use crate::trace::{CallTrace, TraceContext};
use crate::wire;
use parking_lot::Mutex;
use stages::CallStages;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// A command that a caller wants to have decided.
#[derive(Clone, Debug)]
pub struct Call {
    /// The body of the command.
    pub body: CommandBody,
    /// The caller's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// The name of the caller; it is recorded with the decision.
    pub actor: Option<Name>,
    /// How long the caller waits, in milliseconds: at most [`DEADLINE_MAX_MS`], the gateway's default when absent.
    pub timeout_ms: Option<u64>,
    /// When the call arrived, by [`Gateway::now`]: its time is counted from then on.
    pub arrived: Micros,
    /// The trace that it belongs to.
    pub trace: CallTrace,
}

/// What a call is told, and the span of the owner's reply if there is one.
type Told = (Outcome, Option<TraceContext>);
type Waiter = oneshot::Sender<Told>;

/// What a gateway still has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PendingCounts {
    /// Calls without an outcome, and Reserves whose Abandon is on its way.
    pub calls: usize,
    /// Abandons that the log did not take yet.
    pub abandons: usize,
}

/// Appends callers' commands to the log and brings the outcomes back.
pub struct Gateway {
    correlator: Mutex<Correlator<Waiter>>,
    /// Wakes the timer when a deadline is set that is earlier than all others.
    rearm: Notify,
    sink: Arc<dyn CommandSink>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    in_flight: Vec<InFlight>,
    /// The contexts of the calls whose spans are recorded, for their Abandons.
    recorded: Mutex<BTreeMap<Attempt, TraceContext>>,
    readiness: Mutex<Readiness>,
    memory: Memory,
    /// Where what is measured is reported; `None` reports it nowhere.
    report: Option<Arc<dyn CallReport>>,
    /// What commands may say in the log.
    level: FeatureLevel,
    /// The clock of readiness. It does not follow the wall clock, so setting the wall clock does not change readiness.
    running: Stopwatch,
    deadline_default_ms: u64,
    is_leaving: AtomicBool,
    is_closing: AtomicBool,
}

impl Gateway {
    /// `incarnation` is a number that no other gateway has, drawn at start.
    pub fn new(
        incarnation: u64,
        deadline_default_ms: u64,
        sink: Arc<dyn CommandSink>,
        replica: Arc<Replica>,
        clock: Arc<dyn Clock>,
    ) -> Gateway {
        Gateway {
            correlator: Mutex::new(Correlator::new(incarnation)),
            rearm: Notify::new(),
            in_flight: replica.partitions().map(|_| InFlight::default()).collect(),
            sink,
            replica,
            clock,
            recorded: Mutex::default(),
            readiness: Mutex::default(),
            memory: Memory::default(),
            report: None,
            level: FeatureLevel::default(),
            running: Stopwatch::start(),
            deadline_default_ms,
            is_leaving: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        }
    }

    /// The same in a log of this level: commands say nothing that the level does not have.
    #[must_use]
    pub fn writing(self, level: FeatureLevel) -> Gateway {
        Gateway { level, ..self }
    }

    /// The level of the log.
    pub fn level(&self) -> &FeatureLevel {
        &self.level
    }

    /// Reports what is measured to `report`.
    #[must_use]
    pub fn reporting(self, report: Arc<dyn CallReport>) -> Gateway {
        Gateway { report: Some(report), ..self }
    }

    /// Appends a call's command and waits for its outcome. When this future is dropped before it is done, a Reserve is
    /// taken back. A call whose deadline has passed already is too late, and shed only while this process closes: it is no load.
    ///
    /// # Errors
    /// [`Shed`]: nothing of the call is in the log, now or later.
    pub async fn call(&self, call: Call) -> Result<Outcome, Shed> {
        let Call { body, key, actor, timeout_ms, arrived, trace } = call;
        let now = self.clock.now();
        let deadline = arrived.plus_ms(self.timeout_ms(timeout_ms));
        let partition = route::home(&body, self.replica.partition_count());
        let mut stages = CallStages::begin(self.report(), &trace, self.clock(), partition, (arrived, now));
        if now >= deadline && !self.is_closing.load(Relaxed) {
            stages.too_late();
            return Ok(Outcome::TooLate);
        }
        let admitted = self.admit(partition, Lane::of(&body), actor.clone(), now, deadline);
        let admitted = admitted.and_then(|place| self.has_memory(partition, &body, key.as_ref()).map(|()| place));
        stages.admitted(admitted.as_ref().err());
        let _in_flight = admitted?;
        let (waiter, outcome) = oneshot::channel();
        let there = self.replica.partition(partition).ok_or(Shed::NoOwner)?.time().now(self.clock.as_ref());
        let left_us = deadline.0.saturating_sub(now.0);
        let deadline_there = Micros(there.0.saturating_add(left_us));
        let request = Request { body, key, actor, deadline, deadline_there };
        let (command, is_earliest) = {
            let mut correlator = self.correlator.lock();
            let is_earliest = correlator.next_due().is_none_or(|due| deadline < due);
            (correlator.submit(request, waiter), is_earliest)
        };
        if is_earliest {
            self.rearm.notify_one();
        }
        // It is dropped after the guard that takes the call back.
        let _traced = trace.is_recorded().then(|| self.traced(command.attempt, trace.context().clone()));
        let reserved = command.reserved();
        let cancel_on_drop = CancelOnDrop { gateway: self, id: command.id, reserved, is_over: false };
        let appended = self.append(partition, &command, Some(stages.context())).map_err(|error| match error {
            AppendError::Full => Shed::Full,
            AppendError::Closed => Shed::NoOwner,
        });
        stages.appended(appended.err());
        if let Err(shed) = appended {
            cancel_on_drop.over();
            self.correlator.lock().withdraw(command.id);
            return Err(shed);
        }
        match outcome.await {
            Ok((outcome, reply)) => {
                cancel_on_drop.over();
                stages.told(&outcome, reply);
                Ok(outcome)
            }
            // Nobody will answer, and the command is on its way: a Reserve is taken back, as if its caller had left.
            Err(_) => Ok(Outcome::TimedOut { is_unknown: true }),
        }
    }

    /// Takes back what a call has reserved when its answer has come but cannot be delivered.
    pub fn take_back(&self, id: CommandId, reserved: Reserved) {
        self.gone(id, Some(reserved));
    }

    fn gone(&self, id: CommandId, reserved: Option<Reserved>) {
        let outputs = self.correlator.lock().disconnected(id, reserved);
        self.perform(outputs);
        self.rearm.notify_one();
    }

    /// The states of all partitions, as callers read them.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// The monotonic clock, which measures deadlines and durations.
    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    /// The clocks of this process.
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Where what is measured is reported.
    pub fn report(&self) -> Option<&dyn CallReport> {
        self.report.as_deref()
    }

    /// How long a call may take when its caller requests this time, in milliseconds; `None` is the default of the
    /// process.
    pub fn timeout_ms(&self, requested: Option<u64>) -> u64 {
        requested.unwrap_or(self.deadline_default_ms).min(DEADLINE_MAX_MS)
    }

    /// What is not over yet.
    pub fn pending(&self) -> PendingCounts {
        let correlator = self.correlator.lock();
        PendingCounts { calls: correlator.len(), abandons: correlator.backlog_len() }
    }

    /// How many calls are in flight, for each partition in order.
    pub fn in_flight(&self) -> impl Iterator<Item = usize> + '_ {
        self.in_flight.iter().map(InFlight::count)
    }

    /// Takes how many bytes of the process are resident, and how many it may have. New work is refused near the limit, see
    /// [`super::memory`]. What partitions count at present is asked, not what they did at their last event: there may be none
    /// while new work is refused.
    pub fn saw_memory(&self, resident_bytes: u64, limit_bytes: u64) {
        let counted = |handle: &Arc<PartitionHandle>| {
            let now = handle.time().now(self.clock());
            handle.read(|state| state.memory_used(now))
        };
        let counted_bytes = self.replica.partitions().map(counted).fold(0, u64::saturating_add);
        self.memory.saw(counted_bytes, resident_bytes, limit_bytes);
    }

    /// Returns when every call is answered and every Abandon is in the log.
    pub async fn drained(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(ABANDON_RETRY_MS));
        while self.pending() != PendingCounts::default() {
            look.tick().await;
        }
    }

    /// Announces that this gateway will soon take no more calls.
    pub fn leave(&self) {
        self.is_leaving.store(true, Relaxed);
    }

    /// Whether callers are asked to go elsewhere.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
    }

    /// Takes no more calls; those in flight go on.
    pub fn close(&self) {
        self.leave();
        self.is_closing.store(true, Relaxed);
    }

    /// Keeps deadlines, for as long as it is polled. One task runs it.
    pub async fn keep_deadlines(&self) {
        loop {
            let due = self.correlator.lock().next_due();
            let wait_ms = due.map_or(DEADLINE_MAX_MS, |due| due.ms_since(self.clock.now()).saturating_add(1));
            // Either a deadline has come or one has been set that is earlier.
            let _ = tokio::time::timeout(Duration::from_millis(wait_ms), self.rearm.notified()).await;
            let outputs = self.correlator.lock().tick(self.clock.now());
            self.perform(outputs);
        }
    }

    fn traced(&self, attempt: Attempt, context: TraceContext) -> Traced<'_> {
        self.recorded.lock().insert(attempt, context);
        Traced { gateway: self, attempt }
    }

    fn admit(
        &self,
        partition: u32,
        lane: Lane,
        caller: Option<Name>,
        now: Micros,
        deadline: Micros,
    ) -> Result<InFlightGuard<'_>, Shed> {
        if self.is_closing.load(Relaxed) {
            return Err(Shed::Closing);
        }
        let handle = self.replica.partition(partition).ok_or(Shed::NoOwner)?;
        let in_flight = self.in_flight.get(partition as usize).ok_or(Shed::NoOwner)?;
        let queue = QueueLoad { waiting: self.sink.waiting(partition), stalled: self.sink.stalled(partition) };
        in_time(handle, lane, queue, now, deadline)?;
        in_flight.enter(lane, caller.as_ref())?;
        Ok(InFlightGuard { in_flight, lane, caller })
    }

    /// Refuses a call for which the process has no memory.
    fn has_memory(&self, partition: u32, body: &CommandBody, key: Option<&IdempotencyKey>) -> Result<(), Shed> {
        let takes = |handle: &Arc<PartitionHandle>| {
            let now = handle.time().now(self.clock());
            handle.read(|state| takes_memory(state, body, key, now))
        };
        let is_refused = self.memory.is_full() && self.replica.partition(partition).is_some_and(takes);
        if is_refused { Err(Shed::Memory) } else { Ok(()) }
    }

    /// An Abandon of this gateway is in the log for good, although it may not be decided yet: whichever owner decides
    /// it, what it takes back is gone.
    pub fn abandon_durable(&self, abandon: CommandId) {
        give(self.correlator.lock().abandon_durable(abandon));
    }

    /// Answers the calls that these decisions are about. A decision that comes twice, or that belongs to no call of
    /// this gateway, changes nothing.
    pub fn decided(&self, decisions: impl IntoIterator<Item = ChainedEvent>) {
        self.conclude(decisions.into_iter().map(|decided| (decided, None)));
    }

    fn conclude(&self, decisions: impl Iterator<Item = (ChainedEvent, Option<TraceContext>)>) {
        let mut correlator = self.correlator.lock();
        let answered = |(decided, reply)| correlator.decided(decided).map(|answer| (answer, reply));
        let answers: Vec<_> = decisions.filter_map(answered).collect();
        drop(correlator);
        answers.into_iter().for_each(|(answer, reply)| give_one(answer, reply));
    }

    fn append(&self, partition: u32, command: &Command, trace: Option<&TraceContext>) -> Result<(), AppendError> {
        let cancels = matches!(command.body, CommandBody::Abandon { .. }).then_some(command.id);
        let bytes = wire::command::encode_at(self.level.get(), command);
        let subject = command.body.subject();
        self.sink.append(NewCommand { partition, key: subject.record_key(), bytes: &bytes, cancels, trace })
    }

    fn perform(&self, outputs: Outputs<Waiter>) {
        give(outputs.answers);
        for abandon in outputs.append {
            let partition = route::home(&abandon.body, self.replica.partition_count());
            let trace = self.recorded.lock().get(&abandon.attempt).cloned();
            match self.append(partition, &abandon, trace.as_ref()) {
                Ok(()) => {}
                Err(AppendError::Full) => self.correlator.lock().not_appended(abandon, self.clock.now()),
                Err(AppendError::Closed) => self.correlator.lock().lost(&abandon),
            }
        }
    }
}

impl ReplyChannel for Gateway {
    fn send(&self, replies: Vec<Reply>) {
        self.conclude(replies.into_iter().map(|reply| (reply.decided, reply.trace)));
    }
}

fn give(answers: impl IntoIterator<Item = Answer<Waiter>>) {
    answers.into_iter().for_each(|answer| give_one(answer, None));
}

fn give_one(Answer { waiter, outcome }: Answer<Waiter>, reply: Option<TraceContext>) {
    // The caller may have left: then `CancelOnDrop` takes the answer back.
    let _ = waiter.send((outcome, reply));
}

/// Keeps the context of a recorded call for as long as it lives.
struct Traced<'a> {
    gateway: &'a Gateway,
    attempt: Attempt,
}

impl Drop for Traced<'_> {
    fn drop(&mut self) {
        self.gateway.recorded.lock().remove(&self.attempt);
    }
}

/// Counts one call as in flight for as long as it lives.
struct InFlightGuard<'a> {
    in_flight: &'a InFlight,
    lane: Lane,
    caller: Option<Name>,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.in_flight.leave(self.lane, self.caller.as_ref());
    }
}

/// Tells the correlator when a call's future is dropped before its answer.
struct CancelOnDrop<'a> {
    gateway: &'a Gateway,
    id: CommandId,
    reserved: Option<Reserved>,
    is_over: bool,
}

impl CancelOnDrop<'_> {
    fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.gateway.gone(self.id, self.reserved.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Amounts, Dimension, PoolId, ReservationId};
    use crate::limits::INFLIGHT_TAKES_MAX;
    use crate::replica::{PartitionStatus, StatusKind};
    use crate::time::SystemClock;
    use crate::trace::Tracing;
    use std::task::{Context, Poll, Waker};

    /// Takes every command; nobody decides any of them.
    #[derive(Default)]
    struct Taking(Mutex<Vec<Command>>);

    impl CommandSink for Taking {
        fn append(&self, command: NewCommand<'_>) -> Result<(), AppendError> {
            self.0.lock().push(wire::command::decode(command.bytes).unwrap());
            Ok(())
        }

        fn waiting(&self, _: u32) -> usize {
            0
        }

        fn stalled(&self, _: u32) -> Duration {
            Duration::ZERO
        }
    }

    fn gateway(log: Arc<Taking>) -> Gateway {
        let replica = Arc::new(Replica::new(1));
        replica.partition(0).unwrap().try_transition(&[StatusKind::Restoring], PartitionStatus::Active).unwrap();
        Gateway::new(1, 250, log, replica, Arc::new(SystemClock::new()))
    }

    fn untraced() -> CallTrace {
        Arc::new(Tracing::off(|| 7)).enter(None)
    }

    fn reserve() -> CommandBody {
        let demand = Amounts::new([(Dimension::new("orders").unwrap(), 1)]).unwrap();
        let (pool, reservation) = (PoolId::new("pool").unwrap(), ReservationId::new(7, [7; 11]));
        CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: None, order_ref: None }
    }

    /// Nobody decides, so every call that is not shed waits, and is in the log.
    #[test]
    fn however_many_calls_one_caller_has_those_of_others_reach_the_log() {
        let log = Arc::new(Taking::default());
        let gateway = gateway(Arc::clone(&log));
        let context = &mut Context::from_waker(Waker::noop());
        let mut waiting = Vec::new();
        let mut call = |name: &str, body: CommandBody| {
            let (actor, arrived) = (Name::new(name).ok(), gateway.now());
            let (timeout_ms, trace) = (Some(5_000), untraced());
            let mut call = Box::pin(gateway.call(Call { body, key: None, actor, timeout_ms, arrived, trace }));
            match call.as_mut().poll(context) {
                Poll::Ready(told) => told.err(),
                Poll::Pending => {
                    waiting.push(call);
                    None
                }
            }
        };
        let refused = (0..2 * INFLIGHT_TAKES_MAX).filter_map(|_| call("greedy", reserve()));
        let refused: Vec<_> = refused.collect();
        assert!(refused.len() > INFLIGHT_TAKES_MAX && refused.iter().all(|shed| *shed == Shed::Share));
        let before = log.0.lock().len();
        for n in 0..1_000 {
            assert_eq!(call(&format!("caller-{n}"), reserve()), None, "{n}");
            let release = CommandBody::Release { reservation: ReservationId::new(7, [7; 11]) };
            assert_eq!(call("greedy", release), None, "{n}");
            assert_eq!(call("greedy", reserve()), Some(Shed::Share), "{n}");
        }
        assert_eq!(log.0.lock().len(), before + 2_000);
    }

    /// Keeps the stages that were reported.
    #[derive(Default)]
    struct Stages(Mutex<Vec<Stage>>);

    impl CallReport for Stages {
        fn stage(&self, stage: Stage, _: u64) {
            self.0.lock().push(stage);
        }

        fn read(&self, _: u64) {}
    }

    #[test]
    fn a_call_has_the_stages_that_it_came_through() {
        let stages = Arc::new(Stages::default());
        let gateway = gateway(Arc::default()).reporting(Arc::clone(&stages) as Arc<dyn CallReport>);
        let call = || {
            let (body, arrived, trace) = (reserve(), gateway.now(), untraced());
            Box::pin(gateway.call(Call { body, key: None, actor: None, timeout_ms: None, arrived, trace }))
        };
        let context = &mut Context::from_waker(Waker::noop());
        let mut waiting = call();
        assert!(waiting.as_mut().poll(context).is_pending());
        assert_eq!(std::mem::take(&mut *stages.0.lock()), [Stage::Admit, Stage::Append]);
        gateway.close();
        assert!(matches!(call().as_mut().poll(context), Poll::Ready(Err(Shed::Closing))));
        assert_eq!(*stages.0.lock(), [Stage::Admit]);
    }

    #[test]
    fn a_call_whose_deadline_has_passed_is_too_late_and_not_shed() {
        let (log, stages) = (Arc::new(Taking::default()), Arc::new(Stages::default()));
        let gateway = gateway(Arc::clone(&log)).reporting(Arc::clone(&stages) as Arc<dyn CallReport>);
        let (body, arrived, trace) = (reserve(), gateway.now(), untraced());
        let call = Call { body, key: None, actor: None, timeout_ms: Some(0), arrived, trace };
        let told = Box::pin(gateway.call(call)).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(told, Poll::Ready(Ok(Outcome::TooLate))), "{told:?}");
        assert!(log.0.lock().is_empty() && gateway.in_flight().all(|calls| calls == 0));
        assert_eq!(*stages.0.lock(), [Stage::Admit]);
    }

    #[test]
    fn who_waits_for_what_nobody_will_answer_is_told_that_it_is_unknown_and_it_is_taken_back() {
        let log = Arc::new(Taking::default());
        let gateway = gateway(Arc::clone(&log));
        let (body, arrived, trace) = (reserve(), gateway.now(), untraced());
        let mut call = Box::pin(gateway.call(Call { body, key: None, actor: None, timeout_ms: None, arrived, trace }));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(context).is_pending());
        *gateway.correlator.lock() = Correlator::new(1);
        let told = call.as_mut().poll(context);
        assert!(matches!(told, Poll::Ready(Ok(Outcome::TimedOut { is_unknown: true }))), "{told:?}");
        let appended = log.0.lock();
        assert!(matches!(appended[..], [_, Command { body: CommandBody::Abandon { .. }, .. }]), "{appended:?}");
    }
}
