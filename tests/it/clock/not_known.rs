//! A clock that is set back while the log does not say whether it took the event.

use crate::fixtures::NOW;
use crate::ticks::run;
use crate::wait::until;
use crate::world::World;
use headroom::domain::EventBody;
use headroom::log::embedded::Owned;
use headroom::log::{CommitOutcome, LogError, OwnedPartition, Polled, StoredCommand, Turn, TurnEvent};
use headroom::owner::shell::End;
use headroom::replica::{ClockRequest, ClockSetOutcome, StatusKind};
use headroom::wire;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;

/// A log that does not say what became of a turn that sets a clock.
struct Unsure {
    owned: Owned,
    takes_it: bool,
}

impl OwnedPartition for Unsure {
    fn poll(&mut self, batch: &mut Vec<StoredCommand>, wait: Duration) -> Result<Polled, LogError> {
        self.owned.poll(batch, wait)
    }

    fn commit(&mut self, turn: Arc<Turn>) -> CommitOutcome {
        let sets_clock = |event: &TurnEvent| {
            let decided = wire::event::decode(&event.bytes).unwrap();
            matches!(decided.event.body, EventBody::ClockSet { .. })
        };
        if !turn.events.iter().any(sets_clock) {
            return self.owned.commit(turn);
        }
        if self.takes_it {
            assert_eq!(self.owned.commit(turn), CommitOutcome::Ok);
        }
        CommitOutcome::Unknown
    }
}

/// The story: the broker was cut off just then, and the event was in the log. The operator read that nothing was changed
/// and that another server owns the partition, and the process went on by the time from which every hold had been moved.
#[test]
fn an_operator_is_told_when_nobody_knows_whether_a_clock_was_set_and_the_old_time_is_dropped() {
    for takes_it in [false, true] {
        let world = World::new(1);
        world.clock.set(NOW);
        let (handle, owned) = world.recover(0);
        let log = Unsure { owned, takes_it };
        std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&world, &handle, log, None));
            until("it decides", || handle.status_kind() == StatusKind::Active);
            // The wall clock is ahead for a moment, while nothing is decided.
            world.clock.step(NOW.plus_ms(HOUR_MS));
            assert_eq!(handle.time().now(&world.clock), NOW.plus_ms(HOUR_MS));
            world.clock.step(NOW);
            assert_eq!(handle.time().ahead_us(&world.clock), HOUR_MS * 1_000);
            let (tell, told) = channel();
            let told_so = Box::new(move |outcome| tell.send(outcome).unwrap());
            handle.ask_to_set_clock(ClockRequest { because: "a test".to_owned(), told: told_so });
            assert_eq!(told.recv(), Ok(ClockSetOutcome::NotKnown), "taken: {takes_it}");
            assert!(matches!(running.join().unwrap(), End::Unknown(_)), "taken: {takes_it}");
            assert_eq!(handle.time().ahead_us(&world.clock), 0, "taken: {takes_it}");
        });
    }
}
