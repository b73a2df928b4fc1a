//! What the user of the sink may do in PostgreSQL. A right that is missing would stop the first batch, or the first statement
//! that makes a table.

use super::connection::Database;
use super::dialect::literal;
use super::plan::{Difference, Fix};
use super::tables::tables;
use crate::sink::TargetError;
use std::collections::BTreeSet;

/// Of each relation the rights that this user has not, and whether it belongs to him.
const RIGHTS: &str = "
    SELECT c.relname, c.relkind IN ('r', 'p'),
           (SELECT string_agg(r, ', ') FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) r WHERE NOT has_table_privilege(c.oid, r)
               AND (r <> 'UPDATE' OR c.relname NOT IN ('events', 'sink_set_aside', 'sink_log'))),
           pg_has_role(c.relowner, 'USAGE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') ORDER BY 1";
/// Whether this user may look for names in the schema, and make some; of a schema that is not there, whether he may make it.
const SCHEMA: &str = "
    SELECT has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1
    UNION ALL SELECT true, has_database_privilege(current_database(), 'CREATE')
    WHERE NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)";
/// Whether the database takes writes at all.
const READ_ONLY: &str = "SELECT current_setting('transaction_read_only')";

impl Database {
    /// The rights that are missing to make these differences go away, and to write.
    pub(super) fn missing_rights(&mut self, differences: &[Difference]) -> Result<Vec<Difference>, TargetError> {
        let named = literal(&self.schema);
        let mut missing = Vec::new();
        if self.say(READ_ONLY)?.text(0, 0) == Some("on") {
            missing.push(
                "the database takes no writes: it is a standby, or default_transaction_read_only is on".to_owned(),
            );
        }
        let rights = self.say(&SCHEMA.replace("$1", &named))?;
        let is_changed = differences.iter().any(|difference| matches!(difference.fix, Fix::Run(_) | Fix::Views(_)));
        for (column, right, is_needed) in [(0, "USAGE", true), (1, "CREATE", is_changed)] {
            if is_needed && rights.text(0, column) != Some("t") {
                missing.push(format!("this user lacks the right {right} for the schema {}", self.schema));
            }
        }
        let changed = changed(differences);
        let said = self.say(&RIGHTS.replace("$1", &named))?;
        for row in 0..said.rows.len() {
            let name = said.text(row, 0).unwrap_or_default();
            let is_table = said.text(row, 1) == Some("t");
            let is_known = tables(self.dialect).iter().any(|table| table.name == name);
            if let Some(rights) = said.text(row, 2).filter(|_| is_table && is_known) {
                missing.push(format!("this user lacks the rights {rights} for {name}"));
            }
            if changed.contains(name) && said.text(row, 3) != Some("t") {
                missing.push(format!("{name} belongs to another user, who alone can change it"));
            }
        }
        Ok(missing.into_iter().map(|what| Difference { what, fix: Fix::Refused }).collect())
    }
}

/// The relations that are changed when these differences go away.
fn changed(differences: &[Difference]) -> BTreeSet<&str> {
    let mut changed = BTreeSet::new();
    for difference in differences {
        match &difference.fix {
            Fix::Run(statements) => {
                let altered = statements.iter().filter_map(|statement| statement.strip_prefix("ALTER TABLE "));
                changed.extend(altered.filter_map(|rest| rest.split(' ').next()));
            }
            Fix::Views(names) => changed.extend(names),
            Fix::Rebuild | Fix::Refused => {}
        }
    }
    changed
}
