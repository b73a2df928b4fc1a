//! Records for people and scripts: JSON under the names of the schema, by one rule that loses nothing. A `long` is a
//! string, because JSON numbers lose digits beyond 2^53. A time is RFC 3339. Units in maps are numbers; they are
//! small enough.

use crate::domain::Micros;
use crate::time;
use serde_json::{Map, Value};

/// The fields of records that are times; their type is `long` too.
pub(super) const TIMES: &[&str] = &[
    "decided_at",
    "hold_until",
    "hold_since",
    "window_start",
    "window_end",
    "cutoff",
    "deadline",
    "original_decided_at",
    "retired_until",
];
/// The fields of records that are numbers of 32 bits.
pub(super) const INTS: &[&str] = &["partition"];

/// These fields of a record.
pub(super) fn readable(fields: Vec<(&'static str, Value)>) -> Map<String, Value> {
    let shown = |(name, value): (&'static str, Value)| {
        let value = match &value {
            Value::Number(number) if TIMES.contains(&name) => {
                let us = number.as_u64().unwrap_or_default();
                Value::String(time::text(Micros(us)))
            }
            Value::Number(number) if !INTS.contains(&name) => Value::String(number.to_string()),
            _ => value,
        };
        (name.to_owned(), value)
    };
    fields.into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::super::schema::{COMMAND, EVENT};
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    /// The names of the fields with one of these types.
    fn fields(schema: &Value, is_asked: impl Fn(&Value) -> bool) -> BTreeSet<String> {
        let fields = schema["fields"].as_array().unwrap().iter();
        let fields = fields.filter(|field| field["type"].as_array().is_some_and(|types| types.iter().any(&is_asked)));
        fields.map(|field| field["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn times_and_ints_are_those_of_the_schemas() {
        let (mut times, mut ints) = (BTreeSet::new(), BTreeSet::new());
        for texts in [COMMAND, EVENT] {
            let schema: Value = serde_json::from_str(texts.last().unwrap()).unwrap();
            times.append(&mut fields(&schema, |of| of["logicalType"] == "timestamp-micros"));
            ints.append(&mut fields(&schema, |of| of == "int"));
        }
        assert_eq!(times, TIMES.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(ints, INTS.iter().map(|name| (*name).to_owned()).collect());
    }

    #[test]
    fn no_number_loses_a_digit() {
        let fields = vec![
            ("partition", json!(3)),
            ("seq", json!((1u64 << 53) + 1)),
            ("fingerprint", json!(i64::MIN)),
            ("decided_at", json!(1_800_000_000_000_001u64)),
            ("limits", json!({"orders": 1_000_000_000_000_000u64})),
            ("pool", json!("p")),
        ];
        let expected = json!({
            "partition": 3, "seq": "9007199254740993", "fingerprint": "-9223372036854775808",
            "decided_at": "2027-01-15T08:00:00.000001Z", "limits": {"orders": 1_000_000_000_000_000u64}, "pool": "p",
        });
        assert_eq!(Value::Object(readable(fields)), expected);
    }
}
