//! Rows in the binary form in which COPY takes them: the database has nothing to parse.

use crate::sink::{COLUMNS, ColumnKind, Row};
use serde_json::Value;

/// What stands before all rows: the signature, and that nothing more is said.
pub(super) const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands after all rows.
pub(super) const END: &[u8] = &(-1_i16).to_be_bytes();
/// The length of a null.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// The database counts microseconds from 2000-01-01, and events from 1970-01-01.
const EPOCH_US: i64 = 946_684_800_000_000;
/// The number of the type of texts in a list.
const TEXT_OID: i32 = 25;

/// Appends a row.
pub(super) fn put(row: &Row, rows: &mut Vec<u8>) {
    rows.extend_from_slice(&i16::try_from(COLUMNS.len()).unwrap_or(i16::MAX).to_be_bytes());
    for (column, value) in row.values() {
        match value {
            None => rows.extend_from_slice(&NULL),
            Some(value) => sized(rows, |rows| put_value(column.kind, value, rows)),
        }
    }
}

/// Appends what `put` appends, and its length before it.
fn sized(rows: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = rows.len();
    rows.extend_from_slice(&NULL);
    put(rows);
    let length = rows.len().saturating_sub(at).saturating_sub(NULL.len());
    if let Some(place) = rows.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = size(length).to_be_bytes();
    }
}

fn size(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Appends a value in the form of the type of its column. Where it is none, a text that is too long for any number stands,
/// which the database refuses.
fn put_value(kind: ColumnKind, value: &Value, rows: &mut Vec<u8>) {
    let number = value.as_i64();
    match (kind, value, number, number.map(i32::try_from)) {
        (ColumnKind::Int, _, _, Some(Ok(number))) => rows.extend_from_slice(&number.to_be_bytes()),
        (ColumnKind::Long, _, Some(number), _) => rows.extend_from_slice(&number.to_be_bytes()),
        (ColumnKind::Time, _, Some(number), _) => {
            rows.extend_from_slice(&number.saturating_sub(EPOCH_US).to_be_bytes());
        }
        (ColumnKind::Truth, Value::Bool(truth), ..) => rows.push(u8::from(*truth)),
        (ColumnKind::Object, Value::Object(_), ..) => {
            // The version of the form.
            rows.push(1);
            put_text(&value.to_string(), rows);
        }
        (ColumnKind::Texts, Value::Array(texts), ..) => put_list(texts, rows),
        (ColumnKind::Text, Value::String(text), ..) => put_text(text, rows),
        (ColumnKind::Text, ..) => put_text(&value.to_string(), rows),
        _ => put_text(&format!("not of the type: {value}"), rows),
    }
}

/// A list in one dimension, without nulls. An empty one has no dimension.
fn put_list(texts: &[Value], rows: &mut Vec<u8>) {
    let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
    let mut put = |number: i32| rows.extend_from_slice(&number.to_be_bytes());
    put(i32::from(!texts.is_empty()));
    put(0);
    put(TEXT_OID);
    if texts.is_empty() {
        return;
    }
    put(size(texts.len()));
    put(1);
    for text in texts {
        sized(rows, |rows| put_text(text, rows));
    }
}

/// A text without zero bytes, which the database does not take.
fn put_text(text: &str, rows: &mut Vec<u8>) {
    for (at, part) in text.split('\0').enumerate() {
        if at > 0 {
            rows.extend_from_slice("\u{fffd}".as_bytes());
        }
        rows.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio_postgres::types::{FromSql, Type};

    fn put_of(kind: ColumnKind, value: &Value) -> Vec<u8> {
        let mut rows = Vec::new();
        put_value(kind, value, &mut rows);
        rows
    }

    /// The value as the client of the database reads it.
    #[track_caller]
    fn read<'a, T: FromSql<'a>>(of: &Type, bytes: &'a [u8]) -> T {
        T::from_sql(of, bytes).unwrap()
    }

    #[test]
    fn values_are_what_the_client_of_the_database_reads() {
        assert_eq!(read::<i32>(&Type::INT4, &put_of(ColumnKind::Int, &json!(7))), 7);
        assert_eq!(read::<i64>(&Type::INT8, &put_of(ColumnKind::Long, &json!(-7))), -7);
        assert!(read::<bool>(&Type::BOOL, &put_of(ColumnKind::Truth, &json!(true))));
        let text = put_of(ColumnKind::Text, &json!("a\tb\\c\nd\0e\0"));
        assert_eq!(read::<&str>(&Type::TEXT, &text), "a\tb\\c\nd\u{fffd}e\u{fffd}");
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_micros(1_800_000_000_000_001);
        let time = put_of(ColumnKind::Time, &json!(1_800_000_000_000_001_u64));
        assert_eq!(read::<std::time::SystemTime>(&Type::TIMESTAMPTZ, &time), at);
        for texts in [&[][..], &["a", "b,\"c\\", ""]] {
            assert_eq!(read::<Vec<&str>>(&Type::TEXT_ARRAY, &put_of(ColumnKind::Texts, &json!(texts))), texts);
        }
        assert_eq!(put_of(ColumnKind::Object, &json!({"a\"b": 2})), b"\x01{\"a\\\"b\":2}");
    }

    #[test]
    fn a_value_that_does_not_fit_its_column_is_no_value_of_its_type() {
        let wrong = [
            (ColumnKind::Int, json!(1_i64 << 40)),
            (ColumnKind::Long, json!(u64::MAX)),
            (ColumnKind::Time, json!("12345678")),
            (ColumnKind::Truth, json!("t")),
        ];
        for (kind, value) in wrong {
            let bytes = put_of(kind, &value);
            assert!(
                i64::from_sql(&Type::INT8, &bytes).is_err() && bool::from_sql(&Type::BOOL, &bytes).is_err(),
                "{value}"
            );
        }
    }

    #[test]
    fn a_length_stands_before_what_it_counts() {
        let mut rows = b"x".to_vec();
        sized(&mut rows, |rows| rows.extend_from_slice(b"abc"));
        assert_eq!(rows, b"x\0\0\0\x03abc");
    }
}
