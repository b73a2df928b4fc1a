//! The topic of dead letters. The state of a dead letter is what all its records come to.
//!
//! The dead letters of a turn are in the log before its transaction begins. Whether a command is one depends on its bytes
//! alone. So a turn that fails may have written them, and the next one writes them again: readers take the first record of
//! an id. The owner has polled commands in translated form (see [`crate::log::kafka::schema::framing`]), so the original
//! record is read once more. There are few of them, and all other commands stay fast.
//!
//! When a dead letter cannot be written, its turn is not committed, and the owner claims the partition again with new
//! clients. That goes on for [`LETTERS_HOLD_MS`]. After that, turns go without their dead letters, because one bad record
//! and a missing topic would otherwise stop a partition for good. From then on a thread of its own tries the dead letters
//! of a turn again now and then; no turn waits for it. What is missing then is a convenience: the event has the offset and
//! the reason, a line at error level has the offsets, and the command stays in its topic as long as the topic keeps it.

use super::context::LogContext;
use super::dead_letter_record::{DeadLetterRecord, FoundCommand, resolution as resolution_headers};
use super::record;
use crate::domain::Micros;
use crate::limits::{LETTERS_HOLD_MS, LETTERS_MAX};
use crate::log::dead_letters::{DeadLetter, DeadLetterId, RawCommand, Resolution, Undecidable};
use crate::log::kafka::client::durable::Sending;
use crate::log::kafka::schema::framing::Writer;
use crate::log::{LogError, Turn};
use crate::threads;
use crate::time::Stopwatch;
use parking_lot::Mutex;
use rdkafka::message::{Message, OwnedHeaders};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A partition whose dead letters could not be written.
#[derive(Clone, Copy)]
struct Failing {
    /// Time since the first try that failed.
    since: Stopwatch,
    /// Time since the last one.
    tried: Stopwatch,
    /// Whether a thread tries now.
    is_tried_aside: bool,
}

/// What a turn does about its dead letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// It waits until they are written.
    Wait,
    /// It goes without them, and a thread tries to write them.
    Aside,
    /// It goes without them.
    Without,
}

impl Failing {
    fn way(failing: Option<Failing>) -> Way {
        failing.map_or(Way::Wait, |f| way(f.since.elapsed(), f.tried.elapsed(), f.is_tried_aside))
    }
}

/// Reads and writes dead letters. Calls may come from any thread.
pub(in crate::log::kafka) struct DeadLettersTopic {
    context: Arc<LogContext>,
    /// The partitions whose dead letters could not be written the last time.
    failing: Mutex<BTreeMap<u32, Failing>>,
}

impl DeadLettersTopic {
    pub(in crate::log::kafka) fn new(context: Arc<LogContext>) -> DeadLettersTopic {
        DeadLettersTopic { context, failing: Mutex::default() }
    }

    /// Writes the dead letters of a turn. Returns when all of them are in the log, or when turns go without them.
    ///
    /// # Errors
    /// [`LogError`] when they could not be written: the turn must not be committed.
    pub(in crate::log::kafka) fn write(self: &Arc<Self>, partition: u32, turn: &Turn) -> Result<(), LogError> {
        if turn.dead.is_empty() {
            return Ok(());
        }
        let failing = self.failing.lock().get(&partition).copied();
        match Failing::way(failing) {
            Way::Wait => {}
            way => {
                self.context.paces.letters_failed(partition, turn.dead.len());
                log_unwritten(partition, turn, "an earlier try failed");
                if way == Way::Aside {
                    self.try_aside(partition, turn.dead.clone());
                }
                return Ok(());
            }
        }
        let tried = self.try_letters(partition, &turn.dead);
        let since = self.tried(partition, tried.is_ok());
        if tried.is_err() {
            self.context.paces.letters_failed(partition, turn.dead.len());
        }
        match tried {
            Err(error) if is_held_up(since) => Err(error),
            Err(error) => {
                log_unwritten(partition, turn, &error.detail);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Notes the result of a try. Returns for how long dead letters could not be written.
    fn tried(&self, partition: u32, is_written: bool) -> Duration {
        let mut failing = self.failing.lock();
        if is_written {
            failing.remove(&partition);
            return Duration::ZERO;
        }
        let now = Stopwatch::start();
        let place = failing.entry(partition).or_insert(Failing { since: now, tried: now, is_tried_aside: false });
        (place.tried, place.is_tried_aside) = (now, false);
        place.since.elapsed()
    }

    /// Tries on a thread of its own to write dead letters that their turn went without. A try may take seconds.
    fn try_aside(self: &Arc<Self>, partition: u32, dead: Vec<Undecidable>) {
        if let Some(failing) = self.failing.lock().get_mut(&partition) {
            failing.is_tried_aside = true;
        }
        let topic = Arc::clone(self);
        let trying = threads::spawn(&format!("letters-{partition}"), move || {
            let tried = topic.try_letters(partition, &dead);
            match &tried {
                Ok(()) => tracing::info!(partition, count = dead.len(), "dead letters can be written again"),
                Err(why) => tracing::warn!(partition, %why, "dead letters still cannot be written"),
            }
            topic.tried(partition, tried.is_ok());
        });
        if let Err(error) = trying {
            tracing::warn!(partition, %error, "cannot start the thread that tries to write dead letters again");
            self.tried(partition, false);
        }
    }

    fn try_letters(&self, partition: u32, dead: &[Undecidable]) -> Result<(), LogError> {
        let found = self.originals(partition, dead)?;
        let missing = FoundCommand::default();
        let records = dead.iter().map(|letter| {
            let stored = found.get(&letter.offset).unwrap_or(&missing);
            Sending {
                to: self.context.dead_letters(partition),
                headers: stored.headers(partition, letter),
                key: stored.original.key.as_deref(),
                bytes: stored.original.bytes.as_deref(),
            }
        });
        self.context.durable.write(&records.collect::<Vec<_>>())
    }

    /// The commands at these offsets, which are in order. An offset without a record is left out.
    fn originals(&self, partition: u32, letters: &[Undecidable]) -> Result<BTreeMap<u64, FoundCommand>, LogError> {
        let (Some(first), Some(last)) = (letters.first(), letters.last()) else { return Ok(BTreeMap::new()) };
        let mut wanted = letters.iter().map(|letter| letter.offset).peekable();
        let mut found = BTreeMap::new();
        self.context.each_record(self.context.commands(partition), first.offset, |message| {
            let offset = u64::try_from(message.offset()).unwrap_or_default();
            while wanted.next_if(|wanted| *wanted < offset).is_some() {}
            if wanted.next_if_eq(&offset).is_some() {
                found.insert(offset, FoundCommand::of(message));
            }
            offset < last.offset
        })?;
        Ok(found)
    }

    /// The dead letters of a partition with what was done about them, in the order of their commands.
    pub(in crate::log::kafka) fn read(&self, partition: u32) -> Result<Vec<DeadLetter>, LogError> {
        self.context.check(partition)?;
        let mut letters: BTreeMap<u64, DeadLetter> = BTreeMap::new();
        self.context.each_record(self.context.dead_letters(partition), 0, |message| {
            match DeadLetterRecord::of(message, partition) {
                Some(DeadLetterRecord::Letter(letter)) if letters.len() < LETTERS_MAX => {
                    letters.entry(letter.said.offset).or_insert(letter);
                }
                Some(DeadLetterRecord::Resolved { offset, resolution, at }) => {
                    if let Some(letter) = letters.get_mut(&offset) {
                        letter.resolved = Some((resolution, at));
                    }
                }
                Some(DeadLetterRecord::Letter(_)) | None => {}
            }
            true
        })?;
        Ok(letters.into_values().collect())
    }

    /// The command that a dead letter holds.
    pub(in crate::log::kafka) fn original(&self, id: DeadLetterId) -> Result<RawCommand, LogError> {
        self.context.check(id.partition)?;
        let at = self.context.dead_letters(id.partition);
        let mut original = None;
        self.context.each_record(at, 0, |message| {
            let record = DeadLetterRecord::of(message, id.partition);
            if matches!(record, Some(DeadLetterRecord::Letter(letter)) if letter.id() == id) {
                original = Some(FoundCommand::of(message).original);
            }
            original.is_none()
        })?;
        original.ok_or_else(|| LogError::out_of_range(format!("{at} does not hold {id} any more")))
    }

    /// The bytes of a command as they are inside this program, waiting for the registry if it is needed.
    pub(in crate::log::kafka) fn inside(&self, original: &RawCommand) -> Result<Vec<u8>, LogError> {
        let bytes = original.bytes.as_deref().unwrap_or_default();
        let read = self.context.framing.incoming_awaited(bytes, original.schema, Writer::Anyone);
        read.map_err(|why| why.error(why.to_string()))
    }

    /// Appends a command once more to the topic of commands. It is in the log when this returns.
    pub(in crate::log::kafka) fn append_again(&self, partition: u32, original: &RawCommand) -> Result<(), LogError> {
        self.context.check(partition)?;
        self.context.durable.write(&[Sending {
            to: self.context.commands(partition),
            headers: record::with_schema(OwnedHeaders::new(), original.schema),
            key: original.key.as_deref(),
            bytes: original.bytes.as_deref(),
        }])
    }

    /// Notes what an operator did about a dead letter. It is in the log when this returns.
    pub(in crate::log::kafka) fn resolve(
        &self,
        id: DeadLetterId,
        resolution: Resolution,
        now: Micros,
    ) -> Result<(), LogError> {
        self.context.check(id.partition)?;
        let key = id.to_string();
        self.context.durable.write(&[Sending {
            to: self.context.dead_letters(id.partition),
            headers: resolution_headers(resolution, now),
            key: Some(key.as_bytes()),
            bytes: None,
        }])
    }
}

/// Whether dead letters that could not be written for so long keep their turn from being committed.
fn is_held_up(since: Duration) -> bool {
    since < Duration::from_millis(LETTERS_HOLD_MS)
}

/// What to do about dead letters that could not be written since `since`; the last try was `tried` ago.
fn way(since: Duration, tried: Duration, is_tried_aside: bool) -> Way {
    match (is_held_up(since), is_held_up(tried) || is_tried_aside) {
        (true, _) => Way::Wait,
        (false, false) => Way::Aside,
        (false, true) => Way::Without,
    }
}

fn log_unwritten(partition: u32, turn: &Turn, why: &str) {
    let (count, first) = (turn.dead.len(), turn.dead.first().map(|letter| letter.offset));
    let last = turn.dead.last().map(|letter| letter.offset);
    tracing::error!(partition, count, first, last, why, "dead letters are not written; turns go on without them");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_held_up_for_a_time_and_then_tries_now_and_then() {
        let s = Duration::from_secs;
        assert!(is_held_up(s(0)) && is_held_up(s(29)) && !is_held_up(s(30)));
        let cases = [
            (1, 1, Way::Wait),
            (29, 0, Way::Wait),
            (31, 1, Way::Without),
            (300, 29, Way::Without),
            (300, 30, Way::Aside),
        ];
        for (since, tried, expected) in cases {
            assert_eq!(way(s(since), s(tried), false), expected, "{since} {tried}");
        }
        assert_eq!(way(s(300), s(300), true), Way::Without, "one try at a time");
    }
}
