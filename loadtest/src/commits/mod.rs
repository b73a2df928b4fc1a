//! Compares the commit of the embedded log with that of a redb file, which is how the log was before, and with that of fjall, an
//! LSM tree with a journal. Two threads commit turns of real rows; turns that meet share one flush, on all sides. Each round
//! measures them all, one after the other, on the same turns and the same disk: the speed of a machine changes from minute to
//! minute, but their ratios much less.
//!
//! A log is not measured when it is new: some turns of the same size come before. (Small rows of one partition behind large ones
//! would cost the redb file a page each.) What was committed is read back and compared afterwards.
//!
//! The CPU time is measured twice: that of the threads that commit, and that of the process meanwhile. The second one has what is
//! done beside them: the embedded log makes its next dictionary, once in a segment, and fjall writes and merges tables.

mod former;
mod grouped;
mod rows;
mod side;
mod tree;

use crate::args::CommitsArgs;
use crate::machine;
use crate::rounds::Spread;
use hdrhistogram::Histogram;
use headroom::client::scratch::Scratch;
use headroom::log::Turn;
use headroom::time::{Clock, Shown, Stopwatch, SystemClock};
use rows::Rows;
use serde_json::{Value, json};
use side::{Log, Owner, SIDES, Side};
use std::path::Path;
use std::sync::Arc;

/// The partitions, each with a thread that commits its turns.
const PARTITIONS: u32 = 2;
/// Events of a turn.
const SIZES: [usize; 4] = [1, 10, 100, 500];
/// The turns before are this part of the measured ones at most.
const WARM_PART: usize = 4;

/// What is measured, by its names.
type Measured = [f64; MEASURES.len()];

/// The names of what is measured.
const MEASURES: [&str; 5] = [
    "CPU for an event, µs",
    "the same, all threads, µs",
    "a turn, p50 ms",
    "a turn, p99.9 ms",
    "disk for an event, bytes",
];

/// All sides in one round, for turns of one size.
type Round = [Measured; SIDES.len()];

/// Turns of each partition.
type Turns = Vec<Vec<Arc<Turn>>>;

/// The turns of one round and size: those that come before, and those that are measured.
struct Work {
    warm: Turns,
    measured: Turns,
}

/// `headroom-loadtest commits`.
///
/// # Errors
/// Why there are no figures.
pub fn command(args: &CommitsArgs) -> Result<bool, String> {
    let line = std::env::args().collect::<Vec<_>>().join(" ");
    let scratch = match &args.scratch_in {
        Some(parent) => Scratch::within(parent, "headroom-commits"),
        None => Scratch::new("headroom-commits"),
    };
    let scratch = scratch.map_err(|error| format!("no scratch directory: {error}"))?;
    let place = place(scratch.path());
    if !args.json {
        println!("command  {line}\nmachine  {place}");
    }
    let (mut all, mut counts, mut row) = (vec![Vec::new(); SIZES.len()], [0; SIDES.len()], [0.0; 2]);
    for number in 0..args.rounds {
        for (size, rounds) in SIZES.into_iter().zip(&mut all) {
            let work = Work::of(args, size, u64::from(number))?;
            row = work.row_bytes();
            let mut round = Round::default();
            // Each round begins with the other side, so that none has the better place.
            for turn in 0..SIDES.len() {
                let at = (turn + number as usize) % SIDES.len();
                let dir = scratch.path().join(format!("{number}-{size}-{}", SIDES[at].name()));
                let (measured, read_back) = measure(SIDES[at], &dir, &work)?;
                round[at] = measured;
                counts[at] += read_back;
            }
            rounds.push(round);
        }
    }
    let read_back = SIDES.map(Side::name).into_iter().zip(counts).map(|(side, count)| (side.to_owned(), json!(count)));
    if args.json {
        let figures: Vec<_> = SIZES.into_iter().zip(&all).map(|(size, rounds)| figures(size, rounds)).collect();
        println!(
            "{}",
            json!({"command": line, "machine": place, "load_after": machine::load(), "row_bytes": row,
                   "figures": figures, "read_back": read_back.collect::<Value>()})
        );
    } else {
        println!("rows     events of {:.0} bytes, commands of {:.0}, without their places in traces", row[0], row[1]);
        println!("read     {counts:?} events were read back as they were committed\n");
        println!("{}(load afterwards {})", table(&all), machine::load());
    }
    Ok(true)
}

fn place(dir: &Path) -> String {
    let clock = SystemClock::new();
    let sync = machine::sync_us(dir, || clock.now().0).map_or("?".to_owned(), |us| us.to_string());
    let (machine, disk) = (machine::line(), machine::file_system(dir));
    format!("{machine}; {disk}, 4 KiB made durable in {sync} µs; {}", Shown(clock.wall()))
}

impl Work {
    fn of(args: &CommitsArgs, size: usize, seed: u64) -> Result<Work, String> {
        let turns = args.turns.min(args.events / size).max(1);
        let mut work = Work { warm: Vec::new(), measured: Vec::new() };
        for partition in 0..PARTITIONS {
            let mut rows = Rows::of(partition, PARTITIONS, seed)?;
            let mut warm = rows.pools()?;
            for _ in 0..(args.warm / size).min(args.turns / WARM_PART) {
                warm.push(rows.orders(size)?);
            }
            work.warm.push(warm);
            work.measured.push((0..turns).map(|_| rows.orders(size)).collect::<Result<_, _>>()?);
        }
        Ok(work)
    }

    /// The mean length of an event and of a command.
    fn row_bytes(&self) -> [f64; 2] {
        let (mut bytes, mut count) = ([0, 0], 0);
        for (event, input) in self.measured.iter().flatten().flat_map(|turn| turn.events.iter().zip(&turn.inputs)) {
            bytes = [bytes[0] + event.bytes.len(), bytes[1] + input.bytes.len()];
            count += 1;
        }
        bytes.map(|bytes| bytes as f64 / f64::from(count.max(1)))
    }
}

/// Commits the turns into a new log, and reads them back. Answers what was measured, and the events that were read.
fn measure(side: Side, dir: &Path, work: &Work) -> Result<(Measured, u64), String> {
    std::fs::create_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut log = Log::create(side, dir)?;
    commit(&mut log, &work.warm)?;
    let bytes = log.bytes()?;
    let process = machine::own_seconds();
    let (took_us, seconds) = commit(&mut log, &work.measured)?;
    let process = machine::own_seconds() - process;
    let bytes = log.bytes()?.saturating_sub(bytes);
    drop(log);
    let turns: Turns = work.warm.iter().zip(&work.measured).map(|(warm, rest)| [&warm[..], rest].concat()).collect();
    let read_back = side::read_back(side, dir, &turns)?;
    std::fs::remove_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let events = work.measured.iter().flatten().map(|turn| turn.events.len()).sum::<usize>() as f64;
    let quantile_ms = |q| took_us.value_at_quantile(q) as f64 / 1e3;
    let [seconds, process] = [seconds, process].map(|seconds| seconds * 1e6 / events);
    Ok(([seconds, process, quantile_ms(0.5), quantile_ms(0.999), bytes as f64 / events], read_back))
}

/// Commits the turns of each partition on a thread of its own; answers how long they took, in microseconds, and the CPU time of
/// these threads in seconds.
fn commit(log: &mut Log, turns: &Turns) -> Result<(Histogram<u64>, f64), String> {
    let of_one = |(mut owner, turns): (Owner<'_>, &Vec<Arc<Turn>>)| {
        let mut took_us = Histogram::<u64>::new(3).map_err(|error| error.to_string())?;
        let cpu = machine::thread_seconds();
        for turn in turns {
            let begun = Stopwatch::start();
            owner.commit(turn)?;
            took_us.record(begun.elapsed().as_micros() as u64).map_err(|error| error.to_string())?;
        }
        Ok::<_, String>((took_us, machine::thread_seconds() - cpu))
    };
    let (mut all, mut seconds) = (Histogram::<u64>::new(3).map_err(|error| error.to_string())?, 0.0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = log.owners().into_iter().zip(turns).map(|its| scope.spawn(move || of_one(its))).collect();
        for thread in threads {
            let (took_us, cpu) = thread.join().map_err(|_| "a thread that commits panicked".to_owned())??;
            all.add(took_us).map_err(|error| error.to_string())?;
            seconds += cpu;
        }
        Ok((all, seconds))
    })
}

/// One measure of a side over all rounds, and the ratio of the first side to it in the same round.
fn spreads(rounds: &[Round], measure: usize, side: usize) -> [Spread; 2] {
    let ratio = |round: &Round| round[0][measure] / round[side][measure].max(1e-9);
    [Spread::of(rounds.iter().map(|round| round[side][measure])), Spread::of(rounds.iter().map(ratio))]
}

fn table(all: &[Vec<Round>]) -> String {
    let mut out = format!("{:<10}{:<28}", "turns of", "median (range)");
    for (side, name) in SIDES.map(Side::name).into_iter().enumerate() {
        out.push_str(&format!("{name:>26}"));
        out.push_str(&if side > 0 { format!("{:>20}", "ratio") } else { String::new() });
    }
    out.push('\n');
    for (measure, name) in MEASURES.iter().enumerate() {
        for (size, rounds) in SIZES.iter().zip(all) {
            out.push_str(&format!("{size:<10}{name:<28}"));
            for side in 0..SIDES.len() {
                let [of_side, ratio] = spreads(rounds, measure, side).map(|spread| spread.to_string());
                out.push_str(&format!("{of_side:>26}"));
                out.push_str(&if side > 0 { format!("{ratio:>20}") } else { String::new() });
            }
            out.push('\n');
        }
    }
    out
}

fn figures(size: usize, rounds: &[Round]) -> Value {
    let measures = MEASURES.iter().enumerate().map(|(measure, name)| {
        let sides = SIDES.iter().enumerate().map(|(side, of)| {
            let [of_side, ratio] = spreads(rounds, measure, side).map(|spread| spread.json());
            (of.name().to_owned(), json!({"figure": of_side, "ratio_of_segments": ratio}))
        });
        ((*name).to_owned(), sides.collect::<Value>())
    });
    json!({"turns_of": size, "rounds": rounds.len(), "measures": measures.collect::<Value>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_one_round() {
        // The second round had a bad minute, which both sides felt.
        let rounds = [(2.0, 4.0), (20.0, 40.0), (4.0, 8.0)].map(|(ours, theirs)| [[ours; 5], [ours; 5], [theirs; 5]]);
        let of = |side| spreads(&rounds, 0, side).map(|spread| spread.median);
        assert_eq!([of(0), of(1), of(2)], [[4.0, 1.0], [4.0, 1.0], [8.0, 0.5]]);
    }

    /// A log that lacks the last turn, or has another one, is noticed on every side.
    #[test]
    fn what_is_not_as_it_was_committed_is_found() {
        let args = CommitsArgs { turns: 4, events: 30, warm: 10, rounds: 1, scratch_in: None, json: true };
        let [work, other] = [1, 2].map(|seed| Work::of(&args, 10, seed).unwrap());
        for side in SIDES {
            let scratch = Scratch::new("headroom-commits-test").unwrap();
            let mut log = Log::create(side, scratch.path()).unwrap();
            commit(&mut log, &work.warm).unwrap();
            drop(log);
            let (pools, orders) = (2 * 40, 2 * 10);
            assert_eq!(side::read_back(side, scratch.path(), &work.warm), Ok(pools + orders));
            let more: Turns =
                work.warm.iter().zip(&work.measured).map(|(warm, more)| [&warm[..], more].concat()).collect();
            for wrong in [&more, &other.warm, &vec![Vec::new(); 2]] {
                assert!(side::read_back(side, scratch.path(), wrong).is_err(), "{side:?}");
            }
        }
    }
}
