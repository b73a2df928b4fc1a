//! The position of a partition: a small JSON object, which says how far its files are complete.

use crate::config::FilesFormat;
use crate::domain::{Digest, Micros};
use crate::limits::SINK_BATCH_EVENTS_MAX;
use crate::objects::{Bucket, Got, Objects as _};
use crate::sink::{Batch, Failure, Place, Progress, TargetError};
use serde::{Deserialize, Serialize};

/// The form of the object. Another form has another number.
const FORM: u32 = 1;
/// Longest reason that is kept of a partition that has stopped or failed, in characters.
const WHY_CHARS_MAX: usize = 1_000;
/// How many times as long as the first time a batch may take at most.
const PATIENCE_MAX: u32 = 16;
/// Most bytes of a position that are read.
pub(super) const INDEX_BYTES_MAX: u64 = 64 << 10;

/// The folder of the positions.
pub(super) const POSITIONS: &str = "positions";
/// The object that says which log the files are of.
pub(super) const LOG: &str = "log.json";

/// What that object says.
#[derive(Serialize, Deserialize)]
struct Log {
    log_id: String,
}

/// The object for this log.
pub(super) fn of_log(log_id: &str) -> Vec<u8> {
    // Every field has a form in JSON.
    serde_json::to_vec_pretty(&Log { log_id: log_id.to_owned() }).unwrap_or_default()
}

/// The id of the log that the files are of; `None` while none is noted.
///
/// # Errors
/// [`TargetError`] when the object cannot be read, or says something else.
pub(super) fn log(bucket: &Bucket) -> Result<Option<String>, TargetError> {
    let wrong = |why: String| TargetError::Operator(format!("{LOG} does not say which log the files are of: {why}"));
    match bucket.get(LOG, INDEX_BYTES_MAX)? {
        None => Ok(None),
        Some(Got::Whole(bytes)) => {
            let Log { log_id } = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
            Ok(Some(log_id))
        }
        Some(Got::Longer(bytes)) => Err(wrong(format!("it has {bytes} bytes"))),
    }
}

/// How far a partition is written, and by whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Index {
    form: u32,
    pub(super) partition: u32,
    /// What the files are: a partition never has files of two forms.
    #[serde(default = "avro")]
    pub(super) format: String,
    /// Everything before it is written.
    pub(super) next_seq: u64,
    /// The sequence number at which the files begin.
    first_seq: u64,
    /// Where the batch ends that is being written, and perhaps is written in part.
    pub(super) begun_until: Option<u64>,
    /// The digest of the last event of that batch, and its rows: only the same batch may be written again.
    #[serde(default)]
    begun_chain: Option<String>,
    #[serde(default)]
    begun_rows: Option<u64>,
    /// The claim under which it was announced. Each later one has tried again to write it.
    #[serde(default)]
    begun_claim: Option<u64>,
    /// The digest of the event before `next_seq`.
    chain: Option<String>,
    row_count: u64,
    set_aside: u64,
    /// When the last written event was decided, in microseconds since 1970.
    decided_until_us: Option<u64>,
    /// When the last batch was written, by the writer's clock.
    written_at_us: Option<u64>,
    /// Why nothing more is written.
    pub(super) stopped: Option<String>,
    /// The last error after which writing was tried again, or with which it ended, and when that was, by the writer's clock.
    #[serde(default)]
    failed: Option<String>,
    #[serde(default)]
    failed_at_us: Option<u64>,
    /// The process that writes the partition, or did so last. None in a bucket when that has ended in good order; in a folder
    /// the lock tells.
    pub(super) writer: Option<String>,
    /// How often the partition was taken over. So no two positions are ever the same.
    claim: u64,
}

/// The form of files before there were others.
fn avro() -> String {
    FilesFormat::Avro.name().to_owned()
}

impl Index {
    pub(super) fn first(partition: u32, first: u64, format: &str) -> Index {
        Index {
            form: FORM,
            partition,
            format: format.to_owned(),
            next_seq: first,
            first_seq: first,
            begun_until: None,
            begun_chain: None,
            begun_rows: None,
            begun_claim: None,
            chain: None,
            row_count: 0,
            set_aside: 0,
            decided_until_us: None,
            written_at_us: None,
            stopped: None,
            failed: None,
            failed_at_us: None,
            writer: None,
            claim: 0,
        }
    }

    /// The position of a partition that begins at `first` if nothing of it is written, and not to begin later.
    pub(super) fn beginning(self, first: u64) -> Index {
        let is_untouched = self.written_at_us.is_none() && self.begun_until.is_none();
        match is_untouched && self.first_seq < first {
            true => Index { next_seq: first, first_seq: first, ..self },
            false => self,
        }
    }

    /// Reads a position.
    ///
    /// # Errors
    /// The object of this name is none, or belongs to another partition, or is of a newer version.
    pub(super) fn parse(path: &str, partition: u32, bytes: &[u8]) -> Result<Index, TargetError> {
        let wrong = |why: String| TargetError::Partition(format!("{path} is not a position of this version: {why}"));
        let index: Index = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if (index.form, index.partition) != (FORM, partition) {
            return Err(wrong(format!("it has form {} and is of partition {}", index.form, index.partition)));
        }
        let begun = index.begun_until.map(|until| until.saturating_sub(index.next_seq));
        if begun.is_some_and(|events| events == 0 || events > SINK_BATCH_EVENTS_MAX) {
            return Err(wrong(format!("begun_until is not 1 to {SINK_BATCH_EVENTS_MAX} after next_seq")));
        }
        index.place().map(|_| index).map_err(wrong)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        // Every field has a form in JSON.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    pub(super) fn place(&self) -> Result<Place, String> {
        let digest =
            |text: &String| Digest::parse(text).ok_or_else(|| format!("chain is {text:?}, which is no digest"));
        Ok(Place { next_seq: self.next_seq, chain: self.chain.as_ref().map(digest).transpose()? })
    }

    /// How far the partition is written, if anything of it is.
    pub(super) fn written(&self) -> Option<(u32, Place)> {
        self.written_at_us.and_then(|_| Some((self.partition, self.place().ok()?)))
    }

    pub(super) fn claimed(self, writer: &str) -> Index {
        // An earlier version has not noted under which claim it announced a batch.
        let begun_claim = self.begun_until.and(self.begun_claim.or(Some(self.claim)));
        Index {
            writer: Some(writer.to_owned()),
            claim: self.claim.saturating_add(1),
            begun_claim,
            stopped: None,
            ..self
        }
    }

    pub(super) fn left(&self) -> Index {
        Index { writer: None, ..self.clone() }
    }

    pub(super) fn begun(&self, batch: &Batch) -> Index {
        Index {
            begun_until: Some(batch.until),
            begun_chain: batch.chain.map(|digest| digest.to_string()),
            begun_rows: Some(batch.row_count),
            begun_claim: Some(self.claim),
            ..self.clone()
        }
    }

    /// Whether this batch is the one that was begun. Only its end is known of one that an earlier version began.
    pub(super) fn is_begun(&self, batch: &Batch) -> bool {
        let is_same = || self.begun_chain == batch.chain.map(|digest| digest.to_string());
        self.begun_rows.is_none_or(|rows| rows == batch.row_count && is_same())
    }

    /// How many times as long as the first time the batch that was begun may take. It has to be written as it was announced, so
    /// where it took too long it gets twice as long each time.
    pub(super) fn patience(&self) -> u32 {
        let tries = self.begun_claim.map_or(0, |begun| self.claim.saturating_sub(begun));
        tries.try_into().map_or(PATIENCE_MAX, |tries| 2_u32.saturating_pow(tries).min(PATIENCE_MAX))
    }

    /// The position after the batch.
    pub(super) fn after(&self, batch: &Batch, at: Micros) -> Index {
        Index {
            next_seq: batch.until,
            begun_until: None,
            begun_chain: None,
            begun_rows: None,
            begun_claim: None,
            chain: batch.chain.map(|digest| digest.to_string()),
            row_count: self.row_count.saturating_add(batch.row_count),
            set_aside: self.set_aside.saturating_add(batch.aside.len() as u64),
            decided_until_us: batch.decided_until.map(|at| at.0).or(self.decided_until_us),
            written_at_us: Some(at.0),
            ..self.clone()
        }
    }

    pub(super) fn stopped(&self, why: &str) -> Index {
        Index { stopped: Some(cut(why)), ..self.clone() }
    }

    /// Unless a later failure is noted, by another process.
    pub(super) fn failed(&self, failure: &Failure) -> Index {
        if self.failed_at_us.is_some_and(|at| at > failure.at.0) {
            return self.clone();
        }
        Index { failed: Some(cut(&failure.why)), failed_at_us: Some(failure.at.0), ..self.clone() }
    }

    /// What is told of it at this time.
    pub(super) fn progress(&self, now: Micros) -> Result<Progress, String> {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let ago = |at: Option<u64>| at.map(|at| count(now.0.saturating_sub(at) / 1_000_000));
        Ok(Progress {
            partition: self.partition,
            place: self.place()?,
            first_seq: self.first_seq,
            row_count: count(self.row_count),
            set_aside: count(self.set_aside),
            written_s_ago: ago(self.written_at_us),
            stopped: self.stopped.clone(),
            failed: self.failed.clone().zip(ago(self.failed_at_us)),
        })
    }
}

fn cut(why: &str) -> String {
    why.chars().take(WHY_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Rare;

    #[test]
    fn a_batch_that_was_announced_gets_twice_as_long_each_time() {
        let batch = Batch {
            partition: 3,
            from: 7,
            until: 9,
            chain: None,
            decided_until: None,
            rows: Vec::new(),
            row_count: 2,
            rare: Rare::default(),
            aside: Vec::new(),
        };
        let mut index = Index::first(3, 7, "avro").claimed("me").claimed("you");
        assert_eq!(index.patience(), 1, "nothing is announced");
        index = index.begun(&batch);
        for patience in [1, 2, 4, 8, 16, 16] {
            assert_eq!(Index::parse("p", 3, &index.bytes()).unwrap().patience(), patience);
            index = index.claimed("me");
        }
        index = index.after(&batch, Micros(1)).claimed("you");
        assert_eq!(index.patience(), 1, "it is written");
        let earlier = Index { begun_until: Some(9), ..Index::first(3, 7, "avro") };
        assert_eq!(earlier.claimed("me").claimed("me").patience(), 4, "an earlier version has announced it");
    }

    #[test]
    fn the_latest_failure_is_kept() {
        let failed = |index: &Index, why: &str, at| index.failed(&Failure { why: why.to_owned(), at: Micros(at) });
        let late = failed(&Index::first(3, 7, "avro"), "late", 2_000_000);
        assert_eq!(failed(&late, "early", 1_000_000), late);
        let last = failed(&late, "last", 3_000_000).progress(Micros(9_000_000)).unwrap();
        assert_eq!(last.failed, Some(("last".to_owned(), 6)));
    }

    #[test]
    fn a_position_is_read_back_and_another_object_is_refused_by_name() {
        let begun = |until| Index { begun_until: Some(until), ..Index::first(3, 7, "avro").claimed("me") };
        let index = begun(9);
        assert_eq!(Index::parse("p", 3, &index.bytes()), Ok(index.clone()));
        let refused = |index: &Index, of: u32| match Index::parse("positions/p", of, &index.bytes()) {
            Err(TargetError::Partition(why)) => why,
            other => panic!("{other:?}"),
        };
        let newer = Index { form: FORM + 1, ..index.clone() };
        let spoilt = Index { chain: Some("00".to_owned()), ..index.clone() };
        for (index, of, why) in [
            (&index, 4, "is of partition 3"),
            (&newer, 3, "it has form 2"),
            (&spoilt, 3, "which is no digest"),
            (&begun(7), 3, "begun_until is not 1 to"),
            (&begun(8 + SINK_BATCH_EVENTS_MAX), 3, "begun_until is not 1 to"),
        ] {
            let told = refused(index, of);
            assert!(
                told.starts_with("positions/p is not a position of this version: ") && told.contains(why),
                "{told}"
            );
        }
        assert!(matches!(Index::parse("p", 3, b"{"), Err(TargetError::Partition(_))));
    }
}
