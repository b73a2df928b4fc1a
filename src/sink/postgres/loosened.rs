//! What somebody has taken from tables that still hold every row: that a column takes no null, and indexes. Sinks go on without
//! it, questions become slow, and a row of others may lack what every row has. `plan` names it, and `apply` brings it back.

use super::apply::LONG_LIMIT;
use super::connection::{ANSWER_LIMIT, Database, Said};
use super::dialect::{Dialect, quoted};
use super::plan::{Difference, Fix, Found};
use super::tables::{Index, tables};
use crate::sink::TargetError;
use std::collections::BTreeMap;

/// Of each index its table, its name, its first column, and whether it may be used for every question.
const LOOK: &str = "
    SELECT t.relname, c.relname, a.attname, i.indisvalid AND i.indpred IS NULL
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
    WHERE n.nspname = $1";

impl Database {
    /// What somebody has taken from these tables.
    pub(super) fn loosened(&mut self, found: &BTreeMap<String, Found>) -> Result<Vec<Difference>, TargetError> {
        let mut differences = Vec::new();
        for table in tables(self.dialect) {
            let Some(found) = found.get(table.name).filter(|found| found.is_table()) else { continue };
            let takes_null = |name: &String| found.columns.get(name).is_some_and(|column| !column.is_not_null);
            let always = table.columns.iter().filter(|column| column.is_always).map(|column| &column.name);
            for column in always.filter(|name| takes_null(name)) {
                differences.push(self.takes_null(table.name, column)?);
            }
        }
        let indexes = match self.dialect {
            Dialect::Postgres => self.say(&LOOK.replace("$1", &self.dialect.literal(&self.schema)))?,
            Dialect::Redshift => Said::default(),
        };
        let of_tables = Index::all(self.dialect).filter(|index| found.get(index.table).is_some_and(Found::is_table));
        differences.extend(of_tables.filter_map(|index| of_index(index, &indexes)));
        Ok(differences)
    }

    /// Whether a row has no value in this column, which is quoted. Where none is without, the whole table is read.
    fn has_null(&mut self, table: &str, column: &str) -> Result<bool, TargetError> {
        self.limit_all(Some(LONG_LIMIT));
        self.say(&self.dialect.begin_change(ANSWER_LIMIT, LONG_LIMIT))?;
        let said = self.say(&format!("SELECT 1 FROM {table} WHERE {column} IS NULL LIMIT 1"))?;
        self.say("COMMIT")?;
        self.limit_all(None);
        Ok(!said.rows.is_empty())
    }

    /// The difference of a column that takes null and should not.
    fn takes_null(&mut self, table: &str, column: &str) -> Result<Difference, TargetError> {
        let (name, quoted) = (format!("{table}.{column}"), quoted(column));
        let has_null = self.has_null(table, &quoted)?;
        Ok(match self.dialect {
            _ if has_null => {
                let what =
                    format!("{name} has rows without a value, which no sink wrote: give them one, or delete them");
                Difference { what, fix: Fix::Refused }
            }
            Dialect::Postgres => {
                let statement = format!("ALTER TABLE {table} ALTER COLUMN {quoted} SET NOT NULL");
                let fix = Fix::Long { statement, lets_read: false };
                Difference { what: format!("let {name} take no null"), fix }
            }
            Dialect::Redshift => {
                let what = format!("{name} takes null, and Redshift changes that for a new column only");
                Difference { what, fix: Fix::Refused }
            }
        })
    }
}

/// What is missing of an index, where the database has these. Another one that begins with its column does as well.
fn of_index(index: &Index, indexes: &Said) -> Option<Difference> {
    let Index { name, table, column, .. } = index;
    let is = |row: usize, at: usize, text: &str| indexes.text(row, at) == Some(text);
    let does = |row: usize| is(row, 0, table) && is(row, 2, column) && is(row, 3, "t");
    let rows = 0..indexes.rows.len();
    if rows.clone().any(does) {
        return None;
    }
    if rows.clone().any(|row| is(row, 1, name)) {
        let what = format!("{name} is no whole and valid index of {table} by {column}: drop it");
        return Some(Difference { what, fix: Fix::Refused });
    }
    let what = format!("create index {name} of {table} by {column}");
    Some(Difference { what, fix: Fix::Long { statement: index.statement(), lets_read: true } })
}
