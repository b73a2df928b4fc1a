//! This process's membership in the group of owners, which assigns partitions to processes. An assignment is a hint: the
//! fence decides who owns a partition. The group's consumer reads nothing: its partitions are paused as soon as they are
//! assigned.

use super::distance::Note;
use super::process::ProcessName;
use crate::limits::OWNER_BEAT_MS;
use crate::log::kafka::client::callbacks::ClientLog;
use crate::log::kafka::client::classify;
use crate::log::kafka::client::reader::{number, offset_of};
use crate::log::kafka::data::context::LogContext;
use crate::log::{Fitness, JoinedGroup, LogError, Membership, MembershipChange, OwnedPosition};
use crate::threads;
use crate::time::{Stopwatch, pause};
use crossbeam_channel::{RecvTimeoutError, SendTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for owners to give up partitions that are revoked: a third of the session timeout.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for one poll of the group's consumer.
const LOOK: Duration = Duration::from_millis(50);
/// After this time a process joins that is only [`Fitness::Partial`].
const WARM_LIMIT: Duration = Duration::from_secs(60);
/// Time between two notes. Tools compute the lag from their offsets, and other processes see that there is an owner.
const NOTE_EVERY: Duration = Duration::from_millis(OWNER_BEAT_MS);
/// After this time it is said again what keeps a process out of the group. The client tries once a second.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Most changes that wait for their receiver.
const NEWS_MAX: usize = 64;

/// What the owner of a [`Member`] wants of its thread.
#[derive(Default)]
struct Wishes {
    is_resting: AtomicBool,
    is_leaving: AtomicBool,
    /// Whether it was called since it began, and so may enter although it is [`Fitness::Lacking`].
    is_called: AtomicBool,
    has_entered: AtomicBool,
}

/// This process's membership: a thread that polls the group's consumer.
pub(in crate::log::kafka) struct Member {
    wishes: Arc<Wishes>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Member {
    /// Starts the thread; what it does is said at [`ClusterLog::join`](crate::log::ClusterLog::join).
    pub(in crate::log::kafka) fn join(
        context: &Arc<LogContext>,
        fitness: Box<dyn Fn() -> Fitness + Send>,
        positions: Box<dyn Fn() -> Vec<OwnedPosition> + Send>,
    ) -> Result<JoinedGroup, LogError> {
        let (news, changes) = bounded(NEWS_MAX);
        let cluster = &context.cluster;
        let mut member = cluster.member(context.manifest.log_id);
        // By it this process is known to be the one of the other group.
        member.set("client.id", ProcessName::own().to_string());
        let consumer: Result<BaseConsumer<ClientLog<Group>>, _> = member.create_with_context(ClientLog(Group { news }));
        let consumer =
            consumer.map_err(|error| classify::failed("creating the member of the group of owners", &error))?;
        let (topic, wishes) = (cluster.topics.commands.clone(), Arc::new(Wishes::default()));
        let (context, told, since) = (Arc::clone(context), Arc::clone(&wishes), Stopwatch::start());
        let work = Work { context, consumer, topic, wishes: told, fitness, positions, since };
        let thread = threads::spawn("membership", move || work.run());
        let thread = thread.map_err(|error| LogError::no_thread(&error))?;
        let membership = Arc::new(Member { wishes, thread: Mutex::new(Some(thread)) });
        Ok(JoinedGroup { membership, changes })
    }
}

impl Membership for Member {
    fn rest(&self) {
        self.wishes.is_resting.store(true, Relaxed);
    }

    fn resume(&self) {
        self.wishes.is_resting.store(false, Relaxed);
        self.wishes.is_called.store(true, Relaxed);
    }

    fn has_entered(&self) -> bool {
        self.wishes.has_entered.load(Relaxed)
    }

    fn leave(&self) {
        self.wishes.is_leaving.store(true, Relaxed);
        let thread = self.thread.lock().take();
        // A thread that panicked has left; the group will find out.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

struct Work {
    context: Arc<LogContext>,
    consumer: BaseConsumer<ClientLog<Group>>,
    topic: String,
    wishes: Arc<Wishes>,
    fitness: Box<dyn Fn() -> Fitness + Send>,
    positions: Box<dyn Fn() -> Vec<OwnedPosition> + Send>,
    /// Time since the membership began: it numbers the notes.
    since: Stopwatch,
}

impl Work {
    fn run(self) {
        let mut warming = Stopwatch::start();
        loop {
            if self.is_over() {
                return;
            }
            match (self.fitness)() {
                Fitness::Whole => break,
                Fitness::Partial if warming.elapsed() >= WARM_LIMIT => break,
                Fitness::Lacking if self.wishes.is_called.load(Relaxed) => break,
                // What was lacking has to be read yet when it comes.
                Fitness::Lacking => {
                    warming = Stopwatch::start();
                    pause(LOOK);
                }
                Fitness::Partial | Fitness::Nothing | Fitness::Never => pause(LOOK),
            }
        }
        self.wishes.has_entered.store(true, Relaxed);
        let (mut is_in, mut noted, mut told) = (false, Stopwatch::start(), None);
        while !self.is_over() {
            let is_out = self.wishes.is_resting.load(Relaxed);
            if is_in == is_out {
                is_in = !is_out;
                self.pass(is_in);
            }
            // The poll runs the callbacks of rebalances. It never returns a record.
            if let Some(Err(error)) = self.consumer.poll(LOOK) {
                tell(error, &mut told);
            }
            if is_in && noted.elapsed() >= NOTE_EVERY {
                noted = Stopwatch::start();
                self.note();
            }
        }
        self.note();
        // Dropping the consumer leaves the group: what is still assigned is revoked first.
    }

    /// Enters or leaves the group. Leaving takes effect while the consumer is polled: what is assigned is revoked first.
    fn pass(&self, is_in: bool) {
        if !is_in {
            self.consumer.unsubscribe();
        } else if let Err(error) = self.consumer.subscribe(&[&self.topic]) {
            tracing::error!(%error, "this process cannot join the group of owners");
        }
    }

    /// Whether the membership ends: this process leaves, or can serve no partition any more.
    fn is_over(&self) -> bool {
        let is_useless = (self.fitness)() == Fitness::Never;
        if is_useless {
            tracing::error!("every partition has stopped: this process leaves the group of owners");
        }
        is_useless || self.wishes.is_leaving.load(Relaxed)
    }

    fn note(&self) {
        let mut list = TopicPartitionList::new();
        let note = Note { trip_us: self.context.round_trip_us.load(Relaxed), beat: self.since.now().0 };
        for OwnedPosition { partition, next_input } in (self.positions)() {
            let offset = Offset::Offset(offset_of(next_input));
            let mut place = list.add_partition(&self.topic, number(partition));
            // Setting an offset fails only if it is negative.
            let _ = place.set_offset(offset);
            place.set_metadata(note.to_string());
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "the notes of owners could not be written");
        }
    }
}

/// Says what keeps this process out of the group, unless it was said a moment ago. `told` is what was said last, and the time
/// since then.
fn tell(error: KafkaError, told: &mut Option<(KafkaError, Stopwatch)>) {
    let is_told = told.as_ref().is_some_and(|(last, since)| *last == error && since.elapsed() < TOLD_EVERY);
    if is_told || !classify::keeps_out_of_group(&error) {
        return tracing::debug!(%error, "polling the group of owners failed");
    }
    tracing::error!(%error, "this process cannot join the group of owners");
    *told = Some((error, Stopwatch::start()));
}

struct Group {
    news: Sender<MembershipChange>,
}

impl ConsumerContext for ClientLog<Group> {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<u32> =
            list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
        let done = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Nothing is fetched, so any offset will do; with a given one the cluster need not be asked.
            let assigned = list.set_all_offsets(Offset::Offset(0)).and_then(|()| consumer.incremental_assign(list));
            let paused = assigned.and_then(|()| consumer.pause(list));
            self.0.tell(MembershipChange::Assigned(partitions));
            paused
        } else if consumer.assignment_lost() {
            self.0.tell(MembershipChange::Lost(partitions));
            consumer.incremental_unassign(list)
        } else {
            let (released, wait) = bounded(1);
            self.0.tell(MembershipChange::Revoked { partitions, released });
            // The sender is dropped when there are no owners.
            if wait.recv_timeout(RELEASE_LIMIT) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!("an owner did not give up its partition in time: the next owner will fence it");
            }
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "an assignment of the group could not be applied");
        }
    }
}

impl Group {
    fn tell(&self, change: MembershipChange) {
        // The receiver is gone when the process is about to end.
        if let Err(SendTimeoutError::Timeout(change)) = self.news.send_timeout(change, RELEASE_LIMIT) {
            tracing::error!(?change, "a change of the group of owners was not received in time");
        }
    }
}
