//! Makes views anew and leaves alone what others have made of them: who may read a view and owns it, its options, and their own
//! views over it. A view is replaced as long as the database can do that. Otherwise it is dropped and made with the views of ours
//! that use it, and the rights of all of them are given again.

use super::connection::Database;
use super::dialect::{Dialect, quoted};
use super::sql::{self, View, views};
use crate::sink::TargetError;
use std::collections::BTreeMap;

/// The name of a view that is there for a moment, to see which columns it has.
const PROBE: &str = "sink_new_view";

/// The columns of a relation, in their order.
const COLUMNS: &str = "
    SELECT a.attname, format_type(a.atttypid, a.atttypmod)
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

/// Which views use which relations of the schema.
const USES: &str = "
    SELECT DISTINCT used.relname, own.nspname, c.relname
    FROM pg_namespace n JOIN pg_class used ON used.relnamespace = n.oid
    JOIN pg_depend d ON d.refobjid = used.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace own ON own.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.oid <> used.oid";

/// Whether something else than a view uses a view of the schema, or the type of its rows, such as a function or a table.
const USED_OTHERWISE: &str = "
    SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type y ON y.oid = c.reltype
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                     OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray)
    WHERE n.nspname = $1 AND c.relkind = 'v' AND d.deptype = 'n' AND d.classid <> 'pg_rewrite'::regclass LIMIT 1";

/// The options of the view `$2`, as they stand where it is made. By `security_invoker` row security of tables holds for whoever
/// reads the view, and the database takes away what is not said again. A view of ours has no rows to check.
const OPTIONS: &str = "
    SELECT ' WITH (' || string_agg(o, ', ') || ')'
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL unnest(c.reloptions) o
    WHERE n.nspname = $1 AND c.relname = $2 AND o NOT LIKE 'check_option=%'";
/// Who owns the view `$2`, quoted, if that is another role. It is given to that one again, or not made anew: a view reads with
/// the rights of its owner.
const OWNER: &str = "
    SELECT quote_ident(pg_get_userbyid(c.relowner)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2 AND pg_get_userbyid(c.relowner) <> current_user";

/// What the database says that its views are.
const DEFINITIONS: &str = "
    SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'v'";

/// The definitions of views, as the database has them, by their names.
#[derive(Default)]
pub(super) struct Definitions(BTreeMap<String, String>);

impl Definitions {
    /// The comment of a view that has this definition and is as it should be.
    pub(super) fn mark(&self, view: &View, dialect: Dialect) -> String {
        sql::mark(view, dialect, self.0.get(view.name).map_or("", String::as_str))
    }
}

/// A view that uses another relation.
struct Use {
    used: String,
    schema: String,
    name: String,
}

/// A right to a view: the column that it is for, if it is for one only, who has it, and the statement that gives it.
struct Right {
    column: Option<String>,
    whom: String,
    grant: String,
}

/// What a view has that was dropped and is made anew.
struct Kept {
    options: String,
    owner: Option<String>,
    rights: Vec<Right>,
}

impl Database {
    /// Makes these views as they should be, in the transaction that is open.
    pub(super) fn make_views(&mut self, wrong: &[&str]) -> Result<(), TargetError> {
        let dialect = self.dialect;
        let uses = self.uses()?;
        let mut dropped = BTreeMap::<&str, Kept>::new();
        for view in views(dialect) {
            if !wrong.contains(&view.name) && !dropped.contains_key(view.name) {
                continue;
            }
            if !dropped.contains_key(view.name) && !self.can_be_replaced(&view)? {
                self.drop_view(&view, &uses, &mut dropped)?;
            }
            let kept = dropped.remove(view.name);
            let options = match &kept {
                Some(kept) => kept.options.clone(),
                None => self.options(view.name)?,
            };
            self.say(&format!("CREATE OR REPLACE VIEW {}{options} AS\n{}", view.name, sql::query(&view, dialect)))?;
            let mark = self.definitions()?.mark(&view, dialect);
            self.say(&format!("COMMENT ON VIEW {} IS '{}'", view.name, mark.replace('\'', "''")))?;
            if let Some(kept) = kept {
                self.give_again(view.name, kept)?;
            }
        }
        Ok(())
    }

    /// Gives a view that was made anew to its owner, and the rights that others had to it, no more. In Redshift what default
    /// privileges give stays: nobody has tried there what it tells of them.
    fn give_again(&mut self, name: &str, kept: Kept) -> Result<(), TargetError> {
        if self.dialect == Dialect::Postgres {
            for Right { whom, .. } in self.rights(name)? {
                self.say(&format!("REVOKE ALL ON {name} FROM {whom}"))?;
            }
        }
        if let Some(owner) = kept.owner {
            self.say(&format!("ALTER VIEW {name} OWNER TO {owner}"))?;
        }
        let columns = self.columns(name)?;
        for Right { column, grant, .. } in kept.rights {
            if column.is_none_or(|column| columns.iter().any(|(name, _)| *name == column)) {
                self.say(&grant)?;
            }
        }
        Ok(())
    }

    /// What is to stand behind the name of a view where it is made. Redshift has no such options.
    fn options(&mut self, name: &str) -> Result<String, TargetError> {
        Ok(self.told_of(OPTIONS, name)?.unwrap_or_default())
    }

    /// What PostgreSQL answers to a question of one view; `None` in Redshift.
    fn told_of(&mut self, ask: &str, name: &str) -> Result<Option<String>, TargetError> {
        if self.dialect == Dialect::Redshift {
            return Ok(None);
        }
        let ask = ask.replace("$1", &self.dialect.literal(&self.schema)).replace("$2", &self.dialect.literal(name));
        Ok(self.say(&ask)?.text(0, 0).map(str::to_owned))
    }

    /// The definitions of all views of the schema. Redshift is not asked, because nobody has tried what it says: there a view is
    /// known by its comment alone.
    pub(super) fn definitions(&mut self) -> Result<Definitions, TargetError> {
        if self.dialect == Dialect::Redshift {
            return Ok(Definitions::default());
        }
        let said = self.say(&DEFINITIONS.replace("$1", &self.dialect.literal(&self.schema)))?;
        let text = |row, column| said.text(row, column).unwrap_or_default().to_owned();
        Ok(Definitions((0..said.rows.len()).map(|row| (text(row, 0), text(row, 1))).collect()))
    }

    /// Whether the database can replace a view with its new query, or there is no such view.
    fn can_be_replaced(&mut self, view: &View) -> Result<bool, TargetError> {
        let old = self.columns(view.name)?;
        if old.is_empty() {
            return Ok(true);
        }
        self.say(&format!("CREATE VIEW {PROBE} AS\n{}", sql::query(view, self.dialect)))?;
        let new = self.columns(PROBE)?;
        self.say(&format!("DROP VIEW {PROBE}"))?;
        Ok(match self.dialect {
            Dialect::Postgres => new.starts_with(&old),
            Dialect::Redshift => new == old,
        })
    }

    /// Drops a view and those of ours that use it, and remembers what they had.
    fn drop_view(
        &mut self,
        view: &View,
        uses: &[Use],
        dropped: &mut BTreeMap<&'static str, Kept>,
    ) -> Result<(), TargetError> {
        let mut going = vec![view.name];
        // Each uses only those before it: so every one that goes is there before its users are looked at.
        let all = views(self.dialect);
        for other in all.iter().skip_while(|other| other.name != view.name).skip(1) {
            let is_user = |one: &&Use| one.name == other.name && one.schema == self.schema;
            if uses.iter().filter(is_user).any(|one| going.contains(&&*one.used)) && !dropped.contains_key(other.name) {
                going.push(other.name);
            }
        }
        if let Some(Use { used, schema, name }) =
            uses.iter().find(|one| going.contains(&&*one.used) && !self.is_ours(one))
        {
            return Err(TargetError::Operator(format!(
                "{schema}.{name} uses the view {used}, whose columns change. Keep its text (pg_get_viewdef), drop it, run \
                 headroom sink apply, and make it anew"
            )));
        }
        for name in going.into_iter().rev() {
            let (options, owner) = (self.options(name)?, self.told_of(OWNER, name)?);
            dropped.insert(name, Kept { options, owner, rights: self.rights(name)? });
            self.say(&format!("DROP VIEW {name}"))?;
        }
        Ok(())
    }

    fn is_ours(&self, one: &Use) -> bool {
        one.schema == self.schema && views(self.dialect).iter().any(|view| view.name == one.name)
    }

    /// Whether views of others use tables or views of ours, or something else of others uses a view.
    pub(super) fn is_used_by_others(&mut self) -> Result<bool, TargetError> {
        if self.uses()?.iter().any(|one| !self.is_ours(one)) {
            return Ok(true);
        }
        Ok(self.told_of(USED_OTHERWISE, "")?.is_some())
    }

    fn columns(&mut self, name: &str) -> Result<Vec<(String, String)>, TargetError> {
        let ask = COLUMNS.replace("$1", &self.dialect.literal(&self.schema)).replace("$2", &self.dialect.literal(name));
        let said = self.say(&ask)?;
        let text = |row, column| said.text(row, column).unwrap_or_default().to_owned();
        Ok((0..said.rows.len()).map(|row| (text(row, 0), text(row, 1))).collect())
    }

    fn uses(&mut self) -> Result<Vec<Use>, TargetError> {
        let said = self.say(&USES.replace("$1", &self.dialect.literal(&self.schema)))?;
        let text = |row, column| said.text(row, column).unwrap_or_default().to_owned();
        let one = |row| Use { used: text(row, 0), schema: text(row, 1), name: text(row, 2) };
        Ok((0..said.rows.len()).map(one).collect())
    }

    /// The statements that give the rights to a relation which others have.
    pub(super) fn grants(&mut self, name: &str) -> Result<Vec<String>, TargetError> {
        Ok(self.rights(name)?.into_iter().map(|right| right.grant).collect())
    }

    fn rights(&mut self, name: &str) -> Result<Vec<Right>, TargetError> {
        let dialect = self.dialect;
        let ask = dialect.rights().replace("$1", &dialect.literal(&self.schema)).replace("$2", &dialect.literal(name));
        let said = self.say(&ask)?;
        let right = |row| {
            let text = |column| said.text(row, column).unwrap_or_default();
            let column = said.text(row, 1).map(str::to_owned);
            let of_column = column.as_ref().map_or(String::new(), |column| format!(" ({})", quoted(column)));
            let (whom, may_pass_on) = match text(2) {
                "public" => ("PUBLIC".to_owned(), text(4) == "t"),
                "user" => (quoted(text(3)), text(4) == "t"),
                kind => (format!("{kind} {}", quoted(text(3))), text(4) == "t"),
            };
            let end = if may_pass_on { " WITH GRANT OPTION" } else { "" };
            let grant = format!("GRANT {}{of_column} ON {name} TO {whom}{end}", text(0));
            Right { column, whom, grant }
        };
        Ok((0..said.rows.len()).map(right).collect())
    }
}
