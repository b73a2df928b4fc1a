//! What callers asked for and did not get.

use super::connection::Database;
use super::sql;
use crate::sink::TargetError;

/// Days of slots, in UTC, written like 2026-12-24.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Period {
    /// The first day.
    pub from: String,
    /// The last day.
    pub to: String,
    /// The area of the pools; `None` for all pools.
    pub area: Option<String>,
}

/// What one pool refused for one reason. A key counts once, however often its caller tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostDemand {
    /// The day on which the slot begins; of a pool without a slot, the day of the refusal.
    pub day: String,
    /// The pool that refused.
    pub pool: String,
    /// The reason, as in the events.
    pub reason: String,
    /// The dimension that decided, if one did.
    pub dimension: Option<String>,
    /// Keys that were refused.
    pub keys: i64,
    /// The units that they asked for in that dimension.
    pub units: Option<i64>,
    /// Keys that were accepted in another pool within an hour.
    pub elsewhere: i64,
    /// An estimate: keys that would have been accepted with a higher limit.
    pub with_raise: i64,
}

impl Database {
    /// What was refused in this period, with what limits would have admitted that were higher by `raise`.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn lost_demand(&mut self, period: &Period, raise: u32) -> Result<Vec<LostDemand>, TargetError> {
        let Period { from, to, area } = period;
        let raise = i64::from(raise);
        self.run(async |client| {
            let rows = client.query(sql::LOST_DEMAND, &[from, to, area, &raise]).await?;
            let lost = |row: &tokio_postgres::Row| LostDemand {
                day: row.get(0),
                pool: row.get(1),
                reason: row.get(2),
                dimension: row.get(3),
                keys: row.get(4),
                units: row.get(5),
                elsewhere: row.get(6),
                with_raise: row.get(7),
            };
            Ok(rows.iter().map(lost).collect())
        })
    }
}
