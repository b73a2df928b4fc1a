//! How turns lie in `events[p]`. An event's record has a header with its place: its sequence number, the input offset
//! after it, and a check of the last command decided, so that a log can be read from any place without knowing what events
//! are, and so that another topic's commands are not taken for those that follow. A *fence* is a record
//! without a value, which is no event: it is how a claim learns where the log of everyone before it ends. It names the
//! log that its writer owns, so that owners of two logs that share a topic by mistake find out before they decide.
//!
//! Every record of ours, wherever it lies, says in a header under which schema it was written; see [`crate::log::kafka::schema::framing`]. A
//! place or a fence is the first header, whatever else there is.

use crate::domain::{Breach, Law, Micros};
use crate::log::kafka::schema::framing::{Framing, Unread, Writer, fingerprint_of};
use crate::log::{OF_ANOTHER_LOG, StoredCommand, StoredEvent};
use crate::time::{Stamp, Stopwatch};
use crate::wire::frame::Fingerprint;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders, Timestamp};

/// Names the header of an event.
const PLACE: &str = "place";
/// Names the header of a fence.
const FENCE: &str = "fence";
/// Names the header that says of which log a fence or a command is.
const LOG: &str = "log";
/// Names the header with a schema's fingerprint.
const SCHEMA: &str = "schema";
/// Headers that are looked through for one.
const HEADERS_MAX: usize = 8;

/// What a record of `events[p]` is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) enum EventRecord {
    /// An event, and how far commands were decided with it.
    Event(StoredEvent, Decided),
    /// An event that cannot be read here, or not yet.
    Unread(Unread),
    /// A fence.
    Fence(Fence),
    /// Written by nobody who owns partitions.
    Foreign,
}

/// How far a partition's commands were decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::log::kafka) struct Decided {
    /// The input offset after the last one decided.
    pub(in crate::log::kafka) next_input: u64,
    /// [`check_of`] the last command's record; 0 where none was decided, or nobody has read it.
    pub(in crate::log::kafka) check: u64,
}

/// A check of a command's record as it lies in the cluster: the first 8 bytes of its value's BLAKE3. Never 0.
pub(in crate::log::kafka) fn check_of(value: &[u8]) -> u64 {
    number(&blake3::hash(value).as_bytes()[..8]).max(1)
}

/// Reading a partition record by record, from wherever it began: sequence numbers go up one by one from the first event
/// that is met. One that comes again is a fork, whatever was folded before.
#[derive(Clone, Copy, Debug)]
pub(in crate::log::kafka) struct Course {
    partition: u32,
    log_id: u128,
    next: Option<u64>,
}

impl Course {
    /// From any place of a partition of this log.
    pub(in crate::log::kafka) fn of(log_id: u128, partition: u32) -> Course {
        Course { partition, log_id, next: None }
    }

    /// From the place where the event of this number is due.
    pub(in crate::log::kafka) fn at(self, seq: u64) -> Course {
        Course { next: Some(seq), ..self }
    }

    /// The number of the next event, once one was met.
    pub(in crate::log::kafka) fn next(&self) -> Option<u64> {
        self.next
    }

    /// Takes the next record.
    pub(in crate::log::kafka) fn take(&mut self, found: &EventRecord) -> Result<(), Breach> {
        let breach = |seq, detail| Err(Breach { law: Law::Chain, partition: self.partition, seq, detail });
        match found {
            EventRecord::Event(event, _) => {
                let (seq, next) = (event.seq, self.next.unwrap_or(event.seq));
                if seq != next {
                    return breach(seq, format!("it lies where seq {next} is due"));
                }
                self.next = Some(seq.saturating_add(1));
                Ok(())
            }
            EventRecord::Fence(fence) if fence.log_id != self.log_id => {
                let detail = format!("an owner of log {:032x} has taken the partition", fence.log_id);
                breach(self.next.unwrap_or_default(), detail)
            }
            EventRecord::Unread(_) | EventRecord::Fence(_) | EventRecord::Foreign => Ok(()),
        }
    }
}

/// What a fence says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) struct Fence {
    /// Drawn by the claim that wrote it.
    pub(in crate::log::kafka) nonce: u128,
    /// The log whose owner wrote it.
    pub(in crate::log::kafka) log_id: u128,
}

/// The headers of an event at this place, which is three numbers of 8 bytes, big-endian; `inside` is the event as it is
/// read inside.
pub(in crate::log::kafka) fn place(seq: u64, Decided { next_input, check }: Decided, inside: &[u8]) -> OwnedHeaders {
    let mut value = [0; 24];
    value[..8].copy_from_slice(&seq.to_be_bytes());
    value[8..16].copy_from_slice(&next_input.to_be_bytes());
    value[16..].copy_from_slice(&check.to_be_bytes());
    let headers = OwnedHeaders::new_with_capacity(2).insert(Header { key: PLACE, value: Some(&value) });
    with_schema(headers, fingerprint_of(inside))
}

/// With the header of a schema, if there is one.
pub(super) fn with_schema(headers: OwnedHeaders, schema: Option<Fingerprint>) -> OwnedHeaders {
    match schema {
        Some(fingerprint) => headers.insert(Header { key: SCHEMA, value: Some(&fingerprint) }),
        None => headers,
    }
}

/// With the header of the log that a command is asked of.
pub(super) fn with_log(headers: OwnedHeaders, log_id: u128) -> OwnedHeaders {
    headers.insert(Header { key: LOG, value: Some(&log_id.to_be_bytes()) })
}

/// Whether a command says that it is asked of another log than this. Two logs that share a topic by mistake would both
/// decide it, and its caller would be told by either. Other programs' commands do not say.
fn is_of_another(message: &impl Message, log_id: u128) -> bool {
    let said = message.headers().and_then(|headers| {
        let header = headers.iter().take(HEADERS_MAX).find(|header| header.key == LOG)?;
        header.value?.try_into().ok()
    });
    said.is_some_and(|said| u128::from_be_bytes(said) != log_id)
}

/// A command at its place, as `read` reads it inside; of another log's it is said that it is one.
pub(in crate::log::kafka) fn command(
    message: &BorrowedMessage<'_>,
    log_id: u128,
    read: impl FnOnce(&[u8], Option<Fingerprint>) -> Result<Vec<u8>, Unread>,
) -> Result<StoredCommand, Unread> {
    let bytes = match is_of_another(message, log_id) {
        true => OF_ANOTHER_LOG.to_vec(),
        false => read(message.payload().unwrap_or_default(), schema_of(message))?,
    };
    Ok(StoredCommand { offset: u64::try_from(message.offset()).unwrap_or_default(), skipped: 0, bytes })
}

/// What the broker's clock showed when it appended the message, which was after `since`. `None` for a topic whose records
/// are stamped by their writer.
pub(in crate::log::kafka) fn stamp(message: &impl Message, since: Stopwatch) -> Option<Stamp> {
    let Timestamp::LogAppendTime(ms) = message.timestamp() else { return None };
    let shown = Micros(u64::try_from(ms).ok()?.checked_mul(1_000)?);
    Some(Stamp::new(shown, since))
}

/// What a record says of its schema.
pub(in crate::log::kafka) fn schema_of(message: &impl Message) -> Option<Fingerprint> {
    let headers = message.headers()?;
    let header = headers.iter().take(HEADERS_MAX).find(|header| header.key == SCHEMA)?;
    header.value?.try_into().ok()
}

/// The headers of a fence.
pub(in crate::log::kafka) fn fence(Fence { nonce, log_id }: Fence) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(2);
    let headers = headers.insert(Header { key: FENCE, value: Some(&nonce.to_be_bytes()) });
    headers.insert(Header { key: LOG, value: Some(&log_id.to_be_bytes()) })
}

/// What a record is, whatever is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) enum Kind {
    /// An event of this number.
    Event(u64),
    Fence,
    /// See [`EventRecord::Foreign`].
    Foreign,
}

/// What kind of record a message is.
pub(in crate::log::kafka) fn kind(message: &BorrowedMessage<'_>) -> Kind {
    match (header::<24>(message, 0, PLACE), header::<16>(message, 0, FENCE), message.payload()) {
        (Some(place), _, Some(_)) => Kind::Event(number(&place[..8])),
        (_, Some(_), None) => Kind::Fence,
        _ => Kind::Foreign,
    }
}

/// What a message is. Waits for nobody.
pub(in crate::log::kafka) fn found(message: &BorrowedMessage<'_>, framing: &Framing) -> EventRecord {
    found_by(message, |bytes| framing.incoming(bytes, schema_of(message), Writer::Owner))
}

/// The same, waiting for the registry for as long as an answer may take.
pub(in crate::log::kafka) fn found_awaited(message: &BorrowedMessage<'_>, framing: &Framing) -> EventRecord {
    found_by(message, |bytes| framing.incoming_awaited(bytes, schema_of(message), Writer::Owner))
}

fn found_by(message: &BorrowedMessage<'_>, read: impl FnOnce(&[u8]) -> Result<Vec<u8>, Unread>) -> EventRecord {
    if let (Some(place), Some(bytes)) = (header::<24>(message, 0, PLACE), message.payload()) {
        let seq = number(&place[..8]);
        let decided = Decided { next_input: number(&place[8..16]), check: number(&place[16..]) };
        return match read(bytes) {
            Ok(bytes) => EventRecord::Event(StoredEvent { seq, bytes }, decided),
            Err(why) => EventRecord::Unread(why),
        };
    }
    match (header(message, 0, FENCE), header(message, 1, LOG), message.payload()) {
        (Some(nonce), Some(log_id), None) => {
            let [nonce, log_id] = [nonce, log_id].map(u128::from_be_bytes);
            EventRecord::Fence(Fence { nonce, log_id })
        }
        _ => EventRecord::Foreign,
    }
}

/// The bytes of an event as they are on the cluster, and what it says of its schema.
pub(in crate::log::kafka) fn event(message: &BorrowedMessage<'_>) -> Option<(Vec<u8>, Option<Fingerprint>)> {
    let bytes = message.payload()?;
    header::<24>(message, 0, PLACE).map(|_| (bytes.to_vec(), schema_of(message)))
}

fn header<const N: usize>(message: &BorrowedMessage<'_>, at: usize, name: &str) -> Option<[u8; N]> {
    let header = message.headers().filter(|headers| headers.count() > at)?.get(at);
    header.value.filter(|_| header.key == name)?.try_into().ok()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> EventRecord {
        EventRecord::Event(StoredEvent { seq, bytes: Vec::new() }, Decided::default())
    }

    fn fence(log_id: u128) -> EventRecord {
        EventRecord::Fence(Fence { nonce: 1, log_id })
    }

    /// What is said of the last of these records; those before it are well.
    #[track_caller]
    fn last(records: &[EventRecord]) -> Result<(), String> {
        let mut course = Course::of(7, 3);
        let (last, before) = records.split_last().unwrap();
        before.iter().for_each(|found| course.take(found).unwrap());
        course.take(last).map_err(|breach| breach.to_string())
    }

    #[test]
    fn a_sequence_number_that_comes_again_or_is_left_out_is_a_breach() {
        assert_eq!(last(&[event(10), fence(7), event(11), EventRecord::Foreign, event(12)]), Ok(()));
        for (records, seq, due) in [
            ([event(11), event(12), event(11)], 11, 13),
            ([event(11), fence(7), event(11)], 11, 12),
            ([event(11), event(12), event(14)], 14, 13),
        ] {
            let told = format!("L3 broken at partition 3 seq {seq}: it lies where seq {due} is due");
            assert_eq!(last(&records), Err(told));
        }
    }

    #[test]
    fn an_owner_of_another_log_is_a_breach() {
        let told = format!("L3 broken at partition 3 seq 6: an owner of log {:032x} has taken the partition", 8);
        assert_eq!(last(&[event(5), fence(8)]), Err(told));
    }
}
