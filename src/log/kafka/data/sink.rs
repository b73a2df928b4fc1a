//! Appending commands to `commands[p]`. One thread hands them to an idempotent client, so that each command is in the log
//! once and in the order of appending. Under load it gathers commands for a few milliseconds, because the cost is in the
//! requests and not in their records.
//!
//! The client never gives a command up that it has taken. One that it does not take, such as of a topic that is gone, is not in
//! the log. When the client itself fails for good (a fatal error), the thread makes a new one.
//! Commands that were in flight then may or may not be in the log. They are not sent again, and their callers run into the
//! deadline. An Abandon is sent again, because it may be decided twice.

use super::context::LogContext;
use super::progress::Progress;
use super::record;
use crate::domain::CommandId;
use crate::limits::{QUEUED_ABANDONS_RESERVE, QUEUED_COMMANDS_MAX};
use crate::log::kafka::client::callbacks::ClientLog;
use crate::log::kafka::client::classify;
use crate::log::kafka::client::reader::number;
use crate::log::kafka::client::settings::Cluster;
use crate::log::kafka::schema::framing::{Framing, fingerprint_of};
use crate::log::{AppendError, CommandProducer, CommandSink, LogError, NewCommand};
use crate::threads;
use crate::time::{Stopwatch, pause};
use crate::trace::TraceContext;
use crate::wire::frame::Fingerprint;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};
use parking_lot::{Mutex, RwLock};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Commands a second above which they are gathered.
const GATHER_ABOVE_PER_S: f64 = 1_500.0;
/// How long commands are gathered.
const GATHER: Duration = Duration::from_millis(3);
/// Most commands of one partition that may be in flight when more are handed to the client. With five in flight the client
/// sends nothing more of that partition, and meanwhile its thread spins on what it was given: it would take a core from the
/// brokers that it waits for.
const IN_FLIGHT_ROOM: usize = 4;
/// Headers of a command, as many as it can have: log, schema, and those of the trace.
const HEADERS: usize = 4;
/// Time between two looks for Abandons that were not delivered.
const LOOK: Duration = Duration::from_millis(50);

struct QueuedCommand {
    partition: u32,
    key: Vec<u8>,
    bytes: Vec<u8>,
    /// The schema of the bytes, for the record's header.
    schema: Option<Fingerprint>,
    cancels: Option<CommandId>,
    trace: Option<TraceContext>,
}

type OnAbandonDurable = Box<dyn Fn(CommandId) + Send + Sync>;

struct Common {
    log_id: u128,
    cluster: Arc<Cluster>,
    framing: Arc<Framing>,
    progress: Arc<Vec<Progress>>,
    /// By partition: how many commands the client holds.
    in_flight: Vec<AtomicUsize>,
    /// Wakes the thread when a partition has room again.
    landed: Sender<()>,
    is_closed: AtomicBool,
    /// Abandons that a client failed to deliver: they are sent again.
    again: Mutex<Vec<QueuedCommand>>,
    told: Told,
    on_abandon_durable: RwLock<Option<OnAbandonDurable>>,
}

impl Common {
    /// Whether the client would send more commands of this partition.
    fn has_room(&self, partition: u32) -> bool {
        self.in_flight.get(partition as usize).is_none_or(|count| count.load(Relaxed) <= IN_FLIGHT_ROOM)
    }

    fn leaves(&self, partition: u32) {
        if let Some(count) = self.in_flight.get(partition as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn lands(&self, partition: u32) {
        let count = self.in_flight.get(partition as usize).map(|count| count.fetch_sub(1, Relaxed));
        if count.is_some_and(|before| before == IN_FLIGHT_ROOM + 1) {
            // Rung already is rung.
            let _ = self.landed.try_send(());
        }
    }

    /// Notes that a command is not known to be in the log: the client did not take it, or gave it up. An Abandon is sent again.
    fn undelivered(&self, command: QueuedCommand, error: &KafkaError) {
        let partition = command.partition;
        self.lands(partition);
        if self.told.is_news(partition, true) {
            tracing::warn!(partition, %error, "commands are not written to the log");
        }
        if command.cancels.is_some() {
            self.again.lock().push(command);
        } else if let Some(progress) = self.progress.get(partition as usize) {
            progress.arrived(None);
        }
    }
}

/// By partition: whether the last thing that the log said of it is that commands are not written. What the cluster refuses, it
/// refuses thousands of times in a second, and Abandons are sent again and again: one line says so, and one that it is over.
struct Told(Vec<AtomicBool>);

impl Told {
    fn of(partitions: u32) -> Told {
        Told((0..partitions).map(|_| AtomicBool::new(false)).collect())
    }

    /// Takes whether a command of this partition could not be written. Answers whether that differs from what was told last.
    fn is_news(&self, partition: u32, is_failed: bool) -> bool {
        self.0.get(partition as usize).is_some_and(|told| told.swap(is_failed, Relaxed) != is_failed)
    }
}

/// The producer of one process's commands, with a thread that hands them to the client.
pub(in crate::log::kafka) struct Sink {
    common: Arc<Common>,
    queue: Sender<QueuedCommand>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sink {
    pub(in crate::log::kafka) fn new(context: &LogContext) -> Result<Sink, LogError> {
        let (bell, landed) = bounded(1);
        let common = Arc::new(Common {
            in_flight: context.progress.iter().map(|_| AtomicUsize::new(0)).collect(),
            landed: bell,
            log_id: context.manifest.log_id,
            cluster: Arc::clone(&context.cluster),
            framing: Arc::clone(&context.framing),
            progress: Arc::clone(&context.progress),
            is_closed: AtomicBool::new(false),
            again: Mutex::new(Vec::new()),
            told: Told::of(context.manifest.partitions),
            on_abandon_durable: RwLock::new(None),
        });
        let (queue, commands) = bounded(QUEUED_COMMANDS_MAX);
        let work = Work {
            producer: producer(&common)?,
            common: Arc::clone(&common),
            commands,
            landed,
            lanes: BTreeMap::new(),
            per_s: 0.0,
            since: Stopwatch::start(),
            looked: Stopwatch::start(),
        };
        let thread = threads::spawn("commands", move || work.run());
        let thread = thread.map_err(|error| LogError::no_thread(&error))?;
        Ok(Sink { common, queue, thread: Mutex::new(Some(thread)) })
    }
}

impl CommandProducer for Sink {
    fn on_abandon_durable(&self, told: Box<dyn Fn(CommandId) + Send + Sync>) {
        *self.common.on_abandon_durable.write() = Some(told);
    }

    fn close(&self, limit: Duration) -> usize {
        self.common.is_closed.store(true, Relaxed);
        let closing = Stopwatch::start();
        loop {
            let left = self.common.progress.iter().map(Progress::unacked).sum();
            if left == 0 || closing.elapsed() >= limit {
                return left;
            }
            pause(Duration::from_millis(1));
        }
    }
}

/// Whether the queue of a partition is full, where `waiting` commands wait and `own` of them are of this process. An Abandon
/// counts own commands only: commands of other processes must not keep it from taking a Reserve back.
fn is_full(is_abandon: bool, waiting: usize, own: usize) -> bool {
    if is_abandon {
        return own >= QUEUED_COMMANDS_MAX;
    }
    waiting >= QUEUED_COMMANDS_MAX.saturating_sub(QUEUED_ABANDONS_RESERVE)
}

impl CommandSink for Sink {
    fn append(&self, command: NewCommand<'_>) -> Result<(), AppendError> {
        let common = &self.common;
        let progress = common.progress.get(command.partition as usize).ok_or(AppendError::Closed)?;
        if common.is_closed.load(Relaxed) {
            return Err(AppendError::Closed);
        }
        let is_abandon = command.cancels.is_some();
        if !progress.hand_over(|waiting, own| is_full(is_abandon, waiting, own)) {
            return Err(AppendError::Full);
        }
        let NewCommand { partition, key, bytes, cancels, trace } = command;
        let schema = fingerprint_of(bytes);
        let bytes = common.framing.outgoing(bytes.to_vec());
        let (key, trace) = (key.to_vec(), trace.cloned());
        let queued = self.queue.try_send(QueuedCommand { partition, key, bytes, schema, cancels, trace });
        queued.map_err(|error| {
            progress.arrived(None);
            match error {
                TrySendError::Full(_) => AppendError::Full,
                TrySendError::Disconnected(_) => AppendError::Closed,
            }
        })
    }

    fn waiting(&self, partition: u32) -> usize {
        self.common.progress.get(partition as usize).map_or(0, Progress::waiting)
    }

    fn stalled(&self, partition: u32) -> Duration {
        self.common.progress.get(partition as usize).map(Progress::stalled).unwrap_or_default()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let (nobody, _) = bounded(0);
        drop(std::mem::replace(&mut self.queue, nobody));
        // A thread that panicked has nothing left to send.
        let _ = self.thread.lock().take().map(JoinHandle::join);
    }
}

type Delivery = ClientLog<Arc<Common>>;

impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<Option<CommandId>>;

    fn delivery(&self, result: &DeliveryResult<'_>, cancels: Box<Option<CommandId>>) {
        let (message, failure) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        let partition = u32::try_from(message.partition()).unwrap_or_default();
        if let Some(error) = failure {
            let copy = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
            let (key, bytes) = (copy(message.key()), copy(message.payload()));
            let (schema, cancels, trace) = (record::schema_of(message), *cancels, record::trace_of(message));
            return self.0.undelivered(QueuedCommand { partition, key, bytes, schema, cancels, trace }, error);
        }
        self.0.lands(partition);
        if self.0.told.is_news(partition, false) {
            tracing::info!(partition, "commands are written to the log again");
        }
        if let Some(progress) = self.0.progress.get(partition as usize) {
            progress.arrived(u64::try_from(message.offset()).ok());
        }
        if let (Some(id), Some(on_abandon_durable)) = (*cancels, &*self.0.on_abandon_durable.read()) {
            on_abandon_durable(id);
        }
    }
}

type Client = ThreadedProducer<Delivery>;

fn producer(common: &Arc<Common>) -> Result<Client, LogError> {
    let made = common.cluster.commands().create_with_context(ClientLog(Arc::clone(common)));
    made.map_err(|error| classify::failed("creating the producer of commands", &error))
}

/// How long the thread rests. `due` is the time until the next lane is handed over, `None` when no lane has a partition with
/// room. While commands are gathered they wake nobody. So when all lanes wait for room, the thread looks for commands of other
/// partitions as often as it gathers: a partition to which nothing can be written must not delay the others.
fn rest(gathers_for: Duration, has_lanes: bool, due: Option<Duration>) -> Duration {
    let look = if has_lanes && !gathers_for.is_zero() { gathers_for } else { LOOK };
    due.unwrap_or(look).min(LOOK)
}

/// Whether a command does not wake the thread, and is found when the wait ends. Once the sink is closed the thread has to see
/// that no command will come any more, also where no lane has room.
fn is_gathering(gathers_for: Duration, has_lanes: bool, is_closed: bool) -> bool {
    !gathers_for.is_zero() && has_lanes && !is_closed
}

/// Commands of one partition that wait to be handed to the client.
struct Lane {
    commands: Vec<QueuedCommand>,
    /// Time since the first of them came.
    since: Stopwatch,
}

struct Work {
    common: Arc<Common>,
    producer: Client,
    commands: Receiver<QueuedCommand>,
    landed: Receiver<()>,
    /// By partition, those for which commands wait.
    lanes: BTreeMap<u32, Lane>,
    /// Commands a second: a moving average.
    per_s: f64,
    /// Time since commands were last handed over.
    since: Stopwatch,
    /// Time since the last look for Abandons that were not delivered.
    looked: Stopwatch,
}

impl Work {
    fn run(mut self) {
        let (commands, landed, nothing) = (self.commands.clone(), self.landed.clone(), never());
        loop {
            if self.looked.elapsed() >= LOOK {
                self.looked = Stopwatch::start();
                let undelivered = std::mem::take(&mut *self.common.again.lock());
                undelivered.into_iter().for_each(|command| self.send(command));
            }
            let (has_lanes, is_closed) = (!self.lanes.is_empty(), self.common.is_closed.load(Relaxed));
            let coming = if is_gathering(self.gathers_for(), has_lanes, is_closed) { &nothing } else { &commands };
            select! {
                recv(coming) -> command => match command {
                    Ok(command) => self.queue(command),
                    Err(_) => {
                        let left = std::mem::take(&mut self.lanes).into_values().flat_map(|lane| lane.commands);
                        return left.for_each(|command| self.send(command));
                    }
                },
                recv(landed) -> _ => {},
                default(self.wait()) => {},
            }
            commands.try_iter().for_each(|command| self.queue(command));
            self.hand_over();
        }
    }

    fn queue(&mut self, command: QueuedCommand) {
        let lane = || Lane { commands: Vec::new(), since: Stopwatch::start() };
        self.lanes.entry(command.partition).or_insert_with(lane).commands.push(command);
    }

    fn gathers_for(&self) -> Duration {
        if self.per_s > GATHER_ABOVE_PER_S { GATHER } else { Duration::ZERO }
    }

    /// How long there is nothing to do, unless a command comes or is delivered.
    fn wait(&self) -> Duration {
        let gathers_for = self.gathers_for();
        let free = self.lanes.iter().filter(|(partition, _)| self.common.has_room(**partition));
        let due = free.map(|(_, lane)| lane.since.left_of(gathers_for)).min();
        rest(gathers_for, !self.lanes.is_empty(), due)
    }

    fn hand_over(&mut self) {
        let gathers_for = self.gathers_for();
        let is_due =
            |partition: u32, lane: &Lane| lane.since.left_of(gathers_for).is_zero() && self.common.has_room(partition);
        let due: Vec<u32> = self.lanes.iter().filter(|(p, lane)| is_due(**p, lane)).map(|(p, _)| *p).collect();
        let mut count = 0u32;
        for lane in due.iter().filter_map(|partition| self.lanes.remove(partition)).collect::<Vec<_>>() {
            for command in lane.commands {
                self.send(command);
                count = count.saturating_add(1);
            }
        }
        if count > 0 {
            let elapsed = self.since.elapsed().as_secs_f64().max(1e-6);
            self.since = Stopwatch::start();
            let weight = (elapsed / 0.05).min(1.0);
            self.per_s += weight * (f64::from(count) / elapsed - self.per_s);
        }
    }

    fn send(&mut self, command: QueuedCommand) {
        self.common.leaves(command.partition);
        let mut is_told = false;
        while let Err(error) = self.try_send(&command) {
            if self.producer.client().fatal_error().is_some() {
                // It may be that none can be made for a while.
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(%error, "the producer of commands has failed for good: replacing it");
                }
                if let Ok(another) = producer(&self.common) {
                    // The old one reports what it still holds as undelivered when it is dropped.
                    self.producer = another;
                }
            } else if !classify::is_queue_full(&error) {
                // The client refuses it at once, such as for a partition that the topic does not have: it must not delay others.
                return self.common.undelivered(command, &error);
            }
            // `close` has returned how many are left.
            if self.common.is_closed.load(Relaxed) {
                return;
            }
            pause(Duration::from_millis(1));
        }
    }

    fn try_send(&self, command: &QueuedCommand) -> Result<(), KafkaError> {
        let headers = record::with_log(OwnedHeaders::new_with_capacity(HEADERS), self.common.log_id);
        let headers = record::with_trace(record::with_schema(headers, command.schema), command.trace.as_ref());
        let record = BaseRecord::with_opaque_to(&self.common.cluster.topics.commands, Box::new(command.cancels))
            .partition(number(command.partition))
            .key(command.key.as_slice())
            .payload(command.bytes.as_slice())
            .headers(headers);
        self.producer.send(record).map_err(|(error, _)| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_waiting_sheds_calls_and_no_abandons() {
        assert!(is_full(false, QUEUED_COMMANDS_MAX, 0) && !is_full(true, QUEUED_COMMANDS_MAX, 0));
        assert!(is_full(false, QUEUED_COMMANDS_MAX - QUEUED_ABANDONS_RESERVE, 0));
        assert!(!is_full(true, QUEUED_COMMANDS_MAX, QUEUED_COMMANDS_MAX - 1), "these have places of their own");
        assert!(is_full(true, QUEUED_COMMANDS_MAX, QUEUED_COMMANDS_MAX));
    }

    /// The story: the right to write commands was taken away. Each call was a line, and each of its Abandons twenty in a second,
    /// which pushed everything else out of the log and out of the support bundle.
    #[test]
    fn commands_that_are_not_written_are_told_once_and_when_they_are_again() {
        let told = Told::of(2);
        let said = [false, true, true, true, false, false, true].map(|is_failed| told.is_news(1, is_failed));
        assert_eq!(said, [false, true, false, false, true, false, true]);
        assert!(told.is_news(0, true), "each partition is told of");
        assert!(!told.is_news(2, true), "the log has none of this number");
    }

    /// The story: under load the leader of one partition is away, so that its commands stay in their lane. Commands of all
    /// other partitions then waited until the thread looked again by itself.
    #[test]
    fn a_partition_without_room_does_not_delay_the_commands_of_others() {
        assert_eq!(rest(GATHER, true, None), GATHER);
        let soon = Duration::from_millis(1);
        assert_eq!((rest(GATHER, true, Some(soon)), rest(GATHER, true, Some(Duration::MAX))), (soon, LOOK));
        // A command wakes the thread.
        assert_eq!((rest(GATHER, false, None), rest(Duration::ZERO, true, None)), (LOOK, LOOK));
    }

    /// The story: a process was to end while its cluster was away, after it had been under load. No lane had room, so the thread
    /// gathered for ever, and never saw that no more commands would come.
    #[test]
    fn nothing_is_gathered_once_the_sink_is_closed() {
        assert!(is_gathering(GATHER, true, false) && !is_gathering(GATHER, true, true));
        assert!(!is_gathering(GATHER, false, false) && !is_gathering(Duration::ZERO, true, false));
    }
}
