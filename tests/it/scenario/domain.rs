//! The shallowest depth: the domain's own two functions over ordered maps.

use super::{Depth, Final, Scenario, Seen, Subject, Transcript, TurnSeen, seen_body, seen_pool, seen_reservation};
use crate::machine::{Machine, MapLedger};
use headroom::domain::Ledger;

pub struct DomainDepth;

impl Depth for DomainDepth {
    fn name(&self) -> &'static str {
        "domain"
    }

    fn run(&mut self, scenario: &Scenario) -> Transcript {
        let Scenario { full_of_pools, full_memory, full_of_commands, .. } = *scenario;
        let ledger = MapLedger { full_of_pools, full_memory, full_of_commands, ..MapLedger::default() };
        let (partition, partitions) = scenario.place;
        let mut machine = Machine::new(partition, partitions, ledger);
        machine.timers_per_turn = scenario.timers_per_turn;
        let mut transcript = Transcript::default();
        for turn in &scenario.turns {
            if turn.sets_clock {
                machine.set_clock(turn.at).unwrap_or_else(|breach| panic!("{}:{}: {breach}", scenario.file, turn.line));
                transcript.turns.push(TurnSeen::default());
                continue;
            }
            let commands: Vec<_> = turn.steps.iter().map(|step| step.command.clone()).collect();
            let turned = machine.turn(turn.at, &commands);
            let turned = turned.unwrap_or_else(|breach| panic!("{}:{}: {breach}", scenario.file, turn.line));
            let timers = turned.timers.iter().map(seen_body).collect();
            let answers = turned.answers.iter().map(seen_body).collect();
            transcript.turns.push(TurnSeen { timers: Some(timers), answers });
        }
        let now = scenario.turns.last().map(|turn| turn.at).unwrap_or_default();
        let look = |last: &Final| -> Seen {
            match &last.subject {
                Subject::Pool(id) => seen_pool(machine.ledger.pool(id)),
                Subject::Reservation(id) => seen_reservation(machine.ledger.reservation(id), now),
            }
        };
        transcript.finals = scenario.finals.iter().map(look).collect();
        transcript
    }
}
