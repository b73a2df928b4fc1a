//! The manifest of a log on a cluster: one JSON record under one key, in a topic of its own. It is written once, before
//! anything else, and a second one that says something else is an error that a person has to look into.

use super::Cluster;
use super::admin::Told;
use super::settings::ASK_LIMIT;
use crate::domain::Micros;
use crate::limits::PARTITIONS_MAX;
use crate::log::{LogError, Manifest};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How a log is laid out on a cluster.
pub const FORMAT_VERSION: u32 = 1;
/// The record's key.
const KEY: &[u8] = b"manifest";
/// Most records that are read of a topic that should hold one.
const RECORDS_MAX: usize = 1_024;
/// How long one look for the next record takes, and how many of them may find none.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: u128 = ASK_LIMIT.as_millis() / LOOK.as_millis();

/// Why what stands for a manifest is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A record under its key says something else.
    Unreadable(String),
    /// Two records say different things.
    Two,
    /// There is more than a manifest in the topic.
    Crowded,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unreadable(why) => write!(f, "holds a manifest that cannot be read: {why}"),
            Problem::Two => f.write_str("holds two manifests that differ"),
            Problem::Crowded => write!(f, "holds more than {RECORDS_MAX} records and should hold one"),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// 32 hexadecimal digits.
    log_id: String,
    partitions: u32,
    hash_version: u32,
    format_version: u32,
    dedup_window_ms: u64,
    /// Microseconds since the epoch.
    created_at: u64,
}

/// The record of a manifest.
pub fn encode(manifest: &Manifest) -> String {
    let Manifest { log_id, partitions, hash_version, format_version, dedup_window_ms, created_at } = *manifest;
    let log_id = format!("{log_id:032x}");
    let created_at = created_at.0;
    let record = Record { log_id, partitions, hash_version, format_version, dedup_window_ms, created_at };
    match serde_json::to_string(&record) {
        Ok(text) => text,
        Err(error) => unreachable!("numbers and a text are json: {error}"),
    }
}

fn decode(bytes: &[u8]) -> Result<Manifest, Problem> {
    let unreadable = |why: &dyn fmt::Display| Problem::Unreadable(why.to_string());
    let record: Record = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    let Record { log_id, partitions, hash_version, format_version, dedup_window_ms, created_at } = record;
    let is_hex = log_id.len() == 32 && log_id.bytes().all(|b| b.is_ascii_hexdigit());
    let log_id = u128::from_str_radix(&log_id, 16).ok().filter(|_| is_hex);
    let log_id = log_id.ok_or_else(|| unreadable(&"its log_id is not 32 hexadecimal digits"))?;
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        return Err(unreadable(&format_args!("its partitions are not 1 to {PARTITIONS_MAX}")));
    }
    let created_at = Micros(created_at);
    Ok(Manifest { log_id, partitions, hash_version, format_version, dedup_window_ms, created_at })
}

/// Reads the topic, which exists, to its end, with a client that says when it is there.
pub(super) fn read(reader: &BaseConsumer<Told>, topic: &str) -> Result<Result<Option<Manifest>, Problem>, LogError> {
    let cannot = |error: &KafkaError| reader.context().error(format_args!("cannot read {topic}"), error);
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).map_err(|error| cannot(&error))?;
    reader.assign(&from).map_err(|error| cannot(&error))?;
    let found = to_end(reader);
    reader.unassign().map_err(|error| cannot(&error))?;
    found.map_err(|error| cannot(&error))
}

fn to_end(reader: &BaseConsumer<Told>) -> KafkaResult<Result<Option<Manifest>, Problem>> {
    let mut found = None;
    let mut records: usize = 0;
    let mut looks = 0;
    let mut last = KafkaError::NoMessageReceived;
    while looks < LOOKS_MAX {
        match reader.poll(LOOK) {
            None => looks += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Ok(found)),
            // A topic that was made a moment ago is not known to every broker.
            Some(Err(error)) => (looks, last) = (looks + 1, error),
            Some(Ok(_)) if records == RECORDS_MAX => return Ok(Err(Problem::Crowded)),
            Some(Ok(message)) if message.key() == Some(KEY) => {
                let manifest = match decode(message.payload().unwrap_or_default()) {
                    Ok(manifest) => manifest,
                    Err(problem) => return Ok(Err(problem)),
                };
                if found.replace(manifest).is_some_and(|other| other != manifest) {
                    return Ok(Err(Problem::Two));
                }
                records += 1;
            }
            Some(Ok(_)) => records += 1,
        }
    }
    Err(last)
}

/// Writes the manifest of a new log and reads it back: of two who write at once, one or both are told.
pub(super) fn write(cluster: &Cluster, reader: &BaseConsumer<Told>, manifest: &Manifest) -> Result<(), LogError> {
    let topic = &cluster.topics.manifest;
    let told = Told::default();
    let cannot = |error: &KafkaError| told.error(format_args!("cannot write {topic}"), error);
    let value = encode(manifest);
    let producer: BaseProducer<Told> =
        cluster.plain().create_with_context(told.clone()).map_err(|error| cannot(&error))?;
    let record = BaseRecord::to(topic).partition(0).key(KEY).payload(&value);
    producer.send(record).map_err(|(error, _)| cannot(&error))?;
    producer.flush(ASK_LIMIT).map_err(|error| cannot(&error))?;
    match read(reader, topic)? {
        Ok(Some(found)) if found == *manifest => Ok(()),
        Ok(Some(_)) => Err(LogError::new(format!("{topic} {}", Problem::Two))),
        Ok(None) => Err(cannot(&KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut))),
        Err(problem) => Err(LogError::new(format!("{topic} {problem}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let manifest = Manifest {
            log_id: 0x1f,
            partitions: 4,
            hash_version: 1,
            format_version: 1,
            dedup_window_ms: 86_400_000,
            created_at: Micros(1_700_000_000_000_000),
        };
        let text = encode(&manifest);
        let expected = r#"{"log_id":"0000000000000000000000000000001f","partitions":4,"hash_version":1,"format_version":1,"dedup_window_ms":86400000,"created_at":1700000000000000}"#;
        assert_eq!(text, expected);
        assert_eq!(decode(text.as_bytes()), Ok(manifest));
        for bad in [
            "",
            "{}",
            &text.replace("1f", "xx"),
            &text.replace("00001f", "1f"),
            &text.replace("}", ",\"a\":1}"),
            &text.replace(":4", ":0"),
        ] {
            assert!(matches!(decode(bad.as_bytes()), Err(Problem::Unreadable(_))), "{bad}");
        }
    }
}
