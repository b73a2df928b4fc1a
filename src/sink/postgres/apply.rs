//! Makes differences go away while others use the tables. A statement that changes a table waits for whoever reads it, and all who
//! come later wait behind that statement. So it waits for a moment only, and is tried again after a pause in which they get
//! through. One process does this at a time.

use super::connection::Database;
use super::dialect::Dialect;
use super::plan::{Difference, Fix};
use super::rights::changed;
use super::sql;
use crate::sink::TargetError;
use crate::time::{Stopwatch, pause};
use std::collections::BTreeSet;
use std::slice;
use std::time::Duration;

/// For so long a statement that changes a table waits for its lock, and all who ask of that table wait with it. The database needs
/// a second of it to take back the work of its own that is in the way.
pub(super) const LOCK_LIMIT: Duration = Duration::from_secs(2);
/// So long others get through before the same is tried again.
pub(super) const LOCK_PAUSE: Duration = Duration::from_secs(2);
/// For so long it is tried.
pub(super) const LOCK_TRIED: Duration = Duration::from_secs(30);
/// For so long one process waits until another one has changed the tables.
const OTHERS_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks whether it has.
const OTHERS_LOOK: Duration = Duration::from_millis(200);
/// For so long all that reads whole tables may take in one apply, such as indexes: what is broken off is begun anew the next time, and
/// would never be done.
pub(super) const LONG_LIMIT: Duration = Duration::from_secs(12 * 60 * 60);

/// Who has relations of the schema, and whether more than to read them: others than sinks first, then the oldest transaction. That
/// of another user has no time for whoever may not see it.
const USERS: &str = "
    SELECT c.relname, l.mode NOT IN ('AccessShareLock', 'RowShareLock'), a.pid, COALESCE(a.usename, a.backend_type),
           a.application_name, ' since ' || date_trunc('second', a.xact_start)
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE n.nspname = $1 AND l.granted AND a.pid <> pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY a.application_name IS NOT DISTINCT FROM 'headroom sink', a.xact_start NULLS FIRST, c.relname";

impl Database {
    /// Waits until no other process changes these tables, and then keeps them from it until the connection ends. In Redshift no
    /// lock ends with its session: of several that apply at once there all but one may fail, and change nothing.
    ///
    /// # Errors
    /// [`TargetError::Transient`] when another process takes long.
    pub fn hold_tables(&mut self) -> Result<(), TargetError> {
        if self.dialect == Dialect::Redshift {
            return Ok(());
        }
        let lock = sql::LOCK_TABLES.replace("$1", &self.dialect.literal(&self.schema));
        let waiting = Stopwatch::start();
        while self.say(&lock)?.text(0, 0) != Some("t") {
            if waiting.elapsed() > OTHERS_LIMIT {
                let why = format!("another headroom sink apply, rebuild or plan has been at work for {OTHERS_LIMIT:?}");
                return Err(TargetError::Transient(why));
            }
            pause(OTHERS_LOOK);
        }
        Ok(())
    }

    /// Keeps other processes from changing these tables while this one looks at them, until the connection ends.
    ///
    /// # Errors
    /// [`TargetError::Transient`] when one is changing them, which is named.
    pub fn look_at_tables(&mut self) -> Result<(), TargetError> {
        let schema = self.dialect.literal(&self.schema);
        if self.dialect == Dialect::Redshift
            || self.say(&sql::LOCK_TABLES_TO_LOOK.replace("$1", &schema))?.text(0, 0) == Some("t")
        {
            return Ok(());
        }
        let said = self.say(&sql::TABLES_LOCKED_BY.replace("$1", &schema))?;
        let text = |column: usize| said.text(0, column).unwrap_or("-");
        Err(TargetError::Transient(format!(
            "a headroom sink apply or rebuild is at work in these tables (session {} of {})",
            text(0),
            text(1)
        )))
    }

    /// Makes the differences go away, all of them or none, and then those that take long, one after the other. While an index is
    /// made, who writes its table waits, and who reads does not: so it is not made while views or columns are changed. While a column
    /// is looked through that is to take no null, both wait.
    ///
    /// # Errors
    /// [`TargetError::Operator`] when one of them is refused, or something of others is in the way, and
    /// [`TargetError::Transient`] when a table is in use. Then nothing was changed, or one of those that take long is missing.
    pub fn apply(&mut self, differences: &[Difference]) -> Result<(), TargetError> {
        let is_long = |difference: &Difference| matches!(difference.fix, Fix::Long { .. });
        let (long, changes): (Vec<_>, Vec<_>) = differences.iter().cloned().partition(is_long);
        self.change(&changes, "COMMIT")?;
        self.limit_all(Some(LONG_LIMIT));
        for one in &long {
            self.change(slice::from_ref(one), "COMMIT")?;
        }
        self.limit_all(None);
        Ok(())
    }

    /// Makes these differences go away in one transaction, which ends with this word, and waits for others as described above.
    /// Redshift bounds no wait for a lock: there the bound of a statement ends it, and nothing is tried again.
    pub(super) fn change(&mut self, differences: &[Difference], end: &str) -> Result<(), TargetError> {
        let trying = Stopwatch::start();
        loop {
            let limit = self.limit();
            self.say(&self.dialect.begin_change(LOCK_LIMIT, limit))?;
            let done = self.change_each(differences).and_then(|()| self.say(end).map(drop));
            let Err(error) = done else { return Ok(()) };
            self.roll_back(error)?;
            if trying.elapsed() > LOCK_TRIED {
                let lets_read = |one: &Difference| matches!(one.fix, Fix::Long { lets_read: true, .. });
                let may_be_read = differences.iter().all(lets_read);
                return Err(self.in_use(&changed(differences), may_be_read, LOCK_TRIED)?);
            }
            pause(LOCK_PAUSE);
        }
    }

    fn change_each(&mut self, differences: &[Difference]) -> Result<(), TargetError> {
        for difference in differences {
            match &difference.fix {
                Fix::Run(statements) => statements.iter().try_for_each(|statement| self.say(statement).map(drop))?,
                Fix::Views(names) => self.make_views(names)?,
                Fix::Long { statement, .. } => self.say(statement).map(drop)?,
                Fix::Rebuild => {}
                Fix::Refused => return Err(TargetError::Operator(difference.what.clone())),
            }
        }
        Ok(())
    }

    /// Takes the open transaction back, whose error this is. It can be tried again.
    ///
    /// # Errors
    /// That one, unless somebody was in the way.
    pub(super) fn roll_back(&mut self, error: TargetError) -> Result<(), TargetError> {
        let is_in_use = self.is_in_use;
        let back = self.say("ROLLBACK");
        if is_in_use { back.map(drop) } else { Err(error) }
    }

    /// What keeps these relations from being changed: of the transactions that use one of them the oldest. With `may_be_read` that is
    /// none which only reads.
    pub(super) fn in_use(
        &mut self,
        named: &BTreeSet<&str>,
        may_be_read: bool,
        tried: Duration,
    ) -> Result<TargetError, TargetError> {
        let said = self.say(&USERS.replace("$1", &self.dialect.literal(&self.schema)))?;
        let text = |row: usize, column: usize| said.text(row, column).unwrap_or_default();
        let is_in_the_way = |row: &usize| named.contains(text(*row, 0)) && (!may_be_read || text(*row, 1) == "t");
        let Some(row) = (0..said.rows.len()).find(is_in_the_way) else {
            let why = format!("the tables have been in use by other transactions for {tried:?}");
            return Ok(TargetError::Transient(why));
        };
        let (table, pid, user, program, since) = (text(row, 0), text(row, 2), text(row, 3), text(row, 4), text(row, 5));
        Ok(TargetError::Transient(format!(
            "{table} is not changed, because it is in use by session {pid} of {user} ({program}), in a transaction{since}. \
             Wait until that has ended, or end it with SELECT pg_terminate_backend({pid})"
        )))
    }
}
