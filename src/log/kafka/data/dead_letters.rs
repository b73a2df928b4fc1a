//! Dead letters in `dead-letters[p]`. A letter is the command's record as it was, key and value, under headers that say
//! where it lay, why nobody could decide it, and when; what was done about it is a later record whose key is the letter's
//! id. The state of a letter is what the topic comes to. What the command's record said of its schema is kept as well.
//!
//! The letters of a turn are in the log before its transaction begins. Whether a command is one depends on its bytes
//! alone, so what a turn that fails has written is what the next one writes again: readers take the first of an id. What
//! was polled has been translated (see [`crate::log::kafka::schema::framing`]), so the record is read once more: there are few of them, and
//! the way of all others is not made longer.
//!
//! Where a letter cannot be written, the turn is not committed: the owner claims again, with new clients. That ends when
//! [`LETTERS_HOLD_MS`] have passed, because one record of a stranger and a topic that is missing would otherwise take a
//! partition away for ever. From then on turns go without their letters until one can be written again, which is tried
//! as often, on a thread of its own: no turn waits for that. Nothing is lost with them but the convenience: the event says the offset and the reason, an error line names
//! them, and the command stays in its topic for as long as that keeps any.

use super::record;
use crate::domain::Micros;
use crate::limits::{LETTER_BYTES_MAX, LETTER_KEY_BYTES_MAX, LETTERS_HOLD_MS, LETTERS_MAX};
use crate::log::dead_letters::{DeadLetter, DeadLetterId, DeadLetters, RawCommand, Resolution, Undecidable};
use crate::log::kafka::client::durable::{DurableProducer, Sending};
use crate::log::kafka::client::reader::{Reader, offset_of};
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::schema::framing;
use crate::log::kafka::{Inner, Kafka};
use crate::log::{LogError, Turn};
use crate::threads;
use crate::time::Stopwatch;
use parking_lot::Mutex;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Names of headers; their values are text, for other readers of the topic.
const ID: &str = "id";
const REASON: &str = "reason";
/// Microseconds since the epoch.
const AT: &str = "at";
/// Of the command, of which only so much is kept.
const LENGTH: &str = "length";
const RESOLUTION: &str = "resolution";

/// For how long a partition's letters could not be written, and how long ago that was tried.
#[derive(Clone, Copy)]
struct Failing {
    since: Stopwatch,
    tried: Stopwatch,
    /// One that no turn waits for is under way.
    is_tried_aside: bool,
}

/// What a turn does about its letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// It waits for them.
    Wait,
    /// It goes without, and they are tried beside it.
    Aside,
    /// It goes without.
    Without,
}

impl Failing {
    fn way(failing: Option<Failing>) -> Way {
        failing.map_or(Way::Wait, |f| way(f.since.elapsed(), f.tried.elapsed(), f.is_tried_aside))
    }
}

/// Writes them.
#[derive(Default)]
pub(in crate::log::kafka) struct Writer {
    post: Mutex<Option<Arc<DurableProducer>>>,
    failing: Mutex<BTreeMap<u32, Failing>>,
}

/// A command's record as it is in the cluster.
#[derive(Default)]
struct FoundCommand {
    original: RawCommand,
    length: u64,
}

impl Inner {
    /// Returns when every letter of the turn is in the log, or nobody waits for them any more.
    pub(in crate::log::kafka) fn write_letters(self: &Arc<Self>, partition: u32, turn: &Turn) -> Result<(), LogError> {
        if turn.dead.is_empty() {
            return Ok(());
        }
        let failing = self.letters.failing.lock().get(&partition).copied();
        match Failing::way(failing) {
            Way::Wait => {}
            way => {
                tell_unwritten(partition, turn, "they could not be written a while ago");
                if way == Way::Aside {
                    self.try_aside(partition, turn.dead.clone());
                }
                return Ok(());
            }
        }
        let tried = self.try_letters(partition, &turn.dead);
        let since = self.tried(partition, tried.is_ok());
        match tried {
            Err(error) if is_held_up(since) => Err(error),
            Err(error) => {
                tell_unwritten(partition, turn, &error.detail);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Letters were tried; answers for how long they could not be written.
    fn tried(&self, partition: u32, is_written: bool) -> Duration {
        let mut failing = self.letters.failing.lock();
        if is_written {
            failing.remove(&partition);
            return Duration::ZERO;
        }
        let now = Stopwatch::start();
        let place = failing.entry(partition).or_insert(Failing { since: now, tried: now, is_tried_aside: false });
        (place.tried, place.is_tried_aside) = (now, false);
        place.since.elapsed()
    }

    /// Tries letters again that a turn goes without; each try may take seconds.
    fn try_aside(self: &Arc<Self>, partition: u32, dead: Vec<Undecidable>) {
        if let Some(failing) = self.letters.failing.lock().get_mut(&partition) {
            failing.is_tried_aside = true;
        }
        let inner = Arc::clone(self);
        let trying = threads::spawn(&format!("letters-{partition}"), move || {
            let tried = inner.try_letters(partition, &dead);
            match &tried {
                Ok(()) => tracing::info!(partition, count = dead.len(), "dead letters can be written again"),
                Err(why) => tracing::warn!(partition, %why, "dead letters can still not be written"),
            }
            inner.tried(partition, tried.is_ok());
        });
        if let Err(error) = trying {
            tracing::warn!(partition, %error, "dead letters are not tried again now");
            self.tried(partition, false);
        }
    }

    fn try_letters(&self, partition: u32, dead: &[Undecidable]) -> Result<(), LogError> {
        let found = self.originals(partition, dead)?;
        let missing = FoundCommand::default();
        let records = dead.iter().map(|letter| {
            let FoundCommand { original, length } = found.get(&letter.offset).unwrap_or(&missing);
            Sending {
                topic: &self.cluster.topics.dead_letters,
                partition,
                headers: record::with_schema(
                    headers_of(DeadLetterId { partition, offset: letter.offset }, letter, *length),
                    original.schema,
                ),
                key: original.key.as_deref(),
                bytes: original.bytes.as_deref(),
            }
        });
        self.post(&records.collect::<Vec<_>>())
    }

    pub(in crate::log::kafka) fn post(&self, records: &[Sending<'_>]) -> Result<(), LogError> {
        let post = {
            let mut post = self.letters.post.lock();
            match &*post {
                Some(post) => Arc::clone(post),
                None => Arc::clone(post.insert(Arc::new(DurableProducer::new(&self.cluster)?))),
            }
        };
        post.send(records).inspect_err(|_| *self.letters.post.lock() = None)
    }

    /// The records at these offsets, in order, as they are; a place without one is left out.
    fn originals(&self, partition: u32, letters: &[Undecidable]) -> Result<BTreeMap<u64, FoundCommand>, LogError> {
        let (Some(first), Some(last)) = (letters.first(), letters.last()) else { return Ok(BTreeMap::new()) };
        let mut wanted = letters.iter().map(|letter| letter.offset).peekable();
        let mut found = BTreeMap::new();
        let topic = &self.cluster.topics.commands;
        self.with_reader(|reader| {
            self.each_record(reader, (topic, partition), first.offset, |message| {
                let offset = u64::try_from(message.offset()).unwrap_or_default();
                while wanted.next_if(|wanted| *wanted < offset).is_some() {}
                if wanted.next_if_eq(&offset).is_some() {
                    found.insert(offset, found_in(message));
                }
                offset < last.offset
            })
        })?;
        Ok(found)
    }

    /// Hands over every record from this offset on to the end, for as long as `record` says so.
    fn each_record(
        &self,
        reader: &Reader,
        (topic, partition): (&str, u32),
        from: u64,
        mut record: impl FnMut(&BorrowedMessage<'_>) -> bool,
    ) -> Result<(), LogError> {
        let (first, end) = reader.bounds(topic, partition)?;
        let from = offset_of(from).max(first);
        if from >= end {
            return Ok(());
        }
        reader.assign(topic, partition, from)?;
        reader.each((topic, partition), ASK_LIMIT, |message| Ok(record(message))).map(drop)
    }
}

/// Whether letters that could not be written for so long keep their turn from being committed.
fn is_held_up(since: Duration) -> bool {
    since < Duration::from_millis(LETTERS_HOLD_MS)
}

/// The way of letters that could not be written for so long, and were tried so long ago.
fn way(since: Duration, tried: Duration, is_tried_aside: bool) -> Way {
    match (is_held_up(since), is_held_up(tried) || is_tried_aside) {
        (true, _) => Way::Wait,
        (false, false) => Way::Aside,
        (false, true) => Way::Without,
    }
}

fn tell_unwritten(partition: u32, turn: &Turn, why: &str) {
    let (count, first) = (turn.dead.len(), turn.dead.first().map(|letter| letter.offset));
    let last = turn.dead.last().map(|letter| letter.offset);
    tracing::error!(partition, count, first, last, why, "dead letters are not written, and no longer waited for");
}

fn found_in(message: &BorrowedMessage<'_>) -> FoundCommand {
    let cut = |bytes: &[u8], most: usize| bytes.get(..most).unwrap_or(bytes).to_vec();
    let original = RawCommand {
        key: message.key().map(|key| cut(key, LETTER_KEY_BYTES_MAX)),
        bytes: message.payload().map(|bytes| cut(bytes, LETTER_BYTES_MAX)),
        schema: record::schema_of(message),
    };
    let length = message.payload().map_or(0, <[u8]>::len);
    FoundCommand { original, length: u64::try_from(length).unwrap_or(u64::MAX) }
}

fn headers(pairs: &[(&str, &str)]) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(pairs.len());
    pairs.iter().fold(headers, |headers, &(key, value)| headers.insert(Header { key, value: Some(value) }))
}

fn headers_of(id: DeadLetterId, letter: &Undecidable, length: u64) -> OwnedHeaders {
    let (id, at, length) = (id.to_string(), letter.at.0.to_string(), length.to_string());
    headers(&[(ID, &id), (REASON, &letter.reason), (AT, &at), (LENGTH, &length)])
}

/// What a record of the topic says.
enum Said {
    DeadLetter(DeadLetter),
    Resolved(u64, Resolution, Micros),
}

/// Nothing where it was written by a stranger.
fn said(message: &BorrowedMessage<'_>, partition: u32) -> Option<Said> {
    let headers = message.headers()?;
    let header = |name: &str| {
        let header = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok()
    };
    let at = Micros(header(AT)?.parse().ok()?);
    let of_here = |text: &str| text.parse::<DeadLetterId>().ok().filter(|id| id.partition == partition);
    if let Some(resolution) = header(RESOLUTION) {
        let id = of_here(std::str::from_utf8(message.key()?).ok()?)?;
        return Some(Said::Resolved(id.offset, Resolution::named(resolution)?, at));
    }
    let id = of_here(header(ID)?)?;
    let said = Undecidable { offset: id.offset, at, reason: header(REASON)?.to_owned() };
    Some(Said::DeadLetter(DeadLetter { partition, said, length: header(LENGTH)?.parse().ok()?, resolved: None }))
}

impl DeadLetters for Kafka {
    fn letters(&self, partition: u32) -> Result<Vec<DeadLetter>, LogError> {
        let inner = &self.inner;
        inner.check(partition)?;
        let mut letters: BTreeMap<u64, DeadLetter> = BTreeMap::new();
        let topic = &inner.cluster.topics.dead_letters;
        inner.with_reader(|reader| {
            inner.each_record(reader, (topic, partition), 0, |message| {
                match said(message, partition) {
                    Some(Said::DeadLetter(letter)) if letters.len() < LETTERS_MAX => {
                        letters.entry(letter.said.offset).or_insert(letter);
                    }
                    Some(Said::Resolved(offset, resolution, at)) => {
                        if let Some(letter) = letters.get_mut(&offset) {
                            letter.resolved = Some((resolution, at));
                        }
                    }
                    Some(Said::DeadLetter(_)) | None => {}
                }
                true
            })
        })?;
        Ok(letters.into_values().collect())
    }

    fn original(&self, id: DeadLetterId) -> Result<RawCommand, LogError> {
        let inner = &self.inner;
        inner.check(id.partition)?;
        let mut original = None;
        let topic = &inner.cluster.topics.dead_letters;
        inner.with_reader(|reader| {
            inner.each_record(reader, (topic, id.partition), 0, |message| {
                if matches!(said(message, id.partition), Some(Said::DeadLetter(letter)) if letter.id() == id) {
                    original = Some(found_in(message).original);
                }
                original.is_none()
            })
        })?;
        original.ok_or_else(|| LogError::new(format!("{topic}/{} does not hold {id} any more", id.partition)))
    }

    fn inside(&self, original: &RawCommand) -> Result<Vec<u8>, LogError> {
        let bytes = original.bytes.as_deref().unwrap_or_default();
        let read = self.inner.framing.incoming_awaited(bytes, original.schema, framing::Writer::Anyone);
        read.map_err(|why| LogError::new(why.to_string()))
    }

    fn append_again(&self, partition: u32, original: &RawCommand) -> Result<(), LogError> {
        let inner = &self.inner;
        inner.check(partition)?;
        inner.post(&[Sending {
            topic: &inner.cluster.topics.commands,
            partition,
            headers: record::with_schema(OwnedHeaders::new(), original.schema),
            key: original.key.as_deref(),
            bytes: original.bytes.as_deref(),
        }])
    }

    fn resolve(&self, id: DeadLetterId, resolution: Resolution, now: Micros) -> Result<(), LogError> {
        let inner = &self.inner;
        inner.check(id.partition)?;
        let key = id.to_string();
        inner.post(&[Sending {
            topic: &inner.cluster.topics.dead_letters,
            partition: id.partition,
            headers: headers(&[(RESOLUTION, resolution.text()), (AT, &now.0.to_string())]),
            key: Some(key.as_bytes()),
            bytes: None,
        }])
    }
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
