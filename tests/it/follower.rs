//! What a follower owes: the state of what others own, as the log has it; hands off what is owned here; and no claim to
//! be fresh that the log does not bear out.

use crate::owner::world;
use crate::world::World;
use headroom::domain::Micros;
use headroom::log::embedded::Embedded;
use headroom::log::{CommitOutcome, CommittedTail, EventStream, LogError, Streamed};
use headroom::owner::Partition;
use headroom::owner::checkpointer::Checkpointer;
use headroom::owner::follower::{Follower, Pulse};
use headroom::owner::recover::{Recovery, rebuild};
use headroom::replica::{Mood, Replica, Shared};
use headroom::time::Clock;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

type Asked = Mutex<Vec<(u32, Option<u64>)>>;

/// A stream over the embedded log, and what was asked of it: from where a partition is followed, or that it is not.
struct Stream<'a> {
    log: Arc<Embedded>,
    next: BTreeMap<u32, (u64, bool)>,
    asked: &'a Asked,
    handing: &'a (dyn Fn(u64) + Sync),
}

impl EventStream for Stream<'_> {
    fn follow(&mut self, partition: u32, from_seq: u64) -> Result<(), LogError> {
        self.asked.lock().push((partition, Some(from_seq)));
        self.next.insert(partition, (from_seq, false));
        Ok(())
    }

    fn leave(&mut self, partition: u32) {
        self.asked.lock().push((partition, None));
        self.next.remove(&partition);
    }

    fn next(&mut self, _: Duration) -> Result<Option<(u32, Streamed)>, LogError> {
        for (partition, (next, was_at_end)) in &mut self.next {
            match self.log.read(*partition, *next, 1)?.pop() {
                Some(event) => {
                    (self.handing)(event.seq);
                    (*next, *was_at_end) = (event.seq + 1, false);
                    return Ok(Some((*partition, Streamed::Event(event))));
                }
                None if !*was_at_end => {
                    *was_at_end = true;
                    return Ok(Some((*partition, Streamed::End)));
                }
                None => {}
            }
        }
        Ok(None)
    }
}

/// A world, and a follower's view of it.
struct Following {
    world: World,
    replica: Replica,
    asked: Asked,
    pulse: Pulse,
}

impl Following {
    fn of(world: World) -> Following {
        Following { world, replica: Replica::shared(1), asked: Asked::default(), pulse: Pulse::new(1) }
    }

    fn shared(&self) -> &Arc<Shared> {
        self.replica.partition(0).unwrap()
    }

    /// Runs a follower for a few rounds, with this between them.
    fn run(&self, restored: BTreeSet<u32>, between: impl Fn(usize)) -> usize {
        self.run_and(restored, between, &|_| {})
    }

    /// The same, and this before each event is handed over.
    fn run_and(&self, restored: BTreeSet<u32>, between: impl Fn(usize), handing: &(dyn Fn(u64) + Sync)) -> usize {
        let heard = Mutex::new(0);
        let recovery = Recovery {
            log_id: self.world.log.manifest().log_id,
            tail: self.world.log.as_ref(),
            store: &self.world.store,
            clock: &self.world.clock,
            report: &self.world.heard,
            heard: &|_| *heard.lock() += 1,
        };
        let (checkpointer, _work) = Checkpointer::new(recovery.log_id);
        let stream = Stream { log: Arc::clone(&self.world.log), next: BTreeMap::new(), asked: &self.asked, handing };
        let mut follower = Follower::new(stream, &self.replica, &recovery, &checkpointer, &self.pulse, restored);
        for round in 0..4 {
            follower.round(Duration::ZERO).unwrap();
            between(round);
        }
        drop(follower);
        heard.into_inner()
    }

    fn assert_is_the_logs(&self) {
        let replayed = rebuild(self.world.log.as_ref(), 0, self.world.log.end(0).unwrap(), &mut |_| {}).unwrap();
        let followed = self.shared().read(|state| (*state.position(), state.digest()));
        assert_eq!(followed, (*replayed.position(), replayed.digest()));
    }
}

#[test]
fn what_others_own_is_followed_to_the_end_and_every_event_is_heard() {
    let following = Following::of(world());
    assert_eq!(following.shared().mood(), Mood::Rebuilding);
    let heard = following.run(BTreeSet::new(), |_| {});
    assert_eq!(following.shared().mood(), Mood::Following);
    assert_eq!(u64::try_from(heard).unwrap(), following.world.log.end(0).unwrap());
    assert_eq!(*following.asked.lock(), [(0, Some(0))]);
    following.assert_is_the_logs();
}

#[test]
fn what_is_owned_here_is_left_alone_and_followed_again_from_where_its_owner_left_it() {
    let following = Following::of(world());
    let end = following.world.log.end(0).unwrap();
    following.run(BTreeSet::new(), |round| match round {
        0 => following.shared().set_mood(Mood::Claiming),
        1 => {
            assert!(following.shared().follow(|_| ()).is_none(), "a claim is the state's one writer");
            following.shared().set_mood(Mood::Following);
        }
        _ => {}
    });
    assert_eq!(*following.asked.lock(), [(0, Some(0)), (0, None), (0, Some(end))]);
    following.assert_is_the_logs();
}

#[test]
fn what_comes_during_a_claim_that_comes_to_nothing_is_asked_for_again() {
    let following = Following::of(world());
    let set = |mood| following.shared().set_mood(mood);
    // The claim is over before the follower looks at moods again.
    let claims = AtomicBool::new(true);
    let handing = |seq| match seq {
        2 if claims.swap(false, Relaxed) => set(Mood::Claiming),
        4 => set(Mood::Following),
        _ => {}
    };
    following.run_and(BTreeSet::new(), |_| set(Mood::Following), &handing);
    assert_eq!(*following.asked.lock(), [(0, Some(0)), (0, None), (0, Some(2))]);
    following.assert_is_the_logs();
}

#[test]
fn a_checkpoint_that_the_log_does_not_go_on_from_is_removed_and_all_is_read() {
    let following = Following::of(world());
    // The state of another log, one event long.
    following.shared().write(|state| {
        let owner = Partition::claim(state, 1);
        let barrier = owner.barrier(state, 99, Micros(5));
        owner.conclude(state, barrier, CommitOutcome::Ok).unwrap();
    });
    following.run(BTreeSet::from([0]), |_| {});
    assert_eq!(*following.asked.lock(), [(0, Some(1)), (0, None), (0, Some(0))]);
    assert_eq!(following.world.heard.wiped.lock().len(), 1);
    following.assert_is_the_logs();
}

#[test]
fn a_state_is_current_for_as_long_as_the_log_says_so() {
    let following = Following::of(world());
    following.world.clock.set(Micros(1_000_000));
    following.run(BTreeSet::new(), |_| {});
    let stale_ms = |now_ms: u64| following.shared().staleness_us(Micros(now_ms * 1_000)) / 1_000;
    assert_eq!((stale_ms(1_000), stale_ms(1_700)), (0, 700));
    let look = |now_ms: u64, end: Option<i64>| {
        following.world.clock.set(Micros(now_ms * 1_000));
        following.pulse.look(&following.replica, &following.world.clock, |_| end.map(|end| (end, None)));
        stale_ms(following.world.clock.now().0 / 1_000)
    };
    assert_eq!(look(2_000, Some(70)), 0);
    // Unreachable, then reachable, then with something in it that has not been handed over.
    assert_eq!((look(3_000, None), look(4_000, Some(70)), look(5_500, Some(72))), (1_000, 0, 1_500));
}

#[test]
fn an_owner_is_current_only_while_its_own_turn_is_the_last() {
    let following = Following::of(world());
    following.shared().set_mood(Mood::Owning);
    following.shared().is_current(Micros(1_000_000));
    let look = |now: u64, end: i64, written: Option<i64>| {
        following.world.clock.set(Micros(now));
        following.pulse.look(&following.replica, &following.world.clock, |_| Some((end, written)));
        following.shared().staleness_us(Micros(now))
    };
    assert_eq!(look(2_000_000, 40, Some(40)), 0);
    assert_eq!(look(3_000_000, 42, Some(40)), 1_000_000);
    assert_eq!(look(4_000_000, 42, None), 2_000_000);
}
