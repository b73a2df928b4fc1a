//! When a fresh state takes the place of one that a follower folds, on a thread of its own.

use super::machine::{Ending, checkpoint_anew, followed, is_the_logs, log_state, spoil, swap};
use crate::fixtures::{NOW, append};
use crate::owner::{reserve, world};
use crate::wait::until;
use crate::world::{World, becomes, commit_turn};
use headroom::domain::{Breach, Law};
use headroom::log::embedded::{Embedded, Owned};
use headroom::log::{CommittedTail, EventStream, LogError, Streamed};
use headroom::owner::Partition;
use headroom::owner::checkpointer::Checkpointer;
use headroom::owner::follower::{EndOffsetProbe, Follower};
use headroom::owner::recover::{Recovery, kept};
use headroom::replica::{PartitionHandle, PartitionState, PartitionStatus, Replica, StatusKind, Swapped};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// A stream over partition 0 of the embedded log, which hands over an event only when so many come after it.
struct Stream<'a> {
    log: &'a Embedded,
    next: Option<u64>,
    behind: u64,
    /// Whether it has said that it is at the end.
    is_at_end: bool,
}

impl EventStream for Stream<'_> {
    fn follow(&mut self, _: u32, from_seq: u64) -> Result<(), LogError> {
        (self.next, self.is_at_end) = (Some(from_seq), false);
        Ok(())
    }

    fn leave(&mut self, _: u32) {
        self.next = None;
    }

    fn next(&mut self, _: Duration) -> Result<Option<(u32, Streamed)>, LogError> {
        let Some(next) = self.next.filter(|next| next + self.behind < self.log.end(0).unwrap()) else {
            let was_at_end = std::mem::replace(&mut self.is_at_end, true);
            return Ok((!was_at_end).then_some((0, Streamed::End)));
        };
        (self.next, self.is_at_end) = (Some(next + 1), false);
        Ok(self.log.read(0, next, 1)?.pop().map(|event| (0, Streamed::Event(event))))
    }

    fn places(&self) -> Vec<(u32, i64)> {
        Vec::new()
    }
}

/// The partitions whose states were replaced, and whether the old one was the same.
fn replaced(world: &World) -> Vec<(u32, bool)> {
    world.heard.swapped.lock().iter().map(|(partition, compared)| (*partition, compared.is_same())).collect()
}

/// A world whose partition is shared with other processes, and in some status.
struct Beginning {
    world: World,
    replica: Replica,
    handle: Arc<PartitionHandle>,
}

impl Beginning {
    fn new(status: PartitionStatus) -> Beginning {
        let (world, replica) = (world(), Replica::shared(1));
        let handle = followed(&world, &replica, status);
        Beginning { world, replica, handle }
    }
}

/// Runs this while a follower on its own thread folds what comes, but for the last events.
pub fn following<T>(world: &World, replica: &Replica, behind: u64, run: impl FnOnce() -> T) -> T {
    let log_id = world.log.manifest().log_id;
    let (checkpointer, work) = Checkpointer::new(log_id);
    let over = AtomicBool::new(false);
    let (over, probe) = (&over, EndOffsetProbe::new(1));
    std::thread::scope(|scope| {
        scope.spawn(|| work.run(&world.store, &world.heard));
        let follower = scope.spawn(move || {
            let recovery = Recovery {
                log_id,
                tail: &*world.log,
                store: &world.store,
                snapshots: None,
                clock: &world.clock,
                report: &world.heard,
                on_committed: &|_| {},
            };
            let stream = Stream { log: &world.log, next: None, behind, is_at_end: false };
            let mut follower = Follower::new(stream, replica, &recovery, &checkpointer, &probe);
            while !over.load(Relaxed) {
                follower.round(Duration::ZERO).unwrap();
            }
        });
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        over.store(true, Relaxed);
        follower.join().unwrap();
        ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// An owner of the partition in another process.
struct Busy<'a> {
    world: &'a World,
    owner: Mutex<(Partition, Arc<PartitionHandle>, Owned, u64)>,
}

impl Busy<'_> {
    fn of(world: &World) -> Busy<'_> {
        let (handle, owned) = world.recover(0);
        let owner = handle.read(|state| Partition::claim(state, 1));
        Busy { world, owner: Mutex::new((owner, handle, owned, 1_000)) }
    }
}

impl Busy<'_> {
    /// Commits a turn, and answers the end of the log.
    fn commit(&self) -> Result<u64, LogError> {
        let (owner, handle, owned, number) = &mut *self.owner.lock();
        *number += 1;
        append(&*self.world.log, 0, &reserve(*number, None));
        commit_turn(owner, handle, owned, NOW.plus_ms(*number));
        self.world.log.end(0)
    }
}

/// The story: calls come all the time, so the followed state is behind the end of the log whenever somebody looks.
#[test]
fn a_follower_that_moves_on_at_every_look_is_swapped() {
    let Beginning { world, replica, handle } = Beginning::new(PartitionStatus::Standby);
    let owner = Busy::of(&world);
    let busy = Ending(&world, || owner.commit());
    let swapped = following(&world, &replica, 1, || swap(&world, &busy, &handle, &AtomicBool::new(false)));
    let swapped = swapped.unwrap_or_else(|not| panic!("{}", not.why()));
    assert_eq!((swapped.is_owner, swapped.compared.is_same()), (false, true));
    following(&world, &replica, 0, || {
        until("it has folded all", || handle.next_seq() == world.log.end(0).unwrap());
    });
    is_the_logs(&world, &handle);
}

/// The owner commits a turn right after the states were compared, which is when the log is asked for its end for the fourth time;
/// the follower folds it.
#[test]
fn states_are_compared_before_the_pause_and_not_in_it() {
    let Beginning { world, replica, handle } = Beginning::new(PartitionStatus::Standby);
    let before = handle.next_seq();
    let (owner, looks) = (Busy::of(&world), AtomicUsize::new(0));
    let late = Ending(&world, || {
        if looks.fetch_add(1, Relaxed) != 3 {
            return world.log.end(0);
        }
        let end = owner.commit()?;
        until("the follower has folded it", || handle.next_seq() == end);
        Ok(end)
    });
    let end = world.log.end(0).unwrap();
    let swapped = following(&world, &replica, 0, || swap(&world, &late, &handle, &AtomicBool::new(false)));
    let Swapped { compared, .. } = swapped.unwrap_or_else(|not| panic!("{}", not.why()));
    assert_eq!((compared.is_same(), compared.fresh.position.next_seq), (true, end), "began at {before}");
    assert!(handle.next_seq() > end);
    is_the_logs(&world, &handle);
}

/// Spoils a followed state and has it compared. Nobody who writes it pauses: the swap is given up, after this was done. That the
/// state was wrong is told all the same.
fn found_wrong_and_given_up(world: &World, handle: &Arc<PartitionHandle>, then: impl FnOnce()) {
    spoil(handle);
    world.heard.may_fail.store(true, Relaxed);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| swap(world, &*world.log, handle, &is_over));
        until("the follower is asked", || handle.take_swap(StatusKind::Standby).is_some());
        then();
        is_over.store(true, Relaxed);
        assert_eq!(swapping.join().unwrap().unwrap_err().code(), "broken");
    });
}

/// Nobody who writes the state pauses, so it cannot be replaced; it is not kept quiet about. Whoever follows it begins anew, and
/// nobody begins with its checkpoint.
#[test]
fn a_wrong_state_that_cannot_be_replaced_is_told_and_not_followed_any_more() {
    let Beginning { world, replica, handle } = Beginning::new(PartitionStatus::Standby);
    found_wrong_and_given_up(&world, &handle, || {
        assert!(handle.wrong().is_some(), "nobody claims the partition with it");
    });
    assert_eq!(world.heard.breaches.lock().iter().map(|breach| breach.law).collect::<Vec<_>>(), [Law::OneState]);
    assert!(world.heard.swapped.lock().is_empty());
    assert!(handle.is_unrestorable(), "other processes need not wait for it");
    checkpoint_anew(&world, &handle);
    following(&world, &replica, 0, || {
        let end = world.log.end(0).unwrap();
        until("it is followed again", || handle.wrong().is_none() && handle.next_seq() == end);
        until("it has its state", || !handle.is_unrestorable());
        assert!(kept(&world.store, world.log.manifest().log_id, 0).unwrap().is_none());
    });
    is_the_logs(&world, &handle);
}

/// The state that was wrong is gone when the swap is given up: another one is in its place.
#[test]
fn what_others_have_put_in_the_place_of_a_wrong_state_is_trusted() {
    let Beginning { world, handle, .. } = Beginning::new(PartitionStatus::Standby);
    found_wrong_and_given_up(&world, &handle, || handle.begin_anew().unwrap());
    assert!(handle.wrong().is_none());
    assert_eq!(world.heard.breaches.lock().len(), 1);
}

/// The story: while a fresh state was on its way, the owner in another process decided. What it committed did not follow on the
/// state that was known to be wrong: this process said that the log was overbooked, and stopped the partition.
#[test]
fn what_does_not_follow_on_a_wrong_state_shows_nothing_of_the_log() {
    let Beginning { world, replica, handle } = Beginning::new(PartitionStatus::Standby);
    let owner = Busy::of(&world);
    spoil(&handle);
    handle.set_replacing(true);
    let detail = "it is not the log's".to_owned();
    handle.distrust(Breach { law: Law::OneState, partition: 0, seq: handle.next_seq(), detail });
    let end = owner.commit().unwrap();
    following(&world, &replica, 0, || {
        until("it is made anew", || handle.wrong().is_none() && handle.next_seq() == end);
    });
    assert!(world.heard.breaches.lock().is_empty());
    is_the_logs(&world, &handle);
}

/// Until the store holds the state of the log.
fn is_kept(world: &World) {
    let log = log_state(world, world.log.end(0).unwrap()).digest();
    until("the fresh state is checkpointed", || {
        kept(&world.store, world.log.manifest().log_id, 0).unwrap().is_some_and(|state| state.digest() == log)
    });
}

#[test]
fn a_followed_state_is_replaced_and_its_checkpoint_as_well() {
    let Beginning { world, replica, handle } = Beginning::new(PartitionStatus::Standby);
    let go_on = AtomicBool::new(false);
    following(&world, &replica, 0, || {
        let same = swap(&world, &*world.log, &handle, &go_on).unwrap();
        assert_eq!((same.is_owner, same.compared.is_same()), (false, true));
        is_kept(&world);
        spoil(&handle);
        checkpoint_anew(&world, &handle);
        world.heard.may_fail.store(true, Relaxed);
        let other = swap(&world, &*world.log, &handle, &go_on).unwrap();
        assert_eq!((other.is_owner, other.compared.is_same()), (false, false));
        is_kept(&world);
    });
    is_the_logs(&world, &handle);
    assert_eq!(replaced(&world), [(0, true), (0, false)]);
    assert_eq!(world.heard.breaches.lock().iter().map(|breach| breach.law).collect::<Vec<_>>(), [Law::OneState]);
    let (restored, _owned) = world.recover(0);
    is_the_logs(&world, &restored);
}

/// A report may ask for the status, which the follower holds while it exchanges the states.
#[test]
fn a_claim_does_not_wait_for_the_report_of_a_swap() {
    let Beginning { world, replica, handle } = Beginning::new(PartitionStatus::Standby);
    *world.heard.claimed_then.lock() = Some(Arc::clone(&handle));
    following(&world, &replica, 0, || swap(&world, &*world.log, &handle, &AtomicBool::new(false)).unwrap());
    assert_eq!(handle.status(), PartitionStatus::Claiming);
    assert_eq!(replaced(&world), [(0, true)]);
}

/// The owner is asked, and before it has answered another process owns the partition.
#[test]
fn an_owner_that_ends_while_it_is_asked_leaves_a_followed_state_to_be_replaced() {
    let Beginning { world, replica, handle } = Beginning::new(PartitionStatus::Claiming);
    becomes(&handle, PartitionStatus::Active);
    spoil(&handle);
    world.heard.may_fail.store(true, Relaxed);
    let is_over = AtomicBool::new(false);
    following(&world, &replica, 0, || {
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| swap(&world, &*world.log, &handle, &is_over));
            let mut request = None;
            until("the owner is asked", || {
                request = handle.take_swap(StatusKind::Active);
                request.is_some()
            });
            becomes(&handle, PartitionStatus::Standby);
            drop(request);
            let swapped = swapping.join().unwrap().unwrap();
            assert_eq!((swapped.is_owner, swapped.compared.is_same()), (false, false));
        });
    });
    is_the_logs(&world, &handle);
}

/// The follower stands still and waits for the fresh state; then the partition is claimed, and the claim fails.
#[test]
fn a_state_of_a_partition_that_is_claimed_meanwhile_is_brought_again() {
    let Beginning { world, replica, handle } = Beginning::new(PartitionStatus::Standby);
    spoil(&handle);
    world.heard.may_fail.store(true, Relaxed);
    let wrong = handle.read(PartitionState::digest);
    // The first looks fold and compare the state, the fifth one is in the pause of the follower.
    let moves = [Some(PartitionStatus::Standby), Some(PartitionStatus::Claiming), None, None, None, None];
    let moves = Mutex::new(Vec::from(moves));
    let log = Ending(&world, || {
        if let Some(to) = moves.lock().pop().flatten() {
            becomes(&handle, to);
        }
        world.log.end(0)
    });
    let swapped = following(&world, &replica, 0, || {
        let swapped = swap(&world, &log, &handle, &AtomicBool::new(false));
        assert!(moves.lock().is_empty());
        swapped.unwrap_or_else(|not| panic!("{}", not.why()))
    });
    assert_eq!((swapped.is_owner, swapped.compared.living.digest), (false, wrong));
    assert_eq!(replaced(&world), [(0, false)], "once, and not in the claim");
    is_the_logs(&world, &handle);
}

#[test]
fn a_follower_that_stops_or_a_process_that_ends_is_not_waited_for() {
    let Beginning { world, handle, .. } = Beginning::new(PartitionStatus::Standby);
    let why = "L3 broken".to_owned();
    let (ends, stops) = ("the process ends".to_owned(), PartitionStatus::Failed { why: why.clone() });
    for (status, expected) in [(None, ends), (Some(stops), why)] {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| swap(&world, &*world.log, &handle, &is_over));
            let mut request = None;
            until("the follower is asked", || {
                request = handle.take_swap(StatusKind::Standby);
                request.is_some()
            });
            match status {
                None => is_over.store(true, Relaxed),
                Some(status) => {
                    becomes(&handle, status);
                    drop(request);
                }
            }
            let not = swapping.join().unwrap().unwrap_err();
            assert_eq!((not.code(), not.why()), ("stopped", expected));
        });
    }
    assert!(world.heard.swapped.lock().is_empty());
}
