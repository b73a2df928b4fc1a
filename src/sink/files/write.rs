//! Writing: who has a partition, and the three steps of a batch.

use super::index::{self, INDEX_BYTES_MAX, Index, LOG, POSITIONS};
use super::writers::Sign;
use crate::config::{FilesFormat, ObjectPlace, SinkFiles};
use crate::crash;
use crate::domain::Micros;
use crate::objects::{Bucket, Got, LISTED_MAX, Lock, Objects as _, Tag, limit_of};
use crate::sink::container::{Encoder, LAKE};
use crate::sink::postgres::{Ending, last_moment};
use crate::sink::{Batch, COLUMNS, Column, Failure, Others, Place, Progress, Rank, Row, Target, TargetError, Writer};
use crate::store::{StoreError, StoreErrorKind};
use crate::time::{self, Clock as _, Stopwatch, SystemClock};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;

/// Longest time for all files of a batch, the first time that it is tried.
pub const FILES_LIMIT: Duration = Duration::from_secs(60);
/// The folder of the events.
const EVENTS: &str = "events";
/// The folder of the events that were set aside.
const SET_ASIDE: &str = "set_aside";
/// The object with which a store shows that it heeds conditions.
const PROBE: &str = "positions/conditions";

/// The files, for one writer.
pub struct Files {
    bucket: Bucket,
    format: FilesFormat,
    writer: String,
    sign: Sign,
    held: BTreeMap<u32, Held>,
    /// The positions of others.
    others: Others<Tag>,
    encoder: Encoder,
    seq: &'static Column,
    decided_at: &'static Column,
}

/// A partition that this writer has.
struct Held {
    index: Index,
    tag: Tag,
    /// Kept for as long as the partition is.
    lock: Lock,
    /// Whether it was seen that no file goes beyond the position.
    is_looked_at: bool,
    /// What ended the writing. It is noted when the partition is given back.
    ended: Option<Failure>,
}

impl From<StoreError> for TargetError {
    fn from(error: StoreError) -> TargetError {
        match error.kind {
            StoreErrorKind::Refused => TargetError::Refused(error.detail),
            // A folder that is missing may be a disk that is not mounted yet.
            StoreErrorKind::Transient | StoreErrorKind::Damaged | StoreErrorKind::Newer | StoreErrorKind::Operator => {
                TargetError::Transient(error.detail)
            }
        }
    }
}

impl Files {
    /// Opens the place. `writer` is the same one however often it opens it, and so are the `others` that its process has seen.
    /// `ending` bounds the waits at its end.
    ///
    /// # Errors
    /// [`TargetError::Operator`] when the client cannot be made, or the store ignores conditions.
    pub fn open(
        files: &SinkFiles,
        writer: Writer,
        others: &Others<Tag>,
        ending: Option<Ending>,
    ) -> Result<Files, TargetError> {
        let SinkFiles { place, format } = files;
        let bucket = Bucket::open(place).map_err(|error| TargetError::Operator(error.detail))?;
        bucket.close_after(last_moment(ending));
        if !bucket.heeds_conditions(PROBE)? {
            let why = format!(
                "{place}: the store ignores If-Match and If-None-Match, so two sinks could write an event twice"
            );
            return Err(TargetError::Operator(why));
        }
        let column = |name: &str| {
            let found = COLUMNS.iter().find(|column| column.name == name);
            found.ok_or_else(|| TargetError::Operator(format!("the schema of events has no field {name}")))
        };
        Ok(Files {
            bucket,
            format: *format,
            writer: format!("{:032x}", writer.process),
            sign: Sign::of(writer, others.left_after),
            held: BTreeMap::new(),
            others: others.clone(),
            encoder: Encoder::new(&LAKE),
            seq: column("seq")?,
            decided_at: column("decided_at")?,
        })
    }

    /// The id of the log that is written to this place; `None` while none is noted.
    ///
    /// # Errors
    /// [`TargetError`] when the place cannot be read.
    pub fn log_of(place: &ObjectPlace) -> Result<Option<String>, TargetError> {
        index::log(&Bucket::open(place).map_err(|error| TargetError::Operator(error.detail))?)
    }

    /// How far each partition is written that was ever begun. Of one whose position says something else nobody knows it.
    ///
    /// # Errors
    /// [`TargetError`] when the place cannot be read.
    pub fn progress(place: &ObjectPlace) -> Result<Vec<Progress>, TargetError> {
        let bucket = Bucket::open(place).map_err(|error| TargetError::Operator(error.detail))?;
        let now = SystemClock::new().wall();
        let partitions = partitions(&bucket)?.into_iter();
        let told = |partition| match read(&bucket, partition).transpose()? {
            Err(TargetError::Partition(_)) => None,
            found => Some(found.map(|(index, _)| index)),
        };
        partitions.filter_map(told).map(|index| index?.progress(now).map_err(TargetError::Operator)).collect()
    }

    /// Why a partition is stopped whose position is not among those of `progress`; `None` when nothing of it was ever written.
    ///
    /// # Errors
    /// [`TargetError`] when the place cannot be read.
    pub fn orphaned(place: &ObjectPlace, partition: u32) -> Result<Option<String>, TargetError> {
        let bucket = Bucket::open(place).map_err(|error| TargetError::Operator(error.detail))?;
        match read(&bucket, partition) {
            Err(TargetError::Partition(why)) => Ok(Some(why)),
            Err(error) => Err(error),
            Ok(_) => orphaned(&bucket, partition),
        }
    }

    /// Replaces the position of a partition that this writer has.
    fn set(&mut self, partition: u32, change: impl FnOnce(&Index) -> Index) -> Result<(), TargetError> {
        let held = self.held.get_mut(&partition).ok_or(TargetError::Fenced)?;
        let index = change(&held.index);
        let replaced = match self.bucket.holds(&lock(partition), &held.lock)? {
            true => self.bucket.replace(&position(partition), index.bytes(), Some(&held.tag))?,
            false => None,
        };
        match replaced {
            Some(tag) => (held.index, held.tag) = (index, tag),
            None => {
                self.held.remove(&partition);
                return Err(TargetError::Fenced);
            }
        }
        Ok(())
    }

    /// Gives a partition back that this writer has had, with what ended the writing. In a folder its lock gives it back.
    fn leave(&self, partition: u32, held: &Held) -> Result<(), TargetError> {
        let left = match held.lock {
            Lock::Held(_) if held.ended.is_none() => return Ok(()),
            Lock::Held(_) => held.index.clone(),
            Lock::Elsewhere | Lock::Unknown => held.index.left(),
        };
        let index = match &held.ended {
            Some(failure) => left.failed(failure),
            None => left,
        };
        if self.bucket.holds(&lock(partition), &held.lock)? {
            self.bucket.replace(&position(partition), index.bytes(), Some(&held.tag))?;
        }
        Ok(())
    }

    /// Sees in a store how far the others are with these partitions, for which this writer does not ask while it has its share: when
    /// it asks, it knows for how long they have stood still.
    fn watch(&self, open: &[u32]) {
        if self.sign.is_of_store() {
            for partition in open {
                if let Ok(Some((index, tag))) = read(&self.bucket, *partition) {
                    self.is_left(&index, &tag);
                }
            }
        }
    }

    /// Looks at the position of another writer in a store: whether that writer has ended. With a batch that was announced it has
    /// longer.
    fn is_left(&self, index: &Index, tag: &Tag) -> bool {
        let more = FILES_LIMIT.saturating_mul(index.patience().saturating_sub(1));
        self.others.is_left(index.partition, tag, more)
    }

    /// Looks once, before the first new batch of a partition that was taken, whether a file has events of it already. An older
    /// copy of the position, put back by hand, would have them written a second time.
    fn ends_at_position(&mut self, batch: &Batch) -> Result<(), TargetError> {
        let held = self.held.get(&batch.partition).filter(|held| !held.is_looked_at);
        let (Some(held), Some(row)) = (held, unpack(&batch.rows)) else { return Ok(()) };
        let day = day_of(row.day);
        // Batches begin where others end, so the next file is the first of those that this one would write once more.
        let next = self.bucket.first_after(&day, &format!("{}{:020}", files_of(batch.partition), batch.from))?;
        if let Some(file) = next.filter(|file| file.starts_with(&files_of(batch.partition))) {
            let is_held = self.bucket.holds(&lock(batch.partition), &held.lock)?
                && read(&self.bucket, batch.partition)?.is_some_and(|(_, tag)| tag == held.tag);
            if !is_held {
                // Who has taken the partition has written them.
                self.held.remove(&batch.partition);
                return Err(TargetError::Fenced);
            }
            return Err(TargetError::Partition(format!(
                "{} ends before seq {}, and {day}/{file} has events from there on, so it is an older copy: put the newest one back, \
                 or write to another place",
                position(batch.partition),
                batch.from
            )));
        }
        self.held.entry(batch.partition).and_modify(|held| held.is_looked_at = true);
        Ok(())
    }

    /// Writes the files of a batch, one for each day, and what is set aside of it, in so many times the usual time.
    fn write(&self, batch: &Batch, patience: u32) -> Result<(), TargetError> {
        let (since, limit) = (Stopwatch::start(), FILES_LIMIT.saturating_mul(patience));
        let put = |path: &str, bytes: Vec<u8>| {
            let left = since.left_of(limit);
            if left.is_zero() {
                return Err(TargetError::Transient(format!("the files of a batch took longer than {limit:?}")));
            }
            let each = limit_of(bytes.len() as u64).saturating_mul(patience);
            self.bucket.put_within(path, bytes, each.min(left)).map_err(TargetError::from)
        };
        let mut days: BTreeMap<u64, Vec<(u64, &[u8])>> = BTreeMap::new();
        let mut rest = &*batch.rows;
        while let Some(Packed { seq, day, datum, after }) = unpack(rest) {
            days.entry(day).or_default().push((seq, datum));
            rest = after;
        }
        for (day, rows) in days {
            let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) else { continue };
            let name = format!("{}{first:020}-{last:020}.{}", files_of(batch.partition), self.format.name());
            let path = format!("{}/{name}", day_of(day));
            let data = rows.iter().map(|(_, datum)| *datum);
            let file = match self.format {
                FilesFormat::Avro => self.encoder.container(&path, data)?,
                #[cfg(feature = "parquet")]
                FilesFormat::Parquet => super::columnar::file(data)?,
            };
            put(&path, file)?;
            crash::point("sink-file");
        }
        for event in &batch.aside {
            let (path, text) = event.file(batch.partition);
            put(&path, text)?;
        }
        Ok(())
    }

    /// Announces a batch, writes its files and moves the position.
    fn commit_in_steps(&mut self, batch: &Batch) -> Result<(), TargetError> {
        crash::point("sink-read");
        let index = &self.held.get(&batch.partition).ok_or(TargetError::Fenced)?.index;
        if index.next_seq != batch.from || index.begun_until.is_some_and(|until| until != batch.until) {
            self.held.remove(&batch.partition);
            return Err(TargetError::Fenced);
        }
        match index.begun_until {
            None => {
                self.ends_at_position(batch)?;
                self.set(batch.partition, |index| index.begun(batch))?;
            }
            Some(_) if index.is_begun(batch) => {}
            Some(until) => {
                return Err(TargetError::Partition(format!(
                    "seq {} to {until} were begun with other rows, of another log or with another sink_undecodable, and \
                     perhaps lie in files: go on with those, or write to another place",
                    batch.from
                )));
            }
        }
        crash::point("sink-begun");
        let patience = self.held.get(&batch.partition).map_or(1, |held| held.index.patience());
        self.write(batch, patience)?;
        crash::point("sink-written");
        let now = SystemClock::new().wall();
        self.set(batch.partition, |index| index.after(batch, now))?;
        crash::point("sink-committed");
        self.sign.show_again(&self.bucket);
        Ok(())
    }
}

impl Target for Files {
    fn log(&mut self) -> Result<Option<String>, TargetError> {
        index::log(&self.bucket)
    }

    fn written(&mut self) -> Result<Vec<(u32, Place)>, TargetError> {
        let mut written = Vec::new();
        for partition in partitions(&self.bucket)? {
            match read(&self.bucket, partition) {
                // Its partition stops, by name.
                Err(TargetError::Partition(_)) | Ok(None) => {}
                Ok(Some((index, _))) => written.extend(index.written()),
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn note_log(&mut self, log: &str) -> Result<(), TargetError> {
        // Who comes later is told what the first one has noted.
        self.bucket.replace(LOG, index::of_log(log), None)?;
        Ok(())
    }

    fn claim(&mut self, partition: u32, first: u64) -> Result<Option<Place>, TargetError> {
        let lock = match self.bucket.lock(&lock(partition))? {
            Lock::Elsewhere => return Ok(None),
            lock => lock,
        };
        let found = read(&self.bucket, partition)?;
        if let (Lock::Unknown, Some((index, tag))) = (&lock, &found) {
            let is_elsewhere = index.writer.as_ref().is_some_and(|writer| *writer != self.writer);
            if is_elsewhere && !self.is_left(index, tag) {
                return Ok(None);
            }
        }
        let (index, tag) = match found {
            Some((index, tag)) => (index.beginning(first), Some(tag)),
            None => match orphaned(&self.bucket, partition)? {
                Some(why) => return Err(TargetError::Partition(why)),
                None => (Index::first(partition, first, self.format.name()), None),
            },
        };
        if index.format != self.format.name() {
            return Err(TargetError::Partition(format!(
                "{} is of files in {}: set sink_files_format to that, or write to another place",
                position(partition),
                index.format
            )));
        }
        let index = index.claimed(&self.writer);
        let place = index.place().map_err(TargetError::Partition)?;
        let Some(tag) = self.bucket.replace(&position(partition), index.bytes(), tag.as_ref())? else {
            return Ok(None);
        };
        self.held.insert(partition, Held { index, tag, lock, is_looked_at: false, ended: None });
        Ok(Some(place))
    }

    fn left_in(&self, partition: u32) -> Option<Duration> {
        self.others.left_in(partition)
    }

    fn rank(&mut self, open: &[u32]) -> Result<Rank, TargetError> {
        match self.sign.found() {
            Some(rank) => Ok(rank),
            None => {
                self.watch(open);
                self.sign.rank(&self.bucket)
            }
        }
    }

    fn withdraw(&mut self) -> Result<(), TargetError> {
        self.sign.withdraw(&self.bucket);
        Ok(())
    }

    /// In a store nothing tells at once whether another one lives, so it is not asked.
    fn has_others(&mut self) -> Result<bool, TargetError> {
        let is_folder = self.held.values().any(|held| matches!(held.lock, Lock::Held(_)));
        if is_folder { self.sign.has_others(&self.bucket) } else { Ok(false) }
    }

    fn release(&mut self, partition: u32) -> Result<(), TargetError> {
        self.held.remove(&partition).map_or(Ok(()), |held| self.leave(partition, &held))
    }

    fn put(&self, row: &Row, rows: &mut Vec<u8>) {
        let number = |column: &Column| row.value(column).and_then(serde_json::Value::as_u64).unwrap_or_default();
        let datum = self.encoder.datum(row.values().map(|(_, value)| value));
        let day = number(self.decided_at) / DAY_US;
        for number in [number(self.seq), day, datum.len() as u64] {
            rows.extend_from_slice(&number.to_le_bytes());
        }
        rows.extend_from_slice(&datum);
    }

    fn begun(&self, partition: u32) -> Option<u64> {
        self.held.get(&partition)?.index.begun_until
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), TargetError> {
        let committed = self.commit_in_steps(batch);
        if let Err(TargetError::Operator(why) | TargetError::Refused(why)) = &committed
            && let Some(held) = self.held.get_mut(&batch.partition)
        {
            held.ended = Some(Failure { why: why.clone(), at: SystemClock::new().wall() });
        }
        committed
    }

    fn note_stop(&mut self, partition: u32, why: &str) -> Result<(), TargetError> {
        self.set(partition, |index| index.stopped(why))
    }

    fn note_failure(&mut self, partition: u32, failure: &Failure) -> Result<(), TargetError> {
        self.set(partition, |index| index.failed(failure))
    }
}

impl Drop for Files {
    /// Gives the partitions back, so that others need not wait. A store that does not answer is asked once.
    fn drop(&mut self) {
        for (partition, held) in std::mem::take(&mut self.held) {
            if self.leave(partition, &held).is_err() {
                return;
            }
        }
        self.sign.withdraw(&self.bucket);
    }
}

/// A row of a batch: its seq, its day and its datum, and what comes after it.
struct Packed<'a> {
    seq: u64,
    day: u64,
    datum: &'a [u8],
    after: &'a [u8],
}

fn unpack(rows: &[u8]) -> Option<Packed<'_>> {
    let (seq, rows) = rows.split_first_chunk()?;
    let (day, rows) = rows.split_first_chunk()?;
    let (length, rows) = rows.split_first_chunk()?;
    let (datum, after) = rows.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some(Packed { seq: u64::from_le_bytes(*seq), day: u64::from_le_bytes(*day), datum, after })
}

/// The folder of the events of a day, which has this number.
fn day_of(day: u64) -> String {
    let date = time::text(Micros(day.saturating_mul(DAY_US)));
    format!("{EVENTS}/day={}", date.split('T').next().unwrap_or_default())
}

/// What the names of the files of a partition begin with.
fn files_of(partition: u32) -> String {
    format!("p{partition:05}-")
}

fn position(partition: u32) -> String {
    format!("{POSITIONS}/p{partition:05}.json")
}

fn lock(partition: u32) -> String {
    format!("{POSITIONS}/p{partition:05}.lock")
}

/// The partitions that have a position, in their order.
fn partitions(bucket: &Bucket) -> Result<BTreeSet<u32>, TargetError> {
    Ok(bucket.list(POSITIONS, LISTED_MAX)?.iter().filter_map(|object| partition_of(&object.name)).collect())
}

fn partition_of(name: &str) -> Option<u32> {
    name.strip_prefix('p')?.strip_suffix(".json")?.parse().ok()
}

fn orphaned(bucket: &Bucket, partition: u32) -> Result<Option<String>, TargetError> {
    for folder in [EVENTS, SET_ASIDE] {
        if bucket.has(folder, |name| name.starts_with(&files_of(partition)))? {
            let gone = position(partition);
            let why =
                format!("{gone} is not there, and files of its partition are: put it back, or write to another place");
            return Ok(Some(why));
        }
    }
    Ok(None)
}

fn read(bucket: &Bucket, partition: u32) -> Result<Option<(Index, Tag)>, TargetError> {
    let path = position(partition);
    match bucket.read(&path, INDEX_BYTES_MAX)? {
        None => Ok(None),
        Some((Got::Whole(bytes), tag)) => Ok(Some((Index::parse(&path, partition, &bytes)?, tag))),
        Some((Got::Longer(bytes), _)) => {
            Err(TargetError::Partition(format!("{path} is no position: it has {bytes} bytes")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::object_place;

    /// A partition in a folder is given back by its lock, so nothing else is written when it is.
    #[test]
    fn what_ended_the_writing_is_noted_in_a_folder_too() {
        let dir = tempfile::tempdir().unwrap();
        let place = object_place(&format!("file://{}", dir.path().display())).unwrap();
        let files = SinkFiles { place, format: FilesFormat::Avro };
        let writer = Writer { process: 1, rest: 0 };
        let open = || Files::open(&files, writer, &Others::new(Duration::ZERO), None).unwrap();
        for why in [None, Some("no right")] {
            let mut target = open();
            assert!(matches!(target.claim(0, 7), Ok(Some(Place { next_seq: 7, .. }))));
            let ended = why.map(|why| Failure { why: why.to_owned(), at: Micros(1) });
            target.held.get_mut(&0).unwrap().ended = ended;
            drop(target);
            let told = Files::progress(&files.place).unwrap();
            let failed: Vec<_> = told.iter().map(|progress| progress.failed.as_ref().map(|(why, _)| &**why)).collect();
            assert_eq!(failed, [why]);
        }
    }
}
