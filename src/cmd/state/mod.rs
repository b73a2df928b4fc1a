//! `headroom state`: pools, and the reservations of one, as they are or as they were. A state is folded from the nearest
//! snapshot that does not lie after it. One partition is in memory at a time.

mod print;

use super::shared::certificate::CertificateFlags;
use super::shared::fold::Folding;
use super::shared::progress::Progress;
use super::shared::source::Source;
use super::{Failure, Verdict};
use crate::api::instant;
use crate::cmd::shared::stderr;
use crate::config::Config;
use crate::domain::{Ledger, Micros, PoolId, route};
use crate::log::CommittedTail;
use crate::owner::begin::Moment;
use crate::owner::moment::Then;
use crate::replica::PartitionState;
use crate::time::{Clock, Shown, SystemClock};
use crate::wire;
use std::io::Write;

/// From so many events on, progress is shown.
const LONG_EVENTS: u64 = 200_000;

/// Which state is printed, and how.
#[derive(Debug, clap::Args)]
pub(super) struct What {
    /// As they were at this time, like 2026-12-24T18:00:00Z; otherwise as they are at the end of the log
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "at_seq")]
    at: Option<Micros>,
    /// As they were after this event: the number of a partition, and a sequence number in it, like 0:1204
    #[arg(long, value_name = "P:SEQ", value_parser = place)]
    at_seq: Option<Place>,
    /// Print this pool only, with its reservations
    #[arg(long, value_name = "POOL", value_parser = pool_id)]
    pool: Option<PoolId>,
    /// Print JSON: one object a line for each partition
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    certificate: CertificateFlags,
}

/// An event of a log.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition: u32,
    seq: u64,
}

fn time(text: &str) -> Result<Micros, String> {
    instant::parse(text).map_err(|why| why.to_string())
}

fn place(text: &str) -> Result<Place, String> {
    let parts = text.split_once(':').and_then(|(partition, seq)| Some((partition.parse().ok()?, seq.parse().ok()?)));
    let (partition, seq) = parts.ok_or("is not a partition and a sequence number like 0:1204")?;
    Ok(Place { partition, seq })
}

fn pool_id(text: &str) -> Result<PoolId, String> {
    match PoolId::new(text) {
        Ok(pool) if pool.is_internal() => Err("such pools belong to Headroom itself".to_owned()),
        Ok(pool) => Ok(pool),
        Err(error) => Err(format!("it {error}")),
    }
}

pub(super) fn run(config: &Config, what: &What, out: &mut impl Write) -> Result<Verdict, Failure> {
    let now = SystemClock::new().wall();
    let own = what.certificate.read().map_err(Failure::Unusable)?;
    let source = Source::open(config, own.as_ref())?;
    let tail = source.tail();
    let folding = Folding::new(config, tail, source.log_id())?;
    let mut asked = Vec::new();
    for partition in source.partitions(partition(what, tail.partitions())?)? {
        let end = tail.end(partition)?;
        asked.push((partition, end, moment(what, end)?));
    }
    if let Some(at) = what.at {
        let with_events = asked.iter().filter(|(_, end, _)| *end > 0);
        has_passed(tail, with_events.clone().map(|(partition, end, _)| (*partition, *end)), at, now)?;
        if what.pool.is_none() {
            has_begun(tail, with_events.map(|(partition, ..)| *partition), at)?;
        }
    }
    let events = asked.iter().map(|(_, end, _)| *end).fold(0, u64::saturating_add);
    let mut progress = (events >= LONG_EVENTS).then(|| Progress::new(events));
    for (partition, end, moment) in asked {
        let mut reach = |next_seq| progress.iter_mut().for_each(|progress| progress.reach(next_seq));
        let then = folding.then(partition, moment, end, &mut reach).inspect_err(|_| {
            source.tell_lacks();
        })?;
        progress.iter_mut().for_each(|progress| progress.partition_done(end));
        then.passed_over.iter().for_each(|why| stderr::note(format_args!("partition {partition}: not used: {why}")));
        let seen = Seen { at: what.at, now: seen_at(what, &then.state, now), then, pool: what.pool.as_ref() };
        if let Some(pool) = seen.pool {
            is_there(tail, &seen.then.state, pool, seen.now)?;
        }
        if what.json {
            print::json(&seen, out)?
        } else {
            print::text(&seen, out)?
        };
    }
    progress.iter().for_each(Progress::finish);
    source.tell_lacks();
    Ok(Verdict::Fine)
}

/// What is printed of a partition.
struct Seen<'a> {
    /// The time that was asked for, if one was.
    at: Option<Micros>,
    /// The time at which what has ended is still known or not.
    now: Micros,
    then: Then,
    /// The pool that was asked for, if one was: it is there.
    pool: Option<&'a PoolId>,
}

/// The one partition that is asked about; `None` when all are.
fn partition(what: &What, partitions: u32) -> Result<Option<u32>, Failure> {
    let named = what.at_seq.map(|place| place.partition);
    let Some(pool) = &what.pool else { return Ok(named) };
    let home = route::partition_of(pool, partitions);
    match named {
        Some(named) if named != home => {
            Err(Failure::Unusable(format!("pool {pool} is in partition {home}, and --at-seq names partition {named}")))
        }
        _ => Ok(Some(home)),
    }
}

fn moment(what: &What, end: u64) -> Result<Moment, Failure> {
    match (what.at, what.at_seq) {
        (Some(at), _) => Ok(Moment::At(at)),
        (None, None) => Ok(Moment::Before(end)),
        (None, Some(Place { partition, seq })) if seq >= end => {
            Err(Failure::Unusable(format!("partition {partition} has no event {seq}: it ends before {end}")))
        }
        (None, Some(Place { seq, .. })) => Ok(Moment::Before(seq.saturating_add(1))),
    }
}

/// Refuses a time that has not passed yet: what is decided until then is not known. It has passed when one of these partitions,
/// which have events and end so, has decided something at that time or later. Who decides goes by a clock of its own, which
/// may be ahead of this machine's. Where nothing was decided since, only the clock of this machine can say it. Of the other
/// partitions it is told that more may still come.
fn has_passed(
    tail: &dyn CommittedTail,
    ends: impl Iterator<Item = (u32, u64)>,
    at: Micros,
    now: Micros,
) -> Result<(), Failure> {
    if at <= now {
        return Ok(());
    }
    let (mut last, mut behind) = (None, Vec::new());
    for (partition, end) in ends {
        let events = tail.read(partition, end.saturating_sub(1), 1)?;
        let decided = events.first().and_then(|event| wire::event::decode(&event.bytes).ok());
        let decided = decided.map(|chained| chained.event.decided_at);
        if decided < Some(at) {
            behind.push(partition.to_string());
        }
        last = last.max(decided);
    }
    if last >= Some(at) {
        if !behind.is_empty() {
            let behind = behind.join(", ");
            stderr::note(format_args!(
                "not all has passed {}: partition {behind} may still decide before it",
                Shown(at)
            ));
        }
        return Ok(());
    }
    let decided = last.map_or_else(String::new, |last| format!(", and the last event was decided at {}", Shown(last)));
    let (at, now) = (Shown(at), Shown(now));
    Err(Failure::Unusable(format!("--at {at} is in the future: by the clock of this machine it is {now}{decided}")))
}

/// Refuses a time before the first event of all these partitions, which have events. Where a log has lost its first ones,
/// that time is not known.
fn has_begun(tail: &dyn CommittedTail, partitions: impl Iterator<Item = u32>, at: Micros) -> Result<(), Failure> {
    let mut begins: Option<Micros> = None;
    for partition in partitions {
        if tail.first(partition)? > 0 {
            return Ok(());
        }
        let events = tail.read(partition, 0, 1)?;
        let Some(Ok(first)) = events.first().map(|event| wire::event::decode(&event.bytes)) else { return Ok(()) };
        begins = Some(begins.map_or(first.event.decided_at, |begins| begins.min(first.event.decided_at)));
    }
    match begins {
        Some(begins) if begins > at => Err(Failure::Unusable(format!(
            "--at {} is before the log begins: its first event was decided at {}",
            Shown(at),
            Shown(begins)
        ))),
        _ => Ok(()),
    }
}

/// The time at which a state is seen: the one that was asked for, that of the last event that was, or the present.
fn seen_at(what: &What, state: &PartitionState, now: Micros) -> Micros {
    let decided_at = state.position().decided_at;
    match what.at_seq {
        Some(_) => decided_at,
        None => what.at.unwrap_or(now).max(decided_at),
    }
}

/// Refuses a pool that the state does not have.
fn is_there(tail: &dyn CommittedTail, state: &PartitionState, pool: &PoolId, now: Micros) -> Result<(), Failure> {
    if state.pools().get(pool).is_some() {
        return Ok(());
    }
    let partition = state.partition();
    let ending = state.retired().of(pool).filter(|_| state.retired_until(pool, now).is_some());
    let Some(ending) = ending else {
        return Err(Failure::Wrong(format!(
            "pool {pool} is not known there: it had not been defined, or had retired more than 24 hours before"
        )));
    };
    let event = tail.read(partition, ending.seq, 1).ok().and_then(|events| events.into_iter().next());
    let decided = event.and_then(|event| wire::event::decode(&event.bytes).ok());
    let when = decided.map_or_else(String::new, |chained| format!(" at {}", Shown(chained.event.decided_at)));
    Err(Failure::Wrong(format!("pool {pool} had retired{when}, by event {} of partition {partition}", ending.seq)))
}
