//! The schemas, and which versions a reader understands. Records are written under the newest schema of a topic, and
//! read under the schema that wrote them.

use super::DecodeError;
use super::datum::{self, DirectRecord};
use super::frame::{self, Fingerprint};
use super::recent::Recent;
use crate::limits::DECODE_ALLOCATION_BYTES_MAX;
use crate::log::known_level;
use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_avro_fast::de::DeserializerState;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::error::Error;
use std::io::BufRead;
use std::sync::{LazyLock, Once};

/// Every released version of the command schema, oldest first.
pub const COMMAND: &[&str] = &[
    include_str!("../../schemas/command.v1.avsc"),
    include_str!("../../schemas/command.v2.avsc"),
    include_str!("../../schemas/command.v3.avsc"),
    include_str!("../../schemas/command.v4.avsc"),
];
/// Every released version of the event schema, oldest first.
pub const EVENT: &[&str] = &[
    include_str!("../../schemas/event.v1.avsc"),
    include_str!("../../schemas/event.v2.avsc"),
    include_str!("../../schemas/event.v3.avsc"),
    include_str!("../../schemas/event.v4.avsc"),
    include_str!("../../schemas/event.v5.avsc"),
];
/// Every released version of the reply schema, oldest first.
pub const REPLY: &[&str] = &[include_str!("../../schemas/reply.v1.avsc")];
/// Every released version of the snapshot schema, oldest first.
pub const SNAPSHOT: &[&str] = &[
    include_str!("../../schemas/snapshot.v1.avsc"),
    include_str!("../../schemas/snapshot.v2.avsc"),
    include_str!("../../schemas/snapshot.v3.avsc"),
];

/// The newest versions that each feature level has, from level 1 on: of commands, and of events.
const OF_LEVELS: [(usize, usize); 2] = [(3, 4), (4, 5)];

pub(super) static COMMANDS: LazyLock<Topic> =
    LazyLock::new(|| Topic { hidden: COMMAND.len().saturating_sub(of_level(known_level()).0), ..Topic::new(COMMAND) });
pub(super) static EVENTS: LazyLock<Topic> =
    LazyLock::new(|| Topic { hidden: EVENT.len().saturating_sub(of_level(known_level()).1), ..Topic::new(EVENT) });
pub(super) static REPLIES: LazyLock<Topic> = LazyLock::new(|| Topic::new(REPLY));
pub(super) static SNAPSHOTS: LazyLock<Topic> = LazyLock::new(|| Topic::new(SNAPSHOT));

/// The newest versions of commands and of events that a feature level has.
pub(super) fn of_level(level: u32) -> (usize, usize) {
    let known = |level: u32| OF_LEVELS.get(usize::try_from(level.checked_sub(1)?).ok()?).copied();
    known(level).unwrap_or((COMMAND.len(), EVENT.len()))
}

/// The schemas of one topic, ready to write and read with.
pub(super) struct Topic {
    fingerprint: Fingerprint,
    /// Reads what the newest version wrote where [`datum`] does not.
    newest: serde_avro_fast::Schema,
    /// Reads the first fields of records of the newest version, and of older versions that begin in the same way.
    head: serde_avro_fast::Schema,
    older: Vec<Older>,
    writer: GenericDatumWriter<'static>,
    /// How many versions, from the newest on, an older program does not know: none, unless a test plays one.
    hidden: usize,
}

struct Older {
    fingerprint: Fingerprint,
    reading: Reading,
    /// How many fields the newest version has more.
    lacks: usize,
}

/// How a record of an older version is read.
enum Reading {
    /// The newest version begins with all fields of the older one, in order: the record is read as one that ends
    /// early. The second reader is slow, and refuses everything that the older schema cannot say; the first one skips a
    /// symbol that it need not know.
    Shorter(serde_avro_fast::Schema, GenericDatumReader<'static>),
    /// The record is resolved by the names of its fields.
    Resolved(GenericDatumReader<'static>),
}

impl Topic {
    /// Parses the schemas, oldest first. The texts are part of the program.
    ///
    /// # Panics
    /// When a text is no schema. The tests show that all texts in the program are.
    pub(super) fn new(texts: &[&str]) -> Topic {
        bound_allocations();
        let built = || -> Option<Result<Topic, Box<dyn Error>>> {
            let (newest, older) = texts.split_last()?;
            Some(Topic::build(newest, older))
        };
        match built() {
            Some(Ok(topic)) => topic,
            Some(Err(error)) => unreachable!("an embedded schema is none: {error}"),
            None => unreachable!("a topic has a schema"),
        }
    }

    fn build(newest: &str, older: &[&str]) -> Result<Topic, Box<dyn Error>> {
        let reading = leak(newest)?;
        let older = older.iter().map(|older| {
            let schema = leak(older)?;
            let is_beginning = begins(&serde_json::from_str(older)?, &serde_json::from_str(newest)?);
            let reading = if is_beginning {
                Reading::Shorter(older.parse()?, GenericDatumReader::builder(schema).build()?)
            } else {
                let resolving = GenericDatumReader::builder(schema).reader_schema(reading);
                Reading::Resolved(resolving.human_readable(false).build()?)
            };
            let lacks = fields_of(newest)?.saturating_sub(fields_of(&schema.canonical_form())?);
            Ok(Older { fingerprint: fingerprint(schema), reading, lacks })
        });
        Ok(Topic {
            fingerprint: fingerprint(reading),
            newest: newest.parse()?,
            head: head_of(newest)?.parse()?,
            older: older.collect::<Result<_, Box<dyn Error>>>()?,
            writer: GenericDatumWriter::builder(reading).human_readable(false).build()?,
            hidden: 0,
        })
    }

    /// Encodes a record under this version, counted from 1, if that version can say all of it, and otherwise under the
    /// newest one.
    pub(super) fn write_as(&self, version: usize, record: &impl Serialize, capacity: usize) -> Vec<u8> {
        let mut bytes = self.write(record, capacity);
        let older = version.checked_sub(1).and_then(|at| self.older.get(at));
        if let Some((fingerprint, length)) = older.and_then(|older| Some((older.fingerprint, older.ends(&bytes)?))) {
            bytes.truncate(length);
            frame::mark(&mut bytes, fingerprint);
        }
        bytes
    }

    /// Encodes a record under the newest schema, with its frame.
    ///
    /// # Panics
    /// When the record does not fit the newest schema: a mistake in this module, which the tests would show.
    pub(super) fn write(&self, record: &impl Serialize, capacity: usize) -> Vec<u8> {
        let mut bytes = frame::begin(self.fingerprint, capacity);
        match self.writer.write_ser(&mut bytes, record) {
            Ok(_) => bytes,
            Err(error) => unreachable!("a record does not fit its schema: {error}"),
        }
    }

    /// Decodes a record with its frame. Returns the bytes of its datum too.
    pub(super) fn read<'b, R>(&self, bytes: &'b [u8]) -> Result<(R, &'b [u8]), DecodeError>
    where
        R: DeserializeOwned + DirectRecord,
    {
        let (fingerprint, datum) = frame::open(bytes)?;
        if self.is_newest(fingerprint)
            && let Some(record) = datum::read(datum, None)
        {
            return Ok((record, datum));
        }
        Ok((self.read_by_schema(fingerprint, datum)?, datum))
    }

    /// The same, and makes `make` of the record, where it was read, and of the datum. A record of the newest schema shares
    /// values with the records before.
    pub(super) fn read_after<R, T>(
        &self,
        bytes: &[u8],
        recent: Option<&mut Recent>,
        make: impl FnOnce(&mut R, &[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError>
    where
        R: DeserializeOwned + DirectRecord,
    {
        let (fingerprint, datum) = frame::open(bytes)?;
        if self.is_newest(fingerprint)
            && let Some(mut record) = datum::read(datum, recent)
        {
            return make(&mut record, datum);
        }
        make(&mut self.read_by_schema(fingerprint, datum)?, datum)
    }

    /// The datum of a record of the newest schema, where this process reads it; none for any other record.
    pub(super) fn newest_datum<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        frame::open(bytes).ok().filter(|(fingerprint, _)| self.is_newest(*fingerprint)).map(|(_, datum)| datum)
    }

    fn is_newest(&self, fingerprint: Fingerprint) -> bool {
        fingerprint == self.fingerprint && self.hidden == 0
    }

    /// Reads a datum by what its schema says.
    fn read_by_schema<R: DeserializeOwned>(&self, fingerprint: Fingerprint, datum: &[u8]) -> Result<R, DecodeError> {
        if self.is_newest(fingerprint) {
            return read_whole(&self.newest, datum);
        }
        let known = self.older.len().saturating_add(1).saturating_sub(self.hidden);
        let version = self.older.iter().take(known).find(|version| version.fingerprint == fingerprint);
        let version = version.ok_or_else(DecodeError::unknown_schema)?;
        let reader = match &version.reading {
            Reading::Shorter(schema, _) => return read_whole(schema, datum),
            Reading::Resolved(reader) => reader,
        };
        let mut rest = datum;
        let value = reader.read_value(&mut rest).map_err(DecodeError::not_of_schema)?;
        whole(rest)?;
        // The record is written again under the newest schema and read like any other: one decoder for all versions.
        let renewed = self.writer.write_value_to_vec(value).map_err(DecodeError::not_of_schema)?;
        read_whole(&self.newest, &renewed)
    }

    /// Decodes a datum of the newest schema by what the schema says.
    #[cfg(test)]
    pub(super) fn read_newest<R: DeserializeOwned>(&self, datum: &[u8]) -> Result<R, DecodeError> {
        read_whole(&self.newest, datum)
    }

    /// The version under which a record was written, from 1.
    pub(super) fn version_of(&self, bytes: &[u8]) -> Result<u32, DecodeError> {
        let (fingerprint, _) = frame::open(bytes)?;
        let older = self.older.iter().position(|version| version.fingerprint == fingerprint);
        let place = older.unwrap_or(self.older.len());
        Ok(u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// Decodes the first fields of a record that begins like one of the newest schema; the rest is not read.
    pub(super) fn read_head<R: DeserializeOwned>(&self, bytes: &[u8]) -> Option<R> {
        let (fingerprint, datum) = frame::open(bytes).ok()?;
        let is_shorter =
            |version: &Older| version.fingerprint == fingerprint && matches!(version.reading, Reading::Shorter(..));
        if fingerprint != self.fingerprint && !self.older.iter().any(is_shorter) {
            return None;
        }
        R::deserialize(DeserializerState::from_slice(datum, &self.head).deserializer()).ok()
    }
}

impl Older {
    /// Where a framed record of the newest version ends under this one: the fields that this version lacks come last, and
    /// are null there, each a byte. `None` when the record says something that this version cannot say.
    fn ends(&self, bytes: &[u8]) -> Option<usize> {
        let Reading::Shorter(_, checking) = &self.reading else { return None };
        let length = bytes.len().checked_sub(self.lacks)?;
        let (kept, rest) = bytes.split_at_checked(length)?;
        let (_, mut datum) = frame::open(kept).ok()?;
        let fits = rest.iter().all(|byte| *byte == 0) && checking.read_value(&mut datum).is_ok() && datum.is_empty();
        fits.then_some(length)
    }
}

/// Number of fields in a head: the kind, and the identity after it.
const HEAD_FIELDS: usize = 2;

fn fields_of(text: &str) -> serde_json::Result<usize> {
    let schema: Value = serde_json::from_str(text)?;
    Ok(schema.get("fields").and_then(Value::as_array).map_or(0, Vec::len))
}

/// The schema of the first fields of a record.
fn head_of(text: &str) -> serde_json::Result<String> {
    let mut schema: Value = serde_json::from_str(text)?;
    if let Some(fields) = schema.get_mut("fields").and_then(Value::as_array_mut) {
        fields.truncate(HEAD_FIELDS);
    }
    Ok(schema.to_string())
}

/// Whether a schema is nothing but the beginning of another one, in each list of fields and symbols. Docs do not
/// count.
fn begins(older: &Value, newest: &Value) -> bool {
    match (older, newest) {
        (Value::Object(older), Value::Object(newest)) => {
            let said = |fields: &Map<String, Value>| fields.keys().filter(|key| *key != "doc").count();
            let is_same = |(key, value): (&String, &Value)| match key.as_str() {
                "doc" => true,
                "fields" | "symbols" => newest.get(key).is_some_and(|other| begins(value, other)),
                _ => newest.get(key).is_some_and(|other| is_whole(value, other)),
            };
            said(older) == said(newest) && older.iter().all(is_same)
        }
        (Value::Array(older), Value::Array(newest)) => {
            older.len() <= newest.len() && older.iter().zip(newest).all(|(older, newest)| begins(older, newest))
        }
        (older, newest) => older == newest,
    }
}

/// The same for a list that must have equal length, such as a union.
fn is_whole(older: &Value, newest: &Value) -> bool {
    let length = |value: &Value| value.as_array().map(Vec::len);
    length(older) == length(newest) && begins(older, newest)
}

fn read_whole<R: DeserializeOwned>(schema: &serde_avro_fast::Schema, datum: &[u8]) -> Result<R, DecodeError> {
    let mut reading = DeserializerState::from_slice(datum, schema);
    let record = R::deserialize(reading.deserializer()).map_err(DecodeError::not_of_schema)?;
    whole(reading.fill_buf().unwrap_or(datum))?;
    Ok(record)
}

fn whole(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() { Ok(()) } else { Err(DecodeError::new("bytes follow the record")) }
}

fn leak(text: &str) -> Result<&'static Schema, apache_avro::Error> {
    Ok(Box::leak(Box::new(Schema::parse_str(text)?)))
}

/// The fingerprint of a schema; `None` when the text is no schema.
pub fn fingerprint_of(text: &str) -> Option<Fingerprint> {
    bound_allocations();
    Schema::parse_str(text).ok().as_ref().map(fingerprint)
}

/// The fingerprints of all schemas above that this process knows.
pub fn known() -> &'static BTreeSet<Fingerprint> {
    static KNOWN: LazyLock<BTreeSet<Fingerprint>> = LazyLock::new(|| {
        let (commands, events) = of_level(known_level());
        let known = [COMMAND.get(..commands), EVENT.get(..events), Some(REPLY), Some(SNAPSHOT)];
        known.into_iter().flatten().flatten().filter_map(|text| fingerprint_of(text)).collect()
    });
    &KNOWN
}

/// What keeps two versions of a schema from reading each other's records, whatever the records hold. A conflict that
/// only some records have is not counted.
pub fn incompatibilities(versions: &[&str]) -> Vec<String> {
    bound_allocations();
    let parsed: Result<Vec<Schema>, _> = versions.iter().map(|text| Schema::parse_str(text)).collect();
    let schemas = match parsed {
        Ok(schemas) => schemas,
        Err(error) => return vec![error.to_string()],
    };
    let numbered = || (1..).zip(&schemas);
    let pairs = numbered().flat_map(|writer| numbered().map(move |reader| (writer, reader)));
    let verdict = |((by, writer), (to, reader)): ((u32, &Schema), (u32, &Schema))| {
        let why = match SchemaCompatibility::can_read(writer, reader) {
            Ok(Compatibility::Full) => return None,
            Ok(Compatibility::Partial) => "only some records can be read".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(format!("version {to} cannot read what version {by} wrote: {why}"))
    };
    pairs.filter_map(verdict).collect()
}

fn fingerprint(schema: &Schema) -> Fingerprint {
    let bytes = schema.fingerprint::<Rabin>().bytes;
    bytes.first_chunk().copied().unwrap_or_default()
}

/// A length in a record may be a lie: no single one may make a decoder allocate more than the largest command.
fn bound_allocations() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let bound = apache_avro::util::max_allocation_bytes(DECODE_ALLOCATION_BYTES_MAX);
        assert_eq!(bound, DECODE_ALLOCATION_BYTES_MAX, "avro was used before its allocations were bounded");
    });
}

#[cfg(test)]
mod tests {
    use super::super::field::{Bytes, Code, Coded, record};
    use super::*;
    use crate::domain::Reason;
    use crate::wire::{command, event, reply, snapshot};

    #[test]
    fn records_have_their_schemas_fields_in_order() {
        let records = [
            (COMMAND, command::CommandRecord::FIELDS),
            (EVENT, event::EventRecord::FIELDS),
            (REPLY, reply::ReplyRecord::FIELDS),
            (SNAPSHOT, snapshot::SnapshotRecord::FIELDS),
        ];
        for (texts, fields) in records {
            let schema: Value = serde_json::from_str(texts.last().unwrap()).unwrap();
            let names: Vec<&str> =
                schema["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
            assert_eq!(names, fields);
        }
    }

    /// The enumeration of this name, wherever the schema defines it.
    fn symbols<'a>(schema: &'a Value, name: &str) -> Option<Vec<&'a str>> {
        if schema["name"] == name
            && let Some(symbols) = schema["symbols"].as_array()
        {
            assert_eq!(schema["default"], symbols[0]);
            return Some(symbols.iter().map(|symbol| symbol.as_str().unwrap()).collect());
        }
        match schema {
            Value::Array(items) => items.iter().find_map(|item| symbols(item, name)),
            Value::Object(fields) => fields.values().find_map(|item| symbols(item, name)),
            _ => None,
        }
    }

    #[test]
    fn what_the_last_versions_wrote_is_read_without_resolving_names() {
        for texts in [COMMAND, EVENT] {
            let newest: Value = serde_json::from_str(texts.last().unwrap()).unwrap();
            for older in texts {
                assert!(begins(&serde_json::from_str(older).unwrap(), &newest), "{older}");
            }
        }
    }

    #[test]
    fn what_is_decided_is_of_the_newest_version() {
        assert_eq!(EVENT.len(), usize::try_from(crate::domain::event::VERSION).unwrap());
        assert_eq!(
            EVENTS.version_of(&EVENTS.write(&event::EventRecord::of(Coded(crate::domain::EventKind::Tick)), 64)),
            Ok(5)
        );
    }

    fn agrees<T: Code>(texts: &[&str]) {
        let schema: Value = serde_json::from_str(texts.last().unwrap()).unwrap();
        assert_eq!(symbols(&schema, T::NAME).unwrap(), T::SYMBOLS, "{}", T::NAME);
        assert_eq!(T::SYMBOLS.len(), T::VALUES.len() + 1, "{}", T::NAME);
    }

    #[test]
    fn codes_are_their_schemas_symbols() {
        agrees::<crate::domain::CommandKind>(COMMAND);
        agrees::<crate::domain::CommandKind>(EVENT);
        agrees::<command::Part>(COMMAND);
        agrees::<crate::domain::EventKind>(EVENT);
        agrees::<crate::domain::Mode>(COMMAND);
        agrees::<crate::domain::Mode>(EVENT);
        agrees::<crate::domain::Status>(EVENT);
        agrees::<crate::domain::ReleaseCause>(EVENT);
        agrees::<Reason>(EVENT);
        agrees::<reply::ReplyKind>(REPLY);
        agrees::<snapshot::SnapshotKind>(SNAPSHOT);
        for reason in Reason::ALL {
            let place = reason.place().expect("every reason has a symbol");
            assert_eq!(Reason::SYMBOLS[place + 1], reason.code());
        }
    }

    const OLD: &str = r#"{"type": "record", "name": "T", "fields": [
        {"name": "kind", "type": {"type": "enum", "name": "Ask", "symbols": ["Unknown", "Release", "Gone", "Reserve"],
            "default": "Unknown"}},
        {"name": "gone", "type": ["null", "string"], "default": null},
        {"name": "body", "type": ["null", "bytes"], "default": null}]}"#;
    const NEW: &str = r#"{"type": "record", "name": "T", "fields": [
        {"name": "kind", "type": {"type": "enum", "name": "Ask", "symbols": SYMBOLS, "default": "Unknown"}},
        {"name": "body", "type": ["null", "bytes"], "default": null},
        {"name": "more", "type": ["null", "long"], "default": null}]}"#;

    record! {
        OldRecord { kind: Coded<crate::domain::CommandKind>, gone: Bytes<'a>, body: Bytes<'a>, }
    }
    record! {
        NewRecord { kind: Coded<crate::domain::CommandKind>, body: Bytes<'a>, more: i64, }
    }

    /// The story: a level has one symbol more and no new field. Older processes can read all records but those with it.
    #[test]
    fn a_symbol_that_an_older_schema_lacks_is_written_under_the_newest() {
        let symbols = crate::domain::CommandKind::SYMBOLS;
        let of = |symbols: &[&str]| NEW.replace("SYMBOLS", &serde_json::to_string(symbols).unwrap());
        let both = Topic::new(&[&of(&symbols[..symbols.len() - 1]), &of(symbols)]);
        let version =
            |kind| both.version_of(&both.write_as(1, &NewRecord { more: Some(7), ..NewRecord::of(Coded(kind)) }, 64));
        let newest = crate::domain::CommandKind::VALUES.last().unwrap().unwrap();
        assert_eq!((version(crate::domain::CommandKind::Release), version(newest)), (Ok(1), Ok(2)));
    }

    #[test]
    fn an_older_writers_record_is_read_as_one_of_the_newest_schema() {
        let old = Topic::new(&[OLD]);
        let symbols = serde_json::to_string(crate::domain::CommandKind::SYMBOLS).unwrap();
        let both = Topic::new(&[OLD, &NEW.replace("SYMBOLS", &symbols)]);
        let record = OldRecord {
            body: Some(Bytes(b"body".as_slice().into())),
            ..OldRecord::of(Coded(crate::domain::CommandKind::Release))
        };
        let bytes = old.write(&record, 64);
        let (read, datum) = both.read::<NewRecord<'static>>(&bytes).unwrap();
        assert_eq!(read.kind, Coded(crate::domain::CommandKind::Release));
        assert_eq!(read.body.map(|bytes| bytes.0.into_owned()), Some(b"body".to_vec()));
        assert_eq!((read.more, datum), (None, &bytes[frame::FRAME_BYTES..]));
        let unread = old.read::<OldRecord<'static>>(&both.write(&NewRecord::of(read.kind), 64)).err();
        assert_eq!(unread.unwrap().to_string(), "written under a schema that is not known here");
        let mut unknown = bytes.clone();
        unknown[frame::FRAME_BYTES] = 2 * 2; // Gone, as Avro writes it.
        let unread = both.read::<NewRecord<'static>>(&unknown).err();
        assert_eq!(unread.unwrap().to_string(), "not of the schema it names: the Ask 0 is not known here");
        assert!(both.read::<NewRecord<'static>>(&[bytes, vec![0]].concat()).is_err());
    }
}
