//! The screen as text: values in, lines out. Each colour repeats what a character says, so nothing is lost without
//! colours. The colours are those of cividis, which colour-blind people see as others do.

use super::board::{Actions, Contested, Counts, Period};
use super::planner::in_words;
use super::week::{HOURS, Week, ZONES};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// From nothing taken to everything: background and foreground, of the 256 colours of terminals.
const CIVIDIS: [(u8, u8); 8] = [(17, 255), (18, 255), (60, 255), (102, 16), (144, 16), (185, 16), (221, 16), (227, 16)];
/// From nothing taken to everything, as blocks of growing height.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Explains the third kind of answer.
const NOT_IN_TIME: &str = " not in time: no decision by the caller's deadline, and nothing is held";
/// Most columns of a line.
pub const COLUMNS: usize = 80;
/// Seconds that the curve of answers shows.
pub const CURVE_SECONDS: usize = 40;

/// A pool in the answer of `POST /v1/availability`.
#[derive(Clone, Deserialize)]
pub struct Shown {
    pool: String,
    limits: BTreeMap<String, u64>,
    used: BTreeMap<String, u64>,
    mode: String,
    over_committed: bool,
}

/// Everything that a frame shows.
pub struct View<'a> {
    /// The slots of the week.
    pub week: &'a Week,
    /// The pools of the day that is shown, by id.
    pub heat: &'a BTreeMap<String, Shown>,
    /// The title line.
    pub title: String,
    /// Seconds until the end.
    pub left: u64,
    /// The answers of the last whole second.
    pub second: &'a Period,
    /// The answers of the whole run so far.
    pub all: Counts,
    /// What shoppers did after a yes.
    pub actions: Actions,
    /// The length of the log.
    pub events: LogLength,
    /// The pool that refused most.
    pub contested: Option<Contested>,
    /// The last lines about the planner.
    pub news: Vec<String>,
    /// The number of answers in each of the last seconds.
    pub curve: &'a [u64],
    /// Whether colours are used.
    pub in_colour: bool,
}

/// The number of events in the log.
#[derive(Clone, Copy, Default, Debug)]
pub struct LogLength {
    /// The number of all events in the log.
    pub events: u64,
    /// Those of the last second.
    pub last_second: u64,
}

impl View<'_> {
    /// The frame, line by line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            self.bold(&self.title),
            String::new(),
            format!(" {} · orders taken of each two-hour slot  {} s left", self.bold(&self.week.day_name()), self.left),
            format!(" {:10}{}", "", HOURS.map(|hour| format!("  {:02}-", hour.begins)).concat()),
        ];
        lines.extend((0..ZONES.len()).map(|zone| self.zone(zone)));
        lines.push(self.legend());
        lines.push(String::new());
        lines.extend(self.figures());
        lines.push(String::new());
        lines.push(format!(" most contested  {}", self.contested()));
        // A failed change may have a long message.
        lines.extend(self.news.iter().map(|line| format!(" {line}").chars().take(COLUMNS).collect()));
        lines
    }

    /// The lines above a run without a terminal.
    pub fn heading(&self) -> Vec<String> {
        let day = self.week.day_name();
        let title = self.title.clone();
        vec![title, format!(" most shoppers want {day}; times are UTC"), NOT_IN_TIME.to_owned()]
    }

    /// The last second in one line, for a run without a terminal.
    pub fn line(&self) -> String {
        let Counts { yes, no, late, .. } = self.second.counts;
        let (_, p99) = self.quantiles();
        format!(
            "{:>3} s left  201 {yes:>5}/s  409 {no:>5}/s  503 {late:>4}/s  p99 {p99} ms  {:>7} events",
            self.left, self.events.events
        )
    }

    fn zone(&self, zone: usize) -> String {
        let mut line = format!(" {:10}", ZONES[zone].name);
        for slot in self.week.of(self.week.shown, zone) {
            let cell = match self.heat.get(&slot.pool) {
                Some(pool) => self.cell(pool),
                None => "   ? ".to_owned(),
            };
            line.push_str(&cell);
        }
        line
    }

    fn cell(&self, pool: &Shown) -> String {
        let orders = |units: &BTreeMap<String, u64>| units.get("orders").copied().unwrap_or_default();
        let (used, limit) = (orders(&pool.used), orders(&pool.limits));
        let mark = match pool.mode.as_str() {
            "closed" => '×',
            "paused" => '‖',
            _ if pool.over_committed => '!',
            _ => BLOCKS[step(used, limit, BLOCKS.len())],
        };
        let text = format!("{mark}{used:>3}");
        if !self.in_colour {
            return format!("{text} ");
        }
        let (back, fore) = CIVIDIS[step(used, limit, CIVIDIS.len())];
        format!("\x1b[48;5;{back};38;5;{fore}m{text}\x1b[0m ")
    }

    fn legend(&self) -> String {
        let scale: String = BLOCKS.iter().skip(1).collect();
        format!(" {scale} taken of the limit  ! over a lowered limit  ‖ paused  × closed")
    }

    fn figures(&self) -> Vec<String> {
        let Counts { yes, no, late, other, silent } = self.second.counts;
        let (p50, p99) = self.quantiles();
        let LogLength { events, last_second } = self.events;
        let Actions { confirmed, left, released, retried, contradicted } = self.actions;
        let mut curve = String::new();
        let most = self.curve.iter().max().copied().unwrap_or_default();
        curve.extend(self.curve.iter().map(|n| BLOCKS[step(*n, most, BLOCKS.len())]));
        let answers = yes + no + late + other + silent;
        vec![
            format!(" {answers:>6} answers/s  {curve}"),
            format!(" {yes:>5} 201 yes  {no:>5} 409 no  {late:>5} 503 not in time  {other:>6} reads and changes"),
            NOT_IN_TIME.to_owned(),
            format!(" p50 {p50} ms  p99 {p99} ms  {last_second} events/s, {events} in the log"),
            format!(
                " {} yes so far: {confirmed} holds confirmed, {left} left to expire, {released} released",
                self.all.yes
            ),
            format!(" {retried} retries with the same key, {contradicted} contradicted"),
        ]
    }

    fn quantiles(&self) -> (String, String) {
        let at = |q| format!("{:>6.1}", self.second.latency_us.value_at_quantile(q) as f64 / 1e3);
        (at(0.5), at(0.99))
    }

    fn contested(&self) -> String {
        let Some(Contested { pool, refusals }) = &self.contested else { return "none yet".to_owned() };
        let taken = self.heat.get(pool).map_or(String::new(), |shown| {
            let orders = |units: &BTreeMap<String, u64>| units.get("orders").copied().unwrap_or_default();
            format!(", {} of {} orders taken", orders(&shown.used), orders(&shown.limits))
        });
        format!("{}: {refusals} refused{taken}", in_words(pool))
    }

    fn bold(&self, text: &str) -> String {
        if self.in_colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The pools in the body of an availability answer, by id.
pub fn heat(body: &[u8]) -> BTreeMap<String, Shown> {
    #[derive(Deserialize)]
    struct Pools {
        pools: Vec<Shown>,
    }
    let pools = serde_json::from_slice(body).unwrap_or(Pools { pools: Vec::new() }).pools;
    pools.into_iter().map(|pool| (pool.pool.clone(), pool)).collect()
}

/// The step, of `steps`, that a part of a whole is on: the first only for nothing, the last only for everything.
fn step(part: u64, whole: u64, steps: usize) -> usize {
    let last = steps.saturating_sub(1);
    match part {
        0 => 0,
        part if part >= whole => last,
        part => (1 + part as usize * last.saturating_sub(1) / whole as usize).min(last.saturating_sub(1)),
    }
}

/// The lines as a frame that is drawn over the last one.
pub fn frame(lines: &[String]) -> String {
    let mut out = String::from("\x1b[H");
    for line in lines {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{line}\x1b[K");
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Micros;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn only_a_full_slot_looks_full() {
        let at = |part| step(part, 20, 9);
        assert_eq!((at(0), at(1), at(10), at(19), at(20), at(25)), (0, 1, 4, 7, 8, 8));
        assert_eq!(step(3, 0, 9), 8);
    }

    #[test]
    fn a_slot_shows_the_same_with_and_without_colours() {
        let week = Week::new(Micros(1_795_262_400_000_000), &mut StdRng::seed_from_u64(1));
        let pool = |n: usize| &week.of(week.shown, 0)[n].pool;
        let shown = |n: usize, used: u64, mode: &str, over: bool| {
            format!(
                r#"{{"pool":"{}","limits":{{"orders":20}},"used":{{"orders":{used}}},"mode":"{mode}","over_committed":{over}}}"#,
                pool(n)
            )
        };
        let slots = [shown(0, 0, "open", false), shown(1, 20, "open", false), shown(2, 22, "open", true)];
        let rest = [shown(3, 5, "closed", false), shown(4, 7, "paused", false)];
        let heat = heat(format!(r#"{{"pools":[{},{}]}}"#, slots.join(","), rest.join(",")).as_bytes());
        assert_eq!(heat.len(), 5);
        let view = |in_colour| {
            View {
                week: &week,
                heat: &heat,
                title: "t".to_owned(),
                left: 3,
                second: &Period::default(),
                all: Counts::default(),
                actions: Actions::default(),
                events: LogLength::default(),
                contested: Some(Contested { pool: pool(1).clone(), refusals: 9 }),
                news: Vec::new(),
                curve: &[1, 2],
                in_colour,
            }
            .lines()
        };
        let plain = view(false);
        assert!(plain[4].starts_with(" Harbour      0 █ 20 ! 22 ×  5 ‖  7    ? "), "{:?}", plain[4]);
        assert!(plain.iter().all(|line| !line.contains('\x1b') && line.chars().count() <= COLUMNS), "{plain:#?}");
        assert!(plain[2].starts_with(" Sunday 22 November ·") && plain.iter().any(|line| line == NOT_IN_TIME));
        assert!(plain.iter().any(|line| line.ends_with("Harbour Sun 10-12: 9 refused, 20 of 20 orders taken")));
        let coloured = view(true);
        assert!(coloured[4].contains("\x1b[48;5;227;38;5;16m█ 20\x1b[0m"), "{:?}", coloured[4]);
    }

    #[test]
    fn lines_fit_whatever_the_numbers_are() {
        let week = Week::new(Micros(1_795_262_400_000_000), &mut StdRng::seed_from_u64(1));
        let most = Counts { yes: 99_999, no: 99_999, late: 9_999, other: 999_999, silent: 0 };
        let actions =
            Actions { confirmed: 99_999, left: 99_999, released: 99_999, retried: 999_999, contradicted: 999_999 };
        let mut second = Period { counts: most, ..Period::default() };
        second.latency_us.record(4_000_000).unwrap();
        let contested = Some(Contested { pool: week.of(week.shown, 4)[9].pool.clone(), refusals: 999_999 });
        let news = vec![format!("the planner {}", "x".repeat(90))];
        let (curve, title) = ([9; CURVE_SECONDS], format!(" {}", "x".repeat(78)));
        let (heat, all, events) = (BTreeMap::new(), most, LogLength { events: 9_999_999, last_second: 99_999 });
        let view = View {
            week: &week,
            heat: &heat,
            title,
            left: 600,
            second: &second,
            all,
            actions,
            events,
            contested,
            news,
            curve: &curve,
            in_colour: false,
        };
        for line in view.lines().into_iter().chain(view.heading()).chain([view.line()]) {
            assert!(line.chars().count() <= COLUMNS, "{}: {line}", line.chars().count());
        }
    }
}
