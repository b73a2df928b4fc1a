//! The next rows of a partition, read from the log and checked: without a gap, and each event continues the one before.

use super::column::Row;
use crate::domain::{ChainedEvent, Digest, Micros, PoolId};
use crate::limits::TURN_BYTES_MAX;
use crate::log::{CommittedTail, LogError, LogErrorKind, StoredEvent};
use crate::wire;
use serde_json::Value;

/// Most bytes of rows before they are written. With what one read of the log returns, this bounds the memory of a writer.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// How far a partition is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The sequence number of the next event to write.
    pub next_seq: u64,
    /// The digest of the event before it; `None` before the first event, and where that event could not be read.
    pub chain: Option<Digest>,
}

impl Place {
    /// Why this log is not the one that is written up to here; none when it is, as far as its end and its last written
    /// event tell.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    pub fn disagreement(&self, tail: &dyn CommittedTail, partition: u32, end: u64) -> Result<Option<String>, LogError> {
        if end < self.next_seq {
            return Ok(Some(too_short(self.next_seq, end)));
        }
        let first = tail.first(partition)?;
        if self.next_seq < first {
            return Ok(Some(removed(*self, first)));
        }
        let (Some(last), Some(chain)) = (self.next_seq.checked_sub(1), self.chain) else { return Ok(None) };
        if last < first {
            // The next event names the digest of the one before, and is checked when it is written.
            return Ok(None);
        }
        let found = tail.read(partition, last, 1)?;
        // A reader that is to end reads nothing.
        let found = found.first().ok_or_else(|| LogError::transient("the log gave no event"))?;
        let is_it = read(partition, found).is_ok_and(|it| it.digest == chain);
        Ok((!is_it).then(|| not_continued(self.next_seq)))
    }
}

/// An event that could not be read, as the log has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecodable {
    /// Its sequence number in the partition.
    pub seq: u64,
    /// The framed event.
    pub bytes: Vec<u8>,
    /// What is wrong with it.
    pub why: String,
}

impl Undecodable {
    /// The record as the log has it, in hexadecimal.
    pub(super) fn hex(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The name and the text of a file that tells of it.
    pub(super) fn file(&self, partition: u32) -> (String, Vec<u8>) {
        let text = serde_json::json!({"partition": partition, "seq": self.seq, "why": self.why, "record": self.hex()});
        (format!("set_aside/p{partition:05}-{:020}.json", self.seq), text.to_string().into_bytes())
    }
}

/// Which of the kinds of events are in a batch that come rarely and ask for statements of their own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rare {
    /// A pool was defined or changed, or its life ended.
    pub defines: bool,
    /// The life of a pool began, or ended.
    pub bounds_life: bool,
    /// The time of the partition was set back.
    pub sets_clock: bool,
}

impl Rare {
    /// All of them: nothing is known of the events.
    pub const ALL: Rare = Rare { defines: true, bounds_life: true, sets_clock: true };

    fn note(&mut self, row: &Row) {
        let kind = row.field("kind").and_then(Value::as_str);
        self.defines |= row.field("version").is_some();
        let begins = kind == Some("PoolDefined") && row.field("version").and_then(Value::as_i64) == Some(1);
        self.bounds_life |= begins || kind == Some("PoolRetired");
        self.sets_clock |= kind == Some("ClockSet");
    }
}

/// Rows of one partition that are written together, and the position after them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The partition of all rows.
    pub partition: u32,
    /// The sequence number of the first event.
    pub from: u64,
    /// The sequence number after the last event.
    pub until: u64,
    /// The digest of the last event; `None` when that could not be read.
    pub chain: Option<Digest>,
    /// When the last event was decided; `None` when no event could be read.
    pub decided_until: Option<Micros>,
    /// The rows in the form of the target. Events of internal pools have none.
    pub rows: Vec<u8>,
    /// The number of rows.
    pub row_count: u64,
    /// What the rows have of what is rare.
    pub rare: Rare,
    /// Events that are set aside because they cannot be read.
    pub aside: Vec<Undecodable>,
}

impl Batch {
    fn at(partition: u32, place: Place) -> Batch {
        Batch {
            partition,
            from: place.next_seq,
            until: place.next_seq,
            chain: place.chain,
            decided_until: None,
            rows: Vec::new(),
            row_count: 0,
            rare: Rare::default(),
            aside: Vec::new(),
        }
    }

    /// The position after the batch.
    pub fn place(&self) -> Place {
        Place { next_seq: self.until, chain: self.chain }
    }

    /// The number of events that it covers.
    pub fn events(&self) -> u64 {
        self.until.saturating_sub(self.from)
    }

    fn is_full(&self, events_max: u64) -> bool {
        let aside: usize = self.aside.iter().map(|event| event.bytes.len()).sum();
        self.events() >= events_max || self.rows.len().saturating_add(aside) >= BATCH_BYTES_MAX
    }

    /// Takes the next event; the error says why nothing after it may be written.
    fn take(&mut self, stored: StoredEvent, is_aside: bool, put: &impl Fn(&Row, &mut Vec<u8>)) -> Result<(), String> {
        let (partition, seq) = (self.partition, stored.seq);
        if seq != self.until {
            return Err(format!("the log continues with seq {seq}, and seq {} was to come", self.until));
        }
        match read(partition, &stored) {
            Ok(chained) => {
                let expected = self.chain.unwrap_or(chained.event.prev);
                if chained.event.prev != expected {
                    return Err(not_continued(seq));
                }
                if !chained.event.body.pool_id().is_some_and(PoolId::is_internal) {
                    let row = Row::of(&chained, stored.trace.as_ref());
                    put(&row, &mut self.rows);
                    self.rare.note(&row);
                    self.row_count = self.row_count.saturating_add(1);
                }
                (self.chain, self.decided_until) = (Some(chained.digest), Some(chained.event.decided_at));
            }
            // Whoever takes a newer version has it as a row: it is never set aside.
            Err(Unread::Newer(why)) => {
                return Err(format!(
                    "seq {seq} cannot be read: it was {why}: take a newer version of headroom for the sink"
                ));
            }
            Err(Unread::Broken(why)) if is_aside => {
                self.aside.push(Undecodable { seq, bytes: stored.bytes, why });
                self.chain = None;
            }
            Err(Unread::Broken(why)) => {
                return Err(format!("seq {seq} cannot be read: {why}; sink_undecodable = \"aside\" sets it aside"));
            }
        }
        self.until = seq.saturating_add(1);
        Ok(())
    }
}

fn too_short(has: u64, end: u64) -> String {
    format!("{has} events are written, and the log has only {end}")
}

fn not_continued(seq: u64) -> String {
    format!(
        "the event at seq {seq} does not continue what is written: the log was replaced or has lost events, or somebody has \
         changed the position"
    )
}

/// When an event of the log was decided; `None` when it cannot be read.
///
/// # Errors
/// [`LogError`] when the log cannot be read.
pub fn decided_at(tail: &dyn CommittedTail, partition: u32, seq: u64) -> Result<Option<Micros>, LogError> {
    let found = tail.read(partition, seq, 1)?;
    Ok(found.first().and_then(|stored| read(partition, stored).ok()).map(|chained| chained.event.decided_at))
}

/// Why an event cannot be read.
enum Unread {
    /// It names a schema that this version does not know.
    Newer(String),
    /// It is not what an event should be.
    Broken(String),
}

fn read(partition: u32, stored: &StoredEvent) -> Result<ChainedEvent, Unread> {
    let chained = wire::event::decode(&stored.bytes).map_err(|error| match error.is_newer() {
        true => Unread::Newer(error.to_string()),
        false => Unread::Broken(error.to_string()),
    })?;
    if (chained.event.partition, chained.event.seq) == (partition, stored.seq) {
        return Ok(chained);
    }
    Err(Unread::Broken(format!(
        "it says that it is seq {} of partition {}",
        chained.event.seq, chained.event.partition
    )))
}

/// Why a batch does not go on to the end of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Halt {
    /// The log does not answer now: what was read can be written, and the rest later.
    Later(LogError),
    /// Nothing after the batch may be written until somebody has acted.
    Stop(String),
}

/// Where a batch ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    /// Before the end of the log, when it is not full earlier.
    pub(super) end: u64,
    /// With so many events it is full.
    pub(super) events_max: u64,
    /// With so many it is full as soon as the page ends that was read last.
    pub(super) events_enough: u64,
    /// Exactly there, full or not, where the target says so.
    pub(super) begun: Option<u64>,
}

/// Reads the next batch of a partition from this place on, up to the cut. `put` appends a row in the form of the target.
/// Returns with the batch why it does not go further.
pub(super) fn gather(
    tail: &dyn CommittedTail,
    partition: u32,
    place: Place,
    cut: Cut,
    is_aside: bool,
    put: impl Fn(&Row, &mut Vec<u8>),
) -> (Batch, Option<Halt>) {
    let mut batch = Batch::at(partition, place);
    let written = cut.begun.unwrap_or(place.next_seq);
    if cut.end < written {
        return (batch, Some(Halt::Stop(too_short(written, cut.end))));
    }
    let end = cut.begun.unwrap_or(cut.end);
    while batch.until < end && (cut.begun.is_some() || !batch.is_full(cut.events_enough)) {
        let events = match tail.read(partition, batch.until, TURN_BYTES_MAX) {
            Ok(events) => events,
            Err(error) => {
                let halt = halt_of(error, tail, &batch);
                return (batch, Some(halt));
            }
        };
        if events.is_empty() {
            break;
        }
        for stored in events {
            if batch.until >= end || cut.begun.is_none() && batch.is_full(cut.events_max) {
                break;
            }
            if let Err(why) = batch.take(stored, is_aside, &put) {
                return (batch, Some(Halt::Stop(why)));
            }
        }
    }
    (batch, None)
}

fn halt_of(error: LogError, tail: &dyn CommittedTail, batch: &Batch) -> Halt {
    match error.kind {
        LogErrorKind::OutOfRange | LogErrorKind::Emptied => Halt::Stop(match tail.first(batch.partition) {
            Ok(first) if batch.until < first => removed(batch.place(), first),
            _ => error.to_string(),
        }),
        LogErrorKind::Breach(_) => Halt::Stop(error.to_string()),
        _ => Halt::Later(error),
    }
}

/// That the log, which begins with `first`, has lost events that are to be written, and what can be done.
fn removed(place: Place, first: u64) -> String {
    let (from, last) = (place.next_seq, first.saturating_sub(1));
    let gone = format!("the log begins with seq {first}: events {from} to {last} are gone and were never written here");
    match place.chain {
        // Nothing of the partition is written.
        None => format!(
            "{gone}; headroom sink backfill --from first leaves them out, and begins each partition that was never written \
             with the first event that the log has"
        ),
        Some(_) => format!(
            "{gone}; bring them back into the log, or begin anew without them in another sink_schema or under another \
             sink_files, with headroom sink backfill --from first"
        ),
    }
}
