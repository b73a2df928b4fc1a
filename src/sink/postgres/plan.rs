//! What has to change before tables and views are as they should be. Columns are added, and views are made anew; what holds
//! rows of another form is refused. A sink needs the tables only: it goes on beside views of any version.

use super::connection::{Database, Said};
use super::dialect::{Dialect, literal, quoted};
use super::sql::{self, View, views};
use super::tables::{Table, definition, tables};
use crate::sink::TargetError;
use std::collections::BTreeMap;
use std::fmt;

/// How a difference goes away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fix {
    /// These statements make it go away and lose no row.
    Run(Vec<String>),
    /// These views are made.
    Views(Vec<&'static str>),
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
    SELECT c.relname, c.relkind, t.description, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, {has_default},
           {key_place}
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_description t ON t.objoid = c.oid AND t.classoid = 'pg_class'::regclass AND t.objsubid = 0
    {keys}
    WHERE n.nspname = $1 AND c.relkind NOT IN ('i', 'I', 't') AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY 1, 8";

impl Database {
    /// Every difference between the tables and views, and what they should be. In the order in which they have to go away.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn differences(&mut self) -> Result<Vec<Difference>, TargetError> {
        let (mut differences, found) = self.compared()?;
        differences.extend(of_views(&found, self.dialect));
        Ok(differences)
    }

    /// Those of the tables alone.
    ///
    /// # Errors
    /// The same.
    pub(super) fn differences_of_tables(&mut self) -> Result<Vec<Difference>, TargetError> {
        self.compared().map(|(differences, _)| differences)
    }

    fn compared(&mut self) -> Result<(Vec<Difference>, BTreeMap<String, Found>), TargetError> {
        let (schema, dialect) = (self.schema.clone(), self.dialect);
        if dialect == Dialect::Postgres {
            let version = self.say("SELECT current_setting('server_version_num')")?;
            if version.number(0, 0).is_none_or(|version| version < 150_000) {
                let why = "the database is older than PostgreSQL 15, which is needed".to_owned();
                return Err(TargetError::Operator(why));
            }
        }
        let named = literal(&schema);
        let is_there = self.say(&format!("SELECT nspname FROM pg_namespace WHERE nspname = {named}"))?;
        let mut differences = Vec::new();
        if is_there.rows.is_empty() {
            let run = vec![format!("CREATE SCHEMA {}", quoted(&schema))];
            differences.push(Difference { what: format!("create schema {schema}"), fix: Fix::Run(run) });
        }
        let found = look(&self.say(&dialect.say(LOOK).replace("$1", &named))?);
        for table in tables(dialect) {
            differences.extend(of_table(&table, found.get(table.name), dialect));
        }
        Ok((differences, found))
    }

    /// Makes the differences go away, all of them or none.
    ///
    /// # Errors
    /// [`TargetError::Operator`] when one of them is refused, or something of others is in the way. Then nothing was changed,
    /// once the connection has ended.
    pub fn apply(&mut self, differences: &[Difference]) -> Result<(), TargetError> {
        self.say("BEGIN")?;
        for difference in differences {
            match &difference.fix {
                Fix::Run(statements) => statements.iter().try_for_each(|statement| self.say(statement).map(drop))?,
                Fix::Views(names) => self.make_views(names)?,
                Fix::Refused => return Err(TargetError::Operator(difference.what.clone())),
            }
        }
        self.say("COMMIT").map(drop)
    }
}

fn look(said: &Said) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::<String, Found>::new();
    for row in 0..said.rows.len() {
        let text = |column: usize| said.text(row, column).unwrap_or_default().to_owned();
        let truth = |column: usize| said.text(row, column) == Some("t");
        let relation = found.entry(text(0)).or_default();
        (relation.kind, relation.comment) = (text(1), said.text(row, 2).map(str::to_owned));
        if said.text(row, 7).is_some() {
            relation.key.push(text(3));
        }
        let column = FoundColumn { of: text(4), is_not_null: truth(5), has_default: truth(6) };
        relation.columns.insert(text(3), column);
    }
    found
}

fn of_table(table: &Table, found: Option<&Found>, dialect: Dialect) -> Vec<Difference> {
    let name = table.name;
    let refused = |what: String| Difference { what, fix: Fix::Refused };
    let Some(found) = found else {
        let columns: Vec<String> = table.columns.iter().map(|column| definition(column, dialect)).collect();
        let (end, more) = dialect.end_of_table(name, table.key);
        let mut run = vec![format!("CREATE TABLE {name} (\n    {}{end}", columns.join(",\n    "))];
        run.extend(more.into_iter().map(str::to_owned));
        return vec![Difference { what: format!("create table {name}"), fix: Fix::Run(run) }];
    };
    if !matches!(&*found.kind, "r" | "p") {
        return vec![refused(format!("{name} is there and is no table"))];
    }
    let mut differences = Vec::new();
    if dialect == Dialect::Postgres && found.key != table.key {
        let has = if found.key.is_empty() { "none".to_owned() } else { found.key.join(", ") };
        differences.push(refused(format!("{name} has the primary key {has}, not {}", table.key.join(", "))));
    }
    for column in &table.columns {
        let (column_name, of) = (&column.name, dialect.type_of(column.kind));
        match found.columns.get(column_name) {
            None if column.is_always => differences.push(refused(format!("{name} has no column {column_name}"))),
            None => {
                let run = vec![format!("ALTER TABLE {name} ADD COLUMN {}", definition(column, dialect))];
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

/// Views hold no rows: those that are not as they should be are made anew.
fn of_views(found: &BTreeMap<String, Found>, dialect: Dialect) -> Option<Difference> {
    let views = views(dialect);
    let is_table = views.iter().find(|view| found.get(view.name).is_some_and(|found| found.kind != "v"));
    if let Some(view) = is_table {
        return Some(Difference { what: format!("{} is there and is no view", view.name), fix: Fix::Refused });
    }
    let is_as_it_should_be =
        |view: &&View| found.get(view.name).is_some_and(|found| found.comment == Some(sql::mark(view, dialect)));
    let wrong: Vec<&str> = views.iter().filter(|view| !is_as_it_should_be(view)).map(|view| view.name).collect();
    let what = format!("create views: {}", wrong.join(", "));
    (!wrong.is_empty()).then_some(Difference { what, fix: Fix::Views(wrong) })
}
