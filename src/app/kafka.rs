//! A cluster's side: the group of owners says which partitions this process owns; it follows all the others.

use super::cluster::checked;
use super::handover::Watch;
use super::owner::OwnerContext;
use super::owning::Owning;
use super::witness::{Flushing, told};
use super::{Hold, LogRuntime, StartError, draw, spawn};
use crate::config::{self, Config};
use crate::domain::ChainedEvent;
use crate::gateway::Gateway;
use crate::limits::{OWNER_BEAT_MS, PULSE_MS, TICK_AFTER_MS};
use crate::log::kafka::ops::preflight::{keep_topics, preflight};
use crate::log::kafka::{Fitness, Kafka, Member, Notes, ReplyReader, Stream};
use crate::log::{AppendError, CommandSink, CommittedTail, Manifest, NewCommand, Reply, ReplyChannel};
use crate::owner::checkpointer::Checkpointer;
use crate::owner::follower::{EndOffsetProbe, Follower};
use crate::owner::losses::{Loss, What};
use crate::replica::{PartitionHandle, PartitionStatus, Replica};
use crate::store::Store;
use crate::store::sled::SledStore;
use crate::telemetry::{Metrics, Pace};
use crate::time::{Clock, Stopwatch, pause, pause_unless};
use crossbeam_channel::{Sender, bounded, never};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for what comes over the network, of a thread that is to end sometime.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at whether a thread has ended.
const JOIN_LOOK: Duration = Duration::from_millis(5);
/// Before what failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks at whether followed states are current.
const PULSE: Duration = Duration::from_millis(PULSE_MS);
/// Between two looks at what owners note.
const BEAT: Duration = Duration::from_millis(OWNER_BEAT_MS);
/// Longest wait at the end, when no owner is left, for the group of owners to hear of it: more than a session, for one that
/// shares its partitions out anew first misses who was killed.
const GROUP_LIMIT: Duration = Duration::from_secs(8);
/// Longest wait at the end for this process's commands to be in the log.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

pub(super) fn start(
    config: &Config,
    kafka: &config::Kafka,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<LogRuntime, StartError> {
    let io = |error| StartError::Io(config.data_dir.clone(), error);
    std::fs::create_dir_all(&config.data_dir).map_err(io)?;
    let hold = Hold::take(&config.data_dir).map_err(io)?.ok_or_else(|| StartError::InUse(config.data_dir.clone()))?;
    let log = open(config, kafka)?;
    let Manifest { log_id, partitions, .. } = *log.manifest();
    let (store, flushing) = keep(config, kafka, &log)?;
    let replica = Arc::new(Replica::shared(partitions));
    let incarnation = draw();
    let tail = Arc::new(log.clone()) as Arc<dyn CommittedTail>;
    let sink = kafka.roles.gateway.then(|| log.sink().map(Arc::new)).transpose()?;
    let way_in: Arc<dyn CommandSink> = match &sink {
        Some(sink) => Arc::clone(sink) as Arc<dyn CommandSink>,
        None => Arc::new(NoWayIn),
    };
    let gateway = Arc::new(Gateway::new(
        incarnation,
        config.deadline_default_ms,
        Arc::clone(&way_in),
        Arc::clone(&tail),
        Arc::clone(&replica),
        Arc::clone(&clock),
    ));
    metrics.watch(&gateway, way_in);
    let paces = log.paces();
    metrics.watch_turns(partitions, move |partition| {
        let crate::log::kafka::Pace { waited, slow_commits, pause_us, held_back, .. } = paces.of(partition);
        Pace { waited, slow_commits, pause_us, held_back }
    });
    if let Some(sink) = &sink {
        let gateway = Arc::downgrade(&gateway);
        sink.on_abandon_durable(move |abandon| {
            if let Some(gateway) = gateway.upgrade() {
                gateway.abandon_durable(abandon);
            }
        });
    }
    let (checkpointer, work) = Checkpointer::new(log_id);
    let replies = log.replies(incarnation, Some(Arc::clone(&gateway) as Arc<dyn ReplyChannel>))?;
    let context = Arc::new(OwnerContext {
        partitions,
        log_id,
        tail: Arc::clone(&tail),
        store: Arc::clone(&store) as Arc<dyn Store>,
        clock,
        replies: Arc::new(replies),
        checkpointer: checkpointer.noting(store),
        metrics,
        on_committed: on_committed(incarnation, &gateway),
        tick_after_ms: Some(TICK_AFTER_MS),
    });
    let checkpoints = {
        let (store, metrics) = (Arc::clone(&context.store), Arc::clone(&context.metrics));
        spawn("checkpoints", move || work.run(store.as_ref(), metrics.as_ref()))?
    };
    let gateway_of = (incarnation, &gateway);
    let threads = Threads::start(&log, &context, &replica, gateway_of, (kafka.roles, config.deadline_default_ms))?;
    drop(context);
    let end = move || {
        // What this process has appended is in the log before its owners stop: those it still owns decide it.
        if let Some(sink) = sink {
            let left = sink.close(CLOSE_LIMIT);
            if left > 0 {
                tracing::error!(left, "commands of this process are not known to be in the log, and not waited for");
            }
        }
        let ended = threads.end() && checkpoints.join().is_ok() && flushing.end();
        drop(hold);
        ended
    };
    Ok(LogRuntime { gateway, tail, end: Box::new(end) })
}

/// Checks the cluster and opens the log.
fn open(config: &Config, kafka: &config::Kafka) -> Result<Kafka, StartError> {
    let (log, cluster_id) = checked(config, kafka, preflight)?;
    tracing::info!(cluster_id, partitions = log.manifest().partitions, "the cluster is as it should be");
    Ok(log)
}

/// What the data directory keeps beside the log. A log that is not the one that it has seen is refused; a partition of
/// which something is gone stops by itself.
fn keep(config: &Config, kafka: &config::Kafka, log: &Kafka) -> Result<(Arc<SledStore>, Flushing), StartError> {
    let (store, found) = (Arc::new(SledStore::open(&config.data_dir)), log.manifest().log_id);
    for partition in store.kept().map_err(|error| StartError::Witness(error.detail))? {
        // What cannot be read stops that partition.
        let seen = store.seen(partition).unwrap_or_default();
        if let Some(other) = seen.iter().find(|seen| seen.log_id != found) {
            let loss = Loss { partition, what: What::OtherLog { seen: other.log_id, found } };
            let topics = &kafka.topics;
            return Err(StartError::OtherLog(format!("{} (in {})", told(&[loss], found), topics.events)));
        }
    }
    let flushing = Flushing::start(&store, found, log.manifest().partitions)?;
    let dir = &config.data_dir;
    keep_topics(dir, &log.cluster().topics).map_err(|error| StartError::Io(dir.clone(), error))?;
    Ok((store, flushing))
}

/// What an event read from the log may be: the outcome of one of this process's calls.
fn on_committed(incarnation: u64, gateway: &Arc<Gateway>) -> Box<dyn Fn(&ChainedEvent) + Send + Sync> {
    let gateway = Arc::downgrade(gateway);
    Box::new(move |recorded| {
        let reply_to = recorded.event.command().and_then(|command| command.reply_to);
        if let (Some(to), Some(gateway)) = (reply_to.filter(|to| *to == incarnation), gateway.upgrade()) {
            gateway.send(vec![Reply { to, decided: recorded.clone() }]);
        }
    })
}

/// The sink of a process that takes no calls.
struct NoWayIn;

impl CommandSink for NoWayIn {
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

/// Everything that runs until the end.
struct Threads {
    ending: Arc<AtomicBool>,
    /// Dropped to have all owners stop.
    shutdown: Sender<()>,
    ownership: JoinHandle<()>,
    member: Option<Member>,
    /// Followers, replies, the probe and beats: they end after the owners.
    others: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start(
        log: &Kafka,
        context: &Arc<OwnerContext>,
        replica: &Arc<Replica>,
        (incarnation, gateway): (u64, &Arc<Gateway>),
        (roles, deadline_ms): (config::Roles, u64),
    ) -> Result<Threads, StartError> {
        let ending = Arc::new(AtomicBool::new(false));
        let mut others = Vec::new();
        if roles.gateway {
            // Positioned before anything can be asked.
            let reader = log.reply_reader(incarnation)?;
            let (log, gateway, ending) = (log.clone(), Arc::clone(gateway), Arc::clone(&ending));
            others.push(spawn("replies", move || read_replies(&log, reader, incarnation, &gateway, &ending))?);
        }
        let probe = Arc::new(EndOffsetProbe::new(replica.partition_count()));
        {
            let stream = log.stream()?;
            let (context, replica) = (Arc::clone(context), Arc::clone(replica));
            let (probe, ending) = (Arc::clone(&probe), Arc::clone(&ending));
            others.push(spawn("follower", move || follow(stream, &context, &replica, &probe, &ending))?);
        }
        {
            let (log, context, replica) = (log.clone(), Arc::clone(context), Arc::clone(replica));
            let ending = Arc::clone(&ending);
            others.push(spawn("probe", move || probe_ends(&log, &context, &replica, &probe, &ending))?);
        }
        {
            let (notes, replica, ending) = (log.notes()?, Arc::clone(replica), Arc::clone(&ending));
            others.push(spawn("beats", move || hear(&notes, &replica, &ending))?);
        }
        let (member, changes) = if roles.owner {
            (0..replica.partition_count()).for_each(|partition| log.prepare(partition));
            let [warming, handed_over, replica] = [replica; 3].map(Arc::clone);
            let (member, changes) = log.join(move || fitness(&warming), move || positions(&replica))?;
            let ending = Arc::clone(&ending);
            let watch = Watch::new(log, handed_over, context, member.door(), deadline_ms)?;
            others.push(spawn("handover", move || watch.run(&ending))?);
            (Some(member), changes)
        } else {
            (None, never())
        };
        let (shutdown, told) = bounded(0);
        let (log, context, replica) = (log.clone(), Arc::clone(context), Arc::clone(replica));
        let owning = Owning::new(log, context, replica);
        let ownership = spawn("ownership", move || owning.run(&changes, &told))?;
        Ok(Threads { ending, shutdown, ownership, member, others })
    }

    fn end(self) -> bool {
        drop(self.shutdown);
        let mut ended = true;
        // The group hears that this process has gone when its owners have stopped.
        let leaving = self.member.and_then(|member| spawn("leaving", move || member.leave()).ok());
        ended &= self.ownership.join().is_ok();
        if leaving.is_some_and(|leaving| !ends_within(leaving, GROUP_LIMIT)) {
            tracing::error!(
                "the group of owners was not left: it gives the partitions away when it has missed this process"
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

/// Waits for a thread to end, and no longer than this.
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

/// Keeps what is current known to be so, what brokers' clocks show, and whether the cluster answers.
fn probe_ends(log: &Kafka, context: &OwnerContext, replica: &Replica, probe: &EndOffsetProbe, ending: &AtomicBool) {
    let paces = log.paces();
    while !ending.load(Relaxed) {
        for (partition, handle) in (0..).zip(replica.partitions()) {
            handle.set_stamp(paces.stamp(partition));
        }
        probe.look(replica, context.clock.as_ref(), |partition| {
            // Each may have to be waited for.
            if ending.load(Relaxed) {
                return None;
            }
            Some((log.whole_end(partition)?, log.written_end(partition)))
        });
        pause_unless(PULSE, || ending.load(Relaxed));
    }
}

/// Keeps known whether partitions have owners.
fn hear(notes: &Notes, replica: &Replica, ending: &AtomicBool) {
    while !ending.load(Relaxed) {
        let beats = notes.beats().unwrap_or_else(|error| {
            tracing::debug!(%error, "nobody knows which partitions have owners");
            BTreeMap::new()
        });
        for (partition, handle) in (0..).zip(replica.partitions()) {
            handle.set_beat(beats.get(&partition).copied().flatten());
        }
        pause_unless(BEAT, || ending.load(Relaxed));
    }
}

/// What this process could do as an owner. A partition that it cannot read now does not keep it from the others, and nor
/// does one that has stopped: a partition stops where its log is broken, which every process sees alike.
fn fitness(replica: &Replica) -> Fitness {
    if replica.has_stopped() {
        return Fitness::Never;
    }
    let is_warm =
        |handle: &Arc<PartitionHandle>| handle.status() != PartitionStatus::Restoring && !handle.has_stopped();
    match (replica.partitions().any(is_warm), replica.partitions().all(|handle| handle.is_as_warm_as_can_be())) {
        (true, true) => Fitness::Whole,
        (true, false) => Fitness::Partial,
        (false, _) => Fitness::Nothing,
    }
}

fn positions(replica: &Replica) -> Vec<(u32, u64)> {
    let owned = replica.partitions().filter(|handle| handle.status() == PartitionStatus::Active);
    owned.map(|handle| (handle.id(), handle.read(|state| state.position().next_input))).collect()
}

fn read_replies(log: &Kafka, reader: ReplyReader, incarnation: u64, gateway: &Gateway, ending: &AtomicBool) {
    let mut reader = Some(reader);
    while !ending.load(Relaxed) {
        let Some(reading) = &reader else {
            pause_unless(RETRY, || ending.load(Relaxed));
            reader = log.reply_reader(incarnation).ok();
            continue;
        };
        match reading.next(LOOK) {
            Ok(replies) if replies.is_empty() => {}
            Ok(replies) => gateway.send(replies),
            Err(error) => {
                tracing::warn!(%error, "replies cannot be read; the committed tail tells them until they can");
                reader = None;
            }
        }
    }
}

fn follow(stream: Stream, context: &OwnerContext, replica: &Replica, probe: &EndOffsetProbe, ending: &AtomicBool) {
    let recovery = context.recovery();
    let mut follower = Follower::new(stream, replica, &recovery, &context.checkpointer, probe);
    while !ending.load(Relaxed) {
        if let Err(error) = follower.round(LOOK) {
            tracing::warn!(%error, "cannot follow the log; trying again");
            pause_unless(RETRY, || ending.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_stands_for_what_it_has() {
        let halted = || PartitionStatus::Failed("L3 broken".to_owned());
        let cases = [
            (vec![PartitionStatus::Restoring, PartitionStatus::Restoring], None, Fitness::Nothing),
            (vec![PartitionStatus::Restoring, PartitionStatus::Restoring], Some(0), Fitness::Nothing),
            (vec![PartitionStatus::Standby, PartitionStatus::Restoring], None, Fitness::Partial),
            (vec![PartitionStatus::Standby, PartitionStatus::Restoring], Some(1), Fitness::Whole),
            (vec![PartitionStatus::Standby, PartitionStatus::Standby], None, Fitness::Whole),
            (vec![PartitionStatus::Standby, halted()], None, Fitness::Whole),
            (vec![PartitionStatus::Restoring, halted()], None, Fitness::Nothing),
            (vec![PartitionStatus::Restoring, halted()], Some(0), Fitness::Nothing),
            (vec![PartitionStatus::Unreadable("no state".to_owned()), halted()], None, Fitness::Never),
        ];
        for (moods, unread, expected) in cases {
            let replica = Replica::shared(2);
            let said = format!("{moods:?}, {unread:?}");
            for (partition, (handle, status)) in (0..).zip(replica.partitions().zip(moods)) {
                handle.set_status(status);
                handle.set_unread((unread == Some(partition)).then(|| "no leader".to_owned()));
            }
            assert_eq!(fitness(&replica), expected, "{said}");
        }
    }
}
