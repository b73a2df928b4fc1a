//! Makes the tables that follow from the events anew beside those that are served. Fresh tables are filled in pieces while sinks go
//! on. Then sinks wait for a moment: what came since is added, views are bound to the fresh tables, and these take the place of the
//! served ones, in one transaction.

use super::apply::{LOCK_LIMIT, LOCK_PAUSE, LOCK_TRIED};
use super::connection::Database;
use super::dialect::quoted;
use super::rebuild::{Range, in_pieces};
use super::sql;
use super::tables::FOLLOWING;
use crate::crash;
use crate::limits::SINK_BATCH_EVENTS_MAX;
use crate::sink::TargetError;
use crate::time::{Stopwatch, pause};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For so long fresh tables that are filled try to take the place of the served ones. Filling them may have taken hours.
const TRIED: Duration = Duration::from_secs(60 * 60);
/// For so long it waits for each reader of a view or a table. Less than the second after which a database looks for those who wait
/// for each other: it would break off a reader.
const READER_LIMIT: Duration = Duration::from_millis(500);

/// What binds the views over the served tables to those that are found first by their names, one statement a row. A view that uses
/// another one was made later, and readers have its lock first.
const VIEWS: &str = "
    SELECT format('CREATE OR REPLACE VIEW %I.%I%s AS %s', n.nspname, v.relname,
                  ' WITH (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))
    FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace
    WHERE v.relkind = 'v' AND v.oid IN (
        SELECT r.ev_class FROM pg_rewrite r
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
        WHERE d.refobjid IN ({served}))
    ORDER BY v.oid DESC";
/// What moves the statistics of the fresh tables to where those of the served ones are, one statement a row.
const STATISTICS: &str = "
    SELECT format('ALTER STATISTICS %I.%I SET SCHEMA %I', $1, s.stxname, n.nspname)
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid IN ({served})";
/// The transactions that see the rows as they were at a time before this. Of a session of another user nobody but a superuser sees
/// the kind.
const SNAPSHOTS: &str = "
    SELECT l.virtualxid, a.pid, a.usename, a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.virtualxid = l.virtualtransaction AND a.backend_xmin IS NOT NULL
      AND COALESCE(a.backend_type, 'client backend') = 'client backend' AND a.pid <> pg_backend_pid()
      AND a.datid = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// What the fresh tables have.
struct Filling {
    /// The form of the served tables, which is theirs.
    form: Vec<String>,
    /// Of each partition the event before which all are in them.
    until: BTreeMap<i64, i64>,
    /// The most events that are folded at once.
    piece: i64,
    /// The most events of a partition for which sinks wait. While the lock is waited for, a sink writes the batch that it has begun.
    held: i64,
}

impl Database {
    /// Makes the tables anew beside those that are served, in pieces of this many events, one at least. Tells `progress` of each piece
    /// how many events it was. Returns for how many events sinks had to wait.
    pub(super) fn rebuild_beside(&mut self, piece: u64, mut progress: impl FnMut(u64)) -> Result<u64, TargetError> {
        self.check_carried()?;
        let form = self.make_fresh()?;
        let held = piece.max(SINK_BATCH_EVENTS_MAX).cast_signed();
        let mut filling = Filling { form, until: BTreeMap::new(), piece: piece.max(1).cast_signed(), held };
        let all = self.left(&filling)?;
        self.fill(&mut filling, all, &mut progress)?;
        self.catch_up(&mut filling, &mut progress)?;
        for table in FOLLOWING {
            self.say(&format!("ANALYZE {table}"))?;
        }
        crash::point("rebuild-filled");
        let held = self.take_places(&mut filling, &mut progress)?;
        crash::point("rebuild-done");
        let served = self.schema.clone();
        self.look_in("", &[&served])?;
        progress(held);
        Ok(held)
    }

    /// The events that are not in the fresh tables.
    fn left(&mut self, filling: &Filling) -> Result<Vec<Range>, TargetError> {
        let mut left = self.written_events()?;
        for (partition, (from, _)) in &mut left {
            *from = filling.until.get(partition).copied().unwrap_or(*from);
        }
        left.retain(|(_, (from, until))| from < until);
        Ok(left)
    }

    /// Adds these events, in pieces.
    fn fill(
        &mut self,
        filling: &mut Filling,
        left: Vec<Range>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), TargetError> {
        for (partition, (from, until)) in in_pieces(left, filling.piece) {
            self.say("BEGIN")?;
            self.fold(partition, (from, until))?;
            self.say("COMMIT")?;
            filling.until.insert(partition, until);
            progress(until.saturating_sub(from).cast_unsigned());
        }
        Ok(())
    }

    /// Adds what came since, until no more than a piece is left, or sinks write as fast as it is added.
    fn catch_up(&mut self, filling: &mut Filling, progress: &mut impl FnMut(u64)) -> Result<(), TargetError> {
        let mut before = i64::MAX;
        loop {
            let left = self.left(filling)?;
            let count = events(&left);
            if count <= filling.piece || count >= before {
                return Ok(());
            }
            before = count;
            self.fill(filling, left, progress)?;
        }
    }

    /// Lets the fresh tables take the place of the served ones, once nobody is in the way. Between two tries others get through.
    fn take_places(&mut self, filling: &mut Filling, progress: &mut impl FnMut(u64)) -> Result<u64, TargetError> {
        let before: BTreeSet<String> = self.texts(SNAPSHOTS)?.into_iter().collect();
        let trying = Stopwatch::start();
        loop {
            self.catch_up(filling, progress)?;
            let in_the_way = match self.sees_what_was(&before)? {
                Some(why) => why,
                None => match self.try_places(filling)? {
                    Tried::Done(held) => return Ok(held),
                    Tried::Behind => too_fast(),
                    Tried::InUse => self.in_use(&FOLLOWING.iter().copied().collect(), false, TRIED)?,
                },
            };
            if trying.elapsed() > TRIED {
                return Err(in_the_way);
            }
            pause(LOCK_PAUSE);
        }
    }

    /// A transaction of these that still sees the rows as they were: the fresh tables would be empty for it.
    fn sees_what_was(&mut self, before: &BTreeSet<String>) -> Result<Option<TargetError>, TargetError> {
        if before.is_empty() {
            return Ok(None);
        }
        let said = self.say(SNAPSHOTS)?;
        let text = |row: usize, column: usize| said.text(row, column).unwrap_or_default();
        let found = (0..said.rows.len()).find(|row| before.contains(text(*row, 0)));
        Ok(found.map(|row| {
            let (pid, user, program) = (text(row, 1), text(row, 2), text(row, 3));
            TargetError::Transient(format!(
                "session {pid} of {user} ({program}) is in a transaction that began before the new tables were filled, and would \
                 find none of their rows. Wait until that has ended, or end it with SELECT pg_terminate_backend({pid})"
            ))
        }))
    }

    fn try_places(&mut self, filling: &Filling) -> Result<Tried, TargetError> {
        self.say("BEGIN")?;
        let tried = self.change_places(filling).and_then(|held| match held {
            Some(held) => self.say("COMMIT").map(|_| Tried::Done(held)),
            None => self.say("ROLLBACK").map(|_| Tried::Behind),
        });
        match tried {
            Err(error) => self.roll_back(error).map(|()| Tried::InUse),
            tried => tried,
        }
    }

    /// The fresh tables take the place of the served ones, in the transaction that is open. Returns how many events were added while
    /// sinks waited; `None` when these are too many.
    fn change_places(&mut self, filling: &Filling) -> Result<Option<u64>, TargetError> {
        let (served, fresh) = (self.schema.clone(), self.fresh_schema());
        self.say(&format!("SET LOCAL lock_timeout = {}", LOCK_TRIED.as_millis()))?;
        self.say(sql::hold_positions(self.dialect))?;
        crash::point("rebuild-held");
        let left = self.left(filling)?;
        if left.iter().any(|(_, (from, until))| until.saturating_sub(*from) > filling.held) {
            return Ok(None);
        }
        let held = events(&left).cast_unsigned();
        for (partition, range) in in_pieces(left, filling.piece) {
            self.fold(partition, range)?;
        }
        let named =
            |schema: &str| FOLLOWING.iter().map(|table| format!("{}.{table}", quoted(schema))).collect::<Vec<_>>();
        let (old, new) = (named(&served), named(&fresh));
        // The database takes back the work of its own on a table, and nobody changes its form any more. Readers go on.
        self.say(&format!("SET LOCAL lock_timeout = {}", LOCK_LIMIT.as_millis()))?;
        let all = [&old[..], &new].concat().join(", ");
        self.say(&format!("LOCK TABLE {all} IN SHARE UPDATE EXCLUSIVE MODE"))?;
        self.look_in("LOCAL", &[&served])?;
        self.check_carried()?;
        if self.form()? != filling.form {
            let why =
                "indexes, rights or settings of the tables were changed while new ones were filled: rebuild again";
            return Err(TargetError::Operator(why.to_owned()));
        }
        let oids: Vec<String> = old.iter().map(|table| format!("{}::regclass", self.dialect.literal(table))).collect();
        let views = self.texts(&VIEWS.replace("{served}", &oids.join(", ")))?;
        let statistics = STATISTICS.replace("$1", &self.dialect.literal(&fresh)).replace("{served}", &oids.join(", "));
        let statistics = self.texts(&statistics)?;
        self.look_in("LOCAL", &[&fresh, &served])?;
        self.say(&format!("SET LOCAL lock_timeout = {}", READER_LIMIT.as_millis()))?;
        views.iter().try_for_each(|view| self.say(view).map(drop))?;
        self.say(&format!("DROP TABLE {}", old.join(", ")))?;
        let moved = new.iter().map(|table| format!("ALTER TABLE {table} SET SCHEMA {}", quoted(&served)));
        moved.chain(statistics).try_for_each(|statement| self.say(&statement).map(drop))?;
        self.say(&format!("DROP SCHEMA {}", quoted(&fresh)))?;
        crash::point("rebuild-renamed");
        Ok(Some(held))
    }
}

/// What came of a try.
enum Tried {
    /// Sinks waited for so many events.
    Done(u64),
    /// Sinks have written more than they can wait for.
    Behind,
    /// Somebody uses a table or a view.
    InUse,
}

/// What is in the way when a try came to [`Tried::Behind`].
fn too_fast() -> TargetError {
    let why = "sinks write faster than the new tables are filled. Bound them with sink_events_per_second, or stop some of them, \
               until the rebuild has ended";
    TargetError::Transient(why.to_owned())
}

fn events(left: &[Range]) -> i64 {
    left.iter().map(|(_, (from, until))| until.saturating_sub(*from)).fold(0, i64::saturating_add)
}
