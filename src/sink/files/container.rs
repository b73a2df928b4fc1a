//! Rows as Avro: the flat schema made of the columns, the datum of a row, and the container file. The file is put together
//! here because that of the library has its header in any order, and the same rows are to be the same bytes.

use crate::sink::{COLUMNS, Column, ColumnKind, Row};
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Codec, DeflateSettings, Error, Schema};
use miniz_oxide::deflate::CompressionLevel;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Bytes of rows in a block, before they are compressed: a reader has one block in its memory. It is well below what the
/// decoders of this program allocate at most.
const BLOCK_BYTES: usize = 64 << 10;
/// A higher level makes smaller files and takes most of the sink's time.
const LEVEL: CompressionLevel = CompressionLevel::BestSpeed;
/// What an Avro container file begins with.
const MAGIC: &[u8] = b"Obj\x01";

/// The schema of the rows, as it stands in each file.
static SCHEMA_TEXT: LazyLock<String> = LazyLock::new(|| {
    let field = |column: &Column| {
        let of = match column.kind {
            ColumnKind::Int => json!("int"),
            ColumnKind::Long => json!("long"),
            ColumnKind::Truth => json!("boolean"),
            ColumnKind::Time => json!({"type": "long", "logicalType": "timestamp-micros"}),
            ColumnKind::Text | ColumnKind::Object | ColumnKind::Texts => json!("string"),
        };
        match column.is_always {
            true => json!({"name": column.name, "type": of, "doc": column.doc}),
            false => json!({"name": column.name, "type": ["null", of], "default": null, "doc": column.doc}),
        }
    };
    let fields: Vec<Value> = COLUMNS.iter().map(field).collect();
    json!({"type": "record", "name": "EventRow", "namespace": "headroom", "fields": fields}).to_string()
});

pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| match Schema::parse_str(&SCHEMA_TEXT) {
    Ok(schema) => schema,
    Err(error) => unreachable!("the columns make no schema: {error}"),
});

/// Writes the rows of the schema.
pub(super) struct Encoder(GenericDatumWriter<'static>);

impl Encoder {
    pub(super) fn new() -> Encoder {
        match GenericDatumWriter::builder(&SCHEMA).validate(false).build() {
            Ok(writer) => Encoder(writer),
            Err(error) => unreachable!("the schema of rows cannot be written: {error}"),
        }
    }

    /// The row as a datum of the schema.
    pub(super) fn datum(&self, row: &Row) -> Vec<u8> {
        let field = |(column, value): (&Column, _)| (column.name.clone(), field_of(column, value));
        match self.0.write_value_to_vec(Avro::Record(row.values().map(field).collect())) {
            Ok(datum) => datum,
            Err(error) => unreachable!("a row does not fit its schema: {error}"),
        }
    }
}

fn field_of(column: &Column, value: Option<&Value>) -> Avro {
    match (value, column.is_always) {
        (None, false) => Avro::Union(0, Box::new(Avro::Null)),
        (Some(value), false) => Avro::Union(1, Box::new(avro(column.kind, value))),
        (value, true) => avro(column.kind, value.unwrap_or(&Value::Null)),
    }
}

/// The value in the type of its column, whatever it is.
fn avro(kind: ColumnKind, value: &Value) -> Avro {
    let long = || value.as_i64().unwrap_or_default();
    match kind {
        ColumnKind::Int => Avro::Int(i32::try_from(long()).unwrap_or_default()),
        ColumnKind::Long => Avro::Long(long()),
        ColumnKind::Truth => Avro::Boolean(value.as_bool().unwrap_or_default()),
        ColumnKind::Time => Avro::TimestampMicros(long()),
        ColumnKind::Text | ColumnKind::Object | ColumnKind::Texts => Avro::String(match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    }
}

/// A container file of these rows. Its marker follows from its name.
///
/// # Errors
/// The library cannot compress, or cannot write a number.
pub(super) fn container<'a>(name: &str, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, Error> {
    let marker: [u8; 16] = blake3::hash(name.as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default();
    let mut file = MAGIC.to_vec();
    put_long(2, &mut file)?;
    for text in ["avro.codec", "deflate", "avro.schema", &SCHEMA_TEXT] {
        put_long(text.len(), &mut file)?;
        file.extend_from_slice(text.as_bytes());
    }
    put_long(0, &mut file)?;
    file.extend_from_slice(&marker);
    let (mut block, mut count) = (Vec::new(), 0_usize);
    let mut rows = rows.peekable();
    while let Some(row) = rows.next() {
        block.extend_from_slice(row);
        count = count.saturating_add(1);
        if block.len() >= BLOCK_BYTES || rows.peek().is_none() {
            Codec::Deflate(DeflateSettings::new(LEVEL)).compress(&mut block)?;
            put_long(std::mem::take(&mut count), &mut file)?;
            put_long(block.len(), &mut file)?;
            file.append(&mut block);
            file.extend_from_slice(&marker);
        }
    }
    Ok(file)
}

fn put_long(number: usize, file: &mut Vec<u8>) -> Result<(), Error> {
    let number = Avro::Long(i64::try_from(number).unwrap_or(i64::MAX));
    GenericDatumWriter::builder(&Schema::Long).build()?.write_value(file, number).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::Reader;

    #[test]
    fn values_have_the_types_of_their_columns() {
        for (kind, value, expected) in [
            (ColumnKind::Int, json!(7), Avro::Int(7)),
            (ColumnKind::Long, json!(-7), Avro::Long(-7)),
            (ColumnKind::Truth, json!(true), Avro::Boolean(true)),
            (ColumnKind::Time, json!(1_800_000_000_000_001_u64), Avro::TimestampMicros(1_800_000_000_000_001)),
            (ColumnKind::Text, json!("a\0\"b"), Avro::String("a\0\"b".to_owned())),
            (ColumnKind::Object, json!({"a\"b": 2}), Avro::String("{\"a\\\"b\":2}".to_owned())),
            (ColumnKind::Texts, json!(["a", "b"]), Avro::String("[\"a\",\"b\"]".to_owned())),
        ] {
            assert_eq!(avro(kind, &value), expected, "{value}");
        }
    }

    #[test]
    fn a_file_of_several_blocks_is_read_back_and_is_the_same_every_time() {
        // Our decoder bounds what the crate allocates, and has to be the first in the process to use it.
        assert!(crate::wire::event::decode(&[]).is_err());
        let rows = 40_000_i64;
        let encoder = Encoder::new();
        let fields = |seq: i64| {
            let field = |of: &Column| match &*of.name {
                "seq" => (of.name.clone(), Avro::Long(seq)),
                _ => (of.name.clone(), field_of(of, None)),
            };
            Avro::Record(COLUMNS.iter().map(field).collect())
        };
        let data: Vec<Vec<u8>> = (0..rows).map(|seq| encoder.0.write_value_to_vec(fields(seq)).unwrap()).collect();
        let file = || container("p00000", data.iter().map(Vec::as_slice)).unwrap();
        let found: Vec<Avro> = Reader::new(&*file()).unwrap().map(Result::unwrap).collect();
        assert_eq!(found, (0..rows).map(fields).collect::<Vec<_>>());
        assert!(data.iter().map(Vec::len).sum::<usize>() > 4 * BLOCK_BYTES, "several blocks");
        assert_eq!(file(), file());
        assert_ne!(file(), container("p00001", data.iter().map(Vec::as_slice)).unwrap());
    }
}
