//! Writing: who has a partition, and one transaction for a batch.

use super::connection::{Access, Database, Trouble};
use super::dialect::Dialect;
use super::plan::Fix;
use super::{copied, sql};
use crate::crash;
use crate::domain::Digest;
use crate::sink::{Batch, COLUMNS, Failure, Place, Progress, Rank, Row, Target, TargetError, Writer};
use crate::time::{self, Clock as _, SystemClock};
use bytes::Bytes;
use futures_util::SinkExt;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::once;
use std::pin::pin;
use std::sync::Arc;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

/// Bytes of rows in one message to the database.
const COPY_BYTES: usize = 64 << 10;

/// Most sessions that a process remembers of those that it has had.
const SESSIONS_MAX: usize = 64;

/// What is told of a session that is not the one that was opened.
const SHARED: &str = "the database has answered in the session of another client: a pool of connections stands between, \
                      which keeps a session for one transaction only, as PgBouncer does with pool_mode = transaction. \
                      Name the database itself in sink_database, or a pool that keeps the session for as long as its \
                      client is there (pool_mode = session)";

/// The sessions that a process has had. The database may go on for a while with one that is lost to it, and then that one still
/// has the locks of its partitions.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<VecDeque<String>>>);

impl Sessions {
    fn add(&self, session: String) {
        let mut sessions = self.0.lock();
        sessions.push_back(session);
        if sessions.len() > SESSIONS_MAX {
            sessions.pop_front();
        }
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }
}

/// The tables, for one writer.
pub struct Postgres {
    database: Database,
    sessions: Sessions,
    /// That of the session, in which its locks and its settings are.
    pid: i64,
    writer: Writer,
    /// Whether others know that this writer lives.
    is_known: bool,
    /// The number of this writer's claim, of each partition that it has claimed.
    claims: BTreeMap<u32, i64>,
    copy: String,
}

impl Postgres {
    /// Connects. The tables have to be as they should be. `sessions` are those of the process, in which no two writers have
    /// the same partition: whatever else of it holds one of this writer is lost, and is ended.
    ///
    /// # Errors
    /// [`TargetError::Operator`] names each difference.
    pub fn open(access: &Access, sessions: &Sessions, writer: Writer) -> Result<Postgres, TargetError> {
        let mut database = Database::with_tables(access)?;
        let own = database.say(sql::SESSION)?;
        sessions.add(own.text(0, 0).unwrap_or_default().to_owned());
        let pid = own.number(0, 1).unwrap_or_default();
        let names: Vec<&str> = COLUMNS.iter().map(|column| &*column.name).collect();
        let copy = format!("COPY events ({}) FROM STDIN (FORMAT binary)", names.join(", "));
        let (sessions, claims) = (sessions.clone(), BTreeMap::new());
        Ok(Postgres { database, sessions, pid, writer, is_known: false, claims, copy })
    }
}

impl Database {
    /// Connects to a database whose tables have to be as they should be. Views may be of any version.
    ///
    /// # Errors
    /// [`TargetError::Operator`] names each difference.
    pub fn with_tables(access: &Access) -> Result<Database, TargetError> {
        let mut database = Database::connect(access)?;
        let mut differences = database.differences_of_tables()?;
        differences.retain(|difference| difference.fix != Fix::Rebuild);
        if differences.is_empty() {
            return Ok(database);
        }
        let list: Vec<String> = differences.iter().map(|difference| format!("\n  {difference}")).collect();
        let is_refused = differences.iter().any(|difference| difference.fix == Fix::Refused);
        let todo = if is_refused { "see headroom sink plan" } else { "run headroom sink apply first" };
        Err(TargetError::Operator(format!("the tables are not as they should be: {todo}{}", list.concat())))
    }

    /// The id of the log that the tables are of; `None` while none is noted.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn log(&mut self) -> Result<Option<String>, TargetError> {
        Ok(self.say(sql::LOG)?.text(0, 0).map(str::to_owned))
    }

    /// Notes the id of the log, unless one is noted.
    pub(in crate::sink) fn note_log(&mut self, log: &str) -> Result<(), TargetError> {
        let note = sql::NOTE_LOG.replace("$1", &self.dialect.literal(log));
        if self.dialect == Dialect::Postgres {
            return self.say(&format!("{note}{}", sql::UNLESS_NOTED)).map(drop);
        }
        self.say("BEGIN")?;
        self.say(sql::hold_positions(self.dialect))?;
        if self.log()?.is_none() {
            self.say(&note)?;
        }
        self.say("COMMIT").map(drop)
    }

    /// Why a partition without a position is not begun: rows of it are there, which would be written once more.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn orphaned(&mut self, partition: u32) -> Result<Option<String>, TargetError> {
        for table in sql::OF_BATCHES {
            let any = format!("SELECT seq FROM {table} WHERE \"partition\" = {partition} LIMIT 1");
            if !self.say(&any)?.rows.is_empty() {
                return Ok(Some(format!(
                    "sink_positions has no row of partition {partition}, and {table} has rows of it: bring that row back, or \
                     begin anew in another sink_schema"
                )));
            }
        }
        Ok(None)
    }

    /// That an event of a batch is in the tables already, which only an older copy of the position leads to. `of_events` is what
    /// else holds for the rows of events that are looked for.
    pub(in crate::sink) fn there(
        &mut self,
        batch: &Batch,
        of_events: &str,
    ) -> Result<Option<TargetError>, TargetError> {
        let Batch { partition, from, until, .. } = batch;
        for (table, also) in sql::OF_BATCHES.iter().zip([of_events, ""]) {
            let first = format!(
                "SELECT min(seq) FROM {table} \
                 WHERE \"partition\" = {partition} AND seq >= {from} AND seq < {until}{also}"
            );
            if let Some(seq) = self.say(&first)?.number(0, 0) {
                return Ok(Some(TargetError::Partition(format!(
                    "the row of partition {partition} in sink_positions ends before seq {from}, and {table} has seq {seq} \
                     already, so it is an older copy: put the newest one back, or begin anew in another sink_schema"
                ))));
            }
        }
        Ok(None)
    }

    /// How far each partition is written of which anything is.
    pub(in crate::sink) fn written(&mut self) -> Result<Vec<(u32, Place)>, TargetError> {
        let begun = self.progress()?.into_iter().filter(|progress| progress.written_s_ago.is_some());
        Ok(begun.map(|progress| (progress.partition, progress.place)).collect())
    }

    /// How far each partition is written that was ever begun. One whose row is wrong has stopped, and says so.
    ///
    /// # Errors
    /// [`TargetError`] when the database cannot be asked.
    pub fn progress(&mut self) -> Result<Vec<Progress>, TargetError> {
        let said = self.say(&self.dialect.say(sql::PROGRESS))?;
        let progress = |row: usize| {
            let number = |column: usize| said.number(row, column);
            let next_seq = number(1).unwrap_or_default();
            let (place, wrong) = match place(next_seq, said.text(row, 2)) {
                Ok(place) => (place, None),
                Err(why) => (Place { next_seq: next_seq.cast_unsigned(), chain: None }, Some(why)),
            };
            Progress {
                partition: number(0).and_then(|number| u32::try_from(number).ok()).unwrap_or_default(),
                place,
                first_seq: number(9).unwrap_or_default().cast_unsigned(),
                row_count: number(3).unwrap_or_default(),
                set_aside: number(4).unwrap_or_default(),
                written_s_ago: number(5),
                stopped: wrong.or_else(|| said.text(row, 6).map(str::to_owned)),
                failed: said.text(row, 7).map(str::to_owned).zip(number(8)),
            }
        };
        Ok((0..said.rows.len()).map(progress).collect())
    }
}

impl Postgres {
    /// What the writers of the same partitions share.
    fn shared(&self) -> i32 {
        self.writer.rest.cast_signed()
    }

    /// What tells this one from the others of them.
    fn number(&self) -> i32 {
        (self.writer.process as u32).cast_signed()
    }

    /// The same as the database shows it.
    fn id(&self) -> i64 {
        i64::from(self.number().cast_unsigned())
    }

    /// Writes a batch in one transaction.
    fn commit_whole(&mut self, batch: &Batch) -> Result<(), TargetError> {
        crash::point("sink-read");
        let claim = self.claims.get(&batch.partition).copied().ok_or(TargetError::Fenced)?;
        let (copy, schema) = (&self.copy, self.database.schema.clone());
        let taken = self.database.run(async |client| {
            let mut transaction = client.transaction().await?;
            let taken = match write(&mut transaction, batch, claim, copy, &schema).await {
                Err(Trouble::Database(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    return Ok(Err(error));
                }
                taken => taken?,
            };
            crash::point("sink-written");
            if taken == batch.row_count {
                transaction.commit().await?;
                crash::point("sink-committed");
            } else {
                transaction.rollback().await?;
            }
            Ok(Ok(taken))
        })?;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                return Err(self.database.there(batch, "")?.unwrap_or_else(|| Trouble::Database(error).told()));
            }
        };
        if taken == batch.row_count {
            return Ok(());
        }
        Err(TargetError::Partition(format!(
            "of {} rows from seq {} on the database took {taken}: something changes what is written into events, see \
             headroom sink plan",
            batch.row_count, batch.from
        )))
    }

    /// The writers of the same partitions that take a share.
    fn living(&mut self) -> Result<BTreeSet<i64>, TargetError> {
        let shared = self.shared();
        self.database.run(async |client| {
            let rows = client.query(sql::LIVING, &[&shared]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }
}

impl Target for Postgres {
    fn log(&mut self) -> Result<Option<String>, TargetError> {
        self.database.log()
    }

    fn written(&mut self) -> Result<Vec<(u32, Place)>, TargetError> {
        self.database.written()
    }

    fn note_log(&mut self, log: &str) -> Result<(), TargetError> {
        self.database.note_log(log)
    }

    fn claim(&mut self, partition: u32, first: u64) -> Result<Option<Place>, TargetError> {
        let position = self.database.say(&sql::POSITION.replace("$1", &partition.to_string()))?;
        if position.rows.is_empty()
            && let Some(why) = self.database.orphaned(partition)?
        {
            return Err(TargetError::Partition(why));
        }
        let (sessions, pid, schema) = (self.sessions.all(), self.pid, self.database.schema.clone());
        let claimed = self.database.run(async |client| {
            let (partition, first) = (partition.cast_signed(), first.cast_signed());
            let is_free: Option<bool> = client.query_one(sql::LOCK, &[&partition, &pid, &schema]).await?.get(0);
            let Some(is_free) = is_free else { return Ok(Claimed::Shared) };
            if !is_free {
                let lost: i64 = client.query_one(sql::END_LOST, &[&i64::from(partition), &sessions]).await?.get(0);
                return Ok(if lost > 0 { Claimed::Lost } else { Claimed::Elsewhere });
            }
            client.execute(sql::BEGIN_POSITION, &[&partition, &first]).await?;
            let row = client.query_one(sql::CLAIM, &[&partition]).await?;
            Ok(Claimed::Here(place(row.get(0), row.get(1)), row.get(2)))
        })?;
        match claimed {
            Claimed::Here(Ok(place), claim) => {
                self.claims.insert(partition, claim);
                Ok(Some(place))
            }
            Claimed::Here(Err(why), _) => {
                self.release(partition)?;
                Err(TargetError::Partition(why))
            }
            Claimed::Elsewhere => Ok(None),
            Claimed::Shared => Err(TargetError::Operator(SHARED.to_owned())),
            Claimed::Lost => Err(TargetError::Transient(format!(
                "the database still had partition {partition} for a session that this process has lost: it was ended"
            ))),
        }
    }

    fn rank(&mut self, _: &[u32]) -> Result<Rank, TargetError> {
        if !self.is_known {
            let (shared, own) = (self.shared(), self.number());
            // A session that is lost may still have it, for this very writer. It is null where somebody has renamed the schema, or
            // has taken the right to it away: what is asked of a table next says so.
            let is_known: Option<bool> =
                self.database.run(async |client| Ok(client.query_one(sql::LIVE, &[&shared, &own]).await?.get(0)))?;
            self.is_known = is_known.unwrap_or_default();
        }
        let living = self.living()?;
        Ok(self.writer.rank(self.id(), living))
    }

    fn withdraw(&mut self) -> Result<(), TargetError> {
        if std::mem::take(&mut self.is_known) {
            let (shared, own) = (self.shared(), self.number());
            self.database.run(async |client| Ok(client.query_one(sql::LEAVE, &[&shared, &own]).await?))?;
        }
        Ok(())
    }

    fn has_others(&mut self) -> Result<bool, TargetError> {
        let living = self.living()?;
        Ok(living.into_iter().any(|id| id != self.id()))
    }

    fn release(&mut self, partition: u32) -> Result<(), TargetError> {
        self.claims.remove(&partition);
        self.database
            .run(async |client| Ok(client.query_one(sql::UNLOCK, &[&partition.cast_signed()]).await?))
            .map(drop)
    }

    fn put(&self, row: &Row, rows: &mut Vec<u8>) {
        copied::put(row, rows);
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), TargetError> {
        let committed = self.commit_whole(batch);
        if let Err(TargetError::Operator(why)) = &committed {
            // The process ends with it, and who asks for the status has not seen what it said. A database that takes no note of it says
            // nothing that matters more.
            let failure = Failure { why: why.clone(), at: SystemClock::new().wall() };
            drop(self.note_failure(batch.partition, &failure));
        }
        committed
    }

    fn note_stop(&mut self, partition: u32, why: &str) -> Result<(), TargetError> {
        let claim = self.claims.get(&partition).copied().ok_or(TargetError::Fenced)?;
        self.database.run(async |client| {
            let noted = client.execute(sql::NOTE_STOP, &[&partition.cast_signed(), &why, &claim]).await?;
            if noted == 0 { Err(Trouble::Fenced) } else { Ok(()) }
        })
    }

    fn note_failure(&mut self, partition: u32, failure: &Failure) -> Result<(), TargetError> {
        let (partition, why, at) = (partition.cast_signed(), &failure.why, time::text(failure.at));
        self.database.run(async |client| {
            client.execute(sql::NOTE_FAILURE, &[&partition, why, &at]).await?;
            Ok(())
        })
    }
}

/// What comes of asking for a partition.
enum Claimed {
    /// The place, or why the row has none, and the number of the claim.
    Here(Result<Place, String>, i64),
    Elsewhere,
    /// Nobody was asked: this is not the session that was opened.
    Shared,
    /// A session of this process had it that is lost, and is being ended.
    Lost,
}

/// Writes a batch. Returns how many of its rows the database took.
async fn write(
    transaction: &mut Transaction<'_>,
    batch: &Batch,
    claim: i64,
    copy: &str,
    schema: &str,
) -> Result<u64, Trouble> {
    let (from, until) = (batch.from.cast_signed(), batch.until.cast_signed());
    let (partition, rows) = (batch.partition.cast_signed(), batch.row_count.cast_signed());
    let chain = batch.chain.map(|digest| digest.to_string());
    let decided = batch.decided_until.map(time::text);
    let aside = i64::try_from(batch.aside.len()).unwrap_or(i64::MAX);
    // First of all: the row is locked from here on, so that whoever else writes waits and then finds it moved.
    let position: &[&(dyn ToSql + Sync)] =
        &[&partition, &from, &claim, &until, &chain, &rows, &aside, &decided, &schema];
    let moved = transaction.execute(sql::MOVE, position).await?;
    if moved == 0 {
        return Err(Trouble::Fenced);
    }
    crash::point("sink-moved");
    let mut taken = 0;
    if batch.row_count > 0 {
        let mut rows = pin!(transaction.copy_in::<_, Bytes>(copy).await?);
        for part in once(copied::HEAD).chain(batch.rows.chunks(COPY_BYTES)).chain(once(copied::END)) {
            rows.send(Bytes::copy_from_slice(part)).await?;
        }
        taken = rows.finish().await?;
        crash::point("sink-copied");
        write_reservations(transaction, &[&partition, &from, &until]).await?;
        for merge in sql::MERGES.iter().filter(|merge| (merge.is_due)(batch.rare)) {
            transaction.execute(merge.text, &[&partition, &from, &until]).await?;
        }
    }
    for event in &batch.aside {
        transaction.execute(sql::SET_ASIDE, &[&partition, &event.seq.cast_signed(), &event.why, &event.hex()]).await?;
    }
    Ok(taken)
}

/// Writes the reservations of the events of a batch, in the way that is fast first. What that way has written is taken back when it
/// does not come to its end.
async fn write_reservations(
    transaction: &mut Transaction<'_>,
    values: &[&(dyn ToSql + Sync); 3],
) -> Result<(), Trouble> {
    let attempt = transaction.savepoint("reservations").await?;
    match attempt.execute(&**sql::NEW_RESERVATIONS, values).await {
        Ok(_) => {
            crash::point("sink-merged");
            attempt.commit().await?;
        }
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            attempt.rollback().await?;
            transaction.execute(&**sql::RESERVATIONS, values).await?;
            crash::point("sink-replaced");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// A position, as the tables have it.
pub(in crate::sink) fn place(next_seq: i64, chain: Option<&str>) -> Result<Place, String> {
    Ok(Place { next_seq: next_seq.cast_unsigned(), chain: chain.map(digest).transpose()? })
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| {
        format!(
            "chain in its row of sink_positions is {text:?}, which is no digest: put back what was there, or begin anew in another \
             sink_schema"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_32_digits() {
        assert!(digest("000102030405060708090a0b0c0d0e0f").is_ok_and(|digest| digest.0[15] == 15));
        assert!(digest("00").is_err() && digest(&"g".repeat(32)).is_err());
    }
}
