//! `headroom lost-demand`: what callers asked for and did not get, from the tables that `headroom sink` writes.

use super::shared::flags::{Flags, SinkTables};
use super::{Failure, Verdict, sink};
use crate::config::Config;
use crate::sink::postgres::{Database, LostDemand, Period};
use crate::words::counted;
use std::io::Write;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) flags: Flags<SinkTables>,
    /// First day of slots, like 2026-12-24, in UTC
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: String,
    /// Last day of slots, in UTC
    #[arg(long, value_name = "DAY", value_parser = day)]
    to: String,
    /// Only pools of this area
    #[arg(long, value_name = "NAME")]
    area: Option<String>,
    /// Units by which each limit would have been higher
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    raise: u32,
}

fn day(text: &str) -> Result<String, String> {
    // PostgreSQL has no year 0.
    let is_day = text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok_and(|day| day.year() > 0);
    if is_day { Ok(text.to_owned()) } else { Err("is not a day like 2026-12-24".to_owned()) }
}

pub(super) fn run(config: &Config, args: &Args, out: &mut impl Write) -> Result<Verdict, Failure> {
    let Args { from, to, area, raise, .. } = args;
    if to < from {
        return Err(Failure::Unusable(format!("--to {to} is before --from {from}")));
    }
    let mut database = Database::with_tables(&sink::access(config)?)?;
    if let Some(area) = area
        && !database.has_area(area)?
    {
        return Err(Failure::Wrong(format!("no pool has the area {area}")));
    }
    let period = Period { from: from.clone(), to: to.clone(), area: area.clone() };
    let rows = database.lost_demand(&period, *raise)?;
    let incomplete = database.incomplete()?;
    for difference in &incomplete {
        writeln!(out, "{difference}")?;
    }
    if let Some((partitions, since)) = database.begun_later()? {
        let of = counted(partitions, "partition");
        match since {
            Some(since) => writeln!(
                out,
                "the tables lack the first events of {of}: what was refused before {since} is not all counted"
            )?,
            None => writeln!(
                out,
                "the tables lack the first events of {of}, and nothing says yet since when they have all: what was \
                 refused is not all counted"
            )?,
        }
    }
    writeln!(out, "slot day    pool, reason, dimension: keys refused, units, accepted elsewhere; with {raise} more")?;
    for row in &rows {
        let LostDemand { day, pool, reason, dimension, keys, units, elsewhere, with_raise, .. } = row;
        let of = dimension.as_deref().map_or(String::new(), |dimension| format!(" {dimension}"));
        let units = units.map_or("- units".to_owned(), |units| counted(units.unsigned_abs(), "unit"));
        let keys = counted(keys.unsigned_abs(), "key");
        writeln!(out, "{day}  {pool} {reason}{of}: {keys}, {units}, {elsewhere} elsewhere; {with_raise}")?;
    }
    let keys: i64 = rows.iter().map(|row| row.own_keys).sum();
    let raised: i64 = rows.iter().map(|row| row.with_raise).sum();
    writeln!(
        out,
        "{} {} refused; an estimate: with limits that were {raise} higher, {raised} would have been accepted",
        counted(keys.unsigned_abs(), "key"),
        if keys == 1 { "was" } else { "were" }
    )?;
    Ok(Verdict::fine_if(incomplete.is_empty()))
}
