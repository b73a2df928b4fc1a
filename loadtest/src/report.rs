//! The result, as a table for people and as JSON for programs. Both contain the doubts about the figure.

use crate::session::Figures;
use crate::tally::{Class, Tally};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The part of the machine above which the generator itself may limit the figure.
const GENERATOR_SHARE_MAX: f64 = 0.3;
/// The stolen part of the machine above which the neighbours distort a figure.
const STOLEN_MAX: f64 = 0.02;

/// The part of what was sent, in percent, that may leave late without being worth a note.
const LATE_PERCENT_MAX: f64 = 1.0;

/// The latencies shown.
pub const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// One phase as a table.
pub fn table(figures: &Figures) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = counts(&mut out, figures);
    let _ = latencies(&mut out, figures);
    let _ = costs(&mut out, figures);
    for doubt in doubts(figures) {
        let _ = writeln!(out, "note     {doubt}");
    }
    out
}

fn streams(figures: &Figures) -> impl Iterator<Item = (&'static str, &Tally)> {
    let queries = figures.queries.as_ref().map(|tally| ("query", tally));
    let readers = figures.readers.as_ref().map(|tally| ("reader", tally));
    let greedy = figures.greedy.as_ref().map(|tally| ("greedy", tally));
    std::iter::once(("reserve", &figures.reserves)).chain(queries).chain(readers).chain(greedy)
}

fn counts(out: &mut String, figures: &Figures) -> std::fmt::Result {
    write!(out, "{:<9}{:>10}{:>12}{:>10}{:>8}{:>9}", "", "offered/s", "answered/s", "sent", "late", "dropped")?;
    Class::ALL.iter().try_for_each(|class| write!(out, "{:>10}", class.name()))?;
    writeln!(out)?;
    for (name, tally) in streams(figures) {
        let offered = tally.scheduled as f64 / figures.seconds;
        let answered = tally.answered_in_time as f64 / figures.seconds;
        write!(out, "{name:<9}{offered:>10.1}{answered:>12.1}")?;
        write!(out, "{:>10}{:>8}{:>9}", tally.sent(), tally.late, tally.dropped)?;
        Class::ALL.iter().try_for_each(|class| write!(out, "{:>10}", tally.count(*class)))?;
        writeln!(out)?;
    }
    writeln!(out)
}

fn latencies(out: &mut String, figures: &Figures) -> std::fmt::Result {
    latency_head(out)?;
    for (name, tally) in streams(figures) {
        latency(out, &format!("{name}, all sent"), &tally.all_us())?;
        for class in Class::ALL.into_iter().filter(|class| tally.count(*class) > 0) {
            latency(out, &format!("{name}, {}", class.name()), tally.latency_us(class))?;
        }
        latency(out, &format!("{name}, until sent"), &tally.delay_us)?;
    }
    writeln!(out)
}

/// The line above [`latency`].
pub fn latency_head(out: &mut String) -> std::fmt::Result {
    write!(out, "{:<24}{:>10}", "ms from when it was due", "n")?;
    QUANTILES.iter().try_for_each(|(name, _)| write!(out, "{name:>10}"))?;
    writeln!(out, "{:>10}", "max")
}

/// One histogram as a line.
pub fn latency(out: &mut String, name: &str, of: &Histogram<u64>) -> std::fmt::Result {
    write!(out, "{name:<24}{:>10}", of.len())?;
    QUANTILES.iter().try_for_each(|(_, q)| write!(out, "{:>10.2}", of.value_at_quantile(*q) as f64 / 1e3))?;
    writeln!(out, "{:>10.2}", of.max() as f64 / 1e3)
}

fn costs(out: &mut String, figures: &Figures) -> std::fmt::Result {
    if let Some(turns) = &figures.turns {
        let (per_s, waited) = (turns.committed / figures.seconds, turns.waited_part() * 100.0);
        write!(out, "turns    {per_s:.1} a second; {} took 90 ms or more", turns.slow)?;
        writeln!(out, "; {waited:.1} % met a busy coordinator; pause {:.1} ms at the end", turns.pause_ms)?;
    }
    let cpu = &figures.cpu;
    let (cores, each) = cost(figures, cpu.generator);
    write!(out, "cpu      generator {cores:.2} cores, {each:.1} µs a request; server ")?;
    match cpu.server {
        Some(seconds) => {
            let (cores, each) = cost(figures, seconds);
            write!(out, "{cores:.2} cores, {each:.1} µs a request")?;
        }
        None => write!(out, "unknown")?,
    }
    if let Some(seconds) = cpu.brokers {
        write!(out, "; brokers {:.2} cores", seconds / figures.seconds)?;
    }
    writeln!(out, "; {:.0} % idle, {:.1} % stolen", cpu.idle() * 100.0, cpu.stolen() * 100.0)
}

/// Cores taken, and microseconds for each request answered in the measured time.
pub fn cost(figures: &Figures, cpu_seconds: f64) -> (f64, f64) {
    let answered: u64 = streams(figures).map(|(_, tally)| tally.answered_in_time).sum();
    (cpu_seconds / figures.seconds, cpu_seconds * 1e6 / answered.max(1) as f64)
}

/// Reasons to doubt the figure.
fn doubts(figures: &Figures) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let share = figures.cpu.generator / figures.seconds / cores;
    let sum = |of: fn(&Tally) -> u64| streams(figures).map(|(_, tally)| of(tally)).sum::<u64>();
    let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
    let (late, dropped) = (sum(|tally| tally.late), sum(|tally| tally.dropped));
    let late = percent(late, sum(Tally::sent));
    let dropped = percent(dropped, sum(|tally| tally.scheduled));
    let mut doubts = Vec::new();
    if let Some(why) = figures.not_sustained() {
        doubts.push(format!("NOT SUSTAINED: {why}"));
    }
    if share > GENERATOR_SHARE_MAX {
        doubts.push(format!("the generator took {:.0} % of the machine: the limit may be its own", share * 100.0));
    }
    if late > LATE_PERCENT_MAX {
        doubts.push(format!("{late:.1} % left late: connections were busy, or the generator had no core to run on"));
    }
    if dropped > 0.0 {
        doubts.push(format!("{dropped:.1} % was never sent, and is not in the latencies: every connection was busy"));
    }
    if figures.cpu.stolen() > STOLEN_MAX {
        doubts.push(format!("{:.1} % of the machine went to its neighbours", figures.cpu.stolen() * 100.0));
    }
    doubts
}

/// One phase as JSON; times in microseconds.
pub fn json(figures: &Figures) -> Value {
    let streams: Map<_, _> =
        streams(figures).map(|(name, tally)| (name.to_owned(), stream_json(figures, tally))).collect();
    let (generator_cores, generator_us) = cost(figures, figures.cpu.generator);
    let server = figures.cpu.server.map(|seconds| cost(figures, seconds));
    json!({
        "rate": figures.rate,
        "seconds": figures.seconds,
        "streams": streams,
        "generator": {"cores": generator_cores, "us_per_request": generator_us},
        "server": server.map(|(cores, us)| json!({"cores": cores, "us_per_request": us})),
        "brokers": figures.cpu.brokers.map(|seconds| json!({"cores": seconds / figures.seconds})),
        "idle": figures.cpu.idle(),
        "turns": figures.turns.map(|turns| json!({"committed": turns.committed, "waited": turns.waited_part(),
                                                  "slow_commits": turns.slow, "pause_ms": turns.pause_ms})),
        "stolen": figures.cpu.stolen(),
        "sustained": figures.not_sustained().is_none(),
        "notes": doubts(figures),
    })
}

fn stream_json(figures: &Figures, tally: &Tally) -> Value {
    let classes: Map<_, _> = Class::ALL
        .into_iter()
        .filter(|class| tally.count(*class) > 0)
        .map(|class| (class.name().to_owned(), histogram_json(tally.latency_us(class))))
        .collect();
    json!({
        "offered_per_s": tally.scheduled as f64 / figures.seconds,
        "answered_per_s": tally.answered_in_time as f64 / figures.seconds,
        "scheduled": tally.scheduled,
        "sent": tally.sent(),
        "late": tally.late,
        "dropped": tally.dropped,
        "latency_us": histogram_json(&tally.all_us()),
        "until_sent_us": histogram_json(&tally.delay_us),
        "by_answer": classes,
    })
}

/// The quantiles shown, in the histogram's own unit.
pub fn histogram_json(of: &Histogram<u64>) -> Value {
    let mut object: Map<_, _> =
        QUANTILES.iter().map(|(name, q)| ((*name).to_owned(), json!(of.value_at_quantile(*q)))).collect();
    object.insert("n".to_owned(), json!(of.len()));
    object.insert("max".to_owned(), json!(of.max()));
    Value::Object(object)
}
