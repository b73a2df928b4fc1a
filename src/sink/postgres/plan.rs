//! What has to change before tables and views are as they should be. Columns are added, and views are made anew; what holds
//! rows of another form is refused. A sink needs the tables only: it goes on beside views of any version.

use super::connection::{Database, Said};
use super::dialect::{Dialect, quoted};
use super::sql::{UNITS, View, is_marked, views};
use super::tables::{FOLLOWING, Index, Table, definition, tables};
use super::views::Definitions;
use crate::sink::{COLUMNS, Column, TargetError, is_of_first_tables};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::once;

/// How a difference goes away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fix {
    /// These statements make it go away and lose no row.
    Run(Vec<String>),
    /// This statement reads a whole table that is there, which takes as long as the table is large.
    Long {
        /// What is run.
        statement: String,
        /// Whether others can read the table meanwhile, as while an index is made.
        lets_read: bool,
    },
    /// These views are made.
    Views(Vec<&'static str>),
    /// `headroom sink rebuild` makes it go away, once the others have gone away. Until then sinks go on.
    Rebuild,
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
pub(super) struct Found {
    /// `r` and `p` are tables, `v` is a view.
    kind: String,
    comment: Option<String>,
    pub(super) columns: BTreeMap<String, FoundColumn>,
    key: Vec<String>,
    /// It may be checked at the end of a transaction.
    is_key_deferrable: bool,
}

impl Found {
    pub(super) fn is_table(&self) -> bool {
        matches!(&*self.kind, "r" | "p")
    }
}

pub(super) struct FoundColumn {
    of: String,
    pub(super) is_not_null: bool,
    has_default: bool,
    /// The database makes its values.
    is_made: bool,
}

/// Relations and their columns. A key column has its place in the primary key, from 1.
const LOOK: &str = "
    SELECT c.relname, c.relkind, t.description, a.attname, format_type(a.atttypid, a.atttypmod), {is_not_null}, {has_default},
           {key_place}, {is_made}, {is_key_deferrable}
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_description t ON t.objoid = c.oid AND t.classoid = 'pg_class'::regclass AND t.objsubid = 0
    {keys}
    WHERE n.nspname = $1 AND c.relkind NOT IN ('i', 'I', 't') AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY 1, 8";

/// What somebody has put on a table, or on a part of one, that may add, change, refuse or lose rows; of a part its name too. No
/// such thing is named of a table that is UNLOGGED.
const MEDDLED: &str = "
    WITH ours AS (
        SELECT c.oid AS whole, c.relname, c.oid AS relation FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')
        UNION SELECT c.oid, c.relname, part.relid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            CROSS JOIN LATERAL pg_partition_tree(c.oid) part
        WHERE n.nspname = $1 AND c.relkind = 'p'
    )
    SELECT ours.relname, m.what, CASE WHEN ours.relation <> ours.whole THEN ours.relation::regclass END
    FROM ours JOIN (
        SELECT tgrelid AS relation, 'the trigger ' || tgname AS what, tgparentid <> 0 AS is_of_whole FROM pg_trigger
            WHERE NOT tgisinternal
        UNION ALL SELECT ev_class, 'the rule ' || rulename, false FROM pg_rewrite WHERE ev_type <> '1'
        UNION ALL SELECT i.indrelid, 'the unique index ' || i.indexrelid::regclass, c.relispartition
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisunique AND NOT i.indisprimary
        UNION ALL SELECT conrelid, CASE contype WHEN 'c' THEN 'the check ' WHEN 'f' THEN 'the foreign key '
            ELSE 'the constraint ' END || conname, NOT conislocal FROM pg_constraint WHERE contype IN ('c', 'f', 'x')
        UNION ALL SELECT confrelid, 'the foreign key ' || conname || ' of ' || conrelid::regclass, conparentid <> 0
            FROM pg_constraint WHERE contype = 'f'
        UNION ALL SELECT i.inhparent, 'the child table ' || i.inhrelid::regclass, false
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent WHERE c.relkind = 'r'
        UNION ALL SELECT oid, 'row security for this user', false FROM pg_class WHERE row_security_active(oid)
    ) m ON m.relation = ours.relation AND (ours.relation = ours.whole OR NOT m.is_of_whole)
    UNION ALL SELECT ours.relname, NULL, ours.relation::regclass FROM ours JOIN pg_class c ON c.oid = ours.relation
    WHERE c.relkind = 'r' AND c.relpersistence = 'u'
    ORDER BY 1, 2, 3";

/// Columns whose collation takes some texts that differ for the same.
const COLLATED: &str = "
    SELECT c.relname, a.attname, a.attcollation::regcollation FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_collation o ON o.oid = a.attcollation
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT a.attisdropped AND NOT o.collisdeterministic
    ORDER BY 1, 2";

/// The comment of a table that was made anew beside events that it does not know.
pub(super) const INCOMPLETE: &str = "incomplete until headroom sink rebuild has made it anew from events";

impl Database {
    /// Every difference between the tables and views, and what they should be. In the order in which they have to go away.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn differences(&mut self) -> Result<Vec<Difference>, TargetError> {
        let (mut differences, found) = self.compared()?;
        differences.extend(of_views(&found, &self.definitions()?, self.dialect));
        let loosened = self.loosened(&found)?;
        differences.extend(self.missing_rights(&[&differences[..], &loosened].concat(), &BTreeSet::new())?);
        differences.extend(self.in_the_way(&differences)?);
        differences.extend(loosened);
        differences.extend(self.unfinished()?);
        Ok(differences)
    }

    /// What others have made of views that keeps these differences from going away. Only the database knows, so where there is
    /// any such thing it is tried, in a transaction that is taken back.
    fn in_the_way(&mut self, differences: &[Difference]) -> Result<Option<Difference>, TargetError> {
        let is_refused = |difference: &Difference| difference.fix == Fix::Refused;
        let has_views = differences.iter().any(|difference| matches!(difference.fix, Fix::Views(_)));
        if !has_views || differences.iter().any(is_refused) || !self.is_used_by_others()? {
            return Ok(None);
        }
        match self.change(differences, "ROLLBACK") {
            Ok(()) => Ok(None),
            Err(TargetError::Operator(what)) => Ok(Some(Difference { what, fix: Fix::Refused })),
            Err(error) => Err(error),
        }
    }

    /// Those of the tables alone.
    ///
    /// # Errors
    /// [`TargetError`] when the database does not say what it has.
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
        self.check_texts()?;
        let named = dialect.literal(&schema);
        let is_there = self.say(&format!("SELECT nspname FROM pg_namespace WHERE nspname = {named}"))?;
        let mut differences = Vec::new();
        if is_there.rows.is_empty() {
            let run = vec![format!("CREATE SCHEMA {}", quoted(&schema))];
            differences.push(Difference { what: format!("create schema {schema}"), fix: Fix::Run(run) });
        }
        let found = look(&self.say(&dialect.say(LOOK).replace("$1", &named))?);
        let written = self.written_into(&found)?;
        for table in tables(dialect) {
            differences.extend(of_table(&table, &found, &written, dialect));
        }
        if dialect == Dialect::Postgres {
            differences.extend(meddled(&self.say(&MEDDLED.replace("$1", &named))?));
            differences.extend(collated(&self.say(&COLLATED.replace("$1", &named))?));
        }
        Ok((differences, found))
    }

    /// Whether the database keeps apart whatever texts differ.
    fn check_texts(&mut self) -> Result<(), TargetError> {
        let (asked, right, advice) = match self.dialect {
            Dialect::Postgres => ("SELECT current_setting('server_encoding')", "UTF8", "ENCODING 'UTF8'"),
            Dialect::Redshift => ("SELECT db_collation()", "case_sensitive", "COLLATE CASE_SENSITIVE"),
        };
        match self.say(asked)?.text(0, 0) {
            Some(found) if found != right => {
                let why = format!(
                    "the database takes texts as {found}, which are not all that events have: make one with {advice}"
                );
                Err(TargetError::Operator(why))
            }
            _ => Ok(()),
        }
    }

    /// Tables that have rows although another one that belongs to them, or a column of one, is gone.
    fn written_into(&mut self, found: &BTreeMap<String, Found>) -> Result<Vec<&'static str>, TargetError> {
        let is_table = |name: &str| found.get(name).is_some_and(Found::is_table);
        let is_whole =
            |table: &Table| is_table(table.name) && table.columns.iter().all(|column| has(found, table.name, column));
        let mut written = Vec::new();
        if tables(self.dialect).iter().all(is_whole) {
            return Ok(written);
        }
        for (name, asked) in [
            ("events", "SELECT 1 FROM events LIMIT 1"),
            ("sink_positions", "SELECT 1 FROM sink_positions WHERE row_count > 0 LIMIT 1"),
        ] {
            if is_table(name) && !self.say(asked)?.rows.is_empty() {
                written.push(name);
            }
        }
        Ok(written)
    }

    /// What is incomplete until a rebuild.
    ///
    /// # Errors
    /// [`TargetError`] when the database does not say what it has.
    pub fn incomplete(&mut self) -> Result<Vec<Difference>, TargetError> {
        let mut differences = self.differences_of_tables()?;
        differences.retain(|difference| difference.fix == Fix::Rebuild);
        Ok(differences)
    }

    /// The tables that say of themselves that they are incomplete.
    pub(super) fn marked(&mut self) -> Result<BTreeSet<&'static str>, TargetError> {
        let (_, found) = self.compared()?;
        let is_marked = |name: &&str| found.get(*name).is_some_and(|is| is.comment.as_deref() == Some(INCOMPLETE));
        Ok(FOLLOWING.iter().copied().filter(is_marked).collect())
    }

    /// Notes that the tables that follow from the events are complete.
    pub(super) fn note_complete(&mut self) -> Result<(), TargetError> {
        let marked = self.marked()?;
        marked.iter().try_for_each(|name| self.say(&format!("COMMENT ON TABLE {name} IS NULL")).map(drop))
    }
}

fn look(said: &Said) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::<String, Found>::new();
    for row in 0..said.rows.len() {
        let text = |column: usize| said.text(row, column).unwrap_or_default().to_owned();
        let truth = |column: usize| said.text(row, column) == Some("t");
        let relation = found.entry(text(0)).or_default();
        (relation.kind, relation.comment) = (text(1), said.text(row, 2).map(str::to_owned));
        relation.is_key_deferrable = truth(9);
        if said.text(row, 7).is_some() {
            relation.key.push(text(3));
        }
        let column = FoundColumn { of: text(4), is_not_null: truth(5), has_default: truth(6), is_made: truth(8) };
        relation.columns.insert(text(3), column);
    }
    found
}

fn meddled(said: &Said) -> Vec<Difference> {
    let known = tables(Dialect::Postgres);
    let mut differences = Vec::new();
    for row in 0..said.rows.len() {
        let Some(table) = known.iter().find(|table| Some(table.name) == said.text(row, 0)) else { continue };
        let name = table.name;
        let part = said.text(row, 2);
        let what = match said.text(row, 1) {
            Some(what) => {
                let of_part = part.map_or(String::new(), |part| format!(" of its part {part}"));
                format!("{name} has {what}{of_part}, which may add, change or refuse rows: drop it")
            }
            None => {
                let table = part.unwrap_or(name);
                format!("{table} is UNLOGGED and may lose its rows: ALTER TABLE {table} SET LOGGED")
            }
        };
        differences.push(Difference { what, fix: Fix::Refused });
    }
    differences
}

/// In such a column of a key one row takes the place of another. Columns of no key say what a caller said, however it is compared.
fn collated(said: &Said) -> Vec<Difference> {
    let known = tables(Dialect::Postgres);
    let text = |row: usize, column: usize| said.text(row, column).unwrap_or_default();
    let is_of_key = |row: &usize| {
        let is_one = |table: &Table| table.name == text(*row, 0) && table.key.contains(&text(*row, 1));
        known.iter().any(is_one)
    };
    let refused = |row: usize| {
        let (table, column, collation) = (text(row, 0), text(row, 1), text(row, 2));
        let what = format!(
            "{table}.{column} has the collation {collation}, which takes texts that differ for the same: drop the views over \
             it, which apply makes anew, then ALTER TABLE {table} ALTER COLUMN {column} TYPE text COLLATE \"default\", and run \
             headroom sink apply and headroom sink rebuild"
        );
        Difference { what, fix: Fix::Refused }
    };
    (0..said.rows.len()).filter(is_of_key).map(refused).collect()
}

fn has(found: &BTreeMap<String, Found>, table: &str, column: &Column) -> bool {
    found.get(table).is_some_and(|found| found.columns.contains_key(&column.name))
}

/// Whether it is a column of the events that has still to be added to them.
fn is_new_in_events(found: &BTreeMap<String, Found>, column: &Column) -> bool {
    COLUMNS.iter().any(|of_events| of_events.name == column.name) && !has(found, "events", column)
}

/// Whether a table has had this column from its first version on, and nothing makes its values anew.
fn cannot_be_new(table: &str, column: &str) -> bool {
    match table {
        "events" => is_of_first_tables(column),
        UNITS => true,
        _ => false,
    }
}

fn note_incomplete(table: &str, dialect: Dialect) -> String {
    format!("COMMENT ON TABLE {table} IS {}", dialect.literal(INCOMPLETE))
}

fn of_table(table: &Table, all: &BTreeMap<String, Found>, written: &[&str], dialect: Dialect) -> Vec<Difference> {
    let name = table.name;
    let refused = |what: String| Difference { what, fix: Fix::Refused };
    let incomplete = || Difference { what: format!("{name} is {INCOMPLETE}"), fix: Fix::Rebuild };
    // What it has to say is in the events already.
    let lacks_rows = FOLLOWING.contains(&name) && !written.is_empty();
    let has_rows = |other: &str| written.contains(&other);
    let Some(found) = all.get(name) else {
        let cannot_follow = match name {
            "events" => has_rows("sink_positions"),
            "sink_positions" => has_rows("events"),
            UNITS => has_rows("events"),
            _ => false,
        };
        if cannot_follow {
            return vec![refused(format!("{name} is gone, and rows were written: begin anew in another sink_schema"))];
        }
        let columns: Vec<String> = table.columns.iter().map(|column| definition(column, dialect)).collect();
        let end = dialect.end_of_table(name, table.key);
        let mut run = vec![format!("CREATE TABLE {name} (\n    {}{end}", columns.join(",\n    "))];
        run.extend(Index::all(dialect).filter(|index| index.table == name).map(Index::statement));
        run.extend(lacks_rows.then(|| note_incomplete(name, dialect)));
        let create = Difference { what: format!("create table {name}"), fix: Fix::Run(run) };
        return once(create).chain(lacks_rows.then(incomplete)).collect();
    };
    if !found.is_table() {
        return vec![refused(format!("{name} is there and is no table"))];
    }
    let mut differences = Vec::new();
    let mut is_incomplete = FOLLOWING.contains(&name) && found.comment.as_deref() == Some(INCOMPLETE);
    if dialect == Dialect::Postgres {
        differences.extend(of_key(table, found));
    }
    for column in &table.columns {
        let (column_name, of) = (&column.name, dialect.type_of_column(column));
        match found.columns.get(column_name) {
            None if has_rows("events") && cannot_be_new(name, column_name) => differences.push(refused(format!(
                "{name} has no column {column_name}, and its rows had values in it: begin anew in another sink_schema, or drop \
                 the tables and write all of them anew"
            ))),
            None if column.is_always => differences.push(refused(format!("{name} has no column {column_name}"))),
            None => {
                let mut run = vec![format!("ALTER TABLE {name} ADD COLUMN {}", definition(column, dialect))];
                // What is new in the events too was never in one.
                if lacks_rows && !is_new_in_events(all, column) {
                    run.push(note_incomplete(name, dialect));
                    is_incomplete = true;
                }
                differences
                    .push(Difference { what: format!("add column {name}.{column_name}, {of}"), fix: Fix::Run(run) });
            }
            Some(is) => differences.extend(of_column((name, column), is, dialect)),
        }
    }
    let is_known = |column: &String| table.columns.iter().any(|known| known.name == *column);
    for (column, is) in found.columns.iter().filter(|(column, _)| !is_known(column)) {
        // A newer version may have added it. As long as it needs no value, nothing is lost.
        if is.is_not_null && !is.has_default {
            differences.push(refused(format!("{name}.{column} is not known here, and needs a value")));
        }
    }
    differences.extend(is_incomplete.then(incomplete));
    differences
}

/// What differs in the key of a table that is there. A sink replaces rows by it, which one that may be checked later cannot do.
fn of_key(table: &Table, found: &Found) -> Option<Difference> {
    let name = table.name;
    let what = if found.key == table.key {
        if !found.is_key_deferrable {
            return None;
        }
        format!("{name} has a primary key that is DEFERRABLE, by which no row is replaced: make it anew without that")
    } else {
        let has = if found.key.is_empty() { "none".to_owned() } else { found.key.join(", ") };
        format!("{name} has the primary key {has}, not {}", table.key.join(", "))
    };
    Some(Difference { what, fix: Fix::Refused })
}

/// What differs in a column that is there.
fn of_column((table, column): (&str, &Column), is: &FoundColumn, dialect: Dialect) -> Vec<Difference> {
    let (name, of) = (format!("{table}.{}", column.name), dialect.type_of_column(column));
    let mut differences = Vec::new();
    let mut refuse = |what: String| differences.push(Difference { what, fix: Fix::Refused });
    if is.of != of {
        refuse(format!("{name} has the type {}, not {of}", is.of));
    }
    if is.is_not_null && !column.is_always {
        refuse(format!("{name} does not take null"));
    }
    // It would fill in what a statement leaves out.
    match (is.has_default, dialect) {
        (true, _) if is.is_made => refuse(format!("{name} has values that the database makes")),
        (true, Dialect::Redshift) => refuse(format!("{name} has a default, which may change rows")),
        (true, Dialect::Postgres) => {
            let run = vec![format!("ALTER TABLE {table} ALTER COLUMN {} DROP DEFAULT", quoted(&column.name))];
            differences.push(Difference { what: format!("drop the default of {name}"), fix: Fix::Run(run) });
        }
        (false, _) => {}
    }
    differences
}

/// Views hold no rows: those of ours that are not as they should be are made anew. A later version may take a name for which others
/// have a view by then.
fn of_views(found: &BTreeMap<String, Found>, definitions: &Definitions, dialect: Dialect) -> Vec<Difference> {
    let views = views(dialect);
    let in_the_way = |view: &View| {
        let (name, is) = (view.name, found.get(view.name)?);
        let what = match (&*is.kind, is.comment.as_deref().is_some_and(is_marked)) {
            ("v", true) => return None,
            ("v", false) => format!(
                "{name} is a view without the comment that headroom sink apply gives: rename it, or drop it and apply makes ours"
            ),
            _ => format!("{name} is there and is no view"),
        };
        Some(Difference { what, fix: Fix::Refused })
    };
    let refused: Vec<Difference> = views.iter().filter_map(in_the_way).collect();
    if !refused.is_empty() {
        return refused;
    }
    let is_as_it_should_be =
        |view: &&View| found.get(view.name).is_some_and(|found| found.comment == Some(definitions.mark(view, dialect)));
    let wrong: Vec<&str> = views.iter().filter(|view| !is_as_it_should_be(view)).map(|view| view.name).collect();
    let what = format!("create views: {}", wrong.join(", "));
    if wrong.is_empty() { Vec::new() } else { vec![Difference { what, fix: Fix::Views(wrong) }] }
}
