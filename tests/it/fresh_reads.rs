//! Fresh reads ask the log where it ends; those that come while it is asked share the next answer, for a question that
//! began before a read says nothing of what was committed since. Whoever gives up leaves a question behind, and there are not
//! many of those.

use crate::wait::until;
use crate::world::becomes;
use headroom::domain::coverage::Query;
use headroom::gateway::Gateway;
use headroom::log::{AppendError, CommandSink, CommittedTail, LogError, NewCommand, StoredEvent};
use headroom::replica::{PartitionStatus, Replica};
use headroom::service::fresh::{ASKED_AT_ONCE_MAX, Freshness};
use headroom::service::reads::PoolPage;
use headroom::service::watch::{Places, WatchFilter};
use headroom::service::{Code, Refusal, Service};
use headroom::time::SystemClock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

const READS: usize = 50;
/// Three times as many as are asked about at once.
const PARTITIONS: u32 = 12;
/// Callers who give up one after the other, each of them after this time.
const GIVEN_UP: usize = 10;
const GIVE_UP_AFTER: Duration = Duration::from_millis(20);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A log that answers when it is let.
struct Slow {
    asked: AtomicUsize,
    may: parking_lot::Mutex<Receiver<Result<u64, LogError>>>,
}

impl Slow {
    fn new() -> (Arc<Slow>, Sender<Result<u64, LogError>>) {
        let (answers, may) = channel();
        (Arc::new(Slow { asked: AtomicUsize::new(0), may: parking_lot::Mutex::new(may) }), answers)
    }
}

impl CommittedTail for Slow {
    fn partitions(&self) -> u32 {
        1
    }

    fn end(&self, _: u32) -> Result<u64, LogError> {
        self.asked.fetch_add(1, SeqCst);
        self.may.lock().recv().unwrap()
    }

    fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
        Ok(Vec::new())
    }
}

/// One read, then many while the log is asked for it; then these answers. What each read was told, the first one's first.
fn reads(answers: [Result<u64, LogError>; 2]) -> (Vec<bool>, usize) {
    let (log, let_go) = Slow::new();
    let replica = Arc::new(Replica::new(1));
    let freshness = Arc::new(Freshness::new(log.clone(), 1));
    let told = runtime().block_on(async {
        let fresh = || {
            let (freshness, handle) = (Arc::clone(&freshness), Arc::clone(replica.partition(0).unwrap()));
            async move { freshness.reached(&handle, Duration::from_secs(20)).await }
        };
        let first = tokio::spawn(fresh());
        yield_now().await;
        until("the log is asked", || log.asked.load(SeqCst) == 1);
        let mut rest = JoinSet::new();
        (0..READS).for_each(|_| drop(rest.spawn(fresh())));
        yield_now().await;
        answers.into_iter().for_each(|answer| let_go.send(answer).unwrap());
        let mut told = vec![first.await.unwrap()];
        told.extend(rest.join_all().await);
        told
    });
    (told, log.asked.load(SeqCst))
}

#[test]
fn reads_that_come_at_the_same_time_share_the_next_answer() {
    assert_eq!(reads([Ok(0), Ok(0)]), (vec![true; READS + 1], 2));
}

#[test]
fn a_later_read_does_not_use_an_earlier_answer() {
    let silent = || Err(LogError::transient("silent"));
    let (told, asked) = reads([silent(), Ok(0)]);
    assert_eq!((told[0], told[1..] == [true; READS], asked), (false, true, 2));
    let (told, asked) = reads([Ok(0), silent()]);
    assert_eq!((told[0], told[1..] == [false; READS], asked), (true, true, 2));
}

/// The story: the cluster does not answer. Fresh reads give up, and others come, hundreds in a second. If each of them left a
/// question behind, all threads for work that blocks would wait for the cluster, and so would every search, which needs none.
#[test]
fn a_log_that_does_not_answer_is_asked_one_question_at_a_time() {
    let (log, let_go) = Slow::new();
    let replica = Arc::new(Replica::new(1));
    let freshness = Freshness::new(log.clone(), 1);
    let (while_silent, is_read) = runtime().block_on(async {
        let handle = replica.partition(0).unwrap();
        for _ in 0..GIVEN_UP {
            assert!(!freshness.reached(handle, GIVE_UP_AFTER).await);
        }
        until("the log is asked", || log.asked.load(SeqCst) > 0);
        let while_silent = log.asked.load(SeqCst);
        (0..=GIVEN_UP).for_each(|_| let_go.send(Ok(0)).unwrap());
        (while_silent, freshness.reached(handle, Duration::from_secs(20)).await)
    });
    assert_eq!((while_silent, is_read, log.asked.load(SeqCst)), (1, true, 2));
}

/// A log that answers when as many questions are open as one caller may have.
#[derive(Default)]
struct AnswersTogether {
    open: AtomicUsize,
    most_open: AtomicUsize,
    asked: AtomicUsize,
    is_over: AtomicBool,
}

impl CommittedTail for AnswersTogether {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    fn end(&self, _: u32) -> Result<u64, LogError> {
        self.asked.fetch_add(1, SeqCst);
        self.most_open.fetch_max(self.open.fetch_add(1, SeqCst) + 1, SeqCst);
        until("others are asked beside it", || {
            self.most_open.load(SeqCst) >= ASKED_AT_ONCE_MAX || self.is_over.load(SeqCst)
        });
        self.open.fetch_sub(1, SeqCst);
        Ok(0)
    }

    fn read(&self, _: u32, _: u64, _: usize) -> Result<Vec<StoredEvent>, LogError> {
        Ok(Vec::new())
    }
}

/// A fresh list of the pools of all partitions of this log: how many partitions it lacks, or why there is none.
async fn list(log: Arc<dyn CommittedTail>) -> Result<usize, Refusal> {
    let replica = Arc::new(Replica::new(PARTITIONS));
    replica.partitions().for_each(|handle| becomes(handle, PartitionStatus::Active));
    let gateway = Gateway::new(1, 250, Arc::new(NoSink), replica, Arc::new(SystemClock::new()));
    let service = Service::new(Arc::new(gateway), (7, log), 7);
    let page = PoolPage { after: None, limit: 1 };
    service.pools(Query::default(), page, true, |list| list.incomplete.len()).await
}

/// The story: a list waited for its partitions one after the other, for each of them as long as it may wait in all.
#[test]
fn a_list_asks_for_its_partitions_beside_each_other_and_not_for_all_at_once() {
    let (log, runtime) = (Arc::new(AnswersTogether::default()), runtime());
    let read = runtime.block_on(list(log.clone()));
    log.is_over.store(true, SeqCst);
    drop(runtime);
    assert_eq!(log.most_open.load(SeqCst), ASKED_AT_ONCE_MAX);
    assert_eq!((read, log.asked.load(SeqCst)), (Ok(0), PARTITIONS as usize));
}

/// The story: the cluster does not answer. A list of many partitions was refused only when the log had been asked about each of
/// them, a second for every four: after four minutes where there are a thousand.
#[test]
fn a_list_that_is_refused_for_one_partition_does_not_wait_for_the_others() {
    let ((log, let_go), runtime) = (Slow::new(), runtime());
    let read = runtime.block_on(list(log.clone()));
    let asked = log.asked.load(SeqCst);
    (0..PARTITIONS).for_each(|_| let_go.send(Ok(0)).unwrap());
    drop(runtime);
    assert!(matches!(&read, Err(Refusal::Unread(unread)) if unread.code == Code::NotFresh), "{read:?}");
    assert!(asked <= ASKED_AT_ONCE_MAX, "{asked}");
}

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

/// The story: the cluster does not answer, and watches that go on from a position break off and come back. What they have asked
/// still waits for the cluster. Only so many of them may do that as there may be watches.
#[test]
fn a_watch_that_was_given_up_keeps_its_slot_until_the_log_has_answered() {
    let (log, let_go) = Slow::new();
    let gateway = Gateway::new(1, 250, Arc::new(NoSink), Arc::new(Replica::new(1)), Arc::new(SystemClock::new()));
    becomes(gateway.replica().partition(0).unwrap(), PartitionStatus::Active);
    let service = Arc::new(Service::new(Arc::new(gateway), (7, log), 7));
    let taken = runtime().block_on(async {
        for _ in 0..GIVEN_UP {
            let watch = service.watch_pools(WatchFilter::default(), Some(Places::from([(0, 0)])));
            assert!(timeout(GIVE_UP_AFTER, watch).await.is_err());
        }
        let taken = service.watches();
        (0..GIVEN_UP).for_each(|_| let_go.send(Ok(0)).unwrap());
        until("the log has answered", || service.watches() == 0);
        taken
    });
    assert_eq!(taken, GIVEN_UP);
}
