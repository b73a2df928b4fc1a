//! The form of the tables, and how far they or the files are written.

use super::{access, access_to, named};
use crate::cmd::shared::certificate::Certificate;
use crate::cmd::shared::source::Source;
use crate::cmd::{Failure, Verdict};
use crate::config::{Config, SinkFiles, SinkTo};
use crate::sink::files::Files;
use crate::sink::postgres::{Database, Difference, Fix};
use crate::sink::{Place, Progress, TargetError, decided_at, other_log};
use crate::time::{Clock as _, SystemClock};
use crate::words::counted;
use std::io::Write;

pub(super) fn plan(config: &Config, out: &mut impl Write) -> Result<Verdict, Failure> {
    let differences = Database::connect(&access(config)?)?.differences()?;
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
    Ok(Verdict::fine_if(left.is_empty()))
}

pub(super) fn rebuild(config: &Config, is_partial: bool, out: &mut impl Write) -> Result<Verdict, Failure> {
    let mut events = 0_u64;
    let mut database = Database::with_tables(&access(config)?)?;
    let rows = database.rebuild(is_partial, |more| {
        events = events.saturating_add(more);
        eprintln!("up to {}", counted(events, "event"));
    })?;
    writeln!(
        out,
        "reservations, pools and pool_lives are made anew from {} of events",
        counted(rows.unsigned_abs(), "row")
    )?;
    Ok(Verdict::Fine)
}

pub(super) fn status(config: &Config, own: Option<&Certificate>, out: &mut impl Write) -> Result<Verdict, Failure> {
    let source = Source::open(config, own)?;
    let mut to = Asked::open(config)?;
    let (log, written, incomplete) = match &mut to {
        Asked::Tables(database) => (database.log()?, database.progress()?, database.incomplete()?),
        Asked::Files(files) => (Files::log_of(&files.place)?, Files::progress(&files.place)?, Vec::new()),
    };
    if let Some(why) = other_log(log.as_deref(), source.tail().log_id()) {
        return Err(Failure::Wrong(why));
    }
    for difference in &incomplete {
        writeln!(out, "{difference}")?;
    }
    let (mut is_fine, wall) = (incomplete.is_empty(), SystemClock::new().wall());
    for partition in source.partitions(None)? {
        let end = source.tail().end(partition)?;
        match written.iter().find(|progress| progress.partition == partition) {
            None => match to.orphaned(partition)? {
                Some(why) => {
                    is_fine = false;
                    writeln!(out, "partition {partition}: stopped: {why}")?;
                }
                None => {
                    writeln!(out, "partition {partition}: never written, {} in the log", counted(end, "event"))?;
                }
            },
            Some(progress) => {
                // Of those that are not written; the ones before it may be gone from the log.
                let oldest = source.tail().first(partition)?.max(progress.place.next_seq);
                let oldest = if oldest < end { decided_at(source.tail(), partition, oldest)? } else { None };
                let age = oldest.map(|at| wall.0.saturating_sub(at.0) / 1_000_000);
                writeln!(out, "partition {partition}: {}", told(progress, end, age))?;
                if let Some((why, ago)) = &progress.failed {
                    writeln!(out, "partition {partition}: last failure {ago} s ago: {why}")?;
                }
                let is_other = progress.place.disagreement(source.tail(), partition, end)?;
                if let Some(why) = progress.stopped.as_ref().or(is_other.as_ref()) {
                    is_fine = false;
                    writeln!(out, "partition {partition}: stopped: {why}")?;
                }
            }
        }
    }
    Ok(Verdict::fine_if(is_fine))
}

/// Where the events are written to.
enum Asked<'a> {
    Tables(Box<Database>),
    Files(&'a SinkFiles),
}

impl Asked<'_> {
    fn open(config: &Config) -> Result<Asked<'_>, Failure> {
        Ok(match &named(config)?.to {
            SinkTo::Tables(database) => Asked::Tables(Box::new(Database::with_tables(&access_to(database, None))?)),
            SinkTo::Files(files) => Asked::Files(files),
        })
    }

    /// Why a partition without a position is not begun.
    fn orphaned(&mut self, partition: u32) -> Result<Option<String>, TargetError> {
        match self {
            Asked::Tables(database) => database.orphaned(partition),
            Asked::Files(files) => Files::orphaned(&files.place, partition),
        }
    }
}

/// What is said of a partition whose log has this end, and whose oldest event that is not written has this age in seconds.
fn told(progress: &Progress, end: u64, age: Option<u64>) -> String {
    let Progress { place: Place { next_seq, .. }, row_count, set_aside, .. } = progress;
    let behind = counted(end.saturating_sub(*next_seq), "event");
    let lag = age.map(|seconds| format!(" and {seconds} s")).unwrap_or_default();
    let ago = progress.written_s_ago.map_or("never".to_owned(), |seconds| format!("{seconds} s ago"));
    format!(
        "next seq {next_seq}, {behind}{lag} behind, last batch {ago}, {}, {set_aside} set aside",
        counted(row_count.unsigned_abs(), "row")
    )
}
