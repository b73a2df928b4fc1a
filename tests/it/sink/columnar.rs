//! Files for a lake in Parquet: the same rows as in Avro, and never both in one place.

use super::files::{Lake, Rows, rows};
use super::serve;
use super::traffic::Traffic;
use crate::process::run;
use headroom::sink::{COLUMNS, ColumnKind};
use parquet::basic::LogicalType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of events with this ending.
fn files(lake: &Lake, ending: &str) -> Vec<PathBuf> {
    let entries = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let all = entries(&lake.path().join("events")).into_iter().flat_map(|day| entries(&day));
    all.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

fn keyed(rows: impl Iterator<Item = Map<String, Value>>) -> Rows {
    let key = |row: &Map<String, Value>| (row["partition"].as_u64().unwrap(), row["seq"].as_u64().unwrap());
    rows.map(|row| (key(&row), row)).collect()
}

fn field((name, field): (&String, &Field)) -> (String, Value) {
    let value = match field {
        Field::Null => Value::Null,
        Field::Bool(truth) => json!(truth),
        Field::Int(number) => json!(number),
        Field::Long(number) | Field::TimestampMicros(number) => json!(number),
        Field::Str(text) => json!(text),
        other => panic!("{name} is {other:?}"),
    };
    (name.clone(), value)
}

/// The rows of a file, whose columns have the types and the order of the columns of events.
fn read(path: &Path) -> Vec<Map<String, Value>> {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    assert_eq!(columns.len(), COLUMNS.len());
    for (found, column) in columns.iter().zip(COLUMNS.iter()) {
        assert_eq!((found.name(), found.self_type().is_optional()), (&*column.name, !column.is_always));
        let is_utc = matches!(found.logical_type_ref(), Some(LogicalType::Timestamp(of)) if of.is_adjusted_to_u_t_c);
        assert_eq!(is_utc, column.kind == ColumnKind::Time, "{}", column.name);
    }
    reader.get_row_iter(None).unwrap().map(|row| row.unwrap().get_column_iter().map(field).collect()).collect()
}

/// The story: an analyst has tools for Parquet only. What they read is what others read as Avro.
#[test]
fn files_in_parquet_have_the_same_rows_and_are_the_same_bytes_every_time() {
    let (log, avro) = (tempfile::tempdir().unwrap(), Lake::new());
    let served = serve(log.path());
    Traffic::new(&served.url, 61).calls(300);
    served.running.terminate();
    assert_eq!(run(&mut avro.sink(log.path(), &["backfill"])).code, 0);
    let expected = keyed(files(&avro, "avro").iter().flat_map(|path| rows(&fs::read(path).unwrap())));
    let bytes = [(); 2].map(|()| {
        let lake = Lake::new();
        let ended = run(&mut lake.sink(log.path(), &["backfill", "--sink-files-format", "parquet"]));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let mut files = files(&lake, "parquet");
        files.sort();
        assert_eq!(keyed(files.iter().flat_map(|path| read(path))), expected);
        files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    });
    assert!(expected.len() > 300);
    assert_eq!(bytes[0], bytes[1]);
    let other = run(&mut avro.sink(log.path(), &["backfill", "--sink-files-format", "parquet"]));
    assert_eq!(other.code, 1, "{}", other.out);
    assert!(other.err.contains("positions/p00000.json is of files in avro: set sink_files_format"), "{}", other.err);
}
