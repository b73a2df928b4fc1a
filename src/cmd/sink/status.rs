//! How far the tables or the files are written.

use super::{access_to, named};
use crate::cmd::shared::certificate::Certificate;
use crate::cmd::shared::source::Source;
use crate::cmd::shared::stderr;
use crate::cmd::{Failure, Verdict};
use crate::config::{Config, SinkFiles, SinkTo};
use crate::domain::Micros;
use crate::log::{CommittedTail, LogError};
use crate::sink::files::Files;
use crate::sink::postgres::Database;
use crate::sink::{Progress, TargetError, decided_at, other_log};
use crate::time::{Clock as _, SystemClock};
use crate::words::counted;
use serde::Serialize;
use std::io::{self, Write};

/// What is told of a partition. Its names are those of the JSON.
#[derive(Serialize)]
struct Told {
    partition: u32,
    /// None before the partition was begun.
    next_seq: Option<u64>,
    /// The event with which it was begun.
    first_seq: Option<u64>,
    log_end: u64,
    behind_events: u64,
    /// The age of the oldest event that is not written.
    behind_seconds: Option<u64>,
    last_batch_seconds_ago: Option<i64>,
    rows: u64,
    set_aside: i64,
    last_failure: Option<String>,
    last_failure_seconds_ago: Option<i64>,
    stopped: Option<String>,
}

pub(super) fn status(
    config: &Config,
    own: Option<&Certificate>,
    is_json: bool,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let source = Source::open(config, own)?;
    let mut to = Asked::open(config)?;
    let (log, written, wrong) = match &mut to {
        Asked::Tables(database) => {
            let mut wrong = database.lacked()?;
            wrong.extend(database.incomplete()?.iter().map(ToString::to_string));
            (database.log()?, database.progress()?, wrong)
        }
        Asked::Files(files) => (Files::log_of(&files.place)?, Files::progress(&files.place)?, Vec::new()),
    };
    if let Some(why) = other_log(log.as_deref(), source.tail().log_id()) {
        return Err(Failure::Wrong(why));
    }
    for why in &wrong {
        if is_json {
            stderr::note(why);
        } else {
            writeln!(out, "{why}")?;
        }
    }
    let (mut is_fine, wall) = (wrong.is_empty(), SystemClock::new().wall());
    for partition in source.partitions(None)? {
        let told = match written.iter().find(|progress| progress.partition == partition) {
            None => Told::unwritten(partition, source.tail(), wall, to.orphaned(partition)?)?,
            Some(progress) => Told::of(progress, source.tail(), wall)?,
        };
        is_fine &= told.stopped.is_none();
        if is_json {
            serde_json::to_writer(&mut *out, &told).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            told.print(out)?;
        }
    }
    Ok(Verdict::fine_if(is_fine))
}

impl Told {
    fn unwritten(
        partition: u32,
        tail: &dyn CommittedTail,
        wall: Micros,
        stopped: Option<String>,
    ) -> Result<Told, LogError> {
        let (log_end, first) = (tail.end(partition)?, tail.first(partition)?);
        Ok(Told {
            partition,
            next_seq: None,
            first_seq: None,
            log_end,
            behind_events: log_end.saturating_sub(first),
            behind_seconds: age(tail, (partition, first, log_end), wall)?,
            last_batch_seconds_ago: None,
            rows: 0,
            set_aside: 0,
            last_failure: None,
            last_failure_seconds_ago: None,
            stopped,
        })
    }

    fn of(progress: &Progress, tail: &dyn CommittedTail, wall: Micros) -> Result<Told, LogError> {
        let (partition, next_seq) = (progress.partition, progress.place.next_seq);
        let log_end = tail.end(partition)?;
        // Of those that are not written; the ones before it may be gone from the log.
        let oldest = tail.first(partition)?.max(next_seq);
        let is_other = progress.place.disagreement(tail, partition, log_end)?;
        Ok(Told {
            partition,
            next_seq: Some(next_seq),
            first_seq: Some(progress.first_seq),
            log_end,
            behind_events: log_end.saturating_sub(next_seq),
            behind_seconds: age(tail, (partition, oldest, log_end), wall)?,
            last_batch_seconds_ago: progress.written_s_ago,
            rows: progress.row_count.unsigned_abs(),
            set_aside: progress.set_aside,
            last_failure: progress.failed.as_ref().map(|(why, _)| why.clone()),
            last_failure_seconds_ago: progress.failed.as_ref().map(|(_, ago)| *ago),
            stopped: progress.stopped.clone().or(is_other),
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Told { partition, set_aside, .. } = self;
        if let Some(next_seq) = self.next_seq {
            let behind = counted(self.behind_events, "event");
            let lag = self.behind_seconds.map(|seconds| format!(" and {seconds} s")).unwrap_or_default();
            let ago = self.last_batch_seconds_ago.map_or("never".to_owned(), |seconds| format!("{seconds} s ago"));
            let rows = counted(self.rows, "row");
            let begun = self.first_seq.filter(|first_seq| *first_seq > 0);
            let begun = begun.map(|first_seq| format!(", begun at seq {first_seq}")).unwrap_or_default();
            writeln!(
                out,
                "partition {partition}: next seq {next_seq}, {behind}{lag} behind, last batch {ago}, {rows}, {set_aside} set \
                 aside{begun}"
            )?;
        } else if self.stopped.is_none() {
            writeln!(out, "partition {partition}: never written, {} in the log", counted(self.behind_events, "event"))?;
        }
        if let Some((why, ago)) = self.last_failure.as_ref().zip(self.last_failure_seconds_ago) {
            writeln!(out, "partition {partition}: last failure {ago} s ago: {why}")?;
        }
        match &self.stopped {
            Some(why) => writeln!(out, "partition {partition}: stopped: {why}"),
            None => Ok(()),
        }
    }
}

/// How many seconds ago this event of a partition was decided; `None` where the log ends before it, or it cannot be read.
fn age(
    tail: &dyn CommittedTail,
    (partition, seq, log_end): (u32, u64, u64),
    wall: Micros,
) -> Result<Option<u64>, LogError> {
    let decided = if seq < log_end { decided_at(tail, partition, seq)? } else { None };
    Ok(decided.map(|at| wall.0.saturating_sub(at.0) / 1_000_000))
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
