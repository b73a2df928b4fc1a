//! The columns of the table of events, made of the newest schema of events: a field that is added to the schema is a column
//! without another change here. A row holds the fields of one event.

use crate::domain::ChainedEvent;
use crate::trace::TraceContext;
use crate::wire;
use crate::wire::schema::EVENT;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The type of a column, for every dialect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnKind {
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// Text in UTF-8, also a symbol of an enumeration.
    Text,
    /// True or false.
    Truth,
    /// A point in time, to the microsecond.
    Time,
    /// An object: units by dimension, or labels with their values.
    Object,
    /// A list of texts.
    Texts,
}

/// A column of the table of events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name, which is that of the field in the schema.
    pub name: String,
    /// The type of its values.
    pub kind: ColumnKind,
    /// Whether every event has a value in it.
    pub is_always: bool,
    /// What it says, in the words of the schema.
    pub doc: String,
}

/// Fields that say nothing to an analyst: where an answer is sent, and numbers by which the log checks itself.
const LEFT_OUT: &[&str] = &["prev", "reply_to", "fingerprint", "nonce", "skipped"];
/// Fields that every event has.
const ALWAYS: &[&str] = &["kind", "partition", "seq", "epoch", "decided_at"];
/// The column of the event's own digest.
const DIGEST: &str = "digest";
/// The column of the trace of the call that the event decides.
const TRACE_ID: &str = "trace_id";

/// The columns, in the order of the schema.
pub static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let named = EVENT.last().map(|text| of_schema(text)).into_iter().flatten();
    let text = |name: &str, is_always, doc: &str| Column {
        name: name.to_owned(),
        kind: ColumnKind::Text,
        is_always,
        doc: doc.to_owned(),
    };
    let own = [
        text(
            DIGEST,
            true,
            "The digest of the event, 32 hexadecimal digits: proofs name it, and the next event contains it.",
        ),
        text(
            TRACE_ID,
            false,
            "The trace of the call that the event decides, 32 hexadecimal digits, where the log has it.",
        ),
    ];
    named.chain(own).collect()
});

/// The newest schema of events when the first tables were made: version 4.
const OF_FIRST_TABLES: usize = 3;

/// The columns that the events of every version have: without such a one, their table has lost it.
static FIRST: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let named = EVENT.get(OF_FIRST_TABLES).map(|text| of_schema(text)).into_iter().flatten();
    named.map(|column| column.name).chain([DIGEST, TRACE_ID].map(str::to_owned)).collect()
});

/// Whether the table of events has had this column from its first version on.
pub(super) fn is_of_first_tables(name: &str) -> bool {
    FIRST.contains(name)
}

/// The place of each column among them.
static PLACES: LazyLock<BTreeMap<&str, usize>> =
    LazyLock::new(|| COLUMNS.iter().enumerate().map(|(place, column)| (&*column.name, place)).collect());

/// What an event may have, in the order of the schema: the name, and the place of its column, if it has one.
static ORDER: LazyLock<Vec<(&str, Option<usize>)>> = LazyLock::new(|| {
    let own = [DIGEST, TRACE_ID];
    let names = wire::event::names().iter().copied().chain(own);
    names.map(|name| (name, PLACES.get(name).copied())).collect()
});

/// The columns of the fields of a schema.
fn of_schema(text: &str) -> Vec<Column> {
    let schema: Value = serde_json::from_str(text).unwrap_or_default();
    let fields = schema.get("fields").and_then(Value::as_array).into_iter().flatten();
    fields.filter_map(of_field).filter(|column| !LEFT_OUT.contains(&&*column.name)).collect()
}

fn of_field(field: &Value) -> Option<Column> {
    let name = field.get("name")?.as_str()?;
    let doc = field.get("doc").and_then(Value::as_str).unwrap_or_default();
    let kind = kind_of(field.get("type")?);
    Some(Column { name: name.to_owned(), kind, is_always: ALWAYS.contains(&name), doc: doc.to_owned() })
}

/// The type of a column for the type of a field. A name that is no basic type is an enumeration that stands further up.
fn kind_of(of: &Value) -> ColumnKind {
    match of {
        Value::Array(union) => union.iter().find(|of| *of != "null").map_or(ColumnKind::Text, kind_of),
        Value::String(name) => match &**name {
            "int" => ColumnKind::Int,
            "long" => ColumnKind::Long,
            "boolean" => ColumnKind::Truth,
            _ => ColumnKind::Text,
        },
        _ if of.get("logicalType").is_some_and(|logical| logical == "timestamp-micros") => ColumnKind::Time,
        _ => match of.get("type").and_then(Value::as_str) {
            Some("map") => ColumnKind::Object,
            Some("array") => ColumnKind::Texts,
            Some("long") => ColumnKind::Long,
            _ => ColumnKind::Text,
        },
    }
}

/// The values of one event, in the order of the columns.
pub struct Row {
    values: Vec<Option<Value>>,
}

impl Row {
    /// The row of an event, and of the call that it decides.
    pub(super) fn of(chained: &ChainedEvent, trace: Option<&TraceContext>) -> Row {
        let trace = trace.map(|trace| (TRACE_ID, format!("{:032x}", trace.trace_id).into()));
        let own = [(DIGEST, chained.digest.to_string().into())];
        let fields = wire::event::fields(&chained.event).into_iter().chain(own).chain(trace);
        let mut values: Vec<Option<Value>> = COLUMNS.iter().map(|_| None).collect();
        // Both are in the order of the schema.
        let mut order = ORDER.iter();
        for (name, value) in fields {
            let place = order.find(|(of, _)| *of == name).and_then(|(_, place)| *place);
            if let Some(column) = place.and_then(|place| values.get_mut(place)) {
                *column = Some(value);
            }
        }
        Row { values }
    }

    /// The value in a column; `None` when the event has none.
    pub fn value(&self, column: &Column) -> Option<&Value> {
        self.field(&column.name)
    }

    /// The value of a field; `None` when the event has none.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.values.get(*PLACES.get(name)?)?.as_ref()
    }

    /// Each column with its value; `None` when the event has none.
    pub fn values(&self) -> impl Iterator<Item = (&'static Column, Option<&Value>)> {
        COLUMNS.iter().zip(self.values.iter().map(Option::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_the_name_of_its_column() {
        let row = Row { values: (0..COLUMNS.len()).map(|place| (place % 3 > 0).then(|| Value::from(place))).collect() };
        assert!(row.values().all(|(column, value)| row.value(column) == value));
        assert_eq!(row.field("reply_to"), None);
    }

    #[test]
    fn columns_have_the_types_of_the_schema() {
        let kind = |name: &str| COLUMNS.iter().find(|column| column.name == name).map(|column| column.kind);
        for (name, expected) in [
            ("kind", ColumnKind::Text),
            ("asked_mode", ColumnKind::Text),
            ("partition", ColumnKind::Int),
            ("seq", ColumnKind::Long),
            ("decided_at", ColumnKind::Time),
            ("demand", ColumnKind::Object),
            ("labels", ColumnKind::Object),
            ("areas", ColumnKind::Texts),
            ("unique_order_ref", ColumnKind::Truth),
            ("digest", ColumnKind::Text),
        ] {
            assert_eq!(kind(name), Some(expected), "{name}");
        }
        assert_eq!(kind("reply_to"), None);
        let is_first = ["demand", "demand_before", "digest", "trace_id", "retire_cause"].map(is_of_first_tables);
        assert_eq!(is_first, [true, true, true, true, false]);
        assert!(COLUMNS.iter().all(|column| !column.doc.is_empty()));
        for left_out in LEFT_OUT.iter().chain(ALWAYS) {
            assert!(EVENT.last().unwrap().contains(&format!("\"name\": \"{left_out}\"")), "{left_out}");
        }
    }
}
