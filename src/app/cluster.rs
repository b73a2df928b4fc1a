//! A process on a log that several processes share: it owns the partitions that the group of owners gives it, and
//! follows all the others. This code does not know which log it is.

use super::owner::OwnerContext;
use super::owning::Owning;
use super::process::Process;
use super::snapshots::{SnapshotThread, Snapshots};
use super::swapping::Swapping;
use super::withdrawal::Watch;
use super::witness::Flushing;
use super::{Hold, LogRuntime, StartError, draw, spawn};
use crate::config::{Config, Roles};
use crate::domain::ChainedEvent;
use crate::gateway::{CallReport, Gateway};
use crate::limits::{OWNER_BEAT_MS, PULSE_MS, TICK_AFTER_MS};
use crate::log::{
    AppendError, ClusterLog, CommandSink, CommittedTail, EventStream, Fitness, LogError, Manifest, Membership,
    NewCommand, OwnedPosition, OwnerNotes, ReplyChannel, ReplyReader,
};
use crate::owner::checkpointer::Checkpointer;
use crate::owner::follower::{EndOffsetProbe, Follower, LogEnd};
use crate::replica::{PartitionHandle, Replica, StatusKind};
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::telemetry::Metrics;
use crate::time::{Clock, Stopwatch, pause, pause_unless};
use crate::trace::Tracing;
use crossbeam_channel::{Sender, bounded, never};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for data from the network, in threads that have to notice the shutdown.
const LOOK: Duration = Duration::from_millis(50);
/// Pause between two checks whether a thread has ended.
const JOIN_LOOK: Duration = Duration::from_millis(5);
/// Pause after a failure before the next attempt.
const RETRY: Duration = Duration::from_millis(500);
/// Pause between two checks whether followed states are current.
const PROBE_EVERY: Duration = Duration::from_millis(PULSE_MS);
/// Pause between two reads of the owners' notes.
const NOTES_EVERY: Duration = Duration::from_millis(OWNER_BEAT_MS);
/// Longest wait at shutdown, when no owner is left, until this process has left the group of owners. It is longer than
/// a session, because a group that has just lost a member first waits for the end of that member's session.
const GROUP_LIMIT: Duration = Duration::from_secs(8);
/// Longest wait at shutdown for this process's commands to be in the log.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What a composition file has opened and checked.
pub(super) struct Opened<L> {
    pub(super) log: Arc<L>,
    pub(super) store: Arc<SledStore>,
    pub(super) flushing: Flushing,
    pub(super) hold: Hold,
}

/// Starts the gateway, the followers and the owners, as far as `roles` want them.
pub(super) fn start<L: ClusterLog>(
    config: &Config,
    roles: Roles,
    opened: Opened<L>,
    clock: Arc<dyn Clock>,
    (metrics, tracing): (Arc<Metrics>, Arc<Tracing>),
) -> Result<LogRuntime, StartError> {
    let Opened { log, store, flushing, hold } = opened;
    let Manifest { log_id, partitions, .. } = *log.manifest();
    let replica = Arc::new(Replica::shared(partitions));
    let incarnation = draw();
    let tail = Arc::clone(&log) as Arc<dyn CommittedTail>;
    let producer = roles.gateway.then(|| log.producer()).transpose()?;
    let sink: Arc<dyn CommandSink> = match &producer {
        Some(producer) => Arc::clone(producer) as Arc<dyn CommandSink>,
        None => Arc::new(NoSink),
    };
    let gateway = Gateway::new(
        incarnation,
        config.deadline_default_ms,
        Arc::clone(&sink),
        Arc::clone(&replica),
        Arc::clone(&clock),
    );
    let gateway = Arc::new(gateway.reporting(Arc::clone(&metrics) as Arc<dyn CallReport>).writing(log.level()));
    metrics.watch(&gateway, Arc::clone(&sink));
    if let Some(producer) = &producer {
        let gateway = Arc::downgrade(&gateway);
        producer.on_abandon_durable(Box::new(move |abandon| {
            if let Some(gateway) = gateway.upgrade() {
                gateway.abandon_durable(abandon);
            }
        }));
    }
    let (checkpointer, work) = Checkpointer::new(log_id);
    let snapshots = Snapshots::of_server(config, &metrics, partitions)?;
    let context = Arc::new(OwnerContext {
        partitions,
        log_id,
        tail: Arc::clone(&tail),
        store: Arc::clone(&store) as Arc<dyn Store>,
        snapshots: snapshots.as_ref().map(|snapshots| snapshots.reader(log_id)),
        clock,
        replies: log.replies(incarnation, Arc::clone(&gateway) as Arc<dyn ReplyChannel>)?,
        checkpointer: checkpointer.noting(store),
        metrics,
        tracing,
        on_committed: on_committed(incarnation, &gateway),
        tick_after_ms: Some(TICK_AFTER_MS),
    });
    let checkpoints = context.write_checkpoints(work)?;
    let snapshots = snapshots.map(|snapshots| snapshots.write(&context, &replica)).transpose()?;
    let swapping = Swapping::new(&context, &replica);
    let deadline_ms = config.deadline_default_ms;
    let process = Process { log, context, replica, sink, gateway: Arc::clone(&gateway), incarnation, deadline_ms };
    let presence = process.log.attend()?;
    let threads = Threads::start(&process, roles)?;
    drop(process);
    let swaps = Arc::clone(&swapping);
    let end = move || {
        // A thread that replaces a state reads snapshots, too: a place that hangs would keep it.
        let snapshots_ended = snapshots.is_none_or(SnapshotThread::end);
        let is_swap_over = swaps.end();
        // The commands of this process have to be in the log before its owners stop, so that owners which still have
        // their partition decide them.
        if let Some(producer) = producer {
            let left = producer.close(CLOSE_LIMIT);
            if left > 0 {
                tracing::error!(left, "commands of this process are not known to be in the log, and not waited for");
            }
        }
        let ended = threads.end() && checkpoints.join().is_ok() && flushing.end() && snapshots_ended && is_swap_over;
        drop((presence, hold));
        ended
    };
    Ok(LogRuntime { gateway, log_id, tail, swapping, end: Box::new(end) })
}

/// Offers every event that is read from the log to this process's gateway: an event may be the outcome of a call whose
/// reply was lost.
fn on_committed(incarnation: u64, gateway: &Arc<Gateway>) -> Box<dyn Fn(&ChainedEvent) + Send + Sync> {
    let gateway = Arc::downgrade(gateway);
    Box::new(move |event| {
        let reply_to = event.event.command().and_then(|command| command.reply_to);
        if reply_to == Some(incarnation)
            && let Some(gateway) = gateway.upgrade()
        {
            gateway.decided([event.clone()]);
        }
    })
}

/// The sink of a process that accepts no calls.
struct NoSink;

impl CommandSink for NoSink {
    fn append(&self, _: NewCommand<'_>) -> Result<(), AppendError> {
        Err(AppendError::Closed)
    }

    fn waiting(&self, _: u32) -> usize {
        0
    }

    fn stalled(&self, _: u32) -> Duration {
        Duration::ZERO
    }
}

/// The threads that run until the shutdown.
struct Threads {
    ending: Arc<AtomicBool>,
    /// Stops all owners when it is dropped.
    shutdown: Sender<()>,
    ownership: JoinHandle<()>,
    membership: Option<Arc<dyn Membership>>,
    /// The threads that end after the owners.
    others: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start<L: ClusterLog>(process: &Process<L>, roles: Roles) -> Result<Threads, StartError> {
        let Process { log, context, replica, gateway, incarnation, .. } = process;
        let ending = Arc::new(AtomicBool::new(false));
        let mut others = Vec::new();
        let probe = Arc::new(EndOffsetProbe::new(replica.partition_count()));
        {
            let stream = log.stream()?;
            let (context, replica) = (Arc::clone(context), Arc::clone(replica));
            let (probe, ending) = (Arc::clone(&probe), Arc::clone(&ending));
            // It begins first: putting a state together takes longer than all that follows here.
            others.push(spawn("follower", move || follow(stream, &context, &replica, &probe, &ending))?);
        }
        if roles.gateway {
            // The reader has to be at the end of the replies before the first call can come in.
            let reader = log.reply_reader(*incarnation)?;
            let (log, gateway, ending) = (Arc::clone(log), Arc::clone(gateway), Arc::clone(&ending));
            let again = {
                let incarnation = *incarnation;
                move || log.reply_reader(incarnation)
            };
            others.push(spawn("replies", move || read_replies(reader, again, &gateway, &ending))?);
        }
        {
            let (log, context, replica) = (Arc::clone(log), Arc::clone(context), Arc::clone(replica));
            let ending = Arc::clone(&ending);
            others.push(spawn("probe", move || probe_ends(&*log, &context, &replica, &probe, &ending))?);
        }
        {
            let (notes, replica, ending) = (log.owner_notes()?, Arc::clone(replica), Arc::clone(&ending));
            let context = Arc::clone(context);
            others.push(spawn("beats", move || read_notes(&*notes, &context, &replica, &ending))?);
        }
        let (membership, changes) = if roles.owner {
            let [warming, owning] = [replica; 2].map(Arc::clone);
            let joined = log.join(Box::new(move || fitness(&warming)), Box::new(move || positions(&owning)))?;
            let ending = Arc::clone(&ending);
            let watch = Watch::new(process, log.distance()?, Arc::clone(&joined.membership));
            others.push(spawn("withdrawal", move || watch.run(&ending))?);
            (Some(joined.membership), joined.changes)
        } else {
            (None, never())
        };
        let (shutdown, on_shutdown) = bounded(0);
        let owning = Owning::new(process);
        let ownership = spawn("ownership", move || owning.run(&changes, &on_shutdown))?;
        Ok(Threads { ending, shutdown, ownership, membership, others })
    }

    fn end(self) -> bool {
        drop(self.shutdown);
        let mut ended = true;
        // This process leaves the group while its owners stop, because leaving waits for them.
        let leaving = self.membership.and_then(|membership| spawn("leaving", move || membership.leave()).ok());
        ended &= self.ownership.join().is_ok();
        if leaving.is_some_and(|leaving| !ends_within(leaving, GROUP_LIMIT)) {
            tracing::error!(
                "this process could not leave the group of owners: others get its partitions when its session ends"
            );
            ended = false;
        }
        self.ending.store(true, Relaxed);
        for thread in self.others {
            thread.thread().unpark();
            ended &= thread.join().is_ok();
        }
        ended
    }
}

/// Waits for a thread to end, at most for this time. Returns whether it ended cleanly.
fn ends_within(thread: JoinHandle<()>, limit: Duration) -> bool {
    let waiting = Stopwatch::start();
    while !thread.is_finished() {
        if waiting.elapsed() >= limit {
            return false;
        }
        pause(JOIN_LOOK);
    }
    thread.join().is_ok()
}

/// The failures of an action that is repeated until it succeeds.
#[derive(Default)]
struct Failures {
    /// The last failure that an operator has to do something about.
    told: Option<LogError>,
}

impl Failures {
    /// Logs a failure: as a warning when the next attempt may succeed, and as an error, once for each reason, when an
    /// operator has to act first.
    fn tell(&mut self, what: &str, error: LogError) {
        if !error.needs_operator() {
            tracing::warn!(%error, "{what}; trying again");
        } else if self.is_new(&error) {
            tracing::error!(%error, "{what} until an operator acts; trying again");
        }
    }

    /// Whether this reason for an operator to act differs from the last one, which it replaces.
    fn is_new(&mut self, error: &LogError) -> bool {
        self.told.replace(error.clone()).is_none_or(|last| last != *error)
    }
}

/// Keeps up to date which states are current, what brokers' clocks show, and whether the cluster answers.
fn probe_ends<L: ClusterLog>(
    log: &L,
    context: &OwnerContext,
    replica: &Replica,
    probe: &EndOffsetProbe,
    ending: &AtomicBool,
) {
    let failures = Mutex::new(Failures::default());
    // Readiness reports a log that does not answer.
    let tell = |error: LogError| {
        if error.needs_operator() {
            failures.lock().tell("the end offsets of partitions cannot be read", error);
        }
    };
    while !ending.load(Relaxed) {
        for (partition, handle) in (0..).zip(replica.partitions()) {
            handle.time().set_broker_stamp(log.broker_clock(partition));
        }
        probe.look(replica, context.clock.as_ref(), |partition| {
            // While the log does not answer, each partition may take the full wait.
            if ending.load(Relaxed) {
                return None;
            }
            let end = log.end_offset(partition).map_err(tell).ok()?;
            Some(LogEnd { end, written: log.written_end_offset(partition) })
        });
        pause_unless(PROBE_EVERY, || ending.load(Relaxed));
    }
}

/// Keeps up to date whether partitions have owners.
fn read_notes(notes: &dyn OwnerNotes, context: &OwnerContext, replica: &Replica, ending: &AtomicBool) {
    let mut failures = Failures::default();
    while !ending.load(Relaxed) {
        let numbers = notes.beats().unwrap_or_else(|error| {
            if error.needs_operator() {
                failures.tell("nobody knows which partitions have owners: their notes cannot be read", error);
            } else {
                tracing::debug!(%error, "the notes of owners cannot be read now");
            }
            BTreeMap::new()
        });
        for (partition, handle) in (0..).zip(replica.partitions()) {
            handle.liveness().set_owner_note(numbers.get(&partition).copied().flatten(), context.clock.now());
        }
        pause_unless(NOTES_EVERY, || ending.load(Relaxed));
    }
}

/// How much of the log this process could serve as an owner. A partition that it cannot read now does not keep it from
/// owning other partitions. A stopped partition does not, either: it stops because its log is broken, which is the same
/// for every process. A state that it cannot restore may be there in another process, to which it leaves the partitions.
fn fitness(replica: &Replica) -> Fitness {
    if replica.has_stopped() {
        return Fitness::Never;
    }
    match (
        replica.partitions().any(|handle| handle.is_warm()),
        replica.partitions().all(|handle| handle.is_as_warm_as_can_be()),
    ) {
        (true, _) if replica.partitions().any(|handle| handle.is_unrestorable()) => Fitness::Lacking,
        (true, true) => Fitness::Whole,
        (true, false) => Fitness::Partial,
        (false, _) => Fitness::Nothing,
    }
}

fn positions(replica: &Replica) -> Vec<OwnedPosition> {
    let owned = replica.partitions().filter(|handle| handle.status_kind() == StatusKind::Active);
    let position = |handle: &Arc<PartitionHandle>| OwnedPosition {
        partition: handle.id(),
        next_input: handle.read(|state| state.position().next_input),
    };
    owned.map(position).collect()
}

/// Hands replies to the gateway. After a failure `again` makes a new reader, which may fail, too.
fn read_replies(
    reader: Box<dyn ReplyReader>,
    again: impl Fn() -> Result<Box<dyn ReplyReader>, LogError>,
    gateway: &Gateway,
    ending: &AtomicBool,
) {
    let mut reader: Result<Box<dyn ReplyReader>, LogError> = Ok(reader);
    let mut failures = Failures::default();
    while !ending.load(Relaxed) {
        let failure = match &mut reader {
            Ok(reading) => reading.next(LOOK).map(|replies| {
                if !replies.is_empty() {
                    gateway.send(replies);
                }
            }),
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = failure {
            failures.tell("replies cannot be read, so that outcomes are taken from the events", error);
            pause_unless(RETRY, || ending.load(Relaxed));
            reader = again();
        }
    }
}

fn follow(
    stream: impl EventStream,
    context: &OwnerContext,
    replica: &Replica,
    probe: &EndOffsetProbe,
    ending: &AtomicBool,
) {
    let recovery = context.recovery();
    let mut follower = Follower::new(stream, replica, &recovery, &context.checkpointer, probe);
    let mut failures = Failures::default();
    while !ending.load(Relaxed) {
        if let Err(error) = follower.round(LOOK) {
            failures.tell("the log cannot be followed", error);
            pause_unless(RETRY, || ending.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Breach, Law, Micros};
    use crate::replica::{PartitionState, PartitionStatus};

    #[test]
    fn what_a_person_has_to_do_is_told_once() {
        let denied = |topic| LogError::operator(format!("{topic}: Read is not allowed"));
        let mut failures = Failures::default();
        let told = [denied("a"), denied("a"), denied("b"), denied("a")].map(|error| failures.is_new(&error));
        assert_eq!(told, [true, false, true, true]);
    }

    #[test]
    fn a_process_that_cannot_restore_a_state_stands_for_the_others_only_where_it_is_asked() {
        let replica = Replica::shared(2);
        let [first, second] = [0, 1].map(|partition| replica.partition(partition).unwrap());
        second.set_unrestorable("its snapshot is gone".to_owned());
        assert_eq!(fitness(&replica), Fitness::Nothing);
        first.try_transition(&[StatusKind::Restoring], PartitionStatus::Standby).unwrap();
        assert_eq!(fitness(&replica), Fitness::Lacking);
        second.set_read_error(Some("no leader".to_owned()));
        assert_eq!(fitness(&replica), Fitness::Lacking, "a log that does not answer gives back no state");
        second.set_unrestorable("its snapshot is gone".to_owned());
        assert!(!second.is_kept_from_others());
        second.set_awaited(true);
        assert!(second.is_kept_from_others() && !first.is_kept_from_others());
        let why = "not followed: its snapshot is gone; the group of owners has given the partition to this process";
        assert_eq!(second.why_not_served().as_deref(), Some(why));
        // The log has overtaken a state that was there.
        second.try_transition(&[StatusKind::Restoring], PartitionStatus::Standby).unwrap();
        assert_eq!((fitness(&replica), second.is_kept_from_others()), (Fitness::Lacking, true));
        assert_eq!(second.why_not_served().as_deref(), Some(why));
        second.set_read_error(None);
        assert_eq!((fitness(&replica), second.is_kept_from_others()), (Fitness::Whole, false));
        second.set_read_error(Some("no leader".to_owned()));
        assert_eq!(fitness(&replica), Fitness::Whole, "no process can read it now");
    }

    /// The story: the state of an owner was found to be wrong. The group gave the partition to nobody else until a restart.
    #[test]
    fn a_state_that_was_wrong_is_lacking_until_one_that_is_right_has_its_place() {
        let replica = Replica::shared(2);
        replica.partitions().for_each(|handle| handle.caught_up(Micros(5)));
        let handle = replica.partition(1).unwrap();
        handle.set_awaited(true);
        let says = || (fitness(&replica), handle.is_kept_from_others());
        assert_eq!(says(), (Fitness::Whole, false));
        let wrong = Breach { law: Law::OneState, partition: 1, seq: 3, detail: "it differs".to_owned() };
        handle.distrust(wrong.clone());
        assert_eq!(says(), (Fitness::Lacking, true));
        handle.begin_anew().unwrap();
        assert!(handle.wrong().is_none());
        assert_eq!(says(), (Fitness::Lacking, true), "the log is being read");
        for why in [Some("no leader".to_owned()), None] {
            handle.set_read_error(why);
            assert_eq!(says(), (Fitness::Lacking, true));
        }
        handle.caught_up(Micros(6));
        assert_eq!(says(), (Fitness::Whole, false));
        // Or a swap has put another one in its place.
        handle.distrust(wrong);
        drop(handle.replace(PartitionState::new(1)));
        assert_eq!(says(), (Fitness::Whole, false));
        handle.begin_anew().unwrap();
        assert!(!handle.is_kept_from_others(), "nothing is known against this one");
    }

    #[test]
    fn a_process_stands_for_what_it_has() {
        let halted = || PartitionStatus::Failed { why: "L3 broken".to_owned() };
        let cases = [
            (vec![PartitionStatus::Restoring, PartitionStatus::Restoring], None, Fitness::Nothing),
            (vec![PartitionStatus::Restoring, PartitionStatus::Restoring], Some(0), Fitness::Nothing),
            (vec![PartitionStatus::Standby, PartitionStatus::Restoring], None, Fitness::Partial),
            (vec![PartitionStatus::Standby, PartitionStatus::Restoring], Some(1), Fitness::Whole),
            (vec![PartitionStatus::Standby, PartitionStatus::Standby], None, Fitness::Whole),
            (vec![PartitionStatus::Standby, halted()], None, Fitness::Whole),
            (vec![PartitionStatus::Restoring, halted()], None, Fitness::Nothing),
            (vec![PartitionStatus::Restoring, halted()], Some(0), Fitness::Nothing),
            (vec![PartitionStatus::Unreadable { why: "no state".to_owned() }, halted()], None, Fitness::Never),
        ];
        for (statuses, unread, expected) in cases {
            let replica = Replica::shared(2);
            let said = format!("{statuses:?}, {unread:?}");
            for (partition, (handle, status)) in (0..).zip(replica.partitions().zip(statuses)) {
                handle.try_transition(&[StatusKind::Restoring], status).unwrap();
                handle.set_read_error((unread == Some(partition)).then(|| "no leader".to_owned()));
            }
            assert_eq!(fitness(&replica), expected, "{said}");
        }
    }
}
