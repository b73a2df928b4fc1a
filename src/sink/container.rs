//! Rows as Avro: the flat schema made of the columns, the datum of a row, and the container file. The file is put together
//! here because that of the library has its header in any order, and the same rows are to be the same bytes.

use super::column::{COLUMNS, Column, ColumnKind};
use super::target::TargetError;
use crate::domain::Micros;
use crate::time;
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

/// What the rows of a file are.
pub(super) struct Form {
    columns: Vec<Column>,
    /// Whether the rows go into a database: it reads times as text, and takes no zero byte.
    is_copied: bool,
    /// The schema, as it stands in each file.
    text: String,
    pub(super) schema: Schema,
}

/// Rows of events in files that are read where they are.
pub(super) static LAKE: LazyLock<Form> = LazyLock::new(|| Form::of(&COLUMNS, false));

impl Form {
    pub(super) fn of(columns: &[Column], is_copied: bool) -> Form {
        let field = |column: &Column| {
            let of = match column.kind {
                ColumnKind::Int => json!("int"),
                ColumnKind::Long => json!("long"),
                ColumnKind::Truth => json!("boolean"),
                ColumnKind::Time if !is_copied => json!({"type": "long", "logicalType": "timestamp-micros"}),
                ColumnKind::Time | ColumnKind::Text | ColumnKind::Object | ColumnKind::Texts => json!("string"),
            };
            match column.is_always {
                true => json!({"name": column.name, "type": of, "doc": column.doc}),
                false => json!({"name": column.name, "type": ["null", of], "default": null, "doc": column.doc}),
            }
        };
        let fields: Vec<Value> = columns.iter().map(field).collect();
        let text = json!({"type": "record", "name": "EventRow", "namespace": "headroom", "fields": fields}).to_string();
        match Schema::parse_str(&text) {
            Ok(schema) => Form { columns: columns.to_vec(), is_copied, text, schema },
            Err(error) => unreachable!("the columns make no schema: {error}"),
        }
    }

    /// The value in the type of its column, whatever it is.
    fn avro(&self, kind: ColumnKind, value: &Value) -> Avro {
        let long = || value.as_i64().unwrap_or_default();
        match kind {
            ColumnKind::Int => Avro::Int(i32::try_from(long()).unwrap_or_default()),
            ColumnKind::Long => Avro::Long(long()),
            ColumnKind::Truth => Avro::Boolean(value.as_bool().unwrap_or_default()),
            ColumnKind::Time if self.is_copied => {
                let text = time::text(Micros(value.as_u64().unwrap_or_default()));
                Avro::String(text.replace('T', " ").replace('Z', "+00"))
            }
            ColumnKind::Time => Avro::TimestampMicros(long()),
            ColumnKind::Text | ColumnKind::Object | ColumnKind::Texts => {
                let text = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                Avro::String(if self.is_copied { text.replace('\0', "\u{fffd}") } else { text })
            }
        }
    }

    fn field(&self, column: &Column, value: Option<&Value>) -> Avro {
        match (value, column.is_always) {
            (None, false) => Avro::Union(0, Box::new(Avro::Null)),
            (Some(value), false) => Avro::Union(1, Box::new(self.avro(column.kind, value))),
            (value, true) => self.avro(column.kind, value.unwrap_or(&Value::Null)),
        }
    }
}

/// Writes the rows of a form.
pub(super) struct Encoder {
    form: &'static Form,
    writer: GenericDatumWriter<'static>,
}

impl Encoder {
    pub(super) fn new(form: &'static Form) -> Encoder {
        match GenericDatumWriter::builder(&form.schema).validate(false).build() {
            Ok(writer) => Encoder { form, writer },
            Err(error) => unreachable!("the schema of rows cannot be written: {error}"),
        }
    }

    /// The row with these values, which are in the order of the columns, as a datum of the schema.
    pub(super) fn datum<'a>(&self, values: impl Iterator<Item = Option<&'a Value>>) -> Vec<u8> {
        let field = |(column, value): (&Column, _)| (column.name.clone(), self.form.field(column, value));
        match self.writer.write_value_to_vec(Avro::Record(self.form.columns.iter().zip(values).map(field).collect())) {
            Ok(datum) => datum,
            Err(error) => unreachable!("a row does not fit its schema: {error}"),
        }
    }

    /// A container file of these rows. Its marker follows from its name.
    ///
    /// # Errors
    /// The library cannot compress, or cannot write a number.
    pub(super) fn container<'a>(
        &self,
        name: &str,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<u8>, TargetError> {
        container(&self.form.text, name, rows).map_err(|error| unpacked(&error))
    }
}

/// Rows that cannot be written as a file.
pub(super) fn unpacked(error: &dyn std::fmt::Display) -> TargetError {
    TargetError::Operator(format!("rows cannot be packed: {error}"))
}

fn container<'a>(schema: &str, name: &str, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, Error> {
    let marker: [u8; 16] = blake3::hash(name.as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default();
    let mut file = MAGIC.to_vec();
    put_long(2, &mut file)?;
    for text in ["avro.codec", "deflate", "avro.schema", schema] {
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
            assert_eq!(LAKE.avro(kind, &value), expected, "{value}");
        }
    }

    #[test]
    fn rows_for_a_database_have_times_as_text_and_no_zero_byte() {
        let form = Form::of(&COLUMNS, true);
        for (kind, value, expected) in [
            (ColumnKind::Time, json!(1_800_000_000_000_001_u64), "2027-01-15 08:00:00.000001+00"),
            (ColumnKind::Text, json!("a\0\"b"), "a\u{fffd}\"b"),
            (ColumnKind::Object, json!({"a": 2}), "{\"a\":2}"),
        ] {
            assert_eq!(form.avro(kind, &value), Avro::String(expected.to_owned()), "{value}");
        }
    }

    #[test]
    fn a_file_of_several_blocks_is_read_back_and_is_the_same_every_time() {
        // Our decoder bounds what the crate allocates, and has to be the first in the process to use it.
        assert!(crate::wire::event::decode(&[]).is_err());
        let rows = 40_000_i64;
        let encoder = Encoder::new(&LAKE);
        let fields = |seq: i64| {
            let field = |of: &Column| match &*of.name {
                "seq" => (of.name.clone(), Avro::Long(seq)),
                _ => (of.name.clone(), LAKE.field(of, None)),
            };
            Avro::Record(COLUMNS.iter().map(field).collect())
        };
        let data: Vec<Vec<u8>> = (0..rows).map(|seq| encoder.writer.write_value_to_vec(fields(seq)).unwrap()).collect();
        let file = || encoder.container("p00000", data.iter().map(Vec::as_slice)).unwrap();
        let found: Vec<Avro> = Reader::new(&*file()).unwrap().map(Result::unwrap).collect();
        assert_eq!(found, (0..rows).map(fields).collect::<Vec<_>>());
        assert!(data.iter().map(Vec::len).sum::<usize>() > 4 * BLOCK_BYTES, "several blocks");
        assert_eq!(file(), file());
        assert_ne!(file(), encoder.container("p00001", data.iter().map(Vec::as_slice)).unwrap());
    }
}
