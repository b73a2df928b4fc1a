//! The group of owners: who should own what. It is a hint, for the fence is the truth. Its consumer reads nothing: its
//! partitions are paused as soon as they are given, and stand at an offset that nobody asks for.

use super::distance::Note;
use crate::limits::OWNER_BEAT_MS;
use crate::log::LogError;
use crate::log::kafka::client::classify;
use crate::log::kafka::client::context::ClientLog;
use crate::log::kafka::client::reader::{number, offset_of};
use crate::log::kafka::{Inner, Kafka};
use crate::threads;
use crate::time::{Stopwatch, pause};
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for owners that have to give up their partitions: a third of the session's.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for news of the group.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for this process to be warm before it joins.
const WARM_LIMIT: Duration = Duration::from_secs(60);
/// Time between two notes of how far owners are: tools show lag by them, and other processes that there is an owner.
const NOTE_EVERY: Duration = Duration::from_millis(OWNER_BEAT_MS);
/// News of the group that nobody has heard yet.
const NEWS_MAX: usize = 64;

/// What the group says.
#[derive(Clone, Debug)]
pub enum Change {
    /// These are to be owned by this process.
    Assigned(Vec<u32>),
    /// The group has not heard of this process for so long that it may have given these to others.
    Lost(Vec<u32>),
    /// These are not any more. Whoever has given them up says so, and others may take them.
    Revoked(Vec<u32>, Sender<()>),
}

/// Whether this process is to be a member of the group.
#[derive(Clone, Default)]
pub struct Door {
    is_out: Arc<AtomicBool>,
}

impl Door {
    /// The group gives this process's partitions to others, and none to it until it enters.
    pub fn leave(&self) {
        self.is_out.store(true, Relaxed);
    }

    /// The group may give partitions to this process again.
    pub fn enter(&self) {
        self.is_out.store(false, Relaxed);
    }
}

/// What a process could do for the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fitness {
    /// It has the state of every partition, but for those that nobody can read now and those that have stopped.
    Whole,
    /// It has the state of some, and is about to have that of others.
    Partial,
    /// It has none yet: whatever it were given would lie idle.
    Nothing,
    /// All its partitions have stopped for good.
    Never,
}

/// This process's membership.
pub struct Member {
    door: Door,
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Kafka {
    /// Joins the group as soon as this process is [`Fitness::Whole`], or after a minute [`Fitness::Partial`]: whoever is
    /// given partitions before it has their states keeps others from serving them. Who can serve nothing does not join,
    /// and leaves for good at [`Fitness::Never`]. A member cannot give back one partition and keep the others, so who can
    /// serve some stays for as long as it can. `positions` answers the partitions owned here and their next inputs.
    ///
    /// # Errors
    /// [`LogError`] when no client or thread can be made.
    pub fn join(
        &self,
        fitness: impl Fn() -> Fitness + Send + 'static,
        positions: impl Fn() -> Vec<(u32, u64)> + Send + 'static,
    ) -> Result<(Member, Receiver<Change>), LogError> {
        let (news, changes) = bounded(NEWS_MAX);
        let cluster = &self.inner.cluster;
        let consumer: Result<BaseConsumer<ClientLog<Group>>, _> =
            cluster.member(self.inner.manifest.log_id).create_with_context(ClientLog(Group { news }));
        let consumer = consumer.map_err(|error| classify::failed("a member of the group", &error))?;
        let topic = cluster.topics.commands.clone();
        let leaving = Arc::new(AtomicBool::new(false));
        let (fitness, positions) = (Box::new(fitness), Box::new(positions));
        let (door, inner) = (Door::default(), Arc::clone(&self.inner));
        let (leaves, since) = (Arc::clone(&leaving), Stopwatch::start());
        let work = Work { inner, consumer, topic, door: door.clone(), leaving: leaves, fitness, positions, since };
        let thread = threads::spawn("membership", move || work.run());
        let thread = thread.map_err(|error| LogError::new(format!("cannot start a thread: {error}")))?;
        Ok((Member { door, leaving, thread: Some(thread) }, changes))
    }
}

impl Member {
    /// The way out and in again, while this process is a member.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Leaves the group: its partitions are given to others at once. Returns when that is done.
    pub fn leave(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.leaving.store(true, Relaxed);
        // A thread that panicked has left; the group will find out.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

struct Work {
    inner: Arc<Inner>,
    consumer: BaseConsumer<ClientLog<Group>>,
    topic: String,
    door: Door,
    leaving: Arc<AtomicBool>,
    fitness: Box<dyn Fn() -> Fitness + Send>,
    positions: Box<dyn Fn() -> Vec<(u32, u64)> + Send>,
    /// What its notes are numbered by.
    since: Stopwatch,
}

impl Work {
    fn run(self) {
        let warming = Stopwatch::start();
        loop {
            if self.is_over() {
                return;
            }
            match (self.fitness)() {
                Fitness::Whole => break,
                Fitness::Partial if warming.elapsed() >= WARM_LIMIT => break,
                Fitness::Partial | Fitness::Nothing | Fitness::Never => pause(LOOK),
            }
        }
        let (mut is_in, mut noted) = (false, Stopwatch::start());
        while !self.is_over() {
            let is_out = self.door.is_out.load(Relaxed);
            if is_in == is_out {
                is_in = !is_out;
                self.pass(is_in);
            }
            // Rebalances are served within; nothing else is ever handed over.
            if let Some(Err(error)) = self.consumer.poll(LOOK) {
                tracing::debug!(%error, "group of owners");
            }
            if is_in && noted.elapsed() >= NOTE_EVERY {
                noted = Stopwatch::start();
                self.note();
            }
        }
        self.note();
        // Closing leaves the group; what is still assigned is revoked on the way.
    }

    /// Leaving takes effect as the consumer is polled: what is assigned is revoked first.
    fn pass(&self, is_in: bool) {
        if !is_in {
            self.consumer.unsubscribe();
        } else if let Err(error) = self.consumer.subscribe(&[&self.topic]) {
            tracing::error!(%error, "this process cannot join the group of owners");
        }
    }

    /// Whether the group has nothing to give to this process any more.
    fn is_over(&self) -> bool {
        let is_useless = (self.fitness)() == Fitness::Never;
        if is_useless {
            tracing::error!("every partition has stopped: this process is no member of the group of owners any more");
        }
        is_useless || self.leaving.load(Relaxed)
    }

    fn note(&self) {
        let mut list = TopicPartitionList::new();
        let note = Note { trip_us: self.inner.trip_us.load(Relaxed), beat: self.since.now().0 };
        for (partition, next_input) in (self.positions)() {
            let offset = Offset::Offset(offset_of(next_input));
            let mut place = list.add_partition(&self.topic, number(partition));
            // An offset that is none is not noted.
            let _ = place.set_offset(offset);
            place.set_metadata(note.to_string());
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "how far owners are was not noted");
        }
    }
}

struct Group {
    news: Sender<Change>,
}

impl ConsumerContext for ClientLog<Group> {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<u32> =
            list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
        let done = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Any offset will do that need not be asked for: nothing is fetched.
            let assigned = list.set_all_offsets(Offset::Offset(0)).and_then(|()| consumer.incremental_assign(list));
            let paused = assigned.and_then(|()| consumer.pause(list));
            self.0.tell(Change::Assigned(partitions));
            paused
        } else if consumer.assignment_lost() {
            self.0.tell(Change::Lost(partitions));
            consumer.incremental_unassign(list)
        } else {
            let (released, wait) = bounded(1);
            self.0.tell(Change::Revoked(partitions, released));
            // When nobody is left to say so, there are no owners.
            if wait.recv_timeout(RELEASE_LIMIT) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!("an owner did not give up in time: the next one will fence it");
            }
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the group's word was not followed");
        }
    }
}

impl Group {
    fn tell(&self, change: Change) {
        // Nobody listens any more when the process is about to end.
        if let Err(SendTimeoutError::Timeout(change)) = self.news.send_timeout(change, RELEASE_LIMIT) {
            tracing::error!(?change, "what the group of owners says was not heard in time");
        }
    }
}
