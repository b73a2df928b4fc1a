//! Ticks: what a silent owner writes for a log that forgets who is silent, and no owner for one that does not.

use crate::fixtures::{NOW, NoReplies, append};
use crate::server::Server;
use crate::wait::until;
use crate::world::{ManualClock, World, conclude_turn};
use headroom::domain::EventKind;
use headroom::limits::TICK_AFTER_MS;
use headroom::log::embedded::{EmbeddedReader, Owned};
use headroom::log::{CommitOutcome, CommittedTail, LogError, OwnedPartition, Polled, StoredCommand, Turn};
use headroom::owner::Partition;
use headroom::owner::checkpointer::Checkpointer;
use headroom::owner::shell::{End, Shell};
use headroom::replica::{PartitionHandle, PartitionState};
use headroom::time::Clock;
use headroom::trace::Tracing;
use headroom::wire;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

const TICK_MS: u64 = 700;

/// Counts how often its owner looked for commands.
struct Counted<'a> {
    owned: Owned,
    polls: &'a AtomicUsize,
}

impl OwnedPartition for Counted<'_> {
    fn poll(&mut self, batch: &mut Vec<StoredCommand>, wait: Duration) -> Result<Polled, LogError> {
        self.polls.fetch_add(1, Relaxed);
        self.owned.poll(batch, wait)
    }

    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome {
        self.owned.commit(turn)
    }
}

/// What the log holds, with how long after [`NOW`] it was decided.
fn decided(tail: &dyn CommittedTail) -> Vec<(EventKind, u64)> {
    let events = tail.read(0, 0, usize::MAX).unwrap();
    let events = events.iter().map(|event| wire::event::decode(&event.bytes).unwrap().event);
    events.map(|event| (event.body.kind(), event.decided_at.ms_since(NOW))).collect()
}

/// Runs an owner until its log ends.
pub fn run(world: &World, handle: &Arc<PartitionHandle>, log: impl OwnedPartition, tick_after_ms: Option<u64>) -> End {
    // Nobody writes checkpoints.
    let (checkpointer, _) = Checkpointer::new(7);
    let shell = Shell {
        log,
        owner: handle.read(|state| Partition::claim(state, 1)),
        handle: Arc::clone(handle),
        clock: &world.clock as &dyn Clock,
        replies: &NoReplies,
        checkpointer: &checkpointer,
        report: &world.heard,
        tracing: &Tracing::off(|| 7),
        tick_after_ms,
    };
    shell.run(1)
}

/// An owner at work, by a clock that `script` moves.
fn owner(
    tick_after_ms: Option<u64>,
    script: impl FnOnce(&World, &PartitionHandle, &dyn Fn(u64)),
) -> Vec<(EventKind, u64)> {
    let world = World::new(1);
    world.clock.set(NOW);
    let (handle, owned) = world.recover(0);
    let polls = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let log = Counted { owned, polls: &polls };
        let running = scope.spawn(|| run(&world, &handle, log, tick_after_ms));
        // The clock stands there while the owner finds nothing, more than once.
        let at = |ms: u64| {
            world.clock.set(NOW.plus_ms(ms));
            let before = polls.load(Relaxed);
            until("the owner has looked", || polls.load(Relaxed) >= before + 3);
        };
        at(0);
        script(&world, &handle, &at);
        world.log.close();
        assert_eq!(running.join().unwrap(), End::Closed);
    });
    decided(world.log.as_ref())
}

#[test]
fn a_silent_owner_writes_a_tick() {
    let events = owner(Some(TICK_MS), |world, handle, at| {
        at(TICK_MS - 1);
        at(TICK_MS);
        // Whatever it writes begins the time anew.
        at(TICK_MS + 500);
        append(&*world.log, 0, b"no command");
        until("it is answered", || handle.read(|state| state.position().next_input) == 1);
        // Once more at the same time, so that the owner has counted its silence from there before the clock goes on.
        at(TICK_MS + 500);
        at(2 * TICK_MS);
        at(2 * TICK_MS + 499);
        at(2 * TICK_MS + 500);
        at(9 * TICK_MS);
    });
    let expected = [
        (EventKind::Barrier, 0),
        (EventKind::Tick, TICK_MS),
        (EventKind::Malformed, TICK_MS + 500),
        (EventKind::Tick, 2 * TICK_MS + 500),
        (EventKind::Tick, 9 * TICK_MS),
    ];
    assert_eq!(events, expected);
}

#[test]
fn an_owner_without_ticks_writes_none() {
    let events = owner(None, |_, _, at| (1..50).for_each(|hours| at(hours * 3_600_000)));
    assert_eq!(events, [(EventKind::Barrier, 0)]);
}

#[test]
fn the_embedded_service_writes_none() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let server = Server::start(dir.path(), 1, Arc::clone(&clock) as _);
    server.pool("van-1", 1);
    // A checkpoint becomes due as well, and would come after the Tick.
    clock.set(NOW.plus_ms(100 * TICK_AFTER_MS));
    let handle = server.gateway.replica().partition(0).unwrap();
    until("a checkpoint is drafted", || handle.read(PartitionState::events_since_checkpoint) == 0);
    drop(server);
    let kinds: Vec<_> = decided(&EmbeddedReader::open(dir.path()).unwrap()).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [EventKind::Barrier, EventKind::PoolDefined]);
}

/// For how long nobody had decided before an owner began, in milliseconds. An earlier owner wrote its last event five
/// seconds before, and notes were seen at these times after that event.
fn gap_ms(tick_after_ms: Option<u64>, notes_ms: &[u64]) -> Option<u64> {
    let world = World::new(1);
    world.clock.set(NOW);
    let (first, mut owned) = world.recover(0);
    let owner = first.read(|state| Partition::claim(state, 1));
    let barrier = first.read(|state| owner.barrier(state, 99, NOW));
    conclude_turn(&owner, &first, &mut owned, barrier);
    drop(owned);
    let (handle, log) = world.recover(0);
    for (note, ms) in (0..).zip(notes_ms) {
        handle.liveness().set_owner_note(Some(note), NOW.plus_ms(*ms));
    }
    world.clock.set(NOW.plus_ms(5_000));
    world.log.close();
    assert_eq!(run(&world, &handle, log, tick_after_ms), End::Closed);
    let gaps = world.heard.gaps.lock();
    assert_eq!(gaps.len(), 1);
    gaps[0].map(|us| us / 1_000)
}

#[test]
fn an_owner_knows_for_how_long_nobody_has_decided_before_it() {
    let cases: [(&[u64], u64); 4] = [
        // Nothing is known but the last event.
        (&[], 5_000),
        // One note shows nobody: it may be old.
        (&[4_000], 5_000),
        (&[100, 4_000], 1_000),
        (&[100, 4_000, 4_800], 200),
    ];
    for (notes_ms, expected) in cases {
        assert_eq!(gap_ms(Some(TICK_MS), notes_ms), Some(expected), "{notes_ms:?}");
    }
    assert_eq!(gap_ms(None, &[]), None, "an owner that writes no ticks may have lived until now");
}
