//! What the user of the sink may do. A right that is missing would stop the first batch, the first statement that makes a table,
//! or a rebuild.

use super::connection::{Database, Said};
use super::dialect::Dialect;
use super::plan::{Difference, Fix};
use super::tables::{FOLLOWING, tables};
use crate::sink::TargetError;
use std::collections::BTreeSet;

/// What may be needed of a table, in the order of the columns of [`RELATIONS`].
const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
/// Of each relation whether it is a table, whether this user may change it, and which rights he has.
const RELATIONS: &str = "
    SELECT c.relname, c.relkind IN ('r', 'p'), {is_own}, has_table_privilege({relation}, 'SELECT'),
           has_table_privilege({relation}, 'INSERT'), has_table_privilege({relation}, 'UPDATE'),
           has_table_privilege({relation}, 'DELETE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') ORDER BY 1";
/// Whether this user may look for names in the schema, and make some.
const SCHEMA: &str =
    "SELECT has_schema_privilege($1, 'USAGE'), has_schema_privilege($1, 'CREATE') FROM pg_namespace WHERE nspname = $1";
/// Whether this user may make a schema.
const DATABASE: &str = "SELECT 't', has_database_privilege(current_database(), 'CREATE')";
/// Whether he may make tables of his session, into which rows are copied.
const TEMP: &str = "SELECT has_database_privilege(current_database(), 'TEMP')";
/// Whether the database takes writes at all.
const READ_ONLY: &str = "SELECT current_setting('transaction_read_only')";

/// What is done to a table of ours. In Redshift rows of the tables that follow from the events are deleted with each batch, and in
/// PostgreSQL by a rebuild alone.
fn needed(table: &str, dialect: Dialect, is_rebuilt: bool) -> &'static [&'static str] {
    match (table, dialect) {
        (table, Dialect::Postgres) if FOLLOWING.contains(&table) && !is_rebuilt => &["SELECT", "INSERT", "UPDATE"],
        (table, _) if FOLLOWING.contains(&table) => &RIGHTS,
        // Whoever locks a table needs to be allowed to change its rows.
        ("sink_positions", _) | ("sink_log", Dialect::Redshift) => &["SELECT", "INSERT", "UPDATE"],
        _ => &["SELECT", "INSERT"],
    }
}

impl Database {
    /// Whether this user may not look for names in the schema.
    pub(super) fn lacks_usage(&mut self) -> Result<bool, TargetError> {
        let of_schema = self.say(&SCHEMA.replace("$1", &self.dialect.literal(&self.schema)))?;
        Ok(!of_schema.rows.is_empty() && !has(&of_schema, 0, 0))
    }

    /// The rights that are missing to make these differences go away, to write, to rebuild, and to change the comments of these
    /// tables.
    pub(super) fn missing_rights(
        &mut self,
        differences: &[Difference],
        noted: &BTreeSet<&str>,
    ) -> Result<Vec<Difference>, TargetError> {
        let named = self.dialect.literal(&self.schema);
        let mut missing = Vec::new();
        if self.dialect == Dialect::Postgres && self.say(READ_ONLY)?.text(0, 0) == Some("on") {
            let why = "the database takes no writes: it is a standby, or default_transaction_read_only is on";
            missing.push(why.to_owned());
        }
        if self.dialect == Dialect::Redshift && !has(&self.say(TEMP)?, 0, 0) {
            missing.push("this user lacks the right TEMP for the database".to_owned());
        }
        let mut of_schema = self.say(&SCHEMA.replace("$1", &named))?;
        if of_schema.rows.is_empty() {
            of_schema = self.say(DATABASE)?;
        }
        let is_changed = differences
            .iter()
            .any(|difference| matches!(difference.fix, Fix::Run(_) | Fix::Long { .. } | Fix::Views(_)));
        for (column, right, is_needed) in [(0, "USAGE", true), (1, "CREATE", is_changed)] {
            if is_needed && !has(&of_schema, 0, column) {
                missing.push(format!("this user lacks the right {right} for the schema {}", self.schema));
            }
        }
        // Redshift looks for a table by its name, which needs the schema.
        if self.dialect == Dialect::Postgres || has(&of_schema, 0, 0) {
            let relations = self.say(&self.dialect.say(RELATIONS).replace("$1", &named))?;
            missing.extend(of_relations(&relations, &(&changed(differences) | noted), self.dialect, true));
        }
        Ok(missing.into_iter().map(|what| Difference { what, fix: Fix::Refused }).collect())
    }

    /// The rights for tables that this user lacks to write, in words.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn lacked(&mut self) -> Result<Vec<String>, TargetError> {
        let relations = self.say(&self.dialect.say(RELATIONS).replace("$1", &self.dialect.literal(&self.schema)))?;
        let lacked = of_relations(&relations, &BTreeSet::new(), self.dialect, false).into_iter();
        Ok(lacked.map(|what| format!("{what}, without which nothing is written")).collect())
    }
}

/// Whether this column is true. Redshift answers some of these questions with a text.
fn has(said: &Said, row: usize, column: usize) -> bool {
    said.text(row, column).is_some_and(|told| told.starts_with('t'))
}

fn of_relations(said: &Said, changed: &BTreeSet<&str>, dialect: Dialect, is_rebuilt: bool) -> Vec<String> {
    let known = tables(dialect);
    let mut missing = Vec::new();
    for row in 0..said.rows.len() {
        let name = said.text(row, 0).unwrap_or_default();
        if has(said, row, 1) && known.iter().any(|table| table.name == name) {
            let needed = needed(name, dialect, is_rebuilt);
            let lacks = |(at, right): &(usize, &str)| needed.contains(right) && !has(said, row, *at);
            let rights: Vec<&str> = (3..).zip(RIGHTS).filter(lacks).map(|(_, right)| right).collect();
            if !rights.is_empty() {
                missing.push(format!("this user lacks the rights {} for {name}", rights.join(", ")));
            }
        }
        if changed.contains(name) && !has(said, row, 2) {
            missing.push(format!("{name} belongs to another user, who alone can change it"));
        }
    }
    missing
}

/// The relations that are changed when these differences go away.
pub(super) fn changed(differences: &[Difference]) -> BTreeSet<&str> {
    let mut changed = BTreeSet::new();
    for difference in differences {
        match &difference.fix {
            Fix::Run(statements) => changed.extend(statements.iter().filter_map(|statement| altered(statement))),
            Fix::Long { statement, .. } => changed.extend(altered(statement)),
            Fix::Views(names) => changed.extend(names),
            Fix::Rebuild | Fix::Refused => {}
        }
    }
    changed
}

/// The table that a statement changes, which is there already or is made by another one.
fn altered(statement: &str) -> Option<&str> {
    let rest = match statement.strip_prefix("CREATE INDEX ") {
        Some(index) => index.split_once(" ON ")?.1,
        None => statement.strip_prefix("ALTER TABLE ")?,
    };
    rest.split(' ').next()
}
