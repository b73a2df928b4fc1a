//! Makes the tables of reservations, pools and their lives anew from the events. Until it ends, readers see them as they were. In
//! place that is one transaction, and sinks wait meanwhile. In PostgreSQL new tables are filled beside them (`beside.rs`). Redshift
//! has the way in place alone: nobody has tried there whether views and rights follow a table that takes the name of another.

use super::apply::LOCK_LIMIT;
use super::connection::{Database, Said};
use super::dialect::Dialect;
use super::sql;
use super::tables::FOLLOWING;
use crate::limits::SINK_BATCH_EVENTS_DEFAULT;
use crate::sink::{Rare, TargetError};
use std::collections::BTreeSet;
use std::time::Duration;

/// A range of the events of a partition.
pub(super) type Range = (i64, (i64, i64));

/// The longest time in which the rows of events are counted.
const COUNT_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Of each partition the rows that were written, those that are there of what was written, and those that no sink wrote.
const COUNTED: &str = r#"
    SELECT c."partition", sum(c.written), sum(c.own), sum(c.found - c.own)
    FROM (
        SELECT "partition", row_count AS written, 0 AS own, 0 AS found FROM sink_positions
        UNION ALL
        SELECT e."partition", 0, count(DISTINCT CASE WHEN e.seq >= p.first_seq AND e.seq < p.next_seq THEN e.seq END), count(*)
        FROM events e LEFT JOIN sink_positions p ON p."partition" = e."partition" GROUP BY 1
    ) c GROUP BY 1 ORDER BY 1"#;

/// How many blocks a table has, or the largest of its partitions, and the most rows that fit into one, each of 28 bytes at least.
const BLOCKS: &str = "
    SELECT COALESCE(max(pg_relation_size(part)), 0) / current_setting('block_size')::bigint,
           current_setting('block_size')::bigint / 28
    FROM (SELECT $1::regclass AS part UNION ALL SELECT relid FROM pg_partition_tree($1::regclass)) parts";

impl Dialect {
    /// The most events of a partition that the statements of a rebuild read at once, so that each of them ends in time. Each
    /// statement in Redshift has a price of its own, of seconds, and makes a table for a while, whose number is bounded.
    fn events_at_once(self) -> u64 {
        match self {
            Dialect::Postgres => SINK_BATCH_EVENTS_DEFAULT,
            Dialect::Redshift => 500_000,
        }
    }
}

impl Database {
    /// Makes the tables anew that follow from the events, with `is_in_place` in one transaction. Tells `progress` of each piece how
    /// many events it was. Returns how many rows of events there were. With `is_partial` some of those that were written may be
    /// missing.
    ///
    /// # Errors
    /// [`TargetError::Operator`] names what is missing. [`TargetError`] when the database does not answer in time, or
    /// refuses. Then the tables are as they were.
    pub fn rebuild(
        &mut self,
        is_partial: bool,
        is_in_place: bool,
        progress: impl FnMut(u64),
    ) -> Result<i64, TargetError> {
        // What new tables need is asked for when they are made.
        let noted = if is_in_place { self.marked()? } else { BTreeSet::new() };
        let lacked = self.missing_rights(&[], &noted)?.into_iter().map(|difference| difference.what);
        let lacked: Vec<String> = lacked.collect();
        if !lacked.is_empty() {
            return Err(TargetError::Operator(lacked.join("; ")));
        }
        let said = self.count()?;
        let (mut rows, mut missing) = (0_i64, Vec::new());
        for row in 0..said.rows.len() {
            let number = |column: usize| said.number(row, column).unwrap_or_default();
            let (partition, written, found, foreign) = (number(0), number(1), number(2), number(3));
            rows = rows.saturating_add(found);
            if found != written {
                missing.push(format!("partition {partition} has {found} of {written} rows"));
            }
            if foreign != 0 {
                missing.push(format!("partition {partition} has rows that no sink wrote: {foreign}"));
            }
        }
        if !is_partial && !missing.is_empty() {
            return Err(TargetError::Operator(format!(
                "events has not the rows that were written into it, and reservations, pools and pool_lives would lose what \
                 followed from them: {}. Bring them back, or run headroom sink rebuild --partial, which makes them from those \
                 that are left",
                missing.join(", ")
            )));
        }
        let piece = self.dialect.events_at_once();
        if is_in_place {
            self.rebuild_in_place(piece, progress)?;
        } else {
            self.rebuild_by(piece, progress)?;
        }
        Ok(rows)
    }

    /// The same with pieces of this many events, one at least, whatever is missing. Returns how many events were folded while sinks
    /// waited.
    ///
    /// # Errors
    /// Those of `rebuild`.
    pub fn rebuild_by(&mut self, piece: u64, progress: impl FnMut(u64)) -> Result<u64, TargetError> {
        match self.dialect {
            Dialect::Postgres => self.rebuild_beside(piece, progress),
            Dialect::Redshift => self.rebuild_in_place(piece, progress),
        }
    }

    /// The same in one transaction, for which sinks wait.
    ///
    /// # Errors
    /// Those of `rebuild`.
    pub fn rebuild_in_place(&mut self, piece: u64, mut progress: impl FnMut(u64)) -> Result<u64, TargetError> {
        let piece = piece.max(1).cast_signed();
        self.say("BEGIN")?;
        self.say(sql::hold_positions(self.dialect))?;
        let pieces = in_pieces(self.written_events()?, piece);
        self.delete(&pieces, piece)?;
        let mut all = 0_u64;
        for (partition, (from, until)) in pieces {
            self.fold(partition, (from, until))?;
            let events = until.saturating_sub(from).cast_unsigned();
            all = all.saturating_add(events);
            progress(events);
        }
        self.say("COMMIT")?;
        self.note_complete()?;
        Ok(all)
    }

    /// The events of each partition that are written.
    pub(super) fn written_events(&mut self) -> Result<Vec<Range>, TargetError> {
        let said = self.say("SELECT \"partition\", first_seq, next_seq FROM sink_positions ORDER BY 1")?;
        let number = |row: usize, column: usize| said.number(row, column).unwrap_or_default();
        Ok((0..said.rows.len()).map(|row| (number(row, 0), (number(row, 1), number(row, 2)))).collect())
    }

    /// Adds what follows from the events of a partition in a range to the tables that are found first.
    pub(super) fn fold(&mut self, partition: i64, range: (i64, i64)) -> Result<(), TargetError> {
        sql::merges(self.dialect, "events", partition, range, Rare::ALL)
            .try_for_each(|merge| self.say(&merge).map(drop))
    }

    /// Counts the rows of events, all of which are read for it.
    fn count(&mut self) -> Result<Said, TargetError> {
        self.limit_all(Some(COUNT_LIMIT));
        self.say(&self.dialect.begin_change(LOCK_LIMIT, COUNT_LIMIT))?;
        let said = self.say(COUNTED)?;
        self.say("COMMIT")?;
        self.limit_all(None);
        Ok(said)
    }

    /// Deletes what is made anew, in pieces, so that each statement ends in time. TRUNCATE would keep readers out in PostgreSQL.
    fn delete(&mut self, pieces: &[Range], piece: i64) -> Result<(), TargetError> {
        match self.dialect {
            Dialect::Postgres => FOLLOWING.iter().try_for_each(|table| self.delete_by_blocks(table, piece)),
            Dialect::Redshift => self.delete_by_events(pieces),
        }
    }

    /// Deletes the rows of a table in PostgreSQL as they lie in its blocks, which needs no index. No statement deletes more rows
    /// than `piece`, or than one block has; of a partitioned table that holds for each partition.
    fn delete_by_blocks(&mut self, table: &str, piece: i64) -> Result<(), TargetError> {
        let said = self.say(&BLOCKS.replace("$1", &self.dialect.literal(table)))?;
        let (blocks, rows) = (said.number(0, 0).unwrap_or_default(), said.number(0, 1).unwrap_or_default());
        let step = piece.checked_div(rows).unwrap_or_default().max(1);
        let mut from = 0_i64;
        loop {
            let until = from.saturating_add(step);
            if until >= blocks {
                return self.say(&format!("DELETE FROM {table} WHERE ctid >= '({from},0)'")).map(drop);
            }
            self.say(&format!("DELETE FROM {table} WHERE ctid >= '({from},0)' AND ctid < '({until},0)'"))?;
            from = until;
        }
    }

    /// The same in Redshift, where TRUNCATE would commit, and another table under the name of this one would not be that of the
    /// views over it. An event is the last one of one reservation, or of those that ended with their pool. What has no such place
    /// is deleted at the end.
    fn delete_by_events(&mut self, pieces: &[Range]) -> Result<(), TargetError> {
        for (partition, (from, until)) in pieces {
            self.say(&format!(
                "DELETE FROM reservations WHERE \"partition\" = {partition} AND seq >= {from} AND seq < {until}"
            ))?;
        }
        FOLLOWING.iter().try_for_each(|table| self.say(&format!("DELETE FROM {table}")).map(drop))
    }
}

/// These ranges in pieces of so many events at most, in order.
pub(super) fn in_pieces(ranges: Vec<Range>, piece: i64) -> Vec<Range> {
    let mut pieces = Vec::new();
    for (partition, (mut from, end)) in ranges {
        while from < end {
            let until = from.saturating_add(piece).min(end);
            pieces.push((partition, (from, until)));
            from = until;
        }
    }
    pieces
}
