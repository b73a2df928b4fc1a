//! When a fresh state takes the place of the living one, and when it does not.

use crate::fixtures::{NOW, NoReplies, append, orders};
use crate::owner::{pool, reserve, world};
use crate::wait::until;
use crate::world::{World, becomes, conclude_turn};
use headroom::domain::{Digest, Law, LedgerMut};
use headroom::log::{CommittedTail, LogError, StoredEvent};
use headroom::owner::Partition;
use headroom::owner::begin::Beginning;
use headroom::owner::checkpointer::Checkpointer;
use headroom::owner::recover::{kept, rebuild};
use headroom::owner::shell::{End, Shell};
use headroom::owner::swap::{Course, NotSwapped, Swap};
use headroom::replica::{
    Brought, Compared, PartitionHandle, PartitionState, PartitionStatus, Position, Replaced, Replica, Seal, StatusKind,
    SwapRequest, Swapped,
};
use headroom::store::Store;
use headroom::trace::Tracing;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};

/// The state of a world's partition, shared with other processes, and in this status.
pub fn followed(world: &World, replica: &Replica, status: PartitionStatus) -> Arc<PartitionHandle> {
    let (handle, owned) = world.recover_in(replica, 0);
    drop(owned);
    becomes(&handle, PartitionStatus::Standby);
    if status != PartitionStatus::Standby {
        becomes(&handle, status);
    }
    handle
}

/// Now it is not the log's any more.
pub fn spoil(handle: &PartitionHandle) {
    handle.write(|state| state.update_pool(&pool(), |pool| pool.spec.limits = orders(1_000)));
}

/// The checkpoint is of all of this state, whatever was there.
pub fn checkpoint_anew(world: &World, handle: &PartitionHandle) {
    world.store.wipe(0, "to be written anew").unwrap();
    handle.write(PartitionState::mark_all_dirty);
    world.checkpoint(handle);
}

/// A log whose end is what this answers.
pub struct Ending<'a, F>(pub &'a World, pub F);

impl<F: Fn() -> Result<u64, LogError> + Send + Sync> CommittedTail for Ending<'_, F> {
    fn partitions(&self) -> u32 {
        1
    }

    fn end(&self, _: u32) -> Result<u64, LogError> {
        (self.1)()
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.0.log.read(partition, from_seq, bytes_max)
    }
}

pub fn log_state(world: &World, until: u64) -> PartitionState {
    rebuild(world.log.as_ref(), 0, until, &mut |_| {}).unwrap()
}

#[track_caller]
pub fn is_the_logs(world: &World, handle: &PartitionHandle) {
    let log = log_state(world, world.log.end(0).unwrap());
    let living = handle.read(|state| (*state.position(), state.digest()));
    assert_eq!(living, (*log.position(), log.digest()));
}

/// Has the state of this partition replaced by one that is folded from this log.
pub fn swap(
    world: &World,
    tail: &dyn CommittedTail,
    handle: &Arc<PartitionHandle>,
    is_over: &AtomicBool,
) -> Result<Swapped, NotSwapped> {
    let course = Course::default();
    let tail = course.counting(tail, is_over);
    let beginning = Beginning { log_id: world.log.manifest().log_id, tail: &tail, snapshots: None };
    let swap = Swap { beginning, handle, report: &world.heard, course: &course, is_over };
    swap.run(|looked| assert!(looked.taken.is_none()))
}

#[test]
fn only_who_writes_the_state_is_asked() {
    let world = world();
    let handle = followed(&world, &Replica::shared(1), PartitionStatus::Standby);
    let ask = || handle.ask_to_swap(SwapRequest { bring: Box::new(|_| None), told: Box::new(|_| ()) });
    assert_eq!(ask(), Some(StatusKind::Standby));
    assert!(handle.take_swap(StatusKind::Active).is_none(), "the follower was asked");
    assert!(handle.take_swap(StatusKind::Standby).is_some() && handle.take_swap(StatusKind::Standby).is_none());
    ask();
    becomes(&handle, PartitionStatus::Claiming);
    assert!(handle.take_swap(StatusKind::Standby).is_none(), "the partition is its claim's by now");
    assert_eq!(ask(), None);
    becomes(&handle, PartitionStatus::Active);
    assert_eq!(ask(), Some(StatusKind::Active));
    assert!(handle.take_swap(StatusKind::Standby).is_none(), "the owner was asked");
    becomes(&handle, PartitionStatus::Standby);
    assert!(handle.take_swap(StatusKind::Active).is_none(), "a later owner is not asked what an earlier one was");
}

/// Asks the owner; it answers whether the states were the same, or that it has gone on with its own.
fn ask(handle: &PartitionHandle, bring: impl FnOnce(u64) -> Option<PartitionState> + Send + 'static) -> Receiver<bool> {
    let differed = Compared {
        living: Seal { position: Position::default(), digest: Digest([1; 16]) },
        fresh: Seal::of(&PartitionState::new(0)),
    };
    ask_with(handle, differed, bring)
}

/// The same with a state that was compared before.
fn ask_with(
    handle: &PartitionHandle,
    compared: Compared,
    bring: impl FnOnce(u64) -> Option<PartitionState> + Send + 'static,
) -> Receiver<bool> {
    let bring = move |next_seq| bring(next_seq).map(|state| Brought { state, compared });
    let (told, heard) = channel();
    let told =
        move |replaced: Replaced| replaced.into_iter().for_each(|(compared, _)| told.send(compared.is_same()).unwrap());
    assert_eq!(
        handle.ask_to_swap(SwapRequest { bring: Box::new(bring), told: Box::new(told) }),
        Some(StatusKind::Active)
    );
    heard
}

/// How an owner of partition 0 ends that serves while this runs.
fn serving(world: &World, run: impl FnOnce(&Arc<PartitionHandle>)) -> End {
    let (handle, log) = world.recover(0);
    let (checkpointer, work) = Checkpointer::new(world.log.manifest().log_id);
    std::thread::scope(|scope| {
        scope.spawn(|| work.run(&world.store, &world.heard));
        let (checkpointer, tracing) = (checkpointer, Tracing::off(|| 7));
        let owner = handle.read(|state| Partition::claim(state, 1));
        let shell = {
            let handle = Arc::clone(&handle);
            scope.spawn(move || {
                let shell = Shell {
                    log,
                    owner,
                    handle,
                    clock: &world.clock,
                    replies: &NoReplies,
                    checkpointer: &checkpointer,
                    report: &world.heard,
                    tracing: &tracing,
                    tick_after_ms: None,
                };
                shell.run(7)
            })
        };
        until("it decides", || handle.status_kind() == StatusKind::Active);
        run(&handle);
        shell.join().unwrap()
    })
}

#[test]
fn an_owner_takes_a_state_only_of_its_own_place_and_epoch() {
    let world = world();
    let end = serving(&world, |handle| {
        let end = world.log.end(0).unwrap();
        // Of the owner before, which had one event less.
        let stale = log_state(&world, end - 1);
        assert!(ask(handle, move |_| Some(stale)).recv().is_err());
        assert!(ask(handle, |_| None).recv().is_err());
        // As far as this owner, and of an owner before it.
        let other = crate::owner::world();
        let (before, mut owned) = other.recover(0);
        let owner = Partition::claim(&PartitionState::new(0), 1);
        let ticked = before.read(|state| owner.tick(state, NOW));
        conclude_turn(&owner, &before, &mut owned, ticked);
        let foreign = log_state(&other, other.log.end(0).unwrap());
        assert_eq!(foreign.position().next_seq, end);
        assert!(ask(handle, move |_| Some(foreign)).recv().is_err());
        assert!(world.heard.swapped.lock().is_empty());
        // What was the same a moment before is not compared again.
        let before = Seal::of(&log_state(&world, end - 1));
        let proof = Compared { living: before, fresh: before };
        let fresh = log_state(&world, end);
        assert_eq!(ask_with(handle, proof, move |_| Some(fresh)).recv(), Ok(true));
        assert_eq!(world.heard.swapped.lock().pop().map(|swapped| swapped.1), Some(proof));
        // One who says that they differed is not believed, and they are compared.
        let fresh = log_state(&world, end);
        assert_eq!(ask(handle, move |_| Some(fresh)).recv(), Ok(true));
        let sealed = Seal::of(&log_state(&world, end));
        let last = world.heard.swapped.lock().pop().map(|swapped| swapped.1);
        assert_eq!(last, Some(Compared { living: sealed, fresh: sealed }));
        spoil(handle);
        world.heard.may_fail.store(true, Relaxed);
        let fresh = log_state(&world, end);
        assert_eq!(
            ask(handle, move |next_seq| Some(fresh).filter(|fresh| fresh.position().next_seq == next_seq)).recv(),
            Ok(false)
        );
        is_the_logs(&world, handle);
        world.log.close();
    });
    assert_eq!(end, End::Closed);
    let kept = kept(&world.store, world.log.manifest().log_id, 0).unwrap().expect("what the owner left");
    assert_eq!(kept.digest(), log_state(&world, kept.position().next_seq).digest());
}

/// The story: a state is found to be wrong, and then the log does not answer, so no other can take its place. Its checkpoint is as
/// wrong as it is.
#[test]
fn an_owner_decides_nothing_from_a_state_that_is_known_to_be_wrong() {
    let world = world();
    let end = serving(&world, |handle| {
        spoil(handle);
        checkpoint_anew(&world, handle);
        world.heard.may_fail.store(true, Relaxed);
        // It does not answer from the fourth look at its end on, which is when the states were compared.
        let looks = AtomicUsize::new(0);
        let silent = Ending(&world, || match looks.fetch_add(1, Relaxed) {
            ..3 => world.log.end(0),
            _ => Err(LogError::transient("timed out")),
        });
        assert_eq!(swap(&world, &silent, handle, &AtomicBool::new(false)).unwrap_err().code(), "broken");
    });
    let End::WrongState(breach) = end else { panic!("{end:?}") };
    assert_eq!(breach.law, Law::OneState);
    assert_eq!(world.heard.breaches.lock().len(), 1, "it is told once");
    assert!(kept(&world.store, world.log.manifest().log_id, 0).unwrap().is_none(), "no restart begins with it");
}

/// The story: a command comes right after a state was found to be wrong. It is decided, by the state that takes its place.
#[test]
fn nothing_is_decided_between_the_finding_and_the_state_that_takes_the_place() {
    let world = world();
    let kept = || kept(&world.store, world.log.manifest().log_id, 0).unwrap();
    let end = serving(&world, |handle| {
        spoil(handle);
        checkpoint_anew(&world, handle);
        world.heard.may_fail.store(true, Relaxed);
        let (before, looks) = (world.log.end(0).unwrap(), AtomicUsize::new(0));
        // The fourth look at the end of the log is the first one after the states were compared.
        let watched = Ending(&world, || {
            if looks.fetch_add(1, Relaxed) == 3 {
                append(&*world.log, 0, &reserve(500, None));
                until("the owner holds still", || kept().is_none() || world.log.end(0) != Ok(before));
                assert_eq!(world.log.end(0), Ok(before), "it was decided from a wrong state");
            }
            world.log.end(0)
        });
        let swapped = swap(&world, &watched, handle, &AtomicBool::new(false));
        let swapped = swapped.unwrap_or_else(|not| panic!("{}", not.why()));
        assert_eq!((swapped.is_owner, swapped.compared.is_same()), (true, false));
        assert!(looks.load(Relaxed) > 3 && !handle.is_replacing());
        until("the command is decided", || handle.next_seq() > before);
        is_the_logs(&world, handle);
        world.log.close();
    });
    assert_eq!(end, End::Closed);
    assert_eq!(kept().expect("what the owner left").digest(), log_state(&world, world.log.end(0).unwrap()).digest());
}

/// A log in which one event is other bytes.
struct Spoilt<'a>(&'a World, u64);

impl CommittedTail for Spoilt<'_> {
    fn partitions(&self) -> u32 {
        1
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.0.log.end(partition)
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        let mut events = self.0.log.read(partition, from_seq, bytes_max)?;
        events.iter_mut().filter(|event| event.seq == self.1).for_each(|event| event.bytes.truncate(20));
        Ok(events)
    }
}

#[test]
fn what_is_not_proven_takes_nobodys_place() {
    let world = world();
    let handle = followed(&world, &Replica::shared(1), PartitionStatus::Standby);
    spoil(&handle);
    world.heard.may_fail.store(true, Relaxed);
    let wrong = handle.read(PartitionState::digest);
    let go_on = AtomicBool::new(false);
    let broken = swap(&world, &Spoilt(&world, 30), &handle, &go_on).unwrap_err();
    assert_eq!(broken.code(), "broken");
    assert!(broken.why().contains("seq 30") && broken.why().contains("its bytes are no event"), "{}", broken.why());
    assert_eq!(world.heard.breaches.lock().len(), 1, "a log that breaks a law is told as one");
    let over = swap(&world, &*world.log, &handle, &AtomicBool::new(true)).unwrap_err();
    assert_eq!((over.code(), &*over.why()), ("unread", "the process ends"));
    becomes(&handle, PartitionStatus::Failed { why: "L3 broken".to_owned() });
    let stopped = swap(&world, &*world.log, &handle, &go_on).unwrap_err();
    assert_eq!((stopped.code(), &*stopped.why()), ("stopped", "L3 broken"), "only a new process begins again");
    assert_eq!(handle.read(PartitionState::digest), wrong);
    assert!(world.heard.swapped.lock().is_empty());
}
