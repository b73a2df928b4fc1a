//! Owners that do not know that they are none any more, and clients that take an owner's name: nothing of the former
//! counts, and the latter cost a moment.

use super::answers::{callers, pool};
use super::foreign_writer::Rogue;
use super::service::Log;
use crate::fixtures::{define, orders, pool_id, reserve};
use crate::wait::{PATIENCE, until};
use crate::world::Heard;
use crossbeam_channel::{Receiver, Sender, bounded};
use headroom::domain::*;
use headroom::log::kafka::{Kafka, Owned};
use headroom::log::{
    ClaimError, ClusterLog, CommitOutcome, LogError, NewCommand, OwnedPartition, OwnerControl, Polled, Reply,
    ReplyChannel, StopWhen, StoredCommand, Turn,
};
use headroom::owner::Partition;
use headroom::owner::checkpointer::Checkpointer;
use headroom::owner::recover::Recovery;
use headroom::owner::shell::{End, Shell};
use headroom::replica::{PartitionHandle, Replica};
use headroom::store::sled::SledStore;
use headroom::time::{Stopwatch, SystemClock};
use headroom::trace::Tracing;
use headroom::wire;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Where an owner falls asleep.
#[derive(Clone, Copy, PartialEq)]
enum Sleeps {
    Never,
    /// With its turn decided.
    BeforeCommit,
    /// With its turn committed, before it knows.
    AfterCommit,
}

/// An owner's log that stands still at the commit of one command until it is woken.
struct Sleeper<'a> {
    owned: Owned,
    bed: &'a Bed,
}

struct Bed {
    sleeps: Sleeps,
    asleep: Sender<()>,
    woken: Receiver<()>,
    has_slept: AtomicBool,
}

/// The command that is slept over.
const OFFSET: u64 = 1;

impl Bed {
    fn sleep(&self, when: Sleeps, turn: &Turn) {
        if self.sleeps == when && turn.inputs.iter().any(|input| input.offset == OFFSET) {
            self.has_slept.store(true, Relaxed);
            self.asleep.send(()).unwrap();
            self.woken.recv_timeout(PATIENCE).unwrap();
        }
    }
}

impl OwnedPartition for Sleeper<'_> {
    fn poll(&mut self, batch: &mut Vec<StoredCommand>, wait: Duration) -> Result<Polled, LogError> {
        self.owned.poll(batch, wait)
    }

    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome {
        self.bed.sleep(Sleeps::BeforeCommit, &turn);
        let outcome = self.owned.commit(Arc::clone(&turn));
        self.bed.sleep(Sleeps::AfterCommit, &turn);
        outcome
    }
}

/// Keeps what callers would have been told.
#[derive(Default)]
struct Replies(Mutex<Vec<ChainedEvent>>);

impl ReplyChannel for Replies {
    fn send(&self, replies: Vec<Reply>) {
        self.0.lock().extend(replies.into_iter().map(|reply| reply.decided));
    }
}

/// A process's part: its client, its state, and what its owner tells.
struct Process {
    kafka: Kafka,
    handle: Arc<PartitionHandle>,
    replies: Replies,
}

impl Process {
    fn new(log: &Log) -> Process {
        let handle = Arc::clone(Replica::new(1).partition(0).unwrap());
        Process { kafka: log.open(), handle, replies: Replies::default() }
    }

    /// Claims and serves, again when that did not work or a commit was too slow to be trusted; not after it has slept.
    fn own(&self, bed: &Bed) -> End {
        let (dir, clock, heard) = (tempfile::tempdir().unwrap(), SystemClock::new(), Heard::default());
        let (tail, store) = (&self.kafka, &SledStore::open(dir.path()));
        let recovery =
            Recovery { log_id: 1, tail, store, snapshots: None, clock: &clock, report: &heard, on_committed: &|_| {} };
        // Nobody writes checkpoints.
        let (checkpointer, _) = Checkpointer::new(1);
        loop {
            let owned = match recovery.claim(&self.kafka, &self.handle, false) {
                Ok(owned) => owned,
                Err(ClaimError::Log(_)) => continue,
                Err(breach) => panic!("{breach}"),
            };
            let shell = Shell {
                log: Sleeper { owned, bed },
                owner: self.handle.read(|state| Partition::claim(state, 1)),
                handle: Arc::clone(&self.handle),
                clock: &clock,
                replies: &self.replies,
                checkpointer: &checkpointer,
                report: &heard,
                tracing: &Tracing::off(|| 7),
                tick_after_ms: None,
            };
            let end = shell.run(7);
            if !matches!(end, End::Unknown(_)) || bed.has_slept.load(Relaxed) {
                return end;
            }
        }
    }

    fn has_decided(&self, commands: u64) -> bool {
        self.handle.read(|state| state.position().next_input) == commands
    }

    fn told(&self) -> Vec<ChainedEvent> {
        self.replies.0.lock().clone()
    }
}

/// What is asked, to be encoded when it is: a deadline is no further ahead than some seconds.
fn commands() -> [impl Fn() -> Vec<u8>; 3] {
    let pool = pool_id("van-1");
    let asks =
        [(None, define(&pool, orders(1))), (Some("K1"), reserve(&pool, "K1")), (Some("K2"), reserve(&pool, "K2"))];
    let mut number = 0;
    asks.map(|(key, body)| {
        number += 1;
        let key = key.map(|key| IdempotencyKey::new(key).unwrap());
        let (id, attempt) = (CommandId(number), Attempt(1));
        move || {
            let (deadline, key, body) = (super::in_time(), key.clone(), body.clone());
            wire::command::encode(&Command { id, reply_to: Some(9), attempt, actor: None, key, deadline, body })
        }
    })
}

/// An owner that sleeps while another process takes its partition, decides and answers.
fn zombie(sleeps: Sleeps) {
    let log = Log::new(1);
    let (old, new) = (Process::new(&log), Process::new(&log));
    let sink = new.kafka.producer().unwrap();
    let append = |bytes: &[u8]| {
        sink.append(NewCommand { partition: 0, key: b"van-1", bytes, cancels: None, trace: None }).unwrap();
    };
    let [define, first, second] = commands();
    let (asleep, falls_asleep) = bounded(1);
    let (wake, woken) = bounded(1);
    let has_slept = || AtomicBool::new(false);
    let bed = Bed { sleeps, asleep, woken, has_slept: has_slept() };
    let sleepless = Bed { sleeps: Sleeps::Never, asleep: bounded(0).0, woken: bounded(0).1, has_slept: has_slept() };
    thread::scope(|scope| {
        let zombie = scope.spawn(|| old.own(&bed));
        append(&define());
        until("the pool is made", || old.has_decided(1));
        append(&first());
        falls_asleep.recv_timeout(PATIENCE).unwrap();
        let heir = scope.spawn(|| new.own(&sleepless));
        until("the other process has decided", || new.has_decided(2));
        append(&second());
        until("and goes on", || new.has_decided(3));
        let seen = log.events(0);
        wake.send(()).unwrap();
        let end = zombie.join().unwrap();
        let is_over = end == End::Fenced || (sleeps == Sleeps::AfterCommit && matches!(end, End::Unknown(_)));
        assert!(is_over, "{end:?}");
        assert_eq!(log.events(0), seen, "a fenced owner has written");
        new.kafka.stop(0, StopWhen::OwnCommandsPolled);
        assert_eq!(heir.join().unwrap(), End::Closed);
    });
    let events = log.audited(0);
    let answers: Vec<_> = events.iter().filter(|recorded| recorded.event.cause.is_some()).cloned().collect();
    let kinds: Vec<_> = answers.iter().map(|recorded| recorded.event.body.kind()).collect();
    assert_eq!(kinds, [EventKind::PoolDefined, EventKind::Accepted, EventKind::Rejected]);
    // Whoever told it, it is what the log has.
    let by_old = if sleeps == Sleeps::BeforeCommit { 1 } else { 2 };
    assert_eq!(old.told(), answers[..by_old]);
    assert_eq!(new.told(), answers[by_old..]);
}

/// The story: the machine of an owner stops right before a commit, and another process takes the partition over. When
/// the first resumes it still believes to be the owner, and would commit a turn that was decided on an old state. The
/// broker refuses its commit, and its callers are told nothing by it.
#[test]
fn an_owner_that_slept_before_its_commit_writes_and_tells_nothing() {
    zombie(Sleeps::BeforeCommit);
}

/// The story: the machine stops right after the commit and before the replies. When it resumes others have decided long
/// since. What it tells is what the log holds, and it decides nothing more.
#[test]
fn an_owner_that_slept_after_its_commit_tells_what_the_log_has_and_no_more() {
    zombie(Sleeps::AfterCommit);
}

const ROUNDS: usize = 6;

/// The story: somebody starts a client with the owner's transactional id, again and again, under load. Each start
/// fences the owner. It claims its partition again, which costs a moment, and no answer is wrong.
#[test]
fn a_client_with_an_owners_name_costs_a_moment_and_no_answer() {
    let log = Log::new(1);
    let dir = tempfile::tempdir().unwrap();
    let server = log.serve_alone(dir.path());
    pool(&server, "van-1", 1_000_000);
    let (told, blips) = callers(&server, "van-1", 4, |yes| {
        let blip = |round: usize| {
            let before = yes();
            until("callers are told yes", || yes() >= before + 50);
            let rogue = Rogue::as_owner(&log);
            let fenced = Stopwatch::start();
            // With and without a transaction that it leaves open.
            if !round.is_multiple_of(2) {
                rogue.forge("van-1", &format!("forged-{round}"));
            }
            let before = yes();
            until("callers are told yes again", || yes() >= before + 10);
            fenced.elapsed()
        };
        (0..ROUNDS).map(blip).collect::<Vec<_>>()
    });
    told.check(&log, 0);
    log.alike(0, &[&server]);
    println!("{} told yes, {} told no; until they were told yes again: {blips:.1?}", told.yes(), told.no());
    let barriers = log.audited(0).iter().filter(|r| matches!(r.event.body, EventBody::Barrier { .. })).count();
    assert!(barriers > ROUNDS, "nobody was fenced");
}
