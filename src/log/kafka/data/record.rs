//! The records of `events[p]` and `commands[p]`, and their headers.
//!
//! An event's record has a header `place`: the event's sequence number, the input offset after it, and a check of the last
//! command decided. So the log can be read from any offset without looking into events, and commands of another topic are
//! not mistaken for those that follow. A *fence* is a record without a value and is no event: a claim writes it, and reads
//! up to it to see all that earlier owners have written. It names the log of its writer, so that owners of two logs that
//! share a topic by mistake notice before they decide. `place` or `fence` is the record's first header.
//!
//! Every record that we write has a header with the fingerprint of its schema: see [`crate::log::kafka::schema::framing`].
//! Records that belong to a call have the two headers of its trace. Readers that do not know them pass over them.
//!
//! To Kafka the name of a header is bytes, and whoever may write a record may give it any. A name that is no text is passed over
//! like every other name that is not known here.

use crate::domain::{Breach, Law, Micros};
use crate::log::kafka::schema::framing::{Framing, Unread, Writer, fingerprint_of};
use crate::log::{OF_ANOTHER_LOG, StoredCommand, StoredEvent};
use crate::threads;
use crate::time::{Stamp, Stopwatch};
use crate::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use crate::wire::frame::Fingerprint;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders, Timestamp};

/// The header of an event: three numbers of 8 bytes, big-endian.
const PLACE: &str = "place";
/// The header of a fence: its nonce, 16 bytes, big-endian.
const FENCE: &str = "fence";
/// The header with the id of the log that a fence or a command belongs to: 16 bytes, big-endian.
const LOG: &str = "log";
/// The header with the fingerprint of the record's schema: 8 bytes.
const SCHEMA: &str = "schema";
/// How many headers of a record are searched.
const HEADERS_MAX: usize = 8;

/// What a record of `events[p]` is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) enum EventRecord {
    /// An event, and how far commands were decided with it.
    Event(StoredEvent, Decided),
    /// An event that cannot be read here, or not yet.
    Unread(Unread),
    /// The fence of a claim.
    Fence(Fence),
    /// Not written by an owner.
    Foreign,
}

/// How far a partition's commands were decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::log::kafka) struct Decided {
    /// The offset after the last command decided.
    pub(in crate::log::kafka) next_input: u64,
    /// [`check_of`] the last command's record; 0 when none was decided, or when it is not known.
    pub(in crate::log::kafka) check: u64,
}

/// A check of a command's record as the cluster has it: the first 8 bytes of the BLAKE3 of its value. Never 0.
pub(in crate::log::kafka) fn check_of(value: &[u8]) -> u64 {
    number(&blake3::hash(value).as_bytes()[..8]).max(1)
}

/// Checks the order of a partition's records while they are read, from any offset on: sequence numbers go up one by one from
/// the first event. A number that comes again is a fork of the log.
#[derive(Clone, Copy, Debug)]
pub(in crate::log::kafka) struct Course {
    partition: u32,
    log_id: u128,
    next: Option<u64>,
}

impl Course {
    /// Begins at any offset of a partition of this log.
    pub(in crate::log::kafka) fn of(log_id: u128, partition: u32) -> Course {
        Course { partition, log_id, next: None }
    }

    /// The same, where the next event must have this number.
    pub(in crate::log::kafka) fn at(self, seq: u64) -> Course {
        Course { next: Some(seq), ..self }
    }

    /// The number of the next event; `None` before the first one.
    pub(in crate::log::kafka) fn next(&self) -> Option<u64> {
        self.next
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`Breach`] of the chain: a number is missing or comes again, or an owner of another log has written.
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

/// The content of a fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) struct Fence {
    /// A random number of the claim that wrote it.
    pub(in crate::log::kafka) nonce: u128,
    /// The log whose owner wrote it.
    pub(in crate::log::kafka) log_id: u128,
}

/// The headers of an event. `inside` is the event in the form that this program uses, before it is framed for the cluster.
pub(in crate::log::kafka) fn place(seq: u64, Decided { next_input, check }: Decided, inside: &[u8]) -> OwnedHeaders {
    let mut value = [0; 24];
    value[..8].copy_from_slice(&seq.to_be_bytes());
    value[8..16].copy_from_slice(&next_input.to_be_bytes());
    value[16..].copy_from_slice(&check.to_be_bytes());
    let headers = OwnedHeaders::new_with_capacity(3).insert(Header { key: PLACE, value: Some(&value) });
    with_schema(headers, fingerprint_of(inside))
}

/// Adds the header of the schema, if there is one.
pub(super) fn with_schema(headers: OwnedHeaders, schema: Option<Fingerprint>) -> OwnedHeaders {
    match schema {
        Some(fingerprint) => headers.insert(Header { key: SCHEMA, value: Some(&fingerprint) }),
        None => headers,
    }
}

/// Adds the headers of the trace, if there is one.
pub(in crate::log::kafka) fn with_trace(headers: OwnedHeaders, trace: Option<&TraceContext>) -> OwnedHeaders {
    let Some(trace) = trace else { return headers };
    let headers = headers.insert(Header { key: TRACEPARENT, value: Some(&trace.traceparent()) });
    match trace.state.as_deref() {
        Some(state) => headers.insert(Header { key: TRACESTATE, value: Some(state) }),
        None => headers,
    }
}

/// The trace in a record's headers; `None` without one, or when it cannot be read.
pub(in crate::log::kafka) fn trace_of(message: &impl Message) -> Option<TraceContext> {
    let text = |name: &str| std::str::from_utf8(value_of(message, name)?).ok();
    TraceContext::read(text(TRACEPARENT)?, text(TRACESTATE))
}

/// Adds the header of the log that a command is meant for.
pub(super) fn with_log(headers: OwnedHeaders, log_id: u128) -> OwnedHeaders {
    headers.insert(Header { key: LOG, value: Some(&log_id.to_be_bytes()) })
}

/// Whether a command says that it is meant for another log than this one. Two logs that share a topic by mistake would both
/// decide it, and both would answer its caller. Commands of other programs do not say.
fn is_of_another(message: &impl Message, log_id: u128) -> bool {
    let said = value_of(message, LOG).and_then(|value| value.try_into().ok());
    said.is_some_and(|said| u128::from_be_bytes(said) != log_id)
}

/// A command at its offset, in the form that `read` returns. A command that is meant for another log comes to
/// [`OF_ANOTHER_LOG`].
pub(in crate::log::kafka) fn command(
    message: &BorrowedMessage<'_>,
    log_id: u128,
    read: impl FnOnce(&[u8], Option<Fingerprint>) -> Result<Vec<u8>, Unread>,
) -> Result<StoredCommand, Unread> {
    let bytes = match is_of_another(message, log_id) {
        true => OF_ANOTHER_LOG.to_vec(),
        false => read(message.payload().unwrap_or_default(), schema_of(message))?,
    };
    let (offset, trace) = (u64::try_from(message.offset()).unwrap_or_default(), trace_of(message));
    Ok(StoredCommand { offset, skipped: 0, bytes, trace })
}

/// What the broker's clock showed when it appended the message, which was after `since`. `None` for a topic whose records
/// are stamped by their writer.
pub(in crate::log::kafka) fn stamp(message: &impl Message, since: Stopwatch) -> Option<Stamp> {
    let Timestamp::LogAppendTime(ms) = message.timestamp() else { return None };
    let shown = Micros(u64::try_from(ms).ok()?.checked_mul(1_000)?);
    Some(Stamp::new(shown, since))
}

/// The fingerprint in a record's schema header; `None` without one, or when it is not of 8 bytes.
pub(in crate::log::kafka) fn schema_of(message: &impl Message) -> Option<Fingerprint> {
    value_of(message, SCHEMA)?.try_into().ok()
}

/// The headers of a fence.
pub(in crate::log::kafka) fn fence(Fence { nonce, log_id }: Fence) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(2);
    let headers = headers.insert(Header { key: FENCE, value: Some(&nonce.to_be_bytes()) });
    headers.insert(Header { key: LOG, value: Some(&log_id.to_be_bytes()) })
}

/// The kind of a record, which can be told without reading its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) enum Kind {
    /// An event of this sequence number.
    Event(u64),
    Fence,
    /// Not written by an owner.
    Foreign,
}

/// The kind of a message.
pub(in crate::log::kafka) fn kind(message: &BorrowedMessage<'_>) -> Kind {
    match (header::<24>(message, 0, PLACE), header::<16>(message, 0, FENCE), message.payload()) {
        (Some(place), _, Some(_)) => Kind::Event(number(&place[..8])),
        (_, Some(_), None) => Kind::Fence,
        _ => Kind::Foreign,
    }
}

/// Reads a message of `events[p]`. Does not wait for the registry.
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
            Ok(bytes) => EventRecord::Event(StoredEvent { seq, bytes, trace: trace_of(message) }, decided),
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

/// The bytes of an event as the cluster has them, and its schema header. `None` for a record that is no event.
pub(in crate::log::kafka) fn event(message: &BorrowedMessage<'_>) -> Option<(Vec<u8>, Option<Fingerprint>)> {
    let bytes = message.payload()?;
    header::<24>(message, 0, PLACE).map(|_| (bytes.to_vec(), schema_of(message)))
}

fn header<const N: usize>(message: &BorrowedMessage<'_>, at: usize, name: &str) -> Option<[u8; N]> {
    let header = header_at(message.headers()?, at)?;
    header.value.filter(|_| header.key == name)?.try_into().ok()
}

/// The value of the first header of this name; none where it is null, and where no such header is among those that are searched.
pub(in crate::log::kafka) fn value_of<'m>(message: &'m impl Message, name: &str) -> Option<&'m [u8]> {
    value_among(message.headers()?, name)
}

fn value_among<'h, H: Headers>(headers: &'h H, name: &str) -> Option<&'h [u8]> {
    let mut searched = (0..headers.count().min(HEADERS_MAX)).filter_map(|at| header_at(headers, at));
    searched.find(|header| header.key == name)?.value
}

/// The header at this place; none behind the last one, and where its name is no text in UTF-8. The client library panics at such
/// a name.
fn header_at<H: Headers>(headers: &H, at: usize) -> Option<Header<'_, &[u8]>> {
    threads::unless_it_panics(|| headers.try_get(at)).flatten()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> EventRecord {
        EventRecord::Event(StoredEvent { seq, bytes: Vec::new(), trace: None }, Decided::default())
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

    /// Headers as the client library gives them.
    struct Written(&'static [(&'static [u8], &'static [u8])]);

    impl Headers for Written {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn try_get(&self, at: usize) -> Option<Header<'_, &[u8]>> {
            let (name, value) = *self.0.get(at)?;
            Some(Header { key: std::str::from_utf8(name).unwrap(), value: Some(value) })
        }
    }

    #[test]
    fn a_header_whose_name_is_no_text_is_passed_over() {
        let headers = Written(&[(b"\xff\xfe", b"1"), (b"schema", b"2"), (b"a\xc3", b"3"), (b"log", b"4")]);
        let found = ["schema", "log", "place"].map(|name| value_among(&headers, name));
        assert_eq!(found, [Some(b"2".as_slice()), Some(b"4".as_slice()), None]);
        let there: Vec<bool> = (0..5).map(|at| header_at(&headers, at).is_some()).collect();
        assert_eq!(there, [false, true, false, true, false]);
    }
}
