//! The form of the tables.

use super::access;
use crate::cmd::shared::stderr;
use crate::cmd::{Failure, Verdict};
use crate::config::Config;
use crate::sink::postgres::{Database, Difference, Fix};
use crate::words::counted;
use std::io::Write;

pub(super) fn plan(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let mut database = Database::connect(&access(config)?)?;
    database.look_at_tables()?;
    let differences = database.differences()?;
    for difference in &differences {
        writeln!(out, "{difference}")?;
    }
    if differences.is_empty() {
        writeln!(out, "the tables are as they should be")?;
    }
    let is_fine = |difference: &Difference| !matches!(difference.fix, Fix::Refused | Fix::Rebuild);
    Ok(Verdict::fine_if(differences.iter().all(is_fine)))
}

pub(super) fn apply(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let mut database = Database::connect(&access(config)?)?;
    database.hold_tables()?;
    let differences = database.differences()?;
    let refused: Vec<_> = differences.iter().filter(|difference| difference.fix == Fix::Refused).collect();
    if !refused.is_empty() {
        for difference in refused {
            writeln!(out, "{difference}")?;
        }
        writeln!(out, "nothing was changed")?;
        return Ok(Verdict::Wrong);
    }
    database.apply(&differences)?;
    for difference in differences.iter().filter(|difference| difference.fix != Fix::Rebuild) {
        writeln!(out, "done: {difference}")?;
    }
    let left = database.differences()?;
    for difference in &left {
        writeln!(out, "{difference}")?;
    }
    if left.is_empty() {
        writeln!(out, "the tables are as they should be")?;
    }
    // Sinks go on beside a table that waits for a rebuild, so nothing keeps them from being started.
    Ok(Verdict::fine_if(left.iter().all(|difference| difference.fix == Fix::Rebuild)))
}

pub(super) fn rebuild(
    config: &Config,
    is_partial: bool,
    is_in_place: bool,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let mut events = 0_u64;
    let mut database = Database::with_tables(&access(config)?)?;
    database.hold_tables()?;
    let rows = database.rebuild(is_partial, is_in_place, |more| {
        events = events.saturating_add(more);
        stderr::line(format_args!("up to {}", counted(events, "event")));
    })?;
    writeln!(
        out,
        "reservations, pools and pool_lives are made anew from {} of events",
        counted(rows.unsigned_abs(), "row")
    )?;
    Ok(Verdict::Fine)
}
