//! From a scenario's text to its steps. Every word is understood or refused with file and line: a misspelt field that
//! was skipped would be an expectation that holds for ever.

mod words;

use super::seen::{MIDNIGHT, clock};
use super::{Expectation, Fields, Final, Scenario, Step, Subject, Turn};
use crate::fixtures::reservation_id;
use headroom::domain::{
    Amounts, Attempt, Command, CommandBody, CommandId, Dimension, Edit, IdempotencyKey, LimitChange, Micros, Mode,
    PoolChange, PoolId, PoolRules, PoolSpec, ReservationId, RuleChange, Window, WindowChange,
};
use headroom::limits::{DEADLINE_MAX_MS, TURN_TIMERS_MAX};
use std::collections::{BTreeMap, BTreeSet};
use words::{duration, edited_ms, mode, name, names, number, wrong, yes};

/// What a command's line may say beside amounts.
const OPTIONS: &[&str] = &[
    "as",
    "areas",
    "attempt",
    "called",
    "cutoff",
    "deadline",
    "expect",
    "hold",
    "id",
    "key",
    "labels",
    "life_max",
    "mode",
    "ref",
    "retire_after",
    "ttl_max",
    "unique",
    "window",
    "with",
];
/// What an expectation may name beside amounts.
const FIELDS: &[&str] = &[
    "areas",
    "cause",
    "cutoff",
    "dimension",
    "existing",
    "labels",
    "life_max",
    "live",
    "mode",
    "over_committed",
    "pool",
    "ref",
    "retire_after",
    "retired_until",
    "status",
    "ttl_max",
    "unique",
    "until",
    "version",
    "window",
];
/// Words after which amounts are of this kind.
const AMOUNTS: &[&str] = &["adjust", "before", "demand", "limits", "used"];

type Parsed<T> = Result<T, String>;

/// Where and when a scenario plays: several of them may share one log.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What begins the names of its pools.
    pub prefix: String,
    /// The midnight before it.
    pub midnight: Micros,
    /// The number before its first command's.
    pub commands: u128,
}

impl Default for Scene {
    /// On the scenarios' day, with a log of its own.
    fn default() -> Scene {
        Scene { prefix: String::new(), midnight: MIDNIGHT, commands: 0 }
    }
}

/// The scenario that `text` tells.
///
/// # Errors
/// `file:line: why` for the first line that is not understood.
pub fn parse(file: &str, text: &str) -> Parsed<Scenario> {
    parse_at(file, text, Scene::default())
}

/// The same in another scene: pools are called otherwise, in what is expected too, and times are later.
///
/// # Errors
/// As for [`parse`].
pub fn parse_at(file: &str, text: &str, scene: Scene) -> Parsed<Scenario> {
    let mut parser = Parser::new(file, scene);
    for (at, line) in text.lines().enumerate() {
        parser.line = at + 1;
        parser.line(line).map_err(|why| format!("{file}:{}: {why}", at + 1))?;
    }
    let is_whole = text.starts_with("# ") && !parser.scenario.finals.is_empty();
    if is_whole { Ok(parser.scenario) } else { Err(format!("{file}:1: a scenario has a title and a `then`")) }
}

#[derive(Clone, Copy, PartialEq)]
enum Section {
    Head,
    Given,
    When,
    Then,
}

struct Parser {
    scenario: Scenario,
    scene: Scene,
    section: Section,
    line: usize,
    now: Micros,
    /// The next step starts a turn of its own.
    is_turn_over: bool,
    /// The pools on which a key was used, so that a later line can name a reservation by its key.
    keys: BTreeMap<String, BTreeSet<PoolId>>,
    attempts: BTreeMap<ReservationId, u64>,
    /// Commands that have a name, for copies of them.
    called: BTreeMap<String, Command>,
}

/// A line's words: bare ones, `option=value`, and amounts by what they are of.
struct Words<'a> {
    bare: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
    amounts: Vec<(&'a str, Dimension, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(text: &'a str, options: &[&str], mut of: &'a str) -> Parsed<Words<'a>> {
        let mut words = Words { bare: Vec::new(), options: BTreeMap::new(), amounts: Vec::new() };
        for word in text.split_whitespace() {
            match word.split_once('=') {
                None if AMOUNTS.contains(&word) => of = word,
                None => words.bare.push(word),
                Some((option, value)) if options.contains(&option) => {
                    let before = words.options.insert(option, value);
                    before.map_or(Ok(()), |_| Err(format!("`{option}` stands twice")))?;
                }
                Some((name, value)) => {
                    let dimension = Dimension::new(name).map_err(|why| format!("`{name}` {why}"))?;
                    words.amounts.push((of, dimension, value));
                }
            }
        }
        Ok(words)
    }

    fn parse<T>(&self, option: &str, f: impl Fn(&str) -> Parsed<T>) -> Parsed<Option<T>> {
        self.options.get(option).map(|value| f(value)).transpose()
    }

    fn deltas(&self) -> Parsed<Vec<(Dimension, i64)>> {
        let delta = |value: &str| value.parse::<i64>().map_err(|why| wrong(value, why));
        self.amounts.iter().map(|(_, d, value)| Ok((*d, delta(value)?))).collect()
    }

    fn units(&self) -> Parsed<Amounts> {
        let units = self.amounts.iter().map(|(_, d, value)| Ok((*d, number(value)?)));
        Amounts::new(units.collect::<Parsed<Vec<_>>>()?).ok_or_else(|| "a dimension stands twice".to_owned())
    }
}

impl Parser {
    fn new(file: &str, scene: Scene) -> Parser {
        let scenario = Scenario {
            file: file.to_owned(),
            depths: Vec::new(),
            place: (0, 1),
            full_of_pools: false,
            full_of_commands: false,
            full_memory: false,
            timers_per_turn: TURN_TIMERS_MAX,
            turns: Vec::new(),
            finals: Vec::new(),
        };
        Parser {
            scenario,
            section: Section::Head,
            line: 0,
            now: Micros(scene.midnight.0 + 9 * 3_600_000_000),
            scene,
            is_turn_over: true,
            keys: BTreeMap::new(),
            attempts: BTreeMap::new(),
            called: BTreeMap::new(),
        }
    }

    fn line(&mut self, line: &str) -> Parsed<()> {
        if line.starts_with('#') {
            return Ok(());
        }
        if line.trim().is_empty() {
            self.is_turn_over = true;
            return Ok(());
        }
        if !line.starts_with(' ') {
            return self.header(&line.split_whitespace().collect::<Vec<_>>());
        }
        match self.section {
            Section::Head => Err("stands before `given`, `at` or `then`".to_owned()),
            Section::Given | Section::When => self.step(line.trim()),
            Section::Then => self.last(line.trim()),
        }
    }

    fn header(&mut self, words: &[&str]) -> Parsed<()> {
        match (words, self.section) {
            (["depths", depths @ ..], Section::Head) if !depths.is_empty() => {
                self.scenario.depths = depths.iter().map(|d| (*d).to_owned()).collect();
            }
            (["partition", one, "of", all], Section::Head) => {
                let number = |text: &str| text.parse::<u32>().map_err(|why| wrong(text, why));
                self.scenario.place = (number(one)?, number(all)?);
            }
            (["full", "pools"], Section::Head) => self.scenario.full_of_pools = true,
            (["full", "commands"], Section::Head) => self.scenario.full_of_commands = true,
            (["full", "memory"], Section::Head) => self.scenario.full_memory = true,
            (["timers", most], Section::Head) => {
                self.scenario.timers_per_turn = most.parse().map_err(|why| wrong(most, why))?;
            }
            (["given"], Section::Head) => self.section = Section::Given,
            (["at", time], Section::Head | Section::Given | Section::When) => {
                let at = self.instant(time)?;
                if at < self.now {
                    return Err("time runs backwards".to_owned());
                }
                (self.now, self.section) = (at, Section::When);
                self.start_turn();
            }
            (["clock", time], Section::When) => {
                let at = self.instant(time)?;
                if at >= self.now {
                    return Err("the clock is not set back".to_owned());
                }
                self.now = at;
                self.start_turn().sets_clock = true;
                self.is_turn_over = true;
            }
            (["turn"], Section::Given | Section::When) => self.is_turn_over = true,
            (["then"], Section::Given | Section::When) => self.section = Section::Then,
            _ => return Err(format!("`{}` is not understood here", words.join(" "))),
        }
        Ok(())
    }

    fn start_turn(&mut self) -> &mut Turn {
        self.is_turn_over = false;
        let turn = Turn { at: self.now, line: self.line, sets_clock: false, timers: Vec::new(), steps: Vec::new() };
        self.scenario.turns.push(turn);
        self.scenario.turns.last_mut().unwrap()
    }

    fn turn(&mut self) -> &mut Turn {
        if self.is_turn_over { self.start_turn() } else { self.scenario.turns.last_mut().unwrap() }
    }

    fn step(&mut self, line: &str) -> Parsed<()> {
        if let Some(timer) = line.strip_prefix("expired ") {
            let (reference, fields) = timer.split_once(' ').unwrap_or((timer, ""));
            let id = self.reference(reference)?;
            let mut expected = self.expectation(&format!("expired {fields}"))?;
            expected.fields.insert("reservation".to_owned(), id.to_string());
            self.turn().timers.push(expected);
            return Ok(());
        }
        if let Some(timer) = line.strip_prefix("retired ") {
            let (pool, fields) = timer.split_once(' ').unwrap_or((timer, ""));
            let mut expected = self.expectation(&format!("retired {fields}"))?;
            expected.fields.insert("pool".to_owned(), self.pool_id(pool)?.to_string());
            self.turn().timers.push(expected);
            return Ok(());
        }
        let (text, expected) = line.split_once("->").unwrap_or((line, ""));
        let (command, is_special) = self.command(text)?;
        let expected = match (expected.trim(), self.section) {
            ("", Section::Given) => Expectation { line: self.line, kind: None, fields: Fields::new() },
            ("", _) => return Err("does not say what it comes to".to_owned()),
            (expected, _) => self.expectation(expected)?,
        };
        self.turn().steps.push(Step { command, is_special, expected });
        Ok(())
    }

    fn last(&mut self, line: &str) -> Parsed<()> {
        let mut words = line.splitn(3, ' ');
        let (what, name, rest) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (subject, expected) = match what {
            Some("pool") if rest == "none" => (Subject::Pool(self.pool_id(name)?), self.expectation(rest)?),
            Some("pool") => (Subject::Pool(self.pool_id(name)?), self.expectation(&format!("pool {rest}"))?),
            Some("reservation") => (Subject::Reservation(self.reference(name)?), self.expectation(rest)?),
            _ => return Err("is neither a pool nor a reservation".to_owned()),
        };
        self.scenario.finals.push(Final { subject, expected });
        Ok(())
    }

    fn expectation(&self, text: &str) -> Parsed<Expectation> {
        let words = Words::of(text, FIELDS, "")?;
        if words.bare.is_empty() {
            return Err("does not say what kind".to_owned());
        }
        let mut fields = Fields::new();
        for (field, value) in &words.options {
            let value = match *field {
                "until" | "retired_until" | "cutoff" if *value != "none" => clock(self.instant(value)?),
                "window" if *value != "none" => {
                    let (start, end) = self.span(value)?;
                    format!("{}-{}", clock(start), clock(end))
                }
                "ttl_max" | "life_max" | "retire_after" if *value != "none" => {
                    format!("{}ms", duration(value)? / 1_000)
                }
                "existing" if *value != "none" => self.reference(value)?.to_string(),
                "pool" if *value != "none" => self.pool_id(value)?.to_string(),
                _ => (*value).to_owned(),
            };
            fields.insert((*field).to_owned(), value);
        }
        for (of, dimension, value) in &words.amounts {
            if of.is_empty() {
                return Err(format!(
                    "`{dimension}` is no field, and no `used`, `limits`, `demand` or `before` stands before it"
                ));
            }
            fields.insert(format!("{of}.{dimension}"), (*value).to_owned());
        }
        Ok(Expectation { line: self.line, kind: Some(words.bare.join(" ")), fields })
    }

    /// The command, and whether no caller can ask for it in so many words.
    fn command(&mut self, text: &str) -> Parsed<(Command, bool)> {
        let (verb, text) = text.split_once(' ').unwrap_or((text, ""));
        let words = Words::of(text, OPTIONS, "")?;
        let subject = match &*words.bare {
            [subject] => *subject,
            [subject, _] if verb == "mode" => *subject,
            _ => return Err("is not a command and what it is about".to_owned()),
        };
        if verb == "copy" {
            let command = self.called.get(subject).ok_or_else(|| format!("no command is called `{subject}`"))?;
            return Ok((command.clone(), true));
        }
        let body = match verb {
            "pool" | "change" | "limits" | "adjust" | "mode" | "retire" | "reserve" | "abandon" => {
                self.pool_ask(verb, subject, &words)?
            }
            "confirm" => CommandBody::Confirm { reservation: self.reference(subject)? },
            "release" => CommandBody::Release { reservation: self.reference(subject)? },
            "amend" => CommandBody::Amend { reservation: self.reference(subject)?, demand: words.units()? },
            "extend" => {
                let hold = words.parse("hold", duration)?.ok_or("does not say for how long")?;
                CommandBody::Extend { reservation: self.reference(subject)?, hold_ttl_ms: hold / 1_000 }
            }
            _ => return Err(format!("`{verb}` is no command")),
        };
        let attempt = match words.parse("attempt", number)? {
            Some(attempt) => attempt,
            None if verb == "abandon" => return Err("does not say which attempt".to_owned()),
            None => self.next_attempt(&body),
        };
        self.scene.commands += 1;
        let new = CommandId(self.scene.commands);
        let deadline = words.parse("deadline", |time| self.instant(time))?;
        let is_special = deadline.is_some();
        let command = Command {
            id: new,
            reply_to: None,
            attempt: Attempt(attempt),
            actor: None,
            key: words.parse("key", |key| IdempotencyKey::new(key).map_err(|why| format!("`{key}` {why}")))?,
            deadline: deadline.unwrap_or(self.now.plus_ms(DEADLINE_MAX_MS)),
            body,
        };
        if let Some(name) = words.options.get("called") {
            self.called.insert((*name).to_owned(), command.clone());
        }
        Ok((command, is_special))
    }

    fn next_attempt(&mut self, body: &CommandBody) -> u64 {
        let CommandBody::Reserve { reservation, .. } = body else { return 1 };
        let attempts = self.attempts.entry(*reservation).or_default();
        *attempts += 1;
        *attempts
    }

    fn pool_ask(&mut self, verb: &str, subject: &str, words: &Words) -> Parsed<CommandBody> {
        let pool = self.pool_id(subject)?;
        let expected_version = words.parse("expect", number)?;
        Ok(match verb {
            "pool" => CommandBody::DefinePool { pool, spec: self.spec(words)?, expected_version },
            "change" => CommandBody::ChangePool { pool, change: self.change(words)?, expected_version },
            "limits" => CommandBody::AdjustLimits { pool, change: LimitChange::To(words.units()?), expected_version },
            "adjust" => CommandBody::AdjustLimits { pool, change: LimitChange::By(words.deltas()?), expected_version },
            "mode" => {
                let mode = mode(words.bare.get(1).ok_or("does not say which mode")?)?;
                CommandBody::SetMode { pool, mode, expected_version }
            }
            "retire" => {
                let with_reservations = match words.options.get("with") {
                    None => false,
                    Some(&"reservations") => true,
                    Some(other) => return Err(wrong(other, "is not `reservations`")),
                };
                CommandBody::RetirePool { pool, with_reservations, expected_version }
            }
            "reserve" => CommandBody::Reserve {
                reservation: self.own_id(&pool, words)?,
                pool,
                demand: words.units()?,
                hold_ttl_ms: words.parse("hold", duration)?.map(|hold| hold / 1_000),
                order_ref: words.parse("ref", name)?,
            },
            _ => CommandBody::Abandon { reservation: self.own_id(&pool, words)?, pool },
        })
    }

    /// The id of the reservation that a line with a key (or `as`, without one) is about.
    fn own_id(&mut self, pool: &PoolId, words: &Words) -> Parsed<ReservationId> {
        let label = words.options.get("key").or_else(|| words.options.get("as"));
        let label = label.ok_or("has neither `key` nor `as` to name its reservation by")?;
        if let Some(id) = words.parse("id", |reference| self.reference(reference))? {
            return Ok(id);
        }
        IdempotencyKey::new(label).map_err(|why| wrong(label, why))?;
        self.keys.entry((*label).to_owned()).or_default().insert(pool.clone());
        Ok(reservation_id(pool, label))
    }

    /// `K1`, when one pool's line used it before; `pool/K1` otherwise.
    fn reference(&self, text: &str) -> Parsed<ReservationId> {
        if let Some((pool, key)) = text.split_once('/') {
            IdempotencyKey::new(key).map_err(|why| wrong(key, why))?;
            return Ok(reservation_id(&self.pool_id(pool)?, key));
        }
        let mut pools = self.keys.get(text).into_iter().flatten();
        match (pools.next(), pools.next()) {
            (Some(pool), None) => Ok(reservation_id(pool, text)),
            _ => Err(format!("`{text}` was not used on exactly one pool before: write pool/{text}")),
        }
    }

    /// `adjust` before amounts makes differences of them; `none` for a window, a cutoff or a label's value clears it; half
    /// a window is `11:00-` or `-13:00`.
    fn change(&self, words: &Words) -> Parsed<PoolChange> {
        let limits = match words.amounts.first() {
            None => None,
            Some(("adjust", ..)) => Some(LimitChange::By(words.deltas()?)),
            Some(_) => Some(LimitChange::To(words.units()?)),
        };
        let end = |text: &str| if text.is_empty() { Ok(None) } else { self.instant(text).map(Some) };
        let window = match words.options.get("window") {
            Some(&"none") => Edit::Clear,
            window => {
                let cutoff = match words.options.get("cutoff") {
                    None => Edit::Keep,
                    Some(&"none") => Edit::Clear,
                    Some(cutoff) => Edit::To(self.instant(cutoff)?),
                };
                let (from, to) = window.map_or(Some(("", "")), |text| text.split_once('-')).ok_or("no start-end")?;
                let parts = WindowChange { start: end(from)?, end: end(to)?, cutoff };
                if parts == WindowChange::default() { Edit::Keep } else { Edit::To(parts) }
            }
        };
        let label = |text: &str| {
            let (label, value) = text.split_once(':').ok_or("a label is label:value")?;
            Ok((name(label)?, if value == "none" { None } else { Some(name(value)?) }))
        };
        Ok(PoolChange {
            limits,
            areas: words.parse("areas", names)?,
            window,
            labels: words.parse("labels", |text| text.split(',').map(label).collect())?.unwrap_or_default(),
            mode: words.parse("mode", mode)?,
            rules: RuleChange {
                hold_ttl_max_ms: words.parse("ttl_max", edited_ms)?.unwrap_or_default(),
                hold_life_max_ms: words.parse("life_max", edited_ms)?.unwrap_or_default(),
                unique_order_ref: words.parse("unique", yes)?,
                retire_after_ms: words.parse("retire_after", edited_ms)?.unwrap_or_default(),
            },
        })
    }

    fn spec(&self, words: &Words) -> Parsed<PoolSpec> {
        let label = |text: &str| {
            let (label, value) = text.split_once(':').ok_or("a label is label:value")?;
            Ok((name(label)?, name(value)?))
        };
        let cutoff = words.parse("cutoff", |time| self.instant(time))?;
        let window = words.parse("window", |text| self.span(text))?;
        if cutoff.is_some() && window.is_none() {
            return Err("a cutoff without a window".to_owned());
        }
        Ok(PoolSpec {
            limits: words.units()?,
            areas: words.parse("areas", names)?.unwrap_or_default(),
            window: window.map(|(start, end)| Window { start, end, cutoff }),
            labels: words.parse("labels", |text| text.split(',').map(label).collect())?.unwrap_or_default(),
            mode: words.parse("mode", mode)?.unwrap_or(Mode::Open),
            rules: PoolRules {
                hold_ttl_max_ms: words.parse("ttl_max", duration)?.map(|us| us / 1_000),
                hold_life_max_ms: words.parse("life_max", duration)?.map(|us| us / 1_000),
                unique_order_ref: words.parse("unique", yes)?.unwrap_or_default(),
                retire_after_ms: words.parse("retire_after", duration)?.map(|us| us / 1_000),
            },
        })
    }

    fn pool_id(&self, text: &str) -> Parsed<PoolId> {
        PoolId::new(&format!("{}{text}", self.scene.prefix)).map_err(|why| wrong(text, why))
    }

    /// `+250ms` and `-1ms` from now, or `HH:MM`, `HH:MM:SS` and `HH:MM:SS.f` on the scenario's day.
    fn instant(&self, text: &str) -> Parsed<Micros> {
        if let Some(ahead) = text.strip_prefix('+') {
            return Ok(Micros(self.now.0 + duration(ahead)?));
        }
        if let Some(back) = text.strip_prefix('-') {
            return Ok(Micros(self.now.0 - duration(back)?));
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let parts = whole.split(':').map(number).collect::<Parsed<Vec<_>>>()?;
        let seconds = match *parts {
            [hours, minutes] if minutes < 60 => hours * 3_600 + minutes * 60,
            [hours, minutes, seconds] if minutes < 60 && seconds < 60 => hours * 3_600 + minutes * 60 + seconds,
            _ => return Err(wrong(text, "is no time")),
        };
        let micros = if fraction.len() > 6 {
            return Err(wrong(text, "is no time"));
        } else {
            number(&format!("{fraction:0<6}"))?
        };
        Ok(Micros(self.scene.midnight.0 + seconds * 1_000_000 + micros))
    }

    fn span(&self, text: &str) -> Parsed<(Micros, Micros)> {
        let (start, end) = text.split_once('-').ok_or_else(|| wrong(text, "is no start-end"))?;
        Ok((self.instant(start)?, self.instant(end)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        let bad = [
            ("  reserve van-1 key=K1 orders=1", "4: does not say what it comes to"),
            ("  reserve van-1 orders=1 -> accepted", "4: has neither `key` nor `as`"),
            (
                "  reserve van-1 key=K1 Orders=1 -> accepted",
                "4: `Orders` has 'O' U+004F at character 1: it may have a-z",
            ),
            ("  reserve van-1 key=K1 orders=one -> accepted", "4: `one` invalid digit"),
            ("  reserve van-1 key=K1 key=K2 orders=1 -> accepted", "4: `key` stands twice"),
            ("  reserve van-1 key=K1 orders=1 -> accepted verison=1", "4: `verison` is no field"),
            ("  reserve van-1 key=K1 orders=1 hold=60 -> accepted", "4: `60` has no unit"),
            ("  abandon van-1 key=K1 -> abandoned", "4: does not say which attempt"),
            ("  release K1 -> released", "4: `K1` was not used"),
            ("  sell van-1 orders=1 -> accepted", "4: `sell` is no command"),
            ("  expired K1", "4: `K1` was not used"),
            ("at 08:00", "4: time runs backwards"),
            ("at 10:61", "4: `10:61` is no time"),
            ("whenever", "4: `whenever` is not understood here"),
        ];
        for (line, why) in bad {
            let text = format!("# title\ngiven\nat 10:00\n{line}\nthen\n  pool van-1 none\n");
            let error = parse("x.txt", &text).map(|_| ()).unwrap_err();
            assert!(error.starts_with(&format!("x.txt:{why}")), "{line}: {error}");
        }
        assert!(parse("x.txt", "# title\ngiven\n").is_err_and(|why| why.contains("`then`")));
    }

    #[test]
    fn a_blank_line_and_the_word_turn_end_a_turn() {
        let mode = "  mode van-1 open -> mode_set\n";
        let text = format!(
            "# title\nat 10:00\n{mode}{mode}\n{mode}turn\n{mode}at +250ms\nat +1s\n{mode}then\n  pool a none\n"
        );
        let scenario = parse("x.txt", &text).unwrap();
        let turns: Vec<_> = scenario.turns.iter().map(|t| (clock(t.at), t.steps.len())).collect();
        let expected = [("10:00:00", 2), ("10:00:00", 1), ("10:00:00", 1), ("10:00:00.25", 0), ("10:00:01.25", 1)];
        assert_eq!(turns, expected.map(|(at, steps)| (at.to_owned(), steps)));
    }
}
