//! Writing: who has a partition, and the steps of a batch.

use super::staged::{Kind, Packer, Staged};
use crate::config::SinkRedshift;
use crate::crash;
use crate::objects::{Bucket, Objects};
use crate::sink::postgres::{ANSWER_LIMIT, Access, Database, Dialect, LAST_LIMIT, Said, hold_positions, merges, place};
use crate::sink::{Batch, Failure, Others, Place, Row, Target, TargetError};
use crate::time::{self, Clock as _, SystemClock};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest reason that is kept, in characters: four bytes each fit into its column.
const WHY_CHARS_MAX: usize = 250;

/// The tables in Redshift, for one writer.
pub struct Redshift {
    database: Database,
    bucket: Bucket,
    settings: SinkRedshift,
    writer: String,
    packer: Packer,
    /// The number of this writer's claim, of each partition that it has claimed.
    claims: BTreeMap<u32, i64>,
    /// The partitions of which a batch with rows was written since they were claimed: none of them was there before. A batch without
    /// rows shows nothing.
    looked_at: BTreeSet<u32>,
    /// Claim and next seq of others.
    others: Others<(i64, i64)>,
    /// What ended the writing, and with which partition. It is noted when the partitions were given back.
    ended: Option<(u32, Failure)>,
}

/// A position, as the table has it.
struct Position {
    next_seq: i64,
    place: Place,
    claim: i64,
    writer: Option<String>,
}

impl Redshift {
    /// Connects. The tables have to be as they should be. `writer` names this process, and `others` are what it has seen of others,
    /// however often it connects.
    ///
    /// # Errors
    /// [`TargetError::Operator`] names each difference.
    pub fn open(
        access: &Access,
        settings: &SinkRedshift,
        writer: u128,
        others: &Others<(i64, i64)>,
    ) -> Result<Redshift, TargetError> {
        let bucket = Bucket::open(&settings.staging).map_err(|error| TargetError::Operator(error.detail))?;
        let mut database = Database::with_tables(access)?;
        for kind in Kind::ALL {
            database.say(&format!("CREATE TEMP TABLE {} (LIKE {})", kind.staged(), kind.table()))?;
        }
        Ok(Redshift {
            database,
            bucket,
            settings: settings.clone(),
            writer: format!("{writer:032x}"),
            packer: Packer::new(),
            claims: BTreeMap::new(),
            looked_at: BTreeSet::new(),
            others: others.clone(),
            ended: None,
        })
    }

    fn position(&mut self, partition: u32) -> Result<Option<Position>, TargetError> {
        let ask =
            format!("SELECT next_seq, chain, claim, writer FROM sink_positions WHERE \"partition\" = {partition}");
        let said = self.database.say(&ask)?;
        if said.rows.is_empty() {
            return Ok(None);
        }
        let number = |column: usize| said.number(0, column).unwrap_or_default();
        Ok(Some(Position {
            next_seq: number(0),
            place: place(number(0), said.text(0, 1)).map_err(TargetError::Partition)?,
            claim: number(2),
            writer: said.text(0, 3).map(str::to_owned),
        }))
    }

    /// Does this in a transaction that nobody else writes a position in. With `false` it is as if nothing had been.
    fn locked(&mut self, work: impl FnOnce(&mut Redshift) -> Result<bool, TargetError>) -> Result<bool, TargetError> {
        self.database.say("BEGIN")?;
        self.database.say(hold_positions(Dialect::Redshift))?;
        let is_done = match work(self) {
            Err(error @ TargetError::Partition(_)) => {
                // The other partitions are written over this connection all the same.
                self.database.say("ROLLBACK")?;
                return Err(error);
            }
            done => done?,
        };
        if is_done {
            crash::point("sink-written");
        }
        self.database.say(if is_done { "COMMIT" } else { "ROLLBACK" })?;
        Ok(is_done)
    }

    /// The name of an object, as Redshift reads it.
    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.settings.staging.to_string().trim_end_matches('/'))
    }

    /// Uploads a file and copies it into its table of the session.
    fn stage(&mut self, file: &Staged) -> Result<(), TargetError> {
        let staged = file.kind.staged();
        self.bucket.put(&file.path, file.bytes.clone())?;
        crash::point("sink-staged");
        let copy = format!(
            "COPY {staged} FROM {} IAM_ROLE {} FORMAT AVRO 'auto' TIMEFORMAT 'auto' COMPUPDATE OFF STATUPDATE OFF",
            literal(&self.url(&file.path)),
            role(&self.settings.role)
        );
        self.database.say(&copy)?;
        let found = self.database.say(&format!("SELECT count(*) FROM {staged}"))?.number(0, 0).unwrap_or_default();
        if found.cast_unsigned() != file.row_count {
            let why = format!("{} has {} rows, and COPY has read {found}", file.path, file.row_count);
            return Err(TargetError::Operator(why));
        }
        Ok(())
    }

    /// Moves the position and writes what is staged; `false` when the partition has another writer.
    fn write(&mut self, batch: &Batch, claim: i64) -> Result<bool, TargetError> {
        if self.move_position(batch, claim)?.changed == 0 {
            return Ok(false);
        }
        crash::point("sink-moved");
        if !self.looked_at.contains(&batch.partition)
            && let Some(error) = self.there(batch)?
        {
            return Err(error);
        }
        let (partition, from, until) =
            (i64::from(batch.partition), batch.from.cast_signed(), batch.until.cast_signed());
        if batch.row_count > 0 {
            for kind in Kind::ALL {
                let (table, columns, staged) = (kind.table(), kind.columns(), kind.staged());
                self.database.say(&format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {staged}"))?;
            }
            for merge in merges(Dialect::Redshift, Kind::Events.staged(), partition, (from, until), batch.rare) {
                self.database.say(&merge)?;
            }
        }
        for event in &batch.aside {
            // A record may be longer than a column: the table says where it is.
            let record = self.url(&event.file(batch.partition).0);
            self.database.say(&format!(
                "INSERT INTO sink_set_aside (\"partition\", seq, why, record, set_aside_at) \
                 VALUES ({partition}, {}, {}, {}, GETDATE())",
                event.seq,
                why(&event.why),
                literal(&record)
            ))?;
        }
        Ok(true)
    }

    /// That an event of a batch, whose rows are staged, is in the tables already: no key would tell. An event that is there has the
    /// time that it has in the batch, so only the blocks of that time are read, however many others there are.
    fn there(&mut self, batch: &Batch) -> Result<Option<TargetError>, TargetError> {
        let staged = Kind::Events.staged();
        let times = self.database.say(&format!("SELECT min(decided_at), max(decided_at) FROM {staged}"))?;
        let of_events = match times.text(0, 0).zip(times.text(0, 1)) {
            Some((first, last)) => format!(" AND decided_at BETWEEN {} AND {}", literal(first), literal(last)),
            // Every event has a time, so none is looked for.
            None => " AND decided_at IS NULL".to_owned(),
        };
        self.database.there(batch, &of_events)
    }

    fn move_position(&mut self, batch: &Batch, claim: i64) -> Result<Said, TargetError> {
        let Batch { partition, from, until, row_count, .. } = batch;
        let chain = batch.chain.map_or("NULL".to_owned(), |digest| literal(&digest.to_string()));
        let decided = batch.decided_until.map(|at| format!("decided_until = {}, ", literal(&time::text(at))));
        self.database.say(&format!(
            "UPDATE sink_positions SET next_seq = {until}, chain = {chain}, row_count = row_count + {row_count}, \
             set_aside = set_aside + {}, {}written_at = GETDATE() \
             WHERE \"partition\" = {partition} AND next_seq = {from} AND claim = {claim}",
            batch.aside.len(),
            decided.unwrap_or_default()
        ))
    }
}

impl Target for Redshift {
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
        let seen = self.position(partition)?;
        if seen.is_none()
            && let Some(why) = self.database.orphaned(partition)?
        {
            return Err(TargetError::Partition(why));
        }
        if let Some(Position { next_seq, claim, writer: Some(writer), .. }) = &seen
            && *writer != self.writer
            && !self.others.is_left(partition, &(*claim, *next_seq), Duration::ZERO)
        {
            return Ok(None);
        }
        let (seen, mut place) = (seen.map(|position| position.claim), None);
        let is_claimed = self.locked(|redshift| {
            let now = redshift.position(partition)?;
            if now.as_ref().map(|position| position.claim) != seen {
                return Ok(false);
            }
            let writer = literal(&redshift.writer);
            let statement = match &now {
                None => format!(
                    "INSERT INTO sink_positions (\"partition\", next_seq, first_seq, claim, row_count, set_aside, writer) \
                     VALUES ({partition}, {first}, {first}, 1, 0, 0, {writer})"
                ),
                Some(_) => format!(
                    "UPDATE sink_positions SET claim = claim + 1, stopped = NULL, writer = {writer} \
                     WHERE \"partition\" = {partition}"
                ),
            };
            redshift.database.say(&statement)?;
            // Of which nothing was written begins where it is to begin now, if that is later.
            redshift.database.say(&format!(
                "UPDATE sink_positions SET next_seq = {first}, first_seq = {first} \
                 WHERE \"partition\" = {partition} AND written_at IS NULL AND first_seq < {first}"
            ))?;
            place = redshift.position(partition)?.map(|position| position.place);
            Ok(true)
        })?;
        if !is_claimed {
            return Ok(None);
        }
        self.looked_at.remove(&partition);
        self.claims.insert(partition, seen.map_or(1, |claim| claim.saturating_add(1)));
        Ok(place)
    }

    fn left_in(&self, partition: u32) -> Option<Duration> {
        self.others.left_in(partition)
    }

    fn put(&self, row: &Row, rows: &mut Vec<u8>) {
        self.packer.put(row, rows);
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), TargetError> {
        // Others wait no longer than this for a position that stands still.
        self.database.limit_all(Some(ANSWER_LIMIT));
        let committed = self.commit_in_steps(batch);
        self.database.limit_all(None);
        if let Err(TargetError::Operator(why) | TargetError::Refused(why)) = &committed {
            self.ended = Some((batch.partition, Failure { why: why.clone(), at: SystemClock::new().wall() }));
        }
        committed
    }

    fn note_stop(&mut self, partition: u32, reason: &str) -> Result<(), TargetError> {
        let claim = self.claims.get(&partition).copied().ok_or(TargetError::Fenced)?;
        let note = format!(
            "UPDATE sink_positions SET stopped = {} WHERE \"partition\" = {partition} AND claim = {claim}",
            why(reason)
        );
        if self.locked(|redshift| redshift.database.say(&note).map(|said| said.changed > 0))? {
            return Ok(());
        }
        self.claims.remove(&partition);
        Err(TargetError::Fenced)
    }

    fn note_failure(&mut self, partition: u32, failure: &Failure) -> Result<(), TargetError> {
        let (failed, at) = (why(&failure.why), literal(&time::text(failure.at)));
        let note = format!(
            "UPDATE sink_positions SET failed = {failed}, failed_at = {at} \
             WHERE \"partition\" = {partition} AND (failed_at IS NULL OR failed_at < {at})"
        );
        self.locked(|redshift| redshift.database.say(&note).map(|_| true)).map(drop)
    }
}

impl Redshift {
    fn commit_in_steps(&mut self, batch: &Batch) -> Result<(), TargetError> {
        crash::point("sink-read");
        let claim = self.claims.get(&batch.partition).copied().ok_or(TargetError::Fenced)?;
        for kind in Kind::ALL {
            self.database.say(&format!("TRUNCATE {}", kind.staged()))?;
        }
        let files = self.packer.files(batch)?;
        for file in &files {
            self.stage(file)?;
        }
        for event in &batch.aside {
            let (path, text) = event.file(batch.partition);
            self.bucket.put(&path, text)?;
        }
        crash::point("sink-copied");
        if !self.locked(|redshift| redshift.write(batch, claim))? {
            self.claims.remove(&batch.partition);
            return Err(TargetError::Fenced);
        }
        if batch.row_count > 0 {
            self.looked_at.insert(batch.partition);
        }
        crash::point("sink-committed");
        for file in &files {
            if let Err(error) = self.bucket.delete(&file.path) {
                tracing::warn!(%error, path = file.path, "a file that was copied stays in the bucket");
            }
        }
        Ok(())
    }

    /// Gives the partitions back, so that others need not wait.
    fn give_back(&mut self) -> Result<(), TargetError> {
        let claims = std::mem::take(&mut self.claims);
        let left = claims.iter().map(|(partition, claim)| format!("(\"partition\" = {partition} AND claim = {claim})"));
        let left: Vec<String> = left.collect();
        if left.is_empty() {
            return Ok(());
        }
        let give = format!("UPDATE sink_positions SET writer = NULL WHERE {}", left.join(" OR "));
        // An error may have left a transaction open, in which nothing more is done.
        let mut steps = ["ROLLBACK", "BEGIN", hold_positions(Dialect::Redshift), &*give, "COMMIT"].into_iter();
        steps.try_for_each(|step| self.database.say(step).map(drop))
    }
}

impl Drop for Redshift {
    /// Gives the partitions back, and notes what ended the writing. When the connection is gone or hangs, others wait.
    fn drop(&mut self) {
        self.database.limit_all(Some(LAST_LIMIT));
        if let Err(error) = self.give_back() {
            tracing::debug!(%error, "partitions were not given back");
            return;
        }
        let Some((partition, failure)) = self.ended.take() else { return };
        // Whoever asks for the status has not seen what the process said at its end. A database that takes no note of it says nothing
        // that matters more.
        if let Err(error) = self.note_failure(partition, &failure) {
            tracing::debug!(%error, "what ended the writing was not noted");
        }
    }
}

fn literal(text: &str) -> String {
    Dialect::Redshift.literal(text)
}

fn why(text: &str) -> String {
    literal(&text.chars().take(WHY_CHARS_MAX).collect::<String>())
}

/// The roles as SQL. The settings have checked their form.
fn role(role: &str) -> String {
    if role == "default" { role.to_owned() } else { literal(role) }
}
