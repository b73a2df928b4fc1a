//! The same rows as Parquet: a file has one group of rows, and each column has the type that it has in Avro.

use crate::sink::container::{LAKE, unpacked};
use crate::sink::{COLUMNS, Column, ColumnKind, TargetError};
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::sync::Arc;

/// The values of a column that are not null, and for each row whether it has one.
struct Values {
    of: Typed,
    levels: Vec<i16>,
}

enum Typed {
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Truths(Vec<bool>),
    Texts(Vec<ByteArray>),
}

impl Values {
    fn of(column: &Column) -> Values {
        let of = match column.kind {
            ColumnKind::Int => Typed::Ints(Vec::new()),
            ColumnKind::Long | ColumnKind::Time => Typed::Longs(Vec::new()),
            ColumnKind::Truth => Typed::Truths(Vec::new()),
            ColumnKind::Text | ColumnKind::Object | ColumnKind::Texts => Typed::Texts(Vec::new()),
        };
        Values { of, levels: Vec::new() }
    }

    fn push(&mut self, value: Avro) -> Result<(), ParquetError> {
        let value = match value {
            Avro::Union(_, value) => *value,
            value => value,
        };
        self.levels.push(i16::from(!matches!(value, Avro::Null)));
        match (&mut self.of, value) {
            (_, Avro::Null) => {}
            (Typed::Ints(values), Avro::Int(value)) => values.push(value),
            (Typed::Longs(values), Avro::Long(value) | Avro::TimestampMicros(value)) => values.push(value),
            (Typed::Truths(values), Avro::Boolean(value)) => values.push(value),
            (Typed::Texts(values), Avro::String(value)) => values.push(ByteArray::from(value.into_bytes())),
            (_, value) => return Err(ParquetError::General(format!("a column of another type has {value:?}"))),
        }
        Ok(())
    }

    fn write(&self, writer: &mut ColumnWriter<'_>) -> Result<usize, ParquetError> {
        let levels = Some(&*self.levels);
        match (&self.of, writer) {
            (Typed::Ints(values), ColumnWriter::Int32ColumnWriter(writer)) => writer.write_batch(values, levels, None),
            (Typed::Longs(values), ColumnWriter::Int64ColumnWriter(writer)) => writer.write_batch(values, levels, None),
            (Typed::Truths(values), ColumnWriter::BoolColumnWriter(writer)) => writer.write_batch(values, levels, None),
            (Typed::Texts(values), ColumnWriter::ByteArrayColumnWriter(writer)) => {
                writer.write_batch(values, levels, None)
            }
            _ => Err(ParquetError::General("a column is written as another type".to_owned())),
        }
    }
}

fn schema() -> Result<Type, ParquetError> {
    let field = |column: &Column| {
        let (physical, logical) = match column.kind {
            ColumnKind::Int => (Physical::INT32, None),
            ColumnKind::Long => (Physical::INT64, None),
            ColumnKind::Truth => (Physical::BOOLEAN, None),
            ColumnKind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            ColumnKind::Text | ColumnKind::Object | ColumnKind::Texts => {
                (Physical::BYTE_ARRAY, Some(LogicalType::String))
            }
        };
        let repetition = if column.is_always { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let field = Type::primitive_type_builder(&column.name, physical);
        field.with_repetition(repetition).with_logical_type(logical).build().map(Arc::new)
    };
    let fields = COLUMNS.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("EventRow").with_fields(fields).build()
}

/// A file of rows, each of which is a datum of Avro. The same rows are the same bytes.
///
/// # Errors
/// The library cannot write it, or a datum is none of the schema.
pub(super) fn file<'a>(data: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, TargetError> {
    written(data).map_err(|error| unpacked(&error))
}

fn written<'a>(data: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, ParquetError> {
    let external = |error: apache_avro::Error| ParquetError::General(error.to_string());
    let reader = GenericDatumReader::builder(&LAKE.schema).build().map_err(external)?;
    let mut columns: Vec<Values> = COLUMNS.iter().map(Values::of).collect();
    for mut datum in data {
        let Avro::Record(fields) = reader.read_value(&mut datum).map_err(external)? else { continue };
        for (column, (_, value)) in columns.iter_mut().zip(fields) {
            column.push(value)?;
        }
    }
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema()?), properties)?;
    let mut group = writer.next_row_group()?;
    for column in &columns {
        let Some(mut to) = group.next_column()? else { break };
        column.write(to.untyped())?;
        to.close()?;
    }
    group.close()?;
    writer.into_inner()
}
