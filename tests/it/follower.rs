//! What a follower owes: the state of what others own, as the log has it; hands off what is owned here; and no claim to
//! be fresh that the log does not bear out.

mod broken;

use crate::fixtures::{NOW, NoReplies};
use crate::owner::world;
use crate::world::{ManualClock, World, becomes, commit_turn};
use headroom::domain::Micros;
use headroom::limits::{CHECKPOINT_EVENTS, FOLLOWED_AT_ONCE};
use headroom::log::embedded::{Embedded, Owned};
use headroom::log::{
    CommandSink, CommitOutcome, CommittedTail, EventStream, LogError, NewCommand, OwnedPartition, Polled,
    StoredCommand, StoredEvent, Streamed, Turn,
};
use headroom::owner::Partition;
use headroom::owner::checkpointer::Checkpointer;
use headroom::owner::follower::{EndOffsetProbe, Follower, LogEnd};
use headroom::owner::recover::{Recovery, rebuild};
use headroom::owner::shell::{End, Shell};
use headroom::replica::{PartitionHandle, PartitionState, PartitionStatus, Replica, StatusKind};
use headroom::trace::Tracing;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

type Asked = Mutex<Vec<(u32, Option<u64>)>>;

/// A stream over the embedded log, and what was asked of it: from where a partition is followed, or that it is not.
struct Stream<'a> {
    log: Arc<Embedded>,
    next: BTreeMap<u32, (u64, bool)>,
    asked: &'a Asked,
    handing: &'a (dyn Fn(u64) + Sync),
    /// Events from this number on are not there yet.
    hidden: &'a AtomicU64,
    /// It cannot be followed.
    refused: &'a AtomicU32,
    /// An event that cannot be handed over.
    unread: &'a AtomicU64,
    /// How often it was waited for while nothing was followed.
    waited: &'a AtomicU32,
}

impl EventStream for Stream<'_> {
    fn follow(&mut self, partition: u32, from_seq: u64) -> Result<(), LogError> {
        if self.refused.load(Relaxed) == partition {
            return Err(LogError::transient("refused"));
        }
        self.asked.lock().push((partition, Some(from_seq)));
        self.next.insert(partition, (from_seq, false));
        Ok(())
    }

    fn leave(&mut self, partition: u32) {
        self.asked.lock().push((partition, None));
        self.next.remove(&partition);
    }

    fn next(&mut self, wait: Duration) -> Result<Option<(u32, Streamed)>, LogError> {
        self.waited.fetch_add(u32::from(self.next.is_empty() && !wait.is_zero()), Relaxed);
        for (partition, (next, was_at_end)) in &mut self.next {
            let mut found = self.log.read(*partition, *next, 1)?;
            match found.pop().filter(|event| event.seq < self.hidden.load(Relaxed)) {
                Some(event) if event.seq == self.unread.load(Relaxed) => {
                    let partition = *partition;
                    self.next.remove(&partition);
                    return Ok(Some((partition, Streamed::Failed(LogError::transient("unread")))));
                }
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

    fn places(&self) -> Vec<(u32, i64)> {
        self.next.iter().map(|(partition, (next, _))| (*partition, i64::try_from(*next).unwrap())).collect()
    }
}

/// A log that may not say where it ends, may hold an event that is none, and may have an open transaction.
struct Tail {
    log: Arc<Embedded>,
    is_silent: AtomicBool,
    is_unreadable: AtomicBool,
    spoilt: Option<u64>,
    /// From where on nothing is seen until it is ended.
    open_at: AtomicU64,
}

impl CommittedTail for Tail {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        if self.is_silent.load(Relaxed) {
            return Err(LogError::transient("silent"));
        }
        Ok(self.log.end(partition)?.min(self.open_at.load(Relaxed)))
    }

    fn end_told(&self, partition: u32) -> Result<u64, LogError> {
        if self.open_at.load(Relaxed) < u64::MAX { Err(LogError::transient("open")) } else { self.end(partition) }
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        if self.is_unreadable.load(Relaxed) {
            return Err(LogError::transient("unreadable"));
        }
        let mut events = self.log.read(partition, from_seq, bytes_max)?;
        let spoilt = events.iter_mut().find(|event| Some(event.seq) == self.spoilt);
        spoilt.into_iter().for_each(|event| event.bytes.truncate(20));
        Ok(events)
    }
}

/// A world, and a follower's view of it.
struct Following {
    world: World,
    /// Whose checkpoints it has, and the log that vouches for them.
    kept: World,
    tail: Tail,
    replica: Replica,
    asked: Asked,
    hidden: AtomicU64,
    refused: AtomicU32,
    unread: AtomicU64,
    waited: AtomicU32,
    probe: EndOffsetProbe,
}

impl Following {
    fn of(world: World) -> Following {
        Following::with(world, World::new(1))
    }

    /// Of two partitions, each with one event.
    fn of_two() -> Following {
        let world = World::new(2);
        for partition in 0..2 {
            let (handle, mut owned) = world.recover(partition);
            let owner = handle.read(|state| Partition::claim(state, 2));
            let barrier = handle.read(|state| owner.barrier(state, 99, Micros(5)));
            assert_eq!(owned.commit(barrier.turn()), CommitOutcome::Ok);
        }
        let (replica, probe) = (Replica::shared(2), EndOffsetProbe::new(2));
        Following { replica, probe, ..Following::with(world, World::new(2)) }
    }

    fn with(world: World, kept: World) -> Following {
        let (is_silent, is_unreadable) = (AtomicBool::new(false), AtomicBool::new(false));
        let (log, open_at) = (Arc::clone(&kept.log), AtomicU64::new(u64::MAX));
        let tail = Tail { log, is_silent, is_unreadable, spoilt: None, open_at };
        let (replica, asked, probe) = (Replica::shared(1), Asked::default(), EndOffsetProbe::new(1));
        let (hidden, refused) = (AtomicU64::new(u64::MAX), AtomicU32::new(u32::MAX));
        let (unread, waited) = (AtomicU64::new(u64::MAX), AtomicU32::new(0));
        Following { world, kept, tail, replica, asked, hidden, refused, unread, waited, probe }
    }

    fn handle(&self) -> &Arc<PartitionHandle> {
        self.replica.partition(0).unwrap()
    }

    /// Runs a follower for a few rounds, with this between them.
    fn run(&self, between: impl Fn(usize)) -> usize {
        self.run_and(between, &|_| {})
    }

    /// The same, and this before each event is handed over.
    fn run_and(&self, between: impl Fn(usize), handing: &(dyn Fn(u64) + Sync)) -> usize {
        let heard = Mutex::new(0);
        let recovery = Recovery {
            log_id: self.world.log.manifest().log_id,
            tail: &self.tail,
            store: &self.kept.store,
            snapshots: None,
            clock: &self.world.clock,
            report: &self.world.heard,
            on_committed: &|_| *heard.lock() += 1,
        };
        let (checkpointer, _work) = Checkpointer::new(recovery.log_id);
        let (log, next) = (Arc::clone(&self.world.log), BTreeMap::new());
        let (hidden, refused, unread, waited) = (&self.hidden, &self.refused, &self.unread, &self.waited);
        let stream = Stream { log, next, asked: &self.asked, handing, hidden, refused, unread, waited };
        let mut follower = Follower::new(stream, &self.replica, &recovery, &checkpointer, &self.probe);
        for round in 0..4 {
            follower.round(Duration::from_millis(1)).unwrap();
            between(round);
        }
        drop(follower);
        heard.into_inner()
    }

    /// Asks for ends at this time, as the log says them; answers how old the state is then, in milliseconds.
    fn look(&self, now: Micros, end: Option<i64>, written: Option<i64>) -> u64 {
        self.world.clock.set(now);
        self.probe.look(&self.replica, &self.world.clock, |_| Some(LogEnd { end: end?, written }));
        self.stale_ms(now)
    }

    fn stale_ms(&self, now: Micros) -> u64 {
        self.handle().staleness_us(now) / 1_000
    }

    /// The end of the log, as its ends are counted.
    fn end(&self) -> i64 {
        i64::try_from(self.world.log.end(0).unwrap()).unwrap()
    }

    fn assert_is_the_logs(&self) {
        let replayed = rebuild(self.world.log.as_ref(), 0, self.world.log.end(0).unwrap(), &mut |_| {}).unwrap();
        let followed = self.handle().read(|state| (*state.position(), state.digest()));
        assert_eq!(followed, (*replayed.position(), replayed.digest()));
    }
}

#[test]
fn partitions_of_others_are_followed_to_the_end_event_by_event() {
    let following = Following::of(world());
    assert_eq!(following.handle().status(), PartitionStatus::Restoring);
    let heard = following.run(|_| {});
    assert_eq!(following.handle().status(), PartitionStatus::Standby);
    assert_eq!(u64::try_from(heard).unwrap(), following.world.log.end(0).unwrap());
    assert_eq!(*following.asked.lock(), [(0, Some(0))]);
    following.assert_is_the_logs();
}

/// Another log, and a checkpoint of its state, one event long.
fn with_a_checkpoint() -> World {
    let other = World::new(1);
    let (handle, mut owned) = other.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    let barrier = handle.read(|state| owner.barrier(state, 99, Micros(5)));
    let outcome = owned.commit(barrier.turn());
    handle.write(|state| owner.conclude(state, barrier, outcome)).unwrap();
    other.checkpoint(&handle);
    other
}

/// A log that is further ahead than one round of following folds, and who follows it from its beginning.
fn far_behind() -> Following {
    behind_by(2 * FOLLOWED_AT_ONCE as u64)
}

/// A log of more events than these, and who follows it from its beginning.
fn behind_by(events: u64) -> Following {
    let mut following = Following::of(world());
    let log = Arc::clone(&following.world.log);
    let (handle, mut owned) = following.world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 2));
    let malformed = NewCommand { partition: 0, key: b"", bytes: b"no command", cancels: None, trace: None };
    while log.end(0).unwrap() <= events {
        (0..100).for_each(|_| log.append(malformed).unwrap());
        commit_turn(&owner, &handle, &mut owned, Micros(0));
    }
    following.tail.log = log;
    following
}

#[test]
fn a_follower_far_behind_reads_to_the_end_before_it_follows() {
    let following = far_behind();
    let end = following.world.log.end(0).unwrap();
    let heard = following.run(|_| {});
    assert_eq!((following.waited.load(Relaxed), &*following.asked.lock()), (0, &vec![(0, Some(end))]));
    assert_eq!((u64::try_from(heard).unwrap(), following.handle().status()), (end, PartitionStatus::Standby));
    following.assert_is_the_logs();
}

/// The story: a new machine reads a snapshot and the events after it. Writing all of that to its own disk would take the cores
/// for which the partition waits.
#[test]
fn a_state_that_is_not_current_yet_is_written_later() {
    let following = behind_by(CHECKPOINT_EVENTS);
    let seen = Mutex::new(Vec::new());
    following.run(|_| {
        let unwritten = following.handle().read(PartitionState::events_since_checkpoint);
        seen.lock().push((following.handle().status_kind(), unwritten));
    });
    let [(early, unwritten), .., late] = seen.into_inner()[..] else { panic!("there are several rounds") };
    assert!(early == StatusKind::Restoring && unwritten >= CHECKPOINT_EVENTS, "{unwritten} events are not written");
    assert_eq!(late, (StatusKind::Standby, 0));
}

#[test]
fn a_follower_far_behind_stops_at_bytes_that_are_no_event() {
    let mut following = far_behind();
    following.tail.spoilt = Some(1_500);
    following.world.heard.may_fail.store(true, Relaxed);
    following.run(|_| {});
    let PartitionStatus::Failed { why } = following.handle().status() else {
        panic!("{:?}", following.handle().status())
    };
    assert!(why.contains("seq 1500") && why.contains("its bytes are no event"), "{why}");
    assert!(following.handle().read(|state| state.position().next_seq) <= 1_500);
}

#[test]
fn an_owned_partition_is_not_followed_until_its_owner_ends() {
    let following = Following::of(world());
    let end = following.world.log.end(0).unwrap();
    following.run(|round| match round {
        0 => becomes(following.handle(), PartitionStatus::Claiming),
        1 => {
            assert!(following.handle().follow(|_| ()).is_none(), "a claim is the state's one writer");
            becomes(following.handle(), PartitionStatus::Standby);
        }
        _ => {}
    });
    assert_eq!(*following.asked.lock(), [(0, Some(0)), (0, None), (0, Some(end))]);
    following.assert_is_the_logs();
}

#[test]
fn events_of_a_failed_claim_are_read_again() {
    let following = Following::of(world());
    // The claim begins while an event is on its way, and is over before the follower looks at statuses again.
    let claims = AtomicBool::new(true);
    let handing = |seq| {
        if seq == 2 && claims.swap(false, Relaxed) {
            following.handle().caught_up(Micros(0));
            becomes(following.handle(), PartitionStatus::Claiming);
        }
    };
    let ends_claim = |round| {
        if round == 0 {
            becomes(following.handle(), PartitionStatus::Standby);
        }
    };
    following.run_and(ends_claim, &handing);
    assert_eq!(*following.asked.lock(), [(0, Some(0)), (0, None), (0, Some(2))]);
    following.assert_is_the_logs();
}

#[test]
fn a_log_that_does_not_say_whether_a_checkpoint_is_of_use_is_asked_again() {
    let following = Following::with(world(), world());
    following.tail.is_silent.store(true, Relaxed);
    following.run(|round| {
        following.world.clock.set(Micros((round as u64 + 1) * 1_000_000));
        following.tail.is_silent.store(round == 0, Relaxed);
    });
    let asked = following.asked.lock().clone();
    assert!(matches!(asked[..], [(0, Some(1..))]), "not followed from the checkpoint on: {asked:?}");
    assert!(following.world.heard.wiped.lock().is_empty());
    following.assert_is_the_logs();
}

/// Where the checkpoint of [`world`] is.
const KEPT: u64 = 20;

#[test]
fn a_turn_that_a_killed_owner_left_open_keeps_no_checkpoint_waiting() {
    let following = Following::with(world(), world());
    following.tail.open_at.store(KEPT + 5, Relaxed);
    following.hidden.store(KEPT + 5, Relaxed);
    following.run(|_| {});
    let next_seq = following.handle().read(|state| state.position().next_seq);
    assert_eq!((next_seq, following.handle().status()), (KEPT + 5, PartitionStatus::Standby));
    assert_eq!(*following.asked.lock(), [(0, Some(KEPT))]);
    assert!(following.world.heard.unread.lock().is_empty());
}

#[test]
fn a_checkpoint_that_may_be_ahead_of_the_log_waits_until_that_is_known() {
    let following = Following::with(world(), world());
    following.tail.open_at.store(KEPT - 5, Relaxed);
    following.run(|round| {
        if round == 0 {
            assert_eq!(following.handle().status(), PartitionStatus::Restoring);
            assert_eq!(following.handle().read_error().as_deref(), Some("open"));
            assert!(following.handle().is_as_warm_as_can_be(), "this one must not keep a process from the others");
            following.tail.open_at.store(u64::MAX, Relaxed);
        }
        following.world.clock.set(Micros((round as u64 + 1) * 1_000_000));
    });
    assert_eq!(*following.asked.lock(), [(0, Some(KEPT))]);
    assert!(following.world.heard.wiped.lock().is_empty());
    assert_eq!(*following.world.heard.unread.lock(), [Some("open".to_owned()), None]);
    following.assert_is_the_logs();
}

#[test]
fn a_partition_that_cannot_be_followed_keeps_nobody_from_the_others() {
    let following = Following::of_two();
    following.refused.store(0, Relaxed);
    following.run(|round| {
        let statuses: Vec<PartitionStatus> = following.replica.partitions().map(|handle| handle.status()).collect();
        match round {
            0 => assert_eq!(statuses, [PartitionStatus::Restoring, PartitionStatus::Standby]),
            1 => {
                following.refused.store(u32::MAX, Relaxed);
                following.world.clock.set(Micros(1_000_000));
            }
            2 => assert_eq!(statuses, [PartitionStatus::Standby, PartitionStatus::Standby]),
            _ => {}
        }
    });
    assert_eq!(*following.asked.lock(), [(1, Some(0)), (0, Some(0))]);
    assert_eq!(*following.world.heard.unread.lock(), [Some("refused".to_owned()), None], "told once");
    assert_eq!(following.handle().read_error(), None);
}

#[test]
fn an_event_that_cannot_be_handed_over_is_asked_for_again_and_told_of_once() {
    let following = Following::of(world());
    following.unread.store(7, Relaxed);
    following.run(|round| {
        following.world.clock.set(Micros((round as u64 + 1) * 10_000_000));
        if round == 2 {
            assert_eq!(following.handle().read_error().as_deref(), Some("unread"));
            following.unread.store(u64::MAX, Relaxed);
        }
    });
    let again = [Some(0), None, Some(7), None, Some(7), None, Some(7)].map(|from| (0, from));
    assert_eq!(*following.asked.lock(), again);
    assert_eq!(*following.world.heard.unread.lock(), [Some("unread".to_owned()), None]);
    following.assert_is_the_logs();
}

#[test]
fn events_before_an_unreadable_one_are_followed() {
    let following = far_behind();
    following.tail.is_unreadable.store(true, Relaxed);
    following.run(|round| following.world.clock.set(Micros((round as u64 + 1) * 10_000_000)));
    assert_eq!(*following.asked.lock(), [(0, Some(0))]);
    assert_eq!(following.world.heard.unread.lock().len(), 2);
    assert!(following.handle().read(|state| state.position().next_seq) > 0);
}

/// The time of the last event of [`world`], and some more.
fn later(ms: u64) -> Micros {
    Micros(NOW.0 + 40_000 + ms * 1_000)
}

#[test]
fn a_state_is_current_for_as_long_as_the_log_says_so() {
    let following = Following::of(world());
    following.world.clock.set(later(1_000));
    following.run(|_| {});
    let end = Some(following.end());
    assert_eq!(following.stale_ms(later(1_700)), 1_700, "until the log has said so it is as old as its last event");
    assert_eq!(following.look(later(2_000), end, None), 0);
    // Unreachable, then reachable, then with something in it that has not been handed over.
    let beyond = end.map(|end| end + 2);
    assert_eq!(following.look(later(3_000), None, None), 1_000);
    assert_eq!(following.look(later(4_000), end, None), 0);
    assert_eq!(following.look(later(5_500), beyond, None), 1_500);
}

#[test]
fn a_state_lacks_as_many_records_as_the_log_has_beyond_what_was_read() {
    let following = Following::of(world());
    let events = following.world.log.end(0).unwrap();
    assert_eq!(following.handle().lag(), None, "nobody has asked the log yet");
    following.handle().progress().set_end_seq(events);
    assert_eq!(following.handle().lag(), Some(events), "the state is being rebuilt");
    following.run(|_| {});
    let lag = |beyond: Option<i64>, at_ms| {
        following.look(later(at_ms), beyond.map(|beyond| following.end() + beyond), None);
        following.handle().lag()
    };
    assert_eq!([lag(Some(0), 2_000), lag(Some(7), 2_200)], [Some(0), Some(7)]);
    assert_eq!(lag(None, 2_400), Some(7), "what it was when the log answered last");
    becomes(following.handle(), PartitionStatus::Claiming);
    becomes(following.handle(), PartitionStatus::Active);
    assert_eq!(following.handle().lag(), Some(0), "an owner has all of it");
}

#[test]
fn events_before_the_first_known_end_are_not_skipped() {
    let following = Following::of(world());
    following.world.clock.set(later(1_000));
    following.run(|_| {});
    // What came after the last event was read, or is hidden behind an open transaction.
    let beyond = Some(following.end() + 2);
    let stale = [2_000, 2_200, 9_000].map(|ms| following.look(later(ms), beyond, None));
    assert_eq!(stale, [2_000, 2_200, 9_000]);
}

#[test]
fn reading_up_to_an_end_is_as_fresh_as_the_question_for_it() {
    let following = Following::of(world());
    let end = following.end();
    following.hidden.store(10, Relaxed);
    following.world.clock.set(later(1_000));
    following.run(|round| match round {
        1 => {
            following.look(later(2_000), Some(end), None);
            following.look(later(3_000), Some(end), None);
            following.hidden.store(u64::MAX, Relaxed);
            // The process was stopped before it read on.
            following.world.clock.set(later(60_000));
        }
        2 => assert_eq!(following.stale_ms(later(60_000)), 58_000),
        _ => {}
    });
    assert_eq!(following.look(later(61_000), Some(end), None), 0);
}

#[test]
fn a_follower_that_was_stopped_does_not_call_current_what_it_had_before() {
    let following = Following::of(world());
    let last = following.world.log.end(0).unwrap() - 1;
    following.world.clock.set(later(0));
    following.run_and(|_| {}, &|seq| {
        if seq == last {
            following.world.clock.set(later(9_000));
        }
    });
    assert_eq!((following.handle().status(), following.stale_ms(later(9_000))), (PartitionStatus::Standby, 9_000));
}

#[test]
fn an_owner_is_current_only_while_its_own_turn_is_the_last() {
    let following = Following::of(world());
    becomes(following.handle(), PartitionStatus::Active);
    following.handle().was_current_at(later(1_000));
    assert_eq!(following.look(later(2_000), Some(40), Some(40)), 0);
    assert_eq!(following.look(later(3_000), Some(42), Some(40)), 1_000);
    assert_eq!(following.look(later(4_000), Some(42), None), 2_000);
}

/// A log that takes nine seconds to say that a turn is in it.
struct Slow<'a> {
    owned: Owned,
    clock: &'a ManualClock,
}

impl OwnedPartition for Slow<'_> {
    fn poll(&mut self, _: &mut Vec<StoredCommand>, _: Duration) -> Result<Polled, LogError> {
        Ok(Polled::Closed)
    }

    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome {
        let outcome = self.owned.commit(turn);
        self.clock.set(later(10_000));
        outcome
    }
}

#[test]
fn an_owner_that_was_stopped_in_its_turn_is_current_as_of_the_turn() {
    let (world, replica) = (world(), Replica::shared(1));
    let (handle, owned) = world.recover_in(&replica, 0);
    world.clock.set(later(1_000));
    // Nobody writes checkpoints.
    let (checkpointer, _) = Checkpointer::new(7);
    let shell = Shell {
        log: Slow { owned, clock: &world.clock },
        owner: handle.read(|state| Partition::claim(state, 1)),
        handle: Arc::clone(&handle),
        clock: &world.clock,
        replies: &NoReplies,
        checkpointer: &checkpointer,
        report: &world.heard,
        tracing: &Tracing::off(|| 7),
        tick_after_ms: None,
    };
    assert_eq!(shell.run(7), End::Closed);
    assert_eq!(handle.staleness_us(later(10_000)), 9_000_000);
}
