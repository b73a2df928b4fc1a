//! Scenarios: given pools, commands at a time, and what each comes to, as text that a planner can read
//! (`tests/scenarios/README.md` says how). One [`check`] runs them at every [`Depth`]: the domain alone, an owner over a
//! log, the use cases, the whole service over HTTP and over gRPC, two processes of it and a broker. No expectation is
//! written in code, and no depth has scenarios of its own.

mod brokered;
mod callers;
mod domain;
mod grpc;
mod http;
mod owner;
mod parse;
mod seen;
mod service;

use headroom::domain::{Command, Micros, PoolId, ReservationId};
pub use parse::{Scene, parse, parse_at};
pub use seen::{seen_body, seen_pool, seen_reservation};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One scenario, as its file in `tests/scenarios` says it.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub file: String,
    /// The depths it is for; every one when empty.
    pub depths: Vec<String>,
    /// The partition that decides it, and how many there are.
    pub place: (u32, u32),
    /// Whether the partition says that it can hold no more pools.
    pub full_of_pools: bool,
    /// Whether the partition says that it keeps the ids of as many commands as it may.
    pub full_of_commands: bool,
    /// Whether the partition says that it can hold no more reservations.
    pub full_memory: bool,
    /// Holds that one turn expires at most.
    pub timers_per_turn: usize,
    /// In order; their times never decrease, but where the clock is set.
    pub turns: Vec<Turn>,
    /// What is there at the end, at the time of the last turn.
    pub finals: Vec<Final>,
}

/// Commands decided together, with one `now`.
#[derive(Clone, Debug)]
pub struct Turn {
    pub at: Micros,
    pub line: usize,
    /// It sets the clock back to its time, and does nothing else.
    pub sets_clock: bool,
    /// The holds that expire before the first command, in order.
    pub timers: Vec<Expectation>,
    pub steps: Vec<Step>,
}

/// A command and what it comes to.
#[derive(Clone, Debug)]
pub struct Step {
    pub command: Command,
    /// It has a deadline of its own, or is a copy: no caller can ask for that.
    pub is_special: bool,
    pub expected: Expectation,
}

/// Something to look at when all turns are over.
#[derive(Clone, Debug)]
pub struct Final {
    pub subject: Subject,
    pub expected: Expectation,
}

#[derive(Clone, Debug)]
pub enum Subject {
    Pool(PoolId),
    Reservation(ReservationId),
}

/// What a line of a scenario says must be seen.
#[derive(Clone, Debug)]
pub struct Expectation {
    pub line: usize,
    /// As in [`Seen::kind`]; `None` is anything but a refusal.
    pub kind: Option<String>,
    /// Only these are compared; the value `none` is the field's absence.
    pub fields: Fields,
}

/// Field and value as text: `used.orders` and `1`.
pub type Fields = BTreeMap<String, String>;

/// What came of a command, or what is there at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Of an answer: `accepted`, `released`, `rejected over_limit`, `repeated accepted`… Of a pool: `pool` or `none`. Of
    /// a reservation: `held`, `confirmed`, `released`, `expired` or `none`.
    pub kind: String,
    pub fields: Fields,
}

/// What a depth saw of a whole scenario.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// As many as the scenario has turns.
    pub turns: Vec<TurnSeen>,
    /// As many as the scenario has finals, in their order.
    pub finals: Vec<Seen>,
}

#[derive(Clone, Debug, Default)]
pub struct TurnSeen {
    /// The holds that expired, in order; `None` where a depth cannot see them as such.
    pub timers: Option<Vec<Seen>>,
    /// One per command, in order.
    pub answers: Vec<Seen>,
}

/// Something that can run a scenario.
pub trait Depth {
    /// The name that a `depths` line uses.
    fn name(&self) -> &'static str;

    /// Whether its answers of this kind show this field; one that they do not is not compared.
    fn shows(&self, _kind: &str, _field: &str) -> bool {
        true
    }

    /// Runs it from an empty log.
    fn run(&mut self, scenario: &Scenario) -> Transcript;
}

impl Scenario {
    pub fn is_for(&self, depth: &str) -> bool {
        self.depths.is_empty() || self.depths.iter().any(|d| d == depth)
    }
}

/// Every scenario of the repository, in order of file name.
pub fn all() -> Vec<Scenario> {
    all_in(|_| Scene::default())
}

/// The same, each in a scene of its own.
pub fn all_in(scene: impl Fn(u32) -> Scene) -> Vec<Scenario> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(&directory).unwrap();
    let mut paths: Vec<_> =
        entries.map(|e| e.unwrap().path()).filter(|p| p.extension() == Some("txt".as_ref())).collect();
    paths.sort();
    let load = |(n, path): (u32, &PathBuf)| {
        let name = format!("tests/scenarios/{}", path.file_name().unwrap().display());
        parse_at(&name, &std::fs::read_to_string(path).unwrap(), scene(n))
    };
    let (scenarios, wrong): (Vec<_>, Vec<_>) = (0..).zip(&paths).map(load).partition(Result::is_ok);
    let wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "not understood:\n{}", wrong.join("\n"));
    scenarios.into_iter().flatten().collect()
}

/// Runs `scenario` at `depth`: one line per difference, with file, line, what was expected and what was seen.
pub fn check(scenario: &Scenario, depth: &mut impl Depth) -> Vec<String> {
    let transcript = depth.run(scenario);
    let mut judge = Judge { scenario, depth: &*depth, failures: Vec::new() };
    judge.counts(0, "turns", scenario.turns.len(), transcript.turns.len());
    judge.counts(0, "finals", scenario.finals.len(), transcript.finals.len());
    for (turn, seen) in scenario.turns.iter().zip(&transcript.turns) {
        if let Some(timers) = &seen.timers {
            judge.each(turn.line, "expired holds", turn.timers.iter(), timers);
        }
        judge.each(turn.line, "answers", turn.steps.iter().map(|step| &step.expected), &seen.answers);
    }
    for (expected, seen) in scenario.finals.iter().zip(&transcript.finals) {
        judge.one(&expected.expected, seen);
    }
    judge.failures
}

/// No depth may come to be tested by fewer.
const SCENARIOS_MIN: usize = 80;

/// Runs every scenario that is for this depth and panics with all that is wrong.
pub fn check_all<D: Depth>(depth: impl FnMut() -> D) {
    check_these(&all(), depth);
}

/// The same with these.
pub fn check_these<D: Depth>(scenarios: &[Scenario], mut depth: impl FnMut() -> D) {
    let (mut failures, mut count) = (Vec::new(), 0);
    for scenario in scenarios {
        let mut depth = depth();
        if scenario.is_for(depth.name()) {
            count += 1;
            failures.extend(check(scenario, &mut depth));
        }
    }
    assert!(count >= SCENARIOS_MIN, "only {count} scenarios are for {}", depth().name());
    assert!(failures.is_empty(), "{} differences\n{}", failures.len(), failures.join("\n"));
}

struct Judge<'a, D> {
    scenario: &'a Scenario,
    depth: &'a D,
    failures: Vec<String>,
}

impl<D: Depth> Judge<'_, D> {
    fn fail(&mut self, line: usize, what: &str) {
        self.failures.push(format!("{}:{line} [{}]: {what}", self.scenario.file, self.depth.name()));
    }

    fn counts(&mut self, line: usize, what: &str, expected: usize, seen: usize) {
        if expected != seen {
            self.fail(line, &format!("expected {expected} {what}, got {seen}"));
        }
    }

    fn each<'e>(
        &mut self,
        line: usize,
        what: &str,
        expected: impl ExactSizeIterator<Item = &'e Expectation>,
        seen: &[Seen],
    ) {
        self.counts(line, what, expected.len(), seen.len());
        expected.zip(seen).for_each(|(expected, seen)| self.one(expected, seen));
    }

    fn one(&mut self, expected: &Expectation, seen: &Seen) {
        let is_kind = match &expected.kind {
            Some(kind) => *kind == seen.kind,
            None => !seen.kind.contains("rejected"),
        };
        let value = |field: &String| seen.fields.get(field).map_or("none", String::as_str);
        let shown = expected.fields.iter().filter(|(field, _)| self.depth.shows(&seen.kind, field));
        let differ = shown.filter(|(field, expected)| value(field) != expected.as_str());
        let differ: Vec<_> = differ.map(|(field, _)| field.as_str()).collect();
        if is_kind && differ.is_empty() {
            return;
        }
        let kind = expected.kind.as_deref().unwrap_or("anything but a refusal");
        let expected_text = text(kind, &expected.fields);
        self.fail(expected.line, &format!("expected {expected_text}, got {}", text(&seen.kind, &seen.fields)));
    }
}

fn text(kind: &str, fields: &Fields) -> String {
    fields.iter().fold(kind.to_owned(), |mut text, (field, value)| {
        let _ = write!(text, " {field}={value}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::domain::DomainDepth;
    use super::grpc::GrpcDepth;
    use super::http::HttpDepth;
    use super::owner::OwnerDepth;
    use super::service::ServiceDepth;
    use super::*;
    use headroom::domain::{CommandBody, Reason};
    use headroom::limits::TURN_TIMERS_MAX;

    #[test]
    fn every_scenario_holds_in_the_domain() {
        check_all(|| DomainDepth);
    }

    #[test]
    fn every_scenario_holds_for_an_owner_over_the_embedded_log() {
        check_all(|| OwnerDepth);
    }

    #[test]
    fn every_scenario_holds_for_the_use_cases_that_every_edge_calls() {
        check_all(|| ServiceDepth);
    }

    #[test]
    fn every_scenario_holds_for_the_whole_service_over_http() {
        check_all(|| HttpDepth);
    }

    #[test]
    fn every_scenario_holds_for_the_whole_service_over_grpc() {
        check_all(|| GrpcDepth);
    }

    const SOUND: &str = "# one slot, two callers
given
  pool van-1 limits orders=1
at 10:00:00
  reserve van-1 key=K1 orders=1 hold=60s -> accepted status=held until=10:01:00 used orders=1
  reserve van-1 key=K2 orders=1          -> rejected over_limit dimension=orders
at +60s
  expired K1 used orders=0
then
  pool van-1 used orders=0 version=1
  reservation K1 expired
  reservation K2 none
";

    /// A check that cannot fail shows nothing: each of these changes one word of a scenario that holds.
    #[test]
    fn a_wrong_expectation_is_found_at_its_line() {
        assert_eq!(failures(SOUND), Vec::<String>::new());
        let lies = [
            ("K1 orders=1 hold=60s -> accepted", "K1 orders=1 hold=60s -> confirmed", 5, "got accepted"),
            ("until=10:01:00 used orders=1", "until=10:01:00 used orders=2", 5, "used.orders=1"),
            ("until=10:01:00", "until=10:01:01", 5, "until=10:01:00"),
            ("rejected over_limit dim", "rejected closed dim", 6, "got rejected over_limit"),
            ("dimension=orders", "dimension=none", 6, "dimension=orders"),
            (
                "  expired K1 used orders=0\n",
                "  release K1 -> repeated expired\n",
                7,
                "expected 0 expired holds, got 1",
            ),
            ("at +60s", "at +59s", 7, "expected 1 expired holds, got 0"),
            ("expired K1 used", "expired K2 used", 8, "got expired"),
            ("used orders=0 version=1", "used orders=0 version=2", 10, "version=1"),
            ("pool van-1 used orders=0", "pool van-2 used orders=0", 10, "got none"),
            ("reservation K1 expired", "reservation K1 held", 11, "got expired"),
            ("reservation K2 none", "reservation K2 confirmed", 12, "got none"),
        ];
        for (truth, lie, line, got) in lies {
            assert!(SOUND.contains(truth), "{truth}");
            let found = failures(&SOUND.replace(truth, lie));
            let place = format!("sound.txt:{line} [domain]: expected");
            assert!(found.iter().any(|f| f.starts_with(&place) && f.contains(got)), "{lie}: {found:?}");
        }
    }

    fn failures(text: &str) -> Vec<String> {
        check(&parse("sound.txt", text).unwrap(), &mut DomainDepth)
    }

    #[test]
    fn every_reason_and_every_kind_of_event_is_told_of() {
        let scenarios = all();
        let turns = || scenarios.iter().flat_map(|s| &s.turns);
        let answers = turns().flat_map(|t| t.steps.iter().map(|s| &s.expected));
        let kinds: Vec<_> = answers.chain(turns().flat_map(|t| &t.timers)).filter_map(|e| e.kind.as_deref()).collect();
        let reasons = Reason::ALL.iter().map(|r| format!("rejected {}", r.code()));
        let remembered = Reason::ALL.iter().filter(|r| r.is_remembered()).map(|r| format!("repeated rejected {r}"));
        let events = [
            "defined",
            "adjusted",
            "mode_set",
            "changed",
            "accepted",
            "confirmed",
            "extended",
            "amended",
            "released",
            "expired",
            "retired",
        ];
        let repeated = events.iter().map(|kind| format!("repeated {kind}"));
        let plain = events.iter().chain(&["abandoned"]).map(|kind| (*kind).to_owned());
        let missing: Vec<_> =
            reasons.chain(remembered).chain(repeated).chain(plain).filter(|k| !kinds.contains(&&**k)).collect();
        assert!(missing.is_empty(), "no scenario comes to {missing:?}");
    }

    /// What a caller of the service cannot ask for in so many words must not be asked of it.
    #[test]
    fn what_callers_cannot_ask_for_is_marked() {
        for scenario in all().iter().filter(|s| s.is_for("http") || s.is_for("service")) {
            let file = &scenario.file;
            let is_full = scenario.full_of_pools || scenario.full_memory || scenario.full_of_commands;
            assert!(!is_full, "{file}: a full partition");
            assert_eq!(scenario.timers_per_turn, TURN_TIMERS_MAX, "{file}: a bound of its own");
            assert_eq!(scenario.place, (0, 1), "{file}: a partition of its own");
            for step in scenario.turns.iter().flat_map(|turn| &turn.steps) {
                let line = step.expected.line;
                let kind = step.expected.kind.as_deref().unwrap_or_default();
                let inner = matches!(step.command.body, CommandBody::Abandon { .. });
                assert!(!inner, "{file}:{line}: a command that no caller sends");
                let technical = ["malformed", "misrouted", "duplicate", "expired", "deadline_too_far", "abandoned"];
                let is_technical = kind.strip_prefix("rejected ").is_some_and(|reason| technical.contains(&reason));
                assert!(!step.is_special && !is_technical, "{file}:{line}: {kind}");
            }
        }
    }
}
