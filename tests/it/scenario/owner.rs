//! An owner over the embedded log: commands go through their bytes and the log, turns are committed before they count,
//! and at the end the state must come back the same from the log alone and from a checkpoint.

use super::{Depth, Scenario, Subject, Transcript, TurnSeen, seen_body, seen_pool, seen_reservation};
use crate::world::{World, commit_turn, conclude_turn};
use headroom::domain::{ChainedEvent, EventBody, Ledger, Micros};
use headroom::log::{CommandSink, NewCommand};
use headroom::owner::Partition;
use headroom::wire;

pub struct OwnerDepth;

impl Depth for OwnerDepth {
    fn name(&self) -> &'static str {
        "owner"
    }

    fn run(&mut self, scenario: &Scenario) -> Transcript {
        let (partition, partitions) = scenario.place;
        let world = World::new(partitions);
        let (handle, mut owned) = world.recover(partition);
        let owner = handle.read(|state| Partition::claim(state, partitions));
        let mut transcript = Transcript::default();
        let mut now = Micros(0);
        for turn in &scenario.turns {
            let from = std::mem::replace(&mut now, turn.at);
            if turn.sets_clock {
                let staged = handle.read(|state| owner.set_clock(state, from, turn.at, "by hand"));
                conclude_turn(&owner, &handle, &mut owned, staged);
                transcript.turns.push(TurnSeen::default());
                continue;
            }
            for step in &turn.steps {
                let bytes = wire::command::encode(&step.command);
                let command = NewCommand { partition, key: b"", bytes: &bytes, cancels: None, trace: None };
                world.log.append(command).unwrap();
            }
            let decided = commit_turn(&owner, &handle, &mut owned, turn.at);
            let is_timer = |recorded: &&ChainedEvent| recorded.event.cause.is_none();
            let seen = |recorded: &ChainedEvent| seen_body(&recorded.event.body);
            // That the time has jumped is written down when a pool waits for its end; nobody is told.
            let is_told = |recorded: &&ChainedEvent| !matches!(recorded.event.body, EventBody::Tick);
            let timers = decided.iter().filter(is_timer).filter(is_told).map(seen).collect();
            let answers = decided.iter().filter(|recorded| !is_timer(recorded)).map(seen).collect();
            assert!(decided.iter().all(|r| !matches!(r.event.body, EventBody::Malformed { .. })), "{}", scenario.file);
            transcript.turns.push(TurnSeen { timers: Some(timers), answers });
        }
        let now = scenario.turns.last().map(|turn| turn.at).unwrap_or_default();
        transcript.finals = handle.read(|state| {
            let look = |subject: &Subject| match subject {
                Subject::Pool(id) => seen_pool(state.pool(id)),
                Subject::Reservation(id) => seen_reservation(state.reservation(id), now),
            };
            scenario.finals.iter().map(|last| look(&last.subject)).collect()
        });
        world.assert_recovers_alike(&handle, &scenario.file);
        transcript
    }
}
