//! The records of the topic of dead letters. A dead letter is the command's record as it was, key and value, with headers
//! that say where it lay, why nobody could decide it, and when. What an operator did about it is a later record, whose key
//! is the dead letter's id. The values of headers are text, so that other programs can read the topic.

use super::record;
use crate::domain::Micros;
use crate::limits::{LETTER_BYTES_MAX, LETTER_KEY_BYTES_MAX};
use crate::log::dead_letters::{DeadLetter, DeadLetterId, RawCommand, Resolution, Undecidable};
use crate::trace::TraceContext;
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};

/// Partition and offset of the command.
const ID: &str = "id";
/// Why nobody can decide it.
const REASON: &str = "reason";
/// Microseconds since the epoch.
const AT: &str = "at";
/// Bytes of the command, of which the dead letter may hold fewer.
const LENGTH: &str = "length";
/// What an operator did about it.
const RESOLUTION: &str = "resolution";

/// A command's record as the cluster has it.
#[derive(Default)]
pub(super) struct FoundCommand {
    /// Cut to the bounds of a dead letter.
    pub(super) original: RawCommand,
    /// Bytes of the command before the cut.
    length: u64,
    trace: Option<TraceContext>,
}

impl FoundCommand {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> FoundCommand {
        let cut = |bytes: &[u8], most: usize| bytes.get(..most).unwrap_or(bytes).to_vec();
        let original = RawCommand {
            key: message.key().map(|key| cut(key, LETTER_KEY_BYTES_MAX)),
            bytes: message.payload().map(|bytes| cut(bytes, LETTER_BYTES_MAX)),
            schema: record::schema_of(message),
        };
        let length = message.payload().map_or(0, <[u8]>::len);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        FoundCommand { original, length, trace: record::trace_of(message) }
    }

    /// The headers of its dead letter.
    pub(super) fn headers(&self, partition: u32, letter: &Undecidable) -> OwnedHeaders {
        let id = DeadLetterId { partition, offset: letter.offset }.to_string();
        let (at, length) = (letter.at.0.to_string(), self.length.to_string());
        let headers = headers(&[(ID, &id), (REASON, &letter.reason), (AT, &at), (LENGTH, &length)]);
        record::with_trace(record::with_schema(headers, self.original.schema), self.trace.as_ref())
    }
}

/// The headers of a record that says what an operator did.
pub(super) fn resolution(resolution: Resolution, at: Micros) -> OwnedHeaders {
    headers(&[(RESOLUTION, resolution.text()), (AT, &at.0.to_string())])
}

fn headers(pairs: &[(&str, &str)]) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(pairs.len());
    pairs.iter().fold(headers, |headers, &(key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// A record of the topic.
pub(super) enum DeadLetterRecord {
    Letter(DeadLetter),
    Resolved {
        /// Offset of the command.
        offset: u64,
        resolution: Resolution,
        at: Micros,
    },
}

impl DeadLetterRecord {
    /// `None` for a record that some other program wrote.
    pub(super) fn of(message: &BorrowedMessage<'_>, partition: u32) -> Option<DeadLetterRecord> {
        let header = |name: &str| std::str::from_utf8(record::value_of(message, name)?).ok();
        let at = Micros(header(AT)?.parse().ok()?);
        let of_here = |text: &str| text.parse::<DeadLetterId>().ok().filter(|id| id.partition == partition);
        if let Some(resolution) = header(RESOLUTION) {
            let DeadLetterId { offset, .. } = of_here(std::str::from_utf8(message.key()?).ok()?)?;
            return Some(DeadLetterRecord::Resolved { offset, resolution: Resolution::named(resolution)?, at });
        }
        let id = of_here(header(ID)?)?;
        let said = Undecidable { offset: id.offset, at, reason: header(REASON)?.to_owned() };
        let length = header(LENGTH)?.parse().ok()?;
        Some(DeadLetterRecord::Letter(DeadLetter { partition, said, length, resolved: None }))
    }
}
