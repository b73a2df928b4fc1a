//! What has to change before the tables are as they should be. Columns are added, and views are made anew; what holds rows
//! of another form is refused.

use super::connection::{Database, Trouble, quoted};
use super::sql::{self, VIEWS};
use super::tables::{Table, definition, tables, type_of};
use crate::sink::TargetError;
use std::collections::BTreeMap;
use std::fmt;
use tokio_postgres::Client;

/// How a difference goes away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fix {
    /// This statement makes it go away and loses no row.
    Run(String),
    /// Somebody has to decide what becomes of the rows.
    Refused,
}

/// One thing that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What differs, in words.
    pub what: String,
    /// How it goes away.
    pub fix: Fix,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = if self.fix == Fix::Refused { "refused: " } else { "" };
        write!(f, "{refused}{}", self.what)
    }
}

/// A relation as the database has it.
#[derive(Default)]
struct Found {
    /// `r` and `p` are tables, `v` is a view.
    kind: String,
    comment: Option<String>,
    columns: BTreeMap<String, FoundColumn>,
    key: Vec<String>,
}

struct FoundColumn {
    of: String,
    is_not_null: bool,
    has_default: bool,
}

/// Relations and their columns. A key column has its place in the primary key, from 1.
const LOOK: &str = "
    SELECT c.relname::text, c.relkind::text, obj_description(c.oid, 'pg_class'), a.attname::text,
           format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef OR a.attidentity <> '',
           array_position(i.indkey::int2[], a.attnum)
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE n.nspname = $1 AND c.relkind NOT IN ('i', 'I', 't') AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, array_position(i.indkey::int2[], a.attnum)";

impl Database {
    /// Every difference between the tables and views, and what they should be. In the order in which they have to go away.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn differences(&mut self) -> Result<Vec<Difference>, TargetError> {
        let schema = self.schema.clone();
        self.run(async |client| {
            let version = client.query_one("SELECT current_setting('server_version_num')::int", &[]).await?;
            let version: i32 = version.get(0);
            if version < 150_000 {
                return Err(Trouble::Operator("the database is older than PostgreSQL 15, which is needed".to_owned()));
            }
            let is_there = client.query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[&schema]).await?;
            let mut differences = Vec::new();
            if is_there.is_none() {
                let run = format!("CREATE SCHEMA {}", quoted(&schema));
                differences.push(Difference { what: format!("create schema {schema}"), fix: Fix::Run(run) });
            }
            let found = look(client, &schema).await?;
            for table in tables() {
                differences.extend(of_table(&table, found.get(table.name)));
            }
            differences.extend(of_views(&found));
            Ok(differences)
        })
    }

    /// Makes the differences go away, all of them or none.
    ///
    /// # Errors
    /// [`TargetError::Operator`] when one of them is refused; then nothing was changed.
    pub fn apply(&mut self, differences: &[Difference]) -> Result<(), TargetError> {
        let mut statements = Vec::new();
        for difference in differences {
            match &difference.fix {
                Fix::Run(statement) => statements.push(statement.as_str()),
                Fix::Refused => return Err(TargetError::Operator(difference.what.clone())),
            }
        }
        let statements = statements.join(";\n");
        self.run(async |client| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(&statements).await?;
            Ok(transaction.commit().await?)
        })
    }
}

async fn look(client: &Client, schema: &str) -> Result<BTreeMap<String, Found>, Trouble> {
    let mut found = BTreeMap::<String, Found>::new();
    for row in client.query(LOOK, &[&schema]).await? {
        let relation = found.entry(row.get(0)).or_default();
        (relation.kind, relation.comment) = (row.get(1), row.get(2));
        let (name, place): (String, Option<i32>) = (row.get(3), row.get(7));
        if place.is_some() {
            relation.key.push(name.clone());
        }
        let column = FoundColumn { of: row.get(4), is_not_null: row.get(5), has_default: row.get(6) };
        relation.columns.insert(name, column);
    }
    Ok(found)
}

fn of_table(table: &Table, found: Option<&Found>) -> Vec<Difference> {
    let name = table.name;
    let refused = |what: String| Difference { what, fix: Fix::Refused };
    let Some(found) = found else {
        let mut parts: Vec<String> = table.columns.iter().map(definition).collect();
        parts.push(format!("PRIMARY KEY ({})", table.key.join(", ")));
        let mut run = format!("CREATE TABLE {name} (\n    {}\n)", parts.join(",\n    "));
        if let Some(index) = sql::index_of(name) {
            run.push_str(&format!(";\n{index}"));
        }
        return vec![Difference { what: format!("create table {name}"), fix: Fix::Run(run) }];
    };
    if !matches!(&*found.kind, "r" | "p") {
        return vec![refused(format!("{name} is there and is no table"))];
    }
    let mut differences = Vec::new();
    if found.key != table.key {
        let has = if found.key.is_empty() { "none".to_owned() } else { found.key.join(", ") };
        differences.push(refused(format!("{name} has the primary key {has}, not {}", table.key.join(", "))));
    }
    for column in &table.columns {
        let (column_name, of) = (&column.name, type_of(column.kind));
        match found.columns.get(column_name) {
            None if column.is_always => differences.push(refused(format!("{name} has no column {column_name}"))),
            None => {
                let run = format!("ALTER TABLE {name} ADD COLUMN {}", definition(column));
                differences
                    .push(Difference { what: format!("add column {name}.{column_name}, {of}"), fix: Fix::Run(run) });
            }
            Some(is) if is.of != of => {
                differences.push(refused(format!("{name}.{column_name} has the type {}, not {of}", is.of)));
            }
            Some(is) if is.is_not_null && !column.is_always => {
                differences.push(refused(format!("{name}.{column_name} does not take null")));
            }
            Some(_) => {}
        }
    }
    let is_known = |column: &String| table.columns.iter().any(|known| known.name == *column);
    for (column, is) in found.columns.iter().filter(|(column, _)| !is_known(column)) {
        // A newer version may have added it. As long as it needs no value, nothing is lost.
        if is.is_not_null && !is.has_default {
            differences.push(refused(format!("{name}.{column} is not known here, and needs a value")));
        }
    }
    differences
}

/// Views hold no rows: when one is not as it should be, all are made anew, because they use each other.
fn of_views(found: &BTreeMap<String, Found>) -> Option<Difference> {
    let is_table = VIEWS.iter().find(|view| found.get(view.name).is_some_and(|found| found.kind != "v"));
    if let Some(view) = is_table {
        return Some(Difference { what: format!("{} is there and is no view", view.name), fix: Fix::Refused });
    }
    let is_as_it_should_be =
        |view: &&sql::View| found.get(view.name).is_some_and(|found| found.comment == Some(sql::mark(view)));
    let wrong: Vec<&str> = VIEWS.iter().filter(|view| !is_as_it_should_be(view)).map(|view| view.name).collect();
    if wrong.is_empty() {
        return None;
    }
    let drops = VIEWS.iter().rev().map(|view| format!("DROP VIEW IF EXISTS {}", view.name));
    let creates = VIEWS.iter().map(sql::create);
    let run = drops.chain(creates).collect::<Vec<_>>().join(";\n");
    Some(Difference { what: format!("create views: {}", wrong.join(", ")), fix: Fix::Run(run) })
}
