//! The manifest of a log on a cluster: what the log was created with. It is one JSON record under one key, in a topic of its
//! own. It is written before anything else. Later only the feature level in it rises, by another record; a record that differs
//! in anything else is an error for an operator. Which version raised the level stands in a header of the record: an earlier
//! version, which refuses a field that it does not know, can say what is wrong.
//!
//! It also pins where the log belongs: the cluster, the application, the environment, and the names of the topics. A process
//! that is configured with others is refused when it starts. Fencing does not depend on
//! that: transactional ids and the group are named after the log's id alone (see [`crate::log::kafka::client::settings::transactional_ids`]).

use crate::domain::{Micros, hex128};
use crate::limits::PARTITIONS_MAX;
use crate::log::kafka::client::callbacks::LastClientError;
use crate::log::kafka::client::settings::ASK_LIMIT;
use crate::log::kafka::data::record;
use crate::log::kafka::{Cluster, Topics};
use crate::log::{LogError, Manifest};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The layout of a log on a cluster. In version 1 transactional ids were made of settings, so two owners could write.
pub const FORMAT_VERSION: u32 = 2;
/// The record's key.
const KEY: &[u8] = b"manifest";
/// The record's header with the version that raised the level.
const RAISED_BY: &str = "raised_by";
/// Most records that are read of the topic, which should hold one.
const RECORDS_MAX: usize = 1_024;
/// How long one poll for the next record waits, and how many polls may bring none.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: u128 = ASK_LIMIT.as_millis() / LOOK.as_millis();

/// Why a manifest cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestProblem {
    /// The record under its key is no manifest, for this reason.
    Unreadable(String),
    /// It has the format of another version of this program.
    OtherVersion(u32),
    /// Two records have different contents.
    Two,
    /// The topic holds far more records than a manifest.
    Crowded,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestProblem::Unreadable(why) => write!(f, "holds a manifest that cannot be read: {why}"),
            ManifestProblem::OtherVersion(found) => {
                write!(f, "holds a manifest with format_version={found}, and here it is {FORMAT_VERSION}")
            }
            ManifestProblem::Two => f.write_str("holds two manifests that differ"),
            ManifestProblem::Crowded => write!(f, "holds more than {RECORDS_MAX} records and should hold one"),
        }
    }
}

/// What a log on a cluster was created with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pinned {
    /// What a log of any kind pins.
    pub manifest: Manifest,
    /// What its processes may write, see [`crate::log::FEATURE_LEVEL`].
    pub feature_level: u32,
    /// The version of this program that raised the level, if it was raised. Every later version knows the level.
    pub raised_by: Option<String>,
    /// How long ids of decided commands are kept, in ms: see [`crate::limits::COMMAND_WINDOW_MS`].
    pub command_window_ms: u64,
    /// Where the log belongs.
    pub place: LogLocation,
}

/// Where a log belongs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLocation {
    /// The cluster's id. A copy of the log on another cluster would have owners that nothing could fence.
    pub cluster_id: String,
    /// The application that it was created for, see [`Cluster::application`].
    pub application: String,
    /// The environment that it was created for, see [`Cluster::environment`].
    pub environment: String,
    /// The names of its topics.
    pub topics: Topics,
}

impl LogLocation {
    /// Where the log is looked for: on the cluster of this id, with the configured names.
    pub fn on(cluster: &Cluster, cluster_id: String) -> LogLocation {
        let Cluster { application, environment, topics, .. } = cluster.clone();
        LogLocation { cluster_id, application, environment, topics }
    }
}

impl Pinned {
    /// What this and a later record of the same topic say together; `None` when they are not of the same log. Two versions
    /// that raise the level at once write in any order, and levels never fall: the higher one holds.
    fn and(self, later: Pinned) -> Option<Pinned> {
        let is_raised = later.feature_level > self.feature_level;
        let Pinned { feature_level, raised_by, .. } = later.clone();
        let is_same = Pinned { feature_level, raised_by, ..self.clone() } == later;
        is_same.then_some(if is_raised { later } else { self })
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
    feature_level: u32,
    /// Early builds of 0.3.0 wrote it here.
    #[serde(default, skip_serializing)]
    raised_by: Option<String>,
    dedup_window_ms: u64,
    command_window_ms: u64,
    #[serde(default = "first")]
    memory_version: u32,
    /// Microseconds since the epoch.
    created_at: u64,
    cluster_id: String,
    application: String,
    environment: String,
    topics: Names,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    commands: String,
    events: String,
    replies: String,
    /// The name of a topic that was never written to. Manifests of older versions have it.
    #[serde(default, rename = "snapshots", skip_serializing)]
    _snapshots: Option<IgnoredAny>,
    dead_letters: String,
    manifest: String,
}

/// The memory version of a manifest that names none.
fn first() -> u32 {
    1
}

/// The field that a manifest of every format has.
#[derive(Deserialize)]
struct Versioned {
    format_version: u32,
}

/// The JSON of a manifest's record. The version that raised the level is not in it.
pub fn encode(pinned: &Pinned) -> String {
    let Pinned { manifest, feature_level, raised_by: _, command_window_ms, place } = pinned.clone();
    let Manifest { log_id, partitions, hash_version, format_version, dedup_window_ms, memory_version, created_at } =
        manifest;
    let LogLocation { cluster_id, application, environment, topics } = place;
    let Topics { commands, events, replies, dead_letters, manifest } = topics;
    let record = Record {
        log_id: format!("{log_id:032x}"),
        partitions,
        hash_version,
        format_version,
        feature_level,
        raised_by: None,
        dedup_window_ms,
        command_window_ms,
        memory_version,
        created_at: created_at.0,
        cluster_id,
        application,
        environment,
        topics: Names { commands, events, replies, _snapshots: None, dead_letters, manifest },
    };
    match serde_json::to_string(&record) {
        Ok(text) => text,
        Err(error) => unreachable!("numbers and a text are json: {error}"),
    }
}

fn decode(bytes: &[u8]) -> Result<Pinned, ManifestProblem> {
    let unreadable = |why: &dyn fmt::Display| ManifestProblem::Unreadable(why.to_string());
    let Versioned { format_version } = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    if format_version != FORMAT_VERSION {
        return Err(ManifestProblem::OtherVersion(format_version));
    }
    let record: Record = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    let Record { log_id, partitions, hash_version, feature_level, dedup_window_ms, memory_version, created_at, .. } =
        record;
    let log_id = hex128(&log_id).ok_or_else(|| unreadable(&"its log_id is not 32 hexadecimal digits"))?;
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        return Err(unreadable(&format_args!("its partitions are not 1 to {PARTITIONS_MAX}")));
    }
    let created_at = Micros(created_at);
    let Names { commands, events, replies, dead_letters, manifest, .. } = record.topics;
    let topics = Topics { commands, events, replies, dead_letters, manifest };
    Ok(Pinned {
        manifest: Manifest {
            log_id,
            partitions,
            hash_version,
            format_version,
            dedup_window_ms,
            memory_version,
            created_at,
        },
        feature_level,
        raised_by: record.raised_by,
        command_window_ms: record.command_window_ms,
        place: LogLocation {
            cluster_id: record.cluster_id,
            application: record.application,
            environment: record.environment,
            topics,
        },
    })
}

/// The manifest in a record, with what its header says.
fn of_record(message: &impl Message) -> Result<Pinned, ManifestProblem> {
    let pinned = decode(message.payload().unwrap_or_default())?;
    let said = record::value_of(message, RAISED_BY).and_then(|said| std::str::from_utf8(said).ok());
    Ok(match said {
        Some(said) => Pinned { raised_by: Some(said.to_owned()), ..pinned },
        None => pinned,
    })
}

/// Reads the topic, which exists, to its end. `reader` reports the end of a partition.
pub(in crate::log::kafka) fn read(
    reader: &BaseConsumer<LastClientError>,
    topic: &str,
) -> Result<Result<Option<Pinned>, ManifestProblem>, LogError> {
    let cannot = |error: &KafkaError| reader.context().error(format_args!("cannot read {topic}"), error);
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).map_err(|error| cannot(&error))?;
    reader.assign(&from).map_err(|error| cannot(&error))?;
    let found = to_end(reader);
    reader.unassign().map_err(|error| cannot(&error))?;
    found.map_err(|error| cannot(&error))
}

fn to_end(reader: &BaseConsumer<LastClientError>) -> KafkaResult<Result<Option<Pinned>, ManifestProblem>> {
    let mut found: Option<Pinned> = None;
    let mut records: usize = 0;
    let mut looks = 0;
    let mut last = KafkaError::NoMessageReceived;
    while looks < LOOKS_MAX {
        match reader.poll(LOOK) {
            None => looks += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Ok(found)),
            // A topic that was created a moment ago is not known to every broker.
            Some(Err(error)) => (looks, last) = (looks + 1, error),
            Some(Ok(_)) if records == RECORDS_MAX => return Ok(Err(ManifestProblem::Crowded)),
            Some(Ok(message)) if message.key() == Some(KEY) => {
                let pinned = match of_record(&message) {
                    Ok(pinned) => pinned,
                    Err(problem) => return Ok(Err(problem)),
                };
                found = match found {
                    None => Some(pinned),
                    Some(before) => before.and(pinned),
                };
                if found.is_none() {
                    return Ok(Err(ManifestProblem::Two));
                }
                records += 1;
            }
            Some(Ok(_)) => records += 1,
        }
    }
    Err(last)
}

/// Writes the manifest of a new log, or its next feature level, and reads it back: of two processes that write different
/// ones at once, one or both get an error.
pub(super) fn write(
    cluster: &Cluster,
    reader: &BaseConsumer<LastClientError>,
    pinned: &Pinned,
) -> Result<(), LogError> {
    let topic = &cluster.topics.manifest;
    let last_error = LastClientError::default();
    let cannot = |error: &KafkaError| last_error.error(format_args!("cannot write {topic}"), error);
    let value = encode(pinned);
    let producer: BaseProducer<LastClientError> =
        cluster.plain().create_with_context(last_error.clone()).map_err(|error| cannot(&error))?;
    let record = BaseRecord::to(topic).partition(0).key(KEY).payload(&value);
    let record = match pinned.raised_by.as_deref() {
        Some(version) => record.headers(OwnedHeaders::new().insert(Header { key: RAISED_BY, value: Some(version) })),
        None => record,
    };
    producer.send(record).map_err(|(error, _)| cannot(&error))?;
    producer.flush(ASK_LIMIT).map_err(|error| cannot(&error))?;
    match read(reader, topic)? {
        Ok(Some(found)) if pinned.clone().and(found.clone()).as_ref() == Some(&found) => Ok(()),
        Ok(Some(_)) => Err(LogError::operator(format!("{topic} {}", ManifestProblem::Two))),
        Ok(None) => Err(cannot(&KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut))),
        Err(problem) => Err(LogError::operator(format!("{topic} {problem}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    fn pinned() -> Pinned {
        let manifest = Manifest {
            log_id: 0x1f,
            partitions: 4,
            hash_version: 1,
            format_version: FORMAT_VERSION,
            dedup_window_ms: 86_400_000,
            memory_version: 1,
            created_at: Micros(1_700_000_000_000_000),
        };
        let place = LogLocation {
            cluster_id: "K1".to_owned(),
            application: "headroom".to_owned(),
            environment: "prod".to_owned(),
            topics: Topics::of("h"),
        };
        Pinned { manifest, feature_level: 1, raised_by: None, command_window_ms: 15_000, place }
    }

    /// The story: two operators raise the level at once, with two versions of this program.
    #[test]
    fn of_two_levels_the_higher_one_holds_whichever_was_written_last() {
        let at = |feature_level, by: &str| Pinned { feature_level, raised_by: Some(by.to_owned()), ..pinned() };
        let (two, three) = (at(2, "1.0"), at(3, "1.1"));
        assert_eq!(two.clone().and(three.clone()), Some(three.clone()));
        assert_eq!(three.clone().and(two.clone()), Some(three.clone()));
        assert_eq!(two.clone().and(at(2, "1.2")), Some(two.clone()));
        assert_eq!(two.and(Pinned { command_window_ms: 1, ..three }), None);
    }

    /// The story: a level was raised, and a process of the version before refused a field that it did not know. Its `topics plan`
    /// then advised to remove the record that raised the level.
    #[test]
    fn who_raised_the_level_is_in_no_field_that_an_earlier_version_refuses() {
        let plain = Pinned { feature_level: 2, ..pinned() };
        let raised = |by: &str| Pinned { raised_by: Some(by.to_owned()), ..plain.clone() };
        assert_eq!(encode(&raised("0.3.0")), encode(&plain));
        let read = |text: &str, headers: Option<OwnedHeaders>| {
            let payload = Some(text.as_bytes().to_vec());
            of_record(&OwnedMessage::new(payload, None, String::new(), Timestamp::NotAvailable, 0, 0, headers))
        };
        let header = |by: &[u8]| Some(OwnedHeaders::new().insert(Header { key: RAISED_BY, value: Some(by) }));
        let text = encode(&plain);
        let with_field = text.replace("\"dedup_window_ms\"", "\"raised_by\":\"0.3.0\",\"dedup_window_ms\"");
        for (text, headers, expected) in [
            (&text, None, &plain),
            (&text, header(b"0.3.1"), &raised("0.3.1")),
            (&text, header(b"\xff"), &plain),
            (&with_field, None, &raised("0.3.0")),
            (&with_field, header(b"0.3.1"), &raised("0.3.1")),
        ] {
            assert_eq!(read(text, headers).as_ref(), Ok(expected));
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let pinned = pinned();
        let text = encode(&pinned);
        let expected = concat!(
            r#"{"log_id":"0000000000000000000000000000001f","partitions":4,"hash_version":1,"format_version":2,"#,
            r#""feature_level":1,"dedup_window_ms":86400000,"command_window_ms":15000,"memory_version":1,"#,
            r#""created_at":1700000000000000,"cluster_id":"K1","#,
            r#""application":"headroom","environment":"prod","topics":{"commands":"h.commands","events":"h.events","#,
            r#""replies":"h.replies","dead_letters":"h.dead-letters","#,
            r#""manifest":"h.manifest"}}"#,
        );
        assert_eq!(text, expected);
        assert_eq!(
            decode(text.replace("\"memory_version\":1,", "").as_bytes()),
            Ok(pinned.clone()),
            "as older ones are"
        );
        let with_snapshots = text.replace(r#""dead_letters""#, r#""snapshots":"h.snapshots","dead_letters""#);
        assert_eq!(decode(with_snapshots.as_bytes()), Ok(pinned.clone()), "of a log that had a topic more");
        assert_eq!(decode(text.as_bytes()), Ok(pinned));
        for bad in [
            "",
            "{}",
            &text.replace("1f", "xx"),
            &text.replace("00001f", "1f"),
            &text.replace("}}", "},\"a\":1}"),
            &text.replace("s\":4", "s\":0"),
            &text.replace("\"environment\":\"prod\",", ""),
        ] {
            assert!(matches!(decode(bad.as_bytes()), Err(ManifestProblem::Unreadable(_))), "{bad}");
        }
        let older = r#"{"log_id":"0000000000000000000000000000001f","partitions":4,"format_version":1}"#;
        assert_eq!(decode(older.as_bytes()), Err(ManifestProblem::OtherVersion(1)));
    }
}
