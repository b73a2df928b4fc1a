//! What an owner owes whoever commits for it: a turn counts when it is committed and not before, the same inputs make
//! the same bytes, and a state comes back from whatever is left of it.

use crate::fixtures::{self, NOW, append, command, hold, key, orders, pool_id};
use crate::turns::stored;
use crate::world::{World, becomes, commit_turn, conclude_turn};
use headroom::domain::*;
use headroom::log::{
    ClaimError, CommitOutcome, CommittedTail, LogError, OwnedPartition, Polled, StoredCommand, StoredEvent,
};
use headroom::owner::Partition;
use headroom::owner::checkpointer::Checkpointer;
use headroom::owner::recover::{Recovery, fold_stored, rebuild};
use headroom::replica::{PartitionHandle, PartitionState, PartitionStatus, Replica};
use headroom::store::sled::SledStore;
use headroom::store::{Store, StoreError};
use headroom::wire;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

pub fn pool() -> PoolId {
    pool_id("van-1")
}

/// Keyed by its number, and answered.
fn encoded(number: u64, body: CommandBody) -> Vec<u8> {
    let (reply_to, key, deadline) = (Some(9), Some(key(&format!("K{number}"))), NOW.plus_ms(10_000));
    wire::command::encode(&Command { reply_to, key, deadline, ..command(number, body) })
}

pub fn define(number: u64) -> Vec<u8> {
    encoded(number, fixtures::define(&pool(), orders(100)))
}

pub fn reserve(number: u64, hold_ttl_ms: Option<u64>) -> Vec<u8> {
    let key = format!("K{number}");
    let body = hold_ttl_ms.map_or_else(|| fixtures::reserve(&pool(), &key), |ttl_ms| hold(&pool(), &key, ttl_ms));
    encoded(number, body)
}

fn records(commands: impl IntoIterator<Item = Vec<u8>>) -> Vec<StoredCommand> {
    commands
        .into_iter()
        .zip(0..)
        .map(|(bytes, offset)| StoredCommand { offset, skipped: 0, bytes, trace: None })
        .collect()
}

/// Whoever reads the log is told why nobody can decide it, and not that it is no command.
#[test]
fn a_command_of_another_log_is_told_as_such() {
    let state = PartitionState::new(0);
    let owner = Partition::claim(&state, 1);
    let record = StoredCommand { offset: 0, skipped: 0, bytes: headroom::log::OF_ANOTHER_LOG.to_vec(), trace: None };
    let staged = owner.decide(&state, vec![record], Micros(1));
    assert_eq!(staged.decided()[0].event.body, EventBody::Malformed { detail: "asked of another log".to_owned() });
}

#[test]
fn nothing_of_a_turn_counts_before_its_commit_and_all_of_it_after() {
    let mut state = PartitionState::new(0);
    let owner = Partition::claim(&state, 1);
    let batch = || records([define(1), reserve(2, None), reserve(3, Some(1_000)), b"no command".to_vec()]);
    for outcome in [CommitOutcome::Aborted, CommitOutcome::Fenced, CommitOutcome::Unknown] {
        let staged = owner.decide(&state, batch(), NOW);
        let concluded = owner.conclude(&mut state, staged, outcome).unwrap();
        assert!(concluded.replies.is_empty(), "{outcome:?}");
        assert_eq!((state.position().next_seq, state.pools().count(), state.memory_used(NOW)), (0, 0, 0));
    }
    let staged = owner.decide(&state, batch(), NOW);
    assert_eq!(staged, owner.decide(&state, batch(), NOW), "the same inputs make the same bytes");
    let written: Vec<_> = staged.turn().events.iter().map(|event| event.bytes.as_ptr()).collect();
    assert_eq!(written.len(), 4);
    let concluded = owner.conclude(&mut state, staged, CommitOutcome::Ok).unwrap();
    let told: Vec<_> = concluded.replies.iter().map(|r| (r.to, r.decided.event.body.kind())).collect();
    assert_eq!(told, [(9, EventKind::PoolDefined), (9, EventKind::Accepted), (9, EventKind::Accepted)]);
    let sent: Vec<_> = concluded.replies.iter().map(|reply| reply.bytes.as_ptr()).collect();
    assert!(sent.iter().all(|bytes| written.contains(bytes)), "a reply has the bytes of its event and no copy of them");
    assert_eq!((state.position().next_seq, state.position().next_input), (4, 4));
    assert_eq!(state.pool(&pool()).map(|p| p.used.clone()), Some(orders(2)));
    assert_eq!(state.next_due(NOW), Some(NOW.plus_ms(1_000)));
}

#[test]
fn a_turns_time_never_goes_back() {
    let mut state = PartitionState::new(0);
    let owner = Partition::claim(&state, 1);
    let staged = owner.decide(&state, records([define(1)]), NOW);
    owner.conclude(&mut state, staged, CommitOutcome::Ok).unwrap();
    let batch = vec![StoredCommand { offset: 1, skipped: 0, bytes: reserve(2, None), trace: None }];
    let staged = owner.decide(&state, batch, Micros(NOW.0 - 5_000_000));
    assert_eq!(staged.decided()[0].event.decided_at, NOW);
}

/// Places without a command cost no event, and a command that cannot be read leaves its id.
#[test]
fn offsets_without_a_command_are_skipped_by_the_next_event() {
    let mut state = PartitionState::new(0);
    let owner = Partition::claim(&state, 1);
    let mut cut = reserve(2, None);
    cut.truncate(cut.len() - 1);
    let at = |offset, skipped, bytes| StoredCommand { offset, skipped, bytes, trace: None };
    let batch = vec![at(0, 0, define(1)), at(4, 3, cut), at(5, 0, b"no command".to_vec()), at(7, 1, reserve(3, None))];
    let staged = owner.decide(&state, batch, NOW);
    let cause = |at: usize| staged.decided()[at].event.cause.clone().unwrap();
    assert_eq!((cause(0).skipped, cause(1).skipped, cause(3).skipped), (0, 3, 1));
    assert_eq!((cause(1).command, cause(1).unread), (None, Some(CommandId(2))));
    assert_eq!((cause(2).command, cause(2).unread), (None, None));
    let events = stored(&staged.turn());
    owner.conclude(&mut state, staged, CommitOutcome::Ok).unwrap();
    let mut follower = PartitionState::new(0);
    events.iter().for_each(|event| drop(fold_stored(&mut follower, event).unwrap()));
    assert_eq!((state.position().next_input, follower.position()), (8, state.position()));
    // A place too few or too many is what no owner writes.
    for (offset, skipped) in [(9, 0), (9, 2), (9, 100), (7, 0)] {
        let staged = owner.decide(&state, vec![at(offset, skipped, reserve(4, None))], NOW);
        let breach = owner.conclude(&mut follower, staged, CommitOutcome::Ok).unwrap_err();
        assert_eq!(breach.law, Law::OneDecision, "{breach}");
        follower = PartitionState::new(0);
        events.iter().for_each(|event| drop(fold_stored(&mut follower, event).unwrap()));
    }
}

#[test]
fn commands_that_are_gone_have_one_event_that_says_so() {
    let mut state = PartitionState::new(0);
    let owner = Partition::claim(&state, 1);
    let staged = owner.decide(&state, records([define(1)]), NOW);
    owner.conclude(&mut state, staged, CommitOutcome::Ok).unwrap();
    for until in [0, 1] {
        assert!(owner.lost(&state, until, "by hand: retention", NOW).is_empty(), "nothing is lost before {until}");
    }
    let staged = owner.lost(&state, 50, "by hand: retention", NOW);
    let event = &staged.decided()[0].event;
    assert_eq!(event.body, EventBody::CommandsLost { detail: "by hand: retention".to_owned() });
    assert_eq!(event.cause, Some(Cause { input_offset: 49, skipped: 48, command: None, unread: None }));
    // Whoever writes down where to go on reads it from the inputs.
    assert_eq!(staged.turn().inputs, [StoredCommand { offset: 49, skipped: 48, bytes: Vec::new(), trace: None }]);
    let digest = state.digest();
    owner.conclude(&mut state, staged, CommitOutcome::Ok).unwrap();
    assert_eq!((state.position().next_input, state.digest()), (50, digest));
    let record = StoredCommand { offset: 50, skipped: 0, bytes: reserve(2, None), trace: None };
    let staged = owner.decide(&state, vec![record], NOW);
    owner.conclude(&mut state, staged, CommitOutcome::Ok).unwrap();
    assert_eq!(state.pool(&pool()).map(|pool| pool.used.clone()), Some(orders(1)));
}

#[test]
fn one_byte_in_a_committed_event_is_found_there_or_by_the_next_event() {
    let state = PartitionState::new(0);
    let owner = Partition::claim(&state, 1);
    let staged = owner.decide(&state, records([define(1), reserve(2, None), reserve(3, None)]), NOW);
    let events = stored(&staged.turn());
    // Which of them is refused when this byte of the second one is changed.
    let refused = |byte: Option<usize>| {
        let mut replica = PartitionState::new(0);
        events.iter().position(|event| {
            let mut event = event.clone();
            if let Some(at) = byte.filter(|_| event.seq == 1) {
                event.bytes[at] ^= 1;
            }
            fold_stored(&mut replica, &event).is_err()
        })
    };
    assert_eq!(refused(None), None, "as they were written they follow on each other");
    for at in 0..events[1].bytes.len() {
        let place = refused(Some(at));
        assert!(matches!(place, Some(1 | 2)), "byte {at} of the second event was changed, and {place:?} was refused");
    }
}

/// A log with a checkpoint in its middle.
pub fn world() -> World {
    let world = World::new(1);
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    for number in 1..=40 {
        let bytes = if number == 1 { define(1) } else { reserve(number, (number % 3 == 0).then_some(600_000)) };
        append(&*world.log, 0, &bytes);
        commit_turn(&owner, &handle, &mut owned, NOW.plus_ms(number));
        if number == 20 {
            world.checkpoint(&handle);
        }
    }
    world
}

/// A log in which these events are other bytes.
struct Altered<'a>(&'a World, Vec<(u64, Vec<u8>)>);

impl CommittedTail for Altered<'_> {
    fn partitions(&self) -> u32 {
        1
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.0.log.end(partition)
    }

    fn read(&self, partition: u32, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredEvent>, LogError> {
        let mut events = self.0.log.read(partition, from_seq, bytes_max)?;
        for event in &mut events {
            let other = self.1.iter().find(|(seq, _)| *seq == event.seq);
            event.bytes = other.map_or_else(|| std::mem::take(&mut event.bytes), |(_, bytes)| bytes.clone());
        }
        Ok(events)
    }
}

#[test]
fn a_replay_stops_at_the_first_event_that_cannot_follow() {
    let world = world();
    let end = world.log.end(0).unwrap();
    let later = Event {
        partition: 0,
        seq: end + 10,
        epoch: 1,
        prev: Digest::default(),
        decided_at: NOW,
        cause: None,
        body: EventBody::Tick,
    };
    let (later, _) = wire::event::encode(&later);
    let none = b"no event".to_vec();
    let broken = |spoilt, until| match rebuild(&Altered(&world, spoilt), 0, until, &mut |_| {}) {
        Err(ClaimError::Breach(breach)) => Some((breach.seq, breach.detail.contains("no event"))),
        Err(error) => panic!("{error}"),
        Ok(state) => {
            assert_eq!(state.position().next_seq, until);
            None
        }
    };
    let last = end - 1;
    assert_eq!(broken(vec![(last, later.clone())], end), Some((end + 10, false)), "it says that it is a later one");
    assert_eq!(broken(vec![(7, later), (9, none.clone())], end), Some((end + 10, false)), "the first one is named");
    assert_eq!(broken(vec![(9, none.clone())], end), Some((9, true)));
    assert_eq!(broken(vec![(last, none)], last), None, "what comes afterwards is not asked for");
}

/// The state that a restart comes to and why checkpoints were wiped; or why it is refused, and how many were wiped.
fn recovered(world: &World, store: &dyn Store, log_id: u128) -> Result<(Digest, Vec<String>), (ClaimError, usize)> {
    let heard = crate::world::Heard::default();
    let (tail, clock) = (world.log.as_ref(), &world.clock);
    let recovery = Recovery { log_id, tail, store, snapshots: None, clock, report: &heard, on_committed: &|_| {} };
    let replica = Replica::new(1);
    let handle = replica.partition(0).unwrap();
    let is_of_checkpoint = match recovery.restore(handle) {
        Ok(is_there) => is_there,
        Err(error) => return Err((error, heard.wiped.lock().len())),
    };
    let mut owned = recovery.claim(world.log.as_ref(), handle, is_of_checkpoint).unwrap();
    assert_eq!(owned.poll(&mut Vec::new(), Duration::ZERO), Ok(Polled::Idle));
    let wiped = heard.wiped.lock().clone();
    Ok((handle.read(PartitionState::digest), wiped))
}

#[test]
fn a_checkpoint_that_is_odd_in_any_way_is_wiped_and_the_state_is_the_same() {
    let log_id = 7;
    let from_log = {
        let world = world();
        world.store.wipe(0, "to begin with").unwrap();
        recovered(&world, &world.store, log_id).unwrap().0
    };
    let sound = world();
    assert_eq!(recovered(&sound, &sound.store, log_id), Ok((from_log, vec![])));

    for (what, spoil) in SPOILERS {
        let world = world();
        let spoilt = Spoilt { store: &world.store, spoil: *spoil };
        let (digest, wiped) = recovered(&world, &spoilt, log_id).unwrap();
        assert_eq!(digest, from_log, "{what}");
        assert_eq!(wiped.len(), 1, "{what}: {wiped:?}");
        // It is gone: the next start finds none.
        assert_eq!(recovered(&world, &world.store, log_id), Ok((from_log, vec![])), "{what}");
    }
}

/// The story: a checkpoint is sound, and a start cannot open it, because the disk is full or it belongs to another user. Deleted as
/// one that does not match, it would be missed by the next start. It stays, and nothing is written on top of it that was made without
/// it: a whole checkpoint takes its place.
#[test]
fn a_checkpoint_that_cannot_be_opened_stays_until_another_one_takes_its_place() {
    let world = world();
    let log_id = 7;
    // It is open in the world's store, as in another process.
    assert!(world.store.load(0, &mut |_, _| {}).unwrap().is_some());
    let store = SledStore::open(world.path());
    let end = world.log.end(0).unwrap();
    let mut state = rebuild(world.log.as_ref(), 0, end, &mut |_| {}).unwrap();
    let digest = state.digest();
    assert_eq!(recovered(&world, &store, log_id), Ok((digest, vec![])));
    let draft = state.draft_checkpoint(log_id).encode();
    assert!(world.store.apply(&draft).is_err(), "and it is closed there");
    assert!(store.apply(&draft).is_err(), "it can be opened, and has another state");
    store.replace(&draft, "a whole state takes its place").unwrap();
    assert_eq!(recovered(&world, &store, log_id), Ok((digest, vec![])));
    assert_eq!(store.load(0, &mut |_, _| {}).unwrap(), Some(draft.mark));
}

/// A checkpoint that is whole and has seen what the log does not hold: the log has lost it, and the checkpoint is all
/// that shows it.
#[test]
fn a_log_that_does_not_hold_what_its_checkpoint_has_seen_is_refused_and_nothing_is_wiped() {
    let log_id = 7;
    for (what, spoil, says) in WITNESSES {
        let world = world();
        let before = world.store.seen(0).unwrap();
        let (error, wiped) = recovered(&world, &Spoilt { store: &world.store, spoil: *spoil }, log_id).unwrap_err();
        let ClaimError::Breach(breach) = error else { panic!("{what}: {error}") };
        assert_eq!((breach.law, wiped), (Law::LogIsTruth, 0), "{what}: {breach}");
        assert!(breach.detail.contains(says), "{what}: {breach}");
        assert_eq!(world.store.seen(0).unwrap(), before, "{what}");
    }
    let world = world();
    let (error, wiped) = recovered(&world, &world.store, log_id + 1).unwrap_err();
    let says = "events of log 00000000000000000000000000000007 were seen as committed, and this is log 000000000";
    assert!(error.to_string().contains(says) && wiped == 0, "{error}");
}

const WITNESSES: &[(&str, Spoiler, &str)] = &[
    ("ahead of the log", |mark, _| mark.next_seq += 100, " were seen as committed and are gone, "),
    ("of another history", |mark, _| mark.chain = Digest([3; 16]), " is not the one that was seen as committed"),
    ("of another log", |mark, _| mark.log_id += 1, "and this is log 00000000000000000000000000000007"),
];

type Rows = Vec<(Vec<u8>, Vec<u8>)>;
type Spoiler = fn(&mut headroom::store::Mark, &mut Rows);

const SPOILERS: &[(&str, Spoiler)] = &[
    ("another format", |mark, _| mark.format_version += 1),
    ("another partition", |mark, _| mark.partition += 1),
    ("a missing page", |_, rows| rows.retain(|(key, _)| !key.starts_with(&page_prefix()))),
    ("a value cut short", |_, rows| rows.iter_mut().for_each(|(_, value)| value.truncate(value.len() / 2))),
    ("an unknown row", |_, rows| rows.push((b"?".to_vec(), b"?".to_vec()))),
];

fn page_prefix() -> Vec<u8> {
    let (mut a, b) = (wire::snapshot::page_key(0), wire::snapshot::page_key(u32::MAX));
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    a.truncate(common);
    a
}

/// A store that hands out something else than it holds.
struct Spoilt<'a> {
    store: &'a dyn Store,
    spoil: Spoiler,
}

impl Store for Spoilt<'_> {
    fn load(
        &self,
        partition: u32,
        row: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<Option<headroom::store::Mark>, StoreError> {
        let mut rows = Rows::new();
        let mark = self.store.load(partition, &mut |key, value| rows.push((key.to_vec(), value.to_vec())))?;
        let Some(mut mark) = mark else { return Ok(None) };
        (self.spoil)(&mut mark, &mut rows);
        rows.iter().for_each(|(key, value)| row(key, value));
        Ok(Some(mark))
    }

    fn apply(&self, checkpoint: &headroom::store::Checkpoint) -> Result<(), StoreError> {
        self.store.apply(checkpoint)
    }

    fn wipe(&self, partition: u32, why: &str) -> Result<(), StoreError> {
        self.store.wipe(partition, why)
    }
}

/// A log with one event, the barrier of this number.
fn with_a_barrier(nonce: u64) -> World {
    let world = World::new(1);
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    let barrier = handle.read(|state| owner.barrier(state, nonce, NOW));
    conclude_turn(&owner, &handle, &mut owned, barrier);
    world
}

/// The story: a cluster loses its last event, and the owner that goes on has written as many as before when the partition is given
/// to a process that has the lost one. That one had nothing to fold, and so it wrote events that do not follow on the log's: the
/// partition stopped for good, in all processes.
#[test]
fn a_log_of_the_same_length_and_of_another_course_is_not_claimed() {
    let (seen, found, empty) = (with_a_barrier(1), with_a_barrier(2), World::new(1));
    let claim = |World { log, store, clock, heard, .. }: &World| {
        let replica = Replica::shared(1);
        let handle = replica.partition(0).unwrap();
        handle.write(|state| *state = rebuild(seen.log.as_ref(), 0, 1, &mut |_| {}).unwrap());
        becomes(handle, PartitionStatus::Standby);
        becomes(handle, PartitionStatus::Claiming);
        let (log_id, tail) = (log.manifest().log_id, log.as_ref());
        let recovery = Recovery { log_id, tail, store, snapshots: None, clock, report: heard, on_committed: &|_| {} };
        recovery.claim(tail, handle, false).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(claim(&seen), Ok(()));
    let told = claim(&found).unwrap_err();
    assert!(told.starts_with("L3 broken at partition 0 seq 0: the log has it with the digest "), "{told}");
    let told = claim(&empty).unwrap_err();
    assert!(told.contains("partition 0 ends before seq 1, at 0"), "{told}");
}

#[test]
fn the_log_holds_one_event_for_each_command() {
    let world = world();
    let events = world.log.read(0, 0, usize::MAX).unwrap();
    let offsets: Vec<_> = events
        .iter()
        .filter_map(|event| wire::event::decode(&event.bytes).unwrap().event.cause)
        .map(|cause| cause.input_offset)
        .collect();
    assert_eq!(offsets, (0..40).collect::<Vec<_>>());
    assert_eq!(world.log.commands(0, 0, usize::MAX).unwrap().len(), 40);
}

/// A store whose writes can be made to fail.
struct Failing<'a> {
    store: &'a dyn Store,
    fails: AtomicBool,
}

impl Store for Failing<'_> {
    fn load(
        &self,
        partition: u32,
        row: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<Option<headroom::store::Mark>, StoreError> {
        self.store.load(partition, row)
    }

    fn apply(&self, checkpoint: &headroom::store::Checkpoint) -> Result<(), StoreError> {
        match self.fails.load(Relaxed) {
            true => Err(StoreError::new("no space left".to_owned())),
            false => self.store.apply(checkpoint),
        }
    }

    fn wipe(&self, partition: u32, why: &str) -> Result<(), StoreError> {
        self.store.wipe(partition, why)
    }
}

/// Changes drafted while an earlier write was failing must never be taken for a whole state.
#[test]
fn after_a_failed_checkpoint_only_a_whole_one_is_written() {
    let world = World::new(1);
    let (handle, mut owned) = world.recover(0);
    let owner = handle.read(|state| Partition::claim(state, 1));
    let mut turn = |bytes: Vec<u8>, at: u64| {
        append(&*world.log, 0, &bytes);
        commit_turn(&owner, &handle, &mut owned, NOW.plus_ms(at));
    };
    let log_id = world.log.manifest().log_id;
    let draft = || handle.write(|state| state.draft_checkpoint(log_id)).encode();
    let store = Failing { store: &world.store, fails: AtomicBool::new(true) };
    turn(define(1), 1);
    let first = draft();
    turn(reserve(2, None), 2);
    let second = draft();
    assert!(store.apply(&first).is_err());
    handle.write(PartitionState::mark_all_dirty);
    store.fails.store(false, Relaxed);
    assert!(store.apply(&second).is_err(), "it builds on one that was never written");
    handle.write(PartitionState::mark_all_dirty);
    turn(reserve(3, None), 3);
    store.apply(&draft()).unwrap();
    let digest = handle.read(PartitionState::digest);
    assert_eq!(recovered(&world, &store, log_id), Ok((digest, vec![])));
}

/// A store that is full. While the first checkpoint is written, the next one is offered.
struct Full<'a> {
    offers: Mutex<Option<Checkpointer>>,
    handle: &'a Arc<PartitionHandle>,
    tried: AtomicUsize,
}

impl Store for Full<'_> {
    fn load(&self, _: u32, _: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<headroom::store::Mark>, StoreError> {
        Ok(None)
    }

    fn apply(&self, _: &headroom::store::Checkpoint) -> Result<(), StoreError> {
        self.tried.fetch_add(1, Relaxed);
        if let Some(checkpointer) = self.offers.lock().take() {
            assert!(checkpointer.offer(self.handle));
        }
        Err(StoreError::new("no space left"))
    }

    fn wipe(&self, _: u32, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The story: the disk is full while a whole state is written, and the changes after it wait already. What is on the disk may be
/// of another state that happens to end where they begin.
#[test]
fn changes_are_not_written_over_what_a_failed_checkpoint_was_to_replace() {
    let world = World::new(1);
    let (handle, _owned) = world.recover(0);
    let (checkpointer, work) = Checkpointer::new(world.log.manifest().log_id);
    assert!(checkpointer.offer(&handle));
    let store = Full { offers: Mutex::new(Some(checkpointer)), handle: &handle, tried: AtomicUsize::new(0) };
    world.heard.may_fail.store(true, Relaxed);
    work.run(&store, &world.heard);
    assert_eq!(store.tried.into_inner(), 1);
}

/// The story: the disk of a process on a cluster was full. Every five seconds its owner held still while the whole state was
/// gathered, which a thread then encoded, and wrote until there was no room.
#[test]
fn a_checkpoint_that_cannot_be_written_is_not_tried_again_at_once() {
    let world = World::new(1);
    let (handle, _owned) = world.recover(0);
    let (checkpointer, work) = Checkpointer::new(world.log.manifest().log_id);
    let store = Failing { store: &world.store, fails: AtomicBool::new(true) };
    world.heard.may_fail.store(true, Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| work.run(&store, &world.heard));
        assert!(checkpointer.offer(&handle));
        // It waits until both were tried.
        checkpointer.offer_last(&handle);
        assert!(!checkpointer.offer(&handle));
        // At the end of the process it is tried once more in any case.
        store.fails.store(false, Relaxed);
        checkpointer.offer_last(&handle);
        assert!(checkpointer.offer(&handle));
        drop(checkpointer);
    });
}
