//! Makes the tables of reservations and pools anew from the events, in one transaction: until it ends, readers see them as
//! they were. Sinks wait meanwhile.

use super::connection::Database;
use super::dialect::Dialect;
use super::sql;
use crate::limits::SINK_BATCH_ROWS_MAX;
use crate::sink::TargetError;

impl Database {
    /// Makes the tables anew that follow from the events. Tells `progress` of each piece how many events it was.
    ///
    /// # Errors
    /// [`TargetError`] when the database does not answer in time, or refuses. Then the tables are as they were.
    pub fn rebuild(&mut self, mut progress: impl FnMut(u64)) -> Result<(), TargetError> {
        if self.dialect == Dialect::Redshift {
            return self.rebuild_in_redshift(progress);
        }
        let positions = self.run(async |client| {
            client.batch_execute("BEGIN").await?;
            let positions = client.query(sql::HOLD_POSITIONS, &[]).await?;
            client.batch_execute("DELETE FROM reservations; DELETE FROM pools").await?;
            Ok(positions)
        })?;
        for position in positions {
            let (partition, first, end): (i32, i64, i64) = (position.get(0), position.get(1), position.get(2));
            let piece = SINK_BATCH_ROWS_MAX.cast_signed();
            let mut from = first;
            while from < end {
                let until = from.saturating_add(piece).min(end);
                self.run(async |client| {
                    for merge in sql::MERGES {
                        client.execute(*merge, &[&partition, &from, &until]).await?;
                    }
                    Ok(())
                })?;
                progress(until.saturating_sub(from).cast_unsigned());
                from = until;
            }
        }
        self.run(async |client| Ok(client.batch_execute("COMMIT").await?))
    }

    /// The same in Redshift. Its statements read all events of a partition at once, as it likes them.
    fn rebuild_in_redshift(&mut self, mut progress: impl FnMut(u64)) -> Result<(), TargetError> {
        for statement in ["BEGIN", sql::LOCK_POSITIONS, "DELETE FROM reservations", "DELETE FROM pools"] {
            self.say(statement)?;
        }
        let positions = self.say("SELECT \"partition\", first_seq, next_seq FROM sink_positions ORDER BY 1")?;
        for row in 0..positions.rows.len() {
            let number = |column: usize| positions.number(row, column).unwrap_or_default();
            for merge in sql::redshift_merges("events", number(0), number(1), number(2)) {
                self.say(&merge)?;
            }
            progress(number(2).saturating_sub(number(1)).cast_unsigned());
        }
        self.say("COMMIT").map(drop)
    }
}
