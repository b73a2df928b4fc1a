//! Makes the tables of reservations and pools anew from the events, in one transaction: until it ends, readers see them as
//! they were. Sinks wait meanwhile.

use super::connection::Database;
use super::dialect::Dialect;
use super::sql;
use crate::limits::SINK_BATCH_ROWS_MAX;
use crate::sink::TargetError;

impl Dialect {
    /// The most events of a partition that the statements of a rebuild read at once, so that each of them ends in time. Each
    /// statement in Redshift has a price of its own, of seconds, and makes a table for a while, whose number is bounded.
    fn events_at_once(self) -> u64 {
        match self {
            Dialect::Postgres => SINK_BATCH_ROWS_MAX,
            Dialect::Redshift => 500_000,
        }
    }
}

impl Database {
    /// Makes the tables anew that follow from the events. Tells `progress` of each piece how many events it was.
    ///
    /// # Errors
    /// [`TargetError`] when the database does not answer in time, or refuses. Then the tables are as they were.
    pub fn rebuild(&mut self, progress: impl FnMut(u64)) -> Result<(), TargetError> {
        self.rebuild_by(self.dialect.events_at_once(), progress)
    }

    /// The same with pieces of this many events, one at least.
    ///
    /// # Errors
    /// The same.
    pub fn rebuild_by(&mut self, piece: u64, mut progress: impl FnMut(u64)) -> Result<(), TargetError> {
        let piece = piece.max(1).cast_signed();
        let hold = sql::hold_positions(self.dialect);
        for statement in ["BEGIN", hold, "DELETE FROM reservations", "DELETE FROM pools"] {
            self.say(statement)?;
        }
        let positions = self.say("SELECT \"partition\", first_seq, next_seq FROM sink_positions ORDER BY 1")?;
        for row in 0..positions.rows.len() {
            let number = |column: usize| positions.number(row, column).unwrap_or_default();
            let (partition, mut from, end) = (number(0), number(1), number(2));
            while from < end {
                let until = from.saturating_add(piece).min(end);
                for merge in sql::merges(self.dialect, "events", partition, from, until) {
                    self.say(&merge)?;
                }
                progress(until.saturating_sub(from).cast_unsigned());
                from = until;
            }
        }
        self.say("COMMIT").map(drop)
    }
}
