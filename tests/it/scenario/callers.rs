//! One process over the embedded log, and callers who do what a scenario says: over HTTP, or without a protocol.

use super::seen::MIDNIGHT;
use super::{Final, Scenario, Seen, Step, Subject, Transcript, TurnSeen, seen_pool, seen_reservation};
use crate::server::Server;
use crate::wait::until;
use crate::world::ManualClock;
use headroom::domain::{Ledger, Micros, ReservationId};
use serde_json::json;
use std::sync::Arc;

/// Calls what a scenario says.
pub(super) trait Caller {
    /// The process that is called.
    fn server(&self) -> &Server;

    /// The id that the process gave this reservation of the scenario.
    fn id(&self, id: ReservationId) -> ReservationId;

    /// Makes one call, and tells what was answered.
    fn step(&mut self, step: &Step) -> Seen;

    /// What is there at the end, as the process's state has it.
    fn last(&self, last: &Final, now: Micros) -> Seen {
        let replica = self.server().gateway.replica();
        match &last.subject {
            Subject::Pool(id) => seen_pool(replica.pool(id).as_deref()),
            Subject::Reservation(id) => {
                let id = self.id(*id);
                replica.of_reservation(&id).unwrap().read(|state| seen_reservation(state.reservation(&id), now))
            }
        }
    }
}

/// Runs a scenario from an empty log. The clock stands where the scenario says.
pub(super) fn play(scenario: &Scenario, caller: for<'a> fn(&'a Server) -> Box<dyn Caller + 'a>) -> Transcript {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(MIDNIGHT));
    let server = Server::start(dir.path(), scenario.place.1, Arc::clone(&clock) as _);
    let mut caller = caller(&server);
    let mut transcript = Transcript::default();
    for turn in &scenario.turns {
        if turn.sets_clock {
            clock.step(turn.at);
            server.set_clock("by hand");
            transcript.turns.push(TurnSeen::default());
            continue;
        }
        clock.set(turn.at);
        // A time that nobody has seen has not passed for a partition whose clock is put back.
        let has_passed = |handle: &headroom::replica::PartitionHandle| handle.time().now(clock.as_ref()) >= turn.at;
        server.gateway.replica().partitions().for_each(|handle| assert!(has_passed(handle)));
        server.wait_for_timers(turn.at);
        let answers = turn.steps.iter().map(|step| caller.step(step)).collect();
        // What the steps made due is decided before time passes.
        server.wait_for_timers(turn.at);
        transcript.turns.push(TurnSeen { timers: None, answers });
    }
    let now = scenario.turns.last().map(|turn| turn.at).unwrap_or_default();
    transcript.finals = scenario.finals.iter().map(|last| caller.last(last, now)).collect();
    transcript
}

impl Server {
    /// What an operator does about clocks that are ahead.
    pub fn set_clock(&self, because: &str) {
        let body = json!({ "because": because }).to_string();
        let answer = self.client().post("/internal/clock", &body);
        assert_eq!((answer.status, &answer.json()["partitions"][0]["result"]), (200, &"set".into()), "{answer:?}");
    }

    /// Holds that are due expire by themselves; nobody is told. Their turn is over when this returns: readers see its outcome
    /// before it is, and if the clock jumped now, it would seem to have taken so long that the next call is shed.
    pub fn wait_for_timers(&self, now: Micros) {
        for handle in self.gateway.replica().partitions() {
            let is_due = || handle.read(|state| state.next_due(now)).is_some_and(|due| due <= now);
            until("due holds expire", || !is_due() && !handle.load().is_in_turn());
        }
    }
}
