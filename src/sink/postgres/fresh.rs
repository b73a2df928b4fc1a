//! Empty tables beside those that are served, for a rebuild: in a schema of their own, under the same names, and with everything that
//! others have made of the served ones. What cannot be made again is named before anything begins.

use super::connection::Database;
use super::dialect::{Dialect, quoted};
use super::plan::{Difference, Fix, INCOMPLETE};
use super::tables::{FOLLOWING, tables};
use crate::sink::TargetError;

/// What the schema of fresh tables is called behind the name of the served one.
const SUFFIX: &str = "_rebuild";
/// The longest name that PostgreSQL allows, in bytes: it cuts off what is longer.
const NAME_BYTES_MAX: usize = 63;
/// The comment of that schema, by which it is known as ours.
const MARK: &str = "tables that headroom sink rebuild is filling";

const FORM: &str = include_str!("sql/form_of_table.sql");
const NOT_CARRIED: &str = include_str!("sql/not_carried.sql");

/// The comment of a schema.
const COMMENT: &str = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1";
/// What takes from fresh tables the rights that default privileges have given, one statement a row.
const UNGRANT: &str = "
    SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', c.oid::regclass,
                           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE n.nspname = $1 AND c.relkind = 'r' AND a.grantee <> c.relowner";
/// Who owns the served tables, quoted. Each of them may make tables in the schema of the fresh ones: a table goes to no other owner.
const OWNERS: &str = "
    SELECT DISTINCT quote_ident(pg_get_userbyid(c.relowner)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname IN ({tables}) ORDER BY 1";

impl Database {
    /// The name of the schema of fresh tables.
    pub(super) fn fresh_schema(&self) -> String {
        format!("{}{SUFFIX}", self.schema)
    }

    /// Tables are looked for in these schemas, in this order, until the transaction ends, or for good.
    pub(super) fn look_in(&mut self, word: &str, schemas: &[&str]) -> Result<(), TargetError> {
        let names: Vec<String> = schemas.iter().map(|schema| quoted(schema)).collect();
        self.say(&format!("SET {word} search_path TO {}", names.join(", "))).map(drop)
    }

    /// What the statement returns, one text a row.
    pub(super) fn texts(&mut self, statement: &str) -> Result<Vec<String>, TargetError> {
        let said = self.say(statement)?;
        Ok((0..said.rows.len()).filter_map(|row| said.text(row, 0)).map(str::to_owned).collect())
    }

    /// Refuses what a rebuild beside the served tables would lose, or may not make again.
    pub(super) fn check_carried(&mut self) -> Result<(), TargetError> {
        let dialect = self.dialect;
        let names: Vec<String> = FOLLOWING.iter().map(|table| dialect.literal(table)).collect();
        let ours = tables(dialect).into_iter().filter(|table| FOLLOWING.contains(&table.name));
        let known = ours.flat_map(|table| {
            let pair = move |column: String| format!("({}, {})", dialect.literal(table.name), dialect.literal(&column));
            table.columns.into_iter().map(move |column| pair(column.name))
        });
        let known: Vec<String> = known.collect();
        let asked = dialect.say(NOT_CARRIED).replace("$1", &dialect.literal(&self.schema));
        let asked = asked.replace("{tables}", &names.join(", ")).replace("{known}", &known.join(", "));
        let mut lost = self.texts(&asked)?;
        if self.fresh_schema().len() > NAME_BYTES_MAX {
            lost.push(format!("the name {} is too long for a schema", self.fresh_schema()));
        }
        if lost.is_empty() {
            return Ok(());
        }
        Err(TargetError::Operator(format!(
            "a rebuild puts new tables in the place of these, and cannot do that: {}. Change it, or run headroom sink rebuild \
             --in-place, which keeps the tables and lets sinks wait until it is done",
            lost.join("; ")
        )))
    }

    /// The statements that make the fresh tables what the served ones are. Tables are looked for in the served schema alone.
    pub(super) fn form(&mut self) -> Result<Vec<String>, TargetError> {
        let (mut form, dialect) = (Vec::new(), self.dialect);
        for table in FOLLOWING {
            let asked = dialect.say(FORM).replace("$1", &dialect.literal(&self.schema));
            let asked = asked.replace("$2", &dialect.literal(table)).replace("$3", &dialect.literal(INCOMPLETE));
            form.extend(self.texts(&asked)?);
            form.extend(self.grants(table)?);
        }
        Ok(form)
    }

    /// Makes empty tables in a schema of their own, and looks for tables there first from now on. What an earlier rebuild has left
    /// goes away. Returns the form of the served tables.
    pub(super) fn make_fresh(&mut self) -> Result<Vec<String>, TargetError> {
        let (served, fresh) = (self.schema.clone(), self.fresh_schema());
        let form = self.form()?;
        let tables: Vec<String> = FOLLOWING.iter().map(|table| self.dialect.literal(table)).collect();
        let owners = OWNERS.replace("$1", &self.dialect.literal(&served)).replace("{tables}", &tables.join(", "));
        let (named, owners) = (quoted(&fresh), self.texts(&owners)?);
        self.say("BEGIN")?;
        if let Some(left) = self.left_behind()? {
            self.say(&left)?;
        }
        let owner = owners.first().map_or("CURRENT_USER", String::as_str);
        self.say(&format!("CREATE SCHEMA {named} AUTHORIZATION {owner}"))?;
        for owner in &owners {
            self.say(&format!("GRANT CREATE ON SCHEMA {named} TO {owner}"))?;
        }
        self.say(&format!("COMMENT ON SCHEMA {named} IS {}", self.dialect.literal(MARK)))?;
        for table in FOLLOWING {
            let like = format!("LIKE {}.{table} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS", quoted(&served));
            self.say(&format!("CREATE TABLE {named}.{table} ({like})"))?;
        }
        self.look_in("", &[&fresh, &served])?;
        let granted = self.texts(&UNGRANT.replace("$1", &self.dialect.literal(&fresh)))?;
        granted.iter().chain(&form).try_for_each(|statement| self.say(statement).map(drop))?;
        self.say("COMMIT")?;
        Ok(form)
    }

    /// The statement that drops what a rebuild has left behind that did not end, if there is anything.
    fn left_behind(&mut self) -> Result<Option<String>, TargetError> {
        let fresh = self.fresh_schema();
        let said = self.say(&COMMENT.replace("$1", &self.dialect.literal(&fresh)))?;
        if said.rows.is_empty() {
            return Ok(None);
        }
        if said.text(0, 0) == Some(MARK) {
            return Ok(Some(format!("DROP SCHEMA {} CASCADE", quoted(&fresh))));
        }
        let why = format!("there is a schema {fresh} that is not of headroom sink rebuild: rename it");
        Err(TargetError::Operator(why))
    }

    /// The fresh tables of a rebuild that did not end. None runs while somebody looks at the tables.
    pub(super) fn unfinished(&mut self) -> Result<Option<Difference>, TargetError> {
        if self.dialect == Dialect::Redshift {
            return Ok(None);
        }
        // A schema of others under this name is in the way of a rebuild only.
        let Ok(Some(drop)) = self.left_behind() else { return Ok(None) };
        let what = format!("drop schema {}, which a rebuild has left behind", self.fresh_schema());
        Ok(Some(Difference { what, fix: Fix::Run(vec![drop]) }))
    }
}
