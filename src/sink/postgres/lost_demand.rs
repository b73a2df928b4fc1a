//! What callers asked for and did not get.

use super::connection::Database;
use super::dialect::Dialect;
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

/// What one pool refused for one reason. An order counts once, under whatever keys its caller tried, and so does a key without one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostDemand {
    /// The day on which the slot begins; of a pool without a slot, the day of the refusal.
    pub day: String,
    /// The pool that refused.
    pub pool: String,
    /// The reason, as in the events.
    pub reason: String,
    /// The dimension that decided, or one that was asked for where none did.
    pub dimension: Option<String>,
    /// Keys that were refused, of each order the first one. Where no dimension decided, they count in each that they asked for.
    pub keys: i64,
    /// Those of them that no other row counts as well.
    pub own_keys: i64,
    /// The units that they asked for in that dimension.
    pub units: Option<i64>,
    /// Keys or orders that were accepted in another pool within an hour.
    pub elsewhere: i64,
    /// An estimate: keys that would have been accepted with a higher limit.
    pub with_raise: i64,
}

impl Database {
    /// Whether a pool has this area, or had it at the end of an earlier life.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn has_area(&mut self, area: &str) -> Result<bool, TargetError> {
        let ask = self
            .dialect
            .say("SELECT 1 FROM pools WHERE {in_area} UNION ALL SELECT 1 FROM pool_lives WHERE {in_area} LIMIT 1");
        Ok(!self.say(&ask.replace("$3", &self.area(area)))?.rows.is_empty())
    }

    /// When the tables begin to have the events of all partitions, where some were begun behind their first event, and how many
    /// those are; `None` where none was. The time is none before the first row of one of them.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn begun_later(&mut self) -> Result<Option<(u64, Option<String>)>, TargetError> {
        let said = self.say("SELECT \"partition\" FROM sink_positions WHERE first_seq > 0")?;
        let mut since = Some(String::new());
        for row in 0..said.rows.len() {
            let partition = said.number(row, 0).unwrap_or_default();
            let ask = format!("SELECT decided_at FROM events WHERE \"partition\" = {partition} ORDER BY seq LIMIT 1");
            let first = self.say(&ask)?.text(0, 0).map(str::to_owned);
            // All are in UTC, and written alike.
            since = since.zip(first).map(|(since, first)| since.max(first));
        }
        Ok((!said.rows.is_empty()).then_some((said.rows.len() as u64, since)))
    }

    /// An area as a value in a statement. In Redshift areas are a list in JSON, in which each stands with its quotes.
    fn area(&self, area: &str) -> String {
        match self.dialect {
            Dialect::Postgres => self.dialect.literal(area),
            Dialect::Redshift => self.dialect.literal(&serde_json::Value::from(area).to_string()),
        }
    }

    /// What was refused in this period, with what limits would have admitted that were higher by `raise`.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn lost_demand(&mut self, period: &Period, raise: u32) -> Result<Vec<LostDemand>, TargetError> {
        let statement = sql::lost_demand(self.dialect);
        if self.dialect == Dialect::Redshift {
            return self.lost_demand_in_redshift(statement, period, raise);
        }
        let Period { from, to, area } = period;
        let raise = i64::from(raise);
        self.run(async |client| {
            let rows = client.query(statement.as_str(), &[from, to, area, &raise]).await?;
            let lost = |row: &tokio_postgres::Row| LostDemand {
                day: row.get(0),
                pool: row.get(1),
                reason: row.get(2),
                dimension: row.get(3),
                keys: row.get(4),
                units: row.get(5),
                elsewhere: row.get(6),
                with_raise: row.get(7),
                own_keys: row.get(8),
            };
            Ok(rows.iter().map(lost).collect())
        })
    }

    fn lost_demand_in_redshift(
        &mut self,
        statement: String,
        period: &Period,
        raise: u32,
    ) -> Result<Vec<LostDemand>, TargetError> {
        let area = period.area.as_ref().map_or_else(|| self.dialect.literal(""), |area| self.area(area));
        let values = [self.dialect.literal(&period.from), self.dialect.literal(&period.to), raise.to_string(), area];
        let [from, to, raise, area] = values.each_ref();
        // The area comes last: it may have a dollar sign in it.
        let statement = statement.replace("$1", from).replace("$2", to).replace("$4", raise).replace("$3", area);
        let said = self.say(&statement)?;
        let lost = |row: usize| {
            let text = |column: usize| said.text(row, column).map(str::to_owned);
            let number = |column: usize| said.number(row, column);
            LostDemand {
                day: text(0).unwrap_or_default(),
                pool: text(1).unwrap_or_default(),
                reason: text(2).unwrap_or_default(),
                dimension: text(3),
                keys: number(4).unwrap_or_default(),
                units: number(5),
                elsewhere: number(6).unwrap_or_default(),
                with_raise: number(7).unwrap_or_default(),
                own_keys: number(8).unwrap_or_default(),
            }
        };
        Ok((0..said.rows.len()).map(lost).collect())
    }
}
