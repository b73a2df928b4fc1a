//! The rows of a batch as the files that `COPY` reads.

use crate::sink::container::{Encoder, Form};
use crate::sink::postgres::{Dialect, UNITS, tables};
use crate::sink::{Batch, COLUMNS, Column, Row, TargetError};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::LazyLock;

static EVENTS: LazyLock<Form> = LazyLock::new(|| Form::of(&COLUMNS, true));
static UNIT_COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let units = tables(Dialect::Redshift).into_iter().find(|table| table.name == UNITS);
    units.map(|table| table.columns).unwrap_or_default()
});
static UNIT_ROWS: LazyLock<Form> = LazyLock::new(|| Form::of(&UNIT_COLUMNS, true));

/// Each column of a row of units that is a part of an object of the event, and that object.
const PARTS: [(&str, &str); 4] =
    [("demand", "demand"), ("demand_before", "demand_before"), ("limit_units", "limits"), ("used", "used")];

/// A table that a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Events,
    Units,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Events, Kind::Units];

    /// The table that the rows end up in.
    pub(super) fn table(self) -> &'static str {
        match self {
            Kind::Events => "events",
            Kind::Units => UNITS,
        }
    }

    /// The table of the session that they are copied into.
    pub(super) fn staged(self) -> &'static str {
        match self {
            Kind::Events => "headroom_staged_events",
            Kind::Units => "headroom_staged_units",
        }
    }

    /// The columns that a file of this kind has, as SQL.
    pub(super) fn columns(self) -> String {
        let columns = match self {
            Kind::Events => &COLUMNS,
            Kind::Units => &UNIT_COLUMNS,
        };
        columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
    }
}

/// A file of a batch.
pub(super) struct Staged {
    pub(super) kind: Kind,
    /// Its name in the bucket, below the prefix.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    pub(super) row_count: u64,
}

pub(super) struct Packer {
    events: Encoder,
    units: Encoder,
}

impl Packer {
    pub(super) fn new() -> Packer {
        Packer { events: Encoder::new(&EVENTS), units: Encoder::new(&UNIT_ROWS) }
    }

    /// Appends a row and the rows of its units: of each the kind, the length, and the datum.
    pub(super) fn put(&self, row: &Row, rows: &mut Vec<u8>) {
        put_datum(Kind::Events, &self.events.datum(row.values().map(|(_, value)| value)), rows);
        let part = |object: &str| row.field(object).and_then(Value::as_object);
        let dimensions: BTreeSet<&String> =
            PARTS.iter().filter_map(|(_, object)| part(object)).flat_map(Map::keys).collect();
        for dimension in dimensions {
            let name = Value::from(&**dimension);
            let value = |column: &Column| match PARTS.iter().find(|(name, _)| *name == column.name) {
                Some((_, object)) => part(object)?.get(dimension),
                None if column.name == "dimension" => Some(&name),
                None => row.value(column),
            };
            put_datum(Kind::Units, &self.units.datum(UNIT_COLUMNS.iter().map(value)), rows);
        }
    }

    /// The files of a batch, without those that would be empty.
    pub(super) fn files(&self, batch: &Batch) -> Result<Vec<Staged>, TargetError> {
        let mut files = Vec::new();
        for kind in Kind::ALL {
            let rows: Vec<&[u8]> = data(&batch.rows).filter(|(of, _)| *of == kind).map(|(_, datum)| datum).collect();
            if rows.is_empty() {
                continue;
            }
            let last = batch.until.saturating_sub(1);
            let path = format!("staged/{}-p{:05}-{:020}-{last:020}.avro", kind.table(), batch.partition, batch.from);
            let encoder = match kind {
                Kind::Events => &self.events,
                Kind::Units => &self.units,
            };
            let bytes = encoder.container(&path, rows.iter().copied())?;
            files.push(Staged { kind, path, bytes, row_count: rows.len() as u64 });
        }
        Ok(files)
    }
}

fn put_datum(kind: Kind, datum: &[u8], rows: &mut Vec<u8>) {
    rows.push(u8::from(kind == Kind::Units));
    rows.extend_from_slice(&(datum.len() as u64).to_le_bytes());
    rows.extend_from_slice(datum);
}

fn data(rows: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let (kind, after) = rest.split_first()?;
        let (length, after) = after.split_first_chunk()?;
        let (datum, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some((if *kind == 0 { Kind::Events } else { Kind::Units }, datum))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_taken_apart_as_they_were_put_together() {
        let mut rows = Vec::new();
        for (kind, datum) in [(Kind::Events, &b"one"[..]), (Kind::Units, b""), (Kind::Units, b"three")] {
            put_datum(kind, datum, &mut rows);
        }
        let found: Vec<_> = data(&rows).collect();
        assert_eq!(found, [(Kind::Events, &b"one"[..]), (Kind::Units, b""), (Kind::Units, b"three")]);
    }

    #[test]
    fn a_row_of_units_has_the_columns_of_its_table() {
        let named = |name: &str| UNIT_COLUMNS.iter().any(|column| column.name == name);
        assert!(PARTS.iter().all(|(name, _)| named(name)) && named("dimension") && named("decided_at"));
    }
}
