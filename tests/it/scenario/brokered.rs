//! Two processes and a broker between them: one takes calls and follows, one owns the partition. All scenarios play on
//! one log, each weeks after the one before and with pools of its own; at the end the log is audited, and everybody's
//! state is the log's. Those that set the clock back are left out. They play twice: as callers over HTTP, where callers can
//! ask for it, and as another program that writes commands and reads events, which sees everything that an owner over
//! the embedded log shows.

use super::callers::Caller;
use super::http::{HttpCaller, shows};
use super::{
    Depth, Scenario, Scene, Subject, Transcript, TurnSeen, all_in, check_these, seen_body, seen_pool, seen_reservation,
};
use crate::brokered::service::Log;
use crate::server::Server;
use crate::wait::{soon, until};
use crate::world::ManualClock;
use headroom::domain::{ChainedEvent, EventBody, Ledger, Micros, Retirement};
use headroom::log::kafka::{Kafka, Stream};
use headroom::log::{ClusterLog, CommandProducer, CommittedTail, EventStream, NewCommand, Streamed};
use headroom::replica::PartitionHandle;
use headroom::wire;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// More than any scenario takes, and what is remembered after it.
const APART_US: u64 = 20 * 24 * 3_600_000_000;

/// The n-th that is played.
fn scene(nth: u64) -> Scene {
    let Scene { midnight, .. } = Scene::default();
    Scene { prefix: format!("s{nth}-"), midnight: Micros(midnight.0 + nth * APART_US), commands: u128::from(nth) << 32 }
}

struct Stage {
    log: Log,
    clock: Arc<ManualClock>,
    gateway: Server,
    owner: Server,
    kafka: Kafka,
    sink: Arc<dyn CommandProducer>,
    _dirs: [tempfile::TempDir; 2],
}

impl Stage {
    fn new() -> Stage {
        let log = Log::new(1);
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::at(Scene::default().midnight));
        let owner = log.serve(dirs[0].path(), "owner", Arc::clone(&clock) as _);
        let gateway = log.serve(dirs[1].path(), "gateway", Arc::clone(&clock) as _);
        let kafka = log.open();
        let sink = kafka.producer().unwrap();
        Stage { log, clock, gateway, owner, kafka, sink, _dirs: dirs }
    }

    fn owned(&self) -> &PartitionHandle {
        self.owner.gateway.replica().partition(0).unwrap()
    }

    /// The owner's next sequence number and input offset.
    fn position(&self) -> (u64, u64) {
        self.owned().read(|state| (state.position().next_seq, state.position().next_input))
    }

    /// All commands before this offset are.
    fn decided(&self, next_input: u64) {
        let is_decided = soon(|| self.position().1 >= next_input);
        assert!(is_decided, "not decided, {:?}: {:?}", self.owned().status(), self.owned().owner_error());
    }

    /// Time passes, for all; what falls due is decided. Callers may be answered before the owner's state shows what
    /// was committed, and the deadlines in it: the state is waited for first.
    fn at(&self, now: Micros) {
        let committed = self.kafka.end(0).unwrap();
        until("the owner's state has what is committed", || self.position().0 >= committed);
        self.clock.set(now);
        self.owner.wait_for_timers(now);
    }

    /// The follower has folded what is committed.
    fn followed(&self) {
        let followed = self.gateway.gateway.replica().partition(0).unwrap();
        let committed = self.kafka.end(0).unwrap();
        until("the follower has caught up", || followed.read(|state| state.position().next_seq) >= committed);
    }
}

/// Callers of the process that owns nothing.
struct Calls<'a>(&'a Stage);

impl Depth for Calls<'_> {
    fn name(&self) -> &'static str {
        "http"
    }

    fn shows(&self, kind: &str, field: &str) -> bool {
        shows(kind, field)
    }

    fn run(&mut self, scenario: &Scenario) -> Transcript {
        let stage = self.0;
        let mut caller = HttpCaller::new(&stage.gateway);
        let mut transcript = Transcript::default();
        for turn in &scenario.turns {
            stage.at(turn.at);
            let answers = turn.steps.iter().map(|step| caller.step(step)).collect();
            transcript.turns.push(TurnSeen { timers: None, answers });
        }
        stage.followed();
        let now = scenario.turns.last().map(|turn| turn.at).unwrap_or_default();
        transcript.finals = scenario.finals.iter().map(|last| caller.last(last, now)).collect();
        transcript
    }
}

/// Reads on where it stopped.
struct Events {
    stream: Stream,
    next_seq: u64,
}

impl Events {
    fn from(stage: &Stage) -> Events {
        let mut stream = stage.kafka.stream().unwrap();
        let (next_seq, _) = stage.position();
        stream.follow(0, next_seq).unwrap();
        Events { stream, next_seq }
    }

    /// Those before this one.
    fn until(&mut self, next_seq: u64) -> Vec<ChainedEvent> {
        let mut events = Vec::new();
        until("what was decided can be read", || {
            if let Some((_, Streamed::Event(event))) = self.stream.next(Duration::ZERO).unwrap() {
                assert_eq!(event.seq, self.next_seq);
                self.next_seq += 1;
                events.push(wire::event::decode(&event.bytes).unwrap());
            }
            self.next_seq == next_seq
        });
        events
    }
}

/// A program of its own, which knows the topics.
struct Commands<'a>(&'a Stage);

impl Depth for Commands<'_> {
    fn name(&self) -> &'static str {
        "owner"
    }

    fn run(&mut self, scenario: &Scenario) -> Transcript {
        let stage = self.0;
        // Holds that the scenario before left behind are none of this one's.
        stage.at(Micros(scenario.turns.first().map_or(0, |turn| turn.at.0 - 1)));
        let mut events = Events::from(stage);
        let mut transcript = Transcript::default();
        let asked = scenario.turns.iter().flat_map(|turn| &turn.steps);
        let pools: BTreeSet<_> = asked.filter_map(|step| step.command.body.pool()).collect();
        for turn in &scenario.turns {
            let (_, next_input) = stage.position();
            stage.clock.set(turn.at);
            for step in &turn.steps {
                let bytes = wire::command::encode(&step.command);
                let subject = step.command.body.subject();
                let command =
                    NewCommand { partition: 0, key: subject.record_key(), bytes: &bytes, cancels: None, trace: None };
                stage.sink.append(command).unwrap();
            }
            let decided = next_input + turn.steps.len() as u64;
            stage.decided(decided);
            stage.owner.wait_for_timers(turn.at);
            let events = events.until(stage.position().0);
            // Time passes in weeks, so that the owner writes Ticks, and pools of earlier scenarios retire.
            let is_told = |recorded: &&ChainedEvent| match &recorded.event.body {
                EventBody::Tick => false,
                EventBody::PoolRetired(Retirement { pool, .. }) => pools.contains(&pool.id),
                _ => true,
            };
            let (timers, answers): (Vec<_>, Vec<_>) =
                events.iter().filter(is_told).partition(|recorded| recorded.event.cause.is_none());
            let seen = |recorded: &ChainedEvent| seen_body(&recorded.event.body);
            let timers = timers.into_iter().map(seen).collect();
            let answers = answers.into_iter().map(seen).collect();
            transcript.turns.push(TurnSeen { timers: Some(timers), answers });
        }
        stage.followed();
        let now = scenario.turns.last().map(|turn| turn.at).unwrap_or_default();
        let followed = stage.gateway.gateway.replica().partition(0).unwrap();
        transcript.finals = followed.read(|state| {
            let look = |subject: &Subject| match subject {
                Subject::Pool(id) => seen_pool(state.pool(id)),
                Subject::Reservation(id) => seen_reservation(state.reservation(id), now),
            };
            scenario.finals.iter().map(|last| look(&last.subject)).collect()
        });
        transcript
    }
}

#[test]
fn every_scenario_holds_for_two_processes_and_a_broker() {
    let stage = Stage::new();
    // A log that all share goes on: no scenario sets its clock back.
    let goes_on = |scenario: &Scenario| !scenario.turns.iter().any(|turn| turn.sets_clock);
    let scenarios = all_in(|n| scene(n.into()));
    let played = scenarios.len() as u64;
    let scenarios: Vec<_> = scenarios.into_iter().filter(goes_on).collect();
    check_these(&scenarios, || Calls(&stage));
    let alone = |scenario: &Scenario| goes_on(scenario) && scenario.place == (0, 1);
    let scenarios: Vec<_> = all_in(|n| scene(played + u64::from(n))).into_iter().filter(alone).collect();
    check_these(&scenarios, || Commands(&stage));
    stage.log.audited(0);
    stage.log.alike(0, &[&stage.owner, &stage.gateway]);
}
